package workflow

import (
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/apimachinery/pkg/util/json"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
)

// grace is how much longer Argo leaves a Workflow than its strategy says. So does the hub: whoever waits for the end gets to
// see it, even if nothing is to stay.
const grace = time.Second

// expiry returns when a Workflow of ours is to be deleted, and false if never, or if it has been already. The rules are those
// of Argo's own controller (workflow/gccontroller, and Workflow.GetTTLStrategy, of Argo 3.7).
//
// What cannot be read is left alone, as Argo leaves a Workflow that it cannot read. So is one without finishedAt, though Argo
// would count from the year 1: the hub leaves the time out where a cluster reports one that nobody could read.
func expiry(wf *hubworkflow.Workflow) (time.Time, bool) {
	if !contract.IsOurs(wf) || !contract.IsFinished(wf.Phase) || wf.IsDeleted() {
		return time.Time{}, false
	}
	seconds := secondsAfter(wf.Phase, wf.TTLStrategy)
	if seconds == nil {
		return time.Time{}, false
	}
	finishedAt, err := time.Parse(time.RFC3339, wf.FinishedAt)
	if err != nil {
		return time.Time{}, false
	}
	// Less than 0 is a time before the end: over, as for Argo.
	return finishedAt.Add(time.Duration(*seconds)*time.Second + grace), true
}

// secondsAfter returns for how many seconds a strategy keeps a Workflow that has ended in this phase; nil is for ever. The
// field for the phase comes before the one for all phases, and Error has no field of its own.
func secondsAfter(phase string, strategy any) *int32 {
	raw, err := json.Marshal(strategy)
	if err != nil {
		return nil
	}
	// As JSON, so that a number too large for Argo's type is an error. A conversion of the value would cut it.
	var fields wfv1.TTLStrategy
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil
	}
	switch {
	case phase == string(wfv1.WorkflowFailed) && fields.SecondsAfterFailure != nil:
		return fields.SecondsAfterFailure
	case phase == string(wfv1.WorkflowSucceeded) && fields.SecondsAfterSuccess != nil:
		return fields.SecondsAfterSuccess
	}
	return fields.SecondsAfterCompletion
}
