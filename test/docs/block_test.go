package docs_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/test/docs"
)

func TestAGeneratedPartIsReplacedAndNothingElse(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "guide.md")
	const before, after = "# Guide\n\n<!-- begin: a table -->\n", "<!-- end: a table -->\n\nMore.\n"
	require.NoError(t, os.WriteFile(file, []byte(before+"old\n"+after), 0o600))
	require.NoError(t, docs.SetBlock(file, "a table", "new\nlines\n"))
	block, err := docs.Block(file, "a table")
	require.NoError(t, err)
	assert.Equal(t, "new\nlines\n", block)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, before+"new\nlines\n"+after, string(text))
	require.ErrorContains(t, docs.SetBlock(file, "another", ""), "has no part")
}
