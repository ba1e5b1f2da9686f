package steps

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract/step"
)

// Phases of a result. Argo retries a step that has Failed, and by default not one with an Error.
const (
	phaseSucceeded = "Succeeded"
	phaseFailed    = "Failed"
	phaseError     = "Error"
)

// result is what Argo is told of a node: the NodeResult of a WorkflowTaskSet.
type result struct {
	Phase   string   `json:"phase"`
	Message string   `json:"message,omitempty"`
	Outputs *outputs `json:"outputs,omitempty"`
}

// outputs are those of a node. Artifacts are as Argo has them.
type outputs struct {
	Parameters []parameter      `json:"parameters,omitempty"`
	Artifacts  []map[string]any `json:"artifacts,omitempty"`
	Result     *string          `json:"result,omitempty"`
	ExitCode   string           `json:"exitCode,omitempty"`
}

type parameter struct {
	Name       string `json:"name"`
	Value      string `json:"value"`
	GlobalName string `json:"globalName,omitempty"`
}

// maxNamed is how many clusters a message names.
const maxNamed = 10

// encode returns the result as JSON, null for none. Of one that is too large for Argo's WorkflowTaskSet it is that, and why.
func (r *result) encode() ([]byte, error) {
	raw, err := json.Marshal(r)
	if err == nil && len(raw) > maxResultBytes {
		return json.Marshal(r.tooLarge(len(raw), fmt.Sprintf("at most %d can be given to Argo", maxResultBytes)))
	}
	return raw, err
}

// tooLarge returns the result without its outputs: that of a step that has succeeded is an error, as who needs them has to know.
func (r *result) tooLarge(size int, why string) *result {
	message := fmt.Sprintf("the outputs of this step have %d bytes, and %s: pass them as an artifact", size, why)
	if r.Phase == phaseSucceeded {
		return errorResult(message)
	}
	return &result{Phase: r.Phase, Message: fmt.Sprintf("%.1024s; %s", r.Message, message)} // Argo retries it as it would have
}

func failed(message string) *result      { return &result{Phase: phaseFailed, Message: message} }
func errorResult(message string) *result { return &result{Phase: phaseError, Message: message} }

// resultOf returns the result of a step whose Workflow, as the API server has it, has finished.
func resultOf(task map[string]any, kind step.Kind, child *unstructured.Unstructured) *result {
	status := contract.Status(child)
	phase, message := contract.StatusString(status, "phase"), contract.StatusString(status, "message")
	nodes, _, err := contract.Nodes(status)
	if err != nil {
		return errorResult(fmt.Sprintf("Workflow %s has %s, and its outputs cannot be read: %v", child.GetName(), phase, err))
	}
	name := child.GetName()
	if kind != step.WorkflowTemplateRef {
		name += "." + stepTask
	}
	var ran node
	for _, value := range nodes {
		if n, ok := value.(map[string]any); ok && contract.StatusString(n, "name") == name {
			ran = n
		}
	}
	switch {
	case ran == nil && phase == phaseSucceeded:
		return errorResult(fmt.Sprintf("Workflow %s has succeeded, and does not show the node %s, so that its outputs are not known",
			child.GetName(), name))
	case ran == nil:
		return &result{Phase: phase, Message: message}
	case phase == phaseSucceeded:
		out, err := declared(task, ran)
		if err != nil {
			return failed(err.Error())
		}
		return &result{Phase: phase, Outputs: out}
	}
	out, _ := declared(map[string]any{}, ran)
	return &result{Phase: phase, Message: cmp.Or(ran.text("message"), message), Outputs: out}
}

// trimWhole returns of a Workflow what resultOf reads: a step on many clusters has many of them in memory.
func trimWhole(wf *unstructured.Unstructured) *unstructured.Unstructured {
	status := contract.Status(wf)
	nodes, _, err := contract.Nodes(status)
	if err != nil {
		return wf
	}
	kept, names := map[string]any{}, []string{wf.GetName(), wf.GetName() + "." + stepTask}
	for id, value := range nodes {
		if n, ok := value.(map[string]any); ok && slices.Contains(names, contract.StatusString(n, "name")) {
			kept[id] = value
		}
	}
	trimmed := contract.NewWorkflow()
	trimmed.SetName(wf.GetName())
	trimmed.Object["status"] = map[string]any{"phase": status["phase"], "message": status["message"], "nodes": kept}
	return trimmed
}

// declared returns the outputs that a template declares, from those of the node that has run it. Argo waits for ever for a
// missing one.
func declared(template map[string]any, ran node) (*outputs, error) {
	have, _ := ran["outputs"].(map[string]any)
	want, _ := template["outputs"].(map[string]any)
	out := &outputs{ExitCode: contract.StatusString(have, "exitCode")}
	if text, ok := have["result"].(string); ok {
		out.Result = &text
	}
	values := map[string]*string{}
	for _, p := range list(have, "parameters") {
		values[contract.StatusString(p, "name")] = contract.Text(p["value"])
	}
	for _, p := range list(want, "parameters") {
		name := contract.StatusString(p, "name")
		value := values[name]
		if value == nil {
			value = contract.Text(nested(p, "valueFrom", "default"))
		}
		if value == nil {
			return nil, fmt.Errorf("output parameter %q has no value, and no default", name)
		}
		out.Parameters = append(out.Parameters, parameter{name, *value, contract.StatusString(p, "globalName")})
	}
	artifacts := map[string]map[string]any{}
	for _, a := range list(have, "artifacts") {
		artifacts[contract.StatusString(a, "name")] = a
	}
	for _, a := range list(want, "artifacts") {
		name := contract.StatusString(a, "name")
		switch found := artifacts[name]; {
		case found != nil:
			out.Artifacts = append(out.Artifacts, found)
		case a["optional"] != true:
			return nil, fmt.Errorf("output artifact %q was not written", name)
		}
	}
	return out, nil
}

// aggregate returns the result of a step that has run in several clusters, in the order of their names. As where Argo itself runs a step
// several times, an output is the list of theirs, which is empty where all have failed that may. Artifacts are not aggregated.
func aggregate(task map[string]any, usesResult bool, clusters []string, results []*result, maxFailures int) *result {
	var bad []string
	for i, r := range results {
		if r.Phase != phaseSucceeded {
			bad = append(bad, fmt.Sprintf("%s: %.200s", clusters[i], cmp.Or(r.Message, r.Phase)))
		}
	}
	what := strings.Join(bad[:min(len(bad), maxNamed)], "; ")
	if more := len(bad) - maxNamed; more > 0 {
		what += fmt.Sprintf("; and %d more", more)
	}
	if len(bad) > maxFailures {
		return failed(fmt.Sprintf("failed in %d of %d clusters: %s", len(bad), len(clusters), what))
	}
	values, all := map[string][]string{}, []any{}
	for _, r := range results {
		if r.Phase != phaseSucceeded || r.Outputs == nil {
			continue
		}
		for _, p := range r.Outputs.Parameters {
			values[p.Name] = append(values[p.Name], p.Value)
		}
		if r.Outputs.Result != nil {
			all = append(all, item(*r.Outputs.Result))
		}
	}
	out := &outputs{}
	want, _ := task["outputs"].(map[string]any)
	for _, p := range list(want, "parameters") {
		name := contract.StatusString(p, "name")
		value := encode(append([]string{}, values[name]...))
		out.Parameters = append(out.Parameters, parameter{name, value, contract.StatusString(p, "globalName")})
	}
	if usesResult || len(all) > 0 {
		text := encode(all)
		out.Result = &text
	}
	message := ""
	if len(bad) > 0 {
		message = fmt.Sprintf("failed in %d of %d clusters, of which %d may fail: %s", len(bad), len(clusters), maxFailures, what)
	}
	return &result{Phase: phaseSucceeded, Message: message, Outputs: out}
}

// item returns a result as an item of a list: what it says in JSON, or else the text.
func item(text string) any {
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return text
	}
	return value
}

func encode(value any) string {
	raw, err := json.Marshal(value)
	if err != nil {
		return "" // texts, and what was JSON before
	}
	return string(raw)
}
