package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

const root = "../.."

var (
	// target is a target of the Makefile with a name that is written down.
	target = regexp.MustCompile(`(?m)^([a-z][a-z0-9-]*):`)
	// called is how a shell calls make: at the beginning of a command, or as the argument of another one.
	called = regexp.MustCompile(`(?:\A|\n|[;&|(] *|[A-Za-z0-9"] )make((?: +[A-Z]+=\S+)*) +([a-z][a-z0-9-]*)`)
	// codeSpan and codeBlock are what Markdown shows as code.
	codeSpan  = regexp.MustCompile("`(make [^`]+)`")
	codeBlock = regexp.MustCompile("(?s)(?:\\A|\n) *```[a-z]*\n(.*?)\n *```(?:\n|\\z)")
	comment   = regexp.MustCompile(`(?m)(?:^|\s)#.*$`)
)

// workflow is what is checked of a file in .github/workflows.
type workflow struct {
	Permissions map[string]string `json:"permissions"`
	Jobs        map[string]struct {
		Steps []struct {
			Run, Uses string
		}
	}
}

// workflows returns all workflows by the name of their file.
func workflows(t *testing.T) map[string]workflow {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, ".github", "workflows", "*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	found := map[string]workflow{}
	for _, file := range files {
		var w workflow
		readYAML(t, file, &w)
		require.NotEmpty(t, w.Jobs, file)
		found[filepath.Base(file)] = w
	}
	return found
}

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	require.NoError(t, yaml.Unmarshal([]byte(read(t, file)), into), file)
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}

// targets returns the targets of make that the commands call.
func targets(commands string) (names []string) {
	for _, call := range called.FindAllStringSubmatch(comment.ReplaceAllString(commands, ""), -1) {
		names = append(names, call[2])
	}
	return names
}

// commandsIn returns the commands that a Markdown file shows.
func commandsIn(text string) string {
	var commands []string
	for _, block := range codeBlock.FindAllStringSubmatch(text, -1) {
		commands = append(commands, block[1])
	}
	for _, span := range codeSpan.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
		commands = append(commands, span[1])
	}
	return strings.Join(commands, "\n")
}

func TestEveryTargetThatIsNamedIsInTheMakefile(t *testing.T) {
	there := map[string]bool{}
	for _, name := range target.FindAllStringSubmatch(read(t, filepath.Join(root, "Makefile")), -1) {
		there[name[1]] = true
	}
	require.True(t, there["verify"])
	named := map[string][]string{".ci/run": targets(read(t, filepath.Join(root, ".ci", "run")))}
	for file, w := range workflows(t) {
		for _, job := range w.Jobs {
			for _, step := range job.Steps {
				named[file] = append(named[file], targets(step.Run)...)
			}
		}
	}
	for _, file := range markdown(t) {
		named[file] = targets(commandsIn(read(t, file)))
	}
	for file, names := range named {
		for _, name := range names {
			assert.True(t, there[name], "%s names make %s, which is not in the Makefile", file, name)
		}
	}
	// What is not found is not checked.
	assert.Subset(t, named[".ci/run"], []string{"verify", "test"})
	assert.Equal(t, []string{"vulncheck"}, named["ci.yaml"])
	assert.Equal(t, []string{"test-slow"}, named["slow.yaml"])
	assert.ElementsMatch(t, []string{"release", "image"}, named["release.yaml"])
	assert.Contains(t, named[filepath.Join(root, "README.md")], "demo-down")
	assert.Contains(t, named[filepath.Join(root, "CONTRIBUTING.md")], "test-chaos-checker")
}

// markdown returns the Markdown files of the project.
func markdown(t *testing.T) (files []string) {
	t.Helper()
	t.Helper()
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "charts/*/*.md", ".github/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		files = append(files, found...)
	}
	return files
}

func TestCIRunsWhatCanBeRunAnywhere(t *testing.T) {
	steps := workflows(t)["ci.yaml"].Jobs["run"].Steps
	for _, step := range steps {
		if strings.HasSuffix(step.Run, " .ci/run") {
			return
		}
	}
	t.Errorf("no step runs .ci/run: %v", steps)
}

func TestWorkflowsPinTheirActionsAndMayOnlyReadByDefault(t *testing.T) {
	pinned := regexp.MustCompile(`^[\w-]+/[\w-]+@v\d+\.\d+\.\d+$`)
	for file, w := range workflows(t) {
		assert.NotNil(t, w.Permissions, "permissions of %s", file)
		for what, access := range w.Permissions {
			assert.Equal(t, "read", access, "%s of %s", what, file)
		}
		for name, job := range w.Jobs {
			for _, step := range job.Steps {
				if step.Uses != "" {
					assert.Regexp(t, pinned, step.Uses, "%s of %s", name, file)
				}
			}
		}
	}
}

func TestDependabotKnowsEveryModule(t *testing.T) {
	var config struct {
		Updates []struct {
			Ecosystem   string   `json:"package-ecosystem"`
			Directory   string   `json:"directory"`
			Directories []string `json:"directories"`
		}
	}
	readYAML(t, filepath.Join(root, ".github", "dependabot.yml"), &config)
	var known []string
	for _, update := range config.Updates {
		if update.Ecosystem == "gomod" {
			known = slices.Concat(known, update.Directories)
			if update.Directory != "" {
				known = append(known, update.Directory)
			}
		}
	}
	modules := []string{"/"}
	lab := filepath.Join(root, "test", "lab", "tools")
	require.NoError(t, filepath.WalkDir(lab, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == "go.mod" {
			modules = append(modules, strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), root))
		}
		return err
	}))
	assert.ElementsMatch(t, modules, known)
}

func TestEachTestThatVersionsNamesIsThere(t *testing.T) {
	there := testsIn(t, root)
	named := regexp.MustCompile("`(Test[^`]*)`").FindAllStringSubmatch(read(t, filepath.Join(root, "docs", "versions.md")), -1)
	require.NotEmpty(t, named)
	for _, test := range named {
		assert.True(t, there[test[1]], "docs/versions.md names %s, which is not there", test[1])
	}
}
