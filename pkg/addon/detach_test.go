package addon

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestTheAddonOfADetachedClusterIsLetGoOnlyIfItCannotBeReached(t *testing.T) {
	tests := map[string]struct {
		detached, disabled bool
		available          metav1.ConditionStatus
		// isPast is whether there is no ManagedCluster any more.
		isPast bool
		gone   bool
	}{
		"detached and away":              {true, true, metav1.ConditionUnknown, false, true},
		"detached, and never joined":     {true, true, "", false, true},
		"detached, and gone already":     {true, true, "", true, true},
		"detached, its addon not yet":    {true, false, metav1.ConditionUnknown, false, false},
		"detached and there":             {true, true, metav1.ConditionTrue, false, false},
		"away, with the addon disabled":  {false, true, metav1.ConditionUnknown, false, false},
		"there, with the addon disabled": {false, true, metav1.ConditionTrue, false, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			scheme := runtime.NewScheme()
			require.NoError(t, addonv1beta1.Install(scheme))
			require.NoError(t, clusterv1.Install(scheme))
			now := metav1.Now()
			cluster := gen.ManagedCluster("cluster1")
			cluster.Status.Conditions = nil
			if test.available != "" {
				cluster.Status.Conditions = []metav1.Condition{{Type: clusterv1.ManagedClusterConditionAvailable, Status: test.available}}
			}
			if test.detached {
				cluster.DeletionTimestamp, cluster.Finalizers = &now, []string{"cluster.open-cluster-management.io/api-resource-cleanup"}
			}
			addon := gen.ManagedClusterAddOn("cluster1")
			addon.Finalizers = []string{addonv1beta1.AddonPreDeleteHookFinalizer}
			if test.disabled {
				addon.DeletionTimestamp = &now
			}
			objects := []client.Object{addon, cluster}
			if test.isPast {
				objects = objects[:1]
			}
			c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()
			recorder := events.NewFakeRecorder(10)
			r := &detachReconciler{client: c, recorder: recorder, hubID: "hub"}

			_, err := r.Reconcile(t.Context(), agentAddonOf(t.Context(), cluster)[0])
			require.NoError(t, err)
			err = c.Get(t.Context(), client.ObjectKeyFromObject(addon), addon)
			assert.Equal(t, test.gone, apierrors.IsNotFound(err), "%v", err)
			if test.gone {
				require.Len(t, recorder.Events, 1)
				assert.Contains(t, <-recorder.Events, "argo-multicluster agent release --hub-id=hub")
			} else {
				assert.Empty(t, recorder.Events)
			}
		})
	}
}
