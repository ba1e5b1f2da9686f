package integration

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// random makes random changes of Workflows.
type random struct{ *rand.Rand }

func one[T any](r random, of ...T) T { return of[r.IntN(len(of))] }

// key returns one of an object's keys.
func key(r random, of map[string]any) string { return one(r, slices.Sorted(maps.Keys(of))...) }

// change changes a Workflow, and returns in words how.
func (r random) change(wf *unstructured.Unstructured, rec *subject) string {
	switch n := r.IntN(100); {
	case n < 22:
		return r.verb(wf, rec)
	case n < 32:
		return r.verb(wf, rec) + " and " + r.forge(status(wf))
	case n < 37:
		return r.verb(wf, rec) + " and " + r.anywhere(wf, "status")
	case n < 60:
		return r.forge(status(wf))
	case n < 80:
		return r.anywhere(wf, "status")
	case n < 85:
		return r.anywhere(wf, "spec")
	case n < 90:
		return r.verb(wf, rec) + " and " + r.metadata(wf)
	default:
		return r.metadata(wf)
	}
}

// status returns a Workflow's status, also one that was erased, to be changed.
func status(wf *unstructured.Unstructured) map[string]any {
	status, _ := wf.Object["status"].(map[string]any)
	if status == nil {
		status = map[string]any{}
		wf.Object["status"] = status
	}
	return status
}

// anywhere changes, adds or removes something somewhere within a field.
func (r random) anywhere(wf *unstructured.Unstructured, field string) string {
	wf.Object[field] = r.within(wf.Object[field], 0)
	if wf.Object[field] == nil {
		delete(wf.Object, field)
	}
	return "something in " + field
}

func (r random) within(value any, depth int) any {
	goesDeeper := r.IntN(8) > 0 || depth == 0
	switch v := value.(type) {
	case map[string]any:
		return r.withinMap(v, goesDeeper, depth)
	case []any:
		if !goesDeeper || len(v) == 0 {
			break
		}
		i := r.IntN(len(v))
		switch r.IntN(6) {
		case 0:
			return slices.Delete(v, i, i+1)
		case 1:
			return append(v, runtime.DeepCopyJSONValue(v[i]))
		case 2:
			return append(v, r.garbage(0))
		}
		v[i] = r.within(v[i], depth+1)
		return v
	}
	return r.garbage(0)
}

func (r random) withinMap(v map[string]any, goesDeeper bool, depth int) any {
	if !goesDeeper {
		return r.garbage(0)
	}
	if len(v) == 0 || r.IntN(8) == 0 {
		v[r.word()] = r.garbage(0)
		return v
	}
	key := key(r, v)
	switch r.IntN(10) {
	case 0:
		delete(v, key)
	case 1:
		v[r.word()] = runtime.DeepCopyJSONValue(v[key])
	default:
		v[key] = r.within(v[key], depth+1)
	}
	return v
}

// words are names and values that mean something in Workflows, and some that mean nothing.
var words = strings.Fields(`phase message nodes children outputs parameters name value valueFrom supplied type id displayName finishedAt
	startedAt conditions Completed Running Succeeded Failed Error Pending Omitted Skipped Suspend Pod DAG Steps Retry compressedNodes
	offloadNodeStatusVersion storedTemplates storedWorkflowTemplateSpec arguments shutdown Stop Terminate suspend priority synchronization
	artifactRepositoryRef persistentVolumeClaims progress 1/1 resourcesDuration estimatedDuration boundaryID outboundNodes globalName
	artifacts s3 endpoint entrypoint templates activeDeadlineSeconds true false null 2026-01-02T15:04:05Z unknownField NODES Phase`)

func (r random) word() string { return one(r, words...) }

func (r random) garbage(depth int) any {
	n := r.IntN(16)
	if depth > 3 {
		n = r.IntN(10)
	}
	switch n {
	case 0:
		return nil
	case 1:
		return r.IntN(2) == 0
	case 2:
		return one(r, int64(0), -1, 5, 1<<31, 1<<53, -1<<62)
	case 3:
		return one(r, 0.5, -1e30, 1e300)
	case 4:
		return ""
	case 5:
		return strings.Repeat(one(r, "x", "\\", "€", "\x01"), 1<<r.IntN(18))
	case 10:
		return []any{}
	case 11:
		return map[string]any{}
	case 12, 13:
		list := []any{}
		for range r.IntN(4) {
			list = append(list, r.garbage(depth+1))
		}
		return list
	case 14, 15:
		object := map[string]any{}
		for range 1 + r.IntN(4) {
			object[r.word()] = r.garbage(depth + 1)
		}
		return object
	default:
		return r.word()
	}
}

// metadata changes labels, annotations or finalizers, mostly those of ours.
func (r random) metadata(wf *unstructured.Unstructured) string {
	labels, annotations := wf.GetLabels(), wf.GetAnnotations()
	if labels == nil {
		labels = map[string]string{}
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	for range 1 + r.IntN(2) {
		switch r.IntN(8) {
		case 0:
			wf.SetFinalizers(one(r, nil, []string{"example.com/other"}, append(wf.GetFinalizers(), "example.com/more")))
		case 1:
			labels = map[string]string{}
		case 2:
			annotations = map[string]string{}
		case 3, 4:
			r.inMetadata(labels, contract.LabelEnable, contract.LabelPhase, contract.LabelCompleted, contract.LabelCluster, contract.LabelArchivingStatus, "any")
		default:
			r.inMetadata(annotations, contract.AnnotationAssigned, contract.AnnotationCluster, contract.AnnotationStatusHash,
				contract.AnnotationReportHash, contract.AnnotationPlacement, contract.AnnotationAttempt, contract.AnnotationEdits,
				contract.AnnotationControls, contract.AnnotationTerminated, contract.AnnotationHubUID, "any")
		}
	}
	wf.SetLabels(labels)
	wf.SetAnnotations(annotations)
	return "metadata"
}

func (r random) inMetadata(of map[string]string, keys ...string) {
	key := one(r, keys...)
	if r.IntN(2) == 0 {
		delete(of, key)
		return
	}
	of[key] = one(r, "", "true", "false", "x", "cluster2", "Running", "Failed", "Pending")
}

// way returns how the edit is sent: in words, and what sends it and returns what the API server has made of it.
func (r random) way(before, edited *unstructured.Unstructured) (
	how string, send func(context.Context, client.Client) (*unstructured.Unstructured, error),
) {
	target := edited.DeepCopy()
	switch r.IntN(3) {
	case 0:
		return "PUT", func(ctx context.Context, c client.Client) (*unstructured.Unstructured, error) {
			return target, c.Update(ctx, target)
		}
	case 1:
		return "merge patch", func(ctx context.Context, c client.Client) (*unstructured.Unstructured, error) {
			return target, c.Patch(ctx, target, client.MergeFrom(before))
		}
	}
	return "JSON patch", func(ctx context.Context, c client.Client) (*unstructured.Unstructured, error) {
		patch, err := json.Marshal(operations(before, edited))
		if err != nil {
			return nil, err
		}
		return target, c.Patch(ctx, target, client.RawPatch(types.JSONPatchType, patch))
	}
}

// operations are those of a JSON patch that replaces what differs.
func operations(before, edited *unstructured.Unstructured) []map[string]any {
	ops := []map[string]any{{"op": "test", "path": "/metadata/resourceVersion", "value": before.GetResourceVersion()}}
	for _, path := range [][]string{{"status"}, {"spec"}, {"metadata", "labels"}, {"metadata", "annotations"}, {"metadata", "finalizers"}} {
		_, had, _ := unstructured.NestedFieldNoCopy(before.Object, path...)
		value, has, _ := unstructured.NestedFieldNoCopy(edited.Object, path...)
		switch pointer := "/" + strings.Join(path, "/"); {
		case has:
			ops = append(ops, map[string]any{"op": "add", "path": pointer, "value": value})
		case had:
			ops = append(ops, map[string]any{"op": "remove", "path": pointer})
		}
	}
	return ops
}

// difference returns the merge patch between two Workflows.
func difference(t *testing.T, before, after *unstructured.Unstructured) string {
	t.Helper()
	a, err := json.Marshal(before)
	require.NoError(t, err)
	b, err := json.Marshal(after)
	require.NoError(t, err)
	patch, err := jsonpatch.CreateMergePatch(a, b)
	if err != nil {
		return fmt.Sprint(err)
	}
	return string(patch)
}
