package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// history knows of all Workflows and pods that a namespace on a managed cluster has had since it was begun.
type history struct {
	mu sync.Mutex
	// started tells of each incarnation of a Workflow whether a controller has touched it, or could have.
	started map[types.UID]bool
	// pods are the pods of each node of each incarnation.
	pods map[string]map[types.UID]bool
}

// record begins a history of the test's namespace on the cluster.
func (s *space) record(c *cluster) *history {
	s.t.Helper()
	h := &history{started: map[types.UID]bool{}, pods: map[string]map[types.UID]bool{}}
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(c.dynamic, 0, s.name, nil)
	h.follow(s.t, factory.ForResource(contract.WorkflowGVR).Informer(), h.seeWorkflow)
	h.follow(s.t, factory.ForResource(corev1.SchemeGroupVersion.WithResource("pods")).Informer(), h.seePod)
	stop := make(chan struct{})
	s.t.Cleanup(func() { close(stop) })
	factory.Start(stop)
	for resource, synced := range factory.WaitForCacheSync(s.t.Context().Done()) {
		require.True(s.t, synced, resource)
	}
	return h
}

func (h *history) follow(t *testing.T, informer cache.SharedIndexInformer, see func(*unstructured.Unstructured)) {
	t.Helper()
	seen := func(object any) {
		if u, ok := object.(*unstructured.Unstructured); ok {
			h.mu.Lock()
			defer h.mu.Unlock()
			see(u)
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: seen, UpdateFunc: func(_, object any) { seen(object) },
	})
	require.NoError(t, err)
}

func (h *history) seeWorkflow(wf *unstructured.Unstructured) {
	gated := wf.GetLabels()[contract.LabelInstanceID] == contract.InstanceIDGate
	h.started[wf.GetUID()] = h.started[wf.GetUID()] || !gated || len(contract.Status(wf)) > 0
}

func (h *history) seePod(pod *unstructured.Unstructured) {
	node := pod.GetAnnotations()["workflows.argoproj.io/node-id"]
	for _, owner := range pod.GetOwnerReferences() {
		node += " of " + string(owner.UID)
	}
	if h.pods[node] == nil {
		h.pods[node] = map[types.UID]bool{}
	}
	h.pods[node][pod.GetUID()] = true
}

// incarnations counts the Workflows that have been there, by UID.
func (h *history) incarnations() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.started)
}

// podsOf counts the pods, by UID, that a Workflow has had whose name no other name begins with.
func (h *history) podsOf(workflow string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	count := 0
	for node, uids := range h.pods {
		if strings.HasPrefix(node, workflow) {
			count += len(uids)
		}
	}
	return count
}

// ran returns an error unless exactly so many incarnations were ever started, and exactly so many pods were ever created,
// each for a node of its own.
func (h *history) ran(workflows, pods int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	started := 0
	for _, yes := range h.started {
		if yes {
			started++
		}
	}
	if started != workflows {
		return fmt.Errorf("%d of %d incarnations were started, want %d", started, len(h.started), workflows)
	}
	for node, uids := range h.pods {
		if len(uids) != 1 {
			return fmt.Errorf("node %s has had %d pods", node, len(uids))
		}
	}
	if len(h.pods) != pods {
		return fmt.Errorf("there were pods for %d nodes, want %d", len(h.pods), pods)
	}
	return nil
}

// staysSo looks on for several resyncs of the work agent: nothing runs again.
func (h *history) staysSo(t *testing.T, workflows, pods int) {
	t.Helper()
	labtest.Holds(t, quiet, func() error { return h.ran(workflows, pods) })
}
