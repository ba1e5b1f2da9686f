package report

import (
	"maps"
	"reflect"
	"slices"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestTheNamesThatTellAnUnknownFieldAreThoseOfArgosTypes(t *testing.T) {
	assert.ElementsMatch(t, []string{
		"artifact", "artifactPaths", "artifactRepository", "artifacts", "archiveLocation",
		"allocatedResources", "capacity", "divisor", "limits", "requests", "sizeLimit",
	}, slices.Collect(maps.Keys(schemaOf().unknown.fields)))
}

// If this fails after an update of Argo, one more of its types reads JSON in a way of its own: what is in it is taken for a user's
// words, unless schemaOf says what it reads.
func TestEveryTypeThatReadsJSONInAWayOfItsOwnIsKnown(t *testing.T) {
	found := map[reflect.Type]bool{}
	seen := map[reflect.Type]bool{}
	var visit func(reflect.Type)
	visit = func(typ reflect.Type) {
		if seen[typ] {
			return
		}
		seen[typ] = true
		switch {
		case typ.Kind() != reflect.Pointer && reflect.PointerTo(typ).Implements(unmarshaler):
			found[typ] = true
		case slices.Contains([]reflect.Kind{reflect.Pointer, reflect.Slice, reflect.Map, reflect.Array}, typ.Kind()):
			visit(typ.Elem())
		case typ.Kind() == reflect.Struct:
			for i := range typ.NumField() {
				visit(typ.Field(i).Type)
			}
		default:
			require.NotEqual(t, reflect.Interface, typ.Kind(), "%s has anything in it", typ)
		}
	}
	visit(reflect.TypeFor[wfv1.WorkflowStatus]())
	visit(reflect.TypeFor[wfv1.WorkflowSpec]())
	assert.ElementsMatch(t, []reflect.Type{
		reflect.TypeFor[resource.Quantity](), reflect.TypeFor[wfv1.ParallelSteps](),
		reflect.TypeFor[wfv1.Amount](), reflect.TypeFor[wfv1.AnyString](), reflect.TypeFor[wfv1.Item](),
		reflect.TypeFor[wfv1.Plugin](), reflect.TypeFor[intstr.IntOrString](), reflect.TypeFor[metav1.FieldsV1](), reflect.TypeFor[metav1.Time](),
	}, slices.Collect(maps.Keys(found)))
}

func TestEveryPlaceOfAnArtifactIsFound(t *testing.T) {
	artifact := map[string]any{"s3": forged("k")}
	template := func(field string, value any) map[string]any {
		return map[string]any{"storedTemplates": map[string]any{"t": map[string]any{field: value}}}
	}
	inline := map[string]any{"inline": map[string]any{"outputs": artifacts(artifact)}}
	for name, status := range map[string]map[string]any{
		"an inline template of a step":    template("steps", []any{[]any{inline}}),
		"an inline template of a task":    template("dag", map[string]any{"tasks": []any{inline}}),
		"arguments of a step":             template("steps", []any{[]any{map[string]any{"arguments": artifacts(artifact)}}}),
		"arguments of a hook":             template("steps", []any{[]any{map[string]any{"hooks": map[string]any{"exit": map[string]any{"arguments": artifacts(artifact)}}}}}),
		"where a template puts its logs":  template("archiveLocation", artifact),
		"where a data template looks":     template("data", map[string]any{"source": map[string]any{"artifactPaths": artifact}}),
		"an artifact of the template's":   {"storedWorkflowTemplateSpec": map[string]any{"templateDefaults": map[string]any{"archiveLocation": artifact}}},
		"a field of the future":           {"replicas": []any{map[string]any{"outputs": artifacts(artifact)}}},
		"a field of a node's future":      nodes(map[string]any{"carbon": map[string]any{"artifact": artifact}}),
		"what should be text":             nodes(map[string]any{"message": map[string]any{"artifacts": artifact}}),
		"a list where there is none":      nodes(map[string]any{"outputs": []any{artifacts(artifact)}}),
		"an object where there is a list": nodes(map[string]any{"outputs": map[string]any{"artifacts": artifact}}),
		"fields in another case":          nodes(map[string]any{"Outputs": map[string]any{"ARTIFACT\u017f": []any{map[string]any{"\u017f3": forged("k")}}}}),
	} {
		t.Run(name, func(t *testing.T) {
			assert.Empty(t, restrictBy(status, reader()))
			raw, err := encode(status)
			require.NoError(t, err)
			assert.NotContains(t, string(raw), "evil")
			assert.Contains(t, string(raw), `"key":"k"`)
		})
	}
}
