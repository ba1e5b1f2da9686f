// Package step has the one definition of the plugin key "multicluster": what a template of a Workflow says to have its step run in another
// cluster. The hub's manager reads it from the tasks that Argo writes, and the commands "convert" and "lint" write and check it.
package step

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"
)

// PluginKey is the key below a template's "plugin" that says that its step runs in another cluster.
const PluginKey = "multicluster"

// The fields of the key beside its body.
const (
	FieldCluster     = "cluster"
	FieldPlacement   = "placement"
	FieldNamespace   = "namespace"
	FieldAll         = "all"
	FieldMaxFailures = "maxFailures"
)

// NoDaemon is what is wrong with a template that has daemon: true.
const NoDaemon = "a step in another cluster cannot be a daemon: the steps after it would wait until it ends"

// Kind is what a step runs: the name of its body.
type Kind string

// The bodies. The first five are those of a template, the other two name composites that are stored.
const (
	Container           Kind = "container"
	ContainerSet        Kind = "containerSet"
	Data                Kind = "data"
	Resource            Kind = "resource"
	Script              Kind = "script"
	TemplateRef         Kind = "templateRef"
	WorkflowTemplateRef Kind = "workflowTemplateRef"
)

// Kinds are all bodies, by name.
func Kinds() []Kind {
	return []Kind{Container, ContainerSet, Data, Resource, Script, TemplateRef, WorkflowTemplateRef}
}

// IsReference reports whether such a body names what is stored elsewhere.
func (k Kind) IsReference() bool {
	return k == TemplateRef || k == WorkflowTemplateRef
}

// Step is the value of the plugin key "multicluster". Where Parse found no problem, it has either Cluster or Placement, and one body.
type Step struct {
	// Cluster is the name of the managed cluster that the step runs in.
	Cluster string
	// Placement is the name of the Placement, in the Workflow's namespace, that chooses the cluster.
	Placement string
	// All is whether the step runs once in each cluster that the Placement has decided for, and not in one of them.
	All bool
	// MaxFailures is how many of them may fail, a number or a percentage of them; nil for none. It is set only with All.
	MaxFailures *intstr.IntOrString
	// Namespace is where it runs on the cluster, "" for the Workflow's.
	Namespace string
	// Kind is the name of the body.
	Kind Kind
	// Body has the name of the body for its one key, and is to be merged into a template; nil if Kind is a reference to a stored one.
	Body map[string]any
	// Reference is what a body of Kind TemplateRef or WorkflowTemplateRef names, else zero.
	Reference Reference
}

// Reference names a template that is stored.
type Reference struct {
	// Name is that of the WorkflowTemplate or, with ClusterScope, of the ClusterWorkflowTemplate.
	Name         string
	ClusterScope bool
	// Template is one of its templates; "" in a WorkflowTemplateRef, which means its entrypoint.
	Template string
}

// Problem is something that is wrong with a step.
type Problem struct {
	// Path leads to it from the value of "plugin": the keys, one below the other. It may end at a field that is missing.
	Path []string
	// Message is a sentence for the user, that names the field and what to do.
	Message string
}

// String returns the problem with the place that it is at.
func (p Problem) String() string {
	return "plugin." + strings.Join(p.Path, ".") + ": " + p.Message
}

// IsStep reports whether the value of a template's "plugin" has the key of this package.
func IsStep(plugin map[string]any) bool {
	_, ok := plugin[PluginKey]
	return ok
}

// InTemplates returns the name of the first template of a Workflow whose steps run in other clusters, and whether there is one. A
// template that is inline in a step or a task counts as the one around it.
func InTemplates(templates []any) (name string, found bool) {
	for _, value := range templates {
		template, _ := value.(map[string]any)
		if plugin, _ := template["plugin"].(map[string]any); IsStep(plugin) || slices.ContainsFunc(inlines(template), isOrHasStep) {
			name, _ = template["name"].(string)
			return name, true
		}
	}
	return "", false
}

func isOrHasStep(template any) bool {
	_, found := InTemplates([]any{template})
	return found
}

// inlines returns the templates that are inline in the steps and tasks of one.
func inlines(template map[string]any) []any {
	var out []any
	add := func(steps []any) {
		for _, value := range steps {
			if fields, _ := value.(map[string]any); fields["inline"] != nil {
				out = append(out, fields["inline"])
			}
		}
	}
	dag, _ := template["dag"].(map[string]any)
	tasks, _ := dag["tasks"].([]any)
	add(tasks)
	groups, _ := template["steps"].([]any)
	for _, group := range groups {
		parallel, _ := group.([]any)
		add(parallel)
	}
	return out
}

// Parse returns the step that the value of a template's "plugin" describes, and all that is wrong with it; a step with problems is not to
// be run. It takes what Argo has put values into: a variable that is left where a name belongs is a problem.
func Parse(plugin map[string]any) (*Step, []Problem) {
	return parse(plugin, false)
}

// ParseTemplate is Parse for a template as users write it, whose fields may hold variables: what they will be is not checked, and is in
// the step as it stands there.
func ParseTemplate(plugin map[string]any) (*Step, []Problem) {
	return parse(plugin, true)
}

func parse(plugin map[string]any, variables bool) (*Step, []Problem) {
	p := &parser{variables: variables}
	for _, key := range slices.Sorted(maps.Keys(plugin)) {
		if key != PluginKey {
			p.problem("Argo takes one plugin for each template: remove this one, or "+PluginKey, key)
		}
	}
	value, ok := plugin[PluginKey]
	if !ok {
		p.problem("there is no such plugin here", PluginKey)
		return &Step{}, p.problems
	}
	fields, ok := value.(map[string]any)
	if !ok {
		p.problem("it must be an object with a cluster or a placement, and what to run", PluginKey)
		return &Step{}, p.problems
	}
	p.fields = fields
	return p.step(), p.problems
}
