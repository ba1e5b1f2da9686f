package status

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	workv1 "open-cluster-management.io/api/work/v1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/report"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func pendingWith(message string) map[string]any {
	return map[string]any{"phase": "Pending", "message": message}
}

func started(status metav1.ConditionStatus, message string) gen.Mod {
	return gen.WithCondition(v1alpha1.ConditionStarted, status, v1alpha1.ReasonNotOurs, message)
}

func deletedAs(reason string) gen.Mod {
	return gen.WithCondition(v1alpha1.ConditionRemoteDeleted, metav1.ConditionTrue, reason, "Workflow default/hello was deleted")
}

func TestBeforeAReportTheHubShowsWhatKeepsTheWorkflowFromStarting(t *testing.T) {
	notApplied := gen.WithManifestCondition(workv1.ManifestApplied, metav1.ConditionFalse, "no matches for kind Workflow")
	waiting := gen.WithHubStatus("Pending", map[string]any{"message": "waiting for a cluster"})
	tests := map[string]struct {
		wf         []gen.Mod
		rw         []gen.Mod
		work       []gen.Mod
		want       map[string]any
		wantReason hubcopy.Reason
	}{
		"nothing yet": {},
		"nothing yet, and it waited": {
			wf: []gen.Mod{waiting}, want: pendingWith("sent to cluster cluster1"),
		},
		"it has started": {rw: []gen.Mod{started(metav1.ConditionTrue, "started")}},
		"the agent does not start it": {
			rw: []gen.Mod{started(metav1.ConditionFalse, "the name is taken")}, want: pendingWith("cluster cluster1: the name is taken"),
			wantReason: ReasonNotStarted,
		},
		"the agent's word counts more than the work agent's": {
			rw: []gen.Mod{started(metav1.ConditionFalse, "the name is taken")}, work: []gen.Mod{notApplied},
			want: pendingWith("cluster cluster1: the name is taken"), wantReason: ReasonNotStarted,
		},
		"the copy cannot be created": {
			wf: []gen.Mod{waiting}, work: []gen.Mod{notApplied},
			want: pendingWith("cluster cluster1: cannot create the Workflow: no matches for kind Workflow"), wantReason: ReasonApplyFailed,
		},
		"the ManifestWork says it as a whole": {
			work: []gen.Mod{gen.WithCondition(workv1.WorkApplied, metav1.ConditionFalse, "Failed", "forbidden")},
			want: pendingWith("cluster cluster1: cannot create the Workflow: forbidden"), wantReason: ReasonApplyFailed,
		},
		"the copy is created": {work: []gen.Mod{
			gen.WithManifestCondition(workv1.ManifestApplied, metav1.ConditionTrue, "applied"),
			gen.WithCondition(workv1.WorkApplied, metav1.ConditionTrue, "Applied", "applied"),
		}},
		"it runs, and the report is gone": {
			wf: []gen.Mod{
				gen.WithHubStatus("Running"),
			}, rw: []gen.Mod{started(metav1.ConditionFalse, "the name is taken")}, work: []gen.Mod{notApplied},
		},
		"it ended, and the report is gone": {wf: []gen.Mod{gen.WithHubStatus("Succeeded")}, work: []gen.Mod{notApplied}},
		"a deletion that is not one": {
			rw: []gen.Mod{gen.WithCondition(v1alpha1.ConditionRemoteDeleted, metav1.ConditionFalse, "NotDeleted", "")},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wf := assigned(test.wf...)
			rw := gen.RemoteWorkflow(wf, cluster, test.rw...)
			out := decide(wf, rw, gen.ManifestWork(rw, test.work...), "")
			assert.Equal(t, test.want, out.status)
			assert.Equal(t, test.wantReason, out.reason)
			if test.wantReason != "" {
				assert.Equal(t, test.want["message"], out.message)
			}
		})
	}
}

func TestWithoutAManifestWorkThereIsNothingToShow(t *testing.T) {
	says := gen.WithHubStatus("Pending", map[string]any{"message": "not dispatched: the hub refuses it"})
	for name, test := range map[string]struct {
		wf, rw []gen.Mod
		away   string
	}{
		"nothing yet":                 {},
		"the hub refuses it":          {wf: []gen.Mod{says}},
		"the agent is not there":      {wf: []gen.Mod{says}, away: "it is away"},
		"the agent does not start it": {wf: []gen.Mod{says}, rw: []gen.Mod{started(metav1.ConditionFalse, "the name is taken")}},
		"it runs no agent":            {wf: []gen.Mod{says}, rw: []gen.Mod{gen.WithReporting(v1alpha1.ReportingFeedback)}},
	} {
		t.Run(name, func(t *testing.T) {
			wf := assigned(test.wf...)
			assert.Zero(t, decide(wf, gen.RemoteWorkflow(wf, cluster, test.rw...), nil, test.away))
		})
	}
}

func TestAPhaseThatAUserWroteIsReplacedUnlessACopyHasBeenRecorded(t *testing.T) {
	sent := pendingWith("sent to cluster cluster1")
	for name, test := range map[string]struct {
		wf   []gen.Mod
		rw   []gen.Mod
		want map[string]any
	}{
		"it is not the hub's":                        {[]gen.Mod{gen.WithStatus("Succeeded")}, nil, sent},
		"nor is a label":                             {[]gen.Mod{gen.WithHubStatus("Pending"), gen.WithLabels(map[string]string{contract.LabelPhase: "Running"})}, nil, sent},
		"a copy has been recorded: its report comes": {[]gen.Mod{gen.WithStatus("Succeeded")}, []gen.Mod{gen.WithRemoteUID("remote")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			wf := assigned(test.wf...)
			rw := gen.RemoteWorkflow(wf, cluster, test.rw...)
			assert.Equal(t, test.want, decide(wf, rw, gen.ManifestWork(rw), "").status)
		})
	}
}

func TestAReportIsShownAsItIs(t *testing.T) {
	for name, before := range map[string]gen.Mod{
		"at first":           gen.WithHubStatus("Pending", map[string]any{"message": "sent to cluster cluster1"}),
		"later":              gen.WithHubStatus("Running", map[string]any{"nodes": map[string]any{"gone": map[string]any{}}}),
		"retried over there": gen.WithHubStatus("Failed"),
	} {
		t.Run(name, func(t *testing.T) {
			wf := assigned(before)
			out := decide(wf, gen.RemoteWorkflow(wf, cluster, gen.WithReport(running()), started(metav1.ConditionTrue, "")), nil, "")
			assert.Equal(t, running(), out.status)
			assert.Empty(t, out.reason)
		})
	}
}

func TestARefusedReportIsShownBesideWhatTheHubKnows(t *testing.T) {
	refused := func(message string) any {
		return map[string]any{"type": report.ConditionRefused, "status": "True", "message": message}
	}
	known := map[string]any{
		"nodes":      map[string]any{"a": map[string]any{}},
		"conditions": []any{map[string]any{"type": "PodRunning", "status": "False"}},
	}
	for name, phase := range map[string]string{"it runs": "Running", "it has finished": "Succeeded"} {
		t.Run(name, func(t *testing.T) {
			wf := assigned(gen.WithHubStatus(phase, known))
			before := runtime.DeepCopyJSON(wf.Object)
			rw := gen.RemoteWorkflow(wf, cluster, gen.WithReport(map[string]any{}))
			out := decide(wf, rw, nil, "")
			want := runtime.DeepCopyJSON(contract.Status(wf))
			want["conditions"] = append(want["conditions"].([]any), refused(out.message))
			assert.Equal(t, want, out.status)
			assert.Equal(t, hubcopy.Reason(report.RefusedEmpty), out.reason)
			assert.Equal(t, report.RefusedEmpty, out.refused)
			assert.Equal(t, before, wf.Object, "what the cache holds must not change")

			gen.WithHubStatus(phase, out.status)(wf)
			assert.Equal(t, out.status, decide(wf, rw, nil, "").status, "the same refusal must not grow the status")
		})
	}
	t.Run("it has not started", func(t *testing.T) {
		wf := assigned()
		out := decide(wf, gen.RemoteWorkflow(wf, cluster, gen.WithReport(map[string]any{})), nil, "")
		want := pendingWith(out.message)
		want["conditions"] = []any{refused(out.message)}
		assert.Equal(t, want, out.status)
	})
}

func TestARunThatWasDeletedOnItsCluster(t *testing.T) {
	const message = "cluster cluster1: Workflow default/hello was deleted"
	failed := func(more map[string]any) map[string]any {
		status := running()
		status["phase"], status["message"], status["finishedAt"] = "Error", message, "2026-01-02T15:04:05Z"
		for key, value := range more {
			status[key] = value
		}
		return status
	}
	ended := map[string]any{"phase": "Succeeded", "message": "done", "finishedAt": "2026-01-02T16:00:00Z"}
	terminated := running()
	terminated["phase"], terminated["finishedAt"] = "Failed", "2026-01-02T15:04:30Z"
	bare := map[string]any{"phase": "Error", "message": message, "finishedAt": "2026-01-02T15:04:05Z"}
	tests := map[string]struct {
		hub    gen.Mod
		reason string
		report map[string]any
		want   map[string]any
		event  bool
	}{
		"unfinished": {nil, v1alpha1.ReasonDeletedUnfinished, running(), failed(nil), true},
		"unfinished, and terminated since": {
			nil,
			v1alpha1.ReasonDeletedUnfinished,
			terminated,
			failed(map[string]any{"finishedAt": "2026-01-02T15:04:30Z"}),
			true,
		},
		"before it started":                          {nil, v1alpha1.ReasonDeletedUnfinished, nil, bare, true},
		"vanished, unfinished":                       {nil, v1alpha1.ReasonVanishedUnfinished, running(), failed(nil), true},
		"vanished, and had finished":                 {nil, v1alpha1.ReasonVanishedUnfinished, ended, ended, false},
		"finished":                                   {nil, v1alpha1.ReasonDeletedFinished, ended, ended, false},
		"finished, says the cluster, but it was not": {nil, v1alpha1.ReasonDeletedFinished, running(), failed(nil), true},
		"rolled back, unfinished":                    {nil, v1alpha1.ReasonRolledBack, running(), failed(nil), true},
		"rolled back, and had finished":              {nil, v1alpha1.ReasonRolledBack, ended, ended, false},
		"rolled back, and its report is gone":        {gen.WithHubStatus("Succeeded", ended), v1alpha1.ReasonRolledBack, nil, ended, false},
		"for a reason of the future":                 {nil, "Evicted", running(), failed(nil), true},
		"finished, and its report is gone":           {gen.WithHubStatus("Succeeded", ended), v1alpha1.ReasonDeletedFinished, nil, ended, false},
		"vanished, and its report is gone": {
			gen.WithHubStatus("Succeeded", ended),
			v1alpha1.ReasonVanishedUnfinished,
			nil,
			ended,
			false,
		},
		"finished, and its report never came": {
			gen.WithHubStatus("Pending", pendingWith("sent")),
			v1alpha1.ReasonDeletedFinished,
			nil,
			bare,
			true,
		},
		"unfinished, and its report is gone": {
			gen.WithHubStatus("Running", running()),
			v1alpha1.ReasonDeletedUnfinished,
			nil,
			failed(nil),
			true,
		},
		"before it started, and that is already said": {gen.WithHubStatus("Error", bare), v1alpha1.ReasonDeletedUnfinished, nil, bare, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wf := assigned()
			if test.hub != nil {
				test.hub(wf)
			}
			before := runtime.DeepCopyJSON(wf.Object)
			rw := gen.RemoteWorkflow(wf, cluster, deletedAs(test.reason))
			if test.report != nil {
				gen.WithReport(test.report)(rw)
			}
			out := decide(wf, rw, nil, "")
			assert.Equal(t, test.want, out.status)
			assert.Equal(t, map[bool]hubcopy.Reason{true: ReasonRemoteDeleted}[test.event], out.reason)
			assert.Equal(t, before, wf.Object, "what the cache holds must not change")
		})
	}
}

func TestACopyThatTheHubHasRemovedIsNoNewsOfADeletedWorkflow(t *testing.T) {
	wf := assigned(gen.WithHubStatus("Running"), gen.Deleting())
	rw := gen.RemoteWorkflow(
		wf,
		cluster,
		gen.WithReport(map[string]any{"phase": "Running"}),
		deletedAs(v1alpha1.ReasonWithdrawn),
		gen.Deleting(),
	)
	out := decide(wf, rw, nil, "")
	assert.Equal(t, "Running", out.status["phase"])
	assert.Empty(t, out.reason)
}

func TestARunThatIsGoneEndsEvenIfItsReportIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		mods []gen.Mod
		want string
	}{
		"it was deleted on its cluster":   {[]gen.Mod{deletedAs(v1alpha1.ReasonDeletedUnfinished)}, "cluster cluster1: Workflow default/hello was deleted"},
		"its RemoteWorkflow is withdrawn": {[]gen.Mod{gen.Deleting()}, "was deleted on the hub, and the run with it"},
		"and its copy has been removed":   {[]gen.Mod{gen.Deleting(), deletedAs(v1alpha1.ReasonWithdrawn)}, "was deleted on the hub, and the run with it"},
	} {
		t.Run(name, func(t *testing.T) {
			wf := assigned(gen.WithHubStatus("Running", map[string]any{"progress": "0/1"}))
			rw := gen.RemoteWorkflow(wf, cluster, append(test.mods, gen.WithReport(map[string]any{"phase": "Succeeded", "progress": "1/1"}))...)
			rw.Status.Report.WorkflowUID = "another"
			out := decide(wf, rw, nil, "")
			assert.Equal(t, report.RefusedWrongWorkflow, out.refused)
			assert.Equal(t, ReasonRemoteDeleted, out.reason)
			assert.Equal(t, "Error", out.status["phase"])
			assert.Contains(t, out.status["message"], test.want)
			assert.Equal(t, "0/1", out.status["progress"], "nothing of the report is taken over")
			conditions, _ := out.status["conditions"].([]any)
			require.Len(t, conditions, 1)
			assert.Equal(t, report.ConditionRefused, conditions[0].(map[string]any)["type"])
		})
	}
}

func TestWhatIsMissingInTheHubsCopyIsToldInACondition(t *testing.T) {
	wf := assigned()
	reported := running()
	reported["offloadNodeStatusVersion"] = "fnv:1"
	other := map[string]any{"type": "Completed", "status": "True"}
	reported["conditions"] = []any{map[string]any{"type": report.ConditionIncomplete, "status": "True", "message": "from the cluster"}, other}
	out := decide(wf, gen.RemoteWorkflow(wf, cluster, gen.WithReport(reported)), nil, "")

	assert.NotContains(t, out.status, "offloadNodeStatusVersion")
	assert.Equal(t, ReasonIncomplete, out.reason)
	assert.Contains(t, out.message, "offloaded")
	require.Equal(t, []any{
		other, map[string]any{"type": report.ConditionIncomplete, "status": "True", "message": out.message},
	}, out.status["conditions"], "one condition of a type, and others' are kept")
}

func TestWhatIsMissingIsToldOfARunThatWasDeletedToo(t *testing.T) {
	wf := assigned()
	reported := running()
	reported["offloadNodeStatusVersion"] = "fnv:1"
	out := decide(wf, gen.RemoteWorkflow(wf, cluster, gen.WithReport(reported), deletedAs(v1alpha1.ReasonDeletedUnfinished)), nil, "")
	assert.Equal(t, "Error", out.status["phase"])
	assert.Len(t, out.status["conditions"], 1)
}

func TestARunWhoseRemoteWorkflowSomebodyDeletedIsAnErrorUnlessItHadFinished(t *testing.T) {
	const message = "cluster cluster1: RemoteWorkflow"
	tests := map[string]struct {
		hub       gen.Mod
		rw        []gen.Mod
		wantPhase any
	}{
		"it never started":                  {gen.WithHubStatus("Pending"), nil, nil},
		"it was recorded and not heard of":  {gen.WithHubStatus("Pending"), []gen.Mod{gen.WithRemoteUID("remote")}, "Error"},
		"it ran":                            {gen.WithHubStatus("Running"), []gen.Mod{gen.WithReport(running())}, "Error"},
		"it ran, known from feedback alone": {gen.WithHubStatus("Running"), []gen.Mod{gen.WithReporting(v1alpha1.ReportingFeedback)}, "Error"},
		"it has finished, but for the hub": {
			gen.WithHubStatus("Running"),
			[]gen.Mod{gen.WithReport(map[string]any{"phase": "Failed"})},
			"Failed",
		},
		"it has finished": {
			gen.WithHubStatus("Succeeded"),
			[]gen.Mod{gen.WithReport(map[string]any{"phase": "Succeeded"})},
			"Succeeded",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wf := assigned(test.hub)
			out := decide(wf, gen.RemoteWorkflow(wf, cluster, append(test.rw, gen.Deleting())...), nil, "")
			if test.wantPhase == nil {
				assert.Nil(t, out.status)
				return
			}
			assert.Equal(t, test.wantPhase, out.status["phase"])
			if test.wantPhase == "Error" {
				assert.Contains(t, out.status["message"], message)
				assert.NotEmpty(t, out.status["finishedAt"])
				assert.Equal(t, ReasonRemoteDeleted, out.reason)
			}
		})
	}
}
