// Package fakehub is a hub in memory for the tests of its reconcilers. It records what a reconciler writes, in order,
// and lets a test step in:
//
//	hub := fakehub.New(t, addIndexes, wf, rw)
//	hub.Fail("patch Workflow", fakehub.Conflict())
//	hub.Lag("list RemoteWorkflow")
//	…
//	assert.Equal(t, []string{"patch Workflow default/hello"}, hub.Writes())
package fakehub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	clusterv1alpha1 "open-cluster-management.io/api/cluster/v1alpha1"
	clusterv1beta1 "open-cluster-management.io/api/cluster/v1beta1"
	clusterv1beta2 "open-cluster-management.io/api/cluster/v1beta2"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// Write is a request that changes the hub.
type Write struct {
	Verb, Kind string
	Key        client.ObjectKey
	// PatchType and Body belong to a patch.
	PatchType types.PatchType
	Body      []byte
	// UID and ResourceVersion are the preconditions of a deletion, Propagation is how it goes on.
	UID             types.UID
	ResourceVersion string
	Propagation     metav1.DeletionPropagation
}

// String returns "<verb> <kind> <namespace>/<name>".
func (w Write) String() string { return fmt.Sprintf("%s %s %s", w.Verb, w.Kind, w.Key) }

// Hub is the client of a reconciler: it reads as from a cache, and writes.
type Hub struct {
	client.WithWatch
	// Live reads from the API server. Its calls are named "live get <kind>" and so on.
	Live client.Reader
	// Recorder takes Events.
	Recorder *events.FakeRecorder
	// Now is when things are created, if a test says so.
	Now func() time.Time

	t      *testing.T
	server client.WithWatch
	// kinds are the types. The fake client adds untyped ones to its own scheme as it goes.
	kinds  *runtime.Scheme
	mu     sync.Mutex
	writes []Write
	calls  []string
	hooks  map[string]func() error
	lags   map[string]bool
	// generated counts the names that were generated.
	generated int
}

// AddIndexes adds the indexes that a reconciler needs; nil for none.
type AddIndexes func(context.Context, client.FieldIndexer) error

// New returns a hub that has these objects.
func New(t *testing.T, indexes AddIndexes, objects ...client.Object) *Hub {
	t.Helper()
	// The tracker would change what the test goes on using.
	copies := make([]client.Object, 0, len(objects))
	for _, object := range objects {
		copies = append(copies, object.DeepCopyObject().(client.Object))
	}
	builder := fake.NewClientBuilder().WithScheme(newScheme(t)).
		WithStatusSubresource(&v1alpha1.RemoteWorkflow{}, &workv1.ManifestWork{}).
		WithObjects(copies...)
	if indexes != nil {
		require.NoError(t, indexes(t.Context(), indexer{builder}))
	}
	hub := &Hub{
		Recorder: events.NewFakeRecorder(100),
		kinds:    newScheme(t),
		t:        t, server: builder.Build(), hooks: map[string]func() error{}, lags: map[string]bool{},
	}
	hub.WithWatch = interceptor.NewClient(hub.server, hub.cached())
	hub.Live = interceptor.NewClient(hub.server, hub.live())
	return hub
}

func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		v1alpha1.AddToScheme, workv1.Install, addonv1beta1.Install, clusterv1.Install, clusterv1alpha1.Install,
		clusterv1beta1.Install, clusterv1beta2.Install,
	} {
		require.NoError(t, add(scheme))
	}
	return scheme
}

type indexer struct{ builder *fake.ClientBuilder }

// IndexField implements client.FieldIndexer.
func (i indexer) IndexField(_ context.Context, obj client.Object, field string, extract client.IndexerFunc) error {
	i.builder.WithIndex(obj, field, extract)
	return nil
}

// On calls step before each call of this name, "<verb> <kind>"; if it returns an error, that is the answer.
func (h *Hub) On(call string, step func() error) {
	h.hooks[call] = step
}

// Fail answers each call of this name, "<verb> <kind>", with the error.
func (h *Hub) Fail(call string, err error) {
	h.On(call, func() error { return err })
}

// Lag makes a call, "get <kind>" or "list <kind>", find nothing: the cache does not show yet what is there.
func (h *Hub) Lag(call string) {
	h.lags[call] = true
}

// Writes returns what has been written, or tried, in order.
func (h *Hub) Writes() []string {
	var writes []string
	for _, write := range h.requests() {
		writes = append(writes, write.String())
	}
	return writes
}

func (h *Hub) requests() []Write {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.writes)
}

// Last returns the last request of this verb and kind.
func (h *Hub) Last(call string) Write {
	h.t.Helper()
	for _, write := range slices.Backward(h.requests()) {
		if write.Verb+" "+write.Kind == call {
			return write
		}
	}
	require.Failf(h.t, "nothing of the kind was written", "want %s, got %v", call, h.Writes())
	return Write{}
}

// PatchOf returns the last patch of a kind, decoded.
func (h *Hub) PatchOf(kind string) any {
	h.t.Helper()
	var patch any
	require.NoError(h.t, json.Unmarshal(h.Last("patch "+kind).Body, &patch))
	return patch
}

// Calls returns how often this call was made.
func (h *Hub) Calls(call string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	count := 0
	for _, c := range h.calls {
		if c == call {
			count++
		}
	}
	return count
}

// Events returns the Events since the last time, as "<type> <reason> <note>".
func (h *Hub) Events() []string {
	var events []string
	for len(h.Recorder.Events) > 0 {
		events = append(events, <-h.Recorder.Events)
	}
	return events
}

// Show reads an object, past the cache and unrecorded, and reports whether it is there.
func (h *Hub) Show(obj client.Object) bool {
	h.t.Helper()
	err := h.server.Get(h.t.Context(), client.ObjectKeyFromObject(obj), obj)
	require.NoError(h.t, client.IgnoreNotFound(err))
	return err == nil
}

// Counted returns the value of a counter or a gauge of the hub's as it is scraped, of the one with this reason, or other label, if there is
// one.
func Counted(t *testing.T, name, reason string) float64 {
	t.Helper()
	families, err := metrics.Registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if labels := metric.GetLabel(); family.GetName() == name && (reason == "" || labels[0].GetValue() == reason) {
				return metric.GetCounter().GetValue() + metric.GetGauge().GetValue() // it is either
			}
		}
	}
	return 0
}

func (h *Hub) call(name string) error {
	h.mu.Lock()
	h.calls = append(h.calls, name)
	hook := h.hooks[name]
	h.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook()
}

func (h *Hub) write(verb string, obj client.Object, change func(*Write)) error {
	write := Write{Verb: verb, Kind: h.kindOf(obj), Key: client.ObjectKeyFromObject(obj)}
	change(&write)
	h.mu.Lock()
	h.writes = append(h.writes, write)
	h.mu.Unlock()
	return h.call(verb + " " + write.Kind)
}

func (h *Hub) cached() interceptor.Funcs {
	return interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			kind := h.kindOf(obj)
			if err := h.call("get " + kind); err != nil {
				return err
			}
			if h.lags["get "+kind] {
				return apierrors.NewNotFound(schema.GroupResource{Resource: kind}, key.Name)
			}
			return c.Get(ctx, key, obj, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			kind := strings.TrimSuffix(h.kindOf(list), "List")
			if err := h.call("list " + kind); err != nil {
				return err
			}
			if h.lags["list "+kind] {
				return meta.SetList(list, nil)
			}
			return c.List(ctx, list, opts...)
		},
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			if obj.GetName() == "" {
				h.generated++
				obj.SetName(obj.GetGenerateName() + strconv.Itoa(h.generated))
			}
			if err := h.write("create", obj, func(*Write) {}); err != nil {
				return err
			}
			// As an API server does.
			obj.SetUID(types.UID("uid of " + obj.GetName()))
			if h.Now != nil {
				obj.SetCreationTimestamp(metav1.NewTime(h.Now().Truncate(time.Second)))
			}
			return c.Create(ctx, obj, opts...)
		},
		Update: refuseUpdate,
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			body, err := patch.Data(obj)
			if err != nil {
				return err
			}
			if err := h.write("patch", obj, func(w *Write) { w.PatchType, w.Body = patch.Type(), body }); err != nil {
				return err
			}
			return c.Patch(ctx, obj, client.RawPatch(patch.Type(), body), opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			var options client.DeleteOptions
			options.ApplyOptions(opts)
			if err := h.write("delete", obj, func(w *Write) {
				preconditions := ptr.Deref(options.Preconditions, metav1.Preconditions{})
				w.UID, w.ResourceVersion = ptr.Deref(preconditions.UID, ""), ptr.Deref(preconditions.ResourceVersion, "")
				w.Propagation = ptr.Deref(options.PropagationPolicy, "")
			}); err != nil {
				return err
			}
			return c.Delete(ctx, obj, opts...)
		},
	}
}

func refuseUpdate(context.Context, client.WithWatch, client.Object, ...client.UpdateOption) error {
	return errors.New("nothing is ever written as a whole")
}

func (h *Hub) live() interceptor.Funcs {
	return interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			if err := h.call("live get " + h.kindOf(obj)); err != nil {
				return err
			}
			return c.Get(ctx, key, obj, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if err := h.call("live list " + strings.TrimSuffix(h.kindOf(list), "List")); err != nil {
				return err
			}
			metadata, ok := list.(*metav1.PartialObjectMetadataList)
			if !ok {
				return c.List(ctx, list, opts...)
			}
			// The fake client does not reduce what it holds untyped.
			full := &unstructured.UnstructuredList{}
			full.SetGroupVersionKind(metadata.GroupVersionKind())
			selector, err := selectorOf(opts)
			if err != nil {
				return err
			}
			if err := c.List(ctx, full, append(opts, selector)...); err != nil {
				return err
			}
			for i := range full.Items {
				metadata.Items = append(metadata.Items, metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
					Namespace: full.Items[i].GetNamespace(), Name: full.Items[i].GetName(), UID: full.Items[i].GetUID(),
					Labels: full.Items[i].GetLabels(), Finalizers: full.Items[i].GetFinalizers(),
				}})
			}
			return nil
		},
	}
}

// selectorOf returns the selector of labels, which may be in the raw options that the fake client passes over.
func selectorOf(opts []client.ListOption) (client.MatchingLabelsSelector, error) {
	options := (&client.ListOptions{}).ApplyOptions(opts)
	switch {
	case options.LabelSelector != nil:
		return client.MatchingLabelsSelector{Selector: options.LabelSelector}, nil
	case options.Raw == nil:
		return client.MatchingLabelsSelector{Selector: labels.Everything()}, nil
	}
	selector, err := labels.Parse(options.Raw.LabelSelector)
	return client.MatchingLabelsSelector{Selector: selector}, err
}

func (h *Hub) kindOf(obj runtime.Object) string {
	gvk, err := apiutil.GVKForObject(obj, h.kinds)
	if err != nil {
		return fmt.Sprintf("%T", obj)
	}
	return gvk.Kind
}

// Conflict is the answer to a write that is based on an outdated read.
func Conflict() error {
	return apierrors.NewConflict(contract.WorkflowGVR.GroupResource(), "an object", errors.New("it has been modified"))
}
