package bench

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	workv1 "open-cluster-management.io/api/work/v1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

const (
	// burst is the number of Workflows that BenchmarkBurst creates at once; creators do it in parallel.
	burst    = 300
	creators = 8
	// singles is the number of Workflows that BenchmarkLatency sends one after the other.
	singles = 20
)

// BenchmarkBurst creates a burst of small Workflows on the managed clusters directly, and then the same on the hub. It
// reports how long it takes until all have finished, as seen where they were created, and the ratio.
func BenchmarkBurst(b *testing.B) {
	for b.Loop() {
		direct := directBurst(b)
		hub := hubBurst(b)
		b.ReportMetric(direct.Seconds(), "direct-s")
		b.ReportMetric(hub.Seconds(), "hub-s")
		b.ReportMetric(hub.Seconds()/direct.Seconds(), "hub/direct")
	}
}

func directBurst(b *testing.B) time.Duration {
	b.Helper()
	managed := benchLab.Managed()
	var observers []*observer
	var targets []dynamic.ResourceInterface
	for _, c := range managed {
		observers = append(observers, observe(b, c))
		targets = append(targets, workflows(b, c))
	}
	began := time.Now()
	create(b, func(ctx context.Context, i int) error {
		_, err := targets[i%len(targets)].Create(ctx, small(fmt.Sprintf("direct-%03d", i)), metav1.CreateOptions{})
		return err
	})
	took := waitFinished(b, burst, observers...).Sub(began)
	removeAll(b, managed...)
	return took
}

// BenchmarkOCM sends the same burst with OCM alone, in a ManifestWork for each Workflow, until all have finished on the
// managed clusters: the part of BenchmarkBurst that is not this project's.
func BenchmarkOCM(b *testing.B) {
	managed := benchLab.Managed()
	client := dynamicClient(b, benchLab.Hub()).Resource(schema.GroupVersion(workv1.GroupVersion).WithResource("manifestworks"))
	works := func(i int) dynamic.ResourceInterface { return client.Namespace(managed[i%len(managed)].Name) }
	for b.Loop() {
		var observers []*observer
		for _, c := range managed {
			observers = append(observers, observe(b, c))
		}
		began := time.Now()
		create(b, func(ctx context.Context, i int) error {
			_, err := works(i).Create(ctx, manifestWork(small(fmt.Sprintf("ocm-%03d", i))), metav1.CreateOptions{})
			return err
		})
		b.ReportMetric(waitFinished(b, burst, observers...).Sub(began).Seconds(), "ocm-s")
		create(b, func(ctx context.Context, i int) error {
			return works(i).Delete(ctx, fmt.Sprintf("ocm-%03d", i), metav1.DeleteOptions{})
		})
		removeAll(b)
	}
}

// manifestWork returns what creates the Workflow in the default namespace of a managed cluster, once.
func manifestWork(wf *unstructured.Unstructured) *unstructured.Unstructured {
	wf.SetNamespace(metav1.NamespaceDefault)
	work := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"workload": map[string]any{"manifests": []any{wf.Object}},
		"manifestConfigs": []any{map[string]any{
			"resourceIdentifier": map[string]any{
				"group": contract.WorkflowGVR.Group, "resource": contract.WorkflowGVR.Resource,
				"namespace": wf.GetNamespace(), "name": wf.GetName(),
			},
			"updateStrategy": map[string]any{"type": string(workv1.UpdateStrategyTypeCreateOnly)},
		}},
	}}}
	work.SetGroupVersionKind(schema.GroupVersion(workv1.GroupVersion).WithKind("ManifestWork"))
	work.SetName(wf.GetName())
	return work
}

func hubBurst(b *testing.B) time.Duration {
	b.Helper()
	hub := observe(b, benchLab.Hub())
	target := workflows(b, benchLab.Hub())
	began := time.Now()
	create(b, func(ctx context.Context, i int) error {
		_, err := target.Create(ctx, dispatched(fmt.Sprintf("hub-%03d", i)), metav1.CreateOptions{})
		return err
	})
	took := waitFinished(b, burst, hub).Sub(began)
	removeAll(b, benchLab.Hub())
	return took
}

func create(b *testing.B, one func(ctx context.Context, i int) error) {
	b.Helper()
	group, ctx := errgroup.WithContext(context.Background())
	group.SetLimit(creators)
	for i := range burst {
		group.Go(func() error { return one(ctx, i) })
	}
	require.NoError(b, group.Wait())
}

// BenchmarkLatency sends one Workflow at a time through an idle system, and reports the medians of the time from its
// creation on the hub to the existence and to the start of the copy, and from the copy's end to that of the hub's copy.
func BenchmarkLatency(b *testing.B) {
	hub := observe(b, benchLab.Hub())
	var managed []*observer
	for _, c := range benchLab.Managed() {
		managed = append(managed, observe(b, c))
	}
	target := workflows(b, benchLab.Hub())
	for b.Loop() {
		var exists, starts, returns []time.Duration
		for i := range singles {
			name := fmt.Sprintf("single-%02d", i)
			created := time.Now()
			_, err := target.Create(context.Background(), dispatched(name), metav1.CreateOptions{})
			require.NoError(b, err)
			waitFinished(b, i+1, hub)
			hub.mu.Lock()
			for _, o := range managed {
				o.mu.Lock()
				if at, here := o.existed[name]; here {
					exists = append(exists, at.Sub(created))
					starts = append(starts, o.started[name].Sub(created))
					returns = append(returns, hub.finished[name].Sub(o.finished[name]))
				}
				o.mu.Unlock()
			}
			hub.mu.Unlock()
			// Idle again: the work agent's own reports to the hub are done, too.
			time.Sleep(300 * time.Millisecond) //nolint:forbidigo // what is measured is an idle system
		}
		require.Len(b, exists, singles)
		b.ReportMetric(median(exists), "create-to-exists-ms")
		b.ReportMetric(median(starts), "create-to-start-ms")
		b.ReportMetric(median(returns), "end-to-hub-ms")
	}
	removeAll(b, benchLab.Hub())
}

// median returns the middle one of the durations, in milliseconds.
func median(durations []time.Duration) float64 {
	slices.Sort(durations)
	return float64(durations[len(durations)/2].Microseconds()) / 1000
}
