package hollow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// removalPoll is how often the work agent looks whether what it deletes is gone.
const removalPoll = 100 * time.Millisecond

// workAgents play OCM's work agent on the clusters of a fleet, as OCM 1.2.1 does it towards the hub: finalizer, Applied, Available, what
// is fed back, Deleting, finalizer. Of what ManifestWorks carry they create Workflows; of anything else they say that it is there.
type workAgents struct {
	hub    client.Client
	stores func(cluster string) *Store
	// listed is told of each Workflow that a ManifestWork carries.
	listed func(name string)
	// poll is how often a work agent looks at what it has created.
	poll time.Duration

	mu sync.Mutex
	// applied is what of a ManifestWork was applied last: it is applied again only when spec or labels have changed.
	applied map[types.UID]string
}

// Reconcile takes the next step with a ManifestWork.
func (a *workAgents) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	work := &workv1.ManifestWork{}
	if err := a.hub.Get(ctx, request.NamespacedName, work); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	store := a.stores(work.Namespace)
	if store == nil {
		return reconcile.Result{}, nil // of a real cluster
	}
	if !work.DeletionTimestamp.IsZero() {
		return a.remove(ctx, work, store)
	}
	if !controllerutil.ContainsFinalizer(work, workv1.ManifestWorkFinalizer) {
		changed := work.DeepCopy()
		controllerutil.AddFinalizer(changed, workv1.ManifestWorkFinalizer)
		return reconcile.Result{}, a.hub.Patch(ctx, changed, client.MergeFromWithOptions(work, client.MergeFromWithOptimisticLock{}))
	}
	if !a.isApplied(work) {
		return reconcile.Result{}, a.apply(ctx, work, store)
	}
	if meta.FindStatusCondition(work.Status.Conditions, workv1.WorkApplied) == nil {
		return reconcile.Result{}, nil // the cache does not show it yet
	}
	return reconcile.Result{RequeueAfter: a.poll + time.Duration(rand.Float64()*0.9*float64(a.poll))}, a.observe(ctx, work, store)
}

// isApplied reports whether spec and labels have been applied as they are. A ManifestWork that is Complete is left alone.
func (a *workAgents) isApplied(work *workv1.ManifestWork) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.applied[work.UID] == versionOf(work) || meta.IsStatusConditionTrue(work.Status.Conditions, workv1.WorkComplete)
}

func versionOf(work *workv1.ManifestWork) string { return fmt.Sprint(work.Generation, work.Labels) }

// apply creates what is not there, and says so on the ManifestWork.
func (a *workAgents) apply(ctx context.Context, work *workv1.ManifestWork, store *Store) error {
	changed := work.DeepCopy()
	var manifests []workv1.ManifestCondition
	all := true
	for i, manifest := range work.Spec.Workload.Manifests {
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(manifest.Raw); err != nil {
			return fmt.Errorf("manifest %d of ManifestWork %s: %w", i, work.Name, err)
		}
		err := a.applyOne(ctx, work, object, store)
		condition := workv1.ManifestCondition{ResourceMeta: metaOf(i, object)}
		if i < len(work.Status.ResourceStatus.Manifests) {
			condition.Conditions = changed.Status.ResourceStatus.Manifests[i].Conditions
			condition.StatusFeedbacks = changed.Status.ResourceStatus.Manifests[i].StatusFeedbacks
		}
		set(&condition.Conditions, workv1.ManifestApplied, err == nil, "AppliedManifestComplete", "Apply manifest complete", work.Generation)
		manifests, all = append(manifests, condition), all && err == nil
	}
	changed.Status.ResourceStatus.Manifests = manifests
	set(&changed.Status.Conditions, workv1.WorkApplied, all, "AppliedManifestWorkComplete", "Apply manifest work complete", work.Generation)
	if err := a.patchStatus(ctx, work, changed); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.applied[work.UID] = versionOf(work)
	return nil
}

// applyOne creates a Workflow, once; what exists is left alone but for its owner.
func (a *workAgents) applyOne(ctx context.Context, work *workv1.ManifestWork, object *unstructured.Unstructured, store *Store) error {
	if object.GroupVersionKind() != contract.WorkflowGVK {
		return nil
	}
	a.listed(object.GetName())
	if !isOrphan(work) {
		object.SetOwnerReferences([]metav1.OwnerReference{appliedBy(work)})
	}
	err := store.Create(ctx, object)
	if !apierrors.IsAlreadyExists(err) || isOrphan(work) {
		return ignoreExists(err)
	}
	_, err = store.change(client.ObjectKeyFromObject(object), "", "", func(wf *unstructured.Unstructured) *unstructured.Unstructured {
		for _, owner := range wf.GetOwnerReferences() {
			if owner.UID == work.UID {
				return nil
			}
		}
		out := withMetadata(wf)
		out.SetOwnerReferences(append(out.GetOwnerReferences(), appliedBy(work)))
		return out
	})
	return client.IgnoreNotFound(err)
}

func ignoreExists(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func isOrphan(work *workv1.ManifestWork) bool {
	return work.Spec.DeleteOption != nil && work.Spec.DeleteOption.PropagationPolicy == workv1.DeletePropagationPolicyTypeOrphan
}

// appliedBy is the owner that the work agent gives to what it creates. The AppliedManifestWork itself is not played.
func appliedBy(work *workv1.ManifestWork) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: workv1.GroupVersion.String(), Kind: "AppliedManifestWork", Name: "hollow-" + work.Name, UID: work.UID,
	}
}

// observe says on the ManifestWork which of its manifests are there, and what the feedback rules and condition rules ask for.
func (a *workAgents) observe(ctx context.Context, work *workv1.ManifestWork, store *Store) error {
	changed := work.DeepCopy()
	all, complete, rules := true, true, false
	for i := range changed.Status.ResourceStatus.Manifests {
		manifest := &changed.Status.ResourceStatus.Manifests[i]
		wf := contract.NewWorkflow()
		key := client.ObjectKey{Namespace: manifest.ResourceMeta.Namespace, Name: manifest.ResourceMeta.Name}
		isWorkflow := manifest.ResourceMeta.Kind == contract.WorkflowGVK.Kind
		there := !isWorkflow || store.Get(ctx, key, wf) == nil
		set(&manifest.Conditions, workv1.ManifestAvailable, there, "ResourceAvailable", "Resource is available", 0)
		if all = all && there; !isWorkflow || !there {
			continue
		}
		config := configOf(work, key)
		manifest.StatusFeedbacks.Values = feedback(config, wf)
		set(&manifest.Conditions, "StatusFeedbackSynced", true, feedbackReason(config), "", 0)
		if config != nil && len(config.ConditionRules) > 0 {
			finished := contract.IsFinished(contract.Phase(wf))
			set(&manifest.Conditions, workv1.ManifestComplete, finished, "ConditionRulesAggregated", "", work.Generation)
			rules, complete = true, complete && finished
		}
	}
	set(&changed.Status.Conditions, workv1.WorkAvailable, all, "ResourcesAvailable", "All resources are available", work.Generation)
	if rules {
		set(&changed.Status.Conditions, workv1.WorkComplete, complete, "ConditionRulesAggregated", "", work.Generation)
	}
	return a.patchStatus(ctx, work, changed)
}

func configOf(work *workv1.ManifestWork, key types.NamespacedName) *workv1.ManifestConfigOption {
	for i := range work.Spec.ManifestConfigs {
		id := work.Spec.ManifestConfigs[i].ResourceIdentifier
		if id.Namespace == key.Namespace && id.Name == key.Name {
			return &work.Spec.ManifestConfigs[i]
		}
	}
	return nil
}

func feedbackReason(config *workv1.ManifestConfigOption) string {
	if config == nil || len(config.FeedbackRules) == 0 {
		return "NoStatusFeedbackSynced"
	}
	return "StatusFeedbackSynced"
}

// feedback returns the values of the rules' paths, which are fields, with dots in their names escaped.
func feedback(config *workv1.ManifestConfigOption, wf *unstructured.Unstructured) []workv1.FeedbackValue {
	if config == nil {
		return nil
	}
	var values []workv1.FeedbackValue
	for _, rule := range config.FeedbackRules {
		for _, path := range rule.JsonPaths {
			fields := strings.Split(strings.ReplaceAll(strings.TrimPrefix(path.Path, "."), `\.`, "\x00"), ".")
			for i := range fields {
				fields[i] = strings.ReplaceAll(fields[i], "\x00", ".")
			}
			if value, found, err := unstructured.NestedString(wf.Object, fields...); found && err == nil {
				values = append(values, workv1.FeedbackValue{Name: path.Name, Value: workv1.FieldValue{Type: workv1.String, String: &value}})
			}
		}
	}
	return values
}

// remove deletes what the ManifestWork brought, unless that is orphaned, and removes the finalizer when it is gone.
func (a *workAgents) remove(ctx context.Context, work *workv1.ManifestWork, store *Store) (reconcile.Result, error) {
	if !controllerutil.ContainsFinalizer(work, workv1.ManifestWorkFinalizer) {
		return reconcile.Result{}, nil
	}
	deleted := work.DeepCopy()
	set(&deleted.Status.Conditions, workv1.WorkDeleting, true, "WorkDeleting", "ManifestWork is being deleted", work.Generation)
	if err := a.patchStatus(ctx, work, deleted); err != nil {
		return reconcile.Result{}, err
	}
	left, err := a.removeManifests(ctx, work, store)
	if err != nil || left > 0 {
		return reconcile.Result{RequeueAfter: removalPoll}, err
	}
	freed := deleted.DeepCopy()
	controllerutil.RemoveFinalizer(freed, workv1.ManifestWorkFinalizer)
	if err := a.hub.Patch(ctx, freed, client.MergeFromWithOptions(deleted, client.MergeFromWithOptimisticLock{})); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.applied, work.UID)
	return reconcile.Result{}, nil
}

// removeManifests deletes the Workflows that the ManifestWork owns, and returns how many are left.
func (a *workAgents) removeManifests(ctx context.Context, work *workv1.ManifestWork, store *Store) (left int, err error) {
	if isOrphan(work) {
		return 0, nil
	}
	var errs []error
	for _, manifest := range work.Spec.Workload.Manifests {
		var head struct {
			Metadata struct{ Namespace, Name string }
		}
		if err := json.Unmarshal(manifest.Raw, &head); err != nil {
			return 0, err
		}
		wf := contract.NewWorkflow()
		if store.Get(ctx, client.ObjectKey{Namespace: head.Metadata.Namespace, Name: head.Metadata.Name}, wf) != nil || !owns(work, wf) {
			continue
		}
		left++
		if wf.GetDeletionTimestamp() == nil {
			errs = append(errs, client.IgnoreNotFound(store.Delete(ctx, wf, client.Preconditions{UID: ptr.To(wf.GetUID())})))
		}
	}
	return left, errors.Join(errs...)
}

func owns(work *workv1.ManifestWork, wf *unstructured.Unstructured) bool {
	for _, owner := range wf.GetOwnerReferences() {
		if owner.UID == work.UID {
			return true
		}
	}
	return false
}

// patchStatus writes the status, unless it is as it was. changed becomes what has been written.
func (a *workAgents) patchStatus(ctx context.Context, work, changed *workv1.ManifestWork) error {
	patch := client.MergeFromWithOptions(work, client.MergeFromWithOptimisticLock{})
	bare, err := client.MergeFrom(work).Data(changed)
	if err != nil || string(bare) == "{}" {
		return err
	}
	return a.hub.Status().Patch(ctx, changed, patch)
}

// set sets a condition to true or false.
func set(conditions *[]metav1.Condition, conditionType string, is bool, reason, message string, generation int64) {
	condition := metav1.Condition{
		Type: conditionType, Status: metav1.ConditionTrue, Reason: reason, Message: message, ObservedGeneration: generation,
	}
	if !is {
		condition.Status = metav1.ConditionFalse
	}
	meta.SetStatusCondition(conditions, condition)
}

// metaOf names a manifest as the work agent does.
func metaOf(ordinal int, object *unstructured.Unstructured) workv1.ManifestResourceMeta {
	gvk := object.GroupVersionKind()
	return workv1.ManifestResourceMeta{
		Ordinal: int32(ordinal), Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind, Resource: strings.ToLower(gvk.Kind) + "s",
		Namespace: object.GetNamespace(), Name: object.GetName(),
	}
}
