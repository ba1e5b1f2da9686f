package integration

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/env"
)

// replaced deletes the copy and creates it anew, as a person and then the work agent would. It returns the new one.
func (r *run) replaced() *unstructured.Unstructured {
	r.t.Helper()
	uid := r.must(r.cluster).GetUID()
	r.delete(r.cluster)
	eventually(r.t, func() error { return r.copyIsGone(uid) })
	return r.workAgent.create(r)
}

// assertNeverOpens makes sure that none but the given copies of the run has ever been open: not in what comes before the
// agent has seen and reported a Workflow that is created now, either.
func assertNeverOpens(t *testing.T, s *space, r *run, but ...types.UID) {
	t.Helper()
	s.create("after-"+r.key.Name, r.cluster).runs()
	if wf, err := r.get(r.cluster); err == nil {
		s.seen[r.cluster].caughtUp(t, wf)
	}
	assert.ElementsMatch(t, but, s.seen[r.cluster].open(r.key.Name))
}

func TestNothingStartsWhenTheCopyIsReplacedBetweenTheRecordOfItsUIDAndItsStart(t *testing.T) {
	t.Parallel()
	for when, hold := range map[string]func(*testing.T, *run) *env.Hold{
		"while its UID is being recorded": func(t *testing.T, r *run) *env.Hold { t.Helper(); return agent1.hub.Hold(t, r.claims) },
		"before its gate opens":           func(t *testing.T, r *run) *env.Hold { t.Helper(); return agent1.managed.Hold(t, r.opens) },
	} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			s := newSpace(t)
			r := s.create("replaced", cluster1)
			held := hold(t, r)
			first := r.workAgent.apply(r)
			held.Await(t)
			second := r.replaced()
			held.Release()

			r.waitFor("Error", "cluster cluster1: Workflow "+r.key.String()+" is gone, and was not finished when last seen")
			rw := r.mustRemoteWorkflow()
			assert.Equal(t, first.GetUID(), rw.Status.RemoteUID)
			assert.Equal(t, v1alpha1.ReasonVanishedUnfinished,
				meta.FindStatusCondition(rw.Status.Conditions, v1alpha1.ConditionRemoteDeleted).Reason)
			eventually(t, func() error { return r.copyIsGone(second.GetUID()) }) // the agent removes what will never start
			assertNeverOpens(t, s, r)
			r.isGone()
		})
	}
}

func TestCopyThatIsReplacedBeforeItsUIDIsRecordedRunsAsTheSecondOne(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	r := s.create("replaced", cluster1)
	claim := agent1.hub.Hold(t, r.claims)
	r.workAgent.apply(r)
	claim.Await(t)
	second := r.replaced()
	claim.Drop(errors.New("the connection broke before the request was sent"))

	assert.Equal(t, second.GetUID(), r.waitUntilOpen().GetUID())
	r.runsOn()
	r.succeeds()
	assertNeverOpens(t, s, r, second.GetUID())
	r.isGone()
}

// Not parallel: the other agent would see to the Workflows of other tests, too.
func TestOfTwoCopiesThatTwoAgentsWantToStartOnlyOneOpens(t *testing.T) {
	t.Run("the other agent is the first to record one", func(t *testing.T) {
		s := newSpace(t)
		r := s.create("disputed", cluster1)
		claim := agent1.hub.Hold(t, r.claims)
		r.workAgent.apply(r)
		claim.Await(t)
		second := r.replaced()
		other := startOther(t, agent1)
		assert.Equal(t, second.GetUID(), r.waitUntilOpen().GetUID())
		claim.Release()
		r.runsOn()
		r.succeeds()
		require.NoError(t, other.stop())
		assertNeverOpens(t, s, r, second.GetUID())
		r.isGone()
	})
	t.Run("the other agent comes after the record", func(t *testing.T) {
		s := newSpace(t)
		r := s.create("disputed", cluster1)
		start := agent1.managed.Hold(t, r.opens)
		r.workAgent.apply(r)
		start.Await(t)
		r.replaced()
		other := startOther(t, agent1)
		r.waitFor("Error", "is gone, and was not finished when last seen")
		start.Release()
		require.NoError(t, other.stop())
		assertNeverOpens(t, s, r)
		r.isGone()
	})
}

// startOther starts a second agent for the same cluster, as when the first one is cut off and does not know it.
func startOther(t *testing.T, first *agentOn) *agentOn {
	t.Helper()
	other := &agentOn{cluster: first.cluster}
	require.NoError(t, other.start())
	t.Cleanup(func() { assert.NoError(t, other.stop()) })
	return other
}

func TestCopyThatIsCreatedAgainNeverOpens(t *testing.T) {
	t.Parallel()
	for state, reach := range map[string]func(*run){
		"while the first one runs":        func(r *run) { r.starts(); r.runsOn() },
		"after the first one has started": func(r *run) { r.starts() },
		"after the first one has ended":   func(r *run) { r.runs() },
	} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			s := newSpace(t)
			r := s.create("again", cluster1)
			reach(r)
			first, want := r.must(cluster1), r.must(theHub)
			eventually(t, r.isNotSent)
			r.forceDelete(cluster1)
			for range 2 { // the work agent's cache lags
				again := r.workAgent.create(r)
				eventually(t, func() error { return r.copyIsGone(again.GetUID()) })
			}
			assertNeverOpens(t, s, r, first.GetUID())
			if contract.Phase(want) == "Succeeded" {
				assert.Equal(t, canonical(t, contract.Status(want)), canonical(t, contract.Status(r.must(theHub))))
			} else {
				r.waitFor("Error", "cluster cluster1: Workflow "+r.key.String())
			}
			r.isGone()
		})
	}
}
