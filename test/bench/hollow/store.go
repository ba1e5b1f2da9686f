package hollow

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/uuid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// Store holds the Workflows of one cluster in memory, in place of its API server. As a client it does what the agent asks of one, and
// answers as an API server would: merge patches and deletions with preconditions, finalizers, a new resourceVersion for each change.
//
// What it holds is never changed in place, and so is handed out without a copy.
type Store struct {
	client.Client // for what the agent never calls

	// changed is told of each change: before is nil for a new Workflow, after for one that is gone.
	changed func(before, after *unstructured.Unstructured)

	mu      sync.Mutex
	objects map[types.NamespacedName]*unstructured.Unstructured
	version int64
}

// NewStore returns an empty store.
func NewStore(changed func(before, after *unstructured.Unstructured)) *Store {
	return &Store{changed: changed, objects: map[types.NamespacedName]*unstructured.Unstructured{}}
}

// Get returns the Workflow.
func (s *Store) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	s.mu.Lock()
	found := s.objects[key]
	s.mu.Unlock()
	if found == nil {
		return notFound(key)
	}
	return show(found, into)
}

// List returns the Workflows that the options select: by namespace, by label, or by one of the agent's indexes.
func (s *Store) List(_ context.Context, into client.ObjectList, opts ...client.ListOption) error {
	list, ok := into.(*unstructured.UnstructuredList)
	if !ok {
		return fmt.Errorf("list into %T: not supported", into)
	}
	options := (&client.ListOptions{}).ApplyOptions(opts)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, wf := range s.objects {
		if options.Namespace != "" && options.Namespace != wf.GetNamespace() ||
			options.LabelSelector != nil && !options.LabelSelector.Matches(labelsOf(wf)) ||
			options.FieldSelector != nil && !options.FieldSelector.Matches(indexesOf(wf, options.FieldSelector)) {
			continue
		}
		list.Items = append(list.Items, *wf)
	}
	return nil
}

// indexesOf returns the values that the Workflow has in the indexes of the selector.
func indexesOf(wf *unstructured.Unstructured, selector fields.Selector) fields.Set {
	set := fields.Set{}
	for _, requirement := range selector.Requirements() {
		set[requirement.Field] = indexed(wf, requirement.Field)
	}
	return set
}

// Create adds a Workflow, as the API server makes it of what is sent.
func (s *Store) Create(_ context.Context, obj client.Object, _ ...client.CreateOption) error {
	sent, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return fmt.Errorf("create %T: not supported", obj)
	}
	key := client.ObjectKeyFromObject(sent)
	s.mu.Lock()
	if s.objects[key] != nil {
		s.mu.Unlock()
		return apierrors.NewAlreadyExists(contract.WorkflowGVR.GroupResource(), key.String())
	}
	wf := sent.DeepCopy()
	wf.SetUID(uuid.NewUUID())
	wf.SetCreationTimestamp(metav1.NewTime(time.Now().Truncate(time.Second)))
	wf.SetGeneration(1)
	s.put(key, wf)
	s.mu.Unlock()
	sent.SetUID(wf.GetUID())
	sent.SetResourceVersion(wf.GetResourceVersion())
	s.changed(nil, wf)
	return nil
}

// Patch applies a merge patch; a UID or resourceVersion in it is a precondition.
func (s *Store) Patch(_ context.Context, obj client.Object, patch client.Patch, _ ...client.PatchOption) error {
	data, err := patch.Data(obj)
	if err != nil {
		return err
	}
	if patch.Type() != types.MergePatchType {
		return fmt.Errorf("patch of type %s: not supported", patch.Type())
	}
	var change map[string]any
	if err := json.Unmarshal(data, &change); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	metadata, _ := change["metadata"].(map[string]any)
	uid, _ := metadata["uid"].(string)
	version, _ := metadata["resourceVersion"].(string)
	patched := func(wf *unstructured.Unstructured) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: merge(wf.Object, change)}
	}
	after, err := s.change(client.ObjectKeyFromObject(obj), types.UID(uid), version, patched)
	if err != nil {
		return err
	}
	return show(after, obj)
}

// Delete deletes the Workflow, or marks it as being deleted while finalizers hold it.
func (s *Store) Delete(_ context.Context, obj client.Object, opts ...client.DeleteOption) error {
	options := (&client.DeleteOptions{}).ApplyOptions(opts)
	var uid types.UID
	var version string
	if p := options.Preconditions; p != nil && p.UID != nil {
		uid = *p.UID
	}
	if p := options.Preconditions; p != nil && p.ResourceVersion != nil {
		version = *p.ResourceVersion
	}
	foreground := options.PropagationPolicy != nil && *options.PropagationPolicy == metav1.DeletePropagationForeground
	_, err := s.change(client.ObjectKeyFromObject(obj), uid, version, func(wf *unstructured.Unstructured) *unstructured.Unstructured {
		return deleting(wf, foreground)
	})
	return err
}

// deleting returns the Workflow as one that is being deleted.
func deleting(wf *unstructured.Unstructured, foreground bool) *unstructured.Unstructured {
	out := withMetadata(wf)
	if out.GetDeletionTimestamp() == nil {
		now := metav1.NewTime(time.Now().Truncate(time.Second))
		out.SetDeletionTimestamp(&now)
	}
	if finalizers := out.GetFinalizers(); foreground && !slices.Contains(finalizers, metav1.FinalizerDeleteDependents) {
		out.SetFinalizers(append(finalizers, metav1.FinalizerDeleteDependents))
	}
	return out
}

// change replaces the Workflow by what edit returns, unless a precondition does not hold. One that is being deleted and that no finalizer
// holds any more is gone.
func (s *Store) change(
	key types.NamespacedName, uid types.UID, version string, edit func(*unstructured.Unstructured) *unstructured.Unstructured,
) (*unstructured.Unstructured, error) {
	s.mu.Lock()
	before := s.objects[key]
	switch {
	case before == nil:
		s.mu.Unlock()
		return nil, notFound(key)
	case uid != "" && uid != before.GetUID(), version != "" && version != before.GetResourceVersion():
		s.mu.Unlock()
		return nil, apierrors.NewConflict(contract.WorkflowGVR.GroupResource(), key.String(), errors.New("the object has been modified"))
	}
	after := edit(before)
	if after == nil {
		s.mu.Unlock()
		return before, nil
	}
	after = withMetadata(after)
	after.SetGeneration(before.GetGeneration() + 1)
	gone := after.GetDeletionTimestamp() != nil && len(after.GetFinalizers()) == 0
	if s.put(key, after); gone {
		delete(s.objects, key)
	}
	s.mu.Unlock()
	if gone {
		s.changed(before, nil)
	} else {
		s.changed(before, after)
	}
	return after, nil
}

// put stores the Workflow as its next version. It is called with the lock held.
func (s *Store) put(key types.NamespacedName, wf *unstructured.Unstructured) {
	s.version++
	wf.SetResourceVersion(strconv.FormatInt(s.version, 10))
	s.objects[key] = wf
}

// withMetadata returns a Workflow whose metadata can be changed without changing the one that it was made of.
func withMetadata(wf *unstructured.Unstructured) *unstructured.Unstructured {
	object := maps.Clone(wf.Object)
	if metadata, ok := object["metadata"].(map[string]any); ok {
		object["metadata"] = maps.Clone(metadata)
	}
	return &unstructured.Unstructured{Object: object}
}

// merge returns what a merge patch makes of an object (RFC 7396), which stays as it is.
func merge(object, patch map[string]any) map[string]any {
	out := maps.Clone(object)
	if out == nil {
		out = map[string]any{}
	}
	for key, value := range patch {
		switch typed := value.(type) {
		case nil:
			delete(out, key)
		case map[string]any:
			inner, _ := out[key].(map[string]any)
			out[key] = merge(inner, typed)
		default:
			out[key] = value
		}
	}
	return out
}

// show makes into what an API server answers of the Workflow: all of it, or its metadata.
func show(wf *unstructured.Unstructured, into client.Object) error {
	switch typed := into.(type) {
	case *unstructured.Unstructured:
		typed.Object = maps.Clone(wf.Object)
		return nil
	case *metav1.PartialObjectMetadata:
		metadata := metav1.PartialObjectMetadata{}
		only := map[string]any{"metadata": wf.Object["metadata"]}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(only, &metadata); err != nil {
			return err
		}
		typed.ObjectMeta = metadata.ObjectMeta
		return nil
	}
	return fmt.Errorf("read into %T: not supported", into)
}

func notFound(key types.NamespacedName) error {
	return apierrors.NewNotFound(contract.WorkflowGVR.GroupResource(), key.String())
}
