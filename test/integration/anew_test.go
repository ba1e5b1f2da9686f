package integration

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestWorkflowWhoseClusterIsDetachedBeforeItStartsRunsWhereItsPlacementChoosesAnew(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	const leaving = "leaving"
	managed, addon := gen.ManagedCluster(leaving), gen.ManagedClusterAddOn(leaving)
	require.NoError(t, theHub.client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: leaving}}))
	require.NoError(t, createWithStatus(t.Context(), managed))
	require.NoError(t, createWithStatus(t.Context(), addon))
	decision := gen.PlacementDecision("anywhere", 1, []string{leaving}, gen.InNamespace(s.name))
	require.NoError(t, theHub.client.Create(t.Context(), gen.Placement("anywhere", gen.InNamespace(s.name))))
	require.NoError(t, createWithStatus(t.Context(), decision))
	r := s.createOnHub(cluster2, gen.Workflow("moves", gen.InNamespace(s.name), gen.WithPlacement("anywhere")))

	first, rw := client.ObjectKey{Namespace: leaving, Name: r.name().Name}, &v1alpha1.RemoteWorkflow{}
	sent := func() int {
		var works workv1.ManifestWorkList
		require.NoError(t, theHub.client.List(t.Context(), &works, client.InNamespace(leaving)))
		return len(works.Items)
	}
	eventually(t, func() error {
		if sent() == 0 {
			return errors.New("it is not sent")
		}
		return theHub.client.Get(t.Context(), first, rw)
	})
	require.NoError(t, r.isAssignedTo(leaving))

	// What OCM does.
	require.NoError(t, theHub.client.Delete(t.Context(), addon))
	require.NoError(t, theHub.client.Delete(t.Context(), managed))
	eventually(t, func() error {
		if err := theHub.client.Get(t.Context(), first, rw); !apierrors.IsNotFound(err) {
			return errors.Join(err, errors.New("the RemoteWorkflow is kept"))
		}
		return nil
	})
	r.waitForEvent("ClusterTakenBack", `nothing has started on managed cluster "leaving"`)
	r.waitFor("Pending", "cannot run Workflows: no such ManagedCluster")
	decision.Status.Decisions[0].ClusterName = cluster2.name
	require.NoError(t, theHub.client.Status().Update(t.Context(), decision))

	r.runs()
	require.NoError(t, r.isAssignedTo(cluster2.name))
	assert.Equal(t, []string{contract.FinalizerDispatch}, r.must(theHub).GetFinalizers())
	assert.Zero(t, sent())
	r.isGone()
	assert.Len(t, s.seen[cluster2].open("moves"), 1)
}
