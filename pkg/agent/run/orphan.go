package run

import (
	"context"
	"fmt"
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

// orphanGrace is for how long a copy that is being deleted is kept after the hub has first said that it has no RemoteWorkflow of it.
// A hub that was restored from a backup may be about to make the RemoteWorkflow again, and then the copy is the evidence that it
// has run.
const orphanGrace = time.Hour

// indexRemoteWorkflow finds copies by the name of their RemoteWorkflow.
const indexRemoteWorkflow = "remoteWorkflow"

func remoteWorkflowOf(wf client.Object) []string {
	if name := wf.GetAnnotations()[contract.AnnotationRemoteWorkflow]; name != "" {
		return []string{name}
	}
	return nil
}

// decideOrphan decides about a copy of this hub while the hub has no RemoteWorkflow of this key. absentSince is when the hub has
// first said so, zero if it has not been asked yet.
//
// One that was never started is removed: OCM's work agent, whose cache lags, may create it when its ManifestWork is gone, and
// nothing else would free its name. Nothing is lost, for it is created again should it be sent again. One that is being deleted,
// and waits for nothing but a report that nobody will take, is let go in the end.
func decideOrphan(key client.ObjectKey, hubID string, wf *unstructured.Unstructured, absentSince, now time.Time) decision {
	ref := contract.ReferenceOf(wf)
	isOurs := hubID != "" && ref.HubID == hubID && ref.Cluster == key.Namespace && ref.RemoteWorkflow == key.Name
	switch {
	case isOurs && isUntouched(wf):
		return decision{action: remove}
	case !isOurs || !hasFinalizer(wf) || !isDeleted(wf):
		return decision{action: wait}
	}
	if absentSince.IsZero() {
		absentSince = now
	}
	if within := absentSince.Add(orphanGrace).Sub(now); within > 0 {
		return decision{action: wait, within: within}
	}
	return decision{action: release}
}

// isUntouched reports whether a copy is as it was created: neither started nor being deleted.
func isUntouched(wf *unstructured.Unstructured) bool {
	return isGated(wf) && len(contract.Status(wf)) == 0 && !hasFinalizer(wf) && !isDeleted(wf)
}

// seeToOrphan sees to the copy of a RemoteWorkflow that the hub's cache does not show. Only the hub's API server can say that
// there is none, and any other answer ends what it has said before.
func (r *Reconciler) seeToOrphan(ctx context.Context, key client.ObjectKey) (reconcile.Result, error) {
	known := r.memory.of(key.Name, "")
	wf, next, err := r.findOrphan(ctx, key, known.absentSince)
	if err != nil {
		return reconcile.Result{}, err
	}
	if wf == nil {
		r.memory.forget(key.Name)
		return reconcile.Result{}, nil
	}
	if err := r.HubLive.Get(ctx, key, &v1alpha1.RemoteWorkflow{}); !isAbsent(err) {
		known.absentSince = time.Time{}
		if err != nil {
			return reconcile.Result{}, fmt.Errorf("get RemoteWorkflow: %w", err)
		}
		return reconcile.Result{RequeueAfter: staleRetry}, nil // the watch brings it, unless it goes before that
	}
	switch next.action {
	case remove:
		return retryStale(reconcile.Result{}, r.remove(ctx, key, wf))
	case release:
		return retryStale(reconcile.Result{}, r.letGo(ctx, key, known, wf))
	}
	if known.absentSince.IsZero() {
		known.absentSince = r.Clock.Now()
		r.Recorder.Eventf(wf, nil, corev1.EventTypeWarning, "Orphaned", "Release",
			"kept in deletion until %s: the hub has no RemoteWorkflow %s of it, and may get it back from a backup; "+
				"`argo-multicluster agent release` lets go now", known.absentSince.Add(orphanGrace).UTC().Format(time.RFC3339), key)
	}
	return reconcile.Result{RequeueAfter: next.within}, nil
}

// findOrphan returns the copy for which there is something to do, or else to wait for, if the hub has no RemoteWorkflow of this
// key; nil if there is none.
func (r *Reconciler) findOrphan(
	ctx context.Context, key client.ObjectKey, absentSince time.Time,
) (found *unstructured.Unstructured, next decision, err error) {
	copies := contract.NewWorkflowList()
	if err := r.Managed.List(ctx, copies, client.MatchingFields{indexRemoteWorkflow: key.Name}); err != nil {
		return nil, decision{}, fmt.Errorf("list Workflows: %w", err)
	}
	for i := range copies.Items {
		wf := &copies.Items[i]
		switch d := decideOrphan(key, r.HubID, wf, absentSince, r.Clock.Now()); {
		case d.action != wait:
			return wf, d, nil
		case d.within > 0:
			found, next = wf, d
		}
	}
	return found, next, nil
}

// remove deletes an orphan that was never started, provided that it is as it was read.
func (r *Reconciler) remove(ctx context.Context, key client.ObjectKey, wf *unstructured.Unstructured) error {
	err := r.Managed.Delete(ctx, wf, client.PropagationPolicy(metav1.DeletePropagationBackground),
		client.Preconditions{UID: ptr.To(wf.GetUID()), ResourceVersion: ptr.To(wf.GetResourceVersion())})
	if err != nil {
		return fmt.Errorf("remove the copy: %w", err)
	}
	r.Metrics.orphans.WithLabelValues("removed").Inc()
	log.FromContext(ctx).Info("removed: it was never started, and the hub has no RemoteWorkflow of it",
		"workflow", client.ObjectKeyFromObject(wf), "uid", wf.GetUID())
	r.Recorder.Eventf(wf, nil, corev1.EventTypeNormal, "Removed", "Remove",
		"removed: it was never started, and the hub has no RemoteWorkflow %s of it", key)
	return nil
}

// letGo lets an orphan go unreported.
func (r *Reconciler) letGo(ctx context.Context, key client.ObjectKey, known *hints, wf *unstructured.Unstructured) error {
	if err := r.release(ctx, known, wf); err != nil {
		return err
	}
	r.Metrics.orphans.WithLabelValues("released").Inc()
	log.FromContext(ctx).Info("let go unreported: the hub has no RemoteWorkflow of it", "workflow", client.ObjectKeyFromObject(wf),
		"uid", wf.GetUID(), "deleted", wf.GetDeletionTimestamp(), "absentSince", known.absentSince)
	r.Recorder.Eventf(wf, nil, corev1.EventTypeWarning, "Released", "Release",
		"let go unreported: it is being deleted, and the hub has had no RemoteWorkflow %s of it since %s, when it was first asked",
		key, known.absentSince.UTC().Format(time.RFC3339))
	return nil
}

// isAbsent reports whether the error is an API server's word that there is no such object. The 404 of one that does not serve
// the kind at all says nothing about the object.
func isAbsent(err error) bool {
	return apierrors.IsNotFound(err) && !apierrors.IsUnexpectedServerError(err)
}
