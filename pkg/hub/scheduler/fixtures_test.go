package scheduler

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clocktesting "k8s.io/utils/clock/testing"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	clusterv1alpha1 "open-cluster-management.io/api/cluster/v1alpha1"
	clusterv1beta1 "open-cluster-management.io/api/cluster/v1beta1"
	clusterv1beta2 "open-cluster-management.io/api/cluster/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/podrequests"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// harness is a scheduler with a hub in memory, whose events the test delivers.
type harness struct {
	*Scheduler
	t     *testing.T
	hub   *fakehub.Hub
	clock *clocktesting.FakePassiveClock
}

// newHarness returns a scheduler that has been told of these objects; of two of the same name, of the last.
func newHarness(t *testing.T, objects ...client.Object) *harness {
	t.Helper()
	objects = lastOfEach(objects)
	clock := clocktesting.NewFakePassiveClock(gen.Time.Time)
	h := &harness{t: t, hub: fakehub.New(t, nil, objects...), clock: clock}
	h.Scheduler = &Scheduler{Client: h.hub, Recorder: h.hub.Recorder, HubID: gen.HubID, Clock: clock, Concurrency: 1}
	h.start(objects...)
	return h
}

func lastOfEach(objects []client.Object) []client.Object {
	var out []client.Object
	for _, object := range objects {
		out = slices.DeleteFunc(out, func(other client.Object) bool {
			return reflect.TypeOf(other) == reflect.TypeOf(object) && client.ObjectKeyFromObject(other) == client.ObjectKeyFromObject(object)
		})
		out = append(out, object)
	}
	return out
}

// start lets the scheduler begin anew and tells it of these objects.
func (h *harness) start(objects ...client.Object) {
	h.t.Helper()
	h.init()
	close(h.fed)
	for _, object := range objects {
		if wf, ok := object.(*unstructured.Unstructured); ok && wf.GetKind() == contract.WorkflowGVK.Kind {
			require.True(h.t, h.hub.Show(wf))
		}
		h.told(nil, object)
	}
}

// told delivers an event: was is nil for a new object, is for one that is gone.
func (h *harness) told(was, is client.Object) {
	either := is
	if either == nil {
		either = was
	}
	switch either.(type) {
	case *unstructured.Unstructured:
		changed := h.workflowChanged
		if either.GetObjectKind().GroupVersionKind() != contract.WorkflowGVK {
			changed = h.templateChanged
		}
		deliver(changed, trimmed(h.t, was), trimmed(h.t, is))
	case *v1alpha1.RemoteWorkflow:
		deliver(h.remoteWorkflowChanged, was, is)
	case *clusterv1.ManagedCluster:
		deliver(h.managedClusterChanged, was, is)
	case *addonv1beta1.ManagedClusterAddOn:
		deliver(h.addonChanged, was, is)
	case *clusterv1alpha1.AddOnPlacementScore:
		deliver(h.scoreChanged, was, is)
	case *clusterv1beta1.Placement:
		deliver(h.placementChanged, was, is)
	case *clusterv1beta1.PlacementDecision:
		deliver(h.decisionsChanged, was, is)
	case *clusterv1beta2.ManagedClusterSetBinding:
		deliver(h.bindingChanged, was, is)
	case *clusterv1beta2.ManagedClusterSet:
		deliver(h.clusterSetChanged, was, is)
	default:
		require.Failf(h.t, "nobody watches it", "%T", either)
	}
}

func deliver[T client.Object](changed func(was, is T), was, is client.Object) {
	before, _ := was.(T)
	after, _ := is.(T)
	changed(before, after)
}

// trimmed returns a Workflow, or a template, as the manager's cache has it.
func trimmed(t *testing.T, obj client.Object) client.Object {
	t.Helper()
	if obj == nil {
		return nil
	}
	trim := hubworkflow.Trim
	if obj.GetObjectKind().GroupVersionKind() != contract.WorkflowGVK {
		trim = podrequests.Trim
	}
	out, err := trim(obj)
	require.NoError(t, err)
	return out.(client.Object)
}

// try lets the scheduler try the first of its queue, if there is one, and delivers what came of it.
func (h *harness) try(ctx context.Context) bool {
	t, _ := h.next(ctx)
	if t == nil {
		return false
	}
	h.finish(t, h.write(ctx, t))
	h.show(t.wf.Unstructured)
	return true
}

// show delivers what has become of a Workflow, and returns it.
func (h *harness) show(was *unstructured.Unstructured) *unstructured.Unstructured {
	is := contract.NewWorkflow()
	is.SetNamespace(was.GetNamespace())
	is.SetName(was.GetName())
	if !h.hub.Show(is) {
		h.told(was, nil)
		return nil
	}
	if is.GetResourceVersion() != was.GetResourceVersion() {
		h.told(was, is)
	}
	return is
}

// run tries until there is nothing to do, and returns how often that was.
func (h *harness) run() int {
	h.t.Helper()
	tries := 0
	for h.try(h.t.Context()) {
		tries++
		require.Less(h.t, tries, 10_000, "it never ends")
	}
	return tries
}

// later lets time pass.
func (h *harness) later(by time.Duration) { h.clock.SetTime(h.clock.Now().Add(by)) }

// messageOf returns what a Workflow says.
func (h *harness) messageOf(wf *unstructured.Unstructured) string {
	h.t.Helper()
	require.True(h.t, h.hub.Show(wf))
	return contract.StatusString(contract.Status(wf), "message")
}

// clusterOf returns the cluster that a Workflow was assigned.
func (h *harness) clusterOf(wf *unstructured.Unstructured) string {
	h.t.Helper()
	require.True(h.t, h.hub.Show(wf))
	return contract.AssignedCluster(wf)
}

// surroundings are two clusters with the addon that are open to the namespace, and a Placement that selects both.
func surroundings() []client.Object {
	return append(open(),
		gen.ManagedCluster("cluster1"), gen.ManagedClusterAddOn("cluster1"),
		gen.ManagedCluster("cluster2"), gen.ManagedClusterAddOn("cluster2"),
		gen.Placement("anywhere"), gen.PlacementDecision("anywhere", 1, []string{"cluster1", "cluster2"}),
	)
}

// open opens all clusters to the namespace.
func open() []client.Object {
	return []client.Object{gen.ManagedClusterSet(gen.GlobalSet), gen.ManagedClusterSetBinding(gen.GlobalSet)}
}

func workflows(count int, mods ...gen.Mod) []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for i := range count {
		out = append(out, gen.Workflow(fmt.Sprintf("hello-%d", i), mods...))
	}
	return out
}

func objects(lists ...any) []client.Object {
	var out []client.Object
	for _, list := range lists {
		switch typed := list.(type) {
		case []client.Object:
			out = append(out, typed...)
		case []*unstructured.Unstructured:
			for _, wf := range typed {
				out = append(out, wf)
			}
		case client.Object:
			out = append(out, typed)
		}
	}
	return out
}
