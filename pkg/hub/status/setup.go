package status

import (
	workv1 "open-cluster-management.io/api/work/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
)

// SetupWithManager adds the reconciler to the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, options controller.Options) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("status").
		For(contract.NewWorkflow(), builder.WithPredicates(notOurWrites)).
		Watches(&v1alpha1.RemoteWorkflow{}, handler.EnqueueRequestsFromMapFunc(hubcopy.OfRemoteWorkflow)).
		Watches(&workv1.ManifestWork{}, handler.EnqueueRequestsFromMapFunc(hubcopy.OfManifestWork)).
		WithOptions(options).
		Complete(r)
}

// notOurWrites drops the echo of a status that this package wrote, which is worth a decoding of the whole report:
// only our writes change the hash of the status.
var notOurWrites = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		hash := contract.AnnotationStatusHash
		return e.ObjectOld.GetAnnotations()[hash] == e.ObjectNew.GetAnnotations()[hash]
	},
	DeleteFunc: func(event.DeleteEvent) bool { return false },
}
