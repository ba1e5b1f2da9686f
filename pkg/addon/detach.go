package addon

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/events"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// detachInterval is how often the addon of a cluster that is being detached is looked at.
const detachInterval = 10 * time.Second

// SetupDetach adds to the manager what lets the agent's addon go on a cluster that is detached and cannot be reached: nobody runs
// its pre-delete hook there, and the cluster would stay on the hub for ever. It runs on the leader.
// hubID is that of Options.
func SetupDetach(mgr manager.Manager, hubID string) error {
	r := &detachReconciler{
		client: mgr.GetClient(), live: mgr.GetAPIReader(), recorder: mgr.GetEventRecorder(contract.AddonName + "-hub"), hubID: hubID,
	}
	return builder.ControllerManagedBy(mgr).
		Named("addon-detach").
		For(&clusterv1.ManagedCluster{}).
		Complete(r)
}

// detachReconciler lets the agent's addon of detached clusters go.
type detachReconciler struct {
	client client.Client
	// live reads ManagedClusterAddOns.
	live     client.Reader
	recorder events.EventRecorder
	hubID    string
}

// Reconcile removes the framework's finalizer from the agent's addon of a cluster that is being deleted and not available. As
// long as the cluster answers, its work agent runs the hook.
func (r *detachReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	cluster := &clusterv1.ManagedCluster{}
	if err := r.client.Get(ctx, req.NamespacedName, cluster); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if cluster.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	if !meta.IsStatusConditionTrue(cluster.Status.Conditions, clusterv1.ManagedClusterConditionAvailable) {
		if err := r.letGo(ctx, cluster.Name); err != nil {
			return ctrl.Result{}, err
		}
	}
	return ctrl.Result{RequeueAfter: detachInterval}, nil // OCM deletes the addon when it comes to it
}

// letGo removes the finalizer from the addon if it is being deleted, and says what remains to be done.
func (r *detachReconciler) letGo(ctx context.Context, cluster string) error {
	addon := &addonv1beta1.ManagedClusterAddOn{}
	if err := r.live.Get(ctx, client.ObjectKey{Namespace: cluster, Name: contract.AddonName}, addon); err != nil {
		return client.IgnoreNotFound(err)
	}
	if addon.DeletionTimestamp.IsZero() || !controllerutil.RemoveFinalizer(addon, addonv1beta1.AddonPreDeleteHookFinalizer) {
		return nil
	}
	if err := r.client.Update(ctx, addon); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("let the addon of the detached cluster %s go: %w", cluster, err)
	}
	r.recorder.Eventf(addon, nil, corev1.EventTypeWarning, "PreDeleteHookSkipped", "Detach",
		"the cluster is detached and cannot be reached, so that its clean-up is left out: if it comes back, run there: "+
			"argo-multicluster agent release --hub-id=%s", r.hubID)
	return nil
}
