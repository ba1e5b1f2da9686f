package report

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
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

// fill puts a forged location wherever Argo's types have one, in types within themselves once again.
func fill(value reflect.Value, within []reflect.Type) {
	typ := value.Type()
	switch typ.Kind() {
	case reflect.Pointer:
		readsItself := typ.Implements(unmarshaler) && typ.Elem() != reflect.TypeFor[wfv1.ParallelSteps]()
		if !readsItself && strings.Contains(typ.Elem().PkgPath(), "argo") {
			value.Set(reflect.New(typ.Elem()))
			fill(value.Elem(), within)
		}
	case reflect.Slice:
		if typ.Elem().Kind() == reflect.Struct || typ.Elem().Kind() == reflect.Slice {
			element := reflect.New(reflect.PointerTo(typ.Elem())).Elem()
			if fill(element, within); !element.IsNil() {
				value.Set(reflect.Append(value, element.Elem()))
			}
		}
	case reflect.Map:
		if typ.Elem().Kind() == reflect.Struct && strings.Contains(typ.Elem().PkgPath(), "argo") {
			element := reflect.New(typ.Elem()).Elem()
			fill(element, within)
			value.Set(reflect.MakeMap(typ))
			value.SetMapIndex(reflect.ValueOf("artifacts").Convert(typ.Key()), element)
		}
	case reflect.Struct:
		fillStruct(value, within)
	}
}

func fillStruct(value reflect.Value, within []reflect.Type) {
	typ := value.Type()
	again := slices.DeleteFunc(slices.Clone(within), func(other reflect.Type) bool { return other != typ })
	if len(again) > 1 || !strings.Contains(typ.PkgPath(), "argo") {
		return
	}
	within = append(slices.Clone(within), typ)
	for i := range typ.NumField() {
		if typ.Field(i).IsExported() {
			fill(value.Field(i), within)
		}
	}
	if bucket, ok := value.Addr().Interface().(*wfv1.S3Bucket); ok {
		bucket.Endpoint = "evil.example.com"
	}
}

func TestEveryPlaceWhereArgosTypesLocateArtifactsIsFound(t *testing.T) {
	var argos wfv1.WorkflowStatus
	fill(reflect.ValueOf(&argos).Elem(), nil)
	raw, err := json.Marshal(argos)
	require.NoError(t, err)
	require.Greater(t, strings.Count(string(raw), "evil"), 50)
	var status map[string]any
	require.NoError(t, json.Unmarshal(raw, &status))
	assert.Empty(t, restrictBy(status, reader()))
	raw, err = json.Marshal(status)
	require.NoError(t, err)
	if at := strings.Index(string(raw), "evil"); at >= 0 {
		assert.Fail(t, "not found", "%s", raw[max(0, at-500):at])
	}
}

func forgedS3() map[string]any { return map[string]any{"s3": forged("k")} }

func TestEveryPlaceOfAnArtifactIsFound(t *testing.T) {
	template := func(field string, value any) map[string]any {
		return map[string]any{"storedTemplates": map[string]any{"t": map[string]any{field: value}}}
	}
	hook := map[string]any{"hooks": map[string]any{"exit": map[string]any{"arguments": artifacts(forgedS3())}}}
	folded := map[string]any{"Outputs": map[string]any{"ARTIFACT\u017f": []any{map[string]any{"\u017f3": forged("k")}}}}
	defaults := map[string]any{"templateDefaults": map[string]any{"archiveLocation": forgedS3()}}
	inline := func() map[string]any {
		return map[string]any{"inline": map[string]any{"outputs": artifacts(forgedS3())}}
	}
	for name, status := range map[string]map[string]any{
		"an inline template of a step":    template("steps", []any{[]any{inline()}}),
		"an inline template of a task":    template("dag", map[string]any{"tasks": []any{inline()}}),
		"arguments of a step":             template("steps", []any{[]any{map[string]any{"arguments": artifacts(forgedS3())}}}),
		"arguments of a hook":             template("steps", []any{[]any{hook}}),
		"where a template puts its logs":  template("archiveLocation", forgedS3()),
		"where a data template looks":     template("data", map[string]any{"source": map[string]any{"artifactPaths": forgedS3()}}),
		"the defaults of templates":       {"storedWorkflowTemplateSpec": defaults},
		"a field of the future":           {"replicas": []any{map[string]any{"outputs": artifacts(forgedS3())}}},
		"a field of a node's future":      nodes(map[string]any{"carbon": map[string]any{"artifact": forgedS3()}}),
		"what should be text":             nodes(map[string]any{"message": map[string]any{"artifacts": forgedS3()}}),
		"a list where there is none":      nodes(map[string]any{"outputs": []any{artifacts(forgedS3())}}),
		"an object where there is a list": nodes(map[string]any{"outputs": map[string]any{"artifacts": forgedS3()}}),
		"fields in another case":          nodes(folded),
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
