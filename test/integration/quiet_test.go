package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"open-cluster-management.io/argo-workflow-multicluster/test/env"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// Not parallel: whatever is written meanwhile counts.
func TestNothingIsWrittenWhenNothingChanges(t *testing.T) {
	s := newSpace(t)
	held := s.create("held", &cluster{name: "nowhere", client: cluster1.client})
	held.waitFor("Pending", `waiting for managed cluster "nowhere"`)
	sent := s.create("sent", cluster1)
	sent.waitForManifestWork()
	running, finished, deleted := s.create("running", cluster1), s.create("finished", cluster2), s.create("deleted", cluster2)
	running.starts()
	running.runsOn()
	finished.runs()
	deleted.starts()
	deleted.runsOn()
	deleted.forceDelete(cluster2)
	deleted.workAgent.remove(deleted)
	deleted.waitFor("Error", "")

	taps := []*env.Tap{&theManager.tap, &agent1.hub, &agent1.managed, &agent2.hub, &agent2.managed}
	resync := func(what string, controllers map[string]int, trigger func()) {
		t.Helper()
		waitUntilIdle(t, nil)
		before := writes(taps)
		for controller := range controllers {
			controllers[controller] += int(gather(t, "controller_runtime_reconcile_total", "controller", controller))
		}
		trigger()
		waitUntilIdle(t, controllers)
		assert.Empty(t, writes(taps)[len(before):], what)
	}
	resync("a restart of everything, which lists and looks at everything anew",
		// The Workflows for each of the hub's controllers, and the RemoteWorkflows for the agents'.
		map[string]int{"placement": 5, "dispatch": 5, "status": 5, "run": 4},
		func() {
			for _, stop := range []func(*testing.T){stopManager, func(t *testing.T) { t.Helper(); stopAgent(t, agent1); stopAgent(t, agent2) }} {
				stop(t)
			}
			require.NoError(t, theManager.start())
			require.NoError(t, agent1.start())
			require.NoError(t, agent2.start())
		})
	resync("a change of what is none of ours, and OCM's feedback",
		map[string]int{"dispatch": 2, "status": 1, "placement": 0},
		func() {
			label := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"changed":"yes"}}}`))
			require.NoError(t, theHub.client.Patch(t.Context(), gen.ManagedCluster("cluster1"), label))
			work := running.waitForManifestWork()
			meta.SetStatusCondition(&work.Status.Conditions, metav1.Condition{
				Type: workv1.WorkAvailable, Status: metav1.ConditionTrue, Reason: "ResourcesAvailable", ObservedGeneration: work.Generation,
			})
			require.NoError(t, theHub.client.Status().Update(t.Context(), work))
		})
	running.succeeds()
	for _, r := range []*run{sent, running, finished, deleted} {
		r.isGone()
	}
}

// writes returns what has been written through the taps, as text.
func writes(taps []*env.Tap) []string {
	var written []string
	for _, tap := range taps {
		for _, request := range tap.Writes() {
			written = append(written, request.String())
		}
	}
	return written
}

// waitUntilIdle waits until each controller has reconciled so often, and has nothing left to do.
func waitUntilIdle(t *testing.T, atLeast map[string]int) {
	t.Helper()
	eventually(t, func() error {
		for controller, count := range atLeast {
			if got := gather(t, "controller_runtime_reconcile_total", "controller", controller); int(got) < count {
				return fmt.Errorf("controller %s has reconciled %v times, not yet %d", controller, got, count)
			}
		}
		if depth, active := gather(t, "workqueue_depth", "", ""), gather(t, "controller_runtime_active_workers", "", ""); depth+active > 0 {
			return fmt.Errorf("%v requests wait and %v are worked on", depth, active)
		}
		return nil
	})
}

// gather returns the sum of a metric of this process, with this label if one is given.
func gather(t *testing.T, name, label, value string) float64 {
	t.Helper()
	families, err := metrics.Registry.Gather()
	require.NoError(t, err)
	sum := 0.0
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			matches := label == ""
			for _, pair := range metric.GetLabel() {
				matches = matches || (pair.GetName() == label && pair.GetValue() == value)
			}
			if matches {
				sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
			}
		}
	}
	return sum
}
