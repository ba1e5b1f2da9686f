package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// TestAWorkflowFromGitIsSyncedAndPrunedByAnEditorOfItsNamespace does what a GitOps tool does, with Kubernetes' own role: it applies what is in
// Git again and again, as a field manager of its own, and prunes what bears its mark and is not in Git.
func TestAWorkflowFromGitIsSyncedAndPrunedByAnEditorOfItsNamespace(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.placement("workflow-placement", cluster1.Name)
	_, editor := s.ordinary("edit")
	mark := client.MatchingLabels{"app.kubernetes.io/instance": s.name}
	wf := s.hello("from-git", gen.WithPlacement("workflow-placement"))
	wf.SetLabels(map[string]string{contract.LabelEnable: contract.LabelEnableValue, "app.kubernetes.io/instance": s.name})
	annotations := wf.GetAnnotations()
	annotations["argocd.argoproj.io/tracking-id"] = s.name + ":argoproj.io/Workflow:" + s.name + "/from-git"
	wf.SetAnnotations(annotations)
	wf.SetUID("")
	wf.SetCreationTimestamp(metav1.Time{})
	raw, err := json.Marshal(wf)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "workflow.json")
	require.NoError(t, os.WriteFile(file, raw, 0o600))
	sync := func() {
		out, err := editor.argo(t, []string{"kubectl", "apply", "--server-side", "--field-manager=argocd-controller", "-f", file})
		require.NoError(t, err, out)
	}
	sync()
	r := &run{t: t, key: client.ObjectKeyFromObject(wf)}
	r.uid = r.must(theHub).GetUID()
	r.waitFor("Succeeded")
	before := r.must(theHub)
	sync()
	after := r.must(theHub)
	assert.Equal(t, r.uid, after.GetUID())
	assert.Equal(t, contract.Status(before), contract.Status(after), "what the manager writes is not in Git, and stays")
	assert.Equal(t, before.GetAnnotations(), after.GetAnnotations())
	assert.Equal(t, before.GetFinalizers(), after.GetFinalizers())

	// What bears the mark beside what is in Git would be pruned.
	for name, list := range map[string]client.ObjectList{
		"RemoteWorkflows": &v1alpha1.RemoteWorkflowList{}, "ManifestWorks": &workv1.ManifestWorkList{},
	} {
		require.NoError(t, theHub.client.List(t.Context(), list, mark))
		raw, err := json.Marshal(list)
		require.NoError(t, err)
		assert.NotContains(t, string(raw), r.key.Name, name)
	}
	remote := &unstructured.UnstructuredList{}
	remote.SetGroupVersionKind(contract.WorkflowGVK)
	require.NoError(t, cluster1.client.List(t.Context(), remote, mark))
	assert.Empty(t, remote.Items, "another instance of the tool would prune the remote Workflow")
	assert.NotContains(t, r.must(cluster1).GetAnnotations(), "argocd.argoproj.io/tracking-id")

	out, err := editor.argo(t, []string{"kubectl", "delete", "workflow", r.key.Name, "--wait=false"})
	require.NoError(t, err, out)
	r.waitUntilGone(cluster1)
}
