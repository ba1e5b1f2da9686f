package manifest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const twoDocuments = `# first
a: b
--- # second
apiVersion: argoproj.io/v1alpha1
kind: CronWorkflow
metadata: {generateName: cron-, namespace: team}
spec:
  workflowSpec:
    templateDefaults: {container: {image: a}}
    templates:
      - name: outer
        dag:
          tasks:
            - name: inner
              inline: {container: {args: ["x {{inputs.parameters.a}} {{= 1 + 1}}"]}}
      - name: script
        script:
          source: |
            one
            {{pod.name}}
`

func TestADocumentHasItsTemplatesAndPlaces(t *testing.T) {
	documents, problems := Read("f.yaml", []byte(twoDocuments))
	require.Empty(t, problems)
	require.Len(t, documents, 2)
	assert.Equal(t, twoDocuments, documents[0].Text+documents[1].Text)
	assert.Empty(t, documents[0].Workflows)
	require.Len(t, documents[1].Workflows, 1)

	wf := documents[1].Workflows[0]
	assert.Equal(t, []string{"CronWorkflow", "cron-", "team"}, []string{wf.Kind, wf.Name, wf.Namespace})
	assert.NotNil(t, wf.Defaults)
	require.Len(t, wf.Templates, 3)
	assert.Equal(t, wf.Templates[0], wf.Templates[1].Outer)
	assert.Equal(t, "inner", wf.Templates[1].Name)
	assert.Nil(t, wf.Template("inner"))
	assert.Equal(t, `f.yaml:11:9: template "outer": wrong`, wf.Templates[0].Problem(wf.Templates[0].Node, "wrong").String())

	assert.Equal(t, []Variable{
		{Name: "inputs.parameters.a", Line: 15, Column: 46},
		{Name: "1 + 1", Expression: true, Line: 15, Column: 70},
	}, documents[1].Variables(wf.Templates[1].Node))
	assert.Equal(t, []Variable{{Name: "pod.name", Line: 20, Column: 13}}, documents[1].Variables(wf.Templates[2].Node))
}

func TestWhatIsNoYAMLIsSaidWithItsLine(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"a syntax error in the second document": {"a: b\n---\nc: d\n e: f\n", "f:4:1: this is no valid YAML: mapping values are not allowed"},
		"a key that is there twice":             {"a:\n  b: 1\n  c: 2\n  b: 3\n", `f:4:3: key "b" is there twice`},
		"an alias of what it is in":             {"a: &x [*x]\n", "an alias is part of what it stands for"},
		"two documents without a marker":        {"a: b\n...\nc: d\n", "did not find expected <document start>"},
		"an unknown alias":                      {"a: *x\n", "unknown anchor"},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := Read("f", []byte(c.text))
			require.NotEmpty(t, problems)
			assert.Contains(t, problems[0].String(), c.want)
		})
	}
}

func TestEmptyFilesHaveNoManifests(t *testing.T) {
	for _, text := range []string{"", "\n", "---\n", "# only this\n", "--- 1\n", "[]\n", "kind: List\n", "kind: Workflow\n"} {
		documents, problems := Read("f", []byte(text))
		assert.Empty(t, problems, text)
		var all strings.Builder
		for _, d := range documents {
			all.WriteString(d.Text)
			assert.Empty(t, d.Workflows, text)
		}
		assert.Equal(t, text, all.String())
	}
}
