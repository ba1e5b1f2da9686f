package steps

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// Argo makes a pod for each Workflow with plugin nodes, its agent. It has nothing to do for steps in other clusters, and would fail them:
// no program in it knows them. The hub chart's MutatingAdmissionPolicy gives it a scheduling gate, so that it never runs.
const (
	labelComponent = "workflows.argoproj.io/component"
	componentAgent = "agent"
	labelWorkflow  = "workflows.argoproj.io/workflow"

	// pluginContainer is the container that the hub chart's executor plugin adds to the agent's pod: with it the agent leaves our steps alone.
	pluginContainer = "multicluster"
)

// agentPod is a pod of Argo's agent that waits because of our gate.
type agentPod struct {
	*corev1.Pod
	// hasPlugin is whether it leaves our steps alone when it runs.
	hasPlugin bool
}

// trimPod makes the agent's pod what the cache keeps of it. It is the transform of the cache.
func trimPod(obj any) (any, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return obj, nil
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion, Labels: pod.Labels,
			DeletionTimestamp: pod.DeletionTimestamp,
		},
		Spec: corev1.PodSpec{SchedulingGates: pod.Spec.SchedulingGates, Containers: namesOf(pod.Spec.Containers)},
	}, nil
}

// namesOf returns containers with nothing but their names.
func namesOf(containers []corev1.Container) []corev1.Container {
	out := make([]corev1.Container, len(containers))
	for i := range containers {
		out[i].Name = containers[i].Name
	}
	return out
}

// ofPod maps the agent's pod to its Workflow.
func ofPod(_ context.Context, pod client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: pod.GetNamespace(), Name: pod.GetLabels()[labelWorkflow]}}}
}

// gated returns the agent's pods of a Workflow that wait because of our gate.
func (r *Reconciler) gated(ctx context.Context, workflow types.NamespacedName) ([]agentPod, error) {
	var pods corev1.PodList
	opts := []client.ListOption{client.InNamespace(workflow.Namespace), client.MatchingLabels{labelWorkflow: workflow.Name}}
	if err := r.Client.List(ctx, &pods, opts...); err != nil {
		return nil, fmt.Errorf("list the pods of Argo's agent: %w", err)
	}
	var gated []agentPod
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Spec.SchedulingGates, isGate) {
			gated = append(gated, agentPod{pod, slices.ContainsFunc(pod.Spec.Containers, isPlugin)})
		}
	}
	return gated, nil
}

func isPlugin(container corev1.Container) bool { return container.Name == pluginContainer }

func isGate(gate corev1.PodSchedulingGate) bool { return gate.Name == contract.GateSteps }

// lift removes our gate from a pod: it has something else to do.
func (r *Reconciler) lift(ctx context.Context, pod *agentPod) error {
	data, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID, "resourceVersion": pod.ResourceVersion},
		"spec":     map[string]any{"schedulingGates": slices.DeleteFunc(slices.Clone(pod.Spec.SchedulingGates), isGate)},
	})
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	if err := r.Client.Patch(ctx, pod.DeepCopy(), client.RawPatch(types.MergePatchType, data)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("remove scheduling gate of pod %s: %w", client.ObjectKeyFromObject(pod.Pod), err)
	}
	return nil
}
