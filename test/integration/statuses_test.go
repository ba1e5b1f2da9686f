package integration

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"

	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
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

// readJSON reads an object from a file.
func readJSON(t *testing.T, path ...string) map[string]any {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(path...))
	require.NoError(t, err)
	var object map[string]any
	require.NoError(t, json.Unmarshal(raw, &object))
	return object
}

func TestStatusesOfArgoComeBackWhole(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"3.7.18", "4.0.7"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			finished := readJSON(t, "..", "testdata", "workflow-argo-"+version+".json")
			s := newSpace(t)
			wf := gen.Workflow("everything", gen.InNamespace(s.name), gen.WithCluster("cluster1"))
			wf.Object["spec"] = finished["spec"]
			r := s.createOnHub(cluster1, wf)
			r.starts()
			r.runsOn()
			r.argo.write(r, finished["status"].(map[string]any))
			r.waitUntilMirrored()
			r.waitUntilReleased()
			r.isGone()
		})
	}
}

func TestStatusThatIsFullOfWhatOnlyANewerArgoKnowsComesBackWhole(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	r := s.create("newer", cluster1, gen.WithSpecField(map[string]any{
		"s3": map[string]any{"bucket": "models", "endpoint": "s3.example.com"},
	}, "archiveLocation"))
	r.starts()
	r.runsOn()
	r.argo.write(r, readJSON(t, "testdata", "newer.json"))
	r.waitUntilMirrored()
	r.waitUntilReleased()
	r.isGone()
}
