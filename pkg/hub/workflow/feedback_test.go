package workflow

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// summaryOnly marks the status of a Workflow on a cluster without agent.
const summaryOnly = "summary only: cluster cluster1 runs no agent (addon argo-workflow-multicluster)"

// agentless are a cluster that is used without an agent, open to the namespace of the Workflows.
func agentless() []client.Object {
	return append(binding(), gen.ManagedCluster(cluster1, gen.WithLabels(map[string]string{contract.LabelWithoutAgent: "true"})))
}

// fed feeds back these values of the remote Workflow.
func fed(values map[string]string) gen.Mod {
	all := map[string]string{"uid": "remote", "hubUID": string(gen.UIDOf("hello"))}
	for name, value := range values {
		all[name] = value
	}
	return gen.WithFeedback(all)
}

func TestFeedback(t *testing.T) {
	const lostMessage = summaryOnly + ": the Workflow is gone from the cluster, or was never seen there"
	condition := func(conditionType string, status metav1.ConditionStatus) gen.Mod {
		return gen.WithCondition(conditionType, status, "Test", "")
	}
	lost := []gen.Mod{condition(workv1.WorkApplied, metav1.ConditionTrue), condition(workv1.WorkAvailable, metav1.ConditionFalse)}
	notApplied := gen.WithManifestCondition(workv1.ManifestApplied, metav1.ConditionFalse, "no matches for kind Workflow")
	ran := gen.WithHubStatus("Running")
	tests := map[string]struct {
		hub    gen.Mod
		work   []gen.Mod
		want   map[string]any
		reason string
		// edit is whether the user learns that edits have no effect.
		edit bool
	}{
		"nothing yet":                {want: plainly(summaryOnly)},
		"nothing yet, and it waited": {hub: gen.WithHubStatus("Pending", plainly("waiting for a cluster")), want: plainly(summaryOnly)},
		"it runs": {
			work: []gen.Mod{fed(map[string]string{"phase": "Running", "progress": "0/1", "startedAt": "2026-01-02T15:04:05Z"})},
			want: map[string]any{"phase": "Running", "progress": "0/1", "startedAt": "2026-01-02T15:04:05Z", "message": summaryOnly},
		},
		"it has a message": {
			work: []gen.Mod{fed(map[string]string{"phase": "Failed", "message": "child failed"})},
			want: map[string]any{"phase": "Failed", "message": summaryOnly + ": child failed"},
		},
		"a field that is none of a status": {
			work: []gen.Mod{fed(map[string]string{"phase": "Running", "nodes": "all"})}, want: map[string]any{"phase": "Running", "message": summaryOnly},
		},
		"a time that is none": {
			work: []gen.Mod{fed(map[string]string{"phase": "Running", "startedAt": "yesterday"})}, want: map[string]any{"phase": "Running", "message": summaryOnly},
		},
		"of another Workflow":                 {hub: ran, work: []gen.Mod{fed(map[string]string{"phase": "Succeeded", "hubUID": "another"})}},
		"of something that is not ours":       {work: []gen.Mod{gen.WithFeedback(map[string]string{"uid": "remote", "phase": "Succeeded"})}, want: plainly(summaryOnly)},
		"without a phase":                     {work: []gen.Mod{fed(nil)}, want: plainly(summaryOnly)},
		"a phase that is no label":            {work: []gen.Mod{fed(map[string]string{"phase": "no label!"})}, want: plainly(summaryOnly)},
		"it ended and runs again":             {hub: gen.WithHubStatus("Succeeded"), work: []gen.Mod{fed(map[string]string{"phase": "Running"})}},
		"it ended and ended again, otherwise": {hub: gen.WithHubStatus("Succeeded"), work: []gen.Mod{fed(map[string]string{"phase": "Failed"})}},
		"somebody else wrote the phase":       {hub: edited("Pending", "Succeeded"), want: plainly(summaryOnly)},
		"it ended, and somebody else wrote another phase": {
			hub: edited("Succeeded", "Failed"), work: []gen.Mod{fed(map[string]string{"phase": "Succeeded"})},
			want: map[string]any{"phase": "Succeeded", "message": summaryOnly}, edit: true,
		},
		"it ended, somebody else wrote another phase, and it runs again": {
			hub: edited("Succeeded", "Failed"), work: []gen.Mod{fed(map[string]string{"phase": "Running"})},
		},
		"it ended and is gone":         {hub: gen.WithHubStatus("Failed"), work: lost},
		"it is gone before it started": {work: lost, want: plainly(lostMessage), reason: reasonLost},
		"it is gone while it ran":      {hub: ran, work: lost, want: map[string]any{"phase": "Running", "message": lostMessage}, reason: reasonLost},
		"it is gone, after it was complete": {
			hub: ran, work: append(lost[:2:2], condition(workv1.WorkComplete, metav1.ConditionTrue)),
		},
		"it is not there yet": {
			work: []gen.Mod{condition(workv1.WorkApplied, metav1.ConditionFalse), condition(workv1.WorkAvailable, metav1.ConditionFalse)},
			want: plainly(summaryOnly),
		},
		"it cannot be created": {
			work: []gen.Mod{notApplied}, reason: reasonApplyFailed,
			want: pendingAs(reasonApplyFailed, "cluster cluster1: cannot create the Workflow: no matches for kind Workflow"),
		},
		"it ran, and cannot be created again": {hub: ran, work: []gen.Mod{notApplied}},
		"it runs, and the feedback was wiped": {hub: ran},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wf := assigned()
			if test.hub != nil {
				test.hub(wf)
			}
			rw := attemptOf(wf, withoutAgent())
			r, hub, _ := newReconciler(t, append(agentless(), wf, rw, gen.ManifestWork(rw, test.work...))...)
			run(t, r)
			if test.want == nil {
				assert.Empty(t, hub.Writes())
				assert.Empty(t, hub.Events())
				return
			}
			assert.Equal(t, test.want, contract.Status(shows(t, hub)))
			var events []string
			if test.reason != "" {
				events = []string{"Warning " + test.reason + " " + contract.StatusString(test.want, "message")}
			}
			if test.edit {
				events = []string{"Warning EditRefused cluster cluster1 has no agent, so that only a deletion has an effect there"}
			}
			assert.Equal(t, events, hub.Events())
			run(t, r)
			assert.Len(t, hub.Writes(), 1, "it is written once")
		})
	}
}

func TestWithoutAManifestWorkAClusterWithoutAgentSaysNothing(t *testing.T) {
	t.Run("it ran: nothing will be fed back any more", func(t *testing.T) {
		wf := assigned(gen.WithHubStatus("Running"))
		r, hub, _ := newReconciler(t, append(agentless(), wf, attemptOf(wf, withoutAgent()))...)
		run(t, r)
		assert.Contains(t, contract.Status(shows(t, hub))["message"], "the Workflow is gone from the cluster")
		assert.Equal(t, "Running", contract.Phase(shows(t, hub)))
		assert.Len(t, hub.Events(), 1)
	})
	t.Run("it is yet to be made", func(t *testing.T) {
		wf := assigned()
		r, hub, _ := newReconciler(t, append(agentless(), wf, attemptOf(wf, withoutAgent()))...)
		run(t, r)
		assert.Empty(t, hub.Writes())
	})
	t.Run("the hub refuses it", func(t *testing.T) {
		wf := assigned()
		r, hub, _ := newReconciler(t, append(agentless(), wf, attemptOf(wf, withoutAgent()))...)
		r.DeliveryRefused = func(types.UID) string { return "exceeded quota" }
		run(t, r)
		assert.Equal(t, pendingAs(hubworkflow.ReasonCannotTravel, "not dispatched: the hub refuses it: exceeded quota"), contract.Status(shows(t, hub)))
	})
}

func TestAReportDoesNotCountOnAClusterThatRunsNoAgent(t *testing.T) {
	for name, around := range map[string][]client.Object{"it is there": agentless(), "it is detached": binding()} {
		t.Run(name, func(t *testing.T) {
			wf := assigned(gen.WithHubStatus("Running"))
			rw := attemptOf(wf, withoutAgent(), gen.WithReport(map[string]any{"phase": "Succeeded"}))
			r, hub, _ := newReconciler(t, append(around, wf, rw, gen.ManifestWork(rw))...)
			run(t, r)
			assert.NotEqual(t, "Succeeded", contract.Phase(shows(t, hub)))
		})
	}
}

func TestAWorkflowWithoutAgentEndsWhenItsRemoteWorkflowIsDeleted(t *testing.T) {
	wf := assigned(gen.WithHubStatus("Running", map[string]any{"progress": "0/1"}))
	rw := attemptOf(wf, withoutAgent(), gen.Deleting())
	work := gen.ManifestWork(rw)
	r, hub, _ := newReconciler(t, append(agentless(), wf, rw, work)...)
	run(t, r)
	assert.Empty(t, hub.Writes(), "it runs until its ManifestWork is gone")
	require.NoError(t, hub.Delete(t.Context(), work))
	for range 2 {
		run(t, r)
	}
	status := contract.Status(shows(t, hub))
	assert.Equal(t, "Error", status["phase"])
	assert.Equal(t, "0/1", status["progress"])
	assert.Contains(t, status["message"], "was deleted on the hub, and the remote Workflow default/hello with it")
	assert.False(t, hub.Show(rw))
	writes := len(hub.Writes())
	run(t, r)
	assert.Len(t, hub.Writes(), writes)
}
