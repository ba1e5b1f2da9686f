package integration

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/agent"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// isGuarded returns an error unless the run on its cluster has the agent's finalizer, or has it not.
func (r *run) isGuarded(want bool) error {
	wf, err := r.get(r.cluster)
	if err == nil && slices.Contains(wf.GetFinalizers(), contract.FinalizerReport) != want {
		return errors.New("its finalizers are not as wanted")
	}
	return err
}

// ofAnotherHub creates a run on the cluster that another hub has sent, under the same name of the cluster.
func ofAnotherHub(t *testing.T, s *space, c *cluster) *unstructured.Unstructured {
	t.Helper()
	wf := local(s, "of-another-hub")
	wf.SetLabels(map[string]string{contract.LabelCluster: c.name})
	wf.SetAnnotations(map[string]string{contract.AnnotationHubID: "another"})
	wf.SetFinalizers([]string{contract.FinalizerReport})
	require.NoError(t, c.client.Create(t.Context(), wf))
	t.Cleanup(func() {
		wf.SetFinalizers(nil)
		assert.NoError(t, c.client.Update(context.Background(), wf))
		assert.NoError(t, c.client.Delete(context.Background(), wf))
	})
	return wf
}

func TestWorkflowsThatThePreDeleteHookReleasesRunOnAndAreReportedByTheNextAgent(t *testing.T) {
	s := newSpace(t)
	r, gone := s.create("released", cluster1), s.create("deleted-meanwhile", cluster1)
	for _, r := range []*run{r, gone} {
		r.starts()
		r.runsOn()
		require.NoError(t, r.isGuarded(true))
	}
	other := ofAnotherHub(t, s, cluster1)
	stopAgent(t, agent1)

	access, err := cluster1.server.User(clusterUser)
	require.NoError(t, err)
	options := agent.ReleaseOptions{HubID: theHub.id, ClusterName: cluster1.name, Namespace: agentNamespace, Timeout: patience}
	out := &bytes.Buffer{}
	require.NoError(t, agent.Release(t.Context(), access, options, out))
	assert.Contains(t, out.String(), s.name+"/released: released\n")
	assert.Contains(t, out.String(), s.name+"/deleted-meanwhile: released\n")
	require.NoError(t, r.isGuarded(false))
	require.NoError(t, cluster1.client.Get(t.Context(), client.ObjectKeyFromObject(other), other))
	assert.Equal(t, []string{contract.FinalizerReport}, other.GetFinalizers())

	gone.delete(theHub)
	gone.waitUntilWithdrawn()
	require.NoError(t, agent1.start())
	gone.isGone()
	eventually(t, func() error { return r.isGuarded(true) })
	r.succeeds()
}

func TestWorkflowsAreReleasedWhenTheAgentsNamespaceIsDeleted(t *testing.T) {
	s := newSpace(t)
	r := s.create("released", cluster1)
	r.starts()
	r.runsOn()
	other := ofAnotherHub(t, s, cluster1)
	stopAgent(t, agent1)

	// Another agent of the same hub, in a namespace that goes.
	require.NoError(t, deploy(t.Context(), cluster1, s.name+"-agent"))
	user, groups := hubIdentity(cluster1)
	kubeconfig, err := theHub.server.Kubeconfig(user, groups...)
	require.NoError(t, err)
	options := agent1.options()
	options.HubKubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(options.HubKubeconfig, kubeconfig, 0o600))
	options.HubID, options.Namespace = theHub.id, s.name+"-agent"
	access, err := cluster1.server.User("system:serviceaccount:" + options.Namespace + ":" + contract.AddonName + "-agent")
	require.NoError(t, err)
	going := inBackground(func(ctx context.Context) error { return agent.Run(ctx, access, options) })

	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: options.Namespace}}
	require.NoError(t, cluster1.client.Delete(t.Context(), namespace))
	eventually(t, func() error { return r.isGuarded(false) })
	require.NoError(t, cluster1.client.Get(t.Context(), client.ObjectKeyFromObject(other), other))
	assert.Equal(t, []string{contract.FinalizerReport}, other.GetFinalizers())

	assert.Empty(t, going.result, "the agent waits to be stopped, so that it is not started again")
	require.NoError(t, going.stop())

	require.NoError(t, agent1.start())
	r.succeeds()
}

// local builds a Workflow that a user of a managed cluster has created there.
func local(s *space, name string) *unstructured.Unstructured {
	wf := gen.Workflow(name, gen.InNamespace(s.name))
	wf.SetLabels(nil)
	return wf
}
