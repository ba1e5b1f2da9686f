package scheduler

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	clusterv1beta1 "open-cluster-management.io/api/cluster/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestAnEventTriesThoseThatItConcerns(t *testing.T) {
	down, up := gen.ManagedClusterAddOn(cluster1, agentDown), gen.ManagedClusterAddOn(cluster1)
	otherwiseDown := gen.ManagedClusterAddOn(cluster1,
		gen.WithCondition(addonv1beta1.ManagedClusterAddOnConditionAvailable, metav1.ConditionUnknown, "Lost", "no Lease"))
	managed, busier := gen.ManagedCluster(cluster1), gen.ManagedCluster(cluster1, gen.WithAllocatableCPU("4"))
	cluster2 := gen.ManagedClusterAddOn("cluster2")
	page := gen.PlacementDecision("p", 1, []string{cluster1})
	more, less := gen.PlacementDecision("p", 1, []string{cluster1, "cluster2"}), gen.PlacementDecision("p", 1, nil)
	says := gen.Placement("p", gen.WithCondition(clusterv1beta1.PlacementConditionSatisfied, metav1.ConditionTrue, "X", "all is well"))
	unbound := gen.ManagedClusterSetBinding(gen.GlobalSet, notBound)
	bound, set := gen.ManagedClusterSetBinding(gen.GlobalSet), gen.ManagedClusterSet(gen.GlobalSet)
	counted := gen.ManagedClusterSet(gen.GlobalSet, gen.WithLabels(map[string]string{"a": "b"}))
	narrow := gen.ManagedClusterSet(gen.GlobalSet)
	narrow.Spec.ClusterSelector.LabelSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"gpu": "yes"}}
	labelled := gen.ManagedCluster(cluster1, gen.WithLabels(map[string]string{"gpu": "yes"}))

	hubByID := gen.ManagedCluster(cluster1)
	hubByID.Status.ClusterClaims = []clusterv1.ManagedClusterClaim{{Name: "id.k8s.io", Value: gen.HubID}}
	opened := hubByID.DeepCopy()
	opened.Annotations = map[string]string{contract.AnnotationNamespaces: "a"}

	const nobody, direct, placed, both = 0, 1, 2, 3
	tests := map[string]struct {
		// before replaces what there is of this: open sets, cluster1 and its addon, cluster2, Placement p and its page.
		before       client.Object
		was, is      client.Object
		want         int
		wantSettling bool
	}{
		"the addon becomes available":                 {before: down, was: down, is: up, want: both},
		"the addon is enabled, and available":         {was: nil, is: up, want: both},
		"the addon says otherwise why not":            {before: down, was: down, is: otherwiseDown, want: nobody},
		"the addon is enabled, and not available yet": {was: nil, is: down, want: both, wantSettling: true},
		"the addon is not available any more":         {before: up, was: up, is: down, want: nobody},
		"the addon is disabled":                       {before: up, was: up, is: nil, want: nobody},
		"an available addon reports": {
			before: up, was: up, is: gen.ManagedClusterAddOn(cluster1, gen.WithLabels(map[string]string{"a": "b"})), want: nobody,
		},
		"another addon is enabled":                    {was: nil, is: otherAddon(), want: nobody},
		"the addon of another cluster":                {was: nil, is: gen.ManagedClusterAddOn("cluster3"), want: nobody},
		"the cluster's resources":                     {before: up, was: managed, is: busier, want: nobody},
		"the cluster is detached":                     {before: down, was: managed, is: detached, want: both, wantSettling: true},
		"the cluster is not the hub after all":        {before: hubByID, was: hubByID, is: managed, want: both, wantSettling: true},
		"a namespace of the hub is opened":            {before: hubByID, was: hubByID, is: opened, want: both},
		"a label of the cluster that changes nothing": {before: down, was: managed, is: labelled, want: nobody},
		"the Placement selects one that can be used":  {before: cluster2, was: page, is: more, want: placed},
		"the Placement selects one that cannot":       {before: down, was: page, is: more, want: placed, wantSettling: true},
		"the Placement selects fewer":                 {before: down, was: page, is: less, want: placed, wantSettling: true},
		"the page is gone":                            {before: down, was: page, is: nil, want: placed, wantSettling: true},
		"the page is written again": {
			before: down, was: page, is: gen.PlacementDecision("p", 1, []string{cluster1}, gen.WithUID("other")), want: nobody,
		},
		"the page is another Placement's": {
			before: down, was: nil, is: gen.PlacementDecision("q", 1, []string{cluster1}), want: nobody,
		},
		"the Placement says something": {before: down, was: gen.Placement("p"), is: says, want: placed, wantSettling: true},
		"the Placement is written": {
			before: down, was: gen.Placement("p"), is: gen.Placement("p", gen.WithUID("other")), want: nobody,
		},
		"the Placement is gone": {before: down, was: gen.Placement("p"), is: nil, want: placed, wantSettling: true},
		"another namespace's Placement": {
			before: down, was: nil, is: gen.Placement("p", gen.InNamespace("elsewhere")), want: nobody,
		},
		"the set is bound":         {before: unbound, was: unbound, is: bound, want: both},
		"the set is bound no more": {before: down, was: bound, is: nil, want: both, wantSettling: true},
		"the binding is written": {
			before: down, was: bound, is: gen.ManagedClusterSetBinding(gen.GlobalSet, gen.WithUID("other")), want: nobody,
		},
		"the set is bound in another namespace": {
			before: down, was: nil, is: gen.ManagedClusterSetBinding(gen.GlobalSet, gen.InNamespace("elsewhere")), want: nobody,
		},
		"the set holds others": {before: down, was: set, is: narrow, want: both},
		"the set is written":   {before: down, was: set, is: counted, want: nobody},
		"a RemoteWorkflow of another name ends": {
			before: down, was: gen.RemoteWorkflow(gen.Workflow("other"), cluster1), is: nil, want: nobody,
		},
		"a RemoteWorkflow of the direct one's name ends": {
			before: down, was: gen.RemoteWorkflow(gen.Workflow("direct", gen.WithUID("earlier")), cluster1), is: nil, want: direct,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			there := objects(set, managed, gen.ManagedCluster("cluster2"), gen.Placement("p"), page)
			if test.before == nil || test.before.GetName() != gen.GlobalSet {
				there = append(there, bound)
			}
			if test.before != nil {
				there = append(there, test.before)
			}
			wfs := objects(gen.Workflow("direct", gen.WithCluster(cluster1)), gen.Workflow("placed", gen.WithPlacement("p")),
				gen.Workflow("aimless"))
			if test.before == up {
				// What else than its cluster keeps it waiting.
				there = append(there, gen.RemoteWorkflow(gen.Workflow("direct", gen.WithUID("earlier")), cluster1),
					gen.RemoteWorkflow(gen.Workflow("placed", gen.WithUID("earlier")), cluster1))
			}
			h := newHarness(t, append(there, wfs...)...)
			require.Equal(t, 3, h.run())
			require.Equal(t, 3, h.queue.parkedCount, "all wait")

			h.told(test.was, test.is)
			if test.is != nil {
				h.told(test.is, test.is) // as when the informer resyncs
			}
			tried := 0
			for _, wf := range popped(h.queue, now) {
				tried += map[string]int{"direct": direct, "placed": placed}[wf]
			}
			if test.wantSettling {
				assert.Zero(t, tried)
				for _, wf := range popped(h.queue, now.Add(settling)) {
					tried += map[string]int{"direct": direct, "placed": placed}[wf]
				}
			}
			assert.Equal(t, test.want, tried)
			assert.Empty(t, popped(h.queue, now.Add(time.Hour)))
		})
	}
}

func otherAddon() *addonv1beta1.ManagedClusterAddOn {
	addon := gen.ManagedClusterAddOn(cluster1)
	addon.Name = contract.ArgoAddonName
	return addon
}

func TestAWaitEndsWithItsCause(t *testing.T) {
	waitsFor := map[string][]client.Object{
		"the managed cluster": {gen.ManagedCluster(cluster1)},
		"the addon":           {gen.ManagedClusterAddOn(cluster1)},
		"the Placement":       {gen.Placement("p")},
		"its decision":        {gen.PlacementDecision("p", 1, []string{cluster1})},
		"the set":             {gen.ManagedClusterSet(gen.GlobalSet)},
		"the binding":         {gen.ManagedClusterSetBinding(gen.GlobalSet)},
	}
	for name, last := range waitsFor {
		t.Run(name, func(t *testing.T) {
			wf := gen.Workflow("hello", gen.WithPlacement("p"))
			h := newHarness(t, wf)
			for other, there := range waitsFor {
				if other != name {
					require.NoError(t, h.hub.Create(t.Context(), there[0].DeepCopyObject().(client.Object)))
					h.told(nil, there[0])
				}
			}
			h.run()
			require.Empty(t, h.clusterOf(wf))
			require.NoError(t, h.hub.Create(t.Context(), last[0].DeepCopyObject().(client.Object)))
			h.told(nil, last[0])
			h.run()
			assert.Equal(t, cluster1, h.clusterOf(wf))
		})
	}
}

func TestAFlapOfEveryAddonCostsEachWaitingWorkflowOneTry(t *testing.T) {
	const waiting, fleet = 20, 50
	var there []client.Object
	var names []string
	var down, up []*addonv1beta1.ManagedClusterAddOn
	for i := range fleet {
		name := "cluster-" + string(rune('a'+i/26)) + string(rune('a'+i%26))
		names = append(names, name)
		there = append(there, gen.ManagedCluster(name))
		down, up = append(down, gen.ManagedClusterAddOn(name, agentDown)), append(up, gen.ManagedClusterAddOn(name))
	}
	for _, addon := range down {
		there = append(there, addon)
	}
	there = objects(open(), there, gen.Placement("p"), gen.PlacementDecision("p", 1, names))
	h := newHarness(t, objects(there, workflows(waiting, gen.WithPlacement("p")))...)
	require.Equal(t, waiting, h.run())
	writes := len(h.hub.Writes())
	for range 3 {
		for i := range fleet {
			h.told(down[i], up[i])
		}
		for i := range fleet {
			h.told(up[i], down[i])
		}
	}
	assert.Equal(t, waiting, h.run())
	assert.Len(t, h.hub.Writes(), writes, "nothing has changed in the end")
	for i := range fleet {
		h.told(down[i], up[i])
		if i%10 == 0 {
			h.run()
		}
	}
	h.run()
	assert.Empty(t, h.queue.items)
	assert.Len(t, h.hub.Writes(), writes+waiting, "each was tried, and assigned, once")
}

func TestADeputyKeepsNoMoreThanThereIs(t *testing.T) {
	h := newHarness(t)
	waiting := gen.Workflow("hello", gen.WithPlacement("p"))
	assigned := gen.Workflow("hello", gen.WithPlacement("p"), gen.WithAssignment(cluster1))
	again := gen.Workflow("hello", gen.WithPlacement("p"), gen.WithUID("again"))
	page := gen.PlacementDecision("p", 1, []string{cluster1})
	moved := page.DeepCopy()
	moved.Labels = gen.PlacementDecision("q", 1, nil).Labels
	there := []client.Object{
		gen.ManagedCluster(cluster1), gen.ManagedClusterAddOn(cluster1), gen.Placement("p"),
		gen.RemoteWorkflow(gen.Workflow("other"), cluster1), gen.Workflow("other", gen.WithAssignment(cluster1)),
	}
	for range 3 {
		for _, obj := range append(there, page, waiting) {
			h.told(nil, obj)
			h.told(obj, obj)
		}
		h.told(page, moved)
		h.told(waiting, assigned)
		h.told(assigned, again)
		for _, obj := range append(there, moved, again) {
			h.told(obj, nil)
		}
		assert.Empty(t, h.queue.items)
		assert.Zero(t, h.queue.active.Len()+h.queue.later.Len()+len(h.queue.parked))
		assert.Equal(t, newCache(gen.HubID), h.cache)
	}
	assert.True(t, h.NeedLeaderElection())
}
