package scheduler

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	clusterv1beta1 "open-cluster-management.io/api/cluster/v1beta1"
	clusterv1beta2 "open-cluster-management.io/api/cluster/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

const cluster1 = "cluster1"

var (
	detached  = gen.ManagedCluster(cluster1, gen.WithFinalizers("x"), gen.Deleting())
	agentDown = gen.WithCondition(addonv1beta1.ManagedClusterAddOnConditionAvailable, metav1.ConditionFalse, "Down", "its Lease is old")
	notBound  = gen.WithCondition(clusterv1beta2.ClusterSetBindingBoundType, metav1.ConditionFalse, "ClusterSetNotFound", "")
	isTheHub  = gen.WithLabels(map[string]string{"local-cluster": "true"})
)

func inRemoteNamespace(namespace string) gen.Mod {
	return gen.WithAnnotations(map[string]string{contract.AnnotationClusterNamespace: namespace})
}

func TestAWorkflowGoesToTheClusterThatItNamesOrThatItsPlacementSelects(t *testing.T) {
	original := gen.Workflow("original", gen.WithPlacement("anywhere"), gen.WithAssignment("gone"), gen.WithHubStatus("Succeeded"))
	tests := map[string]struct {
		wf      *unstructured.Unstructured
		objects []client.Object
		want    string
	}{
		"it names its cluster": {gen.Workflow("hello", gen.WithCluster("cluster2")), surroundings(), "cluster2"},
		"it names a Placement": {gen.Workflow("hello", gen.WithPlacement("anywhere")), surroundings(), cluster1},
		"its own choice counts more": {
			gen.Workflow("hello", gen.WithPlacement("gone"), gen.WithCluster("cluster2")), surroundings(), "cluster2",
		},
		"an assignment copied from another": {
			gen.Workflow("hello", gen.WithAnnotations(original.GetAnnotations())), surroundings(), cluster1,
		},
		"it has waited": {
			gen.Workflow("hello", gen.WithPlacement("anywhere"), gen.WithHubStatus("Pending", map[string]any{"message": "waiting"})),
			surroundings(), cluster1,
		},
		"it asks for the namespace that it has": {
			gen.Workflow("hello", gen.WithPlacement("anywhere"), inRemoteNamespace(gen.Namespace)),
			surroundings(), cluster1,
		},
		"of every page of decisions, the least busy": {
			gen.Workflow("hello", gen.WithPlacement("p")),
			objects(
				open(), gen.Workflow("busy", gen.WithAssignment(cluster1)), gen.ManagedCluster("cluster0"), gen.ManagedClusterAddOn("cluster0"),
				surroundings()[2:6], gen.Placement("p"), gen.PlacementDecision("p", 1, []string{cluster1}),
				gen.PlacementDecision("p", 2, []string{"cluster2"}), gen.PlacementDecision("another", 1, []string{"cluster0"}),
				gen.PlacementDecision("p", 3, []string{"cluster0"}, gen.InNamespace("elsewhere")),
			),
			"cluster2",
		},
		"of 250 decisions, most of clusters that are not there": {
			gen.Workflow("hello", gen.WithPlacement("p")),
			objects(open(), surroundings()[2:6], gen.Placement("p"), pages("p", 250, map[int]string{249: "cluster2"})), "cluster2",
		},
		"what has finished does not count": {
			gen.Workflow("hello", gen.WithPlacement("anywhere")),
			objects(
				surroundings(), gen.Workflow("running", gen.WithAssignment(cluster1), gen.WithHubStatus("Running")),
				gen.Workflow("failed", gen.WithAssignment("cluster2"), gen.WithHubStatus("Failed")),
			),
			"cluster2",
		},
		"a set by labels that it has": {
			gen.Workflow("hello", gen.WithCluster(cluster1)),
			objects(
				gpuSet(), gen.ManagedClusterSetBinding("gpu"), gen.ManagedCluster(cluster1, gen.WithLabels(map[string]string{"gpu": "yes"})),
				gen.ManagedClusterAddOn(cluster1),
			),
			cluster1,
		},
		"an unreadable set keeps nobody": {
			gen.Workflow("hello", gen.WithCluster(cluster1)), objects(surroundings(), oddSet(), gen.ManagedClusterSetBinding("odd")), cluster1,
		},
		"another namespace that its binding allows": {
			gen.Workflow("hello", gen.WithCluster(cluster1), inRemoteNamespace("team-b")),
			objects(gen.ManagedClusterSet(gen.GlobalSet), surroundings()[2:], gen.ManagedClusterSetBinding(gen.GlobalSet,
				gen.WithAnnotations(map[string]string{contract.AnnotationNamespaces: "team-a, team-b"}))),
			cluster1,
		},
		"any namespace": {
			gen.Workflow("hello", gen.WithCluster(cluster1), inRemoteNamespace("team-b")),
			objects(gen.ManagedClusterSet(gen.GlobalSet), surroundings()[2:], gen.ManagedClusterSetBinding(gen.GlobalSet,
				gen.WithAnnotations(map[string]string{contract.AnnotationNamespaces: "*"}))),
			cluster1,
		},
		"one of two bindings has room": {
			gen.Workflow("hello", gen.WithCluster(cluster1)),
			objects(surroundings(), gpuSet(), gen.ManagedClusterSetBinding("gpu",
				gen.WithAnnotations(map[string]string{contract.AnnotationMaxWorkflows: "0"}))),
			cluster1,
		},
		"too small, and that is said not to matter": {
			gen.Workflow("hello", gen.WithCluster(cluster1), requesting("9", "1Gi"), unchecked()),
			objects(surroundings(), gen.Score(cluster1, gen.Nodes(4, 8))),
			cluster1,
		},
		"too small, and that is said not to matter there": {
			gen.Workflow("hello", gen.WithPlacement("anywhere"), requesting("9", "1Gi")),
			objects(surroundings(), gen.Score(cluster1, gen.Nodes(4, 8)), gen.Score("cluster2", gen.Nodes(4, 8)),
				gen.ManagedCluster("cluster2", unchecked())),
			"cluster2",
		},
		"no node is counted": {
			gen.Workflow("hello", gen.WithCluster(cluster1), requesting("9", "1Gi")),
			objects(surroundings(), gen.Score(cluster1, contract.Capacity{})),
			cluster1,
		},
		"the nodes that it tolerates are not counted": {
			gen.Workflow("hello", gen.WithCluster(cluster1), requesting("9", "1Gi"),
				gen.WithSpecField([]any{map[string]any{"operator": "Exists"}}, "tolerations")),
			objects(surroundings(), gen.Score(cluster1, gen.Nodes(4, 8))),
			cluster1,
		},
		"the only one with a node that is large enough": {
			gen.Workflow("hello", gen.WithPlacement("anywhere"), requesting("9", "1Gi")),
			objects(surroundings(), gen.Score(cluster1, gen.Nodes(40, 8)), gen.Score("cluster2", gen.Nodes(1, 10))),
			"cluster2",
		},
		"a cluster that is used without the agent": {
			gen.Workflow("hello", gen.WithCluster(cluster1)),
			objects(open(), gen.ManagedCluster(cluster1, gen.WithLabels(map[string]string{contract.LabelWithoutAgent: "true"}))), cluster1,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, append(test.objects, test.wf)...)
			assert.Equal(t, 1, h.run())
			assert.Equal(t, []string{"patch Workflow default/hello"}, h.hub.Writes())
			assert.Equal(t, test.want, h.clusterOf(test.wf))
			assert.Equal(t, test.want, test.wf.GetAnnotations()[contract.AnnotationCluster])
			assert.Contains(t, test.wf.GetFinalizers(), contract.FinalizerDispatch)
			events := h.hub.Events()
			require.Len(t, events, 1)
			assert.True(t, strings.HasPrefix(events[0], "Normal Scheduled assigned to cluster "+test.want+": "), events[0])
			assert.Empty(t, h.queue.items)
		})
	}
}

func gpuSet() *clusterv1beta2.ManagedClusterSet {
	set := gen.ManagedClusterSet("gpu")
	set.Spec.ClusterSelector = clusterv1beta2.ManagedClusterSelector{
		SelectorType: clusterv1beta2.LabelSelector, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"gpu": "yes"}},
	}
	return set
}

func oddSet() *clusterv1beta2.ManagedClusterSet {
	set := gen.ManagedClusterSet("odd")
	set.Spec.ClusterSelector.SelectorType = "Astrology"
	return set
}

// waitingTest is a Workflow that goes nowhere, and what it says of that.
type waitingTest struct {
	wf         *unstructured.Unstructured
	objects    []client.Object
	wantReason string
	wantParts  []string
}

func (test waitingTest) run(t *testing.T) {
	test.wf = test.wf.DeepCopy()
	h := newHarness(t, append(test.objects, test.wf.DeepCopy())...)
	assert.Equal(t, 1, h.run(), "its own message is no reason to try again")
	message := h.messageOf(test.wf)
	assert.Equal(t, "Pending", contract.Phase(test.wf))
	for _, part := range test.wantParts {
		assert.Contains(t, message, part)
	}
	assert.Equal(t, []string{"Warning " + test.wantReason + " " + message}, h.hub.Events())
	assert.Empty(t, contract.AssignedCluster(test.wf))
	assert.Empty(t, test.wf.GetFinalizers(), "what was not sent anywhere is not kept")
	assert.Empty(t, h.cache.node(cluster1).unfinished)
	assert.NotContains(t, h.cache.places, test.wf.GetUID())

	h.start(append(test.objects, test.wf)...)
	assert.Equal(t, 1, h.run())
	assert.Len(t, h.hub.Writes(), 1, "after a restart, the same message is not written again")
	assert.Empty(t, h.hub.Events())
}

func TestAWorkflowWaitsAndSaysForWhat(t *testing.T) {
	direct, placed := gen.Workflow("hello", gen.WithCluster(cluster1)), gen.Workflow("hello", gen.WithPlacement("p"))
	satisfied := gen.WithCondition(clusterv1beta1.PlacementConditionSatisfied, metav1.ConditionFalse, "NoIntersection",
		"No valid ManagedClusterSetBindings found")
	addon := gen.ManagedClusterAddOn(cluster1)
	selects := func(clusters ...string) []client.Object {
		return objects(open(), gen.Placement("p"), gen.PlacementDecision("p", 1, clusters))
	}
	hubByID := gen.ManagedCluster(cluster1)
	hubByID.Status.ClusterClaims = []clusterv1.ManagedClusterClaim{{Name: "id.k8s.io", Value: gen.HubID}}
	notAccepted := gen.ManagedCluster(cluster1)
	notAccepted.Spec.HubAcceptsClient = false
	tests := map[string]waitingTest{
		"it names neither Placement nor cluster": {
			gen.Workflow("hello"), surroundings(), "NoTarget",
			[]string{contract.AnnotationPlacement, "namespace default", contract.AnnotationCluster},
		},
		"a wrong label": {
			gen.Workflow("hello", gen.WithCluster(cluster1), gen.WithLabels(map[string]string{contract.LabelEnable: "1"})), surroundings(),
			"InvalidLabel", []string{`not "1"`},
		},
		"a name that Argo does not run": {
			gen.Workflow(strings.Repeat("x", 64), gen.WithPlacement("anywhere")), surroundings(), "InvalidName", []string{"64 characters"},
		},
		"it is too large": {
			gen.Workflow("hello", gen.WithCluster(cluster1), gen.WithSpecField(strings.Repeat("x", 600_000), "entrypoint")), surroundings(),
			"CannotTravel", []string{"bytes"},
		},

		"a cluster that cannot exist": {
			gen.Workflow("hello", gen.WithCluster("Not A Cluster")), surroundings(), "InvalidClusterName", []string{`"Not A Cluster"`},
		},
		"there is no such cluster": {direct, open(), "ClusterNotFound", []string{`"cluster1"`, "none of this name"}},
		"the cluster is being detached": {
			direct, objects(open(), detached, addon), "ClusterNotFound", []string{`"cluster1"`, "being detached"},
		},
		"the hub has not accepted it": {direct, objects(open(), notAccepted, addon), "ClusterNotAccepted", []string{"accepted by the hub"}},
		"no set is bound": {
			direct, surroundings()[2:], "ClusterNotBound", []string{`"cluster1"`, "namespace default", "ManagedClusterSetBinding"},
		},
		"its set is bound elsewhere": {
			direct,
			objects(gen.ManagedClusterSet(gen.GlobalSet), gen.ManagedClusterSetBinding(gen.GlobalSet, gen.InNamespace("a")), surroundings()[2:]),
			"ClusterNotBound", nil,
		},
		"a set by labels that it lacks": {
			direct, objects(gpuSet(), gen.ManagedClusterSetBinding("gpu"), surroundings()[2:]), "ClusterNotBound", nil,
		},
		"the bound set does not exist": {direct, objects(gen.ManagedClusterSetBinding("gone"), surroundings()[2:]), "ClusterNotBound", nil},
		"the binding is not bound": {
			direct,
			objects(
				gen.ManagedClusterSet(gen.GlobalSet),
				gen.ManagedClusterSetBinding(gen.GlobalSet, notBound),
				surroundings()[2:],
			),
			"ClusterNotBound", nil,
		},
		"another namespace is asked for": {
			gen.Workflow("hello", gen.WithCluster(cluster1), inRemoteNamespace("kube-system")),
			surroundings(), "NamespaceNotAllowed", []string{"no Workflow is sent to namespace kube-system"},
		},
		"it is the hub, by its label": {
			direct, objects(open(), gen.ManagedCluster(cluster1, isTheHub), addon), "ClusterIsHub", []string{"the hub itself", "default/hello"},
		},
		"it is the hub, and a namespace there is not allowed": {
			gen.Workflow("hello", gen.WithCluster(cluster1), inRemoteNamespace("elsewhere")),
			objects(open(), gen.ManagedCluster(cluster1, isTheHub), addon), "NamespaceNotAllowed", []string{"which is the hub itself"},
		},
		"it is the hub, by its id": {direct, objects(open(), hubByID, addon), "ClusterIsHub", []string{"the hub itself"}},
		"the addon is not enabled": {
			direct, objects(open(), gen.ManagedCluster(cluster1)), "AgentUnavailable", []string{"enable its addon", contract.LabelWithoutAgent},
		},
		"the addon is being disabled": {
			direct, objects(open(), gen.ManagedCluster(cluster1), gen.ManagedClusterAddOn(cluster1, gen.WithFinalizers("x"), gen.Deleting())),
			"AgentUnavailable", []string{"being disabled"},
		},
		"the agent is not available": {
			direct, objects(open(), gen.ManagedCluster(cluster1), gen.ManagedClusterAddOn(cluster1, agentDown)), "AgentUnavailable",
			[]string{"its Lease is old"},
		},
		"an earlier Workflow has its name": {
			direct,
			append(
				surroundings(),
				gen.RemoteWorkflow(gen.Workflow("hello", gen.WithUID("earlier")), cluster1, gen.WithFinalizers("x"), gen.Deleting()),
			),
			"NameTaken", []string{"default/hello on cluster cluster1", "UID earlier", "still being removed"},
		},
		"there is no such Placement": {
			placed, []client.Object{gen.Placement("p", gen.InNamespace("elsewhere"))}, "PlacementNotFound",
			[]string{`Placement "p"`, "none of this name in namespace default"},
		},
		"the Placement has not decided": {
			placed, []client.Object{gen.Placement("p")}, "NoClusterSelected", []string{`waiting for Placement "p" to select a cluster`},
		},
		"it selects none and says why": {
			placed, []client.Object{gen.Placement("p", satisfied), gen.PlacementDecision("p", 1, nil)}, "NoClusterSelected",
			[]string{`to select a cluster: No valid ManagedClusterSetBindings found`},
		},
		"the one that it selects is no use": {
			placed, append(selects("a"), gen.ManagedCluster("a", isTheHub), gen.ManagedClusterAddOn("a")), "NoUsableCluster",
			[]string{`cluster a, the only one that Placement "p" selects, cannot run Workflows: the hub itself`},
		},
		"none that it selects is of use": {
			placed, append(selects("a", "b", cluster1), gen.ManagedCluster("a"), detached, gen.ManagedCluster("b")), "NoUsableCluster",
			[]string{`none of the 3 clusters that Placement "p" selects can run Workflows: addon not enabled; being detached`},
		},
		"a Placement uses none without it": {
			placed, append(selects("a"), gen.ManagedCluster("a", gen.WithLabels(map[string]string{contract.LabelWithoutAgent: "true"}))),
			"NoUsableCluster", []string{"addon not enabled"},
		},
		"250 that it selects are not there": {
			placed, objects(open(), surroundings()[2:4], gen.Placement("p"), pages("p", 250, nil)), "NoUsableCluster",
			[]string{`none of the 250 clusters that Placement "p" selects can run Workflows: no such ManagedCluster`},
		},
		"the name is taken everywhere": {
			placed, objects(selects(cluster1), surroundings()[2:4], gen.RemoteWorkflow(gen.Workflow("hello", gen.WithUID("earlier")), cluster1)),
			"NoUsableCluster", []string{"name taken"},
		},
	}
	for name, test := range tests {
		t.Run(name, test.run)
	}
}

func TestLeavesAloneWhatIsNotTheSchedulers(t *testing.T) {
	placed := gen.WithPlacement("anywhere")
	label := func(value string) gen.Mod { return gen.WithLabels(map[string]string{contract.LabelEnable: value}) }
	tests := map[string]*unstructured.Unstructured{
		"it is assigned":                       gen.Workflow("hello", placed, gen.WithAssignment(cluster1)),
		"it is withdrawn":                      gen.Workflow("hello", placed, label("false")),
		"it is withdrawn by an empty label":    gen.Workflow("hello", placed, label("")),
		"it is being deleted":                  gen.Workflow("hello", placed, gen.WithFinalizers("x"), gen.Deleting()),
		"it has our finalizer":                 gen.Workflow("hello", placed, gen.WithFinalizers(contract.FinalizerDispatch)),
		"it has run, and lost its annotations": gen.Workflow("hello", placed, gen.WithHubStatus("Running")),
		"it has ended":                         gen.Workflow("hello", gen.WithHubStatus("Succeeded")),
	}
	for name, wf := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, append(surroundings(), wf)...)
			assert.Zero(t, h.run())
			assert.Empty(t, h.hub.Writes())
			assert.Empty(t, h.hub.Events())
			assert.Empty(t, h.queue.items)
		})
	}
}

func TestOneWhoseRemoteWorkflowIsThereIsNotTouchedUntilThatIsGone(t *testing.T) {
	for name, mods := range map[string][]gen.Mod{
		"it has lost its assignment":   {gen.WithPlacement("anywhere")},
		"it has lost all, and has run": {gen.WithStatus("Running")},
		"and it asks for another namespace": {
			gen.WithPlacement("anywhere"), inRemoteNamespace("b"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			rw := gen.RemoteWorkflow(gen.Workflow("hello"), cluster1)
			h := newHarness(t, append(surroundings(), rw, gen.Workflow("hello", mods...))...)
			assert.Zero(t, h.run())
			assert.Empty(t, h.hub.Writes())
			h.told(rw, nil)
			assert.Equal(t, 1, h.run())
		})
	}
}

func TestTheStatusOfSomebodyElseIsTold(t *testing.T) {
	for name, wf := range map[string]*unstructured.Unstructured{
		"pending":                    gen.Workflow("hello", gen.WithStatus("Pending", map[string]any{"progress": "0/1"})),
		"running":                    gen.Workflow("hello", gen.WithPlacement("anywhere"), gen.WithStatus("Running")),
		"finished":                   gen.Workflow("hello", gen.WithStatus("Succeeded")),
		"lost, by the label of Argo": gen.Workflow("hello", gen.WithLabels(map[string]string{contract.LabelCompleted: "true"})),
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, append(surroundings(), wf)...)
			assert.Equal(t, 1, h.run())
			assert.Empty(t, h.clusterOf(wf))
			require.Len(t, h.hub.Events(), 1)
			assert.Zero(t, h.run())
		})
	}
}

func TestOnARestoredHubWhatMayHaveRunSinceTheBackupGetsNoCluster(t *testing.T) {
	for restored, want := range map[time.Duration]string{-2 * time.Hour: cluster1, 0: ""} {
		wf := gen.Workflow("hello", gen.WithPlacement("anywhere"), created(-time.Hour))
		h := newHarness(t, surroundings()...)
		h.RestoredAt = now.Add(restored)
		require.NoError(t, h.hub.Create(t.Context(), wf))
		require.True(t, h.hub.Show(wf))
		h.told(nil, wf)
		h.run()
		assert.Equal(t, want, h.clusterOf(wf))
	}
}

func TestOwnsAsksForEveryLabelValueButAWithdrawal(t *testing.T) {
	for value, want := range map[string]bool{"true": true, "yes": true, "false": false, "": false} {
		wf := gen.Workflow("hello", gen.WithLabels(map[string]string{contract.LabelEnable: value}))
		assert.Equal(t, want, owns(hubworkflow.Of(wf)), "value %q", value)
	}
}

// pages builds the decisions of a Placement, a hundred to a page: of clusters that are not there, but for those named at a position.
func pages(placement string, count int, there map[int]string) []client.Object {
	var out []client.Object
	var names []string
	for i := range count {
		names = append(names, cmp.Or(there[i], fmt.Sprintf("gone-%03d", i)))
		if len(names) == 100 || i == count-1 {
			out = append(out, gen.PlacementDecision(placement, len(out)+1, names))
			names = nil
		}
	}
	return out
}
