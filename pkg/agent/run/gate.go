package run

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
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
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// shutdownTerminate makes an Argo controller end a Workflow without its exit handlers.
const shutdownTerminate = "Terminate"

// claim records the UID of the remote Workflow on the RemoteWorkflow, provided that this is as it was read, with
// no UID on it. The hub's API server is the judge of which one is the attempt.
func (r *Reconciler) claim(ctx context.Context, rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) error {
	status := *rw.Status.DeepCopy()
	status.RemoteUID = wf.GetUID()
	if err := r.writeStatus(ctx, rw, status); err != nil {
		return fmt.Errorf("record the remote Workflow's UID: %w", err)
	}
	return nil
}

// start adds the finalizer and opens the gate, in one patch that fails if the remote Workflow is not as it was read. Unless it follows
// directly on the agent's own claim, the hub is asked whether it still holds: the agent may have been away for long.
func (r *Reconciler) start(ctx context.Context, rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, directly bool) error {
	gated := isGated(wf)
	if gated && !directly {
		if err := r.confirm(ctx, client.ObjectKeyFromObject(rw), func(live *v1alpha1.RemoteWorkflow) bool {
			return live != nil && live.UID == rw.UID && !isDeleted(live) && isRecorded(live, wf)
		}); err != nil {
			return err
		}
	}
	if err := r.patchWorkflow(ctx, r.hints.recall(rw), wf, startPatch(rw, wf, r.InstanceID)); err != nil {
		return r.explain(ctx, rw, wf, fmt.Errorf("open the gate: %w", err))
	}
	if gated {
		r.Metrics.gates.Inc()
		log.FromContext(ctx).Info("gate opened", "workflow", client.ObjectKeyFromObject(wf), "uid", wf.GetUID())
		r.Recorder.Eventf(wf, nil, corev1.EventTypeNormal, "Started", "Start",
			"started for Workflow %s/%s of the hub", rw.Spec.WorkflowRef.Namespace, rw.Spec.WorkflowRef.Name)
	}
	return nil
}

// control changes the spec of a running remote Workflow as its user on the hub wants, in one patch that fails if it is not as it was read.
// If the cluster does not let it be changed, the hub learns that with the report, and the next try is later.
func (r *Reconciler) control(
	ctx context.Context, rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, next decision,
) (reconcile.Result, error) {
	known := r.hints.recall(rw)
	denied := func() (reconcile.Result, error) {
		next.conditions = append(next.conditions, known.denied.condition)
		result, err := r.report(ctx, rw, wf, next)
		result.RequeueAfter = cmp.Or(result.RequeueAfter, deniedRetry)
		return result, err
	}
	if known.denied.of(rw, r.Clock.Now()) {
		return denied()
	}
	spec, metadata := controlsPatch(rw, wf), precondition(wf)
	metadata["annotations"] = map[string]any{contract.AnnotationControls: contract.EncodeControls(rw.Spec.Controls)}
	switch err := r.patchWorkflow(ctx, known, wf, map[string]any{"metadata": metadata, "spec": spec}); {
	case contract.IsRefused(err):
		known.denied = denial{generation: rw.Generation, until: r.Clock.Now().Add(deniedRetry), condition: changeDenied(err)}
		return denied()
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("change the spec: %w", err)
	}
	changes, err := json.Marshal(spec)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("encode what has changed: %w", err)
	}
	log.FromContext(ctx).Info("changed as on the hub", "workflow", client.ObjectKeyFromObject(wf), "spec", string(changes))
	r.Recorder.Eventf(wf, nil, corev1.EventTypeNormal, "Changed", "Change",
		"spec changed as that of Workflow %s/%s of the hub was: %s", rw.Spec.WorkflowRef.Namespace, rw.Spec.WorkflowRef.Name, changes)
	return reconcile.Result{}, nil
}

// explain says on the RemoteWorkflow that the cluster itself does not let the remote Workflow start: a policy or a webhook. The error
// is returned, so that it is tried again.
func (r *Reconciler) explain(ctx context.Context, rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, err error) error {
	if contract.IsRefused(err) {
		return errors.Join(err, r.inform(ctx, rw, wf, startDenied(rw, err)))
	}
	return err
}

// terminate ends a remote Workflow that is to go: Argo goes on running it as long as it exists, and the finalizer keeps it.
func (r *Reconciler) terminate(ctx context.Context, rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) error {
	if _, done := terminatedAt(wf); done {
		return nil
	}
	if err := r.patchWorkflow(ctx, r.hints.recall(rw), wf, terminatePatch(wf, r.Clock.Now())); err != nil {
		return fmt.Errorf("terminate: %w", err)
	}
	why := "it was deleted"
	if isDeleted(rw) {
		why = "it was deleted on the hub"
	}
	log.FromContext(ctx).Info("terminating", "why", why, "workflow", client.ObjectKeyFromObject(wf))
	r.Recorder.Eventf(wf, nil, corev1.EventTypeWarning, "Terminated", "Terminate",
		"terminated because %s; Workflow %s/%s of the hub is not run again", why, rw.Spec.WorkflowRef.Namespace, rw.Spec.WorkflowRef.Name)
	return nil
}

// end terminates a remote Workflow that was deleted on this cluster, and reports it like any other. That it was deleted is reported with
// its end, for it may still succeed. How the hub answers changes nothing for it.
func (r *Reconciler) end(
	ctx context.Context, rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, next decision,
) (reconcile.Result, error) {
	if err := r.terminate(ctx, rw, wf); contract.IsRefused(err) && next.overdue {
		return r.report(ctx, rw, wf, decision{conditions: append(next.conditions, deletedUnfinished(rw)), unguard: true})
	} else if err != nil {
		return reconcile.Result{}, err
	}
	result, err := r.report(ctx, rw, wf, next)
	if result.RequeueAfter == 0 || next.within < result.RequeueAfter {
		result.RequeueAfter = next.within
	}
	return result, err
}

// stop terminates a remote Workflow that the hub wants removed. One that the cluster does not let it terminate is removed as it is.
func (r *Reconciler) stop(ctx context.Context, rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, overdue bool) error {
	err := r.terminate(ctx, rw, wf)
	if contract.IsRefused(err) && overdue {
		return r.remove(ctx, rw, wf)
	}
	return err
}

// remove deletes the remote Workflow in the foreground, so that it waits for its pods, as does what waits for it on the hub, and then
// removes the finalizer. Left alone, the pods would be collected later, and be in the way of a next Workflow of that name. One whose
// artifacts Argo is still to collect is first deleted in the background: the foreground would take the pods that collect them.
func (r *Reconciler) remove(ctx context.Context, rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) error {
	switch finalizers := wf.GetFinalizers(); {
	case slices.Contains(finalizers, metav1.FinalizerDeleteDependents), isDeleted(wf) && !hasFinalizer(wf):
		return r.unguard(ctx, r.hints.recall(rw), wf)
	case !isDeleted(wf) && slices.Contains(finalizers, contract.FinalizerArtifactGC):
		return r.delete(ctx, wf, metav1.DeletePropagationBackground)
	}
	return r.delete(ctx, wf, metav1.DeletePropagationForeground) // the watch shows that it waits for its pods
}

// delete deletes a remote Workflow, provided that it is as it was read: a finalizer that is added while a request that names the UID
// alone is under way would not hold it.
func (r *Reconciler) delete(ctx context.Context, wf *unstructured.Unstructured, propagation metav1.DeletionPropagation) error {
	err := r.Managed.Delete(ctx, wf, client.PropagationPolicy(propagation),
		client.Preconditions{UID: ptr.To(wf.GetUID()), ResourceVersion: ptr.To(wf.GetResourceVersion())})
	if err != nil {
		return fmt.Errorf("delete the remote Workflow: %w", err)
	}
	return nil
}

// unguard removes the finalizer.
func (r *Reconciler) unguard(ctx context.Context, known *hints, wf *unstructured.Unstructured) error {
	if !hasFinalizer(wf) {
		return nil
	}
	if err := r.patchWorkflow(ctx, known, wf, unguardPatch(wf)); err != nil {
		return fmt.Errorf("remove the finalizer: %w", err)
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
// cluster's own Argo controller, and restores the reference by which the agent finds the remote Workflow.
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
	annotations := contract.AnnotationsTo(rw)
	metadata["labels"], metadata["annotations"] = labels, annotations
	patch := map[string]any{"metadata": metadata}
	if spec := controlsPatch(rw, wf); spec != nil {
		patch["spec"] = spec
		annotations[contract.AnnotationControls] = contract.EncodeControls(rw.Spec.Controls)
	}
	return patch
}

// controlsPatch returns how the spec of the remote Workflow is to change for what the user of the hub Workflow has changed there since it
// was last applied; nil for no change. What somebody has changed on the cluster is left.
func controlsPatch(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) map[string]any {
	applied, ok := contract.DecodeControls(wf.GetAnnotations()[contract.AnnotationControls])
	if !ok {
		spec, _ := wf.Object["spec"].(map[string]any)
		applied = contract.ControlsOf(spec)
	}
	return contract.ControlsPatch(applied, rw.Spec.Controls)
}

func unguardPatch(wf *unstructured.Unstructured) map[string]any {
	metadata := precondition(wf)
	metadata["finalizers"] = slices.DeleteFunc(slices.Clone(wf.GetFinalizers()),
		func(finalizer string) bool { return finalizer == contract.FinalizerReport })
	return map[string]any{"metadata": metadata}
}

// terminatePatch has Argo end the Workflow, which it does not do as long as that is suspended.
func terminatePatch(wf *unstructured.Unstructured, now time.Time) map[string]any {
	metadata := precondition(wf)
	metadata["annotations"] = map[string]any{contract.AnnotationTerminated: format(now)}
	return map[string]any{"metadata": metadata, "spec": map[string]any{"shutdown": shutdownTerminate, "suspend": nil}}
}

// terminatedAt returns when the agent terminated the remote Workflow, and whether it did.
func terminatedAt(wf *unstructured.Unstructured) (time.Time, bool) {
	at, err := time.Parse(time.RFC3339, wf.GetAnnotations()[contract.AnnotationTerminated])
	return at, err == nil
}
