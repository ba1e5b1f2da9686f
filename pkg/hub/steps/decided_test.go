package steps

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clusterv1beta1 "open-cluster-management.io/api/cluster/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/event"
)

// TestAPlacementHasDecidedOnceAllItsDecisionsAreThere: OCM writes them in pages of 100, and how many they are after the last.
func TestAPlacementHasDecidedOnceAllItsDecisionsAreThere(t *testing.T) {
	page := func(index, from, to int) client.Object {
		d := &clusterv1beta1.PlacementDecision{ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: fmt.Sprint("fleet-decision-", index), Labels: map[string]string{clusterv1beta1.PlacementLabel: "fleet"},
		}}
		for i := from; i < to; i++ {
			d.Status.Decisions = append(d.Status.Decisions, clusterv1beta1.ClusterDecision{ClusterName: fmt.Sprintf("cluster%03d", i)})
		}
		return d
	}
	placement := func(selected int32, annotations map[string]string) client.Object {
		p := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "fleet", Annotations: annotations}}
		p.Status.NumberOfSelectedClusters = selected
		return p
	}
	byOthers := map[string]string{clusterv1beta1.PlacementDisableAnnotation: "true"}
	for name, tc := range map[string]struct {
		has  []client.Object
		want int
	}{
		"all are there":                            {[]client.Object{placement(150, nil), page(1, 0, 100), page(2, 100, 150)}, 150},
		"the second page is not":                   {[]client.Object{placement(150, nil), page(1, 0, 100)}, 0},
		"its status is not, the first time":        {[]client.Object{placement(0, nil), page(1, 0, 100)}, 0},
		"its status is not, after it selects more": {[]client.Object{placement(100, nil), page(1, 0, 100), page(2, 100, 150)}, 0},
		"somebody else decides for it":             {[]client.Object{placement(0, byOthers), page(1, 0, 3)}, 3},
		"it selects none":                          {[]client.Object{placement(0, nil)}, 0},
		"it is deleted":                            {[]client.Object{page(1, 0, 3)}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			scheme := runtime.NewScheme()
			require.NoError(t, clusterv1beta1.Install(scheme))
			got, err := decided(t.Context(), fake.NewClientBuilder().WithScheme(scheme).WithObjects(tc.has...).Build(), "ns", "fleet")
			require.NoError(t, err)
			require.Len(t, got, tc.want)
			if tc.want > 0 {
				assert.Equal(t, "cluster000", got[0])
			}
		})
	}
	assert.True(t, selectionChanged.Update(event.UpdateEvent{ObjectOld: placement(0, nil), ObjectNew: placement(150, nil)}))
	assert.False(t, selectionChanged.Update(event.UpdateEvent{ObjectOld: placement(150, nil), ObjectNew: placement(150, byOthers)}))
}
