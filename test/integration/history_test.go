package integration

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// history is every version that the Workflows of a namespace have had on a managed cluster: a watch leaves none out.
type history struct {
	cluster   *cluster
	namespace string

	mu sync.Mutex
	// opened are the copies that Argo would have run at any time, by name.
	opened map[string]map[types.UID]bool
	// latest is the resourceVersion of the last version of each copy.
	latest map[types.UID]string
	gone   map[types.UID]bool
}

func watchHistory(t *testing.T, c *cluster, namespace string) *history {
	t.Helper()
	h := &history{
		cluster: c, namespace: namespace,
		opened: map[string]map[types.UID]bool{}, latest: map[types.UID]string{}, gone: map[types.UID]bool{},
	}
	h.watch(t)
	return h
}

// watch adds what there is, and what comes until the server stops.
func (h *history) watch(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var watcher watch.Interface
	eventually(t, func() (err error) {
		watcher, err = h.cluster.client.Watch(ctx, contract.NewWorkflowList(), client.InNamespace(h.namespace))
		return err
	})
	go func() {
		defer watcher.Stop()
		for event := range watcher.ResultChan() {
			if wf, ok := event.Object.(*unstructured.Unstructured); ok {
				h.add(event.Type, wf)
			}
		}
	}()
}

func (h *history) add(event watch.EventType, wf *unstructured.Unstructured) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.latest[wf.GetUID()] = wf.GetResourceVersion()
	h.gone[wf.GetUID()] = event == watch.Deleted
	if (fakeArgo{}).sees(wf) {
		if h.opened[wf.GetName()] == nil {
			h.opened[wf.GetName()] = map[types.UID]bool{}
		}
		h.opened[wf.GetName()][wf.GetUID()] = true
	}
}

// caughtUp waits until the history has this version of a copy, or a later one.
func (h *history) caughtUp(t *testing.T, wf *unstructured.Unstructured) {
	t.Helper()
	eventually(t, func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.latest[wf.GetUID()] != wf.GetResourceVersion() && !h.gone[wf.GetUID()] {
			return fmt.Errorf("the watch has brought version %q of the copy, and it has %q", h.latest[wf.GetUID()], wf.GetResourceVersion())
		}
		return nil
	})
}

// open returns the UIDs of the copies of that name that Argo would have run at any time.
func (h *history) open(name string) []types.UID {
	h.mu.Lock()
	defer h.mu.Unlock()
	var uids []types.UID
	for uid := range h.opened[name] {
		uids = append(uids, uid)
	}
	return uids
}

func isGated(wf *unstructured.Unstructured) bool {
	return wf.GetLabels()[contract.LabelInstanceID] == contract.InstanceIDGate
}
