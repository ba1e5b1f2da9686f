package steps

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/rand"
	clusterv1beta1 "open-cluster-management.io/api/cluster/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// room is a namespace on the hub and on the clusters, bound to all clusters, with a Placement "fleet" of those that are not the hub.
type room struct {
	*testing.T
	namespace string
	hub       client.Client
	clusters  map[string]client.Client
}

func access(t *testing.T, c *lab.Cluster) client.Client {
	t.Helper()
	config, err := c.Config()
	require.NoError(t, err)
	scheme, err := hub.Scheme()
	require.NoError(t, err)
	built, err := client.New(config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	return built
}

func newRoom(t *testing.T) *room {
	t.Helper()
	r := &room{T: t, namespace: "steps-" + rand.String(5), hub: access(t, theLab.Hub()), clusters: map[string]client.Client{}}
	everybody := []client.Client{r.hub}
	for _, c := range theLab.Managed() {
		r.clusters[c.Name] = access(t, c)
		everybody = append(everybody, r.clusters[c.Name])
	}
	for _, c := range everybody {
		require.NoError(t, c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.namespace}}))
	}
	for _, c := range r.clusters {
		for _, right := range gen.ExecutorRights(r.namespace) {
			require.NoError(t, c.Create(t.Context(), right))
		}
	}
	require.NoError(t, r.hub.Create(t.Context(), gen.ManagedClusterSetBinding(gen.GlobalSet, gen.InNamespace(r.namespace))))
	fleet := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "fleet"}}
	notTheHub := metav1.LabelSelectorRequirement{Key: lab.LocalCluster, Operator: metav1.LabelSelectorOpDoesNotExist}
	fleet.Spec.Predicates = []clusterv1beta1.ClusterPredicate{{RequiredClusterSelector: clusterv1beta1.ClusterSelector{
		LabelSelector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{notTheHub}},
	}}}
	require.NoError(t, r.hub.Create(t.Context(), fleet))
	return r
}

// create creates a Workflow on the hub, for the Argo controller there.
func (r *room) create(name, spec string) *unstructured.Unstructured {
	r.Helper()
	wf := contract.NewWorkflow()
	wf.SetNamespace(r.namespace)
	wf.SetName(name)
	var fields map[string]any
	require.NoError(r, yaml.Unmarshal([]byte(spec), &fields))
	wf.Object["spec"] = fields
	require.NoError(r, r.hub.Create(r.Context(), wf))
	return wf
}

// ends waits until a Workflow on the hub has ended, and returns it.
func (r *room) ends(name, phase string) *unstructured.Unstructured {
	r.Helper()
	wf := contract.NewWorkflow()
	labtest.Eventually(r.T, patience, func() error {
		if err := r.hub.Get(r.Context(), client.ObjectKey{Namespace: r.namespace, Name: name}, wf); err != nil {
			return err
		}
		if !contract.IsFinished(contract.Phase(wf)) {
			return fmt.Errorf("it is %q: %v", contract.Phase(wf), contract.Status(wf)["message"])
		}
		return nil
	})
	require.Equal(r, phase, contract.Phase(wf), "%v", contract.Status(wf)["message"])
	return wf
}

// node returns the node with that display name.
func node(t *testing.T, wf *unstructured.Unstructured, displayName string) map[string]any {
	t.Helper()
	nodes, _, err := contract.Nodes(contract.Status(wf))
	require.NoError(t, err)
	for _, value := range nodes {
		if n := value.(map[string]any); n["displayName"] == displayName {
			return n
		}
	}
	t.Fatalf("there is no node %s", displayName)
	return nil
}

// output returns an output parameter of a node.
func output(n map[string]any, name string) string {
	outputs, _ := n["outputs"].(map[string]any)
	parameters, _ := outputs["parameters"].([]any)
	for _, p := range parameters {
		if parameter := p.(map[string]any); parameter["name"] == name {
			return *contract.Text(parameter["value"])
		}
	}
	return ""
}

// children returns the Workflows of the steps of a Workflow.
func (r *room) children(parent string) []unstructured.Unstructured {
	r.Helper()
	found := contract.NewWorkflowList()
	require.NoError(r, r.hub.List(r.Context(), found, client.InNamespace(r.namespace), client.MatchingLabels{contract.LabelParent: parent}))
	return found.Items
}

// isTold waits for an Event of a Workflow with that reason.
func (r *room) isTold(name, reason string) {
	r.Helper()
	labtest.Eventually(r.T, patience, func() error {
		var all eventsv1.EventList
		if err := r.hub.List(r.Context(), &all, client.InNamespace(r.namespace)); err != nil {
			return err
		}
		if !slices.ContainsFunc(all.Items, func(e eventsv1.Event) bool { return e.Reason == reason && e.Regarding.Name == name }) {
			return fmt.Errorf("no Event %s of %s, of %d", reason, name, len(all.Items))
		}
		return nil
	})
}

// converted converts a manifest in the syntax of Argo's own proposal, and returns the file with what comes of it.
func (r *room) converted(manifest string) string {
	r.Helper()
	convert := exec.CommandContext(r.Context(), filepath.Join("..", "..", "..", "bin", "argo-multicluster"), "convert")
	convert.Stdin = strings.NewReader(manifest)
	out, err := convert.Output()
	require.NoError(r, err)
	file := filepath.Join(r.TempDir(), "converted.yaml")
	require.NoError(r, os.WriteFile(file, out, 0o600))
	return file
}

func TestStepsRunInTheClustersThatTheirTemplatesName(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	r.create("travels", `
entrypoint: main
templates:
- name: main
  dag:
    tasks:
    - {name: produce, template: produce}
    - {name: consume, template: consume, depends: produce, arguments: {parameters: [{name: word, value: "{{tasks.produce.outputs.parameters.word}}"}]}}
    - {name: everywhere, template: everywhere, depends: consume, arguments: {parameters: [{name: word, value: "{{tasks.consume.outputs.result}}"}]}}
- name: produce
  metadata: {annotations: {simulated-pod/output.word: hello}}
  outputs: {parameters: [{name: word, valueFrom: {path: /tmp/word}}]}
  plugin:
    multicluster:
      cluster: cluster1
      script: {image: busybox, imagePullPolicy: IfNotPresent, command: [sh], source: "printf hello > /tmp/word"}
- name: consume
  inputs: {parameters: [{name: word}]}
  metadata: {annotations: {simulated-pod/result: "{{inputs.parameters.word}} again"}}
  plugin:
    multicluster:
      cluster: cluster2
      script: {image: busybox, imagePullPolicy: IfNotPresent, command: [sh], source: "echo {{inputs.parameters.word}} again"}
- name: everywhere
  inputs: {parameters: [{name: word}]}
  metadata: {annotations: {simulated-pod/output.seen: "{{inputs.parameters.word}}"}}
  outputs: {parameters: [{name: seen, valueFrom: {path: /tmp/seen}}]}
  plugin:
    multicluster:
      placement: fleet
      all: true
      script: {image: busybox, imagePullPolicy: IfNotPresent, command: [sh], source: "printf '{{inputs.parameters.word}}' > /tmp/seen"}
`)
	wf := r.ends("travels", "Succeeded")
	assert.Equal(t, "hello", output(node(t, wf, "produce"), "word"))
	consumed, _ := node(t, wf, "consume")["outputs"].(map[string]any)
	assert.Equal(t, "hello again", consumed["result"])
	assert.JSONEq(t, `["hello again", "hello again"]`, output(node(t, wf, "everywhere"), "seen"))

	where := map[string]int{}
	for _, child := range r.children("travels") {
		where[contract.AssignedCluster(&child)]++
		assert.Equal(t, "Succeeded", contract.Phase(&child))
	}
	assert.Equal(t, map[string]int{"cluster1": 2, "cluster2": 2}, where)
	listed := labtest.Documented(t, theLab.Hub(), "docs/operate.md", "Workflows of steps", "NAMESPACE", r.namespace, "NAME", "travels")
	assert.Equal(t, 4, strings.Count(listed, "Succeeded"))

	r.hubRunsNoPods()
}

// Argo's agent is gated on the hub, since it has nothing to do for steps in other clusters. Where it has something else to do, it starts.
func TestTheAgentOfAWorkflowWithoutStepsElsewhereStarts(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	r.create("http-only", "entrypoint: main\ntemplates: [{name: main, http: {url: 'http://127.0.0.1:1/'}}]")
	labtest.Eventually(t, patience, func() error {
		pods := &corev1.PodList{}
		err := r.hub.List(t.Context(), pods, client.InNamespace(r.namespace), client.MatchingLabels{"workflows.argoproj.io/component": "agent"})
		if err == nil && (len(pods.Items) != 1 || len(pods.Items[0].Spec.SchedulingGates) > 0) {
			err = fmt.Errorf("%d pods of Argo's agent, and they are to have no gate: %+v", len(pods.Items), pods.Items)
		}
		return err
	})
}
