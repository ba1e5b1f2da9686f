// Package convert turns manifests in the syntax of Argo's own proposal for several clusters, whose templates have the fields "cluster" and
// "namespace", into manifests that every Argo takes: such a template becomes a plugin template, see package step.
package convert

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract/step"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/lint"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/manifest"
)

// Options say how to convert.
type Options struct {
	// HubCluster is the name that the hub has as a managed cluster: a template with a namespace and no cluster runs there.
	HubCluster string
}

// Documents returns the documents converted, as one text, and all problems. If one of them is no warning, there is no text. A document
// without templates of the proposal is in the text as it was. What becomes a WorkflowTemplate of its own stands before the document that
// refers to it.
func Documents(documents []*manifest.Document, options Options) (string, []manifest.Problem) {
	c := &converter{options: options, lifted: map[string]string{}}
	for _, d := range documents {
		c.reserve(d)
	}
	var parts []string
	for _, d := range documents {
		parts = append(parts, c.document(d)...)
	}
	lint.Sort(documents, c.problems)
	if slices.ContainsFunc(c.problems, func(p manifest.Problem) bool { return !p.Warning }) {
		return "", c.problems
	}
	return join(parts), c.problems
}

// join puts documents one after the other.
func join(parts []string) string {
	var text strings.Builder
	for i, part := range parts {
		if i > 0 && !strings.HasSuffix(text.String(), "\n") {
			text.WriteString("\n")
		}
		if i > 0 && !strings.HasPrefix(part, "---") {
			text.WriteString("---\n")
		}
		text.WriteString(part)
	}
	return text.String()
}

// converter converts the documents of one call.
type converter struct {
	options  Options
	problems []manifest.Problem
	// lifted are the texts of the WorkflowTemplates made so far, by kind, namespace and name; those that are given are in it as well.
	lifted map[string]string
}

func (c *converter) problem(p ...manifest.Problem) {
	c.problems = append(c.problems, p...)
}

// warn notes problems that keep nothing from being converted.
func (c *converter) warn(problems ...manifest.Problem) {
	for _, p := range problems {
		p.Warning = true
		c.problem(p)
	}
}

// reserve notes the names of what is stored already.
func (c *converter) reserve(d *manifest.Document) {
	for _, wf := range d.Workflows {
		c.lifted[keyOf(wf.Kind, wf.Namespace, wf.Name)] = d.Text
	}
}

func keyOf(kind, namespace, name string) string {
	return kind + "/" + namespace + "/" + name
}

// document returns the document converted, after the documents that it needs.
func (c *converter) document(d *manifest.Document) []string {
	before := len(c.problems)
	var made []string
	var edits []edit
	for _, wf := range d.Workflows {
		c.misplaced(wf)
		w := newWorkflow(c, wf)
		for _, t := range wf.Templates {
			if !w.isLifted(t) {
				edits = append(edits, w.template(t)...)
			}
		}
		made = append(made, w.made...)
		edits = append(edits, w.removals()...)
	}
	if len(edits) == 0 || hasError(c.problems[before:]) {
		return []string{d.Text}
	}
	text, err := apply(d, edits)
	if err != nil {
		c.problem(manifest.Problem{File: d.File, Line: d.FirstLine, Column: 1, Message: err.Error()})
	}
	return append(made, text)
}

func hasError(problems []manifest.Problem) bool {
	return slices.ContainsFunc(problems, func(p manifest.Problem) bool { return !p.Warning })
}

// misplaced notes the fields of the proposal where they have no meaning.
func (c *converter) misplaced(wf *manifest.Workflow) {
	fields := []string{step.FieldCluster, step.FieldNamespace}
	for _, field := range fields {
		if wf.Defaults == nil {
			break
		}
		if key, _ := manifest.Pair(wf.Defaults.Node, field); key != nil {
			c.problem(wf.Defaults.Problem(key, "%s cannot be a default: write it in each template that is to run there", field))
		}
	}
	for _, t := range wf.Templates {
		for _, call := range manifest.Calls(t.Node) {
			for _, field := range fields {
				if key, _ := manifest.Pair(call, field); key != nil {
					c.problem(t.Problem(key, "%s belongs to a template, and %q is a step or task: write it in the template that it calls",
						field, manifest.Text(call, "name")))
				}
			}
		}
	}
}

// place is where a template runs.
type place struct {
	cluster, namespace string
}

// isSet reports whether a template has fields of the proposal.
func isSet(t *manifest.Template) bool {
	return fieldOf(t, step.FieldCluster) != nil || fieldOf(t, step.FieldNamespace) != nil
}

// fieldOf returns the key of a template, nil if it is not there.
func fieldOf(t *manifest.Template, field string) *yaml.Node {
	key, _ := manifest.Pair(t.Node, field)
	return key
}

func (c *converter) placeOf(t *manifest.Template) place {
	p := place{manifest.Text(t.Node, step.FieldCluster), manifest.Text(t.Node, step.FieldNamespace)}
	if p.cluster == "" {
		p.cluster = c.options.HubCluster
	}
	return p
}

// workflow is the conversion of one manifest.
type workflow struct {
	*converter
	*manifest.Workflow
	// moved are the templates that only templates lifted out lead to: they leave the manifest.
	moved map[*manifest.Template]bool
	// made are the documents of the WorkflowTemplates that it needs.
	made []string
}

func newWorkflow(c *converter, wf *manifest.Workflow) *workflow {
	w := &workflow{converter: c, Workflow: wf}
	w.moved = w.movable()
	return w
}

// The types of templates, in three kinds: those that are a body, those that are lifted out, and the one that runs nowhere.
var (
	bodies     = []string{"container", "script", "containerSet", "resource", "data"}
	composites = []string{"steps", "dag", "http"}
	types      = slices.Concat(bodies, composites, []string{"suspend", "plugin"})
)

// typeOf returns the one type of a template, and what is wrong if it has none or several.
func typeOf(t *manifest.Template) (string, *manifest.Problem) {
	var found []string
	for _, name := range types {
		if fieldOf(t, name) != nil {
			found = append(found, name)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) == 0:
		p := t.Problem(t.Node, "it has nothing to run: add one of %s, steps, dag", strings.Join(bodies, ", "))
		return "", &p
	case slices.Contains(found, "plugin"):
		p := t.Problem(fieldOf(t, "plugin"), "it has a plugin and also %s: what says where it runs must be one of them",
			strings.Join(found[:len(found)-1], ", "))
		return "", &p
	}
	p := t.Problem(fieldOf(t, found[1]), "a template has one of %s: remove the others", strings.Join(found, ", "))
	return "", &p
}

// template returns the edit that converts a template, none if it stays as it is.
func (w *workflow) template(t *manifest.Template) []edit {
	if t.Node.Kind == yaml.AliasNode || fieldOf(t, "<<") != nil {
		if through := manifest.Get(t.Node); isSet(t) || through != nil && mergesPlace(through) {
			w.problem(t.Problem(t.Node, "the template is written with a YAML alias: write it out"))
		}
		return nil
	}
	if !isSet(t) {
		return nil
	}
	valid := w.validPlace(t)
	kind, wrong := typeOf(t)
	switch {
	case wrong != nil:
		w.problem(*wrong)
	case kind == "plugin":
		w.problem(t.Problem(fieldOf(t, "plugin"), "it has a plugin: say where it runs in the plugin %s, or remove it", step.PluginKey))
	case kind == "suspend":
		w.problem(t.Problem(fieldOf(t, "suspend"), "what only waits runs in no cluster: remove cluster and namespace"))
	case !valid:
	case slices.Contains(bodies, kind):
		return w.leaf(t, kind)
	default:
		return w.composite(t, kind)
	}
	return nil
}

// mergesPlace reports whether a template gets fields of the proposal by a merge.
func mergesPlace(template *yaml.Node) bool {
	merged := manifest.Get(template, "<<")
	if merged == nil {
		return false
	}
	for _, from := range append([]*yaml.Node{merged}, merged.Content...) {
		if manifest.Get(from, step.FieldCluster) != nil || manifest.Get(from, step.FieldNamespace) != nil {
			return true
		}
	}
	return false
}

// validPlace reports whether the fields of the proposal say where a template runs, and notes what is wrong.
func (w *workflow) validPlace(t *manifest.Template) bool {
	p := w.placeOf(t)
	valid := true
	for _, field := range []string{step.FieldCluster, step.FieldNamespace} {
		key, value := manifest.Pair(t.Node, field)
		if key != nil && (value.Kind != yaml.ScalarNode || value.Value == "" || value.ShortTag() != "!!str") {
			w.problem(t.Problem(value, "%s must be a name: it is a text that is not empty", field))
			valid = false
		}
	}
	if !valid {
		return false
	}
	plugin := map[string]any{step.FieldCluster: p.cluster, "data": map[string]any{"": ""}}
	if p.namespace != "" {
		plugin[step.FieldNamespace] = p.namespace
	}
	_, wrong := step.ParseTemplate(map[string]any{step.PluginKey: plugin})
	for _, problem := range wrong {
		at := fieldOf(t, problem.Path[len(problem.Path)-1])
		if at == nil {
			at = fieldOf(t, step.FieldNamespace)
		}
		w.problem(t.Problem(at, "%s", problem.Message))
	}
	return len(wrong) == 0
}

// leaf returns the edit that makes a template's body that of a plugin.
func (w *workflow) leaf(t *manifest.Template, kind string) []edit {
	if w.Defaults != nil {
		if key, _ := manifest.Pair(w.Defaults.Node, kind); key != nil {
			w.warn(w.Defaults.Problem(key, "it does not reach template %q, which runs in another cluster: write there what it needs", t.Name))
		}
	}
	w.problem(lint.Variables(t)...)
	w.problem(lint.Volumes(t, manifest.Get(t.Node, kind))...)
	var pieces []piece
	for i := 0; i+1 < len(t.Node.Content); i += 2 {
		switch t.Node.Content[i].Value {
		case step.FieldCluster, step.FieldNamespace:
		case kind:
			pieces = append(pieces, w.plugin(t, keep(i)))
		default:
			pieces = append(pieces, keep(i))
		}
	}
	return []edit{{template: t, pieces: pieces}}
}

// plugin returns the piece that says where a template runs, and what.
func (w *workflow) plugin(t *manifest.Template, body piece) piece {
	var below []piece
	for _, field := range []string{step.FieldCluster, step.FieldNamespace} {
		if i := slices.Index(t.Node.Content, fieldOf(t, field)); i >= 0 {
			below = append(below, keep(i))
		} else if field == step.FieldCluster {
			below = append(below, made(field, scalar(w.options.HubCluster)))
		}
	}
	return piece{key: scalar("plugin"), below: []piece{{key: scalar(step.PluginKey), below: append(below, body)}}}
}

// encode returns a node as YAML.
func encode(n *yaml.Node) (string, error) {
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := encoder.Encode(n); err != nil {
		return "", fmt.Errorf("encode YAML: %w", err)
	}
	return text.String(), encoder.Close()
}
