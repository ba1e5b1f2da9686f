package scheduler

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	clusterv1beta1 "open-cluster-management.io/api/cluster/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/cluster"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
)

// cache is what decisions depend on, kept by the events of informers.
type cache struct {
	hubID string
	// nodes are the managed clusters, by name, and whatever else a Workflow was assigned to.
	nodes map[string]*node
	// placements have the answers of the Placements.
	placements map[client.ObjectKey]*placement
	// places is where the unfinished Workflows are, by UID: so none counts twice.
	places map[types.UID]place
	// names are held on managed clusters, by namespace and name there; attempts counts the RemoteWorkflows of a hub Workflow.
	names    map[client.ObjectKey][]holder
	attempts map[types.UID]int
	// bound remembers the selectors of the ManagedClusterSets that are bound to a namespace.
	bound map[string][]labels.Selector
}

// node is a managed cluster with its load.
type node struct {
	cluster.Cluster
	// problem is what keeps every Workflow with a Placement from the cluster, nil if nothing does: asked for once, not once for each.
	problem *cluster.Problem
	// milliCPU is the CPU capacity in thousandths of a core; 0 if it is not known.
	milliCPU int64
	// unfinished counts the Workflows that were assigned to it and have not finished.
	unfinished int64
}

// place is where a Workflow is; assumed says that the assignment has not been seen yet.
type place struct {
	cluster string
	assumed bool
}

// placement is a Placement with its decisions.
type placement struct {
	// object is nil if there is none of this name, or not yet.
	object *clusterv1beta1.Placement
	// pages are the clusters by PlacementDecision, and clusters all of them, sorted.
	pages    map[string][]string
	clusters []string
}

// holder is a RemoteWorkflow that has a name on its cluster, and the UID of its hub Workflow.
type holder struct {
	remoteWorkflow client.ObjectKey
	workflow       types.UID
}

func newCache(hubID string) *cache {
	return &cache{
		hubID: hubID, nodes: map[string]*node{}, placements: map[client.ObjectKey]*placement{}, places: map[types.UID]place{},
		names: map[client.ObjectKey][]holder{}, attempts: map[types.UID]int{}, bound: map[string][]labels.Selector{},
	}
}

// node returns the cluster of this name, be there one or not.
func (c *cache) node(name string) *node {
	if n := c.nodes[name]; n != nil {
		return n
	}
	return &node{Cluster: cluster.Cluster{Name: name}}
}

// keep stores a node, unless there is nothing to know about it.
func (c *cache) keep(n *node) {
	if n.Managed == nil && n.Addon == nil && n.unfinished == 0 {
		delete(c.nodes, n.Name)
		return
	}
	c.nodes[n.Name] = n
}

// setCluster changes what the hub has of a cluster, and returns what it was and what it is.
func (c *cache) setCluster(name string, change func(*cluster.Cluster)) (was, is node) {
	n := c.node(name)
	was = *n
	change(&n.Cluster)
	n.problem, n.milliCPU = c.obstacle(anyPlacement, n.Cluster), 0
	if n.Managed != nil {
		n.milliCPU = n.MilliCPU()
	}
	c.keep(n)
	return was, *n
}

// assume counts a Workflow for a cluster before its assignment can be seen.
func (c *cache) assume(uid types.UID, cluster string) { c.put(uid, place{cluster, true}) }

// forget takes back what was assumed and did not come true.
func (c *cache) forget(uid types.UID) {
	if c.places[uid].assumed {
		c.put(uid, place{})
	}
}

// setWorkflow takes note of where a Workflow is: at the cluster of its assignment until it has finished. isWaiting says that it has
// none yet: then what was assumed may still come true.
func (c *cache) setWorkflow(wf *hubworkflow.Workflow, isWaiting bool) {
	if isWaiting && c.places[wf.GetUID()].assumed {
		return
	}
	at := place{cluster: contract.AssignedCluster(wf)}
	if contract.IsFinished(wf.Phase) {
		at = place{}
	}
	c.put(wf.GetUID(), at)
}

// put moves a Workflow from where it was to another place; to nowhere if that is zero.
func (c *cache) put(uid types.UID, at place) {
	if at == c.places[uid] {
		return
	}
	count := func(name string, by int64) {
		if name != "" {
			n := c.node(name)
			n.unfinished += by
			c.keep(n)
		}
	}
	count(c.places[uid].cluster, -1)
	count(at.cluster, 1)
	if at.cluster == "" {
		delete(c.places, uid)
		return
	}
	c.places[uid] = at
}

// setPlacement takes note of a Placement, nil if there is none any more.
func (c *cache) setPlacement(key client.ObjectKey, object *clusterv1beta1.Placement) {
	p := c.placement(key)
	p.object = object
	c.keepPlacement(key, p)
}

// setPage replaces the clusters of one PlacementDecision, and returns all those of its Placement before and after.
func (c *cache) setPage(key client.ObjectKey, page string, clusters []string) (was, is []string) {
	p := c.placement(key)
	was = p.clusters
	if delete(p.pages, page); len(clusters) > 0 {
		p.pages[page] = clusters
	}
	all := slices.Concat(slices.Collect(maps.Values(p.pages))...)
	slices.Sort(all)
	p.clusters = slices.Compact(all)
	c.keepPlacement(key, p)
	return was, p.clusters
}

func (c *cache) placement(key client.ObjectKey) *placement {
	if p := c.placements[key]; p != nil {
		return p
	}
	return &placement{pages: map[string][]string{}}
}

func (c *cache) keepPlacement(key client.ObjectKey, p *placement) {
	if p.object == nil && len(p.pages) == 0 {
		delete(c.placements, key)
		return
	}
	c.placements[key] = p
}

// selects reports whether the target is a Placement that selects the cluster.
func (c *cache) selects(on target, cluster string) bool {
	p := c.placements[client.ObjectKey{Namespace: on.namespace, Name: on.placement}]
	if p == nil {
		return false
	}
	_, isThere := slices.BinarySearch(p.clusters, cluster)
	return isThere
}

// hold takes note of a RemoteWorkflow, and release of its end.
func (c *cache) hold(name client.ObjectKey, by holder) {
	if !slices.Contains(c.names[name], by) {
		c.names[name] = append(c.names[name], by)
		c.attempts[by.workflow]++
	}
}

func (c *cache) release(name client.ObjectKey, by holder) {
	i := slices.Index(c.names[name], by)
	if i < 0 {
		return
	}
	if c.names[name] = slices.Delete(c.names[name], i, i+1); len(c.names[name]) == 0 {
		delete(c.names, name)
	}
	if c.attempts[by.workflow]--; c.attempts[by.workflow] == 0 {
		delete(c.attempts, by.workflow)
	}
}

// takenBy returns the UID of another Workflow that has the name on the cluster; "" if there is none.
func (c *cache) takenBy(name client.ObjectKey, cluster string, uid types.UID) types.UID {
	for _, by := range c.names[name] {
		if by.remoteWorkflow.Namespace == cluster && by.workflow != uid {
			return by.workflow
		}
	}
	return ""
}
