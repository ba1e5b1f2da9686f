package hubcopy

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// Assign records, once and for all, the cluster that the Workflow runs on, and makes the Workflow wait for the
// run's removal when it is deleted. One patch, which fails with a conflict if the Workflow has changed since it was read.
func Assign(ctx context.Context, c client.Client, wf *unstructured.Unstructured, cluster string) error {
	return PatchMetadata(ctx, c, wf, map[string]any{
		"annotations": map[string]string{
			contract.AnnotationCluster:  cluster,
			contract.AnnotationAssigned: contract.Assignment(wf, contract.Attempt(wf), cluster),
		},
		"finalizers": withFinalizer(wf.GetFinalizers()),
	})
}

// Unassign takes back, together with the finalizer, a cluster that has come to nothing, so that the Workflow can be given one
// anew. What the user chose directly stays; with a Placement the cluster is the Placement's answer.
func Unassign(ctx context.Context, c client.Client, wf *unstructured.Unstructured) error {
	annotations := map[string]any{contract.AnnotationAssigned: nil}
	if wf.GetAnnotations()[contract.AnnotationPlacement] != "" {
		annotations[contract.AnnotationCluster] = nil
	}
	return PatchMetadata(ctx, c, wf, map[string]any{"annotations": annotations, "finalizers": withoutFinalizer(wf.GetFinalizers())})
}

// Release removes the finalizer that keeps a deleted Workflow until its run is gone.
func Release(ctx context.Context, c client.Client, wf *unstructured.Unstructured) error {
	finalizers := withoutFinalizer(wf.GetFinalizers())
	if len(finalizers) == len(wf.GetFinalizers()) {
		return nil
	}
	return PatchMetadata(ctx, c, wf, map[string]any{"finalizers": finalizers})
}

// PatchMetadata merges metadata into the Workflow's; it fails with a conflict if the Workflow has changed since
// it was read.
func PatchMetadata(ctx context.Context, c client.Client, wf *unstructured.Unstructured, metadata map[string]any) error {
	metadata["resourceVersion"] = wf.GetResourceVersion()
	data, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	if err := c.Patch(ctx, metadataOf(wf), client.RawPatch(types.MergePatchType, data)); err != nil {
		return fmt.Errorf("patch metadata of Workflow %s: %w", client.ObjectKeyFromObject(wf), err)
	}
	return nil
}

func withFinalizer(finalizers []string) []string {
	if slices.Contains(finalizers, contract.FinalizerDispatch) {
		return finalizers
	}
	return append(slices.Clone(finalizers), contract.FinalizerDispatch)
}

func withoutFinalizer(finalizers []string) []string {
	return slices.DeleteFunc(slices.Clone(finalizers), func(f string) bool { return f == contract.FinalizerDispatch })
}
