package hubcopy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestAWorkflowThatNoClusterCouldRunIsRefused(t *testing.T) {
	tests := map[string]struct {
		wf         *unstructured.Unstructured
		wantReason hubcopy.Reason
		wantParts  []string
	}{
		"nothing is wrong": {gen.Workflow(strings.Repeat("x", 63)), "", nil},
		"the label has another value": {
			gen.Workflow("hello", gen.WithLabels(map[string]string{contract.LabelEnable: "True"})),
			hubcopy.ReasonInvalidLabel, []string{contract.LabelEnable, `must be "true"`, `not "True"`, "remove the label"},
		},
		"somebody else wrote its status": {
			gen.Workflow("hello", gen.WithStatus("Running")),
			hubcopy.ReasonForeignStatus, []string{"already has a status that this hub did not write", "restored", "create it anew"},
		},
		"its labels say that it has run, and it has no status": {
			gen.Workflow(
				"hello",
				gen.WithHubStatus("Succeeded"),
				func(obj client.Object) { delete(obj.(*unstructured.Unstructured).Object, "status") },
			),
			hubcopy.ReasonStatusLost, []string{contract.LabelPhase, contract.LabelCompleted, "restored from a backup", "create it anew", "argo resubmit"},
		},
		"the name is too long": {
			gen.Workflow(strings.Repeat("x", 64)), hubcopy.ReasonInvalidName, []string{"64 characters", "at most 63"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			reason, message := hubcopy.HeldAnywhere(test.wf, time.Time{})
			assert.Equal(t, test.wantReason, reason)
			for _, part := range test.wantParts {
				assert.Contains(t, message, part)
			}
		})
	}
}

func TestAWorkflowFromBeforeTheHubWasRestoredIsHeldIfItMayHaveRunSince(t *testing.T) {
	restoredAt := gen.Time.Time
	created := func(after time.Duration, mods ...gen.Mod) *unstructured.Unstructured {
		wf := gen.Workflow("hello", mods...)
		wf.SetCreationTimestamp(metav1.NewTime(restoredAt.Add(after)))
		return wf
	}
	for name, test := range map[string]struct {
		wf         *unstructured.Unstructured
		restoredAt time.Time
		want       hubcopy.Reason
	}{
		"it is from before, and new":      {created(-time.Second), restoredAt, hubcopy.ReasonRestoredHub},
		"it is from before, and waits":    {created(-time.Hour, gen.WithHubStatus("Pending")), restoredAt, hubcopy.ReasonRestoredHub},
		"it is from before, and was sent": {created(-time.Hour, gen.WithAssignment("cluster1")), restoredAt, hubcopy.ReasonRestoredHub},
		"it is from before, and runs":     {created(-time.Hour, gen.WithHubStatus("Running")), restoredAt, ""},
		"it is from before, and ended":    {created(-time.Hour, gen.WithHubStatus("Succeeded")), restoredAt, ""},
		"it came with the restoration":    {created(0), restoredAt, ""},
		"it came later":                   {created(time.Second), restoredAt, ""},
		"the hub was not restored":        {created(-time.Hour), time.Time{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			reason, message := hubcopy.HeldAnywhere(test.wf, test.restoredAt)
			assert.Equal(t, test.want, reason)
			if test.want != "" {
				for _, part := range []string{"restored from a backup, at 2026-01-02T15:04:05Z", "may have run since", "argo resubmit"} {
					assert.Contains(t, message, part)
				}
			}
		})
	}
}
