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

const (
	// phaseSucceeded is the phase of a Workflow, and of a node, that nobody has cut short.
	phaseSucceeded = "Succeeded"
	// takeUpGrace is how long an Argo controller may take to write anything of a remote Workflow that was started. The hub learns
	// of it after that, so that a Workflow is not silent where the controller is down.
	takeUpGrace = time.Second
	// archiveGrace is how long a remote Workflow that is to be removed may take to be written to Argo's archive. Argo tries again and
	// again; a database that is away must not keep the Workflow on the hub for ever.
	archiveGrace = 5 * time.Minute
	// terminationGrace is how long a remote Workflow may take to end once it is terminated. An Argo controller needs about a second;
	// without one it must not stay for ever.
	terminationGrace = 30 * time.Second
)

// action is what the agent does next about an attempt.
type action string

const (
	wait    action = "wait"    // an event brings whatever comes next
	claim   action = "claim"   // record the UID of the remote Workflow on the RemoteWorkflow: from then on no other may run
	start   action = "start"   // add the finalizer and open the gate
	control action = "control" // change the spec of the remote Workflow as the user of the hub Workflow wants
	edit    action = "edit"    // change its status as a user of the hub Workflow did, or refuse to
	report  action = "report"  // bring the status to the hub
	end     action = "end"     // terminate a remote Workflow that was deleted on the managed cluster, and report it until it has ended
	stop    action = "stop"    // terminate a remote Workflow that the hub wants removed
	remove  action = "remove"  // delete it with its pods, and remove the finalizer once it waits for them
	unguard action = "unguard" // remove the finalizer, without a report
	discard action = "discard" // delete a remote Workflow that was never started, if the hub confirms that it never will be
	refuse  action = "refuse"  // set conditions that say why what has the name of the remote Workflow does not start
	inform  action = "inform"  // set other conditions
)

// decision is an action and what goes with it.
type decision struct {
	action action
	// conditions are set together with the action. They have no time yet.
	conditions []metav1.Condition
	// unguard is whether the finalizer is removed as soon as the hub holds the report.
	unguard bool
	// within is when to decide anew, if no event comes first; zero is never.
	within time.Duration
	// spare is whether it can wait until there are reports to spare.
	spare bool
	// overdue is whether the remote Workflow would have ended by now, had the cluster let the agent terminate it.
	overdue bool
}

// firstLook and lastLook are the shortest and the longest time until the agent looks again for what is not there yet; it doubles. Each
// look is a request to the API server.
const (
	firstLook = 15 * time.Second
	lastLook  = 5 * time.Minute
)

// stateOf returns what the attempt is in: bounds count from when the agent has first seen it there.
func stateOf(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) string {
	switch {
	case isDeleted(rw):
		return "deleted on the hub"
	case wf != nil && isDeleted(wf):
		return "deleted on the managed cluster"
	case wf != nil && !isGated(wf) && len(contract.Status(wf)) == 0:
		return "not taken up by Argo"
	}
	return "as it should be"
}

// decide returns what to do about an attempt. wf is what has the remote Workflow's name on the managed cluster, nil if nothing has
// and the API server has confirmed it. since is when the agent first saw the attempt in its state.
//
// That something is not on the hub is never a reason for anything here: what is to go has a deletionTimestamp, and spec.removal says how.
// A deletionTimestamp alone only forbids a start.
func decide(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, since, now time.Time) decision {
	switch {
	case isLeftover(rw, wf):
		return decision{action: discard}
	case isDeleted(rw) && rw.Status.RemoteUID == "":
		return decision{action: wait}
	case isDeleted(rw) && rw.Spec.Removal == v1alpha1.RemovalTerminate:
		return decideTerminate(rw, wf, since, now)
	case isDeleted(rw) && rw.Spec.Removal == v1alpha1.RemovalLeave && isRecorded(rw, wf) && hasFinalizer(wf):
		return decision{action: unguard}
	case isDeleted(rw) && rw.Spec.Removal == v1alpha1.RemovalLeave:
		return confirmed(rw, v1alpha1.ReasonLeft, "goes on without the hub, which has asked for that")
	case rw.Status.RemoteUID == "":
		return decideUnclaimed(rw, wf, since, now)
	case !isRecorded(rw, wf):
		return decideLost(rw)
	default:
		return decideRecorded(rw, wf, since, now)
	}
}

// decideTerminate decides about a remote Workflow that the hub wants removed. Argo goes on with one that is being deleted and replaces
// pods that are deleted, so it ends before its pods go. Its artifacts are collected once it is being deleted, by pods as well.
func decideTerminate(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, since, now time.Time) decision {
	if !isRecorded(rw, wf) {
		return confirmed(rw, v1alpha1.ReasonRemoved, "was removed because it was deleted on the hub")
	}
	if within := terminationLeft(wf, now); isRunning(wf) && within > 0 {
		return decision{action: stop, within: within, overdue: isOverdue(since, now)}
	}
	if within := since.Add(archiveGrace).Sub(now); isArchiving(wf) && within > 0 {
		return decision{action: wait, within: within}
	}
	if isDeleted(wf) && slices.Contains(wf.GetFinalizers(), contract.FinalizerArtifactGC) {
		return decision{action: wait}
	}
	return decision{action: remove}
}

// confirmed says on the RemoteWorkflow, once, that what spec.removal asks for is done.
func confirmed(rw *v1alpha1.RemoteWorkflow, reason, what string) decision {
	if said := meta.FindStatusCondition(rw.Status.Conditions, v1alpha1.ConditionRemoteDeleted); said != nil && said.Reason == reason {
		return decision{action: wait}
	}
	return decision{action: inform, conditions: []metav1.Condition{remoteDeleted(rw, reason, what)}}
}

// decideUnclaimed decides while no UID has been recorded. What was started already, by hand or for a RemoteWorkflow that was lost by
// force and made again since, is the attempt whatever is being done with it: it is recorded like any other, so that it stays the only one.
func decideUnclaimed(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, since, now time.Time) decision {
	if wf == nil {
		// What somebody else creates under its name brings no event, and leaves the work agent nothing to create.
		return decision{action: wait, within: min(max(now.Sub(since), firstLook), lastLook)}
	}
	wanted, found := contract.ReferenceTo(rw), contract.ReferenceOf(wf)
	switch {
	case wasStarted(wf) && found.SameAttempt(wanted):
		return decision{action: claim}
	case found != wanted:
		return notOurs(rw, wf)
	case isDeleted(wf):
		return decision{action: wait} // the next one is claimed
	}
	return decision{action: claim}
}

// decideLost decides when the recorded remote Workflow is gone. What has its name now never starts.
func decideLost(rw *v1alpha1.RemoteWorkflow) decision {
	if meta.IsStatusConditionTrue(rw.Status.Conditions, v1alpha1.ConditionRemoteDeleted) {
		return decision{action: wait}
	}
	gone := remoteDeleted(rw, v1alpha1.ReasonVanishedUnfinished, "is gone, and was not finished when last seen")
	if contract.IsFinished(rw.Status.Phase) {
		gone = remoteDeleted(rw, v1alpha1.ReasonDeletedFinished, "was deleted after it had finished")
	}
	return decision{action: refuse, conditions: []metav1.Condition{gone}}
}

// decideRecorded decides about the recorded remote Workflow.
func decideRecorded(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, since, now time.Time) decision {
	gated, deleted := isGated(wf), isDeleted(wf)
	switch {
	case isBack(rw, wf):
		return decision{action: unguard}
	case isRolledBack(rw, wf):
		return decision{action: refuse, conditions: []metav1.Condition{remoteDeleted(rw, v1alpha1.ReasonRolledBack,
			"was rolled back to before it started: the cluster was restored from a backup")}}
	case contract.IsFinished(contract.Phase(wf)):
		return decideFinished(rw, wf)
	case gated && deleted:
		gone := remoteDeleted(rw, v1alpha1.ReasonDeletedUnfinished, "was deleted there before it started")
		return decision{action: report, conditions: []metav1.Condition{gone}, unguard: true}
	case deleted:
		return decideDeleted(rw, wf, since, now)
	case gated && isDeleted(rw):
		return decision{action: wait}
	case gated && !hasFinalizer(wf) && contract.ReferenceOf(wf) != contract.ReferenceTo(rw):
		return notOurs(rw, wf)
	case gated, !isGuarded(rw, wf):
		return decision{action: start}
	}
	return decideStarted(rw, wf, since, now)
}

// decideStarted decides about the recorded remote Workflow when its gate is open and nothing has become of it yet but what Argo does. What
// users of the hub Workflow have done comes before what is reported of it.
func decideStarted(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, since, now time.Time) decision {
	switch {
	case pendingEdit(rw, wf) != nil:
		return decision{action: edit}
	case controlsPatch(rw, wf) != nil:
		return decision{action: control, conditions: []metav1.Condition{started(rw, wf)}}
	case len(contract.Status(wf)) > 0:
		d := decision{action: report, conditions: []metav1.Condition{started(rw, wf)}}
		if meta.IsStatusConditionFalse(rw.Status.Conditions, v1alpha1.ConditionControlled) {
			d.conditions = append(d.conditions, controlled(metav1.ConditionTrue, v1alpha1.ReasonChanged, "the spec is as the hub wants it"))
		}
		return d
	case meta.IsStatusConditionTrue(rw.Status.Conditions, v1alpha1.ConditionStarted):
		return decision{action: wait}
	}
	if within := since.Add(takeUpGrace).Sub(now); within > 0 {
		return decision{action: wait, within: within}
	}
	return decision{action: inform, conditions: []metav1.Condition{started(rw, wf)}, spare: true}
}

// decideDeleted decides about a remote Workflow that was deleted on its cluster before it finished. It is terminated first, however
// long ago it was deleted.
func decideDeleted(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, since, now time.Time) decision {
	if within := terminationLeft(wf, now); within > 0 {
		return decision{action: end, conditions: []metav1.Condition{started(rw, wf)}, within: within, overdue: isOverdue(since, now)}
	}
	return decision{action: report, conditions: []metav1.Condition{started(rw, wf), deletedUnfinished(rw)}, unguard: true}
}

// decideFinished decides about the recorded remote Workflow when it has ended. One that is still to be archived is kept for that: Argo
// cannot archive what is gone.
func decideFinished(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) decision {
	if pendingEdit(rw, wf) != nil && !isDeleted(rw) {
		return decision{action: edit}
	}
	d := decision{action: report, conditions: []metav1.Condition{started(rw, wf)}, unguard: !isArchiving(wf)}
	if wasCutShort(wf) {
		d.conditions = append(d.conditions, deletedUnfinished(rw))
	}
	return d
}

// wasCutShort reports whether a finished remote Workflow has not come to its own end: the agent has terminated it, because it was
// deleted on its cluster, and it has not succeeded. Argo calls Succeeded also one that it terminates while it waits for a lock; its
// root node has not succeeded then, if it has one. Nodes that Argo has packed or offloaded are many, so some have run.
func wasCutShort(wf *unstructured.Unstructured) bool {
	status := contract.Status(wf)
	_, terminated := terminatedAt(wf)
	if !terminated || contract.StatusString(status, "phase") != phaseSucceeded {
		return terminated
	}
	if contract.StatusString(status, contract.FieldCompressedNodes)+contract.StatusString(status, contract.FieldOffloadedNodes) != "" {
		return false
	}
	root, _, _ := unstructured.NestedString(status, contract.FieldNodes, wf.GetName(), "phase")
	return root != phaseSucceeded
}

// terminationLeft returns for how long a remote Workflow that is to go may still take to end; all of the time until it is terminated.
func terminationLeft(wf *unstructured.Unstructured, now time.Time) time.Duration {
	at, terminated := terminatedAt(wf)
	if !terminated {
		return terminationGrace
	}
	return at.Add(terminationGrace).Sub(now)
}

func isOverdue(since, now time.Time) bool { return now.After(since.Add(terminationGrace)) }

// isRunning reports whether Argo goes on with the remote Workflow, and makes pods for it.
func isRunning(wf *unstructured.Unstructured) bool {
	return !isGated(wf) && !contract.IsFinished(contract.Phase(wf))
}

func isArchiving(wf *unstructured.Unstructured) bool {
	return wf.GetLabels()[contract.LabelArchivingStatus] == contract.ArchivingPending
}

// isRecorded reports whether wf is the remote Workflow that the RemoteWorkflow records. The UID alone says so: it was recorded when
// the reference matched, and a label or annotation that somebody changed since does not make it another Workflow.
func isRecorded(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) bool {
	return wf != nil && rw.Status.RemoteUID != "" && wf.GetUID() == rw.Status.RemoteUID
}

// isRolledBack reports whether the recorded remote Workflow is as it was before it started, although the hub knows that it did: the
// cluster was restored from a backup, and what is to start has run already. One that somebody gated again has a status.
func isRolledBack(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) bool {
	heardOf := rw.Status.Phase != "" || meta.IsStatusConditionTrue(rw.Status.Conditions, v1alpha1.ConditionStarted)
	return heardOf && isGated(wf) && len(contract.Status(wf)) == 0
}

// isBack reports whether the recorded remote Workflow is there although its RemoteWorkflow says that it is gone: it was rolled back, or a
// backup has brought it back. The hub keeps the end that it shows. Only of one that is being deleted that is said while
// it is there, and it is reported to its end.
func isBack(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) bool {
	gone := meta.FindStatusCondition(rw.Status.Conditions, v1alpha1.ConditionRemoteDeleted)
	return gone != nil && gone.Status == metav1.ConditionTrue &&
		(gone.Reason != v1alpha1.ReasonDeletedUnfinished || !isDeleted(wf))
}

func isGated(wf *unstructured.Unstructured) bool {
	return wf.GetLabels()[contract.LabelInstanceID] == contract.InstanceIDGate
}

// wasStarted reports whether the agent, or somebody by hand, has started a remote Workflow, whoever has gated it again since.
func wasStarted(wf *unstructured.Unstructured) bool { return hasFinalizer(wf) || !isGated(wf) }

// isGuarded reports whether the remote Workflow can neither vanish unreported nor drop out of the agent's sight, which is
// restricted by label and follows an annotation. The rest of the reference is for whoever else reads it.
func isGuarded(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) bool {
	return hasFinalizer(wf) && contract.ReferenceOf(wf) == contract.ReferenceTo(rw)
}

// isFollowed reports whether the cache shows the remote Workflow, and its events lead to the RemoteWorkflow.
func isFollowed(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) bool {
	return wf.GetLabels()[contract.LabelCluster] == rw.Namespace && contract.ReferenceOf(wf).RemoteWorkflow == rw.Name
}

func hasFinalizer(wf *unstructured.Unstructured) bool {
	return slices.Contains(wf.GetFinalizers(), contract.FinalizerReport)
}

func isDeleted(obj metav1.Object) bool { return obj.GetDeletionTimestamp() != nil }

// The messages do not name the cluster: they stand on a RemoteWorkflow in its namespace, and the hub puts its name
// before them on the Workflow.

// started is the condition of a remote Workflow whose gate is open.
func started(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) metav1.Condition {
	condition := metav1.Condition{
		Type: v1alpha1.ConditionStarted, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonGateOpened,
		Message: "started as " + remoteName(rw),
	}
	if len(contract.Status(wf)) == 0 {
		condition.Reason = v1alpha1.ReasonNotTakenUp
		condition.Message += ": the cluster's Argo controller has not taken it up yet"
	}
	return condition
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

func notOurs(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) decision {
	if wf.GetUID() == rw.Spec.WorkflowRef.UID {
		return notStarted(v1alpha1.ReasonNotOurs, fmt.Sprintf("Workflow %s is this one itself, for this cluster is the hub: label its "+
			"ManagedCluster local-cluster=true", remoteName(rw)))
	}
	return notStarted(v1alpha1.ReasonNotOurs, fmt.Sprintf("there is already a Workflow %s that does not belong to this one; it is left "+
		"alone. Delete it there, or create this Workflow under another name", remoteName(rw)))
}

func notGranted(rw *v1alpha1.RemoteWorkflow) decision {
	return notStarted(v1alpha1.ReasonStartNotGranted,
		fmt.Sprintf("Workflow %s is not started: the hub did not accept it as the one that may run", remoteName(rw)))
}

func startDenied(rw *v1alpha1.RemoteWorkflow, err error) decision {
	return notStarted(v1alpha1.ReasonStartDenied,
		fmt.Sprintf("Workflow %s is not started: the cluster refuses it: %s", remoteName(rw), cut(err.Error(), maxReasonLength)))
}

func notStarted(reason, message string) decision {
	return decision{action: refuse, conditions: []metav1.Condition{{
		Type: v1alpha1.ConditionStarted, Status: metav1.ConditionFalse, Reason: reason, Message: message,
	}}}
}

func controlled(status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: v1alpha1.ConditionControlled, Status: status, Reason: reason, Message: message}
}

func changeDenied(err error) metav1.Condition {
	return controlled(metav1.ConditionFalse, v1alpha1.ReasonChangeDenied,
		"the spec is not changed as on the hub: the cluster refuses it: "+cut(err.Error(), maxReasonLength))
}

func remoteName(rw *v1alpha1.RemoteWorkflow) string {
	return rw.Spec.Remote.Namespace + "/" + rw.Spec.Remote.Name
}
