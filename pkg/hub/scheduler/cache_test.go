package scheduler

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/cluster"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestAWorkflowCountsOnceFromTheAssumptionToItsEnd(t *testing.T) {
	waiting, other := gen.Workflow("hello"), gen.Workflow("other", gen.WithAssignment("b"))
	assigned := gen.Workflow("hello", gen.WithAssignment("a"))
	finished := gen.Workflow("hello", gen.WithAssignment("a"), gen.WithHubStatus("Failed"))
	uid := waiting.GetUID()
	see := func(wf *unstructured.Unstructured) func(*cache) {
		return func(c *cache) { known := hubworkflow.Of(wf); c.setWorkflow(known, owns(known)) }
	}
	tests := map[string]struct {
		steps []func(*cache)
		want  map[string]int64
	}{
		"it waits":      {[]func(*cache){see(waiting)}, nil},
		"it is assumed": {[]func(*cache){func(c *cache) { c.assume(hubworkflow.Of(waiting), "a") }}, map[string]int64{"a": 1}},
		"an event from before the assignment": {
			[]func(*cache){func(c *cache) { c.assume(hubworkflow.Of(waiting), "a") }, see(waiting)}, map[string]int64{"a": 1},
		},
		"the assignment is seen": {
			[]func(*cache){func(c *cache) { c.assume(hubworkflow.Of(waiting), "a") }, see(assigned)}, map[string]int64{"a": 1},
		},
		"it is seen twice":                 {[]func(*cache){see(assigned), see(assigned)}, map[string]int64{"a": 1}},
		"the assumption did not come true": {[]func(*cache){func(c *cache) { c.assume(hubworkflow.Of(waiting), "a") }, func(c *cache) { c.forget(uid) }}, nil},
		"it came true after all": {
			[]func(*cache){func(c *cache) { c.assume(hubworkflow.Of(waiting), "a") }, see(assigned), func(c *cache) { c.forget(uid) }}, map[string]int64{"a": 1},
		},
		"another cluster is assumed": {
			[]func(*cache){func(c *cache) { c.assume(hubworkflow.Of(waiting), "a") }, func(c *cache) { c.assume(hubworkflow.Of(waiting), "b") }}, map[string]int64{"b": 1},
		},
		"it has finished":                    {[]func(*cache){see(assigned), see(finished)}, nil},
		"it had finished before it was seen": {[]func(*cache){see(finished)}, nil},
		"it was given back":                  {[]func(*cache){see(assigned), see(waiting)}, nil},
		"it goes to another cluster": {
			[]func(*cache){see(assigned), see(gen.Workflow("hello", gen.WithAssignment("b")))}, map[string]int64{"b": 1},
		},
		"it is gone": {[]func(*cache){see(assigned), func(c *cache) { c.put(uid, place{}) }}, nil},
		"it is withdrawn before the bind is seen": {
			[]func(*cache){func(c *cache) { c.assume(hubworkflow.Of(waiting), "a") }, see(gen.Workflow("hello", gen.WithLabels(withdrawn)))}, nil,
		},
		"two on two clusters": {[]func(*cache){see(assigned), see(other)}, map[string]int64{"a": 1, "b": 1}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCache(gen.HubID)
			for _, step := range test.steps {
				step(c)
			}
			got := map[string]int64{}
			for name, n := range c.nodes {
				got[name] = n.unfinished
			}
			if test.want == nil {
				assert.Empty(t, got, "nothing is kept of a cluster of which nothing is known")
				assert.Empty(t, c.places)
				return
			}
			assert.Equal(t, test.want, got)
		})
	}
}

func TestAClusterKeepsItsLoadWhateverBecomesOfIt(t *testing.T) {
	c := newCache(gen.HubID)
	wf := hubworkflow.Of(gen.Workflow("hello"))
	c.assume(wf, "a")
	managed := gen.ManagedCluster("a", gen.WithAllocatableCPU("7500m"))
	c.setCluster("a", func(c *cluster.Cluster) { c.Managed = managed })
	c.setCluster("a", func(c *cluster.Cluster) { c.Addon = gen.ManagedClusterAddOn("a") })
	assert.Equal(t, cluster.Cluster{Name: "a", Managed: managed, Addon: gen.ManagedClusterAddOn("a")}, c.node("a").Cluster)
	assert.Nil(t, c.node("a").problem)
	assert.EqualValues(t, 7500, c.node("a").milliCPU)
	assert.EqualValues(t, 1, c.node("a").unfinished)
	c.setCluster("a", func(c *cluster.Cluster) { c.Managed = nil })
	assert.Equal(t, "no such ManagedCluster", kindOf(c.node("a").problem))
	assert.EqualValues(t, 0, c.node("a").milliCPU)
	assert.EqualValues(t, 1, c.node("a").unfinished)
	c.forget(wf.GetUID())
	c.setCluster("a", func(c *cluster.Cluster) { c.Addon = nil })
	assert.Empty(t, c.nodes)
}

func TestTheCapacityIsWhatPodsCanHave(t *testing.T) {
	list := func(cpu string) clusterv1.ResourceList {
		return clusterv1.ResourceList{clusterv1.ResourceCPU: resource.MustParse(cpu)}
	}
	managed := gen.ManagedCluster("a")
	of := func() int64 {
		c := newCache(gen.HubID)
		c.setCluster("a", func(c *cluster.Cluster) { c.Managed = managed })
		return c.node("a").milliCPU
	}
	assert.Zero(t, of())
	managed.Status.Capacity = list("8")
	assert.EqualValues(t, 8000, of())
	managed.Status.Allocatable = list("7500m")
	assert.EqualValues(t, 7500, of())
}

func TestThePagesOfAPlacementAreOneList(t *testing.T) {
	c, key := newCache(gen.HubID), client.ObjectKey{Namespace: gen.Namespace, Name: "p"}
	c.setPage(key, "p-1", []string{"c", "a"})
	was, is := c.setPage(key, "p-2", []string{"b", "a"})
	assert.Equal(t, []string{"a", "c"}, was)
	assert.Equal(t, []string{"a", "b", "c"}, is)
	assert.True(t, c.selects(target{gen.Namespace, "", "p"}, "b"))
	assert.False(t, c.selects(target{gen.Namespace, "", "p"}, "d"))
	assert.False(t, c.selects(target{"elsewhere", "", "p"}, "b"))
	c.setPage(key, "p-1", nil)
	_, is = c.setPage(key, "p-2", nil)
	assert.Empty(t, is)
	assert.Empty(t, c.placements, "nothing is kept of a Placement of which nothing is known")
}

func TestANameIsTakenByAnotherWorkflowOfTheSameCluster(t *testing.T) {
	c, name := newCache(gen.HubID), client.ObjectKey{Namespace: gen.Namespace, Name: "hello"}
	first := holder{client.ObjectKey{Namespace: "a", Name: "hello-1"}, "1"}
	second := holder{client.ObjectKey{Namespace: "b", Name: "hello-2"}, "2"}
	takenBy := func(cluster string, uid types.UID, mods ...gen.Mod) types.UID {
		return c.takenBy(hubworkflow.Of(gen.Workflow("hello", append(mods, gen.WithUID(uid))...)), cluster)
	}
	c.hold(name, first)
	c.hold(name, first)
	c.hold(name, second)
	assert.EqualValues(t, "1", takenBy("a", "3"))
	assert.EqualValues(t, "2", takenBy("b", "3"))
	assert.Empty(t, takenBy("a", "1"), "its own name")
	assert.Empty(t, takenBy("c", "3"), "another cluster")
	assert.Empty(t, takenBy("a", "3", gen.InNamespace("elsewhere")))
	c.release(name, first)
	c.release(name, first)
	assert.Empty(t, takenBy("a", "3"))
	c.release(name, second)
	assert.Empty(t, c.names)
	assert.Empty(t, c.attempts)
}
