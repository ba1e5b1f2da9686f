package hubcopy

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// Reasons of the Events on a Workflow that is held whatever its cluster.
const (
	ReasonInvalidLabel  Reason = "InvalidLabel"
	ReasonInvalidName   Reason = "InvalidName"
	ReasonForeignStatus Reason = "ForeignStatus"
	ReasonStatusLost    Reason = "StatusLost"
	ReasonRestoredHub   Reason = "RestoredHub"
)

// HeldAnywhere returns why a Workflow that has no RemoteWorkflow is sent to no cluster, "" if it may be sent to one. restoredAt is
// when the hub was restored from a backup; zero if it was not, or if that does not matter.
//
// The dispatch says so on the Workflow. The placement gives such a one no cluster, and is silent: two that take turns in writing
// its message would never end.
func HeldAnywhere(wf *unstructured.Unstructured, restoredAt time.Time) (Reason, string) {
	label, name := wf.GetLabels()[contract.LabelEnable], wf.GetName()
	switch {
	case label != contract.LabelEnableValue:
		return ReasonInvalidLabel, fmt.Sprintf("label %s: the value must be %q, not %q: set it to dispatch the Workflow, "+
			"or remove the label to run it here", contract.LabelEnable, contract.LabelEnableValue, label)
	case HasLostStatus(wf):
		return ReasonStatusLost, fmt.Sprintf("not dispatched: by its labels %s and %s the Workflow has run, and it has no status that "+
			"says how: it was restored from a backup, or its status was erased. To run it again, create it anew without these labels, "+
			"for example with argo resubmit", contract.LabelPhase, contract.LabelCompleted)
	case IsForeign(wf):
		return ReasonForeignStatus, "not dispatched: the Workflow already has a status that this hub did not write. A controller on " +
			"the hub runs it, or it was restored from a backup or prefilled by a client; create it anew without a status"
	case len(name) > contract.MaxWorkflowNameLength:
		return ReasonInvalidName, fmt.Sprintf("not dispatched: the name has %d characters, and Argo runs Workflows with at most %d",
			len(name), contract.MaxWorkflowNameLength)
	case mayHaveRun(wf, restoredAt):
		return ReasonRestoredHub, fmt.Sprintf(
			"not dispatched: the Workflow was created before the hub was restored from a backup, at %s, and may "+
				"have run since the backup was made. If it has not, argo resubmit it, or delete it and create it anew",
			restoredAt.UTC().Format(time.RFC3339),
		)
	}
	return "", ""
}
