package hubworkflow

import (
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

const (
	// maxRequest bounds one request, in thousandths of a core or bytes: more than a node has, and small enough to add up those of a
	// hundred thousand Workflows.
	maxRequest = 1 << 45
	// maxPatch bounds a podSpecPatch that is read, in bytes: each event of its Workflow parses it.
	maxPatch = 16 << 10
)

// quantityPattern is what is parsed as a quantity. Others mean nothing, and an exponent of millions would keep the parser busy for seconds.
var quantityPattern = regexp.MustCompile(`^[0-9]{0,18}(\.[0-9]{0,9})?(m|k|[MGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?$`)

// LargestPod returns what the largest pod of a Workflow requests, resource by resource, by the templates in its spec: what it requests of
// CPU need not be in the same template as what it requests of memory. What the spec only refers to is not seen: see Resolve. isPlaced
// says that one of its pods tolerates taints, and so may run on nodes that other Workflows cannot use.
//
// The spec is the user's: what cannot be read counts as no request, and Argo says what is wrong with it.
func LargestPod(spec map[string]any) (largest contract.Resources, isPlaced bool) {
	defaults := object(spec["templateDefaults"])
	isPlaced = len(list(spec["tolerations"])) > 0 || len(list(defaults["tolerations"])) > 0
	ofAll, ofDefaults := patchOf(spec), patchOf(defaults)
	for _, template := range templatesIn(spec) {
		isPlaced = isPlaced || len(list(template["tolerations"])) > 0
		patches := []map[string]any{ofAll, ofDefaults}
		if template["podSpecPatch"] != nil {
			patches[1] = patchOf(template)
		}
		pod := requestsOf(template, defaults, patches)
		largest.MilliCPU, largest.Memory = max(largest.MilliCPU, pod.MilliCPU), max(largest.Memory, pod.Memory)
	}
	largest.Pods = 1
	return largest, isPlaced
}

// templatesIn returns the templates in a spec, and those that their steps and tasks have inline.
func templatesIn(spec map[string]any) []map[string]any {
	var out []map[string]any
	left := slices.Clone(list(spec["templates"]))
	for i := 0; i < len(left); i++ {
		template := object(left[i])
		out = append(out, template)
		for _, task := range tasksOf(template) {
			if inline := object(task["inline"]); inline != nil {
				left = append(left, inline)
			}
		}
	}
	return out
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
func requestsOf(template, defaults map[string]any, patches []map[string]any) contract.Resources {
	var sum, before contract.Resources
	for _, field := range []string{"container", "script"} {
		if main := object(template[field]); main != nil {
			sum = sum.Plus(requestsIn(patched(mainResources(main, object(defaults[field])), patches)))
		}
	}
	for _, entry := range list(object(template["containerSet"])["containers"]) {
		sum = sum.Plus(requestsIn(object(object(entry)["resources"])))
	}
	for _, entry := range list(template["sidecars"]) {
		sum = sum.Plus(requestsIn(object(object(entry)["resources"])))
	}
	for _, entry := range list(template["initContainers"]) {
		one := requestsIn(object(object(entry)["resources"]))
		before.MilliCPU, before.Memory = max(before.MilliCPU, one.MilliCPU), max(before.Memory, one.Memory)
	}
	return contract.Resources{
		MilliCPU: min(maxRequest, max(sum.MilliCPU, before.MilliCPU)), Memory: min(maxRequest, max(sum.Memory, before.Memory)),
	}
}

// patchOf returns the podSpecPatch of a spec or template, nil if it cannot be read: one with parameters is made on the cluster. Nor are
// YAML's anchors read, by which a small text grows large.
func patchOf(from map[string]any) map[string]any {
	text, _ := from["podSpecPatch"].(string)
	if len(text) > maxPatch || !strings.Contains(text, "resources") || strings.Contains(text, "{{") || strings.ContainsAny(text, "&*") {
		return nil
	}
	var patch map[string]any
	if yaml.Unmarshal([]byte(text), &patch) != nil {
		return nil
	}
	return patch
}

// patched returns the resources of the container main as Argo patches them.
func patched(resources map[string]any, patches []map[string]any) map[string]any {
	for _, patch := range patches {
		for _, entry := range list(patch["containers"]) {
			container := object(entry)
			if container["name"] != "main" {
				continue
			}
			merged := map[string]any{}
			for _, kind := range resourceKinds {
				amounts := map[string]any{}
				maps.Copy(amounts, object(resources[kind]))
				maps.Copy(amounts, object(object(container["resources"])[kind]))
				merged[kind] = amounts
			}
			resources = merged
		}
	}
	return resources
}

func mainResources(main, defaults map[string]any) map[string]any {
	if resources := object(main["resources"]); resources != nil {
		return resources
	}
	return object(defaults["resources"])
}

// resourceKinds are the fields of a container's resources. As on the cluster, a limit stands in for a request that is missing.
var resourceKinds = []string{"requests", "limits"}

// requestsIn returns what the resources of one container request.
func requestsIn(resources map[string]any) contract.Resources {
	amount := func(name string, scale resource.Scale) int64 {
		for _, kind := range resourceKinds {
			if value := object(resources[kind])[name]; value != nil {
				return amountOf(value, scale)
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
