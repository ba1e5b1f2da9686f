package ttl

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// SetupWithManager adds the reconciler to the manager. It is woken by Workflows that expire, and by the clock; nothing is
// polled.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, options controller.Options) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("ttl").
		For(contract.NewWorkflow(), builder.WithPredicates(expiring)).
		WithOptions(options).
		Complete(r)
}

// expiring passes Workflows that expire. Any change of one counts: the deletion of an earlier version was refused.
var expiring = predicate.Funcs{
	CreateFunc:  func(e event.CreateEvent) bool { return isExpiring(e.Object) },
	UpdateFunc:  func(e event.UpdateEvent) bool { return isExpiring(e.ObjectNew) },
	DeleteFunc:  func(event.DeleteEvent) bool { return false },
	GenericFunc: func(event.GenericEvent) bool { return false },
}

func isExpiring(obj client.Object) bool {
	_, expires := expiry(obj.(*unstructured.Unstructured))
	return expires
}
