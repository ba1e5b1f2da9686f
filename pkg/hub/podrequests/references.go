package podrequests

import (
	"cmp"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// What is beyond these bounds counts as nothing: users write templates.
const (
	// maxReferences bounds how many templates a Workflow refers to, directly or not.
	maxReferences = 32
	// maxParts bounds how many templates of one object are kept.
	maxParts = 500
	// maxName bounds a name, in bytes.
	maxName = 253
)

// Reference names a template of a WorkflowTemplate, or of a ClusterWorkflowTemplate if IsOfCluster. TakesSpec says that a Workflow takes
// that one's spec: then Template is the entrypoint, "" for the spec's own.
type Reference struct {
	Name, Template         string
	IsOfCluster, TakesSpec bool
}

// Key names the object that has the template, for a Workflow of the namespace.
func (r Reference) Key(namespace string) client.ObjectKey {
	if r.IsOfCluster {
		return client.ObjectKey{Name: r.Name}
	}
	return client.ObjectKey{Namespace: namespace, Name: r.Name}
}

// referAsTask adds what a step or task refers to. within is where it finds a template by its name alone; nil if all of those count anyway.
func (p *Pods) referAsTask(task map[string]any, within *Reference) {
	if ref := object(task["templateRef"]); ref != nil {
		p.refer(ref, nameIn(ref, "template"), false)
	} else if within != nil {
		p.add(Reference{Name: within.Name, Template: nameIn(task, "template"), IsOfCluster: within.IsOfCluster})
	}
}

func (p *Pods) refer(to map[string]any, template string, takesSpec bool) {
	p.add(Reference{Name: nameIn(to, "name"), Template: template, IsOfCluster: to["clusterScope"] == true, TakesSpec: takesSpec})
}

func (p *Pods) add(ref Reference) {
	isOne := ref.Name != "" && (ref.Template != "" || ref.TakesSpec)
	if isOne && len(p.RefersTo) < maxReferences && !slices.Contains(p.RefersTo, ref) {
		p.RefersTo = append(p.RefersTo, ref)
	}
}

// nameIn returns the name in a field, "" if there is none, or none so long.
func nameIn(from map[string]any, field string) string {
	name := contract.StatusString(from, field)
	if len(name) > maxName {
		return ""
	}
	return name
}

// Template is what is known of a WorkflowTemplate or ClusterWorkflowTemplate.
type Template struct {
	// entrypoint, isPlaced and isPatched are what its spec says; that counts for a Workflow that takes the spec.
	entrypoint          string
	isPlaced, isPatched bool
	// parts are its templates by name.
	parts map[string]Pods
}

// knownKey is where a trimmed object has what Template needs. The key is none of a template's.
const knownKey = "known"

// Trim makes a WorkflowTemplate or ClusterWorkflowTemplate what the informer keeps of it. Equal input gives equal output.
func Trim(obj any) (any, error) {
	from, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return obj, nil
	}
	if _, trimmed := from.Object[knownKey]; trimmed {
		return obj, nil // client-go may hand over again what it was given
	}
	spec := object(from.Object["spec"])
	trimmed := &unstructured.Unstructured{Object: map[string]any{knownKey: map[string]any{
		"entrypoint": nameIn(spec, "entrypoint"), "isPlaced": isPlaced(spec), "isPatched": isPatched(spec), "parts": partsOf(from, spec),
	}}}
	trimmed.SetGroupVersionKind(from.GroupVersionKind())
	trimmed.SetNamespace(from.GetNamespace())
	trimmed.SetName(from.GetName())
	trimmed.SetUID(from.GetUID())
	trimmed.SetResourceVersion(from.GetResourceVersion())
	return trimmed, nil
}

// partsOf returns those of the templates in a spec of which anything is known, by name, as JSON values.
func partsOf(of *unstructured.Unstructured, spec map[string]any) map[string]any {
	parts := map[string]any{}
	self := &Reference{Name: of.GetName(), IsOfCluster: of.GetKind() == contract.ClusterWorkflowTemplateGVK.Kind}
	for _, entry := range list(spec["templates"]) {
		if len(parts) == maxParts {
			break
		}
		part := Pods{}
		part.count([]any{entry}, nil, self)
		if name := nameIn(object(entry), "name"); name != "" && !reflect.DeepEqual(part, Pods{}) {
			parts[name] = part.Value()
		}
	}
	return parts
}

// TemplateOf returns what is known of what Trim has left; nil for nil.
func TemplateOf(trimmed *unstructured.Unstructured) *Template {
	if trimmed == nil {
		return nil
	}
	k := object(trimmed.Object[knownKey])
	out := &Template{
		entrypoint: nameIn(k, "entrypoint"), isPlaced: k["isPlaced"] == true, isPatched: k["isPatched"] == true, parts: map[string]Pods{},
	}
	for name, part := range object(k["parts"]) {
		out.parts[name] = Read(part)
	}
	return out
}

// taken returns what is known of the pods that a reference to the template brings.
func (t *Template) taken(ref Reference) Pods {
	switch {
	case t == nil:
		return Pods{}
	case !ref.TakesSpec:
		return t.parts[ref.Template]
	case t.isPatched:
		return Pods{IsPlaced: t.isPlaced}
	}
	its := t.parts[cmp.Or(ref.Template, t.entrypoint)]
	its.IsPlaced = its.IsPlaced || t.isPlaced
	return its
}

// Resolve returns what is known of the pods of a Workflow of the namespace together with what it refers to, directly or not. templateAt
// returns the WorkflowTemplate with a key, or the ClusterWorkflowTemplate where the key has no namespace; nil for one that is not there,
// which counts as nothing.
func (p Pods) Resolve(namespace string, templateAt func(client.ObjectKey) *Template) Pods {
	p.RefersTo = slices.Clone(p.RefersTo)
	for i := range maxReferences {
		if i == len(p.RefersTo) {
			break
		}
		its := templateAt(p.RefersTo[i].Key(namespace)).taken(p.RefersTo[i])
		p.Largest, p.IsPlaced = larger(p.Largest, its.Largest), p.IsPlaced || its.IsPlaced
		for _, ref := range its.RefersTo {
			p.add(ref)
		}
	}
	return p
}
