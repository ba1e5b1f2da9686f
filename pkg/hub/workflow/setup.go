package workflow

import (
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	utilwait "k8s.io/apimachinery/pkg/util/wait"
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
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/cluster"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/manifestwork"
)

const (
	// indexWorkflow finds the RemoteWorkflows of a Workflow's name, by "<namespace>/<name>".
	indexWorkflow = "workflow.workflow"
	// indexOpen finds the RemoteWorkflows that a change of their surroundings may concern, by one of the keys below.
	indexOpen = "workflow.open"
	// open are those that have not finished, or that are being deleted; unclaimed are those that nothing has claimed.
	open, unclaimed = "open", "unclaimed"
	// unlabelledRetry is how soon it is looked again for Workflows that have lost their label, if the API server does not answer.
	unlabelledRetry = 10 * time.Second
)

// SetupWithManager adds the reconciler to the manager. All that can end a wait is watched; refused brings the RemoteWorkflows whose
// delivery the hub's API server has refused, or takes now.
func (r *Reconciler) SetupWithManager(
	ctx context.Context, mgr ctrl.Manager, refused <-chan event.TypedGenericEvent[*v1alpha1.RemoteWorkflow], options controller.Options,
) error {
	if err := addIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return fmt.Errorf("index RemoteWorkflows: %w", err)
	}
	ofCluster, ofUnclaimed := handler.EnqueueRequestsFromMapFunc(r.ofCluster), handler.EnqueueRequestsFromMapFunc(r.ofUnclaimed)
	return ctrl.NewControllerManagedBy(mgr).
		Named("workflow").
		For(contract.NewWorkflow()).
		Watches(&v1alpha1.RemoteWorkflow{}, handler.EnqueueRequestsFromMapFunc(ofRemoteWorkflow)).
		Watches(&workv1.ManifestWork{}, ofDelivery).
		Watches(&clusterv1.ManagedCluster{}, ofCluster, builder.WithPredicates(changesOf(r.viewOfCluster))).
		Watches(&addonv1beta1.ManagedClusterAddOn{}, ofCluster, builder.WithPredicates(changesOf(viewOfAddon))).
		Watches(&clusterv1beta2.ManagedClusterSet{}, ofUnclaimed, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&clusterv1beta2.ManagedClusterSetBinding{}, ofUnclaimed).
		WatchesRawSource(source.Channel(refused, handler.TypedEnqueueRequestsFromMapFunc(
			func(ctx context.Context, rw *v1alpha1.RemoteWorkflow) []reconcile.Request {
				return ofRemoteWorkflow(ctx, rw)
			}))).
		WatchesRawSource(source.Func(r.lookForUnlabelled)).
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
	return indexer.IndexField(ctx, &v1alpha1.RemoteWorkflow{}, indexOpen, func(obj client.Object) []string {
		rw := obj.(*v1alpha1.RemoteWorkflow)
		var keys []string
		if !contract.IsFinished(rw.Status.Phase) || !rw.DeletionTimestamp.IsZero() || len(unanswered(&attempt{RemoteWorkflow: rw})) > 0 {
			keys = append(keys, open)
		}
		if rw.Status.RemoteUID == "" {
			keys = append(keys, unclaimed)
		}
		return keys
	})
}

// changesOf passes the changes of what concerns a Workflow: view returns that in a comparable form.
func changesOf[T client.Object, V comparable](view func(T) V) predicate.Funcs {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok := e.ObjectOld.(T)
			after, ok2 := e.ObjectNew.(T)
			return !ok || !ok2 || view(before) != view(after)
		},
	}
}

// clusterView is what of a managed cluster concerns a Workflow that was sent there.
type clusterView struct {
	unavailable cluster.Unavailable
	accepted    bool
	isHub       bool
	labels      string
	namespaces  string
}

func (r *Reconciler) viewOfCluster(managed *clusterv1.ManagedCluster) clusterView {
	c := cluster.Cluster{Name: managed.Name, Managed: managed}
	return clusterView{
		c.Unavailable(), managed.Spec.HubAcceptsClient, c.IsHub(r.HubID), labels.Set(managed.Labels).String(),
		managed.Annotations[contract.AnnotationNamespaces],
	}
}

func viewOfAddon(addon *addonv1beta1.ManagedClusterAddOn) cluster.Unavailable {
	return cluster.Cluster{Addon: addon}.AgentUnavailable()
}

// ofRemoteWorkflow maps a RemoteWorkflow to the Workflow that it is an attempt of.
func ofRemoteWorkflow(_ context.Context, obj client.Object) []reconcile.Request {
	rw, ok := obj.(*v1alpha1.RemoteWorkflow)
	if !ok {
		return nil
	}
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: rw.Spec.WorkflowRef.Namespace, Name: rw.Spec.WorkflowRef.Name}}}
}

// ofCluster maps a managed cluster, or the addon there, to the Workflows that a change of it may concern: those that have not finished, and
// all when it is detached.
func (r *Reconciler) ofCluster(ctx context.Context, obj client.Object) []reconcile.Request {
	name := obj.GetNamespace()
	if name == "" {
		name = obj.GetName()
	}
	opts := []client.ListOption{client.InNamespace(name)}
	if c, err := cluster.Read(ctx, r.Client, name); err != nil || !c.IsDetached() {
		opts = append(opts, client.MatchingFields{indexOpen: open})
	}
	return r.list(ctx, opts...)
}

// ofUnclaimed maps what decides who may use which cluster to the Workflows that have not started.
func (r *Reconciler) ofUnclaimed(ctx context.Context, _ client.Object) []reconcile.Request {
	return r.list(ctx, client.MatchingFields{indexOpen: unclaimed})
}

func (r *Reconciler) list(ctx context.Context, opts ...client.ListOption) []reconcile.Request {
	var list v1alpha1.RemoteWorkflowList
	if err := r.Client.List(ctx, &list, append(opts, client.UnsafeDisableDeepCopy)...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "cannot list the RemoteWorkflows that a change may concern")
		return nil
	}
	var requests []reconcile.Request
	for i := range list.Items {
		requests = append(requests, ofRemoteWorkflow(ctx, &list.Items[i])...)
	}
	return requests
}

// ofDelivery maps a ManifestWork to the Workflows that what has changed in it concerns: those that the work agent cannot create, or can
// again; those that it lists no more; and where there is no agent, any change. There the first that is seen of it may be its end.
var ofDelivery = handler.Funcs{
	CreateFunc: func(_ context.Context, e event.CreateEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		if work, ok := e.Object.(*workv1.ManifestWork); ok && manifestwork.IsUngated(work) {
			for _, item := range manifestwork.Items(work) {
				enqueue(queue, item)
			}
		}
	},
	UpdateFunc: func(_ context.Context, e event.UpdateEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		before, ok := e.ObjectOld.(*workv1.ManifestWork)
		after, ok2 := e.ObjectNew.(*workv1.ManifestWork)
		if !ok || !ok2 {
			return
		}
		listed := map[types.UID]bool{}
		for _, item := range manifestwork.Items(after) {
			listed[item.RemoteWorkflowUID] = after.DeletionTimestamp.IsZero() == before.DeletionTimestamp.IsZero()
		}
		for _, item := range manifestwork.Items(before) {
			rw := &v1alpha1.RemoteWorkflow{Spec: v1alpha1.RemoteWorkflowSpec{
				Remote: v1alpha1.RemoteReference{Namespace: item.Namespace, Name: item.Name},
			}}
			if !listed[item.RemoteWorkflowUID] || manifestwork.IsUngated(after) ||
				manifestwork.Problem(before, rw) != manifestwork.Problem(after, rw) {
				enqueue(queue, item)
			}
		}
	},
	DeleteFunc: func(_ context.Context, e event.DeleteEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		// A gated one that was seen in deletion delivered nothing any more. One that no work agent has seen goes without that.
		if work, ok := e.Object.(*workv1.ManifestWork); ok && (manifestwork.IsUngated(work) || work.DeletionTimestamp.IsZero()) {
			for _, item := range manifestwork.Items(work) {
				enqueue(queue, item)
			}
		}
	},
}

// enqueue adds the Workflow of an item. What somebody else has put there has none.
func enqueue(queue workqueue.TypedRateLimitingInterface[reconcile.Request], item manifestwork.Item) {
	if item.Workflow.Name != "" {
		queue.Add(reconcile.Request{NamespacedName: item.Workflow})
	}
}

// lookForUnlabelled queues what unlabelled finds, and returns at once: a hub may have so many other Workflows that they take minutes, and
// its API server may refuse for longer.
func (r *Reconciler) lookForUnlabelled(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	go func() {
		_ = utilwait.PollUntilContextCancel(ctx, unlabelledRetry, true, func(ctx context.Context) (bool, error) {
			err := r.unlabelled(ctx, queue)
			if err != nil && ctx.Err() == nil {
				log.FromContext(ctx).Error(err, "cannot look for Workflows that have lost their label, and tries again")
			}
			return err == nil, nil
		})
	}()
	return nil
}

// unlabelled finds, when the reconciler starts, the Workflows that wait for it with its finalizer, and that the cache does not
// show: they lost their label while no manager was running.
func (r *Reconciler) unlabelled(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	without, err := labels.NewRequirement(contract.LabelEnable, selection.DoesNotExist, nil)
	if err != nil {
		return fmt.Errorf("select Workflows: %w", err)
	}
	pages := pager.New(pager.SimplePageFunc(func(options metav1.ListOptions) (runtime.Object, error) {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(contract.WorkflowGVK.GroupVersion().WithKind("WorkflowList"))
		return list, r.Live.List(ctx, list, &client.ListOptions{Raw: &options})
	}))
	options := metav1.ListOptions{LabelSelector: labels.NewSelector().Add(*without).String()}
	return pages.EachListItem(ctx, options, func(obj runtime.Object) error {
		if wf, ok := obj.(*metav1.PartialObjectMetadata); ok && slices.Contains(wf.Finalizers, contract.FinalizerDispatch) {
			queue.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(wf)})
		}
		return nil
	})
}
