package hubworkflow_test

import (
	"math"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// withStatus replaces the status by whatever.
func withStatus(status any) gen.Mod {
	return func(obj client.Object) { obj.(*unstructured.Unstructured).Object["status"] = status }
}

// trim makes a Workflow what the cache keeps of it.
func trim(t *testing.T, wf *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	trimmed, err := hubworkflow.Trim(wf.DeepCopy())
	require.NoError(t, err)
	return trimmed.(*unstructured.Unstructured)
}

// eachWay calls check with the Workflow as it is, and as the cache has it.
func eachWay(t *testing.T, wf *unstructured.Unstructured, check func(*hubworkflow.Workflow)) {
	t.Helper()
	check(hubworkflow.Of(wf))
	check(hubworkflow.Of(trim(t, wf)))
}

func TestIsForeign(t *testing.T) {
	// What a typed client sends with a Workflow that has no status.
	typedEmpty, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&wfv1.Workflow{})
	require.NoError(t, err)
	copied := gen.Workflow("original", gen.WithHubStatus("Succeeded"))
	tests := map[string]struct {
		wf   *unstructured.Unstructured
		want bool
	}{
		"no status is nobody's":                      {gen.Workflow("hello"), false},
		"an empty status is nobody's":                {gen.Workflow("hello", withStatus(map[string]any{})), false},
		"a typed client's empty status is nobody's":  {gen.Workflow("hello", withStatus(typedEmpty["status"])), false},
		"a status of empty fields is nobody's":       {gen.Workflow("hello", withStatus(map[string]any{"phase": "", "nodes": map[string]any{}, "conditions": []any{}, "startedAt": nil})), false},
		"a phase that nobody vouches for is foreign": {gen.Workflow("hello", gen.WithStatus("Running")), true},
		"nodes alone are foreign":                    {gen.Workflow("hello", withStatus(map[string]any{"nodes": map[string]any{"a": nil}})), true},
		"a number alone is foreign":                  {gen.Workflow("hello", withStatus(map[string]any{"estimatedDuration": int64(1)})), true},
		"a status that the hub wrote is the hub's":   {gen.Workflow("hello", gen.WithHubStatus("Running")), false},
		"a status that was changed since is foreign": {gen.Workflow("hello", gen.WithHubStatus("Running"), gen.WithStatus("Succeeded")), true},
		"labels that say that it ran are foreign":    {gen.Workflow("hello", gen.WithHubStatus("Running"), withStatus(nil)), true},
		"so they are beside a status that waits": {gen.Workflow("hello", gen.WithHubStatus("Pending"),
			gen.WithLabels(map[string]string{contract.LabelPhase: "Failed"})), true},
		"labels that say that it waits are not": {gen.Workflow("hello", gen.WithHubStatus("Pending"), withStatus(nil)), false},
		"a status restored under another UID is foreign": {gen.Workflow("original", gen.WithUID("another"),
			gen.WithAnnotations(copied.GetAnnotations()), gen.WithStatus("Succeeded")), true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			eachWay(t, test.wf, func(wf *hubworkflow.Workflow) { assert.Equal(t, test.want, wf.IsForeign()) })
		})
	}
}

func TestHasLostStatus(t *testing.T) {
	for name, test := range map[string]struct {
		phase, completed, status string
		want                     bool
	}{
		"it is new":                       {"", "", "", false},
		"it waits":                        {"Pending", "false", "", false},
		"it ran":                          {"Running", "false", "", true},
		"it ran, and waits by its status": {"Running", "false", "Pending", true},
		"it ended":                        {"Succeeded", "true", "", true},
		"it ended, and that is all":       {"", "true", "", true},
		"it runs, and its status is so":   {"Running", "false", "Running", false},
		"its status is ahead":             {"Running", "false", "Failed", false},
	} {
		t.Run(name, func(t *testing.T) {
			wf := gen.Workflow("hello", gen.WithLabels(map[string]string{contract.LabelPhase: test.phase, contract.LabelCompleted: test.completed}))
			if test.status != "" {
				gen.WithStatus(test.status)(wf)
			}
			eachWay(t, wf, func(wf *hubworkflow.Workflow) { assert.Equal(t, test.want, wf.HasLostStatus()) })
		})
	}
}

func TestTheLastPhaseIsTheHubsOwn(t *testing.T) {
	for name, test := range map[string]struct {
		mods []gen.Mod
		want string
	}{
		"there is none":                  {nil, ""},
		"it is shown":                    {[]gen.Mod{gen.WithHubStatus("Running")}, "Running"},
		"somebody has written another":   {[]gen.Mod{gen.WithHubStatus("Running"), gen.WithStatus("Succeeded")}, "Running"},
		"somebody has erased it":         {[]gen.Mod{gen.WithHubStatus("Running"), withStatus(nil)}, "Running"},
		"somebody wrote one before":      {[]gen.Mod{gen.WithStatus("Running")}, ""},
		"a label says otherwise, before": {[]gen.Mod{gen.WithHubStatus("Running"), gen.WithLabels(map[string]string{contract.LabelPhase: "Failed"})}, "Running"},
	} {
		t.Run(name, func(t *testing.T) {
			eachWay(t, gen.Workflow("hello", test.mods...), func(wf *hubworkflow.Workflow) { assert.Equal(t, test.want, wf.LastPhase()) })
		})
	}
}

func TestHasStarted(t *testing.T) {
	const agent, feedback = v1alpha1.ReportingAgent, v1alpha1.ReportingFeedback
	recorded := gen.WithRemoteUID("remote")
	tests := map[string]struct {
		reporting v1alpha1.Reporting
		wf        []gen.Mod
		rw        []gen.Mod
		want      bool
	}{
		"nothing has been heard of it": {agent, nil, nil, false},
		"it waits":                     {agent, []gen.Mod{gen.WithHubStatus("Pending")}, nil, false},
		"it ran":                       {agent, []gen.Mod{gen.WithHubStatus("Running")}, nil, true},
		"it was claimed":               {agent, nil, []gen.Mod{recorded}, true},
		"it was claimed, and the status is erased":               {agent, []gen.Mod{gen.WithHubStatus("Running"), withStatus(nil)}, []gen.Mod{recorded}, true},
		"somebody else wrote a phase":                            {agent, []gen.Mod{gen.WithStatus("Running")}, nil, false},
		"somebody else wrote a phase over the hub's":             {agent, []gen.Mod{gen.WithHubStatus("Pending"), gen.WithStatus("Succeeded")}, nil, false},
		"without an agent, somebody else wrote a phase":          {feedback, []gen.Mod{gen.WithHubStatus("Pending"), gen.WithStatus("Running")}, nil, false},
		"without an agent, it ran":                               {feedback, []gen.Mod{gen.WithHubStatus("Running")}, nil, true},
		"without an agent, it ran, and the status is erased":     {feedback, []gen.Mod{gen.WithHubStatus("Running"), withStatus(nil)}, nil, true},
		"without an agent, it ran, and somebody wrote otherwise": {feedback, []gen.Mod{gen.WithHubStatus("Running"), gen.WithStatus("Pending")}, nil, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wf := gen.Workflow("hello", test.wf...)
			rw := gen.RemoteWorkflow(wf, "cluster1", append(test.rw, gen.WithReporting(test.reporting))...)
			eachWay(t, wf, func(wf *hubworkflow.Workflow) { assert.Equal(t, test.want, wf.HasStarted(rw)) })
		})
	}
}

func TestIsWithdrawn(t *testing.T) {
	for value, want := range map[string]bool{"true": false, "yes": false, "false": true, "": true} {
		wf := gen.Workflow("hello", gen.WithLabels(map[string]string{contract.LabelEnable: value}))
		eachWay(t, wf, func(wf *hubworkflow.Workflow) { assert.Equal(t, want, wf.IsWithdrawn(), "value %q", value) })
	}
	wf := gen.Workflow("hello")
	wf.SetLabels(nil)
	eachWay(t, wf, func(wf *hubworkflow.Workflow) { assert.True(t, wf.IsWithdrawn(), "no label") })
}

func TestAnAttemptIsNamedByItsWorkflowAndItsNumber(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithAssignment("cluster1"))
	keyOf := func(wf *unstructured.Unstructured) (key client.ObjectKey) {
		eachWay(t, wf, func(wf *hubworkflow.Workflow) { key = wf.RemoteWorkflowKey() })
		return key
	}
	assert.Equal(t, client.ObjectKeyFromObject(gen.RemoteWorkflow(wf, "cluster1")), keyOf(wf))
	second := gen.Workflow("hello", gen.WithAnnotations(map[string]string{contract.AnnotationAssigned: contract.Assignment(wf, 2, "cluster2")}))
	assert.Equal(t, client.ObjectKeyFromObject(gen.RemoteWorkflow(wf, "cluster2", gen.WithAttempt(2))), keyOf(second))
	copied := gen.Workflow("hello", gen.WithUID("another"), gen.WithAnnotations(wf.GetAnnotations()))
	assert.Empty(t, keyOf(copied).Namespace, "that of another Workflow does not count")
}

func TestAWorkflowThatNoClusterCouldRunIsRefused(t *testing.T) {
	tests := map[string]struct {
		wf         *unstructured.Unstructured
		wantReason string
		wantParts  []string
	}{
		"nothing is wrong": {gen.Workflow(strings.Repeat("x", 63)), "", nil},
		"the label has another value": {
			gen.Workflow("hello", gen.WithLabels(map[string]string{contract.LabelEnable: "True"})),
			hubworkflow.ReasonInvalidLabel, []string{contract.LabelEnable, `must be "true"`, `not "True"`, "remove the label"},
		},
		"somebody else wrote its status": {
			gen.Workflow("hello", gen.WithStatus("Running")),
			hubworkflow.ReasonForeignStatus, []string{"already has a status that this hub did not write", "restored", "create it anew"},
		},
		"its labels say that it has run, and it has no status": {
			gen.Workflow("hello", gen.WithHubStatus("Succeeded"), withStatus(nil)),
			hubworkflow.ReasonStatusLost, []string{contract.LabelPhase, contract.LabelCompleted, "restored from a backup", "create it anew", "argo resubmit"},
		},
		"the name is too long": {
			gen.Workflow(strings.Repeat("x", 64)), hubworkflow.ReasonInvalidName, []string{"64 characters", "at most 63"},
		},
		"it is too large": {
			gen.Workflow("hello", gen.WithSpecField(strings.Repeat("x", 600_000), "entrypoint")),
			hubworkflow.ReasonCannotTravel, []string{"bytes, and a ManifestWork holds at most 509952", "WorkflowTemplates"},
		},
		"its spec is no object": {
			gen.Workflow("hello", func(obj client.Object) { obj.(*unstructured.Unstructured).Object["spec"] = "hello" }),
			hubworkflow.ReasonCannotTravel, []string{"spec: want an object"},
		},
		"its podMetadata is no object": {gen.Workflow("hello", gen.WithSpecField("x", "podMetadata")), hubworkflow.ReasonCannotTravel, []string{"podMetadata"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			eachWay(t, test.wf, func(wf *hubworkflow.Workflow) {
				refused := wf.Refused(time.Time{})
				if test.wantReason == "" {
					assert.Nil(t, refused)
					return
				}
				require.NotNil(t, refused)
				assert.Equal(t, test.wantReason, refused.Reason)
				for _, part := range test.wantParts {
					assert.Contains(t, refused.Message, part)
				}
			})
		})
	}
}

func TestAWorkflowFromBeforeTheHubWasRestoredIsRefusedIfItMayHaveRunSince(t *testing.T) {
	restoredAt := gen.Time.Time
	created := func(after time.Duration, mods ...gen.Mod) *unstructured.Unstructured {
		wf := gen.Workflow("hello", mods...)
		wf.SetCreationTimestamp(metav1.NewTime(restoredAt.Add(after)))
		return wf
	}
	for name, test := range map[string]struct {
		wf         *unstructured.Unstructured
		restoredAt time.Time
		want       bool
	}{
		"it is from before, and new":          {created(-time.Second), restoredAt, true},
		"it is from before, and waits":        {created(-time.Hour, gen.WithHubStatus("Pending")), restoredAt, true},
		"it is from before, and was assigned": {created(-time.Hour, gen.WithAssignment("cluster1")), restoredAt, true},
		"it is from before, and runs":         {created(-time.Hour, gen.WithHubStatus("Running")), restoredAt, false},
		"it is from before, and ended":        {created(-time.Hour, gen.WithHubStatus("Succeeded")), restoredAt, false},
		"it came with the restoration":        {created(0), restoredAt, false},
		"it came later":                       {created(time.Second), restoredAt, false},
		"the hub was not restored":            {created(-time.Hour), time.Time{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			eachWay(t, test.wf, func(wf *hubworkflow.Workflow) {
				refused := wf.Refused(test.restoredAt)
				if !test.want {
					assert.Nil(t, refused)
					return
				}
				require.NotNil(t, refused)
				assert.Equal(t, hubworkflow.ReasonRestoredHub, refused.Reason)
				for _, part := range []string{"restored from a backup, at 2026-01-02T15:04:05Z", "may have run since", "argo resubmit"} {
					assert.Contains(t, refused.Message, part)
				}
			})
		})
	}
}

func TestTheCacheKeepsWhatDecisionsNeedAndNothingElse(t *testing.T) {
	spec := map[string]any{
		"entrypoint": "main", "priority": int64(7), "ttlStrategy": map[string]any{"secondsAfterCompletion": int64(5)},
		"templates":        []any{map[string]any{"name": "main", "script": map[string]any{"source": strings.Repeat("x", 1<<16)}}},
		"workflowMetadata": map[string]any{"labels": map[string]any{"team": "a"}},
	}
	wf := gen.Workflow("hello", gen.WithAssignment("cluster1"), gen.WithLabels(map[string]string{"mine": "kept"}),
		gen.WithAnnotations(map[string]string{"example.com/spec": strings.Repeat("x", 1<<16)}), gen.WithFinalizers("x"), gen.Deleting(),
		func(obj client.Object) { obj.(*unstructured.Unstructured).Object["spec"] = spec },
		gen.WithHubStatus("Succeeded", map[string]any{
			"message": "done", "finishedAt": "2026-01-02T15:04:05Z", "nodes": map[string]any{"a": map[string]any{"message": strings.Repeat("x", 1<<16)}},
		}))
	wf.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "kubectl"}})
	wf.SetResourceVersion("42")
	before := wf.DeepCopy()

	trimmed := trim(t, wf)
	assert.Equal(t, before, wf, "what was given is not changed")
	assert.Equal(t, trimmed, trim(t, wf), "equal input gives equal output")
	raw, err := trimmed.MarshalJSON()
	require.NoError(t, err)
	assert.Less(t, len(raw), 2048)
	assert.NotPanics(t, func() { trimmed.DeepCopy() }, "the cache copies")

	whole, kept := hubworkflow.Of(wf), hubworkflow.Of(trimmed)
	assert.Equal(t, "Succeeded", kept.Phase)
	assert.Equal(t, "done", kept.Message)
	assert.Equal(t, "2026-01-02T15:04:05Z", kept.FinishedAt)
	assert.EqualValues(t, 7, kept.Priority)
	for _, w := range []*hubworkflow.Workflow{whole, kept} {
		w.Unstructured = nil
	}
	assert.Equal(t, whole, kept)
	assert.Equal(t, wf.GetLabels(), trimmed.GetLabels())
	assert.Equal(t, wf.GetFinalizers(), trimmed.GetFinalizers())
	assert.Equal(t, wf.GetUID(), trimmed.GetUID())
	assert.Equal(t, "42", trimmed.GetResourceVersion())
	assert.NotNil(t, trimmed.GetDeletionTimestamp())
	assert.Equal(t, "cluster1", contract.AssignedCluster(trimmed))
	assert.NotContains(t, trimmed.GetAnnotations(), "example.com/spec")
}

func TestAPriorityThatArgoCannotReadIsNone(t *testing.T) {
	for value, want := range map[any]int64{
		int64(math.MaxInt32): math.MaxInt32, int64(math.MinInt32): math.MinInt32, int64(math.MaxInt32) + 1: 0, int64(math.MinInt64): 0,
		1e300: 0, 7.0: 0, "7": 0, true: 0,
	} {
		wf := gen.Workflow("hello", gen.WithSpecField(value, "priority"))
		assert.Equal(t, want, hubworkflow.Of(wf).Priority, "%v", value)
	}
}

func TestWhetherThereAreLabelsAndAnnotationsIsKnownOfTheCache(t *testing.T) {
	for name, wf := range map[string]*unstructured.Unstructured{
		"there are none":               gen.Workflow("hello", func(obj client.Object) { obj.SetLabels(nil) }),
		"there are some, none of ours": gen.Workflow("hello", gen.WithAnnotations(map[string]string{"mine": "kept"})),
	} {
		t.Run(name, func(t *testing.T) {
			hub := fakehub.New(t, nil, wf)
			require.True(t, hub.Show(wf))
			_, err := hubworkflow.Write(t.Context(), hub, hubworkflow.Of(trim(t, wf)), hubworkflow.Update{Status: map[string]any{"phase": "Running"}})
			require.NoError(t, err)
			mine, had := wf.GetAnnotations()["mine"]
			require.True(t, hub.Show(wf))
			assert.Equal(t, "Running", wf.GetLabels()[contract.LabelPhase])
			got, has := wf.GetAnnotations()["mine"]
			assert.Equal(t, had, has)
			assert.Equal(t, mine, got)
		})
	}
}

func TestWhatIsNoWorkflowIsLeftAsItIs(t *testing.T) {
	other := gen.ManagedCluster("cluster1")
	kept, err := hubworkflow.Trim(other)
	require.NoError(t, err)
	assert.Same(t, other, kept)
}

func TestThePayloadIsMeasuredOnlyBeforeTheAssignment(t *testing.T) {
	assert.Positive(t, hubworkflow.Of(gen.Workflow("hello")).PayloadBytes)
	assert.Zero(t, hubworkflow.Of(gen.Workflow("hello", gen.WithAssignment("cluster1"))).PayloadBytes, "it costs, and is of no use later")
}

func TestTheTTLStrategyThatCounts(t *testing.T) {
	own, templates := map[string]any{"secondsAfterSuccess": int64(1)}, map[string]any{"secondsAfterSuccess": int64(2)}
	stored := map[string]any{"storedWorkflowTemplateSpec": map[string]any{"ttlStrategy": templates}}
	ref := gen.WithSpecField(map[string]any{"name": "t"}, "workflowTemplateRef")
	for name, test := range map[string]struct {
		mods []gen.Mod
		want any
	}{
		"there is none":                       {nil, nil},
		"its own":                             {[]gen.Mod{gen.WithSpecField(own, "ttlStrategy")}, own},
		"that of its template":                {[]gen.Mod{ref, gen.WithHubStatus("Succeeded", stored)}, templates},
		"its own before that of its template": {[]gen.Mod{ref, gen.WithSpecField(own, "ttlStrategy"), gen.WithHubStatus("Succeeded", stored)}, own},
		"not that of a template which it does not refer to": {[]gen.Mod{gen.WithHubStatus("Succeeded", stored)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			eachWay(t, gen.Workflow("hello", test.mods...), func(wf *hubworkflow.Workflow) { assert.Equal(t, test.want, wf.TTLStrategy) })
		})
	}
}

func TestGetReadsFromWhereItIsTold(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithHubStatus("Running"))
	hub := fakehub.New(t, nil, wf)
	got, err := hubworkflow.Get(t.Context(), hub, client.ObjectKeyFromObject(wf))
	require.NoError(t, err)
	assert.Equal(t, "Running", got.Phase)
	assert.Equal(t, client.ObjectKeyFromObject(wf), got.Key())
	hub.Lag("get Workflow")
	_, err = hubworkflow.Get(t.Context(), hub, client.ObjectKeyFromObject(wf))
	require.Error(t, client.IgnoreAlreadyExists(err))
	require.NoError(t, client.IgnoreNotFound(err), "that there is none is told from an error")
	_, err = hubworkflow.Get(t.Context(), hub.Live, client.ObjectKeyFromObject(wf))
	require.NoError(t, err)
}

func TestACondition(t *testing.T) {
	assert.Equal(t, map[string]any{"type": "Scheduled", "status": "False", "message": "no"},
		hubworkflow.Condition(hubworkflow.ConditionScheduled, metav1.ConditionFalse, "n\xffo"), "an API server takes no other text")
}
