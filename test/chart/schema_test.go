package chart

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// TestTheSchemaDescribesEachValue compares the descriptions in the schema, which editors show, with the comments in values.yaml. With
// UPDATE_DOCS=1 it writes them.
func TestTheSchemaDescribesEachValue(t *testing.T) {
	const file = hubChart + "/values.schema.json"
	raw, err := os.ReadFile(hubChart + "/values.yaml")
	require.NoError(t, err)
	var values yaml.Node
	require.NoError(t, yaml.Unmarshal(raw, &values))
	raw, err = os.ReadFile(file)
	require.NoError(t, err)
	schema := map[string]any{}
	require.NoError(t, json.Unmarshal(raw, &schema))
	described := describe(t, "", values.Content[0], schema)
	assert.Greater(t, described, 50)
	want, err := json.MarshalIndent(schema, "", "  ")
	require.NoError(t, err)
	if os.Getenv("UPDATE_DOCS") == "1" {
		require.NoError(t, os.WriteFile(file, append(want, '\n'), 0o644))
		return
	}
	assert.Equal(t, string(want)+"\n", string(raw), "UPDATE_DOCS=1 go test ./test/chart writes it anew")
}

// describe sets in the schema the description of each value that a comment "# -- …" stands before, and returns of how many.
func describe(t *testing.T, path string, values *yaml.Node, schema map[string]any) int {
	t.Helper()
	properties, ok := schema["properties"].(map[string]any)
	if !ok || values.Kind != yaml.MappingNode {
		return 0
	}
	described := 0
	for i := 0; i+1 < len(values.Content); i += 2 {
		key, value := values.Content[i], values.Content[i+1]
		property, ok := properties[key.Value].(map[string]any)
		require.True(t, ok, "%s.%s is not in the schema", path, key.Value)
		if _, comment, found := strings.Cut(key.HeadComment, "# -- "); found {
			property["description"] = strings.Join(strings.Fields(strings.ReplaceAll(comment, "\n#", "\n")), " ")
			described++
		}
		described += describe(t, path+"."+key.Value, value, property)
	}
	return described
}
