package dispatch

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	clusterv1beta2 "open-cluster-management.io/api/cluster/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestIsWithdrawn(t *testing.T) {
	for value, want := range map[string]bool{"true": false, "yes": false, "false": true, "": true} {
		wf := gen.Workflow("hello", gen.WithLabels(map[string]string{contract.LabelEnable: value}))
		assert.Equal(t, want, isWithdrawn(wf), "value %q", value)
	}
	wf := gen.Workflow("hello")
	wf.SetLabels(nil)
	assert.True(t, isWithdrawn(wf), "no label")
}

func TestCheckClusterName(t *testing.T) {
	assert.Zero(t, checkClusterName("cluster-1"))
	for _, name := range []string{"Cluster1", "a/b", "../x", "a.b", strings.Repeat("x", 64)} {
		held := checkClusterName(name)
		assert.Equal(t, ReasonInvalidCluster, held.reason, name)
		assert.Contains(t, held.message, contract.AnnotationCluster)
		assert.Contains(t, held.message, name)
	}
}

func TestAWorkflowIsHeldWhileItMayNotGoToItsCluster(t *testing.T) {
	tests := map[string]struct {
		change     func(*target)
		mods       []gen.Mod
		wantReason hubcopy.Reason
		wantParts  []string
	}{
		"nothing is wrong":     {change: func(*target) {}},
		"there is no such one": {func(t *target) { t.cluster = nil }, nil, ReasonClusterNotFound, []string{`"cluster1"`, "none of this name"}},
		"it is being detached": {
			func(t *target) { t.cluster.DeletionTimestamp = &gen.Time }, nil, ReasonClusterNotFound, []string{`"cluster1"`, "being detached"},
		},
		"the hub has not accepted it": {
			func(t *target) { t.cluster.Spec.HubAcceptsClient = false }, nil, ReasonClusterNotJoined, []string{`"cluster1"`, "accepted"},
		},
		"it is not bound": {
			func(t *target) { t.bound = false }, nil, ReasonClusterNotBound, []string{`"cluster1"`, "namespace default", "ManagedClusterSetBinding"},
		},
		"another namespace is asked for": {
			func(*target) {}, []gen.Mod{gen.WithAnnotations(map[string]string{contract.AnnotationClusterNamespace: "kube-system"})},
			ReasonNamespace, []string{contract.AnnotationClusterNamespace, "default, not in kube-system"},
		},
		"the same namespace is asked for": {
			change: func(*target) {}, mods: []gen.Mod{gen.WithAnnotations(map[string]string{contract.AnnotationClusterNamespace: "default"})},
		},
		"its agent is being removed": {
			func(t *target) { t.addon = gen.ManagedClusterAddOn(cluster, gen.Deleting()) }, nil,
			ReasonAgentLeaving, []string{`"cluster1"`, contract.AddonName, "being removed"},
		},
		"a Placement chose it for an agent that is gone": {
			func(*target) {}, []gen.Mod{gen.WithPlacement("anywhere"), gen.WithAssignment(cluster)},
			ReasonAgentLeaving, []string{`"cluster1"`, contract.AddonName, "not enabled any more"},
		},
		"a Placement chose it, and the agent is there": {
			change: func(t *target) { t.addon = gen.ManagedClusterAddOn(cluster) },
			mods:   []gen.Mod{gen.WithPlacement("anywhere"), gen.WithAssignment(cluster)},
		},
		"it is the hub, by its label": {
			func(t *target) { t.cluster.Labels = map[string]string{"local-cluster": "true"} }, nil,
			ReasonHubItself, []string{"the hub itself", "default/hello"},
		},
		"it is the hub, by its id": {
			func(t *target) { t.cluster.Status.ClusterClaims = claims("id.k8s.io", gen.HubID) }, nil, ReasonHubItself, []string{"the hub itself"},
		},
		"it is not the hub": {change: func(t *target) {
			t.cluster.Labels = map[string]string{"local-cluster": "false"}
			t.cluster.Status.ClusterClaims = append(claims("id.k8s.io", "another"), claims("another", gen.HubID)...)
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			target := target{name: cluster, cluster: gen.ManagedCluster(cluster), bound: true, hubID: gen.HubID}
			test.change(&target)
			held := checkTarget(gen.Workflow("hello", test.mods...), target)
			assert.Equal(t, test.wantReason, held.reason)
			assert.Equal(t, test.wantReason == "", held.message == "")
			for _, part := range test.wantParts {
				assert.Contains(t, held.message, part)
			}
		})
	}
}

func claims(name, value string) []clusterv1.ManagedClusterClaim {
	return []clusterv1.ManagedClusterClaim{{Name: name, Value: value}}
}

func TestIsBound(t *testing.T) {
	const set = "gpu"
	inSet := gen.ManagedCluster(cluster, gen.InClusterSet(set))
	labelled := gen.ManagedClusterSet(set)
	labelled.Spec.ClusterSelector = clusterv1beta2.ManagedClusterSelector{
		SelectorType: clusterv1beta2.LabelSelector, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"gpu": "yes"}},
	}
	tests := map[string]struct {
		cluster *clusterv1.ManagedCluster
		objects []client.Object
		want    bool
	}{
		"no set is bound":  {inSet, []client.Object{gen.ManagedClusterSet(set)}, false},
		"its set is bound": {inSet, []client.Object{gen.ManagedClusterSet(set), gen.ManagedClusterSetBinding(set)}, true},
		"its set is bound elsewhere": {
			inSet,
			[]client.Object{gen.ManagedClusterSet(set), gen.ManagedClusterSetBinding(set, gen.InNamespace("team-a"))},
			false,
		},
		"another set is bound": {
			gen.ManagedCluster(cluster, gen.InClusterSet("cpu")),
			[]client.Object{gen.ManagedClusterSet(set), gen.ManagedClusterSetBinding(set)},
			false,
		},
		"the set of all clusters": {
			gen.ManagedCluster(cluster),
			[]client.Object{gen.ManagedClusterSet(gen.GlobalSet), gen.ManagedClusterSetBinding(gen.GlobalSet)},
			true,
		},
		"a set by labels that it has": {
			gen.ManagedCluster(cluster, gen.WithLabels(map[string]string{"gpu": "yes"})),
			[]client.Object{labelled, gen.ManagedClusterSetBinding(set)},
			true,
		},
		"a set by labels that it lacks": {inSet, []client.Object{labelled, gen.ManagedClusterSetBinding(set)}, false},
		"the bound set does not exist":  {inSet, []client.Object{gen.ManagedClusterSetBinding(set)}, false},
		"one of two bound sets holds it": {
			inSet,
			[]client.Object{gen.ManagedClusterSetBinding("gone"), gen.ManagedClusterSet(set), gen.ManagedClusterSetBinding(set)},
			true,
		},
		"the binding is not bound": {inSet, []client.Object{gen.ManagedClusterSet(set), gen.ManagedClusterSetBinding(set,
			gen.WithCondition(clusterv1beta2.ClusterSetBindingBoundType, metav1.ConditionFalse, "ClusterSetNotFound", ""))}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, _ := newReconciler(t, append(test.objects, test.cluster)...)
			bound, err := r.isBound(t.Context(), gen.Namespace, test.cluster)
			require.NoError(t, err)
			assert.Equal(t, test.want, bound)
		})
	}
}

func TestASetThatCannotBeReadHoldsNothingAndKeepsNobody(t *testing.T) {
	odd := gen.ManagedClusterSet("odd")
	odd.Spec.ClusterSelector.SelectorType = "Astrology"
	r, _ := newReconciler(t, odd, gen.ManagedClusterSetBinding("odd"))
	bound, err := r.isBound(t.Context(), gen.Namespace, gen.ManagedCluster(cluster))
	require.NoError(t, err)
	assert.False(t, bound)

	r, _ = newReconciler(t, append(surroundings(), odd, gen.ManagedClusterSetBinding("odd"))...)
	bound, err = r.isBound(t.Context(), gen.Namespace, gen.ManagedCluster(cluster))
	require.NoError(t, err)
	assert.True(t, bound)
}

func TestAHeldWorkflowIsPendingAndSaysWhy(t *testing.T) {
	earlier := gen.Workflow("hello", gen.WithUID("earlier"))
	earlierRun := gen.RemoteWorkflow(earlier, cluster)
	tests := map[string]struct {
		wf         *unstructured.Unstructured
		objects    []client.Object
		wantReason hubcopy.Reason
		wantParts  []string
	}{
		"a wrong label": {
			gen.Workflow("hello", gen.WithCluster(cluster), gen.WithLabels(map[string]string{contract.LabelEnable: "1"})),
			surroundings(), hubcopy.ReasonInvalidLabel, []string{`not "1"`},
		},
		"a wrong label without a cluster": {
			gen.Workflow(
				"hello",
				gen.WithLabels(map[string]string{contract.LabelEnable: "1"}),
			), nil, hubcopy.ReasonInvalidLabel, []string{`not "1"`},
		},
		"a cluster that cannot exist": {
			gen.Workflow("hello", gen.WithCluster("Not A Cluster")), surroundings(), ReasonInvalidCluster, []string{"Not A Cluster"},
		},
		"an unknown cluster": {
			gen.Workflow("hello", gen.WithCluster("cluster9")), surroundings(), ReasonClusterNotFound, []string{`"cluster9"`},
		},
		"a cluster that is not bound": {
			gen.Workflow("hello", gen.WithCluster(cluster)), surroundings()[:2], ReasonClusterNotBound, []string{"bind a ManagedClusterSet"},
		},
		"an assigned cluster that is not bound": {
			gen.Workflow("hello", gen.WithAssignment(cluster)), surroundings()[:2], ReasonClusterNotBound, []string{"bind a ManagedClusterSet"},
		},
		"an earlier RemoteWorkflow has its name": {
			gen.Workflow("hello", gen.WithCluster(cluster)),
			append(surroundings(), gen.RemoteWorkflow(earlier, cluster, gen.WithFinalizers("x"), gen.Deleting())),
			ReasonNameTaken, []string{"default/hello on cluster cluster1", "UID earlier", "still being removed"},
		},
		"an earlier ManifestWork has its name": {
			gen.Workflow("hello", gen.WithCluster(cluster)), append(surroundings(), gen.ManifestWork(earlierRun)),
			ReasonNameTaken, []string{"default/hello on cluster cluster1", "ManifestWork " + earlierRun.Name},
		},
		"it does not fit": {
			gen.Workflow("hello", gen.WithCluster(cluster), gen.WithSpecField(strings.Repeat("x", 600_000), "entrypoint")),
			surroundings(), ReasonCannotTravel, []string{"does not fit a ManifestWork", "512000"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, hub := newReconciler(t, append(test.objects, test.wf)...)
			finalizers := test.wf.GetFinalizers()
			require.NoError(t, run(t, r, test.wf))
			require.True(t, hub.Show(test.wf))
			message := contract.StatusString(contract.Status(test.wf), "message")
			assert.Equal(t, "Pending", contract.Phase(test.wf))
			for _, part := range test.wantParts {
				assert.Contains(t, message, part)
			}
			assert.Equal(t, []string{"Warning " + string(test.wantReason) + " " + message}, hub.Events())
			assert.Equal(t, finalizers, test.wf.GetFinalizers(), "what was not sent anywhere is not kept")

			writes := len(hub.Writes())
			require.NoError(t, run(t, r, test.wf))
			assert.Len(t, hub.Writes(), writes, "the same message is not written again")
			assert.NotContains(t, strings.Join(hub.Writes(), "\n"), "create")
		})
	}
}

func TestAHeldWorkflowGoesOnceTheCauseIsGone(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithCluster(cluster))
	r, hub := newReconciler(t, append(surroundings()[:2], wf)...)
	require.NoError(t, run(t, r, wf))
	require.True(t, hub.Show(wf))
	require.Equal(t, "Pending", contract.Phase(wf))

	require.NoError(t, hub.Create(t.Context(), gen.ManagedClusterSet(gen.GlobalSet)))
	require.NoError(t, hub.Create(t.Context(), gen.ManagedClusterSetBinding(gen.GlobalSet)))
	require.NoError(t, run(t, r, wf))
	runOf(t, hub, wf)
}

func TestAHoldThatCouldNotBeWritten(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithCluster("cluster9"))
	r, hub := newReconciler(t, wf)
	hub.Fail("patch Workflow", errors.New("down"))
	require.ErrorContains(t, run(t, r, wf), "down")
	hub.Fail("patch Workflow", fakehub.Conflict())
	require.NoError(t, run(t, r, wf))
	assert.Empty(t, hub.Events())
}
