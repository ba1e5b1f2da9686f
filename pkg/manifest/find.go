package manifest

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// Of the kinds with templates, where their spec is.
var specs = map[string][]string{
	"Workflow":                {"spec"},
	"WorkflowTemplate":        {"spec"},
	"ClusterWorkflowTemplate": {"spec"},
	"CronWorkflow":            {"spec", "workflowSpec"},
}

// find notes the manifests with templates.
func (d *Document) find() {
	if d.Root == nil || len(d.Root.Content) == 0 {
		return
	}
	manifests := []*yaml.Node{d.Root.Content[0]}
	if strings.HasSuffix(Text(d.Root.Content[0], "kind"), "List") {
		manifests = nil
		if items := Get(d.Root.Content[0], "items"); items != nil {
			manifests = items.Content
		}
	}
	for _, node := range manifests {
		path, ok := specs[Text(node, "kind")]
		if !ok || !strings.HasPrefix(Text(node, "apiVersion"), "argoproj.io/") {
			continue
		}
		wf := &Workflow{Document: d, Kind: Text(node, "kind"), Node: node, Spec: Get(node, path...)}
		wf.Name, wf.Namespace = Text(node, "metadata", "name"), Text(node, "metadata", "namespace")
		if wf.Name == "" {
			wf.Name = Text(node, "metadata", "generateName")
		}
		wf.find()
		d.Workflows = append(d.Workflows, wf)
	}
}

// find notes the templates of a manifest.
func (wf *Workflow) find() {
	if templates := Get(wf.Spec, "templates"); templates != nil {
		for _, node := range templates.Content {
			wf.add(&Template{Workflow: wf, Name: Text(node, "name"), Node: node})
		}
	}
	if defaults := Get(wf.Spec, "templateDefaults"); defaults != nil {
		wf.Defaults = &Template{Workflow: wf, Name: "templateDefaults", Node: defaults}
	}
}

func (wf *Workflow) add(t *Template) {
	wf.Templates = append(wf.Templates, t)
	for _, call := range Calls(t.Node) {
		if inline := Get(call, "inline"); inline != nil {
			wf.add(&Template{Workflow: wf, Name: Text(call, "name"), Node: inline, Outer: t})
		}
	}
}

// Calls returns the steps of a template, or the tasks of its DAG.
func Calls(template *yaml.Node) []*yaml.Node {
	var calls []*yaml.Node
	if steps := Get(template, "steps"); steps != nil {
		for _, group := range steps.Content {
			if group = resolve(group); group.Kind == yaml.MappingNode {
				calls = append(calls, group)
				continue
			}
			calls = append(calls, group.Content...)
		}
	}
	if tasks := Get(template, "dag", "tasks"); tasks != nil {
		calls = append(calls, tasks.Content...)
	}
	return calls
}

// Pair returns the key of a mapping and its value; nil and nil if it is not there, or the node is no mapping.
func Pair(n *yaml.Node, key string) (keyNode, value *yaml.Node) {
	if n = resolve(n); n == nil || n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

// Get returns what is at a path of keys, nil if there is nothing. It goes through aliases.
func Get(n *yaml.Node, path ...string) *yaml.Node {
	n = resolve(n)
	for _, key := range path {
		_, n = Pair(n, key)
		n = resolve(n)
	}
	return n
}

// Text returns the scalar at a path of keys, "" if there is none.
func Text(n *yaml.Node, path ...string) string {
	if n = Get(n, path...); n != nil && n.Kind == yaml.ScalarNode {
		return n.Value
	}
	return ""
}

// Set reports whether there is something at a path of keys, which is not null.
func Set(n *yaml.Node, path ...string) bool {
	n = Get(n, path...)
	return n != nil && n.ShortTag() != "!!null"
}

// resolve returns what an alias stands for.
func resolve(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}
