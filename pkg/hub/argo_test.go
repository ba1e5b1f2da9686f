package hub

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	testingclock "k8s.io/utils/clock/testing"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

func TestAnArgoControllerOnTheHubIsFoundByItsLease(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	lease := func(namespace string, age time.Duration) client.Object {
		renewed := metav1.NewMicroTime(now.Add(-age))
		return &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: argoLease}, Spec: coordinationv1.LeaseSpec{RenewTime: &renewed},
		}
	}
	scheme, err := Scheme()
	require.NoError(t, err)
	addon := &addonv1beta1.ClusterManagementAddOn{ObjectMeta: metav1.ObjectMeta{Name: contract.AddonName}}
	name := func(obj client.Object) []string { return []string{obj.GetName()} }
	api := fake.NewClientBuilder().WithScheme(scheme).
		WithIndex(&coordinationv1.Lease{}, "metadata.name", name).WithIndex(&addonv1beta1.ClusterManagementAddOn{}, "metadata.name", name).
		WithObjects(addon, lease("gone", time.Hour)).Build()
	recorder := events.NewFakeRecorder(10)
	argo := &hubArgo{live: api, recorder: recorder, clock: testingclock.NewFakePassiveClock(now)}
	found, err := argo.find(t.Context())
	require.NoError(t, err)
	assert.Empty(t, found, "its controller has not renewed it for an hour")
	assert.Empty(t, recorder.Events)

	require.NoError(t, api.Create(t.Context(), lease("argo", time.Second)))
	for range 2 {
		found, err = argo.find(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "argo/workflow-controller", found)
	}
	require.Len(t, recorder.Events, 1, "told once")
	assert.Contains(t, <-recorder.Events, "Warning ArgoOnHub an Argo controller runs on this hub (Lease argo/workflow-controller)")
}
