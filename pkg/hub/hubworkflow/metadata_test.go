package hubworkflow_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func withoutStatus(obj client.Object) { delete(obj.(*unstructured.Unstructured).Object, "status") }

func TestAssignRecordsClusterAndFinalizerInOnePatch(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithPlacement("anywhere"), gen.WithFinalizers("somebody/else"))
	hub := on(t, wf)
	require.NoError(t, hubworkflow.Assign(t.Context(), hub, hubworkflow.Of(trim(t, wf)), "cluster1"))
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
	assert.True(t, hubworkflow.Of(wf).HasFinalizer())
	err := hubworkflow.Assign(t.Context(), hub, hubworkflow.Of(outdated), "cluster2")
	assert.True(t, apierrors.IsConflict(err), "there is no second cluster: %v", err)
}

func TestAssignAddsTheFinalizerOnce(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithFinalizers(contract.FinalizerDispatch))
	hub := on(t, wf)
	require.NoError(t, hubworkflow.Assign(t.Context(), hub, hubworkflow.Of(wf), "cluster1"))
	require.True(t, hub.Show(wf))
	assert.Equal(t, []string{contract.FinalizerDispatch}, wf.GetFinalizers())
}

func TestNoFinalizerIsRemovedButOurs(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithFinalizers("first", contract.FinalizerDispatch, "last"))
	hub := on(t, wf)
	require.NoError(t, hubworkflow.RemoveFinalizer(t.Context(), hub, hubworkflow.Of(wf)))
	assert.Equal(t, map[string]any{"metadata": map[string]any{
		"finalizers": []any{"first", "last"}, "resourceVersion": wf.GetResourceVersion(),
	}}, hub.PatchOf("Workflow"))
	assert.Equal(t, []string{"first", contract.FinalizerDispatch, "last"}, wf.GetFinalizers(), "what was read must not change")

	others := gen.Workflow("hello", gen.WithFinalizers("somebody/else"))
	hub = on(t, others)
	require.NoError(t, hubworkflow.RemoveFinalizer(t.Context(), hub, hubworkflow.Of(others)))
	assert.Empty(t, hub.Writes())
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
			hub := on(t, wf)
			require.NoError(t, hubworkflow.Unassign(t.Context(), hub, hubworkflow.Of(wf)))
			require.True(t, hub.Show(wf))
			assert.Empty(t, contract.AssignedCluster(wf))
			assert.Equal(t, test.cluster, contract.ChosenCluster(wf))
			assert.Equal(t, []string{"somebody/else"}, wf.GetFinalizers())
		})
	}
}

func TestAPatchOfAnOutdatedReadIsAConflictThatNamesTheWorkflow(t *testing.T) {
	wf := gen.Workflow("hello")
	hub := on(t, wf)
	read := hubworkflow.Of(wf)
	require.NoError(t, hubworkflow.PatchMetadata(t.Context(), hub, read, map[string]any{"labels": map[string]string{"a": "b"}}))
	err := hubworkflow.PatchMetadata(t.Context(), hub, read, map[string]any{"labels": map[string]string{"a": "c"}})
	assert.True(t, apierrors.IsConflict(err), "got %v", err)
	require.ErrorContains(t, err, "default/hello")
	require.NoError(t, hubworkflow.IgnoreStale(err))
}
