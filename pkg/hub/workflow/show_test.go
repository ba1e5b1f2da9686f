package workflow

import (
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/report"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// pendingAs is the status of a Workflow that waits for this reason.
func pendingAs(reason, message string) map[string]any {
	return hubworkflow.PendingStatus(hubworkflow.Refusal{Reason: reason, Message: message})
}

// createdAgo is that of what was created so long before gen.Time.
func createdAgo(ago time.Duration) gen.Mod {
	return func(obj client.Object) { obj.SetCreationTimestamp(metav1.NewTime(gen.Time.Add(-ago))) }
}

func TestWhatIsSentAndNotAnsweredIsLookedAtAgain(t *testing.T) {
	unanswered := func(mods ...gen.Mod) *snapshot {
		wf := assigned()
		return scene(wf, func(s *snapshot) {
			s.own = &attempt{RemoteWorkflow: attemptOf(wf, mods...), cluster: s.assigned}
		}, delivered(mods[0]))
	}
	assert.Equal(t, decision{action: wait, within: answersWithin - 20*time.Second}, decide(unanswered(createdAgo(20*time.Second))))
	assert.Equal(t, decision{action: wait}, decide(unanswered(createdAgo(20*time.Second), claimed())))
}

func TestThatAClusterDoesNotAnswerIsSeenThoughNothingTellsOfTheDelivery(t *testing.T) {
	wf := assigned()
	rw := attemptOf(wf)
	r, hub, clock := newReconciler(t, append(surroundings(), wf, rw)...)
	within, err := try(t, r)
	require.NoError(t, err)
	assert.Equal(t, answersWithin, within, "it is in no delivery yet")
	work := gen.ManifestWork(rw, createdAgo(-time.Second))
	require.NoError(t, hub.Create(t.Context(), work))
	clock.SetTime(gen.Time.Add(within))
	within, err = try(t, r)
	require.NoError(t, err)
	assert.Equal(t, time.Second, within, "it was delivered later")
	clock.SetTime(gen.Time.Add(answersWithin + time.Second))
	_, err = try(t, r)
	require.NoError(t, err)
	assert.Len(t, hub.Events(), 1)
}

// plainly is the status of a Workflow that waits for nothing of its user's.
func plainly(message string) map[string]any {
	return map[string]any{"phase": "Pending", "message": message}
}

func TestBeforeAReportTheHubShowsWhatKeepsTheWorkflowFromStarting(t *testing.T) {
	notApplied := gen.WithManifestCondition(workv1.ManifestApplied, metav1.ConditionFalse, "no matches for kind Workflow")
	waited := gen.WithHubStatus("Pending", map[string]any{"message": "waiting for a cluster"})
	notOurs := started(metav1.ConditionFalse, v1alpha1.ReasonNotOurs, "the name is taken")
	notTakenUp := started(metav1.ConditionTrue, v1alpha1.ReasonNotTakenUp, "started, and Argo has written nothing yet")
	opened := started(metav1.ConditionTrue, v1alpha1.ReasonGateOpened, "started")
	sent := plainly("sent to cluster cluster1")
	tests := map[string]struct {
		wf, rw, work []gen.Mod
		undelivered  bool
		refused      string
		addon        []gen.Mod
		want         map[string]any
		reason       string
	}{
		"nothing yet":                             {},
		"nothing yet, and it waited":              {wf: []gen.Mod{waited}, want: sent},
		"it waited, and is in no delivery yet":    {wf: []gen.Mod{waited}, undelivered: true},
		"it waited, and was claimed":              {wf: []gen.Mod{waited}, rw: []gen.Mod{claimed()}, undelivered: true, want: sent},
		"it has started, and nothing is reported": {rw: []gen.Mod{claimed(), opened}},
		"Argo does not take it up": {
			rw: []gen.Mod{claimed(), notTakenUp}, reason: v1alpha1.ReasonNotTakenUp,
			want: pendingAs(v1alpha1.ReasonNotTakenUp, "cluster cluster1: started, and Argo has written nothing yet"),
		},
		"the agent does not start it": {
			rw: []gen.Mod{notOurs}, reason: reasonNotStarted, want: pendingAs(reasonNotStarted, "cluster cluster1: the name is taken"),
		},
		"the agent's word counts more than the work agent's": {
			rw: []gen.Mod{notOurs}, work: []gen.Mod{notApplied}, reason: reasonNotStarted, want: pendingAs(reasonNotStarted, "cluster cluster1: the name is taken"),
		},
		"it cannot be created there": {
			wf: []gen.Mod{waited}, work: []gen.Mod{notApplied}, reason: reasonApplyFailed,
			want: pendingAs(reasonApplyFailed, "cluster cluster1: cannot create the Workflow: no matches for kind Workflow"),
		},
		"its ManifestWork says so as a whole": {
			work: []gen.Mod{gen.WithCondition(workv1.WorkApplied, metav1.ConditionFalse, "Failed", "forbidden")}, reason: reasonApplyFailed,
			want: pendingAs(reasonApplyFailed, "cluster cluster1: cannot create the Workflow: forbidden"),
		},
		"it is created there": {work: []gen.Mod{
			gen.WithManifestCondition(workv1.ManifestApplied, metav1.ConditionTrue, "applied"), gen.WithCondition(workv1.WorkApplied, metav1.ConditionTrue, "Applied", ""),
		}},
		"its cluster has not answered for a while": {
			rw: []gen.Mod{createdAgo(answersWithin)}, work: []gen.Mod{createdAgo(answersWithin)}, reason: reasonDeliveryWaits, want: pendingAs(reasonDeliveryWaits,
				"cluster cluster1: the Workflow was sent, and OCM's work agent there has not answered for 2 minutes: see whether it runs"),
		},
		"it was delivered just now":                        {rw: []gen.Mod{createdAgo(answersWithin)}, work: []gen.Mod{createdAgo(0)}},
		"its cluster has not answered, and it was claimed": {rw: []gen.Mod{createdAgo(answersWithin), claimed()}, work: []gen.Mod{createdAgo(answersWithin)}},
		"its cluster has answered at last": {
			wf: []gen.Mod{gen.WithHubStatus("Pending", pendingAs(reasonDeliveryWaits, "it has not answered"))},
			rw: []gen.Mod{createdAgo(answersWithin)}, work: []gen.Mod{gen.WithManifestCondition(workv1.ManifestApplied, metav1.ConditionTrue, "applied")},
			want: sent,
		},
		"the hub refuses its delivery": {
			undelivered: true, refused: "exceeded quota", reason: hubworkflow.ReasonCannotTravel,
			want: pendingAs(hubworkflow.ReasonCannotTravel, "not dispatched: the hub refuses it: exceeded quota"),
		},
		"it was claimed, and its agent is away": {
			rw: []gen.Mod{claimed()}, addon: []gen.Mod{agentAvailable(metav1.ConditionUnknown)}, reason: reasonAgentUnavailable,
			want: pendingAs(reasonAgentUnavailable, "cluster cluster1: waiting for the agent that reports whether the Workflow has started: "+
				"the addon argo-workflow-multicluster is not available: no lease"),
		},
		"it runs, and the report is gone":                 {wf: []gen.Mod{gen.WithHubStatus("Running")}, rw: []gen.Mod{claimed(), notOurs}},
		"it ended, and the report is gone":                {wf: []gen.Mod{gen.WithHubStatus("Succeeded")}, rw: []gen.Mod{claimed()}},
		"a user says that it has ended":                   {wf: []gen.Mod{gen.WithStatus("Succeeded")}, want: sent},
		"a user says so over what the hub said":           {wf: []gen.Mod{gen.WithHubStatus("Pending"), gen.WithStatus("Succeeded")}, want: sent},
		"a label says so":                                 {wf: []gen.Mod{gen.WithHubStatus("Pending"), gen.WithLabels(map[string]string{contract.LabelPhase: "Running"})}, want: sent},
		"a user says so of what waits for its delivery":   {wf: []gen.Mod{gen.WithStatus("Pending")}, undelivered: true, want: sent},
		"a user says so of what was claimed":              {wf: []gen.Mod{gen.WithStatus("Succeeded")}, rw: []gen.Mod{claimed()}, want: sent},
		"a deletion that is none":                         {rw: []gen.Mod{claimed(), gen.WithCondition(v1alpha1.ConditionRemoteDeleted, metav1.ConditionFalse, "NotDeleted", "")}},
		"a message that is shown already is not written":  {wf: []gen.Mod{gen.WithHubStatus("Pending", pendingAs(reasonNotStarted, "cluster cluster1: the name is taken"))}, rw: []gen.Mod{notOurs}},
		"one that a user has taken away is written again": {wf: []gen.Mod{gen.WithHubStatus("Pending", sent), gen.WithStatus("Pending")}, want: sent},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wf := assigned(test.wf...)
			rw := attemptOf(wf, test.rw...)
			objects := append(binding(), gen.ManagedCluster(cluster1), gen.ManagedClusterAddOn(cluster1, test.addon...), wf, rw)
			if !test.undelivered {
				objects = append(objects, gen.ManifestWork(rw, test.work...))
			}
			r, hub, _ := newReconciler(t, objects...)
			r.DeliveryRefused = func(uid types.UID) string { return map[types.UID]string{rw.UID: test.refused}[uid] }
			run(t, r)
			if test.want == nil {
				assert.Empty(t, hub.Writes())
				assert.Empty(t, hub.Events())
				return
			}
			got := shows(t, hub)
			assert.Equal(t, test.want, contract.Status(got))
			assert.False(t, hubworkflow.Of(got).IsForeign())
			var events []string
			if test.reason != "" {
				events = []string{"Warning " + test.reason + " " + contract.StatusString(test.want, "message")}
			}
			assert.Equal(t, events, hub.Events())

			run(t, r)
			assert.Len(t, hub.Writes(), 1, "it is written once")
			assert.Empty(t, hub.Events())
		})
	}
}

func TestAReportIsWrittenOnceInOneWrite(t *testing.T) {
	for name, before := range map[string][]gen.Mod{
		"at first":       {gen.WithHubStatus("Pending", map[string]any{"message": "sent to cluster cluster1"})},
		"later":          {gen.WithHubStatus("Running", map[string]any{"nodes": map[string]any{"gone": map[string]any{}}})},
		"once erased":    {gen.WithHubStatus("Running"), without("status")},
		"with no labels": {gen.WithHubStatus("Pending"), withoutLabels(), label("true")},
	} {
		t.Run(name, func(t *testing.T) {
			wf := assigned(before...)
			rw := attemptOf(wf, gen.WithReport(running()))
			r, hub, _ := newReconciler(t, append(surroundings(), wf, rw)...)
			version, writes := shows(t, hub).GetResourceVersion(), counted(t, "status_writes_total", "")
			run(t, r)

			assert.Equal(t, []string{"patch Workflow default/hello"}, hub.Writes())
			write := hub.Last("patch Workflow")
			assert.Equal(t, types.JSONPatchType, write.PatchType)
			assert.Contains(t, string(write.Body), `{"op":"add","path":"/metadata/resourceVersion","value":"`+version+`"}`)
			got := shows(t, hub)
			assert.Equal(t, running(), contract.Status(got))
			assert.Equal(t, "Running", got.GetLabels()[contract.LabelPhase])
			assert.Equal(t, "false", got.GetLabels()[contract.LabelCompleted])
			assert.NotEmpty(t, got.GetAnnotations()[contract.AnnotationReportHash])
			assert.Empty(t, hub.Events())
			assert.InDelta(t, writes+1, counted(t, "status_writes_total", ""), 0)

			run(t, r)
			assert.Len(t, hub.Writes(), 1, "an equal report is not written again")
			assert.Zero(t, hub.Calls("live get RemoteWorkflow")+hub.Calls("live get Workflow"))
		})
	}
}

// shownAs makes a Workflow show this status as that of the report of rw, as the hub would.
func shownAs(wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow, status map[string]any) {
	gen.WithHubStatus(contract.StatusString(status, "phase"), status)(wf)
	known := hubworkflow.Of(wf)
	source := report.SourceDigest(rw, rw.Status.Labels, report.Run{
		WorkflowUID: wf.GetUID(), Namespace: wf.GetNamespace(), Cluster: cluster1, Spec: known.Spec,
	})
	gen.WithAnnotations(map[string]string{contract.AnnotationReportHash: source})(wf)
}

func TestAReportThatIsShownIsNotEvenDecoded(t *testing.T) {
	wf := assigned()
	rw := attemptOf(wf, gen.WithReport(running()))
	rw.Status.Report.Data = []byte("nobody can decode this")
	for name, test := range map[string]struct {
		edit    gen.Mod
		decodes bool
	}{
		"nothing has changed":          {func(client.Object) {}, false},
		"a user has labelled it":       {gen.WithLabels(map[string]string{"team": "a"}), false},
		"the status was edited":        {gen.WithStatus("Running", map[string]any{"message": "mine"}), true},
		"the status was erased":        {without("status"), true},
		"the label of its phase":       {gen.WithLabels(map[string]string{contract.LabelPhase: "Failed"}), true},
		"the label of its end":         {gen.WithLabels(map[string]string{contract.LabelCompleted: "true"}), true},
		"the digest of the report":     {gen.WithAnnotations(map[string]string{contract.AnnotationReportHash: "another"}), true},
		"the digest of the status":     {gen.WithAnnotations(map[string]string{contract.AnnotationStatusHash: "another"}), true},
		"the spec says something else": {gen.WithSpecField(map[string]any{"labels": map[string]any{"mine": "x"}}, "workflowMetadata"), true},
	} {
		t.Run(name, func(t *testing.T) {
			wf := wf.DeepCopy()
			shownAs(wf, rw, running())
			test.edit(wf)
			r, hub, _ := newReconciler(t, append(surroundings(), wf, rw)...)
			run(t, r)
			if !test.decodes {
				assert.Empty(t, hub.Writes())
				assert.Empty(t, hub.Events())
				return
			}
			assert.Len(t, hub.Writes(), 1)
			assert.Contains(t, contract.Status(shows(t, hub))["conditions"].([]any)[0].(map[string]any)["message"], "the hub cannot read the whole status")
		})
	}
}

func TestTheEndIsMarkedForArgosClients(t *testing.T) {
	wf := assigned(gen.WithHubStatus("Running"))
	r, hub, _ := newReconciler(t, append(surroundings(), wf, attemptOf(wf, gen.WithReport(map[string]any{"phase": "Succeeded"})))...)
	run(t, r)
	got := shows(t, hub)
	assert.Equal(t, "Succeeded", got.GetLabels()[contract.LabelPhase])
	assert.Equal(t, "true", got.GetLabels()[contract.LabelCompleted])
}

func TestAReportThatCannotBeReadIsReplacedByItsSummary(t *testing.T) {
	wf := assigned(gen.WithHubStatus("Running"))
	rw := attemptOf(wf, gen.WithReport(map[string]any{"phase": "Succeeded", "progress": "1/1", "message": "done"}))
	rw.Status.Report.Data = []byte("nobody can decode this")
	r, hub, _ := newReconciler(t, append(surroundings(), wf, rw)...)
	run(t, r)
	status := contract.Status(shows(t, hub))
	assert.Equal(t, "Succeeded", status["phase"], "an attempt always ends on the hub")
	assert.Equal(t, "1/1", status["progress"])
	assert.Equal(t, "done", status["message"])
	assertCondition(t, status, report.ConditionIncomplete, "the hub cannot read the whole status")
	events := hub.Events()
	require.Len(t, events, 1)
	assert.Contains(t, events[0], "Warning StatusIncomplete")
	run(t, r)
	assert.Len(t, hub.Writes(), 1)
	assert.Empty(t, hub.Events())
}

// assertCondition expects one condition of this type that says so.
func assertCondition(t *testing.T, status map[string]any, conditionType, message string) {
	t.Helper()
	conditions, _ := status["conditions"].([]any)
	found := 0
	for _, c := range conditions {
		if condition, _ := c.(map[string]any); condition["type"] == conditionType {
			found++
			assert.Contains(t, condition["message"], message)
		}
	}
	assert.Equal(t, 1, found, "conditions of type %s in %v", conditionType, conditions)
}

func TestARefusedReportIsShownBesideWhatTheHubKnowsAndToldAndCountedOnce(t *testing.T) {
	const refusals = "reports_refused_total"
	tests := map[string]struct {
		wf     []gen.Mod
		change func(*v1alpha1.RemoteWorkflow)
		reason string
		phase  string
	}{
		"of another Workflow": {
			[]gen.Mod{gen.WithHubStatus("Running", running())}, func(rw *v1alpha1.RemoteWorkflow) { rw.Status.Report.WorkflowUID = "another" },
			report.RefusedWrongWorkflow, "Running",
		},
		"of another attempt": {
			[]gen.Mod{gen.WithHubStatus("Running", running())}, func(rw *v1alpha1.RemoteWorkflow) { rw.Status.Report.Attempt = 2 },
			report.RefusedWrongWorkflow, "Running",
		},
		"of another remote Workflow": {
			[]gen.Mod{gen.WithHubStatus("Running", running())}, func(rw *v1alpha1.RemoteWorkflow) { rw.Status.Report.RemoteUID = "another" },
			report.RefusedWrongRemoteWorkflow, "Running",
		},
		"that says nothing": {
			[]gen.Mod{gen.WithHubStatus("Running", running())}, func(rw *v1alpha1.RemoteWorkflow) { gen.WithReport(map[string]any{})(rw) },
			report.RefusedEmpty, "Running",
		},
		"of what has ended": {
			[]gen.Mod{gen.WithHubStatus("Succeeded", running())}, func(rw *v1alpha1.RemoteWorkflow) {
				gen.WithReport(map[string]any{"phase": "Failed"})(rw)
				rw.Status.Report.WorkflowUID = "another"
			}, report.RefusedWrongWorkflow, "Succeeded",
		},
		"before anything is known": {nil, func(rw *v1alpha1.RemoteWorkflow) { rw.Status.Report.WorkflowUID = "another" }, report.RefusedWrongWorkflow, "Pending"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			phase := test.phase
			for i := range test.wf {
				test.wf[i] = gen.WithHubStatus(phase, mapWith(running(), "phase", phase))
			}
			wf := assigned(test.wf...)
			rw := attemptOf(wf, gen.WithReport(running()))
			test.change(rw)
			r, hub, _ := newReconciler(t, append(surroundings(), wf, rw)...)
			before := counted(t, refusals, test.reason)
			run(t, r)
			run(t, r)
			assert.Len(t, hub.Writes(), 1)
			events := hub.Events()
			require.Len(t, events, 1)
			assert.Contains(t, events[0], "Warning "+test.reason+" refused a report from cluster cluster1")
			assert.InDelta(t, before+1, counted(t, refusals, test.reason), 0)
			status := contract.Status(shows(t, hub))
			assert.Equal(t, phase, status["phase"])
			assertCondition(t, status, report.ConditionRefused, "refused a report from cluster cluster1")
			if test.wf != nil {
				assert.Equal(t, running()["nodes"], status["nodes"], "what is known stays")
			}
		})
	}
}

func mapWith(from map[string]any, field string, value any) map[string]any {
	out := maps.Clone(from)
	out[field] = value
	return out
}

func TestWhatHasEndedGoesOnOnlyIfTheAPIServerSaysSo(t *testing.T) {
	failed := map[string]any{"phase": "Failed"}
	wf := assigned()
	cached := attemptOf(wf, gen.WithReport(running()))
	for name, test := range map[string]struct {
		live   []client.Object
		writes int
		want   string
		fails  bool
	}{
		"the cache lags behind":         {[]client.Object{attemptOf(wf, gen.WithReport(failed))}, 0, "Failed", false},
		"its report is gone":            {[]client.Object{attemptOf(wf, claimed())}, 0, "Failed", false},
		"it has no RemoteWorkflow":      {nil, 0, "Failed", true},
		"it has another one":            {[]client.Object{attemptOf(wf, gen.WithUID("another"))}, 0, "Failed", true},
		"it was retried on its cluster": {[]client.Object{cached}, 1, "Running", false},
	} {
		t.Run(name, func(t *testing.T) {
			wf := wf.DeepCopy()
			shownAs(wf, attemptOf(wf, gen.WithReport(failed)), failed)
			r, hub, _ := newReconciler(t, append(surroundings(), wf, cached)...)
			r.Live = fakehub.New(t, nil, test.live...).Live
			_, err := try(t, r)
			assert.Equal(t, test.fails, err != nil, "it is asked again: %v", err)
			assert.Len(t, hub.Writes(), test.writes)
			assert.Equal(t, test.want, contract.Phase(shows(t, hub)))
		})
	}
	t.Run("the API server does not answer", func(t *testing.T) {
		wf := assigned(gen.WithHubStatus("Failed"))
		r, hub, _ := newReconciler(t, append(surroundings(), wf, cached)...)
		hub.Fail("live get RemoteWorkflow", apierrors.NewServiceUnavailable("down"))
		_, err := try(t, r)
		assert.True(t, apierrors.IsServiceUnavailable(err), "got %v", err)
		assert.Empty(t, hub.Writes())
	})
}

func TestAReportThatTheCacheDoesNotHoldIsReadFromTheAPIServer(t *testing.T) {
	wf := assigned(gen.WithHubStatus("Pending"))
	live := attemptOf(wf, gen.WithReport(running()))
	cached := live.DeepCopy()
	cached.Status.Report.Data, cached.Status.Report.Digest = nil, "of the data"
	r, hub, _ := newReconciler(t, append(surroundings(), wf, cached)...)
	r.Live = fakehub.New(t, nil, live).Live
	run(t, r)
	assert.Equal(t, running(), contract.Status(shows(t, hub)))
}

func TestAnEndThatTheClusterDoesNotReport(t *testing.T) {
	const message = "cluster cluster1: Workflow default/hello was deleted"
	failed := func(more map[string]any) map[string]any {
		status := mapWith(mapWith(running(), "phase", "Error"), "message", message)
		status["finishedAt"] = "2026-01-02T15:04:05Z"
		maps.Copy(status, more)
		return status
	}
	ended := map[string]any{"phase": "Succeeded", "message": "done", "finishedAt": "2026-01-02T16:00:00Z"}
	terminated := mapWith(mapWith(running(), "phase", "Failed"), "finishedAt", "2026-01-02T15:04:30Z")
	stopped := map[string]any{"phase": "Succeeded", "finishedAt": "2026-01-02T16:00:00Z"}
	bare := map[string]any{"phase": "Error", "message": message, "finishedAt": "2026-01-02T15:04:05Z"}
	tests := map[string]struct {
		hub    gen.Mod
		reason string
		report map[string]any
		want   map[string]any
		event  bool
	}{
		"unfinished":                       {nil, v1alpha1.ReasonDeletedUnfinished, running(), failed(nil), true},
		"unfinished, and terminated since": {nil, v1alpha1.ReasonDeletedUnfinished, terminated, failed(map[string]any{"finishedAt": "2026-01-02T15:04:30Z"}), true},
		"unfinished, and succeeded when it was terminated, as it does before any pod": {
			nil, v1alpha1.ReasonDeletedUnfinished, stopped, map[string]any{"phase": "Error", "message": message, "finishedAt": "2026-01-02T16:00:00Z"}, true,
		},
		"before it started":                           {nil, v1alpha1.ReasonDeletedUnfinished, nil, withScheduled(bare, message), true},
		"vanished, unfinished":                        {nil, v1alpha1.ReasonVanishedUnfinished, running(), failed(nil), true},
		"vanished, and had finished":                  {nil, v1alpha1.ReasonVanishedUnfinished, ended, ended, false},
		"finished":                                    {nil, v1alpha1.ReasonDeletedFinished, ended, ended, false},
		"finished, says the cluster, but it was not":  {nil, v1alpha1.ReasonDeletedFinished, running(), failed(nil), true},
		"rolled back, unfinished":                     {nil, v1alpha1.ReasonRolledBack, running(), failed(nil), true},
		"rolled back, and had finished":               {nil, v1alpha1.ReasonRolledBack, ended, ended, false},
		"rolled back, and its report is gone":         {gen.WithHubStatus("Succeeded", ended), v1alpha1.ReasonRolledBack, nil, ended, false},
		"for a reason of the future":                  {nil, "Evicted", running(), failed(nil), true},
		"finished, and its report is gone":            {gen.WithHubStatus("Succeeded", ended), v1alpha1.ReasonDeletedFinished, nil, ended, false},
		"vanished, and its report is gone":            {gen.WithHubStatus("Succeeded", ended), v1alpha1.ReasonVanishedUnfinished, nil, ended, false},
		"finished, and its report never came":         {gen.WithHubStatus("Pending", plainly("sent")), v1alpha1.ReasonDeletedFinished, nil, bare, true},
		"unfinished, and its report is gone":          {gen.WithHubStatus("Running", running()), v1alpha1.ReasonDeletedUnfinished, nil, failed(nil), true},
		"before it started, and that is already said": {gen.WithHubStatus("Error", bare), v1alpha1.ReasonDeletedUnfinished, nil, bare, false},
		"unfinished, and a user says it succeeded": {
			edited("Running", "Succeeded"), v1alpha1.ReasonDeletedUnfinished, nil, withScheduled(bare, message), true,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wf := assigned()
			if test.hub != nil {
				test.hub(wf)
			}
			rw := attemptOf(wf, claimed(), gone(test.reason))
			if test.report != nil {
				gen.WithReport(test.report)(rw)
			}
			r, hub, _ := newReconciler(t, append(surroundings(), wf, rw)...)
			run(t, r)
			assert.Equal(t, test.want, contract.Status(shows(t, hub)))
			assert.Equal(t, test.event, strings.Contains(strings.Join(hub.Events(), "\n"), "Warning RemoteDeleted "+message))
			writes := len(hub.Writes())
			run(t, r)
			assert.Len(t, hub.Writes(), writes, "it is written once")
			assert.Empty(t, hub.Events())
		})
	}
}

func TestAnEndAtATimeThatArgosClientsCannotReadIsNow(t *testing.T) {
	s := scene(assigned(), own(claimed(), gone(v1alpha1.ReasonDeletedUnfinished)))
	end := meta.FindStatusCondition(s.own.Status.Conditions, v1alpha1.ConditionRemoteDeleted)
	assert.Equal(t, end.LastTransitionTime.Time, goneOf(s).at)
	end.LastTransitionTime = metav1.NewTime(time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -14*60*60)))
	assert.Equal(t, s.now, goneOf(s).at)
}

// withScheduled adds what a Workflow has that has shown no phase before its end.
func withScheduled(status map[string]any, message string) map[string]any {
	return mapWith(mapWith(status, "conditions", pendingAs(reasonRemoteDeleted, message)["conditions"]), "startedAt", nil)
}

// edited is a status of the hub's that somebody has replaced.
func edited(phase, by string) gen.Mod {
	return func(obj client.Object) { gen.WithHubStatus(phase)(obj); gen.WithStatus(by)(obj) }
}

func TestWhatIsGoneEndsEvenIfItsReportIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		mods   []gen.Mod
		around []client.Object
		want   string
	}{
		"it was deleted unfinished":     {[]gen.Mod{gone(v1alpha1.ReasonDeletedUnfinished)}, surroundings(), "Workflow default/hello was deleted"},
		"it was deleted, they say done": {[]gen.Mod{gone(v1alpha1.ReasonDeletedFinished)}, surroundings(), "Workflow default/hello was deleted"},
		"its cluster is detached":       {nil, binding(), "the cluster was detached from the hub"},
	} {
		t.Run(name, func(t *testing.T) {
			wf := assigned(gen.WithHubStatus("Running", map[string]any{"progress": "0/1"}))
			rw := attemptOf(wf, append(test.mods, gen.WithReport(map[string]any{"phase": "Succeeded", "progress": "1/1"}))...)
			rw.Status.Report.WorkflowUID = "another"
			r, hub, _ := newReconciler(t, append(test.around, wf, rw)...)
			before := counted(t, "reports_refused_total", report.RefusedWrongWorkflow)
			run(t, r)
			assert.InDelta(t, before+1, counted(t, "reports_refused_total", report.RefusedWrongWorkflow), 0)
			status := contract.Status(shows(t, hub))
			assert.Equal(t, "Error", status["phase"])
			assert.Contains(t, status["message"], test.want)
			assert.Equal(t, "0/1", status["progress"], "nothing of the report is taken over")
			assertCondition(t, status, report.ConditionRefused, "refused")
		})
	}
}

func TestWhatIsShownOfARefusedReportIsNotShownOnAnotherWorkflow(t *testing.T) {
	wf := assigned(gen.WithHubStatus("Running"))
	rw := attemptOf(wf, gen.WithReport(running()), gone(v1alpha1.ReasonDeletedUnfinished))
	rw.Status.Report.WorkflowUID = "another"
	r, hub, _ := newReconciler(t, append(surroundings(), wf, rw)...)
	r.Live = fakehub.New(t, nil, assigned(gen.WithUID("later"))).Live
	run(t, r)
	assert.Empty(t, hub.Writes(), "the watch brings it")
	assert.Empty(t, hub.Events())
}

func TestAWorkflowEndsWithItsCluster(t *testing.T) {
	const message = "cluster cluster1: the cluster was detached from the hub, which hears no more of the remote Workflow default/hello"
	for name, test := range map[string]struct {
		around []client.Object
		wf, rw []gen.Mod
		phase  string
	}{
		"it runs, and the cluster is gone":           {nil, []gen.Mod{gen.WithHubStatus("Running")}, []gen.Mod{gen.WithReport(running())}, "Error"},
		"it runs, and the cluster is being detached": {[]client.Object{detaching()}, []gen.Mod{gen.WithHubStatus("Running")}, []gen.Mod{gen.WithReport(running())}, "Error"},
		"it was claimed, and nothing is known of it": {nil, nil, []gen.Mod{claimed()}, "Error"},
		"it was left, and the agent has said so before the hub has shown why": {
			[]client.Object{detaching()}, []gen.Mod{gen.WithHubStatus("Running")},
			[]gen.Mod{gen.WithReport(running()), removing(leave), gone(v1alpha1.ReasonLeft), gen.Deleting()}, "Error",
		},
		"it has finished, but for the hub": {nil, []gen.Mod{gen.WithHubStatus("Running")}, []gen.Mod{gen.WithReport(map[string]any{"phase": "Failed"})}, "Failed"},
	} {
		t.Run(name, func(t *testing.T) {
			wf := assigned(test.wf...)
			rw := attemptOf(wf, test.rw...)
			r, hub, _ := newReconciler(t, append(test.around, wf, rw)...)
			run(t, r)
			status := contract.Status(shows(t, hub))
			assert.Equal(t, test.phase, status["phase"])
			if test.phase == "Error" {
				assert.Equal(t, message, status["message"])
				assert.Equal(t, []string{"Warning RemoteDeleted " + message}, hub.Events())
				assert.NotEmpty(t, status["finishedAt"])
			}
			for range 3 {
				run(t, r)
			}
			assert.False(t, hub.Show(rw), "nothing stands in the way of the cluster's namespace")
			assert.Equal(t, test.phase, contract.Phase(shows(t, hub)), "a user's Workflow stays")
			writes := 4
			if !rw.DeletionTimestamp.IsZero() {
				writes -= 2
			}
			assert.Len(t, hub.Writes(), writes)
		})
	}
}

func TestAWorkflowWhoseAgentIsDisabledSaysSoUntilTheAgentIsBack(t *testing.T) {
	const notEnabled = "the addon argo-workflow-multicluster is not enabled there"
	leaving := gen.ManagedClusterAddOn(cluster1, gen.WithFinalizers("pre-delete hook"), gen.Deleting())
	lost := gen.ManagedClusterAddOn(cluster1, gen.WithCondition(addonv1beta1.ManagedClusterAddOnConditionAvailable, metav1.ConditionUnknown, "Lost", "no lease"))
	failed := map[string]any{"phase": "Failed"}
	for name, test := range map[string]struct {
		addon *addonv1beta1.ManagedClusterAddOn
		rw    gen.Mod
		want  map[string]any
		event bool
	}{
		"it runs, and the agent is disabled": {nil, gen.WithReport(running()), mapWith(running(), "message",
			"cluster cluster1: not reported any more: "+notEnabled+"; the remote Workflow default/hello is not ended by that"), true},
		"it runs, and the agent is being disabled": {leaving, gen.WithReport(running()), mapWith(running(), "message",
			"cluster cluster1: not reported any more: the addon argo-workflow-multicluster is being disabled; the remote Workflow default/hello is not ended by that"),
			true},
		"it may have started, and the agent is disabled": {nil, claimed(), pendingAs(reasonAgentUnavailable,
			"cluster cluster1: waiting for the agent that reports whether the Workflow has started: "+notEnabled), true},
		"it runs, and the agent is out of reach": {lost, gen.WithReport(running()), running(), false},
		"it has finished":                        {nil, gen.WithReport(failed), failed, false},
	} {
		t.Run(name, func(t *testing.T) {
			wf := assigned()
			rw := attemptOf(wf, test.rw)
			objects := append(binding(), gen.ManagedCluster(cluster1), wf, rw)
			if test.addon != nil {
				objects = append(objects, test.addon)
			}
			r, hub, _ := newReconciler(t, objects...)
			run(t, r)
			assert.Equal(t, test.want, contract.Status(shows(t, hub)))
			assert.Equal(t, test.event, strings.Contains(strings.Join(hub.Events(), ""), "Warning AgentUnavailable"))
			run(t, r)
			assert.Len(t, hub.Writes(), 1, "it is said once")

			if test.addon == nil && rw.Status.Report != nil {
				require.NoError(t, hub.Create(t.Context(), gen.ManagedClusterAddOn(cluster1)))
				run(t, r)
				assert.Nil(t, contract.Status(shows(t, hub))["message"], "the status is the cluster's own again")
				assert.Empty(t, hub.Events())
			}
		})
	}
}

func TestLabelsThatTheWorkflowsSpecNamesAreTakenOver(t *testing.T) {
	wf := assigned(gen.WithHubStatus("Running"), gen.WithSpecField(map[string]any{
		"labels": map[string]any{"team": "x"}, "labelsFrom": map[string]any{"model": map[string]any{"expression": "'m'"}},
	}, "workflowMetadata"))
	rw := attemptOf(wf, gen.WithReport(map[string]any{"phase": "Succeeded"}))
	rw.Status.Labels = map[string]string{"team": "a", "model": "m7", "not-in-the-spec": "x"}
	r, hub, _ := newReconciler(t, append(surroundings(), wf, rw)...)
	run(t, r)
	labels := shows(t, hub).GetLabels()
	assert.Equal(t, "a", labels["team"])
	assert.Equal(t, "m7", labels["model"])
	assert.NotContains(t, labels, "not-in-the-spec")
	assert.Len(t, hub.Writes(), 1)
	run(t, r)
	assert.Len(t, hub.Writes(), 1)
}

func TestAStatusIsMadeSmallerUntilTheAPIServerTakesIt(t *testing.T) {
	status := mapWith(running(), "storedTemplates", map[string]any{"t": map[string]any{"name": "t"}})
	for name, answer := range map[string]error{
		"the API server":  apierrors.NewRequestEntityTooLargeError("limit is 3145728"),
		"etcd":            apierrors.NewInternalError(errors.New("etcdserver: request is too large")),
		"the way to etcd": apierrors.NewInternalError(errors.New("trying to send message larger than max (2097265 vs. 2097152)")),
		"a proxy":         apierrors.NewGenericServerResponse(http.StatusRequestEntityTooLarge, "PATCH", contract.WorkflowGVR.GroupResource(), "hello", "", 0, true),
	} {
		t.Run(name, func(t *testing.T) {
			wf := assigned(gen.WithHubStatus("Pending"))
			r, hub, _ := newReconciler(t, append(surroundings(), wf, attemptOf(wf, gen.WithReport(status)))...)
			hub.On("patch Workflow", func() error {
				if strings.Contains(string(hub.Last("patch Workflow").Body), "storedTemplates") {
					return answer
				}
				return nil
			})
			run(t, r)
			require.Len(t, hub.Writes(), 3, "as it is, packed, without templates")
			got := contract.Status(shows(t, hub))
			assert.Equal(t, "Running", got["phase"])
			assert.NotContains(t, got, "nodes")
			assert.Contains(t, got, "compressedNodes")
			assertCondition(t, got, report.ConditionIncomplete, "too large for the hub")
			run(t, r)
			assert.Len(t, hub.Writes(), 3)
		})
	}
}

func TestTheEndArrivesThoughTheAPIServerRefusesTheWholeStatus(t *testing.T) {
	for name, answer := range map[string]error{
		"invalid":   apierrors.NewInvalid(contract.WorkflowGVK.GroupKind(), "hello", nil),
		"bad":       apierrors.NewBadRequest("nested too deeply"),
		"forbidden": apierrors.NewForbidden(contract.WorkflowGVR.GroupResource(), "hello", errors.New("by a policy")),
	} {
		t.Run(name, func(t *testing.T) {
			wf := assigned(gen.WithHubStatus("Running"))
			poisoned := map[string]any{"phase": "Succeeded", "outputs": map[string]any{"parameters": []any{map[string]any{"name": "poison"}}}}
			r, hub, _ := newReconciler(t, append(surroundings(), wf, attemptOf(wf, gen.WithReport(poisoned)))...)
			hub.On("patch Workflow", func() error {
				if strings.Contains(string(hub.Last("patch Workflow").Body), "poison") {
					return answer
				}
				return nil
			})
			run(t, r)
			status := contract.Status(shows(t, hub))
			assert.Equal(t, "Succeeded", status["phase"])
			assertCondition(t, status, report.ConditionIncomplete, "the hub's API server refuses the whole status")
			writes := len(hub.Writes())
			run(t, r)
			assert.Len(t, hub.Writes(), writes, "it is not tried again")
		})
	}
}

func TestWhatTheAPIServerWillNeverTakeIsSaidInAnEventOnce(t *testing.T) {
	tooLong := apierrors.NewInvalid(contract.WorkflowGVK.GroupKind(), "hello", nil)
	for name, test := range map[string]struct {
		wf      *unstructured.Unstructured
		rw      []gen.Mod
		refused string
	}{
		"a report, and its summary": {assigned(gen.WithHubStatus("Running")), []gen.Mod{gen.WithReport(map[string]any{"phase": "Succeeded"})}, ""},
		"what it waits for": {
			assigned(), []gen.Mod{started(metav1.ConditionFalse, v1alpha1.ReasonNotOurs, "the name is taken")}, "",
		},
		"an end that is not reported": {assigned(gen.WithHubStatus("Running")), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			objects := append(surroundings(), test.wf)
			if test.rw != nil {
				objects = append(objects, attemptOf(test.wf, test.rw...))
			}
			r, hub, _ := newReconciler(t, objects...)
			hub.Fail("patch Workflow", tooLong)
			for range 2 {
				_, err := try(t, r)
				assert.True(t, apierrors.IsInvalid(err), "it is tried again: %v", err)
			}
			events := hub.Events()
			require.Len(t, events, 1)
			assert.Contains(t, events[0], "Warning StatusIncomplete the hub's API server refuses the status, which is not shown: ")
		})
	}
}

func TestAWriteThatComesTooLateIsLeftToTheWatchAndAnyOtherErrorIsReturned(t *testing.T) {
	down := apierrors.NewInternalError(errors.New("down"))
	for name, test := range map[string]struct{ answer, want error }{
		"the Workflow has changed": {fakehub.Conflict(), nil},
		"the Workflow is gone":     {apierrors.NewNotFound(contract.WorkflowGVR.GroupResource(), "hello"), nil},
		"the hub is down":          {down, down},
	} {
		t.Run(name, func(t *testing.T) {
			wf := assigned()
			r, hub, _ := newReconciler(t, append(surroundings(), wf, attemptOf(wf, gen.WithReport(running())))...)
			hub.Fail("patch Workflow", test.answer)
			_, err := try(t, r)
			require.ErrorIs(t, err, test.want)
			assert.Empty(t, hub.Events())
			assert.Len(t, hub.Writes(), 1)
		})
	}
}

func TestWhatHasStartedAndLostItsRemoteWorkflowByForceEnds(t *testing.T) {
	ran := assigned(gen.WithHubStatus("Running", map[string]any{"progress": "1/2"}))
	t.Run("it ran", func(t *testing.T) {
		r, hub, _ := newReconciler(t, append(surroundings(), ran)...)
		run(t, r)
		status := contract.Status(shows(t, hub))
		assert.Equal(t, "Error", status["phase"])
		assert.Equal(t, "1/2", status["progress"])
		assert.Contains(t, status["message"], "cluster cluster1: RemoteWorkflow "+nameOf(ran)+" is gone from the hub")
		assert.Equal(t, "2026-01-02T15:04:05Z", status["finishedAt"])
		assert.Len(t, hub.Events(), 1)
		run(t, r)
		assert.Len(t, hub.Writes(), 1)
	})
	t.Run("only the cache does not show it", func(t *testing.T) {
		rw := attemptOf(ran, gen.WithReport(mapWith(running(), "progress", "1/2")))
		r, hub, _ := newReconciler(t, append(surroundings(), ran, rw)...)
		hub.Lag("list RemoteWorkflow")
		run(t, r)
		assert.Equal(t, "Running", contract.Phase(shows(t, hub)))
	})
}

func TestOneLargeReportAfterTheOther(t *testing.T) {
	// Each takes more than half of what may be decoded at a time.
	values := make([]any, 150_000)
	for i := range values {
		values[i] = int64(1)
	}
	wf := assigned(gen.WithHubStatus("Pending"))
	r, hub, _ := newReconciler(t, append(surroundings(), wf, attemptOf(wf, gen.WithReport(mapWith(running(), "ofANewerArgo", values))))...)
	hub.Fail("patch Workflow", fakehub.Conflict())
	run(t, r)
	hub.Fail("patch Workflow", nil)
	run(t, r) // the turn of the one before has ended, though it could not be written
	assert.Equal(t, "Running", contract.Phase(shows(t, hub)))
}

func TestARemoteWorkflowThatSomebodyElseDeletesGoesAtTheEndOfItsRun(t *testing.T) {
	wf := assigned(gen.WithHubStatus("Pending"))
	rw := attemptOf(wf, gen.WithReport(running()), gen.Deleting())
	r, hub, _ := newReconciler(t, append(surroundings(), wf, rw)...)
	run(t, r)
	assert.Equal(t, "Running", contract.Phase(shows(t, hub)), "it goes on, and is shown")
	run(t, r)
	assert.Len(t, hub.Writes(), 1)

	report := func(mods ...gen.Mod) {
		require.True(t, hub.Show(rw))
		before := rw.DeepCopy()
		for _, mod := range mods {
			mod(rw)
		}
		require.NoError(t, hub.Status().Patch(t.Context(), rw, client.MergeFrom(before)))
		run(t, r)
	}
	report(gen.WithReport(map[string]any{"phase": "Succeeded"}))
	assert.Equal(t, "Succeeded", contract.Phase(shows(t, hub)))
	run(t, r)
	require.True(t, hub.Show(rw))
	assert.Equal(t, leave, rw.Spec.Removal, "its agent is to let go of it")
	report(gone(v1alpha1.ReasonLeft))
	assert.False(t, hub.Show(rw))
	assert.Equal(t, "Succeeded", contract.Phase(shows(t, hub)))
	assert.Empty(t, hub.Events())
}
