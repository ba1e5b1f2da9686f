package hubworkflow_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func shutdown(how string) gen.Mod { return gen.WithSpecField(how, "shutdown") }

// putByArgo is the Workflow as a client of Argo puts it back that has read it.
func putByArgo(t *testing.T, wf *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	typed := &wfv1.Workflow{}
	require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(wf.Object, typed))
	raw, err := json.Marshal(typed)
	require.NoError(t, err)
	out := &unstructured.Unstructured{}
	require.NoError(t, json.Unmarshal(raw, &out.Object))
	return out
}

func TestWhatIsShutDownBeforeItsStartEndsAsByArgo(t *testing.T) {
	wf := gen.Workflow("hello", shutdown("Terminate"), gen.WithHubStatus("Pending", map[string]any{"message": "waiting"}))
	hub := on(t, wf)
	require.NoError(t, hubworkflow.End(t.Context(), hub, hub.Recorder, hubworkflow.Of(trim(t, wf)), gen.Time.Time))
	assert.Len(t, hub.Writes(), 1)
	outdated := wf.DeepCopy()
	require.True(t, hub.Show(wf))
	assert.Equal(t, map[string]any{
		"phase": "Failed", "message": "Stopped with strategy 'Terminate'",
		"startedAt": gen.Time.UTC().Format(time.RFC3339), "finishedAt": gen.Time.UTC().Format(time.RFC3339),
		"conditions": []any{map[string]any{"type": "Completed", "status": "True"}},
	}, wf.Object["status"])
	assert.Equal(t, "Failed", wf.GetLabels()[contract.LabelPhase])
	assert.Equal(t, "true", wf.GetLabels()[contract.LabelCompleted])
	assert.False(t, hubworkflow.Of(wf).IsForeign())
	assert.Equal(t, []string{"Normal Stopped Stopped with strategy 'Terminate', before it was sent to a cluster"}, hub.Events())

	err := hubworkflow.End(t.Context(), hub, hub.Recorder, hubworkflow.Of(outdated), gen.Time.Time)
	assert.True(t, apierrors.IsConflict(err), "it may have been assigned: %v", err)
	assert.Empty(t, hub.Events())
}

func TestWhatTheHubSaysOfAWorkflowThatHasNotStartedIsItsOwnAfterAClientOfArgoHasPutItBack(t *testing.T) {
	for name, say := range map[string]func(*testing.T, *unstructured.Unstructured) *unstructured.Unstructured{
		"that it waits": func(t *testing.T, wf *unstructured.Unstructured) *unstructured.Unstructured {
			t.Helper()
			hub := on(t, wf)
			why := hubworkflow.Refusal{Reason: "AtCap", Message: "waiting"}
			require.NoError(t, hubworkflow.Hold(t.Context(), hub, hub.Recorder, hubworkflow.Of(wf), why))
			require.True(t, hub.Show(wf))
			return wf
		},
		"that it has ended": func(t *testing.T, wf *unstructured.Unstructured) *unstructured.Unstructured {
			t.Helper()
			hub := on(t, wf)
			require.NoError(t, hubworkflow.End(t.Context(), hub, hub.Recorder, hubworkflow.Of(wf), gen.Time.Time))
			require.True(t, hub.Show(wf))
			return wf
		},
		"nothing": func(_ *testing.T, wf *unstructured.Unstructured) *unstructured.Unstructured { return wf },
	} {
		t.Run(name, func(t *testing.T) {
			wf := putByArgo(t, say(t, gen.Workflow("hello", shutdown("Stop"))))
			assert.False(t, hubworkflow.Of(wf).IsForeign(), "argo suspend and resume put the whole Workflow: %v", wf.Object["status"])
		})
	}
}

func TestOnlyWhatHasCertainlyNotStartedEndsOnTheHub(t *testing.T) {
	stopped := shutdown("Stop")
	tests := map[string]struct {
		wf   *unstructured.Unstructured
		want bool
	}{
		"it is new":                      {gen.Workflow("hello", stopped), true},
		"it waits":                       {gen.Workflow("hello", stopped, gen.WithHubStatus("Pending")), true},
		"it is suspended":                {gen.Workflow("hello", stopped, gen.WithSpecField(true, "suspend")), true},
		"its name is too long":           {gen.Workflow(strings.Repeat("a", contract.MaxWorkflowNameLength+1), stopped), true},
		"it is not shut down":            {gen.Workflow("hello"), false},
		"its shutdown is none of Argo's": {gen.Workflow("hello", shutdown("Halt")), false},
		"its label has a wrong value":    {gen.Workflow("hello", stopped, gen.WithLabels(map[string]string{contract.LabelEnable: "1"})), false},
		"somebody else runs it":          {gen.Workflow("hello", stopped, gen.WithStatus("Running")), false},
		"its labels say that it has run": {gen.Workflow("hello", stopped, gen.WithHubStatus("Succeeded"), gen.WithStatus("")), false},
		"it has started":                 {gen.Workflow("hello", stopped, gen.WithHubStatus("Running")), false},
		"it has ended":                   {gen.Workflow("hello", stopped, gen.WithHubStatus("Failed")), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wf := hubworkflow.Of(test.wf)
			assert.Equal(t, test.want, wf.EndsUnstarted(time.Time{}))
			if len(wf.GetName()) <= contract.MaxWorkflowNameLength {
				assert.False(t, wf.EndsUnstarted(wf.GetCreationTimestamp().Add(time.Hour)), "it may have run before the hub was restored")
			}
		})
	}
}
