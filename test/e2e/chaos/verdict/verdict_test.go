package verdict_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/e2e/chaos/verdict"
)

// state returns one state of a Workflow of the run "a", with the phase if it is not empty.
func state(uid types.UID, phase string, gated bool) *unstructured.Unstructured {
	wf := contract.NewWorkflow()
	wf.SetUID(uid)
	if gated {
		wf.SetLabels(map[string]string{contract.LabelInstanceID: contract.InstanceIDGate})
	}
	wf.Object["spec"] = map[string]any{"arguments": map[string]any{"parameters": []any{
		map[string]any{"name": "other", "value": "b"}, map[string]any{"name": verdict.ParameterRun, "value": "a"},
	}}}
	if phase != "" {
		wf.Object["status"] = map[string]any{"phase": phase, "nodes": map[string]any{"n": map[string]any{"phase": phase}}}
	}
	return wf
}

func recorded(remote string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"spec":   map[string]any{"workflowRef": map[string]any{"uid": "hub"}},
		"status": map[string]any{"remoteUID": remote},
	}}
}

// good is the evidence of a run that went well.
func good() verdict.Evidence {
	return verdict.Evidence{
		Subjects: []verdict.Subject{{Run: "a", Want: "Succeeded"}},
		Journal:  map[string][]types.UID{"a": {"real"}},
		Hub:      []*unstructured.Unstructured{state("hub", "", false), state("hub", "Running", false), state("hub", "Succeeded", false)},
		Managed: []*unstructured.Unstructured{
			state("real", "", true), state("real", "Running", false), state("real", "Succeeded", false),
		},
		RemoteWorkflows: []*unstructured.Unstructured{recorded(""), recorded("real")},
	}
}

// retried makes it the evidence of a Workflow that was retried once, and of which so many pods have run.
func retried(e *verdict.Evidence, pods int) {
	e.Subjects[0].Want, e.Subjects[0].Retried, e.Subjects[0].Retries = "Failed", true, 1
	e.Pods = map[string]int{"a": pods}
	for _, states := range []*[]*unstructured.Unstructured{&e.Hub, &e.Managed} {
		uid := (*states)[2].GetUID()
		(*states)[2] = state(uid, "Failed", false)
		*states = append(*states, state(uid, "Running", false), state(uid, "Failed", false))
	}
}

func TestVerdict(t *testing.T) {
	deletedThere := func(e *verdict.Evidence) { e.Subjects[0].DeletedOnCluster = true }
	tests := map[string]struct {
		change func(*verdict.Evidence)
		want   []verdict.Kind
	}{
		"a run that went well is good": {func(*verdict.Evidence) {}, nil},
		"a copy that was created again and never started is good": {func(e *verdict.Evidence) {
			e.Managed = append(e.Managed, state("again", "", true))
		}, nil},
		"a second Workflow in the journal is a second run": {func(e *verdict.Evidence) {
			e.Journal["a"] = append(e.Journal["a"], "again")
		}, []verdict.Kind{verdict.SecondRun, verdict.Unrecorded}},
		"a second copy without a gate is a second run": {func(e *verdict.Evidence) {
			e.Managed = append(e.Managed, state("again", "", false))
		}, []verdict.Kind{verdict.SecondRun, verdict.Unrecorded}},
		"a second copy with gate and status is a second run": {func(e *verdict.Evidence) {
			e.Managed = append(e.Managed, state("again", "Running", true))
		}, []verdict.Kind{verdict.SecondRun, verdict.Unrecorded}},
		"a run that the hub has not recorded is found": {func(e *verdict.Evidence) {
			e.RemoteWorkflows = nil
		}, []verdict.Kind{verdict.Unrecorded}},
		"a Workflow that never ran is lost": {func(e *verdict.Evidence) {
			e.Journal = nil
		}, []verdict.Kind{verdict.LostRun}},
		"one that was deleted before it ran is not": {func(e *verdict.Evidence) {
			e.Journal, e.Managed, e.Subjects[0].DeletedOnHub = nil, nil, true
		}, nil},
		"a Workflow that the hub never had is found": {func(e *verdict.Evidence) {
			*e = verdict.Evidence{Subjects: e.Subjects}
		}, []verdict.Kind{verdict.LostRun, verdict.Unfinished}},
		"a Workflow without end on the hub is found": {func(e *verdict.Evidence) {
			e.Hub = e.Hub[:2]
		}, []verdict.Kind{verdict.Unfinished}},
		"one that was deleted on the hub needs none": {func(e *verdict.Evidence) {
			e.Hub, e.Subjects[0].DeletedOnHub = e.Hub[:2], true
		}, nil},
		"another end than it must have is wrong": {func(e *verdict.Evidence) {
			e.Hub[2] = state("hub", "Failed", false)
		}, []verdict.Kind{verdict.WrongEnd, verdict.StatusDiffers}},
		"unless Argo came to it by itself": {func(e *verdict.Evidence) {
			e.Hub[2], e.Managed[2] = state("hub", "Error", false), state("real", "Error", false)
		}, nil},
		"and not if it was made to": {func(e *verdict.Evidence) {
			e.Hub[2], e.Managed[2] = state("hub", "Failed", false), state("real", "Failed", false)
			e.Managed[2].Object["spec"].(map[string]any)["shutdown"] = "Terminate"
		}, []verdict.Kind{verdict.WrongEnd}},
		"an older status on the hub differs": {func(e *verdict.Evidence) {
			e.Managed[2].Object["status"].(map[string]any)["nodes"] = map[string]any{"later": nil}
		}, []verdict.Kind{verdict.StatusDiffers}},
		"so does another message": {func(e *verdict.Evidence) {
			e.Hub[2], e.Managed[2] = state("hub", "Error", false), state("real", "Error", false)
			e.Managed[2].Object["status"].(map[string]any)["message"] = "forbidden"
		}, []verdict.Kind{verdict.StatusDiffers}},
		"a run that was deleted ends in Error, with its last nodes": {func(e *verdict.Evidence) {
			deletedThere(e)
			e.Managed[2].Object["status"] = map[string]any{
				"phase": "Failed", "message": "terminated", "nodes": map[string]any{"n": map[string]any{}},
			}
			e.Hub[2].Object["status"] = map[string]any{"phase": "Error", "message": "deleted", "nodes": map[string]any{"n": map[string]any{}}}
		}, nil},
		"so does one that was deleted before it started": {func(e *verdict.Evidence) {
			deletedThere(e)
			e.Journal, e.Managed = nil, e.Managed[:1]
			e.Hub = []*unstructured.Unstructured{e.Hub[0], state("hub", "Error", false)}
			e.Hub[1].Object["status"] = map[string]any{"phase": "Error", "message": "deleted", "finishedAt": "now"}
		}, nil},
		"also if the hub had said before why it waits": {func(e *verdict.Evidence) {
			deletedThere(e)
			e.Journal, e.Managed = nil, e.Managed[:1]
			e.Hub = []*unstructured.Unstructured{e.Hub[0], state("hub", "Error", false)}
			e.Hub[1].Object["status"] = map[string]any{
				"phase": "Error", "message": "deleted", "startedAt": nil, "finishedAt": "now",
				"conditions": []any{map[string]any{"type": "Scheduled", "status": "False", "message": "RemoteDeleted"}},
			}
		}, nil},
		"and not with other nodes": {func(e *verdict.Evidence) {
			deletedThere(e)
			e.Hub[2].Object["status"] = map[string]any{"phase": "Error", "message": "deleted"}
		}, []verdict.Kind{verdict.StatusDiffers}},
		"an Error is wrong for a run that nobody deleted": {func(e *verdict.Evidence) {
			e.Hub[2] = state("hub", "Error", false)
		}, []verdict.Kind{verdict.WrongEnd, verdict.StatusDiffers}},
		"a status that was erased on the cluster is lost": {func(e *verdict.Evidence) {
			e.Managed = append(e.Managed[:2], state("real", "", false), e.Managed[2])
		}, []verdict.Kind{verdict.StatusLost}},
		"an end that is taken back on the hub is lost": {func(e *verdict.Evidence) {
			e.Hub = append(e.Hub, state("hub", "Running", false), state("hub", "Succeeded", false))
		}, []verdict.Kind{verdict.StatusLost}},
		"the status of the one before it says nothing": {func(e *verdict.Evidence) {
			e.Managed = append([]*unstructured.Unstructured{state("gated", "", true)}, e.Managed...)
		}, nil},
		"a retry that ran its pod again is good": {func(e *verdict.Evidence) { retried(e, 2) }, nil},
		"one that ran it twice is wrong":         {func(e *verdict.Evidence) { retried(e, 3) }, []verdict.Kind{verdict.WrongRetry}},
		"one that ran nothing is wrong":          {func(e *verdict.Evidence) { retried(e, 1) }, []verdict.Kind{verdict.WrongRetry}},
		"unless the hub has refused it": {func(e *verdict.Evidence) {
			retried(e, 1)
			e.Hub[len(e.Hub)-1].Object["status"].(map[string]any)["conditions"] = []any{map[string]any{"type": "EditRefused"}}
		}, nil},
		"what was stopped may end earlier": {func(e *verdict.Evidence) {
			e.Subjects[0].Stopped = true
			e.Hub[2], e.Managed[2] = state("hub", "Failed", false), state("real", "Failed", false)
			e.Managed[2].Object["spec"].(map[string]any)["shutdown"] = "Stop"
		}, nil},
		"what has not come to rest is found": {func(e *verdict.Evidence) {
			e.Unrest = []string{"a deletion"}
		}, []verdict.Kind{verdict.Unrest}},
		"what is left over is found": {func(e *verdict.Evidence) {
			e.Leftovers = []string{"a pod"}
		}, []verdict.Kind{verdict.Leftover}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			evidence := good()
			test.change(&evidence)
			var kinds []verdict.Kind
			for _, finding := range verdict.Of(evidence) {
				kinds = append(kinds, finding.Kind)
				assert.NotEmpty(t, finding.Detail)
			}
			assert.Equal(t, test.want, kinds)
		})
	}
}
