package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/test/docs"
)

// A command that nobody runs is wrong some day. So each block of them says in a comment before it, which the page does not show, under which
// name a test runs it, or why none does.
func TestEveryCommandIsRunByATestOrSaysWhyNot(t *testing.T) {
	t.Parallel()
	tests := sources(t, "../..")
	blocks := 0
	for _, file := range pages(t, "../..") {
		all, err := docs.AllCommands(file)
		require.NoError(t, err)
		names := map[string]bool{}
		for _, c := range all {
			blocks++
			switch {
			case c.Name != "":
				assert.False(t, names[c.Name], "%s: there are two %q", file, c.Name)
				names[c.Name] = true
				path := strings.TrimPrefix(file, "../../")
				assert.True(t, anyHas(tests, path+`"`, `"`+c.Name+`"`), "%s: no test runs %q:\n%s", file, c.Name, c.Script)
			default:
				assert.NotEmpty(t, c.NotRun, "%s: a line <!-- run: name --> or <!-- not run: why --> must stand before this:\n%s", file, c.Script)
			}
		}
	}
	require.Greater(t, blocks, 40)
}

// sources are the texts of all tests.
func sources(t *testing.T, dir string) (texts []string) {
	t.Helper()
	for _, sub := range []string{"cmd", "pkg", "test"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(dir, sub), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			texts = append(texts, string(text))
			return err
		}))
	}
	return texts
}

// anyHas reports whether all parts are in one of the texts.
func anyHas(texts []string, parts ...string) bool {
	for _, text := range texts {
		all := true
		for _, part := range parts {
			all = all && strings.Contains(text, part)
		}
		if all {
			return true
		}
	}
	return false
}

func TestAScriptIsWhatThePageSays(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "page.md")
	require.NoError(t, os.WriteFile(file, []byte("1. First:\n\n   <!-- run: it -->\n   ```sh\n   a \\\n     --name NAME\n\n   b\n   ```\n\n"+
		"<!-- not run: it is the end of the world -->\n```sh\nc\n```\n\n```sh\nd\n```\n"), 0o600))
	all, err := docs.AllCommands(file)
	require.NoError(t, err)
	assert.Equal(t, []docs.Commands{
		{Name: "it", Script: "a \\\n  --name NAME\n\nb\n"}, {NotRun: "it is the end of the world", Script: "c\n"}, {Script: "d\n"},
	}, all)
	script, err := docs.Script(file, "it", "NAME", "x")
	require.NoError(t, err)
	assert.Equal(t, "a \\\n  --name x\n\nb\n", script)
	_, err = docs.Script(file, "it", "OTHER", "x")
	require.ErrorContains(t, err, `no "OTHER"`)
	_, err = docs.Script(file, "that")
	require.ErrorContains(t, err, "no commands")
}
