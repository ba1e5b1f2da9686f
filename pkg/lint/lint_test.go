package lint

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/manifest"
)

// linted returns the problems of manifests, without the name of the file.
func linted(t *testing.T, text string) []string {
	t.Helper()
	documents, problems := manifest.Read("f", []byte(text))
	require.Empty(t, problems)
	found, _ := Documents(documents)
	all := []string{}
	for _, p := range found {
		all = append(all, strings.TrimPrefix(p.String(), "f:"))
	}
	return all
}

// of returns a Workflow with a template of these fields, from line 8 on.
func of(fields string) string {
	return `apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: lint-}
spec:
  entrypoint: main
  volumes: [{name: shared}]
  templates:
    - name: main
      ` + strings.ReplaceAll(strings.TrimSpace(fields), "\n", "\n      ") + "\n"
}

func TestATemplateOfAStep(t *testing.T) {
	const good = "plugin: {multicluster: {cluster: c1, container: {image: a}}}\n"
	for name, c := range map[string]struct {
		fields string
		want   []string
	}{
		"nothing to say": {good, nil},
		"all that it can have": {`
inputs: {parameters: [{name: a}], artifacts: [{name: i, path: /i}]}
outputs: {parameters: [{name: p, valueFrom: {path: /p}}], artifacts: [{name: o, path: /o}]}
retryStrategy: {limit: 1}
metrics: {prometheus: [{name: m, gauge: {value: "{{duration}}"}}]}
volumes: [{name: own, emptyDir: {}}]
plugin:
  multicluster:
    placement: "{{inputs.parameters.a}}"
    all: true
    maxFailures: 10%
    script:
      image: a
      volumeMounts: [{name: own, mountPath: /x}]
      source: "{{inputs.parameters.a}} {{inputs.artifacts.i.path}} {{outputs.parameters.p.path}} {{outputs.artifacts.o.path}} {{retries}}
        {{workflow.name}} {{node.name}} {{=inputs.parameters.a + 'steps.'}}"`, nil},
		"another plugin": {"plugin: {hello: {x: 1}}", nil},
		"no plugin":      {"container: {image: a, args: ['{{pod.name}}']}", nil},
		"unknown fields": {`
plugin:
  multicluster:
    klaster: c1
    container: {image: a, imagge: b, env: [{name: a, vallue: b}]}`, []string{
			`10:9: template "main": it says nowhere in which cluster`,
			`11:11: template "main": unknown field "klaster"`,
			`12:33: template "main": unknown field "container.imagge"`,
			`12:60: template "main": unknown field "container.env[0].vallue"`,
		}},
		"a wrong type":             {"plugin: {multicluster: {cluster: c1, container: {image: [a]}}}", []string{"container: json: cannot unmarshal array"}},
		"no image":                 {"plugin: {multicluster: {cluster: c1, script: {source: a}}}", []string{"script must have an image"}},
		"the proposal":             {"cluster: a\nnamespace: b\ncontainer: {image: a}", []string{"9:7: ", "10:7: template \"main\": Argo does not know the field namespace"}},
		"a volume of the Workflow": {"plugin: {multicluster: {cluster: c1, container: {image: a, volumeMounts: [{name: shared, mountPath: /x}]}}}", []string{"a volume is not shared between clusters"}},
		"a volume of nobody":       {"plugin: {multicluster: {cluster: c1, containerSet: {containers: [{image: a, name: main, volumeMounts: [{name: x, mountPath: /x}]}]}}}", []string{`there is no volume "x"`}},
		"variables": {`
inputs: {parameters: [{name: a}]}
plugin: {multicluster: {cluster: c1, container: {image: a, args: [
  "{{steps.x.outputs.result}}", "{{tasks.x.status}}", "{{pod.name}}", "{{item}}", "{{item.a}}",
  "{{inputs.parameters.b}}", "{{retries}}", "{{foo}}", "{{steps.name}}", "{{outputs.parameters.x.path}}", "{{=steps.x.id}}"]}}}`, []string{
			"11:10: ", "11:40: ", "11:62: ", "11:78: warning: ", "11:90: ", "12:10: ", "12:37: warning: ", "12:52: warning: ", "12:63: warning: ", "12:81: warning: ", "12:114: ",
		}},
		"outputs": {`
inputs: {artifacts: [{name: i}]}
outputs:
  parameters: [{name: a}, {name: b, valueFrom: {supplied: {}}}, {name: c, valueFrom: {parameter: x}}, {name: d, value: x}]
  artifacts: [{name: o}]
` + good, []string{
			`artifact "i" of the inputs needs a path`, `"a" needs a valueFrom`, `"b" of a container needs valueFrom.path`, `"c": valueFrom.parameter and`,
			`artifact "o" of the outputs needs a path`,
		}},
		"outputs of a resource": {"outputs: {parameters: [{name: a, valueFrom: {path: /a}}]}\nplugin: {multicluster: {cluster: c1, resource: {action: get}}}", []string{"jsonPath or jqFilter"}},
		"a daemon":              {"daemon: true\n" + good, []string{"template \"main\": a step in another cluster cannot be a daemon"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := linted(t, of(c.fields))
			require.Len(t, got, len(c.want), "%s", strings.Join(got, "\n"))
			for i, want := range c.want {
				assert.Contains(t, got[i], want)
			}
		})
	}
}

func TestAWorkflowWithSteps(t *testing.T) {
	got := linted(t, `apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata:
  name: a
  labels:
    workflows.argoproj.io/enable-ocm-multicluster: "true"
spec:
  parallelism: 2
  templateDefaults:
    container: {image: a}
    plugin: {multicluster: {}}
  templates:
    - name: main
      plugin: {multicluster: {cluster: c1, container: {image: a}}}
`)
	require.Len(t, got, 4)
	assert.Contains(t, got[0], "6:5: a Workflow with this label runs in one cluster as a whole")
	assert.Contains(t, got[1], "8:3: warning: parallelism counts pods")
	assert.Contains(t, got[2], "10:5: warning: this default does not reach what runs in other clusters")
	assert.Contains(t, got[3], `11:5: template "templateDefaults": it would make a plugin of every template`)
}

func TestDefaultsThatDoNotReachAStep(t *testing.T) {
	for body, want := range map[string]string{
		"resource: {action: get}":                      "9:22: warning: this default does not reach",
		"container: {image: a}":                        "",
		"templateRef: {name: stored, template: whole}": "9:3: warning: this default does not reach",
		"workflowTemplateRef: {name: stored}":          "9:3: warning: this default does not reach",
	} {
		got := linted(t, `apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata:
  name: a
  namespace: hub
spec:
  entrypoint: main

  templateDefaults: {resource: {setOwnerReference: true}, timeout: 5m}
  templates:
    - name: main
      plugin: {multicluster: {cluster: c1, `+body+`}}
`)
		if want == "" {
			require.Empty(t, got)
			continue
		}
		require.Len(t, got, 1, body)
		assert.Contains(t, got[0], want)
	}
}

func TestReferencesAmongTheFiles(t *testing.T) {
	const stored = `---
apiVersion: argoproj.io/v1alpha1
kind: WorkflowTemplate
metadata: {name: stored}
spec:
  templates:
    - name: t
      inputs:
        parameters: [{name: needed}, {name: given}, {name: hasDefault, value: x}]
        artifacts: [{name: file, path: /file}, {name: stored, path: /stored, s3: {key: k}}, {name: maybe, path: /maybe, optional: true}]
      outputs: {parameters: [{name: made, valueFrom: {path: /made}}]}
      container: {image: a}
    - name: remote
      plugin: {multicluster: {cluster: c1, container: {image: a}}}
---
apiVersion: argoproj.io/v1alpha1
kind: WorkflowTemplate
metadata: {name: there, namespace: there}
spec: {templates: [{name: t, container: {image: a}}]}
`
	for name, c := range map[string]struct {
		ref  string
		want []string
	}{
		"a template that is not there": {"templateRef: {name: stored, template: absent}", []string{`WorkflowTemplate stored has no template "absent"`}},
		"what it needs and makes": {"templateRef: {name: stored, template: t}", []string{
			`template "t" has no output parameter "wanted"`, `template "t" needs artifact "file": declare it in inputs`,
			`template "t" needs parameter "needed": declare it in inputs`,
		}},
		"a template that is a step itself": {"templateRef: {name: stored, template: remote}", []string{"has a plugin multicluster itself"}},
		"a Workflow without entrypoint":    {"workflowTemplateRef: {name: stored}", []string{"WorkflowTemplate stored has no entrypoint"}},
		"what is in no file":               {"templateRef: {name: other, template: t}", nil},
		"what is of the whole hub":         {"templateRef: {name: stored, template: absent, clusterScope: true}", nil},
		"a variable":                       {`templateRef: {name: stored, template: "{{workflow.name}}"}`, nil},
		"the one in the step's namespace": {"namespace: there, templateRef: {name: there, template: absent}", []string{
			`WorkflowTemplate there has no template "absent"`}},
		"one in another namespace": {"namespace: here, templateRef: {name: there, template: absent}", nil},
		"one in a namespace by variable": {`namespace: "{{workflow.namespace}}", templateRef: {name: there, template: absent}`, []string{
			`WorkflowTemplate there has no template "absent"`}},
	} {
		t.Run(name, func(t *testing.T) {
			got := linted(t, of(`
inputs: {parameters: [{name: given}]}
outputs: {parameters: [{name: wanted, valueFrom: {supplied: {}}}]}
plugin: {multicluster: {cluster: c1, `+c.ref+`}}`)+stored)
			require.Len(t, got, len(c.want), "%s", strings.Join(got, "\n"))
			for i, want := range c.want {
				assert.Contains(t, got[i], want)
			}
		})
	}
}
