// Package run starts the one remote Workflow of each attempt that may run on this cluster, reports it to the hub, and removes it.
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

// Reconciler sees to the attempts that the hub has given to this cluster, one RemoteWorkflow at a time.
type Reconciler struct {
	// Hub reads RemoteWorkflows from a cache that Trim has trimmed, and writes their status.
	Hub client.Client
	// HubLive reads from the hub's API server: that there is no RemoteWorkflow, or that it still lets a remote Workflow start, is not
	// concluded from a cache.
	HubLive client.Reader
	// Managed reads Workflows of this cluster from a cache, which is restricted to ours, and patches and deletes them. They are not
	// changed in place, so that the cache need not copy them.
	Managed client.Client
	// Live reads from this cluster's API server: that a remote Workflow is gone, or is not ours, is not concluded from a cache.
	Live     client.Reader
	Recorder events.EventRecorder
	Clock    clock.PassiveClock
	Metrics  *Metrics
	Pacer    *Pacer
	// HubID is the id of the hub: the UID of its kube-system namespace. Without it, nothing is done about what the hub does not know.
	HubID string
	// InstanceID is that of this cluster's own Argo controller, "" if it has none.
	InstanceID string

	hints allHints
}

// Trim is the transform of the cache of RemoteWorkflows: it takes away what the agent has written and does not read again. A report is
// told from another by its digest.
func Trim(obj any) (any, error) {
	if rw, ok := obj.(*v1alpha1.RemoteWorkflow); ok {
		rw.ManagedFields = nil
		if rw.Status.Report != nil {
			rw.Status.Report.Data = nil
		}
	}
	return obj, nil
}

// Reconcile starts the remote Workflow of a RemoteWorkflow once the hub has recorded its UID, reports it until it has
// finished, and removes it, or leaves it, when the hub says so.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	rw := &v1alpha1.RemoteWorkflow{}
	if err := r.Hub.Get(ctx, req.NamespacedName, rw); err != nil {
		if apierrors.IsNotFound(err) {
			return r.reconcileAbsent(ctx, req.NamespacedName)
		}
		return reconcile.Result{}, fmt.Errorf("get RemoteWorkflow: %w", err)
	}
	if rw.Spec.Reporting != v1alpha1.ReportingAgent {
		return reconcile.Result{}, nil
	}
	known := r.hints.recall(rw) // and forget its absence, whatever comes next
	wf, err := r.find(ctx, rw)
	if err != nil {
		return reconcile.Result{}, err
	}
	if outdated := r.outdated(rw, wf); outdated > 0 {
		return reconcile.Result{RequeueAfter: outdated}, nil
	}
	now := r.Clock.Now()
	since := known.since(stateOf(rw, wf), now)
	next, directly := decide(rw, wf, since, now), false
	if next.action == claim {
		switch err := r.claim(ctx, rw, wf); {
		case apierrors.IsInvalid(err):
			next = notGranted(rw)
		case err != nil:
			return retryStale(reconcile.Result{}, err)
		default:
			next, directly = decide(rw, wf, since, now), r.Clock.Since(now) < staleRetry
		}
	}
	result, err := retryStale(r.act(ctx, rw, wf, next, directly))
	if err != nil {
		return reconcile.Result{}, err
	}
	if result.RequeueAfter == 0 {
		result.RequeueAfter = lookAgain(rw, wf, next)
	}
	return result, nil
}

// lookAgain returns when to see whether a Workflow has gone if no event tells; 0 for never. None does of one that the cache does not show
// by its labels, nor of one that was created and is gone while the cluster could not be watched.
func lookAgain(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, done decision) time.Duration {
	switch {
	case done.action == discard:
		return staleRetry
	case !isRecorded(rw, wf):
		return 0
	case isDeleted(rw) && !isFollowed(rw, wf):
		return staleRetry
	case isDeleted(rw) && rw.Spec.Removal != "":
		return firstLook
	case !isFollowed(rw, wf):
		return lastLook
	}
	return 0
}

// act does what has been decided, directly after the agent's own claim or not. wf is nil only where the decision needs none.
func (r *Reconciler) act(
	ctx context.Context, rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, next decision, directly bool,
) (reconcile.Result, error) {
	switch next.action {
	case wait:
		return reconcile.Result{RequeueAfter: next.within}, nil
	case start:
		return reconcile.Result{}, r.start(ctx, rw, wf, directly)
	case control:
		return r.control(ctx, rw, wf, next)
	case edit:
		return r.edit(ctx, rw, wf)
	case report:
		return r.report(ctx, rw, wf, next)
	case end:
		return r.end(ctx, rw, wf, next)
	case stop:
		return reconcile.Result{RequeueAfter: next.within}, r.stop(ctx, rw, wf, next.overdue)
	case remove:
		return reconcile.Result{}, r.remove(ctx, rw, wf)
	case unguard:
		return reconcile.Result{}, r.unguard(ctx, r.hints.recall(rw), wf)
	case discard:
		return reconcile.Result{}, r.discard(ctx, client.ObjectKeyFromObject(rw), wf)
	case refuse:
		return reconcile.Result{}, r.inform(ctx, rw, wf, next)
	case inform:
		if next.spare && !r.Pacer.isSpare(r.Clock.Now()) {
			return reconcile.Result{RequeueAfter: takeUpGrace}, nil
		}
		return reconcile.Result{}, r.inform(ctx, rw, nil, next)
	}
	return reconcile.Result{}, nil
}

// find returns what has the remote Workflow's name on this cluster, or nil. The cache's answer is good only when it is the remote
// Workflow itself, and goes with what the hub knows: it lags, and it does not show a Workflow that lacks our label, be it foreign or
// robbed of it.
func (r *Reconciler) find(ctx context.Context, rw *v1alpha1.RemoteWorkflow) (*unstructured.Unstructured, error) {
	key := client.ObjectKey{Namespace: rw.Spec.Remote.Namespace, Name: rw.Spec.Remote.Name}
	wf := contract.NewWorkflow()
	err := r.Managed.Get(ctx, key, wf)
	switch {
	case err == nil && isExpected(rw, wf) && !isBehind(rw, wf):
		return wf, nil
	case client.IgnoreNotFound(err) != nil:
		return nil, fmt.Errorf("get Workflow: %w", err)
	case err != nil && !isDeleted(rw) && meta.IsStatusConditionTrue(rw.Status.Conditions, v1alpha1.ConditionRemoteDeleted):
		return nil, nil // it is known to be gone, and nothing more follows from it
	}
	live := contract.NewWorkflow()
	err = r.Live.Get(ctx, key, live)
	switch {
	case err == nil:
		return live, nil
	case contract.IsAbsent(err):
		return nil, nil
	}
	return nil, fmt.Errorf("get Workflow: %w", err)
}

// isBehind reports whether a cached remote Workflow is not as far as the hub knows it to be. That has another cause than a cache that
// lags only if a backup was restored, or if somebody runs it again.
func isBehind(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) bool {
	return isRolledBack(rw, wf) || isBack(rw, wf) || contract.IsFinished(rw.Status.Phase) && !contract.IsFinished(contract.Phase(wf))
}

// isExpected reports whether a cached Workflow is the recorded one or, as long as none is recorded, may become it.
func isExpected(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) bool {
	if rw.Status.RemoteUID != "" {
		return isRecorded(rw, wf)
	}
	return contract.ReferenceOf(wf) == contract.ReferenceTo(rw)
}

// outdated returns for how long to wait at most for the caches to show what the agent has just written.
func (r *Reconciler) outdated(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) time.Duration {
	known, now := r.hints.recall(rw), r.Clock.Now()
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

func isStale(err error) bool {
	return apierrors.IsConflict(err) || contract.IsAbsent(err) || errors.Is(err, errUnconfirmed)
}
