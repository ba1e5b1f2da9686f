package hubcopy_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestIsForeign(t *testing.T) {
	// What a typed client sends with a Workflow that has no status.
	typedEmpty, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&wfv1.Workflow{})
	require.NoError(t, err)
	copied := gen.Workflow("original", gen.WithHubStatus("Succeeded"))
	erased := func(obj client.Object) { obj.(*unstructured.Unstructured).Object["status"] = nil }
	withStatus := func(status any) *unstructured.Unstructured {
		wf := gen.Workflow("hello")
		wf.Object["status"] = status
		return wf
	}
	tests := map[string]struct {
		wf   *unstructured.Unstructured
		want bool
	}{
		"no status is nobody's":                     {gen.Workflow("hello"), false},
		"an empty status is nobody's":               {withStatus(map[string]any{}), false},
		"a typed client's empty status is nobody's": {withStatus(typedEmpty["status"]), false},
		"a status of empty fields is nobody's": {
			withStatus(map[string]any{"phase": "", "nodes": map[string]any{}, "conditions": []any{}, "startedAt": nil}),
			false,
		},
		"a phase that nobody vouches for is foreign": {gen.Workflow("hello", gen.WithStatus("Running")), true},
		"nodes alone are foreign":                    {withStatus(map[string]any{"nodes": map[string]any{"a": nil}}), true},
		"a number alone is foreign":                  {withStatus(map[string]any{"estimatedDuration": int64(1)}), true},
		"a status that the hub wrote is the hub's":   {gen.Workflow("hello", gen.WithHubStatus("Running")), false},
		"a status that was changed since is foreign": {gen.Workflow("hello", gen.WithHubStatus("Running"), gen.WithStatus("Succeeded")), true},
		"labels that say that it ran are foreign":    {gen.Workflow("hello", gen.WithHubStatus("Running"), erased), true},
		"so they are beside a status that waits": {gen.Workflow("hello", gen.WithHubStatus("Pending"),
			gen.WithLabels(map[string]string{contract.LabelPhase: "Failed"})), true},
		"labels that say that it waits are not": {gen.Workflow("hello", gen.WithHubStatus("Pending"), erased), false},
		"a status restored under another UID is foreign": {gen.Workflow("original", gen.WithUID("another"),
			gen.WithAnnotations(copied.GetAnnotations()), gen.WithStatus("Succeeded")), true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.want, hubcopy.IsForeign(test.wf))
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
			wf := gen.Workflow("hello", gen.WithLabels(map[string]string{
				contract.LabelPhase: test.phase, contract.LabelCompleted: test.completed,
			}))
			if test.status != "" {
				gen.WithStatus(test.status)(wf)
			}
			assert.Equal(t, test.want, hubcopy.HasLostStatus(wf))
		})
	}
}

func TestWriteIsOnePatchOfStatusLabelsAndHashWithTheResourceVersion(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithHubStatus("Running"), gen.WithAnnotations(map[string]string{"mine": "kept"}))
	hub := fakehub.New(t, nil, wf)
	require.True(t, hub.Show(wf))
	status := map[string]any{"phase": "Succeeded", "progress": "1/1"}

	written, err := hubcopy.Write(t.Context(), hub, wf, status)
	require.NoError(t, err)
	after := wf.DeepCopy()
	require.True(t, hub.Show(after))
	assert.Equal(t, after.GetResourceVersion(), written)

	hash, err := contract.StatusHash(wf.GetUID(), status)
	require.NoError(t, err)
	assert.Equal(t, types.JSONPatchType, hub.Last("patch Workflow").PatchType)
	assert.Equal(t, []any{
		map[string]any{"op": "add", "path": "/status", "value": status},
		map[string]any{"op": "add", "path": "/metadata/labels/workflows.argoproj.io~1phase", "value": "Succeeded"},
		map[string]any{"op": "add", "path": "/metadata/labels/workflows.argoproj.io~1completed", "value": "true"},
		map[string]any{"op": "add", "path": "/metadata/annotations/workflow.open-cluster-management.io~1status-hash", "value": hash},
		map[string]any{"op": "add", "path": "/metadata/resourceVersion", "value": wf.GetResourceVersion()},
	}, hub.PatchOf("Workflow"))

	require.True(t, hub.Show(wf))
	assert.Equal(t, status, contract.Status(wf))
	assert.Equal(t, "kept", wf.GetAnnotations()["mine"])
	assert.False(t, hubcopy.IsForeign(wf), "what the hub wrote must be recognized as the hub's")
}

func TestWriteToAWorkflowWithoutAnnotations(t *testing.T) {
	wf := gen.Workflow("hello")
	require.Nil(t, wf.GetAnnotations())
	hub := fakehub.New(t, nil, wf)
	require.True(t, hub.Show(wf))

	_, err := hubcopy.Write(t.Context(), hub, wf, map[string]any{"phase": "Running"})
	require.NoError(t, err)
	require.True(t, hub.Show(wf))
	assert.Equal(t, "Running", contract.Phase(wf))
	assert.Equal(t, "false", wf.GetLabels()[contract.LabelCompleted])
	assert.Equal(t, contract.LabelEnableValue, wf.GetLabels()[contract.LabelEnable])
}

func TestWriteReplacesTheStatusAsAWhole(t *testing.T) {
	wf := gen.Workflow(
		"hello",
		gen.WithHubStatus("Failed", map[string]any{"nodes": map[string]any{"a": map[string]any{}, "b": map[string]any{}}}),
	)
	hub := fakehub.New(t, nil, wf)
	require.True(t, hub.Show(wf))

	retried := map[string]any{"phase": "Running", "nodes": map[string]any{"a": map[string]any{}}}
	_, err := hubcopy.Write(t.Context(), hub, wf, retried)
	require.NoError(t, err)
	require.True(t, hub.Show(wf))
	assert.Equal(t, retried, contract.Status(wf), "nodes that a retry has removed must go")
}

func TestWriteWritesNothingThatIsThereAlready(t *testing.T) {
	status := map[string]any{"phase": "Running"}
	tests := map[string]struct {
		wf   *unstructured.Unstructured
		want bool
	}{
		"equal, and the hub's":                 {gen.Workflow("hello", gen.WithHubStatus("Running")), false},
		"equal, but not marked as the hub's":   {gen.Workflow("hello", gen.WithStatus("Running")), true},
		"marked, but changed by somebody else": {gen.Workflow("hello", gen.WithHubStatus("Running"), gen.WithStatus("Failed")), true},
		"equal, but a label was changed": {gen.Workflow("hello", gen.WithHubStatus("Running"),
			gen.WithLabels(map[string]string{contract.LabelCompleted: "true"})), true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			hub := fakehub.New(t, nil, test.wf)
			require.True(t, hub.Show(test.wf))
			written, err := hubcopy.Write(t.Context(), hub, test.wf, status)
			require.NoError(t, err)
			assert.Equal(t, test.want, written != "")
			assert.Len(t, hub.Writes(), map[bool]int{true: 1}[test.want])
		})
	}
}

func TestWriteOfAnOutdatedReadIsAConflict(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithHubStatus("Pending"))
	hub := fakehub.New(t, nil, wf)
	require.True(t, hub.Show(wf))
	_, err := hubcopy.Write(t.Context(), hub, wf, map[string]any{"phase": "Running"})
	require.NoError(t, err)

	_, err = hubcopy.Write(t.Context(), hub, wf, map[string]any{"phase": "Error"})
	assert.True(t, apierrors.IsConflict(err), "got %v", err)
	require.True(t, hub.Show(wf))
	assert.Equal(t, "Running", contract.Phase(wf))
}

func TestHold(t *testing.T) {
	const message = "waiting for better times"
	pending := map[string]any{"phase": "Pending", "message": message}
	tests := map[string]struct {
		wf         *unstructured.Unstructured
		wantStatus map[string]any
		wantWrite  bool
		wantEvent  bool
	}{
		"a new Workflow becomes Pending": {
			gen.Workflow("hello"), pending, true, true,
		},
		"another reason replaces the first": {
			gen.Workflow("hello", gen.WithHubStatus("Pending", map[string]any{"message": "waiting for a cluster"})), pending, true, true,
		},
		"the same again is neither written nor told": {
			gen.Workflow("hello", gen.WithHubStatus("Pending", map[string]any{"message": message})), pending, false, false,
		},
		"a foreign status keeps all but its message": {
			gen.Workflow("hello", gen.WithStatus("Running", map[string]any{"message": "mine", "progress": "1/2"})),
			map[string]any{"phase": "Running", "message": message, "progress": "1/2"}, true, true,
		},
		"a foreign status that says so already is left alone": {
			gen.Workflow("hello", gen.WithStatus("Running", map[string]any{"message": message})),
			map[string]any{"phase": "Running", "message": message}, false, false,
		},
		"a status that was lost is made good for by the message alone": {
			gen.Workflow(
				"hello",
				gen.WithHubStatus("Succeeded"),
				func(obj client.Object) { delete(obj.(*unstructured.Unstructured).Object, "status") },
			),
			map[string]any{"message": message}, true, true,
		},
		"a status that was erased, too": {
			gen.Workflow("hello", gen.WithHubStatus("Running"), func(obj client.Object) { obj.(*unstructured.Unstructured).Object["status"] = nil }),
			map[string]any{"message": message}, true, true,
		},
		"a foreign status that has finished is not touched": {
			gen.Workflow("hello", gen.WithStatus("Succeeded", map[string]any{"message": "done"})),
			map[string]any{"phase": "Succeeded", "message": "done"}, false, true,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			hub := fakehub.New(t, nil, test.wf)
			require.True(t, hub.Show(test.wf))
			wasForeign, labels := hubcopy.IsForeign(test.wf), test.wf.GetLabels()

			require.NoError(t, hubcopy.Hold(t.Context(), hub, hub.Recorder, test.wf, "Waiting", message))
			require.True(t, hub.Show(test.wf))
			assert.Equal(t, test.wantStatus, contract.Status(test.wf))
			assert.Equal(t, test.wantWrite, len(hub.Writes()) == 1, "writes: %v", hub.Writes())
			wantEvents := []string{"Warning Waiting " + message}
			if !test.wantEvent {
				wantEvents = nil
			}
			assert.Equal(t, wantEvents, hub.Events())
			assert.Equal(t, wasForeign, hubcopy.IsForeign(test.wf), "whose status it is must not change")
			if wasForeign {
				assert.Equal(t, labels, test.wf.GetLabels())
			}
		})
	}
}

func TestHoldSaysNothingThatItCouldNotWrite(t *testing.T) {
	for name, wf := range map[string]*unstructured.Unstructured{
		"new":     gen.Workflow("hello"),
		"foreign": gen.Workflow("hello", gen.WithStatus("Running")),
	} {
		t.Run(name, func(t *testing.T) {
			hub := fakehub.New(t, nil, wf)
			hub.Fail("patch Workflow", errors.New("down"))
			err := hubcopy.Hold(t.Context(), hub, hub.Recorder, wf, "Waiting", "for you")
			require.ErrorContains(t, err, "down")
			require.ErrorContains(t, err, "default/hello")
			assert.Empty(t, hub.Events())
		})
	}
}

func TestTellCutsWhatAnEventCannotHold(t *testing.T) {
	hub := fakehub.New(t, nil)
	for name, message := range map[string]string{
		"ASCII":      strings.Repeat("x", 5000),
		"wide runes": strings.Repeat("€", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			hubcopy.Tell(hub.Recorder, gen.Workflow("hello"), "Waiting", "Dispatch", message)
			note := strings.TrimPrefix(hub.Events()[0], "Warning Waiting ")
			assert.LessOrEqual(t, len(note), 1024)
			assert.Greater(t, len(note), 1000)
			assert.True(t, utf8.ValidString(note))
			assert.True(t, strings.HasSuffix(note, "…"))
		})
	}
	hubcopy.Tell(hub.Recorder, gen.Workflow("hello"), "Waiting", "Dispatch", strings.Repeat("x", 1024))
	assert.Equal(t, []string{"Warning Waiting " + strings.Repeat("x", 1024)}, hub.Events())
}

func TestIgnoreStale(t *testing.T) {
	workflows, namespaces := contract.WorkflowGVR.GroupResource(), schema.GroupResource{Resource: "namespaces"}
	tests := map[string]struct {
		err  error
		want bool
	}{
		"nothing":                  {nil, true},
		"the Workflow has changed": {fakehub.Conflict(), true},
		"the Workflow is gone":     {apierrors.NewNotFound(workflows, "hello"), true},
		"the RemoteWorkflow has changed": {
			apierrors.NewConflict(schema.GroupResource{Group: "workflow.open-cluster-management.io", Resource: "remoteworkflows"}, "hello", nil),
			false,
		},
		"the namespace of a cluster is missing": {apierrors.NewNotFound(namespaces, "cluster1"), false},
		"the kind is not served": {
			apierrors.NewNotFound(schema.GroupResource{Group: "workflow.open-cluster-management.io", Resource: "remoteworkflows"}, ""),
			false,
		},
		"something else": {errors.New("down"), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.err != nil {
				test.err = errors.Join(errors.New("while doing this"), test.err)
			}
			if test.want {
				assert.NoError(t, hubcopy.IgnoreStale(test.err))
			} else {
				assert.Equal(t, test.err, hubcopy.IgnoreStale(test.err))
			}
		})
	}
}
