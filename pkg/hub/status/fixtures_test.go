package status

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

const cluster = "cluster1"

// assigned builds a Workflow that was sent to the cluster.
func assigned(mods ...gen.Mod) *unstructured.Unstructured {
	return gen.Workflow("hello", append([]gen.Mod{gen.WithAssignment(cluster)}, mods...)...)
}

func running() map[string]any {
	return map[string]any{
		"phase": "Running", "progress": "0/1", "startedAt": "2026-01-02T15:04:05Z",
		"nodes":     map[string]any{"hello": map[string]any{"phase": "Running", "ofTheFuture": int64(1)}},
		"resources": map[string]any{"estimated": 1.5},
	}
}
