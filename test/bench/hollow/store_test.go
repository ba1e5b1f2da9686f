package hollow

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// newWorkflow returns a store with one Workflow, and that Workflow.
func newWorkflow(t *testing.T, finalizers ...string) (*Store, *unstructured.Unstructured) {
	t.Helper()
	store := NewStore(func(_, _ *unstructured.Unstructured) {})
	wf := contract.NewWorkflow()
	wf.SetNamespace("default")
	wf.SetName("demo")
	wf.SetFinalizers(finalizers)
	wf.SetLabels(map[string]string{"a": "1", "b": "2"})
	require.NoError(t, store.Create(t.Context(), wf))
	return store, wf
}

func patchOf(wf *unstructured.Unstructured, metadata string) (client.Object, client.Patch) {
	target := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: wf.GetNamespace(), Name: wf.GetName()}}
	return target, client.RawPatch(types.MergePatchType, []byte(`{"metadata":`+metadata+`}`))
}

func TestAPatchChangesWhatItNamesAndAnswersWithTheNextVersion(t *testing.T) {
	store, wf := newWorkflow(t)
	target, patch := patchOf(wf, fmt.Sprintf(`{"labels":{"a":null,"c":"3"},"uid":%q,"resourceVersion":%q}`,
		wf.GetUID(), wf.GetResourceVersion()))
	require.NoError(t, store.Patch(t.Context(), target, patch))
	assert.NotEqual(t, wf.GetResourceVersion(), target.GetResourceVersion())
	now := contract.NewWorkflow()
	require.NoError(t, store.Get(t.Context(), client.ObjectKeyFromObject(wf), now))
	assert.Equal(t, map[string]string{"b": "2", "c": "3"}, now.GetLabels())
	assert.Equal(t, target.GetResourceVersion(), now.GetResourceVersion())
	assert.Equal(t, map[string]string{"a": "1", "b": "2"}, wf.GetLabels(), "what was handed out stays as it was")
}

func TestAStalePreconditionIsAConflict(t *testing.T) {
	store, wf := newWorkflow(t)
	for _, metadata := range []string{`{"uid":"another"}`, `{"resourceVersion":"0"}`} {
		target, patch := patchOf(wf, metadata)
		assert.True(t, apierrors.IsConflict(store.Patch(t.Context(), target, patch)), metadata)
	}
	assert.True(t, apierrors.IsConflict(store.Delete(t.Context(), wf, client.Preconditions{UID: ptr.To(types.UID("another"))})))
}

func TestAFinalizerHoldsWhatIsDeletedUntilItIsRemoved(t *testing.T) {
	store, wf := newWorkflow(t, "example.com/hold")
	require.NoError(t, store.Delete(t.Context(), wf))
	now := contract.NewWorkflow()
	require.NoError(t, store.Get(t.Context(), client.ObjectKeyFromObject(wf), now))
	assert.NotNil(t, now.GetDeletionTimestamp())
	target, patch := patchOf(wf, `{"finalizers":[]}`)
	require.NoError(t, store.Patch(t.Context(), target, patch))
	assert.True(t, apierrors.IsNotFound(store.Get(t.Context(), client.ObjectKeyFromObject(wf), now)))
}

func TestAWorkflowIsFoundByTheNameOfItsRemoteWorkflow(t *testing.T) {
	store, wf := newWorkflow(t)
	target, patch := patchOf(wf, `{"annotations":{"`+contract.AnnotationRemoteWorkflow+`":"demo-0123"}}`)
	require.NoError(t, store.Patch(t.Context(), target, patch))
	for name, count := range map[string]int{"demo-0123": 1, "another": 0} {
		list := contract.NewWorkflowList()
		require.NoError(t, store.List(t.Context(), list, client.MatchingFields{"remoteWorkflow": name}))
		assert.Len(t, list.Items, count, name)
	}
}

func TestArgoRunsWhatIsNotGated(t *testing.T) {
	ended := make(chan *unstructured.Unstructured, 1)
	controller := argo{runTime: time.Millisecond}
	controller.store = NewStore(func(_, after *unstructured.Unstructured) {
		controller.look(after)
		if contract.IsFinished(contract.Phase(after)) {
			ended <- after
		}
	})
	for name, labels := range map[string]map[string]string{"gated": {labelInstanceID: contract.InstanceIDGate}, "open": {}} {
		wf := contract.NewWorkflow()
		wf.SetName(name)
		wf.SetLabels(labels)
		require.NoError(t, controller.store.Create(t.Context(), wf))
	}
	wf := <-ended
	assert.Equal(t, "open", wf.GetName())
	assert.Equal(t, "Succeeded", wf.GetLabels()["workflows.argoproj.io/phase"])
	gated := contract.NewWorkflow()
	require.NoError(t, controller.store.Get(t.Context(), client.ObjectKey{Name: "gated"}, gated))
	assert.Empty(t, contract.Phase(gated))
}
