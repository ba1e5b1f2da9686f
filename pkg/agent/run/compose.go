package run

import (
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// maxReasonLength is how many characters of the hub's refusal a condition takes over.
const maxReasonLength = 512

// refusal is a report that the hub did not take. It keeps the agent from sending the like again and again.
type refusal struct {
	reason, message string
	// size is that of the refused report, encoded, and version the copy's it was made from.
	size    int
	version string
}

// refusalOf returns the refusal that an answer of the hub's API server amounts to, or nil.
func refusalOf(err error, size int, version string) *refusal {
	r := &refusal{message: cut(fmt.Sprint(err), maxReasonLength), size: size, version: version}
	switch {
	case isTooLarge(err):
		r.reason = v1alpha1.ReasonReportTooLarge
	case apierrors.IsInvalid(err):
		r.reason = v1alpha1.ReasonReportRejected
	default:
		return nil
	}
	return r
}

// isTooLarge recognizes the API server's own limit, and those of etcd and of the way to it, which it passes on as
// internal errors.
func isTooLarge(err error) bool {
	return err != nil && (apierrors.IsRequestEntityTooLargeError(err) ||
		strings.Contains(err.Error(), "request is too large") ||
		strings.Contains(err.Error(), "message larger than max"))
}

// covers reports whether a report of this size, made from this version of the copy, would be refused again.
func (r *refusal) covers(size int, version string) bool {
	switch {
	case r == nil:
		return false
	case r.reason == v1alpha1.ReasonReportTooLarge:
		return size >= r.size
	}
	return version == r.version
}

// compose returns what the RemoteWorkflow's status becomes with a report of the copy. What the report claims to speak
// of comes from the copy itself: it is for the hub to compare. The times of the conditions are still to be set.
//
// Without a status there are only the conditions. A status that is too large leaves the summary; where even that was
// rejected, the conditions say so and the rest stays as it is.
func compose(
	rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, data []byte, refused *refusal,
) v1alpha1.RemoteWorkflowStatus {
	into := *rw.Status.DeepCopy()
	status := contract.Status(wf)
	if len(status) == 0 || (refused != nil && refused.reason == v1alpha1.ReasonReportRejected) {
		return into
	}
	summarize(&into, status)
	ref := contract.ReferenceOf(wf)
	into.Report = &v1alpha1.Report{WorkflowUID: ref.UID, Attempt: ref.Attempt, RemoteUID: wf.GetUID(), Data: data}
	if refused != nil {
		into.Report.Data = []byte{}
	}
	return into
}

// reported is the condition that goes with a report.
func reported(refused *refusal) metav1.Condition {
	if refused == nil {
		return metav1.Condition{
			Type: v1alpha1.ConditionReported, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReportComplete,
			Message: "the whole status is reported",
		}
	}
	message := "the hub rejects the status: " + refused.message
	if refused.reason == v1alpha1.ReasonReportTooLarge {
		message = "the status is too large for the hub, only a summary is reported: " + refused.message
	}
	return metav1.Condition{
		Type: v1alpha1.ConditionReported, Status: metav1.ConditionFalse, Reason: refused.reason, Message: message,
	}
}

// setConditions sets those conditions that are not set yet, at the time, and reports whether there were any.
func setConditions(status *v1alpha1.RemoteWorkflowStatus, conditions []metav1.Condition, now metav1.Time) bool {
	changed := false
	for _, condition := range conditions {
		condition.LastTransitionTime = now
		changed = meta.SetStatusCondition(&status.Conditions, condition) || changed
	}
	return changed
}
