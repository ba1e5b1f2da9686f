package status

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/runtime"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// forbidden is the message of a step whose executor may not report, as Argo 3.7 writes it.
func forbidden(namespace, account, verb string) string {
	return "wait: Error (exit code 64): workflowtaskresults.argoproj.io is forbidden: User \"system:serviceaccount:" + namespace + ":" + account +
		"\" cannot " + verb + " resource \"workflowtaskresults\" in API group \"argoproj.io\" in the namespace \"" + namespace + "\""
}

func TestTheMessageSaysWhichRightOfTheExecutorIsMissing(t *testing.T) {
	const advice = "cluster cluster1: grant ServiceAccount runner in namespace team-a the Role argo-workflows-executor " +
		"(create and patch workflowtaskresults), by the variables workflowNamespaces and executorServiceAccounts of the addon " +
		"argo-workflows or by hand: example/managed/executor-rbac.yaml"
	node := func(phase, message string) map[string]any { return map[string]any{"phase": phase, "message": message} }
	byName := `workflowtaskresults.argoproj.io "hello-1" is forbidden: User "system:serviceaccount:team-a:runner" cannot patch resource`
	tests := map[string]struct {
		message string
		nodes   map[string]any
		want    string
	}{
		"a Workflow that is a single step": {forbidden("team-a", "runner", "create"), nil, forbidden("team-a", "runner", "create") + "; " + advice},
		"a step of several": {
			"child 'b' errored", map[string]any{"a": node("Succeeded", ""), "b": node("Error", forbidden("team-a", "runner", "patch"))},
			"child 'b' errored; " + advice,
		},
		"a step that is tried again": {"", map[string]any{"a": node("Failed", byName)}, advice},
		"the first of two": {"", map[string]any{
			"b": node("Error", forbidden("team-b", "runner", "create")), "a": node("Error", forbidden("team-a", "runner", "create")),
		}, advice},
		"a step that has succeeded": {"", map[string]any{"a": node("Succeeded", forbidden("team-a", "runner", "create"))}, ""},
		"another right":             {`pods is forbidden: User "system:serviceaccount:team-a:runner" cannot patch resource`, nil, ""},
		"another verb":              {forbidden("team-a", "runner", "list"), nil, ""},
		"no ServiceAccount's name":  {forbidden("team-a", "runner <b>", "create"), nil, ""},
		"nothing":                   {"", nil, ""},
		"what are no nodes":         {"", map[string]any{"a": "text"}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			status := map[string]any{"phase": "Error"}
			if test.message != "" {
				status["message"] = test.message
			}
			if test.nodes != nil {
				status["nodes"] = test.nodes
			}
			before := runtime.DeepCopyJSON(status)
			adviseExecutor(status, "cluster1")
			if test.want != "" {
				before["message"] = test.want
			}
			assert.Equal(t, before, status, "nothing but the message changes")
		})
	}
}

func TestTheReportedMessageIsExplainedAndItsNodesStayVerbatim(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithAssignment("cluster1"))
	message := forbidden("default", "default", "create")
	nodes := map[string]any{"hello": map[string]any{"phase": "Error", "message": message}}
	rw := gen.RemoteWorkflow(wf, "cluster1", gen.WithReport(map[string]any{"phase": "Error", "message": message, "nodes": nodes}))
	for range 2 {
		out := decide(wf, rw, nil, "")
		assert.Equal(t, nodes, out.status["nodes"])
		assert.Equal(t, 1, strings.Count(contract.StatusString(out.status, "message"), "; cluster cluster1: grant ServiceAccount default"))
		wf.Object["status"] = out.status
	}
}
