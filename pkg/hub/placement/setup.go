package placement

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	clusterv1beta1 "open-cluster-management.io/api/cluster/v1beta1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
)

// Indexes of the Workflow cache.
const (
	// indexUnfinished finds the unfinished Workflows of a cluster.
	indexUnfinished = "placement.unfinished"
	// indexWaiting finds the Workflows that wait for a Placement, by "<namespace>/<placement>".
	indexWaiting = "placement.waiting"
)

// SetupWithManager adds the reconciler to the manager. All that can end a wait is watched; nothing is polled.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager, options controller.Options) error {
	if err := addIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return fmt.Errorf("index Workflows: %w", err)
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("placement").
		For(contract.NewWorkflow()).
		Watches(&clusterv1beta1.Placement{}, handler.EnqueueRequestsFromMapFunc(r.waitingForPlacement)).
		Watches(&clusterv1beta1.PlacementDecision{}, handler.EnqueueRequestsFromMapFunc(r.waitingForDecision)).
		Watches(&addonv1beta1.ManagedClusterAddOn{}, handler.EnqueueRequestsFromMapFunc(r.waitingForAny)).
		Watches(
			&clusterv1.ManagedCluster{},
			handler.EnqueueRequestsFromMapFunc(r.waitingForAny),
			builder.WithPredicates(predicate.LabelChangedPredicate{}),
		).
		WithOptions(options).
		Complete(r)
}

func addIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	if err := indexer.IndexField(ctx, contract.NewWorkflow(), indexUnfinished, func(obj client.Object) []string {
		return unfinishedOn(obj.(*unstructured.Unstructured))
	}); err != nil {
		return err
	}
	return indexer.IndexField(ctx, contract.NewWorkflow(), indexWaiting, func(obj client.Object) []string {
		return waitingFor(obj.(*unstructured.Unstructured))
	})
}

func unfinishedOn(wf *unstructured.Unstructured) []string {
	cluster := contract.AssignedCluster(wf)
	if cluster == "" || contract.IsFinished(contract.Phase(wf)) {
		return nil
	}
	return []string{cluster}
}

func waitingFor(wf *unstructured.Unstructured) []string {
	if !needsCluster(wf, time.Time{}) { // what a restored hub holds is woken in vain, and stays
		return nil
	}
	return []string{waitingKey(wf.GetNamespace(), wf.GetAnnotations()[contract.AnnotationPlacement]), waitingKey("", "")}
}

func waitingKey(namespace, placement string) string { return namespace + "/" + placement }

func (r *Reconciler) waitingForPlacement(ctx context.Context, obj client.Object) []reconcile.Request {
	return r.waiting(ctx, waitingKey(obj.GetNamespace(), obj.GetName()))
}

func (r *Reconciler) waitingForDecision(ctx context.Context, obj client.Object) []reconcile.Request {
	return r.waiting(ctx, waitingKey(obj.GetNamespace(), obj.GetLabels()[clusterv1beta1.PlacementLabel]))
}

func (r *Reconciler) waitingForAny(ctx context.Context, _ client.Object) []reconcile.Request {
	return r.waiting(ctx, waitingKey("", ""))
}

func (r *Reconciler) waiting(ctx context.Context, key string) []reconcile.Request {
	requests, err := hubcopy.Listed(ctx, r.Client, client.MatchingFields{indexWaiting: key})
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "cannot list the Workflows that wait", "key", key)
	}
	return requests
}
