package verdict_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/e2e/chaos/verdict"
)

func object(name, uid string, status map[string]any) *unstructured.Unstructured {
	wf := contract.NewWorkflow()
	wf.SetName(name)
	wf.SetUID(types.UID(uid))
	if status != nil {
		wf.Object["status"] = status
	}
	return wf
}

// ofParent makes it owned by the parent.
func ofParent(o *unstructured.Unstructured) *unstructured.Unstructured {
	o.SetOwnerReferences([]metav1.OwnerReference{{UID: "parent"}})
	return o
}

// parentState is a state of the parent "p" of the run "p", with the nodes.
func parentState(phase string, nodes map[string]any) *unstructured.Unstructured {
	wf := object("p", "parent", nil)
	wf.Object["spec"] = map[string]any{"arguments": map[string]any{"parameters": []any{
		map[string]any{"name": verdict.ParameterRun, "value": "p"},
	}}}
	if phase != "" {
		nodes["p"] = map[string]any{"id": "p", "type": "DAG", "phase": phase, "outputs": map[string]any{"parameters": []any{
			map[string]any{"name": verdict.ParameterWords, "value": "hello"},
		}}}
		wf.Object["status"] = map[string]any{"phase": phase, "nodes": nodes}
	}
	return wf
}

func plugin(id, phase string) map[string]any {
	return map[string]any{"id": id, "type": "Plugin", "displayName": id, "templateName": "pod", "phase": phase}
}

// childState is a state of a Workflow for the node, on the hub.
func childState(name, node, phase string) *unstructured.Unstructured {
	child := ofParent(object(name, name, nil))
	child.SetAnnotations(map[string]string{contract.AnnotationStep: "parent/" + node + "/now/0"})
	if phase != "" {
		child.Object["status"] = map[string]any{"phase": phase}
	}
	return child
}

func recordedOf(workflow, remote string) *unstructured.Unstructured {
	rw := recorded(remote)
	_ = unstructured.SetNestedField(rw.Object, workflow, "spec", "workflowRef", "uid")
	return rw
}

// addChild adds a Workflow for the node, and its run.
func addChild(e *verdict.Evidence, name, node, phase string) {
	e.Hub = append(e.Hub, childState(name, node, ""), childState(name, node, phase))
	e.Managed = append(e.Managed, object(name, "run-"+name, map[string]any{"phase": phase}))
	e.RemoteWorkflows = append(e.RemoteWorkflows, recordedOf(name, "run-"+name))
}

func addAnswer(e *verdict.Evidence, node, phase string) {
	e.TaskSets = append(e.TaskSets, ofParent(object("p", "set", map[string]any{"nodes": map[string]any{node: map[string]any{"phase": phase}}})))
}

// goodParent is the evidence of a parent with one step, whose first try failed.
func goodParent() verdict.Evidence {
	e := verdict.Evidence{
		Subjects: []verdict.Subject{{
			Run: "p", Want: "Succeeded", Words: "hello", Steps: []verdict.Step{{Template: "pod", Succeed: 1, Fail: 1}},
		}},
		StepPods: []verdict.StepPod{
			{Run: "p", Try: "pod/0", Child: "child0", Pod: "a"}, {Run: "p", Try: "pod/1", Child: "child1", Pod: "b"},
			{Run: "p", Try: "pod/1", Child: "child1", Pod: "b"}, // one that wrote twice
			{Run: "other", Try: "pod/1", Child: "other", Pod: "c"},
		},
		Hub: []*unstructured.Unstructured{parentState("", nil)},
	}
	addChild(&e, "child0", "n0", "Failed")
	addChild(&e, "child1", "n1", "Succeeded")
	addAnswer(&e, "n0", "Failed")
	addAnswer(&e, "n1", "Succeeded")
	addAnswer(&e, "n1", "Succeeded") // again, for the first was lost
	e.Hub = append(e.Hub, parentState("Succeeded", map[string]any{"n0": plugin("n0", "Failed"), "n1": plugin("n1", "Succeeded")}))
	return e
}

// end replaces the last state of the parent.
func end(e *verdict.Evidence, phase string, nodes map[string]any) {
	e.Hub[len(e.Hub)-1] = parentState(phase, nodes)
}

func TestVerdictOnStepsInOtherClusters(t *testing.T) {
	tests := map[string]struct {
		change func(*verdict.Evidence)
		want   []verdict.Kind
	}{
		"each try ran once": {func(*verdict.Evidence) {}, nil},
		"a second pod of the same Workflow is found": {func(e *verdict.Evidence) {
			e.StepPods = append(e.StepPods, verdict.StepPod{Run: "p", Try: "pod/1", Child: "child1", Pod: "again"})
		}, []verdict.Kind{verdict.SecondRun, verdict.SecondRun}},
		"a second Workflow for a node is found": {func(e *verdict.Evidence) {
			e.StepPods = append(e.StepPods, verdict.StepPod{Run: "p", Try: "pod/1", Child: "child2", Pod: "again"})
			last := len(e.Hub) - 1
			addChild(e, "child2", "n1", "Succeeded")
			e.Hub = append(e.Hub[:last:last], append(e.Hub[last+1:], e.Hub[last])...)
		}, []verdict.Kind{verdict.SecondRun, verdict.SecondRun}},
		"also if its pods never ran": {func(e *verdict.Evidence) {
			e.Hub = append([]*unstructured.Unstructured{e.Hub[0], childState("child2", "n1", "Succeeded")}, e.Hub[1:]...)
		}, []verdict.Kind{verdict.SecondRun}},
		"a second run of a step's Workflow is found": {func(e *verdict.Evidence) {
			e.Managed = append(e.Managed, object("child1", "again", map[string]any{"phase": "Running"}))
		}, []verdict.Kind{verdict.SecondRun, verdict.Unrecorded}},
		"a step that ended without a pod is lost": {func(e *verdict.Evidence) {
			e.StepPods = e.StepPods[:1]
		}, []verdict.Kind{verdict.LostRun}},
		"two different results are found": {func(e *verdict.Evidence) {
			addAnswer(e, "n1", "Failed")
		}, []verdict.Kind{verdict.SecondAnswer}},
		"another result than the Workflow's is wrong": {func(e *verdict.Evidence) {
			end(e, "Succeeded", map[string]any{"n0": plugin("n0", "Succeeded")})
		}, []verdict.Kind{verdict.WrongEnd}},
		"an Error that the run did not have is wrong": {func(e *verdict.Evidence) {
			end(e, "Succeeded", map[string]any{"n0": plugin("n0", "Error"), "n1": plugin("n1", "Succeeded")})
		}, []verdict.Kind{verdict.WrongEnd, verdict.WrongEnd}},
		"an Error of Argo's own, with no Workflow, is none of ours": {func(e *verdict.Evidence) {
			end(e, "Succeeded", map[string]any{"n": plugin("n", "Error"), "n0": plugin("n0", "Failed"), "n1": plugin("n1", "Succeeded")})
		}, nil},
		"one that Argo was told is": {func(e *verdict.Evidence) {
			addAnswer(e, "n", "Error")
			end(e, "Succeeded", map[string]any{"n": plugin("n", "Error"), "n0": plugin("n0", "Failed"), "n1": plugin("n1", "Succeeded")})
		}, []verdict.Kind{verdict.LostRun}},
		"a step that did not run is found": {func(e *verdict.Evidence) {
			end(e, "Succeeded", map[string]any{"n0": plugin("n0", "Failed")})
		}, []verdict.Kind{verdict.WrongEnd}},
		"other outputs are wrong": {func(e *verdict.Evidence) {
			e.Subjects[0].Words = "hallo"
		}, []verdict.Kind{verdict.WrongEnd}},
		"a parent without end is found": {func(e *verdict.Evidence) {
			e.Hub = e.Hub[:len(e.Hub)-1]
		}, []verdict.Kind{verdict.Unfinished}},
		"one that was deleted needs none, and its steps neither": {func(e *verdict.Evidence) {
			e.Hub, e.Subjects[0].DeletedOnHub = e.Hub[:2], true
		}, nil},
		"a parent that failed is wrong": {func(e *verdict.Evidence) {
			end(e, "Failed", map[string]any{"n0": plugin("n0", "Failed"), "n1": plugin("n1", "Succeeded")})
		}, []verdict.Kind{verdict.WrongEnd}},
		"a parent that the hub never had is found": {func(e *verdict.Evidence) {
			e.Hub = nil
		}, []verdict.Kind{verdict.Unfinished}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			evidence := goodParent()
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
