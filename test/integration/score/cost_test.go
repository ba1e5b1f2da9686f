package score

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	clusterv1alpha1 "open-cluster-management.io/api/cluster/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/agent/score"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/env"
)

// traffic counts the requests that pass, as "<verb> <path>", and the bytes of the answers.
type traffic struct {
	mu       sync.Mutex
	requests []string
	bytes    map[string]int
}

func (tr *traffic) into(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(request)
			if err != nil {
				return nil, err
			}
			verb := strings.ToLower(request.Method)
			if request.Method == http.MethodGet {
				verb = "list"
				if request.URL.Query().Get("watch") == "true" {
					verb = "watch"
				}
			}
			tr.mu.Lock()
			defer tr.mu.Unlock()
			tr.requests = append(tr.requests, verb+" "+request.URL.Path)
			response.Body = &counted{ReadCloser: response.Body, path: request.URL.Path, traffic: tr}
			return response, nil
		})
	})
	return config
}

// since returns the requests from the n-th on.
func (tr *traffic) since(n int) []string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return append([]string{}, tr.requests[n:]...)
}

func (tr *traffic) bytesOf(path string) int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.bytes[path]
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

type counted struct {
	io.ReadCloser
	path    string
	traffic *traffic
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.traffic.mu.Lock()
	defer c.traffic.mu.Unlock()
	c.traffic.bytes[c.path] += n
	return n, err
}

// measures runs the agent's part that measures, with this access to the cluster, until the test ends.
func measures(tb testing.TB, config *rest.Config) {
	tb.Helper()
	httpClient, err := rest.HTTPClientFor(config)
	require.NoError(tb, err)
	measured, err := score.NewCluster(config, httpClient, clock.RealClock{})
	require.NoError(tb, err)
	metrics, err := score.NewMetrics(prometheus.NewRegistry())
	require.NoError(tb, err)
	writer := &score.Writer{Hub: admin, ClusterName: cluster, Managed: measured, Clock: clock.RealClock{}, Metrics: metrics}
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan error, 1)
	go func() { done <- writer.Start(ctx) }()
	tb.Cleanup(func() {
		cancel()
		assert.NoError(tb, <-done)
	})
}

// written waits until the condition on the hub is as asked for, and returns it.
func written(tb testing.TB, is func(metav1.Condition) bool) metav1.Condition {
	tb.Helper()
	var condition *metav1.Condition
	ctx, cancel := context.WithTimeoutCause(tb.Context(), patience, fmt.Errorf("not within %s", patience))
	defer cancel()
	require.NoError(tb, env.Retry(ctx, func() error {
		found := &clusterv1alpha1.AddOnPlacementScore{}
		if err := admin.Get(ctx, client.ObjectKey{Namespace: cluster, Name: contract.ScoreName}, found); err != nil {
			return err
		}
		if condition = meta.FindStatusCondition(found.Status.Conditions, contract.ConditionMeasured); condition == nil {
			return errors.New("there is no condition")
		}
		if !is(*condition) {
			return fmt.Errorf("it is %+v", *condition)
		}
		return nil
	}))
	return *condition
}

func TestWithoutRightsTheHubIsToldWhyNothingIsMeasured(t *testing.T) {
	config, err := server.User("without-rights")
	require.NoError(t, err)
	measures(t, config)
	condition := written(t, func(c metav1.Condition) bool { return c.Reason == string(metav1.StatusReasonForbidden) })
	assert.Equal(t, metav1.ConditionFalse, condition.Status)
	assert.Contains(t, condition.Message, `User "without-rights" cannot list resource`)
}

func TestOnlyWatchesAreOpen(t *testing.T) {
	seen := &traffic{bytes: map[string]int{}}
	measures(t, seen.into(server.Config))
	written(t, func(c metav1.Condition) bool { return c.Status == metav1.ConditionTrue })
	requests := seen.since(0)
	slices.Sort(requests)
	// A server that has just started may refuse the first watch of a custom resource.
	assert.Equal(t, []string{
		"watch /api/v1/nodes", "watch /api/v1/pods", "watch /apis/argoproj.io/v1alpha1/workflows",
	}, slices.Compact(requests), "what there is comes with the watch")
}

// BenchmarkCluster measures a cluster of 100 nodes and 5,000 pods that somebody else has made, and then lets a minute pass:
//
//	go test ./test/integration/score -run '^$' -bench Cluster -benchtime 1x
func BenchmarkCluster(b *testing.B) {
	const nodes, pods = 100, 5000
	fill(b, nodes, pods)
	for b.Loop() {
		seen := &traffic{bytes: map[string]int{}}
		before := heap()
		began := time.Now()
		measures(b, seen.into(server.Config))
		written(b, func(c metav1.Condition) bool {
			capacity, err := contract.ReadCapacity(c.Message)
			return err == nil && capacity.Nodes == nodes && capacity.Free.Pods == capacity.Allocatable.Pods-pods
		})
		b.ReportMetric(time.Since(began).Seconds(), "s/start")
		b.ReportMetric(float64(heap()-before)/1024, "heap-KiB")
		for what, path := range map[string]string{"pods": "/api/v1/pods", "nodes": "/api/v1/nodes"} {
			b.ReportMetric(float64(seen.bytesOf(path))/1024, what+"-KiB")
		}
		asked := len(seen.since(0))
		b.ReportMetric(float64(asked), "requests/start")
		received := seen.bytesOf("/api/v1/pods")
		select {
		case <-b.Context().Done():
		case <-time.After(time.Minute):
		}
		b.ReportMetric(float64(len(seen.since(asked))), "requests/quiet-min")
		b.ReportMetric(float64(seen.bytesOf("/api/v1/pods")-received), "pods-B/quiet-min")
	}
}

// heap returns the bytes that are in use.
func heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// fill makes nodes, and pods on them, with as much beside their requests as pods of Argo have.
func fill(b *testing.B, nodes, pods int) {
	b.Helper()
	var group errgroup.Group
	group.SetLimit(16)
	for i := range nodes {
		group.Go(func() error { return addNode(b.Context(), fmt.Sprintf("node-%d", i)) })
	}
	require.NoError(b, group.Wait())
	for i := range pods {
		group.Go(func() error {
			return admin.Create(b.Context(), newPod(fmt.Sprintf("workflow-%d", i), fmt.Sprintf("node-%d", i%nodes)))
		})
	}
	require.NoError(b, group.Wait())
}

func addNode(ctx context.Context, name string) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := admin.Create(ctx, node); err != nil {
		return err
	}
	node.Spec.Taints = nil // which admission adds to each new one
	if err := admin.Update(ctx, node); err != nil {
		return err
	}
	node.Status.Allocatable = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("16"), corev1.ResourceMemory: resource.MustParse("64Gi"),
		corev1.ResourcePods: resource.MustParse("110"),
	}
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	return admin.Status().Update(ctx, node)
}

func newPod(name, node string) *corev1.Pod {
	container := func(name string) corev1.Container {
		return corev1.Container{
			Name: name, Image: "quay.io/argoproj/argoexec:v3.7.18", Command: []string{"argoexec", name, "--loglevel", "info"},
			Env: []corev1.EnvVar{{Name: "ARGO_TEMPLATE", Value: strings.Repeat("template ", 150)}, {Name: "ARGO_DEADLINE", Value: "none"}},
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
			}},
		}
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: metav1.NamespaceDefault, Name: name, Labels: map[string]string{"workflows.argoproj.io/workflow": name},
			Annotations: map[string]string{"workflows.argoproj.io/node-name": name, "workflows.argoproj.io/node-id": name},
		},
		Spec: corev1.PodSpec{
			NodeName: node, InitContainers: []corev1.Container{container("init")},
			Containers: []corev1.Container{container("wait"), container("main")},
		},
	}
}
