package report

import (
	"maps"
	"slices"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// SpecView is what of a Workflow's own spec decides what a report may say. The zero value is that of a spec that allows nothing.
type SpecView struct {
	// stores identify where the spec says that artifacts lie.
	stores map[string]bool
	// configMap and key are those of its artifactRepositoryRef.
	configMap, key string
	// labels are the keys of the labels that its workflowMetadata names.
	labels map[string]bool
	// templateRef says that it takes the rest of it from a WorkflowTemplate, the stored template spec in the status.
	templateRef bool
}

// ViewOf returns what of a Workflow's spec decides what a report may say. The spec is only read.
func ViewOf(spec map[string]any) SpecView {
	view := SpecView{stores: map[string]bool{}, labels: map[string]bool{}}
	schemaOf().spec.walk(spec, visitor{store: func(driver string, location map[string]any) {
		view.stores[storeOf(driver, location)] = true
	}})
	ref, _ := spec["artifactRepositoryRef"].(map[string]any)
	view.configMap, view.key = contract.StatusString(ref, "configMap"), contract.StatusString(ref, "key")
	addLabelKeys(view.labels, spec)
	_, view.templateRef = spec["workflowTemplateRef"].(map[string]any)
	return view
}

// addLabelKeys adds the keys of the labels that a spec has Argo set on a Workflow.
func addLabelKeys(keys map[string]bool, spec map[string]any) {
	metadata, _ := spec["workflowMetadata"].(map[string]any)
	for _, field := range []string{"labels", "labelsFrom"} {
		labels, _ := metadata[field].(map[string]any)
		for key := range labels {
			keys[key] = true
		}
	}
}

// Value returns the view as JSON of an untyped object, from which ReadView makes it again. Equal views give equal values.
func (v SpecView) Value() map[string]any {
	value := map[string]any{}
	if len(v.stores) > 0 {
		value["stores"] = listOf(v.stores)
	}
	if len(v.labels) > 0 {
		value["labels"] = listOf(v.labels)
	}
	for field, text := range map[string]string{"configMap": v.configMap, "key": v.key} {
		if text != "" {
			value[field] = text
		}
	}
	if v.templateRef {
		value["templateRef"] = true
	}
	return value
}

// ReadView returns the view that has this Value. What is none allows nothing.
func ReadView(value any) SpecView {
	fields, _ := value.(map[string]any)
	view := SpecView{
		stores: setOf(fields["stores"]), labels: setOf(fields["labels"]),
		configMap: contract.StatusString(fields, "configMap"), key: contract.StatusString(fields, "key"),
	}
	view.templateRef, _ = fields["templateRef"].(bool)
	return view
}

func listOf(set map[string]bool) []any {
	list := make([]any, 0, len(set))
	for _, text := range slices.Sorted(maps.Keys(set)) {
		list = append(list, text)
	}
	return list
}

func setOf(value any) map[string]bool {
	set := map[string]bool{}
	list, _ := value.([]any)
	for _, item := range list {
		if text, ok := item.(string); ok {
			set[text] = true
		}
	}
	return set
}
