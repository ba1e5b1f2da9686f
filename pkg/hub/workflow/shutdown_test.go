package workflow

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func shutdown(how string) gen.Mod { return gen.WithSpecField(how, "shutdown") }

// unwilling is an attempt of a Workflow that was not shut down when it was made.
func unwilling(obj client.Object) { obj.(*v1alpha1.RemoteWorkflow).Spec.Controls = v1alpha1.Controls{} }

func TestWhatIsShutDownBeforeItsStartIsTakenBack(t *testing.T) {
	stop := shutdown("Stop")
	waits := gen.WithHubStatus("Pending", map[string]any{"message": "x"})
	tests := map[string]struct {
		s    *snapshot
		want wanted
	}{
		"it was not sent: first the finalizer":              {scene(assigned(stop)), wanted{action: release}},
		"it was not sent: then the assignment":              {scene(assigned(stop, withoutFinalizers())), wanted{action: unassign}},
		"it was not sent, and its cluster is without agent": {scene(assigned(stop), noAgent), wanted{action: release}},
		"it is not assigned: that is for the scheduler":     {scene(gen.Workflow("hello", stop)), wanted{action: wait}},
		"it has an attempt":                                 {scene(assigned(stop), own()), wanted{action: remove, attempt: "own", removal: terminate}},
		"it has an attempt that was made before":            {scene(assigned(stop), own(unwilling)), wanted{action: remove, attempt: "own", removal: terminate}},
		"it has said something":                             {scene(assigned(stop, waits), own()), wanted{action: remove, attempt: "own", removal: terminate}},
		"its attempt is in a delivery":                      {scene(assigned(stop), own(), delivered()), wanted{action: remove, attempt: "own", removal: terminate}},
		"its attempt is being taken back":                   {scene(assigned(stop), own(gen.Deleting()), delivered()), wanted{action: wait}},
		"its attempt has left its delivery":                 {scene(assigned(stop), own(gen.Deleting())), wanted{action: finalize, attempt: "own"}},
		"its cluster cannot be reached":                     {scene(assigned(stop), own(), lost), wanted{action: remove, attempt: "own", removal: terminate}},
		"its attempt was claimed":                           {scene(assigned(stop), own(claimed(), unwilling)), wanted{action: control}},
		"its attempt was claimed, and knows":                {scene(assigned(stop), own(claimed())), wanted{action: wait}},
		"it runs":                                           {scene(assigned(stop, gen.WithHubStatus("Running")), own(claimed(), unwilling)), wanted{action: control}},
		"without an agent, it may run already": {
			scene(assigned(stop, waits), own(withoutAgent()), delivered(), noAgent), wanted{action: show},
		},
		"it may have run before the hub was restored": {
			scene(assigned(stop), restoredLater), wanted{action: hold, reason: hubworkflow.ReasonRestoredHub},
		},
		"it may have been claimed before the hub was restored": {scene(assigned(stop), own(unwilling), restoredLater), wanted{action: control}},
		"somebody else runs it": {
			scene(assigned(stop, gen.WithStatus("Running"))), wanted{action: hold, reason: hubworkflow.ReasonForeignStatus},
		},
		"it has lost its label": {
			scene(assigned(stop, withoutLabels()), own()), wanted{action: restore, reason: reasonLabelRestored},
		},
		"it is withdrawn":                  {scene(assigned(stop, label("false"))), wanted{action: release}},
		"it is being deleted":              {scene(assigned(stop, gen.Deleting())), wanted{action: release}},
		"it is being deleted, and is sent": {scene(assigned(stop, gen.Deleting()), own()), wanted{action: remove, attempt: "own", removal: terminate}},
		"it is suspended only, and starts so": {
			scene(assigned(gen.WithSpecField(true, "suspend")), own(), delivered()), wanted{action: wait, within: answersWithin},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { check(t, test.s, test.want) })
	}
}

func TestTheAttemptOfAWorkflowThatWasEndedBeforeItWasSentGoes(t *testing.T) {
	ended := func(mods ...gen.Mod) []gen.Mod {
		return append([]gen.Mod{shutdown("Stop"), gen.WithHubStatus("Failed")}, mods...)
	}
	tests := map[string]struct {
		s    *snapshot
		want wanted
	}{
		"it is there":    {scene(gen.Workflow("hello", ended()...), own()), wanted{action: remove, attempt: "own", removal: terminate}},
		"it is going":    {scene(gen.Workflow("hello", ended()...), own(gen.Deleting()), delivered()), wanted{action: wait}},
		"it may go":      {scene(gen.Workflow("hello", ended()...), own(gen.Deleting())), wanted{action: finalize, attempt: "own"}},
		"there is none":  {scene(gen.Workflow("hello", ended()...)), wanted{action: wait}},
		"it was claimed": {scene(gen.Workflow("hello", ended()...), own(claimed())), wanted{action: restore, reason: reasonClusterRestored}},
		"without an agent, it may run": {
			scene(gen.Workflow("hello", ended()...), own(withoutAgent())), wanted{action: restore, reason: reasonClusterRestored},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { check(t, test.s, test.want) })
	}
}

func TestAShutdownBeforeTheStartGivesTheWorkflowBackStepByStep(t *testing.T) {
	wf := assigned(gen.WithPlacement("anywhere"), shutdown("Terminate"))
	rw := attemptOf(wf)
	r, hub, _ := newReconciler(t, append(surroundings(), wf, rw)...)
	for range 5 {
		run(t, r)
	}
	assert.Equal(t, []string{
		"delete RemoteWorkflow cluster1/" + rw.Name, "patch RemoteWorkflow cluster1/" + rw.Name,
		"patch Workflow default/hello", "patch Workflow default/hello",
	}, hub.Writes())
	assert.Equal(t, rw.UID, hub.Last("delete RemoteWorkflow").UID)
	assert.NotEmpty(t, hub.Last("delete RemoteWorkflow").ResourceVersion, "of the version in which nothing had claimed it")
	assert.Equal(t, 2, hub.Calls("live get RemoteWorkflow"), "the API server has none, with the finalizer and without")
	assert.False(t, hub.Show(rw))
	got := shows(t, hub)
	assert.Empty(t, contract.AssignedCluster(got))
	assert.Empty(t, got.GetFinalizers())
	assert.Empty(t, contract.Phase(got), "the scheduler ends it")
	assert.Equal(t, []string{`Warning ClusterTakenBack nothing has started on managed cluster "cluster1": the Workflow ends on the hub, ` +
		"for spec.shutdown is Terminate"}, hub.Events())
}

func TestAShutdownWhoseAttemptTheCacheDoesNotShowYetIsNotGivenBack(t *testing.T) {
	for name, mods := range map[string][]gen.Mod{"with the finalizer": nil, "without": {withoutFinalizers()}} {
		t.Run(name, func(t *testing.T) {
			wf := assigned(append(mods, shutdown("Stop"))...)
			rw := attemptOf(wf, claimed(), unwilling)
			r, hub, _ := newReconciler(t, append(surroundings(), wf, rw)...)
			hub.Lag("list RemoteWorkflow")
			run(t, r)
			run(t, r)
			assert.Equal(t, cluster1, contract.AssignedCluster(shows(t, hub)))
			require.True(t, hub.Show(rw))
			assert.Nil(t, rw.DeletionTimestamp)
			assert.Equal(t, v1alpha1.ShutdownStop, rw.Spec.Shutdown, "it goes to the cluster")
		})
	}
}

func TestAShutdownOfWhatIsClaimedMeanwhileGoesToTheCluster(t *testing.T) {
	wf := assigned(shutdown("Stop"))
	rw := attemptOf(wf, unwilling)
	r, hub, _ := newReconciler(t, append(surroundings(), wf, rw)...)
	hub.On("delete RemoteWorkflow", func() error {
		live := rw.DeepCopy()
		require.True(t, hub.Show(live))
		before := live.DeepCopy()
		live.Status.RemoteUID = remoteUID
		return hub.Status().Patch(t.Context(), live, client.MergeFrom(before))
	})
	_, err := try(t, r)
	require.True(t, apierrors.IsConflict(err), "got %v", err)
	run(t, r)
	require.True(t, hub.Show(rw))
	assert.Nil(t, rw.DeletionTimestamp)
	assert.Equal(t, v1alpha1.ShutdownStop, rw.Spec.Shutdown)
	run(t, r)
	assert.Equal(t, cluster1, contract.AssignedCluster(shows(t, hub)))
	assert.Empty(t, contract.Phase(shows(t, hub)))
}

func TestAShutdownThatIsTakenBackMeanwhileLetsTheWorkflowBeSentAgain(t *testing.T) {
	wf := assigned()
	rw := attemptOf(wf, gen.Deleting()) // it was shut down, and is not any more
	r, hub, _ := newReconciler(t, append(surroundings(), wf, rw)...)
	run(t, r)
	run(t, r)
	assert.Equal(t, []string{"patch RemoteWorkflow cluster1/" + rw.Name, "create RemoteWorkflow cluster1/" + rw.Name}, hub.Writes())
}

func TestAWorkflowThatWasEndedBeforeItWasSentExpires(t *testing.T) {
	wf := gen.Workflow("hello", shutdown("Stop"), gen.WithTTL("secondsAfterFailure", 60))
	r, hub, now := newReconciler(t, append(surroundings(), wf)...)
	require.True(t, hub.Show(wf))
	require.NoError(t, hubworkflow.End(t.Context(), hub, hub.Recorder, hubworkflow.Of(wf), gen.Time.Time))
	assert.Equal(t, time.Minute+grace, run(t, r))
	now.SetTime(gen.Time.Add(time.Minute + grace))
	run(t, r)
	assert.False(t, hub.Show(wf))
}
