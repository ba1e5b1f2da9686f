package delivery

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	clusterv1beta2 "open-cluster-management.io/api/cluster/v1beta2"
	workv1 "open-cluster-management.io/api/work/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/manifestwork"
)

// indexWaiting finds the RemoteWorkflows that nothing has claimed, be they deleted or not, and those on clusters without agent.
const indexWaiting = "delivery.waiting"

// SetupWithManager adds the reconciler to the manager.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager, options controller.Options) error {
	if err := addIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return fmt.Errorf("index deliveries: %w", err)
	}
	ofCluster := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, obj client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: client.ObjectKey{Name: obj.GetNamespace()}}}
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("delivery").
		Watches(&v1alpha1.RemoteWorkflow{}, ofCluster, builder.WithPredicates(notReports)).
		Watches(&workv1.ManifestWork{}, ofCluster, builder.WithPredicates(notStatus)).
		Watches(&clusterv1beta2.ManagedClusterSetBinding{}, handler.EnqueueRequestsFromMapFunc(r.waitedFor)).
		Watches(&clusterv1beta2.ManagedClusterSet{}, handler.EnqueueRequestsFromMapFunc(r.waitedFor), builder.WithPredicates(setChanged)).
		Watches(&clusterv1.ManagedCluster{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(clusterMoved)).
		WithOptions(options).
		Complete(r)
}

// waitedFor asks for the clusters that Workflows wait for, those of a binding's namespace or, for a set, all: they may go by another
// binding now, and be created in another way.
func (r *Reconciler) waitedFor(ctx context.Context, obj client.Object) []reconcile.Request {
	var waiting v1alpha1.RemoteWorkflowList
	if err := r.Client.List(ctx, &waiting, client.MatchingFields{indexWaiting: ""}, client.UnsafeDisableDeepCopy); err != nil {
		log.FromContext(ctx).Error(err, "cannot tell what waits for a cluster; it is looked at when it is due", "object", klog.KObj(obj))
		return nil
	}
	clusters := sets.Set[string]{}
	for i := range waiting.Items {
		if rw := &waiting.Items[i]; obj.GetNamespace() == "" || rw.Spec.WorkflowRef.Namespace == obj.GetNamespace() {
			clusters.Insert(rw.Namespace)
		}
	}
	var requests []reconcile.Request
	for cluster := range clusters {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKey{Name: cluster}})
	}
	return requests
}

func addIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	if err := indexer.IndexField(ctx, &v1alpha1.RemoteWorkflow{}, indexWaiting, func(obj client.Object) []string {
		if obj.(*v1alpha1.RemoteWorkflow).Status.RemoteUID != "" {
			return nil
		}
		return []string{""}
	}); err != nil {
		return err
	}
	return manifestwork.AddIndex(ctx, indexer)
}

// setChanged and clusterMoved drop what does not change which clusters a set holds, and what is open there.
var (
	setChanged   = predicate.GenerationChangedPredicate{}
	clusterMoved = predicate.Or(predicate.LabelChangedPredicate{}, predicate.AnnotationChangedPredicate{})
)

// notReports drops what a RemoteWorkflow's update says of progress: that comes often, and is nothing to a delivery.
var notReports = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*v1alpha1.RemoteWorkflow)
		after, ok2 := e.ObjectNew.(*v1alpha1.RemoteWorkflow)
		return !ok || !ok2 || before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero() ||
			before.Status.RemoteUID != after.Status.RemoteUID
	},
}

// notStatus drops what the work agent says of a ManifestWork, but that it could not create all of it, or can.
var notStatus = predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*workv1.ManifestWork)
		after, ok2 := e.ObjectNew.(*workv1.ManifestWork)
		return !ok || !ok2 || before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero() ||
			manifestwork.IsRefused(before) != manifestwork.IsRefused(after)
	},
})
