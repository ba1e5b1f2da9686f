// Package run starts the one copy of a Workflow that may run on this cluster, and reports it to the hub.
package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// staleRetry is when to look again after a conflict. It is a fallback: the version that won is on its way.
const staleRetry = 5 * time.Second

// Reconciler sees to the runs that the hub has given to this cluster, one RemoteWorkflow at a time.
type Reconciler struct {
	// Hub reads RemoteWorkflows from a cache, and writes their status.
	Hub client.Client
	// HubLive reads from the hub's API server: that there is no RemoteWorkflow is not concluded from a cache.
	HubLive client.Reader
	// Managed reads Workflows of this cluster from a cache, which is restricted to ours, and patches and deletes them. They are not
	// changed in place, so that the cache need not copy them.
	Managed client.Client
	// Live reads from this cluster's API server: that a copy is gone, or is not ours, is not concluded from a cache.
	Live     client.Reader
	Recorder events.EventRecorder
	Clock    clock.PassiveClock
	Metrics  *Metrics
	Pacer    *Pacer
	// HubID is the id of the hub: the UID of its kube-system namespace. Without it, no copy is let go or removed that the hub does not know.
	HubID string
	// InstanceID is that of this cluster's own Argo controller, "" if it has none.
	InstanceID string

	memory memory
}

// Reconcile starts the copy of a RemoteWorkflow's Workflow once the hub has recorded its UID, reports it until it has
// finished, and lets it go. From a RemoteWorkflow that is not there nothing is concluded but that a copy which was never started
// is of no use and, in the end, that one which is being deleted need not wait for it.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	rw := &v1alpha1.RemoteWorkflow{}
	if err := r.Hub.Get(ctx, req.NamespacedName, rw); err != nil {
		if apierrors.IsNotFound(err) {
			return r.seeToOrphan(ctx, req.NamespacedName)
		}
		return reconcile.Result{}, fmt.Errorf("get RemoteWorkflow: %w", err)
	}
	if rw.Spec.Reporting != v1alpha1.ReportingAgent {
		return reconcile.Result{}, nil
	}
	r.memory.recall(rw) // and forget its absence, whatever comes next
	wf, err := r.find(ctx, rw)
	if err != nil {
		return reconcile.Result{}, err
	}
	if outdated := r.outdated(rw, wf); outdated > 0 {
		return reconcile.Result{RequeueAfter: outdated}, nil
	}
	next := decide(rw, wf, r.Clock.Now())
	if next.action == claim {
		switch err := r.claim(ctx, rw, wf); {
		case apierrors.IsInvalid(err):
			next = notGranted(rw)
		case err != nil:
			return retryStale(reconcile.Result{}, err)
		default:
			next = decide(rw, wf, r.Clock.Now())
		}
	}
	result, err := retryStale(r.act(ctx, rw, wf, next))
	if result.RequeueAfter == 0 && !rw.DeletionTimestamp.IsZero() && wf != nil && !isFollowed(rw, wf) {
		result.RequeueAfter = staleRetry // no event tells of what becomes of it
	}
	return result, err
}

// act does what has been decided. wf is nil only where the decision needs none.
func (r *Reconciler) act(
	ctx context.Context, rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, next decision,
) (reconcile.Result, error) {
	switch next.action {
	case wait:
		return reconcile.Result{RequeueAfter: next.within}, nil
	case start:
		return reconcile.Result{}, r.explain(ctx, rw, wf, r.start(ctx, rw, wf))
	case report:
		return r.report(ctx, rw, wf, next)
	case end:
		return r.end(ctx, rw, wf, next)
	case release:
		return reconcile.Result{}, r.release(ctx, r.memory.recall(rw), wf)
	case stop:
		return reconcile.Result{RequeueAfter: next.within}, r.stop(ctx, rw, wf)
	case withdraw:
		return reconcile.Result{}, r.withdraw(ctx, rw, wf)
	case tell:
		return reconcile.Result{}, r.tell(ctx, rw, wf, next)
	case confirm:
		return reconcile.Result{}, r.tell(ctx, rw, nil, next)
	}
	return reconcile.Result{}, nil
}

// explain tells the hub that the cluster itself does not let the copy start: an admission policy. The error is returned, so that
// it is tried again.
func (r *Reconciler) explain(ctx context.Context, rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, err error) error {
	if isRefused(err) {
		return errors.Join(err, r.tell(ctx, rw, wf, startDenied(rw, err)))
	}
	return err
}

// end terminates a run that was deleted on this cluster, and reports it like any other. That it was deleted is told with its end, for
// it may still succeed. How the hub answers changes nothing for the run.
func (r *Reconciler) end(
	ctx context.Context, rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, next decision,
) (reconcile.Result, error) {
	if err := r.terminate(ctx, rw, wf); isRefused(err) && r.isOverdue(wf) {
		next = decision{action: report, conditions: append(next.conditions, deletedUnfinished(rw)), release: true}
		return r.report(ctx, rw, wf, next)
	} else if err != nil {
		return reconcile.Result{}, err
	}
	result, err := r.report(ctx, rw, wf, next)
	if result.RequeueAfter == 0 || next.within < result.RequeueAfter {
		result.RequeueAfter = next.within
	}
	return result, err
}

// find returns what bears the copy's name on this cluster, or nil. The cache's answer is good only when it is the copy
// itself, and goes with what the hub knows: it lags, and it does not show a Workflow that lacks our label, be it foreign or
// robbed of it.
func (r *Reconciler) find(ctx context.Context, rw *v1alpha1.RemoteWorkflow) (*unstructured.Unstructured, error) {
	key := client.ObjectKey{Namespace: rw.Spec.Remote.Namespace, Name: rw.Spec.Remote.Name}
	wf := contract.NewWorkflow()
	err := r.Managed.Get(ctx, key, wf)
	switch {
	case err == nil && isCopy(rw, wf) && !isBehind(rw, wf):
		return wf, nil
	case client.IgnoreNotFound(err) != nil:
		return nil, fmt.Errorf("get Workflow: %w", err)
	case err != nil && rw.DeletionTimestamp.IsZero() && meta.IsStatusConditionTrue(rw.Status.Conditions, v1alpha1.ConditionRemoteDeleted):
		return nil, nil // it is known to be gone, and nothing more follows from it
	}
	live := contract.NewWorkflow()
	err = r.Live.Get(ctx, key, live)
	switch {
	case err == nil:
		return live, nil
	case isAbsent(err):
		return nil, nil
	}
	return nil, fmt.Errorf("get Workflow: %w", err)
}

// isBehind reports whether a cached copy is not as far as the hub knows it to be. That has another cause than a cache that lags
// only if a backup was restored, or if somebody runs it again.
func isBehind(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) bool {
	return isRolledBack(rw, wf) || isBack(rw, wf) || contract.IsFinished(rw.Status.Phase) && !contract.IsFinished(contract.Phase(wf))
}

// isCopy reports whether a cached Workflow is the recorded copy or, as long as none is recorded, may become it.
func isCopy(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) bool {
	if rw.Status.RemoteUID != "" {
		return isRun(rw, wf)
	}
	return contract.ReferenceOf(wf) == contract.ReferenceTo(rw)
}

// outdated returns for how long to wait at most for the caches to show what the agent has just written.
func (r *Reconciler) outdated(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) time.Duration {
	known, now := r.memory.recall(rw), r.Clock.Now()
	if wf == nil {
		return known.remote.wait(rw.ResourceVersion, now)
	}
	return max(known.remote.wait(rw.ResourceVersion, now), known.workflow.wait(wf.GetResourceVersion(), now))
}

// retryStale makes an error that only says that an object has changed, or is gone, since it was read a retry. The watch
// brings the change, and with it the next try.
func retryStale(result reconcile.Result, err error) (reconcile.Result, error) {
	if isStale(err) {
		return reconcile.Result{RequeueAfter: staleRetry}, nil
	}
	return result, err
}

// isRefused reports whether a policy of the cluster is against it.
func isRefused(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) }

func isStale(err error) bool { return apierrors.IsConflict(err) || apierrors.IsNotFound(err) }
