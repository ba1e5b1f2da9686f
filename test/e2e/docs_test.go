package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

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
