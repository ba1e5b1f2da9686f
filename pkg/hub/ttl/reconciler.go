// Package ttl deletes finished Workflows on the hub as their ttlStrategy says: no Argo controller there would.
package ttl

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
)

// reasonExpired is the reason of the Event on a Workflow that is deleted.
const reasonExpired = "TTLExpired"

// Reconciler deletes Workflows.
type Reconciler struct {
	Client   client.Client
	Recorder events.EventRecorder
	// Clock is the hub's. The end of a run is by the clock of its cluster.
	Clock clock.PassiveClock
}

// Reconcile deletes a Workflow whose time is over, or waits for that. Its run goes as with every other deletion.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	wf := contract.NewWorkflow()
	if err := r.Client.Get(ctx, req.NamespacedName, wf); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	at, expires := expiry(wf)
	if !expires || hubcopy.IsForeign(wf) {
		return ctrl.Result{}, nil
	}
	if remaining := at.Sub(r.Clock.Now()); remaining > 0 {
		return ctrl.Result{RequeueAfter: remaining}, nil
	}
	return ctrl.Result{}, hubcopy.IgnoreStale(r.delete(ctx, wf))
}

// delete deletes the Workflow as it was read, and no other version of it: it may have been retried, or given more time.
func (r *Reconciler) delete(ctx context.Context, wf *unstructured.Unstructured) error {
	uid, version := wf.GetUID(), wf.GetResourceVersion()
	if err := r.Client.Delete(ctx, wf, client.Preconditions{UID: &uid, ResourceVersion: &version},
		client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		return fmt.Errorf("delete Workflow %s: %w", client.ObjectKeyFromObject(wf), err)
	}
	expired.Inc()
	finishedAt := contract.StatusString(contract.Status(wf), "finishedAt")
	r.Recorder.Eventf(wf, nil, corev1.EventTypeNormal, reasonExpired, "Delete",
		"deleted as its ttlStrategy says: it was %s at %s", contract.Phase(wf), finishedAt)
	ctrl.LoggerFrom(ctx).Info("deleted as its ttlStrategy says", "phase", contract.Phase(wf), "finishedAt", finishedAt)
	return nil
}
