package convert

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/validation"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract/step"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/lint"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/manifest"
)

// Of a composite, the parent keeps what it does itself; the rest goes with the template that is lifted out.
var (
	ofParent = []string{"name", "inputs", "outputs", "retryStrategy", "memoize", "synchronization", "metrics", "timeout",
		"activeDeadlineSeconds", "metadata", "annotations"}
	ofParentAlone = []string{"retryStrategy", "memoize", "synchronization", "metrics", "timeout", "activeDeadlineSeconds",
		step.FieldCluster, step.FieldNamespace}
)

// composite lifts a template out into a WorkflowTemplate, together with all that it leads to, and returns the edit that makes it a plugin
// that refers to that.
func (w *workflow) composite(t *manifest.Template, kind string) []edit {
	templates := w.reached(t)
	before := len(w.problems)
	if w.Defaults != nil && len(w.Defaults.Node.Content) > 0 {
		w.warn(w.Defaults.Problem(w.Defaults.Node, "they do not reach what template %q runs in cluster %q as a whole: write there what it needs",
			t.Name, w.placeOf(t).cluster))
	}
	if kind == "http" {
		w.warn(w.usesOfResult(t)...)
	}
	for _, other := range templates {
		w.liftable(t, other)
	}
	if hasError(w.problems[before:]) {
		return nil
	}
	ref := w.lift(t, templates)
	var pieces []piece
	for i := 0; i+1 < len(t.Node.Content); i += 2 {
		key, value := t.Node.Content[i].Value, t.Node.Content[i+1]
		switch {
		case key == kind:
			pieces = append(pieces, w.plugin(t, made(string(step.TemplateRef), ref)))
		case key == "inputs" || key == "outputs":
			pieces = append(pieces, declared(t.Node.Content[i], i, value))
		case slices.Contains(ofParent, key):
			pieces = append(pieces, keep(i))
		}
	}
	return []edit{{template: t, pieces: pieces}}
}

// declared returns the inputs or outputs of a composite for a plugin template: artifacts need a path there, and the values of outputs come
// from outside.
func declared(key *yaml.Node, pair int, value *yaml.Node) piece {
	changed := clone(value)
	isChanged := false
	if list := manifest.Get(changed, "artifacts"); list != nil {
		for _, artifact := range list.Content {
			if !manifest.Set(artifact, "path") {
				remove(artifact, "from", "fromExpression")
				artifact.Content = append(artifact.Content, scalar("path"), scalar("/multicluster/"+manifest.Text(artifact, "name")))
				isChanged = true
			}
		}
	}
	if list := manifest.Get(changed, "parameters"); list != nil && key.Value == "outputs" {
		for _, parameter := range list.Content {
			if from := manifest.Get(parameter, "valueFrom"); from != nil {
				remove(from, "parameter", "expression")
				from.Content = append(from.Content, scalar("supplied"), mapping())
				isChanged = true
			}
		}
	}
	if !isChanged {
		return keep(pair)
	}
	return piece{pair: -1, key: key, value: changed}
}

// remove takes keys from a mapping.
func remove(n *yaml.Node, keys ...string) {
	for _, key := range keys {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				n.Content = slices.Delete(n.Content, i, i+2)
				break
			}
		}
	}
}

// clone copies a node with all below it, and without aliases.
func clone(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	copied := *n
	copied.Anchor = ""
	copied.Content = nil
	for _, child := range n.Content {
		copied.Content = append(copied.Content, clone(child))
	}
	return &copied
}

// targets are the names of the templates that a template calls, each with the node that names it.
func targets(template *yaml.Node) []*yaml.Node {
	var found []*yaml.Node
	add := func(n *yaml.Node) {
		if n != nil {
			found = append(found, n)
		}
	}
	for _, call := range manifest.Calls(template) {
		add(manifest.Get(call, "template"))
		add(manifest.Get(call, "onExit"))
		if hooks := manifest.Get(call, "hooks"); hooks != nil {
			for i := 1; i < len(hooks.Content); i += 2 {
				add(manifest.Get(hooks.Content[i], "template"))
			}
		}
		if inline := manifest.Get(call, "inline"); inline != nil {
			found = append(found, targets(inline)...)
		}
	}
	return found
}

// reached returns a template, and all of the manifest's that it leads to, in the manifest's order.
func (w *workflow) reached(from ...*manifest.Template) []*manifest.Template {
	seen := map[*manifest.Template]bool{}
	for len(from) > 0 {
		t := from[0]
		from = from[1:]
		if t == nil || seen[t] {
			continue
		}
		seen[t] = true
		for _, name := range targets(t.Node) {
			from = append(from, w.Template(name.Value))
		}
	}
	var found []*manifest.Template
	for _, t := range w.Templates {
		if seen[t] {
			found = append(found, t)
		}
	}
	return found
}

// movable returns the templates that leave the manifest: those that only composites which are lifted out lead to. Those of what is stored
// may be called from elsewhere, and stay.
func (w *workflow) movable() map[*manifest.Template]bool {
	moved := map[*manifest.Template]bool{}
	entrypoint := w.Template(manifest.Text(w.Spec, "entrypoint"))
	if w.Kind != "Workflow" && w.Kind != "CronWorkflow" || entrypoint == nil {
		return moved
	}
	var composites []*manifest.Template
	for _, t := range w.Templates {
		if isSet(t) && isComposite(t) {
			composites = append(composites, t)
		}
	}
	below := w.reached(composites...)
	starts := append(w.hooks(), entrypoint)
	for _, t := range w.Templates {
		if !slices.Contains(below, t) {
			starts = append(starts, t)
		}
	}
	stay := w.reachedOutside(starts)
	lifted := slices.DeleteFunc(composites, func(t *manifest.Template) bool { return !slices.Contains(stay, t) })
	for _, t := range w.reached(lifted...) {
		if !slices.Contains(stay, t) {
			moved[t] = true
		}
	}
	return moved
}

// hooks returns the templates that the Workflow itself calls beside its entrypoint.
func (w *workflow) hooks() []*manifest.Template {
	found := []*manifest.Template{w.Template(manifest.Text(w.Spec, "onExit"))}
	if hooks := manifest.Get(w.Spec, "hooks"); hooks != nil {
		for i := 1; i < len(hooks.Content); i += 2 {
			found = append(found, w.Template(manifest.Text(hooks.Content[i], "template")))
		}
	}
	return found
}

// isLifted reports whether a template leaves the manifest, alone or in one that it is inline in.
func (w *workflow) isLifted(t *manifest.Template) bool {
	if w.moved[t] {
		return true
	}
	return t.Outer != nil && (isSet(t.Outer) && isComposite(t.Outer) || w.isLifted(t.Outer))
}

func isComposite(t *manifest.Template) bool {
	kind, wrong := typeOf(t)
	return wrong == nil && slices.Contains(composites, kind)
}

// reachedOutside is reached without what only templates that are lifted out lead to.
func (w *workflow) reachedOutside(from []*manifest.Template) []*manifest.Template {
	var seen []*manifest.Template
	for len(from) > 0 {
		t := from[0]
		from = from[1:]
		if t == nil || slices.Contains(seen, t) {
			continue
		}
		seen = append(seen, t)
		if isSet(t) && isComposite(t) {
			continue
		}
		for _, name := range targets(t.Node) {
			from = append(from, w.Template(name.Value))
		}
	}
	return seen
}

// removals returns the edits that take the templates that leave from the manifest.
func (w *workflow) removals() []edit {
	var edits []edit
	for _, t := range w.Templates {
		if w.moved[t] {
			edits = append(edits, edit{template: t})
		}
	}
	return edits
}

// variableOfWorkflow finds variables of the whole Workflow. In its cluster a lifted template is part of another one.
var variableOfWorkflow = regexp.MustCompile(
	`(?:^|[^\w.'"-])workflow\.(?:annotations|labels|mainEntrypoint|name|outputs|parameters|scheduledTime|uid)\b`)

// liftable notes why a template cannot be part of a composite that is lifted out.
func (w *workflow) liftable(composite, t *manifest.Template) {
	w.samePlace(composite, t)
	for _, name := range targets(t.Node) {
		if w.Template(name.Value) == nil {
			w.problem(t.Problem(name, "there is no template %q in the manifest: what runs in cluster %q as a whole can only call templates by "+
				"their name, or by templateRef", name.Value, w.placeOf(composite).cluster))
		}
	}
	for i := 0; i+1 < len(t.Node.Content); i += 2 {
		if key := t.Node.Content[i].Value; t == composite && (key == "inputs" || slices.Contains(ofParentAlone, key)) {
			continue // the Workflow on the hub puts its values in
		}
		w.knownThere(composite, t, t.Node.Content[i+1])
	}
	for _, inner := range w.Templates {
		if inner != t && inner.Outer != t {
			continue
		}
		if inner != t {
			w.samePlace(composite, inner)
		}
		for _, kind := range bodies {
			if body := manifest.Get(inner.Node, kind); body != nil {
				w.problem(lint.Volumes(inner, body)...)
			}
		}
	}
}

// knownThere notes the variables in a part of a template that is lifted out which are not known in its cluster.
func (w *workflow) knownThere(composite, t *manifest.Template, part *yaml.Node) {
	for _, v := range w.Document.Variables(part) {
		if variableOfWorkflow.MatchString(v.Name) {
			w.problem(t.Problem(&yaml.Node{Line: v.Line, Column: v.Column}, "{{%s}} is that of the Workflow on the hub, and a step in another "+
				"cluster does not know it: pass it as an input parameter of template %q", v.Name, composite.Name))
		}
	}
}

// resultOf finds the result of a step or task in a variable or an expression.
var resultOf = regexp.MustCompile(`\b(?:steps|tasks)(?:\.([^.'"\]]+)|\[['"]([^'"]+)['"]\])\.outputs\.result\b`)

// usesOfResult returns a problem for each place at which the Workflow on the hub uses the result of an HTTP template: what a template that
// is stored in the cluster returns does not come back.
func (w *workflow) usesOfResult(t *manifest.Template) []manifest.Problem {
	var problems []manifest.Problem
	for _, caller := range w.Templates {
		if w.isLifted(caller) || isSet(caller) && isComposite(caller) {
			continue
		}
		for _, text := range texts(caller.Node) {
			for _, found := range resultOf.FindAllStringSubmatch(text.Value, -1) {
				if w.calls(caller, found[1]+found[2], t) {
					problems = append(problems, caller.Problem(text, "%s does not come back from cluster %q: have a template with steps run "+
						"there, which calls template %q and has an output parameter with valueFrom.parameter",
						found[0], w.placeOf(t).cluster, t.Name))
				}
			}
		}
	}
	return problems
}

// texts returns all scalars at a node and below.
func texts(n *yaml.Node) []*yaml.Node {
	if n.Kind == yaml.ScalarNode {
		return []*yaml.Node{n}
	}
	var found []*yaml.Node
	for _, child := range n.Content {
		found = append(found, texts(child)...)
	}
	return found
}

// calls reports whether the step or task of this name in a template calls another one.
func (w *workflow) calls(caller *manifest.Template, name string, t *manifest.Template) bool {
	return slices.ContainsFunc(manifest.Calls(caller.Node), func(call *yaml.Node) bool {
		return manifest.Text(call, "name") == name &&
			(manifest.Text(call, "template") == t.Name && t.Outer == nil || manifest.Get(call, "inline") == t.Node)
	})
}

// samePlace notes why a template of a composite cannot run where the composite runs.
func (w *workflow) samePlace(composite, t *manifest.Template) {
	where := w.placeOf(composite)
	if plugin := manifest.Get(t.Node, "plugin", step.PluginKey); plugin != nil {
		w.problem(t.Problem(fieldOf(t, "plugin"), "it cannot run in another cluster: template %q, which leads to it, runs in cluster %q as a "+
			"whole", composite.Name, where.cluster))
	}
	if other := w.placeOf(t); isSet(t) && other != where {
		at := fieldOf(t, step.FieldCluster)
		if at == nil {
			at = fieldOf(t, step.FieldNamespace)
		}
		w.problem(t.Problem(at, "it cannot run in cluster %q, namespace %q: template %q, which leads to it, runs in cluster %q, namespace %q, "+
			"as a whole; take the place from one of them", other.cluster, other.namespace, composite.Name, where.cluster, where.namespace))
	}
}

// lift notes the document with a composite and what it leads to, and returns the reference to it.
func (w *workflow) lift(t *manifest.Template, templates []*manifest.Template) *yaml.Node {
	kind := "WorkflowTemplate"
	if w.Kind == "ClusterWorkflowTemplate" {
		kind = w.Kind
	}
	name := nameOf(w.Name, t.Name)
	metadata, namespace := mapping(scalar("name"), scalar(name)), ""
	if kind == "WorkflowTemplate" {
		namespace = w.namespaceThere(t)
	}
	if namespace != "" {
		metadata.Content = append(metadata.Content, scalar("namespace"), scalar(namespace))
	}
	list := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	entrypoint := t.Name
	if t.Outer != nil {
		entrypoint = "main"
	}
	for _, other := range templates {
		list.Content = append(list.Content, lifted(other, other == t, entrypoint))
	}
	document := mapping(scalar("apiVersion"), scalar("argoproj.io/v1alpha1"), scalar("kind"), scalar(kind), scalar("metadata"), metadata,
		scalar("spec"), mapping(scalar("entrypoint"), scalar(entrypoint), scalar("templates"), list))
	text, err := encode(document)
	if err != nil {
		w.problem(t.Problem(t.Node, "%s", err))
	}
	switch earlier, ok := w.lifted[keyOf(kind, namespace, name)]; {
	case !ok:
		w.made = append(w.made, text)
	case earlier != text:
		w.problem(t.Problem(t.Node, "it would become the %s %s, and there is another one of this name: rename the template", kind, name))
	}
	w.lifted[keyOf(kind, namespace, name)] = text
	ref := mapping(scalar("name"), scalar(name), scalar("template"), scalar(entrypoint))
	if kind == "ClusterWorkflowTemplate" {
		ref.Content = append(ref.Content, scalar("clusterScope"), &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true"})
	}
	return ref
}

// namespaceThere returns the namespace on its cluster in which a template runs, "" where only the run decides.
func (w *workflow) namespaceThere(t *manifest.Template) string {
	namespace := cmp.Or(w.placeOf(t).namespace, w.Namespace)
	if strings.Contains(namespace, "{{") {
		return ""
	}
	return namespace
}

// lifted returns a template as it is in the WorkflowTemplate.
func lifted(t *manifest.Template, isComposite bool, name string) *yaml.Node {
	node := clone(t.Node)
	remove(node, step.FieldCluster, step.FieldNamespace)
	for _, call := range manifest.Calls(node) {
		if inline := manifest.Get(call, "inline"); inline != nil {
			remove(inline, step.FieldCluster, step.FieldNamespace)
		}
	}
	if !isComposite {
		return node
	}
	remove(node, ofParentAlone...)
	if t.Outer != nil {
		remove(node, "name")
		node.Content = append([]*yaml.Node{scalar("name"), scalar(name)}, node.Content...)
	}
	return node
}

var notInName = regexp.MustCompile(`[^a-z0-9-]+`)

// nameOf returns the name of the WorkflowTemplate that a template of a manifest is lifted out into: readable, and with a hash where it had
// to be changed to be a name.
func nameOf(manifestName, templateName string) string {
	readable := strings.TrimRight(manifestName, "-.") + "-" + templateName
	name := strings.Trim(notInName.ReplaceAllString(strings.ToLower(readable), "-"), "-")
	if name == readable && len(name) <= validation.DNS1123LabelMaxLength {
		return name
	}
	hash := sha256.Sum256([]byte(readable))
	const digits = 8
	name = strings.TrimRight(name[:min(len(name), validation.DNS1123LabelMaxLength-digits-1)], "-")
	return strings.TrimPrefix(name+"-"+hex.EncodeToString(hash[:digits/2]), "-")
}
