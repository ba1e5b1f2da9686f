package bench

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

// patience is how long a burst may take: with real pods each takes a second or two of all there is of this machine.
const patience = 30 * time.Minute

// observer notes when a cluster's Workflows came to exist, started and finished, as a watch shows it. All observers
// of a benchmark share one clock: that of this process.
type observer struct {
	mu                         sync.Mutex
	changed                    chan struct{}
	existed, started, finished map[string]time.Time
	phases                     map[string]string
}

// observe watches the default namespace of the cluster until the benchmark ends. With an informer, which lists again where
// a watch has been closed: an API server does that to those who fall behind in a burst.
func observe(b *testing.B, c *lab.Cluster) *observer {
	b.Helper()
	o := &observer{
		changed: make(chan struct{}, 1),
		existed: map[string]time.Time{}, started: map[string]time.Time{}, finished: map[string]time.Time{},
		phases: map[string]string{},
	}
	informers := dynamicinformer.NewFilteredDynamicSharedInformerFactory(dynamicClient(b, c), 0, metav1.NamespaceDefault, nil)
	informer := informers.ForResource(contract.WorkflowGVR).Informer()
	note := func(obj any) {
		if wf, ok := obj.(*unstructured.Unstructured); ok && wf.GetDeletionTimestamp() == nil {
			o.note(wf, time.Now())
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: note, UpdateFunc: func(_, obj any) { note(obj) }})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	b.Cleanup(func() {
		cancel()
		informers.Shutdown()
	})
	informers.Start(ctx.Done())
	require.True(b, cache.WaitForCacheSync(ctx.Done(), informer.HasSynced))
	return o
}

func (o *observer) note(wf *unstructured.Unstructured, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	first := func(times map[string]time.Time) {
		if _, known := times[wf.GetName()]; !known {
			times[wf.GetName()] = now
		}
	}
	phase := contract.Phase(wf)
	first(o.existed)
	if phase != "" && phase != contract.PhasePending {
		first(o.started)
	}
	if contract.IsFinished(phase) {
		first(o.finished)
		o.phases[wf.GetName()] = phase
	}
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

// waitFinished waits until all have seen n finished Workflows together, all of them successfully, and returns when
// the last one finished.
func waitFinished(b *testing.B, n int, all ...*observer) time.Time {
	b.Helper()
	deadline := time.After(patience)
	for {
		var last time.Time
		count := 0
		for _, o := range all {
			o.mu.Lock()
			for name, at := range o.finished {
				require.Equal(b, "Succeeded", o.phases[name], name)
				count++
				if at.After(last) {
					last = at
				}
			}
			o.mu.Unlock()
		}
		if count == n {
			return last
		}
		select {
		case <-all[0].changed:
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			b.Fatalf("%d of %d Workflows have finished", count, n)
		}
	}
}

func workflows(b *testing.B, c *lab.Cluster) dynamic.ResourceInterface {
	b.Helper()
	return dynamicClient(b, c).Resource(contract.WorkflowGVR).Namespace(metav1.NamespaceDefault)
}

func dynamicClient(b *testing.B, c *lab.Cluster) dynamic.Interface {
	b.Helper()
	config, err := c.Config()
	require.NoError(b, err)
	client, err := dynamic.NewForConfig(config)
	require.NoError(b, err)
	return client
}

// small returns a Workflow of one short pod.
func small(name string) *unstructured.Unstructured {
	wf := contract.NewWorkflow()
	wf.SetName(name)
	wf.Object["spec"] = map[string]any{
		"entrypoint": "main",
		"templates": []any{map[string]any{
			"name":      "main",
			"container": map[string]any{"image": "busybox", "command": []any{"true"}},
		}},
	}
	return wf
}

// dispatched returns the same Workflow as users create it on the hub.
func dispatched(name string) *unstructured.Unstructured {
	wf := small(name)
	wf.SetLabels(map[string]string{contract.LabelEnable: contract.LabelEnableValue})
	wf.SetAnnotations(map[string]string{contract.AnnotationPlacement: "workflow-placement"})
	return wf
}

// removeAll deletes the Workflows and waits until they are gone everywhere, so that the next round starts from nothing.
func removeAll(b *testing.B, from ...*lab.Cluster) {
	b.Helper()
	for _, c := range from {
		list, err := workflows(b, c).List(context.Background(), metav1.ListOptions{})
		require.NoError(b, err)
		group, ctx := errgroup.WithContext(context.Background())
		group.SetLimit(creators)
		for _, wf := range list.Items {
			group.Go(func() error { return workflows(b, c).Delete(ctx, wf.GetName(), metav1.DeleteOptions{}) })
		}
		require.NoError(b, group.Wait())
	}
	for _, c := range append([]*lab.Cluster{benchLab.Hub()}, benchLab.Managed()...) {
		require.Eventually(b, func() bool {
			list, err := workflows(b, c).List(context.Background(), metav1.ListOptions{})
			return err == nil && len(list.Items) == 0
		}, patience, 200*time.Millisecond, "Workflows on %s", c.Name)
	}
}
