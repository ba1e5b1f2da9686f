package status

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	workv1 "open-cluster-management.io/api/work/v1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/report"
)

// fromFeedback shows what the work agent feeds back of a run on a cluster without our agent: a summary, marked so.
func fromFeedback(wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow, work *workv1.ManifestWork) outcome {
	mark := fmt.Sprintf("summary only: cluster %s runs no agent (addon %s)", rw.Namespace, contract.AddonName)
	values := feedback(work)
	phase := values["phase"]
	status, ok := report.FromFeedback(values)
	current := hubcopy.LastPhase(wf)
	switch {
	case contract.IsFinished(current) && (phase != current || !hubcopy.IsForeign(wf)):
		// What has ended stays ended, whatever now bears the name, or nothing does.
		return outcome{}
	case ok && values[contract.FeedbackHubUID] == string(wf.GetUID()):
		if message := values["message"]; message != "" {
			mark += ": " + message
		}
		status["message"] = mark
		return outcome{status: status}
	case wf.GetDeletionTimestamp().IsZero() && (isLost(work) || work == nil && !contract.IsPending(current)):
		message := mark + ": the Workflow is gone from the cluster, or was never seen there"
		status := map[string]any{"phase": contract.PhasePending, "message": message}
		if current != "" {
			status["phase"] = current
		}
		return outcome{status: status, reason: ReasonLost, message: message}
	case !contract.IsPending(current):
		// What has run does not wait again.
		return outcome{}
	}
	return beforeFeedback(wf, rw, work, mark)
}

// beforeFeedback shows a Workflow of which nothing has been fed back yet.
func beforeFeedback(wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow, work *workv1.ManifestWork, mark string) outcome {
	if work == nil {
		return unsent(wf)
	}
	if problem := applyProblem(work); problem != "" {
		return pending(ReasonApplyFailed, fmt.Sprintf("cluster %s: cannot create the Workflow: %s", rw.Namespace, problem))
	}
	return outcome{status: map[string]any{"phase": contract.PhasePending, "message": mark}}
}

// feedback returns the values that the work agent fed back of the copy, by name.
func feedback(work *workv1.ManifestWork) map[string]string {
	values := map[string]string{}
	if work == nil {
		return values
	}
	for _, manifest := range work.Status.ResourceStatus.Manifests {
		for _, value := range manifest.StatusFeedbacks.Values {
			if value.Value.String != nil {
				values[value.Name] = *value.Value.String
			}
		}
	}
	return values
}

// isLost reports whether the copy was created and is not there any more, unfinished.
func isLost(work *workv1.ManifestWork) bool {
	return work != nil &&
		meta.IsStatusConditionTrue(work.Status.Conditions, workv1.WorkApplied) &&
		meta.IsStatusConditionFalse(work.Status.Conditions, workv1.WorkAvailable) &&
		!meta.IsStatusConditionTrue(work.Status.Conditions, workv1.WorkComplete)
}
