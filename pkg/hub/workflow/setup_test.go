package workflow

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func named(names ...string) []reconcile.Request {
	var out []reconcile.Request
	for _, name := range names {
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKey{Namespace: gen.Namespace, Name: name}})
	}
	return out
}

func newQueue(t *testing.T) workqueue.TypedRateLimitingInterface[reconcile.Request] {
	t.Helper()
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	t.Cleanup(queue.ShutDown)
	return queue
}

// queued empties a queue.
func queued(queue workqueue.TypedRateLimitingInterface[reconcile.Request]) []reconcile.Request {
	var out []reconcile.Request
	for queue.Len() > 0 {
		request, _ := queue.Get()
		queue.Done(request)
		out = append(out, request)
	}
	return out
}

// attemptsOf are attempts of all kinds on the cluster, by the name of their Workflow.
func attemptsOf() []client.Object {
	on := func(name string, mods ...gen.Mod) client.Object {
		return attemptOf(gen.Workflow(name, gen.WithAssignment(cluster1)), mods...)
	}
	return []client.Object{
		on("waiting"), on("started", claimed()), on("running", gen.WithReport(running())), on("finished", gen.WithReport(map[string]any{"phase": "Failed"})),
		on("leaving", gen.WithReport(map[string]any{"phase": "Failed"}), gen.Deleting()), on("fed", withoutAgent()),
		gen.RemoteWorkflow(gen.Workflow("elsewhere"), "cluster2"),
	}
}

func TestAClusterWakesWhatHasNotFinishedThere(t *testing.T) {
	r, hub, _ := newReconciler(t, append(attemptsOf(), gen.ManagedCluster(cluster1))...)
	want := named("waiting", "started", "running", "leaving", "fed")
	assert.ElementsMatch(t, want, r.ofCluster(t.Context(), gen.ManagedCluster(cluster1)))
	assert.ElementsMatch(t, want, r.ofCluster(t.Context(), gen.ManagedClusterAddOn(cluster1)))
	assert.Empty(t, r.ofCluster(t.Context(), gen.ManagedCluster("cluster3")))
	hub.Fail("list RemoteWorkflow", errors.New("down"))
	assert.Empty(t, r.ofCluster(t.Context(), gen.ManagedCluster(cluster1)))
}

func TestAClusterThatIsDetachedWakesAllThatWasSentThere(t *testing.T) {
	for name, around := range map[string][]client.Object{"being detached": {detaching()}, "detached": nil} {
		t.Run(name, func(t *testing.T) {
			r, _, _ := newReconciler(t, append(attemptsOf(), around...)...)
			want := named("waiting", "started", "running", "finished", "leaving", "fed")
			assert.ElementsMatch(t, want, r.ofCluster(t.Context(), gen.ManagedCluster(cluster1)))
		})
	}
}

func TestWhoMayUseWhichClusterConcernsWhatNothingHasClaimed(t *testing.T) {
	r, _, _ := newReconciler(t, attemptsOf()...)
	assert.ElementsMatch(t, named("waiting", "fed", "elsewhere"), r.ofUnclaimed(t.Context(), gen.ManagedClusterSet(gen.GlobalSet)))
}

func TestOnlyAChangeOfWhatAClusterCanDoWakesAnything(t *testing.T) {
	other := gen.WithLabels(map[string]string{"a": "b"})
	refusing := gen.ManagedCluster(cluster1)
	refusing.Spec.HubAcceptsClient = false
	reported, itself := gen.ManagedCluster(cluster1, gen.WithAllocatableCPU("4")), gen.ManagedCluster(cluster1)
	itself.Status.ClusterClaims = []clusterv1.ManagedClusterClaim{{Name: "id.k8s.io", Value: "the hub's id"}}
	r := &Reconciler{HubID: "the hub's id"}
	for name, test := range map[string]struct {
		before, after client.Object
		want          bool
	}{
		"a cluster reports what it has":     {gen.ManagedCluster(cluster1), reported, false},
		"a cluster gets into another set":   {gen.ManagedCluster(cluster1), gen.ManagedCluster(cluster1, other), true},
		"a cluster is lost":                 {gen.ManagedCluster(cluster1), gen.ManagedCluster(cluster1, clusterAvailable(metav1.ConditionUnknown)), true},
		"a cluster is detached":             {gen.ManagedCluster(cluster1), gen.ManagedCluster(cluster1, gen.Deleting()), true},
		"a cluster is not accepted":         {gen.ManagedCluster(cluster1), refusing, true},
		"a cluster turns out to be the hub": {gen.ManagedCluster(cluster1), itself, true},
		"an addon is edited":                {gen.ManagedClusterAddOn(cluster1), gen.ManagedClusterAddOn(cluster1, other), false},
		"an agent is lost":                  {gen.ManagedClusterAddOn(cluster1), gen.ManagedClusterAddOn(cluster1, agentAvailable(metav1.ConditionFalse)), true},
		"an addon is being disabled":        {gen.ManagedClusterAddOn(cluster1), gen.ManagedClusterAddOn(cluster1, gen.Deleting()), true},
		"what is watched is something else": {gen.ManagedClusterSet("x"), gen.ManagedClusterSet("x"), true},
	} {
		t.Run(name, func(t *testing.T) {
			predicate := changesOf(r.viewOfCluster)
			if test.before.GetNamespace() != "" {
				predicate = changesOf(viewOfAddon)
			}
			assert.Equal(t, test.want, predicate.Update(event.UpdateEvent{ObjectOld: test.before, ObjectNew: test.after}))
		})
	}
}

func TestAnAttemptWakesItsWorkflow(t *testing.T) {
	wf := gen.Workflow("hello", gen.InNamespace("team-a"))
	assert.Equal(t, []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: "team-a", Name: "hello"}}},
		ofRemoteWorkflow(t.Context(), gen.RemoteWorkflow(wf, cluster1)))
	assert.Empty(t, ofRemoteWorkflow(t.Context(), wf))
}

func TestADeliveryWakesTheWorkflowsThatItsChangeConcerns(t *testing.T) {
	attempt := func(name string, mods ...gen.Mod) *v1alpha1.RemoteWorkflow {
		return attemptOf(gen.Workflow(name, gen.WithAssignment(cluster1)), mods...)
	}
	a, b, c := attempt("a"), attempt("b"), attempt("c")
	fed := attempt("fed", withoutAgent())
	all := []*v1alpha1.RemoteWorkflow{a, b, c}
	failed := gen.WithConditionOfItem(1, workv1.ManifestApplied, metav1.ConditionFalse, "no such namespace")
	for name, test := range map[string]struct {
		before, after *workv1.ManifestWork
		want          []reconcile.Request
	}{
		"nothing": {gen.Delivery(all), gen.Delivery(all), nil},
		"all are created": {
			gen.Delivery(all), gen.Delivery(all, gen.WithConditionOfItem(0, workv1.ManifestApplied, metav1.ConditionTrue, "")), nil,
		},
		"one cannot be created":               {gen.Delivery(all), gen.Delivery(all, failed), named("b")},
		"one cannot be created, as before":    {gen.Delivery(all, failed), gen.Delivery(all, failed), nil},
		"one can be created after all":        {gen.Delivery(all, failed), gen.Delivery(all), named("b")},
		"two leave the list":                  {gen.Delivery(all), gen.Delivery(all[:1]), named("b", "c")},
		"it is being deleted":                 {gen.Delivery(all), gen.Delivery(all, gen.Deleting()), named("a", "b", "c")},
		"it is still being deleted":           {gen.Delivery(all, gen.Deleting()), gen.Delivery(all, gen.Deleting()), nil},
		"without an agent, whatever it is":    {gen.ManifestWork(fed), gen.ManifestWork(fed), named("fed")},
		"somebody's that is none of ours":     {nobodys(), &workv1.ManifestWork{}, nil},
		"without an agent, and without items": {emptied(fed), emptied(fed), nil},
	} {
		t.Run(name, func(t *testing.T) {
			queue := newQueue(t)
			ofDelivery.Update(t.Context(), event.UpdateEvent{ObjectOld: test.before, ObjectNew: test.after}, queue)
			assert.ElementsMatch(t, test.want, queued(queue))
		})
	}
	for name, test := range map[string]struct {
		work *workv1.ManifestWork
		want []reconcile.Request
	}{
		"it was seen in deletion":             {gen.Delivery(all, gen.Deleting()), nil},
		"no work agent has seen it":           {gen.Delivery(all), named("a", "b", "c")},
		"without an agent":                    {gen.ManifestWork(fed, gen.Deleting()), named("fed")},
		"without an agent, and without items": {emptied(fed), nil},
		"none of ours":                        {nobodys(), nil},
	} {
		t.Run("gone: "+name, func(t *testing.T) {
			queue := newQueue(t)
			ofDelivery.Delete(t.Context(), event.DeleteEvent{Object: test.work}, queue)
			assert.ElementsMatch(t, test.want, queued(queue))
		})
	}
	queue := newQueue(t)
	ofDelivery.Create(t.Context(), event.CreateEvent{Object: gen.Delivery(all)}, queue)
	assert.Empty(t, queued(queue), "what was just made is no news")
	ofDelivery.Create(t.Context(), event.CreateEvent{Object: gen.ManifestWork(fed)}, queue)
	assert.Equal(t, named("fed"), queued(queue), "without an agent, it may have ended while the hub could not be watched")
}

func emptied(rw *v1alpha1.RemoteWorkflow) *workv1.ManifestWork {
	work := gen.ManifestWork(rw)
	work.Spec.Workload.Manifests = nil
	return work
}

// nobodys is a ManifestWork that bears our label, and a manifest that is not ours.
func nobodys() *workv1.ManifestWork {
	work := &workv1.ManifestWork{}
	work.Labels = map[string]string{contract.LabelDelivery: contract.DeliveryGated}
	work.Spec.Workload.Manifests = make([]workv1.Manifest, 1)
	work.Spec.Workload.Manifests[0].Raw = []byte(`{"kind":"ConfigMap","metadata":{"name":"x"}}`)
	return work
}

func TestWorkflowsThatLostTheirLabelUnseenAreFound(t *testing.T) {
	abandoned := gen.Workflow("abandoned", gen.WithAssignment(cluster1), withoutLabels())
	r, hub, _ := newReconciler(t, abandoned, gen.Workflow("labelled", gen.WithAssignment(cluster1)), gen.Workflow("another", withoutLabels()))
	queue := newQueue(t)
	require.NoError(t, r.lookForUnlabelled(t.Context(), queue))
	require.Eventually(t, func() bool { return queue.Len() > 0 }, 10*time.Second, time.Millisecond)
	assert.Equal(t, named("abandoned"), queued(queue))

	hub.Fail("live list Workflow", errors.New("down"))
	require.ErrorContains(t, r.unlabelled(t.Context(), queue), "down")
	require.NoError(t, r.lookForUnlabelled(t.Context(), queue), "the manager starts all the same")
}
