package placement

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"

	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

const available = addonv1beta1.ManagedClusterAddOnConditionAvailable

func usable(name string, unfinished int, mods ...gen.Mod) candidate {
	return candidate{
		name:       name,
		cluster:    gen.ManagedCluster(name, mods...),
		addon:      gen.ManagedClusterAddOn(name),
		unfinished: unfinished,
	}
}

func TestPick(t *testing.T) {
	cpu := gen.WithAllocatableCPU
	itself := usable("a", 0)
	itself.isHub = true
	tests := map[string]struct {
		candidates []candidate
		want       string
	}{
		"the only one":                        {[]candidate{usable("a", 9)}, "a"},
		"fewest unfinished wins":              {[]candidate{usable("a", 3), usable("b", 1), usable("c", 2)}, "b"},
		"of equals the first by name":         {[]candidate{usable("c", 1), usable("a", 1), usable("b", 1)}, "a"},
		"idle ones are equals":                {[]candidate{usable("b", 0), usable("a", 0)}, "a"},
		"the hub itself does not count":       {[]candidate{itself, usable("b", 100)}, "b"},
		"an unusable one does not count":      {[]candidate{{name: "a"}, usable("b", 100)}, "b"},
		"twice the CPU bears twice as many":   {[]candidate{usable("a", 2, cpu("4")), usable("b", 4, cpu("8"))}, "b"},
		"twice the CPU bears no more":         {[]candidate{usable("a", 2, cpu("4")), usable("b", 6, cpu("8"))}, "a"},
		"equal for their CPU: by name":        {[]candidate{usable("b", 1, cpu("4")), usable("a", 3, cpu("8"))}, "a"},
		"of idle ones the larger":             {[]candidate{usable("a", 0, cpu("4")), usable("b", 0, cpu("8"))}, "b"},
		"thousandths of a core count":         {[]candidate{usable("a", 0, cpu("1500m")), usable("b", 0, cpu("1501m"))}, "b"},
		"one without capacity: all are equal": {[]candidate{usable("a", 2, cpu("4")), usable("b", 4, cpu("64")), usable("c", 1)}, "c"},
		"a zero is no capacity":               {[]candidate{usable("a", 1, cpu("0")), usable("b", 2, cpu("64"))}, "a"},
		"an unusable one without capacity does not make all equal": {
			[]candidate{usable("a", 2, cpu("4")), usable("b", 4, cpu("64")), {name: "c"}}, "b",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cluster, problem := pick(test.candidates)
			assert.Equal(t, test.want, cluster)
			assert.Empty(t, problem)
		})
	}
}

func TestPickSaysWhyNoneIsUsable(t *testing.T) {
	deleted := usable("b", 0)
	deleted.cluster.DeletionTimestamp = &gen.Time
	cluster, problem := pick([]candidate{deleted, {name: "a"}})
	assert.Empty(t, cluster)
	assert.Equal(t, "a: no such ManagedCluster; b: being detached", problem, "sorted, so that the same message is not written anew")
}

func TestUnusable(t *testing.T) {
	tests := map[string]struct {
		change func(*candidate)
		want   string
	}{
		"nothing is wrong":              {func(*candidate) {}, ""},
		"there is no such cluster":      {func(c *candidate) { c.cluster = nil }, "no such ManagedCluster"},
		"the cluster is being detached": {func(c *candidate) { c.cluster.DeletionTimestamp = &gen.Time }, "being detached"},
		"the addon is not enabled":      {func(c *candidate) { c.addon = nil }, "addon not enabled"},
		"the addon is being disabled":   {func(c *candidate) { c.addon.DeletionTimestamp = &gen.Time }, "addon being disabled"},
		"the addon has not reported":    {func(c *candidate) { c.addon.Status.Conditions = nil }, "addon not available yet"},
		"the agent is down": {
			func(c *candidate) {
				gen.WithCondition(available, metav1.ConditionFalse, "Down", "its Lease is old")(c.addon)
			},
			"addon not available: its Lease is old",
		},
		"the cluster is unreachable": {
			func(c *candidate) { gen.WithCondition(available, metav1.ConditionUnknown, "Lost", "no Lease")(c.addon) },
			"addon not available: no Lease",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := usable("a", 0)
			test.change(&c)
			assert.Equal(t, test.want, c.unusable())
		})
	}
}

func TestMilliCPUPrefersWhatPodsCanHave(t *testing.T) {
	list := func(cpu string) clusterv1.ResourceList {
		return clusterv1.ResourceList{clusterv1.ResourceCPU: resource.MustParse(cpu)}
	}
	c := usable("a", 0)
	assert.Zero(t, c.milliCPU())
	c.cluster.Status.Capacity = list("8")
	assert.EqualValues(t, 8000, c.milliCPU())
	c.cluster.Status.Allocatable = list("7500m")
	assert.EqualValues(t, 7500, c.milliCPU())
}

func TestOfManyClustersWithTheSameProblemSomeAreNamed(t *testing.T) {
	var candidates []candidate
	for _, name := range []string{"g", "f", "e", "d", "c", "b", "a"} {
		candidates = append(candidates, candidate{name: name, cluster: gen.ManagedCluster(name)})
	}
	_, problem := pick(append(candidates, candidate{name: "z"}))
	assert.Equal(t, "a, b, c, d, e and 2 more: addon not enabled; z: no such ManagedCluster", problem)
}
