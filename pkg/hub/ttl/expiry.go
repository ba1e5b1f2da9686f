package ttl

import (
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// grace is how much longer Argo leaves a Workflow than its strategy says. So does the hub: whoever waits for the end gets to
// see it, even if nothing is to stay.
const grace = time.Second

// expiry returns when a Workflow of ours is to be deleted, and false if never, or if it has been already. The rules are those
// of Argo's own controller (workflow/gccontroller, and Workflow.GetTTLStrategy, of Argo 3.7).
//
// What cannot be read is left alone, as Argo leaves a Workflow that it cannot read. So is one without finishedAt, though Argo
// would count from the year 1: the hub leaves the time out where a cluster reports one that nobody could read.
func expiry(wf *unstructured.Unstructured) (time.Time, bool) {
	phase := contract.Phase(wf)
	if !contract.IsOurs(wf) || !contract.IsFinished(phase) || !wf.GetDeletionTimestamp().IsZero() {
		return time.Time{}, false
	}
	seconds := secondsAfter(phase, strategyOf(wf))
	if seconds == nil {
		return time.Time{}, false
	}
	finishedAt, err := time.Parse(time.RFC3339, contract.StatusString(contract.Status(wf), "finishedAt"))
	if err != nil {
		return time.Time{}, false
	}
	// Less than 0 is a time before the end: over, as for Argo.
	return finishedAt.Add(time.Duration(*seconds)*time.Second + grace), true
}

// strategyOf returns the ttlStrategy that counts, as a whole: the Workflow's own, even an empty one, or else that of the
// template that it refers to, as it was when the run started.
func strategyOf(wf *unstructured.Unstructured) any {
	spec, _ := wf.Object["spec"].(map[string]any)
	if own := spec["ttlStrategy"]; own != nil {
		return own
	}
	// What the template says comes from the cluster. Argo stores it where there is a reference, and nowhere else; a cluster
	// that is not honest does not get the hub to delete anything else.
	if spec["workflowTemplateRef"] == nil {
		return nil
	}
	stored, _ := contract.Status(wf)["storedWorkflowTemplateSpec"].(map[string]any)
	return stored["ttlStrategy"]
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
