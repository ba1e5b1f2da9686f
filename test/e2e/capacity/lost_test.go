package capacity

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// A cluster that does not come back is detached as docs/operate.md says. The lab has one cluster less after this test, so it is the last.
func TestAClusterThatIsGoneForGoodIsDetached(t *testing.T) {
	const lost, page, cluster1 = "cluster3", "docs/operate.md", "cluster1"
	f, hub := newFleet(t), theLab.Hub()
	require.NoError(t, client.IgnoreAlreadyExists(f.hub.Create(t.Context(), gen.ManagedClusterSetBinding(gen.GlobalSet))))
	wf := gen.Workflow("lost", gen.WithCluster(lost), gen.WithSpecField([]any{map[string]any{"name": "main", "suspend": map[string]any{}}}, "templates"))
	require.NoError(t, f.hub.Create(t.Context(), wf))
	f.awaitPhase("lost", "Running")
	// OCM waits for five times this before it shows the cluster as Unknown.
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"leaseDurationSeconds":2}}`))
	cluster := &clusterv1.ManagedCluster{}
	cluster.Name = lost
	require.NoError(t, f.hub.Patch(t.Context(), cluster, patch))
	for _, c := range theLab.Managed() {
		if c.Name == lost {
			for _, process := range []string{lab.KlusterletProcess, lab.AgentProcess, "kube-apiserver"} {
				require.NoError(t, c.Kill(process))
			}
		}
	}
	labtest.Documented(t, hub, page, "detach a lost cluster", cluster1, lost)
	f.awaitPhase("lost", "Error")
	labtest.Documented(t, hub, page, "wait for its addons", cluster1, lost)
	labtest.Documented(t, hub, page, "release its ManifestWorks", cluster1, lost)
	require.NoError(t, f.hub.Delete(t.Context(), wf))
	labtest.Eventually(t, seconds, func() error {
		if err := f.hub.Get(t.Context(), client.ObjectKeyFromObject(wf), wf); err == nil {
			return fmt.Errorf("%v is still there", wf.GetFinalizers())
		} else if client.IgnoreNotFound(err) != nil {
			return err
		}
		return nil
	})
}

// awaitPhase waits until the hub Workflow has the phase.
func (f *fleet) awaitPhase(name, phase string) {
	f.t.Helper()
	labtest.Eventually(f.t, patience, func() error {
		wf := contract.NewWorkflow()
		if err := f.hub.Get(f.t.Context(), client.ObjectKey{Namespace: gen.Namespace, Name: name}, wf); err != nil {
			return err
		}
		if got := contract.Phase(wf); got != phase {
			return fmt.Errorf("%s is %q: %s", name, got, contract.StatusString(contract.Status(wf), "message"))
		}
		return nil
	})
}
