package scheduler

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clusterv1 "open-cluster-management.io/api/cluster/v1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/cluster"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func loaded(name string, unfinished, milliCPU int64) *node {
	return &node{Cluster: cluster.Cluster{Name: name}, unfinished: unfinished, milliCPU: milliCPU}
}

func unusable(n *node) *node {
	n.Managed = &clusterv1.ManagedCluster{}
	return n
}

func TestPick(t *testing.T) {
	tests := map[string]struct {
		candidates []*node
		want       string
	}{
		"the only one":                        {[]*node{loaded("a", 9, 0)}, "a"},
		"fewest unfinished wins":              {[]*node{loaded("a", 3, 0), loaded("b", 1, 0), loaded("c", 2, 0)}, "b"},
		"of equals the first by name":         {[]*node{loaded("c", 1, 0), loaded("a", 1, 0), loaded("b", 1, 0)}, "a"},
		"idle ones are equals":                {[]*node{loaded("b", 0, 0), loaded("a", 0, 0)}, "a"},
		"an unusable one does not count":      {[]*node{unusable(loaded("a", 0, 0)), loaded("b", 100, 0)}, "b"},
		"twice the CPU bears twice as many":   {[]*node{loaded("a", 2, 4000), loaded("b", 4, 8000)}, "b"},
		"twice the CPU bears no more":         {[]*node{loaded("a", 2, 4000), loaded("b", 6, 8000)}, "a"},
		"equal for their CPU: by name":        {[]*node{loaded("b", 1, 4000), loaded("a", 3, 8000)}, "a"},
		"of idle ones the larger":             {[]*node{loaded("a", 0, 4000), loaded("b", 0, 8000)}, "b"},
		"thousandths of a core count":         {[]*node{loaded("a", 0, 1500), loaded("b", 0, 1501)}, "b"},
		"one without capacity: all are equal": {[]*node{loaded("a", 2, 4000), loaded("b", 4, 64000), loaded("c", 1, 0)}, "c"},
		"an unusable one without capacity does not make all equal": {
			[]*node{loaded("a", 2, 4000), loaded("b", 4, 64000), unusable(loaded("c", 0, 0))}, "b",
		},
		"the best is unusable": {[]*node{unusable(loaded("a", 0, 64000)), loaded("b", 1, 1000), loaded("c", 2, 1000)}, "b"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			best, problems := pick(test.candidates, hubworkflow.Of(gen.Workflow("hello")), preferenceOf(nil), now, func(n *node) *cluster.Problem {
				if n.Managed != nil {
					return &cluster.Problem{Kind: "unusable"}
				}
				return nil
			})
			require.NotNil(t, best)
			assert.Equal(t, test.want, best.Name)
			assert.Empty(t, problems)
		})
	}
}

func TestWithoutSizesTheUnfinishedWorkflowsDecideAndTheEventSaysSo(t *testing.T) {
	for want, p := range map[string]preference{"fewest unfinished Workflows, 1,": {}, "most unfinished Workflows, 3,": {isPack: true}} {
		best, _ := pick([]*node{loaded("a", 3, 0), loaded("b", 1, 0)}, hubworkflow.Of(gen.Workflow("hello")), p, now,
			func(*node) *cluster.Problem { return nil })
		require.NotNil(t, best)
		assert.Contains(t, best.explain(2, p, now), "of the 2 clusters of its Placement, that with the "+want)
	}
}

func TestPickSaysOnceAndInOneOrderWhyNoneIsUsable(t *testing.T) {
	kinds := map[string]string{"a": "z", "b": "y", "c": "z", "d": "x"}
	best, problems := pick([]*node{loaded("c", 0, 1), loaded("d", 9, 0), loaded("a", 1, 7), loaded("b", 0, 3)},
		hubworkflow.Of(gen.Workflow("hello")), preferenceOf(nil), now, func(n *node) *cluster.Problem { return &cluster.Problem{Kind: kinds[n.Name]} })
	assert.Nil(t, best)
	assert.Equal(t, []string{"x", "y", "z"}, problems)
}

func TestABurstIsSpreadInProportionToTheCapacity(t *testing.T) {
	const burst = 200
	random := rand.New(rand.NewPCG(7, 12))
	for range 50 {
		c := newCache(gen.HubID)
		var total int64
		for i := range 3 {
			n := loaded("cluster"+strconv.Itoa(i), 0, 1000+random.Int64N(64_000))
			n.Managed = gen.ManagedCluster(n.Name)
			c.keep(n)
			total += n.milliCPU
		}
		for i := range burst {
			wf := hubworkflow.Of(gen.Workflow("hello-" + strconv.Itoa(i)))
			candidates := []*node{c.node("cluster0"), c.node("cluster1"), c.node("cluster2")}
			best, _ := pick(candidates, wf, preferenceOf(nil), now, func(*node) *cluster.Problem { return nil })
			c.assume(wf, best.Name)
		}
		for name, n := range c.nodes {
			share := float64(burst) * float64(n.milliCPU) / float64(total)
			assert.LessOrEqual(t, math.Abs(share-float64(n.unfinished)), 2.0, "%s has %d of %d, its share is %.1f", name, n.unfinished, burst, share)
		}
	}
}
