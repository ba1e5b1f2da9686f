package labtest

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/test/docs"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

// Documented runs the commands of that name of a page, given by its path in the repository, on a cluster of the lab, with replacements as
// for docs.Script. It shows what they do, and returns what they print.
func Documented(t *testing.T, on *lab.Cluster, page, name string, replacements ...string) string {
	t.Helper()
	script, err := docs.Script(filepath.Join(on.Repository(), page), name, replacements...)
	require.NoError(t, err)
	t.Logf("%s on %s:\n%s", page, on.Name, script)
	out, err := on.Shell(t.Context(), script)
	require.NoError(t, err)
	t.Log(out)
	return out
}
