package run

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

func TestDecideAbsent(t *testing.T) {
	justNow, longAgo, unasked := testNow.Add(-10*time.Minute), testNow.Add(-absenceGrace), time.Time{}
	deleted := deletedAt(testNow.Add(-2 * time.Hour))
	tests := map[string]struct {
		wf     *unstructured.Unstructured
		since  time.Time
		want   action
		within time.Duration
	}{
		"one that was never started is discarded": {wf: newCopy(t), since: unasked, want: discard},
		"one that was never started is discarded though its status is there, and empty": {
			wf: newCopy(t, withStatus(map[string]any{})), since: unasked, want: discard},
		"one that was started is kept for an hour from now, though it was deleted two hours ago": {
			wf: newCopy(t, opened, deleted), since: unasked, want: wait, within: absenceGrace},
		"one is kept for an hour from the hub's first word": {
			wf: newCopy(t, opened, deleted), since: justNow, want: wait, within: 50 * time.Minute},
		"one that has finished is kept for an hour, too": {
			wf: newCopy(t, opened, inPhase("Succeeded")), since: justNow, want: wait, within: 50 * time.Minute},
		"after an hour one that is being deleted loses its finalizer": {
			wf: newCopy(t, opened, inPhase("Running"), deleted), since: longAgo, want: unguard},
		"after an hour one that has finished is deleted": {
			wf: newCopy(t, opened, inPhase("Succeeded")), since: longAgo, want: remove},
		"but not before it is archived": {wf: newCopy(t, opened, inPhase("Succeeded"), archiving), since: longAgo, want: wait},
		"one that runs goes on":         {wf: newCopy(t, opened, inPhase("Running")), since: longAgo, want: wait},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, decision{action: test.want, within: test.within}, decideAbsent(test.wf, test.since, testNow))
		})
	}
}

func TestAStartedRunWithoutRemoteWorkflowIsKeptForAnHourAndThenGoesWhenItIsDeleted(t *testing.T) {
	e := newEnv(t, newCopy(t,
		withFinalizer("example.com/of-another"), opened, inPhase("Succeeded"), deletedAt(testNow.Add(-2*time.Hour))))
	assert.Equal(t, absenceGrace, e.reconcile().RequeueAfter)
	said := e.said()
	require.Len(t, said, 1)
	assert.Contains(t, said[0], "Warning Orphaned the hub has no RemoteWorkflow cluster1/demo-0123 of it")
	assert.Contains(t, said[0], "kept until 2030-05-01T13:00:00Z")
	assert.Contains(t, said[0], "`argo-multicluster agent release`")

	e.clock.SetTime(testNow.Add(absenceGrace / 2))
	assert.Equal(t, absenceGrace/2, e.reconcile().RequeueAfter)
	assert.Empty(t, e.said(), "it is said once")
	assert.Empty(t, e.managedWrites)
	assert.Zero(t, e.count("leftovers_total"))

	e.clock.SetTime(testNow.Add(absenceGrace))
	assert.Zero(t, e.reconcile())
	assert.Equal(t, []map[string]any{{"metadata": map[string]any{
		"uid": string(testUID), "resourceVersion": "1", "finalizers": []any{"example.com/of-another"},
	}}}, e.managedWrites)
	said = e.said()
	require.Len(t, said, 1)
	assert.Contains(t, said[0], "Warning Removed finalizer removed: it is being deleted, and the hub has had no RemoteWorkflow of it for an hour")
	assert.Equal(t, []string{"example.com/of-another"}, e.workflow().GetFinalizers())
	assert.Equal(t, 1, e.count("leftovers_total", "unreported"))
	assert.Empty(t, e.managedDeletes)
	assert.Empty(t, e.hubWrites)
}

func TestAStartedRunWithoutRemoteWorkflowGoesOnAndIsDeletedWhenItHasFinished(t *testing.T) {
	e := newEnv(t, newCopy(t, opened, withFinalizer("example.com/of-another"), inPhase("Running")))
	assert.Equal(t, absenceGrace, e.reconcile().RequeueAfter)
	assert.Len(t, e.said(), 1)
	asked := e.hubAsked
	e.change(withStatus(map[string]any{"phase": "Running", "progress": "0/2"}))
	e.clock.SetTime(testNow.Add(absenceGrace / 2))
	assert.Equal(t, absenceGrace/2, e.reconcile().RequeueAfter)
	assert.Equal(t, asked, e.hubAsked, "the hub is not asked for each change")
	e.clock.SetTime(testNow.Add(absenceGrace))
	assert.Zero(t, e.reconcile())
	asked = e.hubAsked
	e.change(withStatus(map[string]any{"phase": "Running", "progress": "1/2"}))
	assert.Zero(t, e.reconcile())
	assert.Equal(t, asked, e.hubAsked, "as long as it runs, there is nothing to ask")
	assert.Empty(t, e.managedWrites)
	assert.Empty(t, e.said())

	e.change(inPhase("Failed"))
	version := e.workflow().GetResourceVersion()
	assert.Zero(t, e.reconcile())
	uid, background := testUID, metav1.DeletePropagationBackground
	assert.Equal(t, []client.DeleteOptions{{
		Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}, PropagationPolicy: &background,
	}}, e.managedDeletes)
	assert.Equal(t, 1, e.count("leftovers_total", "finished"))
	e.reconcile()
	assert.Equal(t, []string{"example.com/of-another"}, e.workflow().GetFinalizers())
	assert.Len(t, e.said(), 2)
	assert.Empty(t, e.hubWrites)
}

func TestTheHourWithoutRemoteWorkflowBeginsAnew(t *testing.T) {
	away := errors.New("connection refused")
	for when, between := range map[string]func(*env){
		"when the hub was away, and may have been restored": func(e *env) {
			e.hubLiveFails = func() error { return away }
			_, err := e.tryReconcile()
			require.ErrorIs(e.t, err, away)
		},
		"when the hub had the RemoteWorkflow meanwhile, and only its cache did not": func(e *env) {
			e.hubLiveShows = newRemote()
			e.reconcile()
		},
		"when the hub's cache had the RemoteWorkflow meanwhile, and this cluster was away": func(e *env) {
			e.hubShows, e.managedFails = newRemote(), func([]byte) error { return away }
			_, err := e.tryReconcile()
			require.ErrorIs(e.t, err, away)
		},
		"when the agent has started again": func(e *env) { e.hints = allHints{} },
	} {
		t.Run(when, func(t *testing.T) {
			e := newEnv(t, newCopy(t, opened, inPhase("Succeeded"), deletedAt(testNow)))
			e.reconcile()
			e.clock.SetTime(testNow.Add(absenceGrace))
			between(e)
			e.hubLiveFails, e.hubLiveShows, e.hubShows, e.managedFails = nil, nil, nil, nil
			assert.Equal(t, absenceGrace, e.reconcile().RequeueAfter)
			assert.Empty(t, e.managedWrites)
			assert.Len(t, e.said(), 2, "the new hour is told, too")
		})
	}
}

func TestALeftoverIsRemovedAtOnce(t *testing.T) {
	other := func(rw *v1alpha1.RemoteWorkflow) { rw.Status.RemoteUID = "another-uid" }
	for name, rw := range map[string]*v1alpha1.RemoteWorkflow{
		"the hub has no RemoteWorkflow of it":       nil,
		"the RemoteWorkflow was made again":         newRemote(madeAgain),
		"the RemoteWorkflow is being deleted":       newRemote(remoteDeletedBare),
		"another copy is the run":                   newRemote(other, showing("Running")),
		"another copy was the run, and it is known": newRemote(other, knownDeleted),
		"it was claimed, and is not to start":       newRemote(claimed, toTerminate),
	} {
		t.Run(name, func(t *testing.T) {
			objects := []client.Object{newCopy(t)}
			if rw != nil {
				objects = append(objects, rw)
			}
			e := newEnv(t, objects...)
			within := time.Duration(0)
			if rw != nil {
				within = staleRetry
			}
			assert.Equal(t, within, e.reconcile().RequeueAfter, "it may be gone before the watch has shown it")
			uid, version, background := testUID, "1", metav1.DeletePropagationBackground
			assert.Equal(t, []client.DeleteOptions{{
				Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}, PropagationPolicy: &background,
			}}, e.managedDeletes)
			assert.Nil(t, e.workflow())
			assert.Equal(t, []string{
				"Warning Removed deleted: it was never started, and the hub does not want it: RemoteWorkflow cluster1/demo-0123",
			}, e.said())
			assert.Equal(t, 1, e.count("leftovers_total", "never_started"))
			assert.Empty(t, e.managedWrites)
			assert.Empty(t, e.hubWrites)
			e.reconcile()
			assert.Len(t, e.managedDeletes, 1)
		})
	}
}

// TestWhatIsGoneWithoutAnEventIsConfirmed: while the cluster cannot be watched, what is created and deleted there brings none.
func TestWhatIsGoneWithoutAnEventIsConfirmed(t *testing.T) {
	for name, tc := range map[string]struct {
		uid    types.UID
		there  *unstructured.Unstructured
		within time.Duration
	}{
		"one that was created again": {"another-uid", newCopy(t), staleRetry},
		"the run":                    {testUID, newCopy(t, ungated, inPhase("Succeeded")), firstLook},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, newRemote(claimedFor(tc.uid), toTerminate), tc.there)
			assert.Equal(t, tc.within, e.reconcile().RequeueAfter)
			assert.Nil(t, e.workflow())
			assert.Zero(t, e.reconcile())
			said := meta.FindStatusCondition(e.remote().Status.Conditions, v1alpha1.ConditionRemoteDeleted)
			require.NotNil(t, said)
			assert.Equal(t, v1alpha1.ReasonRemoved, said.Reason)
		})
	}
}

func TestItIsLookedAgainWhereNoEventMayTell(t *testing.T) {
	run, unfollowed := newCopy(t, opened, inPhase("Succeeded")), newCopy(t, opened, unlabeled)
	for name, tc := range map[string]struct {
		rw   *v1alpha1.RemoteWorkflow
		wf   *unstructured.Unstructured
		done action
		want time.Duration
	}{
		"a leftover was deleted":               {newRemote(claimed), newCopy(t), discard, staleRetry},
		"the run is removed":                   {newRemote(claimed, toTerminate), run, remove, firstLook},
		"its artifacts are collected":          {newRemote(claimed, toTerminate), run, wait, firstLook},
		"it is left to itself":                 {newRemote(claimed, toLeave), run, unguard, firstLook},
		"it is removed, and has no label":      {newRemote(claimed, toTerminate), unfollowed, remove, staleRetry},
		"it has no label":                      {newRemote(claimed), unfollowed, refuse, lastLook},
		"it runs":                              {newRemote(claimed), run, report, 0},
		"nothing says what is to become of it": {newRemote(claimed, remoteDeletedBare), run, report, 0},
		"it is gone":                           {newRemote(claimed, toTerminate), nil, inform, 0},
	} {
		assert.Equal(t, tc.want, lookAgain(tc.rw, tc.wf, decision{action: tc.done}), name)
	}
}

func TestALeftoverIsNotRemovedUnlessTheHubConfirmsIt(t *testing.T) {
	for name, cached := range map[string]*v1alpha1.RemoteWorkflow{
		"the cache does not show the RemoteWorkflow":     nil,
		"the cache shows an earlier one":                 newRemote(madeAgain),
		"the cache shows one that another copy was of":   newRemote(claimedFor("another-uid")),
		"the cache shows one that was deleted meanwhile": newRemote(remoteDeletedBare),
	} {
		t.Run(name, func(t *testing.T) {
			for _, live := range []*v1alpha1.RemoteWorkflow{newRemote(), newRemote(claimed)} {
				e := newEnv(t, newCopy(t))
				e.hubShows, e.hubLiveShows = cached, live
				assert.Equal(t, staleRetry, e.reconcile().RequeueAfter, "should the watch not bring it")
				assert.Empty(t, e.managedDeletes)
				assert.Empty(t, e.managedWrites)
				assert.Empty(t, e.said())
			}
		})
	}
}

func TestWhatHasLeftItsFirstStateIsNoLeftover(t *testing.T) {
	for name, mod := range map[string]workflowMod{
		"its gate is open":             ungated,
		"it has a status":              inPhase("Running"),
		"it has our finalizer":         guarded,
		"it is being deleted":          deletedAt(testNow),
		"it is another hub's":          annotated(contract.AnnotationHubID, "other-hub"),
		"it is another cluster's":      unlabeled,
		"it is of another Workflow":    annotated(contract.AnnotationRemoteWorkflow, "other"),
		"it does not say of which hub": unannotated(contract.AnnotationHubID),
	} {
		t.Run(name, func(t *testing.T) {
			for _, rw := range []*v1alpha1.RemoteWorkflow{
				nil, newRemote(madeAgain), newRemote(remoteDeletedBare), newRemote(claimedFor("another-uid")),
			} {
				objects := []client.Object{newCopy(t, mod)}
				if rw != nil {
					objects = append(objects, rw)
				}
				e := newEnv(t, objects...)
				e.reconcile()
				assert.Empty(t, e.managedDeletes)
			}
		})
	}
}

func TestAnAgentThatDoesNotKnowItsHubRemovesNothingThatHasNoRemoteWorkflow(t *testing.T) {
	for _, wf := range []*unstructured.Unstructured{
		newCopy(t), newCopy(t, unannotated(contract.AnnotationHubID)), newCopy(t, opened, deletedAt(testNow)),
	} {
		e := newEnv(t, wf)
		e.HubID = ""
		assert.Zero(t, e.reconcile())
		assert.Empty(t, e.managedDeletes)
		assert.Empty(t, e.said())
	}
}

func TestALeftoverThatChangesWhileItIsRemovedIsTriedAgain(t *testing.T) {
	e := newEnv(t, newCopy(t))
	for _, answer := range []error{
		apierrors.NewConflict(contract.WorkflowGVR.GroupResource(), "demo", errors.New("changed")),
		apierrors.NewNotFound(contract.WorkflowGVR.GroupResource(), "demo"),
	} {
		e.deleteFails = answer
		assert.Equal(t, staleRetry, e.reconcile().RequeueAfter)
	}
	e.deleteFails = errors.New("broken")
	_, err := e.tryReconcile()
	require.ErrorContains(t, err, "delete the remote Workflow")
	assert.Empty(t, e.said())
	assert.Zero(t, e.count("leftovers_total"))
}

// The remote Workflow may be seen before its RemoteWorkflow.
func TestACopyThatTheHubKnowsStartsWhenTheCacheShowsItsRemoteWorkflow(t *testing.T) {
	e := newEnv(t, newCopy(t))
	e.hubLiveShows = newRemote()
	e.reconcile()
	require.NoError(t, e.hub.Create(t.Context(), newRemote(func(rw *v1alpha1.RemoteWorkflow) { rw.ResourceVersion = "" })))
	e.reconcile()
	assert.Empty(t, e.managedDeletes)
	assert.Equal(t, 1, e.count("gates_opened_total"))
}

func TestTheNameOfALeftoverIsFreeForWhatIsDeliveredNext(t *testing.T) {
	e := newEnv(t, newRemote(madeAgain), newCopy(t))
	e.reconcile()
	require.NoError(t, e.managed.Create(t.Context(), newCopy(t, withVersion(""),
		annotated(contract.AnnotationRemoteWorkflowUID, "second-remote-uid"), func(wf *unstructured.Unstructured) { wf.SetUID("second-copy") })))
	e.reconcile()
	assert.EqualValues(t, "second-copy", e.remote().Status.RemoteUID)
	assert.Equal(t, 1, e.count("gates_opened_total"))
}

// What waits must not hide what is in the way.
func TestOfTwoThatNameTheSameRemoteWorkflowTheOneThatNeedNotWaitComesFirst(t *testing.T) {
	for name, waiting := range map[string]string{"the first": "a", "the last": "z"} {
		t.Run(name+" waits", func(t *testing.T) {
			e := newEnv(t, newCopy(t), newCopy(t, opened, deletedAt(testNow), func(wf *unstructured.Unstructured) { wf.SetName(waiting) }))
			e.reconcile()
			assert.Nil(t, e.workflow())
			assert.Equal(t, absenceGrace, e.reconcile().RequeueAfter)
		})
	}
}

func TestWhatIsGoneIsForgotten(t *testing.T) {
	e := newEnv(t, newCopy(t, opened, deletedAt(testNow)))
	e.reconcile()
	assert.Len(t, e.hints.byName, 1)
	e.change(func(wf *unstructured.Unstructured) { wf.SetFinalizers(nil) })
	assert.Zero(t, e.reconcile())
	assert.Empty(t, e.hints.byName)
	assert.Empty(t, e.managedWrites)
}

func TestThereIsARemoteWorkflowAsLongAsTheHubDoesNotSayOtherwise(t *testing.T) {
	for name, answer := range map[string]error{
		"the agent may not ask":      apierrors.NewForbidden(remoteResource, "demo-0123", nil),
		"it does not know the agent": apierrors.NewUnauthorized("expired"),
		"it is away":                 errors.New("connection refused"),
		"it is broken":               apierrors.NewInternalError(errors.New("broken")),
		"it does not serve RemoteWorkflows": apierrors.NewGenericServerResponse(
			http.StatusNotFound, "get", remoteResource, "demo-0123", "404 page not found", 0, true),
	} {
		t.Run(name, func(t *testing.T) {
			for _, mods := range [][]workflowMod{{}, {opened, inPhase("Succeeded")}, {opened, deletedAt(testNow.Add(-2 * absenceGrace))}} {
				e := newEnv(t, newCopy(t, mods...))
				e.hubLiveFails = func() error { return answer }
				e.hints.of("demo-0123", "").since(absent, testNow.Add(-absenceGrace))
				result, err := e.tryReconcile()
				require.ErrorIs(t, err, answer)
				assert.Zero(t, result)
				assert.Empty(t, e.managedWrites)
				assert.Empty(t, e.managedDeletes)
				assert.Empty(t, e.said())
			}
		})
	}
}

func TestTheHubIsNotAskedAboutWhatIsNotTheAgents(t *testing.T) {
	longAgo := testNow.Add(-2 * absenceGrace)
	for name, wf := range map[string]*unstructured.Unstructured{
		"it is another hub's":            newCopy(t, opened, annotated(contract.AnnotationHubID, "other-hub"), deletedAt(longAgo)),
		"it lacks our finalizer":         newCopy(t, ungated, inPhase("Succeeded"), deletedAt(longAgo)),
		"it is another cluster's":        newCopy(t, opened, unlabeled, deletedAt(longAgo)),
		"it is another RemoteWorkflow's": newCopy(t, opened, annotated(contract.AnnotationRemoteWorkflow, "other"), deletedAt(longAgo)),
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, wf)
			assert.Zero(t, e.reconcile())
			assert.Zero(t, e.hubAsked)
			assert.Empty(t, e.managedWrites)
			assert.Empty(t, e.said())
		})
	}
}

func TestARunWhoseRemoteWorkflowIsMadeAgainIsTheRun(t *testing.T) {
	for name, mods := range map[string][]workflowMod{
		"it has finished and is being deleted": {opened, inPhase("Succeeded"), deletedAt(testNow)},
		"it runs":                              {opened, inPhase("Running")},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, newCopy(t, mods...))
			e.reconcile()
			require.NoError(t, e.hub.Create(t.Context(), newRemote(madeAgain, func(rw *v1alpha1.RemoteWorkflow) { rw.ResourceVersion = "" })))
			e.reconcile()
			assert.Equal(t, testUID, e.remote().Status.RemoteUID)
			if !isDeleted(e.workflow()) {
				assert.Equal(t, contract.ReferenceTo(e.remote()), contract.ReferenceOf(e.workflow()), "the start repairs it")
				e.reconcile()
			}
			e.requireReported()
			assert.Zero(t, e.count("gates_opened_total"))
		})
	}
}

func TestAFinalizerIsRemovedAgainIfTheRunChangesMeanwhile(t *testing.T) {
	e := newEnv(t, newCopy(t, opened, inPhase("Succeeded"), deletedAt(testNow)))
	e.hints.of("demo-0123", "").since(absent, testNow.Add(-absenceGrace))
	e.managedFails = onPatch(apierrors.NewConflict(contract.WorkflowGVR.GroupResource(), "demo", errors.New("changed")))
	assert.Equal(t, staleRetry, e.reconcile().RequeueAfter)
	assert.Empty(t, e.said())
	e.managedFails = onPatch(errors.New("broken"))
	_, err := e.tryReconcile()
	require.ErrorContains(t, err, "remove the finalizer")
	e.managedFails = nil
	e.reconcile()
	assert.Nil(t, e.workflow())
}
