package run

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/edits"
	"open-cluster-management.io/argo-workflow-multicluster/test/recorded"
)

// editOf returns what the hub asks for when a user has done this to a Workflow.
func editOf(t *testing.T, w recorded.Write) *v1alpha1.Edit {
	t.Helper()
	found, err := edits.Of(w.Before.Status, w.After.Status, true)
	require.NoError(t, err)
	if found.IsNothing() {
		return nil
	}
	e := &v1alpha1.Edit{ID: "the-edit", StatusHash: "hash", Nodes: found.Nodes, Outputs: found.Outputs, Retry: found.Retry}
	if e.Retry != nil {
		data, err := contract.EncodeStatus(w.Before.Status)
		require.NoError(t, err)
		e.Retry.ReportDigest = digestOf(data)
		if contract.ArgumentsDigest(w.Before.Spec) != contract.ArgumentsDigest(w.After.Spec) {
			e.Retry.Parameters = contract.Arguments(w.After.Spec)
		}
	}
	return e
}

// TestAnEditMakesOfAWorkflowWhatArgosClientsMakeOfIt applies each recorded write to the Workflow that it was made of.
func TestAnEditMakesOfAWorkflowWhatArgosClientsMakeOfIt(t *testing.T) {
	applied := 0
	for i, w := range recorded.Writes(t) {
		e := editOf(t, w)
		if e == nil {
			continue // it is none of the status
		}
		applied++
		t.Run(fmt.Sprintf("%d %s", i, strings.Join(w.Class, " ")), func(t *testing.T) {
			before := w.Before.Object()
			remote := &unstructured.Unstructured{Object: runtime.DeepCopyJSON(before)}
			rw := newRemote(claimed, wanting(contract.ControlsOf(w.After.Spec)))
			rw.Spec.Edits = []v1alpha1.Edit{*e}
			patch, err := editPatch(rw, remote, e, testNow)
			require.NoError(t, err)
			assert.Equal(t, before, remote.Object, "the Workflow that was read is as it was")

			got, want := typed(t, merge(t, before, patch)), typed(t, w.After.Object())
			assert.Equal(t, want.Status, got.Status)
			assert.Equal(t, want.Spec.Shutdown, got.Spec.Shutdown)
			assert.Equal(t, want.Spec.Arguments, got.Spec.Arguments)
			assert.Equal(t, want.Spec.Suspend, got.Spec.Suspend)
			for _, label := range []string{contract.LabelPhase, contract.LabelCompleted} {
				if e.Retry != nil {
					assert.Equal(t, want.Labels[label], got.Labels[label])
				}
			}
			assert.Equal(t, "the-edit", got.Annotations[contract.AnnotationEdits])
			again := &unstructured.Unstructured{Object: merge(t, before, patch)}
			assert.Nil(t, pendingEdit(rw, again), "it is not applied twice")
		})
	}
	assert.Equal(t, 41, applied)
}

func merge(t *testing.T, object, patch map[string]any) map[string]any {
	t.Helper()
	before, err := json.Marshal(object)
	require.NoError(t, err)
	change, err := json.Marshal(patch)
	require.NoError(t, err)
	after, err := jsonpatch.MergePatch(before, change)
	require.NoError(t, err)
	var out map[string]any
	require.NoError(t, utiljson.Unmarshal(after, &out))
	return out
}

// typed reads a Workflow as Argo does, with its nodes unpacked and with all times of the edit the same.
func typed(t *testing.T, object map[string]any) *wfv1.Workflow {
	t.Helper()
	object = runtime.DeepCopyJSON(object)
	status := object["status"].(map[string]any)
	nodes, isPacked, err := contract.Nodes(status)
	require.NoError(t, err)
	if isPacked {
		delete(status, contract.FieldCompressedNodes)
		status[contract.FieldNodes] = nodes
	}
	raw, err := json.Marshal(object)
	require.NoError(t, err)
	wf := &wfv1.Workflow{}
	require.NoError(t, json.Unmarshal(raw, wf))
	same := func(at *metav1.Time) {
		if !at.IsZero() {
			*at = metav1.Time{Time: testNow.Truncate(time.Hour)}
		}
	}
	same(&wf.Status.StartedAt)
	for id, node := range wf.Status.Nodes {
		same(&node.StartedAt)
		same(&node.FinishedAt)
		if len(node.Children) == 0 {
			node.Children = nil
		}
		if len(node.OutboundNodes) == 0 {
			node.OutboundNodes = nil
		}
		wf.Status.Nodes[id] = node
	}
	if len(wf.Status.Nodes) == 0 {
		wf.Status.Nodes = nil
	}
	if len(wf.Status.PersistentVolumeClaims) == 0 {
		wf.Status.PersistentVolumeClaims = nil
	}
	return wf
}
