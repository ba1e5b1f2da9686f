package docs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"open-cluster-management.io/argo-workflow-multicluster/test/docs"
)

// apiTypes has the conditions of a RemoteWorkflow, and their reasons.
const apiTypes = "../../pkg/apis/workflow/v1alpha1/types.go"

// TestTheAPIIsDocumented compares the documentation with the CRD of RemoteWorkflows, or with UPDATE_DOCS=1 writes it.
func TestTheAPIIsDocumented(t *testing.T) {
	const file = "../../docs/reference/api.md"
	crd := remoteWorkflowCRD(t)
	require.Len(t, crd.Spec.Versions, 1)
	schema := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	for part, text := range map[string]string{
		"object":     head(crd) + rules(schema, ""),
		"spec":       fields(schema.Properties["spec"], ""),
		"status":     fields(schema.Properties["status"], ""),
		"conditions": constants(t, "Condition"),
		"reasons":    constants(t, "Reason"),
	} {
		if os.Getenv("UPDATE_DOCS") != "" {
			require.NoError(t, docs.SetBlock(file, part, text))
		}
		documented, err := docs.Block(file, part)
		require.NoError(t, err)
		assert.Equal(t, text, documented, "make generate writes it anew")
	}
}

// remoteWorkflowCRD returns the CRD in the chart, wherever in it that is.
func remoteWorkflowCRD(t *testing.T) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	require.NoError(t, filepath.WalkDir("../../charts", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Base(path) != "workflow.open-cluster-management.io_remoteworkflows.yaml" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return yaml.UnmarshalStrict(text, crd)
	}))
	require.NotEmpty(t, crd.Name)
	return crd
}

func head(crd *apiextensionsv1.CustomResourceDefinition) string {
	names, version := crd.Spec.Names, crd.Spec.Versions[0]
	text := paragraph(version.Schema.OpenAPIV3Schema.Description) + "\n\n" +
		fmt.Sprintf("- `apiVersion: %s/%s`, `kind: %s`, short name `%s`, %s\n", crd.Spec.Group, version.Name, names.Kind,
			strings.Join(names.ShortNames, "`, `"), strings.ToLower(string(crd.Spec.Scope)))
	for _, key := range slices.Sorted(maps.Keys(crd.Annotations)) {
		if strings.HasPrefix(key, crd.Spec.Group) {
			text += fmt.Sprintf("- annotation of the CRD: `%s: %q`\n", key, crd.Annotations[key])
		}
	}
	return text
}

// fields returns the fields of an object and of those in it, as a nested list.
func fields(schema apiextensionsv1.JSONSchemaProps, indent string) string {
	var text strings.Builder
	text.WriteString(rules(&schema, indent))
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		field := schema.Properties[name]
		need := ""
		if slices.Contains(schema.Required, name) {
			need = ", required"
		}
		fmt.Fprintf(&text, "%s- **`%s`** (%s%s%s): %s\n", indent, name, typeOf(field), need, bounds(field), paragraph(field.Description))
		if items := field.Items; items != nil {
			field = *items.Schema
		}
		text.WriteString(fields(field, indent+"  "))
	}
	return text.String()
}

func typeOf(schema apiextensionsv1.JSONSchemaProps) string {
	switch {
	case schema.Items != nil:
		return "list of " + typeOf(*schema.Items.Schema)
	case schema.AdditionalProperties != nil:
		return "map to " + typeOf(*schema.AdditionalProperties.Schema)
	case schema.Format != "":
		return schema.Type + ", " + schema.Format
	}
	return schema.Type
}

// bounds returns what the API server asks of a value.
func bounds(schema apiextensionsv1.JSONSchemaProps) string {
	var text strings.Builder
	for i, value := range schema.Enum {
		text.WriteString([]string{", ", " or "}[min(i, 1)] + "`" + strings.Trim(string(value.Raw), `"`) + "`")
	}
	if schema.Minimum != nil {
		fmt.Fprintf(&text, ", at least %g", *schema.Minimum)
	}
	for _, limit := range []struct {
		count *int64
		of    string
	}{
		{schema.MaxLength, "characters"}, {schema.MaxItems, "items"}, {schema.MaxProperties, "keys"},
	} {
		if limit.count != nil {
			fmt.Fprintf(&text, ", at most %d %s", *limit.count, limit.of)
		}
	}
	return text.String()
}

// rules returns what the API server says when it refuses a change.
func rules(schema *apiextensionsv1.JSONSchemaProps, indent string) string {
	var text strings.Builder
	for _, rule := range schema.XValidations {
		fmt.Fprintf(&text, "%s- Rule of the API server: %s.\n", indent, paragraph(rule.Message))
	}
	return text.String()
}

func paragraph(text string) string {
	return strings.Join(strings.Fields(text), " ")
}

// constants returns the values and comments of the constants of the API whose names begin so, as a list.
func constants(t *testing.T, prefix string) string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), apiTypes, nil, parser.ParseComments)
	require.NoError(t, err)
	var text strings.Builder
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, prefix) {
			return true
		}
		value := strings.Trim(spec.Values[0].(*ast.BasicLit).Value, `"`)
		comment := strings.TrimLeft(strings.TrimPrefix(paragraph(spec.Doc.Text()), spec.Names[0].Name), ": ")
		fmt.Fprintf(&text, "- **`%s`**: %s\n", value, comment)
		return true
	})
	require.NotEmpty(t, text.String())
	return text.String()
}
