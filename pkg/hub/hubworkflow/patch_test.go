package hubworkflow_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// on returns a hub that has the Workflow, as it is there.
func on(t *testing.T, wf *unstructured.Unstructured) *fakehub.Hub {
	t.Helper()
	hub := fakehub.New(t, nil, wf)
	require.True(t, hub.Show(wf))
	return hub
}

func write(t *testing.T, hub *fakehub.Hub, wf *unstructured.Unstructured, update hubworkflow.Update) (bool, error) {
	t.Helper()
	return hubworkflow.Write(t.Context(), hub, hubworkflow.Of(wf), update)
}

func TestWriteIsOnePatchOfStatusLabelsAndHashesWithTheResourceVersion(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithHubStatus("Running"), gen.WithAnnotations(map[string]string{"mine": "kept"}))
	hub := on(t, wf)
	status := map[string]any{"phase": "Succeeded", "progress": "1/1"}
	written, err := write(t, hub, wf, hubworkflow.Update{Status: status, Labels: map[string]string{"a.example.com/b~c": "d"}, Source: "the source"})
	require.NoError(t, err)
	assert.True(t, written)

	hash, err := contract.StatusHash(wf.GetUID(), status)
	require.NoError(t, err)
	assert.Equal(t, types.JSONPatchType, hub.Last("patch Workflow").PatchType)
	assert.Equal(t, []any{
		map[string]any{"op": "add", "path": "/status", "value": status},
		map[string]any{"op": "add", "path": "/metadata/labels/a.example.com~1b~0c", "value": "d"},
		map[string]any{"op": "add", "path": "/metadata/labels/workflows.argoproj.io~1completed", "value": "true"},
		map[string]any{"op": "add", "path": "/metadata/labels/workflows.argoproj.io~1phase", "value": "Succeeded"},
		map[string]any{"op": "add", "path": "/metadata/annotations/workflow.open-cluster-management.io~1report-hash", "value": "the source"},
		map[string]any{"op": "add", "path": "/metadata/annotations/workflow.open-cluster-management.io~1status-hash", "value": hash},
		map[string]any{"op": "add", "path": "/metadata/resourceVersion", "value": wf.GetResourceVersion()},
	}, hub.PatchOf("Workflow"))

	require.True(t, hub.Show(wf))
	assert.Equal(t, status, contract.Status(wf))
	assert.Equal(t, "kept", wf.GetAnnotations()["mine"])
	assert.False(t, hubworkflow.Of(wf).IsForeign(), "what the hub wrote must be recognized as the hub's")
	assert.True(t, hubworkflow.Shows(hubworkflow.Of(wf), status))
	assert.False(t, hubworkflow.Shows(hubworkflow.Of(wf), map[string]any{"phase": "Succeeded"}))
}

func TestWriteToAWorkflowWithoutAnyMetadata(t *testing.T) {
	wf := gen.Workflow("hello")
	wf.SetLabels(nil)
	require.Nil(t, wf.GetAnnotations())
	hub := on(t, wf)
	_, err := write(t, hub, wf, hubworkflow.Update{Status: map[string]any{"phase": "Running"}})
	require.NoError(t, err)
	require.True(t, hub.Show(wf))
	assert.Equal(t, "Running", contract.Phase(wf))
	assert.Equal(t, "false", wf.GetLabels()[contract.LabelCompleted])
	assert.NotContains(t, wf.GetAnnotations(), contract.AnnotationReportHash, "it is made from nothing that was reported")
}

func TestWriteReplacesTheStatusAsAWhole(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithHubStatus("Failed", map[string]any{"nodes": map[string]any{"a": map[string]any{}, "b": map[string]any{}}}))
	hub := on(t, wf)
	retried := map[string]any{"phase": "Running", "nodes": map[string]any{"a": map[string]any{}}}
	_, err := write(t, hub, wf, hubworkflow.Update{Status: retried})
	require.NoError(t, err)
	require.True(t, hub.Show(wf))
	assert.Equal(t, retried, contract.Status(wf), "nodes that a retry has removed must go")
}

func TestWriteWritesNothingThatIsThereAlready(t *testing.T) {
	source := gen.WithAnnotations(map[string]string{contract.AnnotationReportHash: "source"})
	tests := map[string]struct {
		wf     *unstructured.Unstructured
		source string
		want   bool
	}{
		"equal, and the hub's":                  {gen.Workflow("hello", gen.WithHubStatus("Running")), "", false},
		"equal, and from the same":              {gen.Workflow("hello", gen.WithHubStatus("Running"), source), "source", false},
		"equal, and from something else":        {gen.Workflow("hello", gen.WithHubStatus("Running"), source), "other", true},
		"equal, and from nothing any more":      {gen.Workflow("hello", gen.WithHubStatus("Running"), source), "", true},
		"equal, but not marked as the hub's":    {gen.Workflow("hello", gen.WithStatus("Running")), "", true},
		"marked, but changed by somebody else":  {gen.Workflow("hello", gen.WithHubStatus("Running"), gen.WithStatus("Failed")), "", true},
		"equal, but a label was changed":        {gen.Workflow("hello", gen.WithHubStatus("Running"), gen.WithLabels(map[string]string{contract.LabelCompleted: "true"})), "", true},
		"equal, but a label of the run is gone": {gen.Workflow("hello", gen.WithHubStatus("Running"), gen.WithLabels(map[string]string{"team": ""})), "", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			hub := on(t, test.wf)
			update := hubworkflow.Update{Status: map[string]any{"phase": "Running"}, Source: test.source}
			if strings.Contains(name, "label of the run") {
				update.Labels = map[string]string{"team": "a"}
			}
			written, err := write(t, hub, test.wf, update)
			require.NoError(t, err)
			assert.Equal(t, test.want, written)
			assert.Len(t, hub.Writes(), map[bool]int{true: 1}[test.want])

			require.True(t, hub.Show(test.wf))
			written, err = write(t, hub, test.wf, update)
			require.NoError(t, err)
			assert.False(t, written, "once is enough")
		})
	}
}

func TestAWriteThatFailsHasNotWritten(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithHubStatus("Pending"))
	hub := on(t, wf)
	_, err := write(t, hub, wf, hubworkflow.Update{Status: map[string]any{"phase": "Running"}})
	require.NoError(t, err)
	written, err := write(t, hub, wf, hubworkflow.Update{Status: map[string]any{"phase": "Error"}})
	assert.True(t, apierrors.IsConflict(err), "it was read before: %v", err)
	assert.False(t, written)
	require.True(t, hub.Show(wf))
	assert.Equal(t, "Running", contract.Phase(wf))
}

func TestHold(t *testing.T) {
	why := hubworkflow.Refusal{Reason: "Waiting", Message: "waiting for better times"}
	pending := map[string]any{
		"phase": "Pending", "message": why.Message, "startedAt": nil, "finishedAt": nil,
		"conditions": []any{map[string]any{"type": "Scheduled", "status": "False", "message": "Waiting"}},
	}
	message := map[string]any{"message": why.Message}
	tests := map[string]struct {
		wf         *unstructured.Unstructured
		wantStatus map[string]any
		wantWrite  bool
		wantEvent  bool
	}{
		"a new Workflow becomes Pending": {gen.Workflow("hello"), pending, true, true},
		"another reason replaces the first": {
			gen.Workflow("hello", gen.WithHubStatus("Pending", map[string]any{"message": "waiting for a cluster"})), pending, true, true,
		},
		"the same again is neither written nor told": {gen.Workflow("hello", gen.WithHubStatus("Pending", pending)), pending, false, false},
		"a foreign status keeps all but its message": {
			gen.Workflow("hello", gen.WithStatus("Running", map[string]any{"message": "mine", "progress": "1/2"})),
			map[string]any{"phase": "Running", "message": why.Message, "progress": "1/2"}, true, true,
		},
		"a foreign status that says so already is left alone": {
			gen.Workflow("hello", gen.WithStatus("Running", message)), map[string]any{"phase": "Running", "message": why.Message}, false, false,
		},
		"a status that was lost is made good for by the message alone": {
			gen.Workflow("hello", gen.WithHubStatus("Succeeded"), withoutStatus), message, true, true,
		},
		"a status that was erased, too": {gen.Workflow("hello", gen.WithHubStatus("Running"), withStatus(nil)), message, true, true},
		"a foreign status that has finished is not touched": {
			gen.Workflow("hello", gen.WithStatus("Succeeded", map[string]any{"message": "done"})), map[string]any{"phase": "Succeeded", "message": "done"}, false, true,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for how, read := range map[string]func(*unstructured.Unstructured) *unstructured.Unstructured{
				"live": func(wf *unstructured.Unstructured) *unstructured.Unstructured { return wf },
				"from the cache": func(wf *unstructured.Unstructured) *unstructured.Unstructured {
					return trim(t, wf)
				},
			} {
				wf := test.wf.DeepCopy()
				hub := on(t, wf)
				wasForeign, labels := hubworkflow.Of(wf).IsForeign(), wf.GetLabels()
				require.NoError(t, hubworkflow.Hold(t.Context(), hub, hub.Recorder, hubworkflow.Of(read(wf)), why), how)
				require.True(t, hub.Show(wf))
				assert.Equal(t, test.wantStatus, contract.Status(wf), how)
				assert.Equal(t, test.wantWrite, len(hub.Writes()) == 1, "writes: %v", hub.Writes())
				wantEvents := []string{"Warning Waiting " + why.Message}
				if !test.wantEvent {
					wantEvents = nil
				}
				assert.Equal(t, wantEvents, hub.Events(), how)
				assert.Equal(t, wasForeign, hubworkflow.Of(wf).IsForeign(), "whose status it is must not change")
				if wasForeign {
					assert.Equal(t, labels, wf.GetLabels())
				}
			}
		})
	}
}

func TestHoldSaysNothingThatItCouldNotWriteUnlessItNeverCan(t *testing.T) {
	why := hubworkflow.Refusal{Reason: "Waiting", Message: "for you"}
	for name, wf := range map[string]*unstructured.Unstructured{
		"new":     gen.Workflow("hello"),
		"foreign": gen.Workflow("hello", gen.WithStatus("Running")),
	} {
		t.Run(name, func(t *testing.T) {
			hub := on(t, wf)
			for _, answer := range []error{errors.New("down"), fakehub.Conflict()} {
				hub.Fail("patch Workflow", answer)
				err := hubworkflow.Hold(t.Context(), hub, hub.Recorder, hubworkflow.Of(wf), why)
				require.ErrorIs(t, err, answer)
				require.ErrorContains(t, err, "default/hello")
				assert.Empty(t, hub.Events())
			}
			hub.Fail("patch Workflow", apierrors.NewInvalid(contract.WorkflowGVK.GroupKind(), "hello", nil))
			require.NoError(t, hubworkflow.Hold(t.Context(), hub, hub.Recorder, hubworkflow.Of(wf), why), "another try would not mend it")
			assert.Equal(t, []string{"Warning Waiting for you"}, hub.Events(), "annotations that leave no room for ours: the Event says it")
		})
	}
}

func TestWarnCutsWhatAnEventCannotHold(t *testing.T) {
	hub := fakehub.New(t, nil)
	warn := func(message string) string {
		hubworkflow.Warn(hub.Recorder, hubworkflow.Of(gen.Workflow("hello")), "Waiting", "Schedule", message)
		return strings.TrimPrefix(hub.Events()[0], "Warning Waiting ")
	}
	for name, message := range map[string]string{"ASCII": strings.Repeat("x", 5000), "wide runes": strings.Repeat("€", 1000)} {
		t.Run(name, func(t *testing.T) {
			note := warn(message)
			assert.LessOrEqual(t, len(note), 1024)
			assert.Greater(t, len(note), 1000)
			assert.True(t, utf8.ValidString(note))
			assert.True(t, strings.HasSuffix(note, "…"))
		})
	}
	assert.Equal(t, strings.Repeat("x", 1024), warn(strings.Repeat("x", 1024)))
	assert.Equal(t, "100%d", warn("100%d"), "it is no format")
}

func TestIgnoreStale(t *testing.T) {
	remoteWorkflows := schema.GroupResource{Group: "workflow.open-cluster-management.io", Resource: "remoteworkflows"}
	tests := map[string]struct {
		err  error
		want bool
	}{
		"nothing":                               {nil, true},
		"the Workflow has changed":              {fakehub.Conflict(), true},
		"the Workflow is gone":                  {apierrors.NewNotFound(contract.WorkflowGVR.GroupResource(), "hello"), true},
		"the RemoteWorkflow has changed":        {apierrors.NewConflict(remoteWorkflows, "hello", nil), false},
		"the namespace of a cluster is missing": {apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "cluster1"), false},
		"the kind is not served":                {apierrors.NewNotFound(remoteWorkflows, ""), false},
		"the API server serves no Workflows": {apierrors.NewGenericServerResponse(http.StatusNotFound, "patch",
			contract.WorkflowGVR.GroupResource(), "hello", "404 page not found", 0, true), false},
		"something else": {errors.New("down"), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.err != nil {
				test.err = errors.Join(errors.New("while doing this"), test.err)
			}
			if test.want {
				assert.NoError(t, hubworkflow.IgnoreStale(test.err))
			} else {
				assert.Equal(t, test.err, hubworkflow.IgnoreStale(test.err))
			}
		})
	}
}
