package integration

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
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
	running, finished, deleted := s.create("running", cluster1), s.create("finished", cluster2), s.create("deleted", cluster2)
	running.starts()
	running.runsOn()
	finished.runs()
	deleted.starts()
	deleted.runsOn()
	deleted.forceDelete(cluster2)
	deleted.waitFor("Error", "")

	// What still is under way ends with the product.
	for _, stop := range []func() error{theManager.stop, agent1.stop, agent2.stop} {
		require.NoError(t, stop())
	}
	t.Cleanup(func() { assert.NoError(t, errors.Join(theManager.start(), agent1.start(), agent2.start())) })
	written := writesFromNowOn()
	awaitReconciles := expectReconciles(t, map[string]int{
		// The Workflows that are assigned, the clusters, and the RemoteWorkflows.
		"workflow": 3, "delivery": 2, "run": 3,
	})
	require.NoError(t, errors.Join(theManager.start(), agent1.start(), agent2.start()))
	awaitReconciles()
	assert.Empty(t, written(), "though everything was looked at anew")

	// What is none of ours.
	label := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"changed":"yes"}}}`))
	require.NoError(t, theHub.client.Patch(t.Context(), gen.ManagedCluster("cluster1"), label))
	beside := newSpace(t)
	marker := beside.create("marker", cluster1)
	marker.runs()
	assert.Empty(t, slices.DeleteFunc(written(), func(request env.Request) bool {
		return request.Namespace == beside.name || request.Name == marker.name().Name || marker.isCarriedIn(request) ||
			request.Resource == "manifestworks" && request.Verb != "create" // there is no delivery but the marker's
	}))

	running.succeeds()
	for _, r := range []*run{running, finished, deleted} {
		r.isGone()
	}
}

// writesFromNowOn returns what lists the product's writes since.
func writesFromNowOn() func() []env.Request {
	taps := []*env.Tap{&theManager.tap, &agent1.hub, &agent1.managed, &agent2.hub, &agent2.managed}
	before := map[*env.Tap]int{}
	for _, tap := range taps {
		before[tap] = len(tap.Writes())
	}
	return func() []env.Request {
		var written []env.Request
		for _, tap := range taps {
			written = append(written, tap.Writes()[before[tap]:]...)
		}
		return written
	}
}

// expectReconciles returns what waits until each of the controllers has reconciled so often from now on.
func expectReconciles(t *testing.T, count map[string]int) (await func()) {
	t.Helper()
	before := reconciles(t)
	return func() {
		t.Helper()
		eventually(t, func() error {
			now := reconciles(t)
			for controller, want := range count {
				if got := now[controller] - before[controller]; got < want {
					return fmt.Errorf("controller %s has reconciled %d times, not yet %d", controller, got, want)
				}
			}
			return nil
		})
	}
}

// reconciles returns how often each of the controllers in this process has reconciled.
func reconciles(t *testing.T) map[string]int {
	t.Helper()
	families, err := metrics.Registry.Gather()
	require.NoError(t, err)
	count := map[string]int{}
	for _, family := range families {
		if family.GetName() != "controller_runtime_reconcile_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "controller" {
					count[label.GetValue()] += int(metric.GetCounter().GetValue())
				}
			}
		}
	}
	return count
}
