package dispatch

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/clock"
	workv1 "open-cluster-management.io/api/work/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

const cluster = "cluster1"

// surroundings are a cluster with the addon, open to the namespace of the Workflows.
func surroundings() []client.Object {
	return []client.Object{
		gen.ManagedCluster(cluster), gen.ManagedClusterAddOn(cluster),
		gen.ManagedClusterSet(gen.GlobalSet), gen.ManagedClusterSetBinding(gen.GlobalSet),
	}
}

func newReconciler(t *testing.T, objects ...client.Object) (*Reconciler, *fakehub.Hub) {
	t.Helper()
	hub := fakehub.New(t, addIndexes, objects...)
	return &Reconciler{Client: hub, Live: hub.Live, Recorder: hub.Recorder, Clock: clock.RealClock{}, HubID: gen.HubID}, hub
}

func run(t *testing.T, r *Reconciler, wf *unstructured.Unstructured) error {
	t.Helper()
	result, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(wf)})
	assert.Zero(t, result, "nothing is polled")
	return err
}

// dispatched is a Workflow that runs on the cluster, with all that belongs to it on the hub.
func dispatched(mods ...gen.Mod) (*unstructured.Unstructured, *v1alpha1.RemoteWorkflow, *workv1.ManifestWork) {
	wf := gen.Workflow("hello", append([]gen.Mod{gen.WithAssignment(cluster)}, mods...)...)
	rw := gen.RemoteWorkflow(wf, cluster, gen.WithFinalizers(contract.FinalizerDispatch))
	return wf, rw, gen.ManifestWork(rw)
}

// nameOf is the name of the Workflow's RemoteWorkflow and ManifestWork.
func nameOf(wf *unstructured.Unstructured) string {
	return contract.RemoteWorkflowName(wf.GetName(), wf.GetUID(), 1)
}

// runOf reads what the hub has of the Workflow's run.
func runOf(t *testing.T, hub *fakehub.Hub, wf *unstructured.Unstructured) (*v1alpha1.RemoteWorkflow, *workv1.ManifestWork) {
	t.Helper()
	rw, work := &v1alpha1.RemoteWorkflow{}, &workv1.ManifestWork{}
	rw.Namespace, rw.Name = cluster, nameOf(wf)
	work.Namespace, work.Name = cluster, nameOf(wf)
	require.True(t, hub.Show(rw), "there is no RemoteWorkflow")
	require.True(t, hub.Show(work), "there is no ManifestWork")
	return rw, work
}

// withSpec and withStatus replace the whole of either.
func withSpec(spec any) gen.Mod {
	return func(obj client.Object) { obj.(*unstructured.Unstructured).Object["spec"] = spec }
}

func withStatus(status any) gen.Mod {
	return func(obj client.Object) { obj.(*unstructured.Unstructured).Object["status"] = status }
}
