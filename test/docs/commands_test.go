package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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
	called := callsOf(t, "../..")
	language := regexp.MustCompile("(?m)^ *```([^\n]*)\n((?s:.*?))\n *```$")
	blocks := 0
	for _, file := range pages(t, "../..") {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, block := range language.FindAllStringSubmatch(string(text), -1) {
			assert.Contains(t, []string{"sh", "console", "yaml", "text", "mermaid"}, block[1], "%s: the language of this:\n%s", file, block[2])
		}
		all, err := docs.AllCommands(file)
		require.NoError(t, err)
		names := map[string]bool{}
		for _, c := range all {
			blocks++
			switch {
			case c.Name != "":
				assert.False(t, names[c.Name], "%s: there are two %q", file, c.Name)
				names[c.Name] = true
				isRun := slices.ContainsFunc(called, func(by call) bool { return by.has(strings.TrimPrefix(file, "../../")) && by.has(c.Name) })
				assert.True(t, isRun, "%s: no test runs %q:\n%s", file, c.Name, c.Script)
			default:
				assert.NotEmpty(t, c.NotRun, "%s: a line <!-- run: name --> or <!-- not run: why --> must stand before this:\n%s", file, c.Script)
			}
		}
	}
	require.Greater(t, blocks, 40)
}

// call is a call in a test that runs commands of a page.
type call struct {
	// texts are its arguments that are constants. open is whether others are variables, which have one of the texts in the same file.
	texts, inFile map[string]bool
	open          bool
}

// has reports whether the text may be an argument.
func (c call) has(text string) bool { return c.texts[text] || c.open && c.inFile[text] }

// callsOf are all such calls of the tests.
func callsOf(t *testing.T, root string) (calls []call) {
	t.Helper()
	for _, sub := range []string{"cmd", "pkg", "test"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(root, sub), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "commands_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err == nil {
				calls = append(calls, callsIn(file)...)
			}
			return err
		}))
	}
	return calls
}

func callsIn(file *ast.File) (calls []call) {
	constants, inFile := map[string][]string{}, map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			for i, name := range n.Names {
				if i < len(n.Values) && textOf(n.Values[i]) != "" {
					constants[name.Name] = append(constants[name.Name], textOf(n.Values[i]))
				}
			}
		case *ast.BasicLit:
			inFile[strings.TrimPrefix(textOf(n), "../../../")] = true
		}
		return true
	})
	ast.Inspect(file, func(n ast.Node) bool {
		invoked, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		selector, ok := invoked.Fun.(*ast.SelectorExpr)
		if !ok || !slices.Contains([]string{"Documented", "documented", "Script"}, selector.Sel.Name) {
			return true
		}
		c := call{texts: map[string]bool{}, inFile: inFile}
		for _, arg := range invoked.Args {
			if name, ok := arg.(*ast.Ident); ok && name.Name != "t" {
				for _, text := range constants[name.Name] {
					c.texts[text] = true
				}
				c.open = c.open || len(constants[name.Name]) == 0
			} else if text := textOf(arg); text != "" {
				c.texts[strings.TrimPrefix(text, "../../../")] = true
			}
		}
		calls = append(calls, c)
		return true
	})
	return calls
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
