package e2e

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	clusterv1beta1 "open-cluster-management.io/api/cluster/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// promptly is how long after the end on the managed cluster the hub may take to show it, without any poll.
const promptly = 3 * time.Second

// Not parallel: the example's Placement may choose any cluster, and the time to the hub is measured.
func TestExamplesSucceedAndTheHubShowsTheirWholeStatus(t *testing.T) {
	require.NoError(t, theHub.ApplyFiles(t.Context(), "example/*.yaml"))
	selected := &clusterv1beta1.Placement{}
	labtest.Eventually(t, patience, func() error {
		err := theHub.client.Get(t.Context(), client.ObjectKey{Namespace: gen.Namespace, Name: "most-free-cpu"}, selected)
		if err == nil && selected.Status.NumberOfSelectedClusters != 2 {
			err = fmt.Errorf("the Placement by score selects %d clusters: %v", selected.Status.NumberOfSelectedClusters, selected.Status.Conditions)
		}
		return err
	})
	for name, pods := range map[string]int{"hello-world": 1, "dag": 4} {
		t.Run(name, func(t *testing.T) {
			r := existing(t, gen.Namespace, name)
			c := r.assigned()
			labtest.Eventually(t, patience, func() error { return r.wants(c, "Succeeded", "") })
			labtest.Eventually(t, promptly, func() error { return r.wants(theHub, "Succeeded", "") })
			labtest.Eventually(t, promptly, func() error { return r.mirrored(c) })
			assert.Equal(t, "true", r.must(theHub).GetLabels()[contract.LabelCompleted])
			assert.Equal(t, "Succeeded", r.must(theHub).GetLabels()[contract.LabelPhase])
			r.assertPodsLabelled(c, pods)
			if realPods() {
				assertExecuted(t, r, c)
			}
			r.delete(theHub)
			r.waitUntilGone(c)
		})
	}
}

// published is a manifest as the project's earlier experiment published it, but for the generated name.
const published = `
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata:
  generateName: hello-world-multicluster-
  labels:
    workflows.argoproj.io/archive-strategy: "false"
    workflows.argoproj.io/enable-ocm-multicluster: "true" # enable OCM multicluster
  annotations:
    workflows.argoproj.io/ocm-placement: "workflow-placement" # evaluate the OCM Placement
    workflows.argoproj.io/description: |
      This is a simple hello world example.
spec:
  entrypoint: whalesay
  templates:
  - name: whalesay
    container:
      image: docker/whalesay:latest
      command: [cowsay]
      args: ["hello world"]
`

func TestManifestsOfTheEarlierExperimentWorkUnchanged(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.placement("workflow-placement", "cluster1", "cluster2")
	wf := contract.NewWorkflow()
	require.NoError(t, yaml.UnmarshalStrict([]byte(published), &wf.Object))
	wf.SetNamespace(s.name)
	r := s.create(wf)
	r.waitFor("Succeeded")
	c := r.assigned()
	r.assertPodsLabelled(c, 1)
	remote := r.must(c)
	assert.Equal(t, "This is a simple hello world example.\n", remote.GetAnnotations()["workflows.argoproj.io/description"])
	assert.Equal(t, r.key.Name, remote.GetName())
	assert.Empty(t, remote.GetGenerateName())
	if realPods() {
		assert.Contains(t, r.logs(c), "hello world")
	}
}

// Not parallel: time is measured.
func TestStatusComesPromptlyAndNothingIsLeftToPoll(t *testing.T) {
	s := newSpace(t)
	r := s.create(s.hello("prompt", on(cluster1), lasting(5*time.Second)))
	labtest.Eventually(t, patience, func() error { return r.wants(cluster1, "Succeeded", "") })
	labtest.Eventually(t, promptly, func() error { return r.wants(theHub, "Succeeded", "") })
	labtest.Eventually(t, patience, func() error {
		work, err := r.delivery()
		if err == nil && work != nil {
			err = fmt.Errorf("ManifestWork %s still carries it", work.Name)
		}
		return err
	})
}

// Not parallel: what other tests run counts, too.
func TestWorkflowsSpreadOverTheClustersOfAPlacement(t *testing.T) {
	s := newSpace(t)
	s.placement("both", "cluster1", "cluster2")
	chosen := s.chosenFor(4, "both")
	assert.Len(t, chosen, 2, "all went to one cluster: %v", chosen)
}

// chosenFor runs so many Workflows at once by a Placement, and returns how many each cluster was given.
func (s *space) chosenFor(count int, placement string) map[string]int {
	s.t.Helper()
	chosen := map[string]int{}
	var runs []*run
	for i := range count {
		runs = append(runs, s.create(s.hello(fmt.Sprint(placement, "-", i), gen.WithPlacement(placement), lasting(5*time.Second))))
	}
	for _, r := range runs {
		chosen[r.assigned().Name]++
		r.waitFor("Succeeded")
	}
	return chosen
}

// Not parallel: labels and a taint of the clusters count for all Placements.
func TestExamplePlacementsSelectTheClustersThatTheyAreFor(t *testing.T) {
	require.NoError(t, theHub.ApplyFiles(t.Context(), "example/clusterset-binding.yaml", "example/placement-*.yaml"))
	change := func(ctx context.Context, c *cluster, patch string) error {
		return theHub.client.Patch(ctx, gen.ManagedCluster(c.Name), client.RawPatch(mergePatch, []byte(patch)))
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		assert.NoError(t, change(ctx, cluster1, `{"metadata":{"labels":{"accelerator":null,"region":null}}}`))
		assert.NoError(t, change(ctx, cluster2, `{"metadata":{"labels":{"region":null}},"spec":{"taints":null}}`))
	})
	require.NoError(t, change(t.Context(), cluster1, `{"metadata":{"labels":{"accelerator":"nvidia","region":"eu-central"}}}`))
	require.NoError(t, change(t.Context(), cluster2, `{"metadata":{"labels":{"region":"eu-west"}},`+
		`"spec":{"taints":[{"key":"reserved","value":"batch","effect":"NoSelect"}]}}`))
	for placement, want := range map[string][]string{
		"gpu": {cluster1.Name}, "europe": {cluster1.Name, cluster2.Name}, "pack": {cluster1.Name, cluster3.Name, cluster4.Name},
	} {
		labtest.Eventually(t, patience, func() error { return selects(t.Context(), placement, want) })
	}
}

// selects returns an error unless OCM has selected exactly these clusters for the Placement in gen.Namespace.
func selects(ctx context.Context, placement string, want []string) error {
	var decisions clusterv1beta1.PlacementDecisionList
	if err := theHub.client.List(ctx, &decisions, client.InNamespace(gen.Namespace),
		client.MatchingLabels{clusterv1beta1.PlacementLabel: placement}); err != nil {
		return err
	}
	var selected []string
	for _, page := range decisions.Items {
		for _, decision := range page.Status.Decisions {
			selected = append(selected, decision.ClusterName)
		}
	}
	if slices.Sort(selected); !slices.Equal(selected, want) {
		return fmt.Errorf("Placement %s selects %v, not %v", placement, selected, want)
	}
	return nil
}

// Not parallel: what other tests run counts, too.
func TestWorkflowsArePackedIntoOneClusterWhereTheExampleSaysSo(t *testing.T) {
	require.NoError(t, theHub.ApplyFiles(t.Context(), "example/clusterset-binding.yaml", "example/placement-pack.yaml"))
	s := &space{t: t, name: gen.Namespace}
	chosen := s.chosenFor(4, "pack")
	assert.Len(t, chosen, 1, "they went to more than one cluster: %v", chosen)
}

// Not parallel: the example's Placement may choose any cluster, and one that a test gives Argo meanwhile lacks the tenant.
func TestATenantIsSetUpFromNothing(t *testing.T) {
	require.NoError(t, theHub.ApplyFiles(t.Context(), "example/tenant/hub.yaml"))
	for _, c := range []*cluster{cluster1, cluster2} {
		require.NoError(t, c.ApplyFiles(t.Context(), "example/tenant/cluster.yaml"))
	}
	config := rest.CopyConfig(theHub.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "alice", Groups: []string{"team-a", "system:authenticated"}}
	alice := clientOf(t, config)
	text, err := os.ReadFile(filepath.Join("..", "..", "example", "tenant", "workflow.yaml"))
	require.NoError(t, err)
	wf := contract.NewWorkflow()
	require.NoError(t, yaml.UnmarshalStrict(text, &wf.Object))

	labtest.Eventually(t, patience, func() error { return alice.Create(t.Context(), wf) }) // the Role counts a moment later
	r := existing(t, wf.GetNamespace(), wf.GetName())
	r.waitFor("Succeeded")
	require.NoError(t, alice.Get(t.Context(), r.key, wf))
	assert.Equal(t, "Succeeded", contract.Phase(wf))
	c := r.assigned()
	r.assertPodsLabelled(c, 1)
	binding := gen.ManagedClusterSetBinding("other", gen.InNamespace(wf.GetNamespace()))
	assert.True(t, apierrors.IsForbidden(alice.Create(t.Context(), binding)), "a tenant opens no clusters")
	require.NoError(t, alice.Delete(t.Context(), wf))
	r.waitUntilGone(c)
}

// existing returns a Workflow that is on the hub already.
func existing(t *testing.T, namespace, name string) *run {
	t.Helper()
	r := &run{t: t, key: client.ObjectKey{Namespace: namespace, Name: name}}
	r.uid = r.must(theHub).GetUID()
	t.Cleanup(func() {
		if t.Failed() {
			r.dump()
		}
	})
	return r
}

// assigned waits for the cluster that the Workflow is given.
func (r *run) assigned() *cluster {
	r.t.Helper()
	var name string
	labtest.Eventually(r.t, patience, func() error {
		wf, err := r.get(theHub)
		if name = contract.AssignedCluster(wf); err == nil && name == "" {
			err = fmt.Errorf("no cluster yet: %v", contract.Status(wf))
		}
		return err
	})
	for _, c := range []*cluster{cluster1, cluster2, cluster3, cluster4} {
		if c.Name == name {
			return c
		}
	}
	require.Failf(r.t, "unknown cluster", "%q", name)
	return nil
}

func (r *run) assertPodsLabelled(c *cluster, count int) {
	r.t.Helper()
	pods, err := podsOf(r.t, c, r.key)
	require.NoError(r.t, err)
	assert.Len(r.t, pods, count)
	for _, pod := range pods {
		assert.Equal(r.t, c.Name, pod.Labels["workflows.argoproj.io/cluster"])
		assert.Equal(r.t, r.key.Namespace, pod.Labels["workflows.argoproj.io/workflow-namespace"])
	}
}

// assertExecuted looks for what only a container that was really run leaves.
func assertExecuted(t *testing.T, r *run, c *cluster) {
	t.Helper()
	if r.key.Name == "hello-world" {
		assert.Contains(t, r.logs(c), "hello world")
		return
	}
	nodes, _, err := unstructured.NestedMap(r.must(theHub).Object, "status", "nodes")
	require.NoError(t, err)
	results := map[any]any{}
	for _, value := range nodes {
		node, _ := value.(map[string]any)
		parameters, _, _ := unstructured.NestedSlice(node, "outputs", "parameters")
		for _, parameter := range parameters {
			results[node["displayName"]] = parameter.(map[string]any)["value"]
		}
	}
	assert.Equal(t, map[any]any{"A": "21", "B": "42", "C": "63", "D": "105"}, results)
}

// logs returns what the main containers of the Workflow's pods have written.
func (r *run) logs(c *cluster) string {
	r.t.Helper()
	pods, err := podsOf(r.t, c, r.key)
	require.NoError(r.t, err)
	var all []byte
	for _, pod := range pods {
		stream, err := c.kube.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Container: "main"}).Stream(r.t.Context())
		require.NoError(r.t, err)
		text, err := io.ReadAll(stream)
		require.NoError(r.t, err)
		require.NoError(r.t, stream.Close())
		all = append(all, text...)
	}
	return string(all)
}
