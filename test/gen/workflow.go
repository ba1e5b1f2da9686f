package gen

import (
	"maps"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// HubID is the id of the hub that built objects belong to.
const HubID = "0b000000-0000-4000-8000-000000000001"

// Workflow builds a hub Workflow that is handed to this project: one container that says hello.
func Workflow(name string, mods ...Mod) *unstructured.Unstructured {
	wf := contract.NewWorkflow()
	wf.SetNamespace(Namespace)
	wf.SetName(name)
	wf.SetUID(UIDOf(name))
	wf.SetLabels(map[string]string{contract.LabelEnable: contract.LabelEnableValue})
	wf.Object["spec"] = map[string]any{
		"entrypoint": "main",
		"templates": []any{map[string]any{
			"name":      "main",
			"container": map[string]any{"image": "busybox", "command": []any{"echo"}, "args": []any{"hello"}},
		}},
	}
	return build(wf, mods)
}

// WorkflowTemplate builds a WorkflowTemplate of these templates, of which the first is the entrypoint.
func WorkflowTemplate(name string, templates []any, mods ...Mod) *unstructured.Unstructured {
	template := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"templates": templates}}}
	if len(templates) > 0 {
		WithSpecField(templates[0].(map[string]any)["name"], "entrypoint")(template)
	}
	template.SetGroupVersionKind(contract.WorkflowTemplateGVK)
	template.SetNamespace(Namespace)
	template.SetName(name)
	template.SetUID(UIDOf(name))
	return build(template, mods)
}

// OfCluster makes a WorkflowTemplate a ClusterWorkflowTemplate.
func OfCluster() Mod {
	return on(func(template *unstructured.Unstructured) {
		template.SetGroupVersionKind(contract.ClusterWorkflowTemplateGVK)
		template.SetNamespace("")
	})
}

// WithPlacement asks for a cluster that the Placement of this name chooses.
func WithPlacement(name string) Mod {
	return WithAnnotations(map[string]string{contract.AnnotationPlacement: name})
}

// WithCluster asks for this cluster directly.
func WithCluster(cluster string) Mod {
	return WithAnnotations(map[string]string{contract.AnnotationCluster: cluster})
}

// WithAssignment gives the first attempt to run the Workflow, with the UID that it has, to a cluster.
func WithAssignment(cluster string) Mod {
	return on(func(wf *unstructured.Unstructured) {
		WithCluster(cluster)(wf)
		WithAnnotations(map[string]string{contract.AnnotationAssigned: contract.Assignment(wf, 1, cluster)})(wf)
		WithFinalizers(contract.FinalizerDispatch)(wf)
	})
}

// WithSpecField sets one field of the spec.
func WithSpecField(value any, path ...string) Mod {
	return on(func(wf *unstructured.Unstructured) {
		if err := unstructured.SetNestedField(wf.Object, value, append([]string{"spec"}, path...)...); err != nil {
			panic(err)
		}
	})
}

// WithTTL sets a field of the ttlStrategy.
func WithTTL(field string, seconds int64) Mod {
	return WithSpecField(seconds, "ttlStrategy", field)
}

// WithStatus replaces the status by this phase and whatever more gives.
func WithStatus(phase string, more ...map[string]any) Mod {
	return on(func(wf *unstructured.Unstructured) {
		status := map[string]any{"phase": phase}
		for _, fields := range more {
			maps.Copy(status, runtime.DeepCopyJSON(fields))
		}
		wf.Object["status"] = status
	})
}

// WithHubStatus is WithStatus as the hub writes it: marked as its own, for the UID that the Workflow has.
func WithHubStatus(phase string, more ...map[string]any) Mod {
	return on(func(wf *unstructured.Unstructured) {
		WithStatus(phase, more...)(wf)
		hash, err := contract.StatusHash(wf.GetUID(), contract.Status(wf))
		if err != nil {
			panic(err)
		}
		WithAnnotations(map[string]string{contract.AnnotationStatusHash: hash})(wf)
		WithLabels(map[string]string{
			contract.LabelPhase:     phase,
			contract.LabelCompleted: strconv.FormatBool(contract.IsFinished(phase)),
		})(wf)
	})
}

// RemoteWorkflow builds the first attempt to run wf on a cluster that has the agent.
func RemoteWorkflow(wf *unstructured.Unstructured, cluster string, mods ...Mod) *v1alpha1.RemoteWorkflow {
	rw := &v1alpha1.RemoteWorkflow{}
	rw.Namespace = cluster
	rw.Spec = v1alpha1.RemoteWorkflowSpec{
		HubID:       HubID,
		WorkflowRef: v1alpha1.WorkflowReference{Namespace: wf.GetNamespace(), Name: wf.GetName(), UID: wf.GetUID()},
		Remote:      v1alpha1.RemoteReference{Namespace: contract.RemoteNamespace(wf), Name: wf.GetName()},
		Reporting:   v1alpha1.ReportingAgent,
	}
	spec, _ := wf.Object["spec"].(map[string]any)
	rw.Spec.Controls = contract.ControlsOf(spec)
	rw.Labels = map[string]string{contract.LabelWorkflowUID: string(wf.GetUID())}
	WithAttempt(1)(rw)
	return build(rw, mods)
}

// WithAttempt makes it another attempt, with the name and UID that belong to it.
func WithAttempt(attempt int32) Mod {
	return on(func(rw *v1alpha1.RemoteWorkflow) {
		rw.Spec.Attempt = attempt
		rw.Name = contract.RemoteWorkflowName(rw.Spec.WorkflowRef.Name, rw.Spec.WorkflowRef.UID, attempt)
		rw.UID = UIDOf(rw.Name)
	})
}

// WithReporting says how the status comes back.
func WithReporting(reporting v1alpha1.Reporting) Mod {
	return on(func(rw *v1alpha1.RemoteWorkflow) { rw.Spec.Reporting = reporting })
}

// WithRemoteUID records the one copy that may run.
func WithRemoteUID(uid types.UID) Mod {
	return on(func(rw *v1alpha1.RemoteWorkflow) { rw.Status.RemoteUID = uid })
}

// WithReport reports this status of the copy that WithRemoteUID recorded before, or else of Copy.
func WithReport(status map[string]any) Mod {
	return on(func(rw *v1alpha1.RemoteWorkflow) {
		data, err := contract.EncodeStatus(status)
		if err != nil {
			panic(err)
		}
		if rw.Status.RemoteUID == "" {
			rw.Status.RemoteUID = copyUID(rw)
		}
		rw.Status.Phase = contract.StatusString(status, "phase")
		rw.Status.Progress = contract.StatusString(status, "progress")
		rw.Status.Message = contract.StatusString(status, "message")
		rw.Status.Report = &v1alpha1.Report{
			WorkflowUID: rw.Spec.WorkflowRef.UID,
			Attempt:     rw.Spec.Attempt,
			RemoteUID:   rw.Status.RemoteUID,
			Data:        data,
		}
	})
}

// Copy builds what OCM's work agent creates of wf on the managed cluster for rw: a gated copy.
func Copy(wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow, mods ...Mod) *unstructured.Unstructured {
	out, err := contract.Payload(wf, rw)
	if err != nil {
		panic(err)
	}
	out.SetUID(copyUID(rw))
	return build(out, mods)
}

// Started makes a copy one that the agent has started: the gate is open, the report's finalizer in place.
func Started() Mod {
	return on(func(wf *unstructured.Unstructured) {
		labels := wf.GetLabels()
		delete(labels, contract.LabelInstanceID)
		wf.SetLabels(labels)
		WithFinalizers(contract.FinalizerReport)(wf)
	})
}

func copyUID(rw *v1alpha1.RemoteWorkflow) types.UID {
	return UIDOf("copy of " + rw.Name)
}
