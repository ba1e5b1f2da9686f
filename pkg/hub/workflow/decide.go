package workflow

import (
	"fmt"
	"time"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/edits"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
)

// action is what is done next about a Workflow.
type action string

const (
	// wait does nothing: a watch, or the time, brings whatever comes next.
	wait action = "wait"
	// hold says on the Workflow why its attempt is not made.
	hold action = "hold"
	// create creates the RemoteWorkflow of the assigned attempt.
	create action = "create"
	// restore undoes an edit that would part the Workflow from its attempt.
	restore action = "restore"
	// control carries to the RemoteWorkflow what the user wants of the run.
	control action = "control"
	// edit tells what a user has done to the status, and carries that to the RemoteWorkflow.
	edit action = "edit"
	// ask has the agent report the spec of the remote Workflow, or no more.
	ask action = "ask"
	// respec gives the Workflow back the spec that was sent.
	respec action = "respec"
	// show writes the status.
	show action = "show"
	// expire deletes the Workflow as its ttlStrategy says.
	expire action = "expire"
	// remove says on the RemoteWorkflow what becomes of the remote Workflow, and deletes it.
	remove action = "remove"
	// finalize removes the finalizer of a deleted RemoteWorkflow of which nothing is left on the cluster.
	finalize action = "finalize"
	// release removes the finalizer of the Workflow.
	release action = "release"
	// unassign gives the Workflow back to the scheduler.
	unassign action = "unassign"
)

// decision is an action and what goes with it.
type decision struct {
	action action
	// attempt is the one that is removed or finalized.
	attempt *attempt
	// removal is what becomes of its remote Workflow.
	removal v1alpha1.Removal
	// shown is what the Workflow is to show.
	shown shown
	// controls are what the user wants of the run.
	controls v1alpha1.Controls
	// wantSpec is whether the spec of the remote Workflow is asked for.
	wantSpec bool
	// metadata is what is restored.
	metadata map[string]any
	// why is recorded in an Event, or held against the Workflow; metric is the label of the metric that counts it.
	why    *hubworkflow.Refusal
	metric string
	// within is when to decide anew, if no event comes first; zero is never.
	within time.Duration
}

// rule decides, or leaves it to the next.
type rule func(*snapshot) *decision

// rules say what is done next about a Workflow and its attempts. The first that applies decides.
var rules = []rule{
	// The cache shows another Workflow of this name than the API server has. It will catch up.
	whileOutdated,
	// An attempt of an earlier Workflow of this name goes first. It has the name on its cluster.
	removeOthers,
	// A Workflow that is not assigned, and has no attempt, is the scheduler's.
	leaveToScheduler,
	// With a deleted Workflow its attempt goes, then its finalizer. Nothing else is done about it.
	removeDeleted,
	// What was ended before it was sent is not sent any more.
	removeBelated,
	// What has an attempt keeps label, assignment and finalizer, whoever edits them.
	restoreEdited,
	// What has started, and has no RemoteWorkflow, has been parted from its run by force.
	endLost,
	// What cannot go to its cluster, or is shut down, and was not sent, gets another one, or none.
	giveBack,
	// What is assigned gets a RemoteWorkflow.
	createAttempt,
	// What has not started, and cannot start where it is, is shut down, or was changed, is taken back from there.
	takeBack,
	// What somebody else has started on the hub, before it was sent, is not sent.
	refuseForeign,
	// What a user has done to the status goes to the cluster, and is shown until that has answered.
	takeEdit,
	// What its user wants of the run goes to the cluster, before anything that its cluster reports is shown.
	carryControls,
	// The hub Workflow shows what its cluster reports.
	showReported,
	// What was sent keeps the spec that it was sent with, whoever edits that.
	restoreSpec,
	// A RemoteWorkflow that somebody else has deleted goes when nothing more can be reported.
	finishDeleted,
	// What has ended, has no attempt, and is watched no more, waits for nothing.
	releaseUnwatched,
	// What has ended, and has outlived its ttlStrategy, is deleted.
	expireFinished,
	// What was sent, and is not answered, is looked at again.
	awaitAnswer,
}

// decide returns what to do about a Workflow and its attempts.
func decide(s *snapshot) decision {
	for _, rule := range rules {
		if d := rule(s); d != nil {
			return *d
		}
	}
	return decision{action: wait}
}

func whileOutdated(s *snapshot) *decision {
	if s.isOutdated {
		return &decision{action: wait}
	}
	return nil
}

func removeOthers(s *snapshot) *decision {
	for _, a := range s.others {
		if d := removal(a, v1alpha1.RemovalTerminate); d != nil {
			return d
		}
	}
	return nil
}

func leaveToScheduler(s *snapshot) *decision {
	switch {
	case s.wf == nil:
		return &decision{action: wait}
	case s.own != nil || contract.AssignedCluster(s.wf) != "" || s.wf.IsDeleted() || contract.IsFinished(s.wf.Phase):
		return nil // one that has ended, and was left by a manager before, still expires
	case s.wf.HasFinalizer():
		return &decision{action: release} // an assignment that somebody took away, of which nothing has come
	}
	return &decision{action: wait}
}

func removeDeleted(s *snapshot) *decision {
	switch {
	case !s.wf.IsDeleted():
		return nil
	case s.own == nil || !s.own.hasFinalizer() && s.own.isDeleted():
		return &decision{action: release}
	}
	if d := removal(s.own, v1alpha1.RemovalTerminate); d != nil {
		return d
	}
	if !s.wf.HasFinalizer() {
		return &decision{action: wait} // somebody else keeps it
	}
	return awaitRemoval(s)
}

// removeBelated removes the attempt that a manager which was paused has made of a Workflow that the scheduler has ended meanwhile. Nothing
// delivers it: the Workflow is not assigned.
func removeBelated(s *snapshot) *decision {
	if s.own == nil || s.own.isClaimed() || contract.AssignedCluster(s.wf) != "" || s.wf.IsForeign() || !contract.IsFinished(s.wf.Phase) {
		return nil
	}
	if d := removal(s.own, v1alpha1.RemovalTerminate); d != nil {
		return d
	}
	return &decision{action: wait}
}

func restoreEdited(s *snapshot) *decision {
	if s.own == nil || s.own.isDeleted() {
		return nil
	}
	metadata, annotations := map[string]any{}, s.wf.GetAnnotations()
	var why *hubworkflow.Refusal
	if !s.wf.HasFinalizer() {
		metadata["finalizers"] = append(s.wf.GetFinalizers(), contract.FinalizerDispatch)
	}
	if !contract.IsOurs(s.wf) {
		metadata["labels"] = map[string]string{contract.LabelEnable: contract.LabelEnableValue}
		why = &hubworkflow.Refusal{Reason: reasonLabelRestored, Message: fmt.Sprintf(
			"label %s restored: the Workflow runs on cluster %s; delete it to end that", contract.LabelEnable, s.own.Namespace)}
	}
	assignment := contract.Assignment(s.wf, s.own.Spec.Attempt, s.own.Namespace)
	if annotations[contract.AnnotationCluster] != s.own.Namespace || annotations[contract.AnnotationAssigned] != assignment {
		metadata["annotations"] = map[string]string{contract.AnnotationCluster: s.own.Namespace, contract.AnnotationAssigned: assignment}
		why = &hubworkflow.Refusal{Reason: reasonClusterRestored, Message: fmt.Sprintf(
			"annotation %s restored: the Workflow runs on cluster %s and cannot move; delete and create it anew to run it elsewhere",
			contract.AnnotationCluster, s.own.Namespace)}
	}
	if len(metadata) == 0 {
		return nil
	}
	return &decision{action: restore, metadata: metadata, why: why}
}

func endLost(s *snapshot) *decision {
	wasShown := s.wf.GetAnnotations()[contract.AnnotationReportHash] != "" // an edit has no effect any more
	if s.own != nil || contract.IsPending(s.wf.Phase) || contract.IsFinished(s.wf.Phase) || s.wf.IsForeign() && !wasShown {
		return nil
	}
	key := s.wf.RemoteWorkflowKey()
	return &decision{action: show, shown: ended(key.Namespace, fmt.Sprintf(
		"RemoteWorkflow %s is gone from the hub, so that no end can be reported any more; if the remote Workflow is still there, it is %s/%s",
		key.Name, contract.RemoteNamespace(s.wf), s.wf.GetName()), s.now)}
}

func giveBack(s *snapshot) *decision {
	if s.own != nil || contract.IsFinished(s.wf.Phase) {
		return nil
	}
	switch {
	case !s.wf.HasFinalizer() && contract.IsPending(s.wf.Phase):
		return &decision{action: unassign}
	case s.wf.IsWithdrawn(), s.problem != nil && !s.wf.IsForeign(), s.endsUnstarted():
		// The finalizer goes first, without which nothing is delivered; only then the absence of a RemoteWorkflow counts. A manager
		// that was paused, and is about to create it, either has it found by the next look, or finds the finalizer gone.
		return &decision{action: release}
	}
	return nil
}

func createAttempt(s *snapshot) *decision {
	if s.own != nil || contract.IsFinished(s.wf.Phase) {
		return nil
	}
	if refusal := s.wf.Refused(s.restoredAt); refusal != nil {
		return &decision{action: hold, why: refusal}
	}
	for _, other := range s.others {
		if other.Namespace == contract.AssignedCluster(s.wf) {
			return &decision{action: wait} // it has the name
		}
	}
	return &decision{action: create}
}

func takeBack(s *snapshot) *decision {
	if s.own == nil || s.hasStarted() {
		return nil
	}
	// Where there is no agent, what was sent may run already: it is taken back only if it cannot.
	if !s.own.isDeleted() && !s.own.cluster.IsDetached() &&
		(s.problem == nil && !s.endsUnstarted() && !s.isOtherSpec() || s.own.isClaimed()) {
		return nil
	}
	if d := removal(s.own, v1alpha1.RemovalTerminate); d != nil {
		return d
	}
	return &decision{action: wait}
}

// carryControls leaves what has finished, and what its cluster removes.
func carryControls(s *snapshot) *decision {
	if s.own == nil || s.own.isRemovalAsked() || s.own.Spec.Reporting != v1alpha1.ReportingAgent || contract.IsFinished(s.own.Status.Phase) {
		return nil
	}
	wanted := wantedControls(s, edits.Found{})
	if contract.ControlsPatch(s.own.Spec.Controls, wanted) == nil {
		return nil
	}
	return &decision{action: control, controls: wanted}
}

func refuseForeign(s *snapshot) *decision {
	if s.own == nil || s.hasStarted() || s.own.delivery != nil || s.own.isClaimed() || !s.wf.IsForeign() || contract.IsPending(s.wf.Phase) {
		return nil
	}
	return &decision{action: hold, why: s.wf.Refused(s.restoredAt)}
}

// awaitAnswer looks again when there should be an answer. No event tells of a delivery, nor of an answer that does not come.
func awaitAnswer(s *snapshot) *decision {
	a := s.own
	if a == nil || a.isDeleted() || a.isClaimed() || a.delivery != nil && !a.isUnanswered() {
		return nil
	}
	if within := answerDue(a).Sub(s.now); within > 0 {
		return &decision{action: wait, within: within}
	}
	if a.delivery == nil {
		return &decision{action: wait, within: answersWithin}
	}
	return nil
}

func releaseUnwatched(s *snapshot) *decision {
	if s.own != nil || s.isWatched() || !s.wf.HasFinalizer() {
		return nil
	}
	return &decision{action: release}
}

func finishDeleted(s *snapshot) *decision {
	if s.own == nil || !contract.IsFinished(s.wf.Phase) {
		return nil
	}
	if s.own.isDeleted() || s.own.cluster.IsDetached() {
		return removal(s.own, v1alpha1.RemovalLeave)
	}
	return nil
}

func expireFinished(s *snapshot) *decision {
	at, expires := expiry(s.wf)
	if !expires || s.wf.IsForeign() {
		return nil
	}
	if within := at.Sub(s.now); within > 0 {
		return &decision{action: wait, within: within}
	}
	return &decision{action: expire}
}
