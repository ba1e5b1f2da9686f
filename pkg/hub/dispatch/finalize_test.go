package dispatch

import (
	"cmp"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// releases counts the Workflows that were let go without their run.
const releases = "argo_multicluster_hub_released_unconfirmed_total"

func updateOf(before, after client.Object) event.UpdateEvent {
	return event.UpdateEvent{ObjectOld: before, ObjectNew: after}
}

// leaving is a deleted Workflow whose run its cluster has not removed yet, at the moment of its deletion.
func leaving(t *testing.T, surroundings ...client.Object) (*Reconciler, *fakehub.Hub, *clocktesting.FakePassiveClock) {
	t.Helper()
	wf, rw, work := dispatched(gen.Deleting())
	gen.Deleting()(rw)
	gen.WithFinalizers("work agent")(work)
	gen.Deleting()(work)
	r, hub := newReconciler(t, append(surroundings, wf, rw, work)...)
	now := clocktesting.NewFakePassiveClock(gen.Time.Time)
	r.Clock, r.DeletionTimeout = now, 15*time.Minute
	return r, hub, now
}

// look reconciles the Workflow, and returns when it is to be looked at again.
func look(t *testing.T, r *Reconciler) time.Duration {
	t.Helper()
	result, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Namespace: gen.Namespace, Name: "hello"}})
	require.NoError(t, err)
	return result.RequeueAfter
}

// away is a cluster that does not report any more.
func away() []client.Object {
	return []client.Object{gen.ManagedCluster(cluster, clusterAvailable(metav1.ConditionUnknown)), gen.ManagedClusterAddOn(cluster)}
}

func TestADeletedWorkflowWaitsWithoutLimitForAClusterThatIsThereAndSaysSo(t *testing.T) {
	for name, timeout := range map[string]time.Duration{"with a timeout": 10 * time.Minute, "without": 0} {
		t.Run(name, func(t *testing.T) {
			r, hub, now := leaving(t, gen.ManagedCluster(cluster), gen.ManagedClusterAddOn(cluster))
			r.DeletionTimeout = timeout
			wait := look(t, r)
			assert.Equal(t, cmp.Or(timeout, 15*time.Minute), wait)
			now.SetTime(now.Now().Add(wait - time.Second))
			assert.Equal(t, time.Second, look(t, r), "exactly then")
			assert.Empty(t, hub.Events(), "it may take a while")

			now.SetTime(now.Now().Add(time.Second))
			assert.Zero(t, look(t, r))
			events := hub.Events()
			require.Len(t, events, 1)
			assert.Contains(
				t,
				events[0],
				"Warning DeletionWaits waiting for cluster cluster1 to remove the run default/hello: the cluster is available, "+
					"and has not done so since 2026-01-02T15:04:05Z",
			)
			assert.Contains(t, events[0], contract.AnnotationRelease)

			now.SetTime(now.Now().Add(1000 * time.Hour))
			assert.Zero(t, look(t, r))
			assert.Empty(t, hub.Events(), "it is said once")
			assert.Empty(t, hub.Writes(), "the run is still there")
		})
	}
}

func TestADeletedWorkflowWaitsForTheAgentToSeeItsCopyGo(t *testing.T) {
	leavingCluster := gen.ManagedCluster(cluster, gen.WithFinalizers("ocm"), gen.Deleting())
	disabled := gen.ManagedClusterAddOn(cluster, gen.WithFinalizers("hook"), gen.Deleting())
	tests := map[string]struct {
		rw     []gen.Mod
		around []client.Object
		waits  bool
	}{
		"while it has not":                     {nil, surroundings(), true},
		"even if it is away":                   {nil, away(), true},
		"nor if it is being disabled":          {nil, []client.Object{gen.ManagedCluster(cluster), disabled}, false},
		"but not when it has":                  {[]gen.Mod{withdrawn()}, surroundings(), false},
		"nor if the copy went before":          {[]gen.Mod{remoteDeleted(metav1.ConditionTrue)}, surroundings(), false},
		"nor if it has never claimed one":      {[]gen.Mod{gen.WithRemoteUID("")}, surroundings(), false},
		"nor without an agent's part":          {[]gen.Mod{gen.WithReporting(v1alpha1.ReportingFeedback)}, surroundings(), false},
		"nor if it is disabled":                {nil, []client.Object{gen.ManagedCluster(cluster)}, false},
		"nor if its cluster is being detached": {nil, []client.Object{leavingCluster, gen.ManagedClusterAddOn(cluster)}, false},
		"nor if its cluster is detached":       {nil, []client.Object{gen.ManagedClusterAddOn(cluster)}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wf, rw, _ := dispatched(gen.Deleting())
			gen.WithRemoteUID("remote")(rw)
			gen.Deleting()(rw)
			for _, mod := range test.rw {
				mod(rw)
			}
			r, hub := newReconciler(t, append(test.around, wf, rw)...)
			now := clocktesting.NewFakePassiveClock(gen.Time.Time)
			r.Clock, r.DeletionTimeout = now, time.Hour
			again := look(t, r)
			assert.Equal(t, test.waits, hub.Show(rw))
			assert.Equal(t, test.waits, hub.Show(wf))
			if test.waits {
				require.Equal(t, 5*time.Minute, again)
				now.SetTime(now.Now().Add(again))
				look(t, r)
				assert.False(t, hub.Show(rw), "an earlier version of the agent confirms nothing")
			}
		})
	}
}

func TestADeletedWorkflowIsLetGoWhenItsClusterStaysAway(t *testing.T) {
	r, hub, now := leaving(t, away()...)
	assert.Equal(t, 15*time.Minute, look(t, r))
	events := hub.Events()
	require.Len(t, events, 1)
	assert.Contains(t, events[0], "Warning DeletionWaits waiting for cluster cluster1 to remove the run default/hello")

	now.SetTime(now.Now().Add(5 * time.Minute))
	assert.Equal(t, 10*time.Minute, look(t, r), "exactly then")
	assert.Empty(t, hub.Writes())
	assert.Empty(t, hub.Events(), "it is said once")

	now.SetTime(now.Now().Add(10 * time.Minute))
	before := fakehub.Counted(t, releases, byTimeout)
	assert.Zero(t, look(t, r))
	assert.InDelta(t, before+1, fakehub.Counted(t, releases, byTimeout), 0)
	assert.Equal(t, []string{"patch Workflow default/hello"}, hub.Writes())
	events = hub.Events()
	require.Len(t, events, 1)
	assert.Contains(
		t,
		events[0],
		"Warning ReleasedUnconfirmed let go before cluster cluster1 has removed the run: the cluster is not available",
	)
	assert.Contains(t, events[0], "may still exist there as default/hello")
	assert.False(t, hub.Show(gen.Workflow("hello")))
}

func TestTheRunOfAWorkflowThatWasLetGoIsRemovedWhenItsClusterIsBack(t *testing.T) {
	r, hub, now := leaving(t, append(away(), gen.ManagedClusterSet(gen.GlobalSet), gen.ManagedClusterSetBinding(gen.GlobalSet))...)
	now.SetTime(now.Now().Add(15 * time.Minute))
	look(t, r)
	wf, rw, work := dispatched()
	require.False(t, hub.Show(gen.Workflow("hello")))
	require.True(t, hub.Show(rw), "the agent sees by it that the run is to go")
	require.True(t, hub.Show(work), "the work agent removes the copy for it")
	look(t, r)
	assert.True(t, hub.Show(rw))

	anew := gen.Workflow("hello", gen.WithUID("anew"), gen.WithCluster(cluster))
	require.NoError(t, hub.Create(t.Context(), anew))
	look(t, r)
	require.True(t, hub.Show(anew))
	assert.Contains(t, contract.Status(anew)["message"], "waiting for the name default/hello on cluster cluster1")

	releaseManifestWork(t, hub, work)
	look(t, r)
	assert.False(t, hub.Show(rw))
	look(t, r)
	require.True(t, hub.Show(anew))
	assert.NotEqual(t, wf.GetUID(), anew.GetUID())
	runOf(t, hub, anew)
}

func TestANewWorkflowOfTheNameOfOneThatWasLetGoRunsOnAnotherClusterAtOnce(t *testing.T) {
	r, hub, now := leaving(t, append(away(), gen.ManagedClusterSet(gen.GlobalSet), gen.ManagedClusterSetBinding(gen.GlobalSet),
		gen.ManagedCluster("cluster2"), gen.ManagedClusterAddOn("cluster2"))...)
	now.SetTime(now.Now().Add(15 * time.Minute))
	look(t, r)
	anew := gen.Workflow("hello", gen.WithCluster("cluster2"))
	require.NoError(t, hub.Create(t.Context(), anew))
	look(t, r)
	assert.Contains(t, hub.Writes(), "create ManifestWork cluster2/"+nameOf(anew))
}

func TestAnAnnotationLetsADeletedWorkflowGoAtOnce(t *testing.T) {
	for name, surroundings := range map[string][]client.Object{
		"its cluster is away":  away(),
		"its cluster is there": {gen.ManagedCluster(cluster), gen.ManagedClusterAddOn(cluster)},
		"its cluster is gone":  nil,
	} {
		t.Run(name, func(t *testing.T) {
			wf, rw, work := dispatched(gen.Deleting(), gen.WithAnnotations(map[string]string{contract.AnnotationRelease: "true"}))
			gen.WithFinalizers("work agent")(work)
			r, hub := newReconciler(t, append(surroundings, wf, rw, work)...)
			look(t, r)
			assert.Equal(t, []string{"delete RemoteWorkflow cluster1/" + rw.Name, "delete ManifestWork cluster1/" + rw.Name}, hub.Writes(),
				"first its cluster is told")
			before := fakehub.Counted(t, releases, byAnnotation)
			look(t, r)
			assert.InDelta(t, before+1, fakehub.Counted(t, releases, byAnnotation), 0)
			assert.False(t, hub.Show(wf))
			events := hub.Events()
			require.Len(t, events, 1)
			assert.Contains(t, events[0], "Warning ReleasedUnconfirmed")
			assert.Contains(t, events[0], "by the annotation "+contract.AnnotationRelease)
		})
	}
}

func TestADeletedWorkflowWithoutLabelIsWatchedAgainWhileItWaits(t *testing.T) {
	for name, surroundings := range map[string][]client.Object{
		"its cluster is away":  away(),
		"its cluster is there": {gen.ManagedCluster(cluster), gen.ManagedClusterAddOn(cluster)},
	} {
		t.Run(name, func(t *testing.T) {
			r, hub, _ := leaving(t, surroundings...)
			wf := gen.Workflow("hello")
			unlabel(t, hub, wf)
			assert.Equal(t, 15*time.Minute, look(t, r))
			assert.Equal(t, []string{"patch Workflow default/hello"}, hub.Writes()[1:])
			require.True(t, hub.Show(wf))
			assert.True(t, contract.IsOurs(wf))
			assert.Contains(
				t,
				strings.Join(hub.Events(), "\n"),
				"Warning LabelRestored label "+contract.LabelEnable+" restored: the Workflow waits for cluster cluster1",
			)

			assert.Equal(t, 15*time.Minute, look(t, r))
			assert.Len(t, hub.Writes(), 2, "it is restored once")
			assert.Empty(t, hub.Events())
		})
	}
}

func TestADeletedWorkflowWithoutLabelThatGoesIsNotWatchedAgain(t *testing.T) {
	r, hub, now := leaving(t, away()...)
	unlabel(t, hub, gen.Workflow("hello"))
	now.SetTime(now.Now().Add(15 * time.Minute))
	look(t, r)
	assert.Len(t, hub.Writes(), 2, "it is let go in one write")
	assert.False(t, hub.Show(gen.Workflow("hello")))
}

func TestAConflictWithADeletedWorkflowWithoutLabelIsTriedAgain(t *testing.T) {
	r, hub, _ := leaving(t, away()...)
	unlabel(t, hub, gen.Workflow("hello"))
	hub.Fail("patch Workflow", fakehub.Conflict())
	err := run(t, r, gen.Workflow("hello"))
	assert.True(t, apierrors.IsConflict(err), "nothing else brings the next try: %v", err)
	assert.Empty(t, hub.Events())
}

// unlabel removes the labels of a Workflow: the cache does not show it any more.
func unlabel(t *testing.T, hub *fakehub.Hub, wf *unstructured.Unstructured) {
	t.Helper()
	require.True(t, hub.Show(wf))
	before := wf.DeepCopy()
	wf.SetLabels(nil)
	require.NoError(t, hub.Patch(t.Context(), wf, client.MergeFrom(before)))
}

func TestAWaitThatBeginsAgainIsSaidAgain(t *testing.T) {
	r, hub, now := leaving(t, away()...)
	lost := func(status metav1.ConditionStatus) {
		t.Helper()
		managed := gen.ManagedCluster(cluster)
		require.True(t, hub.Show(managed))
		before := managed.DeepCopy()
		clusterAvailable(status)(managed)
		managed.Status.Conditions[len(managed.Status.Conditions)-1].LastTransitionTime = metav1.NewTime(now.Now())
		require.NoError(t, hub.Patch(t.Context(), managed, client.MergeFrom(before)))
	}
	look(t, r)
	assert.Len(t, hub.Events(), 1)
	now.SetTime(now.Now().Add(10 * time.Minute))
	lost(metav1.ConditionTrue)
	assert.Equal(t, 15*time.Minute, look(t, r), "from its return on")
	assert.Empty(t, hub.Events())
	lost(metav1.ConditionUnknown)
	assert.Equal(t, 15*time.Minute, look(t, r), "from its loss on")
	assert.Len(t, hub.Events(), 1)
}

func TestAWorkflowThatOnlyOthersKeepIsNotLetGoAgain(t *testing.T) {
	wf, rw, work := dispatched(gen.Deleting(), gen.WithAnnotations(map[string]string{contract.AnnotationRelease: "true"}))
	wf.SetFinalizers([]string{"somebody/else"})
	gen.Deleting()(rw)
	gen.WithFinalizers("work agent")(work)
	gen.Deleting()(work)
	r, hub := newReconciler(t, append(away(), wf, rw, work)...)
	look(t, r)
	assert.Empty(t, hub.Writes())
	assert.Empty(t, hub.Events())
}

func TestAnErrorWhileADeletedWorkflowWaitsIsReturnedAndSaysNothing(t *testing.T) {
	for _, call := range []string{"get ManagedCluster", "get ManagedClusterAddOn", "patch Workflow"} {
		t.Run(call, func(t *testing.T) {
			r, hub, now := leaving(t, away()...)
			now.SetTime(now.Now().Add(time.Hour))
			hub.Fail(call, apierrors.NewInternalError(errors.New("down")))
			before := fakehub.Counted(t, releases, byTimeout)
			err := run(t, r, gen.Workflow("hello"))
			assert.True(t, apierrors.IsInternalError(err), "got %v", err)
			assert.Empty(t, hub.Events())
			assert.InDelta(t, before, fakehub.Counted(t, releases, byTimeout), 0)
		})
	}
}

func TestAClusterWakesTheWorkflowsWhoseRunsAreToGoFromIt(t *testing.T) {
	r, hub, _ := leaving(t)
	stays := gen.RemoteWorkflow(gen.Workflow("stays"), cluster)
	require.NoError(t, hub.Create(t.Context(), stays))
	want := []ctrl.Request{{NamespacedName: client.ObjectKey{Namespace: gen.Namespace, Name: "hello"}}}
	assert.Equal(t, want, r.leaving(t.Context(), gen.ManagedCluster(cluster)))
	assert.Equal(t, want, r.leaving(t.Context(), gen.ManagedClusterAddOn(cluster)))
	assert.Empty(t, r.leaving(t.Context(), gen.ManagedCluster("cluster2")))
	hub.Fail("list RemoteWorkflow", errors.New("down"))
	assert.Empty(t, r.leaving(t.Context(), gen.ManagedCluster(cluster)))
}
