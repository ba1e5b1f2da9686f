package placement

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1beta1 "open-cluster-management.io/api/cluster/v1beta1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// surroundings are two clusters with the addon, and a Placement that selects both.
func surroundings() []client.Object {
	return []client.Object{
		gen.ManagedCluster("cluster1"), gen.ManagedClusterAddOn("cluster1"),
		gen.ManagedCluster("cluster2"), gen.ManagedClusterAddOn("cluster2"),
		gen.Placement("anywhere"), gen.PlacementDecision("anywhere", 1, []string{"cluster1", "cluster2"}),
	}
}

func newReconciler(t *testing.T, objects ...client.Object) (*Reconciler, *fakehub.Hub) {
	t.Helper()
	hub := fakehub.New(t, addIndexes, objects...)
	return &Reconciler{Client: hub, Recorder: hub.Recorder}, hub
}

func run(t *testing.T, r *Reconciler, wf *unstructured.Unstructured) error {
	t.Helper()
	result, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(wf)})
	assert.Zero(t, result, "nothing is polled")
	return err
}

func TestAssignsTheClusterThatThePlacementSelects(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithPlacement("anywhere"))
	r, hub := newReconciler(t, append(surroundings(), wf)...)
	require.NoError(t, run(t, r, wf))

	assert.Equal(t, []string{"patch Workflow default/hello"}, hub.Writes())
	require.True(t, hub.Show(wf))
	assert.Equal(t, "cluster1", contract.AssignedCluster(wf))
	assert.Equal(t, "cluster1", wf.GetAnnotations()[contract.AnnotationCluster])
	assert.Contains(t, wf.GetFinalizers(), contract.FinalizerDispatch)
	assert.Empty(t, hub.Events())

	require.NoError(t, run(t, r, wf))
	assert.Len(t, hub.Writes(), 1, "a Workflow with a cluster keeps it")
	assert.Empty(t, r.chosen, "the cache shows the choice now")
}

func TestWorkflowsThatArriveTogetherSpread(t *testing.T) {
	first, second, third := gen.Workflow("first", gen.WithPlacement("anywhere")),
		gen.Workflow("second", gen.WithPlacement("anywhere")), gen.Workflow("third", gen.WithPlacement("anywhere"))
	r, hub := newReconciler(t, append(surroundings(), first, second, third)...)
	hub.Lag("list Workflow")
	var clusters []string
	for _, wf := range []*unstructured.Unstructured{first, second, third} {
		require.NoError(t, run(t, r, wf))
		require.True(t, hub.Show(wf))
		clusters = append(clusters, contract.AssignedCluster(wf))
	}
	assert.Equal(t, []string{"cluster1", "cluster2", "cluster1"}, clusters)
}

func TestWorkflowsThatAreChosenForAtTheSameTimeSpread(t *testing.T) {
	const workflows = 20
	objects := surroundings()
	for i := range workflows {
		objects = append(objects, gen.Workflow(fmt.Sprintf("hello-%d", i), gen.WithPlacement("anywhere")))
	}
	r, hub := newReconciler(t, objects...)
	hub.Lag("list Workflow")
	var running sync.WaitGroup
	for i := range workflows {
		running.Go(func() {
			_, err := r.Reconcile(t.Context(), requestsFor(fmt.Sprintf("hello-%d", i))[0])
			assert.NoError(t, err)
		})
	}
	running.Wait()
	clusters := map[string]int{}
	for i := range workflows {
		wf := gen.Workflow(fmt.Sprintf("hello-%d", i))
		require.True(t, hub.Show(wf))
		clusters[contract.AssignedCluster(wf)]++
	}
	assert.Equal(t, map[string]int{"cluster1": workflows / 2, "cluster2": workflows / 2}, clusters)
}

func TestWhatHasFinishedDoesNotCount(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithPlacement("anywhere"))
	r, hub := newReconciler(t, append(surroundings(), wf,
		gen.Workflow("running", gen.WithAssignment("cluster1"), gen.WithHubStatus("Running")),
		gen.Workflow("succeeded", gen.WithAssignment("cluster2"), gen.WithHubStatus("Succeeded")),
		gen.Workflow("failed", gen.WithAssignment("cluster2"), gen.WithHubStatus("Failed")),
	)...)
	require.NoError(t, run(t, r, wf))
	require.True(t, hub.Show(wf))
	assert.Equal(t, "cluster2", contract.AssignedCluster(wf))
}

func TestReadsEveryPageOfDecisions(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithPlacement("anywhere"))
	busy := gen.Workflow("busy", gen.WithAssignment("cluster1"))
	r, hub := newReconciler(t, wf, busy,
		gen.ManagedCluster("cluster0"), gen.ManagedClusterAddOn("cluster0"),
		gen.ManagedCluster("cluster1"), gen.ManagedClusterAddOn("cluster1"),
		gen.ManagedCluster("cluster2"), gen.ManagedClusterAddOn("cluster2"),
		gen.Placement("anywhere"),
		gen.PlacementDecision("anywhere", 1, []string{"cluster1"}),
		gen.PlacementDecision("anywhere", 2, []string{"cluster2"}),
		gen.PlacementDecision("another", 1, []string{"cluster0"}),
		gen.PlacementDecision("anywhere", 3, []string{"cluster0"}, gen.InNamespace("elsewhere")),
	)
	require.NoError(t, run(t, r, wf))
	require.True(t, hub.Show(wf))
	assert.Equal(t, "cluster2", contract.AssignedCluster(wf))
}

func TestAWorkflowWaitsAndSaysForWhat(t *testing.T) {
	satisfied := gen.WithCondition(
		clusterv1beta1.PlacementConditionSatisfied,
		metav1.ConditionFalse,
		"NoIntersection",
		"No valid ManagedClusterSetBindings found",
	)
	tests := map[string]struct {
		wf         *unstructured.Unstructured
		objects    []client.Object
		wantReason string
		wantParts  []string
	}{
		"it names neither Placement nor cluster": {
			gen.Workflow("hello"), nil,
			"NoTarget", []string{contract.AnnotationPlacement, "namespace default", contract.AnnotationCluster},
		},
		"there is no such Placement": {
			gen.Workflow("hello", gen.WithPlacement("gpu")), []client.Object{gen.Placement("gpu", gen.InNamespace("elsewhere"))},
			"PlacementNotFound", []string{`Placement "gpu"`, "none of this name in namespace default"},
		},
		"the Placement has not decided": {
			gen.Workflow("hello", gen.WithPlacement("gpu")), []client.Object{gen.Placement("gpu")},
			"NoClusterSelected", []string{`waiting for Placement "gpu" to select a cluster`},
		},
		"the Placement selects none and says why": {
			gen.Workflow("hello", gen.WithPlacement("gpu")),
			[]client.Object{gen.Placement("gpu", satisfied), gen.PlacementDecision("gpu", 1, nil)},
			"NoClusterSelected", []string{`waiting for Placement "gpu" to select a cluster: No valid ManagedClusterSetBindings found`},
		},
		"no selected cluster has the addon": {
			gen.Workflow("hello", gen.WithPlacement("gpu")),
			[]client.Object{gen.Placement("gpu"), gen.PlacementDecision("gpu", 1, []string{"b", "a"}), gen.ManagedCluster("b")},
			"NoUsableCluster", []string{`Placement "gpu"`, "a: no such ManagedCluster; b: addon not enabled"},
		},
		"the only cluster selected is the hub": {
			gen.Workflow("hello", gen.WithPlacement("gpu")),
			[]client.Object{
				gen.Placement("gpu"), gen.PlacementDecision("gpu", 1, []string{"a"}),
				gen.ManagedCluster("a", gen.WithLabels(map[string]string{"local-cluster": "true"})), gen.ManagedClusterAddOn("a"),
			},
			"NoUsableCluster", []string{"a: the hub itself"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, hub := newReconciler(t, append(test.objects, test.wf)...)
			require.NoError(t, run(t, r, test.wf))
			require.True(t, hub.Show(test.wf))
			message := contract.StatusString(contract.Status(test.wf), "message")
			assert.Equal(t, "Pending", contract.Phase(test.wf))
			for _, part := range test.wantParts {
				assert.Contains(t, message, part)
			}
			assert.Equal(t, []string{fmt.Sprintf("Warning %s %s", test.wantReason, message)}, hub.Events())
			assert.Empty(t, contract.AssignedCluster(test.wf))
			assert.Empty(t, r.chosen)

			require.NoError(t, run(t, r, test.wf))
			assert.Len(t, hub.Writes(), 1, "the same message is not written again")
			assert.Empty(t, hub.Events())
		})
	}
}

func TestAWaitingWorkflowIsAssignedOnceItCanBe(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithPlacement("anywhere"), gen.WithHubStatus("Pending", map[string]any{"message": "waiting"}))
	r, hub := newReconciler(t, append(surroundings(), wf)...)
	require.NoError(t, run(t, r, wf))
	require.True(t, hub.Show(wf))
	assert.Equal(t, "cluster1", contract.AssignedCluster(wf))
}

func TestAnAssignmentCopiedFromAnotherWorkflowDoesNotCount(t *testing.T) {
	original := gen.Workflow("original", gen.WithPlacement("anywhere"), gen.WithAssignment("gone"), gen.WithHubStatus("Succeeded"))
	resubmitted := gen.Workflow("resubmitted", gen.WithAnnotations(original.GetAnnotations()))
	r, hub := newReconciler(t, append(surroundings(), resubmitted)...)
	require.NoError(t, run(t, r, resubmitted))
	require.True(t, hub.Show(resubmitted))
	assert.Equal(t, "cluster1", contract.AssignedCluster(resubmitted))
}

func TestLeavesAloneWhatIsNotForItToPlace(t *testing.T) {
	placed := gen.WithPlacement("anywhere")
	label := func(value string) gen.Mod { return gen.WithLabels(map[string]string{contract.LabelEnable: value}) }
	tests := map[string]*unstructured.Unstructured{
		"it is not ours":                 gen.Workflow("hello", placed, label("false")),
		"its label has a wrong value":    gen.Workflow("hello", placed, label("yes")),
		"it has a cluster":               gen.Workflow("hello", placed, gen.WithAssignment("cluster2")),
		"the user chose a cluster":       gen.Workflow("hello", placed, gen.WithCluster("cluster2")),
		"it is being deleted":            gen.Workflow("hello", placed, gen.WithFinalizers("x"), gen.Deleting()),
		"somebody else wrote its status": gen.Workflow("hello", placed, gen.WithStatus("Pending", map[string]any{"progress": "0/1"})),
		"it has run, and lost its status": gen.Workflow(
			"hello",
			placed,
			gen.WithLabels(map[string]string{contract.LabelCompleted: "true"}),
		),
		"the dispatch refuses it for its name":   gen.Workflow(strings.Repeat("x", 64), placed),
		"it has run, and lost its annotations":   gen.Workflow("hello", placed, gen.WithHubStatus("Running")),
		"it ended, and lost all its annotations": gen.Workflow("hello", gen.WithHubStatus("Succeeded")),
	}
	for name, wf := range tests {
		t.Run(name, func(t *testing.T) {
			r, hub := newReconciler(t, append(surroundings(), wf)...)
			require.NoError(t, run(t, r, wf))
			assert.Empty(t, hub.Writes())
			assert.Empty(t, hub.Events())
			assert.Empty(t, waitingFor(wf), "nor is it woken up")
		})
	}
}

func TestAWorkflowWhoseAnnotationsLeaveNoRoomSaysSoInAnEvent(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithPlacement("anywhere"))
	r, hub := newReconciler(t, append(surroundings(), wf)...)
	tooLong := apierrors.NewInvalid(contract.WorkflowGVK.GroupKind(), "hello", nil)
	hub.Fail("patch Workflow", tooLong)
	require.ErrorIs(t, run(t, r, wf), tooLong, "it is tried again")
	events := hub.Events()
	require.Len(t, events, 1)
	assert.Contains(t, events[0], "Warning CannotTravel not dispatched: the hub refuses it: ")
}

func TestOnARestoredHubWhatMayHaveRunSinceTheBackupGetsNoCluster(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithPlacement("anywhere"))
	wf.SetCreationTimestamp(metav1.NewTime(gen.Time.Add(-time.Hour)))
	r, hub := newReconciler(t, append(surroundings(), wf)...)
	r.RestoredAt = gen.Time.Time
	require.NoError(t, run(t, r, wf))
	assert.Empty(t, hub.Writes())

	r.RestoredAt = gen.Time.Add(-2 * time.Hour)
	require.NoError(t, run(t, r, wf))
	assert.Len(t, hub.Writes(), 1)
}

func TestAWorkflowThatIsGoneIsNoError(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithPlacement("anywhere"))
	r, hub := newReconciler(t, surroundings()...)
	r.chosen = map[client.ObjectKey]string{client.ObjectKeyFromObject(wf): "cluster1"}
	require.NoError(t, run(t, r, wf))
	assert.Empty(t, hub.Writes())
	assert.Empty(t, r.chosen, "what is gone holds no place")
}

func TestAConflictForgetsTheChoiceAndIsNoError(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithPlacement("anywhere"))
	r, hub := newReconciler(t, append(surroundings(), wf)...)
	hub.Fail("patch Workflow", fakehub.Conflict())
	require.NoError(t, run(t, r, wf))
	assert.Empty(t, r.chosen)
}

func TestAChoiceThatCouldNotBeRecordedIsForgottenAndTriedAgain(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithPlacement("anywhere"))
	r, hub := newReconciler(t, append(surroundings(), wf)...)
	hub.Fail("patch Workflow", errors.New("down"))
	require.ErrorContains(t, run(t, r, wf), "down")
	assert.Empty(t, r.chosen)
}

func TestAnErrorOfTheAPIIsReturnedAndNothingIsWritten(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithPlacement("anywhere"))
	for _, call := range []string{
		"get Workflow", "get Placement", "list PlacementDecision", "get ManagedCluster", "get ManagedClusterAddOn", "list Workflow",
	} {
		t.Run(call, func(t *testing.T) {
			r, hub := newReconciler(t, append(surroundings(), wf)...)
			hub.Fail(call, apierrors.NewInternalError(errors.New("down")))
			err := run(t, r, wf)
			assert.True(t, apierrors.IsInternalError(err), "the cause must be kept: %v", err)
			assert.Empty(t, hub.Writes())
			assert.Empty(t, r.chosen)
		})
	}
}

func TestAHoldThatCouldNotBeWritten(t *testing.T) {
	wf := gen.Workflow("hello")
	r, hub := newReconciler(t, wf)
	hub.Fail("patch Workflow", errors.New("down"))
	require.ErrorContains(t, run(t, r, wf), "down")
	hub.Fail("patch Workflow", fakehub.Conflict())
	require.NoError(t, run(t, r, wf))
	assert.Empty(t, hub.Events())
}
