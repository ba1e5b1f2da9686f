package run

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
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
)

// write is what a real client of Argo has made of a Workflow.
type write struct {
	Class  []string       `json:"class"`
	Before map[string]any `json:"before"`
	After  map[string]any `json:"after"`
}

// recordedWrites are those that the hub's test recognizes.
func recordedWrites(t *testing.T) []write {
	t.Helper()
	packed, err := os.ReadFile("../../hub/edits/testdata/verbs.jsonl.gz")
	require.NoError(t, err)
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	require.NoError(t, err)
	lines := bufio.NewScanner(reader)
	lines.Buffer(nil, 1<<22)
	var out []write
	for lines.Scan() {
		var w write
		require.NoError(t, utiljson.Unmarshal(lines.Bytes(), &w))
		out = append(out, w)
	}
	require.NoError(t, lines.Err())
	return out
}

// editOf returns what the hub asks for when a user has done this to a Workflow.
func editOf(t *testing.T, w write) *v1alpha1.Edit {
	t.Helper()
	status := func(object map[string]any) map[string]any { s, _ := object["status"].(map[string]any); return s }
	found, err := edits.Of(status(w.Before), status(w.After), true)
	require.NoError(t, err)
	if found.IsNothing() {
		return nil
	}
	e := &v1alpha1.Edit{ID: "the-edit", StatusHash: "hash", Nodes: found.Nodes, Outputs: found.Outputs, Retry: found.Retry}
	if e.Retry != nil {
		data, err := contract.EncodeStatus(status(w.Before))
		require.NoError(t, err)
		e.Retry.ReportDigest = digestOf(data)
		before, after := w.Before["spec"].(map[string]any), w.After["spec"].(map[string]any)
		if contract.ArgumentsDigest(before) != contract.ArgumentsDigest(after) {
			e.Retry.Parameters = contract.Arguments(after)
		}
	}
	return e
}

// TestAnEditMakesOfAWorkflowWhatArgosClientsMakeOfIt applies each recorded write to the Workflow that it was made of.
func TestAnEditMakesOfAWorkflowWhatArgosClientsMakeOfIt(t *testing.T) {
	applied := 0
	for i, w := range recordedWrites(t) {
		e := editOf(t, w)
		if e == nil {
			continue // it is none of the status
		}
		applied++
		t.Run(fmt.Sprintf("%d %s", i, strings.Join(w.Class, " ")), func(t *testing.T) {
			remote := &unstructured.Unstructured{Object: runtime.DeepCopyJSON(w.Before)}
			spec := w.Before["spec"].(map[string]any)
			rw := newRemote(claimed, wanting(contract.ControlsOf(w.After["spec"].(map[string]any))))
			rw.Spec.Edits = []v1alpha1.Edit{*e}
			patch, err := editPatch(rw, remote, e, testNow)
			require.NoError(t, err)
			assert.Equal(t, w.Before["spec"], spec, "the Workflow that was read is as it was")

			got, want := typed(t, merge(t, w.Before, patch)), typed(t, w.After)
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
			again := &unstructured.Unstructured{Object: merge(t, w.Before, patch)}
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
