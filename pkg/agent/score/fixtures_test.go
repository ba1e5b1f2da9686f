package score

import (
	"net/http"
	"testing"
	"unique"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// list builds a list of resources; "" is none.
func list(cpu, memory, pods string) corev1.ResourceList {
	built := corev1.ResourceList{}
	for name, value := range map[corev1.ResourceName]string{corev1.ResourceCPU: cpu, corev1.ResourceMemory: memory, corev1.ResourcePods: pods} {
		if value != "" {
			built[name] = resource.MustParse(value)
		}
	}
	return built
}

// newNode builds a node that takes pods.
func newNode(name string, allocatable corev1.ResourceList, mods ...func(*corev1.Node)) *corev1.Node {
	built := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("node-" + name)}}
	built.Status.Allocatable = allocatable
	built.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	for _, mod := range mods {
		mod(built)
	}
	return built
}

// newPod builds a pod of one container on a node, or one that waits.
func newPod(name, node string, requests corev1.ResourceList, mods ...func(*corev1.Pod)) *corev1.Pod {
	built := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("pod-" + name)}}
	built.Spec.NodeName = node
	built.Spec.Containers = []corev1.Container{{Name: "main", Resources: corev1.ResourceRequirements{Requests: requests}}}
	for _, mod := range mods {
		mod(built)
	}
	return built
}

// newWorkflow builds the metadata of a Workflow in a phase; "" is none.
func newWorkflow(name, phase string) *metav1.PartialObjectMetadata {
	built := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("wf-" + name)}}
	if phase != "" {
		built.Labels = map[string]string{contract.LabelPhase: phase}
	}
	return built
}

// rows are what a Cluster's tables hold.
type rows struct {
	nodes     map[types.UID]node
	pods      map[types.UID]pod
	workflows map[types.UID]workflow
}

func rowsOf(objects ...metav1.Object) rows {
	r := rows{map[types.UID]node{}, map[types.UID]pod{}, map[types.UID]workflow{}}
	for _, object := range objects {
		switch o := object.(type) {
		case *corev1.Node:
			r.nodes[o.UID] = readNode(o)
		case *corev1.Pod:
			r.pods[o.UID] = readPod(o)
		case *metav1.PartialObjectMetadata:
			r.workflows[o.UID] = readWorkflow(o)
		}
	}
	return r
}

func (r rows) measure() contract.Capacity { return measure(r.nodes, r.pods, r.workflows) }

// newTestCluster returns a Cluster that nobody follows, with these objects.
func newTestCluster(t *testing.T, passive clock.PassiveClock) *Cluster {
	t.Helper()
	cluster, err := NewCluster(&rest.Config{}, http.DefaultClient, passive)
	require.NoError(t, err)
	return cluster
}

// lists has the Cluster see all that it has listed.
func (c *Cluster) lists(t *testing.T, objects ...metav1.Object) {
	t.Helper()
	var nodes, pods, workflows []any
	for _, object := range objects {
		switch o := object.(type) {
		case *corev1.Node:
			nodes = append(nodes, o)
		case *corev1.Pod:
			pods = append(pods, o)
		default:
			workflows = append(workflows, o)
		}
	}
	require.NoError(t, c.nodes.Replace(nodes, ""))
	require.NoError(t, c.pods.Replace(pods, ""))
	require.NoError(t, c.workflows.Replace(workflows, ""))
}

func named(name string) nodeName { return unique.Make(name) }
