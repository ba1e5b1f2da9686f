package dispatch

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
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

func TestAWorkflowIsWantedOnlyAsItWasWhenItsRemoteWorkflowWasMade(t *testing.T) {
	wf, rw, _ := dispatched()
	label := func(value string) gen.Mod { return gen.WithLabels(map[string]string{contract.LabelEnable: value}) }
	for name, test := range map[string]struct {
		live *unstructured.Unstructured
		want bool
	}{
		"it is the same":            {wf, true},
		"it waits":                  {with(wf, gen.WithHubStatus("Pending")), true},
		"another has its name":      {gen.Workflow("hello", gen.WithUID("later"), gen.WithAssignment(cluster)), false},
		"it is being deleted":       {with(wf, gen.Deleting()), false},
		"it runs":                   {with(wf, gen.WithHubStatus("Running")), false},
		"it has run":                {with(wf, gen.WithHubStatus("Succeeded")), false},
		"somebody wrote its status": {with(wf, gen.WithStatus("Pending")), false},
		"it went to another":        {with(wf, gen.WithAssignment("cluster2")), false},
		"it is at another attempt": {with(wf, gen.WithAnnotations(map[string]string{
			contract.AnnotationAssigned: contract.Assignment(wf, 2, cluster),
		})), false},
		"its finalizer is gone": {with(wf, func(obj client.Object) { obj.SetFinalizers(nil) }), false},
		"it was taken back":     {with(wf, label("false")), false},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.want, isWanted(test.live, rw))
		})
	}
}

func TestTheAPIServerIsAskedOnceAndAfterTheRemoteWorkflowIsThere(t *testing.T) {
	for name, wf := range map[string]*unstructured.Unstructured{
		"a direct choice":      gen.Workflow("hello", gen.WithCluster(cluster)),
		"a Placement's choice": gen.Workflow("hello", gen.WithPlacement("anywhere"), gen.WithAssignment(cluster)),
	} {
		t.Run(name, func(t *testing.T) {
			r, hub := newReconciler(t, append(surroundings(), wf)...)
			hub.On("live get Workflow", func() error {
				assert.Equal(t, 1, hub.Calls("create RemoteWorkflow"), "who deletes the Workflow now finds nothing to take back")
				return nil
			})
			require.NoError(t, run(t, r, wf))
			assert.Equal(t, 1, hub.Calls("live get Workflow"))
			runOf(t, hub, wf)
		})
	}
}

func TestAWorkflowThatOnlyTheCacheStillShowsAsWaitingIsNotSent(t *testing.T) {
	cached := gen.Workflow("hello", gen.WithPlacement("anywhere"), gen.WithAssignment(cluster))
	for name, live := range map[string][]client.Object{
		"it is gone":           nil,
		"another has its name": {gen.Workflow("hello", gen.WithUID("later"))},
		"it has run":           {with(cached, gen.WithHubStatus("Succeeded"))},
	} {
		t.Run(name, func(t *testing.T) {
			r, hub := newReconciler(t, append(surroundings(), cached)...)
			r.Live = fakehub.New(t, nil, live...).Live
			require.NoError(t, run(t, r, cached))
			assert.Equal(t, []string{
				"create RemoteWorkflow cluster1/" + nameOf(cached), "delete RemoteWorkflow cluster1/" + nameOf(cached),
			}, hub.Writes())
			assert.Empty(t, hub.Events())

			require.NoError(t, run(t, r, cached))
			rw := &v1alpha1.RemoteWorkflow{}
			rw.Namespace, rw.Name = cluster, nameOf(cached)
			assert.False(t, hub.Show(rw), "it is taken back like any other")
			assert.Zero(t, hub.Calls("create ManifestWork"))
		})
	}
}

func TestAManagerThatIsPausedWhileAnotherRunsTheWorkflowAndItIsDeletedSendsNothing(t *testing.T) {
	for _, pausedAt := range []string{"create RemoteWorkflow", "live get Workflow"} {
		t.Run(pausedAt, func(t *testing.T) {
			wf := gen.Workflow("hello", gen.WithAssignment(cluster))
			r, hub := newReconciler(t, append(surroundings(), wf)...)
			hub.On(pausedAt, func() error {
				if hub.Show(wf.DeepCopy()) {
					vanish(t, hub, wf)
				}
				return nil
			})
			for range 3 {
				require.NoError(t, run(t, r, wf))
			}
			rw := &v1alpha1.RemoteWorkflow{}
			rw.Namespace, rw.Name = cluster, nameOf(wf)
			assert.False(t, hub.Show(rw))
			assert.Equal(t, 1, hub.Calls("create RemoteWorkflow"))
			assert.Zero(t, hub.Calls("create ManifestWork"))
			assert.Empty(t, hub.Events())
		})
	}
}

// vanish removes a Workflow with its finalizers.
func vanish(t *testing.T, hub *fakehub.Hub, wf *unstructured.Unstructured) {
	t.Helper()
	gone := wf.DeepCopy()
	require.NoError(t, hub.Patch(t.Context(), gone, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))))
	require.NoError(t, hub.Delete(t.Context(), gone))
}

func TestWhatAnotherManagerHasGoneOnWithIsNotTakenBack(t *testing.T) {
	for name, goOn := range map[string]struct {
		call string
		step func(t *testing.T, hub *fakehub.Hub, wf *unstructured.Unstructured)
	}{
		"it has sent the Workflow": {"live get Workflow", func(t *testing.T, hub *fakehub.Hub, wf *unstructured.Unstructured) {
			t.Helper()
			require.NoError(t, hub.Create(t.Context(), gen.ManifestWork(gen.RemoteWorkflow(wf, cluster))))
			require.NoError(t, hub.Patch(t.Context(), wf.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"status":{"phase":"Running"}}`))))
		}},
		"the agent has recorded a copy": {"live get ManifestWork", func(t *testing.T, hub *fakehub.Hub, wf *unstructured.Unstructured) {
			t.Helper()
			rw := gen.RemoteWorkflow(wf, cluster)
			require.True(t, hub.Show(rw))
			rw.Status.RemoteUID = "remote"
			require.NoError(t, hub.Status().Patch(t.Context(), rw, client.RawPatch(types.MergePatchType, []byte(`{"status":{"remoteUID":"remote"}}`))))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			wf := gen.Workflow("hello", gen.WithAssignment(cluster))
			r, hub := newReconciler(t, append(surroundings(), wf)...)
			if goOn.call != "live get Workflow" {
				hub.On("live get Workflow", func() error { return apierrors.NewNotFound(contract.WorkflowGVR.GroupResource(), "hello") })
			}
			hub.On(goOn.call, func() error { goOn.step(t, hub, wf); return nil })
			require.NoError(t, run(t, r, wf))
			rw := gen.RemoteWorkflow(wf, cluster)
			require.True(t, hub.Show(rw))
			assert.Nil(t, rw.DeletionTimestamp, "it is a run")
			assert.Empty(t, hub.Events())
		})
	}
}

func TestARunWithoutManifestWorkGoesOnOnlyForAWorkflowThatStillWaitsForIt(t *testing.T) {
	wf, rw, _ := dispatched()
	wf.SetFinalizers(nil) // a user took it away, between the two creations
	r, hub := newReconciler(t, append(surroundings(), wf, rw)...)
	require.NoError(t, run(t, r, wf))
	assert.Equal(t, []string{"delete RemoteWorkflow cluster1/" + rw.Name}, hub.Writes())

	require.NoError(t, run(t, r, wf))
	assert.False(t, hub.Show(rw))
	require.NoError(t, run(t, r, wf))
	runOf(t, hub, wf)
	require.True(t, hub.Show(wf))
	assert.Contains(t, wf.GetFinalizers(), contract.FinalizerDispatch, "it starts again from the beginning")
}

func TestWithoutAnAnswerOfTheAPIServerNothingIsSentOrTakenBack(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithAssignment(cluster))
	r, hub := newReconciler(t, append(surroundings(), wf)...)
	hub.Fail("live get Workflow", apierrors.NewServiceUnavailable("down"))
	assert.True(t, apierrors.IsServiceUnavailable(run(t, r, wf)))
	assert.Equal(t, []string{"create RemoteWorkflow cluster1/" + nameOf(wf)}, hub.Writes())

	hub.Fail("live get Workflow", nil)
	require.NoError(t, run(t, r, wf))
	runOf(t, hub, wf)
	for call, answer := range map[string]error{
		"live get ManifestWork": apierrors.NewServiceUnavailable("down"), "delete RemoteWorkflow": apierrors.NewServiceUnavailable("down"),
	} {
		t.Run(call, func(t *testing.T) {
			r, hub := newReconciler(t, append(surroundings(), wf)...)
			hub.Fail("live get Workflow", apierrors.NewNotFound(contract.WorkflowGVR.GroupResource(), "hello"))
			hub.Fail(call, answer)
			assert.True(t, apierrors.IsServiceUnavailable(run(t, r, wf)))
		})
	}
}
