package score

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

func TestANodeCountsIfItTakesPodsWithoutAToleration(t *testing.T) {
	taint := func(effect corev1.TaintEffect) func(*corev1.Node) {
		return func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "any", Effect: effect}} }
	}
	ready := func(status corev1.ConditionStatus) func(*corev1.Node) {
		return func(n *corev1.Node) { n.Status.Conditions[0].Status = status }
	}
	for name, test := range map[string]struct {
		mod    func(*corev1.Node)
		counts bool
	}{
		"a ready one does": {func(*corev1.Node) {}, true},
		"one whose pods are only preferred elsewhere does": {taint(corev1.TaintEffectPreferNoSchedule), true},
		"one that keeps pods out does not":                 {taint(corev1.TaintEffectNoSchedule), false},
		"one that throws pods out does not":                {taint(corev1.TaintEffectNoExecute), false},
		"a cordoned one does not":                          {func(n *corev1.Node) { n.Spec.Unschedulable = true }, false},
		"one that is not ready does not":                   {ready(corev1.ConditionFalse), false},
		"one that is lost does not":                        {ready(corev1.ConditionUnknown), false},
		"one that has never reported does not":             {func(n *corev1.Node) { n.Status = corev1.NodeStatus{} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			read := readNode(newNode("one", list("4", "8Gi", "110"), test.mod))
			assert.Equal(t, test.counts, read.counts)
			want := contract.Resources{}
			if test.counts {
				want = contract.Resources{MilliCPU: 4000, Memory: 8 << 30, Pods: 110}
			}
			assert.Equal(t, want, read.allocatable)
		})
	}
}

func TestAPodTakesWhatTheSchedulerReservesForIt(t *testing.T) {
	container := func(requests corev1.ResourceList) corev1.Container {
		return corev1.Container{Name: "other", Resources: corev1.ResourceRequirements{Requests: requests}}
	}
	for name, test := range map[string]struct {
		mod  func(*corev1.Pod)
		want contract.Resources
	}{
		"the requests of its container": {func(*corev1.Pod) {}, contract.Resources{MilliCPU: 100, Memory: 1 << 20, Pods: 1}},
		"nothing but its place without requests": {func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = nil },
			contract.Resources{Pods: 1}},
		"those of all containers": {func(p *corev1.Pod) { p.Spec.Containers = append(p.Spec.Containers, container(list("50m", "", ""))) },
			contract.Resources{MilliCPU: 150, Memory: 1 << 20, Pods: 1}},
		"those of a larger init container": {func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{container(list("2", "", ""))} },
			contract.Resources{MilliCPU: 2000, Memory: 1 << 20, Pods: 1}},
		"those of a sidecar, too": {func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{container(list("200m", "", ""))}
			p.Spec.InitContainers[0].RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
		}, contract.Resources{MilliCPU: 300, Memory: 1 << 20, Pods: 1}},
		"the overhead of its runtime": {func(p *corev1.Pod) { p.Spec.Overhead = list("10m", "1Mi", "") },
			contract.Resources{MilliCPU: 110, Memory: 2 << 20, Pods: 1}},
		"those of the pod as a whole": {func(p *corev1.Pod) {
			p.Spec.Resources = &corev1.ResourceRequirements{Requests: list("3", "", "")}
		}, contract.Resources{MilliCPU: 3000, Memory: 1 << 20, Pods: 1}},
		"what it still has while it shrinks": {func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{
				Name: "main", AllocatedResources: list("900m", "", ""), Resources: &corev1.ResourceRequirements{Requests: list("900m", "", "")},
			}}
		}, contract.Resources{MilliCPU: 900, Memory: 1 << 20, Pods: 1}},
		"more than a number can say": {func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = list("9223372036854775807", "9223372036854775807", "")
			p.Spec.Containers = append(p.Spec.Containers, container(list("9223372036854775807", "9223372036854775807", "")))
		}, contract.Resources{MilliCPU: math.MaxInt64, Memory: math.MaxInt64, Pods: 1}},
		"nothing where it requests less": {func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = list("-1", "-9223372036854775808", "-5")
		}, contract.Resources{Pods: 1}},
		"one place, whatever it requests": {func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = list("", "", "100")
		}, contract.Resources{Pods: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.want, readPod(newPod("one", "", list("100m", "1Mi", ""), test.mod)).requests)
		})
	}
}

func TestAmountsAreWithinTheLimits(t *testing.T) {
	for value, want := range map[string]int64{
		"0": 0, "-1": 0, "1": 1000, "1m": 1, "1u": 1, "250m": 250, "1E": math.MaxInt64, "9223372036854775807": math.MaxInt64,
		"1e400": math.MaxInt64, "-1e400": 0, "1e-400": 1, "0.0000000001": 1, "4e15": 4e18, "5e15": math.MaxInt64,
	} {
		quantity, err := resource.ParseQuantity(value)
		if assert.NoError(t, err, value) {
			assert.Equal(t, want, amount(quantity, resource.Milli), value)
		}
	}
	twice := resource.MustParse("9223372036854775807")
	twice.Add(twice)
	assert.Equal(t, int64(math.MaxInt64), amount(twice, 0))
	twice.Neg()
	assert.Zero(t, amount(twice, 0))
}

func TestWorkflowsAreCountedByTheirPhase(t *testing.T) {
	for phase, want := range map[string]workflow{
		"": workflowPending, "Pending": workflowPending, "Running": workflowRunning, "Succeeded": "", "Failed": "", "anything": "",
	} {
		assert.Equal(t, want, readWorkflow(newWorkflow("one", phase)), phase)
	}
}
