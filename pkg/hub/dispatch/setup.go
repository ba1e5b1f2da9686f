package dispatch

import (
	"context"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/tools/pager"
	"k8s.io/client-go/util/workqueue"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	clusterv1beta2 "open-cluster-management.io/api/cluster/v1beta2"
	workv1 "open-cluster-management.io/api/work/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
)

// Indexes of the caches.
const (
	// indexWorkflow finds the RemoteWorkflows of a Workflow's name, by "<namespace>/<name>".
	indexWorkflow = "dispatch.workflow"
	// indexRemote finds what stands for a name on a managed cluster, by "<namespace>/<name>".
	indexRemote = "dispatch.remote"
	// indexHeld finds the Workflows that have not been dispatched.
	indexHeld = "dispatch.held"
	// indexLeaving finds the RemoteWorkflows that are being deleted.
	indexLeaving = "dispatch.leaving"
)

// SetupWithManager adds the reconciler to the manager. All that can end a wait is watched.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager, options controller.Options) error {
	if err := addIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	held, leaving := handler.EnqueueRequestsFromMapFunc(r.held), handler.EnqueueRequestsFromMapFunc(r.leaving)
	return ctrl.NewControllerManagedBy(mgr).
		Named("dispatch").
		For(contract.NewWorkflow()).
		Watches(&v1alpha1.RemoteWorkflow{}, handler.EnqueueRequestsFromMapFunc(hubcopy.OfRemoteWorkflow), builder.WithPredicates(notReports)).
		Watches(&workv1.ManifestWork{}, handler.EnqueueRequestsFromMapFunc(hubcopy.OfManifestWork), builder.WithPredicates(removalsAndFailures)).
		Watches(&clusterv1.ManagedCluster{}, held, builder.WithPredicates(predicate.Or[client.Object](
			predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{}))).
		Watches(&clusterv1beta2.ManagedClusterSet{}, held, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&clusterv1beta2.ManagedClusterSetBinding{}, held).
		Watches(&addonv1beta1.ManagedClusterAddOn{}, held, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&clusterv1.ManagedCluster{}, leaving, builder.WithPredicates(changesOf(hubcopy.AbsenceOfCluster))).
		Watches(&addonv1beta1.ManagedClusterAddOn{}, leaving, builder.WithPredicates(changesOf(hubcopy.AbsenceOfAgent))).
		WatchesRawSource(source.Func(r.abandoned)).
		WithOptions(options).
		Complete(r)
}

func addIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	if err := indexer.IndexField(ctx, &v1alpha1.RemoteWorkflow{}, indexWorkflow, func(obj client.Object) []string {
		ref := obj.(*v1alpha1.RemoteWorkflow).Spec.WorkflowRef
		return []string{ref.Namespace + "/" + ref.Name}
	}); err != nil {
		return err
	}
	if err := indexer.IndexField(ctx, &v1alpha1.RemoteWorkflow{}, indexRemote, func(obj client.Object) []string {
		return []string{remoteKey(obj.(*v1alpha1.RemoteWorkflow).Spec.Remote)}
	}); err != nil {
		return err
	}
	if err := indexer.IndexField(ctx, &v1alpha1.RemoteWorkflow{}, indexLeaving, func(obj client.Object) []string {
		if obj.GetDeletionTimestamp().IsZero() {
			return nil
		}
		return []string{""}
	}); err != nil {
		return err
	}
	if err := indexer.IndexField(ctx, &workv1.ManifestWork{}, indexRemote, func(obj client.Object) []string {
		var keys []string
		for _, config := range obj.(*workv1.ManifestWork).Spec.ManifestConfigs {
			id := config.ResourceIdentifier
			keys = append(keys, remoteKey(v1alpha1.RemoteReference{Namespace: id.Namespace, Name: id.Name}))
		}
		return keys
	}); err != nil {
		return err
	}
	return indexer.IndexField(ctx, contract.NewWorkflow(), indexHeld, func(obj client.Object) []string {
		if !contract.IsPending(contract.Phase(obj.(*unstructured.Unstructured))) {
			return nil
		}
		return []string{""}
	})
}

func remoteKey(remote v1alpha1.RemoteReference) string { return remote.Namespace + "/" + remote.Name }

// notReports drops what a RemoteWorkflow's update says of the run's progress: that is none of this package's business,
// and comes often.
var notReports = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*v1alpha1.RemoteWorkflow)
		after, ok2 := e.ObjectNew.(*v1alpha1.RemoteWorkflow)
		return !ok || !ok2 ||
			before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero() ||
			before.Status.RemoteUID != after.Status.RemoteUID ||
			isRemoteDeleted(before) != isRemoteDeleted(after)
	},
}

// removalsAndFailures passes what a ManifestWork's removal says, and that the copy could not be created; the rest of its
// status is none of this package's business.
var removalsAndFailures = predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*workv1.ManifestWork)
		after, ok2 := e.ObjectNew.(*workv1.ManifestWork)
		return ok && ok2 && hubcopy.ApplyProblem(before) == nil && hubcopy.ApplyProblem(after) != nil
	},
	GenericFunc: func(event.GenericEvent) bool { return false },
}

// abandoned finds, when the reconciler starts, the Workflows that wait for it with its finalizer, and that the cache does not
// show: they lost their label while no manager was running.
func (r *Reconciler) abandoned(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	unlabelled, err := labels.NewRequirement(contract.LabelEnable, selection.DoesNotExist, nil)
	if err != nil {
		return fmt.Errorf("select Workflows: %w", err)
	}
	selector := client.MatchingLabelsSelector{Selector: labels.NewSelector().Add(*unlabelled)}
	page := func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(contract.NewWorkflowList().GroupVersionKind())
		return list, r.Live.List(ctx, list, selector, client.Limit(options.Limit), client.Continue(options.Continue))
	}
	if err := pager.New(page).EachListItem(ctx, metav1.ListOptions{}, func(obj runtime.Object) error {
		if wf := obj.(client.Object); slices.Contains(wf.GetFinalizers(), contract.FinalizerDispatch) {
			queue.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(wf)})
		}
		return nil
	}); err != nil {
		return fmt.Errorf("list Workflows: %w", err)
	}
	return nil
}

// held maps a change of the surroundings to the Workflows that it may set free.
func (r *Reconciler) held(ctx context.Context, _ client.Object) []reconcile.Request {
	requests, err := hubcopy.Listed(ctx, r.Client, client.MatchingFields{indexHeld: ""})
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "cannot list the Workflows that wait")
	}
	return requests
}

// changesOf passes what changes whether a cluster, or the agent there, can remove a run.
func changesOf[T client.Object](absenceOf func(T) hubcopy.Absence) predicate.Funcs {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok := e.ObjectOld.(T)
			after, ok2 := e.ObjectNew.(T)
			return !ok || !ok2 || absenceOf(before) != absenceOf(after)
		},
	}
}

// leaving maps a cluster, or the addon there, to the Workflows whose run is to be removed from it.
func (r *Reconciler) leaving(ctx context.Context, obj client.Object) []reconcile.Request {
	cluster := obj.GetNamespace()
	if cluster == "" {
		cluster = obj.GetName()
	}
	var runs v1alpha1.RemoteWorkflowList
	if err := r.Client.List(ctx, &runs, client.InNamespace(cluster), client.MatchingFields{indexLeaving: ""}); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "cannot list the Workflows whose run is to be removed", "cluster", cluster)
		return nil
	}
	var requests []reconcile.Request
	for i := range runs.Items {
		requests = append(requests, hubcopy.OfRemoteWorkflow(ctx, &runs.Items[i])...)
	}
	return requests
}
