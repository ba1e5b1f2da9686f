package dispatch

import (
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/jsonpath"
	workv1 "open-cluster-management.io/api/work/v1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func payloadOf(t *testing.T, work *workv1.ManifestWork) *unstructured.Unstructured {
	t.Helper()
	require.Len(t, work.Spec.Workload.Manifests, 1)
	payload := &unstructured.Unstructured{}
	require.NoError(t, payload.UnmarshalJSON(work.Spec.Workload.Manifests[0].Raw))
	return payload
}

func TestTheRemoteWorkflowSaysWhatRunsWhere(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithAssignment(cluster))
	rw := newRemoteWorkflow(wf, gen.HubID, cluster, v1alpha1.ReportingAgent)
	assert.Equal(t, &v1alpha1.RemoteWorkflow{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: cluster, Name: nameOf(wf),
			Labels:     map[string]string{contract.LabelWorkflowUID: string(wf.GetUID())},
			Finalizers: []string{contract.FinalizerDispatch},
		},
		Spec: v1alpha1.RemoteWorkflowSpec{
			HubID:       gen.HubID,
			WorkflowRef: v1alpha1.WorkflowReference{Namespace: gen.Namespace, Name: "hello", UID: wf.GetUID()},
			Remote:      v1alpha1.RemoteReference{Namespace: gen.Namespace, Name: "hello"},
			Attempt:     1,
			Reporting:   v1alpha1.ReportingAgent,
		},
	}, rw)
}

func TestTheManifestWorkIsCreateOnlyAndOwnedByTheRemoteWorkflow(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithAssignment(cluster))
	rw := gen.RemoteWorkflow(wf, cluster)
	work, err := newManifestWork(wf, rw)
	require.NoError(t, err)

	assert.Equal(t, cluster, work.Namespace)
	assert.Equal(t, rw.Name, work.Name)
	assert.Equal(t, map[string]string{contract.LabelWorkflowUID: string(wf.GetUID())}, work.Labels,
		"not the addon framework's label: it would delete the work")
	assert.Equal(t, []metav1.OwnerReference{{
		APIVersion: "workflow.open-cluster-management.io/v1alpha1", Kind: "RemoteWorkflow", Name: rw.Name, UID: rw.UID,
	}}, work.OwnerReferences)
	assert.Equal(t, map[string]string{contract.AnnotationHubNamespace: gen.Namespace, contract.AnnotationHubName: "hello"}, work.Annotations)

	require.Len(t, work.Spec.ManifestConfigs, 1)
	config := work.Spec.ManifestConfigs[0]
	assert.Equal(
		t,
		workv1.ResourceIdentifier{Group: "argoproj.io", Resource: "workflows", Namespace: gen.Namespace, Name: "hello"},
		config.ResourceIdentifier,
	)
	assert.Equal(t, &workv1.UpdateStrategy{Type: workv1.UpdateStrategyTypeCreateOnly}, config.UpdateStrategy)
	assert.Nil(t, work.Spec.DeleteOption, "the copy goes with its ManifestWork")

	want, err := contract.Payload(wf, rw)
	require.NoError(t, err)
	payload := payloadOf(t, work)
	assert.Equal(t, want, payload)
	assert.NotContains(t, payload.Object, "status")
}

func TestFeedbackIsWatchedWhereItIsAllThatTheHubLearns(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithAssignment(cluster))
	for reporting, want := range map[v1alpha1.Reporting]workv1.FeedbackScrapeType{
		v1alpha1.ReportingAgent:    workv1.FeedbackPollType,
		v1alpha1.ReportingFeedback: workv1.FeedbackWatchType,
	} {
		config := manifestConfig(gen.RemoteWorkflow(wf, cluster, gen.WithReporting(reporting)))
		assert.Equal(t, want, config.FeedbackScrapeType, reporting)
	}
}

// The work agent reads the paths with the library that is used here.
func TestFeedbackReadsTheCopysIdentityAndStatus(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithAssignment(cluster))
	remote := gen.Copy(wf, gen.RemoteWorkflow(wf, cluster), gen.WithStatus("Succeeded", map[string]any{
		"progress": "1/1", "message": "done", "startedAt": "2026-01-02T15:04:05Z", "finishedAt": "2026-01-02T15:05:05Z", "nodes": map[string]any{},
	}))
	values := map[string]any{}
	for _, path := range feedback() {
		parser := jsonpath.New(path.Name).AllowMissingKeys(true)
		require.NoError(t, parser.Parse("{"+path.Path+"}"), path.Path)
		found, err := parser.FindResults(remote.Object)
		require.NoError(t, err)
		require.Len(t, found, 1)
		require.Len(t, found[0], 1, path.Path)
		values[path.Name] = found[0][0].Interface()
	}
	assert.Equal(t, map[string]any{
		"uid": string(remote.GetUID()), "hubUID": string(wf.GetUID()), "phase": "Succeeded", "progress": "1/1", "message": "done",
		"startedAt": "2026-01-02T15:04:05Z", "finishedAt": "2026-01-02T15:05:05Z",
	}, values)
}

func TestTheCompleteRule(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithAssignment(cluster))
	rw := gen.RemoteWorkflow(wf, cluster)
	rule := completeRule(rw)
	assert.Equal(t, workv1.WorkComplete, rule.Condition)
	assert.Equal(t, workv1.CelConditionExpressionsType, rule.Type)

	copied := func(mods ...gen.Mod) *unstructured.Unstructured { return gen.Copy(wf, rw, mods...) }
	bare := gen.Workflow("hello", gen.WithStatus("Succeeded"))
	tests := map[string]struct {
		object *unstructured.Unstructured
		want   bool
	}{
		"it succeeded":             {copied(gen.WithStatus("Succeeded")), true},
		"it failed":                {copied(gen.WithStatus("Failed")), true},
		"it ended in an error":     {copied(gen.WithStatus("Error")), true},
		"it runs":                  {copied(gen.WithStatus("Running")), false},
		"it has no status":         {copied(), false},
		"it has no phase":          {copied(withStatus(map[string]any{"nodes": map[string]any{}})), false},
		"it has no annotations":    {bare, false},
		"it has other annotations": {gen.Workflow("hello", gen.WithStatus("Succeeded"), gen.WithAnnotations(map[string]string{"a": "b"})), false},
		"another Workflow's copy": {
			copied(gen.WithStatus("Succeeded"), gen.WithAnnotations(map[string]string{contract.AnnotationHubUID: "another"})),
			false,
		},
		"another attempt's copy": {
			copied(gen.WithStatus("Succeeded"), gen.WithAnnotations(map[string]string{contract.AnnotationAttempt: "2"})),
			false,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.want, holds(t, rule.CelExpressions, test.object))
		})
	}
}

func TestTheCompleteRuleSaysWhetherItIsComplete(t *testing.T) {
	rule := completeRule(gen.RemoteWorkflow(gen.Workflow("hello"), cluster))
	assert.Empty(t, rule.Message, "the work agent would say it in either case")
	for result, want := range map[bool]string{true: "the Workflow has finished", false: "the Workflow has not finished"} {
		assert.Equal(t, want, evaluate(t, rule.MessageExpression, map[string]any{"object": map[string]any{}, "result": result}))
	}
}

// holds does as the work agent does: all expressions must be true. An error counts as false there, and is none here.
func holds(t *testing.T, expressions []string, object *unstructured.Unstructured) bool {
	t.Helper()
	for _, expression := range expressions {
		if evaluate(t, expression, map[string]any{"object": object.Object}) != true {
			return false
		}
	}
	return true
}

func evaluate(t *testing.T, expression string, variables map[string]any) any {
	t.Helper()
	env, err := cel.NewEnv(cel.Variable("object", cel.DynType), cel.Variable("result", cel.BoolType))
	require.NoError(t, err)
	ast, issues := env.Compile(expression)
	require.NoError(t, issues.Err())
	program, err := env.Program(ast)
	require.NoError(t, err)
	out, _, err := program.Eval(variables)
	require.NoError(t, err, expression)
	return out.Value()
}

func TestAWorkflowThatCannotTravelIsTheUsersFault(t *testing.T) {
	tests := map[string]struct {
		wf   *unstructured.Unstructured
		want string
	}{
		"it is too large": {
			gen.Workflow("hello", gen.WithSpecField(strings.Repeat("x", 512_000), "entrypoint")), "exceeds the 512000 limit",
		},
		"its spec is no object":        {gen.Workflow("hello", withSpec("hello")), "spec"},
		"its podMetadata is no object": {gen.Workflow("hello", gen.WithSpecField("hello", "podMetadata")), "podMetadata"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := newManifestWork(test.wf, gen.RemoteWorkflow(test.wf, cluster))
			require.ErrorContains(t, err, test.want)
		})
	}
}
