package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

const (
	// Argo's names of a pod's Workflow and node.
	labelPodWorkflow  = "workflows.argoproj.io/workflow"
	annotationPodNode = "workflows.argoproj.io/node-id"
	// podsPoll is how often the agent looks whether the pods of a retry are gone, and podsGrace how long they may take: the kubelet of a
	// node that is lost never says so.
	podsPoll, podsGrace = time.Second, 5 * time.Minute
)

// pendingEdit returns the oldest edit that is neither applied nor answered, nil if there is none.
func pendingEdit(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) *v1alpha1.Edit {
	answered := answers(rw, wf)
	for i, e := range rw.Spec.Edits {
		if !slices.ContainsFunc(answered, func(a v1alpha1.EditAnswer) bool { return a.ID == e.ID }) {
			return &rw.Spec.Edits[i]
		}
	}
	return nil
}

// answers returns the answers to the edits that the hub asks for: those that were given, and of those that the remote Workflow says were
// applied to it.
func answers(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) []v1alpha1.EditAnswer {
	if len(rw.Spec.Edits) == 0 {
		return nil
	}
	applied := contract.AppliedEdits(wf)
	var out []v1alpha1.EditAnswer
	for _, e := range rw.Spec.Edits {
		given := slices.IndexFunc(rw.Status.Edits, func(a v1alpha1.EditAnswer) bool { return a.ID == e.ID })
		switch {
		case given >= 0:
			out = append(out, rw.Status.Edits[given])
		case slices.Contains(applied, e.ID):
			out = append(out, v1alpha1.EditAnswer{ID: e.ID, Outcome: v1alpha1.EditApplied})
		}
	}
	return out
}

// edit applies the oldest edit, in one patch that also says so and that fails if the remote Workflow is not as it was read. One that cannot
// be applied, because the remote Workflow has gone on, or because the cluster does not let it be, is refused as a whole.
func (r *Reconciler) edit(ctx context.Context, rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) (reconcile.Result, error) {
	e, now := pendingEdit(rw, wf), r.Clock.Now()
	patch, err := editPatch(rw, wf, e, now)
	if err == nil && e.Retry != nil {
		var left int
		if left, err = r.deletePods(ctx, wf, e.Retry.RemovedNodes); err == nil && left > 0 {
			if now.Before(r.hints.recall(rw).beganRetry(e.ID, now).Add(podsGrace)) {
				return reconcile.Result{RequeueAfter: podsPoll}, nil
			}
			err = refusedFor("%d pods of the nodes that are to run again were deleted, and are still there after %s: see on the cluster why, "+
				"and retry it again", left, podsGrace)
		}
	}
	if err == nil {
		err = r.patchWorkflow(ctx, r.hints.recall(rw), wf, patch)
	}
	var refused refusedEdit
	switch {
	case errors.As(err, &refused):
		return reconcile.Result{}, r.refuseEdit(ctx, rw, wf, e, refused.Error())
	case contract.IsRefused(err):
		return reconcile.Result{}, r.refuseEdit(ctx, rw, wf, e, "the cluster refuses it: "+err.Error())
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("change the status: %w", err)
	}
	log.FromContext(ctx).Info("edited as on the hub", "workflow", client.ObjectKeyFromObject(wf), "edit", e.ID)
	r.Recorder.Eventf(wf, nil, corev1.EventTypeNormal, "Edited", "Edit", "%s as Workflow %s/%s of the hub was",
		whatWasDone(e), rw.Spec.WorkflowRef.Namespace, rw.Spec.WorkflowRef.Name)
	return reconcile.Result{}, nil
}

func whatWasDone(e *v1alpha1.Edit) string {
	if e.Retry != nil {
		return fmt.Sprintf("retried (%d nodes run again)", len(e.Retry.RemovedNodes))
	}
	return fmt.Sprintf("%d nodes set", len(e.Nodes))
}

// refuseEdit answers that an edit was not applied.
func (r *Reconciler) refuseEdit(
	ctx context.Context, rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, e *v1alpha1.Edit, why string,
) error {
	status := *rw.Status.DeepCopy()
	why = cut(why, maxReasonLength)
	status.Edits = slices.DeleteFunc(status.Edits, func(a v1alpha1.EditAnswer) bool { // those that were applied come with their report
		return !slices.ContainsFunc(rw.Spec.Edits, func(asked v1alpha1.Edit) bool { return asked.ID == a.ID })
	})
	status.Edits = append(status.Edits, v1alpha1.EditAnswer{ID: e.ID, Outcome: v1alpha1.EditRefused, Message: why})
	if err := r.writeStatus(ctx, rw, status); err != nil {
		return fmt.Errorf("refuse an edit: %w", err)
	}
	log.FromContext(ctx).Info("refused an edit of the hub", "workflow", client.ObjectKeyFromObject(wf), "edit", e.ID, "why", why)
	r.Recorder.Eventf(wf, nil, corev1.EventTypeWarning, "EditRefused", "Edit", "Workflow %s/%s of the hub was changed, this one is not: %s",
		rw.Spec.WorkflowRef.Namespace, rw.Spec.WorkflowRef.Name, why)
	return nil
}

// refusedEdit is why an edit cannot be applied.
type refusedEdit struct{ error }

func refusedFor(format string, args ...any) error { return refusedEdit{fmt.Errorf(format, args...)} }

// deletePods deletes the pods of these nodes of the remote Workflow, each by its UID, and returns how many are still there. Left alone, a
// pod would be taken for that of the node that runs again, which has the same name. The API server is asked first whether the Workflow is
// as it was read: of one that was retried meanwhile, these are the pods of the new run.
func (r *Reconciler) deletePods(ctx context.Context, wf *unstructured.Unstructured, nodes []string) (left int, err error) {
	live := &metav1.PartialObjectMetadata{}
	live.SetGroupVersionKind(contract.WorkflowGVK)
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(wf), live); err != nil {
		return 0, fmt.Errorf("get Workflow: %w", err)
	}
	if live.UID != wf.GetUID() || live.ResourceVersion != wf.GetResourceVersion() {
		return 0, apierrors.NewConflict(contract.WorkflowGVR.GroupResource(), wf.GetName(), errors.New("it has changed since it was read"))
	}
	var pods metav1.PartialObjectMetadataList
	pods.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PodList"))
	ofWorkflow := client.MatchingLabels{labelPodWorkflow: wf.GetName()}
	if err := r.Live.List(ctx, &pods, client.InNamespace(wf.GetNamespace()), ofWorkflow); err != nil {
		return 0, fmt.Errorf("list pods: %w", err)
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		node := pod.Annotations[annotationPodNode]
		if node == "" {
			node = pod.Name
		}
		owner := metav1.GetControllerOf(pod)
		if owner == nil || owner.UID != wf.GetUID() || !slices.Contains(nodes, node) {
			continue
		}
		left++
		if pod.DeletionTimestamp != nil {
			continue
		}
		if err := r.Managed.Delete(ctx, pod, client.Preconditions{UID: ptr.To(pod.UID)}); client.IgnoreNotFound(err) != nil {
			return left, fmt.Errorf("delete pod %s: %w", pod.Name, err)
		}
	}
	return left, nil
}
