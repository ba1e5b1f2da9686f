package hubworkflow

import (
	"math"
	"regexp"

	"k8s.io/apimachinery/pkg/api/resource"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

const (
	// maxRequest bounds one request, in thousandths of a core or bytes: more than a node has, and small enough to add up those of a
	// hundred thousand Workflows.
	maxRequest = 1 << 45
)

// quantityPattern is what is parsed as a quantity. Others mean nothing, and an exponent of millions would keep the parser busy for seconds.
var quantityPattern = regexp.MustCompile(`^[0-9]{0,18}(\.[0-9]{0,9})?(m|k|[MGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?$`)

// LargestPod returns what the largest pod of a Workflow requests, resource by resource, by the templates in its spec: what it requests of
// CPU need not be in the same template as what it requests of memory. What the spec only refers to is not seen. isPlaced says that
// one of its pods tolerates taints, and so may run on nodes that other Workflows cannot use.
//
// The spec is the user's: what cannot be read counts as no request, and Argo says what is wrong with it.
func LargestPod(spec map[string]any) (largest contract.Resources, isPlaced bool) {
	defaults := object(spec["templateDefaults"])
	isPlaced = len(list(spec["tolerations"])) > 0 || len(list(defaults["tolerations"])) > 0
	for _, entry := range list(spec["templates"]) {
		template := object(entry)
		isPlaced = isPlaced || len(list(template["tolerations"])) > 0
		pod := requestsOf(template, defaults)
		largest.MilliCPU, largest.Memory = max(largest.MilliCPU, pod.MilliCPU), max(largest.Memory, pod.Memory)
	}
	largest.Pods = 1
	return largest, isPlaced
}

// requestsOf returns what the pod of a template requests: the sum of its containers, or the largest of those that run before them.
func requestsOf(template, defaults map[string]any) contract.Resources {
	var sum, before contract.Resources
	for _, field := range []string{"container", "script"} {
		if main := object(template[field]); main != nil {
			sum = sum.Plus(containerRequests(main, object(defaults[field])))
		}
	}
	for _, entry := range list(object(template["containerSet"])["containers"]) {
		sum = sum.Plus(containerRequests(object(entry), nil))
	}
	for _, entry := range list(template["sidecars"]) {
		sum = sum.Plus(containerRequests(object(entry), nil))
	}
	for _, entry := range list(template["initContainers"]) {
		one := containerRequests(object(entry), nil)
		before.MilliCPU, before.Memory = max(before.MilliCPU, one.MilliCPU), max(before.Memory, one.Memory)
	}
	return contract.Resources{
		MilliCPU: min(maxRequest, max(sum.MilliCPU, before.MilliCPU)), Memory: min(maxRequest, max(sum.Memory, before.Memory)),
	}
}

// containerRequests returns what one container requests. As on the cluster, a limit stands in for a request that is missing.
func containerRequests(container, defaults map[string]any) contract.Resources {
	resources := object(container["resources"])
	if resources == nil {
		resources = object(defaults["resources"])
	}
	amount := func(name string, scale resource.Scale) int64 {
		for _, kind := range []string{"requests", "limits"} {
			if value, ok := object(resources[kind])[name]; ok {
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
