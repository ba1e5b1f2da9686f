package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// The tests in this file are not parallel: others need the cluster that they lose.

func TestDeletedWorkflowOfALostClusterIsLetGoAndItsRunRemovedWhenTheClusterIsBack(t *testing.T) {
	s := newSpace(t)
	stopManager(t)
	options := managerOptions
	options.DeletionTimeout = time.Second
	impatient := &manager{options: options}
	t.Cleanup(func() { assert.NoError(t, impatient.stop()) })
	require.NoError(t, impatient.start())
	lost := s.create("lost", cluster1)
	lost.starts()
	lost.runsOn()

	back := lose(t, cluster1)
	lost.delete(theHub)
	lost.waitUntilGoneFromTheHub()
	lost.waitForEvent("ReleasedUnconfirmed", "it is removed when the cluster is back")
	lost.waitUntilWithdrawn()
	elsewhere := s.create("lost", cluster2)
	elsewhere.runs()
	elsewhere.isGone()
	anew := s.create("lost", cluster1)
	anew.waitFor("Pending", "waiting for the name "+lost.key.String()+" on cluster cluster1")
	assert.Equal(t, []string{contract.FinalizerDispatch}, lost.mustRemoteWorkflow().Finalizers)

	back()
	eventually(t, func() error {
		if err := lost.goesOn(); err != nil {
			return err
		}
		if _, err := lost.remoteWorkflow(); !apierrors.IsNotFound(err) {
			return errors.Join(err, errors.New("the RemoteWorkflow is kept"))
		}
		return nil
	})
	anew.runs()
	assert.Len(t, s.seen[cluster1].open("lost"), 2)
	anew.isGone()
}

func TestDeletedWorkflowOfALostClusterWaitsUntilItsUserOrTheClusterEndsThat(t *testing.T) {
	s := newSpace(t)
	released, waiting := s.create("released", cluster1), s.create("waiting", cluster1)
	for _, r := range []*run{released, waiting} {
		r.starts()
		r.runsOn()
	}
	stopAgent(t, agent1)
	waiting.delete(theHub)
	waiting.waitUntilWithdrawn()
	back := lose(t, cluster1)
	released.delete(theHub)
	for _, r := range []*run{released, waiting} {
		r.waitForEvent("DeletionWaits", contract.AnnotationRelease)
	}
	released.edit(theHub, `{"metadata":{"annotations":{"workflows.argoproj.io/ocm-release":"true"}}}`)
	released.waitUntilGoneFromTheHub()
	released.waitForEvent("ReleasedUnconfirmed", contract.AnnotationRelease)
	assert.Equal(t, []string{contract.FinalizerDispatch}, waiting.must(theHub).GetFinalizers())

	back()
	for _, r := range []*run{released, waiting} {
		r.vanishes()
		assert.Len(t, s.seen[cluster1].open(r.key.Name), 1)
	}
}

func TestDeletedWorkflowOfALostClusterThatNothingHasClaimedDoesNotWait(t *testing.T) {
	s := newSpace(t)
	stopAgent(t, agent1)
	r := s.create("unclaimed", cluster1)
	r.workAgent.apply(r)
	lost := r.must(cluster1)
	back := lose(t, cluster1)
	r.delete(theHub)
	r.waitUntilGoneFromTheHub()
	assert.Equal(t, lost.GetResourceVersion(), r.must(cluster1).GetResourceVersion())
	back()
	r.vanishes() // the agent removes what the hub does not know
	assert.Empty(t, s.seen[cluster1].open("unclaimed"))
}

func TestDeletedWorkflowThatLosesItsLabelIsStillLetGoByItsUser(t *testing.T) {
	s := newSpace(t)
	r := s.create("unlabelled", cluster1)
	r.starts()
	r.runsOn()
	back := lose(t, cluster1)
	r.delete(theHub)
	r.waitUntilWithdrawn()
	r.edit(theHub, `{"metadata":{"labels":{"workflows.argoproj.io/enable-ocm-multicluster":null}}}`)
	r.waitForEvent("LabelRestored", "waits for cluster cluster1")
	r.edit(theHub, `{"metadata":{"annotations":{"workflows.argoproj.io/ocm-release":"true"}}}`)
	r.waitUntilGoneFromTheHub()
	back()
	r.vanishes()
}

// lose stops the agent on a cluster and makes the cluster unavailable on the hub, until the test ends or calls back.
func lose(t *testing.T, c *cluster) (back func()) {
	t.Helper()
	agent := map[*cluster]*agentOn{cluster1: agent1, cluster2: agent2}[c]
	stopAgent(t, agent)
	require.NoError(t, c.becomes(metav1.ConditionUnknown))
	back = func() {
		assert.NoError(t, c.becomes(metav1.ConditionTrue))
		assert.NoError(t, agent.start())
	}
	t.Cleanup(back)
	return back
}

// becomes makes a cluster available on the hub, or not, as OCM would.
func (c *cluster) becomes(available metav1.ConditionStatus) error {
	ctx := context.Background() // also at the end of a test
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		managed := &clusterv1.ManagedCluster{}
		if err := theHub.client.Get(ctx, client.ObjectKey{Name: c.name}, managed); err != nil {
			return err
		}
		meta.SetStatusCondition(&managed.Status.Conditions, metav1.Condition{
			Type: clusterv1.ManagedClusterConditionAvailable, Status: available, Reason: "Test",
		})
		return theHub.client.Status().Update(ctx, managed)
	})
}

// waitUntilGoneFromTheHub waits until the hub has no Workflow of the run's any more.
func (r *run) waitUntilGoneFromTheHub() {
	r.t.Helper()
	eventually(r.t, func() error {
		wf, err := r.get(theHub)
		if err == nil && wf.GetUID() == r.uid {
			return fmt.Errorf("the Workflow is there, with the finalizers %v", wf.GetFinalizers())
		}
		return client.IgnoreNotFound(err)
	})
}

// waitForEvent waits for an Event on the Workflow, with this reason and a note that contains the text.
func (r *run) waitForEvent(reason, text string) {
	r.t.Helper()
	eventually(r.t, func() error {
		var list eventsv1.EventList
		if err := theHub.client.List(r.t.Context(), &list, client.InNamespace(r.key.Namespace)); err != nil {
			return err
		}
		var got []string
		for _, event := range list.Items {
			if event.Regarding.UID != r.uid {
				continue
			}
			if event.Reason == reason && strings.Contains(event.Note, text) {
				return nil
			}
			got = append(got, event.Reason+": "+event.Note)
		}
		return fmt.Errorf("no Event %s with %q among %q", reason, text, got)
	})
}
