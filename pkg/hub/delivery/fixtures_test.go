package delivery

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clocktesting "k8s.io/utils/clock/testing"
	clusterv1beta2 "open-cluster-management.io/api/cluster/v1beta2"
	workv1 "open-cluster-management.io/api/work/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/manifestwork"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

const cluster1 = "cluster1"

// waiting builds a Workflow that is assigned to the cluster, and its RemoteWorkflow, which nothing has claimed.
func waiting(name string, mods ...gen.Mod) (*unstructured.Unstructured, *v1alpha1.RemoteWorkflow) {
	wf := gen.Workflow(name, gen.WithAssignment(cluster1))
	return wf, gen.RemoteWorkflow(wf, cluster1, append([]gen.Mod{gen.WithFinalizers(contract.FinalizerDispatch)}, mods...)...)
}

func attempt(name string, mods ...gen.Mod) *v1alpha1.RemoteWorkflow {
	_, rw := waiting(name, mods...)
	return rw
}

// withoutAgent makes an attempt one on a cluster that has no agent.
func withoutAgent() gen.Mod { return gen.WithReporting(v1alpha1.ReportingFeedback) }

// refusals are what the hub's API server has against Workflows, by their name.
type refusals map[string]string

// bound are a cluster, and what opens it to gen.Namespace.
func bound() []client.Object {
	return []client.Object{
		gen.ManagedCluster(cluster1), gen.ManagedClusterSet(gen.GlobalSet), gen.ManagedClusterSetBinding(gen.GlobalSet),
	}
}

// newReconciler returns one at gen.Time on a hub that has these objects and, unless they have another binding, what opens the cluster to
// their namespace. It returns its clock and what it says of refusals, too.
func newReconciler(t *testing.T, objects ...client.Object) (*Reconciler, *fakehub.Hub, *clocktesting.FakePassiveClock, refusals) {
	t.Helper()
	if !slices.ContainsFunc(objects, func(obj client.Object) bool { _, ok := obj.(*clusterv1beta2.ManagedClusterSetBinding); return ok }) {
		objects = append(bound(), objects...)
	}
	hub, now, refused := fakehub.New(t, addIndexes, objects...), clocktesting.NewFakePassiveClock(gen.Time.Time), refusals{}
	hub.Now = now.Now
	return &Reconciler{Client: hub, Live: hub.Live, Clock: now, Refused: func(rw *v1alpha1.RemoteWorkflow, message string) {
		refused[rw.Spec.WorkflowRef.Name] = message
	}}, hub, now, refused
}

// run reconciles the cluster, and returns when to look at it again.
func run(t *testing.T, r *Reconciler) time.Duration {
	t.Helper()
	within, err := try(t, r)
	require.NoError(t, err)
	return within
}

func try(t *testing.T, r *Reconciler) (time.Duration, error) {
	t.Helper()
	result, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Name: cluster1}})
	return result.RequeueAfter, err
}

// deliveries returns what the hub has, as names of Workflows for each delivery, in the order of their creation.
func deliveries(t *testing.T, hub *fakehub.Hub) [][]string {
	t.Helper()
	var out [][]string
	for _, work := range works(t, hub) {
		out = append(out, namesIn(&work))
	}
	return out
}

func works(t *testing.T, hub *fakehub.Hub) []workv1.ManifestWork {
	t.Helper()
	var list workv1.ManifestWorkList
	require.NoError(t, hub.Live.List(t.Context(), &list))
	return list.Items
}

func namesIn(work *workv1.ManifestWork) []string {
	var names []string
	for _, item := range manifestwork.Items(work) {
		names = append(names, item.Name)
	}
	return names
}

// claim records a remote Workflow, as the agent does.
func claim(t *testing.T, hub *fakehub.Hub, rw *v1alpha1.RemoteWorkflow) {
	t.Helper()
	live := rw.DeepCopy()
	require.True(t, hub.Show(live))
	before := live.DeepCopy()
	live.Status.RemoteUID = "remote"
	require.NoError(t, hub.Status().Patch(t.Context(), live, client.MergeFrom(before)))
}

// objects makes a list of Workflows and attempts one of objects.
func objects(pairs ...any) []client.Object {
	var out []client.Object
	for _, object := range pairs {
		out = append(out, object.(client.Object))
	}
	return out
}
