package uninstall

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// workAgentFinalizer keeps a ManifestWork until the work agent has removed what it brought.
const workAgentFinalizer = "cluster.open-cluster-management.io/manifest-work-cleanup"

// indexNames lets the fake server select by name, as every server does.
func indexNames(ctx context.Context, indexer client.FieldIndexer) error {
	return indexer.IndexField(ctx, &addonv1beta1.ManagedClusterAddOn{}, "metadata.name", func(obj client.Object) []string {
		return []string{obj.GetName()}
	})
}

func newUninstaller(t *testing.T, objects ...client.Object) (*uninstaller, *fakehub.Hub, *strings.Builder) {
	t.Helper()
	hub, out := fakehub.New(t, indexNames, objects...), &strings.Builder{}
	return &uninstaller{
		client: hub, metadata: hub.Live, interval: time.Millisecond,
		options: Options{HubID: gen.HubID, Timeout: time.Minute, Out: out},
	}, hub, out
}

// leave runs the step with a deadline that leaves so much time for managed clusters.
func leave(t *testing.T, u *uninstaller, patience time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(float64(patience)/runsShare))
	defer cancel()
	return u.leaveRuns(ctx)
}

// dispatched is what the hub has of a Workflow that was sent, and whose ManifestWork the work agent has seen.
func dispatched(
	name string,
	mods []gen.Mod,
	ofRun ...gen.Mod,
) (*unstructured.Unstructured, *v1alpha1.RemoteWorkflow, *workv1.ManifestWork) {
	wf := gen.Workflow(name, append(mods, gen.WithAssignment(cluster))...)
	rw := gen.RemoteWorkflow(wf, cluster, append(ofRun, gen.WithFinalizers(contract.FinalizerDispatch))...)
	work := gen.ManifestWork(rw, gen.WithFinalizers(workAgentFinalizer), applied(1))
	work.Generation = 2 // the fake server does not count; so it is as if it had been changed already
	work.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "RemoteWorkflow", Name: rw.Name, UID: rw.UID}}
	return wf, rw, work
}

// workAgent plays the work agent each time that the ManifestWorks are listed.
func workAgent(t *testing.T, hub *fakehub.Hub, works ...*workv1.ManifestWork) {
	t.Helper()
	hub.On("list ManifestWork", func() error {
		for _, work := range works {
			current := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: work.Namespace, Name: work.Name}}
			switch {
			case !hub.Show(current):
			case isDeleted(current):
				released := current.DeepCopy()
				released.Finalizers = nil
				require.NoError(t, hub.Patch(t.Context(), released, client.MergeFrom(current)))
			case isOrphaned(current) && isComplete(current):
				meta.RemoveStatusCondition(&current.Status.Conditions, workv1.WorkComplete)
				require.NoError(t, hub.Status().Update(t.Context(), current))
			case isOrphaned(current) && (!isComplete(work) || current.Labels[contract.LabelApplyRetried] != ""):
				current.Status.Conditions[0].ObservedGeneration = current.Generation
				require.NoError(t, hub.Status().Update(t.Context(), current))
			}
		}
		return nil
	})
}

// gone makes sure that the hub has none of these.
func assertGone(t *testing.T, hub *fakehub.Hub, objects ...client.Object) {
	t.Helper()
	for _, object := range objects {
		assert.False(t, hub.Show(object), "%T %s is still there", object, object.GetName())
	}
}

func TestWorkflowsArePartedFromTheirRuns(t *testing.T) {
	recorded := gen.WithRemoteUID("remote")
	complete := gen.WithCondition(workv1.WorkComplete, metav1.ConditionTrue, "ConditionRulesAggregated", "")
	waiting := gen.Workflow("waiting", gen.WithPlacement("anywhere"))
	gated, gatedRun, gatedWork := dispatched("gated", []gen.Mod{gen.WithPlacement("anywhere")})
	running, runningRun, runningWork := dispatched("running", []gen.Mod{gen.WithHubStatus("Running")}, recorded)
	finished, finishedRun, finishedWork := dispatched("finished", []gen.Mod{gen.WithHubStatus("Succeeded")}, recorded)
	complete(finishedWork)
	deleted, deletedRun, deletedWork := dispatched("deleted", []gen.Mod{gen.WithHubStatus("Running")}, recorded)
	gen.Deleting()(deleted)
	others := gen.Workflow("others")
	others.SetLabels(nil)

	u, hub, out := newUninstaller(t, waiting, gated, gatedRun, gatedWork, running, runningRun, runningWork,
		finished, finishedRun, finishedWork, deleted, deletedRun, deletedWork, others, gen.ManagedClusterAddOn("cluster2"))
	workAgent(t, hub, gatedWork, runningWork, finishedWork, deletedWork)
	var untouched = others.DeepCopy()
	require.True(t, hub.Show(untouched))
	require.NoError(t, leave(t, u, time.Minute))
	require.NoError(t, u.result())

	assertGone(t, hub, gatedRun, gatedWork, runningRun, runningWork, finishedRun, finishedWork, deletedRun, deletedWork, deleted)
	for _, wf := range []*unstructured.Unstructured{waiting, gated, running, finished, others} {
		require.True(t, hub.Show(wf), "a user's Workflow stays")
		assert.Empty(t, wf.GetFinalizers())
	}
	assert.Equal(t, "Pending", contract.Phase(waiting))
	assert.Equal(t, "Pending", contract.Phase(gated))
	assert.Contains(t, contract.Status(gated)["message"], "has not started")
	assert.Empty(t, contract.AssignedCluster(gated))
	assert.Empty(t, contract.ChosenCluster(gated), "its Placement chooses anew")
	assert.Equal(t, "Running", contract.Phase(running))
	assert.Contains(t, contract.Status(running)["message"], "goes on as default/running on cluster cluster1")
	assert.Equal(t, cluster, contract.AssignedCluster(running), "what has run must not run again")
	assert.Equal(t, map[string]any{"phase": "Succeeded"}, contract.Status(finished))
	assert.Equal(t, untouched, others)
	assert.Contains(t, out.String(), "Workflow default/running: its copy stays on cluster cluster1\n")
	assert.Contains(t, out.String(), "Workflow default/gated: its copy is removed from cluster cluster1")

	done := len(hub.Writes())
	require.NoError(t, leave(t, u, time.Minute))
	assert.Len(t, hub.Writes(), done, "nothing is done twice")
}

func TestNothingIsDeletedBeforeTheCopyIsLetGo(t *testing.T) {
	_, rw, work := dispatched("hello", nil, gen.WithRemoteUID("remote"))
	wf := assigned()
	u, hub, _ := newUninstaller(t, wf, rw, work)
	workAgent(t, hub, work)
	require.NoError(t, leave(t, u, time.Minute))
	name := cluster + "/" + rw.Name
	assert.Equal(t, []string{
		"patch Workflow default/hello", "patch ManifestWork " + name,
		"delete ManifestWork " + name, "patch ManifestWork " + name, // the latter is the work agent's
		"delete RemoteWorkflow " + name, "patch RemoteWorkflow " + name, "patch Workflow default/hello",
	}, hub.Writes())
}

func TestAnAgentThatStartsTheCopyMeanwhileWins(t *testing.T) {
	wf, rw, work := dispatched("hello", nil)
	u, hub, _ := newUninstaller(t, wf, rw, work)
	workAgent(t, hub, work)
	hub.On("delete RemoteWorkflow", func() error {
		hub.On("delete RemoteWorkflow", func() error { return nil })
		current := rw.DeepCopy()
		require.True(t, hub.Show(current))
		current.Status.RemoteUID = "remote"
		return hub.Status().Update(t.Context(), current)
	})
	require.NoError(t, leave(t, u, time.Minute))
	require.True(t, hub.Show(wf))
	assert.Equal(t, "Running", contract.Phase(wf))
	assert.Equal(t, cluster, contract.AssignedCluster(wf))
	assertGone(t, hub, rw, work)
}

func TestAClusterThatDoesNotAnswerKeepsNothingOfTheHubsAndLosesNoRun(t *testing.T) {
	running, runningRun, runningWork := dispatched("running", []gen.Mod{gen.WithHubStatus("Running")}, gen.WithRemoteUID("remote"))
	gated, gatedRun, gatedWork := dispatched("gated", nil)
	objects := []client.Object{running, runningRun, runningWork, gated, gatedRun, gatedWork}
	u, hub, out := newUninstaller(t, objects...)
	require.NoError(t, leave(t, u, 50*time.Millisecond))
	require.ErrorContains(t, u.result(), "Uninstall again when the cluster is back")
	assert.Len(t, u.problems, 2, "once for each cluster and trouble: %v", u.problems)
	assert.Contains(t, out.String(), "cluster cluster1 does not answer")

	assertGone(t, hub, runningRun, gatedRun)
	require.True(t, hub.Show(runningWork))
	assert.True(t, isOrphaned(runningWork))
	assert.Nil(t, runningWork.DeletionTimestamp, "its copy would be deleted when the cluster is back")
	assert.Empty(t, runningWork.OwnerReferences, "it would go with its owner")
	require.True(t, hub.Show(gatedWork))
	assert.NotNil(t, gatedWork.DeletionTimestamp)
	for _, wf := range []*unstructured.Unstructured{running, gated} {
		require.True(t, hub.Show(wf))
		assert.Empty(t, wf.GetFinalizers())
	}

	t.Run("until it answers", func(t *testing.T) {
		u.problems = nil
		workAgent(t, hub, runningWork, gatedWork)
		require.NoError(t, leave(t, u, time.Minute))
		require.NoError(t, u.result())
		assertGone(t, hub, runningWork, gatedWork)
	})
}

func TestADryRunWritesNothing(t *testing.T) {
	wf, rw, work := dispatched("hello", nil, gen.WithRemoteUID("remote"))
	u, hub, out := newUninstaller(t, wf, rw, work)
	u.options.DryRun = true
	require.NoError(t, leave(t, u, time.Minute))
	assert.Empty(t, hub.Writes())
	assert.Equal(t, "(dry run) Workflow default/hello: its copy stays on cluster cluster1\n", out.String())
}

func TestAHubWithoutCRDsHasNothingToLeave(t *testing.T) {
	u, hub, _ := newUninstaller(t)
	for _, kind := range []string{"list RemoteWorkflow", "list ManifestWork", "live list Workflow", "list ManagedClusterAddOn"} {
		hub.Fail(kind, &meta.NoKindMatchError{})
	}
	require.NoError(t, leave(t, u, time.Minute))
	assert.Empty(t, hub.Writes())
}

func TestAnErrorOfTheAPIIsTriedAgainAndThenReturned(t *testing.T) {
	for _, call := range []string{"patch Workflow", "patch ManifestWork", "delete ManifestWork", "delete RemoteWorkflow", "patch RemoteWorkflow", "get Workflow"} {
		t.Run(call, func(t *testing.T) {
			wf, rw, work := dispatched("hello", nil, gen.WithRemoteUID("remote"))
			u, hub, _ := newUninstaller(t, wf, rw, work)
			workAgent(t, hub, work)
			hub.Fail(call, errors.New("down"))
			err := leave(t, u, 100*time.Millisecond)
			require.ErrorContains(t, err, "down")
			require.ErrorContains(t, err, "Workflow default/hello")

			hub.Fail(call, nil)
			require.NoError(t, leave(t, u, time.Minute))
			assertGone(t, hub, rw)
			require.True(t, hub.Show(wf))
			assert.Equal(t, "Running", contract.Phase(wf))
			assert.Empty(t, wf.GetFinalizers())
		})
	}
}
