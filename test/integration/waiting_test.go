package integration

import (
	"errors"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// puts has a client of Argo change the Workflow on the hub, which puts all that it has read of it, as argo suspend and resume do.
func (r *run) puts(change func(*wfv1.Workflow)) {
	r.t.Helper()
	require.NoError(r.t, retry.RetryOnConflict(retry.DefaultRetry, func() error {
		read, typed := r.must(theHub), &wfv1.Workflow{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(read.Object, typed); err != nil {
			return err
		}
		change(typed)
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
		if err != nil {
			return err
		}
		return theHub.client.Update(r.t.Context(), &unstructured.Unstructured{Object: object})
	}))
}

// endedUnsent waits until the Workflow has ended on the hub, and makes sure that nothing was, or is, sent.
func (r *run) endedUnsent(message string) {
	r.t.Helper()
	r.waitFor("Failed", message)
	wf := r.must(theHub)
	assert.Equal(r.t, "Failed", wf.GetLabels()[contract.LabelPhase])
	assert.Equal(r.t, "true", wf.GetLabels()[contract.LabelCompleted])
	assert.NotEmpty(r.t, contract.StatusString(contract.Status(wf), "finishedAt"))
	assert.Empty(r.t, contract.AssignedCluster(wf))
	assert.Empty(r.t, wf.GetFinalizers())
	r.waitForEvent("Stopped", message)
	_, err := r.remoteWorkflow()
	assert.True(r.t, apierrors.IsNotFound(err), "got %v", err)
	require.NoError(r.t, r.isNotSent())
}

func TestAWorkflowThatHasNoClusterIsSuspendedResumedAndStoppedOnTheHub(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	r := s.create("waits", &cluster{name: "not-there", client: cluster2.client})
	r.waitFor("Pending", "not-there")
	r.puts(func(wf *wfv1.Workflow) { wf.Spec.Suspend = ptr.To(true) })
	r.waitFor("Pending", "suspended: argo resume lets it be scheduled")
	r.waitForEvent("Suspended", "suspended")
	r.puts(func(wf *wfv1.Workflow) { wf.Spec.Suspend = nil })
	r.waitFor("Pending", "not-there")
	r.edit(theHub, `{"spec":{"shutdown":"Stop"}}`)
	r.endedUnsent("Stopped with strategy 'Stop'")
	r.delete(theHub)
	r.waitUntilGoneFromTheHub()
}

func TestAWorkflowThatWasCreatedSuspendedRunsWhenItIsResumed(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	r := s.create("suspended", cluster2, gen.WithSpecField(true, "suspend"))
	r.waitFor("Pending", "suspended: argo resume lets it be scheduled")
	assert.Empty(t, contract.AssignedCluster(r.must(theHub)))
	r.puts(func(wf *wfv1.Workflow) { wf.Spec.Suspend = nil })
	r.runs()
	assert.NotContains(t, r.must(cluster2).Object["spec"], "suspend")
	r.isGone()
}

func TestAWorkflowThatWasSentAndNotClaimedIsTakenBackAndEndsOnTheHub(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	r := s.create("terminated", cluster2, gen.WithTTL("secondsAfterFailure", 0))
	r.waitForManifestWork()
	r.edit(theHub, `{"spec":{"shutdown":"Terminate"}}`)
	r.waitForEvent("Stopped", "Stopped with strategy 'Terminate'")
	r.waitUntilGoneFromTheHub()
	r.vanishes()

	again := s.create("terminated", cluster2, gen.WithSpecField("Terminate", "shutdown"))
	again.endedUnsent("Stopped with strategy 'Terminate'")
	again.isGone()
	assert.Empty(t, s.seen[cluster2].open("terminated"))
}

// The shutdown comes when the remote Workflow is there, and the agent is about to claim it: either it is taken back, or the cluster ends it.
func TestAShutdownThatMeetsAClaimEndsTheWorkflowOnce(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	r := s.create("met", cluster2)
	r.waitForManifestWork()
	claim := agent2.hub.Hold(t, r.claims)
	created := r.workAgent.apply(r)
	claim.Await(t)
	r.edit(theHub, `{"spec":{"shutdown":"Stop"}}`)
	eventually(t, func() error { // its deletion has begun
		rw, err := r.remoteWorkflow()
		if err == nil && rw.DeletionTimestamp == nil {
			return errors.New("not taken back")
		}
		return client.IgnoreNotFound(err)
	})
	claim.Release()
	eventually(t, func() error {
		if err := r.goesOn(); err != nil {
			return err
		}
		wf, err := r.get(theHub)
		if err == nil && !contract.IsFinished(contract.Phase(wf)) {
			return errors.New("not ended")
		}
		return err
	})
	t.Logf("ended as %v", r.must(theHub).Object["status"])
	assert.NotContains(t, s.seen[cluster2].open("met"), created.GetUID(), "it never runs")
	r.isGone()
}
