// Package recorded has what real clients of Argo 3.7.18 have written for each verb: the CLI in kube mode and with an argo-server, and the
// calls of the UI, on Workflows that ran, and on some that no controller looks at, as those of a hub.
package recorded

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/json"
)

//go:embed verbs.jsonl.gz
var verbs []byte

// Write is a Workflow before and after a write.
type Write struct {
	// Class is what was asked for: suspend, unsuspend, shutdown:<how>, node:<name>:<phase>[+msg][+out], retry(-<nodes removed>)[+args].
	Class  []string `json:"class"`
	Before Workflow `json:"before"`
	After  Workflow `json:"after"`
}

// Workflow is what of a Workflow a verb changes.
type Workflow struct {
	Metadata map[string]any `json:"metadata"`
	Spec     map[string]any `json:"spec"`
	Status   map[string]any `json:"status"`
}

// Object returns the Workflow as it is in JSON.
func (w Workflow) Object() map[string]any {
	object := map[string]any{"metadata": w.Metadata, "spec": w.Spec}
	if w.Status != nil {
		object["status"] = w.Status
	}
	return object
}

// Writes returns all of them, in their order. Each caller gets its own.
func Writes(t *testing.T) []Write {
	t.Helper()
	reader, err := gzip.NewReader(bytes.NewReader(verbs))
	require.NoError(t, err)
	lines := bufio.NewScanner(reader)
	lines.Buffer(nil, 1<<22)
	var out []Write
	for lines.Scan() {
		var write Write
		require.NoError(t, json.Unmarshal(lines.Bytes(), &write))
		out = append(out, write)
	}
	require.NoError(t, lines.Err())
	require.Len(t, out, 62)
	return out
}
