package chaos

import (
	"fmt"
	"path/filepath"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

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
	if wf.shape == parent {
		return wf.parentObject(journal)
	}
	mods := []gen.Mod{gen.InNamespace(namespace), gen.WithPlacement(placementName)}
	if wf.cluster != "" {
		mods[1] = gen.WithCluster(wf.cluster)
	}
	object := gen.Workflow(wf.name, mods...)
	spec := wf.shape.spec(journal)
	spec["arguments"] = parameters(verdict.ParameterRun, wf.run)
	spec["volumes"] = journalVolumes(journal)
	if wf.ttlField != "" {
		spec["ttlStrategy"] = map[string]any{wf.ttlField: wf.ttl}
	}
	object.Object["spec"] = spec
	return object
}

func journalVolumes(journal string) []any {
	return []any{map[string]any{
		"name": "journal", "hostPath": map[string]any{"path": filepath.Dir(journal), "type": "DirectoryOrCreate"},
	}}
}

func (s shape) spec(journal string) map[string]any {
	templates := []any{}
	switch s {
	case long:
		templates = append(templates, pod(journal, 5, "0"))
	case failing:
		templates = append(templates, pod(journal, 0, "1"))
	case flaky:
		template := pod(journal, 0, "{{=asInt(retries) == 0 ? 1 : 0}}")
		template["retryStrategy"] = map[string]any{"limit": "2"}
		templates = append(templates, template)
	case dag:
		task := func(name string, after ...any) any {
			return map[string]any{"name": name, "template": podTemplate, "dependencies": append([]any{}, after...)}
		}
		templates = append(templates, pod(journal, 1, "0"), map[string]any{"name": "dag", "dag": map[string]any{
			"tasks": []any{task("first"), task("left", "first"), task("right", "first"), task("last", "left", "right")},
		}})
		return map[string]any{"entrypoint": "dag", "templates": templates}
	default:
		templates = append(templates, pod(journal, 0, "0"))
	}
	return map[string]any{"entrypoint": podTemplate, "templates": templates}
}

const podTemplate = "pod"

// pod returns a template of a pod that writes to the journal, runs for some seconds and exits with the code.
func pod(journal string, seconds int, code string) map[string]any {
	const run, uid = "{{workflow.parameters." + verdict.ParameterRun + "}}", "{{workflow.uid}}"
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
