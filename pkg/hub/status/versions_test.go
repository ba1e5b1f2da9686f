package status

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// finishedBy returns a Workflow as the Argo controller of that version left it.
func finishedBy(t *testing.T, version string) *unstructured.Unstructured {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", "test", "testdata", "workflow-argo-"+version+".json"))
	require.NoError(t, err)
	wf := contract.NewWorkflow()
	require.NoError(t, wf.UnmarshalJSON(raw))
	require.Greater(t, len(contract.Status(wf)["nodes"].(map[string]any)), 10)
	return wf
}

func TestTheStatusesOfArgoVersionsArriveAsTheyAre(t *testing.T) {
	for _, version := range []string{"3.7.18", "4.0.7"} {
		t.Run(version, func(t *testing.T) {
			reported := finishedBy(t, version)
			wf := gen.Workflow("everything", gen.WithAssignment("cluster1"))
			wf.Object["spec"] = reported.Object["spec"]

			out := decide(wf, gen.RemoteWorkflow(wf, "cluster1", gen.WithReport(contract.Status(reported))), nil, "")

			assertSameJSON(t, contract.Status(reported), out.status)
			assert.Empty(t, out.reason)
		})
	}
}

func TestFieldsThatNoVersionOfArgoHasYetArriveAsTheyAre(t *testing.T) {
	status := runtime.DeepCopyJSON(contract.Status(finishedBy(t, "4.0.7")))
	status["verdicts"] = []any{map[string]any{"by": "a future controller", "score": 0.5, "rank": int64(1) << 60, "final": true}}
	for _, node := range status["nodes"].(map[string]any) {
		node.(map[string]any)["carbon"] = map[string]any{"grams": int64(3)}
	}
	wf := gen.Workflow("everything", gen.WithAssignment("cluster1"))

	out := decide(wf, gen.RemoteWorkflow(wf, "cluster1", gen.WithReport(status)), nil, "")

	// The raw artifact of the real Workflow's arguments is data, not a location.
	assertSameJSON(t, status, out.status)
}

func assertSameJSON(t *testing.T, want, got any) {
	t.Helper()
	wanted, err := json.Marshal(want)
	require.NoError(t, err)
	given, err := json.Marshal(got)
	require.NoError(t, err)
	assert.Equal(t, string(wanted), string(given))
}
