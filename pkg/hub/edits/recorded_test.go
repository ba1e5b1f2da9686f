package edits

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/recorded"
)

// classesOf names what is found in a write as the recording does.
func classesOf(t *testing.T, r recorded.Write, found Found) []string {
	t.Helper()
	before, after := contract.ControlsOf(r.Before.Spec), contract.ControlsOf(r.After.Spec)
	out := []string{}
	switch {
	case !before.Suspend && after.Suspend:
		out = append(out, "suspend")
	case before.Suspend && !after.Suspend:
		out = append(out, "unsuspend")
	}
	if after.Shutdown != "" && after.Shutdown != before.Shutdown {
		out = append(out, "shutdown:"+string(after.Shutdown))
	}
	nodes, _, err := contract.Nodes(r.Before.Status)
	require.NoError(t, err)
	for _, n := range found.Nodes {
		out = append(out, nodeClass(nodes[n.ID].(map[string]any), n))
	}
	if found.Retry != nil {
		class := fmt.Sprintf("retry(-%d)", len(found.Retry.RemovedNodes))
		if contract.ArgumentsDigest(r.Before.Spec) != contract.ArgumentsDigest(r.After.Spec) {
			class += "+args"
		}
		out = append(out, class)
	}
	if len(out) == 0 {
		out = append(out, "nothing")
	}
	return out
}

func nodeClass(before map[string]any, n v1alpha1.NodeEdit) string {
	class := "node:" + contract.StatusString(before, "displayName") + ":" + n.Phase
	if n.Message != contract.StatusString(before, "message") {
		class += "+msg"
	}
	if len(n.Parameters) > 0 {
		class += "+out"
	}
	return class
}

func TestEveryRecordedWriteIsRecognizedAsWhatWasAskedForAndNothingElse(t *testing.T) {
	for i, r := range recorded.Writes(t) {
		t.Run(fmt.Sprintf("%d %s", i, strings.Join(r.Class, " ")), func(t *testing.T) {
			found, err := Of(r.Before.Status, r.After.Status, true)
			require.NoError(t, err)
			assert.ElementsMatch(t, r.Class, classesOf(t, r, found))
		})
	}
}

// A client of Argo 4 leaves the phase to the controller.
func TestARetryWithoutAPhaseIsARetry(t *testing.T) {
	retries := 0
	for i, r := range recorded.Writes(t) {
		if !strings.HasPrefix(r.Class[0], "retry") {
			continue
		}
		retries++
		t.Run(fmt.Sprintf("%d %s", i, r.Class[0]), func(t *testing.T) {
			status := runtime.DeepCopyJSON(r.After.Status)
			delete(status, "phase")
			found, err := Of(r.Before.Status, status, true)
			require.NoError(t, err)
			assert.Equal(t, r.Class, classesOf(t, r, found))
		})
	}
	assert.Equal(t, 21, retries)
}

// The nodes of a large Workflow are packed. What is packed is told as well as what is not.
func TestPackedNodesAreToldAsThoseThatAreNot(t *testing.T) {
	pack := func(status map[string]any) map[string]any {
		nodes := status[contract.FieldNodes]
		raw, err := json.Marshal(nodes)
		require.NoError(t, err)
		out := runtime.DeepCopyJSON(status)
		delete(out, contract.FieldNodes)
		out[contract.FieldCompressedNodes], err = contract.PackNodes(raw)
		require.NoError(t, err)
		return out
	}
	packed := 0
	for i, r := range recorded.Writes(t) {
		if r.Before.Status[contract.FieldNodes] == nil || r.After.Status[contract.FieldNodes] == nil {
			continue
		}
		packed++
		t.Run(fmt.Sprintf("%d %s", i, strings.Join(r.Class, " ")), func(t *testing.T) {
			found, err := Of(pack(r.Before.Status), pack(r.After.Status), true)
			require.NoError(t, err)
			assert.ElementsMatch(t, r.Class, classesOf(t, r, found))
			forged := runtime.DeepCopyJSON(r.After.Status)
			nodesOf(forged)["forged"] = map[string]any{"id": "forged", "name": "forged", "phase": "Running", "type": "Suspend"}
			_, err = Of(pack(r.Before.Status), pack(forged), true)
			require.Error(t, err)
		})
	}
	assert.NotZero(t, packed)
}

// forgeries are what no client of Argo writes beside a verb.
var forgeries = map[string]func(status map[string]any) bool{
	"another message of the Workflow": func(s map[string]any) bool { s["message"] = "forged"; return true },
	"another progress":                func(s map[string]any) bool { s["progress"] = "99/99"; return true },
	"another phase":                   func(s map[string]any) bool { s["phase"] = "Pending"; return true },
	"an output of the Workflow": func(s map[string]any) bool {
		s["outputs"] = map[string]any{"parameters": []any{map[string]any{"name": "forged", "value": "1"}}}
		return true
	},
	"templates stored": func(s map[string]any) bool {
		s["storedTemplates"] = map[string]any{"forged": map[string]any{"name": "forged"}}
		return true
	},
	"a node more": func(s map[string]any) bool {
		nodesOf(s)["forged"] = map[string]any{"id": "forged", "name": "forged", "phase": "Running", "type": "Suspend"}
		return true
	},
	"a node that has another type": func(s map[string]any) bool {
		return forgeNode(s, func(n map[string]any) bool { return n["type"] == "Pod" }, func(n map[string]any) { n["type"] = "Suspend" })
	},
	"a node that has another name": func(s map[string]any) bool {
		return forgeNode(s, any1, func(n map[string]any) { n["displayName"] = "forged" })
	},
	"an output of a node that did not wait": func(s map[string]any) bool {
		return forgeNode(s, func(n map[string]any) bool { return n["type"] == "Pod" }, func(n map[string]any) {
			n["outputs"] = map[string]any{"parameters": []any{map[string]any{"name": "x", "value": "forged"}}}
		})
	},
	"a pod that fails": func(s map[string]any) bool {
		return forgeNode(s, func(n map[string]any) bool { return n["type"] == "Pod" && n["phase"] == "Succeeded" },
			func(n map[string]any) { n["phase"] = "Failed" })
	},
	"a node that ends before it has": func(s map[string]any) bool {
		return forgeNode(s, func(n map[string]any) bool { return n["type"] == "Suspend" && n["phase"] == "Running" },
			func(n map[string]any) { n["finishedAt"] = "2026-01-01T00:00:00Z" })
	},
	"an artifact": func(s map[string]any) bool {
		return forgeNode(s, any1, func(n map[string]any) {
			n["outputs"] = map[string]any{"artifacts": []any{map[string]any{"name": "x", "s3": map[string]any{"endpoint": "forged", "key": "k"}}}}
		})
	},
	"a child more": func(s map[string]any) bool {
		return forgeNode(s, any1, func(n map[string]any) { n["children"] = []any{"forged"} })
	},
}

func any1(map[string]any) bool { return true }

func nodesOf(status map[string]any) map[string]any {
	nodes, _ := status["nodes"].(map[string]any)
	if nodes == nil {
		nodes = map[string]any{}
		status["nodes"] = nodes
	}
	return nodes
}

// forgeNode changes the first node, by its id, that fits. It reports whether there was one.
func forgeNode(status map[string]any, fits func(map[string]any) bool, forge func(map[string]any)) bool {
	nodes := nodesOf(status)
	ids := make([]string, 0, len(nodes))
	for id := range nodes {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if node := nodes[id].(map[string]any); fits(node) {
			forge(node)
			return true
		}
	}
	return false
}

func TestAWriteWithAnythingThatNoVerbChangesIsRefused(t *testing.T) {
	forged := map[string]int{}
	for i, r := range recorded.Writes(t) {
		if r.After.Status == nil || contract.StatusString(r.After.Status, "compressedNodes") != "" || len(nodesOf(r.After.Status)) == 0 {
			continue
		}
		for name, forge := range forgeries {
			status := runtime.DeepCopyJSON(r.After.Status)
			if !forge(status) || reflect.DeepEqual(status, r.After.Status) {
				continue
			}
			forged[name]++
			t.Run(fmt.Sprintf("%d %s, and %s", i, strings.Join(r.Class, " "), name), func(t *testing.T) {
				found, err := Of(r.Before.Status, status, true)
				assert.Error(t, err, "found %+v", found)
			})
		}
	}
	for name := range forgeries {
		assert.NotZero(t, forged[name], "%s was never tried", name)
	}
}
