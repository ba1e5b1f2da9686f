package run

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// Phases and types of a node, and its fields, as Argo names them.
const (
	nodeRunning = "Running"
	nodeSuspend = "Suspend"

	fieldPhase, fieldMessage, fieldStartedAt, fieldFinishedAt = "phase", "message", "startedAt", "finishedAt"
	fieldChildren, fieldOutboundNodes, fieldOutputs           = "children", "outboundNodes", "outputs"
	fieldParameters, fieldName, fieldValue                    = "parameters", "name", "value"
)

// maxPlainNodes is from how many bytes on nodes are packed: Argo keeps a Workflow below 1 MiB.
const maxPlainNodes = 768 << 10

// editPatch returns the merge patch that applies an edit to the remote Workflow, and says so on it. The error is a refusedEdit if the
// Workflow is not, or not any more, in a state in which Argo's clients would do this.
func editPatch(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, e *v1alpha1.Edit, now time.Time) (map[string]any, error) {
	status := contract.Status(wf)
	if isDeleted(wf) {
		return nil, refusedFor("the Workflow is being deleted there: create it anew, for example with argo resubmit")
	}
	nodes, isPacked, err := contract.Nodes(status)
	if err != nil {
		return nil, refusedFor("%w: do it on the cluster", err)
	}
	metadata := precondition(wf)
	annotations := map[string]string{contract.AnnotationEdits: contract.AppliedEditsWith(wf, rw.Spec.Edits, e.ID)}
	metadata["annotations"] = annotations
	patch := map[string]any{"metadata": metadata}
	if spec := controlsPatch(rw, wf); spec != nil {
		patch["spec"] = spec
		annotations[contract.AnnotationControls] = contract.EncodeControls(rw.Spec.Controls)
	}
	var changes, changed map[string]any
	if e.Retry != nil {
		if changes, err = retryStatus(wf, e.Retry, now); err != nil {
			return nil, err
		}
		changed = retriedNodes(nodes, e.Retry, now)
		rearm(rw, wf, metadata, patch, e.Retry)
	} else if changes, changed, err = resolve(status, nodes, e, now); err != nil {
		return nil, err
	}
	patch["status"] = changes
	return patch, putNodes(changes, nodes, changed, isPacked)
}

// putNodes adds to the changes of a status those of its nodes; nil is for one that is removed. Packed nodes are all written anew: Argo
// would see only those that are not packed.
func putNodes(changes, nodes, changed map[string]any, isPacked bool) error {
	if !isPacked {
		changes[contract.FieldNodes] = changed
		return nil
	}
	all := maps.Clone(nodes)
	for id, change := range changed {
		if change == nil {
			delete(all, id)
			continue
		}
		all[id] = merged(all[id].(map[string]any), change.(map[string]any))
	}
	raw, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("encode nodes: %w", err)
	}
	changes[contract.FieldCompressedNodes], changes[contract.FieldNodes] = nil, all
	if len(raw) > maxPlainNodes {
		changes[contract.FieldNodes] = nil
		changes[contract.FieldCompressedNodes], err = contract.PackNodes(raw)
	}
	return err
}

// merged returns an object with the changes of a merge patch of its first level.
func merged(object, changes map[string]any) map[string]any {
	out := maps.Clone(object)
	for field, value := range changes {
		if value == nil {
			delete(out, field)
			continue
		}
		out[field] = value
	}
	return out
}

// resolve returns how the status, and each node, changes with edits of Suspend nodes.
func resolve(status, nodes map[string]any, edit *v1alpha1.Edit, now time.Time) (changes, changed map[string]any, err error) {
	changed = map[string]any{}
	for _, e := range edit.Nodes {
		node, _ := nodes[e.ID].(map[string]any)
		phase := contract.StatusString(node, fieldPhase)
		switch {
		case node == nil:
			return nil, nil, refusedFor("there is no node %s", e.ID)
		case contract.StatusString(node, "type") != nodeSuspend:
			return nil, nil, refusedFor("node %s is no Suspend node", e.ID)
		case phase == e.Phase && phase != nodeRunning && hasValues(node, e):
			continue // it has become that meanwhile
		case phase != nodeRunning:
			return nil, nil, refusedFor("node %s (%s) does not wait for anybody, it is %s: nothing was changed", e.ID,
				contract.StatusString(node, "displayName"), phase)
		}
		change := map[string]any{fieldMessage: textOrNull(e.Message)}
		if e.Phase != nodeRunning {
			change[fieldPhase], change[fieldFinishedAt] = e.Phase, format(now)
		}
		if len(e.Parameters) > 0 {
			outputs, err := supply(node, e)
			if err != nil {
				return nil, nil, err
			}
			change[fieldOutputs] = outputs
		}
		changed[e.ID] = change
	}
	changes = map[string]any{}
	if len(edit.Outputs) > 0 && len(changed) > 0 {
		changes[fieldOutputs] = map[string]any{fieldParameters: withOutputs(status, edit.Outputs)}
	}
	return changes, changed, nil
}

// hasValues reports whether the output parameters of a node have the values of the edit.
func hasValues(node map[string]any, e v1alpha1.NodeEdit) bool {
	parameters, _, _ := unstructured.NestedSlice(node, fieldOutputs, fieldParameters)
	return !slices.ContainsFunc(e.Parameters, func(given v1alpha1.Parameter) bool {
		i := indexByName(parameters, given.Name)
		return i < 0 || parameters[i].(map[string]any)[fieldValue] != ptr.Deref(given.Value, "")
	})
}

// supply returns the outputs of a node with the values that it waited for.
func supply(node map[string]any, e v1alpha1.NodeEdit) (map[string]any, error) {
	outputs, _, _ := unstructured.NestedMap(node, fieldOutputs)
	parameters, _ := outputs[fieldParameters].([]any)
	for _, given := range e.Parameters {
		i := indexByName(parameters, given.Name)
		if i < 0 || given.Value == nil {
			return nil, refusedFor("node %s has no output parameter %s", e.ID, given.Name)
		}
		parameter := parameters[i].(map[string]any)
		_, waits, _ := unstructured.NestedFieldNoCopy(parameter, "valueFrom", "supplied")
		if !waits && parameter[fieldValue] != *given.Value {
			return nil, refusedFor("output parameter %s of node %s has a value already", given.Name, e.ID)
		}
		parameter[fieldValue] = *given.Value
		delete(parameter, "valueFrom")
	}
	return outputs, nil
}

// withOutputs returns the output parameters of the Workflow with these.
func withOutputs(status map[string]any, outputs []v1alpha1.Parameter) []any {
	parameters, _, _ := unstructured.NestedSlice(status, fieldOutputs, fieldParameters)
	for _, p := range outputs {
		value := map[string]any{fieldName: p.Name, fieldValue: ptr.Deref(p.Value, "")}
		if i := indexByName(parameters, p.Name); i >= 0 {
			parameters[i] = value
		} else {
			parameters = append(parameters, value)
		}
	}
	return parameters
}

func indexByName(parameters []any, name string) int {
	return slices.IndexFunc(parameters, func(p any) bool {
		parameter, _ := p.(map[string]any)
		return contract.StatusString(parameter, fieldName) == name
	})
}

// retryStatus returns how the status changes with a retry, but for the nodes. It is refused unless the status is the one that was retried.
func retryStatus(wf *unstructured.Unstructured, retry *v1alpha1.Retry, now time.Time) (map[string]any, error) {
	status := contract.Status(wf)
	if phase := contract.Phase(wf); !contract.IsFinished(phase) {
		return nil, refusedFor("the Workflow is %s there, and only one that has finished can be retried", phase)
	}
	data, err := contract.EncodeStatus(status)
	if err != nil {
		return nil, err
	}
	if digestOf(data) != retry.ReportDigest {
		return nil, refusedFor("the Workflow has changed there meanwhile: look at it again, and retry it if that is still wanted")
	}
	changes := map[string]any{
		fieldPhase: contract.PhaseRunning, fieldStartedAt: format(now), fieldFinishedAt: nil, fieldMessage: nil,
		"persistentVolumeClaims": nil,
	}
	if conditions, _, _ := unstructured.NestedSlice(status, "conditions"); len(conditions) > 0 {
		for _, c := range conditions {
			if condition, _ := c.(map[string]any); condition["type"] == "Completed" {
				condition["status"] = "False"
			}
		}
		changes["conditions"] = conditions
	}
	if stored, ok := status["storedWorkflowTemplateSpec"].(map[string]any); ok {
		change := map[string]any{"shutdown": nil}
		if len(retry.Parameters) > 0 {
			change["arguments"] = map[string]any{fieldParameters: withArguments(stored, retry.Parameters)}
		}
		changes["storedWorkflowTemplateSpec"] = change
	}
	return changes, nil
}

// rearm adds to the patch what of the Workflow, beside its status, makes Argo run it again, and the agent see to it once more.
func rearm(
	rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, metadata, patch map[string]any, retry *v1alpha1.Retry,
) {
	metadata["labels"] = map[string]any{
		contract.LabelCompleted: nil, contract.LabelArchivingStatus: nil, contract.LabelPhase: contract.PhaseRunning,
		contract.LabelCluster: rw.Namespace,
	}
	if !hasFinalizer(wf) {
		metadata["finalizers"] = append(slices.Clone(wf.GetFinalizers()), contract.FinalizerReport)
	}
	annotations := metadata["annotations"].(map[string]string)
	maps.Copy(annotations, contract.AnnotationsTo(rw))
	annotations[contract.AnnotationControls] = contract.EncodeControls(rw.Spec.Controls)
	spec, _ := patch["spec"].(map[string]any)
	if spec == nil {
		spec = map[string]any{}
		patch["spec"] = spec
	}
	spec["shutdown"] = textOrNull(string(rw.Spec.Shutdown))
	if len(retry.Parameters) > 0 {
		own, _ := wf.Object["spec"].(map[string]any)
		spec["arguments"] = map[string]any{fieldParameters: withArguments(own, retry.Parameters)}
	}
}

// withArguments returns the parameters of a spec's arguments as a retry wants them. One that is to have no value stays as it is.
func withArguments(spec map[string]any, wanted []v1alpha1.Parameter) []any {
	parameters, _, _ := unstructured.NestedSlice(spec, "arguments", fieldParameters)
	var out []any
	for _, p := range wanted {
		switch i := indexByName(parameters, p.Name); {
		case p.Value != nil:
			out = append(out, map[string]any{fieldName: p.Name, fieldValue: *p.Value})
		case i >= 0:
			out = append(out, parameters[i])
		}
	}
	return out
}

// retriedNodes returns how each node changes with a retry: nil for one that is removed.
func retriedNodes(nodes map[string]any, retry *v1alpha1.Retry, now time.Time) map[string]any {
	removed := map[string]bool{}
	changed := map[string]any{}
	for _, id := range retry.RemovedNodes {
		removed[id] = true
		changed[id] = nil
	}
	for id, n := range nodes {
		node, _ := n.(map[string]any)
		if removed[id] || node == nil {
			continue
		}
		change := map[string]any{}
		for _, field := range []string{fieldChildren, fieldOutboundNodes} {
			if rest, isShorter := without(node[field], removed); isShorter {
				change[field] = rest
			}
		}
		if slices.Contains(retry.ResetNodes, id) {
			change[fieldPhase], change[fieldStartedAt], change[fieldFinishedAt], change[fieldMessage] = nodeRunning, format(now), nil, nil
		}
		if len(change) > 0 {
			changed[id] = change
		}
	}
	return changed
}

// without returns a list of ids without those that are removed, nil for an empty one, and whether it had any.
func without(list any, removed map[string]bool) (rest any, isShorter bool) {
	ids, _ := list.([]any)
	kept := slices.DeleteFunc(slices.Clone(ids), func(id any) bool {
		text, _ := id.(string)
		return removed[text]
	})
	if len(kept) == 0 {
		return nil, len(ids) > 0
	}
	return runtime.DeepCopyJSONValue(kept), len(kept) < len(ids)
}

func textOrNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func format(at time.Time) string { return at.UTC().Format(time.RFC3339) }
