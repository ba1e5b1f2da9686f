package e2e

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// verb is what a user does to a Workflow that runs, with a program on the hub or on the cluster.
type verb struct {
	name string
	// do are the commands, one after the other, without the namespace and the Workflow's name, which follow each of them. Between them nothing
	// more of the Workflow may start.
	do []string
	// want is the phase in which the Workflow ends, and nodes how many pods it has had then.
	want  string
	nodes int
}

var verbs = []verb{
	{"argo stop", []string{"argo stop"}, "Failed", 1},
	{"argo terminate", []string{"argo terminate"}, "Failed", 1},
	{"argo suspend and resume", []string{"argo suspend", "argo resume"}, "Succeeded", 2},
	{"kubectl patch shutdown", []string{`kubectl patch --type=merge --patch={"spec":{"shutdown":"Terminate"}} workflow`}, "Failed", 1},
	{
		"kubectl patch suspend", []string{
			`kubectl patch --type=merge --patch={"spec":{"suspend":true}} workflow`,
			`kubectl patch --type=merge --patch={"spec":{"suspend":null}} workflow`,
		}, "Succeeded", 2,
	},
	{
		"kubectl patch the deadline", []string{`kubectl patch --type=merge --patch={"spec":{"activeDeadlineSeconds":1}} workflow`}, "Failed", 1,
	},
}

// TestVerbsOnTheHubDoWhatTheyDoOnACluster does each to a Workflow of the hub, and to one of the cluster that the hub does not know.
func TestVerbsOnTheHubDoWhatTheyDoOnACluster(t *testing.T) {
	t.Parallel()
	for _, v := range verbs {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			s := newSpace(t)
			h := s.record(cluster1)
			takes := steps(5*time.Second, time.Second)
			ours := s.create(s.hello("ours", on(cluster1), takes))
			v.does(t, s, ours, theHub)
			local := s.hello("local", takes)
			local.SetLabels(nil)
			require.NoError(t, cluster1.client.Create(t.Context(), local))
			theirs := &run{t: t, key: client.ObjectKeyFromObject(local), uid: local.GetUID()}
			v.does(t, s, theirs, cluster1)

			assert.Equal(t, outcome(theirs, cluster1), outcome(ours, theHub))
			labtest.Eventually(t, patience, func() error { return ours.mirrored(cluster1) })
			require.NoError(t, hasNodes(ours, theHub, v.nodes))
			assert.Equal(t, 2, h.incarnations(), "nothing ran twice")
		})
	}
}

// does does it to a Workflow, by programs that speak to this cluster, and waits for its end.
func (v verb) does(t *testing.T, s *space, r *run, c *cluster) {
	t.Helper()
	labtest.Eventually(t, patience, func() error { return hasNodes(r, c, 1) })
	for i, command := range v.do {
		if i > 0 { // what has begun ends, and nothing more begins
			labtest.Eventually(t, patience, func() error { return firstStepDone(r, cluster1) })
			labtest.Holds(t, 2*time.Second, func() error { return hasNodes(r, cluster1, 1) })
		}
		words := append(strings.Fields(command), r.key.Name, "--namespace", s.name)
		_, err := c.Tool(t.Context(), words[0], words[1:]...)
		require.NoError(t, err)
	}
	labtest.Eventually(t, patience, func() error { return r.wants(c, v.want, "") })
}

// hasNodes returns an error unless the Workflow has had so many pods, by its status on the cluster.
func hasNodes(r *run, c *cluster, count int) error {
	wf, err := r.get(c)
	if err == nil && len(podNodes(wf)) != count {
		err = fmt.Errorf("%s: %d pods, not %d", c.Name, len(podNodes(wf)), count)
	}
	return err
}

func firstStepDone(r *run, c *cluster) error {
	wf, err := r.get(c)
	if err != nil {
		return err
	}
	for _, phase := range podPhases(wf) {
		if phase != "step1 Succeeded" {
			return errors.New(phase)
		}
	}
	return nil
}

// podPhases returns name and phase of each pod of the Workflow, by its status.
func podPhases(wf *unstructured.Unstructured) []string {
	var out []string
	nodes, _ := contract.Status(wf)["nodes"].(map[string]any)
	for _, node := range nodes {
		if fields, _ := node.(map[string]any); fields["type"] == "Pod" {
			out = append(out, contract.StatusString(fields, "templateName")+" "+contract.StatusString(fields, "phase"))
		}
	}
	slices.Sort(out)
	return out
}

// ofNode is the name of a node in a message: that of its Workflow, and a hash.
var ofNode = regexp.MustCompile(`(ours|local)(-[0-9]+)?`)

// outcome returns what has become of the Workflow, the same for whatever name.
func outcome(r *run, c *cluster) []string {
	wf := r.must(c)
	status := contract.Status(wf)
	message := ofNode.ReplaceAllString(contract.StatusString(status, "message"), "node")
	return append([]string{contract.StatusString(status, "phase") + ": " + message}, podPhases(wf)...)
}
