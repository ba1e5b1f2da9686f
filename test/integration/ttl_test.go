package integration

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/env"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// endsNow is the end of a run: Argo writes the phase. It returns the time of the end.
func (r *run) endsNow(phase string) time.Time {
	r.t.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	status := succeededStatus()
	status["phase"], status["finishedAt"] = phase, now.Format(time.RFC3339)
	r.argo.write(r, status)
	return now
}

// deletes matches the request that deletes the Workflow, on the hub or a managed cluster.
func (r *run) deletes(request env.Request) bool {
	return r.isAbout(request) && request.Verb == "delete"
}

func TestTTLOfAWorkflowTakesItFromTheHubWithAllOfItsRun(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ field, phase string }{
		"after completion, when it ended in an error": {"secondsAfterCompletion", "Error"},
		"after success, when it succeeded":            {"secondsAfterSuccess", "Succeeded"},
		"after failure, when it failed":               {"secondsAfterFailure", "Failed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const seconds = 2
			s := newSpace(t)
			r := s.create("expires", cluster1, gen.WithTTL(test.field, seconds))
			r.starts()
			r.runsOn()
			finishedAt := r.endsNow(test.phase)
			r.waitUntilWithdrawn()
			deletedAt := r.must(theHub).GetDeletionTimestamp().Time
			// An API server leaves out fractions of a second.
			assert.False(t, deletedAt.Before(finishedAt.Add((seconds+1)*time.Second)), "ended at %s, deleted at %s", finishedAt, deletedAt)
			require.NoError(t, r.wants(test.phase, ""), "the hub has shown its end")
			r.vanishes()
			assert.Len(t, s.seen[cluster1].open("expires"), 1)
		})
	}
}

func TestTTLTakesTheHubsCopyAfterThatOfItsCluster(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	r := s.create("expires", cluster1, gen.WithTTL("secondsAfterCompletion", 2))
	r.starts()
	r.endsNow("Succeeded")
	r.waitUntilReleased()
	r.delete(cluster1)
	r.vanishes()
	assert.Len(t, s.seen[cluster1].open("expires"), 1)
}

func TestTTLThatDoesNotApplyLeavesTheWorkflow(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	stay := []*run{
		s.create("none", cluster2),
		s.create("for-failure", cluster2, gen.WithTTL("secondsAfterFailure", 0)),
		s.create("later", cluster2, gen.WithTTL("secondsAfterCompletion", 3600)),
		s.create("unreadable", cluster2, gen.WithSpecField("soon", "ttlStrategy", "secondsAfterCompletion")),
	}
	for _, r := range stay {
		r.starts()
		r.endsNow("Succeeded")
		r.waitFor("Succeeded", "")
	}
	// One that ends after them, and goes.
	last := s.create("last", cluster2, gen.WithTTL("secondsAfterCompletion", 0))
	last.starts()
	last.endsNow("Succeeded")
	last.vanishes()
	for _, r := range stay {
		assert.Nil(t, r.must(theHub).GetDeletionTimestamp(), r.key.Name)
		r.isGone()
	}
}

func TestTTLDoesNotTakeAWorkflowThatHasChangedMeanwhile(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	r := s.create("kept", cluster1, gen.WithTTL("secondsAfterCompletion", 0))
	r.starts()
	deletion := theManager.tap.Hold(t, r.deletes)
	r.endsNow("Succeeded")
	deletion.Await(t)
	r.edit(theHub, `{"spec":{"ttlStrategy":null}}`)
	deletion.Release()
	after := s.create("after", cluster1, gen.WithTTL("secondsAfterCompletion", 0))
	after.starts()
	after.endsNow("Succeeded")
	after.vanishes()
	wf := r.must(theHub)
	assert.Nil(t, wf.GetDeletionTimestamp())
	assert.Equal(t, "Succeeded", contract.Phase(wf))
	r.isGone()
}

// Not parallel: the manager is stopped.
func TestTTLThatIsOverWhileNoManagerRunsIsKeptWhenOneDoes(t *testing.T) {
	s := newSpace(t)
	r := s.create("expires", cluster1, gen.WithTTL("secondsAfterCompletion", 3600))
	r.starts()
	r.endsNow("Succeeded")
	r.waitFor("Succeeded", "")
	stopManager(t)
	r.edit(theHub, `{"spec":{"ttlStrategy":{"secondsAfterCompletion":0}}}`)
	require.NoError(t, theManager.start())
	r.vanishes()
}
