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
		removed      = "RemoteDeleted=True/Withdrawn"
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
		release    bool
		within     time.Duration
	}{
		"a copy that is not there yet is waited for": {rw: newRemote(), want: wait},
		"a gated copy is claimed before anything else": {
			rw: newRemote(), wf: newCopy(t), want: claim},
		"a copy that somebody opened by hand is claimed": {
			rw: newRemote(), wf: newCopy(t, ungated, inPhase("Running")), want: claim},
		"a copy that is already going is not claimed: the next one may run": {
			rw: newRemote(), wf: newCopy(t, deletedAt(justNow)), want: wait},
		"a user's own Workflow of the name is left alone": {
			rw: newRemote(), wf: newCopy(t, func(wf *unstructured.Unstructured) { wf.SetLabels(nil); wf.SetAnnotations(nil) }),
			want: tell, conditions: []string{foreign}},
		"the copy of another hub is left alone": {
			rw: newRemote(), wf: newCopy(t, annotated(contract.AnnotationHubID, "other-hub")), want: tell, conditions: []string{foreign}},
		"the copy of an earlier Workflow of the name is left alone": {
			rw: newRemote(), wf: newCopy(t, annotated(contract.AnnotationHubUID, otherUID)), want: tell, conditions: []string{foreign}},
		"the copy of another attempt is left alone": {
			rw: newRemote(), wf: newCopy(t, annotated(contract.AnnotationAttempt, otherAttempt)), want: tell, conditions: []string{foreign}},
		"the copy of another RemoteWorkflow is left alone": {
			rw: newRemote(), wf: newCopy(t, annotated(contract.AnnotationRemoteWorkflow, "other")), want: tell, conditions: []string{foreign}},
		"a copy meant for another cluster is left alone": {
			rw: newRemote(), wf: newCopy(t, unlabeled), want: tell, conditions: []string{foreign}},

		"the recorded copy is started": {rw: newRemote(claimed), wf: newCopy(t), want: start},
		"the recorded copy is not started when its reference no longer matches": {
			rw: newRemote(claimed), wf: newCopy(t, annotated(contract.AnnotationAttempt, otherAttempt)),
			want: tell, conditions: []string{foreign}},
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
			conditions: []string{startedTrue}, release: true},
		"a re-created copy never starts, and the hub is told that the run is gone": {
			rw: newRemote(claimedFor(otherUID), showing("Running")), wf: newCopy(t), want: tell, conditions: []string{vanished}},
		"a re-created copy of a finished run never starts": {
			rw: newRemote(claimedFor(otherUID), showing("Succeeded")), wf: newCopy(t), want: tell, conditions: []string{gone}},
		"a re-created copy never starts, even if it was opened by hand": {
			rw: newRemote(claimedFor(otherUID), showing("Running")), wf: newCopy(t, opened, inPhase("Running")),
			want: tell, conditions: []string{vanished}},
		"a run that vanished before it finished is told": {
			rw: newRemote(claimed, showing("Running")), want: tell, conditions: []string{vanished}},
		"a run that vanished before it showed a phase is told": {
			rw: newRemote(claimed), want: tell, conditions: []string{vanished}},
		"a finished run that a TTL took is told, so that it is not re-created": {
			rw: newRemote(claimed, showing("Failed")), want: tell, conditions: []string{gone}},
		"a run that is known to be gone needs nothing": {
			rw: newRemote(claimed, showing("Running"), knownDeleted), want: wait},
		"a re-created copy of a run that is known to be gone needs nothing": {
			rw: newRemote(claimedFor(otherUID), knownDeleted), wf: newCopy(t), want: wait},

		"a copy that was rolled back to before it started does not start again": {
			rw: newRemote(claimed, showing("Running")), wf: newCopy(t), want: tell, conditions: []string{rolledBack}},
		"a copy that was rolled back to before it started and finished does not start again": {
			rw: newRemote(claimed, showing("Succeeded")), wf: newCopy(t), want: tell, conditions: []string{rolledBack}},
		"a copy that was rolled back with an empty status does not start again": {
			rw: newRemote(claimed, showing("Pending")), wf: newCopy(t, withStatus(map[string]any{})), want: tell, conditions: []string{rolledBack}},
		"a copy that was rolled back does not start again, though the hub knows of its start alone": {
			rw: newRemote(claimed, knownStarted), wf: newCopy(t), want: tell, conditions: []string{rolledBack}},
		"a copy that was rolled back is not taken for deleted before it started": {
			rw: newRemote(claimed, showing("Succeeded")), wf: newCopy(t, deletedAt(justNow)), want: tell, conditions: []string{rolledBack}},
		"a run that somebody gated again goes on": {
			rw: newRemote(claimed, showing("Running")), wf: newCopy(t, guarded, inPhase("Running")), want: start},
		"a copy that is known to be rolled back is let go": {
			rw: newRemote(claimed, showing("Running"), knownGone(v1alpha1.ReasonRolledBack)), wf: newCopy(t), want: release},
		"a run that is back after its end was told is let go, and not reported": {
			rw: newRemote(claimed, showing("Succeeded"), knownGone(v1alpha1.ReasonDeletedFinished)), wf: newCopy(t, opened, inPhase("Running")),
			want: release},
		"a run that is back after it had vanished is let go, even when it is deleted": {
			rw: newRemote(claimed, showing("Running"), knownGone(v1alpha1.ReasonVanishedUnfinished)),
			wf: newCopy(t, opened, inPhase("Running"), deletedAt(justNow)), want: release},
		"a run that is back after it was deleted on the cluster is let go": {
			rw: newRemote(claimed, showing("Failed"), knownDeleted), wf: newCopy(t, opened, inPhase("Running")), want: release},
		"a run that is known to be deleted goes on ending": {
			rw: newRemote(
				claimed,
				showing("Running"),
				knownDeleted,
			), wf: newCopy(t, opened, inPhase("Running"), deletedAt(justNow), terminated(justNow)), want: end,
			conditions: []string{startedTrue}, within: 20 * time.Second},

		"a run without a status has nothing to report": {rw: newRemote(claimed), wf: newCopy(t, opened), want: wait},
		"a run with an empty status has nothing to report": {
			rw: newRemote(claimed), wf: newCopy(t, opened, withStatus(map[string]any{})), want: wait},
		"a running run is reported": {
			rw: newRemote(claimed), wf: newCopy(t, opened, inPhase("Running")), want: report, conditions: []string{startedTrue}},
		"a finished run is reported and then let go": {
			rw: newRemote(claimed), wf: newCopy(t, opened, inPhase("Succeeded")), want: report,
			conditions: []string{startedTrue}, release: true},
		"a finished run that is being deleted is reported and then let go": {
			rw: newRemote(claimed), wf: newCopy(t, opened, inPhase("Error"), deletedAt(longAgo)), want: report,
			conditions: []string{startedTrue}, release: true},
		"a finished run that is still to be archived is reported and kept": {
			rw: newRemote(claimed), wf: newCopy(t, opened, inPhase("Succeeded"), archiving), want: report,
			conditions: []string{startedTrue}},
		"a run that was terminated is told as deleted": {
			rw: newRemote(
				claimed,
				showing("Running"),
			), wf: newCopy(t, opened, finishedAt("Failed", justNow), terminated(justNow), deletedAt(testNow)), want: report,
			conditions: []string{startedTrue, cutShort}, release: true},
		"a run that was deleted and came to its own end is not": {
			rw: newRemote(claimed, showing("Running")), wf: newCopy(t, opened, finishedAt("Failed", testNow), deletedAt(justNow)), want: report,
			conditions: []string{startedTrue}, release: true},
		"nor is one that succeeded all the same": {
			rw: newRemote(
				claimed,
				showing("Running"),
			), wf: newCopy(t, opened, inPhase("Succeeded"), withRoot("Succeeded"), terminated(justNow), deletedAt(justNow)), want: report,
			conditions: []string{startedTrue}, release: true},
		"but one that Argo calls so though nothing of it ran is": {
			rw: newRemote(claimed), wf: newCopy(t, opened, inPhase("Succeeded"), terminated(justNow), deletedAt(justNow)), want: report,
			conditions: []string{startedTrue, cutShort}, release: true},
		"and one whose root waited for a lock": {
			rw: newRemote(claimed), want: report, conditions: []string{startedTrue, cutShort}, release: true,
			wf: newCopy(t, opened, inPhase("Succeeded"), withRoot("Pending"), terminated(justNow), deletedAt(justNow))},
		"a finished run is not guarded again": {
			rw: newRemote(claimed, showing("Succeeded")), wf: newCopy(t, ungated, inPhase("Succeeded")), want: report,
			conditions: []string{startedTrue}, release: true},

		"a run deleted on the cluster is ended, however long ago": {
			rw: newRemote(claimed, showing("Running")), wf: newCopy(t, opened, inPhase("Running"), deletedAt(longAgo)), want: end,
			conditions: []string{startedTrue}, within: terminationGrace},
		"a run that does not end in time is let go": {
			rw: newRemote(
				claimed,
				showing("Running"),
			), wf: newCopy(t, opened, inPhase("Running"), deletedAt(longAgo), terminated(longAgo)), want: report,
			conditions: []string{startedTrue, cutShort}, release: true},
		"a recorded copy deleted before its start never starts": {
			rw: newRemote(claimed), wf: newCopy(t, deletedAt(justNow)), want: report, conditions: []string{cutShort}, release: true},

		"a run deleted on the hub is kept until the work agent deletes it": {
			rw: newRemote(claimed, remoteGoing), wf: newCopy(t, opened, inPhase("Running")), want: wait},
		"or is let go, if the work agent has left it behind": {
			rw: newRemote(claimed, remoteGoing), wf: newCopy(t, opened, inPhase("Running"), leftBehind), want: release},
		"which need not be waited for then": {
			rw: newRemote(
				claimed,
				remoteGoing,
			), wf: newCopy(t, ungated, leftBehind, inPhase("Running")), want: confirm, conditions: []string{removed}},
		"nor for its artifacts": {
			rw: newRemote(claimed, remoteGoing), wf: newCopy(t, opened, leftBehind, withFinalizer(contract.FinalizerArtifactGC)), want: release},
		"it is stopped before its pods go, or Argo would make new ones": {
			rw: newRemote(
				claimed,
				remoteGoing,
			), wf: newCopy(t, opened, inPhase("Running"), deletedAt(justNow)), want: stop, within: terminationGrace},
		"however long ago it was deleted": {
			rw: newRemote(
				claimed,
				remoteGoing,
			), wf: newCopy(t, opened, inPhase("Running"), deletedAt(longAgo)), want: stop, within: terminationGrace},
		"even without its label": {
			rw: newRemote(
				claimed,
				remoteGoing,
			), wf: newCopy(t, opened, unlabeled, inPhase("Running"), deletedAt(justNow), terminated(justNow)), want: stop,
			within: 20 * time.Second},
		"though not for long, for Argo may be away": {
			rw: newRemote(
				claimed,
				remoteGoing,
			), wf: newCopy(t, opened, inPhase("Running"), deletedAt(longAgo), terminated(longAgo)), want: withdraw},
		"it is withdrawn when it has ended": {
			rw: newRemote(claimed, remoteGoing), wf: newCopy(t, opened, inPhase("Failed"), deletedAt(justNow)), want: withdraw},
		"Argo does not go on with one that is gated": {
			rw: newRemote(claimed, remoteGoing), wf: newCopy(t, guarded, inPhase("Running"), deletedAt(justNow)), want: withdraw},
		"it is stopped also if it has artifacts to collect, which Argo does after its end": {
			rw: newRemote(claimed, remoteGoing), want: stop, within: terminationGrace,
			wf: newCopy(t, opened, inPhase("Running"), withFinalizer(contract.FinalizerArtifactGC), deletedAt(justNow))},
		"Argo collects its artifacts first, with pods": {
			rw: newRemote(claimed, remoteGoing), want: wait,
			wf: newCopy(t, opened, inPhase("Failed"), withFinalizer(contract.FinalizerArtifactGC), deletedAt(justNow))},
		"one that is still to be archived is given time": {
			rw: newRemote(claimed, remoteGoing), wf: newCopy(t, opened, inPhase("Succeeded"), archiving), want: wait, within: archiveGrace},
		"but not for ever": {
			rw: newRemote(claimed, remoteGoingSince(testNow.Add(-archiveGrace))), want: withdraw,
			wf: newCopy(t, opened, inPhase("Succeeded"), archiving, deletedAt(longAgo))},
		"nothing is claimed for a RemoteWorkflow that goes": {rw: newRemote(remoteGoing), wf: newCopy(t), want: wait},
		"nothing foreign is touched for a RemoteWorkflow that goes": {
			rw: newRemote(claimedFor(otherUID), remoteGoing), wf: newCopy(t, opened), want: confirm, conditions: []string{removed}},
		"a copy that was started for a lost RemoteWorkflow is the run, even if it is going": {
			rw: newRemote(), wf: newCopy(t, opened, inPhase("Running"), deletedAt(justNow)), want: claim},
		"a copy that was started for a lost RemoteWorkflow is let go with the next": {
			rw: newRemote(remoteGoing), wf: newCopy(t, opened, inPhase("Failed"), deletedAt(longAgo)), want: withdraw},
		"a copy of another Workflow is not let go": {
			rw: newRemote(remoteGoing), wf: newCopy(t, opened, annotated(contract.AnnotationHubUID, otherUID)), want: wait},
		"that the copy is gone is confirmed": {rw: newRemote(claimed, remoteGoing), want: confirm, conditions: []string{removed}},
		"once":                               {rw: newRemote(claimed, remoteGoing, knownGone(v1alpha1.ReasonWithdrawn)), want: wait},
		"unless there has never been one":    {rw: newRemote(remoteGoing), want: wait},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := decide(test.rw, test.wf, testNow)
			assert.Equal(t, test.want, got.action)
			assert.Equal(t, test.conditions, brief(got.conditions))
			assert.Equal(t, test.release, got.release)
			assert.Equal(t, test.within, got.within)
		})
	}
}

func TestDecisionsNameTheWorkflow(t *testing.T) {
	for _, got := range []decision{
		decide(newRemote(), newCopy(t, annotated(contract.AnnotationHubID, "other")), testNow),
		decide(newRemote(claimed), nil, testNow),
		decide(newRemote(claimed), newCopy(t, deletedAt(testNow)), testNow),
		decide(newRemote(claimed, showing("Running")), newCopy(t), testNow),
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
