package score

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	clusterv1alpha1 "open-cluster-management.io/api/cluster/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

var testNow = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// writerEnv is a Writer with a hub that answers nothing but writes of a status.
type writerEnv struct {
	*Writer
	t        *testing.T
	registry *prometheus.Registry
	clock    *clocktesting.FakeClock
	// writes are the patches that were sent; answer, if there is one, is the hub's.
	writes []clusterv1alpha1.AddOnPlacementScoreStatus
	answer error
}

func newWriterEnv(t *testing.T) *writerEnv {
	t.Helper()
	registry := prometheus.NewRegistry()
	metrics, err := NewMetrics(registry)
	require.NoError(t, err)
	scheme := runtime.NewScheme()
	require.NoError(t, clusterv1alpha1.Install(scheme))
	e := &writerEnv{t: t, registry: registry, clock: clocktesting.NewFakeClock(testNow)}
	hub := interceptor.NewClient(fake.NewClientBuilder().WithScheme(scheme).Build(), interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return errors.New("it may not read")
		},
		SubResourcePatch: func(
			_ context.Context, _ client.Client, sub string, obj client.Object, patch client.Patch, _ ...client.SubResourcePatchOption,
		) error {
			assert.Equal(t, []string{"status", "cluster1", "argo-workflows"}, []string{sub, obj.GetNamespace(), obj.GetName()})
			assert.Equal(t, types.MergePatchType, patch.Type())
			data, err := patch.Data(obj)
			require.NoError(t, err)
			content := clusterv1alpha1.AddOnPlacementScore{}
			require.NoError(t, json.Unmarshal(data, &content))
			e.writes = append(e.writes, content.Status)
			return e.answer
		},
	})
	e.Writer = &Writer{Hub: hub, ClusterName: "cluster1", Managed: newTestCluster(t, e.clock), Clock: e.clock, Metrics: metrics}
	return e
}

// after lets time pass and has the writer look, and returns after how long it will look again.
func (e *writerEnv) after(passed time.Duration) time.Duration {
	e.clock.SetTime(e.clock.Now().Add(passed))
	return e.step(e.t.Context())
}

// metric returns the value of a metric, with this label if it has one.
func (e *writerEnv) metric(name string, label ...string) float64 {
	e.t.Helper()
	families, err := e.registry.Gather()
	require.NoError(e.t, err)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == "argo_multicluster_agent_"+name && (len(label) == 0 || metric.GetLabel()[0].GetValue() == label[0]) {
				return metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
			}
		}
	}
	e.t.Fatalf("there is no metric %s", name)
	return 0
}

func (e *writerEnv) last() clusterv1alpha1.AddOnPlacementScoreStatus {
	e.t.Helper()
	require.NotEmpty(e.t, e.writes)
	return e.writes[len(e.writes)-1]
}

func TestTheHubIsToldWhatTheClusterHas(t *testing.T) {
	e := newWriterEnv(t)
	assert.Equal(t, renewInterval, e.after(0))
	assert.Empty(t, e.writes, "nothing is listed yet")

	e.Managed.lists(t, newNode("a", list("4", "8Gi", "10")), newPod("p", "a", list("1", "2Gi", "")), newWorkflow("w", "Running"))
	assert.Equal(t, renewInterval, e.after(time.Second))
	require.Len(t, e.writes, 1)
	assert.Equal(t, []clusterv1alpha1.AddOnPlacementScoreItem{
		{Name: "cpuFree", Value: 50}, {Name: "memoryFree", Value: 50}, {Name: "podsFree", Value: 80},
		{Name: "workflowsRunning", Value: 80}, {Name: "workflowsPending", Value: 100},
	}, e.last().Scores)
	assert.WithinDuration(t, e.clock.Now().Add(5*time.Minute), e.last().ValidUntil.Time, 0)
	require.Len(t, e.last().Conditions, 1)
	assert.Equal(t, contract.ConditionMeasured, e.last().Conditions[0].Type)
	capacity, err := contract.ReadCapacity(e.last().Conditions[0].Message)
	require.NoError(t, err)
	assert.Equal(t, contract.Resources{MilliCPU: 3000, Memory: 6 << 30, Pods: 9}, capacity.Free)

	require.NoError(t, e.Managed.pods.Add(newPod("q", "a", list("100m", "", ""))))
	assert.Equal(t, 4*time.Second, e.after(time.Second), "a tenth of the pods: soon")
	assert.Len(t, e.writes, 1)
	assert.Equal(t, renewInterval, e.after(4*time.Second))
	assert.Len(t, e.writes, 2)
	assert.Equal(t, time.Minute, e.after(time.Minute))
	assert.Equal(t, renewInterval, e.after(time.Minute))
	assert.Len(t, e.writes, 3, "the same again, valid for longer")
	assert.InDelta(t, 2.9, e.metric("free_cpu_cores"), 1e-9)
	assert.InDelta(t, 6<<30, e.metric("free_memory_bytes"), 1e-9)
	assert.InDelta(t, 3, e.metric("score_writes_total", "written"), 0)
}

func TestTheHubIsToldWhyNothingIsMeasured(t *testing.T) {
	e := newWriterEnv(t)
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "nodes"}, "", errors.New("no right"))
	e.Managed.nodes.fail(t.Context(), forbidden)
	e.after(0)
	condition := e.last().Conditions[0]
	assert.Equal(t, []any{metav1.ConditionFalse, "Forbidden", "cannot watch nodes: " + forbidden.Error()},
		[]any{condition.Status, condition.Reason, condition.Message})
	assert.Empty(t, e.last().Scores)
	assert.True(t, condition.LastTransitionTime.Time.Equal(testNow))

	e.after(2 * time.Minute)
	assert.Len(t, e.writes, 2)
	assert.True(t, e.last().Conditions[0].LastTransitionTime.Time.Equal(testNow), "it has been so since then")

	e.Managed.lists(t)
	e.after(5 * time.Second)
	assert.Equal(t, metav1.ConditionTrue, e.last().Conditions[0].Status)
	assert.True(t, e.last().Conditions[0].LastTransitionTime.Time.Equal(e.clock.Now()))
	assert.Len(t, e.last().Scores, 5)
}

func TestAReasonIsAlwaysOneThatAConditionTakes(t *testing.T) {
	assert.Equal(t, "Unavailable", figuresOf(contract.Capacity{}, errors.New("connection refused")).reason)
	long := figuresOf(contract.Capacity{}, errors.New(string(make([]byte, 1<<20))))
	assert.Len(t, long.message, maxMessage)
}

func TestAWriteThatFailsIsTriedAgainLessAndLessOften(t *testing.T) {
	for name, test := range map[string]struct {
		answer error
		result string
	}{
		"because the hub has not made the score": {apierrors.NewNotFound(schema.GroupResource{}, "argo-workflows"), "missing"},
		"because it may not be written":          {apierrors.NewForbidden(schema.GroupResource{}, "", nil), "failed"},
		"because the hub is away":                {errors.New("refused"), "failed"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newWriterEnv(t)
			e.Managed.lists(t)
			e.answer = test.answer
			var delays []time.Duration
			next := e.after(0)
			for range 7 {
				delays = append(delays, next/time.Second)
				require.NoError(t, e.Managed.nodes.Add(newNode(next.String(), list("4", "8Gi", "10"))))
				assert.Equal(t, time.Millisecond, e.after(next-time.Millisecond), "whatever changes")
				next = e.after(time.Millisecond)
			}
			assert.Equal(t, []time.Duration{1, 2, 4, 8, 16, 30, 30}, delays)
			assert.Len(t, e.writes, 8)
			assert.InDelta(t, 8, e.metric("score_writes_total", test.result), 0)

			e.answer = nil
			assert.Equal(t, renewInterval, e.after(next))
			e.answer = test.answer
			assert.Equal(t, time.Second, e.after(renewInterval), "from the beginning")
		})
	}
}

func TestTheWriterEndsWithItsContext(t *testing.T) {
	e := newWriterEnv(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Start(ctx) }()
	cancel()
	require.NoError(t, <-done)
}
