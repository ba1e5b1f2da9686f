package contract

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/argoproj/argo-workflows/v3/pkg/apis/workflow"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersionKind and GroupVersionResource of an Argo Workflow.
var (
	WorkflowGVK = schema.GroupVersionKind{Group: workflow.Group, Version: workflow.Version, Kind: workflow.WorkflowKind}
	WorkflowGVR = schema.GroupVersionResource{Group: workflow.Group, Version: workflow.Version, Resource: workflow.WorkflowPlural}
)

// GroupVersionKinds of what a Workflow may refer to.
var (
	WorkflowTemplateGVK        = WorkflowGVK.GroupVersion().WithKind(workflow.WorkflowTemplateKind)
	ClusterWorkflowTemplateGVK = WorkflowGVK.GroupVersion().WithKind(workflow.ClusterWorkflowTemplateKind)
)

// WorkflowTaskSetGVK is that of the object in which Argo hands out the plugin nodes of a Workflow, and gets their results.
var WorkflowTaskSetGVK = WorkflowGVK.GroupVersion().WithKind(workflow.WorkflowTaskSetKind)

// Phases of an Argo Workflow that this project writes or decides by.
const (
	PhasePending = "Pending"
	PhaseRunning = "Running"
	PhaseError   = "Error"
)

// Names of the values that the work agent feeds back of a remote Workflow. The status fields bear the names they have in a
// Workflow's status.
const (
	FeedbackUID    = "uid"
	FeedbackHubUID = "hubUID"
)

// FeedbackStatusFields are the fields of a Workflow's status that the work agent feeds back.
var FeedbackStatusFields = []string{"phase", "progress", "message", "startedAt", "finishedAt"}

var finishedPhases = []string{"Succeeded", "Failed", PhaseError}

// NewWorkflow returns an empty, untyped Workflow to read into. Workflows stay untyped everywhere: a typed
// round trip drops the fields that a newer Argo added, and writes an empty status.
func NewWorkflow() *unstructured.Unstructured {
	wf := &unstructured.Unstructured{}
	wf.SetGroupVersionKind(WorkflowGVK)
	return wf
}

// NewWorkflowList returns an empty list of untyped Workflows to read into.
func NewWorkflowList() *unstructured.UnstructuredList {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(WorkflowGVK.GroupVersion().WithKind(workflow.WorkflowKind + "List"))
	return list
}

// Status returns the Workflow's status, or nil when it has none. It is not a copy.
func Status(wf *unstructured.Unstructured) map[string]any {
	status, _ := wf.Object["status"].(map[string]any)
	return status
}

// Phase returns the phase in the Workflow's status, or "".
func Phase(wf *unstructured.Unstructured) string {
	return StatusString(Status(wf), "phase")
}

// StatusString returns a string field of an object, such as a Workflow's status, or "".
func StatusString(status map[string]any, field string) string {
	value, _ := status[field].(string)
	return value
}

// IsFinished reports whether a Workflow with this phase runs no more.
func IsFinished(phase string) bool {
	return slices.Contains(finishedPhases, phase)
}

// IsPending reports whether a Workflow with this phase has not been seen to run.
func IsPending(phase string) bool {
	return phase == "" || phase == PhasePending
}

// IsOurs reports whether the Workflow has been handed to this project by its label.
func IsOurs(wf metav1.Object) bool {
	return wf.GetLabels()[LabelEnable] == LabelEnableValue
}

// Assignment returns the value of AnnotationAssigned that gives one attempt to run this Workflow to the cluster.
func Assignment(wf metav1.Object, attempt int32, cluster string) string {
	return fmt.Sprintf("%s/%d/%s", wf.GetUID(), attempt, cluster)
}

// AssignedCluster returns the managed cluster that has been recorded for this very Workflow, or "".
func AssignedCluster(wf metav1.Object) string {
	_, cluster := assignment(wf)
	return cluster
}

// Attempt returns the attempt that AssignedCluster is to make, or has made; the first one for an unassigned Workflow.
func Attempt(wf metav1.Object) int32 {
	attempt, _ := assignment(wf)
	return attempt
}

func assignment(wf metav1.Object) (attempt int32, cluster string) {
	parts := strings.SplitN(wf.GetAnnotations()[AnnotationAssigned], "/", 3)
	if len(parts) != 3 || parts[0] != string(wf.GetUID()) {
		return 1, ""
	}
	n, err := strconv.ParseInt(parts[1], 10, 32)
	if err != nil || n < 1 {
		return 1, ""
	}
	return int32(n), parts[2]
}

// ChosenCluster returns the managed cluster that the user chose directly, or "". A Placement's answer that was
// copied from another Workflow is no choice: the other's assignment comes with it, and names the same cluster.
func ChosenCluster(wf metav1.Object) string {
	annotations := wf.GetAnnotations()
	chosen := annotations[AnnotationCluster]
	copied := AssignedCluster(wf) == "" && strings.HasSuffix(annotations[AnnotationAssigned], "/"+chosen)
	if copied && annotations[AnnotationPlacement] != "" {
		return ""
	}
	return chosen
}

// RemoteNamespace returns the namespace on the managed cluster that the Workflow is to run in.
func RemoteNamespace(wf metav1.Object) string {
	if namespace := wf.GetAnnotations()[AnnotationClusterNamespace]; namespace != "" {
		return namespace
	}
	return wf.GetNamespace()
}
