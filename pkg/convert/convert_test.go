package convert

import (
	"flag"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/lint"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/manifest"
)

var update = flag.Bool("update", false, "write the expected results anew")

// converted returns the conversion of a file, and its problems, one a line.
func converted(file, text string) (result, problems string) {
	documents, wrong := manifest.Read(file, []byte(text))
	if len(wrong) == 0 {
		result, wrong = Documents(documents, Options{HubCluster: "local-cluster"})
	}
	var lines strings.Builder
	for _, p := range wrong {
		lines.WriteString(p.String() + "\n")
	}
	return result, lines.String()
}

// inputs returns the manifests in the syntax of the proposal, by file.
func inputs(tb testing.TB) map[string]string {
	tb.Helper()
	var files []string
	for _, pattern := range []string{"testdata/*.yaml", "../../example/proposal/*.yaml"} {
		found, err := filepath.Glob(pattern)
		require.NoError(tb, err)
		files = append(files, found...)
	}
	files = slices.DeleteFunc(files, func(file string) bool { return strings.HasSuffix(file, ".converted.yaml") })
	texts := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(tb, err)
		texts[file] = string(text)
	}
	return texts
}

func TestConversionIsAsExpected(t *testing.T) {
	for file, text := range inputs(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			result, problems := converted(filepath.Base(file), text)
			golden(t, filepath.Base(file), ".converted.yaml", result)
			golden(t, filepath.Base(file), ".problems.txt", problems)
		})
	}
}

// golden compares a result with what is expected, where no file is nothing.
func golden(t *testing.T, input, suffix, result string) {
	t.Helper()
	file := filepath.Join("testdata", strings.TrimSuffix(input, ".yaml")+suffix)
	if *update {
		if result != "" {
			require.NoError(t, os.WriteFile(file, []byte(result), 0o644))
		}
		return
	}
	want, err := os.ReadFile(file)
	if result == "" {
		assert.True(t, os.IsNotExist(err), "no longer made: %s", file)
		return
	}
	require.NoError(t, err)
	assert.Equal(t, string(want), result)
}

func TestWhatIsConvertedStaysAsItIs(t *testing.T) {
	for file, text := range inputs(t) {
		result, _ := converted(file, text)
		again, problems := converted(file, result)
		assert.Equal(t, result, again, file)
		assert.NotContains(t, problems, file)
	}
}

func TestWhatIsConvertedHasNoProblems(t *testing.T) {
	for file, text := range inputs(t) {
		result, _ := converted(file, text)
		documents, problems := manifest.Read(file, []byte(result))
		found, steps := lint.Documents(documents)
		problems = slices.DeleteFunc(append(problems, found...), func(p manifest.Problem) bool { return p.Warning })
		assert.Empty(t, problems, file)
		if result != "" {
			assert.NotEmpty(t, steps, file)
		}
	}
}

// Argo's own validation needs much that this module does not, so it is asked by its command, where the lab's programs are built.
func TestArgoTakesWhatIsConverted(t *testing.T) {
	argo, err := filepath.Abs("../../bin/lab/argo")
	require.NoError(t, err)
	if _, err := os.Stat(argo); err != nil {
		t.Skip("Argo's own check of the conversions needs bin/lab/argo: it runs where a lab was built before, as by make lab-up")
	}
	// Not a List, which the command does not read, nor what refers to a template that is not there.
	args := []string{"lint", "--offline", "--no-color"}
	for file, text := range inputs(t) {
		result, _ := converted(file, text)
		if name := filepath.Base(file); result == "" || name == "list.yaml" || name == "lift-names.yaml" {
			continue
		}
		converted := filepath.Join(t.TempDir(), filepath.Base(file))
		require.NoError(t, os.WriteFile(converted, []byte(result), 0o600))
		args = append(args, converted)
	}
	output, err := exec.CommandContext(t.Context(), argo, args...).CombinedOutput()
	assert.NoError(t, err, "%s", output)
}

func TestOtherManifestsStayAsTheyAre(t *testing.T) {
	files, err := filepath.Glob("../../example/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		result, problems := converted(file, string(text))
		assert.Equal(t, string(text), result)
		assert.Empty(t, problems)
	}
}

func TestTheHubHasTheGivenName(t *testing.T) {
	documents, _ := manifest.Read("a", []byte(`{apiVersion: argoproj.io/v1alpha1, kind: Workflow, spec: {templates: [{name: a, namespace: b, data: {}}]}}`))
	result, problems := Documents(documents, Options{HubCluster: "my-hub"})
	assert.Empty(t, problems)
	assert.Contains(t, result, "multicluster: {cluster: my-hub, namespace: b, data: {}}")
}

func TestAManifestChangedAtRandomIsConvertedOnce(t *testing.T) {
	texts := inputs(t)
	files := slices.Sorted(maps.Keys(texts))
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		text := changed(random, []byte(texts[files[random.IntN(len(files))]]))
		result, problems := converted("f", text)
		if result != "" {
			again, more := converted("f", result)
			require.Equal(t, result, again, "%s\nproblems: %s, then %s", text, problems, more)
		}
	}
}

// changed returns a text with some bytes overwritten, taken out or put in.
func changed(random *rand.Rand, text []byte) string {
	const marks = " \n-:{}[]&*#|>'\",<"
	for range 1 + random.IntN(4) {
		i, length := random.IntN(len(text)), random.IntN(30)
		from := random.IntN(len(text))
		part := slices.Clone(text[from:min(from+length, len(text))])
		switch random.IntN(3) {
		case 0:
			text[i] = marks[random.IntN(len(marks))]
		case 1:
			text = slices.Delete(text, i, min(i+length/6, len(text)))
		case 2:
			text = slices.Insert(text, i, part...)
		}
	}
	return string(text)
}

// Whatever the text, a conversion ends, says problems or gives what a second one leaves alone.
func FuzzConversion(f *testing.F) {
	for _, text := range inputs(f) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		result, problems := converted("f", text)
		if result == "" {
			return
		}
		again, more := converted("f", result)
		require.Equal(t, result, again, "problems: %s, then %s", problems, more)
	})
}

func TestAKeyIsNotMistakenForAValue(t *testing.T) {
	node := mapping(scalar("name"), scalar("timeout"), scalar("timeout"), scalar("5s"))
	remove(node, "timeout")
	assert.Len(t, node.Content, 2)
	assert.Equal(t, "name", node.Content[0].Value)
}
