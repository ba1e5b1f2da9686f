package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// What README.md says of using it is done by somebody who has Kubernetes' role edit in the namespace, and nothing else. The verbs are tried by
// TestWhoMayEditANamespaceDoesEachVerbThereAndWhoMayViewItLooksOn.
func TestWhoMayEditANamespaceDoesWhatTheREADMESays(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.placement("workflow-placement", cluster1.Name)
	_, editor := s.ordinary("edit")
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, example, _ := strings.Cut(string(readme), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	file := filepath.Join(t.TempDir(), "workflow.yaml")
	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(example, "namespace: default", "namespace: "+s.name, 1)), 0o600))
	kubectl := func(args ...string) string {
		out, err := editor.argo(t, append([]string{"kubectl"}, args...))
		require.NoError(t, err, out)
		return out
	}
	kubectl("apply", "-f", file)
	r := existing(t, s.name, "hello-world")
	r.waitFor("Succeeded")
	assert.Contains(t, kubectl("get", "workflow"), "Succeeded")
	assert.Contains(t, kubectl("describe", "workflow", "hello-world"), "assigned to cluster "+cluster1.Name)
	out, err := editor.argo(t, []string{"kubectl", "annotate", "workflow", "hello-world", "--overwrite", contract.AnnotationCluster + "=" + cluster2.Name})
	require.ErrorContains(t, err, "ValidatingAdmissionPolicy", out)
	kubectl("delete", "workflow", "hello-world")
	r.waitUntilGone(cluster1)
}

// The commands that the documentation has for a team and its Workflows. Package install runs most of the others.
func TestTheCommandsForATeamDoWhatTheirPagesSay(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	const permissions = "docs/permissions.md"
	team := []string{"team-a", s.name}
	labtest.Documented(t, theHub.Cluster, permissions, "rights of a team", team...)
	out, err := theHub.Tool(t.Context(), "kubectl", "auth", "can-i", "create", "workflows.argoproj.io", "--namespace", s.name,
		"--as", "alice", "--as-group", s.name)
	require.NoError(t, err)
	assert.Equal(t, "yes\n", out)
	labtest.Documented(t, theHub.Cluster, permissions, "executor", append(team, " gpu ", " "+gen.GlobalSet+" ")...)
	labtest.Documented(t, cluster1.Cluster, permissions, "ServiceAccount", team...)
	labtest.Documented(t, theHub.Cluster, "docs/placement.md", "cap", team...)
	s.create(s.hello("on-the-cluster", on(cluster1))).waitFor("Succeeded") // as that ServiceAccount

	for page, replacements := range map[string][]string{
		"docs/operate.md":     {"NAMESPACE", s.name, "NAME", "hangs"},
		"docs/reliability.md": {"hello-world", "hangs --namespace " + s.name},
	} {
		r := s.create(s.hello("hangs", on(cluster1), lasting(10*time.Minute)))
		r.waitForNodes(1)
		r.edit(cluster1, fmt.Sprintf(`{"metadata":{"finalizers":["example.com/hold",%q]}}`, contract.FinalizerReport))
		require.NoError(t, theHub.client.Delete(t.Context(), r.must(theHub)))
		labtest.Documented(t, theHub.Cluster, page, "release", replacements...)
		labtest.Eventually(t, patience, func() error { return r.gone(theHub) })
		r.edit(cluster1, `{"metadata":{"finalizers":null}}`)
		r.waitUntilGone(cluster1)
	}
}
