package run

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// patience is for how long to wait for caches: a hub that is away, or a cluster without Argo, is no reason to exit.
const patience = 10 * 365 * 24 * time.Hour

// SetupWithManager adds the reconciler to the manager of the managed cluster with this name. RemoteWorkflows come from
// the hub's cache. Both sides are watched; nothing is polled.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, hub cache.Cache, cluster string, options controller.Options) error {
	options.CacheSyncTimeout = patience
	// Several agents may run in one process, each for a cluster, as in tests.
	options.SkipNameValidation = ptr.To(true)
	return ctrl.NewControllerManagedBy(mgr).
		Named("run").
		WatchesRawSource(source.Kind(hub, &v1alpha1.RemoteWorkflow{},
			&handler.TypedEnqueueRequestForObject[*v1alpha1.RemoteWorkflow]{})).
		WatchesRawSource(source.Kind(mgr.GetCache(), contract.NewWorkflow(), workflowHandler(cluster))).
		WatchesRawSource(index(mgr.GetFieldIndexer())).
		WithOptions(options).
		Complete(r)
}

// index indexes the cache of Workflows as the watches start, and before anything is reconciled. Done earlier, it would have the
// manager wait for Argo's CRDs before it does anything else.
func index(indexer client.FieldIndexer) source.Source {
	return source.Func(func(ctx context.Context, _ workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		err := indexer.IndexField(ctx, contract.NewWorkflow(), indexRemoteWorkflow, remoteWorkflowOf)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("index Workflows: %w", err)
		}
		return nil
	})
}

// workflowHandler maps a remote Workflow to its RemoteWorkflow by annotation. It maps what it was before as well, so that the
// agent learns of an edit of that very annotation, and restores it. An edit that the agent has not seen does no harm
// either: when it starts, it looks after every RemoteWorkflow, and finds the remote Workflow by its name and UID.
func workflowHandler(cluster string) handler.TypedEventHandler[*unstructured.Unstructured, reconcile.Request] {
	return handler.TypedEnqueueRequestsFromMapFunc(func(_ context.Context, wf *unstructured.Unstructured) []reconcile.Request {
		name := wf.GetAnnotations()[contract.AnnotationRemoteWorkflow]
		if name == "" {
			return nil
		}
		return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: cluster, Name: name}}}
	})
}
