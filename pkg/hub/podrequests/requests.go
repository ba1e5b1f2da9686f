// Package podrequests reads what the pods of a Workflow request from its templates, and from those that it refers to. It is for leaving
// out clusters that are too small: what cannot be known counts as no request, and nothing counts for more than it may be.
package podrequests

import (
	"math"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/api/resource"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// maxRequest bounds one request, in thousandths of a core or bytes: more than a node has, and small enough to add up those of a
// hundred thousand Workflows.
const maxRequest = 1 << 45

// quantityPattern is what is parsed as a quantity. Others mean nothing, and an exponent of millions would keep the parser busy for seconds.
var quantityPattern = regexp.MustCompile(`^[0-9]{0,18}(\.[0-9]{0,9})?(m|k|[MGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?$`)

// Pods is what is known of the pods of some templates.
type Pods struct {
	// Largest is what the largest requests, resource by resource: what one requests of CPU need not be in the same template as what
	// another requests of memory.
	Largest contract.Resources
	// IsPlaced says that one tolerates taints, and so may run on nodes that other Workflows cannot use.
	IsPlaced bool
	// RefersTo are the templates that may have more of them: see Resolve.
	RefersTo []Reference
}

// Of returns what is known of the pods of a Workflow by its spec. That is the user's: what cannot be read counts as no request, and Argo
// says what is wrong with it.
func Of(spec map[string]any) Pods {
	p := Pods{Largest: contract.Resources{Pods: 1}, IsPlaced: isPlaced(spec)}
	p.refer(object(spec["workflowTemplateRef"]), nameIn(spec, "entrypoint"), true)
	p.count(list(spec["templates"]), object(spec["templateDefaults"]), nil)
	if isPatched(spec) {
		return Pods{Largest: contract.Resources{Pods: 1}, IsPlaced: p.IsPlaced}
	}
	return p
}

// isPlaced reports whether all pods of a Workflow with this spec tolerate taints.
func isPlaced(spec map[string]any) bool {
	return tolerates(spec) || tolerates(object(spec["templateDefaults"]))
}

// isPatched reports whether a podSpecPatch may change the requests of all pods of a Workflow with this spec.
func isPatched(spec map[string]any) bool {
	return spec["podSpecPatch"] != nil || object(spec["templateDefaults"])["podSpecPatch"] != nil
}

func tolerates(template map[string]any) bool { return len(list(template["tolerations"])) > 0 }

// count lets templates count, and those that their steps and tasks have inline. within is where these find a template by its name alone;
// nil if all of those count anyway.
func (p *Pods) count(templates []any, defaults map[string]any, within *Reference) {
	left := slices.Clone(templates)
	for i := 0; i < len(left); i++ {
		template := object(left[i])
		p.IsPlaced = p.IsPlaced || tolerates(template)
		if template["podSpecPatch"] == nil {
			p.Largest = larger(p.Largest, requestsOf(template, defaults))
		}
		for _, task := range tasksOf(template) {
			if inline := object(task["inline"]); inline != nil {
				left = append(left, inline)
			}
			p.referAsTask(task, within)
		}
	}
}

// Value returns p as a JSON value, and Read what such a value was made of.
func (p Pods) Value() map[string]any {
	refersTo := make([]any, 0, len(p.RefersTo))
	for _, ref := range p.RefersTo {
		refersTo = append(refersTo, []any{ref.Name, ref.Template, ref.IsOfCluster, ref.TakesSpec})
	}
	return map[string]any{
		"milliCPU": p.Largest.MilliCPU, "memory": p.Largest.Memory, "pods": p.Largest.Pods, "isPlaced": p.IsPlaced, "refersTo": refersTo,
	}
}

// Read returns what Value was called on; zero for nil.
func Read(value any) Pods {
	from := object(value)
	p := Pods{IsPlaced: from["isPlaced"] == true}
	p.Largest.MilliCPU, _ = from["milliCPU"].(int64)
	p.Largest.Memory, _ = from["memory"].(int64)
	p.Largest.Pods, _ = from["pods"].(int64)
	for _, entry := range list(from["refersTo"]) {
		if ref := list(entry); len(ref) == 4 {
			name, _ := ref[0].(string)
			template, _ := ref[1].(string)
			p.RefersTo = append(p.RefersTo, Reference{Name: name, Template: template, IsOfCluster: ref[2] == true, TakesSpec: ref[3] == true})
		}
	}
	return p
}

// larger returns the larger of each resource.
func larger(a, b contract.Resources) contract.Resources {
	return contract.Resources{MilliCPU: max(a.MilliCPU, b.MilliCPU), Memory: max(a.Memory, b.Memory), Pods: max(a.Pods, b.Pods)}
}

// tasksOf returns the steps of a template, and the tasks of its DAG.
func tasksOf(template map[string]any) []map[string]any {
	var out []map[string]any
	for _, group := range append([]any{object(template["dag"])["tasks"]}, list(template["steps"])...) {
		for _, task := range list(group) {
			out = append(out, object(task))
		}
	}
	return out
}

// requestsOf returns what the pod of a template requests: the sum of its containers, or the largest of those that run before them.
func requestsOf(template, defaults map[string]any) contract.Resources {
	var sum, before contract.Resources
	for _, field := range []string{"container", "script"} {
		if main := object(template[field]); main != nil {
			sum = sum.Plus(requestsIn(main, object(defaults[field])))
		}
	}
	for _, entry := range slices.Concat(list(object(template["containerSet"])["containers"]), list(template["sidecars"])) {
		sum = sum.Plus(requestsIn(object(entry), nil))
	}
	for _, entry := range list(template["initContainers"]) {
		before = larger(before, requestsIn(object(entry), nil))
	}
	return larger(contract.Resources{MilliCPU: min(maxRequest, sum.MilliCPU), Memory: min(maxRequest, sum.Memory)}, before)
}

// requestsIn returns what a container requests, by itself or by the defaults. As on the cluster, a limit stands in for a request that is
// missing.
func requestsIn(container, defaults map[string]any) contract.Resources {
	amount := func(name string, scale resource.Scale) int64 {
		for _, kind := range []string{"requests", "limits"} {
			for _, from := range []map[string]any{container, defaults} {
				if value := object(object(from["resources"])[kind])[name]; value != nil {
					return amountOf(value, scale)
				}
			}
		}
		return 0
	}
	return contract.Resources{MilliCPU: amount("cpu", resource.Milli), Memory: amount("memory", 0)}
}

// amountOf returns a quantity, which may be a string or a number, within bounds.
func amountOf(value any, scale resource.Scale) int64 {
	var quantity resource.Quantity
	switch v := value.(type) {
	case string:
		if !quantityPattern.MatchString(v) {
			return 0
		}
		parsed, err := resource.ParseQuantity(v)
		if err != nil {
			return 0
		}
		quantity = parsed
	case int64:
		quantity = *resource.NewQuantity(v, resource.DecimalSI)
	case float64:
		if v < 0 || v > maxRequest {
			return 0
		}
		quantity = *resource.NewMilliQuantity(int64(math.Ceil(v*1000)), resource.DecimalSI)
	}
	most := resource.NewScaledQuantity(maxRequest, scale)
	switch {
	case quantity.Sign() < 0:
		return 0
	case quantity.Cmp(*most) > 0:
		return maxRequest
	}
	return quantity.ScaledValue(scale)
}

func object(value any) map[string]any {
	out, _ := value.(map[string]any)
	return out
}

func list(value any) []any {
	out, _ := value.([]any)
	return out
}
