package chaos

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/test/e2e/chaos/verdict"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

// What can be taken away from the product, as edits of its source.
var (
	withoutGate = lab.Edit{
		File: "pkg/contract/payload.go", Old: "labels[LabelInstanceID] = InstanceIDGate", New: "delete(labels, LabelInstanceID)",
	}

	// What is delivered stays listed as long as its RemoteWorkflow is there, so that the work agents look at it again and again.
	withLastingDelivery = []lab.Edit{
		{File: "pkg/hub/delivery/setup.go", Old: `if obj.(*v1alpha1.RemoteWorkflow).Status.RemoteUID != "" {`, New: "if obj == nil {"},
		{
			File: "pkg/hub/delivery/plan.go", Old: `return rw.DeletionTimestamp.IsZero() && rw.Status.RemoteUID == ""`,
			New: "return rw.DeletionTimestamp.IsZero()",
		},
	}
	withUpdate = lab.Edit{
		File: "pkg/hub/delivery/work.go", Old: "workv1.UpdateStrategyTypeCreateOnly", New: "workv1.UpdateStrategyTypeUpdate",
	}
	withoutOrphan = lab.Edit{
		File: "pkg/hub/delivery/work.go", Old: "PropagationPolicy: workv1.DeletePropagationPolicyTypeOrphan",
		New: "PropagationPolicy: workv1.DeletePropagationPolicyTypeForeground",
	}

	withoutFinalizer = lab.Edit{
		File: "pkg/agent/run/decide.go", Old: "return slices.Contains(wf.GetFinalizers(), contract.FinalizerReport)",
		New: "return true || slices.Contains(wf.GetFinalizers(), contract.FinalizerReport)",
	}

	// The UID is what tells the run from a copy that was created again. That such a copy has no status tells it, too, and mostly
	// that the hub has heard that the run is gone; and nothing creates one again once the delivery is over.
	withoutUID = slices.Concat(withLastingDelivery, []lab.Edit{
		{
			File: "pkg/agent/run/decide.go", Old: `rw.Status.RemoteUID != "" && wf.GetUID() == rw.Status.RemoteUID`,
			New: `rw.Status.RemoteUID != "" && contract.ReferenceOf(wf) == contract.ReferenceTo(rw)`,
		},
		{File: "pkg/agent/run/decide.go", Old: "return heardOf && isGated(wf)", New: "return false && heardOf && isGated(wf)"},
		{File: "pkg/agent/run/decide.go", Old: "return gone != nil && gone.Status", New: "return false && gone != nil && gone.Status"},
		{File: "pkg/agent/run/compose.go", Old: "RemoteUID: wf.GetUID(), Data: data", New: "RemoteUID: rw.Status.RemoteUID, Data: data"},
	})

	withoutLastReport = lab.Edit{
		File: "pkg/agent/run/decide.go", Old: "return decideFinished(rw, wf)", New: "return decision{action: unguard}",
	}
	withoutTTL = lab.Edit{File: "pkg/hub/workflow/expiry.go", Old: "if seconds == nil {", New: "if true {"}

	withoutRemoval            = lab.Edit{File: "pkg/agent/run/decide.go", Old: "return decision{action: remove}", New: "return decision{action: wait}"}
	withoutRemovalOfLeftovers = lab.Edit{
		File: "pkg/agent/run/leftover.go", Old: "do := func() error { return r.delete(ctx, wf, metav1.DeletePropagationBackground) }",
		New: "do := func() error { _ = metav1.DeletePropagationBackground; return nil }",
	}

	// The Workflow of a step gets another name every three seconds, so that it is not found again.
	withChangingNames = lab.Edit{
		File: "pkg/hub/steps/decide.go", Old: `StartedAt: s.node.text("startedAt"), Index: index}`,
		New: "StartedAt: s.now.Truncate(3 * time.Second).String(), Index: index}",
	}
)

// variants are what the product is without some of its parts.
var variants = []struct {
	name  string
	edits []lab.Edit
	// want are findings, by kind and a part of the text, of which each must be there; none if the product must hold even so.
	want map[verdict.Kind]string
}{
	// That deliveries end saves work, and guarantees nothing: they stay, and that is all.
	{"with lasting deliveries", withLastingDelivery, nil},
	{
		"naive", slices.Concat(withLastingDelivery, []lab.Edit{withUpdate, withoutGate, withoutFinalizer}),
		map[verdict.Kind]string{verdict.SecondRun: "", verdict.StatusLost: "and then had no status"},
	},
	{"without Orphan", []lab.Edit{withoutOrphan}, map[verdict.Kind]string{verdict.WrongEnd: "was deleted there before it finished"}},
	{"without the gate", []lab.Edit{withoutGate}, map[verdict.Kind]string{verdict.SecondRun: ""}},
	{"without the UID", withoutUID, map[verdict.Kind]string{verdict.SecondRun: ""}},
	{"without the finalizer", []lab.Edit{withoutFinalizer}, map[verdict.Kind]string{verdict.WrongEnd: "it ended as Error"}},
	{"without the last report", []lab.Edit{withoutLastReport}, map[verdict.Kind]string{
		verdict.WrongEnd: "is gone, and was not finished when last seen",
	}},
	{"without ttlStrategy on the hub", []lab.Edit{withoutTTL}, map[verdict.Kind]string{
		verdict.Unrest: `is "Succeeded" with "", deleted <nil>`,
	}},
	{"without removal", []lab.Edit{withoutRemoval}, map[verdict.Kind]string{
		verdict.Unrest: "is being deleted", verdict.Leftover: "WorkflowList",
	}},
	{"without removal of leftovers", []lab.Edit{withoutRemovalOfLeftovers}, map[verdict.Kind]string{
		verdict.Leftover: "*unstructured.UnstructuredList", // not the RemoteWorkflow
	}},
	{"with changing names of the Workflows of steps", []lab.Edit{withChangingNames}, map[verdict.Kind]string{
		verdict.SecondRun: "Workflows were made for node",
	}},
}

// TestVerdictOnABrokenProduct checks the suite itself: what is broken on purpose must be found. With CHAOS_CHECKER=all it runs the naive
// dispatcher, and the product without each of its mechanisms in turn.
func TestVerdictOnABrokenProduct(t *testing.T) {
	for i, variant := range variants {
		t.Run(variant.name, func(t *testing.T) {
			require.NoError(t, theLab.CheckEdits(variant.edits...))
			if os.Getenv("CHAOS_CHECKER") != "all" {
				t.Skip("only its edits are checked: it runs with CHAOS_CHECKER=all, as in make test-chaos-checker")
			}
			use(t, variant.name, variant.edits)
			p := newPlan(uint64(1000+i), 30, 12, mix{clusters: clusters, between: time.Second, harsh: true})
			bounds := patience{toSettle: 25 * time.Second, toVanish: 25 * time.Second}
			if len(variant.want) == 0 {
				bounds = wholePatience
			}
			findings := run(t, p, bounds)
			if len(variant.want) == 0 {
				assert.Empty(t, slices.DeleteFunc(findings, isLastingDelivery))
			}
			for kind, text := range variant.want {
				assert.True(t, slices.ContainsFunc(findings, func(f verdict.Finding) bool {
					return f.Kind == kind && strings.Contains(f.Detail, text)
				}), "no %s was found that says %q: %v", kind, text, findings)
			}
		})
	}
}

// isLastingDelivery reports whether a finding is no more than that a ManifestWork stays.
func isLastingDelivery(f verdict.Finding) bool {
	return f.Kind == verdict.Unrest && strings.Contains(f.Detail, "ManifestWork ") && strings.HasSuffix(f.Detail, "is there, deleted <nil>")
}

// use starts a variant of the product in place of the product.
func use(t *testing.T, name string, edits []lab.Edit) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	require.NoError(t, theLab.UseVariant(ctx, name, edits...))
	require.NoError(t, startProduct(ctx, theLab))
}
