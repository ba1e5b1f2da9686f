package run

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// shutdownTerminate makes an Argo controller end a Workflow without its exit handlers.
const shutdownTerminate = "Terminate"

// claim makes the copy the run: its UID is recorded on the RemoteWorkflow, provided that this is as it was read, with
// no UID on it. The hub's API server is the judge between copies.
func (r *Reconciler) claim(ctx context.Context, rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) error {
	status := *rw.Status.DeepCopy()
	status.RemoteUID = wf.GetUID()
	if err := r.writeStatus(ctx, rw, status); err != nil {
		return fmt.Errorf("record the copy's UID: %w", err)
	}
	return nil
}

// start guards the run with the finalizer and opens its gate, in one patch that fails if the copy is not as it was read.
func (r *Reconciler) start(ctx context.Context, rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) error {
	gated := isGated(wf)
	if err := r.patchWorkflow(ctx, r.memory.recall(rw), wf, startPatch(rw, wf, r.InstanceID)); err != nil {
		return fmt.Errorf("open the gate: %w", err)
	}
	if !gated {
		return nil
	}
	r.Metrics.gates.Inc()
	log.FromContext(ctx).Info("gate opened", "workflow", client.ObjectKeyFromObject(wf), "uid", wf.GetUID())
	r.Recorder.Eventf(wf, nil, corev1.EventTypeNormal, "Started", "Start",
		"started for Workflow %s/%s of the hub", rw.Spec.WorkflowRef.Namespace, rw.Spec.WorkflowRef.Name)
	return nil
}

// terminate ends a run that is being deleted: Argo goes on running it as long as it exists, and the finalizer keeps it.
func (r *Reconciler) terminate(ctx context.Context, rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) error {
	if _, done := terminatedAt(wf); done {
		return nil
	}
	if err := r.patchWorkflow(ctx, r.memory.recall(rw), wf, terminatePatch(wf, r.Clock.Now())); err != nil {
		return fmt.Errorf("terminate: %w", err)
	}
	log.FromContext(ctx).Info("terminating: it is being deleted", "workflow", client.ObjectKeyFromObject(wf))
	r.Recorder.Eventf(wf, nil, corev1.EventTypeWarning, "Terminated", "Terminate",
		"terminated because it is being deleted; Workflow %s/%s of the hub is not run again",
		rw.Spec.WorkflowRef.Namespace, rw.Spec.WorkflowRef.Name)
	return nil
}

// stop terminates a run that was deleted on the hub. One that the cluster does not let it terminate is withdrawn as it is.
func (r *Reconciler) stop(ctx context.Context, rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) error {
	err := r.terminate(ctx, rw, wf)
	if isRefused(err) && r.isOverdue(wf) {
		return r.withdraw(ctx, rw, wf)
	}
	return err
}

// isOverdue reports whether a copy that is being deleted would have ended by now, had the cluster let the agent terminate it.
func (r *Reconciler) isOverdue(wf *unstructured.Unstructured) bool {
	return r.Clock.Now().After(wf.GetDeletionTimestamp().Add(terminationGrace))
}

// withdraw deletes the copy in the foreground, so that it waits for its pods, and what waits for it on the hub, too, and then lets it go.
// Left alone, the pods would be collected later, and be in the way of a next Workflow of that name.
func (r *Reconciler) withdraw(ctx context.Context, rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) error {
	if !hasFinalizer(wf) || slices.Contains(wf.GetFinalizers(), metav1.FinalizerDeleteDependents) {
		return r.release(ctx, r.memory.recall(rw), wf)
	}
	err := r.Managed.Delete(ctx, wf, client.PropagationPolicy(metav1.DeletePropagationForeground),
		client.Preconditions{UID: ptr.To(wf.GetUID())})
	if err != nil {
		return fmt.Errorf("delete the copy with its pods: %w", err)
	}
	return nil // the watch shows that it waits for them
}

// release lets the copy go.
func (r *Reconciler) release(ctx context.Context, known *hints, wf *unstructured.Unstructured) error {
	if !hasFinalizer(wf) {
		return nil
	}
	if err := r.patchWorkflow(ctx, known, wf, releasePatch(wf)); err != nil {
		return fmt.Errorf("release the copy: %w", err)
	}
	return nil
}

// patchWorkflow sends a merge patch. The answer is metadata only: a Workflow can have a megabyte.
func (r *Reconciler) patchWorkflow(ctx context.Context, known *hints, wf *unstructured.Unstructured, patch map[string]any) error {
	data, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	answer := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: wf.GetNamespace(), Name: wf.GetName()}}
	answer.SetGroupVersionKind(contract.WorkflowGVK)
	if err := r.Managed.Patch(ctx, answer, client.RawPatch(types.MergePatchType, data)); err != nil {
		return err
	}
	known.workflow.replaced(wf.GetResourceVersion(), answer.ResourceVersion, r.Clock.Now())
	return nil
}

// precondition is the metadata of a patch for exactly this version of exactly this object. A stale one is answered
// with a conflict.
func precondition(wf *unstructured.Unstructured) map[string]any {
	return map[string]any{"uid": wf.GetUID(), "resourceVersion": wf.GetResourceVersion()}
}

// startPatch adds the finalizer beside those of others, removes the gate or replaces it by the instance id of the
// cluster's own Argo controller, and restores the reference by which the agent finds the copy.
func startPatch(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, instanceID string) map[string]any {
	metadata := precondition(wf)
	if !hasFinalizer(wf) {
		metadata["finalizers"] = append(slices.Clone(wf.GetFinalizers()), contract.FinalizerReport)
	}
	labels := map[string]any{contract.LabelCluster: rw.Namespace}
	if isGated(wf) {
		labels[contract.LabelInstanceID] = nil
		if instanceID != "" {
			labels[contract.LabelInstanceID] = instanceID
		}
	}
	metadata["labels"], metadata["annotations"] = labels, contract.AnnotationsTo(rw)
	return map[string]any{"metadata": metadata}
}

func releasePatch(wf *unstructured.Unstructured) map[string]any {
	metadata := precondition(wf)
	metadata["finalizers"] = slices.DeleteFunc(slices.Clone(wf.GetFinalizers()),
		func(finalizer string) bool { return finalizer == contract.FinalizerReport })
	return map[string]any{"metadata": metadata}
}

// terminatePatch tells Argo to end the run, which it does not as long as the run is suspended.
func terminatePatch(wf *unstructured.Unstructured, now time.Time) map[string]any {
	metadata := precondition(wf)
	metadata["annotations"] = map[string]any{contract.AnnotationTerminated: now.UTC().Format(time.RFC3339)}
	return map[string]any{"metadata": metadata, "spec": map[string]any{"shutdown": shutdownTerminate, "suspend": nil}}
}

// terminatedAt returns when the agent terminated the run, and whether it did.
func terminatedAt(wf *unstructured.Unstructured) (time.Time, bool) {
	at, err := time.Parse(time.RFC3339, wf.GetAnnotations()[contract.AnnotationTerminated])
	return at, err == nil
}
