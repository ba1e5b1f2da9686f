package dispatch

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clocktesting "k8s.io/utils/clock/testing"
	workv1 "open-cluster-management.io/api/work/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func remoteDeleted(status metav1.ConditionStatus) gen.Mod {
	return gen.WithCondition(v1alpha1.ConditionRemoteDeleted, status, v1alpha1.ReasonDeletedFinished, "it was deleted")
}

func withdrawn() gen.Mod {
	return gen.WithCondition(v1alpha1.ConditionRemoteDeleted, metav1.ConditionTrue, v1alpha1.ReasonWithdrawn, "it was removed")
}

func TestMayStillStart(t *testing.T) {
	tests := map[string]struct {
		wf   []gen.Mod
		rw   []gen.Mod
		want bool
	}{
		"nothing has been heard of it": {nil, nil, true},
		"it waits":                     {[]gen.Mod{gen.WithHubStatus("Pending")}, nil, true},
		"it ran":                       {[]gen.Mod{gen.WithHubStatus("Running")}, nil, false},
		"it ended":                     {[]gen.Mod{gen.WithHubStatus("Succeeded")}, nil, false},
		"a copy has been recorded":     {nil, []gen.Mod{gen.WithRemoteUID("remote")}, false},
		"its copy was deleted":         {nil, []gen.Mod{remoteDeleted(metav1.ConditionTrue)}, false},
		"its copy was not deleted":     {nil, []gen.Mod{remoteDeleted(metav1.ConditionFalse)}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wf := gen.Workflow("hello", test.wf...)
			assert.Equal(t, test.want, mayStillStart(wf, gen.RemoteWorkflow(wf, cluster, test.rw...)))
		})
	}
}

func TestARunWhoseRemoteWorkflowSomebodyDeletedEndsBeforeItIsLetGo(t *testing.T) {
	tests := map[string]struct {
		phase     string
		remoteUID gen.Mod
		gone      bool
	}{
		"it never started: it may start again":  {"", gen.WithRemoteUID(""), true},
		"a copy was recorded: its end is first": {"", gen.WithRemoteUID("remote"), false},
		"it runs: its end is first":             {"Running", gen.WithRemoteUID("remote"), false},
		"its end is on the Workflow":            {"Error", gen.WithRemoteUID("remote"), true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wf, rw, _ := dispatched()
			if test.phase != "" {
				gen.WithHubStatus(test.phase)(wf)
			}
			test.remoteUID(rw)
			withdrawn()(rw)
			gen.Deleting()(rw)
			r, hub := newReconciler(t, append(surroundings(), wf, rw)...)
			require.NoError(t, run(t, r, wf))
			assert.Equal(t, test.gone, !hub.Show(rw), "the RemoteWorkflow is gone")
		})
	}
}

func TestADispatchedWorkflowIsLeftAlone(t *testing.T) {
	wf, rw, work := dispatched()
	r, hub := newReconciler(t, append(surroundings(), wf, rw, work)...)
	require.NoError(t, run(t, r, wf))
	assert.Empty(t, hub.Writes())
	assert.Empty(t, hub.Events())
	assert.Zero(t, hub.Calls("live get Workflow")+hub.Calls("live get RemoteWorkflow")+hub.Calls("live get ManifestWork"),
		"in the ordinary case the API server is not asked")
}

func TestAManifestWorkThatIsMissingIsCreatedOnlyIfNothingHasRun(t *testing.T) {
	t.Run("nothing has", func(t *testing.T) {
		wf, rw, _ := dispatched(gen.WithHubStatus("Pending"))
		r, hub := newReconciler(t, append(surroundings(), wf, rw)...)
		require.NoError(t, run(t, r, wf))
		assert.Equal(t, []string{"create ManifestWork cluster1/" + rw.Name}, hub.Writes())
		_, work := runOf(t, hub, wf)
		assert.Equal(t, rw.UID, work.OwnerReferences[0].UID)
	})
	t.Run("a copy has", func(t *testing.T) {
		wf, rw, _ := dispatched()
		rw.Status.RemoteUID = "remote"
		r, hub := newReconciler(t, append(surroundings(), wf, rw)...)
		require.NoError(t, run(t, r, wf))
		assert.Empty(t, hub.Writes())
	})
	t.Run("it does not fit any more", func(t *testing.T) {
		wf, rw, _ := dispatched(withSpec("hello"))
		r, hub := newReconciler(t, append(surroundings(), wf, rw)...)
		require.ErrorContains(t, run(t, r, wf), "build ManifestWork")
		assert.Empty(t, hub.Writes())
	})
}

func TestARunGoesWithItsClusterOnceOCMHasRemovedTheManifestWork(t *testing.T) {
	leaving := gen.ManagedCluster(cluster, gen.WithFinalizers("OCM's"), gen.Deleting())
	for name, test := range map[string]struct {
		clusters []client.Object
		mods     []gen.Mod
		// ended is whether the Workflow bears its end before the RemoteWorkflow may go: the status package sees to that.
		ended bool
		want  string
	}{
		"it never started, the cluster is being detached": {[]client.Object{leaving}, nil, false, `managed cluster "cluster1" is being detached`},
		"it never started, the cluster is gone":           {nil, nil, false, `waiting for managed cluster "cluster1": the hub has none of this name`},
		"it ran":                                          {[]client.Object{leaving}, []gen.Mod{gen.WithHubStatus("Running")}, true, ""},
		"it has finished":                                 {nil, []gen.Mod{gen.WithHubStatus("Succeeded")}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			wf, rw, _ := dispatched(test.mods...)
			r, hub := newReconciler(t, append(test.clusters, wf, rw)...)
			require.NoError(t, run(t, r, wf))
			assert.Equal(t, []string{"delete RemoteWorkflow cluster1/" + rw.Name}, hub.Writes(), "nothing is sent to a cluster that goes")
			require.NoError(t, run(t, r, wf))
			if test.ended {
				require.True(t, hub.Show(rw), "nobody has said yet how the run ended")
				require.True(t, hub.Show(wf))
				_, err := hubcopy.Write(t.Context(), hub, wf, map[string]any{"phase": "Error"})
				require.NoError(t, err)
				require.NoError(t, run(t, r, wf))
			}
			assert.False(t, hub.Show(rw), "the cluster's namespace cannot go")

			require.NoError(t, run(t, r, wf))
			require.True(t, hub.Show(wf), "a user's Workflow stays")
			assert.Equal(t, test.want, contract.StatusString(contract.Status(wf), "message"))
			assert.Zero(t, hub.Calls("create RemoteWorkflow")+hub.Calls("create ManifestWork"))
		})
	}
}

func TestAnUnstartedRunGoesOnOnceItsClusterIsBack(t *testing.T) {
	wf, _, _ := dispatched(gen.WithHubStatus("Pending", map[string]any{"message": "managed cluster is gone"}))
	r, hub := newReconciler(t, append(surroundings(), wf)...)
	require.NoError(t, run(t, r, wf))
	rw, _ := runOf(t, hub, wf)
	assert.Equal(t, nameOf(wf), rw.Name)
}

func TestAManifestWorkThatTheCacheDoesNotShowYetIsNotCreatedAgain(t *testing.T) {
	wf, rw, work := dispatched()
	r, hub := newReconciler(t, append(surroundings(), wf, rw, work)...)
	hub.Lag("get ManifestWork")
	require.NoError(t, run(t, r, wf))
	assert.Empty(t, hub.Writes())
}

func TestTheManifestWorkOfACopyThatWasDeletedRemotelyIsRemovedForGood(t *testing.T) {
	wf, rw, work := dispatched(gen.WithHubStatus("Pending"))
	remoteDeleted(metav1.ConditionTrue)(rw)
	r, hub := newReconciler(t, append(surroundings(), wf, rw, work)...)
	require.NoError(t, run(t, r, wf))
	assert.Equal(t, []string{"delete ManifestWork cluster1/" + rw.Name}, hub.Writes())
	assert.Equal(t, work.UID, hub.Last("delete ManifestWork").UID)

	require.NoError(t, run(t, r, wf))
	assert.Len(t, hub.Writes(), 1, "it is never created again")
}

func TestAManifestWorkThatIsOnItsWayOutIsNotDeletedAgain(t *testing.T) {
	wf, rw, work := dispatched()
	remoteDeleted(metav1.ConditionTrue)(rw)
	gen.WithFinalizers("work agent")(work)
	gen.Deleting()(work)
	r, hub := newReconciler(t, append(surroundings(), wf, rw, work)...)
	require.NoError(t, run(t, r, wf))
	assert.Empty(t, hub.Writes())
}

func TestACopyThatCannotBeCreatedIsTriedAgainAtGrowingIntervals(t *testing.T) {
	wf, rw, work := dispatched(gen.WithHubStatus("Pending"))
	since := time.Now().Truncate(time.Second)
	applyFailed(since)(work)
	r, hub := newReconciler(t, append(surroundings(), wf, rw, work)...)
	now := clocktesting.NewFakePassiveClock(since.Add(5 * time.Second))
	r.Clock = now

	var waits []time.Duration
	for range 7 {
		result, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(wf)})
		require.NoError(t, err)
		waits = append(waits, result.RequeueAfter)
		now.SetTime(now.Now().Add(result.RequeueAfter))
	}
	assert.Equal(t, []time.Duration{
		10 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 2 * time.Minute, 2 * time.Minute,
	}, waits, "first until the failure is 15 s old, then for as long as it has lasted, and at most 2 minutes")
	assert.Len(t, hub.Writes(), 6, "the first time it was too early")
	assert.Equal(t, map[string]any{"metadata": map[string]any{"labels": map[string]any{
		contract.LabelApplyRetried: strconv.FormatInt(since.Add(6*time.Minute).Unix(), 10),
	}}}, hub.PatchOf("ManifestWork"))
}

func TestACopyThatWasCreatedIsNotTriedAgain(t *testing.T) {
	wf, rw, work := dispatched(gen.WithHubStatus("Pending"))
	work.Status.Conditions = []metav1.Condition{{Type: workv1.WorkApplied, Status: metav1.ConditionTrue}}
	r, hub := newReconciler(t, append(surroundings(), wf, rw, work)...)
	require.NoError(t, run(t, r, wf))
	assert.Empty(t, hub.Writes())
}

func TestACopyThatHasRunIsNotTriedAgain(t *testing.T) {
	wf, rw, work := dispatched(gen.WithHubStatus("Succeeded"))
	applyFailed(time.Now().Add(-time.Hour))(work)
	r, hub := newReconciler(t, append(surroundings(), wf, rw, work)...)
	require.NoError(t, run(t, r, wf))
	assert.Empty(t, hub.Writes())
}

func TestARetryThatCannotBeAskedForIsAnError(t *testing.T) {
	wf, rw, work := dispatched(gen.WithHubStatus("Pending"))
	applyFailed(time.Now().Add(-time.Hour))(work)
	r, hub := newReconciler(t, append(surroundings(), wf, rw, work)...)
	hub.Fail("patch ManifestWork", errors.New("down"))
	require.ErrorContains(t, run(t, r, wf), "label ManifestWork: down")
}

// applyFailed makes a ManifestWork say that the work agent cannot create the copy.
func applyFailed(since time.Time) gen.Mod {
	return func(obj client.Object) {
		obj.(*workv1.ManifestWork).Status.Conditions = []metav1.Condition{{
			Type: workv1.WorkApplied, Status: metav1.ConditionFalse, Message: "no", LastTransitionTime: metav1.NewTime(since),
		}}
	}
}

func TestAConflictIsLeftToTheWatchUnlessItIsOfAWorkflowThatIsNotWatched(t *testing.T) {
	for name, test := range map[string]struct {
		labels  map[string]string
		watched bool
	}{
		"with the label, changed":   {map[string]string{contract.LabelEnable: "false"}, true},
		"with the label removed":    {nil, false},
		"with other labels instead": {map[string]string{"team": "a"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			wf, rw, work := dispatched()
			wf.SetLabels(test.labels)
			r, hub := newReconciler(t, append(surroundings(), wf, rw, work)...)
			hub.Fail("patch Workflow", fakehub.Conflict())
			if !test.watched {
				hub.Lag("get Workflow") // the cache has only those with the label
			}
			err := run(t, r, wf)
			assert.Equal(t, []string{"patch Workflow default/hello"}, hub.Writes())
			if test.watched {
				require.NoError(t, err)
			} else {
				require.True(t, apierrors.IsConflict(err), "nothing else brings the next try: %v", err)
			}
		})
	}
}

func TestTheLabelOfADispatchedWorkflowIsRestored(t *testing.T) {
	for name, change := range map[string]func(*unstructured.Unstructured){
		"removed": func(wf *unstructured.Unstructured) { wf.SetLabels(nil) },
		"changed": func(wf *unstructured.Unstructured) { wf.SetLabels(map[string]string{contract.LabelEnable: "false"}) },
	} {
		t.Run(name, func(t *testing.T) {
			wf, rw, work := dispatched()
			change(wf)
			r, hub := newReconciler(t, append(surroundings(), wf, rw, work)...)
			if name == "removed" {
				hub.Lag("get Workflow") // the cache has only those with the label
			}
			require.NoError(t, run(t, r, wf))
			assert.Equal(t, []string{"patch Workflow default/hello"}, hub.Writes())
			require.True(t, hub.Show(wf))
			assert.True(t, contract.IsOurs(wf))
			events := hub.Events()
			require.Len(t, events, 1)
			assert.Contains(t, events[0], "Warning LabelRestored")
			assert.Contains(t, events[0], "cluster1")
		})
	}
}

func TestTheAssignmentOfADispatchedWorkflowIsRestored(t *testing.T) {
	assigned := func(wf *unstructured.Unstructured, value string) gen.Mod {
		return gen.WithAnnotations(map[string]string{contract.AnnotationAssigned: string(wf.GetUID()) + value})
	}
	for name, change := range map[string]func(*unstructured.Unstructured){
		"the cluster was changed":    func(wf *unstructured.Unstructured) { gen.WithCluster("cluster2")(wf) },
		"the assignment was changed": func(wf *unstructured.Unstructured) { assigned(wf, "/1/cluster2")(wf) },
		"the attempt was changed":    func(wf *unstructured.Unstructured) { assigned(wf, "/2/cluster1")(wf) },
		"all were removed":           func(wf *unstructured.Unstructured) { wf.SetAnnotations(map[string]string{"mine": "kept"}) },
	} {
		t.Run(name, func(t *testing.T) {
			wf, rw, work := dispatched()
			change(wf)
			r, hub := newReconciler(t, append(surroundings(), wf, rw, work)...)
			require.True(t, hub.Show(wf))
			require.NoError(t, run(t, r, wf))
			assert.Equal(t, map[string]any{"metadata": map[string]any{
				"annotations": map[string]any{
					contract.AnnotationCluster: cluster, contract.AnnotationAssigned: string(wf.GetUID()) + "/1/cluster1",
				},
				"resourceVersion": wf.GetResourceVersion(),
			}}, hub.PatchOf("Workflow"))
			assert.Len(t, hub.Writes(), 1)
			events := hub.Events()
			require.Len(t, events, 1)
			assert.Contains(t, events[0], "Warning ClusterRestored")
			assert.Contains(t, events[0], "cannot move")
		})
	}
}

func TestARestorationThatCouldNotBeWrittenIsNotTold(t *testing.T) {
	wf, rw, work := dispatched(gen.WithCluster("cluster2"))
	wf.SetAnnotations(map[string]string{contract.AnnotationCluster: "cluster2"})
	for _, test := range []struct{ answer, want error }{{errors.New("down"), errors.New("down")}, {fakehub.Conflict(), nil}} {
		r, hub := newReconciler(t, append(surroundings(), wf, rw, work)...)
		hub.Fail("patch Workflow", test.answer)
		if err := run(t, r, wf); test.want != nil {
			require.ErrorContains(t, err, test.want.Error())
		} else {
			require.NoError(t, err)
		}
		assert.Empty(t, hub.Events())
	}
}

func TestAnErrorWhileKeepingIsReturned(t *testing.T) {
	for _, call := range []string{"get ManifestWork", "delete ManifestWork"} {
		t.Run(call, func(t *testing.T) {
			wf, rw, work := dispatched()
			remoteDeleted(metav1.ConditionTrue)(rw)
			r, hub := newReconciler(t, append(surroundings(), wf, rw, work)...)
			hub.Fail(call, apierrors.NewInternalError(errors.New("down")))
			err := run(t, r, wf)
			assert.True(t, apierrors.IsInternalError(err), "the cause must be kept: %v", err)
		})
	}
	t.Run("create ManifestWork", func(t *testing.T) {
		wf, rw, _ := dispatched()
		r, hub := newReconciler(t, append(surroundings(), wf, rw)...)
		hub.Fail("create ManifestWork", apierrors.NewInternalError(errors.New("down")))
		assert.True(t, apierrors.IsInternalError(run(t, r, wf)))
	})
}
