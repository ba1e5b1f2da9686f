package run

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// maxReasonLength is how many characters of the hub's refusal a condition takes over.
const maxReasonLength = 512

// extent is how much of a status is reported, from all to nothing.
type extent int

const (
	// whole is the status with its summary.
	whole extent = iota
	// summaryOnly is the summary.
	summaryOnly
	// outlineOnly is no more of the summary than the end of an attempt takes: the phase and the times.
	outlineOnly
	// conditionsOnly leaves the status on the hub as it is.
	conditionsOnly
)

// refusal is a report that the hub did not take. It keeps the agent from sending the like again and again.
type refusal struct {
	reason, message string
	// size is that of the refused report, encoded, and version the remote Workflow's it was made from.
	size    int
	version string
	// left is what is reported instead.
	left extent
}

// refusalOf returns the refusal that an answer of the hub's API server to a report of this extent amounts to, or nil:
// conditions alone cannot be made less.
func refusalOf(err error, sent extent, size int, version string) *refusal {
	r := &refusal{message: cut(fmt.Sprint(err), maxReasonLength), size: size, version: version}
	switch {
	case sent == conditionsOnly:
		return nil
	case contract.IsTooLarge(err):
		r.reason, r.left = v1alpha1.ReasonReportTooLarge, max(sent+1, summaryOnly)
	case apierrors.IsInvalid(err):
		r.reason, r.left = v1alpha1.ReasonReportRejected, max(sent+1, outlineOnly)
	default:
		return nil
	}
	return r
}

// of returns the refusal if a report of this size, made from this version of the remote Workflow, would meet it again, else nil.
func (r *refusal) of(size int, version string) *refusal {
	switch {
	case r == nil,
		r.reason == v1alpha1.ReasonReportTooLarge && size < r.size,
		r.reason == v1alpha1.ReasonReportRejected && version != r.version:
		return nil
	}
	return r
}

// extent returns how much of a status is reported in the face of the refusal, which may be nil.
func (r *refusal) extent() extent {
	if r == nil {
		return whole
	}
	return r.left
}

// compose returns what the RemoteWorkflow's status becomes with a report of the remote Workflow, which is the recorded one by its UID,
// whatever has become of its annotations. The times of the conditions are still to be set.
//
// Without a status there are only the conditions. A report whose data have the same digest stays as it is, for rw has lost the data.
func compose(
	rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, data []byte, refused *refusal,
) v1alpha1.RemoteWorkflowStatus {
	into := *rw.Status.DeepCopy()
	into.Edits = answers(rw, wf)
	into.Spec = specOf(rw, wf, len(data))
	status := contract.Status(wf)
	if len(status) == 0 || refused.extent() == conditionsOnly {
		return into
	}
	into.Labels = labelsOf(wf)
	if refused.extent() == outlineOnly {
		status = map[string]any{"phase": status["phase"], "startedAt": status["startedAt"], "finishedAt": status["finishedAt"]}
		into.Labels = nil
	}
	summarize(&into, status)
	if refused.extent() != whole {
		data = []byte{}
	}
	if digest := digestOf(data); into.Report == nil || into.Report.Digest != digest {
		into.Report = &v1alpha1.Report{
			WorkflowUID: rw.Spec.WorkflowRef.UID, Attempt: rw.Spec.Attempt, RemoteUID: wf.GetUID(), Data: data, Digest: digest,
		}
	}
	return into
}

// maxBesideReport is how large a report and a spec may be together, in bytes: as text, it is two thirds of what an API server takes.
const maxBesideReport = 768 << 10

// specOf returns the spec of the remote Workflow, if the hub asks for it; without data if that does not fit beside a report of this size.
func specOf(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, reported int) *v1alpha1.ReportedSpec {
	if !rw.Spec.WantSpec {
		return nil
	}
	spec, _ := wf.Object["spec"].(map[string]any)
	data, err := contract.EncodeStatus(spec)
	if err != nil || len(data)+reported > maxBesideReport {
		return &v1alpha1.ReportedSpec{}
	}
	return &v1alpha1.ReportedSpec{Data: data}
}

// digestOf returns the SHA-256 of data, in hexadecimal.
func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// reported is the condition that goes with a report.
func reported(refused *refusal) metav1.Condition {
	if refused == nil {
		return metav1.Condition{
			Type: v1alpha1.ConditionReported, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReportComplete,
			Message: "the whole status is reported",
		}
	}
	message := "the hub rejects the status"
	if refused.reason == v1alpha1.ReasonReportTooLarge {
		message = "the status is too large for the hub"
	}
	switch refused.left {
	case summaryOnly:
		message += ", only a summary is reported"
	case outlineOnly:
		message += ", only its phase and times are reported"
	}
	return metav1.Condition{
		Type: v1alpha1.ConditionReported, Status: metav1.ConditionFalse, Reason: refused.reason,
		Message: message + ": " + refused.message,
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
