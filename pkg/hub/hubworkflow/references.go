package hubworkflow

import (
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// maxReferences bounds how many templates a Workflow refers to, directly or not. What is beyond counts as nothing.
const maxReferences = 32

// Reference names a template of a WorkflowTemplate, or all of them if Template is ""; IsOfCluster says that Name is that of a
// ClusterWorkflowTemplate.
type Reference struct {
	Name, Template string
	IsOfCluster    bool
}

// pods is what is known of the pods of some templates: what the largest requests, whether one tolerates taints, and which other
// templates may have more of them.
type pods struct {
	largest  contract.Resources
	isPlaced bool
	refersTo []Reference
}

// podsOf returns what is known of the pods of a spec. within is where its steps find a template by its name alone; nil if that is the
// spec itself.
func podsOf(spec map[string]any, within *Reference) pods {
	largest, isPlaced := LargestPod(spec)
	return pods{largest, isPlaced, referencesOf(spec, within)}
}

// referencesOf returns what a spec refers to, each once, and no more than count. Where a podSpecPatch changes whatever the spec refers
// to, nothing is known of that.
func referencesOf(spec map[string]any, within *Reference) []Reference {
	if spec["podSpecPatch"] != nil || object(spec["templateDefaults"])["podSpecPatch"] != nil {
		return nil
	}
	var out []Reference
	if ref := object(spec["workflowTemplateRef"]); ref != nil {
		out = appendReference(out, text(ref["name"]), "", ref["clusterScope"] == true)
	}
	for _, template := range templatesIn(spec) {
		for _, task := range tasksOf(template) {
			ref, named := object(task["templateRef"]), text(task["template"])
			switch {
			case ref != nil && text(ref["template"]) != "":
				out = appendReference(out, text(ref["name"]), text(ref["template"]), ref["clusterScope"] == true)
			case ref == nil && named != "" && within != nil:
				out = appendReference(out, within.Name, named, within.IsOfCluster)
			}
		}
	}
	return out
}

func appendReference(to []Reference, name, template string, isOfCluster bool) []Reference {
	ref := Reference{Name: name, Template: template, IsOfCluster: isOfCluster}
	if name == "" || len(to) >= maxReferences || slices.Contains(to, ref) {
		return to
	}
	return append(to, ref)
}

// value returns p as a JSON value, and podsIn what such a value was made of.
func (p pods) value() map[string]any {
	refersTo := make([]any, 0, len(p.refersTo))
	for _, ref := range p.refersTo {
		refersTo = append(refersTo, []any{ref.Name, ref.Template, ref.IsOfCluster})
	}
	return map[string]any{"milliCPU": p.largest.MilliCPU, "memory": p.largest.Memory, "isPlaced": p.isPlaced, "refersTo": refersTo}
}

func podsIn(value any) pods {
	from, p := object(value), pods{largest: contract.Resources{Pods: 1}}
	p.largest.MilliCPU, _ = from["milliCPU"].(int64)
	p.largest.Memory, _ = from["memory"].(int64)
	p.isPlaced, _ = from["isPlaced"].(bool)
	for _, entry := range list(from["refersTo"]) {
		if ref := list(entry); len(ref) == 3 {
			p.refersTo = append(p.refersTo, Reference{Name: text(ref[0]), Template: text(ref[1]), IsOfCluster: ref[2] == true})
		}
	}
	return p
}

// Template is what is known of a WorkflowTemplate or ClusterWorkflowTemplate: of it as a whole, for a Workflow that takes its spec, and
// of each of its templates, for a step that takes one. Only the whole has what the spec says of all its templates.
type Template struct {
	whole pods
	parts map[string]pods
}

// TrimTemplate makes a WorkflowTemplate or ClusterWorkflowTemplate what the cache keeps of it. It is the transform of the cache; equal
// input gives equal output.
func TrimTemplate(obj any) (any, error) {
	from, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return obj, nil
	}
	if _, trimmed := from.Object[knownKey]; trimmed {
		return obj, nil // client-go may hand over again what it was given
	}
	spec, parts := object(from.Object["spec"]), map[string]any{}
	self := &Reference{Name: from.GetName(), IsOfCluster: from.GetKind() == contract.ClusterWorkflowTemplateGVK.Kind}
	for _, entry := range list(spec["templates"]) {
		part := podsOf(map[string]any{"templates": []any{entry}}, self)
		if name := text(object(entry)["name"]); name != "" && !reflect.DeepEqual(part, podsIn(nil)) {
			parts[name] = part.value()
		}
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": from.Object["apiVersion"], "kind": from.Object["kind"],
		"metadata": only(object(from.Object["metadata"]), []string{"name", "namespace", "uid", "resourceVersion"}),
		knownKey:   map[string]any{"whole": podsOf(spec, nil).value(), "parts": parts},
	}}, nil
}

// TemplateOf returns what is known of what TrimTemplate has left; nil for nil.
func TemplateOf(trimmed *unstructured.Unstructured) *Template {
	if trimmed == nil {
		return nil
	}
	k := object(trimmed.Object[knownKey])
	out := &Template{whole: podsIn(k["whole"]), parts: map[string]pods{}}
	for name, part := range object(k["parts"]) {
		out.parts[name] = podsIn(part)
	}
	return out
}

// Resolve lets what the Workflow refers to, directly or not, count for Requests and IsPlaced. templateAt returns the WorkflowTemplate
// with a key, or the ClusterWorkflowTemplate where the key has no namespace; nil for one that is not there, which counts as nothing.
func (wf *Workflow) Resolve(templateAt func(client.ObjectKey) *Template) {
	left := slices.Clone(wf.RefersTo)
	for i := 0; i < len(left); i++ {
		key := client.ObjectKey{Name: left[i].Name}
		if !left[i].IsOfCluster {
			key.Namespace = wf.GetNamespace()
		}
		if !slices.Contains(wf.Templates, key) {
			wf.Templates = append(wf.Templates, key)
		}
		template := templateAt(key)
		if template == nil {
			continue
		}
		its := template.whole
		if left[i].Template != "" {
			its = template.parts[left[i].Template]
		}
		wf.Requests.MilliCPU = max(wf.Requests.MilliCPU, its.largest.MilliCPU)
		wf.Requests.Memory = max(wf.Requests.Memory, its.largest.Memory)
		wf.IsPlaced = wf.IsPlaced || its.isPlaced
		for _, ref := range its.refersTo {
			left = appendReference(left, ref.Name, ref.Template, ref.IsOfCluster)
		}
	}
}

func text(value any) string {
	out, _ := value.(string)
	return out
}
