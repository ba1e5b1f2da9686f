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
		Watches(&workv1.ManifestWork{}, handler.EnqueueRequestsFromMapFunc(hubcopy.OfManifestWork), builder.WithPredicates(news)).
		WithOptions(options).
		Complete(r)
}

// news passes the updates of a ManifestWork that the hub's copy may show. Where there is an agent, what the work agent
// feeds back is known already, and worth another decoding of the whole report.
var news = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*workv1.ManifestWork)
		after, ok2 := e.ObjectNew.(*workv1.ManifestWork)
		return !ok || !ok2 || isFedBack(after) || applyProblem(before) != applyProblem(after)
	},
}

// isFedBack reports whether the status comes back through the ManifestWork: then, and only then, it is watched.
func isFedBack(work *workv1.ManifestWork) bool {
	for _, config := range work.Spec.ManifestConfigs {
		if config.FeedbackScrapeType == workv1.FeedbackWatchType {
			return true
		}
	}
	return false
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
