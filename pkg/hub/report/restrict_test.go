package report

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// restrictBy restricts a status by what the Workflow's own spec says.
func restrictBy(status map[string]any, wf *unstructured.Unstructured) string {
	return strings.Join(restrict(status, runOf(wf)), "; ")
}

func secret(name string) map[string]any { return map[string]any{"name": name, "key": "token"} }

// bucket is a store as the user names it, forged one as a managed cluster would like the hub to use.
func bucket(key string) map[string]any {
	return map[string]any{
		"endpoint":        "s3.example.com",
		"bucket":          "results",
		"accessKeySecret": secret("mine"),
		"secretKeySecret": secret("mine"),
		"key":             key,
	}
}

func forged(key string) map[string]any {
	return map[string]any{
		"endpoint":        "evil.example.com",
		"bucket":          "loot",
		"accessKeySecret": secret("mine"),
		"secretKeySecret": secret("mine"),
		"key":             key,
	}
}

// reader is a Workflow whose spec names the bucket.
func reader() *unstructured.Unstructured {
	return assigned(gen.WithSpecField([]any{map[string]any{
		"name":    "main",
		"outputs": map[string]any{"artifacts": []any{map[string]any{"name": "result", "s3": bucket("{{workflow.name}}")}}},
	}}, "templates"))
}

func TestAnArtifactKeepsItsKeyAndALocationOnlyIfTheSpecNamesIt(t *testing.T) {
	tests := map[string]struct{ reported, want map[string]any }{
		"a location of the spec, with another key": {map[string]any{"s3": bucket("a/b")}, map[string]any{"s3": bucket("a/b")}},
		"a foreign endpoint":                       {map[string]any{"s3": forged("a/b")}, map[string]any{"s3": map[string]any{"key": "a/b"}}},
		"a location of the spec, of another kind":  {map[string]any{"oss": bucket("a/b")}, map[string]any{"oss": map[string]any{"key": "a/b"}}},
		"a key alone": {map[string]any{"s3": map[string]any{"key": "a/b"}}, map[string]any{"s3": map[string]any{"key": "a/b"}}},
		"Azure names it blob": {
			map[string]any{"azure": map[string]any{"endpoint": "evil.example.com", "accountKeySecret": secret("mine"), "blob": "a/b"}},
			map[string]any{"azure": map[string]any{"blob": "a/b"}},
		},
		"a URL": {
			map[string]any{
				"http": map[string]any{
					"url":  "https://evil.example.com",
					"auth": map[string]any{"basicAuth": map[string]any{"passwordSecret": secret("mine")}},
				},
			},
			map[string]any{"http": map[string]any{}},
		},
		"a repository": {
			map[string]any{"git": map[string]any{"repo": "https://evil.example.com", "sshPrivateKeySecret": secret("mine")}},
			map[string]any{"git": map[string]any{}},
		},
		"a driver of the future": {
			map[string]any{"tape": map[string]any{"robot": "evil.example.com", "pinSecret": secret("mine"), "key": "a/b"}},
			map[string]any{"tape": map[string]any{"key": "a/b"}},
		},
		"a driver in another case": {map[string]any{"S3": bucket("a/b")}, map[string]any{"S3": map[string]any{"key": "a/b"}}},
		"what is in the artifact itself": {
			map[string]any{"raw": map[string]any{"data": "hello"}}, map[string]any{"raw": map[string]any{"data": "hello"}},
		},
		"what says nothing of where": {
			map[string]any{
				"archive":    map[string]any{"tar": map[string]any{"compressionLevel": int64(1)}},
				"artifactGC": map[string]any{"strategy": "Never"},
				"path":       "/tmp/a",
				"mode":       int64(420),
			},
			map[string]any{
				"archive":    map[string]any{"tar": map[string]any{"compressionLevel": int64(1)}},
				"artifactGC": map[string]any{"strategy": "Never"},
				"path":       "/tmp/a",
				"mode":       int64(420),
			},
		},
	}
	places := map[string]func(artifact any) map[string]any{
		"outputs of a node": func(a any) map[string]any { return nodes(map[string]any{"outputs": artifacts(a)}) },
		"inputs of a node":  func(a any) map[string]any { return nodes(map[string]any{"inputs": artifacts(a)}) },
		"outputs":           func(a any) map[string]any { return map[string]any{"outputs": artifacts(a)} },
		"a stored template": func(a any) map[string]any {
			return map[string]any{"storedTemplates": map[string]any{"t": map[string]any{"inputs": artifacts(a)}}}
		},
		"a stored data source": func(a any) map[string]any {
			return map[string]any{
				"storedTemplates": map[string]any{"t": map[string]any{"data": map[string]any{"source": map[string]any{"artifactPaths": a}}}},
			}
		},
		"a stored manifest": func(a any) map[string]any {
			return map[string]any{
				"storedTemplates": map[string]any{"t": map[string]any{"resource": map[string]any{"manifestFrom": map[string]any{"artifact": a}}}},
			}
		},
		"a stored spec": func(a any) map[string]any {
			return map[string]any{
				"storedWorkflowTemplateSpec": map[string]any{"arguments": artifacts(a), "templates": []any{map[string]any{"outputs": artifacts(a)}}},
			}
		},
	}
	for place, in := range places {
		for name, test := range tests {
			t.Run(place+": "+name, func(t *testing.T) {
				status := in(runtime.DeepCopyJSON(test.reported))
				assert.Empty(t, restrictBy(status, reader()))
				assert.Equal(t, in(test.want), status)
			})
			t.Run(place+", packed: "+name, func(t *testing.T) {
				status := map[string]any{"compressedNodes": packed(t, in(test.reported))}
				assert.Empty(t, restrictBy(status, reader()))
				assert.Equal(t, in(test.want), unpacked(t, status))
			})
		}
	}
}

func TestArtifactsAreLookedUpOnlyWhereTheHubsPeopleSay(t *testing.T) {
	own := map[string]any{"configMap": "repositories", "key": "mine"}
	namespace := reader().GetNamespace()
	tests := map[string]struct{ own, reported, want any }{
		"as in the spec": {
			own, map[string]any{"namespace": namespace, "configMap": "repositories", "key": "mine"},
			map[string]any{"namespace": namespace, "configMap": "repositories", "key": "mine"},
		},
		"another namespace": {
			own, map[string]any{"namespace": "evil", "configMap": "repositories", "key": "mine"},
			map[string]any{"configMap": "repositories", "key": "mine"},
		},
		"another ConfigMap": {
			own, map[string]any{"namespace": namespace, "configMap": "evil", "key": "mine"}, map[string]any{"namespace": namespace, "key": "mine"},
		},
		"another key": {
			own, map[string]any{"namespace": namespace, "configMap": "repositories", "key": "evil"},
			map[string]any{"namespace": namespace, "configMap": "repositories"},
		},
		"a ConfigMap, and none in the spec": {
			nil, map[string]any{"namespace": namespace, "configMap": "artifact-repositories", "key": "evil"}, map[string]any{"namespace": namespace},
		},
		"a ConfigMap, and nonsense in the spec": {"x", map[string]any{"configMap": "evil"}, map[string]any{}},
		"nonsense in both": {
			map[string]any{"configMap": []any{}, "key": map[string]any{}},
			map[string]any{"configMap": []any{}, "key": map[string]any{}, "namespace": []any{"evil"}}, map[string]any{},
		},
		"the default": {own, map[string]any{"default": true}, map[string]any{"default": true}},
		"a field in another case": {
			own,
			map[string]any{"Namespace": "evil", "CONFIGMAP": "evil", "default": true},
			map[string]any{"default": true},
		},
		"a field of the future": {own, map[string]any{"url": "https://evil.example.com"}, map[string]any{}},
		"a store of the spec": {
			own, map[string]any{"artifactRepository": map[string]any{"s3": bucket("k")}}, map[string]any{"artifactRepository": map[string]any{"s3": bucket("k")}},
		},
		"a store of the spec and a foreign one": {
			own, map[string]any{"artifactRepository": map[string]any{"s3": bucket("k"), "oss": forged("k")}},
			map[string]any{"artifactRepository": map[string]any{"s3": bucket("k"), "oss": map[string]any{"key": "k"}}},
		},
		// What is left would hide the rest of the reference from argo-server.
		"a foreign store": {
			own, map[string]any{"default": true, "artifactRepository": map[string]any{"archiveLogs": true, "s3": forged("k")}}, map[string]any{"default": true},
		},
		"a store of no place": {
			own, map[string]any{"default": true, "artifactRepository": map[string]any{"gcs": map[string]any{}}}, map[string]any{"default": true},
		},
		"no store": {
			own, map[string]any{"default": true, "artifactRepository": map[string]any{"archiveLogs": true}},
			map[string]any{"default": true, "artifactRepository": map[string]any{"archiveLogs": true}},
		},
		"no object":    {own, "x", "x"},
		"no reference": {own, nil, nil},
	}
	for name, test := range tests {
		for _, field := range []string{"artifactRepositoryRef", "ArtifactRepositoryRef"} {
			t.Run(field+": "+name, func(t *testing.T) {
				wf := reader()
				gen.WithSpecField(test.own, "artifactRepositoryRef")(wf)
				status := map[string]any{field: runtime.DeepCopyJSONValue(test.reported)}
				assert.Empty(t, restrictBy(status, wf))
				assert.Equal(t, map[string]any{field: test.want}, status)
				assert.Empty(t, restrictBy(status, wf))
				assert.Equal(t, map[string]any{field: test.want}, status, "twice is once")
			})
		}
	}
}

func artifacts(artifact any) map[string]any { return map[string]any{"artifacts": []any{artifact}} }

func nodes(node map[string]any) map[string]any {
	return map[string]any{"nodes": map[string]any{"hello": node}}
}

func packed(t *testing.T, nodes any) string {
	t.Helper()
	raw, ok := nodes.(string)
	if !ok {
		encoded, err := json.Marshal(nodes)
		require.NoError(t, err)
		raw = string(encoded)
	}
	compressed, err := contract.Compress([]byte(raw))
	require.NoError(t, err)
	return base64.StdEncoding.EncodeToString(compressed)
}

func unpacked(t *testing.T, status map[string]any) map[string]any {
	t.Helper()
	compressed, err := base64.StdEncoding.DecodeString(contract.StatusString(status, "compressedNodes"))
	require.NoError(t, err)
	raw := expanded(t, compressed)
	nodes := map[string]any{}
	decoded := json.NewDecoder(strings.NewReader(string(raw)))
	decoded.UseNumber()
	require.NoError(t, decoded.Decode(&nodes))
	return integers(nodes).(map[string]any)
}

// integers makes numbers what they are in an untyped object.
func integers(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key := range v {
			v[key] = integers(v[key])
		}
	case []any:
		for i := range v {
			v[i] = integers(v[i])
		}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
	}
	return value
}

func TestPackedNodesWithNothingToRemoveStayByteForByte(t *testing.T) {
	for name, nodes := range map[string]any{
		"a location of the spec":       map[string]any{"a": map[string]any{"outputs": artifacts(map[string]any{"s3": bucket("k")})}},
		"in an order that is not ours": `{"b": {"phase":"Succeeded","id":"b"}, "a":{}}`,
		"no nodes":                     `null`,
	} {
		t.Run(name, func(t *testing.T) {
			before := packed(t, nodes)
			status := map[string]any{"compressedNodes": before}
			assert.Empty(t, restrictBy(status, reader()))
			assert.Equal(t, before, status["compressedNodes"])
		})
	}
}

func TestPackedNodesThatTheHubCannotCheckAreLeftOut(t *testing.T) {
	evil := `{"endpoint":"evil.example.com","accessKeySecret":{"name":"mine","key":"token"}}`
	tests := map[string]struct{ packed, want string }{
		"not base64":        {"!", "base64"},
		"not gzip":          {base64.StdEncoding.EncodeToString([]byte("zstd, say")), "gzip"},
		"cut off":           {packed(t, `{"a":{}}`)[:20], "gzip"},
		"not JSON":          {packed(t, `{`), "JSON"},
		"not an object":     {packed(t, `[]`), "JSON"},
		"a bomb":            {packed(t, strings.Repeat(" ", int(packedNodes.bytes)+1)), "beyond the limit"},
		"a bomb of objects": {packed(t, `{"a":[`+strings.Repeat("{},", int(packedNodes.values)/2)+`{}]}`), "beyond the limit"},
		"a time that fills a page": {
			packed(t, `{"a":{"startedAt":"`+strings.Repeat("x", 10_000)+`"}}`), "parsing time",
		},
		"the same node twice": {packed(t, `{"a":{},"a":{}}`), "there twice"},
		// The later one hides the first from us, and Argo merges both.
		"a location twice": {packed(t, `{"a":{"outputs":{"artifacts":[{"s3":`+evil+`,"s3":{"key":"k"}}]}}}`), "there twice"},
		"outputs twice":    {packed(t, `{"a":{"outputs":{"artifacts":[{"s3":`+evil+`}]},"outputs":{}}}`), "there twice"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			status := map[string]any{"phase": "Running", "compressedNodes": test.packed}
			problem := restrictBy(status, reader())
			assert.Contains(t, problem, "cannot check")
			assert.Contains(t, problem, test.want)
			assert.Less(t, len(problem), 512)
			assert.Equal(t, map[string]any{"phase": "Running"}, status)
		})
	}
}

func TestFieldsInAnotherCaseHideNothing(t *testing.T) {
	// Argo decodes packed nodes with a decoder to which these are the fields that they look like.
	for _, nodes := range []string{
		`{"a":{"outputs":{"Artifacts":[{"s3":%}]}}}`,
		`{"a":{"OUTPUTS":{"artifactS":[{"S3":%}]}}}`,
		"{\"a\":{\"outputs\":{\"artifact\u017f\":[{\"\u017f3\":%}]}}}",
	} {
		status := map[string]any{"compressedNodes": packed(t, strings.ReplaceAll(nodes, "%", `{"endpoint":"evil.example.com"}`))}
		assert.Empty(t, restrictBy(status, reader()))
		raw, err := json.Marshal(unpacked(t, status))
		require.NoError(t, err)
		assert.NotContains(t, string(raw), "evil", nodes)
	}
}

func TestThePointerToOffloadedNodesIsNotFollowed(t *testing.T) {
	status := map[string]any{"phase": "Running", "offloadNodeStatusVersion": "fnv:1", "compressedNodes": "!"}
	problem := restrictBy(status, reader())
	assert.Equal(t, map[string]any{"phase": "Running"}, status)
	assert.Contains(t, problem, "the nodes are in the managed cluster's database")
	assert.Contains(t, problem, "; the nodes are packed in a way that the hub cannot check")
}

func TestTheSpecIsOnlyRead(t *testing.T) {
	wf := reader()
	before := runtime.DeepCopyJSON(wf.Object)
	restrictBy(map[string]any{"outputs": artifacts(map[string]any{"s3": bucket("k")})}, wf)
	assert.Equal(t, before, wf.Object, "it is the cache's")
}

func TestAStatusOfUnexpectedShapesIsNoTrouble(t *testing.T) {
	for _, odd := range []any{nil, "x", int64(1), []any{nil, "x", []any{map[string]any{"s3": forged("k")}}}, map[string]any{"s3": "x", "gcs": nil}} {
		status := map[string]any{"nodes": odd, "outputs": map[string]any{"artifacts": odd}, "artifactRepository": odd}
		assert.NotPanics(t, func() { restrictBy(status, gen.Workflow("hello")) })
		raw, err := json.Marshal(status["outputs"])
		require.NoError(t, err)
		assert.NotContains(t, string(raw), "evil")
	}
	wf := gen.Workflow("hello")
	delete(wf.Object, "spec")
	status := map[string]any{"outputs": artifacts(map[string]any{"s3": forged("k")})}
	restrictBy(status, wf)
	assert.Equal(t, map[string]any{"outputs": artifacts(map[string]any{"s3": map[string]any{"key": "k"}})}, status)
}
