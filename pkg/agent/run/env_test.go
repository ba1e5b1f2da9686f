package run

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllertest"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// env is a Reconciler between two fake API servers. The managed cluster's cache shows, as the real one, only what has
// the cluster's label. What the fakes lack is left to the integration tests: the immutability of remoteUID, which is a
// rule in the CRD, and the check of a patch's UID.
type env struct {
	*Reconciler
	t        *testing.T
	events   chan string
	clock    *clocktesting.FakePassiveClock
	registry *prometheus.Registry
	hub      client.WithWatch
	managed  client.WithWatch

	// hubWrites and managedWrites are the patches that were sent, and managedDeletes the deletions.
	hubWrites, managedWrites []map[string]any
	managedDeletes           []client.DeleteOptions
	// hubFails and managedFails answer a patch or, if it is nil, a read of the named kind, instead of the fake.
	hubFails     func(patch []byte) error
	managedFails func(patch []byte) error
	liveFails    func() error
	// deleteFails answers a deletion, instead of the fake.
	deleteFails error
	// hubLiveFails and hubLiveShows answer a read from the hub's API server, instead of the fake; hubAsked counts these.
	hubLiveFails func() error
	hubLiveShows *v1alpha1.RemoteWorkflow
	hubAsked     int
	// hubShows is what the hub's cache shows of the RemoteWorkflow, if it lags.
	hubShows *v1alpha1.RemoteWorkflow
	// managedShows is what the managed cluster's cache shows of the copy, if it lags.
	managedShows *unstructured.Unstructured
}

func newEnv(t *testing.T, objects ...client.Object) *env {
	t.Helper()
	registry := prometheus.NewRegistry()
	metrics, err := NewMetrics(registry)
	require.NoError(t, err)
	recorder := events.NewFakeRecorder(100)
	e := &env{t: t, events: recorder.Events, clock: clocktesting.NewFakePassiveClock(testNow), registry: registry}
	e.build(objects)
	e.Reconciler = &Reconciler{
		Hub: interceptor.NewClient(e.hub, interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
				if err := fail(e.hubFails, nil); err != nil {
					return err
				}
				if e.hubShows != nil {
					e.hubShows.DeepCopyInto(obj.(*v1alpha1.RemoteWorkflow))
					return nil
				}
				if err := c.Get(ctx, key, obj, opts...); err != nil {
					return err
				}
				_, err := Trim(obj)
				return err
			},
			SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
				data := e.record(&e.hubWrites, obj, patch)
				if err := fail(e.hubFails, data); err != nil {
					return err
				}
				return c.SubResource(sub).Patch(ctx, obj, patch, opts...)
			},
		}),
		Managed: interceptor.NewClient(e.managed, interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
				if err := fail(e.managedFails, nil); err != nil {
					return err
				}
				if e.managedShows != nil {
					e.managedShows.DeepCopyInto(obj.(*unstructured.Unstructured))
					return nil
				}
				if err := c.Get(ctx, key, obj, opts...); err != nil {
					return err
				}
				if obj.GetLabels()[contract.LabelCluster] != testCluster {
					return apierrors.NewNotFound(contract.WorkflowGVR.GroupResource(), key.Name)
				}
				return nil
			},
			Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
				data := e.record(&e.managedWrites, obj, patch)
				if err := fail(e.managedFails, data); err != nil {
					return err
				}
				return c.Patch(ctx, obj, patch, opts...)
			},
			Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
				e.managedDeletes = append(e.managedDeletes, *(&client.DeleteOptions{}).ApplyOptions(opts))
				if e.deleteFails != nil {
					return e.deleteFails
				}
				return c.Delete(ctx, obj, opts...)
			},
		}),
		Live: interceptor.NewClient(e.managed, interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
				if e.liveFails != nil {
					return e.liveFails()
				}
				return c.Get(ctx, key, obj, opts...)
			},
		}),
		HubLive: interceptor.NewClient(e.hub, interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
				e.hubAsked++
				if e.hubLiveFails != nil {
					if err := e.hubLiveFails(); err != nil {
						return err
					}
				}
				if e.hubLiveShows != nil {
					e.hubLiveShows.DeepCopyInto(obj.(*v1alpha1.RemoteWorkflow))
					return nil
				}
				return c.Get(ctx, key, obj, opts...)
			},
		}),
		HubID:    "hub-id",
		Recorder: recorder,
		Clock:    e.clock,
		Metrics:  metrics,
		Pacer:    NewPacer(testInterval, 0),
	}
	return e
}

func (e *env) build(objects []client.Object) {
	scheme := runtime.NewScheme()
	require.NoError(e.t, v1alpha1.AddToScheme(scheme))
	hub := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.RemoteWorkflow{})
	managedScheme := runtime.NewScheme()
	require.NoError(e.t, corev1.AddToScheme(managedScheme))
	managed := fake.NewClientBuilder().WithScheme(managedScheme).
		WithIndex(contract.NewWorkflow(), indexRemoteWorkflow, remoteWorkflowOf)
	for _, obj := range objects {
		switch obj.(type) {
		case *unstructured.Unstructured, *corev1.Pod:
			managed = managed.WithObjects(obj)
		default:
			hub = hub.WithObjects(obj)
		}
	}
	e.hub, e.managed = hub.Build(), managed.Build()
}

func fail(with func([]byte) error, patch []byte) error {
	if with == nil {
		return nil
	}
	return with(patch)
}

func (e *env) record(writes *[]map[string]any, obj client.Object, patch client.Patch) []byte {
	e.t.Helper()
	data, err := patch.Data(obj)
	require.NoError(e.t, err)
	content := map[string]any{}
	require.NoError(e.t, json.Unmarshal(data, &content))
	*writes = append(*writes, content)
	return data
}

// reconcile reconciles once, and requires success.
func (e *env) reconcile() reconcile.Result {
	e.t.Helper()
	result, err := e.tryReconcile()
	require.NoError(e.t, err)
	return result
}

// reconcileInTime reconciles, and once more when it was asked to.
func (e *env) reconcileInTime() {
	e.t.Helper()
	e.clock.SetTime(e.clock.Now().Add(e.reconcile().RequeueAfter))
	e.reconcile()
}

func (e *env) tryReconcile() (reconcile.Result, error) {
	return e.Reconcile(e.t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(newRemote())})
}

// reconcileAfter reconciles what a change of the copy, seen on the managed cluster, leads to.
func (e *env) reconcileAfter(before, after *unstructured.Unstructured) {
	e.t.Helper()
	queue := &controllertest.Queue{TypedInterface: workqueue.NewTyped[reconcile.Request]()}
	defer queue.ShutDown()
	workflowHandler(testCluster).Update(e.t.Context(),
		event.TypedUpdateEvent[*unstructured.Unstructured]{ObjectOld: before, ObjectNew: after}, queue)
	for queue.Len() > 0 {
		request, _ := queue.Get()
		_, err := e.Reconcile(e.t.Context(), request)
		require.NoError(e.t, err)
		queue.Done(request)
	}
}

// remote returns the RemoteWorkflow as the hub has it.
func (e *env) remote() *v1alpha1.RemoteWorkflow {
	e.t.Helper()
	rw := &v1alpha1.RemoteWorkflow{}
	require.NoError(e.t, e.hub.Get(e.t.Context(), client.ObjectKeyFromObject(newRemote()), rw))
	return rw
}

// workflow returns the copy as the managed cluster has it, or nil.
func (e *env) workflow() *unstructured.Unstructured {
	e.t.Helper()
	wf := contract.NewWorkflow()
	err := e.managed.Get(e.t.Context(), client.ObjectKey{Namespace: "default", Name: "demo"}, wf)
	if apierrors.IsNotFound(err) {
		return nil
	}
	require.NoError(e.t, err)
	return wf
}

// change changes the copy, as Argo or a user would.
func (e *env) change(mods ...workflowMod) {
	e.t.Helper()
	wf := e.workflow()
	for _, mod := range mods {
		mod(wf)
	}
	require.NoError(e.t, e.managed.Update(e.t.Context(), wf))
}

// said returns the Events so far.
func (e *env) said() []string {
	var said []string
	for len(e.events) > 0 {
		said = append(said, <-e.events)
	}
	return said
}

// requireReported requires that the RemoteWorkflow holds exactly the copy's status.
func (e *env) requireReported() {
	e.t.Helper()
	rw, wf := e.remote(), e.workflow()
	require.NotNil(e.t, rw.Status.Report)
	data, err := contract.EncodeStatus(contract.Status(wf))
	require.NoError(e.t, err)
	assert.Equal(e.t, data, rw.Status.Report.Data)
	assert.Equal(e.t, contract.Phase(wf), rw.Status.Phase)
}

// requireReportOfTheRun requires that the report says to be of the run that the RemoteWorkflow stands for.
func (e *env) requireReportOfTheRun() {
	e.t.Helper()
	rw := e.remote()
	require.NotNil(e.t, rw.Status.Report)
	assert.Equal(e.t, rw.Spec.WorkflowRef.UID, rw.Status.Report.WorkflowUID)
	assert.Equal(e.t, rw.Spec.Attempt, rw.Status.Report.Attempt)
	assert.Equal(e.t, testUID, rw.Status.Report.RemoteUID)
}

// requireGone requires that the RemoteWorkflow says, for this reason, that its remote Workflow is gone.
func (e *env) requireGone(reason string) {
	e.t.Helper()
	gone := meta.FindStatusCondition(e.remote().Status.Conditions, v1alpha1.ConditionRemoteDeleted)
	require.NotNil(e.t, gone)
	assert.Equal(e.t, metav1.ConditionTrue, gone.Status)
	assert.Equal(e.t, reason, gone.Reason)
}

// count returns the value of a counter, with this label if it has one; 0 if it has not counted yet.
func (e *env) count(name string, label ...string) int {
	e.t.Helper()
	families, err := e.registry.Gather()
	require.NoError(e.t, err)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == "argo_multicluster_agent_"+name && (len(label) == 0 || metric.GetLabel()[0].GetValue() == label[0]) {
				return int(metric.GetCounter().GetValue())
			}
		}
	}
	return 0
}
