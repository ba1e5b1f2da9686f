package placement

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
)

// candidate is a cluster that the Placement has selected, with what the choice depends on.
type candidate struct {
	name string
	// cluster and addon are nil where the hub has none.
	cluster *clusterv1.ManagedCluster
	addon   *addonv1beta1.ManagedClusterAddOn
	// isHub is whether it is the hub itself.
	isHub bool
	// unfinished counts the Workflows that were given to the cluster and have not finished.
	unfinished int
}

// unusable says why the cluster cannot run a Workflow with full status; "" if it can.
func (c candidate) unusable() string {
	switch {
	case c.cluster == nil:
		return "no such ManagedCluster"
	case !c.cluster.DeletionTimestamp.IsZero():
		return "being detached"
	case c.isHub:
		return "the hub itself"
	case c.addon == nil:
		return "addon not enabled"
	case !c.addon.DeletionTimestamp.IsZero():
		return "addon being disabled"
	}
	available := meta.FindStatusCondition(c.addon.Status.Conditions, addonv1beta1.ManagedClusterAddOnConditionAvailable)
	switch {
	case available == nil:
		return "addon not available yet"
	case available.Status != "True":
		return fmt.Sprintf("addon not available: %s", available.Message)
	}
	return ""
}

// milliCPU returns the cluster's CPU capacity in thousandths of a core; 0 if it does not report any.
func (c candidate) milliCPU() int64 {
	for _, list := range []clusterv1.ResourceList{c.cluster.Status.Allocatable, c.cluster.Status.Capacity} {
		if cpu, ok := list[clusterv1.ResourceName(corev1.ResourceCPU)]; ok {
			return cpu.MilliValue()
		}
	}
	return 0
}

// maxNamed is how many of the clusters with the same problem are named.
const maxNamed = 5

// describe returns, in one order, which clusters have which problem.
func describe(problems map[string][]string) string {
	var parts []string
	for why, names := range problems {
		slices.Sort(names)
		named := strings.Join(names[:min(len(names), maxNamed)], ", ")
		if more := len(names) - maxNamed; more > 0 {
			named += fmt.Sprintf(" and %d more", more)
		}
		parts = append(parts, named+": "+why)
	}
	slices.Sort(parts)
	return strings.Join(parts, "; ")
}

// pick returns the usable candidate with the fewest unfinished Workflows for its CPU capacity, and of equals the
// first by name. Where a cluster reports no capacity, all count as equally large. Without a usable candidate
// it returns "", and why none is.
func pick(candidates []candidate) (cluster, problem string) {
	var usable []candidate
	problems := map[string][]string{}
	weigh := true
	for _, c := range candidates {
		if why := c.unusable(); why != "" {
			problems[why] = append(problems[why], c.name)
			continue
		}
		usable = append(usable, c)
		weigh = weigh && c.milliCPU() > 0
	}
	if len(usable) == 0 {
		return "", describe(problems)
	}
	load := func(c, other candidate) int64 {
		if !weigh {
			return int64(c.unfinished)
		}
		// a/x < b/y as a*y < b*x; the Workflow to come counts, so that of idle clusters the larger wins.
		return int64(c.unfinished+1) * other.milliCPU()
	}
	return slices.MinFunc(usable, func(a, b candidate) int {
		if la, lb := load(a, b), load(b, a); la != lb {
			return int(min(max(la-lb, -1), 1))
		}
		return strings.Compare(a.name, b.name)
	}).name, ""
}
