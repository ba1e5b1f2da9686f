// Package lint checks templates whose steps run in other clusters, without asking any cluster.
package lint

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract/step"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/manifest"
)

// Step is a template whose step runs in another cluster.
type Step struct {
	*manifest.Template
	// Plugin is the value of its "plugin".
	Plugin *yaml.Node
	*step.Step
}

// Where returns a problem with where the step runs.
func (s Step) Where(message string, args ...any) manifest.Problem {
	for _, field := range []string{step.FieldCluster, step.FieldPlacement} {
		if key, _ := manifest.Pair(manifest.Get(s.Plugin, step.PluginKey), field); key != nil {
			return s.Problem(key, message, args...)
		}
	}
	return s.Problem(s.Plugin, message, args...)
}

// Documents returns all that is wrong with the templates of the documents, by place, and the templates whose steps run in other clusters.
// References are followed among the documents; what they name elsewhere is not known, and is not wrong.
func Documents(documents []*manifest.Document) ([]manifest.Problem, []Step) {
	var problems []manifest.Problem
	var steps []Step
	for _, d := range documents {
		for _, wf := range d.Workflows {
			found, more := workflow(wf)
			steps = append(steps, found...)
			problems = append(problems, more...)
		}
	}
	for _, s := range steps {
		problems = append(problems, reference(s, documents)...)
	}
	Sort(documents, problems)
	return problems, steps
}

// Sort sorts problems by the order of the documents' files, and by place.
func Sort(documents []*manifest.Document, problems []manifest.Problem) {
	file := func(p manifest.Problem) int {
		return slices.IndexFunc(documents, func(d *manifest.Document) bool { return d.File == p.File })
	}
	slices.SortStableFunc(problems, func(a, b manifest.Problem) int {
		if n := file(a) - file(b); n != 0 {
			return n
		}
		if n := a.Line - b.Line; n != 0 {
			return n
		}
		if n := a.Column - b.Column; n != 0 {
			return n
		}
		return strings.Compare(a.Message, b.Message)
	})
}

func workflow(wf *manifest.Workflow) ([]Step, []manifest.Problem) {
	var steps []Step
	var problems []manifest.Problem
	for _, t := range wf.Templates {
		problems = append(problems, proposal(t)...)
		s, wrong := stepOf(t)
		problems = append(problems, wrong...)
		if s != nil {
			steps = append(steps, *s)
			problems = append(problems, template(*s)...)
		}
	}
	if len(steps) > 0 {
		problems = append(problems, whole(wf, steps)...)
	}
	if wf.Defaults != nil {
		if key, _ := manifest.Pair(wf.Defaults.Node, "plugin"); key != nil {
			problems = append(problems, wf.Defaults.Problem(key, "it would make a plugin of every template: write it in those that are to be one"))
		}
	}
	return steps, problems
}

// proposal returns a problem for each field of Argo's proposal that is still there.
func proposal(t *manifest.Template) []manifest.Problem {
	var problems []manifest.Problem
	for _, field := range []string{step.FieldCluster, step.FieldNamespace} {
		if key, _ := manifest.Pair(t.Node, field); key != nil {
			problems = append(problems, t.Problem(key, "Argo does not know the field %s of a template: run argo-multicluster convert", field))
		}
	}
	return problems
}

// stepOf returns the step that a template describes, nil if it is none, and what is wrong with its fields.
func stepOf(t *manifest.Template) (*Step, []manifest.Problem) {
	plugin := manifest.Get(t.Node, "plugin")
	value, err := valueOf(plugin)
	if err != nil || !step.IsStep(value) {
		return nil, nil
	}
	s, wrong := step.ParseTemplate(value)
	var problems []manifest.Problem
	for _, p := range wrong {
		problems = append(problems, t.Problem(at(plugin, p.Path), "%s", p.Message))
	}
	return &Step{Template: t, Plugin: plugin, Step: s}, problems
}

// valueOf returns a mapping as what JSON would make of it.
func valueOf(n *yaml.Node) (map[string]any, error) {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil
	}
	var value map[string]any
	err := n.Decode(&value)
	return value, err
}

// at returns the key at a path below a node, or the last one of those that are there.
func at(n *yaml.Node, path []string) *yaml.Node {
	place := n
	for _, name := range path {
		if n = manifest.Get(n); n != nil && n.Kind == yaml.SequenceNode {
			i, err := strconv.Atoi(strings.Trim(name, "[]"))
			if err != nil || i >= len(n.Content) {
				break
			}
			place, n = n.Content[i], n.Content[i]
			continue
		}
		key, value := manifest.Pair(n, name)
		if key == nil {
			break
		}
		place, n = key, value
	}
	return place
}

// whole checks the manifest of steps.
func whole(wf *manifest.Workflow, steps []Step) []manifest.Problem {
	var problems []manifest.Problem
	metadata := manifest.Get(wf.Node, "metadata")
	if wf.Kind == "CronWorkflow" {
		metadata = manifest.Get(wf.Node, "spec", "workflowMetadata")
	}
	if manifest.Text(metadata, "labels", contract.LabelEnable) == "true" {
		key, _ := manifest.Pair(manifest.Get(metadata, "labels"), contract.LabelEnable)
		problems = append(problems, wf.Problem(key, "a Workflow with this label runs in one cluster as a whole, where nothing runs the steps "+
			"of its templates with plugin %s: remove the label", step.PluginKey))
	}
	if key, _ := manifest.Pair(wf.Spec, "parallelism"); key != nil {
		p := wf.Problem(key, "parallelism counts pods, and does not limit steps in other clusters: use a semaphore in synchronization")
		p.Warning = true
		problems = append(problems, p)
	}
	return append(problems, defaults(wf, steps)...)
}

// defaults returns a warning for each default that does not reach steps: a plugin template gets none of its body from Argo, and what is
// stored in the cluster gets none at all.
func defaults(wf *manifest.Workflow, steps []Step) []manifest.Problem {
	key, all := manifest.Pair(wf.Spec, "templateDefaults")
	if key == nil {
		return nil
	}
	unreached := map[*yaml.Node]bool{}
	for _, s := range steps {
		if s.Kind.IsReference() {
			unreached[key] = true
		} else if of, _ := manifest.Pair(all, string(s.Kind)); of != nil {
			unreached[of] = true
		}
	}
	var problems []manifest.Problem
	for at := range unreached {
		p := wf.Problem(at, "this default does not reach what runs in other clusters: write it in each template")
		p.Warning = true
		problems = append(problems, p)
	}
	return problems
}

// reference checks what a step refers to, if it is in one of the documents.
func reference(s Step, documents []*manifest.Document) []manifest.Problem {
	if !s.Kind.IsReference() || s.Reference.Name == "" || strings.Contains(s.Reference.Name+s.Reference.Template, "{{") {
		return nil
	}
	stored := find(s, documents)
	if stored == nil {
		return nil
	}
	name, path := s.Reference.Template, []string{step.PluginKey, string(s.Kind), "template"}
	if s.Kind == step.WorkflowTemplateRef {
		name, path = manifest.Text(stored.Spec, "entrypoint"), []string{step.PluginKey, string(s.Kind), "name"}
	}
	there := at(s.Plugin, path)
	if name == "" && s.Kind == step.WorkflowTemplateRef {
		return []manifest.Problem{s.Problem(there, "%s %s has no entrypoint: name one of its templates with templateRef",
			stored.Kind, stored.Name)}
	}
	target := stored.Template(name)
	switch {
	case name == "":
		return nil
	case target == nil:
		return []manifest.Problem{s.Problem(there, "%s %s has no template %q", stored.Kind, stored.Name, name)}
	}
	if other, _ := stepOf(target); other != nil {
		return []manifest.Problem{s.Problem(there, "template %q of %s %s has a plugin %s itself: only templates of the Workflow on the hub may",
			name, stored.Kind, stored.Name, step.PluginKey)}
	}
	if s.Kind == step.WorkflowTemplateRef {
		return nil
	}
	return interfaces(s, target, there)
}

// find returns the stored manifest that a step refers to, nil if it is in none of the documents.
func find(s Step, documents []*manifest.Document) *manifest.Workflow {
	kind := "WorkflowTemplate"
	if s.Reference.ClusterScope {
		kind = "ClusterWorkflowTemplate"
	}
	namespace := cmp.Or(s.Namespace, s.Workflow.Namespace)
	isKnown := namespace != "" && !strings.Contains(namespace, "{{")
	for _, d := range documents {
		for _, wf := range d.Workflows {
			elsewhere := wf.Namespace != "" && isKnown && wf.Namespace != namespace
			if wf.Kind == kind && wf.Name == s.Reference.Name && !elsewhere {
				return wf
			}
		}
	}
	return nil
}

// hasLocation reports whether an artifact says where it is, beside what it is called and where a container has it.
func hasLocation(artifact *yaml.Node) bool {
	for i := 0; i+1 < len(artifact.Content); i += 2 {
		if !slices.Contains([]string{"name", "path", "mode", "recurseMode", "archive", "optional"}, artifact.Content[i].Value) {
			return true
		}
	}
	return false
}

// interfaces compares the inputs and outputs of a step with those of the template that it refers to.
func interfaces(s Step, target *manifest.Template, there *yaml.Node) []manifest.Problem {
	var problems []manifest.Problem
	for _, kind := range []string{"parameters", "artifacts"} {
		given := items(s.Node, "inputs", kind)
		for name, wanted := range items(target.Node, "inputs", kind) {
			hasDefault := manifest.Set(wanted, "value") || manifest.Set(wanted, "default") || manifest.Set(wanted, "valueFrom") ||
				manifest.Text(wanted, "optional") == "true" || kind == "artifacts" && hasLocation(wanted)
			if given[name] == nil && !hasDefault {
				problems = append(problems, s.Problem(there, "template %q needs %s %q: declare it in inputs", target.Name, kind[:len(kind)-1], name))
			}
		}
		made := items(target.Node, "outputs", kind)
		for name, wanted := range items(s.Node, "outputs", kind) {
			if made[name] == nil && !manifest.Set(wanted, "valueFrom", "default") {
				problems = append(problems, s.Problem(wanted, "template %q has no output %s %q", target.Name, kind[:len(kind)-1], name))
			}
		}
	}
	return problems
}

// items returns a list of a template by the names in it.
func items(template *yaml.Node, path ...string) map[string]*yaml.Node {
	found := map[string]*yaml.Node{}
	if list := manifest.Get(template, path...); list != nil {
		for _, item := range list.Content {
			found[manifest.Text(item, "name")] = manifest.Get(item)
		}
	}
	return found
}
