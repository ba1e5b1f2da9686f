package run

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

func TestDecide(t *testing.T) {
	const (
		startedTrue  = "Started=True/GateOpened"
		foreign      = "Started=False/NotOurs"
		cutShort     = "RemoteDeleted=True/DeletedBeforeItFinished"
		removed      = "RemoteDeleted=True/Removed"
		left         = "RemoteDeleted=True/Left"
		notTaken     = "Started=True/NotTakenUp"
		vanished     = "RemoteDeleted=True/Vanished"
		gone         = "RemoteDeleted=True/DeletedAfterItFinished"
		rolledBack   = "RemoteDeleted=True/RolledBack"
		otherUID     = "another-uid"
		otherAttempt = "2"
	)
	justNow, longAgo := testNow.Add(-10*time.Second), testNow.Add(-terminationGrace)
	tests := map[string]struct {
		rw         *v1alpha1.RemoteWorkflow
		wf         *unstructured.Unstructured
		want       action
		conditions []string
		unguard    bool
		within     time.Duration
		// since is when the agent has first seen the attempt in its state: now, unless it is set.
		since   time.Time
		overdue bool
		spare   bool
	}{
		"a copy that is not there yet is waited for":  {rw: newRemote(), want: wait, within: firstLook},
		"and looked for again after twice as long":    {rw: newRemote(), since: testNow.Add(-40 * time.Second), want: wait, within: 40 * time.Second},
		"after five minutes at the latest, each time": {rw: newRemote(), since: testNow.Add(-time.Hour), want: wait, within: lastLook},
		"a gated copy is claimed before anything else": {
			rw: newRemote(), wf: newCopy(t), want: claim},
		"what the user wants by now is applied": {
			rw: newRemote(claimed, wanting(v1alpha1.Controls{Suspend: true})), wf: newCopy(t, opened, inPhase("Running")), want: control,
			conditions: []string{startedTrue}},
		"not to what has finished": {
			rw: newRemote(claimed, wanting(v1alpha1.Controls{Suspend: true})), wf: newCopy(t, opened, inPhase("Failed")), want: report,
			conditions: []string{startedTrue}, unguard: true},
		"not again to what somebody has changed there since": {
			rw: newRemote(claimed, wanting(v1alpha1.Controls{Suspend: true})),
			wf: newCopy(t, opened, inPhase("Running"), annotated(contract.AnnotationControls, `{"suspend":true}`)), want: report,
			conditions: []string{startedTrue}},
		"nor what somebody wants there alone": {
			rw: newRemote(claimed), wf: newCopy(t, opened, inPhase("Running"), inSpec("suspend", true)), want: report,
			conditions: []string{startedTrue}},
		"but if nothing says what was applied": {
			rw: newRemote(claimed), wf: newCopy(t, opened, inPhase("Running"), inSpec("suspend", true), annotated(contract.AnnotationControls, "?")),
			want: control, conditions: []string{startedTrue}},
		"a copy that somebody opened by hand is claimed": {
			rw: newRemote(), wf: newCopy(t, ungated, inPhase("Running")), want: claim},
		"a copy that is already going is not claimed: the next one may run": {
			rw: newRemote(), wf: newCopy(t, deletedAt(justNow)), want: wait},
		"a user's own Workflow of the name is left alone": {
			rw: newRemote(), wf: newCopy(t, func(wf *unstructured.Unstructured) { wf.SetLabels(nil); wf.SetAnnotations(nil) }),
			want: refuse, conditions: []string{foreign}},
		"the copy of another hub is left alone": {
			rw: newRemote(), wf: newCopy(t, annotated(contract.AnnotationHubID, "other-hub")), want: refuse, conditions: []string{foreign}},
		"the copy of an earlier Workflow of the name is left alone": {
			rw: newRemote(), wf: newCopy(t, annotated(contract.AnnotationHubUID, otherUID)), want: refuse, conditions: []string{foreign}},
		"the copy of another attempt is left alone": {
			rw: newRemote(), wf: newCopy(t, annotated(contract.AnnotationAttempt, otherAttempt)), want: refuse, conditions: []string{foreign}},
		"the copy of another RemoteWorkflow is left alone": {
			rw: newRemote(), wf: newCopy(t, annotated(contract.AnnotationRemoteWorkflow, "other")), want: refuse, conditions: []string{foreign}},
		"a copy meant for another cluster is left alone": {
			rw: newRemote(), wf: newCopy(t, unlabeled), want: refuse, conditions: []string{foreign}},

		"a copy made for an earlier RemoteWorkflow of the name is a leftover": {
			rw: newRemote(), wf: newCopy(t, ofEarlier), want: discard},
		"a copy without the UID of its RemoteWorkflow is a leftover": {
			rw: newRemote(), wf: newCopy(t, unannotated(contract.AnnotationRemoteWorkflowUID)), want: discard},
		"the leftover of another hub is left alone": {
			rw: newRemote(), wf: newCopy(t, ofEarlier, annotated(contract.AnnotationHubID, "other-hub")),
			want: refuse, conditions: []string{foreign}},
		"a leftover that is going is not deleted once more": {
			rw: newRemote(), wf: newCopy(t, ofEarlier, deletedAt(justNow)), want: refuse, conditions: []string{foreign}},
		"a copy that was started for a RemoteWorkflow which was made again since is the attempt": {
			rw: newRemote(), wf: newCopy(t, opened, ofEarlier, inPhase("Running")), want: claim},
		"so is one that has lost its finalizer": {
			rw: newRemote(), wf: newCopy(t, ungated, ofEarlier, inPhase("Running")), want: claim},
		"so is one that somebody has gated again": {
			rw: newRemote(), wf: newCopy(t, guarded, ofEarlier, inPhase("Running")), want: claim},
		"its reference is repaired": {
			rw: newRemote(claimed), wf: newCopy(t, guarded, ofEarlier, inPhase("Running")), want: start},
		"one that was started for another attempt is left alone": {
			rw: newRemote(), wf: newCopy(t, opened, ofEarlier, annotated(contract.AnnotationAttempt, otherAttempt)),
			want: refuse, conditions: []string{foreign}},

		"the recorded copy is started": {rw: newRemote(claimed), wf: newCopy(t), want: start},
		"the recorded copy is not started when its reference no longer matches": {
			rw: newRemote(claimed), wf: newCopy(t, annotated(contract.AnnotationAttempt, otherAttempt)),
			want: refuse, conditions: []string{foreign}},
		"a run without our finalizer is guarded": {
			rw: newRemote(claimed), wf: newCopy(t, ungated, inPhase("Running")), want: start},
		"a run that lost its label is brought back into sight": {
			rw: newRemote(claimed), wf: newCopy(t, opened, unlabeled, inPhase("Running")), want: start},
		"a run that lost an annotation is brought back into sight": {
			rw: newRemote(claimed), wf: newCopy(t, opened, unannotated(contract.AnnotationRemoteWorkflow), inPhase("Running")), want: start},
		"a run whose reference was changed gets it back": {
			rw: newRemote(claimed), wf: newCopy(t, opened, annotated(contract.AnnotationAttempt, otherAttempt)), want: start},
		"a finished run is let go whatever its annotations": {
			rw: newRemote(claimed), wf: newCopy(t, opened, annotated(contract.AnnotationHubUID, otherUID), inPhase("Succeeded")), want: report,
			conditions: []string{startedTrue}, unguard: true},
		"a re-created copy is a leftover": {
			rw: newRemote(claimedFor(otherUID), showing("Running")), wf: newCopy(t), want: discard},
		"a re-created copy never starts, even if it was opened by hand": {
			rw: newRemote(claimedFor(otherUID), showing("Running")), wf: newCopy(t, opened, inPhase("Running")),
			want: refuse, conditions: []string{vanished}},
		"a run that vanished before it finished is told": {
			rw: newRemote(claimed, showing("Running")), want: refuse, conditions: []string{vanished}},
		"a run that vanished before it showed a phase is told": {
			rw: newRemote(claimed), want: refuse, conditions: []string{vanished}},
		"a finished run that a TTL took is told, so that it is not re-created": {
			rw: newRemote(claimed, showing("Failed")), want: refuse, conditions: []string{gone}},
		"a run that is known to be gone needs nothing": {
			rw: newRemote(claimed, showing("Running"), knownDeleted), want: wait},
		"a re-created copy of a run that is known to be gone is a leftover": {
			rw: newRemote(claimedFor(otherUID), knownDeleted), wf: newCopy(t), want: discard},
		"a re-created copy that somebody opened is left alone": {
			rw: newRemote(claimedFor(otherUID), knownDeleted), wf: newCopy(t, ungated), want: wait},

		"a copy that was rolled back to before it started does not start again": {
			rw: newRemote(claimed, showing("Running")), wf: newCopy(t), want: refuse, conditions: []string{rolledBack}},
		"a copy that was rolled back to before it started and finished does not start again": {
			rw: newRemote(claimed, showing("Succeeded")), wf: newCopy(t), want: refuse, conditions: []string{rolledBack}},
		"a copy that was rolled back with an empty status does not start again": {
			rw: newRemote(claimed, showing("Pending")), wf: newCopy(t, withStatus(map[string]any{})),
			want: refuse, conditions: []string{rolledBack}},
		"a copy that was rolled back does not start again, though the hub knows of its start alone": {
			rw: newRemote(claimed, knownStarted), wf: newCopy(t), want: refuse, conditions: []string{rolledBack}},
		"a copy that was rolled back is not taken for deleted before it started": {
			rw: newRemote(claimed, showing("Succeeded")), wf: newCopy(t, deletedAt(justNow)), want: refuse, conditions: []string{rolledBack}},
		"a run that somebody gated again goes on": {
			rw: newRemote(claimed, showing("Running")), wf: newCopy(t, guarded, inPhase("Running")), want: start},
		"a copy that is known to be rolled back is let go": {
			rw: newRemote(claimed, showing("Running"), knownGone(v1alpha1.ReasonRolledBack)), wf: newCopy(t), want: unguard},
		"a run that is back after its end was told is let go, and not reported": {
			rw: newRemote(claimed, showing("Succeeded"), knownGone(v1alpha1.ReasonDeletedFinished)), wf: newCopy(t, opened, inPhase("Running")),
			want: unguard},
		"a run that is back after it had vanished is let go, even when it is deleted": {
			rw: newRemote(claimed, showing("Running"), knownGone(v1alpha1.ReasonVanishedUnfinished)),
			wf: newCopy(t, opened, inPhase("Running"), deletedAt(justNow)), want: unguard},
		"a run that is back after it was deleted on the cluster is let go": {
			rw: newRemote(claimed, showing("Failed"), knownDeleted), wf: newCopy(t, opened, inPhase("Running")), want: unguard},
		"a run that is known to be deleted goes on ending": {
			rw: newRemote(claimed, showing("Running"), knownDeleted), wf: newCopy(t, opened, inPhase("Running"), deletedAt(justNow), terminated(justNow)),
			want:       end,
			conditions: []string{startedTrue}, within: 20 * time.Second},

		"a run without a status is given a second": {rw: newRemote(claimed), wf: newCopy(t, opened), want: wait, within: takeUpGrace},
		"so is one with an empty status": {
			rw: newRemote(claimed), wf: newCopy(t, opened, withStatus(map[string]any{})), want: wait, within: takeUpGrace},
		"then the hub learns that it was started, and that Argo has not taken it up": {
			rw: newRemote(claimed), wf: newCopy(t, opened), since: testNow.Add(-takeUpGrace),
			want: inform, conditions: []string{notTaken}, spare: true},
		"once": {
			rw: newRemote(claimed, knownStarted), wf: newCopy(t, opened), since: testNow.Add(-takeUpGrace), want: wait},
		"a running run is reported": {
			rw: newRemote(claimed), wf: newCopy(t, opened, inPhase("Running")), want: report, conditions: []string{startedTrue}},
		"a finished run is reported and then let go": {
			rw: newRemote(claimed), wf: newCopy(t, opened, inPhase("Succeeded")), want: report,
			conditions: []string{startedTrue}, unguard: true},
		"a finished run that is being deleted is reported and then let go": {
			rw: newRemote(claimed), wf: newCopy(t, opened, inPhase("Error"), deletedAt(longAgo)), want: report,
			conditions: []string{startedTrue}, unguard: true},
		"a finished run that is still to be archived is reported and kept": {
			rw: newRemote(claimed), wf: newCopy(t, opened, inPhase("Succeeded"), archiving), want: report,
			conditions: []string{startedTrue}},
		"a run that was terminated is told as deleted": {
			rw: newRemote(claimed, showing("Running")), wf: newCopy(t, opened, finishedAt("Failed", justNow), terminated(justNow), deletedAt(testNow)),
			want:       report,
			conditions: []string{startedTrue, cutShort}, unguard: true},
		"a run that was deleted and came to its own end is not": {
			rw: newRemote(claimed, showing("Running")), wf: newCopy(t, opened, finishedAt("Failed", testNow), deletedAt(justNow)), want: report,
			conditions: []string{startedTrue}, unguard: true},
		"nor is one that succeeded all the same": {
			rw: newRemote(claimed, showing("Running")), wf: newCopy(t, opened, succeededWith("Succeeded"), terminated(justNow), deletedAt(justNow)),
			want:       report,
			conditions: []string{startedTrue}, unguard: true},
		"one that Argo calls Succeeded though its root node failed is": {
			rw: newRemote(claimed, showing("Pending")), wf: newCopy(t, opened, succeededWith("Failed"), terminated(justNow), deletedAt(justNow)),
			want:       report,
			conditions: []string{startedTrue, cutShort}, unguard: true},
		"so is one that Argo calls Succeeded without any node": {
			rw: newRemote(claimed, showing("Pending")), wf: newCopy(t, opened, succeededWith(""), terminated(justNow), deletedAt(justNow)),
			want:       report,
			conditions: []string{startedTrue, cutShort}, unguard: true},
		"one whose nodes are packed has run": {
			rw: newRemote(claimed, showing("Running")), want: report, conditions: []string{startedTrue}, unguard: true,
			wf: newCopy(t, opened, withStatus(map[string]any{"phase": "Succeeded", "compressedNodes": "H4sI"}), terminated(justNow), deletedAt(justNow))},
		"a finished run is not guarded again": {
			rw: newRemote(claimed, showing("Succeeded")), wf: newCopy(t, ungated, inPhase("Succeeded")), want: report,
			conditions: []string{startedTrue}, unguard: true},

		"a run deleted on the cluster is ended, however long ago": {
			rw: newRemote(claimed, showing("Running")), wf: newCopy(t, opened, inPhase("Running"), deletedAt(longAgo)), want: end,
			conditions: []string{startedTrue}, within: terminationGrace},
		"a run that the cluster does not let the agent terminate is overdue in the end": {
			rw: newRemote(claimed, showing("Running")),
			wf: newCopy(t, opened, inPhase("Running"), deletedAt(longAgo)), since: longAgo.Add(-time.Second),
			want: end, conditions: []string{startedTrue}, within: terminationGrace, overdue: true},
		"a run deleted before Argo has taken it up is ended, too": {
			rw: newRemote(claimed), wf: newCopy(t, opened, deletedAt(justNow)), want: end, conditions: []string{notTaken}, within: terminationGrace},
		"a run that does not end in time is let go": {
			rw: newRemote(claimed, showing("Running")), wf: newCopy(t, opened, inPhase("Running"), deletedAt(longAgo), terminated(longAgo)),
			want:       report,
			conditions: []string{startedTrue, cutShort}, unguard: true},
		"a recorded copy deleted before its start never starts": {
			rw: newRemote(claimed), wf: newCopy(t, deletedAt(justNow)), want: report, conditions: []string{cutShort}, unguard: true},

		"a run that the hub wants removed is stopped before its pods go, or Argo would make new ones": {
			rw: newRemote(claimed, toTerminate), wf: newCopy(t, opened, inPhase("Running")), want: stop, within: terminationGrace},
		"also one that Argo has not taken up": {
			rw: newRemote(claimed, toTerminate), wf: newCopy(t, opened), want: stop, within: terminationGrace},
		"and one that was deleted there as well, however long ago": {
			rw: newRemote(claimed, toTerminate), wf: newCopy(t, opened, inPhase("Running"), deletedAt(longAgo)),
			want: stop, within: terminationGrace},
		"even without its label": {
			rw: newRemote(claimed, toTerminate), wf: newCopy(t, opened, unlabeled, inPhase("Running"), terminated(justNow)), want: stop,
			within: 20 * time.Second},
		"and without our finalizer": {
			rw: newRemote(claimed, toTerminate), wf: newCopy(t, ungated, inPhase("Running")), want: stop, within: terminationGrace},
		"though not for long, for Argo may be away": {
			rw: newRemote(claimed, toTerminate), wf: newCopy(t, opened, inPhase("Running"), terminated(longAgo)), want: remove},
		"nor for ever where the cluster does not let the agent": {
			rw: newRemote(claimed, toTerminate), wf: newCopy(t, opened, inPhase("Running")), since: longAgo.Add(-time.Second), want: stop,
			within: terminationGrace, overdue: true},
		"it is removed when it has ended": {
			rw: newRemote(claimed, toTerminate), wf: newCopy(t, opened, inPhase("Failed")), want: remove},
		"a finished run is removed at once": {
			rw: newRemote(claimed, toTerminate, showing("Succeeded")), wf: newCopy(t, ungated, inPhase("Succeeded")), want: remove},
		"so is one that was rolled back": {
			rw: newRemote(claimed, toTerminate, knownGone(v1alpha1.ReasonRolledBack)), wf: newCopy(t, guarded), want: remove},
		"Argo does not go on with one that is gated": {
			rw: newRemote(claimed, toTerminate), wf: newCopy(t, guarded, inPhase("Running")), want: remove},
		"it is stopped also if it has artifacts to collect, which Argo does after its end": {
			rw: newRemote(claimed, toTerminate), want: stop, within: terminationGrace,
			wf: newCopy(t, opened, inPhase("Running"), withFinalizer(contract.FinalizerArtifactGC))},
		"Argo collects artifacts of what is being deleted": {
			rw:   newRemote(claimed, toTerminate),
			want: remove, wf: newCopy(t, opened, inPhase("Failed"), withFinalizer(contract.FinalizerArtifactGC))},
		"and does so with pods, which are waited for": {
			rw: newRemote(claimed, toTerminate), want: wait,
			wf: newCopy(t, opened, inPhase("Failed"), withFinalizer(contract.FinalizerArtifactGC), deletedAt(justNow))},
		"one that is still to be archived is given time, by the agent's clock": {
			rw: newRemote(claimed, toTerminate), wf: newCopy(t, opened, inPhase("Succeeded"), archiving), since: justNow, want: wait,
			within: archiveGrace - 10*time.Second},
		"but not for ever": {
			rw: newRemote(claimed, toTerminate), want: remove, since: testNow.Add(-archiveGrace),
			wf: newCopy(t, opened, inPhase("Succeeded"), archiving)},
		"a copy that was claimed and not started is a leftover": {
			rw: newRemote(claimed, toTerminate), wf: newCopy(t), want: discard},
		"nothing foreign is touched for a RemoteWorkflow that goes": {
			rw: newRemote(claimedFor(otherUID), toTerminate), wf: newCopy(t, opened), want: inform, conditions: []string{removed}},
		"that the copy is gone is confirmed": {rw: newRemote(claimed, toTerminate), want: inform, conditions: []string{removed}},
		"once, then":                         {rw: newRemote(claimed, toTerminate, knownGone(v1alpha1.ReasonRemoved)), want: wait},
		"also if it was known to be deleted": {rw: newRemote(claimed, toTerminate, knownDeleted),
			want: inform, conditions: []string{removed}},
		"not if there has never been one":        {rw: newRemote(toTerminate), want: wait},
		"a run that the hub leaves is unguarded": {rw: newRemote(claimed, toLeave), wf: newCopy(t, opened, inPhase("Running")), want: unguard},
		"and goes on": {
			rw: newRemote(claimed, toLeave), wf: newCopy(t, ungated, inPhase("Running")), want: inform, conditions: []string{left}},
		"which is said once": {
			rw: newRemote(claimed, toLeave, knownGone(v1alpha1.ReasonLeft)), wf: newCopy(t, ungated, inPhase("Running")), want: wait},
		"its artifacts and its archive are Argo's": {
			rw: newRemote(claimed, toLeave), wf: newCopy(t, opened, inPhase("Failed"), archiving, withFinalizer(contract.FinalizerArtifactGC)),
			want: unguard},
		"what is left and was not started is a leftover": {rw: newRemote(claimed, toLeave), wf: newCopy(t), want: discard},
		"what is left and is gone is not missed":         {rw: newRemote(claimed, toLeave), want: inform, conditions: []string{left}},

		"a deletion that does not say what for forbids a start": {rw: newRemote(claimed, remoteDeletedBare), wf: newCopy(t), want: discard},
		"also of a copy that somebody has gated again": {
			rw: newRemote(claimed, remoteDeletedBare, showing("Running")), wf: newCopy(t, guarded, inPhase("Running")), want: wait},
		"a started run goes on, and is reported": {
			rw: newRemote(claimed, remoteDeletedBare), wf: newCopy(t, opened, inPhase("Running")), want: report, conditions: []string{startedTrue}},
		"it ends like any other": {
			rw: newRemote(claimed, remoteDeletedBare), wf: newCopy(t, opened, inPhase("Succeeded")), want: report,
			conditions: []string{startedTrue}, unguard: true},
		"nothing is claimed for a RemoteWorkflow that goes": {
			rw: newRemote(toTerminate), wf: newCopy(t, opened, inPhase("Running")), want: wait},
		"the copy that was made for it is a leftover":  {rw: newRemote(toTerminate), wf: newCopy(t), want: discard},
		"also if nobody says what the deletion is for": {rw: newRemote(remoteDeletedBare), wf: newCopy(t), want: discard},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			since := test.since
			if since.IsZero() {
				since = testNow
			}
			got := decide(test.rw, test.wf, since, testNow)
			assert.Equal(t, test.want, got.action)
			assert.Equal(t, test.conditions, brief(got.conditions))
			assert.Equal(t, test.unguard, got.unguard)
			assert.Equal(t, test.within, got.within)
			assert.Equal(t, test.overdue, got.overdue)
			assert.Equal(t, test.spare, got.spare)
		})
	}
}

// The hub may be registered as its own managed cluster without anything that says so.
func TestTheHubWorkflowItselfIsNotTakenForSomebodyElses(t *testing.T) {
	itself := newCopy(t, unlabeled, func(wf *unstructured.Unstructured) { wf.SetUID(newRemote().Spec.WorkflowRef.UID) })
	got := decide(newRemote(), itself, testNow, testNow)
	assert.Equal(t, []string{"Started=False/NotOurs"}, brief(got.conditions))
	assert.Contains(t, got.conditions[0].Message, "default/demo is this one itself, for this cluster is the hub: label its ManagedCluster")
}

func TestDecisionsNameTheWorkflow(t *testing.T) {
	for _, got := range []decision{
		decide(newRemote(), newCopy(t, annotated(contract.AnnotationHubID, "other")), testNow, testNow),
		decide(newRemote(claimed), nil, testNow, testNow),
		decide(newRemote(claimed), newCopy(t, deletedAt(testNow)), testNow, testNow),
		decide(newRemote(claimed, showing("Running")), newCopy(t), testNow, testNow),
		notGranted(newRemote()),
	} {
		assert.Contains(t, got.conditions[0].Message, "default/demo")
	}
}

// brief puts each condition as "<type>=<status>/<reason>".
func brief(conditions []metav1.Condition) []string {
	var out []string
	for _, c := range conditions {
		out = append(out, c.Type+"="+string(c.Status)+"/"+c.Reason)
	}
	return out
}

func TestABoundCountsFromWhenTheAgentHasFirstSeenTheState(t *testing.T) {
	states := []string{
		stateOf(newRemote(), nil),
		stateOf(newRemote(toTerminate), newCopy(t, opened)),
		stateOf(newRemote(claimed), newCopy(t, opened, deletedAt(testNow))),
		stateOf(newRemote(claimed), newCopy(t, opened)),
	}
	for i, state := range states {
		assert.NotContains(t, states[:i], state)
	}
	assert.Equal(t, states[0], stateOf(newRemote(claimed), newCopy(t, opened, inPhase("Running"))))
	assert.Equal(t, states[0], stateOf(newRemote(), newCopy(t)))
	assert.Equal(t, states[1], stateOf(newRemote(toTerminate), newCopy(t, opened, deletedAt(testNow))), "the hub comes first")
}
