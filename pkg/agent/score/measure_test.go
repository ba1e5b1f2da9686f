package score

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

func ofWorkflow(p *corev1.Pod) { p.Labels = map[string]string{labelWorkflow: "one"} }

func runs(image string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Image = image }
}

func cordoned(n *corev1.Node) { n.Spec.Unschedulable = true }

func TestWhatAClusterHas(t *testing.T) {
	small, large := list("4", "8Gi", "10"), list("8", "16Gi", "10")
	smallAmounts := contract.Resources{MilliCPU: 4000, Memory: 8 << 30, Pods: 10}
	amountsOf := func(cpu, memory, pods int64) contract.Resources {
		return contract.Resources{MilliCPU: cpu, Memory: memory, Pods: pods}
	}
	largest := func(nodes ...contract.Resources) []contract.Resources { return nodes }
	for name, test := range map[string]struct {
		objects []metav1.Object
		want    contract.Capacity
	}{
		"is nothing without nodes": {nil, contract.Capacity{}},
		"is nothing without nodes that count, whatever runs there": {
			[]metav1.Object{newNode("a", small, cordoned), newPod("p", "a", list("1", "", "")), newPod("q", "", list("1", "", ""))},
			contract.Capacity{},
		},
		"is what its nodes offer": {
			[]metav1.Object{newNode("a", small), newNode("b", small), newNode("c", large, cordoned)},
			contract.Capacity{
				Nodes: 2, Allocatable: amountsOf(8000, 16<<30, 20), Free: amountsOf(8000, 16<<30, 20),
				LargestAllocatable: largest(smallAmounts), LargestFree: largest(smallAmounts),
			},
		},
		"is less by what pods on its nodes request": {
			[]metav1.Object{
				newNode("a", small), newNode("b", large), newPod("p", "b", list("6", "1Gi", "")), newPod("q", "b", list("1", "", "")),
				newPod("r", "cordoned", list("1", "", "")),
			},
			contract.Capacity{
				Nodes: 2, Allocatable: amountsOf(12000, 24<<30, 20), Free: amountsOf(5000, 23<<30, 18),
				LargestAllocatable: largest(amountsOf(8000, 16<<30, 10)),
				LargestFree:        largest(smallAmounts, amountsOf(1000, 15<<30, 8)),
			},
		},
		"is less by what waits, of no node's": {
			[]metav1.Object{newNode("a", small), newPod("p", "", list("4", "", "")), newPod("q", "", list("4", "", ""))},
			contract.Capacity{
				Nodes: 1, Allocatable: smallAmounts, Free: amountsOf(-4000, 8<<30, 8),
				LargestAllocatable: largest(smallAmounts), LargestFree: largest(smallAmounts),
			},
		},
		"is not less by what waits and fits no node": {
			[]metav1.Object{newNode("a", small), newPod("p", "", list("9223372036854775807", "1", "")), newPod("q", "", list("1", "9Gi", ""))},
			contract.Capacity{
				Nodes: 1, Allocatable: smallAmounts, Free: smallAmounts,
				LargestAllocatable: largest(smallAmounts), LargestFree: largest(smallAmounts),
			},
		},
		"has Workflows and their pods": {
			[]metav1.Object{
				newWorkflow("a", "Running"), newWorkflow("b", "Pending"), newWorkflow("c", ""), newWorkflow("d", "Succeeded"),
				newPod("p", "elsewhere", nil, ofWorkflow), newPod("q", "", nil, ofWorkflow), newPod("r", "", nil),
			},
			contract.Capacity{WorkflowsRunning: 1, WorkflowsPending: 2, WorkflowPods: 2},
		},
		"has the oldest Argo whose version its image tells": {
			[]metav1.Object{
				newPod("a", "", nil, runs("quay.io/argoproj/workflow-controller:v4.0.6")),
				newPod("b", "", nil, runs("registry.example:5000/mirror/workflow-controller:v3.7.18@sha256:0123")),
				newPod("c", "", nil, runs("quay.io/argoproj/workflow-controller:latest")),
				newPod("d", "", nil, runs("workflow-controller@sha256:0123")),
				newPod("e", "", nil, runs("quay.io/argoproj/argoexec:v3.4.2")),
				newPod("f", "", nil, runs("registry.example:5000/other-workflow-controller:v1.2.3")),
				newPod("g", "", nil, runs("workflow-controller:v0.1"+strings.Repeat("0", 200))),
			},
			contract.Capacity{ArgoVersion: "v3.7.18"},
		},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, test.want, rowsOf(test.objects...).measure()) })
	}
}

func TestAbsurdNodesAndPodsAreMeasured(t *testing.T) {
	const most = "9223372036854775807"
	capacity := rowsOf(
		newNode("huge", list(most, most, most)), newNode("huge too", list(most, most, most)), newNode("negative", list("-1", "-1", "-1")),
		newPod("huge", "huge", list(most, most, "")), newPod("huge too", "huge", list(most, most, "")),
		newPod("waits", "", list(most, most, "")), newPod("waits, too", "", list(most, most, "")),
	).measure()
	assert.Equal(t, contract.Resources{MilliCPU: math.MaxInt64, Memory: math.MaxInt64, Pods: math.MaxInt64}, capacity.Allocatable)
	assert.Zero(t, capacity.Free.MilliCPU)
	condition, err := capacity.Condition(metav1.Now())
	require.NoError(t, err)
	_, err = contract.ReadCapacity(condition.Message)
	require.NoError(t, err)
	for _, score := range scores(capacity) {
		assert.LessOrEqual(t, score.Value, int32(100), score.Name)
		assert.GreaterOrEqual(t, score.Value, int32(-100), score.Name)
	}
}

// Nothing depends on the order in which maps are read, and the sums are those of a plain calculation.
func TestAnyClusterIsMeasuredTheSameEachTime(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 0))
		var objects []metav1.Object
		var want contract.Capacity
		for i := range random.IntN(60) {
			cpu, memory, pods := random.Int64N(20), random.Int64N(20), random.Int64N(20)
			objects = append(objects, newNode(fmt.Sprint(i), list(fmt.Sprint(cpu), fmt.Sprint(memory), fmt.Sprint(pods))))
			want.Nodes++
			want.Allocatable = want.Allocatable.Plus(contract.Resources{MilliCPU: 1000 * cpu, Memory: memory, Pods: pods})
		}
		free := want.Allocatable
		for i := range random.IntN(300) {
			on := random.IntN(90)
			objects = append(objects, newPod(fmt.Sprint(i), fmt.Sprint(on), list("10m", "1", "")))
			if on < int(want.Nodes) {
				free = free.Minus(contract.Resources{MilliCPU: 10, Memory: 1, Pods: 1})
			}
		}
		capacity := rowsOf(objects...).measure()
		assert.Equal(t, want.Nodes, capacity.Nodes)
		assert.Equal(t, want.Allocatable, capacity.Allocatable)
		assert.Equal(t, free, capacity.Free)
		for _, front := range [][]contract.Resources{capacity.LargestAllocatable, capacity.LargestFree} {
			assert.LessOrEqual(t, len(front), contract.MaxLargest)
			for i, one := range front {
				for j, other := range front {
					assert.True(t, i == j || !one.Fits(other), "%v of %v", one, front)
				}
			}
		}
		random.Shuffle(len(objects), func(i, j int) { objects[i], objects[j] = objects[j], objects[i] })
		require.Equal(t, capacity, rowsOf(objects...).measure())
	}
}

func TestTheFrontHasWhatNoOtherExceeds(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		nodes := make([]contract.Resources, random.IntN(50))
		for i := range nodes {
			nodes[i] = contract.Resources{MilliCPU: random.Int64N(8), Memory: random.Int64N(8), Pods: random.Int64N(8)}
		}
		kept := front(slices.Clone(nodes))
		for _, n := range nodes {
			assert.True(t, slices.ContainsFunc(kept, n.Fits), "a pod for %v fits one of %v", n, kept)
			exceeded := slices.ContainsFunc(nodes, func(other contract.Resources) bool { return other != n && n.Fits(other) })
			assert.Equal(t, !exceeded, slices.Contains(kept, n), "%v of %v", n, nodes)
		}
	}
}

func TestOfManyNodesTheLargestOfEachKindAreKept(t *testing.T) {
	var nodes []contract.Resources
	for i := range int64(100) {
		nodes = append(nodes, contract.Resources{MilliCPU: i, Memory: 99 - i, Pods: (i * 37) % 100})
	}
	kept := largest(front(nodes))
	assert.Len(t, kept, contract.MaxLargest)
	assert.True(t, slices.IsSortedFunc(kept, descending))
	for _, n := range []contract.Resources{{MilliCPU: 99, Memory: 0, Pods: 63}, {MilliCPU: 0, Memory: 99, Pods: 0}, {MilliCPU: 27, Memory: 72, Pods: 99}} {
		assert.Contains(t, kept, n)
	}
}

func TestScores(t *testing.T) {
	all := contract.Resources{MilliCPU: 1000, Memory: 1000, Pods: 10}
	for name, test := range map[string]struct {
		capacity contract.Capacity
		want     [5]int32
	}{
		"of nothing":                 {contract.Capacity{}, [5]int32{-100, -100, -100, -100, 100}},
		"of an empty cluster":        {contract.Capacity{Allocatable: all, Free: all}, [5]int32{100, 100, 100, 100, 100}},
		"of a full cluster":          {contract.Capacity{Allocatable: all, WorkflowsRunning: 10, WorkflowsPending: 100}, [5]int32{-100, -100, -100, -100, -100}},
		"of one where pods wait":     {contract.Capacity{Allocatable: all, Free: contract.Resources{MilliCPU: -1, Memory: -1000, Pods: math.MinInt64}}, [5]int32{-100, -100, -100, 100, 100}},
		"of one that is partly used": {contract.Capacity{Allocatable: all, Free: contract.Resources{MilliCPU: 500, Memory: 503, Pods: 9}, WorkflowsRunning: 3, WorkflowsPending: 7}, [5]int32{0, 1, 80, 40, 86}},
		"of more Workflows than pods": {
			contract.Capacity{Allocatable: all, Free: all, WorkflowsRunning: math.MaxInt64, WorkflowsPending: math.MaxInt64},
			[5]int32{100, 100, 100, -100, -100},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var values [5]int32
			for i, score := range scores(test.capacity) {
				assert.Equal(t, []string{"cpuFree", "memoryFree", "podsFree", "workflowsRunning", "workflowsPending"}[i], score.Name)
				values[i] = score.Value
			}
			assert.Equal(t, test.want, values)
		})
	}
}
