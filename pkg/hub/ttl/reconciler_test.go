package ttl

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// newReconciler returns one whose clock shows so much time after gen.Time.
func newReconciler(t *testing.T, after time.Duration, objects ...client.Object) (*Reconciler, *fakehub.Hub) {
	t.Helper()
	hub := fakehub.New(t, nil, objects...)
	return &Reconciler{Client: hub, Recorder: hub.Recorder, Clock: clocktesting.NewFakePassiveClock(gen.Time.Add(after))}, hub
}

func run(t *testing.T, r *Reconciler, wf *unstructured.Unstructured) (time.Duration, error) {
	t.Helper()
	result, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(wf)})
	return result.RequeueAfter, err
}

// ended is a Workflow that has ended at gen.Time, and is to stay a minute.
func ended(mods ...gen.Mod) *unstructured.Unstructured {
	return gen.Workflow("hello", append([]gen.Mod{
		gen.WithAssignment("cluster1"), withTTL(map[string]any{completion: aMinute}), finished("Succeeded"),
	}, mods...)...)
}

func TestAWorkflowIsDeletedWhenItsTimeIsOver(t *testing.T) {
	wf := ended()
	r, hub := newReconciler(t, afterMinute, wf)
	require.True(t, hub.Show(wf))
	const counter = "argo_multicluster_hub_ttl_expired_total"
	before := fakehub.Counted(t, counter, "")
	wait, err := run(t, r, wf)
	require.NoError(t, err)
	assert.Zero(t, wait)
	assert.InDelta(t, before+1, fakehub.Counted(t, counter, ""), 0)
	assert.Equal(t, []string{"delete Workflow default/hello"}, hub.Writes())
	write := hub.Last("delete Workflow")
	assert.Equal(t, wf.GetUID(), write.UID)
	assert.Equal(t, wf.GetResourceVersion(), write.ResourceVersion)
	assert.Equal(t, metav1.DeletePropagationBackground, write.Propagation)
	assert.Equal(t, []string{"Normal TTLExpired deleted as its ttlStrategy says: it was Succeeded at 2026-01-02T15:04:05Z"}, hub.Events())

	require.True(t, hub.Show(wf))
	assert.Equal(t, []string{contract.FinalizerDispatch}, wf.GetFinalizers(), "its run goes first")
	wait, err = run(t, r, wf)
	require.NoError(t, err)
	assert.Zero(t, wait)
	assert.Len(t, hub.Writes(), 1, "it is deleted once")
	assert.Empty(t, hub.Events())
}

func TestAWorkflowIsLookedAtAgainWhenItsTimeIsOver(t *testing.T) {
	for name, test := range map[string]struct{ after, wait time.Duration }{
		"it has just ended":           {0, afterMinute},
		"its strategy's time is over": {time.Minute, time.Second},
		"almost":                      {afterMinute - time.Nanosecond, time.Nanosecond},
		"its cluster's clock is fast": {-time.Hour, time.Hour + afterMinute},
	} {
		t.Run(name, func(t *testing.T) {
			wf := ended()
			r, hub := newReconciler(t, test.after, wf)
			wait, err := run(t, r, wf)
			require.NoError(t, err)
			assert.Equal(t, test.wait, wait)
			assert.Empty(t, hub.Writes())
			assert.Empty(t, hub.Events())
		})
	}
}

// withoutStatusField drops a field of the status, as a server with Argo's full CRD does with one that it does not know.
func withoutStatusField(field string) gen.Mod {
	return func(obj client.Object) { delete(contract.Status(obj.(*unstructured.Unstructured)), field) }
}

func TestAWorkflowThatIsNotToGoIsLeftAlone(t *testing.T) {
	for name, wf := range map[string]*unstructured.Unstructured{
		"it runs":                     ended(gen.WithHubStatus("Running")),
		"it has no strategy":          ended(withTTL(nil)),
		"it is being deleted":         ended(gen.Deleting()),
		"it is not ours":              ended(gen.WithLabels(map[string]string{contract.LabelEnable: "false"})),
		"somebody wrote its status":   ended(gen.WithStatus("Failed", map[string]any{"finishedAt": "2026-01-02T15:04:05Z"})),
		"its status is another's":     ended(gen.WithUID("another")),
		"its status lost a field":     ended(finished("Succeeded", map[string]any{"ofANewerArgo": true}), withoutStatusField("ofANewerArgo")),
		"its end cannot be read":      ended(finished("Succeeded", map[string]any{"finishedAt": "yesterday"})),
		"its strategy cannot be read": ended(withTTL(map[string]any{completion: "soon"})),
	} {
		t.Run(name, func(t *testing.T) {
			r, hub := newReconciler(t, time.Hour, wf)
			wait, err := run(t, r, wf)
			require.NoError(t, err)
			assert.Zero(t, wait)
			assert.Empty(t, hub.Writes())
			assert.Empty(t, hub.Events())
		})
	}
}

func TestAWorkflowThatIsGoneIsNoError(t *testing.T) {
	r, hub := newReconciler(t, time.Hour)
	wait, err := run(t, r, ended())
	require.NoError(t, err)
	assert.Zero(t, wait)
	assert.Empty(t, hub.Writes())
}

func TestAWorkflowThatHasChangedMeanwhileIsNotDeleted(t *testing.T) {
	wf := ended()
	r, hub := newReconciler(t, time.Hour, wf)
	hub.On("delete Workflow", func() error {
		return hub.Patch(t.Context(), wf.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"ttlStrategy":null}}`)))
	})
	wait, err := run(t, r, wf)
	require.NoError(t, err, "the watch brings the change")
	assert.Zero(t, wait)
	require.True(t, hub.Show(wf))
	assert.Nil(t, wf.GetDeletionTimestamp())
	assert.Empty(t, hub.Events())
}

func TestWhatADeletionIsAnsweredWith(t *testing.T) {
	down := errors.New("down")
	for name, test := range map[string]struct{ answer, want error }{
		"a conflict is left to the watch": {fakehub.Conflict(), nil},
		"it is gone already":              {apierrors.NewNotFound(contract.WorkflowGVR.GroupResource(), "hello"), nil},
		"anything else is tried again":    {down, down},
	} {
		t.Run(name, func(t *testing.T) {
			wf := ended()
			r, hub := newReconciler(t, time.Hour, wf)
			hub.Fail("delete Workflow", test.answer)
			before := fakehub.Counted(t, "argo_multicluster_hub_ttl_expired_total", "")
			_, err := run(t, r, wf)
			require.ErrorIs(t, err, test.want)
			assert.InDelta(t, before, fakehub.Counted(t, "argo_multicluster_hub_ttl_expired_total", ""), 0, "it is not deleted by us")
			assert.Len(t, hub.Writes(), 1)
			assert.Empty(t, hub.Events())
		})
	}
}

func TestAReadThatFailsIsAnError(t *testing.T) {
	wf := ended()
	r, hub := newReconciler(t, time.Hour, wf)
	hub.Fail("get Workflow", assert.AnError)
	_, err := run(t, r, wf)
	require.ErrorIs(t, err, assert.AnError)
	assert.Empty(t, hub.Writes())
}
