package run

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

func TestDecideOrphan(t *testing.T) {
	justNow, longAgo, unasked := testNow.Add(-10*time.Minute), testNow.Add(-orphanGrace), time.Time{}
	deleted := deletedAt(testNow.Add(-2 * time.Hour))
	tests := map[string]struct {
		wf     *unstructured.Unstructured
		hubID  string
		since  time.Time
		want   action
		within time.Duration
	}{
		"one that was deleted two hours ago is kept for an hour from now": {
			wf: newCopy(t, opened, deleted), hubID: "hub-id", since: unasked, want: wait, within: orphanGrace},
		"one is kept for an hour from the hub's first word": {
			wf: newCopy(t, opened, deleted), hubID: "hub-id", since: justNow, want: wait, within: 50 * time.Minute},
		"one that has finished is kept for an hour, too": {
			wf: newCopy(t, opened, inPhase("Succeeded"), deleted), hubID: "hub-id", since: justNow, want: wait, within: 50 * time.Minute},
		"after an hour it is let go": {
			wf: newCopy(t, opened, deleted), hubID: "hub-id", since: longAgo, want: release},
		"one that runs on is let go after an hour, too": {
			wf: newCopy(t, opened, inPhase("Running"), deleted), hubID: "hub-id", since: longAgo, want: release},
		"one that is not being deleted is left alone": {
			wf: newCopy(t, opened, inPhase("Succeeded")), hubID: "hub-id", since: longAgo, want: wait},
		"one that waits for others alone is left alone": {
			wf: newCopy(t, ungated, deleted), hubID: "hub-id", since: longAgo, want: wait},
		"one that was never started is removed": {
			wf: newCopy(t), hubID: "hub-id", since: unasked, want: remove},
		"one that was never started is removed though its status is there, and empty": {
			wf: newCopy(t, withStatus(map[string]any{})), hubID: "hub-id", since: unasked, want: remove},
		"one that somebody has opened is not removed": {
			wf: newCopy(t, ungated), hubID: "hub-id", since: longAgo, want: wait},
		"one that somebody has gated again is not removed": {
			wf: newCopy(t, inPhase("Running")), hubID: "hub-id", since: longAgo, want: wait},
		"one that has our finalizer is not removed": {
			wf: newCopy(t, guarded), hubID: "hub-id", since: longAgo, want: wait},
		"one that was never started and is being deleted is left to whoever keeps it": {
			wf: newCopy(t, deleted), hubID: "hub-id", since: longAgo, want: wait},
		"another hub's is not removed": {
			wf: newCopy(t, annotated(contract.AnnotationHubID, "other-hub")), hubID: "hub-id", since: longAgo, want: wait},
		"one is not removed by an agent that does not know its hub": {
			wf: newCopy(t, unannotated(contract.AnnotationHubID)), since: longAgo, want: wait},
		"one for another cluster is not removed": {
			wf: newCopy(t, unlabeled), hubID: "hub-id", since: longAgo, want: wait},
		"that of another RemoteWorkflow is not removed": {
			wf: newCopy(t, annotated(contract.AnnotationRemoteWorkflow, "other")), hubID: "hub-id", since: longAgo, want: wait},
		"another hub's is left alone": {
			wf: newCopy(t, opened, annotated(contract.AnnotationHubID, "other-hub"), deleted), hubID: "hub-id", since: longAgo, want: wait},
		"one is left alone by an agent that does not know its hub": {
			wf: newCopy(t, opened, unannotated(contract.AnnotationHubID), deleted), since: longAgo, want: wait},
		"one for another cluster is left alone": {
			wf: newCopy(t, opened, unlabeled, deleted), hubID: "hub-id", since: longAgo, want: wait},
		"that of another RemoteWorkflow is left alone": {
			wf: newCopy(t, opened, annotated(contract.AnnotationRemoteWorkflow, "other"), deleted), hubID: "hub-id", since: longAgo, want: wait},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := decideOrphan(client.ObjectKeyFromObject(newRemote()), test.hubID, test.wf, test.since, testNow)
			assert.Equal(t, decision{action: test.want, within: test.within}, got)
		})
	}
}

func TestAnOrphanIsKeptForAnHourAfterTheHubsFirstWordAndThenLetGo(t *testing.T) {
	e := newEnv(t, newCopy(t, withFinalizer("example.com/of-another"), opened, inPhase("Succeeded"), deletedAt(testNow.Add(-2*time.Hour))))
	assert.Equal(t, orphanGrace, e.reconcile().RequeueAfter)
	said := e.said()
	require.Len(t, said, 1)
	assert.Contains(t, said[0], "Warning Orphaned kept in deletion until 2030-05-01T13:00:00Z")
	assert.Contains(t, said[0], "the hub has no RemoteWorkflow cluster1/demo-0123 of it")
	assert.Contains(t, said[0], "`argo-multicluster agent release`")

	e.clock.SetTime(testNow.Add(orphanGrace / 2))
	assert.Equal(t, orphanGrace/2, e.reconcile().RequeueAfter)
	assert.Empty(t, e.said(), "it is said once")
	assert.Empty(t, e.managedWrites)
	assert.Zero(t, e.count("orphans_total"))

	e.clock.SetTime(testNow.Add(orphanGrace))
	assert.Zero(t, e.reconcile())
	assert.Equal(t, []map[string]any{{"metadata": map[string]any{
		"uid": string(testUID), "resourceVersion": "1", "finalizers": []any{"example.com/of-another"},
	}}}, e.managedWrites)
	said = e.said()
	require.Len(t, said, 1)
	assert.Contains(t, said[0], "Warning Released let go unreported")
	assert.Contains(t, said[0], "the hub has had no RemoteWorkflow cluster1/demo-0123 of it since 2030-05-01T12:00:00Z")
	assert.Equal(t, []string{"example.com/of-another"}, e.workflow().GetFinalizers())
	assert.Equal(t, 1, e.count("orphans_total", "released"))
	assert.Empty(t, e.hubWrites)
}

func TestTheHourOfAnOrphanBeginsAnew(t *testing.T) {
	away := errors.New("connection refused")
	for when, between := range map[string]func(*env){
		"when the hub was away, and may have been restored": func(e *env) {
			e.hubLiveFails = func() error { return away }
			_, err := e.tryReconcile()
			require.ErrorIs(e.t, err, away)
		},
		"when the hub had the RemoteWorkflow meanwhile, and only its cache did not": func(e *env) {
			e.hubLiveFails = func() error { return nil }
			e.reconcile()
		},
		"when the hub's cache had the RemoteWorkflow meanwhile, and this cluster was away": func(e *env) {
			e.hubShows, e.managedFails = newRemote(), func([]byte) error { return away }
			_, err := e.tryReconcile()
			require.ErrorIs(e.t, err, away)
		},
		"when the agent has started again": func(e *env) { e.memory = memory{} },
	} {
		t.Run(when, func(t *testing.T) {
			e := newEnv(t, newCopy(t, opened, inPhase("Succeeded"), deletedAt(testNow)))
			e.reconcile()
			e.clock.SetTime(testNow.Add(orphanGrace))
			between(e)
			e.hubLiveFails, e.hubShows, e.managedFails = nil, nil, nil
			assert.Equal(t, orphanGrace, e.reconcile().RequeueAfter)
			assert.Empty(t, e.managedWrites)
			assert.Len(t, e.said(), 2, "the new hour is told, too")
		})
	}
}

func TestAnOrphanThatWasNeverStartedIsRemovedAtOnce(t *testing.T) {
	e := newEnv(t, newCopy(t))
	assert.Zero(t, e.reconcile())
	uid, version, background := testUID, "1", metav1.DeletePropagationBackground
	assert.Equal(t, []client.DeleteOptions{{
		Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}, PropagationPolicy: &background,
	}}, e.managedDeletes)
	assert.Nil(t, e.workflow())
	assert.Equal(
		t,
		[]string{"Normal Removed removed: it was never started, and the hub has no RemoteWorkflow cluster1/demo-0123 of it"},
		e.said(),
	)
	assert.Equal(t, 1, e.count("orphans_total", "removed"))
	assert.Empty(t, e.managedWrites)
	assert.Empty(t, e.hubWrites)
	assert.Zero(t, e.reconcile())
	assert.Empty(t, e.memory.runs)
}

func TestAnOrphanThatChangesWhileItIsRemovedIsTriedAgain(t *testing.T) {
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
	require.ErrorContains(t, err, "remove the copy")
	assert.Empty(t, e.said())
	assert.Zero(t, e.count("orphans_total"))
}

// The copy may be seen before its RemoteWorkflow.
func TestACopyThatTheHubKnowsIsNotRemovedThoughTheCacheDoesNotShowItsRemoteWorkflow(t *testing.T) {
	e := newEnv(t, newCopy(t))
	e.hubLiveFails = func() error { return nil }
	assert.Equal(t, staleRetry, e.reconcile().RequeueAfter, "should the watch not bring it")
	require.NoError(t, e.hub.Create(t.Context(), newRemote(func(rw *v1alpha1.RemoteWorkflow) { rw.ResourceVersion = "" })))
	e.reconcile()
	assert.Empty(t, e.managedDeletes)
	assert.Equal(t, 1, e.count("gates_opened_total"))
}

// A copy that waits must not hide one that is in the way.
func TestOfTwoOrphansThatNameTheSameRemoteWorkflowTheOneThatNeedNotWaitComesFirst(t *testing.T) {
	for name, waiting := range map[string]string{"the first": "a", "the last": "z"} {
		t.Run(name+" waits", func(t *testing.T) {
			e := newEnv(t, newCopy(t), newCopy(t, opened, deletedAt(testNow), func(wf *unstructured.Unstructured) { wf.SetName(waiting) }))
			e.reconcile()
			assert.Nil(t, e.workflow())
			assert.Equal(t, orphanGrace, e.reconcile().RequeueAfter)
		})
	}
}

func TestAnOrphanThatIsGoneIsForgotten(t *testing.T) {
	e := newEnv(t, newCopy(t, opened, deletedAt(testNow)))
	e.reconcile()
	assert.Len(t, e.memory.runs, 1)
	e.change(func(wf *unstructured.Unstructured) { wf.SetFinalizers(nil) })
	assert.Zero(t, e.reconcile())
	assert.Empty(t, e.memory.runs)
	assert.Empty(t, e.managedWrites)
}

func TestACopyIsNoOrphanAsLongAsTheHubDoesNotSaySo(t *testing.T) {
	forbidden := apierrors.NewForbidden(remoteResource, "demo-0123", nil)
	unauthorized := apierrors.NewUnauthorized("expired")
	away := errors.New("connection refused")
	broken := apierrors.NewInternalError(errors.New("broken"))
	unserved := apierrors.NewGenericServerResponse(http.StatusNotFound, "get", remoteResource, "demo-0123", "404 page not found", 0, true)
	for name, answer := range map[string]error{
		"it has the RemoteWorkflow, and only the cache does not": nil,
		"the agent may not ask":                                  forbidden,
		"it does not know the agent":                             unauthorized,
		"it is away":                                             away,
		"it is broken":                                           broken,
		"it does not serve RemoteWorkflows":                      unserved,
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, newCopy(t, opened, inPhase("Succeeded"), deletedAt(testNow.Add(-2*orphanGrace))))
			e.hubLiveFails = func() error { return answer }
			e.memory.of("demo-0123", "").absentSince = testNow.Add(-orphanGrace)
			result, err := e.tryReconcile()
			require.ErrorIs(t, err, answer)
			if answer == nil {
				assert.Equal(t, staleRetry, result.RequeueAfter, "should the watch not bring it")
			} else {
				assert.Zero(t, result)
			}
			assert.Empty(t, e.managedWrites)
			assert.Empty(t, e.said())

			gated := newEnv(t, newCopy(t))
			gated.hubLiveFails = e.hubLiveFails
			_, err = gated.tryReconcile()
			require.ErrorIs(t, err, answer)
			assert.Empty(t, gated.managedDeletes)
			assert.Empty(t, gated.said())
		})
	}
}

func TestTheHubIsNotAskedAboutACopyThatIsNoOrphan(t *testing.T) {
	longAgo := testNow.Add(-2 * orphanGrace)
	for name, wf := range map[string]*unstructured.Unstructured{
		"it is not being deleted":        newCopy(t, opened, inPhase("Succeeded")),
		"it is another hub's":            newCopy(t, opened, annotated(contract.AnnotationHubID, "other-hub"), deletedAt(longAgo)),
		"it lacks our finalizer":         newCopy(t, ungated, inPhase("Succeeded"), deletedAt(longAgo)),
		"it is another RemoteWorkflow's": newCopy(t, opened, annotated(contract.AnnotationRemoteWorkflow, "other"), deletedAt(longAgo)),
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, wf)
			e.hubLiveFails = func() error { return errors.New("must not be asked") }
			assert.Zero(t, e.reconcile())
			assert.Empty(t, e.managedWrites)
			assert.Empty(t, e.said())
		})
	}
}

func TestAnOrphanWhoseRemoteWorkflowIsMadeAgainIsTheRun(t *testing.T) {
	e := newEnv(t, newCopy(t, opened, inPhase("Succeeded"), deletedAt(testNow)))
	e.reconcile()
	require.NoError(t, e.hub.Create(t.Context(), newRemote(func(rw *v1alpha1.RemoteWorkflow) { rw.ResourceVersion = "" })))
	e.reconcile()
	assert.Equal(t, testUID, e.remote().Status.RemoteUID)
	e.requireReported()
	e.reconcile()
	assert.Nil(t, e.workflow())
}

func TestAnOrphanThatChangesWhileItIsLetGoIsTriedAgain(t *testing.T) {
	e := newEnv(t, newCopy(t, opened, inPhase("Succeeded"), deletedAt(testNow)))
	e.memory.of("demo-0123", "").absentSince = testNow.Add(-orphanGrace)
	e.managedFails = onPatch(apierrors.NewConflict(contract.WorkflowGVR.GroupResource(), "demo", errors.New("changed")))
	assert.Equal(t, staleRetry, e.reconcile().RequeueAfter)
	assert.Empty(t, e.said())
	e.managedFails = onPatch(errors.New("broken"))
	_, err := e.tryReconcile()
	require.ErrorContains(t, err, "release the copy")
	e.managedFails = nil
	e.reconcile()
	assert.Nil(t, e.workflow())
}
