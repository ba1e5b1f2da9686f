package delivery

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/jsonpath"
	workv1 "open-cluster-management.io/api/work/v1"
	workvalidator "open-cluster-management.io/sdk-go/pkg/apis/work/v1/validator"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/manifestwork"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// sized is a payload of so many bytes.
func sized(name string, bytes int, priority int64, mods ...gen.Mod) payload {
	return payload{rw: attempt(name, mods...), raw: make([]byte, bytes), priority: priority}
}

// as gives it an executor.
func as(account string, p payload) payload {
	p.executor = types.NamespacedName{Namespace: "team", Name: account}
	return p
}

func TestWhatTravelsTogether(t *testing.T) {
	const limit = 256 << 10
	many := func(count int) []payload {
		var out []payload
		for i := range count {
			out = append(out, sized(fmt.Sprintf("wf%03d", i), 100, 0))
		}
		return out
	}
	sameName := sized("a", 1, 0, gen.WithUID("another"))
	tests := map[string]struct {
		payloads []payload
		want     [][]string
	}{
		"nothing":                 {nil, nil},
		"what fits":               {[]payload{sized("a", limit/2, 0), sized("b", limit/2, 0)}, [][]string{{"a", "b"}}},
		"what does not fit":       {[]payload{sized("a", limit/2, 0), sized("b", limit/2+1, 0)}, [][]string{{"a"}, {"b"}}},
		"what does not fit alone": {[]payload{sized("a", 1, 0), sized("b", limit+1, 0), sized("c", 1, 0)}, [][]string{{"a"}, {"b"}, {"c"}}},
		"what waits for a name":   {[]payload{sized("a", 1, 0), sized("b", 1, 0), sameName, sized("c", 1, 0)}, [][]string{{"a", "b"}, {"a", "c"}}},
		"by priority, and then as given": {
			[]payload{sized("a", 1, 0), sized("b", 1, 5), sized("c", 1, -1), sized("d", 1, 5), sized("e", 1, 0)}, [][]string{{"b", "d", "a", "e", "c"}},
		},
		"priorities without bounds": {
			[]payload{sized("a", 1, math.MinInt64), sized("b", 1, math.MaxInt64), sized("c", 1, 0)}, [][]string{{"b", "c", "a"}},
		},
		"what has one executor, between others": {
			[]payload{sized("a", 1, 0), as("x", sized("b", 1, 0)), as("y", sized("c", 1, 0)), as("x", sized("d", 1, 0)), sized("e", 1, 0)},
			[][]string{{"a", "e"}, {"b", "d"}, {"c"}},
		},
		"what has another executor, by priority": {
			[]payload{sized("a", 1, 0), as("x", sized("b", 1, 0)), as("x", sized("c", 1, 5))}, [][]string{{"c", "b"}, {"a"}},
		},
		"what does not fit, whatever others send": {
			[]payload{sized("a", limit, 0), as("x", sized("b", limit/2, 0)), sized("c", 1, 0), as("x", sized("d", limit/2, 0))},
			[][]string{{"a"}, {"b", "d"}, {"c"}},
		},
		"each to a cluster without agent alone": {
			[]payload{sized("a", 1, 0), sized("b", 1, 0, withoutAgent()), sized("c", 1, 0, withoutAgent()), sized("d", 1, 0), sized("e", 1, 0)},
			[][]string{{"a"}, {"b"}, {"c"}, {"d", "e"}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got [][]string
			for _, batch := range batches(test.payloads) {
				var names []string
				for _, p := range batch {
					names = append(names, p.rw.Spec.Remote.Name)
				}
				got = append(got, names)
			}
			assert.Equal(t, test.want, got)
		})
	}
	var sizes []int
	for _, batch := range batches(many(250)) {
		sizes = append(sizes, len(batch))
	}
	assert.Equal(t, []int{100, 100, 50}, sizes)
}

// payloadsOf returns what travels of the Workflows of these names.
func payloadsOf(t *testing.T, mods []gen.Mod, names ...string) []payload {
	t.Helper()
	var out []payload
	for _, name := range names {
		wf, rw := waiting(name, mods...)
		p, err := newPayload(hubworkflow.Of(wf), rw)
		require.NoError(t, err)
		out = append(out, p)
	}
	return out
}

func TestADeliveryLeavesBehindWhatItHasCreatedAndUpdatesNothing(t *testing.T) {
	batch := payloadsOf(t, nil, "a", "b")
	work := newWork(cluster1, batch)
	assert.Equal(t, cluster1, work.Namespace)
	assert.Empty(t, work.Name)
	assert.Equal(t, "workflows-", work.GenerateName, "a name that is never used again")
	assert.Equal(t, map[string]string{contract.LabelDelivery: contract.DeliveryGated}, work.Labels,
		"not the addon framework's label: it would delete the work")
	assert.Empty(t, work.OwnerReferences)
	assert.Equal(t, &workv1.DeleteOption{PropagationPolicy: workv1.DeletePropagationPolicyTypeOrphan}, work.Spec.DeleteOption)
	assert.Equal(t, []string{"a", "b"}, namesIn(work))

	require.Len(t, work.Spec.ManifestConfigs, 2)
	for i, name := range []string{"a", "b"} {
		assert.Equal(t, workv1.ManifestConfigOption{
			ResourceIdentifier: workv1.ResourceIdentifier{Group: "argoproj.io", Resource: "workflows", Namespace: gen.Namespace, Name: name},
			UpdateStrategy:     &workv1.UpdateStrategy{Type: workv1.UpdateStrategyTypeCreateOnly},
		}, work.Spec.ManifestConfigs[i], "by name: older work agents take a wildcard for Update; and nothing is fed back")
		wf, rw := waiting(name)
		want, err := contract.Payload(wf, rw)
		require.NoError(t, err)
		travels := &unstructured.Unstructured{}
		require.NoError(t, travels.UnmarshalJSON(work.Spec.Workload.Manifests[i].Raw))
		assert.Equal(t, want, travels)
		assert.Equal(t, contract.InstanceIDGate, travels.GetLabels()[contract.LabelInstanceID])
		assert.NotContains(t, travels.Object, "status")
	}
}

func TestADeliveryToAClusterWithoutAgentCarriesOneWorkflowAndBringsItsStatusBack(t *testing.T) {
	batch := payloadsOf(t, []gen.Mod{withoutAgent()}, "a")
	work, rw := newWork(cluster1, batch), batch[0].rw
	assert.Equal(t, rw.Name, work.Name)
	assert.Empty(t, work.GenerateName)
	assert.Equal(t, map[string]string{
		contract.LabelDelivery: contract.DeliveryUngated, contract.LabelWorkflowUID: string(rw.Spec.WorkflowRef.UID),
	}, work.Labels)
	assert.Nil(t, work.Spec.DeleteOption, "the remote Workflow goes with it")
	require.Len(t, work.Spec.ManifestConfigs, 1)
	config := work.Spec.ManifestConfigs[0]
	assert.Equal(t, &workv1.UpdateStrategy{Type: workv1.UpdateStrategyTypeCreateOnly}, config.UpdateStrategy)
	assert.Equal(t, workv1.FeedbackWatchType, config.FeedbackScrapeType)
	assert.Len(t, config.ConditionRules, 1)
	travels := &unstructured.Unstructured{}
	require.NoError(t, travels.UnmarshalJSON(work.Spec.Workload.Manifests[0].Raw))
	assert.NotContains(t, travels.GetLabels(), contract.LabelInstanceID, "nobody would open the gate")
}

func TestANamespaceIsCreatedWithItsWorkflowsAndStays(t *testing.T) {
	batch := payloadsOf(t, nil, "a", "b", "c")
	batch[0].createNamespace, batch[1].createNamespace = true, true
	work := newWork(cluster1, batch)
	require.Len(t, work.Spec.Workload.Manifests, 4, "it is there once")
	require.Len(t, work.Spec.ManifestConfigs, 4)
	assert.JSONEq(t, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"`+gen.Namespace+`"}}`, string(work.Spec.Workload.Manifests[0].Raw))
	assert.Equal(t, workv1.ManifestConfigOption{
		ResourceIdentifier: workv1.ResourceIdentifier{Resource: "namespaces", Name: gen.Namespace},
		UpdateStrategy:     &workv1.UpdateStrategy{Type: workv1.UpdateStrategyTypeCreateOnly},
	}, work.Spec.ManifestConfigs[0])
	assert.Equal(t, &workv1.DeleteOption{PropagationPolicy: workv1.DeletePropagationPolicyTypeOrphan}, work.Spec.DeleteOption)
	assert.Equal(t, 1, manifestwork.Items(work)[0].Position)

	batch = payloadsOf(t, []gen.Mod{withoutAgent()}, "a")
	batch[0].createNamespace = true
	work = newWork(cluster1, batch)
	assert.Equal(t, &workv1.DeleteOption{
		PropagationPolicy: workv1.DeletePropagationPolicyTypeSelectivelyOrphan,
		SelectivelyOrphan: &workv1.SelectivelyOrphan{OrphaningRules: []workv1.OrphaningRule{{Resource: "namespaces", Name: gen.Namespace}}},
	}, work.Spec.DeleteOption, "the Workflow goes with it, the namespace stays")
}

func TestOCMTakesWhatIsDelivered(t *testing.T) {
	var names []string
	for i := range maxItems {
		names = append(names, fmt.Sprintf("wf%03d", i))
	}
	for name, work := range map[string]*workv1.ManifestWork{
		"as many as go together": newWork(cluster1, payloadsOf(t, nil, names...)),
		"to a cluster without":   newWork(cluster1, payloadsOf(t, []gen.Mod{withoutAgent()}, "a")),
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, workvalidator.ManifestValidator.ValidateManifests(work.Spec.Workload.Manifests))
		})
	}
}

func TestAWorkflowThatCannotTravelIsTheUsersFault(t *testing.T) {
	tests := map[string]struct {
		mod  gen.Mod
		want string
	}{
		"it is too large":              {gen.WithSpecField(strings.Repeat("x", 512_000), "entrypoint"), "does not fit a ManifestWork"},
		"its podMetadata is no object": {gen.WithSpecField("hello", "podMetadata"), "podMetadata"},
		"its spec is no object": {
			func(obj client.Object) { obj.(*unstructured.Unstructured).Object["spec"] = "hello" }, "spec",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wf, rw := waiting("hello")
			test.mod(wf)
			_, err := newPayload(hubworkflow.Of(wf), rw)
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestTheLargestWorkflowThatTheHubTakesTravels(t *testing.T) {
	wf, rw := waiting("hello", withoutAgent())
	wf.SetAnnotations(nil) // not assigned yet, or its size is not known
	size := func() int64 { return hubworkflow.Of(wf).PayloadBytes }
	gen.WithSpecField(strings.Repeat("x", int(hubworkflow.MaxPayloadBytes-size())+len("main")), "entrypoint")(wf)
	require.EqualValues(t, hubworkflow.MaxPayloadBytes, size())
	_, err := newPayload(hubworkflow.Of(wf), rw)
	require.NoError(t, err)
}

// The work agent reads the paths with the library that is used here.
func TestFeedbackReadsIdentityAndStatusOfTheRemoteWorkflow(t *testing.T) {
	wf, rw := waiting("hello", withoutAgent())
	remote := gen.Copy(wf, rw, gen.WithStatus("Succeeded", map[string]any{
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
	wf, rw := waiting("hello", withoutAgent())
	rule := completeRule(rw)
	assert.Equal(t, workv1.WorkComplete, rule.Condition)
	assert.Equal(t, workv1.CelConditionExpressionsType, rule.Type)
	assert.Empty(t, rule.Message, "the work agent would say it in either case")

	remote := func(mods ...gen.Mod) *unstructured.Unstructured { return gen.Copy(wf, rw, mods...) }
	tests := map[string]struct {
		object *unstructured.Unstructured
		want   bool
	}{
		"it succeeded":             {remote(gen.WithStatus("Succeeded")), true},
		"it failed":                {remote(gen.WithStatus("Failed")), true},
		"it ended in an error":     {remote(gen.WithStatus("Error")), true},
		"it runs":                  {remote(gen.WithStatus("Running")), false},
		"it has no status":         {remote(), false},
		"it has no annotations":    {gen.Workflow("hello", gen.WithStatus("Succeeded")), false},
		"it has other annotations": {gen.Workflow("hello", gen.WithStatus("Succeeded"), gen.WithAnnotations(map[string]string{"a": "b"})), false},
		"it is of another":         {remote(gen.WithStatus("Succeeded"), gen.WithAnnotations(map[string]string{contract.AnnotationHubUID: "another"})), false},
		"it is another attempt":    {remote(gen.WithStatus("Succeeded"), gen.WithAnnotations(map[string]string{contract.AnnotationAttempt: "2"})), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			// As the work agent does: all expressions must be true. An error counts as false there, and is none here.
			holds := true
			for _, expression := range rule.CelExpressions {
				holds = holds && evaluate(t, expression, map[string]any{"object": test.object.Object}) == true
			}
			assert.Equal(t, test.want, holds)
		})
	}
	for result, want := range map[bool]string{true: "the Workflow has finished", false: "the Workflow has not finished"} {
		assert.Equal(t, want, evaluate(t, rule.MessageExpression, map[string]any{"object": map[string]any{}, "result": result}))
	}
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

func TestOfAnAttemptOnlyItsOwnWayOfReportingCounts(t *testing.T) {
	for reporting, want := range map[v1alpha1.Reporting]int{v1alpha1.ReportingAgent: 0, v1alpha1.ReportingFeedback: 1} {
		config := configOf(attempt("a", gen.WithReporting(reporting)))
		assert.Len(t, config.FeedbackRules, want, reporting)
		assert.Len(t, config.ConditionRules, want, reporting)
	}
}
