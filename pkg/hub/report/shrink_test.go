package report

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
)

// noise is text of this size that hardly compresses; always the same.
func noise(size int) string {
	random := rand.NewChaCha8([32]byte{})
	raw := make([]byte, size/2)
	_, _ = random.Read(raw)
	return hex.EncodeToString(raw)
}

const allSteps = "the nodes are packed, the stored templates are left out, the nodes are left out, " +
	"all but phase, progress, message and times is left out"

func nodesOf(message string) map[string]any {
	return map[string]any{"a": map[string]any{"phase": "Running", "message": message}}
}

func TestAStatusLosesNoMoreThanItMust(t *testing.T) {
	small, repetitive, large := "x", strings.Repeat("x", maxStatusBytes), noise(3*maxStatusBytes)
	tests := map[string]struct {
		nodes, templates string
		atLeast          int
		wantSteps        int
		wantFields       []string
		wantSays         string
	}{
		"it fits":                   {small, small, 0, 0, []string{"nodes", "storedTemplates"}, ""},
		"its nodes fit when packed": {repetitive, small, 0, 1, []string{"compressedNodes", "storedTemplates"}, "the nodes are packed"},
		"its templates do not fit": {
			small,
			large,
			0,
			2,
			[]string{"compressedNodes"},
			"the nodes are packed, the stored templates are left out",
		},
		"its nodes do not fit at all": {
			large,
			small,
			0,
			3,
			nil,
			"the nodes are packed, the stored templates are left out, the nodes are left out",
		},
		"it fits, but not the API server": {small, small, 1, 1, []string{"compressedNodes", "storedTemplates"}, "the nodes are packed"},
		"two steps are asked for": {
			small,
			small,
			2,
			2,
			[]string{"compressedNodes"},
			"the nodes are packed, the stored templates are left out",
		},
		"all steps are asked for":     {small, small, MaxSteps, MaxSteps, nil, allSteps},
		"more than all are asked for": {small, small, 9, MaxSteps, nil, allSteps},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			status := map[string]any{
				"phase": "Running", "nodes": nodesOf(test.nodes), "storedTemplates": map[string]any{"t": test.templates},
				"storedWorkflowTemplateSpec": map[string]any{"entrypoint": "main"},
			}
			steps, err := Shrink(status, test.atLeast)
			require.NoError(t, err)
			assert.Equal(t, test.wantSteps, steps)
			for _, field := range []string{"nodes", "compressedNodes", "storedTemplates"} {
				assert.Equal(t, slices.Contains(test.wantFields, field), status[field] != nil, field)
			}
			assert.Equal(t, slices.Contains(test.wantFields, "storedTemplates"), status["storedWorkflowTemplateSpec"] != nil)
			assert.Equal(t, "Running", status["phase"])
			if test.wantSays == "" {
				assert.NotContains(t, status, "conditions")
				return
			}
			assert.Equal(t, []any{map[string]any{
				"type": ConditionIncomplete, "status": "True", "message": "the status is too large for the hub: " + test.wantSays,
			}}, status["conditions"])
		})
	}
}

func TestPackedNodesUnpackToTheSame(t *testing.T) {
	status := map[string]any{"nodes": nodesOf("hello")}
	require.NoError(t, packNodes(status))
	assert.NotContains(t, status, "nodes")
	assert.Equal(t, nodesOf("hello"), unpacked(t, status))
}

func TestNodesThatAreNoneOrPackedAlreadyAreNotPacked(t *testing.T) {
	for _, status := range []map[string]any{{}, {"nodes": "x"}, {"compressedNodes": "H4sI"}} {
		before := runtime.DeepCopyJSON(status)
		require.NoError(t, packNodes(status))
		assert.Equal(t, before, status)
	}
}

func TestShrinkingFurtherTellsAllStepsOnce(t *testing.T) {
	status := map[string]any{"nodes": nodesOf("hello"), "storedTemplates": map[string]any{}}
	for atLeast := range 3 {
		steps, err := Shrink(status, atLeast)
		require.NoError(t, err)
		assert.Equal(t, atLeast, steps)
	}
	require.Len(t, status["conditions"], 1)
	assert.Contains(t, fmt.Sprint(status["conditions"]), "the nodes are packed, the stored templates are left out")
}

func TestWhatIsLeftInTheEndIsSmallWhateverTheStatusIs(t *testing.T) {
	large := noise(3 * maxStatusBytes)
	status := map[string]any{
		"phase": "Failed", "progress": "1/2", "startedAt": "2026-01-02T15:04:05Z", "finishedAt": "2026-01-02T16:04:05Z", "message": "one" + large,
		"outputs":    map[string]any{"parameters": []any{map[string]any{"name": "x", "value": large}}},
		"conditions": []any{map[string]any{"type": large}, map[string]any{"type": ConditionIncomplete, "message": large}},
	}
	steps, err := Shrink(status, 0)
	require.NoError(t, err)
	assert.Equal(t, MaxSteps, steps)
	size, err := encodedSize(status)
	require.NoError(t, err)
	assert.Less(t, size, 8<<10)
	assert.Equal(t, "Failed", status["phase"])
	assert.Equal(t, "2026-01-02T16:04:05Z", status["finishedAt"])
	assert.Len(t, status["message"], 1024)
}

func TestShrinkingKeepsWhatWasMissingBefore(t *testing.T) {
	status := map[string]any{"nodes": nodesOf("hello")}
	AddCondition(status, ConditionIncomplete, "the nodes are offloaded")
	for range 2 {
		_, err := Shrink(status, 1)
		require.NoError(t, err)
		require.Len(t, status["conditions"], 1)
		assert.Equal(t, "the nodes are offloaded; the status is too large for the hub: the nodes are packed",
			status["conditions"].([]any)[0].(map[string]any)["message"])
	}
}
