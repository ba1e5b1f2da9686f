package report

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
)

// richSpec is a spec of which a view has everything.
func richSpec() map[string]any {
	return map[string]any{
		"artifactRepositoryRef": map[string]any{"configMap": "repositories", "key": "mine"},
		"workflowTemplateRef":   map[string]any{"name": "train"},
		"workflowMetadata": map[string]any{
			"labels":     map[string]any{"team": "a"},
			"labelsFrom": map[string]any{"run": map[string]any{"expression": "workflow.name"}},
		},
		"arguments": map[string]any{"artifacts": []any{map[string]any{"name": "in", "s3": bucket("k")}}},
	}
}

func TestAViewOfASpecComesBackFromItsValue(t *testing.T) {
	for name, spec := range map[string]map[string]any{
		"a rich spec": richSpec(), "no spec": nil, "a spec of nothing that matters": {"entrypoint": "main"},
		"a spec of unexpected shapes": {
			"artifactRepositoryRef": "x", "workflowMetadata": map[string]any{"labels": []any{"x"}}, "workflowTemplateRef": nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := runtime.DeepCopyJSON(spec)
			view := ViewOf(spec)
			assert.Equal(t, before, spec, "it is the cache's")
			assert.Equal(t, view, ReadView(view.Value()))
			assert.Equal(t, view.Value(), runtime.DeepCopyJSON(view.Value()), "it is one of an untyped object")

			raw, err := json.Marshal(view.Value())
			require.NoError(t, err)
			var value any
			require.NoError(t, json.Unmarshal(raw, &value))
			assert.Equal(t, view, ReadView(value))
			again, err := json.Marshal(ViewOf(spec).Value())
			require.NoError(t, err)
			assert.Equal(t, raw, again, "equal views give equal values")
		})
	}
}

func TestAViewDoesNotHoldTheSpecsSecretsAndIsSmall(t *testing.T) {
	raw, err := json.Marshal(ViewOf(richSpec()).Value())
	require.NoError(t, err)
	assert.NotContains(t, string(raw), "s3.example.com")
	assert.Less(t, len(raw), 256)
}

func TestWhatIsNoViewAllowsNothing(t *testing.T) {
	odd := map[string]any{"stores": "x", "labels": []any{int64(1)}, "templateRef": "true", "key": int64(1)}
	for _, value := range []any{nil, "x", []any{}, odd} {
		assert.Equal(t, ViewOf(nil), ReadView(value))
	}
	assert.Empty(t, restrictLabels(map[string]string{"team": "a"}, map[string]any{}, SpecView{}))
}

func TestAViewOfASpecTakesNoWordOfAUsersForAField(t *testing.T) {
	spec := map[string]any{"templates": []any{map[string]any{
		"metadata": map[string]any{"labels": map[string]any{"artifacts": "x"}},
		"plugin":   map[string]any{"artifacts": map[string]any{"s3": bucket("k")}},
	}}}
	assert.Equal(t, ViewOf(nil), ViewOf(spec))
}
