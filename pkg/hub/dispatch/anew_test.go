package dispatch

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// placed is a Workflow that a Placement has given to the cluster.
func placed(mods ...gen.Mod) *unstructured.Unstructured {
	return gen.Workflow("hello", append([]gen.Mod{gen.WithPlacement("anywhere"), gen.WithAssignment(cluster)}, mods...)...)
}

func TestAWorkflowWhoseClusterIsDetachedBeforeItStartsIsGivenBackToItsPlacement(t *testing.T) {
	for name, clusters := range map[string][]client.Object{
		"the cluster is being detached": {gen.ManagedCluster(cluster, gen.WithFinalizers("OCM's"), gen.Deleting())},
		"the cluster is gone":           nil,
	} {
		t.Run(name, func(t *testing.T) {
			wf := placed(gen.WithHubStatus("Pending"))
			rw := gen.RemoteWorkflow(wf, cluster, gen.WithFinalizers(contract.FinalizerDispatch))
			second := []client.Object{
				gen.ManagedCluster("cluster2"), gen.ManagedClusterAddOn("cluster2"),
				gen.ManagedClusterSet(gen.GlobalSet), gen.ManagedClusterSetBinding(gen.GlobalSet),
			}
			r, hub := newReconciler(t, append(append(clusters, second...), wf, rw)...)
			for range 5 { // the run is taken back, the finalizer, the cluster; then it is for the placement
				require.NoError(t, run(t, r, wf))
			}
			assert.False(t, hub.Show(rw))
			require.True(t, hub.Show(wf))
			assert.Empty(t, contract.AssignedCluster(wf)+contract.ChosenCluster(wf))
			assert.Empty(t, wf.GetFinalizers())
			assert.Equal(t, "anywhere", wf.GetAnnotations()[contract.AnnotationPlacement])
			assert.Equal(
				t,
				[]string{`Warning ClusterTakenBack managed cluster "cluster1" is detached from the hub, and nothing has started there: ` +
					`Placement "anywhere" chooses anew`},
				hub.Events(),
			)

			require.NoError(t, hubcopy.Assign(t.Context(), hub, wf, "cluster2"))
			require.NoError(t, run(t, r, wf))
			require.True(t, hub.Show(gen.RemoteWorkflow(wf, "cluster2")))
			require.True(t, hub.Show(gen.ManifestWork(gen.RemoteWorkflow(wf, "cluster2"))))
		})
	}
}

func TestWhatMayNotMoveStaysWithItsCluster(t *testing.T) {
	direct := gen.Workflow("hello", gen.WithAssignment(cluster))
	for name, test := range map[string]struct {
		wf   *unstructured.Unstructured
		prep func(*Reconciler, *fakehub.Hub)
		says string
	}{
		"its user chose the cluster": {wf: direct, says: `waiting for managed cluster "cluster1"`},
		"it may have run before the hub was restored": {wf: placed(), prep: func(r *Reconciler, _ *fakehub.Hub) {
			r.RestoredAt = gen.Time.Add(time.Hour)
		}, says: "before the hub was restored"},
		"it has run":                     {wf: placed(gen.WithHubStatus("Running"))},
		"somebody else wrote its status": {wf: placed(gen.WithStatus("Pending")), says: "already has a status"},
		"the cache does not show its RemoteWorkflow yet": {wf: placed(), prep: func(_ *Reconciler, hub *fakehub.Hub) {
			hub.Lag("list RemoteWorkflow")
			require.NoError(t, hub.Create(t.Context(), gen.RemoteWorkflow(placed(), cluster)))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			test.wf.SetCreationTimestamp(gen.Time)
			r, hub := newReconciler(t, test.wf)
			if test.prep != nil {
				test.prep(r, hub)
			}
			for range 3 {
				require.NoError(t, run(t, r, test.wf))
			}
			wf := test.wf.DeepCopy()
			require.True(t, hub.Show(wf))
			assert.Equal(t, cluster, contract.AssignedCluster(wf))
			assert.Equal(t, []string{contract.FinalizerDispatch}, wf.GetFinalizers())
			message := contract.StatusString(contract.Status(wf), "message")
			assert.Contains(t, message, test.says)
			assert.Equal(t, test.says == "", message == "", message)
		})
	}
}

func TestAPausedManagerSendsNothingToAClusterThatWasTakenBack(t *testing.T) {
	for _, pausedAt := range []string{"create RemoteWorkflow", "live get Workflow", "create ManifestWork"} {
		t.Run(pausedAt, func(t *testing.T) {
			wf := placed()
			paused, hub := newReconciler(t, append(surroundings(), wf)...)
			other := &Reconciler{Client: hub, Live: hub.Live, Recorder: hub.Recorder, Clock: paused.Clock, HubID: gen.HubID}
			moved := false
			hub.On(pausedAt, func() error {
				if moved {
					return nil
				}
				moved = true
				require.NoError(t, hub.Delete(t.Context(), gen.ManagedCluster(cluster)))
				for range 5 {
					require.NoError(t, run(t, other, wf))
				}
				return nil
			})
			require.NoError(t, run(t, paused, wf))
			for range 8 {
				require.NoError(t, run(t, other, wf))
			}
			rw := gen.RemoteWorkflow(wf, cluster)
			assert.False(t, hub.Show(rw), "without it no copy starts")
			require.True(t, hub.Show(wf))
			assert.Empty(t, contract.AssignedCluster(wf))
		})
	}
}

func TestAWorkflowThatAnotherManagerSendsJustThenStaysWithItsCluster(t *testing.T) {
	wf := placed()
	r, hub := newReconciler(t, wf)
	hub.On("patch Workflow", func() error {
		rw := gen.RemoteWorkflow(wf, cluster)
		if !hub.Show(rw) {
			require.NoError(t, hub.Create(t.Context(), rw))
			require.NoError(t, hub.Create(t.Context(), gen.ManifestWork(rw)))
		}
		return nil
	})
	for range 4 {
		require.NoError(t, run(t, r, wf))
	}
	runOf(t, hub, wf)
	require.True(t, hub.Show(wf))
	assert.Equal(t, cluster, contract.AssignedCluster(wf), "its run there is to go first")
}

func TestALeftOverRemoteWorkflowOnAnotherClusterIsRemoved(t *testing.T) {
	for _, elsewhere := range []string{"cluster0", "cluster2"} {
		t.Run(elsewhere, func(t *testing.T) {
			wf := placed()
			rw := gen.RemoteWorkflow(wf, cluster, gen.WithFinalizers(contract.FinalizerDispatch))
			leftOver := gen.RemoteWorkflow(wf, elsewhere, gen.WithFinalizers(contract.FinalizerDispatch), gen.WithUID("left over"))
			r, hub := newReconciler(t, append(surroundings(), wf, rw, leftOver, gen.ManifestWork(rw))...)
			for range 3 {
				require.NoError(t, run(t, r, wf))
			}
			name := elsewhere + "/" + rw.Name
			assert.Equal(t, []string{"delete RemoteWorkflow " + name, "patch RemoteWorkflow " + name}, hub.Writes())
			runOf(t, hub, wf)
			assert.Empty(t, hub.Events(), "the Workflow is where it is to be")
		})
	}
}

func TestTheRunIsNotTakenForALeftOverByACacheThatLagsBehind(t *testing.T) {
	cached, live := placed(), placed(gen.WithAssignment("cluster2"))
	leftOver := gen.RemoteWorkflow(cached, cluster, gen.WithUID("left over"))
	rw := gen.RemoteWorkflow(cached, "cluster2")
	r, hub := newReconciler(t, cached, leftOver, rw)
	for name, test := range map[string]struct {
		live     []client.Object
		want     *v1alpha1.RemoteWorkflow
		outdated bool
	}{
		"it was given to another cluster": {[]client.Object{live, rw, leftOver}, rw, false},
		"it is gone":                      {nil, nil, true},
		"another has its name":            {[]client.Object{gen.Workflow("hello", gen.WithUID("later"))}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			r.Live = fakehub.New(t, nil, test.live...).Live
			current, outdated, err := r.theRun(t.Context(), cached, []*v1alpha1.RemoteWorkflow{leftOver, rw})
			require.NoError(t, err)
			assert.Equal(t, test.outdated, outdated)
			if test.want != nil {
				assert.Equal(t, test.want.UID, current.UID)
			}
			assert.NotContains(t, hub.Writes(), "delete RemoteWorkflow cluster2/"+rw.Name)
		})
	}
}
