package e2e

import (
	"errors"
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
	"open-cluster-management.io/argo-workflow-multicluster/test/e2e/verbs"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// subject is a Workflow to which something is done, on the hub or on the cluster.
type subject struct {
	*run
	by *cluster
	h  *history
}

// reached returns an error as long as it is not that moment.
func (s subject) reached(m verbs.Moment) error {
	var errs []error
	for kind, count := range map[string]int{"Pod": m.Pods, "Suspend": m.Gates} {
		if count > 0 {
			errs = append(errs, s.hasNodes(kind, count))
		}
	}
	if m.Suspended {
		errs = append(errs, s.isSuspended())
	}
	if m.Over != "" {
		errs = append(errs, s.isOver(m.Over))
	}
	if m.Set != "" {
		errs = append(errs, s.hasOutput(m.Set, m.Value))
	}
	if m.Ran > 0 {
		errs = append(errs, s.hasRun(m.Ran))
	}
	if m.Phase != "" {
		errs = append(errs, s.wants(s.by, m.Phase, ""))
	}
	return errors.Join(errs...)
}

// TestVerbsOnTheHubDoWhatTheyDoOnACluster does each to a Workflow of the hub, and to one of the cluster that the hub does not know.
func TestVerbsOnTheHubDoWhatTheyDoOnACluster(t *testing.T) {
	t.Parallel()
	for _, v := range verbs.All {
		t.Run(v.Name(), func(t *testing.T) {
			t.Parallel()
			s := newSpace(t)
			h := s.record(cluster1)
			ours := subject{s.create(s.hello("ours", on(cluster1), withSpec(t, v.On.Spec))), theHub, h}
			does(t, v, s, ours)
			local := s.hello("local", withSpec(t, v.On.Spec))
			local.SetLabels(nil)
			require.NoError(t, cluster1.client.Create(t.Context(), local))
			theirs := subject{&run{t: t, key: client.ObjectKeyFromObject(local), uid: local.GetUID()}, cluster1, h}
			does(t, v, s, theirs)

			labtest.Eventually(t, patience, func() error { return same(theirs.outcome(), ours.outcome()) })
			labtest.Eventually(t, patience, func() error { return ours.mirrored(cluster1) })
			assert.Equal(t, 2, h.incarnations(), "each Workflow was created once")
			assert.Equal(t, v.Pods, h.podsOf("ours"), "pods of the one of the hub")
			assert.Equal(t, v.Pods, h.podsOf("local"), "pods of the other one")
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
func does(t *testing.T, v verbs.Verb, s *space, to subject) {
	t.Helper()
	isDone(t, v, to, func(words []string) (string, error) {
		return to.by.Tool(t.Context(), words[0], append(words[1:], "--namespace", s.name)...)
	})
}

// isDone does it to a Workflow by what carries out the words of a command, and waits for its end.
func isDone(t *testing.T, v verbs.Verb, to subject, by func(words []string) (string, error)) {
	t.Helper()
	for _, step := range v.Do {
		labtest.Eventually(t, patience, func() error { return to.reached(step.When) })
		words := verbs.Words(step.Do, to.key.Name)
		if words[1] == "retry" && to.by != theHub {
			labtest.Eventually(t, patience, to.losesItsPods)
		}
		out, err := by(words)
		require.Equal(t, step.Fails, err != nil, "%v: %s", err, out)
	}
	labtest.Eventually(t, patience, func() error { return to.wants(to.by, v.Want, "") })
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

// hasRun returns an error unless so many pods of the Workflow have run.
func (s subject) hasRun(pods int) error {
	if ran := s.h.podsOf(s.key.Name); ran != pods {
		return fmt.Errorf("%d pods have run, not %d", ran, pods)
	}
	return nil
}

// isOver returns an error unless the node of that display name has ended.
func (s subject) isOver(name string) error {
	nodes, err := s.nodes()
	if phase := contract.StatusString(nodes[name], "phase"); err == nil && (phase == "" || phase == "Running" || phase == "Pending") {
		err = fmt.Errorf("%s: node %s is %q", s.by.Name, name, phase)
	}
	return err
}

// hasOutput returns an error unless an output of the node of that display name has the value.
func (s subject) hasOutput(name, value string) error {
	nodes, err := s.nodes()
	if outputs := fmt.Sprint(nodes[name]["outputs"]); err == nil && !strings.Contains(outputs, "value:"+value) {
		err = fmt.Errorf("%s: node %s has outputs %s", s.by.Name, name, outputs)
	}
	return err
}

// isSuspended returns an error unless the Workflow is suspended on its cluster.
func (s subject) isSuspended() error {
	wf, err := s.get(cluster1)
	if yes, _, _ := unstructured.NestedBool(wf.Object, "spec", "suspend"); err == nil && !yes {
		err = errors.New("it is not suspended")
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
