package podrequests_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/podrequests"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// specOf returns a spec that is written as JSON, with one pod for each @<cores>.
func specOf(t *testing.T, text string) map[string]any {
	t.Helper()
	for cores := range 10 {
		text = strings.ReplaceAll(text, fmt.Sprintf(`"@%d"`, cores),
			fmt.Sprintf(`{"resources":{"requests":{"cpu":%d,"memory":%d}}}`, cores, cores))
	}
	var spec map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &spec), text)
	return spec
}

// templateOf returns a template as the manager's cache has it.
func templateOf(t *testing.T, name, spec string, mods ...gen.Mod) *unstructured.Unstructured {
	t.Helper()
	template := gen.WorkflowTemplate(name, nil, mods...)
	template.Object["spec"] = specOf(t, spec)
	trimmed, err := podrequests.Trim(template)
	require.NoError(t, err)
	return trimmed.(*unstructured.Unstructured)
}

// looked returns what has been looked for: what is referred to, each object once in a row.
func looked(pods podrequests.Pods) []string {
	var out []string
	for _, ref := range pods.RefersTo {
		if key := ref.Key(gen.Namespace).String(); !slices.Contains(out, key) {
			out = append(out, key)
		}
	}
	return out
}

func TestWhatAWorkflowRefersToCounts(t *testing.T) {
	step := func(ref string) string { return `{"steps":[[{"templateRef":` + ref + `}]]}` }
	there := map[client.ObjectKey]*podrequests.Template{}
	for _, template := range []*unstructured.Unstructured{
		templateOf(t, "plain", `{"entrypoint":"small","templates":[{"name":"small","container":"@1"},{"name":"large","container":"@4"}]}`),
		templateOf(t, "elsewhere", `{"entrypoint":"a","templates":[{"name":"a","container":"@9"}]}`, gen.InNamespace("elsewhere")),
		templateOf(t, "plain", `{"entrypoint":"a","templates":[{"name":"a","container":"@6"}]}`, gen.OfCluster()),
		templateOf(t, "chain", `{"entrypoint":"main","onExit":"unused","templates":[{"name":"main","steps":[[{"template":"next"}]]},
			{"name":"next","dag":{"tasks":[{"templateRef":{"name":"shared","template":"a","clusterScope":true}},{"template":"main"}]}},
			{"name":"unused","container":"@9"}]}`),
		templateOf(t, "shared", `{"templates":[{"name":"a","inputs":{},"steps":[[{"template":"b"}]]},{"name":"b","script":"@3"},
			{"name":"again","steps":[[{"templateRef":{"name":"chain","template":"main"}}]]}]}`, gen.OfCluster()),
		templateOf(t, "cycle", `{"entrypoint":"a","templates":[
			{"name":"a","container":"@2","steps":[[{"templateRef":{"name":"cycle","template":"a"}}]]}]}`),
		templateOf(t, "placed", `{"tolerations":[{"operator":"Exists"}],"entrypoint":"a","templates":[{"name":"a","container":"@9"},
			{"name":"b","container":"@5","tolerations":[{"operator":"Exists"}]}]}`),
		templateOf(t, "defaults", `{"templateDefaults":{"container":"@7","tolerations":[{}]},"entrypoint":"a",
			"templates":[{"name":"a","container":{}}]}`),
		templateOf(t, "inline", `{"templates":[{"name":"a","steps":[[{"inline":{"container":"@2"}}]]}]}`),
		templateOf(t, "patched", `{"podSpecPatch":"x","tolerations":[{}],"entrypoint":"a","templates":[{"name":"a","container":"@2","dag":{"tasks":[
			{"templateRef":{"name":"plain","template":"large"}}]}}]}`),
		templateOf(t, "patches", `{"entrypoint":"a","templates":[{"name":"a","podSpecPatch":"x","container":"@9","steps":[[{"template":"b"}]]},
			{"name":"b","container":"@2"}]}`),
	} {
		there[client.ObjectKeyFromObject(template)] = podrequests.TemplateOf(template)
	}
	tests := map[string]struct {
		spec         string
		wantCores    int64
		wantIsPlaced bool
		wantLooked   []string
	}{
		"nothing":                              {`{"templates":[{"container":"@1"}]}`, 1, false, nil},
		"the entrypoint of a WorkflowTemplate": {`{"workflowTemplateRef":{"name":"plain"}}`, 1, false, []string{"default/plain"}},
		"the Workflow's entrypoint, if it has one": {
			`{"workflowTemplateRef":{"name":"plain"},"entrypoint":"large"}`, 4, false, []string{"default/plain"},
		},
		"nothing, if it is not there":                 {`{"workflowTemplateRef":{"name":"plain"},"entrypoint":"gone"}`, 0, false, []string{"default/plain"}},
		"nothing, if there is none":                   {`{"workflowTemplateRef":{"name":"shared","clusterScope":true}}`, 0, false, []string{"/shared"}},
		"the entrypoint of a ClusterWorkflowTemplate": {`{"workflowTemplateRef":{"name":"plain","clusterScope":true}}`, 6, false, []string{"/plain"}},
		"one that is not there":                       {`{"workflowTemplateRef":{"name":"gone"}}`, 0, false, []string{"default/gone"}},
		"one of another namespace":                    {`{"workflowTemplateRef":{"name":"elsewhere"}}`, 0, false, []string{"default/elsewhere"}},
		"of a step the template that it names": {
			`{"templates":[` + step(`{"name":"plain","template":"small"}`) + `]}`, 1, false, []string{"default/plain"},
		},
		"and none that is not there": {`{"templates":[` + step(`{"name":"plain","template":"gone"}`) + `]}`, 0, false, []string{"default/plain"}},
		"the Workflow's own, if it is larger": {
			`{"templates":[{"container":"@2"},` + step(`{"name":"plain","template":"small"}`) + `]}`, 2, false, []string{"default/plain"},
		},
		"of a task of a DAG": {
			`{"templates":[{"dag":{"tasks":[{"templateRef":{"name":"plain","template":"large"}}]}}]}`, 4, false, []string{"default/plain"},
		},
		"of a step of an inline template": {
			`{"templates":[{"steps":[[{"inline":` + step(`{"name":"plain","template":"large"}`) + `}]]}]}`, 4, false, []string{"default/plain"},
		},
		"an inline template of one that it names": {
			`{"templates":[` + step(`{"name":"inline","template":"a"}`) + `]}`, 2, false, []string{"default/inline"},
		},
		"what that one refers to, and no more": {
			`{"templates":[` + step(`{"name":"chain","template":"main"}`) + `]}`, 3, false, []string{"default/chain", "/shared"},
		},
		"what the entrypoint leads to, and no exit handler": {
			`{"workflowTemplateRef":{"name":"chain"}}`, 3, false, []string{"default/chain", "/shared"},
		},
		"a cycle ends": {`{"workflowTemplateRef":{"name":"cycle"}}`, 2, false, []string{"default/cycle"}},
		"a cycle of two ends": {
			`{"templates":[` + step(`{"name":"shared","template":"again","clusterScope":true}`) + `]}`, 3, false, []string{"/shared", "default/chain"},
		},
		"what the spec that it takes tolerates": {`{"workflowTemplateRef":{"name":"placed"}}`, 9, true, []string{"default/placed"}},
		"which is nothing to a step":            {`{"templates":[` + step(`{"name":"placed","template":"a"}`) + `]}`, 9, false, []string{"default/placed"}},
		"what the named one tolerates":          {`{"templates":[` + step(`{"name":"placed","template":"b"}`) + `]}`, 5, true, []string{"default/placed"}},
		"of the defaults of the spec that it takes the tolerations": {
			`{"workflowTemplateRef":{"name":"defaults"}}`, 0, true, []string{"default/defaults"},
		},
		"which are nothing to a step": {`{"templates":[` + step(`{"name":"defaults","template":"a"}`) + `]}`, 0, false, []string{"default/defaults"}},
		"nothing, where a patch changes it": {
			`{"podSpecPatch":"x","templates":[{"container":"@1"}],"workflowTemplateRef":{"name":"plain"}}`, 0, false, nil,
		},
		"nothing, where the defaults patch it": {
			`{"templateDefaults":{"podSpecPatch":"x"},"workflowTemplateRef":{"name":"plain"}}`, 0, false, nil,
		},
		"nothing of a spec that it takes and that has a patch":       {`{"workflowTemplateRef":{"name":"patched"}}`, 0, true, []string{"default/patched"}},
		"nothing of a template that has one, but what that leads to": {`{"workflowTemplateRef":{"name":"patches"}}`, 2, false, []string{"default/patches"}},
		"all of it for a step, and beyond": {
			`{"templates":[` + step(`{"name":"patched","template":"a"}`) + `]}`, 4, false, []string{"default/patched", "default/plain"},
		},
		"nothing is what it should be": {
			`{"workflowTemplateRef":{"name":7},"templates":[{"steps":[[{"templateRef":{"name":"plain"}},{"templateRef":{"template":"large"}},
				{"templateRef":3,"template":5}]]}]}`, 0, false, nil,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			of := podrequests.Of(specOf(t, test.spec))
			assert.Equal(t, of, podrequests.Read(of.Value()))
			pods := of.Resolve(gen.Namespace, func(key client.ObjectKey) *podrequests.Template { return there[key] })
			assert.Equal(t, contract.Resources{MilliCPU: 1000 * test.wantCores, Memory: test.wantCores, Pods: 1}, pods.Largest)
			assert.Equal(t, test.wantIsPlaced, pods.IsPlaced)
			assert.Equal(t, test.wantLooked, looked(pods))
		})
	}
}

func TestNoMoreThanSoManyTemplatesCount(t *testing.T) {
	const most = 32
	ref := func(i int) string { return fmt.Sprintf(`{"templateRef":{"name":"t%d","template":"a"}}`, i) }
	var refs []string
	for i := range 100 {
		refs = append(refs, ref(i))
	}
	chain := func(key client.ObjectKey) *podrequests.Template {
		var i int
		_, err := fmt.Sscanf(key.Name, "t%d", &i)
		require.NoError(t, err)
		return podrequests.TemplateOf(templateOf(t, key.Name, `{"templates":[{"name":"a","steps":[[`+ref(i+1)+`]]}]}`))
	}
	for name, steps := range map[string]string{"side by side": strings.Join(refs, ","), "one after the other": refs[0]} {
		t.Run(name, func(t *testing.T) {
			pods := podrequests.Of(specOf(t, `{"templates":[{"steps":[[`+steps+`]]}]}`)).Resolve(gen.Namespace, chain)
			require.Len(t, pods.RefersTo, most)
			assert.Equal(t, fmt.Sprintf("t%d", most-1), pods.RefersTo[most-1].Name)
		})
	}
}

func TestOfATemplateTheCacheKeepsOnlyWhatItsPodsRequest(t *testing.T) {
	template := gen.WorkflowTemplate("t", nil, gen.WithLabels(map[string]string{"a": "b"}), gen.WithAnnotations(map[string]string{"c": "d"}))
	template.Object["spec"] = specOf(t, `{"templates":[{"name":"a","container":"@1"},{"name":"nothing","container":{}},3,{"container":"@2"}]}`)
	template.SetResourceVersion("7")
	trimmed, err := podrequests.Trim(template)
	require.NoError(t, err)
	kept := trimmed.(*unstructured.Unstructured)
	assert.Equal(t, template.GroupVersionKind(), kept.GroupVersionKind())
	assert.Equal(t, map[string]any{"name": "t", "namespace": "default", "uid": string(template.GetUID()), "resourceVersion": "7"},
		kept.Object["metadata"])
	assert.NotContains(t, kept.Object, "spec")
	assert.NotContains(t, fmt.Sprint(kept.Object), "nothing")

	again, err := podrequests.Trim(kept)
	require.NoError(t, err)
	assert.Same(t, kept, again)
	other, err := podrequests.Trim("something else")
	require.NoError(t, err)
	assert.Equal(t, "something else", other)
	assert.Nil(t, podrequests.TemplateOf(nil))
}

func TestOfAHostileTemplateLittleIsKept(t *testing.T) {
	const most, mostReferences, longest = 500, 32, 253
	var templates, tasks []any
	for i := range 60_000 {
		tasks = append(tasks, map[string]any{"templateRef": map[string]any{"name": fmt.Sprint("t", i), "template": "a"}})
	}
	templates = append(templates, map[string]any{"name": "wide", "steps": []any{tasks}})
	for i := range 60_000 {
		name, tasks := fmt.Sprint("part-", i), []any{map[string]any{"template": "next"}}
		if i < 10 {
			name += strings.Repeat("x", longest)
		} else if i < 20 {
			tasks = append(tasks, map[string]any{"template": strings.Repeat("y", longest+1)},
				map[string]any{"templateRef": map[string]any{"name": strings.Repeat("y", longest+1), "template": "a"}})
		}
		templates = append(templates, map[string]any{"name": name, "steps": []any{tasks}})
	}
	raw, err := json.Marshal(templates)
	require.NoError(t, err)
	require.Greater(t, len(raw), 3<<19, "more than etcd takes")

	trimmed, err := podrequests.Trim(gen.WorkflowTemplate("t", templates))
	require.NoError(t, err)
	kept, err := json.Marshal(trimmed)
	require.NoError(t, err)
	assert.Equal(t, most, strings.Count(string(kept), `"milliCPU"`))
	assert.Equal(t, most-1, strings.Count(string(kept), `"next"`))
	assert.NotContains(t, string(kept), "xx")
	assert.NotContains(t, string(kept), "yy")
	assert.Equal(t, mostReferences, strings.Count(string(kept), `"a"`))
}
