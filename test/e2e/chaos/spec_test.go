package chaos

import (
	"fmt"
	"maps"
	"path/filepath"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract/step"
	"open-cluster-management.io/argo-workflow-multicluster/test/e2e/chaos/verdict"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/podrunner"
)

// namespace is that of all Workflows, on the hub and on the managed clusters.
const namespace = "chaos"

// journalMount is where a real pod sees the folder of the journal.
const journalMount = "/journal"

// object returns the Workflow as a user would write it. Each of its pods appends the Workflow's run, and the UID of the
// Workflow that it belongs to, to the journal.
func (wf workflow) object(journal string) *unstructured.Unstructured {
	mods := []gen.Mod{gen.InNamespace(namespace), gen.WithPlacement(placementName)}
	if wf.cluster != "" {
		mods[1] = gen.WithCluster(wf.cluster)
	}
	object := gen.Workflow(wf.name, mods...)
	spec := wf.shape.spec(journal)
	if wf.shape == travels { // the Workflow itself runs on the hub
		object.SetLabels(nil)
		object.SetAnnotations(nil)
	}
	spec["arguments"] = map[string]any{"parameters": []any{map[string]any{"name": verdict.ParameterRun, "value": wf.run}}}
	spec["volumes"] = []any{map[string]any{
		"name": "journal", "hostPath": map[string]any{"path": filepath.Dir(journal), "type": "DirectoryOrCreate"},
	}}
	if wf.ttlField != "" {
		spec["ttlStrategy"] = map[string]any{wf.ttlField: wf.ttl}
	}
	object.Object["spec"] = spec
	return object
}

func (s shape) spec(journal string) map[string]any {
	templates := []any{}
	switch s {
	case long:
		templates = append(templates, pod(journal, ofRun, 5, "0"))
	case failing:
		templates = append(templates, pod(journal, ofRun, 0, "1"))
	case flaky:
		template := pod(journal, ofRun, 0, failsFirst)
		template["retryStrategy"] = map[string]any{"limit": "2"}
		templates = append(templates, template)
	case travels:
		return map[string]any{"entrypoint": "dag", "templates": travelling(journal)}
	case dag:
		task := func(name string, after ...any) any {
			return map[string]any{"name": name, "template": podTemplate, "dependencies": append([]any{}, after...)}
		}
		templates = append(templates, pod(journal, ofRun, 1, "0"), map[string]any{"name": "dag", "dag": map[string]any{
			"tasks": []any{task("first"), task("left", "first"), task("right", "first"), task("last", "left", "right")},
		}})
		return map[string]any{"entrypoint": "dag", "templates": templates}
	default:
		templates = append(templates, pod(journal, ofRun, 0, "0"))
	}
	return map[string]any{"entrypoint": podTemplate, "templates": templates}
}

const (
	podTemplate = "pod"
	// ofRun is what a pod writes down, for the Workflow that it belongs to.
	ofRun = "{{workflow.parameters." + verdict.ParameterRun + "}}"
	// failsFirst is the exit code of a pod that fails at its first try.
	failsFirst = "{{=asInt(retries) == 0 ? 1 : 0}}"
)

// travelSteps are what the pods of a Workflow whose steps run in other clusters write down, one each, after the Workflow's own run.
var travelSteps = []string{"first", "item-a", "item-b", "item-c", "try-0", "try-1", "last"}

// travelling returns the templates of a Workflow with steps in other clusters: at once, for several items, by cluster and by Placement, with
// a try that fails.
func travelling(journal string) []any {
	task := func(name string, more map[string]any) any {
		maps.Copy(more, map[string]any{"name": name, "template": name})
		return more
	}
	elsewhere := func(name, where, in, says string, seconds int, code string) map[string]any {
		template := pod(journal, ofRun+"."+says, seconds, code)
		template["name"] = name
		template["plugin"] = map[string]any{step.PluginKey: map[string]any{where: in, "container": template["container"]}}
		delete(template, "container")
		return template
	}
	item := elsewhere("item", step.FieldPlacement, placementName, "item-{{inputs.parameters.item}}", 2, "0")
	item["inputs"] = map[string]any{"parameters": []any{map[string]any{"name": "item"}}}
	tries := elsewhere("tries", step.FieldCluster, "cluster2", "try-{{retries}}", 0, failsFirst)
	tries["retryStrategy"] = map[string]any{"limit": "2"}
	return []any{
		map[string]any{"name": "dag", "dag": map[string]any{"tasks": []any{
			task("first", map[string]any{}),
			task("item", map[string]any{
				"dependencies": []any{"first"}, "withItems": []any{"a", "b", "c"},
				"arguments": map[string]any{"parameters": []any{map[string]any{"name": "item", "value": "{{item}}"}}},
			}),
			task("tries", map[string]any{}),
			task("last", map[string]any{"dependencies": []any{"item", "tries"}}),
		}}},
		elsewhere("first", step.FieldCluster, "cluster1", "first", 1, "0"), item, tries,
		elsewhere("last", step.FieldPlacement, placementName, "last", 0, "0"),
	}
}

// pod returns a template of a pod that writes to the journal, runs for some seconds and exits with the code.
func pod(journal, run string, seconds int, code string) map[string]any {
	const uid = "{{workflow.uid}}"
	annotations := map[string]any{
		podrunner.AnnotationJournal: run + " " + uid, podrunner.AnnotationExitCode: code,
	}
	if seconds > 0 {
		annotations[podrunner.AnnotationDuration] = fmt.Sprintf("%ds", seconds)
	}
	script := fmt.Sprintf(`echo "$0 $1" >>%s; sleep %d; exit "$2"`, filepath.Join(journalMount, filepath.Base(journal)), seconds)
	return map[string]any{
		"name":     podTemplate,
		"metadata": map[string]any{"annotations": annotations},
		"container": map[string]any{
			"image": "busybox", "imagePullPolicy": "IfNotPresent",
			"command": []any{"sh", "-c"}, "args": []any{script, run, uid, code},
			"volumeMounts": []any{map[string]any{"name": "journal", "mountPath": journalMount}},
		},
	}
}
