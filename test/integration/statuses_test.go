package integration

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"
)

// runningStatus is what Argo writes soon after the start.
func runningStatus() map[string]any {
	return map[string]any{
		"phase": "Running", "progress": "0/1", "startedAt": "2026-01-02T15:04:05Z",
		"nodes": map[string]any{"main": map[string]any{
			"id": "main", "name": "main", "type": "Pod", "phase": "Pending", "startedAt": "2026-01-02T15:04:05Z",
		}},
	}
}

// succeededStatus is what Argo writes at the end.
func succeededStatus() map[string]any {
	status := runtime.DeepCopyJSON(runningStatus())
	status["phase"], status["progress"], status["finishedAt"] = "Succeeded", "1/1", "2026-01-02T15:04:15Z"
	node := status["nodes"].(map[string]any)["main"].(map[string]any)
	node["phase"], node["finishedAt"] = "Succeeded", "2026-01-02T15:04:14Z"
	return status
}

// statusIn reads a status from a file in testdata.
func statusIn(t *testing.T, name string) map[string]any {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	var status map[string]any
	require.NoError(t, json.Unmarshal(raw, &status))
	return status
}
