package e2e

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/podrunner"
)

// failing makes the first pod of the Workflow fail.
func failing(wf client.Object) {
	spec := wf.(*unstructured.Unstructured).Object["spec"].(map[string]any)
	template := spec["templates"].([]any)[0].(map[string]any)
	template["metadata"] = map[string]any{"annotations": map[string]any{podrunner.AnnotationExitCode: "1"}}
	container := template["container"].(map[string]any)
	container["command"], container["args"] = []any{"false"}, []any{}
}

func TestTTLStrategyTakesWorkflowsFromHubAndCluster(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	h := s.record(cluster1)
	expire := map[*run]string{
		s.create(s.hello("after-success", on(cluster1), gen.WithTTL("secondsAfterSuccess", 2))):          "Succeeded",
		s.create(s.hello("after-failure", on(cluster1), failing, gen.WithTTL("secondsAfterFailure", 2))): "Failed",
		s.create(s.hello("after-completion", on(cluster1), gen.WithTTL("secondsAfterCompletion", 0))):    "Succeeded",
	}
	stays := s.create(s.hello("stays", on(cluster1), failing, gen.WithTTL("secondsAfterSuccess", 0)))
	stays.waitFor("Failed")
	for r, phase := range expire {
		r.waitUntilGone(cluster1)
		r.waitForEvent("TTLExpired", "it was "+phase)
	}
	h.staysSo(t, 4, 4)
	require.NoError(t, errors.Join(stays.wants(theHub, "Failed", ""), stays.wants(cluster1, "Failed", "")))
	labtest.Eventually(t, patience, func() error { return stays.mirrored(cluster1) })
}
