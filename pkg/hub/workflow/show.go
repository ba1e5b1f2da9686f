package workflow

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/manifestwork"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/report"
)

// answersWithin is how long a cluster may take to answer what was sent to it before the Workflow says so.
// OCM's work agent takes some seconds for a hundred of them.
const answersWithin = 2 * time.Minute

// shown is what the hub Workflow is to show.
type shown struct {
	// status is the whole status. Without it, that of the report if isReported, and else the one that is there already.
	status     map[string]any
	isReported bool
	// end ends what has not ended.
	end *end
	// message replaces that of the status.
	message string
	// refused is what a user has done that has no effect, and why.
	refused string
	// source identifies what a reported status is made from.
	source string
	// why is recorded in an Event once it is shown.
	why *hubworkflow.Refusal
}

// end is an end that the cluster does not report.
type end struct {
	message string
	at      time.Time
	// isCutShort is whether the remote Workflow did not come to its own end, whatever phase it ended in.
	isCutShort bool
}

// ended ends a Workflow of which nothing more will be reported.
func ended(cluster, message string, at time.Time) shown {
	message = fmt.Sprintf("cluster %s: %s", cluster, message)
	return shown{end: &end{message: message, at: at}, why: &hubworkflow.Refusal{Reason: reasonRemoteDeleted, Message: message}}
}

// showReported shows what the cluster reports of the attempt, if the Workflow does not show that already.
func showReported(s *snapshot) *decision {
	if s.own == nil {
		return nil
	}
	var out shown
	gone := goneOf(s)
	switch {
	case s.own.Spec.Reporting == v1alpha1.ReportingFeedback && gone == nil:
		out = fromFeedback(s)
	case !s.own.hasReport() && gone == nil:
		out = beforeReport(s)
	default:
		out = fromReport(s, gone)
	}
	if out.status == nil && !out.isReported && out.end == nil {
		return nil
	}
	if out.source != "" && out.source == s.wf.GetAnnotations()[contract.AnnotationReportHash] && isIntact(s.wf) {
		return nil
	}
	if out.status != nil && hubworkflow.Shows(s.wf, out.status) {
		return nil
	}
	return &decision{action: show, shown: out}
}

// isIntact reports whether the Workflow shows what the hub has written, labels included.
func isIntact(wf *hubworkflow.Workflow) bool {
	return !wf.IsForeign() && wf.StatusHash != "" && wf.GetLabels()[contract.LabelPhase] == wf.Phase &&
		(wf.GetLabels()[contract.LabelCompleted] == "true") == contract.IsFinished(wf.Phase)
}

// goneOf returns why nothing more will be reported of the attempt, nil if something may be.
func goneOf(s *snapshot) *end {
	gone := meta.FindStatusCondition(s.own.Status.Conditions, v1alpha1.ConditionRemoteDeleted)
	isGone := gone != nil && gone.Status == metav1.ConditionTrue
	switch {
	case s.own.cluster.IsDetached() && s.hasStarted() && (!isGone || gone.Reason == v1alpha1.ReasonLeft):
		return &end{message: fmt.Sprintf("cluster %s: the cluster was detached from the hub, which hears no more of the remote Workflow %s/%s",
			s.own.Namespace, s.own.Spec.Remote.Namespace, s.own.Spec.Remote.Name), at: s.now}
	case isGone:
		at := gone.LastTransitionTime.Time
		if report.FormatTime(&gone.LastTransitionTime) == "" { // by a cluster's mistake, or its malice
			at = s.now
		}
		return &end{
			message: fmt.Sprintf("cluster %s: %s", s.own.Namespace, gone.Message), at: at,
			isCutShort: gone.Reason == v1alpha1.ReasonDeletedUnfinished,
		}
	case s.own.Spec.Reporting == v1alpha1.ReportingFeedback && s.own.isDeleted() && s.own.delivery == nil && s.hasStarted():
		return &end{message: fmt.Sprintf("cluster %s: RemoteWorkflow %s was deleted on the hub, and the remote Workflow %s/%s with it",
			s.own.Namespace, s.own.Name, s.own.Spec.Remote.Namespace, s.own.Spec.Remote.Name), at: s.now}
	}
	return nil
}

// fromReport shows the report, if there is one, and an end that is not reported.
func fromReport(s *snapshot, gone *end) shown {
	phase := ""
	if s.own.hasReport() {
		phase = s.own.Status.Phase
	}
	if gone != nil && !s.own.hasReport() && contract.IsFinished(s.wf.LastPhase()) && !s.wf.IsForeign() {
		return shown{} // what has ended stays ended
	}
	out := shown{isReported: s.own.hasReport(), source: report.SourceDigest(s.own.RemoteWorkflow, s.own.Status.Labels, runOf(s))}
	out.sayAnswers(s)
	switch {
	case gone != nil && (gone.isCutShort || !contract.IsFinished(phase)):
		out.end = gone
		mark := digest(gone.message)
		if out.why == nil || !strings.Contains(s.wf.GetAnnotations()[contract.AnnotationReportHash], mark) {
			out.why = &hubworkflow.Refusal{Reason: reasonRemoteDeleted, Message: gone.message}
		}
		out.source += mark
	case gone == nil && !contract.IsFinished(phase) && !s.own.cluster.HasAgent():
		out.message = fmt.Sprintf("cluster %s: not reported any more: %s; the remote Workflow %s/%s is not ended by that", s.own.Namespace,
			s.own.cluster.AgentUnavailable().Why, s.own.Spec.Remote.Namespace, s.own.Spec.Remote.Name)
		out.why = &hubworkflow.Refusal{Reason: reasonAgentUnavailable, Message: out.message}
		out.source += digest(out.message)
	}
	return out
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "+" + hex.EncodeToString(sum[:4])
}

// runOf returns what the hub itself knows of the attempt.
func runOf(s *snapshot) report.Run {
	return report.Run{
		WorkflowUID: s.wf.GetUID(), Namespace: s.wf.GetNamespace(), Cluster: contract.AssignedCluster(s.wf), Spec: s.wf.Spec,
	}
}

// beforeReport shows what keeps a Workflow from starting.
func beforeReport(s *snapshot) shown {
	a, name := s.own, s.own.Namespace
	if !contract.IsPending(s.wf.Phase) && !s.wf.IsForeign() {
		return shown{}
	}
	started := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionStarted)
	away := a.cluster.AgentUnavailable().Why
	switch {
	case started != nil && started.Status == metav1.ConditionFalse:
		return pending(reasonNotStarted, "cluster %s: %s", name, started.Message)
	case started != nil && started.Reason == v1alpha1.ReasonNotTakenUp:
		return pending(v1alpha1.ReasonNotTakenUp, "cluster %s: %s", name, started.Message)
	case a.Status.RemoteUID != "" && away != "":
		return pending(reasonAgentUnavailable, "cluster %s: waiting for the agent that reports whether the Workflow has started: %s", name, away)
	}
	waits := onTheWay(s)
	switch {
	case waits.why != nil:
		return waits
	case s.wf.IsForeign(), s.wf.Message != "" && (a.delivery != nil || a.isClaimed()):
		// It waited for something and waits no more, or a user says what nobody knows.
		return shown{status: map[string]any{"phase": contract.PhasePending, "message": "sent to cluster " + name}}
	}
	return shown{}
}

// onTheWay shows what keeps a Workflow from reaching its cluster.
func onTheWay(s *snapshot) shown {
	a := s.own
	if a.refused != "" {
		return pending(hubworkflow.ReasonCannotTravel, "not dispatched: the hub refuses it: %s", a.refused)
	}
	if a.delivery == nil {
		return shown{}
	}
	if problem := manifestwork.Problem(a.delivery, a.RemoteWorkflow); problem != "" {
		return pending(reasonApplyFailed, "cluster %s: cannot create the Workflow: %s", a.Namespace, problem)
	}
	if a.isUnanswered() && !s.now.Before(answerDue(a)) {
		return pending(reasonDeliveryWaits, "cluster %s: the Workflow was sent, and OCM's work agent there has not answered for %.0f minutes: "+
			"see whether it runs", a.Namespace, answersWithin.Minutes())
	}
	return shown{}
}

// answerDue is when a cluster should have answered what was sent to it. It may have been sent long after the RemoteWorkflow was made.
func answerDue(a *attempt) time.Time {
	sent := a.CreationTimestamp
	if a.delivery != nil && sent.Before(&a.delivery.CreationTimestamp) {
		sent = a.delivery.CreationTimestamp
	}
	return sent.Add(answersWithin)
}

func pending(reason, message string, args ...any) shown {
	why := hubworkflow.Refusal{Reason: reason, Message: fmt.Sprintf(message, args...)}
	return shown{status: hubworkflow.PendingStatus(why), why: &why}
}
