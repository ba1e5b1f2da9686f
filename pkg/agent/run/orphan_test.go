package run

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

func TestDecideOrphan(t *testing.T) {
	justNow, longAgo := testNow.Add(-10*time.Minute), testNow.Add(-orphanGrace)
	tests := map[string]struct {
		wf     *unstructured.Unstructured
		hubID  string
		want   action
		within time.Duration
	}{
		"one that is being deleted is kept for an hour": {
			wf: newCopy(t, opened, deletedAt(justNow)), hubID: "hub-id", want: wait, within: 50 * time.Minute},
		"one that has finished is kept for an hour, too": {
			wf: newCopy(t, opened, inPhase("Succeeded"), deletedAt(justNow)), hubID: "hub-id", want: wait, within: 50 * time.Minute},
		"after an hour it is let go": {
			wf: newCopy(t, opened, deletedAt(longAgo)), hubID: "hub-id", want: release},
		"one that runs on is let go after an hour, too": {
			wf: newCopy(t, opened, inPhase("Running"), deletedAt(longAgo)), hubID: "hub-id", want: release},
		"one that is not being deleted is left alone": {
			wf: newCopy(t, opened, inPhase("Succeeded")), hubID: "hub-id", want: wait},
		"one that waits for others alone is left alone": {
			wf: newCopy(t, ungated, deletedAt(longAgo)), hubID: "hub-id", want: wait},
		"another hub's is left alone": {
			wf: newCopy(t, opened, annotated(contract.AnnotationHubID, "other-hub"), deletedAt(longAgo)), hubID: "hub-id", want: wait},
		"one is left alone by an agent that does not know its hub": {
			wf: newCopy(t, opened, unannotated(contract.AnnotationHubID), deletedAt(longAgo)), want: wait},
		"one for another cluster is left alone": {
			wf: newCopy(t, opened, unlabeled, deletedAt(longAgo)), hubID: "hub-id", want: wait},
		"that of another RemoteWorkflow is left alone": {
			wf: newCopy(t, opened, annotated(contract.AnnotationRemoteWorkflow, "other"), deletedAt(longAgo)), hubID: "hub-id", want: wait},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := decideOrphan(client.ObjectKeyFromObject(newRemote()), test.hubID, test.wf, testNow)
			assert.Equal(t, decision{action: test.want, within: test.within}, got)
		})
	}
}

func TestAnOrphanIsKeptForAnHourAndThenLetGo(t *testing.T) {
	e := newEnv(t, newCopy(t, withFinalizer("example.com/of-another"), opened, inPhase("Succeeded"), deletedAt(testNow)))
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

	e.clock.SetTime(testNow.Add(orphanGrace))
	assert.Zero(t, e.reconcile())
	assert.Equal(t, []map[string]any{{"metadata": map[string]any{
		"uid": string(testUID), "resourceVersion": "1", "finalizers": []any{"example.com/of-another"},
	}}}, e.managedWrites)
	said = e.said()
	require.Len(t, said, 1)
	assert.Contains(t, said[0], "Warning Released let go unreported")
	assert.Equal(t, []string{"example.com/of-another"}, e.workflow().GetFinalizers())
	assert.Empty(t, e.hubWrites)
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
			result, err := e.tryReconcile()
			assert.Zero(t, result)
			require.ErrorIs(t, err, answer)
			assert.Empty(t, e.managedWrites)
			assert.Empty(t, e.said())
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
	e := newEnv(t, newCopy(t, opened, inPhase("Succeeded"), deletedAt(testNow.Add(-orphanGrace))))
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
