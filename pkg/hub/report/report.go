// Package report is the trust boundary between a managed cluster and the hub: pure functions that accept, restrict and shrink what a
// cluster reports. Whoever has the agent's credentials may write anything into a RemoteWorkflow's status: it is data, and never followed.
//
// What is not of this very run is refused (refuse): what was shown stays, with the condition ReportRefused and an Event. What cannot be
// read, or is older than the end, becomes a summary (read, summary.go). What may not be shown is left out (restrict). What the hub's API
// server does not take is made smaller (Shrink); the agent does the same with a report (send, in pkg/agent/run). Of all three the
// condition StatusIncomplete tells.
package report

import (
	"cmp"
	"fmt"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// Run is what the hub itself knows of the attempt that a report must speak of.
type Run struct {
	// WorkflowUID and Namespace are those of the hub Workflow.
	WorkflowUID types.UID
	Namespace   string
	// Cluster is the managed cluster that the Workflow is assigned to.
	Cluster string
	// Spec is what of the Workflow's own spec decides what a report may say.
	Spec SpecView
}

// Taken is what the hub shows of a report.
type Taken struct {
	// Status is the Workflow's status. It belongs to the caller.
	Status map[string]any
	// Labels are those of the remote Workflow that the hub Workflow is to have as well.
	Labels map[string]string
	// Incomplete says what Status lacks of the remote Workflow's, and why; "" for nothing. A condition in Status says the same.
	Incomplete string

	release func()
}

// Release ends the turn of a large report. The others wait for it, so it must be called once Status is not needed any more, and before
// the same goroutine takes another report. More than once is once.
func (t Taken) Release() {
	if t.release != nil {
		t.release()
	}
}

// Refusal is why a report is not taken: it speaks of something else, or says nothing at all.
type Refusal struct {
	Reason  string
	Message string
}

// Reasons of a Refusal. What one is decided by is also in source.
const (
	RefusedWrongCluster        = "WrongCluster"
	RefusedWrongWorkflow       = "WrongWorkflow"
	RefusedWrongRemoteWorkflow = "WrongRemoteWorkflow"
	RefusedEmpty               = "EmptyReport"
)

// Take returns what the hub shows of the report in rw, beside which the cluster has reported the remote Workflow's labels, if it speaks of
// this very run. A run always ends on the hub: whatever of its report cannot be read, taken or afforded is replaced by the
// summary that rw has of it, and Incomplete says so.
//
// While one large report is held, until its Release, others wait.
func Take(rw *v1alpha1.RemoteWorkflow, labels map[string]string, run Run) (Taken, *Refusal) {
	if refusal := refuse(rw, run); refusal != nil {
		return Taken{}, refusal
	}
	status, release, why := read(rw)
	if why != "" {
		release()
		return takeSummary(rw, labels, run, why)
	}
	var problems []string
	if why := unreported(rw); why != "" {
		problems = append(problems, why+": an older status is shown; the newer one is on cluster "+rw.Namespace)
	}
	problems = append(problems, restrict(status, run)...)
	taken := Taken{
		Status: status, Labels: restrictLabels(labels, status, run.Spec), Incomplete: strings.Join(problems, "; "), release: release,
	}
	if taken.Incomplete != "" {
		AddCondition(status, ConditionIncomplete, taken.Incomplete)
	}
	return taken, nil
}

// refuse returns why a report does not speak of the run, nil if it does.
func refuse(rw *v1alpha1.RemoteWorkflow, run Run) *Refusal {
	refusal := func(reason, format string, args ...any) *Refusal {
		return &Refusal{Reason: reason, Message: fmt.Sprintf("refused a report from cluster %s: ", rw.Namespace) + fmt.Sprintf(format, args...)}
	}
	report := rw.Status.Report
	switch {
	case report == nil:
		return refusal(RefusedEmpty, "there is none")
	case rw.Namespace != run.Cluster:
		return refusal(RefusedWrongCluster, "the Workflow runs on %s", run.Cluster)
	case report.WorkflowUID != run.WorkflowUID || report.Attempt != rw.Spec.Attempt:
		return refusal(RefusedWrongWorkflow, "it speaks of Workflow UID %.64q, attempt %d, not of this one", report.WorkflowUID, report.Attempt)
	case rw.Status.RemoteUID == "" || report.RemoteUID != rw.Status.RemoteUID:
		return refusal(RefusedWrongRemoteWorkflow, "it speaks of a remote Workflow with UID %.64q, and the recorded one is %.64q",
			report.RemoteUID, rw.Status.RemoteUID)
	}
	return nil
}

// read returns the status that a report holds, or else why only a summary can be shown.
func read(rw *v1alpha1.RemoteWorkflow) (status map[string]any, release func(), why string) {
	if len(rw.Status.Report.Data) == 0 {
		return nil, func() {}, cmp.Or(unreported(rw), "the whole status is too large for the hub's API server")
	}
	status, release, err := decode(rw.Status.Report.Data)
	if err != nil {
		return nil, release, fmt.Sprintf("the hub cannot read the whole status: %.256s", err)
	}
	phase := contract.StatusString(status, "phase")
	if !isPhase(phase) {
		return nil, release, fmt.Sprintf("a whole status with phase %.40q is none", phase)
	}
	if contract.IsFinished(rw.Status.Phase) && !contract.IsFinished(phase) {
		return nil, release, "the whole status is older than the end of the Workflow"
	}
	if err := checkForm(status, schemaOf().status, &wfv1.WorkflowStatus{}); err != nil {
		return nil, release, fmt.Sprintf("Argo's clients could not read the whole status: %.256s", err)
	}
	return status, release, ""
}

// isPhase reports whether a Workflow can have this phase: it becomes a label.
func isPhase(phase string) bool {
	return phase != "" && len(validation.IsValidLabelValue(phase)) == 0
}

// unreported returns why the agent could not report the whole status, in its own words, cut short; "" if it could.
func unreported(rw *v1alpha1.RemoteWorkflow) string {
	reported := reportedCondition(rw)
	if reported == nil || reported.Status != metav1.ConditionFalse {
		return ""
	}
	return fmt.Sprintf("%.1024s", reported.Message)
}

func reportedCondition(rw *v1alpha1.RemoteWorkflow) *metav1.Condition {
	return meta.FindStatusCondition(rw.Status.Conditions, v1alpha1.ConditionReported)
}

// Conditions that the hub adds to those that Argo keeps in a Workflow's status.
const (
	// ConditionIncomplete says which parts of the real status the hub Workflow lacks, and why.
	ConditionIncomplete = "StatusIncomplete"
	// ConditionEditRefused says what a user has done to the hub Workflow that has no effect, and why.
	ConditionEditRefused = "EditRefused"
	// ConditionRefused says why a report from the managed cluster was not taken.
	ConditionRefused = "ReportRefused"
)

// AddCondition sets a condition, in Argo's form, in a Workflow's status. It changes the status, not the list that it had.
func AddCondition(status map[string]any, conditionType, message string) {
	condition := map[string]any{"type": conditionType, "status": string(metav1.ConditionTrue), "message": message}
	existing, _ := status["conditions"].([]any)
	conditions := make([]any, 0, len(existing)+1)
	for _, c := range existing {
		if m, ok := c.(map[string]any); !ok || m["type"] != conditionType {
			conditions = append(conditions, c)
		}
	}
	status["conditions"] = append(conditions, condition)
}

// Condition returns the message of a condition in a Workflow's status; "" if there is none.
func Condition(status map[string]any, conditionType string) string {
	conditions, _ := status["conditions"].([]any)
	for _, c := range conditions {
		if condition, _ := c.(map[string]any); condition["type"] == conditionType {
			return contract.StatusString(condition, "message")
		}
	}
	return ""
}
