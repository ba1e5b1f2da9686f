package hubworkflow

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// ConditionScheduled is False, with the reason as its message, on a Workflow that waits for a cluster or for its start there.
const ConditionScheduled = "Scheduled"

// Hold keeps a Workflow Pending with the refusal's message and one condition, and records the same in an Event. It writes nothing, and
// records nothing, when the Workflow already says so. Of a status that is not ours only the message is replaced, and not even that of a
// finished one; its labels stay.
func Hold(ctx context.Context, c client.Client, recorder events.EventRecorder, wf *Workflow, why Refusal) error {
	written, err := hold(ctx, c, wf, why)
	if written && err == nil || contract.IsRefused(err) || wf.IsForeign() && contract.IsFinished(wf.Phase) {
		Warn(recorder, wf, why.Reason, "Schedule", why.Message)
	}
	if contract.IsRefused(err) {
		return nil // the Event has said it; another try would not mend it
	}
	return err
}

func hold(ctx context.Context, c client.Client, wf *Workflow, why Refusal) (bool, error) {
	change := operation{"add", "/status/message", why.Message}
	switch {
	case !wf.IsForeign():
		return Write(ctx, c, wf, Update{Status: PendingStatus(why)})
	case contract.IsFinished(wf.Phase) || wf.Message == why.Message:
		return false, nil
	case wf.StatusHash == "":
		change = operation{"add", "/status", map[string]any{"message": why.Message}}
	}
	err := patch(ctx, c, wf, []operation{change})
	return err == nil, err
}

// PendingStatus is the status of a Workflow that waits. It has the times, without a value: Argo's clients put the whole Workflow back where
// they suspend or resume it, and never leave them out. What they send is still the hub's status then.
func PendingStatus(why Refusal) map[string]any {
	return map[string]any{
		"phase": contract.PhasePending, "message": why.Message, "startedAt": nil, "finishedAt": nil,
		"conditions": []any{Condition(ConditionScheduled, metav1.ConditionFalse, why.Reason)},
	}
}

// Assign records, once and for all, the cluster that the Workflow runs on, and makes the Workflow wait for the
// removal there when it is deleted. One patch, which fails with a conflict if the Workflow has changed since it was read.
func Assign(ctx context.Context, c client.Client, wf *Workflow, cluster string) error {
	return PatchMetadata(ctx, c, wf, map[string]any{
		"annotations": map[string]string{
			contract.AnnotationCluster:  cluster,
			contract.AnnotationAssigned: contract.Assignment(wf, contract.Attempt(wf), cluster),
		},
		"finalizers": withFinalizer(wf.GetFinalizers()),
	})
}

// Unassign takes back, together with the finalizer, a cluster on which nothing has started, so that the Workflow can be assigned
// anew. What the user chose directly stays; with a Placement the cluster is the Placement's answer.
func Unassign(ctx context.Context, c client.Client, wf *Workflow) error {
	annotations := map[string]any{contract.AnnotationAssigned: nil}
	if wf.GetAnnotations()[contract.AnnotationPlacement] != "" {
		annotations[contract.AnnotationCluster] = nil
	}
	return PatchMetadata(ctx, c, wf, map[string]any{"annotations": annotations, "finalizers": withoutFinalizer(wf.GetFinalizers())})
}

// HasFinalizer reports whether the Workflow waits for the removal of what was sent of it.
func (wf *Workflow) HasFinalizer() bool {
	return slices.Contains(wf.GetFinalizers(), contract.FinalizerDispatch)
}

// RemoveFinalizers removes all finalizers of this project from a Workflow that no manager looks after any more.
func RemoveFinalizers(ctx context.Context, c client.Client, wf *Workflow) error {
	left := slices.DeleteFunc(slices.Clone(wf.GetFinalizers()), contract.IsFinalizer)
	if len(left) == len(wf.GetFinalizers()) {
		return nil
	}
	return PatchMetadata(ctx, c, wf, map[string]any{"finalizers": left})
}

// RemoveFinalizer removes the finalizer that keeps a deleted Workflow until nothing of it is left on its cluster.
func RemoveFinalizer(ctx context.Context, c client.Client, wf *Workflow) error {
	if !wf.HasFinalizer() {
		return nil
	}
	return PatchMetadata(ctx, c, wf, map[string]any{"finalizers": withoutFinalizer(wf.GetFinalizers())})
}

// PatchMetadata merges metadata into the Workflow's; it fails with a conflict if the Workflow has changed since
// it was read.
func PatchMetadata(ctx context.Context, c client.Client, wf *Workflow, metadata map[string]any) error {
	metadata["resourceVersion"] = wf.GetResourceVersion()
	data, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	if err := c.Patch(ctx, MetadataOf(wf), client.RawPatch(types.MergePatchType, data)); err != nil {
		return fmt.Errorf("patch metadata of Workflow %s: %w", wf.Key(), err)
	}
	return nil
}

// SetSpec makes this the spec of the Workflow; it fails with a conflict if the Workflow has changed since it was read.
func SetSpec(ctx context.Context, c client.Client, wf *Workflow, spec map[string]any) error {
	return patch(ctx, c, wf, []operation{{"add", "/spec", spec}})
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
