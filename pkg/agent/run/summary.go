package run

import (
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// maxMessageLength is how many characters of a Workflow's message the summary takes over.
const maxMessageLength = 1024

// maxLabels is how many labels the RemoteWorkflow takes.
const maxLabels = 64

// summarize sets the readable fields of a RemoteWorkflow's status from the status of a Workflow, and leaves the rest.
// Fields that the Workflow lacks, or that are not what Argo defines, are cleared. Nodes that Argo has compressed or
// offloaded are not counted.
func summarize(into *v1alpha1.RemoteWorkflowStatus, status map[string]any) {
	into.Phase = contract.StatusString(status, "phase")
	into.Progress = contract.StatusString(status, "progress")
	into.Message = cut(contract.StatusString(status, "message"), maxMessageLength)
	into.StartedAt = parseTime(contract.StatusString(status, "startedAt"))
	into.FinishedAt = parseTime(contract.StatusString(status, "finishedAt"))
	into.Nodes = countNodes(status)
}

// labelsOf returns the labels that spec.workflowMetadata has Argo set on the Workflow, as they are there; of the merged spec in its status
// where it refers to a template. Of too many, the first by name are taken. Those on an object are valid.
func labelsOf(wf *unstructured.Unstructured) map[string]string {
	spec, _ := wf.Object["spec"].(map[string]any)
	if spec["workflowTemplateRef"] != nil {
		spec, _ = contract.Status(wf)["storedWorkflowTemplateSpec"].(map[string]any)
	}
	on, labels := wf.GetLabels(), map[string]string{}
	metadata, _ := spec["workflowMetadata"].(map[string]any)
	for _, field := range []string{"labels", "labelsFrom"} {
		named, _ := metadata[field].(map[string]any)
		for key := range named {
			if value, ok := on[key]; ok {
				labels[key] = value
			}
		}
	}
	if len(labels) == 0 {
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(labels))[min(len(labels), maxLabels):] {
		delete(labels, key)
	}
	return labels
}

// countNodes counts nodes by phase. One that has no phase yet is pending.
func countNodes(status map[string]any) map[string]int32 {
	nodes, _ := status[contract.FieldNodes].(map[string]any)
	if len(nodes) == 0 {
		return nil
	}
	counts := map[string]int32{}
	for _, value := range nodes {
		node, _ := value.(map[string]any)
		phase := contract.StatusString(node, "phase")
		if phase == "" {
			phase = contract.PhasePending
		}
		counts[phase]++
	}
	return counts
}

// parseTime returns the time at the precision that the API keeps, or nil. The zero time is none either: the API does not
// keep it, and would seem to lack it for ever.
func parseTime(value string) *metav1.Time {
	parsed, err := time.Parse(time.RFC3339, value)
	if err != nil || parsed.IsZero() {
		return nil
	}
	at := metav1.NewTime(parsed).Rfc3339Copy()
	return &at
}

// cut shortens text to so many characters, the last of them an ellipsis.
func cut(text string, length int) string {
	if utf8.RuneCountInString(text) <= length {
		return text
	}
	return string([]rune(text)[:length-1]) + "…"
}
