package step

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

func plugin(t *testing.T, text string) map[string]any {
	t.Helper()
	var value map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(text), &value))
	return value
}

func TestParseReadsAStep(t *testing.T) {
	box := map[string]any{"container": map[string]any{"image": "busybox"}}
	for name, c := range map[string]struct {
		plugin string
		want   Step
	}{
		"a cluster and a container": {
			`multicluster: {cluster: cluster1, container: {image: busybox}}`,
			Step{Cluster: "cluster1", Kind: Container, Body: box},
		},
		"a cluster and a namespace there": {
			`multicluster: {cluster: cluster1, namespace: team, container: {image: busybox}}`,
			Step{Cluster: "cluster1", Namespace: "team", Kind: Container, Body: box},
		},
		"a Placement": {
			`multicluster: {placement: gpu, all: false, container: {image: busybox}}`,
			Step{Placement: "gpu", Kind: Container, Body: box},
		},
		"all clusters of a Placement, of which two may fail": {
			`multicluster: {placement: gpu, all: true, maxFailures: 2, container: {image: busybox}}`,
			Step{Placement: "gpu", All: true, MaxFailures: ptr.To(intstr.FromInt32(2)), Kind: Container, Body: box},
		},
		"what Argo has put in, which are texts": {
			`multicluster: {placement: gpu, all: "true", maxFailures: "2", container: {image: busybox}}`,
			Step{Placement: "gpu", All: true, MaxFailures: ptr.To(intstr.FromInt32(2)), Kind: Container, Body: box},
		},
		"a percentage that may fail": {
			`multicluster: {placement: gpu, all: true, maxFailures: 30%, container: {image: busybox}}`,
			Step{Placement: "gpu", All: true, MaxFailures: ptr.To(intstr.FromString("30%")), Kind: Container, Body: box},
		},
		"a stored template": {
			`multicluster: {cluster: cluster1, templateRef: {name: stored, template: main, clusterScope: true}}`,
			Step{Cluster: "cluster1", Kind: TemplateRef, Reference: Reference{Name: "stored", Template: "main", ClusterScope: true}},
		},
		"a stored Workflow": {
			`multicluster: {cluster: cluster1, workflowTemplateRef: {name: stored}}`,
			Step{Cluster: "cluster1", Kind: WorkflowTemplateRef, Reference: Reference{Name: "stored"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			value := plugin(t, c.plugin)
			assert.True(t, IsStep(value))
			got, problems := Parse(value)
			assert.Empty(t, problems)
			assert.Equal(t, &c.want, got)
			_, problems = ParseTemplate(value)
			assert.Empty(t, problems)
		})
	}
}

func TestParseSaysAllThatIsWrong(t *testing.T) {
	const body = "container: {image: busybox}"
	for name, c := range map[string]struct {
		plugin string
		want   []string
	}{
		"another plugin": {`hello: {}`, []string{
			"plugin.hello: Argo takes one plugin for each template: remove this one, or multicluster",
			"plugin.multicluster: there is no such plugin here",
		}},
		"no object":  {`multicluster:`, []string{"plugin.multicluster: it must be an object with a cluster or a placement, and what to run"}},
		"nothing":    {`multicluster: {}`, []string{"nowhere in which cluster", "nothing to run: add one of container, "}},
		"both":       {`multicluster: {cluster: a, placement: b, ` + body + `}`, []string{"either a cluster or a placement"}},
		"no cluster": {`multicluster: {` + body + `}`, []string{"plugin.multicluster: it says nowhere"}},
		"empty name": {`multicluster: {cluster: "", ` + body + `}`, []string{"plugin.multicluster.cluster: cluster must be a name"}},
		"bad names": {`multicluster: {cluster: A_b, namespace: 1.2, ` + body + `}`, []string{
			`plugin.multicluster.cluster: "A_b" cannot be the name of a cluster`, "namespace must be a name",
		}},
		"a variable that is left":  {`multicluster: {cluster: "{{x}}", ` + body + `}`, []string{`"{{x}}" cannot be the name of a cluster`}},
		"unknown field":            {`multicluster: {cluster: a, klaster: b, ` + body + `}`, []string{`plugin.multicluster.klaster: unknown field "klaster": it takes cluster, `}},
		"a field of the template":  {`multicluster: {cluster: a, retryStrategy: {}, ` + body + `}`, []string{"write it beside plugin"}},
		"a composite":              {`multicluster: {cluster: a, steps: []}`, []string{"name it with templateRef", "nothing to run"}},
		"two bodies":               {`multicluster: {cluster: a, data: {x: 1}, ` + body + `}`, []string{"plugin.multicluster.data: a step runs one thing, and this one has container, data"}},
		"an empty body":            {`multicluster: {cluster: a, container: }`, []string{"container must be an object that is not empty"}},
		"all of one cluster":       {`multicluster: {cluster: a, all: true, ` + body + `}`, []string{"all: true is for the clusters of a Placement"}},
		"all is no bool":           {`multicluster: {placement: a, all: 1, ` + body + `}`, []string{"all must be true or false"}},
		"maxFailures without all":  {`multicluster: {placement: a, maxFailures: 1, ` + body + `}`, []string{"add all: true"}},
		"maxFailures below 0":      {`multicluster: {placement: a, all: true, maxFailures: -1, ` + body + `}`, []string{`and is "-1"`}},
		"maxFailures in fractions": {`multicluster: {placement: a, all: true, maxFailures: 1.5, ` + body + `}`, []string{`and is "1.5"`}},
		"maxFailures beyond 100%":  {`multicluster: {placement: a, all: true, maxFailures: 101%, ` + body + `}`, []string{`and is "101%"`}},
		"a reference without names": {`multicluster: {cluster: a, templateRef: {clusterScope: 1, x: 1}}`, []string{
			"plugin.multicluster.templateRef.name: templateRef must have a name", "must have a template", "clusterScope must be", `unknown field "x"`,
		}},
		"a template of a whole Workflow": {`multicluster: {cluster: a, workflowTemplateRef: {name: a, template: b}}`, []string{`unknown field "template"`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := Parse(plugin(t, c.plugin))
			require.Len(t, problems, len(c.want), "%v", problems)
			for i, want := range c.want {
				assert.Contains(t, problems[i].String(), want)
			}
		})
	}
}

func TestParseTemplateLeavesVariables(t *testing.T) {
	got, problems := ParseTemplate(plugin(t, `multicluster: {placement: "{{inputs.parameters.p}}", namespace: "{{workflow.namespace}}",
  all: "{{inputs.parameters.all}}", maxFailures: "{{inputs.parameters.n}}", script: {image: a, source: b}}`))
	assert.Empty(t, problems)
	assert.Equal(t, "{{inputs.parameters.p}}", got.Placement)
}

func TestTemplatesWithStepsInOtherClustersAreFound(t *testing.T) {
	ours := map[string]any{"name": "ours", "plugin": map[string]any{PluginKey: map[string]any{}}}
	other := map[string]any{"name": "other", "plugin": map[string]any{"slack": map[string]any{}}}
	inline := func(template map[string]any) any { return map[string]any{"name": "one", "inline": template} }
	for name, tc := range map[string]struct {
		templates []any
		want      string
	}{
		"none":                          {templates: []any{other, map[string]any{"name": "pod", "container": map[string]any{}}, nil, "text"}},
		"a template":                    {templates: []any{other, ours}, want: "ours"},
		"a template in a task":          {want: "main", templates: []any{map[string]any{"name": "main", "dag": map[string]any{"tasks": []any{inline(ours)}}}}},
		"a template in a step":          {want: "main", templates: []any{map[string]any{"name": "main", "steps": []any{[]any{inline(ours)}}}}},
		"no template of ours in a step": {templates: []any{map[string]any{"name": "main", "steps": []any{[]any{inline(other)}}}}},
	} {
		got, found := InTemplates(tc.templates)
		assert.Equal(t, tc.want, got, name)
		assert.Equal(t, tc.want != "", found, name)
	}
}
