package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/edits"
)

// versions are those that a remote Workflow has had since they were last checked.
type versions struct {
	mu   sync.Mutex
	list []*unstructured.Unstructured
	// argos are the resourceVersions that Argo has written.
	argos map[string]bool
}

// watchVersions sees every version of a run's remote Workflow from now on.
func watchVersions(t *testing.T, r *run) *versions {
	t.Helper()
	v := &versions{argos: map[string]bool{}}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	watcher, err := r.cluster.client.Watch(ctx, contract.NewWorkflowList(), client.InNamespace(r.key.Namespace))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer watcher.Stop()
		for event := range watcher.ResultChan() {
			if wf, ok := event.Object.(*unstructured.Unstructured); ok && wf.GetName() == r.key.Name {
				v.mu.Lock()
				v.list = append(v.list, wf)
				v.mu.Unlock()
			}
		}
	}()
	return v
}

func (v *versions) byArgo(resourceVersion string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.argos[resourceVersion] = true
}

// catchUp waits until this version was seen.
func (v *versions) catchUp(t *testing.T, wf *unstructured.Unstructured) {
	t.Helper()
	eventually(t, func() error {
		v.mu.Lock()
		defer v.mu.Unlock()
		if !slices.ContainsFunc(v.list, func(seen *unstructured.Unstructured) bool {
			return seen.GetResourceVersion() == wf.GetResourceVersion()
		}) {
			return fmt.Errorf("version %s has not come", wf.GetResourceVersion())
		}
		return nil
	})
}

// check returns how often the status was changed by somebody else than Argo, and an error if anything was changed in a way in which the
// agent may change nothing. Only the last version is kept.
func (v *versions) check() (changes int, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := 1; i < len(v.list); i++ {
		before, after := v.list[i-1], v.list[i]
		if v.argos[after.GetResourceVersion()] {
			continue
		}
		if !reflect.DeepEqual(before.Object["status"], after.Object["status"]) {
			changes++
		}
		if err := mayChange(before, after); err != nil {
			return changes, fmt.Errorf("the agent has written to the remote Workflow: %w", err)
		}
	}
	v.list = v.list[max(0, len(v.list)-1):]
	return changes, nil
}

// mayChange returns an error unless the agent may make of a remote Workflow what it is after a write.
func mayChange(before, after *unstructured.Unstructured) error {
	runsAgain := contract.IsFinished(contract.Phase(before)) && !contract.IsFinished(contract.Phase(after))
	return errors.Join(
		sameBut("metadata", before.Object["metadata"], after.Object["metadata"],
			"resourceVersion", "generation", "managedFields", "labels", "annotations", "finalizers"),
		sameBut("labels", toAny(before.GetLabels()), toAny(after.GetLabels()),
			onlyIf(runsAgain, contract.LabelCompleted, contract.LabelPhase, contract.LabelArchivingStatus)...),
		sameBut("annotations", toAny(before.GetAnnotations()), toAny(after.GetAnnotations()), contract.AnnotationControls, contract.AnnotationEdits),
		sameFinalizers(before, after),
		sameBut("spec", before.Object["spec"], after.Object["spec"],
			append(onlyIf(runsAgain, "arguments"), "suspend", "shutdown", "priority", "activeDeadlineSeconds")...),
		sameBut("spec.arguments", field(before.Object, "spec", "arguments"), field(after.Object, "spec", "arguments"), "parameters"),
		sameStatus(contract.Status(before), contract.Status(after), runsAgain),
	)
}

func onlyIf(condition bool, fields ...string) []string {
	if condition {
		return fields
	}
	return nil
}

func toAny(of map[string]string) map[string]any {
	out := map[string]any{}
	for key, value := range of {
		out[key] = value
	}
	return out
}

func field(of map[string]any, path ...string) any {
	value, _, _ := unstructured.NestedFieldNoCopy(of, path...)
	return value
}

// sameBut returns an error unless two objects are the same but for these fields. One that is not there is empty.
func sameBut(what string, before, after any, fields ...string) error {
	was, _ := before.(map[string]any)
	is, _ := after.(map[string]any)
	keys := slices.Sorted(maps.Keys(was))
	for _, key := range append(keys, slices.Sorted(maps.Keys(is))...) {
		if !slices.Contains(fields, key) && !reflect.DeepEqual(was[key], is[key]) {
			return fmt.Errorf("%s.%s was %.300v and is %.300v", what, key, was[key], is[key])
		}
	}
	return nil
}

func sameFinalizers(before, after *unstructured.Unstructured) error {
	others := func(wf *unstructured.Unstructured) []string {
		return slices.DeleteFunc(slices.Clone(wf.GetFinalizers()), func(f string) bool { return f == contract.FinalizerReport })
	}
	if was, is := others(before), others(after); !slices.Equal(was, is) {
		return fmt.Errorf("finalizers were %v and are %v", was, is)
	}
	return nil
}

// sameStatus returns an error unless a status is the same, or as a verb makes it.
func sameStatus(before, after map[string]any, runsAgain bool) error {
	if reflect.DeepEqual(before, after) {
		return nil
	}
	was, _, errWas := contract.Nodes(before)
	is, _, errIs := contract.Nodes(after)
	if err := errors.Join(errWas, errIs); err != nil {
		return err
	}
	if !runsAgain {
		return errors.Join(
			sameBut("status", before, after, "nodes", "compressedNodes", "outputs"),
			sameBut("status.outputs", before["outputs"], after["outputs"], "parameters"),
			resolvedNodes(was, is),
		)
	}
	return errors.Join(
		sameBut("status", before, after, "nodes", "compressedNodes", "phase", "startedAt", "finishedAt", "message", "persistentVolumeClaims",
			"conditions", "storedWorkflowTemplateSpec"),
		sameBut("status.storedWorkflowTemplateSpec", before["storedWorkflowTemplateSpec"], after["storedWorkflowTemplateSpec"],
			"shutdown", "arguments"),
		nodesThatRunAgain(was, is),
	)
}

// resolvedNodes returns an error if any but Suspend nodes have changed, or those in more than they may.
func resolvedNodes(was, is map[string]any) error {
	if was, is := slices.Sorted(maps.Keys(was)), slices.Sorted(maps.Keys(is)); !slices.Equal(was, is) {
		return fmt.Errorf("the nodes were %v and are %v", was, is)
	}
	for id := range was {
		before, after := was[id].(map[string]any), is[id].(map[string]any)
		if sameBut("node", before, after) == nil {
			continue // a merge patch of nodes that were packed leaves out what is null
		}
		if before["type"] != "Suspend" || before["phase"] != "Running" {
			return fmt.Errorf("node %s was %v", id, before)
		}
		if err := errors.Join(
			sameBut("node", before, after, "phase", "message", "finishedAt", "outputs"),
			sameBut("node.outputs", before["outputs"], after["outputs"], "parameters"),
			suppliedOnly(field(before, "outputs", "parameters"), field(after, "outputs", "parameters")),
		); err != nil {
			return err
		}
	}
	return nil
}

// suppliedOnly returns an error if anything but parameters that waited for a value have got one.
func suppliedOnly(before, after any) error {
	was, _ := before.([]any)
	is, _ := after.([]any)
	if len(was) != len(is) {
		return fmt.Errorf("parameters were %v and are %v", was, is)
	}
	for i := range was {
		if reflect.DeepEqual(was[i], is[i]) {
			continue
		}
		if _, waits, _ := unstructured.NestedFieldNoCopy(was[i].(map[string]any), "valueFrom", "supplied"); !waits {
			return fmt.Errorf("parameter was %v and is %v", was[i], is[i])
		}
		if err := sameBut("parameter", was[i], is[i], "value", "valueFrom"); err != nil {
			return err
		}
	}
	return nil
}

// nodesThatRunAgain returns an error if a node was added, or has changed in more than groups do that run again.
func nodesThatRunAgain(was, is map[string]any) error {
	for id, node := range is {
		before, known := was[id].(map[string]any)
		if !known {
			return fmt.Errorf("node %s is new", id)
		}
		after := runtime.DeepCopyJSON(node.(map[string]any))
		may := []string{"children", "outboundNodes"}
		if slices.Contains(strings.Fields("DAG Steps StepGroup TaskGroup Retry"), fmt.Sprint(before["type"])) && after["phase"] == "Running" {
			may = append(may, "phase", "startedAt", "finishedAt", "message")
		}
		if err := sameBut("node "+id, before, after, may...); err != nil {
			return err
		}
	}
	return nil
}

// isAsFound returns an error unless a remote Workflow's status is as a verb makes it.
func isAsFound(found edits.Found, status map[string]any) error {
	nodes, _, err := contract.Nodes(status)
	if err != nil {
		return err
	}
	for _, n := range found.Nodes {
		node, _ := nodes[n.ID].(map[string]any)
		if node["phase"] != n.Phase || contract.StatusString(node, "message") != n.Message {
			return fmt.Errorf("node is %v, not %v", node, n)
		}
		for _, p := range n.Parameters {
			if !hasParameter(field(node, "outputs", "parameters"), p) {
				return fmt.Errorf("node is %v, not %v", node, n)
			}
		}
	}
	for _, p := range found.Outputs {
		if !hasParameter(field(status, "outputs", "parameters"), p) {
			return fmt.Errorf("outputs are %v, without %v", status["outputs"], p)
		}
	}
	if found.Retry == nil {
		return nil
	}
	for _, id := range found.Retry.RemovedNodes {
		if _, kept := nodes[id]; kept {
			return fmt.Errorf("node %s is there, though it is to run again", id)
		}
	}
	if phase := contract.StatusString(status, "phase"); phase != contract.PhaseRunning {
		return fmt.Errorf("phase is %s after a retry", phase)
	}
	return nil
}

func hasParameter(parameters any, wanted v1alpha1.Parameter) bool {
	list, _ := parameters.([]any)
	return slices.ContainsFunc(list, func(p any) bool {
		parameter, _ := p.(map[string]any)
		return parameter["name"] == wanted.Name && parameter["value"] == ptr.Deref(wanted.Value, "")
	})
}
