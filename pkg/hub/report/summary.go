package report

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// Summary returns, as a Workflow's status, what the RemoteWorkflow itself says of it, with a condition that says why that is all. It is
// nil if that is nothing: without a phase.
func Summary(rw *v1alpha1.RemoteWorkflow, why string) map[string]any {
	s := rw.Status
	status, ok := FromFeedback(map[string]string{
		"phase": s.Phase, "progress": s.Progress, "message": s.Message,
		"startedAt": FormatTime(s.StartedAt), "finishedAt": FormatTime(s.FinishedAt),
	})
	if !ok {
		return nil
	}
	AddCondition(status, ConditionIncomplete, whyOnlySummary(rw, why))
	return status
}

// takeSummary takes of a report no more than its summary, if there is one.
func takeSummary(rw *v1alpha1.RemoteWorkflow, labels map[string]string, run Run, why string) (Taken, *Refusal) {
	status := Summary(rw, why)
	if status == nil {
		return Taken{}, &Refusal{Reason: RefusedEmpty, Message: fmt.Sprintf(
			"refused a report from cluster %s: %s, and a summary with phase %.40q is none", rw.Namespace, why, rw.Status.Phase)}
	}
	return Taken{Status: status, Labels: restrictLabels(labels, status, run.Spec), Incomplete: whyOnlySummary(rw, why)}, nil
}

func whyOnlySummary(rw *v1alpha1.RemoteWorkflow, why string) string {
	return why + ": only a summary is shown; the rest is on cluster " + rw.Namespace
}

// FromFeedback returns, as a Workflow's status, what OCM's work agent feeds back of a remote Workflow by name, or else is known of it in
// text. What Argo's clients could not read is left out. ok is false if there is no phase.
func FromFeedback(values map[string]string) (status map[string]any, ok bool) {
	status = map[string]any{}
	for _, field := range contract.FeedbackStatusFields {
		if value := values[field]; value != "" {
			status[field] = value
		}
	}
	for _, field := range []string{"startedAt", "finishedAt"} {
		if parsed, err := time.Parse(time.RFC3339, values[field]); err != nil || FormatTime(&metav1.Time{Time: parsed}) == "" {
			delete(status, field)
		}
	}
	return status, isPhase(values["phase"])
}

// FormatTime returns a time as Argo's clients read it; "" for one that they could not read: in UTC, a year can have five digits.
func FormatTime(t *metav1.Time) string {
	if t == nil {
		return ""
	}
	text := t.UTC().Format(time.RFC3339)
	if _, err := time.Parse(time.RFC3339, text); err != nil {
		return ""
	}
	return text
}
