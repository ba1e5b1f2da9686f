package contract_test

import (
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestNewWorkflowAndItsListAreOfArgosKinds(t *testing.T) {
	assert.Equal(t, contract.WorkflowGVK, contract.NewWorkflow().GroupVersionKind())
	assert.Equal(t, "WorkflowList", contract.NewWorkflowList().GetKind())
	assert.Equal(t, "argoproj.io/v1alpha1", contract.NewWorkflowList().GetAPIVersion())
}

func TestIsFinishedAgreesWithArgoOnEveryPhase(t *testing.T) {
	for _, phase := range []wfv1.WorkflowPhase{
		wfv1.WorkflowUnknown, wfv1.WorkflowPending, wfv1.WorkflowRunning,
		wfv1.WorkflowSucceeded, wfv1.WorkflowFailed, wfv1.WorkflowError,
	} {
		assert.Equal(t, phase.Completed(), contract.IsFinished(string(phase)), "phase %q", phase)
	}
}

func TestStatusOfAMalformedWorkflowIsEmpty(t *testing.T) {
	tests := map[string]any{
		"there is no status":          nil,
		"the status is a string":      "Running",
		"the status is a list":        []any{"Running"},
		"the phase is not a string":   map[string]any{"phase": int64(1)},
		"the status is without phase": map[string]any{"nodes": map[string]any{}},
	}
	for name, status := range tests {
		t.Run(name, func(t *testing.T) {
			wf := gen.Workflow("hello")
			wf.Object["status"] = status
			assert.Empty(t, contract.Phase(wf))
		})
	}
	assert.Nil(t, contract.Status(gen.Workflow("hello")))
}

func TestIsOursTakesNoValueButTrue(t *testing.T) {
	for value, want := range map[string]bool{"true": true, "True": false, "false": false, "yes": false, "": false} {
		wf := gen.Workflow("hello", gen.WithLabels(map[string]string{contract.LabelEnable: value}))
		assert.Equal(t, want, contract.IsOurs(wf), "value %q", value)
	}
}

func TestAssignedAndChosenCluster(t *testing.T) {
	original := gen.Workflow("original", gen.WithAssignment("cluster1"))
	copied := gen.WithAnnotations(original.GetAnnotations())

	tests := map[string]struct {
		mods                        []gen.Mod
		wantAssigned, wantUsersWish string
	}{
		"nobody has chosen":        {},
		"a Placement is to choose": {mods: []gen.Mod{gen.WithPlacement("p")}},
		"the user has chosen":      {mods: []gen.Mod{gen.WithCluster("cluster1")}, wantUsersWish: "cluster1"},
		"the cluster is recorded": {
			mods: []gen.Mod{gen.WithAssignment("cluster1")}, wantAssigned: "cluster1", wantUsersWish: "cluster1",
		},
		"the record is of another Workflow":        {mods: []gen.Mod{copied}, wantUsersWish: "cluster1"},
		"a Placement's answer to another Workflow": {mods: []gen.Mod{copied, gen.WithPlacement("p")}},
		"a choice beside a Placement's answer to another Workflow": {
			mods: []gen.Mod{copied, gen.WithPlacement("p"), gen.WithCluster("cluster2")}, wantUsersWish: "cluster2",
		},
		"the record stays when the user changes the choice": {
			mods:         []gen.Mod{gen.WithAssignment("cluster1"), gen.WithCluster("cluster2")},
			wantAssigned: "cluster1", wantUsersWish: "cluster2",
		},
		"the record is not of the form": {
			mods: []gen.Mod{gen.WithAnnotations(map[string]string{contract.AnnotationAssigned: "cluster1"})},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wf := gen.Workflow("hello", test.mods...)
			assert.Equal(t, test.wantAssigned, contract.AssignedCluster(wf))
			assert.Equal(t, test.wantUsersWish, contract.ChosenCluster(wf))
		})
	}
}

func TestAttemptIsTheRecordedOneOrTheFirst(t *testing.T) {
	wf := gen.Workflow("hello")
	for record, want := range map[string]struct {
		attempt int32
		cluster string
	}{
		contract.Assignment(wf, 1, "cluster1"):                {1, "cluster1"},
		contract.Assignment(wf, 7, "cluster2"):                {7, "cluster2"},
		contract.Assignment(gen.Workflow("b"), 7, "cluster2"): {1, ""},
		string(wf.GetUID()) + "/cluster1":                     {1, ""},
		string(wf.GetUID()) + "/0/cluster1":                   {1, ""},
		string(wf.GetUID()) + "/-1/cluster1":                  {1, ""},
		string(wf.GetUID()) + "/99999999999/cluster1":         {1, ""},
		"": {1, ""},
	} {
		gen.WithAnnotations(map[string]string{contract.AnnotationAssigned: record})(wf)
		assert.Equal(t, want.attempt, contract.Attempt(wf), record)
		assert.Equal(t, want.cluster, contract.AssignedCluster(wf), record)
	}
}

func TestRemoteNamespaceIsTheHubsUnlessTheUserSaysOtherwise(t *testing.T) {
	assert.Equal(t, "team-a", contract.RemoteNamespace(gen.Workflow("hello", gen.InNamespace("team-a"))))
	assert.Equal(t, "team-b", contract.RemoteNamespace(gen.Workflow("hello", gen.InNamespace("team-a"),
		gen.WithAnnotations(map[string]string{contract.AnnotationClusterNamespace: "team-b"}))))
}
