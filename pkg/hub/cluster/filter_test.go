package cluster_test

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	clusterv1beta2 "open-cluster-management.io/api/cluster/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/cluster"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// opens is a binding of a set in the Workflow's namespace.
func opens(set labels.Selector) cluster.Binding {
	return cluster.Binding{Namespace: gen.Namespace, Name: "b", Set: set, MaxWorkflows: math.MaxInt64}
}

func TestWhyAWorkflowMayNotGoToACluster(t *testing.T) {
	withoutAgent := func(value string) func(*cluster.Target) {
		return func(t *cluster.Target) {
			t.Addon = nil
			t.Managed.Labels = map[string]string{contract.LabelWithoutAgent: value}
		}
	}
	onHub := func(namespaces string) func(*cluster.Target) {
		return func(t *cluster.Target) {
			t.OnHub, t.Managed.Annotations = true, map[string]string{contract.AnnotationNamespaces: namespaces}
		}
	}
	tests := map[string]struct {
		change     func(*cluster.Target)
		mods       []gen.Mod
		wantReason string
		wantKind   string
		wantParts  []string
	}{
		"nothing is wrong": {change: func(*cluster.Target) {}},
		"there is no such one": {
			func(t *cluster.Target) { t.Managed = nil }, nil, "ClusterNotFound", "no such ManagedCluster", []string{`"cluster1"`, "none of this name"},
		},
		"it is being detached": {
			func(t *cluster.Target) { t.Managed.DeletionTimestamp = &gen.Time }, nil, "ClusterNotFound", "being detached", []string{`"cluster1"`, "being detached"},
		},
		"the hub has not accepted it": {
			func(t *cluster.Target) { t.Managed.Spec.HubAcceptsClient = false }, nil, "ClusterNotAccepted", "not accepted by the hub", []string{`"cluster1"`, "accepted"},
		},
		"nothing is bound": {
			func(t *cluster.Target) { t.Bindings = nil }, nil, "ClusterNotBound", "not bound to the namespace",
			[]string{`"cluster1"`, "namespace default", "ManagedClusterSetBinding"},
		},
		"what is bound does not hold it": {
			func(t *cluster.Target) { t.Bindings = []cluster.Binding{opens(labels.Nothing())} }, nil, "ClusterNotBound", "not bound to the namespace", nil,
		},
		"one of what is bound holds it": {change: func(t *cluster.Target) {
			t.Bindings = append([]cluster.Binding{opens(labels.Nothing())}, t.Bindings...)
		}},
		"another namespace is asked for": {
			func(*cluster.Target) {}, []gen.Mod{gen.WithAnnotations(map[string]string{contract.AnnotationClusterNamespace: "kube-system"})},
			"NamespaceNotAllowed", "namespace not allowed", []string{contract.AnnotationClusterNamespace, "no Workflow is sent to namespace kube-system"},
		},
		"the same namespace is asked for": {
			change: func(*cluster.Target) {}, mods: []gen.Mod{gen.WithAnnotations(map[string]string{contract.AnnotationClusterNamespace: "default"})},
		},
		"it is the hub": {
			func(t *cluster.Target) { t.OnHub = true }, nil,
			"ClusterIsHub", "the hub itself", []string{"the hub itself", "default/hello", "in another namespace"},
		},
		"it is the hub, and a namespace there is not open": {
			func(t *cluster.Target) { t.OnHub = true },
			[]gen.Mod{gen.WithAnnotations(map[string]string{contract.AnnotationClusterNamespace: "other"})},
			"NamespaceNotAllowed", "namespace not allowed", []string{"on the ManagedCluster, which is the hub itself"},
		},
		"it is the hub, and the binding does not allow a namespace that is open": {
			onHub("a,other"), []gen.Mod{gen.WithAnnotations(map[string]string{contract.AnnotationClusterNamespace: "other"})},
			"NamespaceNotAllowed", "namespace not allowed", []string{"on the ManagedClusterSetBinding"},
		},
		"it is the hub, without agent": {
			func(t *cluster.Target) { withoutAgent("true")(t); onHub("default")(t) },
			[]gen.Mod{gen.InNamespace("team-a"), gen.WithAnnotations(map[string]string{contract.AnnotationClusterNamespace: "default"})},
			"AgentUnavailable", "addon not enabled", []string{"it is the hub itself", contract.LabelWithoutAgent},
		},
		"its agent is not enabled": {
			func(t *cluster.Target) { t.Addon = nil }, nil, "AgentUnavailable", "addon not enabled",
			[]string{`"cluster1"`, contract.AddonName, contract.LabelWithoutAgent + "=true", "at least once"},
		},
		"its agent is being disabled": {
			func(t *cluster.Target) { t.Addon = gen.ManagedClusterAddOn(name1, gen.Deleting()) }, nil,
			"AgentUnavailable", "addon being disabled", []string{`"cluster1"`, contract.AddonName, "being disabled"},
		},
		"its agent is not available": {
			func(t *cluster.Target) {
				t.Addon = gen.ManagedClusterAddOn(name1, agentAvailable(metav1.ConditionUnknown, "no lease"))
			}, nil,
			"AgentUnavailable", "addon not available", []string{`"cluster1"`, "no lease"},
		},
		"it is used without an agent": {change: withoutAgent("true")},
		"it is used without an agent, which is being disabled": {
			func(t *cluster.Target) {
				withoutAgent("true")(t)
				t.Addon = gen.ManagedClusterAddOn(name1, gen.Deleting())
			}, nil,
			"AgentUnavailable", "addon being disabled", nil,
		},
		"it is said not to be used without an agent": {withoutAgent("false"), nil, "AgentUnavailable", "addon not enabled", nil},
		"it is used without an agent, and a Placement has chosen it": {
			withoutAgent("true"), []gen.Mod{gen.WithPlacement("anywhere")}, "AgentUnavailable", "addon not enabled", []string{"a Placement chooses only"},
		},
		"an earlier Workflow has the name": {
			func(t *cluster.Target) { t.NameTakenBy = "earlier" }, nil, "NameTaken", "name taken", []string{"default/hello on cluster cluster1", "UID earlier", "still being removed"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			target := cluster.Target{
				Cluster:  cluster.Cluster{Name: name1, Managed: gen.ManagedCluster(name1), Addon: gen.ManagedClusterAddOn(name1)},
				Bindings: []cluster.Binding{opens(labels.Everything())},
			}
			test.change(&target)
			problem := cluster.Filter(hubworkflow.Of(gen.Workflow("hello", test.mods...)), target)
			if test.wantReason == "" {
				assert.Nil(t, problem)
				return
			}
			require.NotNil(t, problem)
			assert.Equal(t, test.wantReason, problem.Reason)
			assert.Equal(t, test.wantKind, problem.Kind)
			for _, part := range test.wantParts {
				assert.Contains(t, problem.Message, part)
			}
		})
	}
}

func TestWhichClusterIsTheHub(t *testing.T) {
	claims := func(name, value string) clusterv1.ManagedClusterClaim {
		return clusterv1.ManagedClusterClaim{Name: name, Value: value}
	}
	is := func(label, hubID string, claims ...clusterv1.ManagedClusterClaim) bool {
		managed := gen.ManagedCluster(name1, gen.WithLabels(map[string]string{"local-cluster": label}))
		managed.Status.ClusterClaims = claims
		return cluster.Cluster{Name: name1, Managed: managed}.IsHub(hubID)
	}
	assert.True(t, is("true", gen.HubID), "by its label")
	assert.True(t, is("false", gen.HubID, claims("id.k8s.io", gen.HubID)), "by its id")
	assert.False(t, is("false", gen.HubID, claims("id.k8s.io", "another"), claims("another", gen.HubID)))
	assert.True(t, is("true", ""), "by its label, where the hub's id is not known")
	assert.False(t, is("false", "", claims("id.k8s.io", "")))
	assert.False(t, cluster.Cluster{Name: name1}.IsHub(gen.HubID))
	assert.True(t, cluster.Cluster{Name: "local-cluster", Managed: gen.ManagedCluster("local-cluster")}.IsHub(gen.HubID), "by its name")
}

func TestAClusterThatCannotExist(t *testing.T) {
	for _, name := range []string{"Cluster1", "a/b", "../x", "a.b", "", strings.Repeat("x", 64)} {
		problem := cluster.Filter(hubworkflow.Of(gen.Workflow("hello")), cluster.Target{Cluster: cluster.Cluster{Name: name}})
		require.NotNil(t, problem, name)
		assert.Equal(t, "InvalidClusterName", problem.Reason, name)
		assert.Contains(t, problem.Message, contract.AnnotationCluster)
		assert.Contains(t, problem.Message, name)
	}
}

func TestWhatIsBoundToANamespace(t *testing.T) {
	const set = "gpu"
	inSet := gen.ManagedCluster(name1, gen.InClusterSet(set))
	labelled := gen.ManagedClusterSet(set)
	labelled.Spec.ClusterSelector = clusterv1beta2.ManagedClusterSelector{
		SelectorType: clusterv1beta2.LabelSelector, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"gpu": "yes"}},
	}
	odd := gen.ManagedClusterSet("odd")
	odd.Spec.ClusterSelector.SelectorType = "Astrology"
	tests := map[string]struct {
		managed *clusterv1.ManagedCluster
		objects []client.Object
		want    bool
	}{
		"no set is bound":               {inSet, []client.Object{gen.ManagedClusterSet(set)}, false},
		"its set is bound":              {inSet, []client.Object{gen.ManagedClusterSet(set), gen.ManagedClusterSetBinding(set)}, true},
		"its set is bound elsewhere":    {inSet, []client.Object{gen.ManagedClusterSet(set), gen.ManagedClusterSetBinding(set, gen.InNamespace("team-a"))}, false},
		"another set is bound":          {gen.ManagedCluster(name1, gen.InClusterSet("cpu")), []client.Object{gen.ManagedClusterSet(set), gen.ManagedClusterSetBinding(set)}, false},
		"the set of all clusters":       {gen.ManagedCluster(name1), []client.Object{gen.ManagedClusterSet(gen.GlobalSet), gen.ManagedClusterSetBinding(gen.GlobalSet)}, true},
		"a set by labels that it has":   {gen.ManagedCluster(name1, gen.WithLabels(map[string]string{"gpu": "yes"})), []client.Object{labelled, gen.ManagedClusterSetBinding(set)}, true},
		"a set by labels that it lacks": {inSet, []client.Object{labelled, gen.ManagedClusterSetBinding(set)}, false},
		"the bound set does not exist":  {inSet, []client.Object{gen.ManagedClusterSetBinding(set)}, false},
		"one of two bound sets holds it": {
			inSet, []client.Object{gen.ManagedClusterSetBinding("gone"), gen.ManagedClusterSet(set), gen.ManagedClusterSetBinding(set)}, true,
		},
		"the binding is not bound": {inSet, []client.Object{gen.ManagedClusterSet(set), gen.ManagedClusterSetBinding(set,
			gen.WithCondition(clusterv1beta2.ClusterSetBindingBoundType, metav1.ConditionFalse, "ClusterSetNotFound", ""))}, false},
		"a set that cannot be read holds nothing": {inSet, []client.Object{odd, gen.ManagedClusterSetBinding("odd")}, false},
		"and keeps nobody from another": {
			inSet, []client.Object{odd, gen.ManagedClusterSetBinding("odd"), gen.ManagedClusterSet(set), gen.ManagedClusterSetBinding(set)}, true,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			hub := fakehub.New(t, nil, test.objects...)
			bound, err := cluster.Bindings(t.Context(), hub, gen.Namespace)
			require.NoError(t, err)
			holds := false
			for _, set := range bound {
				holds = holds || set.Holds(test.managed)
			}
			assert.Equal(t, test.want, holds)
		})
	}
	for _, call := range []string{"list ManagedClusterSetBinding", "get ManagedClusterSet"} {
		hub := fakehub.New(t, nil, gen.ManagedClusterSet(set), gen.ManagedClusterSetBinding(set))
		hub.Fail(call, assert.AnError)
		_, err := cluster.Bindings(t.Context(), hub, gen.Namespace)
		require.ErrorIs(t, err, assert.AnError)
	}
}
