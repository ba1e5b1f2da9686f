package contract

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
)

// Payload returns the Workflow that travels to the managed cluster for rw: the hub Workflow's name, labels,
// annotations and spec, without whatever belongs to the hub's copy alone, and with the reference back to rw.
// It never has a status. wf is not changed; equal input gives equal output, and a payload is its own payload.
//
// The error is the user's: a spec whose podMetadata is not what Argo defines.
func Payload(wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow) (*unstructured.Unstructured, error) {
	ref := ReferenceTo(rw)
	spec, ok := wf.Object["spec"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("spec: want an object, got %T", wf.Object["spec"])
	}
	spec = runtime.DeepCopyJSON(spec)
	podLabels := map[string]string{LabelCluster: ref.Cluster, LabelWorkflowNamespace: ref.Namespace}
	if err := addPodLabels(spec, podLabels); err != nil {
		return nil, err
	}

	labels := filter(wf.GetLabels(), travellingLabel)
	for key, value := range podLabels {
		labels[key] = value
	}
	if rw.Spec.Reporting == v1alpha1.ReportingAgent {
		labels[LabelInstanceID] = InstanceIDGate
	}
	annotations := filter(wf.GetAnnotations(), travellingAnnotation)
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

// travellingLabel reports whether a label of the hub's copy belongs on the managed cluster's, too. Argo's own
// bookkeeping does not: with completed=true a copy would never run.
func travellingLabel(key string) bool {
	switch key {
	case LabelEnable, LabelInstanceID, LabelPhase, LabelCompleted, LabelArchivingStatus:
		return false
	}
	return !strings.HasPrefix(key, internalPrefix)
}

func travellingAnnotation(key string) bool {
	switch key {
	case AnnotationPlacement, AnnotationCluster, AnnotationClusterNamespace, AnnotationRelease,
		annotationLastSeenVersion, annotationLastApplied:
		return false
	}
	return !strings.HasPrefix(key, internalPrefix)
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
