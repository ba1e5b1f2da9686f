package delivery

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	clusterv1beta2 "open-cluster-management.io/api/cluster/v1beta2"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/manifestwork"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// tenant builds the binding that opens the cluster to a namespace, with this executor; "" for none.
func tenant(namespace, executor string, mods ...gen.Mod) *clusterv1beta2.ManagedClusterSetBinding {
	mods = append(mods, gen.InNamespace(namespace))
	if executor != "" {
		mods = append(mods, gen.WithAnnotations(map[string]string{contract.AnnotationExecutor: executor}))
	}
	return gen.ManagedClusterSetBinding(gen.GlobalSet, mods...)
}

// named gives a binding another name than that of its set.
func named(name string) gen.Mod {
	return func(obj client.Object) { obj.SetName(name) }
}

// of builds a Workflow of a namespace that waits for the cluster.
func of(namespace, name string, mods ...gen.Mod) (*unstructured.Unstructured, *v1alpha1.RemoteWorkflow) {
	wf := gen.Workflow(name, gen.InNamespace(namespace), gen.WithUID(gen.UIDOf(namespace+name)), gen.WithAssignment(cluster1))
	return wf, gen.RemoteWorkflow(wf, cluster1, append([]gen.Mod{gen.WithFinalizers(contract.FinalizerDispatch)}, mods...)...)
}

// onHub returns the objects together with the cluster and the set that bindings are to.
func onHub(more ...client.Object) []client.Object {
	return append([]client.Object{gen.ManagedCluster(cluster1), gen.ManagedClusterSet(gen.GlobalSet)}, more...)
}

// sent returns the names of the Workflows in each delivery, by its executor, "" for none. There is one for each.
func sent(t *testing.T, hub *fakehub.Hub) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, work := range works(t, hub) {
		executor := ""
		if e := work.Spec.Executor; e != nil {
			assert.Equal(t, workv1.ExecutorSubjectTypeServiceAccount, e.Subject.Type)
			executor = e.Subject.ServiceAccount.Namespace + "/" + e.Subject.ServiceAccount.Name
		}
		require.NotContains(t, out, executor)
		out[executor] = namesIn(&work)
	}
	return out
}

// What was open when the scheduler chose the cluster may not be any more.
func TestNothingIsDeliveredToANamespaceOfTheHubThatIsNotOpen(t *testing.T) {
	isTheHub := gen.WithLabels(map[string]string{"local-cluster": "true"})
	for namespaces, want := range map[string]map[string][]string{"": {}, "other": {}, "other,a": {"": {"hello"}}} {
		opens := gen.WithAnnotations(map[string]string{contract.AnnotationNamespaces: namespaces})
		wf, rw := of("a", "hello")
		r, hub, _, refused := newReconciler(t, gen.ManagedCluster(cluster1, isTheHub, opens), gen.ManagedClusterSet(gen.GlobalSet),
			tenant("a", ""), wf, rw)
		run(t, r)
		assert.Equal(t, want, sent(t, hub), namespaces)
		assert.Equal(t, len(want) == 0, refused[wf.GetName()] != "", "%s: %v", namespaces, refused)
	}
}

func TestABurstOfMixedTenantsGoesInOneDeliveryForEachExecutor(t *testing.T) {
	on := onHub(tenant("a", "team/a"), tenant("b", "team/b"), tenant("b2", "team/b"), tenant("c", ""))
	want := map[string][]string{}
	for i := range 25 {
		for namespace, executor := range map[string]string{"a": "team/a", "b": "team/b", "b2": "team/b", "c": ""} {
			wf, rw := of(namespace, fmt.Sprintf("%s-%02d", namespace, i))
			on = append(on, wf, rw)
			want[executor] = append(want[executor], wf.GetName())
		}
	}
	r, hub, _, refused := newReconciler(t, on...)
	run(t, r)
	got := sent(t, hub)
	assert.Len(t, got, len(want))
	for executor, names := range want {
		assert.ElementsMatch(t, names, got[executor], executor)
	}
	for name, message := range refused {
		assert.Empty(t, message, name)
	}
}

func TestTheBindingsOfANamespaceAreReadOnceForADelivery(t *testing.T) {
	on := onHub(tenant("a", "team/a"))
	for i := range maxItems {
		wf, rw := of("a", fmt.Sprintf("wf%03d", i))
		on = append(on, wf, rw)
	}
	r, hub, _, _ := newReconciler(t, on...)
	run(t, r)
	require.Len(t, sent(t, hub)["team/a"], maxItems)
	for _, call := range []string{
		"get ManagedCluster", "list ManagedClusterSetBinding", "get ManagedClusterSet", "create ManifestWork",
	} {
		assert.Equal(t, 1, hub.Calls(call), call)
	}
	run(t, r)
	assert.Equal(t, 2, hub.Calls("list ManagedClusterSetBinding"), "and once for another look at what is delivered")
}

func TestAsWhomAWorkflowIsCreated(t *testing.T) {
	allowing := func(namespaces string) gen.Mod {
		return gen.WithAnnotations(map[string]string{contract.AnnotationNamespaces: namespaces})
	}
	another := func(obj client.Object) { obj.(*v1alpha1.RemoteWorkflow).Spec.Remote.Namespace = "other" }
	const unbound = "no ManagedClusterSetBinding opens managed cluster"
	for name, test := range map[string]struct {
		bindings []client.Object
		mods     []gen.Mod
		// want are the executors of the deliveries.
		want    []string
		refused string
	}{
		"as the work agent itself":                 {[]client.Object{tenant("a", "")}, nil, []string{""}, ""},
		"as the ServiceAccount of the binding":     {[]client.Object{tenant("a", "team/a")}, nil, []string{"team/a"}, ""},
		"on a cluster without agent as well":       {[]client.Object{tenant("a", "team/a")}, []gen.Mod{withoutAgent()}, []string{"team/a"}, ""},
		"as the first of two bindings says":        {[]client.Object{tenant("a", "team/2"), tenant("a", "team/1", named("a"))}, nil, []string{"team/1"}, ""},
		"as the first says, if it names none":      {[]client.Object{tenant("a", "team/2"), tenant("a", "", named("a"))}, nil, []string{""}, ""},
		"not as another namespace's says":          {[]client.Object{tenant("a", ""), tenant("b", "team/b")}, nil, []string{""}, ""},
		"not as an invalid one says":               {[]client.Object{tenant("a", "team/2"), tenant("a", "team", named("a"))}, nil, []string{"team/2"}, ""},
		"as the one that allows the namespace":     {[]client.Object{tenant("a", "team/1", named("a")), tenant("a", "team/2", allowing("other"))}, []gen.Mod{another}, []string{"team/2"}, ""},
		"not at all, if no binding is valid":       {[]client.Object{tenant("a", "team")}, nil, nil, unbound},
		"not at all, if its binding is gone":       {[]client.Object{tenant("b", "")}, nil, nil, unbound},
		"nor where it has no agent":                {[]client.Object{tenant("b", "")}, []gen.Mod{withoutAgent()}, nil, unbound},
		"not at all, in a namespace not allowed":   {[]client.Object{tenant("a", "team/a")}, []gen.Mod{another}, nil, unbound},
		"not at all, by an empty executor's leave": {[]client.Object{tenant("a", "", gen.WithAnnotations(map[string]string{contract.AnnotationExecutor: ""}))}, nil, nil, unbound},
	} {
		t.Run(name, func(t *testing.T) {
			wf, rw := of("a", "hello", test.mods...)
			r, hub, _, refused := newReconciler(t, onHub(append(test.bindings, wf, rw)...)...)
			within := run(t, r)
			var executors []string
			for executor := range sent(t, hub) {
				executors = append(executors, executor)
			}
			assert.Equal(t, test.want, executors)
			if test.refused == "" {
				assert.Empty(t, refused["hello"])
				return
			}
			assert.Contains(t, refused["hello"], test.refused)
			assert.Contains(t, refused["hello"], "namespace a ")
			assert.Equal(t, refusedRetry, within)
		})
	}
}

func TestOneThatIsBoundNoMoreHoldsUpNoOtherAndGoesWhenItIsBoundAgain(t *testing.T) {
	aWF, a := of("a", "a")
	bWF, b := of("b", "b")
	r, hub, now, refused := newReconciler(t, onHub(tenant("b", "team/b"), aWF, a, bWF, b)...)
	run(t, r)
	assert.Equal(t, map[string][]string{"team/b": {"b"}}, sent(t, hub))
	require.NoError(t, hub.Create(t.Context(), tenant("a", "team/a")))
	now.SetTime(now.Now().Add(refusedRetry))
	run(t, r)
	assert.Equal(t, map[string][]string{"team/a": {"a"}, "team/b": {"b"}}, sent(t, hub))
	assert.Empty(t, refused["a"])
}

func TestWhatIsNotClaimedIsDeliveredAnewWithAnotherExecutor(t *testing.T) {
	for name, test := range map[string]struct {
		before, after string
		mods          []gen.Mod
		want          string
	}{
		"another":                    {"team/a", "team/b", nil, "team/b"},
		"one where there was none":   {"", "team/a", nil, "team/a"},
		"none any more":              {"team/a", "", nil, ""},
		"the same":                   {"team/a", "team/a", nil, "team/a"},
		"none that is valid":         {"team/a", "team", nil, "team/a"},
		"on a cluster without agent": {"team/a", "team/b", []gen.Mod{withoutAgent()}, "team/a"},
	} {
		t.Run(name, func(t *testing.T) {
			wf, rw := of("a", "hello", test.mods...)
			r, hub, _, _ := newReconciler(t, onHub(tenant("a", test.before), wf, rw)...)
			run(t, r)
			before := works(t, hub)[0]
			require.NoError(t, hub.Delete(t.Context(), tenant("a", "")))
			require.NoError(t, hub.Create(t.Context(), tenant("a", test.after)))
			run(t, r)
			run(t, r)
			assert.Equal(t, map[string][]string{test.want: {"hello"}}, sent(t, hub))
			assert.Equal(t, test.want == test.before, works(t, hub)[0].UID == before.UID)
		})
	}
}

func TestWhatIsNotClaimedIsDeliveredAnewWithItsNamespaceWhenTheBindingSaysSo(t *testing.T) {
	aWF, a := of("a", "a")
	bWF, b := of("b", "b")
	r, hub, now, _ := newReconciler(t, onHub(tenant("a", ""), tenant("b", ""), aWF, a, bWF, b)...)
	run(t, r)
	require.Equal(t, map[string][]string{"": {"a", "b"}}, sent(t, hub))
	creating := gen.WithAnnotations(map[string]string{contract.AnnotationCreateNamespace: "true"})
	require.NoError(t, hub.Delete(t.Context(), tenant("a", "")))
	require.NoError(t, hub.Create(t.Context(), tenant("a", "", creating)))
	run(t, r)
	run(t, r)
	work := works(t, hub)[0]
	assert.Equal(t, []string{"a", "b"}, namesIn(&work))
	assert.True(t, manifestwork.Creates(&work, "a"))
	assert.False(t, manifestwork.Creates(&work, "b"))

	require.NoError(t, hub.Delete(t.Context(), b.DeepCopy()))
	now.SetTime(now.Now().Add(15 * time.Second))
	run(t, r)
	work = works(t, hub)[0]
	assert.Equal(t, []string{"a"}, namesIn(&work))
	assert.True(t, manifestwork.Creates(&work, "a"), "what leaves is the Workflow")
}

func TestAChangedBindingHasTheClustersLookedAtThatItsWorkflowsWaitFor(t *testing.T) {
	aWF, a := of("a", "a")
	bWF, b := of("b", "b")
	claimedWF, claimed := of("a", "claimed", gen.WithRemoteUID("remote"))
	r, _, _, _ := newReconciler(t, onHub(tenant("a", ""), aWF, a, bWF, b, claimedWF, claimed)...)
	assert.Equal(t, []reconcile.Request{{NamespacedName: client.ObjectKey{Name: cluster1}}}, r.waitedFor(t.Context(), tenant("a", "team/a")))
	assert.Empty(t, r.waitedFor(t.Context(), tenant("c", "team/a")))
	assert.Len(t, r.waitedFor(t.Context(), gen.ManagedClusterSet(gen.GlobalSet)), 1, "a set is any namespace's")
}

func TestDeliveriesAreLookedAtWhenASetHoldsOtherClusters(t *testing.T) {
	labelled := gen.WithLabels(map[string]string{"a": "b"})
	set, narrow := gen.ManagedClusterSet("gpu"), gen.ManagedClusterSet("gpu")
	narrow.Generation++
	assert.True(t, setChanged.Update(event.UpdateEvent{ObjectOld: set, ObjectNew: narrow}))
	assert.False(t, setChanged.Update(event.UpdateEvent{ObjectOld: set, ObjectNew: gen.ManagedClusterSet("gpu", labelled)}))
	assert.True(t, setChanged.Create(event.CreateEvent{Object: set}))

	managed := gen.ManagedCluster(cluster1)
	assert.True(t, clusterMoved.Update(event.UpdateEvent{ObjectOld: managed, ObjectNew: gen.ManagedCluster(cluster1, labelled)}))
	assert.False(t, clusterMoved.Update(event.UpdateEvent{ObjectOld: managed, ObjectNew: gen.ManagedCluster(cluster1, gen.WithAllocatableCPU("4"))}))
}

func TestOfWhatLeavesADeliveryTheExecutorDoesNotMatter(t *testing.T) {
	aWF, a := of("a", "a")
	bWF, b := of("b", "b")
	r, hub, _, _ := newReconciler(t, onHub(tenant("a", "team/a"), tenant("b", ""), aWF, a, bWF, b, gen.Delivery(all(a, b)))...)
	require.NoError(t, hub.Delete(t.Context(), a.DeepCopy()))
	run(t, r)
	assert.Equal(t, map[string][]string{"": {"b"}}, sent(t, hub))
	assert.Equal(t, types.JSONPatchType, hub.Last("patch ManifestWork").PatchType)
}

func TestWithoutTheBindingsNothingIsDelivered(t *testing.T) {
	down := apierrors.NewServiceUnavailable("down")
	for _, call := range []string{"get ManagedCluster", "list ManagedClusterSetBinding", "get ManagedClusterSet"} {
		t.Run(call, func(t *testing.T) {
			aWF, a := of("a", "a")
			bWF, b := of("a", "b")
			r, hub, now, refused := newReconciler(t, onHub(tenant("a", "team/a"), aWF, a, bWF, b, gen.Delivery(all(b)))...)
			now.SetTime(now.Now().Add(time.Minute)) // b is due
			hub.Fail(call, down)
			_, err := try(t, r)
			assert.True(t, apierrors.IsServiceUnavailable(err), "%v", err)
			assert.Empty(t, hub.Writes())
			assert.Empty(t, refused)
		})
	}
}
