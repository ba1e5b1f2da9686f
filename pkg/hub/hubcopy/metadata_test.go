package hubcopy_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestAssignRecordsClusterAndFinalizerInOnePatch(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithPlacement("anywhere"), gen.WithFinalizers("somebody/else"))
	hub := fakehub.New(t, nil, wf)
	require.True(t, hub.Show(wf))

	require.NoError(t, hubcopy.Assign(t.Context(), hub, wf, "cluster1"))
	assert.Equal(t, types.MergePatchType, hub.Last("patch Workflow").PatchType)
	assert.Equal(t, map[string]any{"metadata": map[string]any{
		"annotations": map[string]any{
			contract.AnnotationCluster:  "cluster1",
			contract.AnnotationAssigned: string(wf.GetUID()) + "/1/cluster1",
		},
		"finalizers":      []any{"somebody/else", contract.FinalizerDispatch},
		"resourceVersion": wf.GetResourceVersion(),
	}}, hub.PatchOf("Workflow"))

	outdated := wf.DeepCopy()
	require.True(t, hub.Show(wf))
	assert.Equal(t, "cluster1", contract.AssignedCluster(wf))
	assert.Equal(t, "anywhere", wf.GetAnnotations()[contract.AnnotationPlacement])

	err := hubcopy.Assign(t.Context(), hub, outdated, "cluster2")
	assert.True(t, apierrors.IsConflict(err), "got %v", err)
}

func TestAssignAddsTheFinalizerOnce(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithFinalizers(contract.FinalizerDispatch))
	hub := fakehub.New(t, nil, wf)
	require.True(t, hub.Show(wf))
	require.NoError(t, hubcopy.Assign(t.Context(), hub, wf, "cluster1"))
	require.True(t, hub.Show(wf))
	assert.Equal(t, []string{contract.FinalizerDispatch}, wf.GetFinalizers())
}

func TestReleaseRemovesNoFinalizerButOurs(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithFinalizers("first", contract.FinalizerDispatch, "last"))
	hub := fakehub.New(t, nil, wf)
	require.True(t, hub.Show(wf))
	require.NoError(t, hubcopy.Release(t.Context(), hub, wf))
	assert.Equal(t, map[string]any{"metadata": map[string]any{
		"finalizers": []any{"first", "last"}, "resourceVersion": wf.GetResourceVersion(),
	}}, hub.PatchOf("Workflow"))
	assert.Equal(t, []string{"first", contract.FinalizerDispatch, "last"}, wf.GetFinalizers(), "what was read must not change")
}

func TestUnassignKeepsWhatTheUserChose(t *testing.T) {
	for name, test := range map[string]struct {
		mods    []gen.Mod
		cluster string
	}{
		"a direct choice":      {nil, "cluster1"},
		"a Placement's answer": {[]gen.Mod{gen.WithPlacement("anywhere")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			wf := gen.Workflow("hello", append(test.mods, gen.WithFinalizers("somebody/else"), gen.WithAssignment("cluster1"))...)
			hub := fakehub.New(t, nil, wf)
			require.True(t, hub.Show(wf))
			require.NoError(t, hubcopy.Unassign(t.Context(), hub, wf))
			require.True(t, hub.Show(wf))
			assert.Empty(t, contract.AssignedCluster(wf))
			assert.Equal(t, test.cluster, contract.ChosenCluster(wf))
			assert.Equal(t, []string{"somebody/else"}, wf.GetFinalizers())
		})
	}
}

func TestReleaseOfAWorkflowThatWeDoNotHoldWritesNothing(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithFinalizers("somebody/else"))
	hub := fakehub.New(t, nil, wf)
	require.NoError(t, hubcopy.Release(t.Context(), hub, wf))
	assert.Empty(t, hub.Writes())
}

func TestRunsMapToTheirWorkflow(t *testing.T) {
	wf := gen.Workflow("hello", gen.InNamespace("team-a"))
	rw := gen.RemoteWorkflow(wf, "cluster1")
	want := []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: "team-a", Name: "hello"}}}

	assert.Equal(t, want, hubcopy.OfRemoteWorkflow(t.Context(), rw))
	assert.Equal(t, want, hubcopy.OfManifestWork(t.Context(), gen.ManifestWork(rw)))

	nameless := gen.ManifestWork(rw)
	nameless.Annotations = nil
	assert.Empty(t, hubcopy.OfManifestWork(t.Context(), nameless), "a request without a name would fail for ever")
	assert.Empty(t, hubcopy.OfRemoteWorkflow(t.Context(), wf))
}

func TestListedMapsWorkflowsToThemselves(t *testing.T) {
	hub := fakehub.New(t, nil, gen.Workflow("a"), gen.Workflow("b", gen.InNamespace("team-a")))
	requests, err := hubcopy.Listed(t.Context(), hub, client.InNamespace("team-a"))
	require.NoError(t, err)
	assert.Equal(t, []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: "team-a", Name: "b"}}}, requests)

	hub.Fail("list Workflow", assert.AnError)
	_, err = hubcopy.Listed(t.Context(), hub)
	require.ErrorIs(t, err, assert.AnError)
}
