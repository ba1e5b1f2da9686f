package chaos

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract/step"
	"open-cluster-management.io/argo-workflow-multicluster/test/e2e/chaos/verdict"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/podrunner"
)

// parent is a Workflow that Argo's controller on the hub runs, and whose steps run on the managed clusters.
const parent shape = "parent"

// The templates of a parent, each of a step in another cluster.
const (
	templateFirst = "first" // in the cluster that is named
	templateFan   = "fan"   // one for each item, where the Placement says
	templateFlaky = "flaky" // its first try fails
	templateLast  = "last"  // its output is what the fan has put out
)

// fan are the items of the step that runs once for each.
var fan = []any{"a", "b", "c"}

// words are what the fan puts out, and so the parent.
const words = `["a","b","c"]`

// newParents returns the parents that a plan has beside so many other Workflows. Half of them come with the burst.
func newParents(random *rand.Rand, seed uint64, workflows int, end time.Duration, m mix) []workflow {
	parents := make([]workflow, max(2, workflows/10))
	for i := range parents {
		wf := workflow{
			shape: parent, run: fmt.Sprintf("%d-p%02d", seed, i), at: time.Duration(random.Int64N(int64(end))),
			cluster: fmt.Sprintf("cluster%d", 1+i%m.clusters),
		}
		wf.name = "w" + wf.run
		if i%2 == 0 && !m.harsh {
			wf.at = burst + wf.at%(300*time.Millisecond)
		}
		if i%4 == 3 {
			wf.deletedOnHub = time.Duration(1000+random.IntN(9000)) * time.Millisecond
		}
		parents[i] = wf
	}
	return parents
}

// steps returns what the verdict must find of a parent's steps.
func (wf workflow) steps() []verdict.Step {
	if wf.shape != parent {
		return nil
	}
	return []verdict.Step{
		{Template: templateFirst, Succeed: 1},
		{Template: templateFan, Succeed: len(fan)},
		{Template: templateFlaky, Succeed: 1, Fail: 1},
		{Template: templateLast, Succeed: 1},
	}
}

// parentObject returns a parent as a user would write it.
func (wf workflow) parentObject(journal string) *unstructured.Unstructured {
	object := contract.NewWorkflow()
	object.SetNamespace(namespace)
	object.SetName(wf.name)
	named, anywhere := map[string]any{step.FieldCluster: wf.cluster}, map[string]any{step.FieldPlacement: placementName}
	task := func(name, depends, word string, more map[string]any) any {
		task := map[string]any{"name": name, "template": name, "depends": depends, "arguments": parameters("word", word)}
		maps.Copy(task, more)
		return task
	}
	main := map[string]any{
		"name": "main",
		"dag": map[string]any{"tasks": []any{
			task(templateFirst, "", "-", nil),
			task(templateFan, templateFirst, "{{item}}", map[string]any{"withItems": fan}),
			task(templateFlaky, templateFirst, "-", nil),
			task(templateLast, templateFan+" && "+templateFlaky, "{{tasks."+templateFan+".outputs.parameters.word}}", nil),
		}},
		"outputs": map[string]any{"parameters": []any{map[string]any{
			"name": verdict.ParameterWords, "valueFrom": map[string]any{"parameter": "{{tasks." + templateLast + ".outputs.parameters.word}}"},
		}}},
	}
	object.Object["spec"] = map[string]any{
		"entrypoint": "main", "arguments": parameters(verdict.ParameterRun, wf.run), "volumes": journalVolumes(journal),
		"templates": []any{
			main,
			stepTemplate(templateFirst, journal, 1, "0", named),
			stepTemplate(templateFan, journal, 2, "0", anywhere),
			stepTemplate(templateFlaky, journal, 0, "{{=asInt(retries) == 0 ? 1 : 0}}", named),
			stepTemplate(templateLast, journal, 0, "0", anywhere),
		},
	}
	return object
}

func parameters(name, value string) map[string]any {
	return map[string]any{"parameters": []any{map[string]any{"name": name, "value": value}}}
}

// stepTemplate returns a template of a pod in another cluster. The pod writes to the journal of which step and try it is, and runs for some
// seconds. A step has so many tries since Argo gives one up where an API server has just been started and refuses it a pod.
func stepTemplate(name, journal string, seconds int, code string, where map[string]any) map[string]any {
	const word = "{{inputs.parameters.word}}"
	line := fmt.Sprintf("{{workflow.parameters.%s}} %s", verdict.ParameterRun, name)
	if name == templateFan {
		line += "-" + word
	}
	line += "/{{retries}}"
	annotations := map[string]any{
		podrunner.AnnotationJournal:         line + " " + podrunner.JournalWorkflow + " " + podrunner.JournalPod,
		podrunner.AnnotationExitCode:        code,
		podrunner.AnnotationOutput + "word": word,
	}
	if seconds > 0 {
		annotations[podrunner.AnnotationDuration] = fmt.Sprintf("%ds", seconds)
	}
	field := func(name, path string) any {
		return map[string]any{"name": name, "valueFrom": map[string]any{"fieldRef": map[string]any{"fieldPath": path}}}
	}
	script := fmt.Sprintf(`echo "$0 $WORKFLOW $POD_UID" >>%s; printf %%s "$1" >/tmp/word; sleep %d; exit "$2"`,
		filepath.Join(journalMount, filepath.Base(journal)), seconds)
	body := map[string]any{"container": map[string]any{
		"image": "busybox", "imagePullPolicy": "IfNotPresent",
		"command": []any{"sh", "-c"}, "args": []any{script, line, word, code},
		"env": []any{
			field("POD_UID", "metadata.uid"), field("WORKFLOW", "metadata.labels['workflows.argoproj.io/workflow']"),
		},
		"volumeMounts": []any{map[string]any{"name": "journal", "mountPath": journalMount}},
	}}
	maps.Copy(body, where)
	return map[string]any{
		"name": name, "metadata": map[string]any{"annotations": annotations},
		"inputs": map[string]any{"parameters": []any{map[string]any{"name": "word"}}},
		"outputs": map[string]any{"parameters": []any{
			map[string]any{"name": "word", "valueFrom": map[string]any{"path": "/tmp/word"}},
		}},
		"retryStrategy": map[string]any{"limit": "5", "retryPolicy": "Always"},
		"plugin":        map[string]any{step.PluginKey: body},
	}
}
