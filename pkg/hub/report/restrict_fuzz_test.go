package report

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	kjson "k8s.io/apimachinery/pkg/util/json"
	kubejson "sigs.k8s.io/json"

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
		`{"artifactRepositoryRef":{"namespace":"evil","configMap":"evil","key":"evil"}}`,
		`{"artifactRepositoryRef":{"artifactRepository":{"s3":{}},"default":true},"ARTIFACTrepositoryRef":{"Namespace":"evil"}}`,
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
			t.Skip("not a case, always left out: a report is a JSON object, and so is a spec")
		}
		wf.Object["spec"] = decodedSpec
		if len(nodes) > 0 {
			decoded["compressedNodes"] = packed(t, string(nodes))
		}
		restrictBy(decoded, wf)

		allowed := secretsOf[wfv1.WorkflowSpec](t, decodedSpec)
		found := secretsOf[wfv1.WorkflowStatus](t, decoded)
		if compressed, err := base64.StdEncoding.DecodeString(contract.StatusString(decoded, "compressedNodes")); err == nil {
			if raw, release, err := packedNodes.expand(compressed); err == nil {
				found = append(found, secretsIn(asArgoReads[wfv1.Nodes](raw), false)...)
				release()
			}
		}
		for _, secret := range found {
			require.Contains(t, allowed, secret, "the hub would send this secret wherever the managed cluster says")
		}
		requireOwnRepository(t, decodedSpec, decoded, wf.GetNamespace())
	})
}

// requireOwnRepository checks that argo-server would read no ConfigMap but those that the Workflow itself could name.
func requireOwnRepository(t *testing.T, spec, status map[string]any, namespace string) {
	t.Helper()
	raw, err := json.Marshal(status)
	require.NoError(t, err)
	ref := asArgoReads[wfv1.WorkflowStatus](raw).Interface().(*wfv1.WorkflowStatus).ArtifactRepositoryRef
	if ref == nil {
		return
	}
	own, _ := spec["artifactRepositoryRef"].(map[string]any)
	require.Contains(t, []string{"", namespace}, ref.Namespace)
	require.Contains(t, []string{"", contract.StatusString(own, "configMap")}, ref.ConfigMap)
	require.Contains(t, []string{"", contract.StatusString(own, "key")}, ref.Key)
}

func secretsOf[T any](t *testing.T, object map[string]any) []string {
	t.Helper()
	raw, err := json.Marshal(object)
	require.NoError(t, err)
	return secretsIn(asArgoReads[T](raw), false)
}

// FuzzArgosClientsReadWhatTheHubShows feeds a report and packed nodes, as a managed cluster may make them up.
func FuzzArgosClientsReadWhatTheHubShows(f *testing.F) {
	for _, status := range []string{
		`{"phase":"Running","progress":"0/1","startedAt":"2026-01-02T15:04:05Z","nodes":{"a":{"phase":"Running","finishedAt":null}}}`,
		`{"phase":"Running","startedAt":"9999-12-31T23:59:59-14:00"}`,
		`{"phase":"Running","finishedAt":"0000-01-01T00:00:00+14:00"}`,
		`{"phase":"Running","resourcesDuration":{"cpu":1e3,"memory":9223372036854775808}}`,
		`{"phase":"Running","Phase":1,"NODES":[],"compressednodes":{}}`,
		`{"phase":"Running","storedTemplates":{"t":{"retryStrategy":{"limit":4294967296},"metrics":{"prometheus":[{"histogram":{"buckets":[null,{}]}}]}}}}`,
		`{"phase":"Running","storedTemplates":{"t":{"plugin":{"a":{},"b":{}},"steps":[[{"withItems":[{},null]}],null,{"name":"x"}]}}}`,
		`{"phase":"Running","storedTemplates":{"t":{"container":{"resources":{"limits":{"cpu":"1e-100000","memory":1e300}}}}}}`,
		`{"phase":"Running","conditions":null,"offloadNodeStatusVersion":1}`,
	} {
		f.Add([]byte(status), []byte(nil))
	}
	for _, nodes := range []string{
		`{"a":{"startedAt":"yesterday"}}`,
		`{"a":{"finishedAt":"9999-12-31T23:59:59-14:00"},"b":null}`,
		`{"a":{"resourcesDuration":{"cpu":0.5},"Outputs":{"ExitCode":1}}}`,
		`{"a":{"inputs":{"parameters":[{"name":"x","value":{}}]}}}`,
	} {
		f.Add([]byte(`{"phase":"Running"}`), []byte(nodes))
	}
	f.Fuzz(func(t *testing.T, raw, nodes []byte) {
		var reported map[string]any
		if len(nodes) > 0 && kjson.Unmarshal(raw, &reported) == nil && reported != nil {
			reported["compressedNodes"] = packed(t, string(nodes))
			var err error
			raw, err = json.Marshal(reported)
			require.NoError(t, err)
		}
		data, err := contract.Compress(raw)
		require.NoError(t, err)
		wf := assigned()
		rw := gen.RemoteWorkflow(wf, cluster, gen.WithReport(running()))
		rw.Status.Report.Data = data
		taken, refusal := take(wf, rw)
		defer taken.Release()
		require.Nil(t, refusal, "the summary has a phase")

		read := requireReadable[wfv1.WorkflowStatus](t, taken.Status)
		if read.CompressedNodes == "" {
			return
		}
		compressed, err := base64.StdEncoding.DecodeString(read.CompressedNodes)
		require.NoError(t, err)
		unpacked, release, err := packedNodes.expand(compressed)
		require.NoError(t, err)
		defer release()
		requireReadable[wfv1.Nodes](t, json.RawMessage(unpacked))
	})
}

// requireReadable checks that Argo's clients read the value as one of Argo's types, and what they then make of it too.
func requireReadable[T any](t *testing.T, value any) *T {
	t.Helper()
	raw, err := json.Marshal(value)
	require.NoError(t, err)
	strict := new(T)
	require.NoError(t, kubejson.UnmarshalCaseSensitivePreserveInts(raw, strict), "a client of Kubernetes")
	read := new(T)
	require.NoError(t, json.Unmarshal(raw, read), "a client with Go's decoder")
	for _, read := range []*T{strict, read} {
		raw, err = json.Marshal(read)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(raw, new(T)), "a client of Argo's server")
	}
	return strict
}
