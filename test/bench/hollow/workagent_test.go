package hollow

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// workAgentEnv is a work agent between a fake hub and a store.
type workAgentEnv struct {
	*workAgents
	t      *testing.T
	store  *Store
	key    client.ObjectKey
	writes int
	names  []string
}

// newWorkAgent returns a work agent for a ManifestWork that carries Workflows.
func newWorkAgent(t *testing.T, policy workv1.DeletePropagationPolicyType, workflows ...string) *workAgentEnv {
	t.Helper()
	e := &workAgentEnv{t: t, key: client.ObjectKey{Namespace: "hollow-0001", Name: "work"}}
	e.store = NewStore(func(_, _ *unstructured.Unstructured) {})
	work := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: e.key.Namespace, Name: e.key.Name, UID: "work-uid"}}
	work.Spec.DeleteOption = &workv1.DeleteOption{PropagationPolicy: policy}
	for _, name := range workflows {
		wf := contract.NewWorkflow()
		wf.SetNamespace("default")
		wf.SetName(name)
		raw, err := json.Marshal(wf)
		require.NoError(t, err)
		work.Spec.Workload.Manifests = append(work.Spec.Workload.Manifests, workv1.Manifest{RawExtension: runtime.RawExtension{Raw: raw}})
	}
	scheme, err := Scheme()
	require.NoError(t, err)
	hub := fake.NewClientBuilder().WithScheme(scheme).WithObjects(work).WithStatusSubresource(work).Build()
	e.workAgents = &workAgents{
		hub: interceptor.NewClient(hub, interceptor.Funcs{
			Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
				e.writes++
				return c.Patch(ctx, obj, patch, opts...)
			},
			SubResourcePatch: func(
				ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption,
			) error {
				e.writes++
				return c.SubResource(sub).Patch(ctx, obj, patch, opts...)
			},
		}),
		stores: func(string) *Store { return e.store }, listed: func(name string) { e.names = append(e.names, name) },
		poll: time.Minute, applied: map[types.UID]string{},
	}
	return e
}

func (e *workAgentEnv) reconcile(times int) {
	e.t.Helper()
	for range times {
		_, err := e.Reconcile(e.t.Context(), reconcile.Request{NamespacedName: e.key})
		require.NoError(e.t, err)
	}
}

func (e *workAgentEnv) work() *workv1.ManifestWork {
	e.t.Helper()
	work := &workv1.ManifestWork{}
	require.NoError(e.t, e.hub.Get(e.t.Context(), e.key, work))
	return work
}

func TestTheWorkAgentCreatesAllThatAManifestWorkListsInThreeWrites(t *testing.T) {
	e := newWorkAgent(t, workv1.DeletePropagationPolicyTypeOrphan, "a", "b")
	e.reconcile(4)
	assert.Equal(t, 3, e.writes, "finalizer, Applied, Available")
	assert.Equal(t, []string{"a", "b"}, e.names)
	work := e.work()
	assert.Equal(t, []string{workv1.ManifestWorkFinalizer}, work.Finalizers)
	require.Len(t, work.Status.ResourceStatus.Manifests, 2)
	for _, manifest := range work.Status.ResourceStatus.Manifests {
		assert.True(t, meta.IsStatusConditionTrue(manifest.Conditions, workv1.ManifestApplied))
		assert.True(t, meta.IsStatusConditionTrue(manifest.Conditions, workv1.ManifestAvailable))
	}
	assert.True(t, meta.IsStatusConditionTrue(work.Status.Conditions, workv1.WorkAvailable))
}

func TestWhatIsDeletedWithItsManifestWorkIsWhatThatOwns(t *testing.T) {
	for policy, left := range map[workv1.DeletePropagationPolicyType]int{
		workv1.DeletePropagationPolicyTypeOrphan: 1, workv1.DeletePropagationPolicyTypeForeground: 0,
	} {
		e := newWorkAgent(t, policy, "a")
		e.reconcile(3)
		require.NoError(t, e.hub.Delete(t.Context(), e.work()))
		e.reconcile(2)
		require.Error(t, e.hub.Get(t.Context(), e.key, &workv1.ManifestWork{}), "it is gone")
		assert.Len(t, e.store.objects, left, policy)
	}
}

func TestWhatIsGoneIsNotCreatedAgainBeforeTheManifestWorkChanges(t *testing.T) {
	e := newWorkAgent(t, workv1.DeletePropagationPolicyTypeOrphan, "a")
	e.reconcile(3)
	wf := contract.NewWorkflow()
	require.NoError(t, e.store.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "a"}, wf))
	require.NoError(t, e.store.Delete(t.Context(), wf))
	e.reconcile(1)
	assert.Empty(t, e.store.objects)
	assert.True(t, meta.IsStatusConditionFalse(e.work().Status.Conditions, workv1.WorkAvailable))

	changed := e.work()
	changed.Labels = map[string]string{"touched": "1"}
	require.NoError(t, e.hub.Update(t.Context(), changed))
	e.reconcile(1)
	assert.Len(t, e.store.objects, 1)
}
