package integration

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/env"
)

// The tests in this file are not parallel: others need what they stop.

func TestAgentThatIsStoppedBetweenTheRecordOfTheUIDAndTheStartGoesOnWithTheSameCopy(t *testing.T) {
	s := newSpace(t)
	r := s.create("stopped", cluster1)
	start := agent1.managed.Hold(t, r.opens)
	created := r.workAgent.apply(r)
	start.Await(t)
	stopAgent(t, agent1)
	assert.Equal(t, created.GetUID(), r.mustRemoteWorkflow().Status.RemoteUID)
	assert.Equal(t, created.GetResourceVersion(), r.must(cluster1).GetResourceVersion())

	start.Release()
	require.NoError(t, agent1.start())
	assert.Equal(t, created.GetUID(), r.waitUntilOpen().GetUID())
	r.runsOn()
	r.succeeds()
	assert.Equal(t, []types.UID{created.GetUID()}, s.seen[cluster1].open("stopped"))
	r.isGone()
}

func TestAgentThatIsStoppedAfterTheStartReportsWhatItHasMissed(t *testing.T) {
	s := newSpace(t)
	ends, isDeleted, vanishes := s.create("ends", cluster1), s.create("is-deleted", cluster1), s.create("vanishes", cluster1)
	all := []*run{ends, isDeleted, vanishes}
	for _, r := range all {
		r.starts()
	}
	ends.runsOn()
	stopAgent(t, agent1)
	for _, r := range all {
		r.argo.write(r, succeededStatus())
	}
	isDeleted.delete(cluster1)
	vanishes.forceDelete(cluster1)
	recreated := vanishes.workAgent.create(vanishes)

	require.NoError(t, agent1.start())
	ends.waitUntilMirrored()
	ends.waitUntilReleased()
	isDeleted.waitFor("Succeeded", "")
	assert.Equal(t, canonical(t, succeededStatus()), canonical(t, contract.Status(isDeleted.must(theHub))))
	vanishes.waitFor("Error", "is gone, and was not finished when last seen")
	eventually(t, func() error { return vanishes.copyIsGone(recreated.GetUID()) })
	for _, r := range all {
		assert.Len(t, s.seen[cluster1].open(r.key.Name), 1)
		r.isGone()
	}
}

func TestManagerThatIsStoppedHalfwayThroughADispatchGoesOnWithTheSameRun(t *testing.T) {
	for _, resource := range []string{"remoteworkflows", "manifestworks"} {
		t.Run("before it creates one of the "+resource, func(t *testing.T) {
			s := newSpace(t)
			creation := theManager.tap.Hold(t, func(request env.Request) bool {
				return request.Verb == "create" && request.Resource == resource && bytes.Contains(request.Body, []byte(s.name))
			})
			before := len(theManager.tap.Writes())
			r := s.create("halfway", cluster1)
			creation.Await(t)
			stopManager(t)
			assert.Equal(t, "cluster1", contract.AssignedCluster(r.must(theHub)))
			require.NoError(t, r.isNotSent())

			creation.Release()
			require.NoError(t, theManager.start())
			r.runs()
			assertDispatchedOnce(t, r, theManager.tap.Writes()[before:])
			assert.Len(t, s.seen[cluster1].open("halfway"), 1)
			r.isGone()
		})
	}
}

// assertDispatchedOnce makes sure that among what was written there is one creation of each object of the run.
func assertDispatchedOnce(t *testing.T, r *run, writes []env.Request) {
	t.Helper()
	var created []string
	for _, write := range writes {
		if write.Verb == "create" && write.Resource != "events" && write.Status < 300 && r.isCarriedIn(write) {
			created = append(created, write.Resource)
		}
	}
	assert.ElementsMatch(t, []string{"remoteworkflows", "manifestworks"}, created)
}

// isCarriedIn reports whether a request is for the RemoteWorkflow of the run, or a delivery of it.
func (r *run) isCarriedIn(request env.Request) bool {
	return request.Resource != "workflows" && bytes.Contains(request.Body, []byte(r.uid))
}

func TestHubThatWasAwayIsCaughtUpWith(t *testing.T) {
	s := newSpace(t)
	running, waiting := s.create("running", cluster1), s.create("waiting", cluster2)
	running.starts()
	running.runsOn()
	stopAgent(t, agent2)
	gated := waiting.workAgent.apply(waiting)
	leaseBefore := addonLease(t, cluster2)

	stopHub(t)
	running.argo.write(running, succeededStatus())
	agent2.startFromFile(t)
	eventually(t, func() error {
		if addonLease(t, cluster2).Equal(leaseBefore) {
			return errors.New("the agent that was started without the hub does not work on its cluster")
		}
		return nil
	})
	assert.Equal(t, gated.GetResourceVersion(), waiting.must(cluster2).GetResourceVersion())
	assert.Contains(t, running.must(cluster1).GetFinalizers(), contract.FinalizerReport, "let go, and the hub does not know its end")
	require.NoError(t, theHub.server.Resume())

	running.waitUntilMirrored()
	running.waitUntilReleased()
	assert.Equal(t, gated.GetUID(), waiting.waitUntilOpen().GetUID())
	waiting.runsOn()
	waiting.succeeds()
	s.create("afterwards", cluster1).runs()
	for _, r := range []*run{running, waiting} {
		assert.Len(t, s.seen[r.cluster].open(r.key.Name), 1)
		r.isGone()
	}
	require.NoError(t, agent2.stop())
}

// stopHub stops the hub's servers until the test resumes them, or ends.
func stopHub(t *testing.T) {
	t.Helper()
	t.Cleanup(func() { assert.NoError(t, theHub.server.Resume()) })
	require.NoError(t, theHub.server.Stop())
}

// addonLease returns when the agent last said on its cluster that it works.
func addonLease(t *testing.T, c *cluster) time.Time {
	t.Helper()
	lease := &coordinationv1.Lease{}
	eventually(t, func() error {
		return c.client.Get(t.Context(), client.ObjectKey{Namespace: agentNamespace, Name: contract.AddonName}, lease)
	})
	return lease.Spec.RenewTime.Time
}

func TestDeputyOfAManagerThatIsKilledGoesOnAndSendsNothingTwice(t *testing.T) {
	s := newSpace(t)
	stopManager(t)
	options := managerOptions
	options.LeaderElection, options.LeaderElectionNamespace = true, s.name
	leader, deputy := &manager{options: options}, &manager{options: options}
	t.Cleanup(func() { assert.NoError(t, errors.Join(leader.stop(), deputy.stop())) })
	require.NoError(t, leader.start())
	eventually(t, func() error { _, err := leaderOf(t, s); return err })
	require.NoError(t, deputy.start())

	running := s.create("running", cluster1)
	running.starts()
	running.runsOn()
	creation := leader.tap.Hold(t, func(request env.Request) bool {
		return request.Verb == "create" && request.Resource == "manifestworks"
	})
	halfway := s.create("halfway", cluster2)
	creation.Await(t)
	assert.Empty(t, deputy.tap.Writes(), "the deputy works beside the leader")
	first, err := leaderOf(t, s)
	require.NoError(t, err)
	require.NoError(t, leader.stop())

	halfway.runs()
	running.succeeds()
	second, err := leaderOf(t, s)
	require.NoError(t, err)
	assert.NotEqual(t, first, second)
	writes := append(leader.tap.Writes(), deputy.tap.Writes()...)
	for _, r := range []*run{running, halfway} {
		assertDispatchedOnce(t, r, writes)
		assert.Len(t, s.seen[r.cluster].open(r.key.Name), 1)
		r.isGone()
	}
}

// leaderOf returns the identity of the manager that leads in a space.
func leaderOf(t *testing.T, s *space) (string, error) {
	t.Helper()
	lease := &coordinationv1.Lease{}
	key := client.ObjectKey{Namespace: s.name, Name: contract.AddonName + "-hub"}
	if err := theHub.client.Get(t.Context(), key, lease); err != nil {
		return "", err
	}
	if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
		return "", fmt.Errorf("Lease %s has no holder", key)
	}
	return *lease.Spec.HolderIdentity, nil
}
