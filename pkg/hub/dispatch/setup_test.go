package dispatch

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
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

func TestOfManifestWorksOnlyRemovalsAndFailuresMatter(t *testing.T) {
	_, _, work := dispatched()
	failed := work.DeepCopy()
	applyFailed(time.Now())(failed)
	assert.True(t, removalsAndFailures.Delete(event.DeleteEvent{Object: work}))
	assert.False(t, removalsAndFailures.Create(event.CreateEvent{Object: work}))
	assert.False(t, removalsAndFailures.Update(event.UpdateEvent{ObjectOld: work, ObjectNew: work}))
	assert.True(t, removalsAndFailures.Update(event.UpdateEvent{ObjectOld: work, ObjectNew: failed}))
	assert.False(t, removalsAndFailures.Update(event.UpdateEvent{ObjectOld: failed, ObjectNew: failed}))
	assert.False(t, removalsAndFailures.Update(event.UpdateEvent{ObjectOld: failed, ObjectNew: work}))
	assert.False(t, removalsAndFailures.Generic(event.GenericEvent{Object: work}))
}

func TestOfRemoteWorkflowsTheProgressDoesNotMatter(t *testing.T) {
	_, before, _ := dispatched()
	passes := func(mods ...gen.Mod) bool {
		after := before.DeepCopy()
		for _, mod := range mods {
			mod(after)
		}
		return notReports.Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after})
	}
	assert.False(t, passes())
	assert.False(t, passes(func(obj client.Object) { obj.(*v1alpha1.RemoteWorkflow).Status.Progress = "1/2" }))
	assert.True(t, passes(gen.WithRemoteUID("remote")))
	assert.True(t, passes(gen.Deleting()))
	assert.True(t, passes(remoteDeleted(metav1.ConditionTrue)))
	assert.True(t, notReports.Create(event.CreateEvent{Object: before}))
	assert.True(t, notReports.Delete(event.DeleteEvent{Object: before}))
}

func TestWorkflowsThatLostTheirLabelUnseenAreFound(t *testing.T) {
	abandoned := gen.Workflow("abandoned", gen.WithAssignment(cluster))
	abandoned.SetLabels(nil)
	r, hub := newReconciler(t, abandoned, gen.Workflow("labelled", gen.WithAssignment(cluster)), unlabelled("another"))
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	require.NoError(t, r.abandoned(t.Context(), queue))
	require.Equal(t, 1, queue.Len())
	request, _ := queue.Get()
	assert.Equal(t, "abandoned", request.Name)

	require.NoError(t, run(t, r, abandoned))
	require.True(t, hub.Show(abandoned))
	assert.Empty(t, abandoned.GetFinalizers())

	hub.Fail("live list Workflow", errors.New("down"))
	require.ErrorContains(t, r.abandoned(t.Context(), queue), "list Workflows: down")
}

func unlabelled(name string) client.Object {
	wf := gen.Workflow(name)
	wf.SetLabels(nil)
	return wf
}
