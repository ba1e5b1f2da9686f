package dispatch

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestADeletedWorkflowIsTakenBackStepByStep(t *testing.T) {
	wf, rw, work := dispatched(gen.Deleting())
	gen.WithFinalizers("work agent")(work)
	name := "cluster1/" + rw.Name
	r, hub := newReconciler(t, wf, rw, work)

	require.NoError(t, run(t, r, wf))
	assert.Equal(t, []string{"delete RemoteWorkflow " + name, "delete ManifestWork " + name}, hub.Writes())
	assert.Equal(t, rw.UID, hub.Last("delete RemoteWorkflow").UID)
	assert.Equal(t, work.UID, hub.Last("delete ManifestWork").UID)

	require.NoError(t, run(t, r, wf))
	assert.Len(t, hub.Writes(), 2, "while the ManifestWork lives, nothing is let go")

	releaseManifestWork(t, hub, work)
	require.NoError(t, run(t, r, wf))
	assert.Equal(t, []string{"patch RemoteWorkflow " + name, "patch Workflow default/hello"}, hub.Writes()[3:])
	assert.False(t, hub.Show(rw))
	assert.False(t, hub.Show(wf))

	writes := len(hub.Writes())
	require.NoError(t, run(t, r, wf))
	assert.Len(t, hub.Writes(), writes, "what is gone is gone")
}

func TestARunWithoutManifestWorkIsReleasedOnceItsDeletionIsSeen(t *testing.T) {
	wf, rw, _ := dispatched(gen.Deleting())
	r, hub := newReconciler(t, wf, rw)
	require.NoError(t, run(t, r, wf))
	assert.Equal(t, []string{"delete RemoteWorkflow cluster1/" + rw.Name}, hub.Writes())

	require.NoError(t, run(t, r, wf))
	assert.Equal(t, []string{"patch RemoteWorkflow cluster1/" + rw.Name, "patch Workflow default/hello"}, hub.Writes()[1:])
}

// releaseManifestWork does what the work agent does once the copy is gone.
func releaseManifestWork(t *testing.T, hub *fakehub.Hub, work *workv1.ManifestWork) {
	t.Helper()
	require.True(t, hub.Show(work))
	before := work.DeepCopy()
	work.Finalizers = nil
	require.NoError(t, hub.Patch(t.Context(), work, client.MergeFrom(before)))
	require.False(t, hub.Show(work))
}

func TestTheReleaseOfARemoteWorkflowIsLockedAndSparesOthersFinalizers(t *testing.T) {
	wf, rw, _ := dispatched(gen.Deleting())
	gen.WithFinalizers("somebody/else")(rw)
	gen.Deleting()(rw)
	r, hub := newReconciler(t, wf, rw)
	require.True(t, hub.Show(rw))
	require.NoError(t, run(t, r, wf))
	assert.Equal(t, map[string]any{"metadata": map[string]any{
		"finalizers": []any{"somebody/else"}, "resourceVersion": rw.ResourceVersion,
	}}, hub.PatchOf("RemoteWorkflow"))
	assert.False(t, hub.Show(wf), "others do not keep the Workflow")
}

func TestAReleaseOnAnOutdatedReadIsTriedAgainWithTheNextEvent(t *testing.T) {
	wf, rw, _ := dispatched(gen.Deleting())
	gen.Deleting()(rw)
	r, hub := newReconciler(t, wf, rw)
	hub.Fail("patch RemoteWorkflow", fakehub.Conflict())
	require.NoError(t, run(t, r, wf))
	assert.True(t, hub.Show(wf), "the Workflow stays as long as its run")
}

func TestAManifestWorkThatOnlyTheCacheLacksKeepsTheRun(t *testing.T) {
	wf, rw, work := dispatched(gen.Deleting())
	gen.WithFinalizers("work agent")(work)
	gen.Deleting()(work)
	gen.Deleting()(rw)
	r, hub := newReconciler(t, wf, rw, work)
	hub.Lag("get ManifestWork")
	hub.Lag("list ManifestWork")
	require.NoError(t, run(t, r, wf))
	assert.Empty(t, hub.Writes())
}

func TestARunThatTheCacheDoesNotShowYetIsTakenBack(t *testing.T) {
	wf, rw, work := dispatched(gen.Deleting())
	r, hub := newReconciler(t, wf, rw, work)
	hub.Lag("list RemoteWorkflow")
	require.NoError(t, run(t, r, wf))
	assert.Equal(t, []string{"delete RemoteWorkflow cluster1/" + rw.Name, "delete ManifestWork cluster1/" + rw.Name}, hub.Writes())
	assert.True(t, hub.Show(wf))
}

func TestADeletedWorkflowThatWasNeverSentIsLetGo(t *testing.T) {
	for name, mods := range map[string][]gen.Mod{
		"assigned":   {gen.WithAssignment(cluster)},
		"unassigned": nil,
	} {
		t.Run(name, func(t *testing.T) {
			wf := gen.Workflow("hello", append(mods, gen.WithFinalizers(contract.FinalizerDispatch), gen.Deleting())...)
			r, hub := newReconciler(t, append(surroundings(), wf)...)
			require.NoError(t, run(t, r, wf))
			assert.Equal(t, []string{"patch Workflow default/hello"}, hub.Writes())
			assert.False(t, hub.Show(wf))
		})
	}
}

func TestOfOneNameOnlyTheWorkflowThatIsThereKeepsItsRun(t *testing.T) {
	earlier, earlierRun, earlierWork := dispatched(gen.WithUID("earlier"))
	wf, rw, work := dispatched()
	require.NotEqual(t, earlierRun.Name, rw.Name)
	r, hub := newReconciler(t, append(surroundings(), wf, rw, work, earlierRun, earlierWork)...)
	require.NoError(t, run(t, r, wf))
	assert.Equal(t, []string{
		"delete RemoteWorkflow cluster1/" + nameOf(earlier), "delete ManifestWork cluster1/" + nameOf(earlier),
	}, hub.Writes())

	asked := hub.Calls("live get Workflow")
	require.NoError(t, run(t, r, wf))
	assert.Equal(t, asked, hub.Calls("live get Workflow"), "the API server is not asked about what is being deleted already")
}

func TestARunIsNotTakenBackForACacheThatLags(t *testing.T) {
	// After a change of leaders: the run is the later Workflow's, and the cache still shows the earlier one.
	earlier := gen.Workflow("hello", gen.WithUID("earlier"), gen.WithAssignment(cluster))
	_, rw, work := dispatched()
	r, hub := newReconciler(t, append(surroundings(), earlier, rw, work)...)
	later := gen.Workflow("hello", gen.WithAssignment(cluster))
	r.Live = fakehub.New(t, nil, later).Live
	require.NoError(t, run(t, r, earlier))
	assert.Empty(t, hub.Writes())
	assert.True(t, hub.Show(rw))
	assert.True(t, hub.Show(work))
}

func TestTheRunOfAWorkflowThatOnlyTheCacheShowsDoesNotBringItBack(t *testing.T) {
	// The cache shows an earlier Workflow that went to another cluster, where nothing has its name.
	earlier := gen.Workflow("hello", gen.WithUID("earlier"), gen.WithAssignment("cluster2"))
	_, rw, work := dispatched()
	r, hub := newReconciler(
		t,
		append(surroundings(), gen.ManagedCluster("cluster2"), gen.ManagedClusterAddOn("cluster2"), earlier, rw, work)...)
	r.Live = fakehub.New(t, nil, gen.Workflow("hello", gen.WithAssignment(cluster))).Live
	require.NoError(t, run(t, r, earlier))
	assert.Empty(t, hub.Writes())
}

func TestTheRunOfAWorkflowThatIsGoneGoesOnlyIfTheAPIServerConfirms(t *testing.T) {
	wf, rw, work := dispatched()
	t.Run("it is gone", func(t *testing.T) {
		r, hub := newReconciler(t, rw, work)
		require.NoError(t, run(t, r, wf))
		assert.Equal(t, []string{"delete RemoteWorkflow cluster1/" + rw.Name, "delete ManifestWork cluster1/" + rw.Name}, hub.Writes())
	})
	t.Run("the cache only does not show it", func(t *testing.T) {
		r, hub := newReconciler(t, wf, rw, work)
		hub.Lag("get Workflow")
		require.NoError(t, run(t, r, wf))
		assert.Empty(t, hub.Writes())
	})
	t.Run("the API server does not answer", func(t *testing.T) {
		r, hub := newReconciler(t, rw, work)
		hub.Fail("live get Workflow", apierrors.NewServiceUnavailable("down"))
		assert.True(t, apierrors.IsServiceUnavailable(run(t, r, wf)))
		assert.Empty(t, hub.Writes())
	})
}

func TestAnErrorWhileTakingBackIsReturnedAndLetsNothingGo(t *testing.T) {
	tests := map[string]struct {
		call string
		mods func(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) []client.Object
	}{
		"the RemoteWorkflow cannot be deleted": {"delete RemoteWorkflow", withWork},
		"the ManifestWork cannot be read":      {"live get ManifestWork", withWork},
		"the ManifestWork cannot be deleted":   {"delete ManifestWork", withWork},
		"the RemoteWorkflow cannot be looked for": {
			"live get RemoteWorkflow",
			func(*v1alpha1.RemoteWorkflow, *unstructured.Unstructured) []client.Object {
				return nil
			},
		},
		"the RemoteWorkflow cannot be released": {
			"patch RemoteWorkflow",
			func(rw *v1alpha1.RemoteWorkflow, _ *unstructured.Unstructured) []client.Object {
				gen.Deleting()(rw)
				return []client.Object{rw}
			},
		},
		"an earlier Workflow's run cannot be looked up":  {"live get Workflow", withEarlierRun},
		"an earlier Workflow's run cannot be taken back": {"delete RemoteWorkflow", withEarlierRun},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wf, rw, _ := dispatched(gen.Deleting())
			r, hub := newReconciler(t, append(test.mods(rw, wf), wf)...)
			hub.Fail(test.call, apierrors.NewInternalError(errors.New("down")))
			err := run(t, r, wf)
			assert.True(t, apierrors.IsInternalError(err), "the cause must be kept: %v", err)
			require.True(t, hub.Show(wf))
			assert.Contains(t, wf.GetFinalizers(), contract.FinalizerDispatch)
		})
	}
}

func withWork(rw *v1alpha1.RemoteWorkflow, _ *unstructured.Unstructured) []client.Object {
	return []client.Object{rw, gen.ManifestWork(rw)}
}

func withEarlierRun(_ *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) []client.Object {
	earlier := wf.DeepCopy()
	earlier.SetUID("earlier")
	return []client.Object{gen.RemoteWorkflow(earlier, cluster)}
}
