package run

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// orphanGrace is for how long a copy that is being deleted is kept although the hub has no RemoteWorkflow of it. A hub that was
// restored from a backup may be about to make the RemoteWorkflow again, and then the copy is the evidence that it has run.
const orphanGrace = time.Hour

// indexRemoteWorkflow finds copies by the name of their RemoteWorkflow.
const indexRemoteWorkflow = "remoteWorkflow"

func remoteWorkflowOf(wf client.Object) []string {
	if name := wf.GetAnnotations()[contract.AnnotationRemoteWorkflow]; name != "" {
		return []string{name}
	}
	return nil
}

// decideOrphan decides about a copy while the hub has no RemoteWorkflow of this key. One of this hub that is being deleted, and
// waits for nothing but a report that nobody will take, is let go in the end.
func decideOrphan(key client.ObjectKey, hubID string, wf *unstructured.Unstructured, now time.Time) decision {
	ref := contract.ReferenceOf(wf)
	isOurs := hubID != "" && ref.HubID == hubID && ref.Cluster == key.Namespace && ref.RemoteWorkflow == key.Name
	if !isOurs || !hasFinalizer(wf) || !isDeleted(wf) {
		return decision{action: wait}
	}
	if within := wf.GetDeletionTimestamp().Add(orphanGrace).Sub(now); within > 0 {
		return decision{action: wait, within: within}
	}
	return decision{action: release}
}

// seeToOrphan sees to the copy of a RemoteWorkflow that the hub's cache does not show. Only the hub's API server can say that
// there is none.
func (r *Reconciler) seeToOrphan(ctx context.Context, key client.ObjectKey) (reconcile.Result, error) {
	wf, next, err := r.findOrphan(ctx, key)
	if err != nil {
		return reconcile.Result{}, err
	}
	if wf == nil {
		r.memory.forget(key.Name)
		return reconcile.Result{}, nil
	}
	err = r.HubLive.Get(ctx, key, &v1alpha1.RemoteWorkflow{})
	switch {
	case err == nil:
		return reconcile.Result{}, nil // the watch brings it
	case !isAbsent(err):
		return reconcile.Result{}, fmt.Errorf("get RemoteWorkflow: %w", err)
	case next.action == release:
		return retryStale(reconcile.Result{}, r.letGo(ctx, key, wf))
	}
	if known := r.memory.of(key.Name, wf.GetUID()); !known.told {
		known.told = true
		r.Recorder.Eventf(wf, nil, corev1.EventTypeWarning, "Orphaned", "Release",
			"kept in deletion until %s: the hub has no RemoteWorkflow %s of it, and may get it back from a backup; "+
				"`argo-multicluster agent release` lets go now", wf.GetDeletionTimestamp().Add(orphanGrace).UTC().Format(time.RFC3339), key)
	}
	return reconcile.Result{RequeueAfter: next.within}, nil
}

// findOrphan returns the copy for which there is something to do, or to wait for, without a RemoteWorkflow of this key; nil if
// there is none.
func (r *Reconciler) findOrphan(ctx context.Context, key client.ObjectKey) (*unstructured.Unstructured, decision, error) {
	copies := contract.NewWorkflowList()
	if err := r.Managed.List(ctx, copies, client.MatchingFields{indexRemoteWorkflow: key.Name}); err != nil {
		return nil, decision{}, fmt.Errorf("list Workflows: %w", err)
	}
	for i := range copies.Items {
		next := decideOrphan(key, r.HubID, &copies.Items[i], r.Clock.Now())
		if next.action == release || next.within > 0 {
			return &copies.Items[i], next, nil
		}
	}
	return nil, decision{}, nil
}

// letGo lets an orphan go unreported.
func (r *Reconciler) letGo(ctx context.Context, key client.ObjectKey, wf *unstructured.Unstructured) error {
	if err := r.patchWorkflow(ctx, r.memory.of(key.Name, wf.GetUID()), wf, releasePatch(wf)); err != nil {
		return fmt.Errorf("release the copy: %w", err)
	}
	log.FromContext(ctx).Info("let go unreported: the hub has no RemoteWorkflow of it",
		"workflow", client.ObjectKeyFromObject(wf), "uid", wf.GetUID(), "deleted", wf.GetDeletionTimestamp())
	r.Recorder.Eventf(wf, nil, corev1.EventTypeWarning, "Released", "Release",
		"let go unreported: it is deleted, and for %s the hub has had no RemoteWorkflow %s of it", orphanGrace, key)
	return nil
}

// isAbsent reports whether the error is an API server's word that there is no such object. The 404 of one that does not serve
// the kind at all says nothing about the object.
func isAbsent(err error) bool {
	return apierrors.IsNotFound(err) && !apierrors.IsUnexpectedServerError(err)
}
