package delivery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/manifestwork"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// with returns a changed copy of the Workflow.
func with(wf *unstructured.Unstructured, mods ...gen.Mod) *unstructured.Unstructured {
	out := wf.DeepCopy()
	for _, mod := range mods {
		mod(out)
	}
	return out
}

func TestWhatWaitsGoesInOneDeliveryAndTheDeliveryGoesWhenAllIsClaimed(t *testing.T) {
	aWF, a := waiting("a")
	bWF, b := waiting("b")
	elsewhere := gen.RemoteWorkflow(gen.Workflow("c", gen.WithAssignment("cluster2")), "cluster2")
	r, hub, _, _ := newReconciler(t, aWF, bWF, a, b, elsewhere)
	assert.Equal(t, expectationTimeout, run(t, r), "if nothing shows it before")
	require.Equal(t, [][]string{{"a", "b"}}, deliveries(t, hub))
	assert.Equal(t, []string{"create ManifestWork cluster1/workflows-1"}, hub.Writes())

	assert.Equal(t, 15*time.Second, run(t, r))
	claim(t, hub, a)
	assert.Equal(t, 15*time.Second, run(t, r))
	assert.Len(t, hub.Writes(), 1, "what is claimed does not leave the list: each write has the whole of it applied again")
	claim(t, hub, b)
	uid := works(t, hub)[0].UID
	assert.Zero(t, run(t, r))
	assert.Equal(t, []string{"delete ManifestWork cluster1/workflows-1"}, hub.Writes()[1:])
	assert.Equal(t, uid, hub.Last("delete ManifestWork").UID)
	assert.Zero(t, run(t, r))
	assert.Len(t, hub.Writes(), 2, "what is gone is gone")
}

func TestWhatArrivesMeanwhileGoesWithTheNext(t *testing.T) {
	aWF, a := waiting("a")
	r, hub, _, _ := newReconciler(t, aWF, a)
	run(t, r)
	for _, name := range []string{"b", "c"} {
		wf, rw := waiting(name)
		require.NoError(t, hub.Create(t.Context(), wf))
		gen.WithAssignment(cluster1)(wf)
		require.NoError(t, hub.Patch(t.Context(), wf, client.RawPatch(types.MergePatchType, fmt.Appendf(nil,
			`{"metadata":{"annotations":{%q:%q}}}`, contract.AnnotationAssigned, contract.Assignment(wf, 1, cluster1)))))
		rw.Spec.WorkflowRef.UID = wf.GetUID()
		require.NoError(t, hub.Create(t.Context(), rw))
	}
	run(t, r)
	assert.Equal(t, [][]string{{"a"}, {"b", "c"}}, deliveries(t, hub))
}

func TestADeliveryThatTheCacheDoesNotShowYetIsNotMadeAgain(t *testing.T) {
	wf, rw := waiting("a")
	r, hub, now, _ := newReconciler(t, wf, rw)
	r.Client = &lagging{Client: hub}
	run(t, r)
	assert.Equal(t, expectationTimeout, run(t, r))
	require.Len(t, works(t, hub), 1)

	now.SetTime(now.Now().Add(expectationTimeout - 1))
	run(t, r)
	require.Len(t, works(t, hub), 1)
	now.SetTime(now.Now().Add(1))
	run(t, r)
	assert.Len(t, works(t, hub), 2, "somebody may have deleted it before it was shown")
}

func TestADeliveryThatSomebodyDeletesIsMadeAgain(t *testing.T) {
	wf, rw := waiting("a")
	r, hub, now, _ := newReconciler(t, wf, rw)
	run(t, r)
	require.NoError(t, hub.Delete(t.Context(), &works(t, hub)[0]))
	within := run(t, r)
	require.Empty(t, works(t, hub), "the cache may not show it yet")
	now.SetTime(now.Now().Add(within))
	run(t, r)
	assert.Equal(t, [][]string{{"a"}}, deliveries(t, hub))
}

func TestAfterARestartWhatIsListedIsNotDeliveredAgain(t *testing.T) {
	wf, rw := waiting("a")
	r, hub, now, _ := newReconciler(t, wf, rw)
	run(t, r)
	again := &Reconciler{Client: hub, Live: hub.Live, Clock: now, Refused: r.Refused}
	assert.Equal(t, 15*time.Second, run(t, again))
	assert.Len(t, hub.Writes(), 1)
	assert.Equal(t, 1, hub.Calls("live get Workflow"), "and the API server is asked nothing")
}

// lagging is a cache that shows no deliveries.
type lagging struct{ client.Client }

func (l *lagging) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if _, ok := list.(*workv1.ManifestWorkList); ok {
		return nil
	}
	return l.Client.List(ctx, list, opts...)
}

func TestAWorkflowIsWantedOnlyAsItWasWhenItsRemoteWorkflowWasMade(t *testing.T) {
	wf, rw := waiting("hello")
	label := func(value string) gen.Mod { return gen.WithLabels(map[string]string{contract.LabelEnable: value}) }
	for name, test := range map[string]struct {
		live *unstructured.Unstructured
		want bool
	}{
		"it is the same":            {wf, true},
		"it waits":                  {with(wf, gen.WithHubStatus("Pending")), true},
		"another has its name":      {gen.Workflow("hello", gen.WithUID("later"), gen.WithAssignment(cluster1)), false},
		"it is being deleted":       {with(wf, gen.Deleting()), false},
		"it runs":                   {with(wf, gen.WithHubStatus("Running")), false},
		"it has run":                {with(wf, gen.WithHubStatus("Succeeded")), false},
		"somebody wrote its status": {with(wf, gen.WithStatus("Pending")), false},
		"its labels say it has run": {with(wf, gen.WithLabels(map[string]string{contract.LabelCompleted: "true"})), false},
		"it went to another":        {with(wf, gen.WithAssignment("cluster2")), false},
		"it is at another attempt": {with(wf, gen.WithAnnotations(map[string]string{
			contract.AnnotationAssigned: contract.Assignment(wf, 2, cluster1),
		})), false},
		"its finalizer is gone": {with(wf, func(obj client.Object) { obj.SetFinalizers(nil) }), false},
		"it was taken back":     {with(wf, label("false")), false},
		"it is from before the hub was restored, and its RemoteWorkflow is there": {
			with(wf, func(obj client.Object) { obj.SetCreationTimestamp(gen.Time) }), true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.want, isWanted(hubworkflow.Of(test.live), rw))

			// The cache still shows it as it was: it is what the API server has that counts.
			r, hub, _, _ := newReconciler(t, wf, rw)
			r.Live = fakehub.New(t, nil, test.live).Live
			within := run(t, r)
			if test.want {
				assert.Len(t, works(t, hub), 1)
				return
			}
			assert.Empty(t, hub.Writes())
			assert.Equal(t, refusedRetry, within, "it is asked again: nothing else says so if it is wanted after all")
		})
	}
	t.Run("it is gone", func(t *testing.T) {
		r, hub, _, _ := newReconciler(t, wf, rw)
		r.Live = fakehub.New(t, nil).Live
		run(t, r)
		assert.Empty(t, hub.Writes())
	})
}

func TestWhatTravelsIsWhatTheAPIServerHas(t *testing.T) {
	wf, rw := waiting("hello")
	r, hub, _, _ := newReconciler(t, wf, rw)
	r.Live = fakehub.New(t, nil, with(wf, gen.WithSpecField("edited", "entrypoint"))).Live
	run(t, r)
	assert.Contains(t, string(works(t, hub)[0].Spec.Workload.Manifests[0].Raw), `"entrypoint":"edited"`)
}

func TestWhatWasChangedSinceItsAttemptWasMadeIsNotDelivered(t *testing.T) {
	wf, rw := waiting("hello")
	rw.Spec.SpecDigest = hubworkflow.Of(wf).SpecDigest
	changed := with(wf, gen.WithSpecField("edited", "entrypoint"))
	r, hub, _, _ := newReconciler(t, wf, rw)
	r.Live = fakehub.New(t, nil, changed).Live
	assert.Equal(t, refusedRetry, run(t, r))
	assert.Empty(t, hub.Writes())

	rw.Spec.SpecDigest = hubworkflow.Of(changed).SpecDigest
	r, hub, _, _ = newReconciler(t, wf, rw)
	r.Live = fakehub.New(t, nil, changed).Live
	run(t, r)
	assert.Len(t, works(t, hub), 1, "its new attempt")
}

func TestOneThatIsNotWantedHoldsUpNoOther(t *testing.T) {
	aWF, a := waiting("a")
	bWF, b := waiting("b")
	cWF, c := waiting("c")
	r, hub, _, refused := newReconciler(t, with(aWF, gen.WithHubStatus("Running")), with(bWF, gen.WithSpecField("text", "podMetadata")), cWF, a, b, c)
	assert.Equal(t, refusedRetry, run(t, r))
	assert.Equal(t, [][]string{{"c"}}, deliveries(t, hub))
	assert.Contains(t, refused["b"], "podMetadata")
	assert.NotContains(t, refused, "a")
}

func TestWithoutAnAnswerOfTheAPIServerNothingIsDelivered(t *testing.T) {
	for _, call := range []string{"live get Workflow", "list RemoteWorkflow", "list ManifestWork", "create ManifestWork"} {
		t.Run(call, func(t *testing.T) {
			wf, rw := waiting("hello")
			r, hub, _, refused := newReconciler(t, wf, rw)
			hub.Fail(call, apierrors.NewServiceUnavailable("down"))
			_, err := try(t, r)
			assert.True(t, apierrors.IsServiceUnavailable(err), "the cause must be kept: %v", err)
			assert.Empty(t, works(t, hub))
			assert.Empty(t, refused)

			hub.Fail(call, nil)
			run(t, r)
			assert.Equal(t, [][]string{{"hello"}}, deliveries(t, hub))
		})
	}
}

func TestARefusedDeliveryIsHalvedUntilItIsKnownWhichWorkflowItIsAbout(t *testing.T) {
	var all []any
	for i := range 10 {
		wf, rw := waiting(fmt.Sprintf("wf%d", i))
		all = append(all, wf, rw)
	}
	r, hub, now, refused := newReconciler(t, objects(all...)...)
	r.Client = &choosy{Client: hub, refuses: "wf3"}
	assert.Equal(t, refusedRetry, run(t, r))
	delivered := map[string]bool{}
	for _, names := range deliveries(t, hub) {
		for _, name := range names {
			delivered[name] = true
		}
	}
	assert.Len(t, delivered, 9)
	assert.NotContains(t, delivered, "wf3")
	assert.Contains(t, refused["wf3"], `"workflows-*" is forbidden: by a policy`)
	for name, message := range refused {
		assert.Equal(t, name == "wf3", message != "", name)
	}

	said, writes := refused["wf3"], len(hub.Writes())
	now.SetTime(now.Now().Add(refusedRetry - time.Second))
	assert.LessOrEqual(t, run(t, r), time.Second)
	assert.Len(t, hub.Writes(), writes, "whatever else happens on the cluster, it is left alone for a while")
	now.SetTime(now.Now().Add(time.Second))
	run(t, r)
	assert.Equal(t, said, refused["wf3"], "each try says the same")

	r.Client = hub
	now.SetTime(now.Now().Add(refusedRetry))
	run(t, r)
	assert.Empty(t, refused["wf3"], "it is withdrawn")
	assert.Len(t, deliveries(t, hub), len(works(t, hub)))
	assert.Empty(t, r.refusals[cluster1])
}

func TestARefusalGoesWithItsRemoteWorkflow(t *testing.T) {
	wf, rw := waiting("hello")
	r, hub, _, refused := newReconciler(t, wf, rw)
	hub.Fail("create ManifestWork", apierrors.NewBadRequest("no"))
	run(t, r)
	require.NotEmpty(t, refused["hello"])
	require.NoError(t, hub.Delete(t.Context(), rw.DeepCopy()))
	require.True(t, hub.Show(rw))
	rw.Finalizers = nil
	require.NoError(t, hub.Patch(t.Context(), rw, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))))
	run(t, r)
	assert.Empty(t, refused["hello"])
	assert.Empty(t, r.refusals)
}

func TestWhatAnAPIServerOutOfOrderSaysIsWithdrawnOnceItIsDeliveredOrNotWanted(t *testing.T) {
	for name, then := range map[string]func(t *testing.T, hub *fakehub.Hub, rw *v1alpha1.RemoteWorkflow){
		"it took the delivery, and failed to say so": func(t *testing.T, hub *fakehub.Hub, rw *v1alpha1.RemoteWorkflow) {
			t.Helper()
			hub.Fail("create ManifestWork", nil)
			require.NoError(t, hub.Create(t.Context(), gen.Delivery(all(rw))))
		},
		"it is not wanted any more": func(t *testing.T, hub *fakehub.Hub, rw *v1alpha1.RemoteWorkflow) {
			t.Helper()
			require.NoError(t, hub.Patch(t.Context(), rw, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))))
			require.NoError(t, hub.Delete(t.Context(), rw))
		},
	} {
		t.Run(name, func(t *testing.T) {
			wf, rw := waiting("hello")
			r, hub, _, refused := newReconciler(t, wf, rw)
			hub.Fail("create ManifestWork", apierrors.NewInternalError(errors.New("failed calling webhook")))
			_, err := try(t, r)
			require.Error(t, err)
			require.NotEmpty(t, refused["hello"])
			then(t, hub, rw)
			run(t, r)
			assert.Empty(t, refused["hello"])
			assert.Empty(t, r.refusals)
		})
	}
}

// choosy is an API server that refuses what carries a Workflow of this name, under a name that it has generated.
type choosy struct {
	client.Client
	refuses string
	tries   int
}

func (c *choosy) Create(ctx context.Context, obj client.Object, opts ...client.CreateOption) error {
	work, ok := obj.(*workv1.ManifestWork)
	for _, name := range namesIn(work) {
		if ok && name == c.refuses {
			c.tries++
			return apierrors.NewForbidden(workv1.Resource("manifestworks"), fmt.Sprintf("workflows-x%dy", c.tries), errors.New("by a policy"))
		}
	}
	return c.Client.Create(ctx, obj, opts...)
}

func TestWhatTheAPIServerRefusesOrFailsToTakeIsSaid(t *testing.T) {
	resource := schema.GroupResource{Resource: "anything"}
	for name, test := range map[string]struct {
		answer        error
		said, isError bool
	}{
		"forbidden":          {apierrors.NewForbidden(resource, "hello", errors.New("exceeded quota")), true, false},
		"invalid":            {apierrors.NewInvalid(schema.GroupKind{Kind: "Anything"}, "hello", nil), true, false},
		"too large":          {apierrors.NewRequestEntityTooLargeError("no"), true, false},
		"too large, by etcd": {apierrors.NewInternalError(errors.New("etcdserver: request is too large")), true, false},
		"bad":                {apierrors.NewBadRequest("no"), true, false},
		"out of order":       {apierrors.NewInternalError(errors.New("failed calling webhook")), true, true},
		"without a reason":   {errors.New("down"), false, true},
		"the namespace of the cluster is missing": {apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, cluster1), false, true},
	} {
		t.Run(name, func(t *testing.T) {
			wf, rw := waiting("hello")
			r, hub, _, refused := newReconciler(t, wf, rw)
			hub.Fail("create ManifestWork", test.answer)
			_, err := try(t, r)
			if test.isError {
				require.ErrorIs(t, err, test.answer)
			} else {
				require.NoError(t, err)
			}
			if test.said {
				assert.Contains(t, refused["hello"], test.answer.Error())
			} else {
				assert.Empty(t, refused)
			}
		})
	}
}

func TestWhatWasTakenBackLeavesItsDelivery(t *testing.T) {
	aWF, a := waiting("a")
	bWF, b := waiting("b")
	r, hub, _, _ := newReconciler(t, aWF, bWF, a, b)
	run(t, r)
	require.NoError(t, hub.Delete(t.Context(), a.DeepCopy()))
	version := works(t, hub)[0].ResourceVersion
	run(t, r)
	write := hub.Last("patch ManifestWork")
	assert.Equal(t, types.JSONPatchType, write.PatchType)
	assert.Contains(t, string(write.Body), `{"op":"replace","path":"/metadata/resourceVersion","value":"`+version+`"}`)
	assert.Equal(t, [][]string{{"b"}}, deliveries(t, hub))

	require.NoError(t, hub.Delete(t.Context(), b.DeepCopy()))
	run(t, r)
	assert.Empty(t, works(t, hub))
}

func TestAChangeOfAnOutdatedDeliveryIsLeftToTheWatch(t *testing.T) {
	resource := workv1.Resource("manifestworks")
	for name, test := range map[string]struct {
		call   string
		answer error
		want   bool
	}{
		"it has changed":         {"patch ManifestWork", apierrors.NewConflict(resource, "a", errors.New("stale")), false},
		"it is gone":             {"patch ManifestWork", apierrors.NewNotFound(resource, "a"), false},
		"it cannot be changed":   {"patch ManifestWork", apierrors.NewServiceUnavailable("down"), true},
		"it is gone already":     {"delete ManifestWork", apierrors.NewNotFound(resource, "a"), false},
		"it cannot be deleted":   {"delete ManifestWork", apierrors.NewServiceUnavailable("down"), true},
		"another has its name":   {"delete ManifestWork", apierrors.NewConflict(resource, "a", errors.New("uid")), true},
		"it may not be changed":  {"patch ManifestWork", apierrors.NewForbidden(resource, "a", errors.New("by a policy")), true},
		"its list was shortened": {"patch ManifestWork", apierrors.NewInvalid(schema.GroupKind{Kind: "ManifestWork"}, "a", nil), true},
	} {
		t.Run(name, func(t *testing.T) {
			aWF, a := waiting("a")
			bWF, b := waiting("b")
			cWF, c := waiting("c")
			mods := []gen.Mod{}
			if test.call == "delete ManifestWork" {
				mods = append(mods, gen.WithRemoteUID("remote"))
			}
			for _, mod := range mods {
				mod(a)
				mod(b)
			}
			r, hub, now, _ := newReconciler(t, aWF, bWF, cWF, a, b, c, gen.Delivery([]*v1alpha1.RemoteWorkflow{a, b}))
			now.SetTime(now.Now().Add(time.Minute))
			hub.Fail(test.call, test.answer)
			_, err := try(t, r)
			if test.want {
				require.ErrorIs(t, err, test.answer)
			} else {
				require.NoError(t, err)
			}
			assert.Contains(t, deliveries(t, hub), []string{"c"}, "it holds up no other")
		})
	}
}

func TestTheDeliveryToAClusterWithoutAgentStaysUnlessTheAPIServerHasNoRemoteWorkflow(t *testing.T) {
	wf, rw := waiting("hello", withoutAgent())
	work := gen.Delivery([]*v1alpha1.RemoteWorkflow{rw})
	t.Run("it stays", func(t *testing.T) {
		r, hub, now, _ := newReconciler(t, with(wf, gen.WithHubStatus("Running")), rw, work)
		now.SetTime(now.Now().Add(time.Hour))
		assert.Zero(t, run(t, r))
		assert.Empty(t, hub.Writes())
	})
	t.Run("only the cache does not show the RemoteWorkflow", func(t *testing.T) {
		r, hub, _, _ := newReconciler(t, wf, rw, work)
		hub.Lag("list RemoteWorkflow")
		run(t, r)
		assert.Empty(t, hub.Writes())
	})
	t.Run("the API server does not answer", func(t *testing.T) {
		r, hub, _, _ := newReconciler(t, wf, work)
		hub.Fail("live get RemoteWorkflow", apierrors.NewServiceUnavailable("down"))
		_, err := try(t, r)
		assert.True(t, apierrors.IsServiceUnavailable(err))
		assert.Empty(t, hub.Writes())
	})
	for name, objects := range map[string][]client.Object{
		"it is gone":          {work},
		"it is being deleted": {work, attempt("hello", withoutAgent(), gen.Deleting())},
	} {
		t.Run(name, func(t *testing.T) {
			r, hub, _, _ := newReconciler(t, objects...)
			run(t, r)
			assert.Equal(t, []string{"delete ManifestWork cluster1/" + work.Name}, hub.Writes())
			assert.Equal(t, work.UID, hub.Last("delete ManifestWork").UID)
		})
	}
}

func TestAWorkflowGoesToAClusterWithoutAgentOnce(t *testing.T) {
	wf, rw := waiting("hello", withoutAgent())
	r, hub, _, _ := newReconciler(t, wf, rw)
	r.Client = &lagging{Client: hub}
	run(t, r)
	again := &Reconciler{Client: r.Client, Live: hub.Live, Clock: r.Clock, Refused: r.Refused}
	run(t, again)
	assert.Len(t, works(t, hub), 1, "it bears the name of its RemoteWorkflow")
	assert.Equal(t, []string{"create ManifestWork cluster1/" + rw.Name, "create ManifestWork cluster1/" + rw.Name}, hub.Writes())
}

func TestWhatHasRunOnAClusterWithoutAgentIsNotSentAgain(t *testing.T) {
	for _, phase := range []string{"Running", "Succeeded"} {
		wf, rw := waiting("hello", withoutAgent())
		r, hub, _, _ := newReconciler(t, with(wf, gen.WithHubStatus(phase)), rw)
		run(t, r)
		assert.Empty(t, hub.Writes(), phase)
	}
}

func TestOfRemoteWorkflowsTheProgressDoesNotMatter(t *testing.T) {
	before := attempt("hello")
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
	assert.True(t, notReports.Create(event.CreateEvent{Object: before}))
	assert.True(t, notReports.Delete(event.DeleteEvent{Object: before}))
}

func TestOfManifestWorksOnlyARefusalByTheWorkAgentMatters(t *testing.T) {
	before := gen.Delivery(all(attempt("hello")))
	before.SetGeneration(1)
	passes := func(mods ...gen.Mod) bool {
		after := before.DeepCopy()
		for _, mod := range mods {
			mod(after)
		}
		return notStatus.Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after})
	}
	assert.False(t, passes(gen.WithManifestCondition(workv1.ManifestApplied, "False", "no")))
	assert.False(t, passes(refusedOf(0)), "of what it listed before")
	assert.True(t, passes(refusedOf(1)), "it is due earlier")
	assert.True(t, passes(gen.Deleting()))
	assert.True(t, passes(func(obj client.Object) { obj.SetGeneration(2) }), "somebody has changed what it lists")
	assert.True(t, notStatus.Create(event.CreateEvent{Object: before}))
	assert.True(t, notStatus.Delete(event.DeleteEvent{Object: before}))
}

func TestTheCacheHoldsNothingOfWhatTravels(t *testing.T) {
	wf, rw := waiting("hello")
	p, err := newPayload(hubworkflow.Of(with(wf, gen.WithSpecField(strings.Repeat("x", 1<<16), "entrypoint"))), rw)
	require.NoError(t, err)
	work := newWork(cluster1, []payload{p})
	items := manifestwork.Items(work)
	trimmed, err := manifestwork.Trim(work)
	require.NoError(t, err)
	assert.Less(t, len(trimmed.(*workv1.ManifestWork).Spec.Workload.Manifests[0].Raw), 1024)
	assert.Equal(t, items, manifestwork.Items(trimmed.(*workv1.ManifestWork)))
}
