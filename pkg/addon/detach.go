package addon

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/events"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// SetupDetach adds to the manager what removes the addon framework's finalizer from the agent's addon of a cluster that is detached
// and cannot be reached: nobody runs its pre-delete hook there, and the cluster would stay on the hub for ever. It runs on the
// leader. hubID is that of Options.
func SetupDetach(mgr manager.Manager, hubID string) error {
	r := &detachReconciler{client: mgr.GetClient(), recorder: mgr.GetEventRecorder(contract.AddonName + "-hub"), hubID: hubID}
	return builder.ControllerManagedBy(mgr).
		Named("addon-detach").
		For(&addonv1beta1.ManagedClusterAddOn{}).
		Watches(&clusterv1.ManagedCluster{}, handler.EnqueueRequestsFromMapFunc(agentAddonOf)).
		Complete(r)
}

// agentAddonOf asks for the agent's addon on a cluster.
func agentAddonOf(_ context.Context, cluster client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: cluster.GetName(), Name: contract.AddonName}}}
}

// detachReconciler removes the finalizer from the agent's addon of detached clusters.
type detachReconciler struct {
	client   client.Client
	recorder events.EventRecorder
	hubID    string
}

// Reconcile removes the finalizer from an addon that is being deleted if its cluster is, too, and is not available, or if there is no
// cluster any more, and says what remains to be done. As long as the cluster answers, its work agent runs the hook.
func (r *detachReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	addon := &addonv1beta1.ManagedClusterAddOn{}
	if err := r.client.Get(ctx, req.NamespacedName, addon); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if addon.DeletionTimestamp.IsZero() || !controllerutil.RemoveFinalizer(addon, addonv1beta1.AddonPreDeleteHookFinalizer) {
		return ctrl.Result{}, nil
	}
	cluster := &clusterv1.ManagedCluster{}
	err := r.client.Get(ctx, client.ObjectKey{Name: req.Namespace}, cluster)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, err
	}
	if err == nil && (cluster.DeletionTimestamp.IsZero() ||
		meta.IsStatusConditionTrue(cluster.Status.Conditions, clusterv1.ManagedClusterConditionAvailable)) {
		return ctrl.Result{}, nil
	}
	if err := r.client.Update(ctx, addon); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(fmt.Errorf("remove the finalizer of the addon of the detached cluster: %w", err))
	}
	r.recorder.Eventf(addon, nil, corev1.EventTypeWarning, "PreDeleteHookSkipped", "Detach",
		"the cluster is detached and cannot be reached, so that its clean-up is left out: if it comes back, run there: "+
			"argo-multicluster agent release --hub-id=%s", r.hubID)
	return ctrl.Result{}, nil
}
