package report

import (
	"os"
	"path/filepath"
	"strings"
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
			wf := gen.Workflow("everything", gen.WithAssignment(cluster))
			wf.Object["spec"] = reported.Object["spec"]

			taken, refusal := take(wf, gen.RemoteWorkflow(wf, cluster, gen.WithReport(contract.Status(reported))))
			defer taken.Release()
			require.Nil(t, refusal)
			assertSameJSON(t, contract.Status(reported), taken.Status)
			assert.Empty(t, taken.Incomplete)
		})
	}
}

func TestFieldsThatNoVersionOfArgoHasYetArriveAsTheyAre(t *testing.T) {
	status := runtime.DeepCopyJSON(contract.Status(finishedBy(t, "4.0.7")))
	status["verdicts"] = []any{map[string]any{"by": "a future controller", "score": 0.5, "rank": int64(1) << 60, "final": true}}
	for _, node := range status["nodes"].(map[string]any) {
		node.(map[string]any)["carbon"] = map[string]any{"grams": int64(3)}
	}
	wf := gen.Workflow("everything", gen.WithAssignment(cluster))

	taken, refusal := take(wf, gen.RemoteWorkflow(wf, cluster, gen.WithReport(status)))
	defer taken.Release()
	require.Nil(t, refusal)
	// The raw artifact of the real Workflow's arguments is data, not a location.
	assertSameJSON(t, status, taken.Status)
}

// renamed returns a status in which everything that users name bears this name: the Workflow and so its nodes, templates, parameters and
// labels.
func renamed(t *testing.T, status map[string]any, name string) map[string]any {
	t.Helper()
	status = runtime.DeepCopyJSON(status)
	nodes := map[string]any{}
	for id, node := range status["nodes"].(map[string]any) {
		node.(map[string]any)["id"] = strings.Replace(id, "everything", name, 1)
		nodes[strings.Replace(id, "everything", name, 1)] = node
	}
	require.Contains(t, nodes, name, "the Workflow's first node")
	status["nodes"] = nodes
	driver := map[string]any{"s3": map[string]any{"bucket": "b"}}
	status["storedTemplates"] = map[string]any{name: map[string]any{
		"name":         name,
		"metadata":     map[string]any{"labels": map[string]any{name: "1e9999"}, "annotations": map[string]any{name: "1e9999"}},
		"nodeSelector": map[string]any{name: "1e9999"},
		"inputs":       map[string]any{"parameters": []any{map[string]any{"name": name, "value": "1e9999"}}},
		"plugin":       map[string]any{name: map[string]any{"s3": driver, name: driver}},
		"steps":        []any{[]any{map[string]any{"name": name, "withItems": []any{map[string]any{name: driver}}}}},
	}}
	status["taskResultsCompletionStatus"] = map[string]any{name: true}
	status["resourcesDuration"] = map[string]any{name: int64(1)}
	return status
}

func TestAUsersNameIsNeverTakenForAField(t *testing.T) {
	for name := range schemaOf().unknown.fields {
		for _, version := range []string{"3.7.18", "4.0.7"} {
			t.Run(name+", "+version, func(t *testing.T) {
				reported := finishedBy(t, version)
				status := renamed(t, contract.Status(reported), name)
				wf := gen.Workflow(name, gen.WithAssignment(cluster))
				wf.Object["spec"] = reported.Object["spec"]
				rw := gen.RemoteWorkflow(wf, cluster, gen.WithReport(status))

				taken, refusal := take(wf, rw)
				require.Nil(t, refusal)
				assertSameJSON(t, status, taken.Status)
				assert.Empty(t, taken.Incomplete)
				taken.Release()

				status["compressedNodes"] = packed(t, status["nodes"])
				delete(status, "nodes")
				gen.WithReport(status)(rw)
				taken, refusal = take(wf, rw)
				defer taken.Release()
				require.Nil(t, refusal)
				assertSameJSON(t, status, taken.Status)
				assert.Empty(t, taken.Incomplete)
			})
		}
	}
}

func assertSameJSON(t *testing.T, want, got any) {
	t.Helper()
	wanted, err := json.Marshal(want)
	require.NoError(t, err)
	given, err := json.Marshal(got)
	require.NoError(t, err)
	assert.Equal(t, string(wanted), string(given))
}
