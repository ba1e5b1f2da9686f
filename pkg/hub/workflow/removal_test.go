package workflow

import (
	"cmp"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/cluster"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

const releasedMetric = "released_unconfirmed_total"

func TestHowLongADeletedWorkflowWaitsForItsCluster(t *testing.T) {
	deleted := gen.Time.Time
	lostAt := func(at time.Time) func(*snapshot) {
		return on(func(c *cluster.Cluster) {
			c.Managed = gen.ManagedCluster(cluster1, clusterAvailable(metav1.ConditionUnknown))
			for i := range c.Managed.Status.Conditions {
				c.Managed.Status.Conditions[i].LastTransitionTime = metav1.NewTime(at)
			}
		})
	}
	noLimit := func(s *snapshot) { s.deletionTimeout = 0 }
	byItsOwnWord := on(func(c *cluster.Cluster) {
		c.Managed = gen.ManagedCluster(cluster1, clusterAvailable(metav1.ConditionFalse))
		for i := range c.Managed.Status.Conditions {
			c.Managed.Status.Conditions[i].LastTransitionTime = metav1.NewTime(deleted.Add(1000 * time.Hour))
		}
	})
	waits, isReleased := reasonDeletionWaits, reasonReleased
	tests := map[string]struct {
		mods    []gen.Mod
		changes []func(*snapshot)
		want    wanted
		parts   []string
	}{
		"that can be reached: without a word at first": {nil, []func(*snapshot){after(timeout - 1)}, wanted{action: wait, within: 1}, nil},
		"then without limit, and says so": {nil, []func(*snapshot){after(timeout)}, wanted{action: wait, reason: waits}, []string{
			"waiting for cluster cluster1 to remove the remote Workflow default/hello: the cluster is available, and has not done so since 2026-01-02T15:04:05Z",
			"goes when that is done; the annotation", `workflows.argoproj.io/ocm-release: "true" removes it at once`,
		}},
		"without a timeout: without a word at first": {nil, []func(*snapshot){noLimit}, wanted{action: wait, within: DefaultDeletionTimeout}, nil},
		"without a timeout, then says so": {
			nil, []func(*snapshot){noLimit, after(DefaultDeletionTimeout)}, wanted{action: wait, reason: waits}, []string{"the cluster is available"},
		},
		"that was lost before: from the deletion on": {
			nil, []func(*snapshot){lostAt(deleted.Add(-time.Hour))}, wanted{action: wait, reason: waits, within: timeout}, []string{
				"the cluster is not available", "or at 2026-01-02T15:19:05Z", contract.AnnotationRelease,
			},
		},
		"that was lost later: from its loss on": {
			nil, []func(*snapshot){lostAt(deleted.Add(time.Hour)), after(time.Hour)}, wanted{action: wait, reason: waits, within: timeout},
			[]string{"or at 2026-01-02T16:19:05Z"},
		},
		"that says itself that it is not well: from the deletion on, by the hub's clock": {
			nil, []func(*snapshot){byItsOwnWord}, wanted{action: wait, reason: waits, within: timeout}, []string{"or at 2026-01-02T15:19:05Z"},
		},
		"not up to the timeout":  {nil, []func(*snapshot){lost, after(timeout - 1)}, wanted{action: wait, reason: waits, within: 1}, nil},
		"at the timeout no more": {nil, []func(*snapshot){lost, after(timeout)}, wanted{action: release, reason: isReleased, metric: byTimeout}, nil},
		"whose agent is lost":    {nil, []func(*snapshot){agentLost}, wanted{action: wait, reason: waits, within: timeout}, []string{"no lease"}},
		"whose agent is lost, at the timeout no more": {
			nil, []func(*snapshot){agentLost, after(timeout)}, wanted{action: release, reason: isReleased, metric: byTimeout}, nil,
		},
		"that is lost, without a timeout: for ever": {
			nil, []func(*snapshot){noLimit, lost, after(1000 * time.Hour)}, wanted{action: wait, reason: waits}, []string{"goes when that is done; the annotation"},
		},
		"not at all, as its user says": {
			[]gen.Mod{released()}, nil, wanted{action: release, reason: isReleased, metric: byAnnotation}, []string{"by the annotation " + contract.AnnotationRelease},
		},
		"nor if it is lost": {[]gen.Mod{released()}, []func(*snapshot){lost}, wanted{action: release, reason: isReleased, metric: byAnnotation}, nil},
		"as ever, if its user says another word": {
			[]gen.Mod{gen.WithAnnotations(map[string]string{contract.AnnotationRelease: "yes"})}, nil, wanted{action: wait, within: timeout}, nil,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wf := assigned(append(test.mods, gen.Deleting())...)
			s := scene(wf, append([]func(*snapshot){own(claimed(), removing(terminate), gen.Deleting())}, test.changes...)...)
			check(t, s, test.want)
			for _, part := range test.parts {
				assert.Contains(t, decide(s).why.Message, part)
			}
		})
	}
}

func TestOnAClusterWithoutAgentNoAgentIsWaitedFor(t *testing.T) {
	wf := assigned(gen.Deleting())
	s := scene(wf, own(withoutAgent(), gen.Deleting()), delivered(), noAgent)
	check(t, s, wanted{action: wait, within: timeout})
	lost(s)
	check(t, s, wanted{action: wait, reason: reasonDeletionWaits, within: timeout})
}

func TestADeletedWorkflowThatRunsIsRemovedStepByStep(t *testing.T) {
	wf := assigned(gen.Deleting(), gen.WithHubStatus("Running"))
	rw := attemptOf(wf, gen.WithReport(running()))
	r, hub, _ := newReconciler(t, append(surroundings(), wf, rw)...)
	name := "cluster1/" + rw.Name
	run(t, r)
	assert.Equal(t, []string{"patch RemoteWorkflow " + name, "delete RemoteWorkflow " + name}, hub.Writes(), "it is said before it is done")
	assert.Equal(t, map[string]any{"spec": map[string]any{"removal": "Terminate"}}, hub.PatchOf("RemoteWorkflow"))
	assert.Equal(t, rw.UID, hub.Last("delete RemoteWorkflow").UID)
	assert.Empty(t, hub.Last("delete RemoteWorkflow").ResourceVersion, "the agent goes on reporting")

	assert.Equal(t, timeout, run(t, r))
	assert.Len(t, hub.Writes(), 2, "its agent is at it")

	require.True(t, hub.Show(rw))
	before := rw.DeepCopy()
	gone(v1alpha1.ReasonRemoved)(rw)
	require.NoError(t, hub.Status().Patch(t.Context(), rw, client.MergeFrom(before)))
	run(t, r)
	assert.Equal(t, []string{"patch RemoteWorkflow " + name, "patch Workflow default/hello"}, hub.Writes()[2:])
	assert.False(t, hub.Show(rw))
	assert.False(t, hub.Show(wf))
	assert.Empty(t, hub.Events())

	run(t, r)
	assert.Len(t, hub.Writes(), 4, "what is gone is gone")
}

func TestADeletedWorkflowThatNothingHasClaimedIsTakenBackInTheVersionInWhichNothingHad(t *testing.T) {
	wf := assigned(gen.Deleting())
	rw := attemptOf(wf)
	work := gen.ManifestWork(rw)
	r, hub, _ := newReconciler(t, append(surroundings(), wf, rw, work)...)
	require.True(t, hub.Show(rw))
	version := rw.ResourceVersion
	run(t, r)
	assert.Equal(t, []string{"delete RemoteWorkflow cluster1/" + rw.Name}, hub.Writes())
	assert.Equal(t, rw.UID, hub.Last("delete RemoteWorkflow").UID)
	assert.Equal(t, version, hub.Last("delete RemoteWorkflow").ResourceVersion)

	run(t, r)
	assert.Len(t, hub.Writes(), 1, "while a delivery lists it, it may be created and claimed")

	require.NoError(t, hub.Delete(t.Context(), work))
	require.True(t, hub.Show(rw))
	version = rw.ResourceVersion
	run(t, r)
	assert.Equal(t, []string{"patch RemoteWorkflow cluster1/" + rw.Name, "patch Workflow default/hello"}, hub.Writes()[2:])
	assert.Equal(t, map[string]any{"metadata": map[string]any{"finalizers": nil, "resourceVersion": version}}, hub.PatchOf("RemoteWorkflow"))
	assert.False(t, hub.Show(rw))
	assert.False(t, hub.Show(wf))
}

func TestWhatIsClaimedWhileItIsTakenBackHasStarted(t *testing.T) {
	claim := func(t *testing.T, hub *fakehub.Hub, rw *v1alpha1.RemoteWorkflow) func() error {
		t.Helper()
		return func() error {
			live := rw.DeepCopy()
			require.True(t, hub.Show(live))
			if live.Status.RemoteUID == "" {
				before := live.DeepCopy()
				live.Status.RemoteUID = remoteUID
				require.NoError(t, hub.Status().Patch(t.Context(), live, client.MergeFrom(before)))
			}
			return nil
		}
	}
	t.Run("before its deletion", func(t *testing.T) {
		wf := assigned(gen.Deleting())
		rw := attemptOf(wf)
		r, hub, _ := newReconciler(t, append(surroundings(), wf, rw)...)
		hub.On("delete RemoteWorkflow", claim(t, hub, rw))
		_, err := try(t, r)
		require.True(t, apierrors.IsConflict(err), "it is tried again, as one that runs: %v", err)
		require.True(t, hub.Show(rw))
		assert.Nil(t, rw.DeletionTimestamp)
		run(t, r)
		require.True(t, hub.Show(rw))
		assert.Equal(t, terminate, rw.Spec.Removal)
	})
	t.Run("before its finalizer goes", func(t *testing.T) {
		wf := assigned(gen.Deleting())
		rw := attemptOf(wf, gen.Deleting())
		r, hub, _ := newReconciler(t, append(surroundings(), wf, rw)...)
		hub.On("patch RemoteWorkflow", claim(t, hub, rw))
		_, err := try(t, r)
		require.True(t, apierrors.IsConflict(err), "got %v", err)
		assert.Contains(t, shows(t, hub).GetFinalizers(), contract.FinalizerDispatch, "the Workflow stays as long as its attempt")
		require.True(t, hub.Show(rw))

		run(t, r)
		require.True(t, hub.Show(rw), "now it is removed as what runs")
		assert.Equal(t, terminate, rw.Spec.Removal)
	})
}

func TestOthersFinalizersStayAndDoNotKeepTheWorkflow(t *testing.T) {
	wf := assigned(gen.Deleting())
	rw := attemptOf(wf, gen.Deleting(), gen.WithFinalizers("somebody/else"))
	r, hub, _ := newReconciler(t, append(surroundings(), wf, rw)...)
	run(t, r)
	require.True(t, hub.Show(rw))
	assert.Equal(t, []string{"somebody/else"}, rw.Finalizers)
	assert.False(t, hub.Show(wf))
}

func TestADeletedWorkflowThatTheCacheShowsNoAttemptOfIsLetGoOnlyIfTheAPIServerHasNone(t *testing.T) {
	wf := assigned(gen.Deleting())
	rw := attemptOf(wf)
	t.Run("it has one", func(t *testing.T) {
		r, hub, _ := newReconciler(t, append(surroundings(), wf, rw)...)
		hub.Lag("list RemoteWorkflow")
		run(t, r)
		assert.Equal(t, []string{"delete RemoteWorkflow cluster1/" + rw.Name}, hub.Writes())
		assert.True(t, hub.Show(wf))
	})
	t.Run("it has none", func(t *testing.T) {
		r, hub, _ := newReconciler(t, append(surroundings(), wf)...)
		run(t, r)
		assert.Equal(t, []string{"patch Workflow default/hello"}, hub.Writes())
		assert.False(t, hub.Show(wf))
		assert.Empty(t, hub.Events())
	})
	t.Run("it does not answer", func(t *testing.T) {
		r, hub, _ := newReconciler(t, append(surroundings(), wf)...)
		hub.Fail("live get RemoteWorkflow", apierrors.NewServiceUnavailable("down"))
		_, err := try(t, r)
		assert.True(t, apierrors.IsServiceUnavailable(err), "got %v", err)
		assert.Empty(t, hub.Writes())
	})
}

func TestWithoutAnAgentTheEndOfTheManifestWorkIsThatOfTheRemoteWorkflow(t *testing.T) {
	wf := assigned(gen.Deleting(), gen.WithHubStatus("Running"))
	rw := attemptOf(wf, withoutAgent(), gen.Deleting())
	work := gen.ManifestWork(rw)
	around := append(binding(), gen.ManagedCluster(cluster1, gen.WithLabels(map[string]string{contract.LabelWithoutAgent: "true"})))
	t.Run("only the cache lacks it", func(t *testing.T) {
		r, hub, _ := newReconciler(t, append(around, wf, rw, work)...)
		hub.Lag("list ManifestWork")
		run(t, r)
		assert.Empty(t, hub.Writes())
	})
	t.Run("it is gone", func(t *testing.T) {
		r, hub, _ := newReconciler(t, append(around, wf, rw)...)
		run(t, r)
		assert.False(t, hub.Show(rw))
		assert.False(t, hub.Show(wf))
	})
	t.Run("it is stuck on a cluster that is detached", func(t *testing.T) {
		r, hub, _ := newReconciler(t, append(binding(), detaching(), wf, rw)...)
		hub.Fail("live get ManifestWork", apierrors.NewServiceUnavailable("down"))
		run(t, r)
		assert.False(t, hub.Show(rw), "nobody waits for that")
	})
	t.Run("the API server does not answer", func(t *testing.T) {
		r, hub, _ := newReconciler(t, append(around, wf, rw)...)
		hub.Fail("live get ManifestWork", apierrors.NewServiceUnavailable("down"))
		_, err := try(t, r)
		assert.True(t, apierrors.IsServiceUnavailable(err), "got %v", err)
		assert.Empty(t, hub.Writes())
	})
}

func TestWhatIsLeftBehindOnAClusterThatIsNotOursAnyMoreIsSaid(t *testing.T) {
	for name, test := range map[string]struct {
		around []client.Object
		want   string
	}{
		"the cluster is gone":           {nil, "the hub has no managed cluster of this name"},
		"the cluster is being detached": {[]client.Object{detaching()}, "the cluster is being detached"},
		"its agent was disabled":        {[]client.Object{gen.ManagedCluster(cluster1)}, "is not enabled there"},
	} {
		t.Run(name, func(t *testing.T) {
			wf := assigned(gen.Deleting(), gen.WithHubStatus("Running"))
			rw := attemptOf(wf, claimed(), removing(terminate), gen.Deleting())
			r, hub, _ := newReconciler(t, append(test.around, wf, rw)...)
			before := counted(t, releasedMetric, byAbandonment)
			run(t, r)
			assert.False(t, hub.Show(rw))
			assert.False(t, hub.Show(wf))
			events := hub.Events()
			require.Len(t, events, 1)
			assert.Contains(t, events[0], "Warning ReleasedUnconfirmed")
			assert.Contains(t, events[0], test.want)
			assert.InDelta(t, before+1, counted(t, releasedMetric, byAbandonment), 0)
		})
	}
}

// leaving is a deleted Workflow that its cluster has not removed yet, at the moment of its deletion.
func leaving(t *testing.T, around ...client.Object) (*Reconciler, *fakehub.Hub, *clocktesting.FakePassiveClock) {
	t.Helper()
	wf := assigned(gen.Deleting(), gen.WithHubStatus("Running"))
	return newReconciler(t, append(around, wf, attemptOf(wf, claimed(), removing(terminate), gen.Deleting()))...)
}

// away is a cluster that does not report any more.
func away() []client.Object {
	return []client.Object{gen.ManagedCluster(cluster1, clusterAvailable(metav1.ConditionUnknown)), gen.ManagedClusterAddOn(cluster1)}
}

func TestADeletedWorkflowWaitsWithoutLimitForAClusterThatIsThereAndSaysSoOnce(t *testing.T) {
	for name, limit := range map[string]time.Duration{"with a timeout": 10 * time.Minute, "without": 0} {
		t.Run(name, func(t *testing.T) {
			r, hub, now := leaving(t, surroundings()...)
			r.DeletionTimeout = limit
			within := run(t, r)
			assert.Equal(t, cmp.Or(limit, DefaultDeletionTimeout), within)
			assert.Empty(t, hub.Events(), "it may take a while")

			now.SetTime(now.Now().Add(within))
			assert.Zero(t, run(t, r))
			events := hub.Events()
			require.Len(t, events, 1)
			assert.Contains(t, events[0], "Warning DeletionWaits waiting for cluster cluster1 to remove the remote Workflow default/hello")
			now.SetTime(now.Now().Add(1000 * time.Hour))
			assert.Zero(t, run(t, r))
			assert.Empty(t, hub.Events())
			assert.Empty(t, hub.Writes(), "the remote Workflow is still there")
		})
	}
}

func TestADeletedWorkflowIsReleasedWhenItsClusterStaysAwayAndTheClusterRemovesTheRestLater(t *testing.T) {
	r, hub, now := leaving(t, away()...)
	assert.Equal(t, timeout, run(t, r))
	assert.Len(t, hub.Events(), 1, "what it waits for")
	now.SetTime(now.Now().Add(timeout))
	before := counted(t, releasedMetric, byTimeout)
	run(t, r)
	assert.InDelta(t, before+1, counted(t, releasedMetric, byTimeout), 0)
	assert.Equal(t, []string{"patch Workflow default/hello"}, hub.Writes())
	wf := assigned()
	assert.False(t, hub.Show(wf))
	events := hub.Events()
	require.Len(t, events, 1)
	assert.Contains(t, events[0], "Warning ReleasedUnconfirmed finalizer removed before cluster cluster1 has removed the remote Workflow: the cluster is not available")

	rw := attemptOf(wf)
	require.True(t, hub.Show(rw), "the cluster has to know of it")
	run(t, r)
	require.True(t, hub.Show(rw))
	old := rw.DeepCopy()
	gone(v1alpha1.ReasonRemoved)(rw)
	require.NoError(t, hub.Status().Patch(t.Context(), rw, client.MergeFrom(old)))
	run(t, r)
	assert.False(t, hub.Show(rw), "it goes as that of any Workflow that is not there any more")
}

func TestAnAnnotationReleasesADeletedWorkflowOnceItsClusterIsTold(t *testing.T) {
	for name, around := range map[string][]client.Object{"its cluster is away": away(), "its cluster is there": surroundings()} {
		t.Run(name, func(t *testing.T) {
			wf := assigned(gen.Deleting(), released(), gen.WithHubStatus("Running"))
			rw := attemptOf(wf, claimed())
			r, hub, _ := newReconciler(t, append(around, wf, rw)...)
			run(t, r)
			assert.Equal(t, []string{"patch RemoteWorkflow cluster1/" + rw.Name, "delete RemoteWorkflow cluster1/" + rw.Name}, hub.Writes())
			before := counted(t, releasedMetric, byAnnotation)
			run(t, r)
			assert.InDelta(t, before+1, counted(t, releasedMetric, byAnnotation), 0)
			assert.False(t, hub.Show(wf))
			events := hub.Events()
			require.Len(t, events, 1)
			assert.Contains(t, events[0], "by the annotation "+contract.AnnotationRelease)
		})
	}
}

func TestADeletedWorkflowWithoutLabelIsWatchedAgainWhileItWaits(t *testing.T) {
	wf := assigned(gen.Deleting(), gen.WithHubStatus("Running"), withoutLabels())
	rw := attemptOf(wf, claimed(), removing(terminate), gen.Deleting())
	r, hub, now := newReconciler(t, append(away(), wf, rw)...)
	hub.Lag("get Workflow") // the cache has only those with the label
	assert.Equal(t, timeout, run(t, r))
	assert.Equal(t, []string{"patch Workflow default/hello"}, hub.Writes())
	assert.True(t, contract.IsOurs(shows(t, hub)))
	events := hub.Events()
	require.Len(t, events, 2)
	assert.Contains(t, events[0], "Warning LabelRestored label "+contract.LabelEnable+" restored: the Workflow waits for cluster "+cluster1)
	assert.Contains(t, events[1], "Warning DeletionWaits")

	assert.Equal(t, timeout, run(t, r))
	assert.Len(t, hub.Writes(), 1, "it is restored once")
	assert.Empty(t, hub.Events())
	now.SetTime(now.Now().Add(timeout))
	run(t, r)
	assert.False(t, hub.Show(wf))
}

func TestAWaitThatBeginsAgainIsSaidAgain(t *testing.T) {
	r, hub, _ := leaving(t, away()...)
	r.DeletionTimeout = 0
	run(t, r)
	assert.Len(t, hub.Events(), 1)
	set := func(status metav1.ConditionStatus) {
		managed := gen.ManagedCluster(cluster1)
		require.True(t, hub.Show(managed))
		before := managed.DeepCopy()
		clusterAvailable(status)(managed)
		require.NoError(t, hub.Patch(t.Context(), managed, client.MergeFrom(before)))
		run(t, r)
	}
	set(metav1.ConditionTrue)
	assert.Empty(t, hub.Events())
	set(metav1.ConditionUnknown)
	assert.Len(t, hub.Events(), 1)
}

func TestOfOneNameOnlyTheWorkflowThatIsThereKeepsItsAttempt(t *testing.T) {
	earlier := attemptOf(assigned(gen.WithUID("earlier")))
	wf := assigned(gen.WithHubStatus("Pending"))
	rw := attemptOf(wf)
	r, hub, _ := newReconciler(t, append(surroundings(), wf, rw, earlier)...)
	run(t, r)
	assert.Equal(t, []string{"delete RemoteWorkflow cluster1/" + earlier.Name}, hub.Writes())
	run(t, r)
	assert.False(t, hub.Show(earlier))
	asked := hub.Calls("live get Workflow")
	run(t, r)
	assert.Equal(t, asked, hub.Calls("live get Workflow"), "there is nothing to ask any more")
	assert.True(t, hub.Show(rw))
}

func TestAnAttemptIsNotRemovedForACacheThatLags(t *testing.T) {
	// After a change of leaders: the attempt is the later Workflow's, and the cache still shows the earlier one.
	earlier := assigned(gen.WithUID("earlier"))
	wf := assigned()
	for name, mods := range map[string][]gen.Mod{
		"it waits": nil, "it runs": {claimed()}, "it runs, and somebody has deleted its RemoteWorkflow": {claimed(), gen.Deleting()},
	} {
		t.Run(name, func(t *testing.T) {
			r, hub, _ := newReconciler(t, append(surroundings(), earlier, attemptOf(wf, mods...))...)
			r.Live = fakehub.New(t, nil, wf).Live
			assert.Equal(t, unseenRetry, run(t, r), "no event comes of what is gone before the cache shows it")
			assert.Empty(t, hub.Writes())
		})
	}
	t.Run("the cache shows the later one before its attempt", func(t *testing.T) {
		r, hub, _ := newReconciler(t, append(surroundings(), assigned(gen.WithUID("later")), attemptOf(wf))...)
		r.Live = fakehub.New(t, nil, assigned(gen.WithUID("later"))).Live
		run(t, r)
		assert.Equal(t, []string{"delete RemoteWorkflow cluster1/" + nameOf(wf)}, hub.Writes())
	})
	t.Run("the assignment that the cache shows is not the last", func(t *testing.T) {
		moved := gen.RemoteWorkflow(wf, "cluster2", gen.WithFinalizers(contract.FinalizerDispatch))
		r, hub, _ := newReconciler(t, append(surroundings(), wf, attemptOf(wf), moved)...)
		r.Live = fakehub.New(t, nil, assigned(gen.WithAssignment("cluster2"))).Live
		run(t, r)
		assert.Empty(t, hub.Writes())
	})
}

func TestTheAttemptOfAWorkflowThatIsGoneGoesOnlyIfTheAPIServerConfirms(t *testing.T) {
	wf := assigned()
	rw := attemptOf(wf)
	t.Run("it is gone", func(t *testing.T) {
		r, hub, _ := newReconciler(t, append(surroundings(), rw)...)
		run(t, r)
		assert.Equal(t, []string{"delete RemoteWorkflow cluster1/" + rw.Name}, hub.Writes())
	})
	t.Run("the cache only does not show it", func(t *testing.T) {
		r, hub, _ := newReconciler(t, append(surroundings(), wf, rw)...)
		hub.Lag("get Workflow")
		run(t, r)
		assert.Empty(t, hub.Writes())
	})
	t.Run("it came between two looks", func(t *testing.T) {
		r, hub, _ := newReconciler(t, append(surroundings(), rw)...)
		hub.On("list RemoteWorkflow", func() error { r.Live = fakehub.New(t, nil, wf).Live; return nil })
		run(t, r)
		assert.Empty(t, hub.Writes())
	})
	t.Run("the API server does not answer", func(t *testing.T) {
		r, hub, _ := newReconciler(t, append(surroundings(), rw)...)
		hub.Fail("live get Workflow", apierrors.NewServiceUnavailable("down"))
		_, err := try(t, r)
		assert.True(t, apierrors.IsServiceUnavailable(err), "got %v", err)
		assert.Empty(t, hub.Writes())
	})
}

func TestAnErrorOfTheAPIWhileRemovingIsReturnedAndLetsNothingGo(t *testing.T) {
	leavingAttempt := func(mods ...gen.Mod) func() []client.Object {
		return func() []client.Object { return []client.Object{attemptOf(assigned(), mods...)} }
	}
	for name, test := range map[string]struct {
		call string
		more func() []client.Object
	}{
		"what is wanted cannot be said":           {"patch RemoteWorkflow", leavingAttempt(claimed())},
		"it cannot be deleted":                    {"delete RemoteWorkflow", leavingAttempt(claimed())},
		"its finalizer cannot be removed":         {"patch RemoteWorkflow", leavingAttempt(gen.Deleting())},
		"its deliveries cannot be read":           {"list ManifestWork", leavingAttempt(gen.Deleting())},
		"its cluster cannot be read":              {"get ManagedCluster", leavingAttempt(claimed())},
		"its addon cannot be read":                {"get ManagedClusterAddOn", leavingAttempt(claimed())},
		"the attempts cannot be listed":           {"list RemoteWorkflow", leavingAttempt(claimed())},
		"the Workflow cannot be read":             {"get Workflow", leavingAttempt(claimed())},
		"the finalizer of the Workflow must wait": {"patch Workflow", leavingAttempt(gen.Deleting())},
	} {
		t.Run(name, func(t *testing.T) {
			wf := assigned(gen.Deleting())
			r, hub, _ := newReconciler(t, append(append(surroundings(), test.more()...), wf)...)
			hub.Fail(test.call, apierrors.NewInternalError(errors.New("down")))
			_, err := try(t, r)
			assert.True(t, apierrors.IsInternalError(err), "the cause must be kept: %v", err)
			assert.Contains(t, shows(t, hub).GetFinalizers(), contract.FinalizerDispatch)
			assert.Empty(t, hub.Events())
		})
	}
	t.Run("what is gone already is no error", func(t *testing.T) {
		for _, call := range []string{"patch RemoteWorkflow", "delete RemoteWorkflow"} {
			wf := assigned(gen.Deleting())
			r, hub, _ := newReconciler(t, append(surroundings(), attemptOf(wf, claimed()), wf)...)
			hub.Fail(call, apierrors.NewNotFound(schema.GroupResource{Resource: "remoteworkflows"}, "x"))
			run(t, r)
		}
	})
}
