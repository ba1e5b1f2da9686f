package contract

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// MaxWorkflowNameLength is the longest Workflow name that runs: Argo puts it into a label of every pod.
	MaxWorkflowNameLength = 63

	// readablePrefixLength bounds what a RemoteWorkflow's name takes over from its Workflow's, so that the whole
	// name still fits a label.
	readablePrefixLength = 40
	nameHashBytes        = 10
)

// StepID is a step of a Workflow, as often as it has run: a retry of the Workflow runs a node once more, from another start.
type StepID struct {
	// Parent is the UID of the Workflow.
	Parent types.UID
	// Node is the ID of the step's node, and StartedAt when it started, as its status has it.
	Node, StartedAt string
	// Index counts the clusters of a step that runs in several.
	Index int
}

// String returns the value of AnnotationStep.
func (id StepID) String() string {
	return strings.Join([]string{string(id.Parent), id.Node, id.StartedAt, strconv.Itoa(id.Index)}, "/")
}

// IsOf reports whether wf was made for this step, in whatever cluster of it.
func (id StepID) IsOf(wf metav1.Object) bool {
	made := wf.GetAnnotations()[AnnotationStep]
	if i := strings.LastIndex(made, "/"); i >= 0 {
		id.Index, _ = strconv.Atoi(made[i+1:])
	}
	return made == id.String()
}

// WorkflowName returns the name of the Workflow that runs the step of a Workflow with this name: a readable prefix and a hash that no other
// step shares.
func (id StepID) WorkflowName(parent string) string { return hashedName(parent, id.String()) }

// StepParent returns the name of the Workflow that has the step for which wf was made, "" if wf was made for none.
func StepParent(wf metav1.Object) string {
	parent, id := wf.GetLabels()[LabelParent], wf.GetAnnotations()[AnnotationStep]
	if parent == "" || wf.GetName() != hashedName(parent, id) {
		return ""
	}
	return parent
}

// StepNode returns the ID of the node for which wf was made.
func StepNode(wf metav1.Object) string {
	if parts := strings.Split(wf.GetAnnotations()[AnnotationStep], "/"); len(parts) > 1 {
		return parts[1]
	}
	return ""
}

// RemoteWorkflowName returns the name of the RemoteWorkflow, and of its ManifestWork, for one attempt to run the
// Workflow with this name and UID: a readable prefix and a hash that no other Workflow or attempt shares.
// It is a valid DNS-1123 label.
func RemoteWorkflowName(workflowName string, uid types.UID, attempt int32) string {
	return hashedName(workflowName, string(uid)+"/"+strconv.FormatInt(int64(attempt), 10))
}

// hashedName returns a valid DNS-1123 label: what is readable of a Workflow's name, and a hash of what is hashed.
func hashedName(workflowName, hashed string) string {
	sum := sha256.Sum256([]byte(hashed))
	prefix := strings.ReplaceAll(workflowName, ".", "-")
	if len(prefix) > readablePrefixLength {
		prefix = prefix[:readablePrefixLength]
	}
	if prefix = strings.Trim(prefix, "-"); prefix == "" {
		prefix = "workflow"
	}
	return prefix + "-" + hex.EncodeToString(sum[:nameHashBytes])
}
