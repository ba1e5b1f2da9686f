package steps

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

var examples = filepath.Join("..", "..", "..", "example")

// objects returns those of a file in example, made for the room and the lab's object store.
func (r *room) objects(file string) []*unstructured.Unstructured {
	r.Helper()
	text, err := os.ReadFile(filepath.Join(examples, file))
	require.NoError(r, err)
	store := theLab.S3()
	filled := strings.NewReplacer(
		"namespace: default", "namespace: "+r.namespace, "placement: workflow-placement", "placement: fleet",
		"s3.example.com", store.Endpoint, "insecure: false", "insecure: true",
		"my-access-key", store.AccessKey, "my-secret-key", store.SecretKey, "bucket: artifacts", "bucket: "+store.Bucket,
	).Replace(string(text))
	var out []*unstructured.Unstructured
	for document := range strings.SplitSeq(filled, "\n---\n") {
		object := &unstructured.Unstructured{}
		require.NoError(r, yaml.UnmarshalStrict([]byte(document), &object.Object))
		out = append(out, object)
	}
	return out
}

// Not parallel: it kills what other tests use.
func TestFilesGoFromClusterToClusterWhateverIsKilledMeanwhile(t *testing.T) {
	if !realPods() {
		t.Skip("simulated pods write no artifacts: it runs with real ones, as in make test-e2e as root on Linux")
	}
	r := newRoom(t)
	for _, c := range theLab.Managed() {
		require.NoError(t, c.Apply(t.Context(), r.namespace, r.objects("artifacts/repository.yaml")...))
	}
	require.NoError(t, theLab.Hub().Apply(t.Context(), r.namespace, r.objects("steps/workflow.yaml")...))

	r.startsOn("cluster2", "travels", 1)
	r.logs("kubectl", "get", "pods", "-o", "wide")
	r.hubRunsNoPods()
	hub, second := theLab.Hub(), theLab.Managed()[1]
	killed := map[*lab.Cluster][]string{hub: {lab.ManagerProcess, lab.ArgoController}, second: {lab.AgentProcess}}
	for c, processes := range killed {
		for _, process := range processes {
			require.NoError(t, c.Kill(process))
		}
	}
	for c, processes := range killed {
		for _, process := range processes {
			require.NoError(t, c.Revive(t.Context(), process))
		}
	}

	wf := r.ends("travels", "Succeeded")
	r.logs("argo", "get", "travels")
	r.logs("kubectl", "get", "workflows", "-L", contract.LabelParent)
	assert.Equal(t, "20000", output(node(t, wf, "write"), "lines"))
	read, _ := node(t, wf, "read")["outputs"].(map[string]any)
	assert.Equal(t, "20000", read["result"])
	assert.JSONEq(t, `["200010000", "200010000"]`, output(node(t, wf, "everywhere"), "sum"))
	r.hubRunsNoPods()
	assert.Len(t, r.children("travels"), 5)
	r.ranPods(map[string]int{"cluster1": 3, "cluster2": 2})
	r.leavesNothing("travels")
}

func realPods() bool { return theLab.Options().Pods == lab.PodsReal }

// tool returns what one of the user's programs prints on the hub.
func (r *room) tool(words ...string) string {
	r.Helper()
	out, err := theLab.Hub().Tool(r.Context(), words[0], append(words[1:], "-n", r.namespace)...)
	require.NoError(r, err)
	return out
}

// logs shows what one of the user's programs prints on the hub.
func (r *room) logs(words ...string) {
	r.Helper()
	r.Logf("%s\n%s", strings.Join(words, " "), r.tool(words...))
}

// hubRunsNoPods checks that the pods of Argo's agent wait on the hub, and that there are no others.
func (r *room) hubRunsNoPods() {
	r.Helper()
	var pods corev1.PodList
	require.NoError(r, r.hub.List(r.Context(), &pods, client.InNamespace(r.namespace)))
	for _, pod := range pods.Items {
		assert.Equal(r, corev1.PodPending, pod.Status.Phase, "pod %s runs on the hub", pod.Name)
		assert.NotEmpty(r, pod.Spec.SchedulingGates, "pod %s", pod.Name)
	}
}

// ranPods checks how many pods each cluster has run.
func (r *room) ranPods(want map[string]int) {
	r.Helper()
	got := map[string]int{}
	for name, c := range r.clusters {
		var pods corev1.PodList
		require.NoError(r, c.List(r.Context(), &pods, client.InNamespace(r.namespace)))
		got[name] = len(pods.Items)
	}
	assert.Equal(r, want, got)
}

// The image says what to run, as that of Argo's proposal does: the clusters' Argo controllers have it in their configuration.
func TestArgosOwnProposalRunsWhenItIsConverted(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	text, err := os.ReadFile(filepath.Join(examples, "proposal", "multi-cluster.yaml"))
	require.NoError(t, err)
	here := strings.NewReplacer("cluster: cluster-1", "cluster: cluster1", "namespace: default", "namespace: "+r.namespace)
	name := strings.TrimSpace(r.tool("argo", "submit", r.converted(here.Replace(string(text))), "-o", "name"))

	wf := r.ends(name, "Succeeded")
	assert.Equal(t, "Plugin", node(t, wf, name)["type"])
	r.ranPods(map[string]int{"cluster1": 1, "cluster2": 0})
	r.hubRunsNoPods()
	r.leavesNothing(name)
}
