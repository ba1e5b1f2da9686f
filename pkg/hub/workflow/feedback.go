package workflow

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	workv1 "open-cluster-management.io/api/work/v1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/manifestwork"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/report"
)

// fromFeedback shows what OCM's work agent feeds back of a Workflow on a cluster without our agent: a summary, marked so.
func fromFeedback(s *snapshot) shown {
	mark := fmt.Sprintf("summary only: cluster %s runs no agent (addon %s)", s.own.Namespace, contract.AddonName)
	work, current := s.own.delivery, s.wf.LastPhase()
	values := manifestwork.Feedback(work)
	status, ok := report.FromFeedback(values)
	switch {
	case contract.IsFinished(current) && (values["phase"] != current || !s.wf.IsForeign()):
		// What has ended stays ended, whatever now bears the name, or nothing does.
		return shown{}
	case ok && values[contract.FeedbackHubUID] == string(s.wf.GetUID()):
		status["message"] = mark
		if message := values["message"]; message != "" {
			status["message"] = mark + ": " + message
		}
		return shown{status: status}
	case isLost(work) || work == nil && !contract.IsPending(current):
		message := mark + ": the Workflow is gone from the cluster, or was never seen there"
		status := map[string]any{"phase": contract.PhasePending, "message": message}
		if current != "" {
			status["phase"] = current
		}
		return shown{status: status, why: &hubworkflow.Refusal{Reason: reasonLost, Message: message}}
	case !contract.IsPending(current):
		// What has run does not wait again.
		return shown{}
	case work == nil:
		return beforeReport(s)
	}
	if problem := manifestwork.Problem(work, s.own.RemoteWorkflow); problem != "" {
		return pending(reasonApplyFailed, "cluster %s: cannot create the Workflow: %s", s.own.Namespace, problem)
	}
	return shown{status: map[string]any{"phase": contract.PhasePending, "message": mark}}
}

// isLost reports whether the Workflow was created and is not there any more, unfinished.
func isLost(work *workv1.ManifestWork) bool {
	return work != nil &&
		meta.IsStatusConditionTrue(work.Status.Conditions, workv1.WorkApplied) &&
		meta.IsStatusConditionFalse(work.Status.Conditions, workv1.WorkAvailable) &&
		!meta.IsStatusConditionTrue(work.Status.Conditions, workv1.WorkComplete)
}
