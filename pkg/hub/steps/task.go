package steps

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract/step"
)

// typePlugin is the type of the nodes that this package answers.
const typePlugin = "Plugin"

// taskSet is a WorkflowTaskSet: its name is that of its Workflow.
type taskSet struct {
	*unstructured.Unstructured
	// tasks are those of steps that run in other clusters: templates, by the ID of their node.
	tasks map[string]map[string]any
	// hasOthers is whether Argo's agent has something to do: a task that is not of a step in another cluster.
	hasOthers bool
	// results are the answers that Argo has not taken away yet, by the ID of their node.
	results map[string]any
}

// trimTaskSet makes a WorkflowTaskSet what the cache keeps of it: of other plugins, and of HTTP templates, only that they are there. It is
// the transform of the cache.
func trimTaskSet(obj any) (any, error) {
	set, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return obj, nil
	}
	set.SetManagedFields(nil)
	tasks, _, _ := unstructured.NestedMap(set.Object, "spec", "tasks")
	for id, task := range tasks {
		if !isStep(task) {
			_ = unstructured.SetNestedMap(set.Object, map[string]any{}, "spec", "tasks", id) // a map, for it was read from there
		}
	}
	return set, nil
}

// isStep reports whether a template has its step run in another cluster. A plugin without content may be one, too: Argo takes none such,
// so the API server has dropped what was in it.
func isStep(template any) bool {
	fields, _ := template.(map[string]any)
	plugin, ok := fields["plugin"].(map[string]any)
	return ok && len(plugin) == 0 || step.IsStep(plugin)
}

func taskSetOf(set *unstructured.Unstructured) *taskSet {
	out := &taskSet{Unstructured: set, tasks: map[string]map[string]any{}}
	tasks, _ := nested(set.Object, "spec", "tasks").(map[string]any)
	for id, task := range tasks {
		if isStep(task) {
			out.tasks[id] = task.(map[string]any)
		} else {
			out.hasOthers = true
		}
	}
	out.results, _ = nested(set.Object, "status", "nodes").(map[string]any)
	return out
}

// has reports whether a node is among the tasks, of whatever kind. It may be called for a task set that is not there.
func (t *taskSet) has(id string) bool {
	if t == nil {
		return false
	}
	tasks, _ := nested(t.Object, "spec", "tasks").(map[string]any)
	return tasks[id] != nil
}

// left returns the results without a task, by the ID of their node. Argo takes away both, or neither.
func (t *taskSet) left() []string {
	if t == nil {
		return nil
	}
	var out []string
	for id := range t.results {
		if !t.has(id) {
			out = append(out, id)
		}
	}
	return out
}

// parentUID returns the UID of the Workflow that the task set is of.
func (t *taskSet) parentUID() types.UID {
	for _, owner := range t.GetOwnerReferences() {
		if owner.Kind == contract.WorkflowGVK.Kind && owner.Name == t.GetName() {
			return owner.UID
		}
	}
	return ""
}

// parent is a Workflow with steps in other clusters, as the API server has it.
type parent struct {
	*unstructured.Unstructured
	// spec is the one that counts: with what a template that the Workflow refers to adds.
	spec   map[string]any
	status map[string]any
	nodes  map[string]any
	// unreadable is why nothing is known of the nodes; nil if they are.
	unreadable error
}

func parentOf(wf *unstructured.Unstructured) *parent {
	p := withoutNodes(wf)
	p.nodes, _, p.unreadable = contract.Nodes(p.status)
	return p
}

func withoutNodes(wf *unstructured.Unstructured) *parent {
	p := &parent{Unstructured: wf, status: contract.Status(wf)}
	p.spec, _ = wf.Object["spec"].(map[string]any)
	if stored, ok := p.status["storedWorkflowTemplateSpec"].(map[string]any); ok {
		p.spec = stored
	}
	return p
}

// hasSteps reports whether steps of the Workflow run in other clusters.
func (p *parent) hasSteps() bool {
	templates, _ := p.spec["templates"].([]any)
	stored, _ := p.status["storedTemplates"].(map[string]any)
	_, found := step.InTemplates(slices.Concat(templates, slices.Collect(maps.Values(stored))))
	return found
}

// wasSent reports whether the Workflow runs here for one of a hub. A template may have Argo change the annotations of the Workflow, and not
// the finalizer that the agent puts on it.
func (p *parent) wasSent() bool {
	return contract.ReferenceOf(p.Unstructured).UID != "" || controllerutil.ContainsFinalizer(p, contract.FinalizerReport)
}

func (p *parent) isFinished() bool {
	return contract.IsFinished(contract.StatusString(p.status, "phase"))
}

// isSuspended reports whether the Workflow starts nothing at present.
func (p *parent) isSuspended() bool {
	spec, _ := p.Object["spec"].(map[string]any)
	return contract.ControlsOf(spec).Suspend
}

// node is a node of a Workflow's status.
type node map[string]any

// node returns a node, nil if the Workflow does not show it.
func (p *parent) node(id string) node {
	n, _ := p.nodes[id].(map[string]any)
	return n
}

// usesResult reports whether a template of the Workflow refers to what the step of a node writes to its standard output. As with a step on
// the hub, it is kept only then: where a step runs for several items, Argo reads each as JSON, and fails what is none.
func (p *parent) usesResult(n node) bool {
	name, _, _ := strings.Cut(n.text("displayName"), "(") // of a try, or an item
	raw, err := json.Marshal([]any{p.spec, p.status["storedTemplates"]})
	if err != nil {
		return false // it was JSON
	}
	refers := regexp.MustCompile(`(\.|\[ *(\\"|'))` + regexp.QuoteMeta(name) + `((\\"|') *\])?\.outputs\.result\b`)
	return refers.Match(raw)
}

func (n node) text(field string) string { return contract.StatusString(n, field) }

// fulfilled are the phases in which Argo is done with a node.
var fulfilled = []string{"Succeeded", "Failed", "Error", "Skipped", "Omitted"}

func (n node) isFulfilled() bool { return slices.Contains(fulfilled, n.text("phase")) }

// isOpen reports whether the node waits for the result of a plugin.
func (n node) isOpen() bool { return n.text("type") == typePlugin && !n.isFulfilled() }

// deadline returns when a step has to have ended: the earliest that its template, or the Workflow, says; zero for never. Argo watches over
// neither while it waits for the result of a plugin.
func (p *parent) deadline(n node, task map[string]any) (time.Time, error) {
	var earliest time.Time
	within := func(start string, d time.Duration) {
		at, err := time.Parse(time.RFC3339, start)
		if err != nil {
			return
		}
		if at = at.Add(d); earliest.IsZero() || at.Before(earliest) {
			earliest = at
		}
	}
	if timeout := contract.StatusString(task, "timeout"); timeout != "" {
		d, err := time.ParseDuration(timeout)
		if err != nil {
			return earliest, fmt.Errorf("timeout %q of the template: want a duration such as 30s or 2h", timeout)
		}
		within(n.text("startedAt"), d)
	}
	if seconds, ok := p.spec["activeDeadlineSeconds"].(int64); ok && !p.isOfExitHandler(n) {
		within(contract.StatusString(p.status, "startedAt"), time.Duration(seconds)*time.Second)
	}
	return earliest, nil
}

// isOfExitHandler reports whether a node is one, or within one, of the Workflow, a step or a task: those run after the Workflow's deadline,
// too.
func (p *parent) isOfExitHandler(n node) bool {
	for range len(p.nodes) + 1 { // a boundary may not lead back to itself
		name, _, _ := strings.Cut(n.text("displayName"), "(") // of a try, or an item
		if strings.HasSuffix(name, ".onExit") {
			return true
		}
		if n = p.node(n.text("boundaryID")); n == nil {
			return false
		}
	}
	return false
}

// view is what of a Workflow may change what is done about its steps.
type view struct {
	UID                 types.UID
	Suspended, Finished bool
	// Open is when each node that waits for the result of a plugin has started, by its ID: of a Workflow with steps in other clusters.
	Open map[string]string `json:",omitempty"`
}

func viewOf(wf *unstructured.Unstructured) view {
	p := withoutNodes(wf)
	v := view{UID: wf.GetUID(), Suspended: p.isSuspended(), Finished: p.isFinished()}
	if !v.Finished && p.hasSteps() { // it costs to unpack the nodes of others
		v.Open = parentOf(wf).open()
	}
	return v
}

// open returns when each node that waits for the result of a plugin has started, by its ID.
func (p *parent) open() map[string]string {
	out := map[string]string{}
	for id := range p.nodes {
		if n := p.node(id); n.isOpen() && nested(n, "synchronizationStatus", "waiting") == nil { // for a lock: Argo writes no task before
			out[id] = n.text("startedAt")
		}
	}
	return out
}

func nested(object map[string]any, path ...string) any {
	value, _, _ := unstructured.NestedFieldNoCopy(object, path...)
	return value
}
