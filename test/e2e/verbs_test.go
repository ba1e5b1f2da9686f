package e2e

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// Workflows to which verbs are done.
const (
	// twoSteps runs a pod for long enough to do something to it on a busy machine, and then another one.
	twoSteps = `
entrypoint: main
templates:
- name: main
  steps: [[{name: one, template: long}], [{name: two, template: short}]]
- name: long
  metadata: {annotations: {simulated-pod/duration: 20s}}
  container: {image: busybox, imagePullPolicy: IfNotPresent, command: [sleep], args: ["20"]}
- name: short
  container: {image: busybox, imagePullPolicy: IfNotPresent, command: [sleep], args: ["0"]}
`
	// gates waits for users in three nodes, two of which want a value.
	gates = `
entrypoint: main
templates:
- name: main
  steps:
  - - {name: approve, template: approve}
    - {name: ticket, template: ticket}
    - {name: plain, template: plain}
- name: approve
  suspend: {}
  outputs: {parameters: [{name: ok, globalName: approval, valueFrom: {supplied: {}, default: "no"}}]}
- name: ticket
  suspend: {}
  outputs: {parameters: [{name: id, valueFrom: {supplied: {}}}]}
- name: plain
  suspend: {}
`
	// flaky runs a pod that succeeds, and then two more, one of which fails if the parameter code is not 0.
	flaky = `
entrypoint: main
arguments: {parameters: [{name: code, value: "1"}, {name: other, value: o}]}
templates:
- name: main
  dag:
    tasks:
    - {name: good, template: pod, arguments: {parameters: [{name: code, value: "0"}]}}
    - {name: bad, template: pod, depends: good, arguments: {parameters: [{name: code, value: "{{workflow.parameters.code}}"}]}}
    - {name: group, template: group, depends: good}
- name: group
  steps: [[{name: fine, template: pod, arguments: {parameters: [{name: code, value: "0"}]}}]]
- name: pod
  inputs: {parameters: [{name: code}]}
  metadata: {annotations: {simulated-pod/exit-code: "{{inputs.parameters.code}}"}}
  container:
    {image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c], args: ["exit {{inputs.parameters.code}}"]}
`
)

// verb is something that users do to a Workflow, with programs that speak to the hub or to the cluster.
type verb struct {
	name, spec string
	do         []step
	// want is the phase in which the Workflow ends, and pods how many pods have run: more than it has nodes where some ran again.
	want string
	pods int
}

// step is one command. {} stands for the Workflow's name; its namespace follows.
type step struct {
	// when says when it is time for it.
	when func(subject) error
	do   string
	// fails is whether the program itself refuses to do it.
	fails bool
}

// words are those of the command, to a Workflow of this name.
func (s step) words(name string) []string {
	return strings.Fields(strings.Replace(s.do, "{}", name, 1))
}

// subject is a Workflow to which something is done, on the hub or on the cluster.
type subject struct {
	*run
	by *cluster
	h  *history
}

// The times at which something is done to a Workflow.
func runs(s subject) error      { return s.hasNodes("Pod", 1) }
func waits(s subject) error     { return s.hasNodes("Suspend", 3) }
func failed(s subject) error    { return s.wants(s.by, "Failed", "") }
func succeeded(s subject) error { return s.wants(s.by, "Succeeded", "") }

func over(node string) func(subject) error {
	return func(s subject) error {
		nodes, err := s.nodes()
		if phase := contract.StatusString(nodes[node], "phase"); err == nil && (phase == "" || phase == "Running" || phase == "Pending") {
			err = fmt.Errorf("%s: node %s is %q", s.by.Name, node, phase)
		}
		return err
	}
}

func set(node, value string) func(subject) error {
	return func(s subject) error {
		nodes, err := s.nodes()
		if outputs := fmt.Sprint(nodes[node]["outputs"]); err == nil && !strings.Contains(outputs, "value:"+value) {
			err = fmt.Errorf("%s: node %s has outputs %s", s.by.Name, node, outputs)
		}
		return err
	}
}

// failedAfter is when a Workflow has failed, and so many pods have run.
func failedAfter(pods int) func(subject) error {
	return func(s subject) error {
		if ran := s.h.podsOf(s.key.Name); ran != pods {
			return fmt.Errorf("%d pods have run, not %d", ran, pods)
		}
		return failed(s)
	}
}

var verbs = []verb{
	{"argo stop", twoSteps, []step{{when: runs, do: "argo stop {}"}}, "Failed", 1},
	{"argo terminate", twoSteps, []step{{when: runs, do: "argo terminate {}"}}, "Failed", 1},
	{"argo suspend, resume", twoSteps, []step{{when: runs, do: "argo suspend {}"}, {when: over("one"), do: "argo resume {}"}}, "Succeeded", 2},
	{"kubectl patch shutdown", twoSteps, []step{{when: runs, do: `kubectl patch workflow {} --type=merge --patch={"spec":{"shutdown":"Terminate"}}`}}, "Failed", 1},
	{"kubectl patch suspend", twoSteps, []step{
		{when: runs, do: `kubectl patch workflow {} --type=merge --patch={"spec":{"suspend":true}}`},
		{when: over("one"), do: `kubectl patch workflow {} --type=merge --patch={"spec":{"suspend":null}}`},
	}, "Succeeded", 2},
	{"kubectl patch the deadline", twoSteps, []step{{when: runs, do: `kubectl patch workflow {} --type=merge --patch={"spec":{"activeDeadlineSeconds":1}}`}}, "Failed", 1},

	{"argo resume of all nodes", gates, []step{
		{when: waits, do: "argo node set {} --node-field-selector displayName=ticket --output-parameter id=T1"},
		{when: set("ticket", "T1"), do: "argo resume {}"},
	}, "Succeeded", 0},
	{"argo resume and stop of nodes", gates, []step{
		{when: waits, do: "argo resume {} --node-field-selector displayName=plain"},
		{when: over("plain"), do: "argo stop {} --node-field-selector displayName=ticket --message no"},
		{when: over("ticket"), do: "argo resume {} --node-field-selector displayName=approve"},
	}, "Failed", 0},
	{"argo node set", gates, []step{
		{when: waits, do: "argo node set {} --node-field-selector displayName=approve --output-parameter ok=yes"},
		{when: set("approve", "yes"), do: "argo node set {} --node-field-selector displayName=approve --phase Succeeded --message fine"},
		{when: waits, do: "argo node set {} --node-field-selector displayName=ticket --output-parameter id=T2 --phase Succeeded"},
		{when: over("ticket"), do: "argo node set {} --node-field-selector displayName=plain --phase Error --message broken"},
	}, "Failed", 0},
	{"argo stop while it waits, and retry", gates, []step{{when: waits, do: "argo stop {}"}, {when: failed, do: "argo retry {}"}}, "Failed", 0},
	{"argo stop, and retry", twoSteps, []step{{when: runs, do: "argo stop {}"}, {when: failed, do: "argo retry {}"}}, "Succeeded", 3},
	{"argo retry with a parameter", flaky, []step{{when: failed, do: "argo retry {} -p code=0"}}, "Succeeded", 4},
	{"argo retry, twice", flaky, []step{
		{when: failed, do: "argo retry {}"}, {when: failedAfter(4), do: "argo retry {}"}, {when: failedAfter(5), do: "argo retry {} -p code=0"},
	}, "Succeeded", 6},
	{"argo retry of what has succeeded", flaky, []step{
		{when: failed, do: "argo retry {} -p code=0"},
		{when: succeeded, do: "argo retry {}", fails: true},
		{when: succeeded, do: "argo retry {} --restart-successful --node-field-selector displayName=fine"},
	}, "Succeeded", 5},
}

// TestVerbsOnTheHubDoWhatTheyDoOnACluster does each to a Workflow of the hub, and to one of the cluster that the hub does not know.
func TestVerbsOnTheHubDoWhatTheyDoOnACluster(t *testing.T) {
	t.Parallel()
	for _, v := range verbs {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			s := newSpace(t)
			h := s.record(cluster1)
			ours := subject{s.create(s.hello("ours", on(cluster1), withSpec(t, v.spec))), theHub, h}
			v.does(t, s, ours)
			local := s.hello("local", withSpec(t, v.spec))
			local.SetLabels(nil)
			require.NoError(t, cluster1.client.Create(t.Context(), local))
			theirs := subject{&run{t: t, key: client.ObjectKeyFromObject(local), uid: local.GetUID()}, cluster1, h}
			v.does(t, s, theirs)

			labtest.Eventually(t, patience, func() error { return same(theirs.outcome(), ours.outcome()) })
			labtest.Eventually(t, patience, func() error { return ours.mirrored(cluster1) })
			assert.Equal(t, 2, h.incarnations(), "each Workflow was created once")
			assert.Equal(t, v.pods, h.podsOf("ours"), "pods of the one of the hub")
			assert.Equal(t, v.pods, h.podsOf("local"), "pods of the other one")
		})
	}
}

func same(want, got []string) error {
	if !slices.Equal(want, got) {
		return fmt.Errorf("want %q, got %q", want, got)
	}
	return nil
}

func withSpec(t *testing.T, text string) gen.Mod {
	t.Helper()
	var spec map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(text), &spec))
	return func(wf client.Object) { wf.(*unstructured.Unstructured).Object["spec"] = spec }
}

// does does it to a Workflow with programs, and waits for its end.
func (v verb) does(t *testing.T, s *space, to subject) {
	t.Helper()
	v.isDone(t, to, func(words []string) (string, error) {
		return to.by.Tool(t.Context(), words[0], append(words[1:], "--namespace", s.name)...)
	})
}

// isDone does it to a Workflow by what carries out the words of a command, and waits for its end.
func (v verb) isDone(t *testing.T, to subject, by func(words []string) (string, error)) {
	t.Helper()
	for _, step := range v.do {
		labtest.Eventually(t, patience, func() error { return step.when(to) })
		words := step.words(to.key.Name)
		if words[1] == "retry" && to.by != theHub {
			labtest.Eventually(t, patience, to.losesItsPods)
		}
		out, err := by(words)
		require.Equal(t, step.fails, err != nil, "%v: %s", err, out)
	}
	labtest.Eventually(t, patience, func() error { return to.wants(to.by, v.want, "") })
}

// losesItsPods deletes the pods of the Workflow, and returns an error as long as any is there. Argo's own retry does not wait until those
// that it deletes are gone, and a node that meets the pod of its name waits for ever.
func (s subject) losesItsPods() error {
	ofWorkflow := []client.ListOption{client.InNamespace(s.key.Namespace), client.MatchingLabels{"workflows.argoproj.io/workflow": s.key.Name}}
	var pods corev1.PodList
	if err := s.by.client.List(s.t.Context(), &pods, ofWorkflow...); err != nil {
		return err
	}
	for i := range pods.Items {
		if pods.Items[i].DeletionTimestamp == nil {
			if err := s.by.client.Delete(s.t.Context(), &pods.Items[i]); client.IgnoreNotFound(err) != nil {
				return err
			}
		}
	}
	if left := len(pods.Items); left > 0 {
		return fmt.Errorf("%d pods are there", left)
	}
	return nil
}

// nodes returns the nodes of the Workflow by their display names.
func (s subject) nodes() (map[string]map[string]any, error) {
	wf, err := s.get(s.by)
	if err != nil {
		return nil, err
	}
	out := map[string]map[string]any{}
	nodes, _, err := contract.Nodes(contract.Status(wf))
	for _, n := range nodes {
		node := n.(map[string]any)
		out[contract.StatusString(node, "displayName")] = node
	}
	return out, err
}

// hasNodes returns an error unless the Workflow has so many nodes of this type.
func (s subject) hasNodes(kind string, count int) error {
	nodes, err := s.nodes()
	found := 0
	for _, node := range nodes {
		if node["type"] == kind {
			found++
		}
	}
	if err == nil && found != count {
		err = fmt.Errorf("%s: %d nodes of type %s, not %d", s.by.Name, found, kind, count)
	}
	return err
}

// ofNode is the name of a node in a text: that of its Workflow, and a hash.
var ofNode = regexp.MustCompile(`(ours|local|through-client|through-server)(-[0-9]+)?`)

// resumer is who has resumed a node, in the message of the node.
var resumer = regexp.MustCompile(`Resumed by: map\[[^]]*\]`)

// outcome returns what has become of the Workflow and of its nodes, the same for whatever name, and whoever did it.
func (s subject) outcome() []string {
	status := contract.Status(s.must(s.by))
	out := []string{fmt.Sprint(status["phase"], ": ", status["message"], " ", status["outputs"], " ", status["progress"])}
	nodes, _, err := contract.Nodes(status)
	require.NoError(s.t, err)
	for _, id := range slices.Sorted(maps.Keys(nodes)) {
		node := nodes[id].(map[string]any)
		out = append(out, fmt.Sprint(node["name"], " ", node["type"], " ", node["phase"], ": ", node["message"], " ", node["outputs"]))
	}
	for i := range out {
		out[i] = resumer.ReplaceAllString(ofNode.ReplaceAllString(out[i], "node"), "Resumed")
	}
	slices.Sort(out)
	return out
}
