package status

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	kjson "k8s.io/apimachinery/pkg/util/json"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// The types by which Argo says where an artifact lies.
var locationTypes = []reflect.Type{
	reflect.TypeFor[wfv1.Artifact](), reflect.TypeFor[wfv1.ArtifactLocation](), reflect.TypeFor[wfv1.ArtifactPaths](),
	reflect.TypeFor[wfv1.ArtifactRepository](),
}

// secretsIn returns the secret selectors in the artifact locations of a value of Argo's types, as Argo would resolve them.
func secretsIn(value reflect.Value, within bool) []string {
	switch value.Kind() {
	case reflect.Pointer, reflect.Interface:
		if value.IsNil() {
			return nil
		}
		return secretsIn(value.Elem(), within)
	case reflect.Slice, reflect.Array:
		var found []string
		for i := range value.Len() {
			found = append(found, secretsIn(value.Index(i), within)...)
		}
		return found
	case reflect.Map:
		var found []string
		for iter := value.MapRange(); iter.Next(); {
			found = append(found, secretsIn(iter.Value(), within)...)
		}
		return found
	case reflect.Struct:
		if selector, ok := value.Interface().(corev1.SecretKeySelector); ok {
			if within && selector != (corev1.SecretKeySelector{}) {
				return []string{selector.Name + "/" + selector.Key}
			}
			return nil
		}
		within = within || slices.Contains(locationTypes, value.Type())
		var found []string
		for i := range value.NumField() {
			if value.Type().Field(i).IsExported() {
				found = append(found, secretsIn(value.Field(i), within)...)
			}
		}
		return found
	default:
		return nil
	}
}

// asArgoReads decodes into one of Argo's types with the most lenient decoder that Argo uses: fields match in any case,
// the same field twice is merged, and what does not fit is passed over.
func asArgoReads[T any](raw []byte) reflect.Value {
	into := new(T)
	_ = json.Unmarshal(raw, into)
	return reflect.ValueOf(into)
}

func FuzzRestrictLeavesNoSecretThatTheSpecDoesNotName(f *testing.F) {
	const (
		known  = `{"endpoint":"s3.example.com","accessKeySecret":{"name":"mine","key":"token"},"key":"k"}`
		spec   = `{"templates":[{"outputs":{"artifacts":[{"s3":` + known + `}]}}]}`
		forged = `{"endpoint":"evil","accessKeySecret":{"name":"loot","key":"token"},"key":"k"}`
	)
	for _, status := range []string{
		`{"nodes":{"a":{"outputs":{"artifacts":[{"name":"x","s3":` + forged + `}]},"inputs":{"artifacts":[{"s3":` + known + `}]}}}}`,
		`{"storedTemplates":{"t":{"archiveLocation":{"gcs":{"serviceAccountKeySecret":{"name":"loot","key":"k"}}}}}}`,
		`{"artifactRepositoryRef":{"artifactRepository":{"oss":` + forged + `,"archiveLogs":true}}}`,
		`{"outputs":{"artifacts":[{"http":{"auth":{"oauth2":{"clientIDSecret":{"name":"loot","key":"k"}}}}}]}}`,
		`{"outputs":{"artifacts":[{"git":{"repo":"x","usernameSecret":{"name":"loot","key":"k"}}}]}}`,
		`{"storedWorkflowTemplateSpec":{"templates":[{"resource":{"manifestFrom":{"artifact":{"s3":` + forged + `}}}}]}}`,
		`{"storedWorkflowTemplateSpec":{"templates":[{"data":{"source":{"artifactPaths":{"s3":` + forged + `}}}}]}}`,
		`{"compressedNodes":"H4sI","nodes":[],"outputs":{"artifacts":{"s3":1}}}`,
	} {
		f.Add([]byte(status), []byte(nil), []byte(spec))
	}
	for _, nodes := range []string{
		`{"a":{"outputs":{"artifacts":[{"s3":` + forged + `}]}}}`,
		`{"a":{"Outputs":{"ARTIFACTS":[{"S3":` + forged + `}]}}}`,
		`{"a":{"outputs":{"artifacts":[{"s3":` + forged + `,"s3":{"key":"k"}}]}}}`,
		`{"a":{"outputs":{"artifacts":[{"s3":` + known + `,"S3":{"accessKeySecret":{"name":"loot"}}}]}}}`,
	} {
		f.Add([]byte(`{}`), []byte(nodes), []byte(spec))
	}
	f.Fuzz(func(t *testing.T, status, nodes, spec []byte) {
		wf := gen.Workflow("hello")
		var decodedSpec, decoded map[string]any
		if kjson.Unmarshal(status, &decoded) != nil || decoded == nil || kjson.Unmarshal(spec, &decodedSpec) != nil {
			t.Skip("a report is a JSON object, and so is a spec")
		}
		wf.Object["spec"] = decodedSpec
		if len(nodes) > 0 {
			decoded["compressedNodes"] = packed(t, string(nodes))
		}
		restrict(decoded, wf)

		allowed := secretsOf[wfv1.WorkflowSpec](t, decodedSpec)
		found := secretsOf[wfv1.WorkflowStatus](t, decoded)
		if compressed, err := base64.StdEncoding.DecodeString(contract.StatusString(decoded, "compressedNodes")); err == nil {
			if raw, err := contract.Decompress(compressed, maxNodesBytes); err == nil {
				found = append(found, secretsIn(asArgoReads[wfv1.Nodes](raw), false)...)
			}
		}
		for _, secret := range found {
			require.Contains(t, allowed, secret, "the hub would send this secret wherever the managed cluster says")
		}
	})
}

func secretsOf[T any](t *testing.T, object map[string]any) []string {
	t.Helper()
	raw, err := json.Marshal(object)
	require.NoError(t, err)
	return secretsIn(asArgoReads[T](raw), false)
}

// If this fails after an update of Argo, it says in one more place where artifacts lie: artifactFields needs it.
func TestEveryFieldByWhichArgoLocatesArtifactsIsKnown(t *testing.T) {
	found := map[string]bool{}
	seen := map[reflect.Type]bool{}
	var visit func(reflect.Type)
	visit = func(typ reflect.Type) {
		for slices.Contains([]reflect.Kind{reflect.Pointer, reflect.Slice, reflect.Map, reflect.Array}, typ.Kind()) {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] {
			return
		}
		seen[typ] = true
		for i := range typ.NumField() {
			field := typ.Field(i)
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			inner := field.Type
			for slices.Contains([]reflect.Kind{reflect.Pointer, reflect.Slice, reflect.Map}, inner.Kind()) {
				inner = inner.Elem()
			}
			if slices.Contains(locationTypes, inner) && name != "" {
				found[name] = true
			}
			visit(field.Type)
		}
	}
	visit(reflect.TypeFor[wfv1.WorkflowStatus]())
	visit(reflect.TypeFor[wfv1.WorkflowSpec]())
	for name := range found {
		assert.Contains(t, artifactFields, name)
	}
	for _, name := range artifactFields {
		assert.True(t, found[name], "%s is none of Argo's fields", name)
	}
}
