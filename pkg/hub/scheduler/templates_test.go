package scheduler

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// template builds a WorkflowTemplate whose only template, a, requests so many cores.
func template(name string, cores int64, mods ...gen.Mod) *unstructured.Unstructured {
	return gen.WorkflowTemplate(name, []any{map[string]any{"name": "a", "container": map[string]any{
		"resources": map[string]any{"requests": map[string]any{"cpu": cores}},
	}}}, mods...)
}

// leading builds a WorkflowTemplate whose only template, a, is a step of the ClusterWorkflowTemplate of this name.
func leading(name, to string) *unstructured.Unstructured {
	return gen.WorkflowTemplate(name, []any{map[string]any{"name": "a", "steps": []any{[]any{map[string]any{
		"templateRef": map[string]any{"name": to, "template": "a", "clusterScope": true},
	}}}}})
}

// taking lets a Workflow take its spec from a WorkflowTemplate.
func taking(name string) gen.Mod {
	return gen.WithSpecField(map[string]any{"workflowTemplateRef": map[string]any{"name": name}})
}

func TestAWorkflowWhoseTemplateIsTooLargeWaitsUntilThatIsCorrected(t *testing.T) {
	large := template("t", 9)
	broken := template("shared", 9, gen.OfCluster())
	tests := map[string]struct {
		there   []client.Object
		was, is client.Object
	}{
		"the template requests less":           {objects(large), large, template("t", 1)},
		"the template is deleted":              {objects(large), large, nil},
		"the template is created anew":         {objects(large), large, template("t", 1, gen.WithUID("other"))},
		"the template tolerates taints":        {objects(large), large, template("t", 9, gen.WithSpecField([]any{map[string]any{}}, "tolerations"))},
		"the template refers to nothing large": {objects(leading("t", "shared"), broken), leading("t", "shared"), leading("t", "other")},
		"what the template refers to requests less": {
			objects(leading("t", "shared"), broken), broken, template("shared", 1, gen.OfCluster()),
		},
	}
	for name, test := range tests {
		for way, asked := range map[string]gen.Mod{"named": gen.WithCluster(cluster1), "placed": gen.WithPlacement("p")} {
			t.Run(name+", "+way, func(t *testing.T) {
				wf := gen.Workflow("hello", asked, taking("t"))
				h := newHarness(t, objects(fleet(gen.Nodes(1, 8)), test.there, wf)...)
				h.run()
				assert.Contains(t, h.messageOf(wf), "largest pod")
				require.Empty(t, h.clusterOf(wf))

				h.told(test.was, test.is)
				h.run()
				assert.Equal(t, cluster1, h.clusterOf(wf))
				assert.Len(t, h.cache.nodes[cluster1].expectations, 1, "it counts beside what is measured")
			})
		}
	}
}

func TestATemplateCountsAsWhatItRequests(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithPlacement("p"), taking("t"))
	h := newHarness(t, objects(fleet(gen.Nodes(1, 4), gen.Nodes(1, 8)), template("t", 5), wf)...)
	h.run()
	assert.Equal(t, "cluster2", h.clusterOf(wf), "the other is too small")
	assert.EqualValues(t, 5000, h.cache.nodes["cluster2"].expected.MilliCPU)
}

func TestTheEventOfATemplateTriesThoseWhoseRequestsItChanges(t *testing.T) {
	large := template("t", 9)
	labelled := template("t", 9, gen.WithLabels(map[string]string{"a": "b"}))
	tests := map[string]struct {
		was, is client.Object
		want    []string
	}{
		"one that requests more":                   {large, template("t", 10), []string{"refers"}},
		"one that is labelled":                     {large, labelled, nil},
		"one that nobody refers to":                {nil, template("other", 9), nil},
		"a ClusterWorkflowTemplate of its name":    {nil, template("t", 1, gen.OfCluster()), nil},
		"one of its name in another namespace":     {nil, template("t", 1, gen.InNamespace("elsewhere")), nil},
		"one that was waited for, and changes all": {nil, template("gone", 9), []string{"waits"}},
		"one that was waited for, and is nothing":  {nil, template("gone", 0), nil},
		"one that goes, and nobody knew":           {template("unknown", 1), nil, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			there := append(fleet(gen.Nodes(1, 8)), gen.ManagedCluster(cluster1, limited("0")), large)
			h := newHarness(t, append(there, gen.Workflow("plain", gen.WithCluster(cluster1)), gen.Workflow("refers", gen.WithCluster(cluster1), taking("t")),
				gen.Workflow("waits", gen.WithPlacement("p"), taking("gone")))...)
			h.run()
			require.Equal(t, 3, h.queue.parkedCount, "all wait")

			h.told(test.was, test.is)
			if test.is != nil {
				h.told(test.is, test.is) // as when the informer resyncs
			}
			assert.ElementsMatch(t, test.want, popped(h.queue, now.Add(time.Hour)))
		})
	}
}

func TestATemplateThatChangesWhileItsWorkflowIsAssignedTakesNothingBack(t *testing.T) {
	const decided, written, finished = "after the decision", "after the write", "before the assignment is seen"
	for _, when := range []string{decided, written, finished} {
		t.Run(when, func(t *testing.T) {
			first, second := gen.Workflow("a", gen.WithPlacement("p"), taking("t")), gen.Workflow("b", gen.WithPlacement("p"))
			h := newHarness(t, objects(fleet(gen.Nodes(1, 8)), gen.ManagedCluster(cluster1, limited("1")), template("t", 1), first, second)...)
			changes := func(now string) {
				if now == when {
					h.told(template("t", 1), template("t", 9))
				}
			}
			tried, _ := h.next(t.Context())
			require.Equal(t, "a", tried.wf.GetName())
			changes(decided)
			outcome := h.write(t.Context(), tried)
			require.Equal(t, assigned, outcome)
			changes(written)
			h.finish(tried, outcome)
			changes(finished)

			for next, _ := h.next(t.Context()); next != nil; next, _ = h.next(t.Context()) {
				h.finish(next, h.write(t.Context(), next)) // and nothing is seen of it yet
			}
			assert.Empty(t, h.clusterOf(second), "the cap is held")
			assert.Len(t, h.cache.nodes[cluster1].expectations, 1)
			assert.Equal(t, cluster1, contract.AssignedCluster(h.show(tried.wf.Unstructured)))
			h.run()
			assert.Empty(t, h.clusterOf(second), "and stays so")
			assert.Len(t, h.cache.nodes[cluster1].expectations, 1)
			assert.Len(t, h.queue.items, 1)
		})
	}
}
