package workflow

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// wanted is what of a decision a test says: attempt is "own" or "other".
type wanted struct {
	action  action
	attempt string
	removal v1alpha1.Removal
	reason  string
	metric  string
	within  time.Duration
}

func check(t *testing.T, s *snapshot, want wanted) {
	t.Helper()
	got := decide(s)
	seen := wanted{action: got.action, removal: got.removal, metric: got.metric, within: got.within}
	switch got.attempt {
	case nil:
	case s.own:
		seen.attempt = "own"
	default:
		require.Contains(t, s.others, got.attempt)
		seen.attempt = "other"
	}
	if got.why != nil {
		seen.reason = got.why.Reason
	}
	if got.shown.why != nil {
		seen.reason = got.shown.why.Reason
	}
	assert.Equal(t, want, seen)
}

const terminate, leave = v1alpha1.RemovalTerminate, v1alpha1.RemovalLeave

func TestTheAttemptOfAnEarlierWorkflowGoesFirst(t *testing.T) {
	again := assigned()
	tests := map[string]struct {
		s    *snapshot
		want wanted
	}{
		"the cache is outdated": {
			scene(again, other(), func(s *snapshot) { s.isOutdated = true }), wanted{action: wait},
		},
		"it is there": {scene(again, other()), wanted{action: remove, attempt: "other", removal: terminate}},
		"it is there, and was claimed": {
			scene(again, other(claimed())), wanted{action: remove, attempt: "other", removal: terminate},
		},
		"it is being deleted, and nothing says what becomes of it": {
			scene(again, other(claimed(), gen.Deleting())), wanted{action: remove, attempt: "other", removal: terminate},
		},
		"it is being deleted, and nothing has claimed it": {
			scene(again, other(gen.Deleting())), wanted{action: finalize, attempt: "other"},
		},
		"it is being deleted, nothing has claimed it, and a delivery lists it: the name is not free": {
			scene(again, other(gen.Deleting()), otherDelivered), wanted{action: wait},
		},
		"it is being removed by its agent: the name is not free": {
			scene(again, other(claimed(), removing(terminate), gen.Deleting())), wanted{action: wait},
		},
		"its agent says that it is gone": {
			scene(again, other(claimed(), removing(terminate), gone(v1alpha1.ReasonRemoved), gen.Deleting())), wanted{action: finalize, attempt: "other"},
		},
		"its cluster is detached": {
			scene(again, other(claimed(), removing(terminate), gen.Deleting()), detached), wanted{action: finalize, attempt: "other"},
		},
		"only somebody else keeps it": {
			scene(again, other(claimed(), removing(terminate), gen.Deleting(), withoutFinalizers())), wanted{action: wait},
		},
		"and that of this one is there": {
			scene(again, own(), other()), wanted{action: remove, attempt: "other", removal: terminate},
		},
		"the Workflow is gone": {scene(nil, other()), wanted{action: remove, attempt: "other", removal: terminate}},
		"the Workflow is gone, and all that is left waits for the agent": {
			scene(nil, other(claimed(), removing(terminate), gen.Deleting())), wanted{action: wait},
		},
		"of two the second, if the first waits": {
			scene(again, other(claimed(), removing(terminate), gen.Deleting()), other()), wanted{action: remove, attempt: "other", removal: terminate},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { check(t, test.s, test.want) })
	}
}

func TestAWorkflowThatIsNotAssignedIsLeftToTheScheduler(t *testing.T) {
	tests := map[string]struct {
		s    *snapshot
		want wanted
	}{
		"it is new":                                  {scene(gen.Workflow("hello")), wanted{action: wait}},
		"it says why it waits":                       {scene(gen.Workflow("hello", gen.WithHubStatus("Pending"))), wanted{action: wait}},
		"its label has a wrong value":                {scene(gen.Workflow("hello", label("1"))), wanted{action: wait}},
		"somebody wrote its status":                  {scene(gen.Workflow("hello", gen.WithStatus("Running"))), wanted{action: wait}},
		"its assignment is of another Workflow":      {scene(assigned(gen.WithUID("later"), withoutFinalizers())), wanted{action: wait}},
		"it has lost its assignment, and keeps ours": {scene(gen.Workflow("hello", gen.WithFinalizers(contract.FinalizerDispatch))), wanted{action: release}},
		"it is being deleted":                        {scene(gen.Workflow("hello", gen.WithFinalizers("x"), gen.Deleting())), wanted{action: release}},
		"it has lost its assignment, and has an attempt": {
			scene(gen.Workflow("hello"), own(claimed())), wanted{action: restore, reason: reasonClusterRestored},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { check(t, test.s, test.want) })
	}
}

func TestADeletedWorkflow(t *testing.T) {
	wf := assigned(gen.Deleting())
	tests := map[string]struct {
		s    *snapshot
		want wanted
	}{
		"it has no attempt": {scene(wf), wanted{action: release}},
		"nothing has claimed it": {
			scene(wf, own()), wanted{action: remove, attempt: "own", removal: terminate},
		},
		"nothing has claimed it, and a delivery lists it": {
			scene(wf, own(), delivered()), wanted{action: remove, attempt: "own", removal: terminate},
		},
		"nothing has claimed it, and the RemoteWorkflow is being deleted": {
			scene(wf, own(gen.Deleting())), wanted{action: finalize, attempt: "own"},
		},
		"nothing has claimed it, and it has not left its delivery": {
			scene(wf, own(gen.Deleting()), delivered()), wanted{action: wait, within: timeout},
		},
		"it was claimed": {scene(wf, own(claimed())), wanted{action: remove, attempt: "own", removal: terminate}},
		"it was claimed, and somebody else has deleted the RemoteWorkflow": {
			scene(wf, own(claimed(), gen.Deleting())), wanted{action: remove, attempt: "own", removal: terminate},
		},
		"its agent removes it": {
			scene(wf, own(claimed(), removing(terminate), gen.Deleting())), wanted{action: wait, within: timeout},
		},
		"its agent has removed it": {
			scene(wf, own(claimed(), removing(terminate), gone(v1alpha1.ReasonRemoved), gen.Deleting())), wanted{action: finalize, attempt: "own"},
		},
		"its agent says that it left it": {
			scene(wf, own(claimed(), removing(terminate), gone(v1alpha1.ReasonLeft), gen.Deleting())), wanted{action: finalize, attempt: "own"},
		},
		"its cluster is detached": {
			scene(wf, own(claimed(), removing(terminate), gen.Deleting()), detached), wanted{action: finalize, attempt: "own"},
		},
		"its agent was disabled, and has left it behind": {
			scene(wf, own(claimed(), removing(terminate), gen.Deleting()), noAgent), wanted{action: finalize, attempt: "own"},
		},
		"its agent is being disabled": {
			scene(wf, own(claimed(), removing(terminate), gen.Deleting()), agentGoing), wanted{action: wait, reason: reasonDeletionWaits, within: timeout},
		},
		"it runs without an agent": {
			scene(wf, own(withoutAgent())), wanted{action: remove, attempt: "own", removal: terminate},
		},
		"it runs without an agent, and its ManifestWork goes": {
			scene(wf, own(withoutAgent(), gen.Deleting()), delivered(), noAgent), wanted{action: wait, within: timeout},
		},
		"it ran without an agent, and its ManifestWork is gone": {
			scene(wf, own(withoutAgent(), gen.Deleting()), noAgent), wanted{action: finalize, attempt: "own"},
		},
		"the RemoteWorkflow is kept by somebody else": {
			scene(wf, own(gen.Deleting(), withoutFinalizers())), wanted{action: release},
		},
		"the Workflow is kept by somebody else": {
			scene(assigned(gen.Deleting(), withoutFinalizers(), gen.WithFinalizers("x")), own(claimed(), removing(terminate), gen.Deleting()), lost),
			wanted{action: wait},
		},
		"nobody restores what was edited, and nothing more is shown": {
			scene(assigned(gen.Deleting(), label("false")), own(claimed(), removing(terminate), gen.Deleting(), gen.WithReport(running()))),
			wanted{action: wait, within: timeout},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { check(t, test.s, test.want) })
	}
}

func TestWhatWasSentKeepsLabelAssignmentAndFinalizer(t *testing.T) {
	record := func(value string) gen.Mod {
		return gen.WithAnnotations(map[string]string{contract.AnnotationAssigned: string(gen.UIDOf("hello")) + value})
	}
	unedited := assigned(gen.WithHubStatus("Running"))
	wantAnnotations := map[string]string{
		contract.AnnotationCluster: cluster1, contract.AnnotationAssigned: contract.Assignment(unedited, 1, cluster1),
	}
	tests := map[string]struct {
		edit gen.Mod
		want map[string]any
		// reason is that of the Event; who removes a finalizer has seen that already.
		reason string
	}{
		"the label is removed": {
			withoutLabels(), map[string]any{"labels": map[string]string{contract.LabelEnable: "true"}}, reasonLabelRestored,
		},
		"the label is changed": {
			label("false"), map[string]any{"labels": map[string]string{contract.LabelEnable: "true"}}, reasonLabelRestored,
		},
		"the cluster is changed":    {gen.WithCluster("cluster2"), map[string]any{"annotations": wantAnnotations}, reasonClusterRestored},
		"the assignment is changed": {record("/1/cluster2"), map[string]any{"annotations": wantAnnotations}, reasonClusterRestored},
		"the attempt is changed":    {record("/2/cluster1"), map[string]any{"annotations": wantAnnotations}, reasonClusterRestored},
		"the finalizer is removed": {
			func(obj client.Object) { obj.SetFinalizers([]string{"x"}) }, map[string]any{"finalizers": []string{"x", contract.FinalizerDispatch}}, "",
		},
	}
	for name, test := range tests {
		for started, mods := range map[string][]gen.Mod{"before its start": nil, "after its start": {claimed()}} {
			t.Run(name+" "+started, func(t *testing.T) {
				wf := unedited.DeepCopy()
				test.edit(wf)
				s := scene(wf, own(mods...), closed)
				check(t, s, wanted{action: restore, reason: test.reason})
				assert.Equal(t, test.want, decide(s).metadata)

				own(append(mods, gen.Deleting())...)(s)
				assert.NotEqual(t, restore, decide(s).action, "what goes is not kept")
			})
		}
	}
}

func TestWhatTheUserWantsOfTheRunGoesToItsCluster(t *testing.T) {
	having := func(c v1alpha1.Controls) gen.Mod {
		return func(obj client.Object) { obj.(*v1alpha1.RemoteWorkflow).Spec.Controls = c }
	}
	stopped := v1alpha1.Controls{Shutdown: v1alpha1.ShutdownStop}
	for name, test := range map[string]struct {
		fields map[string]any
		own    []gen.Mod
		want   *v1alpha1.Controls
	}{
		"it is suspended": {map[string]any{"suspend": true}, nil, &v1alpha1.Controls{Suspend: true}},
		"it is resumed":   {nil, []gen.Mod{having(v1alpha1.Controls{Suspend: true})}, &v1alpha1.Controls{}},
		"it is stopped":   {map[string]any{"shutdown": "Stop"}, nil, &stopped},
		"a stop becomes a termination": {
			map[string]any{"shutdown": "Terminate"}, []gen.Mod{having(stopped)}, &v1alpha1.Controls{Shutdown: v1alpha1.ShutdownTerminate},
		},
		"a stop is not taken back":             {nil, []gen.Mod{having(stopped)}, nil},
		"what is no control is nobody's":       {map[string]any{"shutdown": "Halt", "entrypoint": "other"}, nil, nil},
		"what it wants already is not carried": {map[string]any{"suspend": true}, []gen.Mod{having(v1alpha1.Controls{Suspend: true})}, nil},
		"what has finished is not changed":     {map[string]any{"suspend": true}, []gen.Mod{gen.WithReport(map[string]any{"phase": "Failed"})}, nil},
		"nor is what goes":                     {map[string]any{"suspend": true}, []gen.Mod{gen.Deleting(), removing(v1alpha1.RemovalTerminate)}, nil},
		"nor what runs without an agent":       {map[string]any{"suspend": true}, []gen.Mod{gen.WithReporting(v1alpha1.ReportingFeedback)}, nil},
	} {
		for started, mods := range map[string][]gen.Mod{"before its start": nil, "after its start": {claimed()}} {
			t.Run(name+" "+started, func(t *testing.T) {
				wf := assigned(gen.WithHubStatus("Running"))
				s := scene(wf, own(append(mods, test.own...)...))
				s.wf.Controls = contract.ControlsOf(test.fields)
				got := decide(s)
				if test.want == nil {
					assert.NotEqual(t, control, got.action)
					return
				}
				assert.Equal(t, control, got.action)
				assert.Equal(t, *test.want, got.controls)
			})
		}
	}
}

func TestWhatHasStartedAndHasNoRemoteWorkflowIsLost(t *testing.T) {
	tests := map[string]struct {
		s    *snapshot
		want wanted
	}{
		"it ran":          {scene(assigned(gen.WithHubStatus("Running"))), wanted{action: show, reason: reasonRemoteDeleted}},
		"it has finished": {scene(assigned(gen.WithHubStatus("Failed"))), wanted{action: wait}},
		"it waits":        {scene(assigned(gen.WithHubStatus("Pending"))), wanted{action: create}},
		"somebody else wrote that it runs": {
			scene(assigned(gen.WithStatus("Running"))), wanted{action: hold, reason: hubworkflow.ReasonForeignStatus},
		},
		"it ran, and its label is gone": {
			scene(assigned(gen.WithHubStatus("Running"), label("false"))), wanted{action: show, reason: reasonRemoteDeleted},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { check(t, test.s, test.want) })
	}
	ended := decide(scene(assigned(gen.WithHubStatus("Running")))).shown
	assert.Contains(t, ended.end.message, "cluster cluster1: RemoteWorkflow "+nameOf(assigned())+" is gone from the hub")
	assert.Contains(t, ended.end.message, "default/hello")
	assert.Equal(t, gen.Time.Time, ended.end.at)
}

func TestAWorkflowIsGivenBackInTwoSteps(t *testing.T) {
	tests := map[string]struct {
		s    *snapshot
		want wanted
	}{
		"its cluster is closed to it: first the finalizer": {scene(assigned(), closed), wanted{action: release}},
		"then the assignment":                              {scene(assigned(withoutFinalizers()), closed), wanted{action: unassign}},
		"its label was taken away: first the finalizer":    {scene(assigned(withoutLabels())), wanted{action: release}},
		"its label says no":                                {scene(assigned(label("false"))), wanted{action: release}},
		"its label was taken away: then the assignment":    {scene(assigned(withoutLabels(), withoutFinalizers())), wanted{action: unassign}},
		"somebody took the finalizer away":                 {scene(assigned(withoutFinalizers())), wanted{action: unassign}},
		"it was created before the hub was restored, and its cluster is gone": {
			scene(assigned(), closed, restoredLater), wanted{action: release},
		},
		"it has an attempt: that goes first": {scene(assigned(), closed, own()), wanted{action: remove, attempt: "own", removal: terminate}},
		"it has finished":                    {scene(assigned(gen.WithHubStatus("Succeeded"), label("false"))), wanted{action: wait}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { check(t, test.s, test.want) })
	}
}

// restoredLater has the hub restored after the Workflow was created.
func restoredLater(s *snapshot) { s.restoredAt = s.now.Add(time.Hour) }

func TestWhatIsAssignedGetsARemoteWorkflow(t *testing.T) {
	tests := map[string]struct {
		s    *snapshot
		want wanted
	}{
		"it is new":        {scene(assigned()), wanted{action: create}},
		"it waited before": {scene(assigned(gen.WithHubStatus("Pending"))), wanted{action: create}},
		"it was created before the hub was restored": {
			scene(assigned(), restoredLater), wanted{action: hold, reason: hubworkflow.ReasonRestoredHub},
		},
		"it was created before the hub was restored, and was sent": {scene(assigned(), restoredLater, own(), delivered()), wanted{action: wait, within: answersWithin}},
		"somebody wrote its status":                                {scene(assigned(gen.WithStatus("Pending"))), wanted{action: hold, reason: hubworkflow.ReasonForeignStatus}},
		"its labels say that it has run": {
			scene(assigned(gen.WithHubStatus("Succeeded"), without("status"))), wanted{action: hold, reason: hubworkflow.ReasonStatusLost},
		},
		"its label has a wrong value": {scene(assigned(label("1"))), wanted{action: hold, reason: hubworkflow.ReasonInvalidLabel}},
		"an earlier attempt has its name on the cluster": {
			scene(assigned(), other(claimed(), removing(terminate), gen.Deleting())), wanted{action: wait},
		},
		"an earlier attempt of the name is on another cluster": {
			scene(assigned(), other(claimed(), removing(terminate), gen.Deleting()), func(s *snapshot) { s.others[0].Namespace = "cluster2" }),
			wanted{action: create},
		},
		"it has finished": {scene(assigned(gen.WithHubStatus("Succeeded"))), wanted{action: wait}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { check(t, test.s, test.want) })
	}
}

func TestWhatHasNotStartedIsTakenBackWhereItCannotStart(t *testing.T) {
	tests := map[string]struct {
		s    *snapshot
		want wanted
	}{
		"it may go there":                  {scene(assigned(), own(), delivered()), wanted{action: wait, within: answersWithin}},
		"it may not go there any more":     {scene(assigned(), own(), closed), wanted{action: remove, attempt: "own", removal: terminate}},
		"though it is in a delivery":       {scene(assigned(), own(), delivered(), closed), wanted{action: remove, attempt: "own", removal: terminate}},
		"it is being taken back":           {scene(assigned(), own(gen.Deleting()), delivered(), closed), wanted{action: wait}},
		"it has left its delivery":         {scene(assigned(), own(gen.Deleting()), closed), wanted{action: finalize, attempt: "own"}},
		"it was claimed":                   {scene(assigned(), own(claimed()), closed), wanted{action: wait}},
		"somebody deleted its attempt":     {scene(assigned(), own(gen.Deleting())), wanted{action: finalize, attempt: "own"}},
		"somebody else keeps that as well": {scene(assigned(), own(gen.Deleting(), withoutFinalizers())), wanted{action: wait}},
		"a user says that it runs": {
			scene(assigned(gen.WithStatus("Running")), own(), closed), wanted{action: remove, attempt: "own", removal: terminate},
		},
		"without an agent, it may run already": {
			scene(assigned(gen.WithHubStatus("Pending", map[string]any{"message": "x"})), own(withoutAgent()), delivered(), noAgent, closed),
			wanted{action: show},
		},
		"without an agent, its cluster goes": {
			scene(assigned(), own(withoutAgent()), delivered(), detached, closed), wanted{action: remove, attempt: "own", removal: terminate},
		},
		"without an agent, its ManifestWork goes with its cluster": {
			scene(assigned(), own(withoutAgent(), gen.Deleting()), delivered(), detached, closed), wanted{action: wait},
		},
		"without an agent, its ManifestWork is gone with its cluster": {
			scene(assigned(), own(withoutAgent(), gen.Deleting()), detached, closed), wanted{action: finalize, attempt: "own"},
		},
		"without an agent, somebody deleted its attempt": {
			scene(assigned(), own(withoutAgent(), gen.Deleting()), noAgent), wanted{action: finalize, attempt: "own"},
		},
		"without an agent, it runs": {
			scene(assigned(gen.WithHubStatus("Running")), own(withoutAgent()), delivered(), noAgent, closed), wanted{action: wait},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { check(t, test.s, test.want) })
	}
}

func TestWhatTheUserWantsGoesToTheClusterAlsoIfSomebodyHasDeletedTheRemoteWorkflow(t *testing.T) {
	s := scene(assigned(gen.WithHubStatus("Running")), own(claimed(), gen.Deleting()))
	s.wf.Controls = contract.ControlsOf(map[string]any{"shutdown": "Stop"})
	got := decide(s)
	assert.Equal(t, control, got.action)
	assert.Equal(t, v1alpha1.ShutdownStop, got.controls.Shutdown)

	b := newBench(t, waiting(), gen.Deleting())
	b.edits(resumes("a"), nil)
	assert.Equal(t, []string{patchRemote + nameOf(b.wf)}, b.writes())
	assert.Len(t, b.remote().Spec.Edits, 1)
}

func TestARemoteWorkflowThatSomebodyElseDeletedGoesAtTheEnd(t *testing.T) {
	ended := map[string]any{"phase": "Succeeded"}
	shown := func(phase string) []gen.Mod { return []gen.Mod{gen.WithHubStatus(phase)} }
	seen := func(s *snapshot) { // the report is what the Workflow shows
		gen.WithAnnotations(map[string]string{contract.AnnotationReportHash: fromReport(s, goneOf(s)).source})(s.wf)
	}
	tests := map[string]struct {
		s    *snapshot
		want wanted
	}{
		"it runs, and its report is new": {
			scene(assigned(shown("Pending")...), own(gen.WithReport(running()), gen.Deleting())), wanted{action: show},
		},
		"it runs, and is shown": {
			scene(assigned(shown("Running")...), own(gen.WithReport(running()), gen.Deleting()), seen), wanted{action: wait},
		},
		"it has ended, and that is not shown yet": {
			scene(assigned(shown("Running")...), own(gen.WithReport(ended), gen.Deleting())), wanted{action: show},
		},
		"it has ended": {
			scene(assigned(shown("Succeeded")...), own(gen.WithReport(ended), gen.Deleting()), seen), wanted{action: remove, attempt: "own", removal: leave},
		},
		"it has ended, and its agent is to leave it": {
			scene(assigned(shown("Succeeded")...), own(gen.WithReport(ended), removing(leave), gen.Deleting()), seen), wanted{action: wait},
		},
		"its agent has left it": {
			scene(assigned(shown("Succeeded")...), own(gen.WithReport(ended), removing(leave), gone(v1alpha1.ReasonLeft), gen.Deleting()), seen),
			wanted{action: finalize, attempt: "own"},
		},
		"it runs, and its cluster is detached": {
			scene(assigned(shown("Running")...), own(gen.WithReport(running()), gen.Deleting()), detached), wanted{action: show, reason: reasonRemoteDeleted},
		},
		"it has ended, and its cluster is detached": {
			scene(assigned(shown("Succeeded")...), own(gen.WithReport(ended)), detached, seen), wanted{action: remove, attempt: "own", removal: leave},
		},
		"the cluster that is detached does not hold it": {
			scene(assigned(shown("Succeeded")...), own(gen.WithReport(ended), removing(leave), gen.Deleting()), detached, seen),
			wanted{action: finalize, attempt: "own"},
		},
		"it ran without an agent, and its ManifestWork goes with it": {
			scene(assigned(shown("Running")...), own(withoutAgent(), gen.Deleting()), delivered(), noAgent), wanted{action: wait},
		},
		"it ran without an agent, and its ManifestWork is gone with it": {
			scene(assigned(shown("Running")...), own(withoutAgent(), gen.Deleting()), noAgent), wanted{action: show, reason: reasonRemoteDeleted},
		},
		"it ended without an agent": {
			scene(assigned(shown("Error")...), own(withoutAgent(), gen.Deleting()), noAgent), wanted{action: finalize, attempt: "own"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { check(t, test.s, test.want) })
	}
}

func TestWhatSomebodyElseHasStartedBeforeItWasSentIsNotSent(t *testing.T) {
	tests := map[string]struct {
		s    *snapshot
		want wanted
	}{
		"it runs":                              {scene(assigned(gen.WithStatus("Running")), own()), wanted{action: hold, reason: hubworkflow.ReasonForeignStatus}},
		"it ended":                             {scene(assigned(gen.WithStatus("Succeeded")), own()), wanted{action: hold, reason: hubworkflow.ReasonForeignStatus}},
		"it is said to wait, and waits":        {scene(assigned(gen.WithStatus("Pending")), own()), wanted{action: show}},
		"it is on its way, and cannot be kept": {scene(assigned(gen.WithStatus("Running")), own(), delivered()), wanted{action: show}},
		"it was claimed":                       {scene(assigned(gen.WithStatus("Running")), own(claimed())), wanted{action: show}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { check(t, test.s, test.want) })
	}
}

func TestAnEndedWorkflowThatIsWatchedNoMoreWaitsForNothing(t *testing.T) {
	ended := assigned(gen.WithHubStatus("Succeeded"), withoutLabels())
	tests := map[string]struct {
		s    *snapshot
		want wanted
	}{
		"its attempt is gone":  {scene(ended), wanted{action: release}},
		"its attempt is there": {scene(ended, own(claimed())), wanted{action: restore, reason: reasonLabelRestored}},
		"it has no finalizer": {scene(assigned(gen.WithHubStatus("Succeeded"), withoutLabels(),
			func(obj client.Object) { obj.SetFinalizers(nil) })), wanted{action: wait}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { check(t, test.s, test.want) })
	}
}

func TestWhatHasEndedExpires(t *testing.T) {
	ttl := gen.WithTTL("secondsAfterCompletion", 60)
	at := map[string]any{"finishedAt": "2026-01-02T15:04:05Z"}
	ended := assigned(ttl, gen.WithHubStatus("Succeeded", at))
	tests := map[string]struct {
		s    *snapshot
		want wanted
	}{
		"its time has not come":     {scene(ended), wanted{action: wait, within: time.Minute + time.Second}},
		"its time has come":         {scene(ended, after(time.Minute+time.Second)), wanted{action: expire}},
		"it has no strategy":        {scene(assigned(gen.WithHubStatus("Succeeded", at)), after(time.Hour)), wanted{action: wait}},
		"it runs":                   {scene(assigned(ttl, gen.WithHubStatus("Running")), own(claimed()), after(time.Hour)), wanted{action: wait}},
		"somebody wrote its status": {scene(assigned(ttl, gen.WithStatus("Succeeded", at)), after(time.Hour)), wanted{action: wait}},
		"it is not ours":            {scene(assigned(ttl, gen.WithHubStatus("Succeeded", at), label("false")), after(time.Hour)), wanted{action: wait}},
		"its remote Workflow is not known to be left": {
			scene(ended, own(gen.WithReport(map[string]any{"phase": "Succeeded"}), removing(leave), gen.Deleting()), func(s *snapshot) {
				gen.WithAnnotations(map[string]string{contract.AnnotationReportHash: fromReport(s, nil).source})(s.wf)
			}, after(time.Hour)), wanted{action: expire},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { check(t, test.s, test.want) })
	}
}
