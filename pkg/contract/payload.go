package contract

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract/step"
)

// Payload returns the Workflow that travels to the managed cluster for rw: the hub Workflow's name, labels,
// annotations and spec, with the controls of rw, without whatever belongs to the hub Workflow alone, and with the reference back to rw.
// It never has a status. wf is not changed; equal input gives equal output, and a payload is its own payload.
//
// The error is the user's: a spec whose podMetadata is not what Argo defines, whose workflowMetadata sets what is the hub's, or with steps
// that only the hub can send to other clusters.
func Payload(wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow) (*unstructured.Unstructured, error) {
	ref := ReferenceTo(rw)
	spec, ok := wf.Object["spec"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("spec: want an object, got %T", wf.Object["spec"])
	}
	if err := mayTravel(spec); err != nil {
		return nil, err
	}
	spec = runtime.DeepCopyJSON(spec)
	podLabels := map[string]string{LabelCluster: ref.Cluster, LabelWorkflowNamespace: ref.Namespace}
	// An Argo controller that takes Workflows by reference only (templateReferencing Strict or Secure) refuses one that has more
	// than a reference and a few listed fields; podMetadata is not among them.
	if spec["workflowTemplateRef"] == nil {
		if err := addPodLabels(spec, podLabels); err != nil {
			return nil, err
		}
	}

	marked := isMarkedByArgoCD(wf)
	travels := func(key string) bool {
		return !isOfTheHub(key) && !IsOwnershipMark(key) && (!marked || !slices.Contains(sharedMarks, key))
	}
	labels := filter(wf.GetLabels(), travels)
	for key, value := range podLabels {
		labels[key] = value
	}
	annotations := filter(wf.GetAnnotations(), travels)
	if rw.Spec.Reporting == v1alpha1.ReportingAgent {
		labels[LabelInstanceID] = InstanceIDGate
		// As rw has them: what the user has changed since comes after it, by the agent.
		for field, value := range ControlsPatch(ControlsOf(spec), rw.Spec.Controls) {
			if spec[field] = value; value == nil {
				delete(spec, field)
			}
		}
		annotations[AnnotationControls] = EncodeControls(rw.Spec.Controls)
	}
	for key, value := range ref.annotations() {
		annotations[key] = value
	}

	payload := NewWorkflow()
	payload.SetNamespace(rw.Spec.Remote.Namespace)
	payload.SetName(rw.Spec.Remote.Name)
	payload.SetLabels(labels)
	payload.SetAnnotations(annotations)
	payload.Object["spec"] = spec
	return payload, nil
}

// mayTravel returns an error for a spec that no cluster but the hub can run, or whose Workflow would not be known there as the hub's.
func mayTravel(spec map[string]any) error {
	metadata, _ := spec["workflowMetadata"].(map[string]any)
	for _, field := range []string{"labels", "annotations", "labelsFrom"} {
		named, _ := metadata[field].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(named)) {
			if isReserved(key) || strings.Contains(key, "{{") { // Argo replaces variables in keys, too
				return fmt.Errorf("spec.workflowMetadata.%s must not set %q: that is for the hub and Argo's controller to set, so remove it",
					field, key)
			}
		}
	}
	templates, _ := spec["templates"].([]any)
	if name, found := step.InTemplates(templates); found {
		return fmt.Errorf("template %q has its steps run in other clusters, so the Workflow itself has to run on the hub: create it "+
			"without the label %s", name, LabelEnable)
	}
	return nil
}

// addPodLabels adds labels for the Workflow's pods to its spec. A null on the way there is like nothing.
func addPodLabels(spec map[string]any, podLabels map[string]string) error {
	for _, path := range [][]string{{"podMetadata"}, {"podMetadata", "labels"}} {
		if value, ok, err := unstructured.NestedFieldNoCopy(spec, path...); ok && err == nil && value == nil {
			unstructured.RemoveNestedField(spec, path...)
		}
	}
	for key, value := range podLabels {
		if err := unstructured.SetNestedField(spec, value, "podMetadata", "labels", key); err != nil {
			return fmt.Errorf("spec.podMetadata.labels: %w", err)
		}
	}
	return nil
}

// isOfTheHub reports whether a label or annotation belongs to the hub Workflow alone. Argo's own bookkeeping does: with
// completed=true a remote Workflow would never run.
func isOfTheHub(key string) bool {
	switch key {
	case LabelEnable, LabelInstanceID, LabelPhase, LabelCompleted, LabelArchivingStatus, annotationLastSeenVersion,
		AnnotationPlacement, AnnotationCluster, AnnotationClusterNamespace, AnnotationRelease:
		return true
	}
	return strings.HasPrefix(key, internalPrefix)
}

// isReserved reports whether a label or annotation of a remote Workflow is not for its author to set.
func isReserved(key string) bool {
	switch key {
	case LabelCluster, LabelWorkflowNamespace, AnnotationHubNamespace, AnnotationHubName, AnnotationHubUID:
		return true
	}
	return isOfTheHub(key)
}

// argoCDPrefix is that of Argo CD's labels and annotations.
const argoCDPrefix = "argocd.argoproj.io/"

// markPrefixes are those of the labels and annotations by which a tool knows the objects that it manages. On a managed cluster,
// another instance of the same tool would take the remote Workflow for its own, and prune it.
var markPrefixes = []string{
	"kubectl.kubernetes.io/last-applied-configuration", argoCDPrefix, "applyset.kubernetes.io/",
	"kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/", "meta.helm.sh/",
}

// sharedMarks are labels that people set, too: they are marks only where Argo CD has set them.
var sharedMarks = []string{"app.kubernetes.io/instance", "app.kubernetes.io/managed-by"}

// IsOwnershipMark reports whether a label or annotation says which tool manages the object.
func IsOwnershipMark(key string) bool {
	return slices.ContainsFunc(markPrefixes, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
}

// isMarkedByArgoCD reports whether Argo CD manages the object: by one of its marks, or as one that has written it.
func isMarkedByArgoCD(wf *unstructured.Unstructured) bool {
	isMark := func(key string) bool { return strings.HasPrefix(key, argoCDPrefix) }
	return len(filter(wf.GetLabels(), isMark)) > 0 || len(filter(wf.GetAnnotations(), isMark)) > 0 ||
		slices.ContainsFunc(wf.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool {
			return strings.HasPrefix(entry.Manager, "argocd")
		})
}

func filter(in map[string]string, keep func(string) bool) map[string]string {
	out := make(map[string]string, len(in))
	for key, value := range in {
		if keep(key) {
			out[key] = value
		}
	}
	return out
}
