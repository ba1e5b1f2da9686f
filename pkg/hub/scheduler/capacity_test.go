package scheduler

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1alpha1 "open-cluster-management.io/api/cluster/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// requesting lets the only pod of a Workflow request this.
func requesting(cpu, memory string) gen.Mod {
	return gen.WithSpecField([]any{map[string]any{"name": "main", "container": map[string]any{
		"image": "hello", "resources": map[string]any{"requests": map[string]any{"cpu": cpu, "memory": memory}},
	}}}, "templates")
}

func unchecked() gen.Mod {
	return gen.WithAnnotations(map[string]string{contract.AnnotationCheckResources: "false"})
}

func limited(value string) gen.Mod {
	return gen.WithAnnotations(map[string]string{contract.AnnotationMaxWorkflows: value})
}

// with returns a changed copy.
func with(wf *unstructured.Unstructured, mods ...gen.Mod) *unstructured.Unstructured {
	out := wf.DeepCopy()
	for _, mod := range mods {
		mod(out)
	}
	return out
}

func TestAWorkflowWaitsForRoomAndSaysForWhat(t *testing.T) {
	direct, placed := gen.Workflow("hello", gen.WithCluster(cluster1)), gen.Workflow("hello", gen.WithPlacement("p"))
	selects := func(clusters ...string) []client.Object {
		return append(open(), gen.Placement("p"), gen.PlacementDecision("p", 1, clusters))
	}
	boundWith := func(annotation, value string) []client.Object {
		return objects(surroundings()[0], surroundings()[2:4], gen.ManagedClusterSetBinding(gen.GlobalSet,
			gen.WithAnnotations(map[string]string{annotation: value})))
	}
	running := gen.Workflow("running", gen.WithAssignment("cluster2"), gen.WithHubStatus("Running"))
	tests := map[string]waitingTest{
		"its cluster is at its cap": {direct, objects(surroundings(), gen.ManagedCluster(cluster1, limited("0"))), "AtCap", []string{
			`waiting for managed cluster "cluster1": it is at its cap of 0 unfinished Workflows`,
		}},
		"all are at their cap": {
			placed, objects(selects(cluster1, "cluster2"), surroundings()[2:6], gen.ManagedCluster(cluster1, limited("0")),
				gen.ManagedCluster("cluster2", limited("1")), running), "AtCap",
			[]string{`waiting: all 2 clusters that Placement "p" selects are at their cap of unfinished Workflows`},
		},
		"some are at their cap": {
			placed, objects(selects(cluster1, "b"), surroundings()[2:4], gen.ManagedCluster(cluster1, limited("0")), gen.ManagedCluster("b")),
			"NoUsableCluster", []string{"addon not enabled; at their cap of unfinished Workflows"},
		},
		"a cap that is no number lets nothing pass": {
			direct, objects(surroundings(), gen.ManagedCluster(cluster1, limited("many"))), "InvalidCap", []string{`"many"`, contract.AnnotationMaxWorkflows},
		},
		"nor does one below zero": {direct, objects(surroundings(), gen.ManagedCluster(cluster1, limited("-1"))), "InvalidCap", []string{`"-1"`}},
		"its namespace is at its cap": {
			direct, boundWith(contract.AnnotationMaxWorkflows, "0"), "AtCap",
			[]string{"namespace default is at its cap of 0 unfinished Workflows by ManagedClusterSetBinding global"},
		},
		"the cap of its namespace is no number": {
			direct, boundWith(contract.AnnotationMaxWorkflows, "1e3"), "InvalidBinding", []string{"ManagedClusterSetBinding global alone", `"1e3"`},
		},
		"its binding opens a namespace of Kubernetes": {
			direct, boundWith(contract.AnnotationNamespaces, "a,kube-system"), "InvalidBinding", []string{"kube-system"},
		},
		"its binding names what is no namespace": {direct, boundWith(contract.AnnotationNamespaces, "a,,B"), "InvalidBinding", []string{`"B"`}},
		"its binding opens another namespace": {
			with(direct, inRemoteNamespace("team-b")), boundWith(contract.AnnotationNamespaces, "team-a"), "NamespaceNotAllowed",
			[]string{"may not run in namespace team-b", contract.AnnotationNamespaces},
		},
		"any namespace is none of OCM's": {
			with(direct, inRemoteNamespace("open-cluster-management-agent")), boundWith(contract.AnnotationNamespaces, "*"), "NamespaceNotAllowed",
			[]string{"open-cluster-management-agent"},
		},
		"no node is large enough": {
			with(direct, requesting("9", "1Gi")), objects(surroundings(), gen.Score(cluster1, gen.Nodes(40, 8))), "ClusterTooSmall",
			[]string{"the largest pod requests 9 CPU, 1Gi memory", contract.AnnotationCheckResources},
		},
		"no node of any is large enough": {
			with(placed, requesting("1", "33Gi")), objects(selects(cluster1), surroundings()[2:4], gen.Score(cluster1, gen.Nodes(40, 8))),
			"NoUsableCluster", []string{"too small for the largest pod"},
		},
		"its Placement wants what there is not": {
			placed, objects(surroundings(), gen.Placement("p", gen.WithAnnotations(map[string]string{contract.AnnotationStrategy: "best"}))),
			"InvalidPlacement", []string{`Placement "p"`, `"best" is neither spread nor pack`},
		},
		"its Placement has weights that say nothing": {
			placed, objects(surroundings(), gen.Placement("p", gen.WithAnnotations(map[string]string{contract.AnnotationWeights: "cpu=0,memory=0,pods=0"}))),
			"InvalidPlacement", []string{"not all 0"},
		},
	}
	for name, test := range tests {
		t.Run(name, test.run)
	}
}

// fleet is clusters with the addon that Placement p selects, each with what its agent reports to be free.
func fleet(capacities ...contract.Capacity) []client.Object {
	out := append(open(), gen.Placement("p"))
	var names []string
	for i, capacity := range capacities {
		name := fmt.Sprintf("cluster%d", i+1)
		names = append(names, name)
		out = append(out, gen.ManagedCluster(name), gen.ManagedClusterAddOn(name), gen.Score(name, capacity))
	}
	return append(out, gen.PlacementDecision("p", 1, names))
}

// used takes so many thousandths of a core, and of the rest a like share, from what is free of a cluster.
func used(c contract.Capacity, milliCPU int64) contract.Capacity {
	c.Free = c.Free.Minus(contract.Resources{MilliCPU: milliCPU, Memory: 4 * milliCPU << 30 / 1000, Pods: milliCPU / 100})
	if c.Free.MilliCPU == 0 {
		c.LargestFree = []contract.Resources{{}}
	}
	return c
}

// assignedOf counts where the Workflows are.
func (h *harness) assignedOf(wfs []*unstructured.Unstructured) map[string]int {
	counts := map[string]int{}
	for _, wf := range wfs {
		counts[h.clusterOf(wf.DeepCopy())]++
	}
	return counts
}

func TestABurstGoesWhereThereIsRoom(t *testing.T) {
	invalid := gen.Score("cluster2", gen.Nodes(4, 2))
	invalid.Status.Conditions[0].Message = `{"nodes":4,"free":{"milliCPU":9223372036854775807}}`
	pack := gen.WithAnnotations(map[string]string{contract.AnnotationStrategy: contract.StrategyPack})
	tests := map[string]struct {
		objects []client.Object
		want    map[string]int
	}{
		"in proportion to the size": {fleet(gen.Nodes(2, 4), gen.Nodes(4, 4), gen.Nodes(6, 4)), map[string]int{"cluster1": 20, "cluster2": 40, "cluster3": 60}},
		"a busy one gets less":      {fleet(gen.Nodes(4, 4), used(gen.Nodes(4, 4), 8_000)), map[string]int{"cluster1": 100, "cluster2": 20}},
		"a full one gets none":      {fleet(gen.Nodes(4, 4), used(gen.Nodes(4, 4), 16_000)), map[string]int{"cluster1": 120}},
		"one by one until it is full": {
			append(fleet(gen.Nodes(1, 4), gen.Nodes(4, 4)), gen.Placement("p", pack)), map[string]int{"cluster1": 40, "cluster2": 80},
		},
		"a report that cannot be used counts for none: there, only CPU is compared": {
			append(fleet(gen.Nodes(4, 2), gen.Nodes(4, 2)), invalid, gen.ManagedCluster("cluster2", gen.WithAllocatableCPU("8"))),
			map[string]int{"cluster1": 69, "cluster2": 51},
		},
		"only memory counts": {
			append(fleet(gen.Nodes(4, 4), used(gen.Nodes(4, 4), 8_000)), gen.Placement("p",
				gen.WithAnnotations(map[string]string{contract.AnnotationWeights: "cpu=0,pods=0"}))),
			map[string]int{"cluster1": 100, "cluster2": 20},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wfs := workflows(120, gen.WithPlacement("p"), requesting("100m", "400Mi"))
			h := newHarness(t, objects(test.objects, wfs)...)
			h.Recorder = discard{}
			h.run()
			got := h.assignedOf(wfs)
			for name, want := range test.want {
				assert.InDelta(t, want, got[name], 0.05*120, "%v", got)
			}
			assert.Len(t, got, len(test.want))
		})
	}
}

func TestTheEventSaysWhyInNumbers(t *testing.T) {
	h := newHarness(t, append(fleet(gen.Nodes(1, 4), used(gen.Nodes(2, 4), 1000)),
		gen.Workflow("a", gen.WithPlacement("p")), gen.Workflow("b", gen.WithPlacement("p")))...)
	h.run()
	assert.Equal(t, []string{
		"Normal Scheduled assigned to cluster cluster1: of the 2 clusters of its Placement, that with the most free where it may go: 4 of 4 CPU, 16Gi of 16Gi memory, 100 of 100 pods, " +
			"less what 0 Workflows assigned since request",
		"Normal Scheduled assigned to cluster cluster1: of the 2 clusters of its Placement, that with the most free where it may go: 3900m of 4 CPU, 16184Mi of 16Gi memory, 99 of 100 pods, " +
			"less what 1 Workflows assigned since request",
	}, h.hub.Events())
}

func TestWhatIsAssumedCountsUntilItIsMeasured(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithPlacement("p"), requesting("1", "1Gi"))
	h := newHarness(t, append(fleet(gen.Nodes(1, 4)), wf)...)
	h.run()
	expected := func() int64 { return h.cache.node(cluster1).expected.MilliCPU }
	assert.EqualValues(t, 1000, expected())
	before := gen.Score(cluster1, gen.Nodes(1, 4))
	measure := func(c contract.Capacity, version string) {
		after := gen.Score(cluster1, c)
		after.ResourceVersion = version
		h.told(before, after)
		before = after
	}
	measure(gen.Nodes(1, 4), "2")
	assert.EqualValues(t, 1000, expected(), "it has not started, and cannot have been measured")

	assigned := h.show(wf)
	h.told(assigned, with(assigned, gen.WithHubStatus("Running")))
	assert.EqualValues(t, 1000, expected(), "it has started, and nothing was measured since")
	measure(used(gen.Nodes(1, 4), 1000), "2")
	assert.EqualValues(t, 1000, expected(), "that is the same measurement")
	measure(used(gen.Nodes(1, 4), 1000), "3")
	assert.Zero(t, expected())

	h.told(with(assigned, gen.WithHubStatus("Running")), with(assigned, gen.WithHubStatus("Succeeded")))
	assert.Zero(t, expected())
	assert.Empty(t, h.cache.node(cluster1).expectations)
}

func TestAfterARestartWhatHasNotStartedIsExpected(t *testing.T) {
	h := newHarness(t, append(fleet(gen.Nodes(1, 4)), gen.Workflow("waits", gen.WithAssignment(cluster1), requesting("1", "1Gi")),
		gen.Workflow("runs", gen.WithAssignment(cluster1), gen.WithHubStatus("Running"), requesting("2", "1Gi")),
		gen.Workflow("ended", gen.WithAssignment(cluster1), gen.WithHubStatus("Failed"), requesting("2", "1Gi")))...)
	assert.Equal(t, contract.Resources{MilliCPU: 1000, Memory: 1 << 30, Pods: 1}, h.cache.node(cluster1).expected)
	assert.EqualValues(t, 2, h.cache.node(cluster1).unfinished)
}

func TestAnOldMeasurementDoesNotCount(t *testing.T) {
	h := newHarness(t, append(fleet(used(gen.Nodes(4, 4), 16_000), gen.Nodes(1, 1)),
		gen.ManagedCluster("cluster1", gen.WithAllocatableCPU("16")), gen.ManagedCluster("cluster2", gen.WithAllocatableCPU("1")))...)
	choose := func(name string) string {
		wf := gen.Workflow(name, gen.WithPlacement("p"))
		require.NoError(t, h.hub.Create(t.Context(), wf))
		h.told(nil, wf)
		h.run()
		return h.clusterOf(wf)
	}
	assert.Equal(t, "cluster2", choose("a"))
	h.later(maxCapacityAge)
	h.hub.Events()
	assert.Equal(t, "cluster1", choose("b"), "only the unfinished Workflows count then")
	events := h.hub.Events()
	require.Len(t, events, 1)
	assert.Contains(t, events[0], "its agent has not reported lately what is free")
}

func TestWhatAnAgentReportsWronglyIsNotUsedAndTold(t *testing.T) {
	tests := map[string]string{
		"no JSON":                "free: everything",
		"more than there is":     `{"nodes":1,"allocatable":{"milliCPU":1000,"memory":1,"pods":1},"free":{"milliCPU":2000}}`,
		"more than there can be": `{"nodes":1,"allocatable":{"milliCPU":9000000000000000000},"free":{"milliCPU":9000000000000000000}}`,
		"less than nothing":      `{"nodes":-1}`,
		"negative Workflows":     `{"nodes":1,"workflowsRunning":-5}`,
	}
	for name, message := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, fleet(gen.Nodes(1, 4))...)
			score := gen.Score(cluster1, gen.Nodes(1, 4))
			score.ResourceVersion, score.Status.Conditions[0].Message = "2", message
			h.told(gen.Score(cluster1, gen.Nodes(1, 4)), score)
			assert.Nil(t, h.cache.node(cluster1).capacity)
			events := h.hub.Events()
			require.Len(t, events, 1)
			assert.Contains(t, events[0], "Warning CapacityRefused")
		})
	}
}

func TestOfAScoreOnlyTheMeasurementIsKept(t *testing.T) {
	score := gen.Score(cluster1, gen.Nodes(1, 4), gen.WithAnnotations(map[string]string{"a": "b"}),
		gen.WithCondition("Other", metav1.ConditionTrue, "X", "y"))
	for i := range 10_000 {
		score.Status.Scores = append(score.Status.Scores, clusterv1alpha1.AddOnPlacementScoreItem{Name: fmt.Sprint(i)})
	}
	trimmed, err := TrimScore(score)
	require.NoError(t, err)
	assert.Equal(t, gen.Score(cluster1, gen.Nodes(1, 4)), trimmed)
}

func TestNothingIsKeptOfAClusterThatIsGone(t *testing.T) {
	h := newHarness(t, fleet(gen.Nodes(1, 4))...)
	h.told(gen.ManagedCluster(cluster1), nil)
	h.told(gen.ManagedClusterAddOn(cluster1), nil)
	h.told(gen.Score(cluster1, gen.Nodes(1, 4)), nil)
	assert.Empty(t, h.cache.nodes)
}

// end lets a Workflow that was assigned finish.
func (h *harness) end(wf *unstructured.Unstructured) {
	h.t.Helper()
	is := h.show(wf)
	h.told(is, with(is, gen.WithHubStatus("Succeeded")))
}

func TestTheEndOfAWorkflowMakesRoomForTheMostUrgent(t *testing.T) {
	surroundings := append(fleet(gen.Nodes(1, 4), gen.Nodes(1, 4)), gen.ManagedCluster("cluster1", limited("1")), gen.ManagedCluster("cluster2", limited("2")))
	young, old, urgent := gen.Workflow("young", gen.WithPlacement("p"), created(2*time.Hour)), gen.Workflow("old", gen.WithPlacement("p"), created(time.Hour)),
		gen.Workflow("urgent", gen.WithPlacement("p"), created(3*time.Hour), priority(1))
	first := workflows(3, gen.WithPlacement("p"), priority(2))
	elsewhere := gen.Workflow("elsewhere", gen.WithPlacement("q"), created(4*time.Hour))
	h := newHarness(t, objects(surroundings, gen.Placement("q"), gen.PlacementDecision("q", 1, []string{"cluster2"}), first, young, old, urgent, elsewhere)...)
	assert.Equal(t, 7, h.run())
	assert.Equal(t, map[string]int{"cluster1": 1, "cluster2": 2}, h.assignedOf(first))

	on := map[string]*unstructured.Unstructured{}
	for _, wf := range first {
		on[h.clusterOf(wf)] = wf
	}
	h.end(on["cluster1"])
	tries := h.run()
	assert.Equal(t, "cluster1", h.clusterOf(urgent))
	assert.LessOrEqual(t, tries, 4, "not all that wait are tried for the end of one")
	h.end(on["cluster2"])
	h.run()
	assert.Equal(t, "cluster2", h.clusterOf(old))
	h.end(urgent)
	h.run()
	assert.Equal(t, "cluster1", h.clusterOf(young))
	h.end(old)
	h.run()
	assert.Equal(t, "cluster2", h.clusterOf(elsewhere), "another Placement is not kept waiting by the first")
	assert.Empty(t, h.queue.atCap)
}

// Whoever is more urgent and does not fit where there is room holds up nobody who does.
func TestOneThatDoesNotFitHoldsUpNobody(t *testing.T) {
	large, small := gen.ManagedCluster("cluster1", limited("1")), gen.ManagedCluster("cluster2", limited("1"))
	h := newHarness(t, objects(fleet(gen.Nodes(1, 8), gen.Nodes(1, 2)), large, small)...)
	add := func(name, cpu string, mods ...gen.Mod) *unstructured.Unstructured {
		wf := gen.Workflow(name, append([]gen.Mod{gen.WithPlacement("p"), requesting(cpu, "1Gi")}, mods...)...)
		require.NoError(t, h.hub.Create(t.Context(), wf))
		h.told(nil, wf)
		h.run()
		return wf
	}
	first, second := add("first", "7"), add("second", "1")
	require.Equal(t, map[string]int{"cluster1": 1, "cluster2": 1}, h.assignedOf([]*unstructured.Unstructured{first, second}))
	urgent, fits := add("urgent", "7", priority(5)), add("fits", "1")
	h.end(second)
	h.run()
	assert.Equal(t, "cluster2", h.clusterOf(fits))
	assert.Empty(t, h.clusterOf(urgent))
	h.end(first)
	h.run()
	assert.Equal(t, "cluster1", h.clusterOf(urgent))
}

func TestTheRoomOfOneThatIsDeletedBeforeItIsTriedIsForTheNext(t *testing.T) {
	h := newHarness(t, objects(fleet(gen.Nodes(1, 4)), gen.ManagedCluster(cluster1, limited("1")))...)
	first, a, b := gen.Workflow("first", gen.WithPlacement("p")), gen.Workflow("a", gen.WithPlacement("p")), gen.Workflow("b", gen.WithPlacement("p"))
	for _, wf := range []*unstructured.Unstructured{first, a, b} {
		require.NoError(t, h.hub.Create(t.Context(), wf))
		h.told(nil, wf)
		h.run()
	}
	h.end(first)
	h.told(h.show(a), nil) // it has been woken
	h.run()
	assert.Equal(t, cluster1, h.clusterOf(b))
}

func TestAnAssignmentWhoseFateIsNotKnownKeepsItsRoom(t *testing.T) {
	h := newHarness(t, objects(fleet(gen.Nodes(1, 4), gen.Nodes(1, 2)), gen.ManagedCluster(cluster1, limited("1")),
		gen.ManagedCluster("cluster2", limited("0")))...)
	a, b := gen.Workflow("a", gen.WithPlacement("p")), gen.Workflow("b", gen.WithPlacement("p"))
	require.NoError(t, h.hub.Create(t.Context(), a))
	h.told(nil, a)
	h.hub.Fail("patch Workflow", context.DeadlineExceeded)
	h.run()
	h.hub.Fail("patch Workflow", nil)
	require.NoError(t, h.hub.Create(t.Context(), b))
	h.told(nil, b)
	h.run()
	assert.Empty(t, h.clusterOf(b), "the API server may have taken the first one's assignment")
	h.later(time.Minute)
	h.run()
	assert.Equal(t, cluster1, h.clusterOf(a))
	assert.EqualValues(t, 1, h.cache.node(cluster1).unfinished)
}

// withOneName returns a harness with two Workflows, of two namespaces, that are to have one name on a cluster. The first comes first.
func withOneName(t *testing.T, first gen.Mod) (h *harness, a, b *unstructured.Unstructured) {
	t.Helper()
	anywhere, shared := gen.WithAnnotations(map[string]string{contract.AnnotationNamespaces: "*"}), inRemoteNamespace("shared")
	a = gen.Workflow("same", first, shared)
	b = gen.Workflow("same", gen.InNamespace("b"), gen.WithUID("b"), gen.WithCluster(cluster1), shared, created(time.Hour))
	return newHarness(t, objects(fleet(gen.Nodes(1, 4)), gen.ManagedClusterSetBinding(gen.GlobalSet, anywhere),
		gen.ManagedClusterSetBinding(gen.GlobalSet, anywhere, gen.InNamespace("b")), a, b)...), a, b
}

func TestOfTwoWithOneNameOnAClusterOneWaits(t *testing.T) {
	h, a, b := withOneName(t, gen.WithCluster(cluster1))
	h.run()
	assert.Equal(t, cluster1, h.clusterOf(a))
	assert.Empty(t, h.clusterOf(b))
	assert.Contains(t, h.messageOf(b), "waiting for the name shared/same on cluster cluster1")
	h.told(h.show(a), nil)
	h.run()
	assert.Equal(t, cluster1, h.clusterOf(b))
}

// TestANameThatAWorkflowGivesUpIsFree: by the annotation that says in which namespace of the cluster it is to run.
func TestANameThatAWorkflowGivesUpIsFree(t *testing.T) {
	h, a, b := withOneName(t, gen.WithAssignment(cluster1))
	h.run()
	require.Empty(t, h.clusterOf(b))
	h.told(a, with(a, inRemoteNamespace("other")))
	h.run()
	assert.Equal(t, cluster1, h.clusterOf(b))
}

// TestWhatIsNotKnownOfANamespaceMayHaveChanged: bindings are forgotten where there are too many namespaces.
func TestWhatIsNotKnownOfANamespaceMayHaveChanged(t *testing.T) {
	set := gen.ManagedClusterSet("s")
	was, is := gen.ManagedCluster("cluster1"), gen.ManagedCluster("cluster1", gen.InClusterSet("s"))
	waits := gen.Workflow("waits", gen.WithCluster("cluster1"))
	h := newHarness(t, objects(fleet(gen.Nodes(1, 4))[1:], set, gen.ManagedClusterSetBinding("s"), was, waits)...)
	h.run()
	require.Empty(t, h.clusterOf(waits))
	clear(h.cache.bindings)
	h.told(was, is)
	h.run()
	assert.Equal(t, "cluster1", h.clusterOf(waits))
}

func TestAnExecutorThatIsCorrectedEndsTheWait(t *testing.T) {
	executor := func(value string) gen.Mod {
		return gen.WithAnnotations(map[string]string{contract.AnnotationExecutor: value})
	}
	wrong := gen.ManagedClusterSetBinding(gen.GlobalSet, executor("team"))
	wf := gen.Workflow("hello", gen.WithPlacement("p"))
	h := newHarness(t, objects(fleet(gen.Nodes(1, 4)), wrong, wf)...)
	h.run()
	assert.Empty(t, h.clusterOf(wf))
	right := wrong.DeepCopy()
	executor("team/runner")(right)
	require.NoError(t, h.hub.Patch(t.Context(), right.DeepCopy(), client.MergeFrom(wrong)))
	h.told(wrong, right)
	h.run()
	assert.Equal(t, cluster1, h.clusterOf(wf))
}

func TestOneThatIsTooLargeIsTriedWhenItsUserHasChangedIt(t *testing.T) {
	for name, change := range map[string]gen.Mod{
		"it is not to be checked": unchecked(), "it requests less": requesting("1", "1Gi"),
		"it tolerates": gen.WithSpecField([]any{map[string]any{"operator": "Exists"}}, "tolerations"),
	} {
		t.Run(name, func(t *testing.T) {
			wf := gen.Workflow("hello", gen.WithPlacement("p"), requesting("9", "1Gi"))
			h := newHarness(t, append(fleet(gen.Nodes(1, 4)), wf)...)
			h.run()
			waits := h.show(wf)
			changed := with(waits, change)
			require.NoError(t, h.hub.Patch(t.Context(), changed.DeepCopy(), client.MergeFrom(waits)))
			h.show(waits)
			h.run()
			assert.Equal(t, cluster1, h.clusterOf(wf))
		})
	}
}

func TestANameWhoseHolderIsRefusedIsFree(t *testing.T) {
	h, _, b := withOneName(t, gen.WithCluster(cluster1))
	first, _ := h.next(t.Context())
	require.Equal(t, "default", first.wf.GetNamespace())
	second, _ := h.next(t.Context())
	h.finish(second, unschedulable)
	h.finish(first, refused)
	h.run()
	assert.Equal(t, cluster1, h.clusterOf(b))
}

func TestAClusterThatLeavesItsSetMakesRoomForTheNamespace(t *testing.T) {
	for name, change := range map[string]func(*harness){
		"it is gone": func(h *harness) { h.told(gen.ManagedCluster("cluster1"), nil) },
		"it is relabelled": func(h *harness) {
			h.told(gen.ManagedCluster("cluster1", gen.InClusterSet("s")), gen.ManagedCluster("cluster1", gen.InClusterSet("other")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			set := gen.ManagedClusterSet("s")
			h := newHarness(t, objects(fleet(gen.Nodes(1, 4), gen.Nodes(1, 4))[2:], set, gen.ManagedClusterSetBinding("s", limited("1")),
				gen.ManagedCluster("cluster1", gen.InClusterSet("s")), gen.ManagedCluster("cluster2", gen.InClusterSet("s")),
				gen.Workflow("running", gen.WithAssignment("cluster1"), gen.WithHubStatus("Running")))...)
			waits := gen.Workflow("waits", gen.WithCluster("cluster2"))
			require.NoError(t, h.hub.Create(t.Context(), waits))
			h.told(nil, waits)
			h.run()
			require.Empty(t, h.clusterOf(waits))
			change(h)
			h.run()
			assert.Equal(t, "cluster2", h.clusterOf(waits))
		})
	}
}

func TestAMeasurementFromBeforeTheStartThatHasExpiredDoesNotCount(t *testing.T) {
	score := gen.Score(cluster1, gen.Nodes(1, 4))
	score.Status.ValidUntil = &metav1.Time{Time: gen.Time.Add(-time.Hour)}
	h := newHarness(t, append(fleet(gen.Nodes(1, 4)), score)...)
	assert.Nil(t, h.cache.node(cluster1).capacityAt(h.clock.Now()))
}

func TestACapThatIsRaisedFreesAsManyAsThereIsRoomFor(t *testing.T) {
	wfs := workflows(10, gen.WithPlacement("p"))
	small := gen.ManagedCluster(cluster1, limited("2"))
	h := newHarness(t, objects(fleet(gen.Nodes(1, 4)), small, wfs)...)
	h.run()
	assert.Equal(t, map[string]int{"": 8, cluster1: 2}, h.assignedOf(wfs))
	larger := gen.ManagedCluster(cluster1, limited("5"))
	h.told(small, larger)
	h.run()
	assert.Equal(t, map[string]int{"": 5, cluster1: 5}, h.assignedOf(wfs))
	h.told(larger, gen.ManagedCluster(cluster1))
	h.run()
	assert.Equal(t, map[string]int{cluster1: 10}, h.assignedOf(wfs))
}

func TestTheCapOfANamespaceCountsWhatItHasInItsSet(t *testing.T) {
	binding := gen.ManagedClusterSetBinding(gen.GlobalSet, limited("3"))
	wfs := workflows(5, gen.WithPlacement("p"))
	other := gen.Workflow("other", gen.InNamespace("elsewhere"), gen.WithAssignment("cluster1"), gen.WithHubStatus("Running"))
	h := newHarness(t, objects(fleet(gen.Nodes(1, 4), gen.Nodes(1, 4)), binding, other, wfs)...)
	h.run()
	got := h.assignedOf(wfs)
	assert.Equal(t, 3, got["cluster1"]+got["cluster2"])
	for _, wf := range wfs {
		if h.clusterOf(wf) != "" {
			h.end(wf)
			break
		}
	}
	h.run()
	got = h.assignedOf(wfs)
	assert.Equal(t, 4, got["cluster1"]+got["cluster2"])
	higher := binding.DeepCopy()
	limited("10")(higher)
	require.NoError(t, h.hub.Patch(t.Context(), higher.DeepCopy(), client.MergeFrom(binding)))
	h.told(binding, higher)
	h.run()
	assert.Zero(t, h.assignedOf(wfs)[""])
}

// However events and decisions follow each other, no cap is exceeded, nothing that fits waits, and all is counted right.
func TestCapsHoldWhateverHappens(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 3))
			caps := map[string]int64{"cluster1": random.Int64N(4), "cluster2": 1 + random.Int64N(6)}
			h := newHarness(t, objects(fleet(gen.Nodes(1, 4), gen.Nodes(3, 4)), gen.ManagedCluster("cluster1", limited(fmt.Sprint(caps["cluster1"]))),
				gen.ManagedCluster("cluster2", limited(fmt.Sprint(caps["cluster2"]))))...)
			h.Recorder = discard{}
			var waiting, running []*unstructured.Unstructured
			for i := range 60 {
				switch random.IntN(3) {
				case 0:
					wf := gen.Workflow(fmt.Sprintf("wf-%d", i), gen.WithPlacement("p"), priority(random.Int64N(3)))
					require.NoError(t, h.hub.Create(t.Context(), wf))
					h.told(nil, wf)
					waiting = append(waiting, wf)
				case 1:
					if len(running) > 0 {
						n := random.IntN(len(running))
						h.end(running[n])
						running = slices.Delete(running, n, n+1)
					}
				default:
					h.run()
				}
				waiting = slices.DeleteFunc(waiting, func(wf *unstructured.Unstructured) bool {
					isAssigned := h.clusterOf(wf) != ""
					if isAssigned {
						running = append(running, wf)
					}
					return isAssigned
				})
				on := map[string]int64{}
				for _, wf := range running {
					on[contract.AssignedCluster(wf)]++
				}
				for name, limit := range caps {
					require.LessOrEqual(t, on[name], limit)
					require.Equal(t, on[name], h.cache.node(name).unfinished)
				}
			}
			h.run()
			var room int64
			for name, limit := range caps {
				room += limit - h.cache.node(name).unfinished
			}
			left := h.assignedOf(waiting)[""]
			require.True(t, room == 0 || left == 0, "%d wait, and there is room for %d", left, room)
		})
	}
}
