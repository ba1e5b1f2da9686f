package status

import (
	"encoding/json"
	"fmt"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// refusal is why a report is not taken; the zero value takes it.
type refusal struct {
	reason  string
	message string
}

// Reasons for refusing a report.
const (
	RefusedWrongCluster  = "WrongCluster"
	RefusedWrongWorkflow = "WrongWorkflow"
	RefusedWrongCopy     = "WrongCopy"
	RefusedUnreadable    = "UnreadableReport"
	RefusedEmpty         = "EmptyReport"
)

// accept returns the status that the cluster reports, if it speaks of this very run. Whoever has the agent's
// credentials may write anything into the report: it is data, and never followed.
func accept(wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow) (map[string]any, refusal) {
	report := rw.Status.Report
	switch {
	case rw.Namespace != contract.AssignedCluster(wf):
		return nil, refusal{RefusedWrongCluster, fmt.Sprintf("refused a report from cluster %s: the Workflow runs on %s",
			rw.Namespace, contract.AssignedCluster(wf))}
	case report.WorkflowUID != wf.GetUID() || report.Attempt != rw.Spec.Attempt:
		return nil, refusal{RefusedWrongWorkflow, fmt.Sprintf("refused a report from cluster %s: it speaks of Workflow UID %.64q, attempt %d, not of this one",
			rw.Namespace, report.WorkflowUID, report.Attempt)}
	case rw.Status.RemoteUID == "" || report.RemoteUID != rw.Status.RemoteUID:
		return nil, refusal{RefusedWrongCopy, fmt.Sprintf("refused a report from cluster %s: it speaks of a copy with UID %.64q, and the run is %.64q",
			rw.Namespace, report.RemoteUID, rw.Status.RemoteUID)}
	}
	status, refused := read(rw)
	if refused.reason != "" {
		return nil, refused
	}
	phase := contract.StatusString(status, "phase")
	if problems := validation.IsValidLabelValue(phase); phase == "" || len(problems) > 0 {
		return nil, refusal{RefusedEmpty, fmt.Sprintf("refused a report from cluster %s: a status with phase %.40q is none", rw.Namespace, phase)}
	}
	return status, refusal{}
}

// read decodes a report, or, where there is no more than that, makes do with its summary.
func read(rw *v1alpha1.RemoteWorkflow) (map[string]any, refusal) {
	if len(rw.Status.Report.Data) == 0 {
		return onlySummary(rw, "the whole status is too large for the hub's API server"), refusal{}
	}
	status, err := contract.DecodeStatus(rw.Status.Report.Data)
	if err != nil {
		return nil, refusal{RefusedUnreadable, fmt.Sprintf("refused a report from cluster %s: %v", rw.Namespace, err)}
	}
	if err := checkForm(status, &wfv1.WorkflowStatus{}); err != nil {
		return onlySummary(rw, fmt.Sprintf("Argo's clients could not read the whole status: %v", err)), refusal{}
	}
	return status, refusal{}
}

// checkForm returns an error if Argo's clients would fail to read the value as one of Argo's types. One such Workflow makes
// them fail to list all others with it. Fields that the type does not know are no error, to them as to us.
func checkForm(value any, as any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, as)
}

// onlySummary returns what the RemoteWorkflow itself says of the status, and why that is all.
func onlySummary(rw *v1alpha1.RemoteWorkflow, why string) map[string]any {
	s := rw.Status
	status := summary(map[string]string{
		"phase": s.Phase, "progress": s.Progress, "message": s.Message, "startedAt": format(s.StartedAt), "finishedAt": format(s.FinishedAt),
	})
	addCondition(status, ConditionIncomplete, why+": only a summary is shown; the rest is on cluster "+rw.Namespace)
	return status
}

func format(t *metav1.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
