package dispatch

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestADirectChoiceIsRecordedBeforeAnythingIsCreated(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithCluster(cluster))
	r, hub := newReconciler(t, append(surroundings(), wf)...)
	require.True(t, hub.Show(wf))
	require.NoError(t, run(t, r, wf))

	assert.Equal(t, []string{
		"patch Workflow default/hello",
		"create RemoteWorkflow cluster1/" + nameOf(wf),
		"create ManifestWork cluster1/" + nameOf(wf),
	}, hub.Writes())
	assert.Equal(t, map[string]any{"metadata": map[string]any{
		"annotations": map[string]any{
			contract.AnnotationCluster:  cluster,
			contract.AnnotationAssigned: string(wf.GetUID()) + "/1/" + cluster,
		},
		"finalizers":      []any{contract.FinalizerDispatch},
		"resourceVersion": wf.GetResourceVersion(),
	}}, hub.PatchOf("Workflow"))
	assert.Equal(t, []string{"Normal Dispatched sent to cluster cluster1 as default/hello"}, hub.Events())

	rw, work := runOf(t, hub, wf)
	assert.Equal(t, rw.UID, work.OwnerReferences[0].UID)

	require.NoError(t, run(t, r, wf))
	assert.Len(t, hub.Writes(), 3, "a Workflow is dispatched once")
	assert.Empty(t, hub.Events())
}

func TestAPlacementsChoiceIsNotWrittenAgain(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithPlacement("anywhere"), gen.WithAssignment(cluster))
	r, hub := newReconciler(t, append(surroundings(), wf)...)
	require.NoError(t, run(t, r, wf))
	assert.Equal(t, []string{"create RemoteWorkflow cluster1/" + nameOf(wf), "create ManifestWork cluster1/" + nameOf(wf)}, hub.Writes())
}

func TestWhatHasBeenAssignedIsNotMovedByTheUsersAnnotation(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithAssignment(cluster), gen.WithCluster("cluster2"))
	r, hub := newReconciler(t, append(surroundings(), gen.ManagedCluster("cluster2"), wf)...)
	require.NoError(t, run(t, r, wf))
	assert.Contains(t, hub.Writes(), "create RemoteWorkflow cluster1/"+nameOf(wf))
}

func TestTheAgentsClusterGetsAGatedCopyAndAnyOtherAnUngatedOne(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithAssignment(cluster))
	tests := map[string]struct {
		objects       []client.Object
		wantReporting v1alpha1.Reporting
		wantGate      string
	}{
		"with the addon":    {surroundings(), v1alpha1.ReportingAgent, contract.InstanceIDGate},
		"without the addon": {append(surroundings()[:1:1], surroundings()[2:]...), v1alpha1.ReportingFeedback, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, hub := newReconciler(t, append(test.objects, wf)...)
			require.NoError(t, run(t, r, wf))
			rw, work := runOf(t, hub, wf)
			assert.Equal(t, test.wantReporting, rw.Spec.Reporting)
			assert.Equal(t, test.wantGate, payloadOf(t, work).GetLabels()[contract.LabelInstanceID])
		})
	}
}

func TestNothingIsCreatedForAWorkflowThatIsNotToBeDispatched(t *testing.T) {
	label := func(value string) gen.Mod { return gen.WithLabels(map[string]string{contract.LabelEnable: value}) }
	tests := map[string]*unstructured.Unstructured{
		"it has no cluster yet":                    gen.Workflow("hello", gen.WithPlacement("anywhere")),
		"it is not ours":                           gen.Workflow("hello", gen.WithCluster(cluster), label("false")),
		"its label is empty":                       gen.Workflow("hello", gen.WithCluster(cluster), label("")),
		"it ran, and its RemoteWorkflow is gone":   gen.Workflow("hello", gen.WithAssignment(cluster), gen.WithHubStatus("Running")),
		"it ended, and its RemoteWorkflow is gone": gen.Workflow("hello", gen.WithAssignment(cluster), gen.WithHubStatus("Succeeded")),
	}
	for name, wf := range tests {
		t.Run(name, func(t *testing.T) {
			r, hub := newReconciler(t, append(surroundings(), wf)...)
			require.NoError(t, run(t, r, wf))
			assert.Empty(t, hub.Writes())
			assert.Empty(t, hub.Events())
		})
	}
}

func TestAWorkflowTakenBackKeepsItsFinalizerWhileTheHubHasARemoteWorkflowThatTheCacheDoesNotShow(t *testing.T) {
	wf, rw, _ := dispatched(gen.WithLabels(map[string]string{contract.LabelEnable: "false"}))
	r, hub := newReconciler(t, append(surroundings(), wf, rw)...)
	hub.Lag("list RemoteWorkflow")
	require.NoError(t, run(t, r, wf))
	assert.Empty(t, hub.Writes(), "the watch brings the RemoteWorkflow, and the label is restored then")
}

func TestAWorkflowWhoseAnnotationsLeaveNoRoomSaysSoInAnEvent(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithCluster(cluster))
	r, hub := newReconciler(t, append(surroundings(), wf)...)
	tooLong := apierrors.NewInvalid(contract.WorkflowGVK.GroupKind(), "hello", nil)
	hub.Fail("patch Workflow", tooLong)
	require.ErrorIs(t, run(t, r, wf), tooLong, "it is tried again")
	events := hub.Events()
	require.Len(t, events, 1)
	assert.Contains(t, events[0], "Warning CannotTravel not dispatched: the hub refuses it: ")
}

func TestAWorkflowThatABackupToolRestoresIsNotRunAgain(t *testing.T) {
	for phase, mods := range map[string][]gen.Mod{
		"Running":   {gen.WithCluster(cluster)},
		"Succeeded": {gen.WithPlacement("anywhere")},
		"Failed":    {gen.WithAssignment(cluster)}, // nobody restored it: its status was erased, and its RemoteWorkflow
	} {
		t.Run(phase, func(t *testing.T) {
			wf := gen.Workflow("hello", append(mods, gen.WithHubStatus(phase), withStatus(nil))...)
			if phase != "Failed" {
				wf.SetUID("of the restored one")
			}
			labels := wf.GetLabels()
			r, hub := newReconciler(t, append(surroundings(), wf)...)
			for range 2 {
				require.NoError(t, run(t, r, wf))
			}
			assert.Equal(t, []string{"patch Workflow default/hello"}, hub.Writes())
			require.True(t, hub.Show(wf))
			assert.Equal(t, labels, wf.GetLabels(), "they are all that is known of the run")
			message := contract.StatusString(contract.Status(wf), "message")
			assert.Contains(t, message, "argo resubmit")
			assert.Equal(t, []string{"Warning StatusLost " + message}, hub.Events())
		})
	}
}

func TestOnARestoredHubOnlyWhatHasARemoteWorkflowGoesOn(t *testing.T) {
	fromBefore := func(obj client.Object) { obj.SetCreationTimestamp(metav1.NewTime(gen.Time.Add(-time.Hour))) }
	wf, rw, work := dispatched(fromBefore)
	t.Run("it has none", func(t *testing.T) {
		r, hub := newReconciler(t, append(surroundings(), wf)...)
		r.RestoredAt = gen.Time.Time
		for range 2 {
			require.NoError(t, run(t, r, wf))
		}
		assert.Equal(t, []string{"patch Workflow default/hello"}, hub.Writes())
		events := hub.Events()
		require.Len(t, events, 1)
		assert.Contains(t, events[0], "Warning RestoredHub not dispatched")
	})
	t.Run("it has one", func(t *testing.T) {
		r, hub := newReconciler(t, append(surroundings(), wf, rw, work)...)
		r.RestoredAt = gen.Time.Time
		require.NoError(t, run(t, r, wf))
		assert.Empty(t, hub.Writes())
	})
	t.Run("it has one, and no ManifestWork yet", func(t *testing.T) {
		r, hub := newReconciler(t, append(surroundings(), wf, rw)...)
		r.RestoredAt = gen.Time.Time
		require.NoError(t, run(t, r, wf))
		assert.Equal(t, []string{"create ManifestWork cluster1/" + rw.Name}, hub.Writes())
	})
}

func TestAWorkflowThatIsTakenBackBeforeItWasSentIsLetGo(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithAssignment(cluster), gen.WithFinalizers(contract.FinalizerDispatch))
	wf.SetLabels(nil)
	r, hub := newReconciler(t, append(surroundings(), wf)...)
	hub.Lag("get Workflow")
	require.NoError(t, run(t, r, wf))
	assert.Equal(t, []string{"patch Workflow default/hello"}, hub.Writes())
	require.True(t, hub.Show(wf))
	assert.Empty(t, wf.GetFinalizers(), "nothing would see its deletion, and it could never go")
}

func TestNothingIsCreatedIfTheAssignmentCannotBeRecorded(t *testing.T) {
	for name, err := range map[string]error{
		"the Workflow has changed": apierrors.NewConflict(contract.WorkflowGVR.GroupResource(), "hello", errors.New("stale")),
		"the Workflow is gone":     apierrors.NewNotFound(contract.WorkflowGVR.GroupResource(), "hello"),
		"the hub is down":          errors.New("down"),
	} {
		t.Run(name, func(t *testing.T) {
			wf := gen.Workflow("hello", gen.WithCluster(cluster))
			r, hub := newReconciler(t, append(surroundings(), wf)...)
			hub.Fail("patch Workflow", err)
			if got := run(t, r, wf); name == "the hub is down" {
				require.ErrorIs(t, got, err)
			} else {
				require.NoError(t, got)
			}
			assert.Equal(t, []string{"patch Workflow default/hello"}, hub.Writes())
			assert.Empty(t, hub.Events())
		})
	}
}

func TestACrashBetweenTheTwoCreationsIsMadeGood(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithAssignment(cluster))
	r, hub := newReconciler(t, append(surroundings(), wf)...)
	hub.Fail("create ManifestWork", errors.New("down"))
	require.ErrorContains(t, run(t, r, wf), "create ManifestWork: down")
	assert.Empty(t, hub.Events())

	hub.Fail("create ManifestWork", nil)
	require.NoError(t, run(t, r, wf))
	assert.Equal(t, []string{
		"create RemoteWorkflow cluster1/" + nameOf(wf),
		"create ManifestWork cluster1/" + nameOf(wf),
		"create ManifestWork cluster1/" + nameOf(wf),
	}, hub.Writes())
	rw, work := runOf(t, hub, wf)
	assert.Equal(t, rw.UID, work.OwnerReferences[0].UID)
}

func TestACacheThatLagsCreatesNothingTwice(t *testing.T) {
	for _, lag := range []string{"list RemoteWorkflow", "get ManifestWork"} {
		t.Run(lag, func(t *testing.T) {
			wf := gen.Workflow("hello", gen.WithAssignment(cluster))
			r, hub := newReconciler(t, append(surroundings(), wf)...)
			require.NoError(t, run(t, r, wf))
			rw, work := runOf(t, hub, wf)

			hub.Lag(lag)
			require.NoError(t, run(t, r, wf))
			rwAgain, workAgain := runOf(t, hub, wf)
			assert.Equal(t, rw, rwAgain)
			assert.Equal(t, work, workAgain)
		})
	}
}

func TestAManifestWorkThatIsThereAlreadyIsNoError(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithAssignment(cluster))
	r, hub := newReconciler(t, append(surroundings(), wf, gen.ManifestWork(gen.RemoteWorkflow(wf, cluster)))...)
	require.NoError(t, run(t, r, wf))
	assert.Equal(t, []string{"create RemoteWorkflow cluster1/" + nameOf(wf), "create ManifestWork cluster1/" + nameOf(wf)}, hub.Writes())
}

func TestARunThatTheCacheDoesNotShowYetKeepsItsWayOfReporting(t *testing.T) {
	// Recorded while the cluster had no addon, and not finished: the addon is there by now, the cache lags.
	wf := gen.Workflow("hello", gen.WithAssignment(cluster))
	rw := gen.RemoteWorkflow(wf, cluster, gen.WithReporting(v1alpha1.ReportingFeedback))
	r, hub := newReconciler(t, append(surroundings(), wf, rw)...)
	hub.Lag("list RemoteWorkflow")
	require.NoError(t, run(t, r, wf))
	assert.NotContains(t, hub.Writes(), "create ManifestWork cluster1/"+nameOf(wf), "a gated copy that nobody would start")
}

func TestAClusterWithoutItsNamespaceIsTriedAgain(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithAssignment(cluster))
	for _, kind := range []string{"RemoteWorkflow", "ManifestWork"} {
		t.Run(kind, func(t *testing.T) {
			r, hub := newReconciler(t, append(surroundings(), wf)...)
			hub.Fail("create "+kind, apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, cluster))
			assert.True(t, apierrors.IsNotFound(run(t, r, wf)), "no watch would bring the next try")
		})
	}
}

func TestWhatTheHubItselfRefusesIsSaidOnTheWorkflow(t *testing.T) {
	resource := schema.GroupResource{Resource: "anything"}
	for name, refusal := range map[string]error{
		"forbidden": apierrors.NewForbidden(resource, "hello", errors.New("by a policy")),
		"invalid":   apierrors.NewInvalid(schema.GroupKind{Kind: "Anything"}, "hello", nil),
		"too large": apierrors.NewRequestEntityTooLargeError("no"),
	} {
		for _, kind := range []string{"RemoteWorkflow", "ManifestWork"} {
			t.Run(name+" "+kind, func(t *testing.T) {
				wf := gen.Workflow("hello", gen.WithAssignment(cluster))
				r, hub := newReconciler(t, append(surroundings(), wf)...)
				hub.Fail("create "+kind, refusal)
				require.ErrorIs(t, run(t, r, wf), refusal, "it is tried again")
				require.True(t, hub.Show(wf))
				assert.Equal(t, "Pending", contract.Phase(wf))
				assert.Contains(t, contract.Status(wf)["message"], "the hub refuses it: create "+kind)
				assert.Len(t, hub.Events(), 1)

				require.ErrorIs(t, run(t, r, wf), refusal)
				assert.Empty(t, hub.Events(), "it is said once")
			})
		}
	}
}

func TestARunThatIsThereAlreadyIsNotToldAgain(t *testing.T) {
	wf, rw, work := dispatched()
	r, hub := newReconciler(t, append(surroundings(), wf, rw, work)...)
	hub.Lag("list RemoteWorkflow")
	require.NoError(t, run(t, r, wf))
	assert.Empty(t, hub.Events())
}

func TestAnErrorOfTheAPIIsReturnedAndNothingIsCreated(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithCluster(cluster))
	for _, call := range []string{
		"get Workflow", "list RemoteWorkflow", "get ManagedCluster", "list ManagedClusterSetBinding", "get ManagedClusterSet",
		"get ManagedClusterAddOn", "list ManifestWork",
	} {
		t.Run(call, func(t *testing.T) {
			r, hub := newReconciler(t, append(surroundings(), wf)...)
			hub.Fail(call, apierrors.NewInternalError(errors.New("down")))
			err := run(t, r, wf)
			assert.True(t, apierrors.IsInternalError(err), "the cause must be kept: %v", err)
			assert.Empty(t, hub.Writes())
		})
	}
}
