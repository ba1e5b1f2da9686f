package steps

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/yaml"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract/step"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
)

// parse returns the JSON value that a text in YAML stands for.
func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	wf := &unstructured.Unstructured{}
	raw, err := yaml.YAMLToJSON([]byte("apiVersion: v1\nkind: Any\nvalue: " + text))
	require.NoError(t, err)
	require.NoError(t, wf.UnmarshalJSON(raw))
	return wf.Object["value"].(map[string]any)
}

const now = "2026-01-02T15:04:05Z"

// waiting returns a Workflow with one step that waits for its result.
func waiting(t *testing.T) *snapshot {
	t.Helper()
	at, err := time.Parse(time.RFC3339, now)
	require.NoError(t, err)
	wf := contract.NewWorkflow()
	wf.SetNamespace("ns")
	wf.SetName("parent")
	wf.SetUID("u1")
	wf.Object["spec"] = parse(t, "{serviceAccountName: builder, templates: []}")
	wf.Object["status"] = parse(t, `{phase: Running, startedAt: "`+now+`", nodes: {parent-1: {
		id: parent-1, name: "parent[0].one", displayName: one, type: Plugin, phase: Pending, startedAt: "`+now+`"}}}`)
	set := newTaskSet()
	set.SetName("parent")
	set.SetOwnerReferences([]metav1.OwnerReference{{Kind: "Workflow", Name: "parent", UID: "u1"}})
	set.Object["spec"] = parse(t, `{tasks: {parent-1: {name: one, inputs: {parameters: [{name: word, value: hello}]},
		outputs: {parameters: [{name: said, valueFrom: {path: /said}}, {name: other, valueFrom: {path: /other, default: none}}]},
		retryStrategy: {limit: 1}, plugin: {multicluster: {cluster: cluster1, container: {image: busybox}}}}}}`)
	return &snapshot{
		now: at, set: taskSetOf(set), parent: parentOf(wf), children: map[string]*child{},
		decided: func(string) ([]string, error) { return []string{"a", "b"}, nil },
	}
}

// begun adds the child that the step's Workflow has got, in that phase.
func (s *snapshot) begun(t *testing.T, phase string, change ...func(*unstructured.Unstructured)) *child {
	t.Helper()
	next := decide(s)
	require.NotEmpty(t, next.create)
	wf := next.create[0].DeepCopy()
	name := wf.GetName() + ".step"
	wf.Object["status"] = map[string]any{"phase": phase, "message": "of the Workflow", "nodes": map[string]any{"x": map[string]any{
		"name": name, "phase": phase, "message": "of the pod", "outputs": map[string]any{
			"exitCode": "3", "parameters": []any{map[string]any{"name": "said", "value": "hello"}},
		},
	}}}
	for _, change := range change {
		change(wf)
	}
	hash, err := contract.StatusHash(wf.GetUID(), contract.Status(wf))
	require.NoError(t, err)
	wf.SetAnnotations(map[string]string{
		contract.AnnotationStatusHash: hash, contract.AnnotationStep: wf.GetAnnotations()[contract.AnnotationStep],
		contract.AnnotationStepClusters: wf.GetAnnotations()[contract.AnnotationStepClusters],
	})
	c := &child{Workflow: hubworkflow.Of(wf), whole: wf}
	s.children[wf.GetName()] = c
	return c
}

func TestAStepGetsOneWorkflowThatRunsWhatItsTemplateSays(t *testing.T) {
	s := waiting(t)
	first, second := decide(s), decide(s)
	require.Len(t, first.create, 1)
	child := first.create[0]
	assert.Equal(t, child.GetName(), second.create[0].GetName(), "a second look makes the same")
	assert.Equal(t, "parent", contract.StepParent(child))
	assert.Equal(t, "parent-1", contract.StepNode(child))
	assert.True(t, contract.IsOurs(child))
	assert.Equal(t, contract.InstanceIDHub, child.GetLabels()[contract.LabelInstanceID])
	assert.Equal(t, "cluster1", contract.ChosenCluster(child))
	assert.Equal(t, parse(t, `{entrypoint: main, serviceAccountName: builder, templates: [
		{name: main, dag: {tasks: [{name: step, template: one}]}},
		{name: one, container: {image: busybox}, inputs: {parameters: [{name: word, value: hello}]}, outputs: {parameters: [
			{name: said, valueFrom: {path: /said}}, {name: other, valueFrom: {path: /other, default: none}}]}}]}`), child.Object["spec"])
	assert.Empty(t, first.results, "no answer before the end: it would count")
}

func TestAStepThatWaitsForItsClusterIsTold(t *testing.T) {
	at, err := time.Parse(time.RFC3339, now)
	require.NoError(t, err)
	created := func(wf *unstructured.Unstructured) { wf.SetCreationTimestamp(metav1.NewTime(at)) }
	s := waiting(t)
	c := s.begun(t, "Pending", created)
	next := decide(s)
	assert.Empty(t, next.waits)
	assert.Equal(t, taskWithin, next.within)
	s.now = s.now.Add(taskWithin)
	next = decide(s)
	assert.Equal(t, []string{"one: Workflow " + c.GetName() + ": of the Workflow"}, next.waits)
	assert.Equal(t, tellAgain, next.within)

	s = waiting(t)
	s.begun(t, "Running", created)
	s.now = s.now.Add(taskWithin)
	assert.Empty(t, decide(s).waits, "it runs")
}

// What runs in a namespace of the hub for a Workflow of another one does not have what is open to that namespace.
func TestAWorkflowThatWasSentToTheHubHasNoStepsInOtherClusters(t *testing.T) {
	s := waiting(t)
	s.parent.SetAnnotations(map[string]string{
		contract.AnnotationHubUID: "uid", contract.AnnotationHubNamespace: "team-a", contract.AnnotationHubName: "hello",
	})
	next := decide(s)
	assert.Empty(t, next.create)
	assert.Contains(t, next.results["parent-1"].Message, "was sent here for Workflow \"hello\" of namespace \"team-a\"")

	s.parent.SetAnnotations(map[string]string{contract.AnnotationHubUID: ""}) // as a template's workflowMetadata may have it set
	s.parent.SetFinalizers([]string{contract.FinalizerReport})
	next = decide(s)
	assert.Empty(t, next.create)
	assert.Contains(t, next.results["parent-1"].Message, "was sent here for")
}

func TestADaemonIsAnError(t *testing.T) {
	s := waiting(t)
	s.set.tasks["parent-1"]["daemon"] = true
	next := decide(s)
	assert.Empty(t, next.create)
	assert.Equal(t, errorResult(step.NoDaemon), next.results["parent-1"])
	s.set.tasks["parent-1"]["daemon"] = false
	assert.Len(t, decide(s).create, 1)
}

func TestAStepThatIsTooLargeToTravelIsAnError(t *testing.T) {
	s := waiting(t)
	s.set.tasks["parent-1"]["plugin"].(map[string]any)["multicluster"].(map[string]any)["container"].(map[string]any)["args"] = []any{
		strings.Repeat("x", hubworkflow.MaxPayloadBytes)}
	next := decide(s)
	assert.Empty(t, next.create, "it would wait for ever")
	require.NotNil(t, next.results["parent-1"])
	assert.Equal(t, phaseError, next.results["parent-1"].Phase)
	assert.Contains(t, next.results["parent-1"].Message, "a ManifestWork holds at most")
}

func TestARetriedStepIsAnotherWorkflowAndACopyOfOneIsNone(t *testing.T) {
	s := waiting(t)
	before := decide(s).create[0]
	s.parent.node("parent-1")["startedAt"] = "2026-01-02T16:04:05Z"
	assert.NotEqual(t, before.GetName(), decide(s).create[0].GetName())
	before.SetName("resubmitted")
	assert.Empty(t, contract.StepParent(before))
}

func TestWhatArgoIsToldOfAStep(t *testing.T) {
	deleted := func(wf *unstructured.Unstructured) { at := metav1.Now(); wf.SetDeletionTimestamp(&at) }
	silent := func(wf *unstructured.Unstructured) {
		_ = unstructured.SetNestedMap(wf.Object, map[string]any{}, "status", "nodes", "x", "outputs")
	}
	for name, test := range map[string]struct {
		phase  string
		change func(*unstructured.Unstructured)
		want   *result
	}{
		"it has succeeded": {phaseSucceeded, nil, &result{Phase: phaseSucceeded, Outputs: &outputs{
			ExitCode: "3", Parameters: []parameter{{Name: "said", Value: "hello"}, {Name: "other", Value: "none"}},
		}}},
		"it has failed":            {phaseFailed, nil, &result{Phase: phaseFailed, Message: "of the pod", Outputs: &outputs{ExitCode: "3"}}},
		"it has an error":          {phaseError, nil, &result{Phase: phaseError, Message: "of the pod", Outputs: &outputs{ExitCode: "3"}}},
		"an output is missing":     {phaseSucceeded, silent, failed(`output parameter "said" has no value, and no default`)},
		"it runs":                  {"Running", nil, nil},
		"it was deleted meanwhile": {"Running", deleted, errorResult("which ran the step, was deleted")},
		"it was deleted at its end": {phaseSucceeded, deleted, &result{Phase: phaseSucceeded, Outputs: &outputs{
			ExitCode: "3", Parameters: []parameter{{Name: "said", Value: "hello"}, {Name: "other", Value: "none"}},
		}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := waiting(t)
			change := test.change
			if change == nil {
				change = func(*unstructured.Unstructured) {}
			}
			s.begun(t, test.phase, change)
			got := decide(s).results["parent-1"]
			if test.want == nil {
				assert.Nil(t, got)
				return
			}
			require.NotNil(t, got)
			assert.Contains(t, got.Message, test.want.Message)
			got.Message = test.want.Message
			assert.Equal(t, test.want, got)
		})
	}
}

func TestWhatTheHubHasReadForAnInputIsNotReadOnTheCluster(t *testing.T) {
	s := waiting(t)
	s.set.tasks["parent-1"]["inputs"] = parse(t, `{parameters: [{name: read, value: v, valueFrom: {configMapKeyRef: {name: c, key: k}}},
		{name: unread, valueFrom: {configMapKeyRef: {name: c, key: k}}}]}`)
	templates, _ := decide(s).create[0].Object["spec"].(map[string]any)["templates"].([]any)
	assert.Equal(t, parse(t, `{parameters: [{name: read, value: v}, {name: unread, valueFrom: {configMapKeyRef: {name: c, key: k}}}]}`),
		templates[1].(map[string]any)["inputs"])
}

func TestTheDeadlineOfTheWorkflowIsNotThatOfExitHandlers(t *testing.T) {
	for name, change := range map[string]func(n map[string]any){
		"of the Workflow": func(n map[string]any) { n["name"], n["displayName"] = "parent.onExit", "parent.onExit" },
		"of a step":       func(n map[string]any) { n["name"], n["displayName"] = "parent[0].one.onExit", "one.onExit" },
		"a try of one":    func(n map[string]any) { n["name"], n["displayName"] = "parent[0].one.onExit(0)", "one.onExit(0)" },
		"a step of one":   func(n map[string]any) { n["boundaryID"] = "handler" },
	} {
		s := waiting(t)
		s.parent.spec["activeDeadlineSeconds"] = int64(0)
		s.parent.nodes["handler"] = map[string]any{"displayName": "one.onExit", "boundaryID": "parent"}
		change(s.parent.node("parent-1"))
		next := decide(s)
		assert.Empty(t, next.results, name)
		assert.Len(t, next.create, 1, name)
	}
	s := waiting(t)
	s.parent.spec["activeDeadlineSeconds"] = int64(0)
	n := s.parent.node("parent-1")
	n["name"], n["displayName"], n["boundaryID"] = "parent.onExitCode", "onExitCode", "parent-1"
	assert.Equal(t, failed("Step exceeded its deadline"), decide(s).results["parent-1"], "it is none, but in name")
}

func TestWhatEndedBeforeItsDeadlineHasEndedAlsoIfThatIsReadLater(t *testing.T) {
	for phase, want := range map[string]string{phaseSucceeded: phaseSucceeded, "Running": phaseFailed} {
		s := waiting(t)
		s.set.tasks["parent-1"]["timeout"] = "10s"
		s.begun(t, phase)
		s.now = s.now.Add(time.Hour)
		next := decide(s)
		require.NotNil(t, next.results["parent-1"], phase)
		assert.Equal(t, want, next.results["parent-1"].Phase, phase)
	}
	s := waiting(t)
	s.set.tasks["parent-1"]["timeout"] = "10s"
	s.set.tasks["parent-1"]["plugin"] = parse(t, "{multicluster: {placement: fleet, all: true, container: {image: busybox}}}")
	s.decided = func(string) ([]string, error) { return nil, nil }
	s.now = s.now.Add(time.Hour)
	assert.Equal(t, failed("Step exceeded its deadline"), decide(s).results["parent-1"], "none was decided for")
}

func TestAChildThatNoStepWaitsForIsTerminated(t *testing.T) {
	for name, change := range map[string]func(*snapshot){
		"the task is gone":              func(s *snapshot) { s.set.tasks = nil },
		"the task set is gone":          func(s *snapshot) { s.set = nil },
		"the Workflow is gone":          func(s *snapshot) { s.parent = nil },
		"Argo has ended the node":       func(s *snapshot) { s.parent.node("parent-1")["phase"] = "Failed" },
		"the Workflow has ended":        func(s *snapshot) { s.parent.status["phase"] = "Failed" },
		"the node has started anew":     func(s *snapshot) { s.parent.node("parent-1")["startedAt"] = "2026-01-02T16:04:05Z" },
		"the Workflow is over its time": func(s *snapshot) { s.parent.spec["activeDeadlineSeconds"] = int64(0) },
	} {
		t.Run(name, func(t *testing.T) {
			s := waiting(t)
			c := s.begun(t, "Running")
			assert.Empty(t, decide(s).terminate)
			change(s)
			assert.Equal(t, []*child{c}, decide(s).terminate)
		})
	}
}

func TestAChildThatIsSuspendedIsResumedWhenItIsTerminated(t *testing.T) {
	s := waiting(t)
	s.parent.Object["spec"].(map[string]any)["suspend"] = true
	c := s.begun(t, "Running")
	assert.True(t, c.Controls.Suspend)
	assert.Empty(t, decide(s).terminate)
	s.parent.node("parent-1")["phase"] = "Failed"
	for _, shutdown := range []v1alpha1.Shutdown{"", v1alpha1.ShutdownTerminate} {
		c.Controls.Shutdown = shutdown
		next := decide(s)
		assert.Equal(t, []*child{c}, next.terminate, "Argo ends none that is suspended: %q", shutdown)
		var patched string
		r := actor(interceptor.Funcs{
			Patch: func(_ context.Context, _ client.WithWatch, obj client.Object, patch client.Patch, _ ...client.PatchOption) error {
				data, err := patch.Data(obj)
				patched = string(data)
				return err
			},
		})
		require.NoError(t, r.terminate(t.Context(), s, next))
		assert.JSONEq(t, `{"metadata": {"annotations": {"`+contract.AnnotationStepSuspended+`": null}},
			"spec": {"suspend": null, "shutdown": "Terminate"}}`, patched)
	}
	c.Controls.Suspend = false
	assert.Empty(t, decide(s).terminate)
}

func TestAnAnswerIsGivenOnceAndTakenBackWhereArgoDoesNot(t *testing.T) {
	s := waiting(t)
	s.begun(t, phaseSucceeded)
	s.set.results = map[string]any{"parent-1": map[string]any{"phase": "Succeeded"}}
	next := decide(s)
	assert.Empty(t, next.results, "it waits until Argo has read the first")
	assert.Empty(t, next.create)

	n := s.parent.node("parent-1")
	n["phase"], n["finishedAt"] = "Succeeded", now
	next = decide(s)
	assert.Empty(t, next.results, "Argo takes it away itself")
	assert.Equal(t, healAfter, next.within)
	s.now = s.now.Add(time.Minute)
	next = decide(s)
	taken, isThere := next.results["parent-1"]
	assert.True(t, isThere)
	assert.Nil(t, taken)
	assert.True(t, next.healed, "it lacks the right to")
}

func TestAResultThatNothingWaitsForIsTakenBack(t *testing.T) {
	left := func(s *snapshot) {
		delete(nested(s.set.Object, "spec", "tasks").(map[string]any), "parent-1")
		s.set.tasks = nil
	}
	finished := func(s *snapshot) { s.parent.node("parent-1")["phase"] = "Failed" }
	unknown := func(s *snapshot) { delete(s.parent.nodes, "parent-1") }
	for name, tc := range map[string]struct {
		change []func(*snapshot)
		want   bool
	}{
		"of a node that has ended, whose task is gone": {change: []func(*snapshot){left, finished}, want: true},
		"of a node that is not there":                  {change: []func(*snapshot){left, unknown}, want: true},
		"not of one that Argo has yet to end":          {change: []func(*snapshot){left}},
		"not where no step goes elsewhere": {change: []func(*snapshot){left, finished, func(s *snapshot) {
			s.parent.spec = map[string]any{}
		}}},
	} {
		s := waiting(t)
		s.parent.spec = parse(t, "{templates: [{name: one, plugin: {multicluster: {cluster: cluster1}}}]}")
		s.set.results = map[string]any{"parent-1": map[string]any{"phase": "Succeeded"}}
		for _, change := range tc.change {
			change(s)
		}
		s.now = s.now.Add(time.Minute)
		next := decide(s)
		results := next.results
		assert.Equal(t, tc.want, len(results) == 1 && results["parent-1"] == nil, name)
		assert.False(t, next.healed, "Argo has taken the task away, and would not have done so without the right")
	}
}

func TestNothingIsMadeOfATaskWhoseNodeIsNotThere(t *testing.T) {
	s := waiting(t)
	delete(s.parent.nodes, "parent-1")
	next := decide(s)
	assert.Empty(t, next.create)
	assert.Empty(t, next.results, "an answer for an unknown node stops Argo")
}

func TestASuspendedWorkflowSuspendsItsChildrenAndResumesOnlyThose(t *testing.T) {
	s := waiting(t)
	c := s.begun(t, "Running")
	s.parent.Object["spec"].(map[string]any)["suspend"] = true
	assert.Equal(t, []*child{c}, decide(s).suspend)
	c.SetAnnotations(map[string]string{contract.AnnotationStepSuspended: "true", contract.AnnotationStatusHash: c.GetAnnotations()[contract.AnnotationStatusHash]})
	assert.Empty(t, decide(s).suspend)
	delete(s.parent.Object["spec"].(map[string]any), "suspend")
	assert.Equal(t, []*child{c}, decide(s).resume)
}

func TestAStepInEveryClusterRunsWhereItsPlacementHadDecidedWhenItBegan(t *testing.T) {
	s := waiting(t)
	s.set.tasks["parent-1"]["plugin"] = parse(t, "{multicluster: {placement: fleet, all: true, container: {image: busybox}}}")
	next := decide(s)
	require.Len(t, next.create, 2)
	assert.Equal(t, "a,b", next.create[0].GetAnnotations()[contract.AnnotationStepClusters])
	s.begun(t, "Running")
	s.decided = func(string) ([]string, error) { return []string{"c"}, nil }
	next = decide(s)
	require.Len(t, next.create, 1)
	assert.Equal(t, "b", contract.ChosenCluster(next.create[0]))
}

func TestResultsOfSeveralClustersAreAList(t *testing.T) {
	said := func(value, out string) *result {
		return &result{Phase: phaseSucceeded, Outputs: &outputs{Result: &out, Parameters: []parameter{{Name: "said", Value: value}}}}
	}
	clusters := []string{"a", "b", "c"}
	task := parse(t, "{outputs: {parameters: [{name: said, globalName: all-said}]}}")
	got := aggregate(task, true, clusters, []*result{said("1", "{\"n\": 1}"), failed("no"), said("3", "plain")}, 1)
	assert.Equal(t, phaseSucceeded, got.Phase)
	assert.Equal(t, []parameter{{"said", `["1","3"]`, "all-said"}}, got.Outputs.Parameters)
	assert.JSONEq(t, `[{"n": 1}, "plain"]`, *got.Outputs.Result)
	assert.Equal(t, "failed in 1 of 3 clusters, of which 1 may fail: b: no", got.Message)
	assert.Equal(t, failed("failed in 1 of 3 clusters: b: no"), aggregate(task, true, clusters, []*result{said("1", ""), failed("no"), said("3", "")}, 0))

	got = aggregate(task, true, clusters, []*result{failed("no"), failed("no"), failed("no")}, 3)
	assert.Equal(t, []parameter{{"said", "[]", "all-said"}}, got.Outputs.Parameters, "Argo waits for ever for one that is missing")
	assert.Equal(t, "[]", *got.Outputs.Result)
	assert.Nil(t, aggregate(task, false, clusters, []*result{failed("no"), failed("no"), failed("no")}, 3).Outputs.Result)

	many, names := make([]*result, 40), make([]string, 40)
	for i := range many {
		many[i], names[i] = failed(strings.Repeat("x", 1000)), "c"
	}
	message := aggregate(task, false, names, many, 0).Message
	assert.Less(t, len(message), 3000)
	assert.Contains(t, message, "; and 30 more")
}

func TestAResultIsKeptOnlyWhereTheWorkflowRefersToIt(t *testing.T) {
	for reference, want := range map[string]bool{
		"{{steps.one.outputs.result}}": true, "{{=tasks['one'].outputs.result}}": true, `{{=steps["one"].outputs.result}}`: true,
		"{{steps.other.outputs.result}}": false, "{{steps.one.outputs.parameters.said}}": false, "{{steps.one-more.outputs.result}}": false,
	} {
		s := waiting(t)
		s.parent.spec["templates"] = []any{map[string]any{"steps": reference}}
		assert.Equal(t, want, s.parent.usesResult(s.parent.node("parent-1")), reference)
	}
}

func TestVolumesOfTheWorkflowGoWithAStepUnlessTheyAreClaims(t *testing.T) {
	spec := parse(t, `{volumes: [{name: config, configMap: {name: c}}, {name: unused, emptyDir: {}}, {name: claim, persistentVolumeClaim: {claimName: c}}],
		volumeClaimTemplates: [{metadata: {name: work}}]}`)
	mounting := func(name string) map[string]any {
		return parse(t, "{container: {volumeMounts: [{name: "+name+"}]}}")
	}
	volumes, err := volumesOf(spec, mounting("config"))
	require.NoError(t, err)
	assert.Equal(t, []any{parse(t, "{name: config, configMap: {name: c}}")}, volumes)
	for _, name := range []string{"claim", "work"} {
		_, err := volumesOf(spec, mounting(name))
		require.ErrorContains(t, err, `volume "`+name+`" is a PersistentVolumeClaim of the Workflow`)
	}
	own := mounting("claim")
	own["volumes"] = []any{map[string]any{"name": "claim"}}
	_, err = volumesOf(spec, own)
	require.NoError(t, err)
}

func TestAStepInEveryClusterWaitsForAPlacementThatSelectsOneAndSaysSo(t *testing.T) {
	s := waiting(t)
	s.set.tasks["parent-1"]["plugin"] = parse(t, "{multicluster: {placement: fleet, all: true, container: {image: busybox}}}")
	s.decided = func(string) ([]string, error) { return nil, nil }
	next := decide(s)
	assert.Empty(t, next.undecided)
	assert.Equal(t, taskWithin, next.within)
	s.now = s.now.Add(taskWithin)
	next = decide(s)
	assert.Equal(t, []string{"one: fleet"}, next.undecided)
	assert.Equal(t, tellAgain, next.within)
}

func TestOfAStepInEveryClusterNothingIsReadBeforeItIsKnownHowItEnds(t *testing.T) {
	s := waiting(t)
	s.set.tasks["parent-1"]["plugin"] = parse(t, "{multicluster: {placement: fleet, all: true, container: {image: busybox}}}")
	s.begun(t, phaseSucceeded).whole = nil
	assert.Empty(t, decide(s).read)
	s.begun(t, phaseFailed).whole = nil
	assert.Len(t, decide(s).read, 2)
}

func TestAStepByReferenceHasNoStandardOutput(t *testing.T) {
	s := waiting(t)
	s.set.tasks["parent-1"]["plugin"] = parse(t, "{multicluster: {cluster: a, templateRef: {name: other, template: main}}}")
	assert.Empty(t, decide(s).results)
	s.parent.spec["templates"] = []any{map[string]any{"steps": "{{steps.one.outputs.result}}"}}
	assert.Contains(t, decide(s).results["parent-1"].Message, "outputs.result is not known of a step that refers to a template")
}

func TestANodeThatWaitsForALockIsNotWithoutItsTask(t *testing.T) {
	s := waiting(t)
	assert.Len(t, s.parent.open(), 1)
	s.parent.node("parent-1")["synchronizationStatus"] = map[string]any{"waiting": "ns/Semaphore/x"}
	assert.Empty(t, s.parent.open())
}

func TestAResultThatIsTooLargeIsAnError(t *testing.T) {
	raw, err := (&result{Phase: phaseSucceeded, Message: strings.Repeat("x", maxResultBytes)}).encode()
	require.NoError(t, err)
	assert.Contains(t, string(raw), `"phase":"Error","message":"the outputs of this step have`)
	raw, err = (*result)(nil).encode()
	require.NoError(t, err)
	assert.Equal(t, "null", string(raw))
}

func TestAChildIsOfTheNodeThatStartedAtThatTime(t *testing.T) {
	s := waiting(t)
	c := s.begun(t, "Running")
	assert.True(t, s.isOfOpenNode(c))
	s.parent.node("parent-1")["startedAt"] = "2026-01-02T16:04:05Z"
	assert.False(t, s.isOfOpenNode(c), "it is of an earlier try")
}

func TestADeletedChildStaysUntilArgoHasItsResult(t *testing.T) {
	s := waiting(t)
	c := s.begun(t, "Succeeded")
	now := metav1.Now()
	c.SetDeletionTimestamp(&now)
	var p plan
	p.decideChild(s, c)
	assert.Empty(t, p.release, "Argo has taken the task back, and may hand it out again")
	s.parent.node("parent-1")["phase"] = "Succeeded"
	p.decideChild(s, c)
	assert.Len(t, p.release, 1)
}

func TestACacheKeepsOfTasksOnlyThoseOfSteps(t *testing.T) {
	set := newTaskSet()
	set.Object["spec"] = parse(t, "{tasks: {a: {http: {url: x}}, b: {plugin: {multicluster: {}}}}}")
	trimmed, err := trimTaskSet(set)
	require.NoError(t, err)
	got := taskSetOf(trimmed.(*unstructured.Unstructured))
	assert.True(t, got.hasOthers)
	assert.Len(t, got.tasks, 1)
	assert.NotContains(t, set.Object["spec"].(map[string]any)["tasks"].(map[string]any)["a"], "http")
	again, err := trimTaskSet(trimmed)
	require.NoError(t, err)
	assert.Equal(t, trimmed, again)
}

func TestATaskThatArgoDoesNotWriteIsTold(t *testing.T) {
	for name, tc := range map[string]struct {
		change  func(*snapshot)
		overdue int
		again   time.Duration
	}{
		"not before Argo has had the time":                             {change: func(s *snapshot) { s.now = s.now.Add(10 * time.Second) }, again: 20 * time.Second},
		"after it":                                                     {change: func(*snapshot) {}, overdue: 1, again: tellAgain},
		"also without a task set":                                      {change: func(s *snapshot) { s.set = nil }, overdue: 1, again: tellAgain},
		"not for a task that is there":                                 {change: func(s *snapshot) { delete(s.open, "parent-2") }},
		"not where no step goes elsewhere":                             {change: func(s *snapshot) { s.parent.spec = map[string]any{} }},
		"not where the Workflow is gone":                               {change: func(s *snapshot) { s.parent = nil }},
		"not for a node that has ended, which the cache does not show": {change: func(s *snapshot) { s.parent.node("parent-2")["phase"] = "Error" }},
	} {
		s := waiting(t)
		s.parent.spec = parse(t, "{templates: [{name: one, plugin: {multicluster: {cluster: cluster1}}}]}")
		s.open = map[string]string{"parent-1": now, "parent-2": now}
		s.parent.nodes["parent-2"] = parse(t, "{type: Plugin, phase: Pending}")
		if name != "not before Argo has had the time" {
			s.now = s.now.Add(time.Minute)
		}
		tc.change(s)
		if s.set == nil {
			delete(s.open, "parent-1")
		}
		next := decide(s)
		assert.Len(t, next.overdue, tc.overdue, name)
		assert.Equal(t, tc.again, next.within, name)
	}
}

func TestANodeWhoseStepHasRunDoesNotWaitForItsTask(t *testing.T) {
	s := waiting(t)
	trimmed, err := trimParent(withSteps(t, s.parent.Unstructured))
	require.NoError(t, err)
	read := func() map[string]string {
		r := &Reconciler{parents: fake.NewClientBuilder().WithObjects(trimmed.(client.Object)).Build()}
		require.NoError(t, r.readOpen(t.Context(), s, client.ObjectKeyFromObject(s.parent)))
		return s.open
	}
	assert.Equal(t, map[string]string{"parent-1": now}, read())
	s.begun(t, phaseSucceeded)
	assert.Empty(t, read())
	s.set = nil
	assert.Len(t, read(), 1, "nobody could be given its result")
}

// withSteps gives the Workflow a template whose steps run in another cluster.
func withSteps(t *testing.T, wf *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	wf.Object["spec"] = parse(t, `{templates: [{name: main, steps: [[{name: one, inline: {plugin: {multicluster: {cluster: cluster1}}}}]]}]}`)
	return wf
}

func TestATaskWhoseContentIsDroppedIsAnError(t *testing.T) {
	s := waiting(t)
	pruned := s.set.DeepCopy()
	require.NoError(t, unstructured.SetNestedMap(pruned.Object, map[string]any{}, "spec", "tasks", "parent-1", "plugin"))
	kept, err := trimTaskSet(pruned)
	require.NoError(t, err)
	s.set = taskSetOf(kept.(*unstructured.Unstructured))
	next := decide(s)
	require.Contains(t, next.results, "parent-1")
	assert.Equal(t, phaseError, next.results["parent-1"].Phase)
	assert.Contains(t, next.results["parent-1"].Message, "install the CustomResourceDefinition")
}

func TestTheCacheOfParentsKnowsWhichNodesWait(t *testing.T) {
	wf := withSteps(t, waiting(t).parent.Unstructured)
	nodes := wf.Object["status"].(map[string]any)["nodes"].(map[string]any)
	nodes["parent-2"] = parse(t, "{type: Plugin, phase: Succeeded, startedAt: "+now+"}")
	nodes["parent-3"] = parse(t, "{type: Pod, phase: Pending, startedAt: "+now+"}")
	trimmed, err := trimParent(wf)
	require.NoError(t, err)
	assert.Equal(t, view{UID: "u1", Open: map[string]string{"parent-1": now}}, readView(trimmed.(*unstructured.Unstructured)))

	wf.Object["spec"] = map[string]any{}
	trimmed, err = trimParent(wf)
	require.NoError(t, err)
	assert.Equal(t, view{UID: "u1"}, readView(trimmed.(*unstructured.Unstructured)), "no step of it goes elsewhere")
}

func TestAChildWhoseKeysAreRemovedStaysThatOfItsStep(t *testing.T) {
	for name, remove := range map[string]func(*unstructured.Unstructured){
		"the label":      func(wf *unstructured.Unstructured) { wf.SetLabels(map[string]string{contract.LabelEnable: "true"}) },
		"the annotation": func(wf *unstructured.Unstructured) { wf.SetAnnotations(nil) },
	} {
		wf := waiting(t).begun(t, "Running").DeepCopy()
		remove(wf)
		trimmed, err := hubworkflow.Trim(wf)
		require.NoError(t, err)
		assert.Equal(t, "parent", parentNameOf(trimmed.(client.Object)), name)
		wf.SetFinalizers(nil)
		assert.Empty(t, parentNameOf(wf), "one that a user has made of it, without %s", name)
	}
}

func TestAChangeOfAChildConcernsItsParent(t *testing.T) {
	for name, tc := range map[string]struct {
		before, change func(*unstructured.Unstructured)
		want           bool
	}{
		"its progress does not": {change: func(wf *unstructured.Unstructured) { wf.SetResourceVersion("2") }},
		"its end does": {want: true, change: func(wf *unstructured.Unstructured) {
			hash, err := contract.StatusHash(wf.GetUID(), map[string]any{"phase": "Failed"})
			require.NoError(t, err)
			wf.SetAnnotations(map[string]string{contract.AnnotationStatusHash: hash})
			wf.Object["status"] = map[string]any{"phase": "Failed"}
		}},
		"its deletion does": {want: true, change: deleted},
		"that another finalizer of a deleted one is gone does": {want: true,
			before: func(wf *unstructured.Unstructured) {
				deleted(wf)
				wf.SetFinalizers([]string{contract.FinalizerStep, contract.FinalizerDispatch})
			},
			change: func(wf *unstructured.Unstructured) { wf.SetFinalizers([]string{contract.FinalizerStep}) }},
	} {
		before := waiting(t).begun(t, "Running").DeepCopy()
		if tc.before != nil {
			tc.before(before)
		}
		after := before.DeepCopy()
		tc.change(after)
		assert.Equal(t, tc.want, childChanged.Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after}), name)
	}
}

func deleted(wf *unstructured.Unstructured) {
	now := metav1.Now()
	wf.SetDeletionTimestamp(&now)
}
