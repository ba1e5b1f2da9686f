package scheduler

import (
	"maps"
	"reflect"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	clusterv1beta1 "open-cluster-management.io/api/cluster/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/cluster"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/podrequests"
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
	// assigned are the places by what is there: a name on a cluster counts from the assignment on, before there is a RemoteWorkflow.
	assigned map[remoteName]types.UID
	// bindings remembers those of each namespace. Building them costs more than all else.
	bindings map[string]*bindings
	// templates are the WorkflowTemplates, and without namespace the ClusterWorkflowTemplates, as far as they are known.
	templates map[client.ObjectKey]*podrequests.Template
}

// bindings are the bindings of a namespace, and how many of its unfinished Workflows are on clusters of each.
type bindings struct {
	all        []cluster.Binding
	unfinished []int64
}

// node is a managed cluster with its load.
type node struct {
	cluster.Cluster
	// problem is what keeps every Workflow with a Placement from the cluster, nil if nothing does: asked for once, not once for each.
	problem *cluster.Problem
	// limit is the most unfinished Workflows that it may have.
	limit int64
	// milliCPU is the CPU capacity in thousandths of a core; 0 if it is not known.
	milliCPU int64
	// unfinished counts the Workflows that were assigned to it and have not finished, and unfinishedOf those of each namespace.
	unfinished   int64
	unfinishedOf map[string]int64
	// capacity is what its agent has measured, nil if nothing is known, and measured when that was heard of, by the hub's clock.
	capacity *contract.Capacity
	measured time.Time
	// expectations are the Workflows that capacity does not show yet, by UID, and expected what they request together.
	expectations map[types.UID]expectation
	expected     contract.Resources
}

// expectation is what a Workflow will take of a cluster. It counts until a measurement is heard of after its start.
type expectation struct {
	requests  contract.Resources
	isStarted bool
}

// place is where a Workflow of a namespace is, by which name; assumed says that the assignment has not been seen yet.
type place struct {
	cluster, namespace string
	remoteName         client.ObjectKey
	assumed            bool
}

// remoteName is a name on a cluster.
type remoteName struct {
	cluster string
	client.ObjectKey
}

func (p place) name() remoteName { return remoteName{p.cluster, p.remoteName} }

func placeOf(wf *hubworkflow.Workflow, cluster string) place {
	return place{
		cluster: cluster, namespace: wf.GetNamespace(),
		remoteName: client.ObjectKey{Namespace: contract.RemoteNamespace(wf), Name: wf.GetName()},
	}
}

// placement is a Placement with its decisions.
type placement struct {
	// object is nil if there is none of this name, or not yet.
	object *clusterv1beta1.Placement
	// pages are the clusters by PlacementDecision, and clusters all of them, sorted.
	pages    map[string][]string
	clusters []string
	preference
}

// holder is a RemoteWorkflow that has a name on its cluster, and the UID of its hub Workflow.
type holder struct {
	remoteWorkflow client.ObjectKey
	workflow       types.UID
}

func newCache(hubID string) *cache {
	return &cache{
		hubID: hubID, nodes: map[string]*node{}, placements: map[client.ObjectKey]*placement{}, places: map[types.UID]place{},
		names: map[client.ObjectKey][]holder{}, attempts: map[types.UID]int{}, bindings: map[string]*bindings{},
		assigned: map[remoteName]types.UID{}, templates: map[client.ObjectKey]*podrequests.Template{},
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
	if n.Managed == nil && n.Addon == nil && n.unfinished == 0 && n.capacity == nil {
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
	if (was.Managed == nil) != (n.Managed == nil) || !maps.Equal(labelsOf(was), labelsOf(*n)) {
		c.recount(n, was.Managed)
	}
	n.problem, n.milliCPU, n.limit = c.obstacle(anyPlacement, n.Cluster), 0, n.MaxWorkflows()
	if n.Managed != nil {
		n.milliCPU = n.MilliCPU()
	}
	c.keep(n)
	return was, *n
}

// recount moves a cluster's Workflows to the bindings that hold it now.
func (c *cache) recount(n *node, was *clusterv1.ManagedCluster) {
	for namespace, count := range n.unfinishedOf {
		known := c.bindings[namespace]
		if known == nil {
			continue
		}
		known.add(&node{Cluster: cluster.Cluster{Managed: was}}, -count)
		known.add(n, count)
	}
}

// isHeldOtherwise reports whether a binding of the namespace may hold the cluster as it is, and not as it was, or the other way round.
func (c *cache) isHeldOtherwise(namespace string, was, is node) bool {
	known := c.bindings[namespace]
	return known == nil || slices.ContainsFunc(known.all, func(b cluster.Binding) bool { return b.Holds(was.Managed) != b.Holds(is.Managed) })
}

// assume counts a Workflow for a cluster before its assignment can be seen.
func (c *cache) assume(wf *hubworkflow.Workflow, cluster string) {
	at := placeOf(wf, cluster)
	at.assumed = true
	c.put(wf.GetUID(), at)
	c.expect(wf, cluster)
}

// forget takes back what was assumed and did not come true.
func (c *cache) forget(uid types.UID) {
	if c.places[uid].assumed {
		c.put(uid, place{})
	}
}

// setWorkflow takes note of where a Workflow is: at the cluster of its assignment until it has finished. isWaiting says that it has
// none yet: then what was assumed may still come true.
func (c *cache) setWorkflow(wf *hubworkflow.Workflow, isWaiting bool) {
	uid := wf.GetUID()
	if isWaiting && c.places[uid].assumed {
		return
	}
	at := placeOf(wf, contract.AssignedCluster(wf))
	if contract.IsFinished(wf.Phase) || at.cluster == "" {
		at = place{}
	}
	isNew := c.places[uid].cluster != at.cluster
	c.put(uid, at)
	switch n := c.nodes[at.cluster]; {
	case n == nil:
	case isNew && contract.IsPending(wf.Phase):
		c.expect(wf, at.cluster)
	case !contract.IsPending(wf.Phase):
		if e, ok := n.expectations[uid]; ok {
			n.expectations[uid] = expectation{e.requests, true}
		}
	}
}

// expect lets a Workflow that has been put at a cluster count beside what the agent has measured.
func (c *cache) expect(wf *hubworkflow.Workflow, cluster string) {
	n := c.nodes[cluster]
	n.meet(wf.GetUID())
	if n.expectations == nil {
		n.expectations = map[types.UID]expectation{}
	}
	requests := withDefaults(wf.Pods.Largest)
	n.expectations[wf.GetUID()] = expectation{requests: requests}
	n.expected = n.expected.Plus(requests)
}

// setCapacity takes note of what an agent has measured, nil if it has not. What had started before counts in that.
func (c *cache) setCapacity(name string, capacity *contract.Capacity, now time.Time) {
	n := c.node(name)
	n.capacity, n.measured = capacity, now
	for uid, e := range n.expectations {
		if e.isStarted {
			n.meet(uid)
		}
	}
	c.keep(n)
}

// meet ends the expectation of a Workflow, if there is one.
func (n *node) meet(uid types.UID) {
	if e, ok := n.expectations[uid]; ok {
		delete(n.expectations, uid)
		n.expected = n.expected.Minus(e.requests)
	}
}

// put moves a Workflow from where it was to another place; to nowhere if that is zero.
func (c *cache) put(uid types.UID, at place) {
	was := c.places[uid]
	if at == was {
		return
	}
	if was.cluster != at.cluster {
		c.count(was, -1)
		if n := c.nodes[was.cluster]; n != nil {
			n.meet(uid)
			c.keep(n)
		}
		c.count(at, 1)
	}
	if c.assigned[was.name()] == uid {
		delete(c.assigned, was.name())
	}
	if at.cluster == "" {
		delete(c.places, uid)
		return
	}
	c.assigned[at.name()] = uid
	c.places[uid] = at
}

// count adds Workflows to a place, or takes them off.
func (c *cache) count(at place, by int64) {
	if at.cluster == "" {
		return
	}
	n := c.node(at.cluster)
	if n.unfinishedOf == nil {
		n.unfinishedOf = map[string]int64{}
	}
	n.unfinished += by
	if n.unfinishedOf[at.namespace] += by; n.unfinishedOf[at.namespace] == 0 {
		delete(n.unfinishedOf, at.namespace)
	}
	c.nodes[n.Name] = n
	if known := c.bindings[at.namespace]; known != nil {
		known.add(n, by)
	}
}

// add counts so many Workflows on a cluster for the bindings that hold it.
func (b *bindings) add(n *node, by int64) {
	for i := range b.all {
		if b.all[i].Holds(n.Managed) {
			b.unfinished[i] += by
		}
	}
}

// setBindings takes note of the bindings of a namespace.
func (c *cache) setBindings(namespace string, all []cluster.Binding) *bindings {
	known := &bindings{all: all, unfinished: make([]int64, len(all))}
	for _, n := range c.nodes {
		if count := n.unfinishedOf[namespace]; count > 0 {
			known.add(n, count)
		}
	}
	c.bindings[namespace] = known
	return known
}

// setPlacement takes note of a Placement, nil if there is none any more.
func (c *cache) setPlacement(key client.ObjectKey, object *clusterv1beta1.Placement) {
	p := c.placement(key)
	p.object, p.preference = object, preferenceOf(object)
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

// workflow returns what is known of a Workflow, with the templates that it refers to.
func (c *cache) workflow(object *unstructured.Unstructured) *hubworkflow.Workflow {
	wf := hubworkflow.Of(object)
	wf.Pods = wf.Pods.Resolve(wf.GetNamespace(), func(key client.ObjectKey) *podrequests.Template { return c.templates[key] })
	return wf
}

// setTemplate takes note of a template, nil if there is none any more, and reports whether that changes anything.
func (c *cache) setTemplate(key client.ObjectKey, template *podrequests.Template) bool {
	was := c.templates[key]
	if template == nil {
		delete(c.templates, key)
	} else {
		c.templates[key] = template
	}
	return !reflect.DeepEqual(was, template)
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
func (c *cache) takenBy(wf *hubworkflow.Workflow, cluster string) types.UID {
	at, uid := placeOf(wf, cluster), wf.GetUID()
	for _, by := range c.names[at.remoteName] {
		if by.remoteWorkflow.Namespace == cluster && by.workflow != uid {
			return by.workflow
		}
	}
	if by, ok := c.assigned[at.name()]; ok && by != uid {
		return by
	}
	return ""
}
