package status

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	workv1 "open-cluster-management.io/api/work/v1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/report"
)

// Reasons of the Events on a Workflow whose run needs the user's attention.
const (
	ReasonNotStarted       hubcopy.Reason = "NotStarted"
	ReasonAgentUnavailable hubcopy.Reason = "AgentUnavailable"
	ReasonApplyFailed      hubcopy.Reason = "ApplyFailed"
	ReasonRemoteDeleted    hubcopy.Reason = "RemoteDeleted"
	ReasonLost             hubcopy.Reason = "Lost"
	ReasonIncomplete       hubcopy.Reason = "StatusIncomplete"
)

// outcome is what the hub's copy is to show; the zero value leaves it as it is.
type outcome struct {
	status map[string]any
	// reason and message make up an Event that accompanies the status, if it is written.
	reason  hubcopy.Reason
	message string
	// refused is why the cluster's report was not taken, for the metric; "" if it was.
	refused string
	// release ends the use of a reported status.
	release func()
}

// decide returns what the hub's copy wf is to show, given its RemoteWorkflow and its ManifestWork, which may be nil, and
// why nothing is to be heard from its cluster, "" if something is.
func decide(wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow, work *workv1.ManifestWork, away string) outcome {
	withdrawn := isWithdrawn(wf, rw)
	if withdrawn && !hubcopy.HasStarted(wf, rw) {
		return outcome{}
	}
	if rw.Spec.Reporting == v1alpha1.ReportingFeedback && !withdrawn {
		return fromFeedback(wf, rw, work)
	}
	deleted := remoteDeleted(wf, rw, away)
	if rw.Status.Report == nil && deleted == nil {
		return beforeReport(wf, rw, work, away)
	}
	// Without a report, what the hub shows already is all that is known of the run.
	status := copyOf(contract.Status(wf))
	if rw.Status.Report != nil {
		taken, refused := report.Take(rw, nil, runOf(wf))
		if refused != nil {
			return refuse(wf, rw, away, *refused)
		}
		out := shown(taken.Status, rw, deleted, away)
		if out.release = taken.Release; taken.Incomplete != "" && out.reason == "" {
			out.reason, out.message = ReasonIncomplete, taken.Incomplete
		}
		return out
	}
	return shown(status, rw, deleted, away)
}

// runOf returns what the hub itself knows of the run.
func runOf(wf *unstructured.Unstructured) report.Run {
	spec, _ := wf.Object["spec"].(map[string]any)
	return report.Run{
		WorkflowUID: wf.GetUID(), Namespace: wf.GetNamespace(), Cluster: contract.AssignedCluster(wf), Spec: report.ViewOf(spec),
	}
}

// shown returns what is shown of a status: as it is, unless its run is gone, or nothing more is heard of it.
func shown(status map[string]any, rw *v1alpha1.RemoteWorkflow, deleted *metav1.Condition, away string) outcome {
	switch {
	case deleted != nil:
		return markDeleted(status, rw.Namespace, deleted)
	case away != "" && !contract.IsFinished(contract.StatusString(status, "phase")):
		return markUnreported(status, rw, away)
	}
	return outcome{status: status}
}

// reopens reports whether a copy that shows the end of its run would show that it goes on.
func reopens(wf *unstructured.Unstructured, out outcome) bool {
	return out.status != nil && contract.IsFinished(contract.Phase(wf)) && !contract.IsFinished(contract.StatusString(out.status, "phase"))
}

// isWithdrawn reports whether somebody has deleted the RemoteWorkflow although the Workflow is still there.
func isWithdrawn(wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow) bool {
	return !rw.DeletionTimestamp.IsZero() && wf.GetDeletionTimestamp().IsZero()
}

// remoteDeleted returns why there is no copy any more, nil if there may be one: it was deleted on its cluster, or it goes
// with its withdrawn RemoteWorkflow, and perhaps with its cluster, as away then says.
func remoteDeleted(wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow, away string) *metav1.Condition {
	gone := meta.FindStatusCondition(rw.Status.Conditions, v1alpha1.ConditionRemoteDeleted)
	if gone != nil && gone.Status == metav1.ConditionTrue && gone.Reason != v1alpha1.ReasonWithdrawn {
		return gone
	}
	if !isWithdrawn(wf, rw) {
		return nil
	}
	message := fmt.Sprintf("RemoteWorkflow %s was deleted on the hub, and the run with it", rw.Name)
	if away != "" {
		message = away + ", and OCM has removed the ManifestWork of the run"
	}
	return &metav1.Condition{
		Reason: v1alpha1.ReasonVanishedUnfinished, Message: message, LastTransitionTime: *rw.DeletionTimestamp,
	}
}

// beforeReport shows what keeps a dispatched Workflow from starting.
func beforeReport(wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow, work *workv1.ManifestWork, away string) outcome {
	waits := !hubcopy.HasStarted(wf, rw)
	switch {
	case waits && work == nil:
		return unsent(wf)
	case !waits && !contract.IsPending(contract.Phase(wf)):
		return outcome{}
	}
	started := meta.FindStatusCondition(rw.Status.Conditions, v1alpha1.ConditionStarted)
	if started != nil && started.Status == metav1.ConditionFalse {
		return pending(ReasonNotStarted, fmt.Sprintf("cluster %s: %s", rw.Namespace, started.Message))
	}
	if problem := applyProblem(work); problem != "" {
		return pending(ReasonApplyFailed, fmt.Sprintf("cluster %s: cannot create the Workflow: %s", rw.Namespace, problem))
	}
	switch {
	case away != "" && rw.Status.RemoteUID != "":
		return pending(ReasonAgentUnavailable, fmt.Sprintf("cluster %s: waiting for the agent that reports whether the Workflow has started: %s",
			rw.Namespace, away))
	case away != "":
		return pending(ReasonAgentUnavailable, fmt.Sprintf("cluster %s: waiting for the agent that starts the Workflow: %s", rw.Namespace, away))
	}
	if waits && hubcopy.IsForeign(wf) || work != nil && contract.StatusString(contract.Status(wf), "message") != "" {
		// It waited for something and waits no more, or a user says what nobody knows.
		return outcome{status: map[string]any{"phase": contract.PhasePending, "message": "sent to cluster " + rw.Namespace}}
	}
	return outcome{}
}

// unsent shows nothing of a Workflow that has a RemoteWorkflow and no ManifestWork yet: until then the dispatch says what it
// waits for, and two packages that take turns in writing its message would never end. Only a status that somebody else wrote
// is replaced, which the dispatch waits for.
func unsent(wf *unstructured.Unstructured) outcome {
	if !hubcopy.IsForeign(wf) {
		return outcome{}
	}
	return outcome{status: map[string]any{"phase": contract.PhasePending}}
}

func pending(reason hubcopy.Reason, message string) outcome {
	return outcome{
		status: map[string]any{"phase": contract.PhasePending, "message": message},
		reason: reason, message: message,
	}
}

// applyProblem returns why the work agent could not create the copy; "" if it could or has not tried.
func applyProblem(work *workv1.ManifestWork) string {
	if work == nil {
		return ""
	}
	if problem := hubcopy.ApplyProblem(work); problem != nil {
		return problem.Message
	}
	return ""
}

// markDeleted turns the last reported status of a run that was deleted on its cluster before it finished into an
// error: nobody will finish it. A run that had finished keeps its end.
func markDeleted(status map[string]any, cluster string, deleted *metav1.Condition) outcome {
	if contract.IsFinished(contract.StatusString(status, "phase")) && deleted.Reason != v1alpha1.ReasonDeletedUnfinished {
		return outcome{status: status}
	}
	message := fmt.Sprintf("cluster %s: %s", cluster, deleted.Message)
	status["phase"] = contract.PhaseError
	status["message"] = message
	if at := report.FormatTime(&deleted.LastTransitionTime); at != "" && contract.StatusString(status, "finishedAt") == "" {
		status["finishedAt"] = at
	}
	return outcome{status: status, reason: ReasonRemoteDeleted, message: message}
}

// markUnreported says of a run that goes on unseen that its status is not the latest. The next report, or the agent's return,
// shows the run's own message again.
func markUnreported(status map[string]any, rw *v1alpha1.RemoteWorkflow, away string) outcome {
	message := fmt.Sprintf("cluster %s: not reported any more: %s; the run %s/%s is not ended by that",
		rw.Namespace, away, rw.Spec.Remote.Namespace, rw.Spec.Remote.Name)
	status["message"] = message
	return outcome{status: status, reason: ReasonAgentUnavailable, message: message}
}

// refuse shows on the hub's copy that its cluster sent something unacceptable, and leaves the rest as it is; except that a
// run whose copy is gone ends, whatever its cluster says.
func refuse(wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow, away string, refused report.Refusal) outcome {
	status := copyOf(contract.Status(wf))
	if contract.StatusString(status, "phase") == "" {
		status = map[string]any{"phase": contract.PhasePending, "message": refused.Message}
	}
	report.AddCondition(status, report.ConditionRefused, refused.Message)
	out := outcome{status: status, reason: hubcopy.Reason(refused.Reason), message: refused.Message}
	if deleted := remoteDeleted(wf, rw, away); deleted != nil {
		out = markDeleted(status, rw.Namespace, deleted)
	}
	out.refused = refused.Reason
	return out
}

// copyOf returns a copy that may be changed: what the cache holds may not.
func copyOf(status map[string]any) map[string]any {
	if status == nil {
		return map[string]any{}
	}
	return runtime.DeepCopyJSON(status)
}
