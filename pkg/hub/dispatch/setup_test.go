package dispatch

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestAChangeOfTheSurroundingsWakesWhatHasNotBeenSeenToRun(t *testing.T) {
	r, hub := newReconciler(t,
		gen.Workflow("new"),
		gen.Workflow("held", gen.WithHubStatus("Pending")),
		gen.Workflow("running", gen.WithHubStatus("Running")),
		gen.Workflow("finished", gen.WithHubStatus("Succeeded")),
	)
	assert.ElementsMatch(t, []reconcile.Request{
		{NamespacedName: client.ObjectKey{Namespace: gen.Namespace, Name: "new"}},
		{NamespacedName: client.ObjectKey{Namespace: gen.Namespace, Name: "held"}},
	}, r.held(t.Context(), gen.ManagedCluster(cluster)))

	hub.Fail("list Workflow", errors.New("down"))
	assert.Empty(t, r.held(t.Context(), gen.ManagedCluster(cluster)))
}

func TestOfManifestWorksOnlyRemovalsMatter(t *testing.T) {
	_, _, work := dispatched()
	assert.True(t, onlyRemovals.Delete(event.DeleteEvent{Object: work}))
	assert.False(t, onlyRemovals.Create(event.CreateEvent{Object: work}))
	assert.False(t, onlyRemovals.Update(event.UpdateEvent{ObjectOld: work, ObjectNew: work}))
	assert.False(t, onlyRemovals.Generic(event.GenericEvent{Object: work}))
}
