package workflow

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/cluster"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/manifestwork"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

const (
	cluster1  = "cluster1"
	remoteUID = types.UID("remote")
	timeout   = 15 * time.Minute
)

// key names the Workflow of the tests.
var key = client.ObjectKey{Namespace: gen.Namespace, Name: "hello"}

// surroundings are a cluster with the addon, open to the namespace of the Workflows.
func surroundings() []client.Object {
	return append([]client.Object{gen.ManagedCluster(cluster1), gen.ManagedClusterAddOn(cluster1)}, binding()...)
}

func binding() []client.Object {
	return []client.Object{gen.ManagedClusterSet(gen.GlobalSet), gen.ManagedClusterSetBinding(gen.GlobalSet)}
}

// newReconciler returns one at gen.Time on a hub that has these objects. Its cache holds of Workflows what that of the manager does.
func newReconciler(t *testing.T, objects ...client.Object) (*Reconciler, *fakehub.Hub, *clocktesting.FakePassiveClock) {
	t.Helper()
	hub := fakehub.New(t, func(ctx context.Context, indexer client.FieldIndexer) error {
		if err := addIndexes(ctx, indexer); err != nil {
			return err
		}
		return manifestwork.AddIndex(ctx, indexer)
	}, objects...)
	now := clocktesting.NewFakePassiveClock(gen.Time.Time)
	return &Reconciler{
		Client: trimming{hub}, Live: hub.Live, Recorder: hub.Recorder, Clock: now, HubID: gen.HubID, DeletionTimeout: timeout,
		DeliveryRefused: func(types.UID) string { return "" },
	}, hub, now
}

// trimming reads Workflows as the manager's cache has them.
type trimming struct{ client.Client }

func (c trimming) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	if err := c.Client.Get(ctx, key, obj, opts...); err != nil {
		return err
	}
	if wf, ok := obj.(*unstructured.Unstructured); ok {
		trimmed, err := hubworkflow.Trim(wf)
		if err != nil {
			return err
		}
		wf.Object = trimmed.(*unstructured.Unstructured).Object
	}
	return nil
}

// run reconciles the Workflow, and returns when to look at it again.
func run(t *testing.T, r *Reconciler) time.Duration {
	t.Helper()
	within, err := try(t, r)
	require.NoError(t, err)
	return within
}

func try(t *testing.T, r *Reconciler) (time.Duration, error) {
	t.Helper()
	result, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: key})
	return result.RequeueAfter, err
}

// shows reads the Workflow as the hub has it.
func shows(t *testing.T, hub *fakehub.Hub) *unstructured.Unstructured {
	t.Helper()
	wf := gen.Workflow("hello")
	require.True(t, hub.Show(wf), "the Workflow is gone")
	return wf
}

// assigned is a Workflow that was given to the cluster.
func assigned(mods ...gen.Mod) *unstructured.Unstructured {
	return gen.Workflow("hello", append([]gen.Mod{gen.WithAssignment(cluster1)}, mods...)...)
}

// attemptOf is the attempt of a Workflow on the cluster.
func attemptOf(wf *unstructured.Unstructured, mods ...gen.Mod) *v1alpha1.RemoteWorkflow {
	return gen.RemoteWorkflow(wf, cluster1, append([]gen.Mod{gen.WithFinalizers(contract.FinalizerDispatch), createdAgo(0)}, mods...)...)
}

// nameOf is the name of the RemoteWorkflow of the Workflow.
func nameOf(wf *unstructured.Unstructured) string {
	return contract.RemoteWorkflowName(wf.GetName(), wf.GetUID(), 1)
}

func running() map[string]any {
	return map[string]any{
		"phase": "Running", "progress": "0/1", "startedAt": "2026-01-02T15:04:05Z",
		"nodes": map[string]any{"hello": map[string]any{
			"id": "hello", "name": "hello", "displayName": "hello", "type": "Pod", "phase": "Running", "startedAt": "2026-01-02T15:04:05Z", "finishedAt": nil,
		}},
	}
}

func claimed() gen.Mod { return gen.WithRemoteUID(remoteUID) }

func withoutAgent() gen.Mod { return gen.WithReporting(v1alpha1.ReportingFeedback) }

// removing says what becomes of the remote Workflow.
func removing(how v1alpha1.Removal) gen.Mod {
	return func(obj client.Object) { obj.(*v1alpha1.RemoteWorkflow).Spec.Removal = how }
}

// gone is what the agent says when there is no remote Workflow any more.
func gone(reason string) gen.Mod {
	return gen.WithCondition(v1alpha1.ConditionRemoteDeleted, metav1.ConditionTrue, reason, "Workflow default/hello was deleted")
}

func started(status metav1.ConditionStatus, reason, message string) gen.Mod {
	return gen.WithCondition(v1alpha1.ConditionStarted, status, reason, message)
}

func without(field string) gen.Mod {
	return func(obj client.Object) { delete(obj.(*unstructured.Unstructured).Object, field) }
}

func withoutFinalizers() gen.Mod { return func(obj client.Object) { obj.SetFinalizers(nil) } }

func withoutLabels() gen.Mod { return func(obj client.Object) { obj.SetLabels(nil) } }

func label(value string) gen.Mod {
	return gen.WithLabels(map[string]string{contract.LabelEnable: value})
}

func released() gen.Mod {
	return gen.WithAnnotations(map[string]string{contract.AnnotationRelease: contract.AnnotationReleaseValue})
}

func clusterAvailable(status metav1.ConditionStatus) gen.Mod {
	return gen.WithCondition(clusterv1.ManagedClusterConditionAvailable, status, "Test", "")
}

func agentAvailable(status metav1.ConditionStatus) gen.Mod {
	return gen.WithCondition(addonv1beta1.ManagedClusterAddOnConditionAvailable, status, "Test", "no lease")
}

// detaching is the cluster on its way out.
func detaching() *clusterv1.ManagedCluster {
	return gen.ManagedCluster(cluster1, gen.WithFinalizers("OCM's"), gen.Deleting())
}

// healthy is a cluster with the agent.
func healthy() cluster.Cluster {
	return cluster.Cluster{Name: cluster1, Managed: gen.ManagedCluster(cluster1), Addon: gen.ManagedClusterAddOn(cluster1)}
}

// counted returns what the metric has counted, of this reason if there is one.
func counted(t *testing.T, metric, reason string) float64 {
	t.Helper()
	return fakehub.Counted(t, "argo_multicluster_hub_"+metric, reason)
}

// scene is a snapshot of a Workflow, changed.
func scene(wf *unstructured.Unstructured, changes ...func(*snapshot)) *snapshot {
	s := &snapshot{key: key, assigned: healthy(), now: gen.Time.Time, deletionTimeout: timeout}
	if wf != nil {
		s.wf = hubworkflow.Of(wf)
	}
	for _, change := range changes {
		change(s)
	}
	return s
}

// own is the attempt of the Workflow.
func own(mods ...gen.Mod) func(*snapshot) {
	return func(s *snapshot) {
		s.own = &attempt{RemoteWorkflow: attemptOf(s.wf.Unstructured, mods...), cluster: healthy()}
	}
}

// other is the attempt of an earlier Workflow of the name.
func other(mods ...gen.Mod) func(*snapshot) {
	return func(s *snapshot) {
		earlier := assigned(gen.WithUID("earlier"))
		s.others = append(s.others, &attempt{RemoteWorkflow: attemptOf(earlier, mods...), cluster: healthy()})
	}
}

// delivered has a delivery list the attempt.
func delivered(mods ...gen.Mod) func(*snapshot) {
	return func(s *snapshot) { s.own.delivery = gen.ManifestWork(s.own.RemoteWorkflow, mods...) }
}

// otherDelivered has a delivery list the attempt of the earlier Workflow.
func otherDelivered(s *snapshot) {
	s.others[0].delivery = gen.ManifestWork(s.others[0].RemoteWorkflow)
}

// on changes the cluster.
func on(change func(*cluster.Cluster)) func(*snapshot) {
	return func(s *snapshot) {
		change(&s.assigned)
		if s.own != nil {
			change(&s.own.cluster)
		}
		for _, a := range s.others {
			change(&a.cluster)
		}
	}
}

// Changes of a cluster.
var (
	detached = on(func(c *cluster.Cluster) { c.Managed = nil })
	lost     = on(func(c *cluster.Cluster) {
		c.Managed = gen.ManagedCluster(cluster1, clusterAvailable(metav1.ConditionUnknown))
	})
	agentLost = on(func(c *cluster.Cluster) {
		c.Addon = gen.ManagedClusterAddOn(cluster1, agentAvailable(metav1.ConditionUnknown))
	})
	noAgent    = on(func(c *cluster.Cluster) { c.Addon = nil })
	agentGoing = on(func(c *cluster.Cluster) { c.Addon = gen.ManagedClusterAddOn(cluster1, gen.Deleting()) })
)

// closed is a cluster that the Workflow may not go to any more.
func closed(s *snapshot) {
	s.problem = &cluster.Problem{Kind: "closed", Refusal: hubworkflow.Refusal{Reason: "ClusterNotBound", Message: "it is closed"}}
}

func after(d time.Duration) func(*snapshot) {
	return func(s *snapshot) { s.now = s.now.Add(d) }
}
