package contract

import (
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
)

// Reference ties a remote Workflow to its RemoteWorkflow on the hub. The remote Workflow carries it in
// annotations and in one label.
type Reference struct {
	// Cluster is the name of the managed cluster: the namespace of the RemoteWorkflow.
	Cluster string
	// RemoteWorkflow is the name of the RemoteWorkflow, and RemoteWorkflowUID its UID.
	RemoteWorkflow    string
	RemoteWorkflowUID types.UID
	// HubID is the UID of the hub's kube-system namespace.
	HubID string
	// Namespace, Name and UID are those of the Workflow on the hub.
	Namespace, Name string
	UID             types.UID
	// Attempt counts the runs of the Workflow, from 1.
	Attempt int32
}

// ReferenceTo returns the reference that a remote Workflow must carry to be the run that rw stands for.
func ReferenceTo(rw *v1alpha1.RemoteWorkflow) Reference {
	return Reference{
		Cluster:        rw.Namespace,
		RemoteWorkflow: rw.Name, RemoteWorkflowUID: rw.UID,
		HubID:     rw.Spec.HubID,
		Namespace: rw.Spec.WorkflowRef.Namespace,
		Name:      rw.Spec.WorkflowRef.Name,
		UID:       rw.Spec.WorkflowRef.UID,
		Attempt:   rw.Spec.Attempt,
	}
}

// AnnotationsTo returns the annotations of ReferenceTo.
func AnnotationsTo(rw *v1alpha1.RemoteWorkflow) map[string]string {
	return ReferenceTo(rw).annotations()
}

// ReferenceOf returns the reference that a remote Workflow carries; fields that it lacks or that do not parse are zero.
func ReferenceOf(wf *unstructured.Unstructured) Reference {
	annotations := wf.GetAnnotations()
	attempt, err := strconv.ParseInt(annotations[AnnotationAttempt], 10, 32)
	if err != nil {
		attempt = 0
	}
	return Reference{
		Cluster:        wf.GetLabels()[LabelCluster],
		RemoteWorkflow: annotations[AnnotationRemoteWorkflow], RemoteWorkflowUID: types.UID(annotations[AnnotationRemoteWorkflowUID]),
		HubID:     annotations[AnnotationHubID],
		Namespace: annotations[AnnotationHubNamespace],
		Name:      annotations[AnnotationHubName],
		UID:       types.UID(annotations[AnnotationHubUID]),
		Attempt:   int32(attempt),
	}
}

// SameAttempt reports whether both name the same attempt to run the same Workflow on the same cluster, be it by another incarnation
// of its RemoteWorkflow: one that was lost by force, and was made again.
func (r Reference) SameAttempt(other Reference) bool {
	r.RemoteWorkflowUID = other.RemoteWorkflowUID
	return r == other
}

func (r Reference) annotations() map[string]string {
	return map[string]string{
		AnnotationRemoteWorkflow:    r.RemoteWorkflow,
		AnnotationRemoteWorkflowUID: string(r.RemoteWorkflowUID),
		AnnotationHubID:             r.HubID,
		AnnotationHubNamespace:      r.Namespace,
		AnnotationHubName:           r.Name,
		AnnotationHubUID:            string(r.UID),
		AnnotationAttempt:           strconv.FormatInt(int64(r.Attempt), 10),
	}
}
