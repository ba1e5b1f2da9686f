package placement

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func requestsFor(names ...string) []reconcile.Request {
	requests := []reconcile.Request{}
	for _, name := range names {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKey{Namespace: gen.Namespace, Name: name}})
	}
	return requests
}

func TestWhateverCanEndAWaitWakesTheWorkflowsThatItConcerns(t *testing.T) {
	r, _ := newReconciler(t,
		gen.Workflow("gpu1", gen.WithPlacement("gpu")),
		gen.Workflow("gpu2", gen.WithPlacement("gpu")),
		gen.Workflow("anywhere", gen.WithPlacement("anywhere")),
		gen.Workflow("placed", gen.WithPlacement("gpu"), gen.WithAssignment("cluster1")),
	)
	assert.ElementsMatch(t, requestsFor("gpu1", "gpu2"), r.waitingForPlacement(t.Context(), gen.Placement("gpu")))
	assert.ElementsMatch(t, requestsFor("anywhere"), r.waitingForDecision(t.Context(), gen.PlacementDecision("anywhere", 1, nil)))
	assert.ElementsMatch(t, requestsFor("gpu1", "gpu2", "anywhere"), r.waitingForAny(t.Context(), gen.ManagedClusterAddOn("cluster1")))
	assert.Empty(t, r.waitingForPlacement(t.Context(), gen.Placement("gpu", gen.InNamespace("elsewhere"))))
}

func TestAWatchThatCannotListWakesNobody(t *testing.T) {
	r, hub := newReconciler(t, gen.Workflow("hello", gen.WithPlacement("gpu")))
	hub.Fail("list Workflow", errors.New("down"))
	assert.Empty(t, r.waitingForPlacement(t.Context(), gen.Placement("gpu")))
}

func TestUnfinishedOn(t *testing.T) {
	assigned := gen.WithAssignment("cluster1")
	assert.Equal(t, []string{"cluster1"}, unfinishedOn(gen.Workflow("a", assigned)))
	assert.Equal(t, []string{"cluster1"}, unfinishedOn(gen.Workflow("a", assigned, gen.WithHubStatus("Running"))))
	for _, phase := range []string{"Succeeded", "Failed", "Error"} {
		assert.Empty(t, unfinishedOn(gen.Workflow("a", assigned, gen.WithHubStatus(phase))), phase)
	}
	assert.Empty(t, unfinishedOn(gen.Workflow("a", gen.WithPlacement("gpu"))))
}
