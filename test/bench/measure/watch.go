package measure

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	workv1 "open-cluster-management.io/api/work/v1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// ManifestWorks is the resource of OCM's ManifestWorks.
var ManifestWorks = schema.GroupVersion(workv1.GroupVersion).WithResource("manifestworks")

// Watch hands every object of a resource in a namespace, "" for all, to seen, again when it changes, and to gone when it is deleted, until
// the context ends. It returns when all that is there has been seen. With an informer, which lists again where a watch has been closed:
// an API server does that to those who fall behind in a burst.
func Watch(
	ctx context.Context, config *rest.Config, resource schema.GroupVersionResource, namespace string,
	seen, gone func(*unstructured.Unstructured),
) error {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("create client: %w", err)
	}
	informers := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, namespace, nil)
	informer := informers.ForResource(resource).Informer()
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { handle(obj, seen) },
		UpdateFunc: func(_, obj any) { handle(obj, seen) },
		DeleteFunc: func(obj any) {
			if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = last.Obj
			}
			handle(obj, gone)
		},
	})
	if err != nil {
		return fmt.Errorf("watch %s: %w", resource.Resource, err)
	}
	informers.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return errors.Join(context.Cause(ctx), fmt.Errorf("watch %s: not in sync", resource.Resource))
	}
	return nil
}

func handle(obj any, with func(*unstructured.Unstructured)) {
	if object, ok := obj.(*unstructured.Unstructured); ok && with != nil {
		with(object)
	}
}

// OnHub notes in the timeline what the hub's Workflow shows.
func (t *Timeline) OnHub(wf *unstructured.Unstructured) {
	name := wf.GetName()
	if wf.GetAnnotations()[contract.AnnotationCluster] != "" {
		t.Note(name, Assigned)
	}
	if phase := contract.Phase(wf); contract.IsFinished(phase) {
		t.NotePhase(name, phase)
		t.Note(name, Shown)
	}
}

// OnCluster notes what the Workflow on a managed cluster shows.
func (t *Timeline) OnCluster(wf *unstructured.Unstructured) {
	name, phase := wf.GetName(), contract.Phase(wf)
	t.Note(name, Exists)
	if !contract.IsPending(phase) {
		t.Note(name, Started)
	}
	if contract.IsFinished(phase) {
		t.Note(name, Ended)
	}
}

// OnManifestWork notes which Workflows a ManifestWork lists, however many that are.
func (t *Timeline) OnManifestWork(work *unstructured.Unstructured) {
	for _, name := range WorkflowsOf(work) {
		t.Note(name, Listed)
	}
}

// WorkflowsOf returns the names of the Workflows that a ManifestWork lists, or that a RemoteWorkflow is of.
func WorkflowsOf(object *unstructured.Unstructured) []string {
	var names []string
	if name, found, err := unstructured.NestedString(object.Object, "spec", "workflowRef", "name"); found && err == nil {
		names = append(names, name)
	}
	for _, manifest := range manifestsOf(object) {
		if manifest.GroupVersionKind() == contract.WorkflowGVK {
			names = append(names, manifest.GetName())
		}
	}
	return names
}

func manifestsOf(work *unstructured.Unstructured) []*unstructured.Unstructured {
	manifests, _, _ := unstructured.NestedFieldNoCopy(work.Object, "spec", "workload", "manifests")
	list, _ := manifests.([]any)
	var objects []*unstructured.Unstructured
	for _, manifest := range list {
		if object, ok := manifest.(map[string]any); ok {
			objects = append(objects, &unstructured.Unstructured{Object: object})
		}
	}
	return objects
}

// GoneFromHub notes that the hub has the Workflow no more.
func (t *Timeline) GoneFromHub(wf *unstructured.Unstructured) { t.Note(wf.GetName(), Removed) }

// GoneFromCluster notes that the managed cluster has the Workflow no more.
func (t *Timeline) GoneFromCluster(wf *unstructured.Unstructured) {
	t.Note(wf.GetName(), RemovedRemotely)
}
