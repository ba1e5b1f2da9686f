package integration

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// waiting returns the ids of the nodes of a status that wait for somebody.
func waiting(status map[string]any) []string {
	nodes, _, err := contract.Nodes(status)
	if err != nil {
		return nil
	}
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(nodes)) {
		node, _ := nodes[id].(map[string]any)
		if node["type"] == "Suspend" && node["phase"] == "Running" {
			ids = append(ids, id)
		}
	}
	return ids
}

// nodesIn returns the nodes of a status to be changed, unpacked as Argo's clients leave them.
func nodesIn(status map[string]any) map[string]any {
	nodes, isPacked, err := contract.Nodes(status)
	if err != nil || nodes == nil {
		nodes = map[string]any{}
	}
	if isPacked || err != nil {
		delete(status, contract.FieldCompressedNodes)
	}
	status[contract.FieldNodes] = nodes
	return nodes
}

// verb changes a Workflow as a client of Argo does, and returns in words how.
func (r random) verb(wf *unstructured.Unstructured, rec *subject) string {
	of := status(wf)
	finished := contract.IsFinished(contract.StatusString(of, "phase"))
	switch ids := waiting(of); {
	case finished && r.IntN(4) > 0:
		return r.retry(wf, rec)
	case len(ids) > 0 && r.IntN(3) > 0:
		return r.resolve(of, ids)
	}
	spec, _ := wf.Object["spec"].(map[string]any)
	if spec == nil {
		return "nothing"
	}
	switch field := one(r, "suspend", "suspend", "suspend", "priority", "activeDeadlineSeconds", "shutdown"); field {
	case "suspend":
		if spec[field] == true {
			delete(spec, field)
			return "resume"
		}
		spec[field] = true
		return "suspend"
	case "shutdown":
		spec[field] = one(r, "Stop", "Terminate")
		return "stop"
	default:
		spec[field] = one[any](r, nil, int64(0), int64(-5), int64(1000), int64(1)<<40)
		return field
	}
}

// resolve resumes, stops or sets some of the nodes.
func (r random) resolve(status map[string]any, ids []string) string {
	nodes := nodesIn(status)
	for range 1 + r.IntN(len(ids)) {
		id := one(r, ids...)
		node, _ := nodes[id].(map[string]any)
		if node == nil {
			continue
		}
		if r.IntN(3) > 0 {
			node["message"] = fmt.Sprintf("because of %d", r.IntN(1000))
		}
		if r.IntN(4) > 0 {
			node["phase"] = one(r, "Succeeded", "Failed", "Error")
			node["finishedAt"] = time.Now().UTC().Format(time.RFC3339)
		}
		parameters, _, _ := unstructured.NestedSlice(node, "outputs", "parameters")
		for i := range parameters {
			parameter, _ := parameters[i].(map[string]any)
			if _, waits, _ := unstructured.NestedFieldNoCopy(parameter, "valueFrom", "supplied"); waits && r.IntN(3) > 0 {
				parameter["value"] = fmt.Sprintf("value %d", r.IntN(1000))
				delete(parameter, "valueFrom")
				if name := contract.StatusString(parameter, "globalName"); name != "" {
					r.setGlobal(status, name, parameter["value"])
				}
			}
		}
		if len(parameters) > 0 {
			_ = unstructured.SetNestedSlice(node, parameters, "outputs", "parameters")
		}
	}
	return "resolve nodes"
}

// setGlobal sets an output of the Workflow.
func (r random) setGlobal(status map[string]any, name string, value any) {
	if r.IntN(4) == 0 {
		return // resume sets none
	}
	parameters, _, _ := unstructured.NestedSlice(status, "outputs", "parameters")
	parameters = slices.DeleteFunc(parameters, func(p any) bool {
		parameter, _ := p.(map[string]any)
		return parameter["name"] == name
	})
	for range 1 + r.IntN(6)/5 { // once, or twice, which no client does
		parameters = append(parameters, map[string]any{"name": name, "value": value})
	}
	_ = unstructured.SetNestedSlice(status, parameters, "outputs", "parameters")
}

// retry runs what has failed again, as it was recorded.
func (r random) retry(wf *unstructured.Unstructured, rec *subject) string {
	of, after := status(wf), statusOf(rec.After)
	of["nodes"] = after["nodes"]
	of["phase"], of["startedAt"] = "Running", time.Now().UTC().Format(time.RFC3339)
	delete(of, "finishedAt")
	delete(of, "message")
	conditions, _, _ := unstructured.NestedSlice(of, "conditions")
	for _, c := range conditions {
		if condition, _ := c.(map[string]any); condition["type"] == "Completed" {
			condition["status"] = "False"
		}
	}
	if len(conditions) > 0 {
		of["conditions"] = conditions
	}
	labels := wf.GetLabels()
	if labels != nil {
		delete(labels, contract.LabelCompleted)
		labels[contract.LabelPhase] = "Running"
		wf.SetLabels(labels)
	}
	unstructured.RemoveNestedField(wf.Object, "spec", "shutdown")
	if r.IntN(3) == 0 {
		parameters := []any{map[string]any{"name": "given", "value": fmt.Sprint(r.IntN(1000))}}
		_ = unstructured.SetNestedSlice(wf.Object, parameters, "spec", "arguments", "parameters")
		return "retry with parameters"
	}
	return "retry"
}

// forge changes a status as no client does, though it might mean something, and returns in words how.
func (r random) forge(status map[string]any) string {
	if r.IntN(3) == 0 {
		return r.forgeWorkflow(status)
	}
	nodes := nodesIn(status)
	if len(nodes) == 0 {
		return r.forgeWorkflow(status)
	}
	id := key(r, nodes)
	node, _ := nodes[id].(map[string]any)
	if node == nil {
		return r.forgeWorkflow(status)
	}
	switch r.IntN(9) {
	case 0:
		delete(nodes, id)
		return "a node less"
	case 1:
		for _, more := range slices.Sorted(maps.Keys(nodes)) {
			if more >= id {
				delete(nodes, more)
			}
		}
		return "many nodes less"
	case 2:
		copied := runtime.DeepCopyJSON(node)
		copied["id"] = id + "-more"
		nodes[id+"-more"] = copied
		return "a node more"
	case 3:
		nodes[id] = r.garbage(0)
		return "a node that is none"
	case 4:
		status[contract.FieldNodes] = nil
		return "no nodes"
	case 5:
		return "packed nodes" + r.pack(status, nodes, node)
	case 6:
		node["outputs"] = map[string]any{"parameters": []any{map[string]any{"name": "x", "value": "forged"}}}
		return "outputs of a node"
	default:
		node["phase"] = one[any](r, "Running", "Succeeded", "Failed", "Error", "Pending", "Omitted", "forged", "", nil)
		node["finishedAt"] = one[any](r, time.Now().UTC().Format(time.RFC3339), nil)
		return "phase of a node"
	}
}

// pack packs nodes, one of them changed, or something else in their place.
func (r random) pack(status, nodes, node map[string]any) string {
	what := one(r, "", " with a change", " that cannot be read")
	switch what {
	case " with a change":
		node["message"] = "forged"
	case " that cannot be read":
		status[contract.FieldCompressedNodes] = one(r, "H4sIAAAAAAAA", "%%%", "bm9uZQ==")
		return what
	}
	raw, err := json.Marshal(nodes)
	if err != nil {
		return fmt.Sprint(err)
	}
	packed, err := contract.PackNodes(raw)
	if err != nil {
		return fmt.Sprint(err)
	}
	status[contract.FieldCompressedNodes] = packed
	if r.IntN(2) == 0 {
		delete(status, contract.FieldNodes)
	}
	return what
}

func (r random) forgeWorkflow(status map[string]any) string {
	switch r.IntN(8) {
	default:
		if parameters, _, _ := unstructured.NestedSlice(status, "outputs", "parameters"); len(parameters) > 0 {
			twice := append(slices.Clone(parameters), runtime.DeepCopyJSONValue(one(r, parameters...)))
			_ = unstructured.SetNestedSlice(status, twice, "outputs", "parameters")
			return "an output twice"
		}
		return "nothing"
	case 0:
		clear(status)
		return "no status"
	case 1:
		for field := range status {
			status[field] = nil
		}
		return "nothing but nulls"
	case 2:
		status["finishedAt"], status["phase"] = time.Now().UTC().Format(time.RFC3339), one(r, "Succeeded", "Failed", "Error")
		return "an end"
	case 3:
		delete(status, "finishedAt")
		status["phase"] = one(r, "Running", "", "Pending", "forged")
		return "no end"
	case 4:
		value := one(r, "no", "forged")
		parameter := map[string]any{"name": one(r, "approval", "forged"), "value": value}
		status["outputs"] = map[string]any{"parameters": []any{parameter, runtime.DeepCopyJSON(parameter)}}
		return "outputs"
	case 5:
		status[contract.FieldOffloadedNodes] = "fnv:1"
		return "offloaded nodes"
	case 6:
		conditions, _ := status["conditions"].([]any)
		status["conditions"] = one(r, []any{}, append(slices.Clone(conditions), any(map[string]any{"type": "EditRefused", "status": "True", "message": "forged"})),
			[]any{map[string]any{"type": "Completed", "status": "False"}})
		return "conditions"
	}
}
