package status

import (
	"testing"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestFeedback(t *testing.T) {
	const mark = "summary only: cluster cluster1 runs no agent (addon argo-workflow-multicluster)"
	const lostMessage = mark + ": the Workflow is gone from the cluster, or was never seen there"
	fed := func(values map[string]string) gen.Mod {
		all := map[string]string{"uid": "remote", "hubUID": string(gen.UIDOf("hello"))}
		for name, value := range values {
			all[name] = value
		}
		return gen.WithFeedback(all)
	}
	edited := func(phase, by string) gen.Mod {
		return func(obj client.Object) { gen.WithHubStatus(phase)(obj); gen.WithStatus(by)(obj) }
	}
	condition := func(conditionType string, status metav1.ConditionStatus) gen.Mod {
		return gen.WithCondition(conditionType, status, "Test", "")
	}
	lost := []gen.Mod{condition(workv1.WorkApplied, metav1.ConditionTrue), condition(workv1.WorkAvailable, metav1.ConditionFalse)}
	notApplied := gen.WithManifestCondition(workv1.ManifestApplied, metav1.ConditionFalse, "no matches for kind Workflow")
	tests := map[string]struct {
		hub        gen.Mod
		work       []gen.Mod
		want       map[string]any
		wantReason hubcopy.Reason
	}{
		"nothing yet": {want: pendingWith(mark)},
		"nothing yet, and it waited": {
			hub: gen.WithHubStatus("Pending", map[string]any{"message": "waiting for a cluster"}), want: pendingWith(mark),
		},
		"it runs": {
			work: []gen.Mod{fed(map[string]string{"phase": "Running", "progress": "0/1", "startedAt": "2026-01-02T15:04:05Z"})},
			want: map[string]any{"phase": "Running", "progress": "0/1", "startedAt": "2026-01-02T15:04:05Z", "message": mark},
		},
		"it has a message": {
			work: []gen.Mod{fed(map[string]string{"phase": "Failed", "message": "child failed"})},
			want: map[string]any{"phase": "Failed", "message": mark + ": child failed"},
		},
		"a field that is none of a status": {
			work: []gen.Mod{fed(map[string]string{"phase": "Running", "nodes": "all"})},
			want: map[string]any{"phase": "Running", "message": mark},
		},
		"a copy of another Workflow": {
			hub:  gen.WithHubStatus("Running"),
			work: []gen.Mod{fed(map[string]string{"phase": "Succeeded", "hubUID": "another"})},
		},
		"something that is no copy": {
			work: []gen.Mod{gen.WithFeedback(map[string]string{"uid": "remote", "phase": "Succeeded"})}, want: pendingWith(mark),
		},
		"a copy without phase":     {work: []gen.Mod{fed(nil)}, want: pendingWith(mark)},
		"a phase that is no label": {work: []gen.Mod{fed(map[string]string{"phase": "no label!"})}, want: pendingWith(mark)},
		"it ended and runs again": {
			hub: gen.WithHubStatus("Succeeded"), work: []gen.Mod{fed(map[string]string{"phase": "Running"})},
		},
		"it ended and ended again, otherwise": {
			hub: gen.WithHubStatus("Succeeded"), work: []gen.Mod{fed(map[string]string{"phase": "Failed"})},
		},
		"somebody else wrote the phase": {hub: edited("Pending", "Succeeded"), want: pendingWith(mark)},
		"it ended, and somebody else wrote another phase": {
			hub: edited("Succeeded", "Failed"), work: []gen.Mod{fed(map[string]string{"phase": "Succeeded"})},
			want: map[string]any{"phase": "Succeeded", "message": mark},
		},
		"it ended, somebody else wrote another phase, and it runs again": {
			hub: edited("Succeeded", "Failed"), work: []gen.Mod{fed(map[string]string{"phase": "Running"})},
		},
		"it ended and is gone": {hub: gen.WithHubStatus("Failed"), work: lost},
		"it is gone before it started": {
			work: lost, want: pendingWith(lostMessage), wantReason: ReasonLost,
		},
		"it is gone while it ran": {
			hub: gen.WithHubStatus("Running"), work: lost,
			want: map[string]any{"phase": "Running", "message": lostMessage}, wantReason: ReasonLost,
		},
		"it is gone, after it was complete": {
			hub: gen.WithHubStatus("Running"), work: append(lost[:2:2], condition(workv1.WorkComplete, metav1.ConditionTrue)),
		},
		"it is not there yet": {
			work: []gen.Mod{condition(workv1.WorkApplied, metav1.ConditionFalse), condition(workv1.WorkAvailable, metav1.ConditionFalse)},
			want: pendingWith(mark),
		},
		"it cannot be created": {
			work: []gen.Mod{notApplied}, want: pendingWith("cluster cluster1: cannot create the Workflow: no matches for kind Workflow"),
			wantReason: ReasonApplyFailed,
		},
		"it ran, and cannot be created again": {hub: gen.WithHubStatus("Running"), work: []gen.Mod{notApplied}},
		"it runs, and the feedback was wiped": {hub: gen.WithHubStatus("Running")},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wf := assigned()
			if test.hub != nil {
				test.hub(wf)
			}
			rw := gen.RemoteWorkflow(wf, cluster, gen.WithReporting(v1alpha1.ReportingFeedback))
			out := decide(wf, rw, gen.ManifestWork(rw, test.work...), "")
			assert.Equal(t, test.want, out.status)
			assert.Equal(t, test.wantReason, out.reason)
		})
	}
}

func TestFeedbackWithoutAManifestWork(t *testing.T) {
	reporting := gen.WithReporting(v1alpha1.ReportingFeedback)
	wf := assigned(gen.WithHubStatus("Running"))
	out := decide(wf, gen.RemoteWorkflow(wf, cluster, reporting), nil, "")
	assert.Equal(t, ReasonLost, out.reason, "nothing will be fed back any more")
	assert.Equal(t, "Running", out.status["phase"])

	wf = assigned()
	assert.Empty(t, decide(wf, gen.RemoteWorkflow(wf, cluster, reporting), nil, "").reason, "it is yet to be created")
	wf = assigned(gen.WithHubStatus("Running"), gen.Deleting())
	assert.Zero(t, decide(wf, gen.RemoteWorkflow(wf, cluster, reporting), nil, ""), "it is meant to go")
}

func TestAReportDoesNotCountOnAClusterThatRunsNoAgent(t *testing.T) {
	wf := assigned(gen.WithHubStatus("Running"))
	rw := gen.RemoteWorkflow(wf, cluster, gen.WithReporting(v1alpha1.ReportingFeedback), gen.WithReport(map[string]any{"phase": "Succeeded"}))
	assert.Zero(t, decide(wf, rw, gen.ManifestWork(rw), ""))
}

func TestTimesThatAreNoneAreNotFedBack(t *testing.T) {
	wf := assigned()
	rw := gen.RemoteWorkflow(wf, cluster, gen.WithReporting(v1alpha1.ReportingFeedback))
	values := map[string]string{"hubUID": string(wf.GetUID()), "phase": "Running", "progress": "0/1", "startedAt": "yesterday"}
	out := decide(wf, rw, gen.ManifestWork(rw, gen.WithFeedback(values)), "")
	assert.Equal(t, "0/1", out.status["progress"])
	assert.NotContains(t, out.status, "startedAt")
}

func TestFeedbackOfOtherTypesIsPassedOver(t *testing.T) {
	wf := assigned()
	rw := gen.RemoteWorkflow(wf, cluster)
	number := int64(1)
	work := gen.ManifestWork(rw, gen.WithFeedback(map[string]string{"phase": "Running"}))
	values := &work.Status.ResourceStatus.Manifests[0].StatusFeedbacks.Values
	*values = append(*values, workv1.FeedbackValue{Name: "progress", Value: workv1.FieldValue{Type: workv1.Integer, Integer: &number}})
	assert.Equal(t, map[string]string{"phase": "Running"}, feedback(work))
}
