package steps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/utils/ptr"
	clusterv1beta1 "open-cluster-management.io/api/cluster/v1beta1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
)

// indexParent finds the children of a Workflow, by its name.
const indexParent = "steps.parent"

// viewField is where the cache of parents keeps the view of one.
const viewField = "view"

func newTaskSet() *unstructured.Unstructured {
	set := &unstructured.Unstructured{}
	set.SetGroupVersionKind(contract.WorkflowTaskSetGVK)
	return set
}

// Cached is what the manager's cache is to keep for this package.
func Cached() map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{
		newTaskSet():  {Transform: trimTaskSet, UnsafeDisableDeepCopy: ptr.To(true)},
		&corev1.Pod{}: {Label: labels.SelectorFromSet(labels.Set{labelComponent: componentAgent}), Transform: trimPod},
	}
}

// SetupWithManager adds the reconciler to the manager of a hub that serves WorkflowTaskSets.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr manager.Manager, options controller.Options) error {
	if err := mgr.GetFieldIndexer().IndexField(ctx, contract.NewWorkflow(), indexParent, func(obj client.Object) []string {
		if parent := parentNameOf(obj); parent != "" {
			return []string{parent}
		}
		return nil
	}); err != nil {
		return fmt.Errorf("index the Workflows of steps: %w", err)
	}
	parents, err := parentCache(mgr)
	if err != nil {
		return err
	}
	r.parents = parents
	ofChild := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, wf client.Object) []reconcile.Request {
		if parent := parentNameOf(wf); parent != "" {
			return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: wf.GetNamespace(), Name: parent}}}
		}
		return nil
	})
	return errors.Join(mgr.Add(parents), ctrl.NewControllerManagedBy(mgr).
		Named("steps").
		For(newTaskSet()).
		Watches(contract.NewWorkflow(), ofChild, builder.WithPredicates(childChanged)).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(ofPod)).
		Watches(&clusterv1beta1.PlacementDecision{}, handler.EnqueueRequestsFromMapFunc(r.ofPlacement)).
		Watches(&clusterv1beta1.Placement{}, handler.EnqueueRequestsFromMapFunc(r.ofPlacement), builder.WithPredicates(selectionChanged)).
		WatchesRawSource(source.Kind[client.Object](parents, contract.NewWorkflow(), &handler.EnqueueRequestForObject{}, parentChanged)).
		WithOptions(options).
		Complete(r))
}

// parentNameOf returns the name of the Workflow that has the step for which wf was made, "" if wf was made for none. Where an administrator
// has removed the label or the annotation that say so, the owner does: else nobody would remove our finalizer.
func parentNameOf(wf client.Object) string {
	if parent := contract.StepParent(wf); parent != "" {
		return parent
	}
	owner := metav1.GetControllerOf(wf)
	if _, isOurs := withoutStep(wf.GetFinalizers()); isOurs && owner != nil && owner.Kind == contract.WorkflowGVK.Kind {
		return owner.Name
	}
	return ""
}

// parentCache returns a cache of the Workflows that are not for the managed clusters, with no more than what may change what is done about
// their steps. The manager's own has the others.
func parentCache(mgr manager.Manager) (cache.Cache, error) {
	others, err := labels.NewRequirement(contract.LabelEnable, selection.DoesNotExist, nil)
	if err != nil {
		return nil, fmt.Errorf("select Workflows: %w", err)
	}
	parents, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
		ByObject: map[client.Object]cache.ByObject{contract.NewWorkflow(): {
			Label: labels.NewSelector().Add(*others), UnsafeDisableDeepCopy: ptr.To(true), Transform: trimParent,
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("create cache of Workflows with steps: %w", err)
	}
	return parents, nil
}

// trimParent makes a Workflow what the cache of parents keeps of it: its name and its view.
func trimParent(obj any) (any, error) {
	wf, ok := obj.(*unstructured.Unstructured)
	if !ok || wf.Object[viewField] != nil {
		return obj, nil
	}
	trimmed := contract.NewWorkflow()
	trimmed.SetNamespace(wf.GetNamespace())
	trimmed.SetName(wf.GetName())
	trimmed.SetUID(wf.GetUID())
	trimmed.SetResourceVersion(wf.GetResourceVersion())
	raw, err := json.Marshal(viewOf(wf))
	if err != nil {
		return nil, fmt.Errorf("encode view of Workflow: %w", err)
	}
	trimmed.Object[viewField] = string(raw)
	return trimmed, nil
}

// readView returns the view of a Workflow in the cache of parents.
func readView(trimmed *unstructured.Unstructured) view {
	var v view
	text, _ := trimmed.Object[viewField].(string)
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return view{} // it was made of one
	}
	return v
}

// parentChanged passes what may change what is done about the steps of a Workflow.
var parentChanged = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*unstructured.Unstructured)
		after, ok2 := e.ObjectNew.(*unstructured.Unstructured)
		return !ok || !ok2 || before.Object[viewField] != after.Object[viewField]
	},
}

// childChanged passes what of the Workflow of a step concerns its parent: not its progress. Of a deleted one that is each change of its
// finalizers, for ours cannot be removed while another one is being removed.
var childChanged = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*unstructured.Unstructured)
		after, ok2 := e.ObjectNew.(*unstructured.Unstructured)
		return !ok || !ok2 || viewOfChild(before) != viewOfChild(after)
	},
}

func viewOfChild(wf *unstructured.Unstructured) string {
	c := &child{Workflow: hubworkflow.Of(wf)}
	if c.IsDeleted() {
		return fmt.Sprint(c.GetFinalizers())
	}
	return fmt.Sprint(c.isFinished(), contract.EncodeControls(c.Controls), c.GetAnnotations()[contract.AnnotationStepSuspended])
}

// ofPlacement maps a Placement, or what it has decided, to the Workflows in its namespace that have steps: one may wait for it.
func (r *Reconciler) ofPlacement(ctx context.Context, placement client.Object) []reconcile.Request {
	sets := &unstructured.UnstructuredList{}
	sets.SetGroupVersionKind(contract.WorkflowTaskSetGVK.GroupVersion().WithKind(contract.WorkflowTaskSetGVK.Kind + "List"))
	if err := r.Client.List(ctx, sets, client.InNamespace(placement.GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "cannot list the steps that a Placement's decision may concern")
		return nil
	}
	var requests []reconcile.Request
	for i := range sets.Items {
		if len(taskSetOf(&sets.Items[i]).tasks) > 0 {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&sets.Items[i])})
		}
	}
	return requests
}

// selectionChanged passes what a Placement says of how many clusters it has selected: OCM writes that after the decisions.
var selectionChanged = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*clusterv1beta1.Placement)
		after, ok2 := e.ObjectNew.(*clusterv1beta1.Placement)
		return !ok || !ok2 || before.Status.NumberOfSelectedClusters != after.Status.NumberOfSelectedClusters
	},
}

// decided returns the clusters that a Placement has decided for, sorted; none while its decisions are not as many as its status says. OCM
// writes at most 100 of them into one PlacementDecision, one after the other.
func decided(ctx context.Context, reader client.Reader, namespace, name string) ([]string, error) {
	placement := &clusterv1beta1.Placement{}
	if err := reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, placement); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("get Placement %s: %w", name, err)
	}
	pages := &clusterv1beta1.PlacementDecisionList{}
	ofPlacement := client.MatchingLabels{clusterv1beta1.PlacementLabel: name}
	if err := reader.List(ctx, pages, client.InNamespace(namespace), ofPlacement); err != nil {
		return nil, fmt.Errorf("list the decisions of Placement %s: %w", name, err)
	}
	var clusters []string
	for _, page := range pages.Items {
		for _, decision := range page.Status.Decisions {
			clusters = append(clusters, decision.ClusterName)
		}
	}
	byOthers := placement.GetAnnotations()[clusterv1beta1.PlacementDisableAnnotation] == "true" // who need not write its status
	if !byOthers && len(clusters) != int(placement.Status.NumberOfSelectedClusters) {
		return nil, nil
	}
	slices.Sort(clusters)
	return slices.Compact(clusters), nil
}
