package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// absenceGrace is for how long a remote Workflow that was started is kept after the hub has first said that it has no RemoteWorkflow
// of it. A hub that was restored from a backup may be about to make the RemoteWorkflow again, and then this is the evidence that it
// has run.
const absenceGrace = time.Hour

// absent is the state of a remote Workflow without RemoteWorkflow.
const absent = "without RemoteWorkflow"

// indexRemoteWorkflow finds remote Workflows by the name of their RemoteWorkflow.
const indexRemoteWorkflow = "remoteWorkflow"

func remoteWorkflowOf(wf client.Object) []string {
	if name := wf.GetAnnotations()[contract.AnnotationRemoteWorkflow]; name != "" {
		return []string{name}
	}
	return nil
}

// isLeftover reports whether wf is a remote Workflow that was never started and, by what the cache of the hub shows, never will be. OCM's
// work agent, whose cache lags, may create it when nothing wants it any more, and nothing else would free its name. Nothing is
// lost with it: it is created again should it be delivered again.
func isLeftover(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) bool {
	return wf != nil && isUntouched(wf) && isOf(wf, client.ObjectKeyFromObject(rw), rw.Spec.HubID) && isUnwanted(rw, wf)
}

// isUntouched reports whether a remote Workflow is as it was created: neither started nor being deleted.
func isUntouched(wf *unstructured.Unstructured) bool {
	return isGated(wf) && len(contract.Status(wf)) == 0 && !hasFinalizer(wf) && !isDeleted(wf)
}

// isOf reports whether a remote Workflow refers to the RemoteWorkflow of this key on the hub with this id.
func isOf(wf *unstructured.Unstructured, key client.ObjectKey, hubID string) bool {
	ref := contract.ReferenceOf(wf)
	return hubID != "" && ref.HubID == hubID && ref.Cluster == key.Namespace && ref.RemoteWorkflow == key.Name
}

// isUnwanted reports whether a hub that has this RemoteWorkflow, nil for none, does not let start what was made for it.
func isUnwanted(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) bool {
	switch {
	case rw == nil, isDeleted(rw):
		return true
	case rw.Status.RemoteUID != "":
		return !isRecorded(rw, wf)
	}
	return contract.ReferenceOf(wf).RemoteWorkflowUID != rw.UID
}

// decideAbsent decides about a remote Workflow of which the hub has no RemoteWorkflow. since is when the hub has first said so, zero if
// it has not been asked yet. One that was started runs to its end; when that may be known to be of no use to the hub it goes.
func decideAbsent(wf *unstructured.Unstructured, since, now time.Time) decision {
	if isUntouched(wf) {
		return decision{action: discard}
	}
	if since.IsZero() {
		since = now
	}
	switch within := since.Add(absenceGrace).Sub(now); {
	case within > 0:
		return decision{action: wait, within: within}
	case isDeleted(wf):
		return decision{action: unguard}
	case contract.IsFinished(contract.Phase(wf)) && !isArchiving(wf):
		return decision{action: remove}
	}
	return decision{action: wait}
}

// reconcileAbsent sees to the remote Workflow of a RemoteWorkflow that the hub's cache does not show. Only the hub's API server can say
// that there is none: it is asked at first, and before anything is done. Any other answer ends what it has said before.
func (r *Reconciler) reconcileAbsent(ctx context.Context, key client.ObjectKey) (reconcile.Result, error) {
	known := r.hints.of(key.Name, "")
	wf, next, err := r.findAbsent(ctx, key, known.entered)
	if err != nil {
		return reconcile.Result{}, err
	}
	switch {
	case wf == nil:
		r.hints.forget(key.Name)
		return reconcile.Result{}, nil
	case next.action == discard:
		return retryStale(reconcile.Result{}, r.discard(ctx, key, wf))
	case next.action == wait && next.within == 0:
		return reconcile.Result{}, nil // it runs on
	case next.action == wait && !known.entered.IsZero():
		return reconcile.Result{RequeueAfter: next.within}, nil // not for each change of what runs
	}
	if err := r.confirm(ctx, key, func(live *v1alpha1.RemoteWorkflow) bool { return live == nil }); err != nil {
		known.entered = time.Time{}
		return retryStale(reconcile.Result{}, err)
	}
	if known.entered.IsZero() {
		known.since(absent, r.Clock.Now())
		r.Recorder.Eventf(wf, nil, corev1.EventTypeWarning, "Orphaned", "Report",
			"the hub has no RemoteWorkflow %s of it: it runs to its end unreported, and is kept until %s, for a backup of the hub may bring that "+
				"back; `argo-multicluster agent release` removes the finalizer now",
			key, known.entered.Add(absenceGrace).UTC().Format(time.RFC3339))
	}
	if next.action == wait {
		return reconcile.Result{RequeueAfter: next.within}, nil
	}
	return retryStale(reconcile.Result{}, r.dispose(ctx, key, wf, next.action))
}

// findAbsent returns the remote Workflow for which there is most to do if the hub has no RemoteWorkflow of this key: one that need not
// wait, else one that waits for the hub, else one that runs on; nil if there is none that was made by this hub, and is the agent's.
func (r *Reconciler) findAbsent(
	ctx context.Context, key client.ObjectKey, since time.Time,
) (found *unstructured.Unstructured, next decision, err error) {
	list := contract.NewWorkflowList()
	if err := r.Managed.List(ctx, list, client.MatchingFields{indexRemoteWorkflow: key.Name}); err != nil {
		return nil, decision{}, fmt.Errorf("list Workflows: %w", err)
	}
	for i := range list.Items {
		wf := &list.Items[i]
		if !isOf(wf, key, r.HubID) || !hasFinalizer(wf) && !isUntouched(wf) {
			continue
		}
		d := decideAbsent(wf, since, r.Clock.Now())
		if d.action != wait {
			return wf, d, nil
		}
		if found == nil || d.within > 0 {
			found, next = wf, d
		}
	}
	return found, next, nil
}

// discard deletes a leftover, if the hub's API server confirms that it is one.
func (r *Reconciler) discard(ctx context.Context, key client.ObjectKey, wf *unstructured.Unstructured) error {
	if err := r.confirm(ctx, key, func(live *v1alpha1.RemoteWorkflow) bool { return isUnwanted(live, wf) }); err != nil {
		return err
	}
	return r.dispose(ctx, key, wf, discard)
}

// fates say what becomes of remote Workflows that the hub does not know or want, by what the agent does.
var fates = map[action]struct{ result, why string }{
	discard: {"never_started", "deleted: it was never started, and the hub does not want it"},
	remove:  {"finished", "deleted: it has finished, and the hub has had no RemoteWorkflow of it for an hour"},
	unguard: {"unreported", "finalizer removed: it is being deleted, and the hub has had no RemoteWorkflow of it for an hour"},
}

// dispose does that, and says so.
func (r *Reconciler) dispose(ctx context.Context, key client.ObjectKey, wf *unstructured.Unstructured, how action) error {
	do := func() error { return r.delete(ctx, wf, metav1.DeletePropagationBackground) }
	if how == unguard {
		do = func() error { return r.unguard(ctx, r.hints.of(key.Name, ""), wf) }
	}
	if err := do(); err != nil {
		return err
	}
	fate := fates[how]
	r.Metrics.leftover.WithLabelValues(fate.result).Inc()
	log.FromContext(ctx).Info(fate.why, "workflow", client.ObjectKeyFromObject(wf), "uid", wf.GetUID(), "remoteWorkflow", key)
	r.Recorder.Eventf(wf, nil, corev1.EventTypeWarning, "Removed", "Remove", "%s: RemoteWorkflow %s", fate.why, key)
	return nil
}

// errUnconfirmed is returned when the hub's cache shows something else than its API server has. The watch will bring that.
var errUnconfirmed = errors.New("the hub does not confirm what its cache shows")

// confirm asks the hub's API server for the RemoteWorkflow, and returns errUnconfirmed unless that is as it is to be. It is nil if
// the API server says that there is none.
func (r *Reconciler) confirm(ctx context.Context, key client.ObjectKey, is func(live *v1alpha1.RemoteWorkflow) bool) error {
	live := &v1alpha1.RemoteWorkflow{}
	err := r.HubLive.Get(ctx, key, live)
	switch {
	case contract.IsAbsent(err):
		live = nil
	case err != nil:
		return fmt.Errorf("ask the hub for the RemoteWorkflow: %w", err)
	}
	if !is(live) {
		return errUnconfirmed
	}
	return nil
}
