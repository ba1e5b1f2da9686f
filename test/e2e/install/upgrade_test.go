package install

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/docs"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// envFrom is the revision that TestAnEarlierVersionIsUpgraded begins with.
const envFrom = "UPGRADE_FROM"

// TestAnEarlierVersionIsUpgraded installs chart and program of an earlier commit, and upgrades them as docs/upgrade.md says, while one
// Workflow runs and another waits. The leading manager is killed while a hundred run. At the end it is installed once more, and removed
// with all that there is of it.
func TestAnEarlierVersionIsUpgraded(t *testing.T) {
	revision := os.Getenv(envFrom)
	if revision == "" {
		t.Skip("it builds an earlier version, which takes minutes: it runs in make test-upgrade, as root on Linux")
	}
	require.Equal(t, lab.PodsReal, theLab.Options().Pods, "the product runs in pods: run it as root on Linux")
	source := filepath.Join(t.TempDir(), "earlier")
	git(t, "worktree", "add", "--detach", source, revision)
	t.Cleanup(func() { git(t, "worktree", "remove", "--force", source) })
	require.NoError(t, theLab.UseSource(t.Context(), source))
	earlier, err := theLab.PublishProduct(t.Context())
	require.NoError(t, err)
	theHub.run(t, "helm", "install", lab.ChartRelease, filepath.Join(source, "charts", lab.AddonName), "--namespace", lab.ChartRelease,
		"--create-namespace", "--set=image.tag="+earlier, "--wait", "--timeout=2m")
	enable(t, lab.ArgoAddonName+","+contract.AddonName, "cluster1,cluster2")
	waitAvailable(t, cluster1, cluster2)
	theHub.run(t, "kubectl", "apply", "-f", "example/clusterset-binding.yaml", "-f", "example/workflow-placement.yaml")
	createWorkflowOn(t, cluster1, "ended", "true")
	waitWorkflow(t, theHub, "ended", "Succeeded", "")
	createWorkflowOn(t, cluster2, "runs", "sleep 90; echo done")
	waitWorkflow(t, theHub, "runs", "Running", "")
	create(t, "waits", "true", contract.AnnotationPlacement, "later")
	waitWorkflow(t, theHub, "waits", "Pending", "later")
	before := recorded(t)

	require.NoError(t, theLab.UseSource(t.Context(), ""))
	now, err := theLab.PublishProduct(t.Context())
	require.NoError(t, err)
	assert.NotEqual(t, earlier, now)
	const page, owning = "docs/upgrade.md", "--take-ownership"
	script, err := docs.Script(filepath.Join(theHub.Repository(), page), "upgrade")
	require.NoError(t, err)
	_, err = theHub.Shell(t.Context(), script)
	require.ErrorContains(t, err, "invalid ownership metadata")
	theHub.documented(t, page, "take ownership", owning, owning+" --wait --timeout=2m --set=image.tag="+now)
	for _, c := range []*cluster{cluster1, cluster2} {
		labtest.Eventually(t, patience, func() error { return agentRuns(t, c, lab.ProductImage+":"+now) })
	}
	require.NoError(t, workflow(t.Context(), theHub, "runs", "Running", ""), "it is upgraded while this runs")
	require.NoError(t, theHub.client.Create(t.Context(), gen.Placement("later", gen.InNamespace("default"))))
	for _, name := range []string{"waits", "runs", "ended"} {
		waitWorkflow(t, theHub, name, "Succeeded", "")
	}
	after := recorded(t)
	for name, uid := range before {
		assert.Equal(t, uid, after[name], "UID that RemoteWorkflow %s records", name)
	}
	leaderKilled(t)
	theHub.run(t, "kubectl", "delete", "workflow", "--all", "--timeout=2m")
	theHub.documented(t, page, "uninstall")
	noLeftovers(t, theHub, append([]string{
		"namespaces /" + lab.ChartRelease, "configmaps " + lab.ChartRelease + "/kube-root-ca.crt",
		"serviceaccounts " + lab.ChartRelease + "/default",
	}, chartKept...)...)
	againByPlacement(t)
}

// againByPlacement installs the chart once more, on a cluster that a Placement selects, and removes all that there is of it.
func againByPlacement(t *testing.T) {
	t.Helper()
	const upgrade = "docs/upgrade.md"
	theHub.documented(t, "docs/install.md", "by Placement")
	createWorkflowOn(t, cluster1, "once-more", "true")
	waitWorkflow(t, theHub, "once-more", "Succeeded", "")
	theHub.documented(t, upgrade, "delete Workflows")
	theHub.documented(t, upgrade, "uninstall")
	theHub.documented(t, upgrade, "delete the rest")
	theHub.documented(t, upgrade, "delete CRDs")
	noLeftovers(t, theHub)
	cluster1.documented(t, upgrade, "delete Argo")
	noLeftovers(t, cluster1)
	cluster2.documented(t, upgrade, "keep Argo")
	assert.Contains(t, cluster2.documented(t, upgrade, "delete Argo"), "No resources found")
}

// git runs git in the repository.
func git(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("git", args...) // also when the test has ended
	cmd.Dir = theHub.Repository()
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}
