package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/test/docs"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/lint"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/manifest"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// run returns what a command says.
func run(t *testing.T, in string, args ...string) (out, problems string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := newCommand()
	cmd.SetArgs(args)
	cmd.SetIn(strings.NewReader(in))
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	err = cmd.ExecuteContext(t.Context())
	return stdout.String(), stderr.String(), err
}

// The commands of the documentation, with what it says that they give.
func TestTheDocumentationOfConvertIsRight(t *testing.T) {
	t.Chdir("../..")
	const page = "docs/steps-convert.md"
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```(\\w+)\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	require.Len(t, blocks, 6)
	example, err := os.ReadFile("example/proposal/multi-cluster.yaml")
	require.NoError(t, err)
	assert.Equal(t, string(example), blocks[0][2])
	for name, want := range map[string]string{"convert": blocks[2][2], "convert and lint": blocks[4][2]} {
		script, err := docs.Script(page, name)
		require.NoError(t, err)
		out := ""
		for command := range strings.SplitSeq(script, "|") {
			out, _, err = run(t, out, strings.Fields(command)[1:]...)
			require.NoError(t, err)
		}
		assert.Equal(t, want, out)
	}
}

func TestConvertReadsFilesAndStandardInput(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.yaml")
	require.NoError(t, os.WriteFile(file, []byte("kind: A"), 0o600))
	for _, c := range []struct {
		in, want string
		args     []string
	}{
		{"kind: B\n", "kind: B\n", nil},
		{"kind: B\n", "kind: B\n", []string{"-"}},
		{"kind: B\n", "kind: A\n---\nkind: B\n---\nkind: A", []string{file, "-", file}},
	} {
		out, problems, err := run(t, c.in, append([]string{"convert"}, c.args...)...)
		require.NoError(t, err)
		assert.Equal(t, c.want, out)
		assert.Empty(t, problems)
	}
	_, _, err := run(t, "", "convert", "absent.yaml")
	require.ErrorContains(t, err, "absent.yaml")
}

func TestConvertSaysAllProblemsAndPrintsNothing(t *testing.T) {
	const broken = `apiVersion: argoproj.io/v1alpha1
kind: Workflow
spec:
  templates:
    - {name: a, cluster: c1, suspend: {}}
    - {name: b, cluster: C1, container: {image: a}}
`
	out, problems, err := run(t, "kind: Fine\n---\n"+broken, "convert")
	require.EqualError(t, err, "there are 2 problems")
	assert.Empty(t, out)
	assert.Contains(t, problems, `stdin:7:30: template "a": what only waits runs in no cluster`)
	assert.Contains(t, problems, `stdin:8:17: template "b": "C1" cannot be the name of a cluster`)

	out, problems, err = run(t, "a: [\n", "convert")
	require.EqualError(t, err, "there is 1 problem")
	assert.Empty(t, out)
	assert.Contains(t, problems, "stdin:1:1: this is no valid YAML")
}

func TestLintFailsWithAProblemAndNotWithAWarning(t *testing.T) {
	const workflow = `{apiVersion: argoproj.io/v1alpha1, kind: Workflow, spec: {templates: [
  {name: a, plugin: {multicluster: {cluster: c1, container: {image: a, args: ["{{foo}}"]}}}}]}}`
	out, problems, err := run(t, workflow, "lint")
	require.NoError(t, err)
	assert.Equal(t, "no problems, and 1 template(s) whose steps run in other clusters\n", out)
	assert.Contains(t, problems, "stdin:2:80: warning: template \"a\": {{foo}} stays as it is")

	_, problems, err = run(t, strings.Replace(workflow, "cluster: c1, ", "", 1), "lint")
	require.Error(t, err)
	assert.Contains(t, problems, "stdin:2:22: template \"a\": it says nowhere in which cluster the step runs")
}

func TestLintAsksTheHubOnlyWhereItIsTold(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "absent"))
	_, _, err := run(t, "", "lint")
	require.NoError(t, err)
	_, _, err = run(t, "", "lint", "--context", "hub")
	require.ErrorContains(t, err, "hub")
	assert.NotErrorIs(t, err, rest.ErrNotInCluster)
}

func TestLintSaysWhatTheHubDoesNotAllow(t *testing.T) {
	documents, problems := manifest.Read("f", []byte(`
apiVersion: argoproj.io/v1alpha1
kind: Workflow
spec:
  templates:
    - {name: allowed, plugin: {multicluster: {cluster: cluster1, container: {image: a}}}}
    - {name: unknown, plugin: {multicluster: {cluster: cluster9, container: {image: a}}}}
    - {name: placed, plugin: {multicluster: {placement: none, container: {image: a}}}}
---
apiVersion: argoproj.io/v1alpha1
kind: WorkflowTemplate
metadata: {name: elsewhere, namespace: elsewhere}
spec: {templates: [{name: a, plugin: {multicluster: {cluster: cluster1, container: {image: a}}}}]}
---
apiVersion: argoproj.io/v1alpha1
kind: ClusterWorkflowTemplate
metadata: {name: everywhere}
spec: {templates: [{name: a, plugin: {multicluster: {cluster: cluster9, container: {image: a}}}}]}
`))
	require.Empty(t, problems)
	_, steps := lint.Documents(documents)
	hub := fakehub.New(t, nil, []client.Object{
		gen.ManagedCluster("cluster1"), gen.ManagedClusterSet(gen.GlobalSet), gen.ManagedClusterSetBinding(gen.GlobalSet),
	}...)
	found, err := refusals(t.Context(), hub.Live, gen.Namespace, steps)
	require.NoError(t, err)
	require.Len(t, found, 3)
	assert.Contains(t, found[0].String(), `f:7:47: template "unknown": waiting for managed cluster "cluster9"`)
	assert.Contains(t, found[1].String(), `f:8:46: template "placed": namespace default has no Placement "none"`)
	assert.Contains(t, found[2].String(), `f:13:54: template "a": managed cluster "cluster1" is not open to namespace elsewhere`)
}
