package score

import (
	"math"
	"slices"
	"strings"
	"unique"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"
	resourcehelper "k8s.io/component-helpers/resource"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

const (
	// labelWorkflow, on a pod, is where Argo names the Workflow.
	labelWorkflow = "workflows.argoproj.io/workflow"
	// controllerImage is the last part of the name of the image of Argo's controller.
	controllerImage = "workflow-controller"
)

// node is what is kept of a Node.
type node struct {
	name nodeName
	// allocatable is zero unless the node counts.
	allocatable contract.Resources
	counts      bool
}

// nodeName is the name of a node, of which there is one string for all its pods; the zero value is none.
type nodeName = unique.Handle[string]

// pod is what is kept of a Pod that has not finished.
type pod struct {
	// node is the zero value as long as the pod waits for one.
	node     nodeName
	requests contract.Resources
	workflow bool
	// argoVersion is the tag of the image, if it is Argo's controller that the pod runs and the tag is a version.
	argoVersion string
}

// workflow is what is kept of an unfinished Workflow.
type workflow string

const (
	workflowPending workflow = "Pending"
	workflowRunning workflow = "Running"
)

// readNode returns what is kept of a node. It counts if it takes new pods without a toleration.
func readNode(n *corev1.Node) node {
	read := node{name: unique.Make(n.Name), counts: takesPods(n)}
	if read.counts {
		read.allocatable = amounts(n.Status.Allocatable)
	}
	return read
}

func takesPods(n *corev1.Node) bool {
	ready := slices.ContainsFunc(n.Status.Conditions, func(condition corev1.NodeCondition) bool {
		return condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue
	})
	keepsOut := slices.ContainsFunc(n.Spec.Taints, func(taint corev1.Taint) bool {
		return taint.Effect == corev1.TaintEffectNoSchedule || taint.Effect == corev1.TaintEffectNoExecute
	})
	return ready && !n.Spec.Unschedulable && !keepsOut
}

// readPod returns what is kept of a pod. What it requests is what Kubernetes' scheduler reserves for it, also while it is resized.
func readPod(p *corev1.Pod) pod {
	requests := amounts(resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{UseStatusResources: true}))
	requests.Pods = 1
	read := pod{requests: requests, workflow: p.Labels[labelWorkflow] != ""}
	if p.Spec.NodeName != "" {
		read.node = unique.Make(p.Spec.NodeName)
	}
	for _, container := range p.Spec.Containers {
		image, _, _ := strings.Cut(container.Image[strings.LastIndex(container.Image, "/")+1:], "@")
		if name, tag, _ := strings.Cut(image, ":"); name == controllerImage && len(tag) <= contract.MaxVersionLength {
			if _, err := version.ParseGeneric(tag); err == nil {
				read.argoVersion = strings.Clone(tag) // not the whole pod with it
			}
		}
	}
	return read
}

// readWorkflow returns the phase that Argo has set on an unfinished Workflow, or workflowPending where there is none.
func readWorkflow(wf *metav1.PartialObjectMetadata) workflow {
	switch phase := workflow(wf.Labels[contract.LabelPhase]); phase {
	case "":
		return workflowPending
	case workflowPending, workflowRunning:
		return phase
	default:
		return "" // it is about to be marked as completed
	}
}

// amounts returns CPU, memory and pods of a list: none is negative, and what is too much for a number is the largest number.
func amounts(list corev1.ResourceList) contract.Resources {
	return contract.Resources{
		MilliCPU: amount(list[corev1.ResourceCPU], resource.Milli),
		Memory:   amount(list[corev1.ResourceMemory], 0),
		Pods:     amount(list[corev1.ResourcePods], 0),
	}
}

// amount returns a quantity in the unit of the scale, between zero and the largest number. Quantity's own conversion may overflow.
func amount(quantity resource.Quantity, scale resource.Scale) int64 {
	approximately := quantity.AsApproximateFloat64() * math.Pow10(-int(scale))
	switch {
	case approximately <= 0:
		return 0
	case approximately >= math.MaxInt64/2:
		return math.MaxInt64
	}
	return quantity.ScaledValue(scale)
}
