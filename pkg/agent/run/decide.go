package run

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// phaseSucceeded is the phase of a run, and of a node, that nobody has cut short.
const phaseSucceeded = "Succeeded"

// archiveGrace is how long a withdrawn run may take to be written to Argo's archive. Argo tries again and again; a database that is
// away must not keep the Workflow on the hub for ever.
const archiveGrace = 5 * time.Minute

// terminationGrace is how long a run that was deleted may take to end once it is terminated. An Argo controller needs about a second;
// without one the copy must not stay for ever.
const terminationGrace = 30 * time.Second

// action is what the agent does next about a run.
type action string

const (
	// wait does nothing: an event brings whatever comes next.
	wait action = "wait"
	// release lets the copy go, without a report.
	release action = "release"
	// stop terminates a run that was deleted on the hub.
	stop action = "stop"
	// withdraw deletes the copy in the foreground, so that it waits for its pods, and then lets it go.
	withdraw action = "withdraw"
	// claim records the UID of the copy on the RemoteWorkflow: from then on it is the run, and no other.
	claim action = "claim"
	// start guards the run with the finalizer and opens its gate.
	start action = "start"
	// report brings the status to the hub.
	report action = "report"
	// end terminates a run that was deleted on the managed cluster, and reports it until it has ended.
	end action = "end"
	// remove deletes the copy, which was never started.
	remove action = "remove"
	// tell says on the RemoteWorkflow, in conditions alone, why nothing runs.
	tell action = "tell"
	// confirm says there that the hub need not wait for the copy of a run that it has deleted.
	confirm action = "confirm"
)

// decision is an action and what goes with it.
type decision struct {
	action action
	// conditions are set together with the action. They bear no time yet.
	conditions []metav1.Condition
	// release is whether the copy is let go as soon as the hub holds the report.
	release bool
	// within is when to decide anew, if no event comes first; zero is never.
	within time.Duration
}

// decide returns what to do about a run. wf is what bears the copy's name on the managed cluster, nil if nothing does
// and the API server has confirmed it.
//
// An absence on the hub is never a reason for anything: what is to go has a deletionTimestamp.
func decide(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, now time.Time) decision {
	switch {
	case !rw.DeletionTimestamp.IsZero():
		return decideWithdrawn(rw, wf, now)
	case rw.Status.RemoteUID == "":
		return decideUnclaimed(rw, wf)
	case !isRun(rw, wf):
		return decideLost(rw)
	default:
		return decideRun(rw, wf, now)
	}
}

// decideWithdrawn decides about a run that the hub has deleted. OCM's work agent deletes the copy; one that it does not own, as when the
// hub is uninstalled, goes on. Argo goes on with a Workflow that is being deleted and replaces pods that are deleted, so the run ends
// before its pods go. Its artifacts are collected after its end, by pods as well.
func decideWithdrawn(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, now time.Time) decision {
	if !isRun(rw, wf) && !wasRun(rw, wf) {
		return confirmed(rw, "was removed because it was deleted on the hub")
	}
	if within := rw.DeletionTimestamp.Add(archiveGrace).Sub(now); isArchiving(wf) && within > 0 {
		return decision{action: wait, within: within}
	}
	switch {
	case !isDeleted(wf) && isWorkAgents(wf):
		return decision{action: wait}
	case !isDeleted(wf) && hasFinalizer(wf):
		return decision{action: release}
	case !isDeleted(wf):
		return confirmed(rw, "was left behind: OCM does not own it any more")
	}
	if within := terminationLeft(wf, now); isRunning(wf) && within > 0 {
		return decision{action: stop, within: within}
	}
	if slices.Contains(wf.GetFinalizers(), contract.FinalizerArtifactGC) {
		return decision{action: wait}
	}
	return decision{action: withdraw}
}

// confirmed tells the hub that it need not wait any longer for the copy of a run that it has deleted, if there was one.
func confirmed(rw *v1alpha1.RemoteWorkflow, what string) decision {
	if rw.Status.RemoteUID == "" || meta.IsStatusConditionTrue(rw.Status.Conditions, v1alpha1.ConditionRemoteDeleted) {
		return decision{action: wait}
	}
	return decision{action: confirm, conditions: []metav1.Condition{remoteDeleted(rw, v1alpha1.ReasonWithdrawn, what)}}
}

// decideUnclaimed decides while no copy has been recorded. One that the gate does not hold, because somebody opened it
// by hand, runs already: it is recorded like any other, so that it stays the only one.
func decideUnclaimed(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) decision {
	switch {
	case wf == nil:
		return decision{action: wait}
	case contract.ReferenceOf(wf) != contract.ReferenceTo(rw):
		return notOurs(rw)
	case isDeleted(wf) && !wasRun(rw, wf):
		return decision{action: wait}
	}
	return decision{action: claim}
}

// decideLost decides when the recorded copy is gone. What bears its name now, a copy that the work agent re-created,
// never starts; the hub is told, so that it stops the re-creation.
func decideLost(rw *v1alpha1.RemoteWorkflow) decision {
	if meta.IsStatusConditionTrue(rw.Status.Conditions, v1alpha1.ConditionRemoteDeleted) {
		return decision{action: wait}
	}
	gone := remoteDeleted(rw, v1alpha1.ReasonVanishedUnfinished, "is gone, and was not finished when last seen")
	if contract.IsFinished(rw.Status.Phase) {
		gone = remoteDeleted(rw, v1alpha1.ReasonDeletedFinished, "was deleted after it had finished")
	}
	return decision{action: tell, conditions: []metav1.Condition{gone}}
}

// decideRun decides about the recorded copy.
func decideRun(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, now time.Time) decision {
	gated, deleted := isGated(wf), isDeleted(wf)
	switch {
	case isBack(rw, wf):
		return decision{action: release}
	case isRolledBack(rw, wf):
		return decision{action: tell, conditions: []metav1.Condition{remoteDeleted(rw, v1alpha1.ReasonRolledBack,
			"was rolled back to before it started: the cluster was restored from a backup")}}
	}
	if contract.IsFinished(contract.Phase(wf)) {
		return decideFinished(rw, wf)
	}
	switch {
	case gated && deleted:
		gone := remoteDeleted(rw, v1alpha1.ReasonDeletedUnfinished, "was deleted there before it started")
		return decision{action: report, conditions: []metav1.Condition{gone}, release: true}
	case deleted:
		if within := terminationLeft(wf, now); within > 0 {
			return decision{action: end, conditions: []metav1.Condition{started(rw)}, within: within}
		}
		return decision{action: report, conditions: []metav1.Condition{started(rw), deletedUnfinished(rw)}, release: true}
	case gated && contract.ReferenceOf(wf) != contract.ReferenceTo(rw):
		return notOurs(rw)
	case gated, !isGuarded(rw, wf):
		return decision{action: start}
	case len(contract.Status(wf)) == 0:
		return decision{action: wait}
	}
	return decision{action: report, conditions: []metav1.Condition{started(rw)}}
}

// decideFinished decides about the recorded copy when it has ended. One that is still to be archived is kept for that: Argo cannot
// archive what is gone.
func decideFinished(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) decision {
	d := decision{action: report, conditions: []metav1.Condition{started(rw)}, release: !isArchiving(wf)}
	if wasCutShort(wf) {
		d.conditions = append(d.conditions, deletedUnfinished(rw))
	}
	return d
}

// wasCutShort reports whether a run has not come to its own end: the agent has terminated it because it was deleted on its cluster, and it
// has not succeeded. Argo calls Succeeded also one that it terminates while it waits for a lock; its root node has not succeeded then, if
// it has one. Nodes that Argo has packed or offloaded are many, so some have run.
func wasCutShort(wf *unstructured.Unstructured) bool {
	status := contract.Status(wf)
	_, terminated := terminatedAt(wf)
	if !terminated || contract.Phase(wf) != phaseSucceeded {
		return terminated
	}
	if contract.StatusString(status, "compressedNodes")+contract.StatusString(status, "offloadNodeStatusVersion") != "" {
		return false
	}
	root, _, _ := unstructured.NestedString(status, "nodes", wf.GetName(), "phase")
	return root != phaseSucceeded
}

// terminationLeft returns for how long a copy that is being deleted may still take to end: it is terminated first, however long ago it
// was deleted.
func terminationLeft(wf *unstructured.Unstructured, now time.Time) time.Duration {
	at, terminated := terminatedAt(wf)
	if !terminated {
		return terminationGrace
	}
	return at.Add(terminationGrace).Sub(now)
}

// isRunning reports whether Argo goes on with the copy, and makes pods for it.
func isRunning(wf *unstructured.Unstructured) bool {
	return !isGated(wf) && !contract.IsFinished(contract.Phase(wf))
}

// isWorkAgents reports whether OCM's work agent deletes the copy with its ManifestWork.
func isWorkAgents(wf *unstructured.Unstructured) bool {
	return slices.ContainsFunc(wf.GetOwnerReferences(), func(owner metav1.OwnerReference) bool { return owner.Kind == "AppliedManifestWork" })
}

func isArchiving(wf *unstructured.Unstructured) bool {
	return wf.GetLabels()[contract.LabelArchivingStatus] == contract.ArchivingPending
}

// isRun reports whether wf is the copy that the RemoteWorkflow records. The UID alone says so: it was recorded when
// the reference matched, and a label or annotation that somebody changed since does not make it another Workflow.
func isRun(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) bool {
	return wf != nil && rw.Status.RemoteUID != "" && wf.GetUID() == rw.Status.RemoteUID
}

// wasRun reports whether wf is a copy that the agent guarded for a RemoteWorkflow which has been lost since, by force or with a
// restored hub, and made again: the run is none but this one, whatever is being done with it.
func wasRun(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) bool {
	return wf != nil && rw.Status.RemoteUID == "" && hasFinalizer(wf) && contract.ReferenceOf(wf) == contract.ReferenceTo(rw)
}

// isRolledBack reports whether the recorded copy is as it was before it started, although the hub has heard of its run: the
// cluster was restored from a backup, and what is to start has run already. One that somebody gated again has a status.
func isRolledBack(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) bool {
	heardOf := rw.Status.Phase != "" || meta.IsStatusConditionTrue(rw.Status.Conditions, v1alpha1.ConditionStarted)
	return heardOf && isGated(wf) && len(contract.Status(wf)) == 0
}

// isBack reports whether the recorded copy is there although the hub has been told that it is gone: it was rolled back, or a
// backup has brought it back. The hub keeps the end that it shows. Only a copy that is being deleted is told as gone while
// it is there, and is reported to its end.
func isBack(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) bool {
	gone := meta.FindStatusCondition(rw.Status.Conditions, v1alpha1.ConditionRemoteDeleted)
	return gone != nil && gone.Status == metav1.ConditionTrue &&
		(gone.Reason != v1alpha1.ReasonDeletedUnfinished || !isDeleted(wf))
}

func isGated(wf *unstructured.Unstructured) bool {
	return wf.GetLabels()[contract.LabelInstanceID] == contract.InstanceIDGate
}

// isGuarded reports whether the run can neither vanish unreported nor drop out of the agent's sight, which is
// restricted by label and follows an annotation. The rest of the reference is for whoever else reads it.
func isGuarded(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) bool {
	return hasFinalizer(wf) && contract.ReferenceOf(wf) == contract.ReferenceTo(rw)
}

// isFollowed reports whether the cache shows the copy, and its events lead to the RemoteWorkflow.
func isFollowed(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) bool {
	return wf.GetLabels()[contract.LabelCluster] == rw.Namespace && contract.ReferenceOf(wf).RemoteWorkflow == rw.Name
}

func hasFinalizer(wf *unstructured.Unstructured) bool {
	return slices.Contains(wf.GetFinalizers(), contract.FinalizerReport)
}

func isDeleted(wf *unstructured.Unstructured) bool { return wf.GetDeletionTimestamp() != nil }

// The messages do not name the cluster: they stand on a RemoteWorkflow in its namespace, and the hub puts its name
// before them on the Workflow.

func started(rw *v1alpha1.RemoteWorkflow) metav1.Condition {
	return metav1.Condition{
		Type: v1alpha1.ConditionStarted, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonGateOpened,
		Message: "started as " + remoteName(rw),
	}
}

func remoteDeleted(rw *v1alpha1.RemoteWorkflow, reason, what string) metav1.Condition {
	return metav1.Condition{
		Type: v1alpha1.ConditionRemoteDeleted, Status: metav1.ConditionTrue, Reason: reason,
		Message: fmt.Sprintf("Workflow %s %s", remoteName(rw), what),
	}
}

func deletedUnfinished(rw *v1alpha1.RemoteWorkflow) metav1.Condition {
	return remoteDeleted(rw, v1alpha1.ReasonDeletedUnfinished, "was deleted there before it finished")
}

func notOurs(rw *v1alpha1.RemoteWorkflow) decision {
	return refused(v1alpha1.ReasonNotOurs, fmt.Sprintf("there is already a Workflow %s that is not a copy of this one; it is left alone. "+
		"Delete it there, or create this Workflow under another name", remoteName(rw)))
}

func notGranted(rw *v1alpha1.RemoteWorkflow) decision {
	return refused(v1alpha1.ReasonStartNotGranted, fmt.Sprintf("the copy %s is not started: the hub did not accept it as the one that may run",
		remoteName(rw)))
}

func startDenied(rw *v1alpha1.RemoteWorkflow, err error) decision {
	return refused(
		v1alpha1.ReasonStartDenied,
		fmt.Sprintf("the copy %s is not started: the cluster refuses it: %s", remoteName(rw), cut(err.Error(), maxReasonLength)),
	)
}

func refused(reason, message string) decision {
	return decision{action: tell, conditions: []metav1.Condition{{
		Type: v1alpha1.ConditionStarted, Status: metav1.ConditionFalse, Reason: reason, Message: message,
	}}}
}

func remoteName(rw *v1alpha1.RemoteWorkflow) string {
	return rw.Spec.Remote.Namespace + "/" + rw.Spec.Remote.Name
}
