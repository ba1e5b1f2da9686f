package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// Not parallel: another test starts and stops argo-servers, too.
func TestArtifactsAreReadOnTheHub(t *testing.T) {
	if !realPods() {
		t.Skip("simulated pods write no artifacts: it runs with real ones, as in make test-e2e as root on Linux")
	}
	byToken, open := startArgoServer(t, "client"), startArgoServer(t, "server")
	for name, test := range map[string]struct {
		on    *cluster
		kinds []string
		mod   gen.Mod
	}{
		"from the default repository of the namespace": {
			cluster1, []string{"ConfigMap", "Secret"}, func(client.Object) {}},
		"from the repository that the spec names": {
			cluster2, []string{"ConfigMap", "Secret"},
			gen.WithSpecField(map[string]any{"configMap": "artifact-repositories", "key": "shared"}, "artifactRepositoryRef")},
		"from where the spec says that the artifact is, without any repository": {
			cluster1, []string{"Secret"}, atItsOwnPlace},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSpace(t)
			s.placement("workflow-placement", test.on.Name)
			repository := s.artifactExample("repository.yaml", test.kinds...)
			require.NoError(t, test.on.Apply(t.Context(), s.name, repository...))
			wf := s.artifactExample("workflow.yaml", "Workflow")[0]
			ofTheServers()(wf)
			test.mod(wf)
			r := s.create(wf)
			r.waitFor("Succeeded")
			r.readsArtifact(byToken, open, repository)
		})
	}
}

// artifactExample returns the objects of these kinds in a file of example/artifacts, made for the namespace and the lab's object store.
func (s *space) artifactExample(file string, kinds ...string) []*unstructured.Unstructured {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "example", "artifacts", file))
	require.NoError(s.t, err)
	store := theLab.S3()
	filled := strings.NewReplacer(
		"namespace: default", "namespace: "+s.name, "s3.example.com", store.Endpoint, "insecure: false", "insecure: true",
		"my-access-key", store.AccessKey, "my-secret-key", store.SecretKey, "bucket: artifacts", "bucket: "+store.Bucket,
	).Replace(string(text))
	var objects []*unstructured.Unstructured
	for document := range strings.SplitSeq(filled, "\n---\n") {
		object := &unstructured.Unstructured{}
		require.NoError(s.t, yaml.UnmarshalStrict([]byte(document), &object.Object))
		if slices.Contains(kinds, object.GetKind()) {
			objects = append(objects, object)
		}
	}
	require.Len(s.t, objects, len(kinds))
	return objects
}

// atItsOwnPlace has the example's artifact say itself where it is.
func atItsOwnPlace(wf client.Object) {
	store := theLab.S3()
	key := func(key string) map[string]any { return map[string]any{"name": "artifacts", "key": key} }
	spec := wf.(*unstructured.Unstructured).Object["spec"].(map[string]any)
	template := spec["templates"].([]any)[0].(map[string]any)
	artifact := template["outputs"].(map[string]any)["artifacts"].([]any)[0].(map[string]any)
	artifact["s3"] = map[string]any{
		"endpoint": store.Endpoint, "bucket": store.Bucket, "insecure": true,
		"accessKeySecret": key("accessKey"), "secretKeySecret": key("secretKey"),
		"key": "{{workflow.namespace}}/own-place/report.txt",
	}
}

// readsArtifact gives the hub what a cluster has to find the example's artifact, and reads it through the servers: all of it is needed,
// the rights of docs/verbs.md included.
func (r *run) readsArtifact(byToken, open *argoServer, repository []*unstructured.Unstructured) {
	r.t.Helper()
	s := &space{t: r.t, name: r.key.Namespace}
	rights := rightsFor(r.t, []string{"argo", "cp"})
	allowed := s.user(rights)
	for i, object := range repository {
		require.Error(r.t, r.copies(allowed, byToken), "without the %s on the hub", object.GetKind())
		require.NoError(r.t, theHub.Apply(r.t.Context(), s.name, repository[i]))
	}
	require.NoError(r.t, r.copies(allowed, byToken))
	for i, right := range rights {
		others := s.user(slices.Delete(slices.Clone(rights), i, i+1))
		require.Error(r.t, r.copies(others, byToken), "without %v", right)
	}
	for server, token := range map[*argoServer]string{byToken: allowed.token, open: open.user(r.t, s, "argo cp")} {
		path := fmt.Sprintf("/artifact-files/%s/workflows/%s/%s/outputs/report", s.name, r.key.Name, r.key.Name)
		code, answer := server.call(r.t, token, http.MethodGet, path, nil)
		assert.Equal(r.t, http.StatusOK, code, "%.200s", answer)
		require.NoError(r.t, isReport(answer), server.mode)
	}
	assert.Equal(r.t, "Succeeded", contract.Phase(r.must(theHub)))
}

// copies returns an error unless argo cp stores the example's artifact as it was written.
func (r *run) copies(by user, server *argoServer) error {
	r.t.Helper()
	dir := r.t.TempDir()
	words := []string{"argo", "cp", r.key.Name, dir}
	if _, err := by.argo(r.t, words, "--argo-server="+server.address, "--secure=false"); err != nil {
		return err
	}
	content, err := os.ReadFile(filepath.Join(dir, r.key.Namespace, r.key.Name, r.key.Name, "outputs", "report", "report.txt"))
	return errors.Join(err, isReport(content))
}

// isReport returns an error unless the content is what the example writes.
func isReport(content []byte) error {
	var want bytes.Buffer
	for i := 1; i <= 20000; i++ {
		fmt.Fprintln(&want, i)
	}
	if !bytes.Equal(want.Bytes(), content) {
		return fmt.Errorf("%d bytes that are not the report: %.100q", len(content), content)
	}
	return nil
}
