package hubcopy

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	workv1 "open-cluster-management.io/api/work/v1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// HasStarted reports whether the run may have begun: a copy has been recorded, or has shown a phase. From then on there is
// no other. Where there is an agent, a phase that somebody else wrote is no sign of it: no copy runs before it is recorded.
func HasStarted(wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow) bool {
	if rw.Status.RemoteUID != "" {
		return true
	}
	return !contract.IsPending(LastPhase(wf)) && (rw.Spec.Reporting == v1alpha1.ReportingFeedback || !IsForeign(wf))
}

// LastPhase returns the phase that the hub has written last: that of its own status or, where somebody has changed that or
// erased it, of the label beside it.
func LastPhase(wf *unstructured.Unstructured) string {
	if IsForeign(wf) {
		return wf.GetLabels()[contract.LabelPhase]
	}
	return contract.Phase(wf)
}

// mayHaveRun reports whether a Workflow that waits was created before the hub was restored from a backup: it may have run
// since, if the hub has nothing that says where. A zero time stands for a hub that was not restored.
func mayHaveRun(wf *unstructured.Unstructured, restoredAt time.Time) bool {
	return contract.IsPending(contract.Phase(wf)) && wf.GetCreationTimestamp().Time.Before(restoredAt)
}

// ApplyProblem returns the condition that says why the work agent could not create the copy; nil if it could or has not tried.
func ApplyProblem(work *workv1.ManifestWork) *metav1.Condition {
	for _, manifest := range work.Status.ResourceStatus.Manifests {
		if meta.IsStatusConditionFalse(manifest.Conditions, workv1.ManifestApplied) {
			return meta.FindStatusCondition(manifest.Conditions, workv1.ManifestApplied)
		}
	}
	if meta.IsStatusConditionFalse(work.Status.Conditions, workv1.WorkApplied) {
		return meta.FindStatusCondition(work.Status.Conditions, workv1.WorkApplied)
	}
	return nil
}
