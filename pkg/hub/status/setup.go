package status

import (
	"context"

	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	workv1 "open-cluster-management.io/api/work/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
)

// SetupWithManager adds the reconciler to the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, options controller.Options) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("status").
		For(contract.NewWorkflow(), builder.WithPredicates(r.notOurWrites())).
		Watches(&v1alpha1.RemoteWorkflow{}, handler.EnqueueRequestsFromMapFunc(hubcopy.OfRemoteWorkflow)).
		Watches(&workv1.ManifestWork{}, handler.EnqueueRequestsFromMapFunc(hubcopy.OfManifestWork), builder.WithPredicates(news)).
		Watches(&addonv1beta1.ManagedClusterAddOn{}, handler.EnqueueRequestsFromMapFunc(r.unfinished), builder.WithPredicates(availability)).
		WithOptions(options).
		Complete(r)
}

// availability passes what changes why an agent does not start or report anything.
var availability = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*addonv1beta1.ManagedClusterAddOn)
		after, ok2 := e.ObjectNew.(*addonv1beta1.ManagedClusterAddOn)
		return ok && ok2 && hubcopy.AbsenceOfAgent(before).Why != hubcopy.AbsenceOfAgent(after).Why
	},
}

// unfinished maps an addon to the Workflows that its agent has not started, or has more to report of.
func (r *Reconciler) unfinished(ctx context.Context, addon client.Object) []reconcile.Request {
	var runs v1alpha1.RemoteWorkflowList
	if err := r.Client.List(ctx, &runs, client.InNamespace(addon.GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "cannot list the Workflows that wait for the agent", "cluster", addon.GetNamespace())
		return nil
	}
	var requests []reconcile.Request
	for i := range runs.Items {
		if needsAgent(&runs.Items[i]) {
			requests = append(requests, hubcopy.OfRemoteWorkflow(ctx, &runs.Items[i])...)
		}
	}
	return requests
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

// notOurWrites drops the echo of a status that this reconciler wrote, which is worth a decoding of the whole report.
func (r *Reconciler) notOurWrites() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			written, _ := r.written.Load(client.ObjectKeyFromObject(e.ObjectNew))
			return written != e.ObjectNew.GetResourceVersion()
		},
		DeleteFunc: func(e event.DeleteEvent) bool {
			r.written.Delete(client.ObjectKeyFromObject(e.Object))
			return false
		},
	}
}
