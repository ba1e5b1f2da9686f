package contract

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

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

// RemoteWorkflowName returns the name of the RemoteWorkflow, and of its ManifestWork, for one attempt to run the
// Workflow with this name and UID: a readable prefix and a hash that no other Workflow or attempt shares.
// It is a valid DNS-1123 label.
func RemoteWorkflowName(workflowName string, uid types.UID, attempt int32) string {
	sum := sha256.Sum256([]byte(string(uid) + "/" + strconv.FormatInt(int64(attempt), 10)))
	prefix := strings.ReplaceAll(workflowName, ".", "-")
	if len(prefix) > readablePrefixLength {
		prefix = prefix[:readablePrefixLength]
	}
	if prefix = strings.Trim(prefix, "-"); prefix == "" {
		prefix = "workflow"
	}
	return prefix + "-" + hex.EncodeToString(sum[:nameHashBytes])
}
