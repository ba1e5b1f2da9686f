package integration

import (
	"context"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// capacity returns what an agent says on the hub that its cluster has.
func capacity(t *testing.T, c *cluster) (contract.Capacity, error) {
	t.Helper()
	written := score(c.name, contract.ScoreName)
	if err := clientOf(t, theHub.server.Config).Get(t.Context(), client.ObjectKeyFromObject(written), written); err != nil {
		return contract.Capacity{}, err
	}
	condition := meta.FindStatusCondition(written.Status.Conditions, contract.ConditionMeasured)
	switch {
	case condition == nil || condition.Status != metav1.ConditionTrue:
		return contract.Capacity{}, fmt.Errorf("the capacity of %s is not measured: %+v", c.name, condition)
	case written.Status.ValidUntil == nil || written.Status.ValidUntil.Time.Before(time.Now()):
		return contract.Capacity{}, fmt.Errorf("the capacity of %s is not valid: %v", c.name, written.Status.ValidUntil)
	case len(written.Status.Scores) != 5:
		return contract.Capacity{}, fmt.Errorf("%s has scores %v", c.name, written.Status.Scores)
	}
	return contract.ReadCapacity(condition.Message)
}

// addNode creates a node that is ready, until the test ends. Admission taints each new one.
func addNode(t *testing.T, c *cluster, name string, allocatable corev1.ResourceList) {
	t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	require.NoError(t, c.client.Create(t.Context(), node))
	t.Cleanup(func() { _ = c.client.Delete(context.WithoutCancel(t.Context()), node) })
	node.Spec.Taints = nil
	require.NoError(t, c.client.Update(t.Context(), node))
	node.Status.Allocatable, node.Status.Capacity = allocatable, allocatable
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	require.NoError(t, c.client.Status().Update(t.Context(), node))
}

// addPod creates a pod on a node, "" for one that waits, until the test's space is not looked at any more.
func addPod(t *testing.T, s *space, c *cluster, name, node, cpu string, labels map[string]string) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: s.name, Name: name, Labels: labels}}
	pod.Spec.NodeName = node
	pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](0)
	pod.Spec.Containers = []corev1.Container{{Name: "main", Image: "none", Resources: corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("1Gi")},
	}}}
	require.NoError(t, c.client.Create(t.Context(), pod))
	t.Cleanup(func() { _ = c.client.Delete(context.WithoutCancel(t.Context()), pod, client.GracePeriodSeconds(0)) })
	return pod
}

func TestTheHubLearnsWhatAClusterHasFree(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	// Other tests run Workflows there meanwhile, but no pods.
	becomes := func(want contract.Capacity) {
		t.Helper()
		eventually(t, func() error {
			got, err := capacity(t, cluster2)
			got.WorkflowsRunning, got.WorkflowsPending = 0, 0
			if err == nil && !reflect.DeepEqual(want, got) {
				err = fmt.Errorf("the cluster has %+v, not %+v", got, want)
			}
			return err
		})
	}
	becomes(contract.Capacity{})

	amounts := func(cpu, memory, pods int64) contract.Resources {
		return contract.Resources{MilliCPU: cpu, Memory: memory << 30, Pods: pods}
	}
	node := s.name + "-a"
	addNode(t, cluster2, node, corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"),
		corev1.ResourcePods: resource.MustParse("10"),
	})
	nodes := []contract.Resources{amounts(4000, 8, 10)}
	empty := contract.Capacity{Nodes: 1, Allocatable: nodes[0], Free: nodes[0], LargestAllocatable: nodes, LargestFree: nodes}
	becomes(empty)

	running := addPod(t, s, cluster2, "running", node, "1500m", map[string]string{"workflows.argoproj.io/workflow": "one"})
	addPod(t, s, cluster2, "waiting", "", "500m", nil)
	addPod(t, s, cluster2, "too-large", "", "100", nil)
	busy := empty
	busy.Free, busy.LargestFree, busy.WorkflowPods = amounts(2000, 6, 8), []contract.Resources{amounts(2500, 7, 9)}, 1
	becomes(busy)

	running.Status.Phase = corev1.PodSucceeded
	require.NoError(t, cluster2.client.Status().Update(t.Context(), running))
	freed := empty
	freed.Free = amounts(3500, 7, 9)
	becomes(freed)

	cordon := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"unschedulable":true}}`))
	require.NoError(t, cluster2.client.Patch(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}, cordon))
	becomes(contract.Capacity{})
}

func TestTheUnfinishedWorkflowsOfAClusterAreCountedWhoeverMadeThem(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	var before contract.Capacity
	eventually(t, func() (err error) {
		before, err = capacity(t, cluster1)
		return err
	})
	const many = 100 // other tests create and end some meanwhile
	for i := range many {
		wf := local(s, fmt.Sprintf("local-%d", i))
		wf.SetLabels(map[string]string{contract.LabelPhase: []string{"Running", "Pending"}[i%2]})
		require.NoError(t, cluster1.client.Create(t.Context(), wf))
		t.Cleanup(func() { _ = cluster1.client.Delete(context.WithoutCancel(t.Context()), wf) })
	}
	// A count alone is not urgent; a node that comes is.
	addNode(t, cluster1, s.name, corev1.ResourceList{corev1.ResourcePods: resource.MustParse("10")})
	eventually(t, func() error {
		after, err := capacity(t, cluster1)
		if err == nil && (after.WorkflowsRunning < before.WorkflowsRunning+many/4 || after.WorkflowsPending < before.WorkflowsPending+many/4) {
			err = fmt.Errorf("after %+v it is %+v", before, after)
		}
		return err
	})
}
