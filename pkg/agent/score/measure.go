package score

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/version"
	clusterv1alpha1 "open-cluster-management.io/api/cluster/v1alpha1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// measure returns what the cluster has for Workflows. It is the same for the same nodes, pods and Workflows, whatever their order.
func measure(nodes map[types.UID]node, pods map[types.UID]pod, workflows map[types.UID]workflow) contract.Capacity {
	var c contract.Capacity
	free := map[nodeName]contract.Resources{}
	for _, n := range nodes {
		if n.counts {
			c.Nodes++
			c.Allocatable = c.Allocatable.Plus(n.allocatable)
			c.LargestAllocatable = append(c.LargestAllocatable, n.allocatable)
			free[n.name] = n.allocatable
		}
	}
	c.LargestAllocatable = front(c.LargestAllocatable)

	requested := take(free, pods, c.LargestAllocatable)
	c.Free = c.Allocatable.Minus(requested)
	c.LargestFree = largest(front(slices.Collect(maps.Values(free))))
	c.LargestAllocatable = largest(c.LargestAllocatable)

	for _, p := range pods {
		if p.workflow {
			c.WorkflowPods++
		}
		if p.argoVersion != "" {
			c.ArgoVersion = older(c.ArgoVersion, p.argoVersion)
		}
	}
	for _, phase := range workflows {
		switch phase {
		case workflowRunning:
			c.WorkflowsRunning++
		case workflowPending:
			c.WorkflowsPending++
		}
	}
	return c
}

// older returns the older of two versions, of which a may be "", and of equal ones that with the lesser text.
func older(a, b string) string {
	if a == "" {
		return b
	}
	versionA, versionB := version.MustParseGeneric(a), version.MustParseGeneric(b)
	if versionB.LessThan(versionA) || versionB.EqualTo(versionA) && b < a {
		return b
	}
	return a
}

// take takes what pods request from what is free on their nodes, and returns the sum of what they and those that wait for a node
// request. A waiting pod that is too large for every node takes no room, now or later, so it does not count.
func take(free map[nodeName]contract.Resources, pods map[types.UID]pod, nodes []contract.Resources) contract.Resources {
	var requested contract.Resources
	used := map[nodeName]contract.Resources{}
	for _, p := range pods {
		if p.node == (nodeName{}) {
			if slices.ContainsFunc(nodes, p.requests.Fits) {
				requested = requested.Plus(p.requests)
			}
		} else if _, counts := free[p.node]; counts {
			used[p.node] = used[p.node].Plus(p.requests)
		}
	}
	for name, sum := range used {
		free[name] = free[name].Minus(sum)
		requested = requested.Plus(sum)
	}
	return requested
}

// front returns those of the nodes that no other exceeds or equals in CPU, memory and pods at once, by CPU, then memory, then pods.
func front(nodes []contract.Resources) []contract.Resources {
	slices.SortFunc(nodes, descending)
	var kept []contract.Resources
	for _, n := range nodes {
		if !slices.ContainsFunc(kept, n.Fits) { // those before it have no less CPU
			kept = append(kept, n)
		}
	}
	return kept
}

// largest returns no more of a front than a Capacity may name: by turns the next one by CPU, by memory and by pods.
func largest(nodes []contract.Resources) []contract.Resources {
	if len(nodes) <= contract.MaxLargest {
		return nodes
	}
	amountOf := []func(contract.Resources) int64{
		func(r contract.Resources) int64 { return r.MilliCPU },
		func(r contract.Resources) int64 { return r.Memory },
		func(r contract.Resources) int64 { return r.Pods },
	}
	left, picked := slices.Clone(nodes), []contract.Resources(nil)
	for len(picked) < contract.MaxLargest {
		amount := amountOf[len(picked)%len(amountOf)]
		next := slices.MaxFunc(left, func(a, b contract.Resources) int { return cmp.Compare(amount(a), amount(b)) })
		picked = append(picked, next)
		left = slices.DeleteFunc(left, func(n contract.Resources) bool { return n == next })
	}
	slices.SortFunc(picked, descending)
	return picked
}

func descending(a, b contract.Resources) int {
	return cmp.Or(cmp.Compare(b.MilliCPU, a.MilliCPU), cmp.Compare(b.Memory, a.Memory), cmp.Compare(b.Pods, a.Pods))
}

// The range of a score, which OCM defines.
const (
	minScore = -100
	maxScore = 100
)

// scores returns the scores of a cluster by which a Placement can choose, from -100 to 100: the more, the better for one Workflow more.
func scores(c contract.Capacity) []clusterv1alpha1.AddOnPlacementScoreItem {
	item := func(name string, value float64) clusterv1alpha1.AddOnPlacementScoreItem {
		return clusterv1alpha1.AddOnPlacementScoreItem{Name: name, Value: int32(min(max(math.Round(value), minScore), maxScore))}
	}
	return []clusterv1alpha1.AddOnPlacementScoreItem{
		item(contract.ScoreCPU, share(c.Free.MilliCPU, c.Allocatable.MilliCPU)),
		item(contract.ScoreMemory, share(c.Free.Memory, c.Allocatable.Memory)),
		item(contract.ScorePods, share(c.Free.Pods, c.Allocatable.Pods)),
		item(contract.ScoreRunning, share(c.Allocatable.Pods-c.WorkflowsRunning, c.Allocatable.Pods)),
		item(contract.ScorePending, maxScore-2*float64(c.WorkflowsPending)),
	}
}

// share returns -100 where nothing is left, 100 where all is, and what is in proportion between. Of nothing, nothing is left.
func share(left, all int64) float64 {
	if all <= 0 {
		return minScore
	}
	return (maxScore-minScore)*float64(left)/float64(all) + minScore
}
