package report

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/recorded"
)

// writtenSpec is one as a user writes it.
const writtenSpec = `
entrypoint: main
serviceAccountName: runner
arguments:
  parameters: [{name: count, value: 3}]
  artifacts: [{name: in, raw: {data: hello}}]
podMetadata: {labels: {team: a}}
volumes: [{name: scratch, emptyDir: {}}]
future: {level: 3, empty: {}}
templates:
- name: main
  inputs: {parameters: [{name: count, default: ""}]}
  steps:
  - - {name: ask, template: ask}
  - - {name: each, template: work, withItems: [1, {a: null}, ""], arguments: {parameters: [{name: size, value: 5}]}}
- name: ask
  suspend: {}
- name: work
  nodeSelector: {gpu: ""}
  automountServiceAccountToken: false
  plugin: {multicluster: {placement: gpu, wait: 0}}
- name: pod
  activeDeadlineSeconds: 30
  container:
    image: busybox
    args: [a, "", b]
    env: [{name: A, value: x}, {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}]
    resources: {requests: {cpu: "0.5", memory: 1Gi}}
`

// specOf reads a spec as an API server has it.
func specOf(t *testing.T, text string) (spec map[string]any) {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(text))
	require.NoError(t, err)
	require.NoError(t, utiljson.Unmarshal(raw, &spec))
	return spec
}

// asArgoHas returns a spec as Argo's clients and controllers put it back.
func asArgoHas(t *testing.T, spec map[string]any) map[string]any {
	t.Helper()
	raw, err := json.Marshal(spec)
	require.NoError(t, err)
	var typed wfv1.WorkflowSpec
	require.NoError(t, json.Unmarshal(raw, &typed))
	raw, err = json.Marshal(typed)
	require.NoError(t, err)
	var out map[string]any
	require.NoError(t, utiljson.Unmarshal(raw, &out))
	return out
}

// edit returns the spec with something else at a path of keys and of places in lists; nothing, if that is none.
func edit(t *testing.T, spec map[string]any, path string, value any) map[string]any {
	t.Helper()
	spec = runtime.DeepCopyJSON(spec)
	var at any = spec
	steps := strings.Split(path, ".")
	for _, step := range steps[:len(steps)-1] {
		if list, ok := at.([]any); ok {
			place, err := strconv.Atoi(step)
			require.NoError(t, err)
			at = list[place]
			continue
		}
		at = at.(map[string]any)[step]
	}
	in, key := at.(map[string]any), steps[len(steps)-1]
	if value == none {
		delete(in, key)
	} else {
		in[key] = value
	}
	return spec
}

// none is nothing.
var none = &struct{}{}

func TestASpecThatSaysTheSameHasTheSameDigest(t *testing.T) {
	spec := specOf(t, writtenSpec)
	before := runtime.DeepCopyJSON(spec)
	digest := SpecDigest(spec)
	assert.Equal(t, before, spec, "it is the cache's")
	assert.LessOrEqual(t, len(digest), 64, "as the CRD has it")
	for name, test := range map[string]struct {
		path  string
		value any
	}{
		"suspended":                    {"suspend", true},
		"a shutdown":                   {"shutdown", "Stop"},
		"another priority":             {"priority", int64(7)},
		"another deadline":             {"activeDeadlineSeconds", int64(60)},
		"another ttlStrategy":          {"ttlStrategy", map[string]any{"secondsAfterCompletion": int64(5)}},
		"other parameters":             {"arguments.parameters", []any{map[string]any{"name": "count", "value": "4"}}},
		"no parameters":                {"arguments.parameters", none},
		"a null":                       {"templates.3.memoize", nil},
		"a null that nobody knows":     {"other", nil},
		"an empty object":              {"templates.3.inputs", map[string]any{}},
		"an object of empty ones":      {"templates.3.outputs", map[string]any{"parameters": []any{}}},
		"an empty dictionary":          {"templates.3.nodeSelector", map[string]any{}},
		"an empty list":                {"templates.3.container.command", []any{}},
		"an empty text":                {"templates.3.container.name", ""},
		"false, which is the default":  {"templates.3.container.tty", false},
		"zero, which is the default":   {"templates.3.container.ports", []any{}},
		"a quantity in another form":   {"templates.3.container.resources.requests.cpu", "500m"},
		"a quantity as a number":       {"templates.3.container.resources.requests.cpu", 0.5},
		"no quantity, which is zero":   {"templates.3.container.env.1.valueFrom.resourceFieldRef.divisor", "0"},
		"a value as a text":            {"templates.0.steps.1.0.arguments.parameters", []any{map[string]any{"name": "size", "value": "5"}}},
		"a whole number as a fraction": {"future.level", 3.0},
		"our labels of its pods": {"podMetadata.labels", map[string]any{
			"team": "a", contract.LabelCluster: "c", contract.LabelWorkflowNamespace: "n",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			same := edit(t, spec, test.path, test.value)
			assert.Equal(t, digest, SpecDigest(same))
			assert.False(t, IsOtherSpec(digest, SpecDigest(same)))
			assert.Equal(t, digest, SpecDigest(NormalSpec(same)), "and the same normal form")
		})
	}
	bare := edit(t, spec, "podMetadata", none)
	for name, metadata := range map[string]any{
		"our labels alone": map[string]any{"labels": map[string]any{contract.LabelCluster: "c", contract.LabelWorkflowNamespace: "n"}},
		"nothing":          map[string]any{}, "null": nil, "nulls": map[string]any{"labels": nil},
	} {
		assert.Equal(t, SpecDigest(bare), SpecDigest(edit(t, bare, "podMetadata", metadata)), "in podMetadata: %s", name)
	}
}

func TestASpecThatSaysSomethingElseHasAnotherDigest(t *testing.T) {
	spec := specOf(t, writtenSpec)
	for name, test := range map[string]struct {
		path  string
		value any
	}{
		"another entrypoint":                          {"entrypoint", "other"},
		"another image":                               {"templates.3.container.image", "alpine"},
		"no template":                                 {"templates", none},
		"another deadline of a template":              {"templates.3.activeDeadlineSeconds", int64(31)},
		"another suspend of a template":               {"templates.3.suspend", map[string]any{}},
		"no suspend of a template":                    {"templates.1.suspend", none},
		"nothing in a list":                           {"templates.3.container.args", []any{"a", "b"}},
		"another order":                               {"templates.3.container.args", []any{"b", "", "a"}},
		"an empty value of a label":                   {"templates.2.nodeSelector", none},
		"a false that is not the default":             {"templates.2.automountServiceAccountToken", none},
		"no default of a parameter, in place of none": {"templates.0.inputs.parameters.0.default", none},
		"no volume in place of an empty one":          {"volumes.0.emptyDir", none},
		"another quantity":                            {"templates.3.container.resources.requests.cpu", "501m"},
		"an absurd quantity":                          {"templates.3.container.resources.requests.cpu", "1e-2000000000"},
		"another artifact":                            {"arguments.artifacts", []any{}},
		"another label of its pods":                   {"podMetadata.labels", map[string]any{"team": "b"}},
		"another field that nobody knows":             {"future.level", int64(4)},
		"none in it":                                  {"future.empty", none},
		"another word of a plugin":                    {"templates.2.plugin.multicluster.wait", none},
		"an item":                                     {"templates.0.steps.1.0.withItems", []any{int64(1), map[string]any{}, ""}},
		"an object in place of a text":                {"entrypoint", map[string]any{}},
		"a list in place of an object":                {"templates.3.metadata", []any{"x"}},
		"a list in place of a text":                   {"podMetadata.labels.team", []any{}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.True(t, IsOtherSpec(SpecDigest(spec), SpecDigest(edit(t, spec, test.path, test.value))))
		})
	}
	assert.Equal(t, "1:c5bf441d24305fd0e81741b6189a6b10", SpecDigest(spec),
		"an earlier manager's digests are compared with this: if it has to change, so has specFormVersion")
	assert.False(t, IsOtherSpec("", SpecDigest(spec)), "nobody knows")
	assert.False(t, IsOtherSpec(SpecDigest(spec), "0:of another version"), "nobody knows")
}

// This is what makes a verb of a typed client no edit of the spec.
func TestArgosClientsPutBackASpecOfTheSameDigest(t *testing.T) {
	specs := map[string]map[string]any{"written by a user": edit(t, specOf(t, writtenSpec), "future", none), "none": {}}
	for i, write := range recorded.Writes(t) {
		before, after, name := write.Before.Spec, write.After.Spec, fmt.Sprintf("%d: %v", i, write.Class)
		drops := before["futureSpec"] != nil && after["futureSpec"] == nil
		assert.Equal(t, drops, IsOtherSpec(SpecDigest(before), SpecDigest(after)), name)
		assert.True(t, IsSameToArgo(before, after), name)
		if before["futureSpec"] == nil {
			specs[name] = before
		}
	}
	for name, spec := range specs {
		typed := asArgoHas(t, spec)
		assert.Equal(t, SpecDigest(spec), SpecDigest(typed), name)
		assert.True(t, IsSameToArgo(spec, typed), name)
	}
	unknown := specOf(t, writtenSpec)
	assert.True(t, IsOtherSpec(SpecDigest(unknown), SpecDigest(asArgoHas(t, unknown))), "they drop what they do not know")
	assert.True(t, IsSameToArgo(unknown, asArgoHas(t, unknown)))
	assert.False(t, IsSameToArgo(unknown, edit(t, unknown, "entrypoint", "other")))
}

func TestWhatAClusterReportsIsTakenOnlyIfItWasSent(t *testing.T) {
	spec := specOf(t, writtenSpec)
	digest := SpecDigest(spec)
	encoded := func(spec map[string]any) []byte {
		data, err := contract.EncodeStatus(spec)
		require.NoError(t, err)
		return data
	}
	compressed := func(text string) []byte {
		data, err := contract.Compress([]byte(text))
		require.NoError(t, err)
		return data
	}
	for name, test := range map[string]struct {
		data   []byte
		digest string
		why    string
	}{
		"as it was sent":                {encoded(spec), digest, ""},
		"as Argo's controller put it":   {encoded(edit(t, spec, "templates.3.inputs", map[string]any{})), digest, ""},
		"with another image":            {encoded(edit(t, spec, "templates.3.container.image", "evil")), digest, "not the one that was sent"},
		"with a field that nobody knew": {encoded(edit(t, spec, "podSpecPatch", "evil")), digest, "not the one that was sent"},
		"without what was pruned":       {encoded(edit(t, spec, "future", none)), digest, "not the one that was sent"},
		"of a hub that knows no digest": {encoded(spec), "", "not the one that was sent"},
		"none":                          {nil, digest, "gzip"},
		"a list":                        {compressed("[]"), digest, "cannot unmarshal"},
		"null":                          {compressed("null"), digest, "not the one that was sent"},
		"no JSON":                       {compressed("{"), digest, "JSON"},
		"cut":                           {encoded(spec)[:40], digest, "gzip"},
		"too much text":                 {compressed(`{"a":"` + strings.Repeat("x", 4<<20) + `"}`), digest, contract.ErrTooLarge.Error()},
		"too many values":               {compressed(`{"a":[` + strings.Repeat("{},", 1<<16) + `{}]}`), digest, contract.ErrTooLarge.Error()},
		"too deep":                      {compressed(strings.Repeat(`{"a":`, contract.MaxJSONDepth+1)), digest, contract.ErrTooDeep.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			read, release, err := ReadSpec(test.data, test.digest)
			require.NotNil(t, release)
			release()
			if test.why != "" {
				require.ErrorContains(t, err, test.why)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, digest, SpecDigest(read))
		})
	}
}

// What a cluster reports decides nothing of it: two reports of the same digest give the same.
func TestARestoredSpecIsTheOneThatWasSentAndWhatVerbsHaveChanged(t *testing.T) {
	spec := specOf(t, writtenSpec)
	parameters := []any{map[string]any{"name": "count", "value": "4", "description": "of an accepted retry"}}
	current := map[string]any{
		"suspend": true, "shutdown": "Stop", "priority": int64(7), "activeDeadlineSeconds": int64(60), "entrypoint": "edited",
		"ttlStrategy": map[string]any{"secondsAfterCompletion": int64(5)},
		"arguments":   map[string]any{"parameters": parameters, "artifacts": "edited"}, "templates": "edited",
	}
	want := NormalSpec(spec)
	want["suspend"], want["shutdown"], want["priority"], want["activeDeadlineSeconds"] = true, "Stop", int64(7), int64(60)
	want["ttlStrategy"] = current["ttlStrategy"]
	want["arguments"].(map[string]any)["parameters"] = parameters
	for name, reported := range map[string]map[string]any{
		"as sent":                            spec,
		"as Argo has it":                     edit(t, asArgoHas(t, spec), "future", spec["future"]),
		"with our labels":                    edit(t, spec, "podMetadata.labels", map[string]any{"team": "a", contract.LabelCluster: "c"}),
		"with other controls and parameters": edit(t, edit(t, spec, "suspend", false), "arguments.parameters", "x"),
		"with what is empty":                 edit(t, spec, "templates.3.outputs", map[string]any{"parameters": []any{}}),
	} {
		require.Equal(t, SpecDigest(spec), SpecDigest(reported), name)
		assert.Equal(t, want, RestoredSpec(reported, current), name)
	}
	assert.Equal(t, NormalSpec(spec), RestoredSpec(spec, map[string]any{}), "nothing else")
	assert.Equal(t, map[string]any{"arguments": map[string]any{"parameters": parameters}},
		RestoredSpec(nil, map[string]any{"arguments": current["arguments"]}), "it had none")
}

func BenchmarkSpecDigest(b *testing.B) {
	for _, kib := range []int{1, 10, 100} {
		var templates []any
		for i := range kib * 2 { // half a KiB each
			templates = append(templates, map[string]any{
				"name": fmt.Sprintf("step-%d", i), "inputs": map[string]any{"parameters": []any{map[string]any{"name": "a"}, map[string]any{"name": "b"}}},
				"container": map[string]any{
					"image": "registry.example.com/team/image:v1", "command": []any{"sh", "-c"},
					"args":      []any{"echo {{inputs.parameters.a}} {{inputs.parameters.b}}; " + strings.Repeat("x", 170)},
					"resources": map[string]any{"requests": map[string]any{"cpu": "500m", "memory": "1Gi"}},
				},
			})
		}
		spec := map[string]any{"entrypoint": "main", "templates": templates}
		raw, err := json.Marshal(spec)
		require.NoError(b, err)
		b.Run(fmt.Sprintf("%d bytes", len(raw)), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				SpecDigest(spec)
			}
		})
	}
}
