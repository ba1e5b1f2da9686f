package integration

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// The tests in this file are not parallel: all others share what they set back. The agents go on all the time, and see
// resourceVersions that they have seen before. The manager is restarted when the hub is restored: its caches come back one
// after the other, and what one still has of the time after the backup does not go with what another has of the time before.

// backUp returns a backup of all that the server of the space stores.
func backUp(t *testing.T, s *space, c *cluster) (backup string) {
	t.Helper()
	backup = filepath.Join(t.TempDir(), "backup")
	whileStopped(t, s, c, func() error { return c.server.Backup(backup) })
	return backup
}

// restore sets the server back to the backup.
func restore(t *testing.T, s *space, c *cluster, backup string) {
	t.Helper()
	whileStopped(t, s, c, func() error { return c.server.Restore(backup) })
}

// whileStopped does something while the server is stopped. The space's history goes on when the server is back.
func whileStopped(t *testing.T, s *space, c *cluster, do func() error) {
	t.Helper()
	t.Cleanup(func() { assert.NoError(t, c.server.Resume()) })
	require.NoError(t, c.server.Stop())
	require.NoError(t, do())
	require.NoError(t, c.server.Resume())
	if h := s.seen[c]; h != nil {
		h.watch(t)
	}
}

// remoteDeleted returns why the agent says that the copy is gone, "" if it does not.
func (r *run) remoteDeleted() string {
	r.t.Helper()
	if gone := meta.FindStatusCondition(r.mustRemoteWorkflow().Status.Conditions, v1alpha1.ConditionRemoteDeleted); gone != nil {
		return gone.Reason
	}
	return ""
}

// waitUntilDeleted waits until the agent says for this reason that the copy is gone.
func (r *run) waitUntilDeleted(reason string) {
	r.t.Helper()
	eventually(r.t, func() error {
		if got := r.remoteDeleted(); got != reason {
			return fmt.Errorf("the agent gives the reason %q, not %q", got, reason)
		}
		return nil
	})
}

// assertRanOnce makes sure that one copy of each run was opened, and that it is the given one.
func assertRanOnce(t *testing.T, s *space, ran map[*run]types.UID) {
	t.Helper()
	s.create("afterwards", cluster1).runs()
	for r, uid := range ran {
		if wf, err := r.get(r.cluster); err == nil {
			s.seen[r.cluster].caughtUp(t, wf)
		}
		assert.Equal(t, []types.UID{uid}, s.seen[r.cluster].open(r.key.Name), r.key.Name)
	}
}

func TestHubThatIsRestoredFromABackupStartsNothingAgain(t *testing.T) {
	s := newSpace(t)
	// As they are when the backup is made.
	waiting, waited := s.create("sent-and-runs", cluster1), s.create("sent-and-ends", cluster1)
	vanishing, ended := s.create("running-and-ends", cluster1), s.create("ended", cluster1)
	waiting.waitForManifestWork()
	waited.waitForManifestWork()
	vanishing.starts()
	vanishing.runsOn()
	ended.runs()
	stopManager(t)
	unsent, unsentEnds := s.create("unsent-and-runs", cluster1), s.create("unsent-and-ends", cluster1)
	backup := backUp(t, s, theHub)

	// What becomes of them.
	require.NoError(t, theManager.start())
	ran := map[*run]types.UID{}
	for _, r := range []*run{waiting, unsent} {
		r.starts()
		r.runsOn()
		ran[r] = r.must(cluster1).GetUID()
	}
	for _, r := range []*run{waited, unsentEnds} {
		r.runs()
		ran[r] = r.must(cluster1).GetUID()
	}
	ran[vanishing], ran[ended] = vanishing.must(cluster1).GetUID(), ended.must(cluster1).GetUID()
	vanishing.succeeds()
	vanishing.delete(cluster1)
	vanishing.waitUntilDeleted(v1alpha1.ReasonDeletedFinished)
	ended.isGone()

	require.NoError(t, theManager.stop())
	restore(t, s, theHub, backup)
	require.NoError(t, theManager.start())
	recreated := map[*run]*unstructured.Unstructured{}
	for _, r := range []*run{vanishing, ended} {
		recreated[r] = r.workAgent.create(r) // its cache lags
	}
	for _, r := range []*run{waiting, unsent} {
		r.waitUntilMirrored()
		assert.Equal(t, ran[r], r.mustRemoteWorkflow().Status.RemoteUID)
		r.succeeds()
	}
	for _, r := range []*run{waited, unsentEnds} {
		r.waitUntilMirrored()
		assert.Equal(t, "Succeeded", contract.Phase(r.must(theHub)))
		assert.Equal(t, ran[r], r.mustRemoteWorkflow().Status.RemoteUID)
	}
	vanishing.waitFor("Error", "cluster cluster1: Workflow "+vanishing.key.String()+" is gone, and was not finished when last seen")
	ended.waitUntilDeleted(v1alpha1.ReasonDeletedFinished)

	assertRanOnce(t, s, ran)
	assert.Equal(t, canonical(t, succeededStatus()), canonical(t, contract.Status(ended.must(theHub))))
	for r, wf := range recreated {
		eventually(t, func() error { return r.copyIsGone(wf.GetUID()) })
	}
	for r := range ran {
		r.isGone()
	}
}

func TestManagedClusterThatIsRestoredFromABackupStartsNothingAgain(t *testing.T) {
	s := newSpace(t)
	// As they are when the backup is made.
	goesOn, goneOn := s.create("running-and-runs", cluster1), s.create("running-and-ends", cluster1)
	for _, r := range []*run{goesOn, goneOn} {
		r.starts()
		r.runsOn()
	}
	stopAgent(t, agent1)
	gatedRuns, gatedEnds := s.create("gated-and-runs", cluster1), s.create("gated-and-ends", cluster1)
	for _, r := range []*run{gatedRuns, gatedEnds} {
		r.workAgent.apply(r)
	}
	backup := backUp(t, s, cluster1)

	// What becomes of them.
	require.NoError(t, agent1.start())
	absentRuns, absentEnds := s.create("absent-and-runs", cluster1), s.create("absent-and-ends", cluster1)
	for _, r := range []*run{absentRuns, absentEnds} {
		r.workAgent.apply(r)
	}
	ran := map[*run]types.UID{}
	for _, r := range []*run{goesOn, goneOn, gatedRuns, gatedEnds, absentRuns, absentEnds} {
		ran[r] = r.waitUntilOpen().GetUID()
	}
	for _, r := range []*run{gatedRuns, absentRuns} {
		r.runsOn()
	}
	for _, r := range []*run{goneOn, gatedEnds, absentEnds} {
		r.succeeds()
	}

	restore(t, s, cluster1, backup)
	recreated, rolledBack := map[*run]*unstructured.Unstructured{}, map[*run]*unstructured.Unstructured{}
	for _, r := range []*run{absentRuns, absentEnds} {
		recreated[r] = r.workAgent.create(r) // its cache lags
	}
	for _, r := range []*run{gatedRuns, gatedEnds} {
		rolledBack[r] = r.must(cluster1)
	}
	goneOn.waitUntilMirrored()
	for _, r := range []*run{goesOn, goneOn} {
		r.succeeds()
	}
	gatedRuns.waitFor("Error", "cluster cluster1: Workflow "+gatedRuns.key.String()+
		" was rolled back to before it started: the cluster was restored from a backup")
	absentRuns.waitFor("Error", "cluster cluster1: Workflow "+absentRuns.key.String()+" is gone, and was not finished when last seen")
	gatedEnds.waitUntilDeleted(v1alpha1.ReasonRolledBack)
	absentEnds.waitUntilDeleted(v1alpha1.ReasonDeletedFinished)

	assertRanOnce(t, s, ran)
	for _, r := range []*run{gatedEnds, absentEnds} {
		assert.Equal(t, canonical(t, succeededStatus()), canonical(t, contract.Status(r.must(theHub))))
	}
	for r, wf := range recreated {
		eventually(t, func() error { return r.copyIsGone(wf.GetUID()) })
	}
	for r, wf := range rolledBack {
		assert.True(t, isGated(r.must(cluster1)))
		assert.Equal(t, wf.GetResourceVersion(), r.must(cluster1).GetResourceVersion(), "nobody writes to %s", r.key.Name)
	}
	for r := range ran {
		r.isGone()
	}
}

func TestCopyInDeletionThatTheHubDoesNotKnowSaysWhatItWaitsFor(t *testing.T) {
	s := newSpace(t)
	r := s.create("unknown", cluster1)
	r.starts()
	r.runsOn()
	// At once, as with a backup: a deletion that the agent can see releases the copy.
	rw := r.mustRemoteWorkflow()
	require.NoError(t, theHub.client.Patch(t.Context(), rw, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))))
	require.NoError(t, theHub.client.Delete(t.Context(), rw))
	_, err := r.remoteWorkflow()
	require.True(t, apierrors.IsNotFound(err), "got %v", err)

	r.delete(cluster1)
	eventually(t, func() error { return r.hasEvent("Orphaned") })
	assert.Contains(t, r.must(cluster1).GetFinalizers(), contract.FinalizerReport)
}

// hasEvent returns an error unless the agent has said this of the run's RemoteWorkflow, in an Event on the copy.
func (r *run) hasEvent(reason string) error {
	events := &eventsv1.EventList{}
	if err := r.cluster.client.List(r.t.Context(), events, client.InNamespace(r.key.Namespace)); err != nil {
		return err
	}
	for i := range events.Items {
		if event := &events.Items[i]; event.Reason == reason && strings.Contains(event.Note, r.name().String()) {
			return nil
		}
	}
	return fmt.Errorf("%d Events, and none is %s", len(events.Items), reason)
}
