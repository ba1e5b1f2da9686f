package workflow

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/report"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func node(id, kind, phase string, more map[string]any) map[string]any {
	out := map[string]any{"id": id, "name": id, "displayName": id, "type": kind, "phase": phase, "startedAt": "2026-01-02T15:04:05Z"}
	if contract.IsFinished(phase) {
		out["finishedAt"] = "2026-01-02T15:05:05Z"
	}
	for field, value := range more {
		out[field] = value
	}
	return out
}

// waiting is a Workflow that waits for its users in two nodes.
func waiting() map[string]any {
	return map[string]any{
		"phase": "Running", "progress": "0/2", "startedAt": "2026-01-02T15:04:05Z",
		"nodes": map[string]any{
			"hello": node("hello", "Steps", "Running", map[string]any{"children": []any{"a", "b"}}),
			"a":     node("a", "Suspend", "Running", nil),
			"b":     node("b", "Suspend", "Running", nil),
		},
	}
}

// failed is a Workflow of which one node has succeeded and one failed.
func failed() map[string]any {
	return map[string]any{
		"phase": "Failed", "progress": "1/2", "startedAt": "2026-01-02T15:04:05Z", "finishedAt": "2026-01-02T15:05:05Z", "message": "b failed",
		"conditions": []any{map[string]any{"type": "Completed", "status": "True"}},
		"nodes": map[string]any{
			"hello": node("hello", "DAG", "Failed", map[string]any{"children": []any{"a", "b"}, "message": "b failed"}),
			"a":     node("a", "Pod", "Succeeded", nil),
			"b":     node("b", "Pod", "Failed", nil),
		},
	}
}

// resumes does to a status what argo resume does to a node.
func resumes(id string) func(map[string]any) {
	return func(status map[string]any) {
		n := status["nodes"].(map[string]any)[id].(map[string]any)
		n["phase"], n["finishedAt"], n["message"] = "Succeeded", "2026-01-02T15:06:00Z", "resumed"
	}
}

// retries does to a status what argo retry does.
func retries(status map[string]any) {
	status["phase"], status["startedAt"] = "Running", "2026-01-02T15:06:00Z"
	delete(status, "finishedAt")
	delete(status, "message")
	status["conditions"].([]any)[0].(map[string]any)["status"] = "False"
	nodes := status["nodes"].(map[string]any)
	delete(nodes, "b")
	nodes["hello"] = node("hello", "DAG", "Running", map[string]any{"children": []any{"a"}})
}

func forges(status map[string]any) { status["progress"] = "7/7" }

// bench is a Workflow that shows what its cluster reports, and is edited then.
type bench struct {
	*Reconciler
	t   *testing.T
	hub *fakehub.Hub
	wf  *unstructured.Unstructured
}

func newBench(t *testing.T, status map[string]any, mods ...gen.Mod) *bench {
	t.Helper()
	wf := assigned()
	rw := attemptOf(wf, append([]gen.Mod{claimed(), gen.WithReport(status), known}, mods...)...)
	r, hub, _ := newReconciler(t, append(surroundings(), wf, rw)...)
	b := &bench{Reconciler: r, t: t, hub: hub, wf: wf}
	run(t, r)
	require.Equal(t, status["phase"], contract.Phase(shows(t, hub)))
	return b
}

// known has the agent be one of this version.
func known(obj client.Object) {
	rw := obj.(*v1alpha1.RemoteWorkflow)
	rw.Status.ContractRevision, rw.Spec.ArgumentsDigest = v1alpha1.ContractRevision, contract.ArgumentsDigest(nil)
}

// edits has a user change the status, and the spec.
func (b *bench) edits(change func(status map[string]any), spec map[string]any) {
	b.t.Helper()
	wf := shows(b.t, b.hub)
	change(contract.Status(wf))
	for field, value := range spec {
		wf.Object["spec"].(map[string]any)[field] = value
	}
	require.NoError(b.t, b.hub.Live.(client.Client).Update(b.t.Context(), wf))
}

func (b *bench) remote() *v1alpha1.RemoteWorkflow {
	b.t.Helper()
	rw := &v1alpha1.RemoteWorkflow{ObjectMeta: metav1.ObjectMeta{Namespace: cluster1, Name: nameOf(b.wf)}}
	require.True(b.t, b.hub.Show(rw))
	return rw
}

// put makes this the RemoteWorkflow.
func (b *bench) put(rw *v1alpha1.RemoteWorkflow) {
	b.t.Helper()
	status := rw.Status
	require.NoError(b.t, b.hub.Live.(client.Client).Update(b.t.Context(), rw))
	rw.Status = status
	require.NoError(b.t, b.hub.Live.(client.Client).Status().Update(b.t.Context(), rw))
}

// answers has the agent answer the last edit, and report.
func (b *bench) answers(outcome v1alpha1.EditOutcome, message string, status map[string]any) {
	b.t.Helper()
	rw := b.remote()
	gen.WithReport(status)(rw)
	last := rw.Spec.Edits[len(rw.Spec.Edits)-1]
	rw.Status.Edits = append(rw.Status.Edits, v1alpha1.EditAnswer{ID: last.ID, Outcome: outcome, Message: message})
	b.put(rw)
}

// writes runs until nothing is written, and returns what was.
func (b *bench) writes() []string {
	b.t.Helper()
	before := len(b.hub.Writes())
	for range 5 {
		run(b.t, b.Reconciler)
	}
	return b.hub.Writes()[before:]
}

func (b *bench) refused() string {
	return report.Condition(contract.Status(shows(b.t, b.hub)), report.ConditionEditRefused)
}

const (
	patchRemote   = "patch RemoteWorkflow cluster1/"
	patchWorkflow = "patch Workflow default/hello"
)

func TestAnEditGoesToTheClusterOnceAndIsShownUntilTheClusterHasAnswered(t *testing.T) {
	for name, test := range map[string]struct {
		before, after map[string]any
		edit          func(map[string]any)
		want          v1alpha1.Edit
	}{
		"a retry": {failed(), running(), retries, v1alpha1.Edit{Retry: &v1alpha1.Retry{RemovedNodes: []string{"b"}, ResetNodes: []string{"hello"}}}},
		"a node that is resumed": {waiting(), changedBy(waiting(), resumes("a")), resumes("a"), v1alpha1.Edit{
			Nodes: []v1alpha1.NodeEdit{{ID: "a", Phase: "Succeeded", Message: "resumed"}},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, test.before)
			b.edits(test.edit, nil)
			want := contract.Status(shows(t, b.hub))
			assert.Equal(t, []string{patchRemote + nameOf(b.wf)}, b.writes(), "one write, however often it is looked at")
			assert.Equal(t, want, contract.Status(shows(t, b.hub)), "the user sees what was done")
			got := b.remote().Spec.Edits
			require.Len(t, got, 1)
			if test.want.Retry != nil {
				test.want.Retry.ReportDigest = b.remote().Status.Report.Digest
			}
			test.want.ID, test.want.StatusHash = got[0].ID, hubworkflow.Of(shows(t, b.hub)).StatusHash
			assert.Equal(t, test.want, got[0])

			b.answers(v1alpha1.EditApplied, "", test.after)
			assert.Equal(t, []string{patchWorkflow}, b.writes())
			assert.Equal(t, test.after["nodes"], contract.Status(shows(t, b.hub))["nodes"])
			assert.Empty(t, b.refused())
			assert.False(t, hubworkflow.Of(shows(t, b.hub)).IsForeign())
		})
	}
}

func changedBy(status map[string]any, change func(map[string]any)) map[string]any {
	change(status)
	return status
}

func TestASecondEditBeforeTheFirstIsAnsweredIsOneMore(t *testing.T) {
	b := newBench(t, waiting())
	b.edits(resumes("a"), nil)
	b.writes()
	b.edits(resumes("b"), map[string]any{"suspend": true})
	assert.Len(t, b.writes(), 1)
	rw := b.remote()
	require.Len(t, rw.Spec.Edits, 2)
	assert.Equal(t, "a", rw.Spec.Edits[0].Nodes[0].ID)
	assert.Equal(t, []v1alpha1.NodeEdit{{ID: "b", Phase: "Succeeded", Message: "resumed"}}, rw.Spec.Edits[1].Nodes)
	assert.True(t, rw.Spec.Suspend, "and what else is wanted goes in the same write")
}

func TestAnEditThatIsNoneOfArgosIsUndoneAndTheUserIsToldWhy(t *testing.T) {
	for name, test := range map[string]struct {
		status map[string]any
		edit   func(map[string]any)
		mods   []gen.Mod
		want   string
	}{
		"what no verb changes":            {waiting(), forges, nil, "field status.progress is another one"},
		"a verb, and what none changes":   {waiting(), func(s map[string]any) { resumes("a")(s); forges(s) }, nil, "field status.progress is another one"},
		"a node that does not wait":       {waiting(), resumes("hello"), nil, "node hello (hello) does not wait for anybody"},
		"an end":                          {waiting(), func(s map[string]any) { s["phase"] = "Succeeded" }, nil, "field status.phase is another one"},
		"a retry of what runs no more":    {failed(), retries, []gen.Mod{gone(v1alpha1.ReasonDeletedFinished)}, "argo resubmit"},
		"what Argo's clients cannot read": {waiting(), func(s map[string]any) { s["nodes"] = "none" }, nil, "none that Argo's clients can read"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, test.status, test.mods...)
			truth := contract.Status(shows(t, b.hub))["nodes"]
			b.edits(test.edit, nil)
			assert.Equal(t, []string{patchWorkflow}, b.writes())
			assert.Contains(t, b.refused(), test.want)
			assert.Equal(t, truth, contract.Status(shows(t, b.hub))["nodes"])
			assert.Equal(t, test.status["progress"], contract.Status(shows(t, b.hub))["progress"])
			assert.Empty(t, b.remote().Spec.Edits)
			events := b.hub.Events()
			assert.Contains(t, events[len(events)-1], reasonEditRefused)

			b.edits(func(s map[string]any) { resumes("a")(s) }, nil)
			if _, waits := test.status["finishedAt"]; !waits {
				assert.Equal(t, []string{patchRemote + nameOf(b.wf)}, b.writes(), "the next one is taken, though the refusal of the last is shown")
			}
		})
	}
}

func TestWhatTheHubsAPIServerDoesNotTakeIsUndoneAndTheUserIsToldWhy(t *testing.T) {
	b := newBench(t, waiting())
	b.edits(resumes("a"), nil)
	b.hub.Fail("patch RemoteWorkflow", apierrors.NewInvalid(schema.GroupKind{Kind: "RemoteWorkflow"}, "hello", nil))
	assert.Equal(t, []string{patchRemote + nameOf(b.wf), patchWorkflow}, b.writes(), "it is tried once")
	assert.Contains(t, b.refused(), "the hub does not carry it to cluster cluster1: ")
	assert.Equal(t, waiting()["nodes"], contract.Status(shows(t, b.hub))["nodes"])
}

func TestAReportThatIsRefusedDuringAnEditIsCountedOnce(t *testing.T) {
	b := newBench(t, waiting())
	rw := b.remote()
	rw.Status.Report.WorkflowUID = "another"
	b.put(rw)
	b.edits(resumes("a"), nil)
	before := counted(t, "reports_refused_total", report.RefusedWrongWorkflow)
	assert.NotEmpty(t, b.writes())
	assert.Contains(t, b.refused(), "the cluster's report is not taken: ")
	assert.InDelta(t, before+1, counted(t, "reports_refused_total", report.RefusedWrongWorkflow), 0)
}

func TestWhatTheClusterRefusesIsUndoneAndTheUserIsToldWhy(t *testing.T) {
	b := newBench(t, failed())
	for range 2 { // the second time it is the very same edit
		b.edits(retries, nil)
		b.writes()
		b.answers(v1alpha1.EditRefused, "the pods are not gone", failed())
		assert.Equal(t, []string{patchWorkflow}, b.writes())
		assert.Equal(t, "cluster cluster1: the pods are not gone", b.refused())
		assert.Equal(t, failed()["nodes"], contract.Status(shows(t, b.hub))["nodes"])
	}
	refusals := 0
	for _, event := range b.hub.Events() {
		if strings.Contains(event, reasonEditRefused) {
			refusals++
		}
	}
	assert.Equal(t, 2, refusals)
}

func TestARetryThatFailedAgainBeforeTheHubLookedIsNotDoneTwice(t *testing.T) {
	b := newBench(t, failed())
	b.edits(retries, nil)
	b.writes()
	again := failed()
	again["startedAt"], again["finishedAt"] = "2026-01-02T15:06:00Z", "2026-01-02T15:07:00Z"
	again["nodes"].(map[string]any)["c"] = node("c", "Pod", "Failed", nil)
	again["nodes"].(map[string]any)["hello"].(map[string]any)["children"] = []any{"a", "b", "c"}
	b.answers(v1alpha1.EditApplied, "", again)
	assert.Equal(t, []string{patchWorkflow}, b.writes())
	assert.Len(t, b.remote().Spec.Edits, 1)
	assert.Equal(t, again["nodes"], contract.Status(shows(t, b.hub))["nodes"])
	assert.Empty(t, b.refused())
}

func TestARetryOfAnOlderReportIsRefusedAlsoIfThereWasOneBefore(t *testing.T) {
	b := newBench(t, failed())
	b.edits(retries, nil)
	b.writes()
	b.answers(v1alpha1.EditApplied, "", failed())
	require.Equal(t, []string{patchWorkflow}, b.writes())
	require.Empty(t, b.refused())

	b.edits(func(s map[string]any) { retries(s); s["startedAt"] = "2026-01-02T15:09:00Z" }, nil)
	later := failed()
	later["message"] = "another one"
	rw := b.remote()
	gen.WithReport(later)(rw)
	b.put(rw)
	assert.Equal(t, []string{patchWorkflow}, b.writes())
	assert.Contains(t, b.refused(), "has changed meanwhile")
}

func TestARetryBringsTheArgumentsThatTheUserHasChanged(t *testing.T) {
	b := newBench(t, failed())
	rw := b.remote()
	rw.Spec.ArgumentsDigest, rw.Spec.Shutdown = contract.ArgumentsDigest(nil), v1alpha1.ShutdownStop
	b.put(rw)
	b.edits(retries, map[string]any{"arguments": map[string]any{"parameters": []any{map[string]any{"name": "code", "value": int64(0)}}}})
	b.writes()
	rw = b.remote()
	require.Len(t, rw.Spec.Edits, 1)
	assert.Equal(t, []v1alpha1.Parameter{{Name: "code", Value: text("0")}}, rw.Spec.Edits[0].Retry.Parameters)
	assert.Empty(t, rw.Spec.Shutdown, "a retry takes the shutdown back")
}

func text(s string) *string { return &s }

func TestWhileTheAgentIsAwayAnEditWaitsAndTheUserIsTold(t *testing.T) {
	b := newBench(t, failed())
	require.NoError(t, b.hub.Live.(client.Client).Delete(t.Context(), gen.ManagedClusterAddOn(cluster1)))
	b.edits(retries, nil)
	assert.Len(t, b.writes(), 1)
	var waits []string
	for _, event := range b.hub.Events() {
		if strings.Contains(event, reasonEditWaits) {
			waits = append(waits, event)
		}
	}
	assert.Len(t, waits, 1)
	assert.Equal(t, "Running", contract.Phase(shows(t, b.hub)))
}

func TestAnEditMadeOfAnOlderReportIsTakenForWhatItIs(t *testing.T) {
	b := newBench(t, waiting())
	b.edits(resumes("a"), nil)
	newer := waiting()
	newer["progress"] = "1/3"
	newer["nodes"].(map[string]any)["c"] = node("c", "Pod", "Running", nil)
	rw := b.remote()
	gen.WithReport(newer)(rw)
	b.put(rw)
	assert.Equal(t, []string{patchRemote + nameOf(b.wf)}, b.writes())
	require.Len(t, b.remote().Spec.Edits, 1)
	assert.Equal(t, "a", b.remote().Spec.Edits[0].Nodes[0].ID)

	stale := newBench(t, failed())
	stale.edits(retries, nil)
	later := runtime.DeepCopyJSON(failed())
	later["message"] = "another one"
	rw = stale.remote()
	gen.WithReport(later)(rw)
	stale.put(rw)
	assert.Equal(t, []string{patchWorkflow}, stale.writes())
	assert.Contains(t, stale.refused(), "has changed meanwhile")
	assert.Empty(t, stale.remote().Spec.Edits)
}

func TestAnEditThatWaitsIsUndoneWhenTheRemoteWorkflowIsGone(t *testing.T) {
	b := newBench(t, failed())
	b.edits(retries, nil)
	b.writes()
	rw := b.remote()
	gone(v1alpha1.ReasonDeletedFinished)(rw)
	b.put(rw)
	assert.Equal(t, []string{patchWorkflow}, b.writes())
	assert.Equal(t, "Failed", contract.Phase(shows(t, b.hub)))
	assert.Contains(t, b.refused(), "argo resubmit")
}

func TestWhatARefusedRetryWantedIsSentAgainWithTheNextOne(t *testing.T) {
	b := newBench(t, failed())
	spec := map[string]any{"arguments": map[string]any{"parameters": []any{map[string]any{"name": "code", "value": "0"}}}}
	for _, outcome := range []v1alpha1.EditOutcome{v1alpha1.EditRefused, v1alpha1.EditApplied} {
		b.edits(retries, spec)
		b.writes()
		rw := b.remote()
		assert.Equal(t, []v1alpha1.Parameter{{Name: "code", Value: text("0")}}, rw.Spec.Edits[len(rw.Spec.Edits)-1].Retry.Parameters)
		b.answers(outcome, "no", failed())
		b.writes()
	}
	b.edits(retries, nil)
	b.writes()
	rw := b.remote()
	assert.Empty(t, rw.Spec.Edits[len(rw.Spec.Edits)-1].Retry.Parameters, "the remote Workflow has them by now")
}

func TestOfTwoAnswersThatComeTogetherTheRefusalIsSaid(t *testing.T) {
	b := newBench(t, waiting())
	b.edits(resumes("a"), nil)
	b.writes()
	b.edits(resumes("b"), nil)
	b.writes()
	rw := b.remote()
	rw.Status.Edits = []v1alpha1.EditAnswer{
		{ID: rw.Spec.Edits[0].ID, Outcome: v1alpha1.EditRefused, Message: "too late"}, {ID: rw.Spec.Edits[1].ID, Outcome: v1alpha1.EditApplied},
	}
	b.put(rw)
	b.writes()
	assert.Equal(t, "cluster cluster1: too late", b.refused())
}
