package run

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
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
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

const testInterval = time.Second

var remoteResource = schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "remoteworkflows"}

func TestAGatedCopyIsClaimedAndThenStarted(t *testing.T) {
	e := newEnv(t, newRemote(), newCopy(t, withFinalizer("example.com/of-another")))
	assert.Zero(t, e.reconcile())

	assert.Equal(t, []map[string]any{{
		"metadata": map[string]any{"resourceVersion": "1"},
		"status":   map[string]any{"remoteUID": string(testUID), "observedGeneration": float64(1), "contractRevision": float64(v1alpha1.ContractRevision)},
	}}, e.hubWrites)
	assert.Equal(t, []map[string]any{{"metadata": map[string]any{
		"uid": string(testUID), "resourceVersion": "1",
		"finalizers": []any{"example.com/of-another", contract.FinalizerReport},
		"labels":     map[string]any{contract.LabelInstanceID: nil, contract.LabelCluster: testCluster},
		"annotations": map[string]any{
			contract.AnnotationRemoteWorkflow: "demo-0123", contract.AnnotationRemoteWorkflowUID: "remote-uid", contract.AnnotationHubID: "hub-id", contract.AnnotationAttempt: "1",
			contract.AnnotationHubNamespace: "default", contract.AnnotationHubName: "demo", contract.AnnotationHubUID: "hub-uid",
		},
	}}}, e.managedWrites)
	assert.Equal(t, testUID, e.remote().Status.RemoteUID)
	assert.NotContains(t, e.workflow().GetLabels(), contract.LabelInstanceID)
	assert.Equal(t, []string{"Normal Started started for Workflow default/demo of the hub"}, e.said())
	assert.Equal(t, 1, e.count("gates_opened_total"))

	assert.Equal(t, takeUpGrace, e.reconcile().RequeueAfter)
	assert.Len(t, e.hubWrites, 1)
	assert.Len(t, e.managedWrites, 1)
}

func TestWhatTheUserWantsOfARunIsAppliedInOnePatchAndOnce(t *testing.T) {
	e := newEnv(t, newRemote(claimed, knownStarted, wanting(v1alpha1.Controls{Shutdown: v1alpha1.ShutdownStop})),
		newCopy(t, opened, inPhase("Running"), inSpec("priority", int64(7))))
	e.reconcile()
	require.Equal(t, []map[string]any{{
		"metadata": map[string]any{
			"uid": string(testUID), "resourceVersion": "1", "annotations": map[string]any{contract.AnnotationControls: `{"shutdown":"Stop"}`},
		},
		"spec": map[string]any{"shutdown": "Stop"},
	}}, e.managedWrites, "what is there alone stays")
	assert.Equal(t, []string{`Normal Changed spec changed as that of Workflow default/demo of the hub was: {"shutdown":"Stop"}`}, e.said())
	e.reconcileInTime()
	assert.Len(t, e.managedWrites, 1)
	assert.EqualValues(t, 7, e.workflow().Object["spec"].(map[string]any)["priority"])
}

func TestWhatTheUserWantsByNowIsAppliedWithTheStart(t *testing.T) {
	e := newEnv(t, newRemote(wanting(v1alpha1.Controls{Suspend: true})), newCopy(t))
	e.reconcile()
	require.Len(t, e.managedWrites, 1)
	assert.Equal(t, map[string]any{"suspend": true}, e.managedWrites[0]["spec"])
	assert.Equal(t, `{"suspend":true}`, e.workflow().GetAnnotations()[contract.AnnotationControls])
	e.reconcile()
	assert.Len(t, e.managedWrites, 1)
}

func TestTheGateOpensToTheInstanceIDOfTheClustersArgoController(t *testing.T) {
	e := newEnv(t, newRemote(), newCopy(t))
	e.InstanceID = "team-a"
	e.reconcile()
	assert.Equal(t, "team-a", e.workflow().GetLabels()[contract.LabelInstanceID])
}

func TestTheGateStaysShutWhenTheClaimFails(t *testing.T) {
	conflict := apierrors.NewConflict(remoteResource, "demo", errors.New("changed"))
	tests := map[string]struct {
		answer error
		retry  time.Duration
		failed bool
	}{
		"because the RemoteWorkflow has changed": {answer: conflict, retry: staleRetry},
		"because the RemoteWorkflow is gone":     {answer: apierrors.NewNotFound(remoteResource, "demo"), retry: staleRetry},
		"because the hub is away":                {answer: errors.New("connection refused"), failed: true},
		"because the agent may not":              {answer: apierrors.NewForbidden(remoteResource, "demo", nil), failed: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, newRemote(), newCopy(t))
			e.hubFails = onPatch(test.answer)
			result, err := e.tryReconcile()
			assert.Equal(t, reconcile.Result{RequeueAfter: test.retry}, result)
			if test.failed {
				require.ErrorIs(t, err, test.answer)
			} else {
				require.NoError(t, err)
			}
			assert.Empty(t, e.managedWrites)
		})
	}
}

func TestACopyThatTheHubDoesNotAcceptNeverStarts(t *testing.T) {
	e := newEnv(t, newRemote(), newCopy(t))
	e.hubFails = func(patch []byte) error {
		if strings.Contains(string(patch), "remoteUID") {
			return apierrors.NewInvalid(v1alpha1.GroupVersion.WithKind("RemoteWorkflow").GroupKind(), "demo", nil)
		}
		return nil
	}
	e.reconcile()
	assert.Empty(t, e.managedWrites)
	started := meta.FindStatusCondition(e.remote().Status.Conditions, v1alpha1.ConditionStarted)
	require.NotNil(t, started)
	assert.Equal(t, metav1.ConditionFalse, started.Status)
	assert.Equal(t, v1alpha1.ReasonStartNotGranted, started.Reason)
}

func TestAStalePatchOfTheCopyIsTriedAgain(t *testing.T) {
	e := newEnv(t, newRemote(claimed), newCopy(t))
	e.managedFails = onPatch(apierrors.NewConflict(contract.WorkflowGVR.GroupResource(), "demo", errors.New("changed")))
	assert.Equal(t, reconcile.Result{RequeueAfter: staleRetry}, e.reconcile())
	assert.Zero(t, e.count("gates_opened_total"))
	assert.Empty(t, e.said())
	e.managedFails = nil
	e.reconcile()
	assert.Equal(t, 1, e.count("gates_opened_total"))
}

func TestASmallWorkflowCostsTheHubThreeWrites(t *testing.T) {
	e := newEnv(t, newRemote(), newCopy(t))
	e.reconcile()
	e.change(inPhase("Running"))
	assert.Zero(t, e.reconcile())
	assert.Len(t, e.hubWrites, 2)
	e.requireReported()
	assert.True(t, meta.IsStatusConditionTrue(e.remote().Status.Conditions, v1alpha1.ConditionStarted))
	assert.Zero(t, e.reconcile(), "the echo of the report")

	e.clock.SetTime(testNow.Add(testInterval / 2))
	e.change(withStatus(map[string]any{"phase": "Running", "progress": "1/2"}))
	assert.Positive(t, e.reconcile().RequeueAfter, "progress waits for its turn")

	e.change(withStatus(map[string]any{"phase": "Succeeded", "progress": "2/2", "finishedAt": "2030-05-01T12:00:00Z"}))
	assert.Zero(t, e.reconcile())
	e.requireReported()
	assert.Contains(t, e.workflow().GetFinalizers(), contract.FinalizerReport, "until the hub is seen to hold it")
	assert.Zero(t, e.reconcile())
	assert.NotContains(t, e.workflow().GetFinalizers(), contract.FinalizerReport)
	assert.Zero(t, e.reconcile())
	assert.Len(t, e.hubWrites, 3)
	assert.Len(t, e.managedWrites, 2)
	assert.Equal(t, 2, e.count("reports_total", "written"))
}

func TestWhatIsNotUrgentIsReportedWhenItsTurnComes(t *testing.T) {
	e := newEnv(t, newRemote(claimed), newCopy(t, opened, inPhase("Running")))
	e.reconcile()
	e.change(withStatus(map[string]any{"phase": "Running", "progress": "1/2"}))
	deferred := e.reconcile().RequeueAfter
	assert.GreaterOrEqual(t, deferred, testInterval)
	assert.Len(t, e.hubWrites, 1)
	e.clock.SetTime(testNow.Add(deferred))
	assert.Zero(t, e.reconcile())
	e.requireReported()
	assert.Len(t, e.hubWrites, 2)
	assert.NotContains(t, e.hubWrites[1]["status"], "conditions", "what has not changed is not sent")
}

func TestAShortRunInABurstIsReportedOnceAtItsEnd(t *testing.T) {
	e := newEnv(t, newRemote(claimed), newCopy(t, opened, inPhase("Running")))
	for e.Pacer.isSpare(testNow) { // the others of the burst
	}
	assert.Equal(t, testInterval, e.reconcile().RequeueAfter)
	assert.Empty(t, e.hubWrites)
	e.change(inPhase("Succeeded"))
	assert.Zero(t, e.reconcile())
	e.requireReported()
	assert.Len(t, e.hubWrites, 1)
	assert.True(t, meta.IsStatusConditionTrue(e.remote().Status.Conditions, v1alpha1.ConditionStarted), "it rides along")
}

func TestALongRunInABurstIsReportedAfterASecond(t *testing.T) {
	e := newEnv(t, newRemote(claimed), newCopy(t, opened, inPhase("Running")))
	for e.Pacer.isSpare(testNow) { // the others of the burst
	}
	e.reconcile()
	e.clock.SetTime(testNow.Add(testInterval))
	assert.Zero(t, e.reconcile())
	e.requireReported()
}

func TestConditionsAloneRideAlong(t *testing.T) {
	e := newEnv(t, newRemote(claimed, showing("Running")), newCopy(t, opened, inPhase("Running")))
	assert.Equal(t, testInterval, e.reconcile().RequeueAfter)
	assert.Empty(t, e.hubWrites)
}

func TestOfAReportOnlyWhatHasChangedIsSent(t *testing.T) {
	labeled := func(value string) workflowMod {
		return func(wf *unstructured.Unstructured) {
			labels := wf.GetLabels()
			labels["team"] = value
			wf.SetLabels(labels)
			wf.Object["spec"] = map[string]any{"workflowMetadata": map[string]any{"labels": map[string]any{"team": value}}}
		}
	}
	e := newEnv(t, newRemote(claimed), newCopy(t, opened, labeled("a"), inPhase("Running")))
	e.reconcile()
	e.requireReported()
	first := e.remote().Status
	assert.Equal(t, map[string]string{"team": "a"}, first.Labels)
	sum := sha256.Sum256(first.Report.Data)
	assert.Equal(t, hex.EncodeToString(sum[:]), first.Report.Digest)
	assert.EqualValues(t, 1, first.ObservedGeneration)

	e.change(labeled("b"))
	e.clock.SetTime(testNow.Add(time.Minute))
	e.reconcile()
	assert.Equal(t, map[string]any{"labels": map[string]any{"team": "b"}}, e.hubWrites[1]["status"], "the data are not sent again")
	e.requireReported()
	e.hints = allHints{}
	e.reconcile()
	assert.Len(t, e.hubWrites, 2, "an equal one is not sent, also after a restart")
}

func TestAReportIsSentAgainToAHubThatABackupHasSetBack(t *testing.T) {
	e := newEnv(t, newRemote(claimed), newCopy(t, opened, inPhase("Running")))
	before := e.remote()
	e.reconcile()
	e.requireReported()
	restored := e.remote()
	restored.Status = before.Status
	require.NoError(t, e.hub.Status().Update(t.Context(), restored))
	e.reconcile()
	e.requireReported()
	assert.Len(t, e.hubWrites, 2)
	assert.Zero(t, e.reconcile())
	assert.Len(t, e.hubWrites, 2)
}

func TestAReportIsSentAgainIfTheHubThatABackupHasSetBackCountsToTheSameVersion(t *testing.T) {
	e := newEnv(t, newRemote(claimed), newCopy(t, opened, inPhase("Running")))
	before := e.remote()
	e.reconcile()
	held, restored := e.remote(), e.remote()
	restored.Status = before.Status
	require.NoError(t, e.hub.Status().Update(t.Context(), restored))
	held.ResourceVersion = e.remote().ResourceVersion
	e.hints.recall(held).reported = versionsOf(held, e.workflow())
	e.reconcile()
	e.requireReported()
}

func TestAReportSpeaksOfTheRunWhateverBecameOfTheCopysAnnotations(t *testing.T) {
	for name, edit := range referenceEdits() {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, newRemote(claimed, showing("Running")), newCopy(t, opened, edit, inPhase("Succeeded")))
			e.reconcile()
			e.requireReported()
			e.requireReportOfTheRun()
			e.reconcile()
			assert.NotContains(t, e.workflow().GetFinalizers(), contract.FinalizerReport)
		})
	}
}

func TestACacheThatShowsWhatTheAgentHasReplacedIsNotActedOn(t *testing.T) {
	e := newEnv(t, newRemote(), newCopy(t))
	stale := e.remote()
	e.reconcile()
	e.hubShows = stale
	result := e.reconcile()
	assert.Equal(t, expectationTimeout, result.RequeueAfter)
	assert.Len(t, e.hubWrites, 1)
	assert.Len(t, e.managedWrites, 1)
}

func TestACopyWithoutAnAgentsPartIsIgnored(t *testing.T) {
	e := newEnv(t, newRemote(func(rw *v1alpha1.RemoteWorkflow) { rw.Spec.Reporting = v1alpha1.ReportingFeedback }),
		newCopy(t, ungated, inPhase("Running")))
	e.reconcile()
	assert.Empty(t, e.hubWrites)
	assert.Empty(t, e.managedWrites)
}

func TestAForeignWorkflowIsLeftAloneAndToldOnce(t *testing.T) {
	foreign := contract.NewWorkflow()
	foreign.SetNamespace("default")
	foreign.SetName("demo")
	e := newEnv(t, newRemote(), foreign)
	e.reconcile()
	e.reconcile()
	assert.Len(t, e.hubWrites, 1)
	assert.Empty(t, e.managedWrites)
	started := meta.FindStatusCondition(e.remote().Status.Conditions, v1alpha1.ConditionStarted)
	require.NotNil(t, started)
	assert.Equal(t, v1alpha1.ReasonNotOurs, started.Reason)
	assert.True(t, testNow.Equal(started.LastTransitionTime.Time))
	assert.Len(t, e.said(), 1)
	assert.Equal(t, 1, e.count("refusals_total", v1alpha1.ReasonNotOurs))
}

func TestTheCopyIsStartedOnceTheNameIsFree(t *testing.T) {
	foreign := contract.NewWorkflow()
	foreign.SetNamespace("default")
	foreign.SetName("demo")
	e := newEnv(t, newRemote(), foreign)
	e.reconcile()
	require.NoError(t, e.managed.Delete(t.Context(), foreign))
	require.NoError(t, e.managed.Create(t.Context(), newCopy(t, withVersion(""))))
	e.reconcile()
	e.change(inPhase("Running"))
	e.reconcile()
	assert.True(t, meta.IsStatusConditionTrue(e.remote().Status.Conditions, v1alpha1.ConditionStarted))
}

func TestARunThatLostItsLabelIsFoundAndBroughtBack(t *testing.T) {
	e := newEnv(t, newRemote(claimed, showing("Running")), newCopy(t, opened, unlabeled, inPhase("Running")))
	e.reconcile()
	assert.Empty(t, e.hubWrites)
	assert.Equal(t, testCluster, e.workflow().GetLabels()[contract.LabelCluster])
	assert.Zero(t, e.count("gates_opened_total"), "it ran all the time")
}

func TestARunWhoseAnnotationsWereEditedIsBroughtBack(t *testing.T) {
	for name, edit := range referenceEdits() {
		t.Run(name, func(t *testing.T) {
			// As after a restart: nothing but the RemoteWorkflow leads to the run.
			e := newEnv(t, newRemote(claimed, showing("Running")), newCopy(t, opened, edit, inPhase("Running")))
			e.reconcile()
			assert.Empty(t, e.hubWrites)
			assert.Equal(t, contract.ReferenceTo(e.remote()), contract.ReferenceOf(e.workflow()))
			assert.Len(t, e.managedWrites, 1)
			assert.Zero(t, e.count("gates_opened_total"), "it ran all the time")
			assert.Empty(t, e.said())

			e.reconcileInTime()
			e.requireReportOfTheRun()
			assert.Len(t, e.managedWrites, 1)
		})
	}
}

func TestTheEndOfARunIsSeenThoughItsAnnotationsWereEdited(t *testing.T) {
	for name, edit := range referenceEdits() {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, newRemote(claimed, showing("Running")), newCopy(t, opened, inPhase("Running")))
			e.reconcile()
			seen := e.workflow()
			watch := func() {
				before := seen
				seen = e.workflow()
				e.reconcileAfter(before, seen)
			}
			e.change(edit)
			watch()
			watch() // what the agent has made of it
			e.change(inPhase("Succeeded"))
			watch()
			e.requireReported()
			e.requireReportOfTheRun()
			e.reconcile() // the echo of the report from the hub
			assert.NotContains(t, e.workflow().GetFinalizers(), contract.FinalizerReport)
		})
	}
}

func TestAGatedCopyWhoseAnnotationsWereEditedNeverStarts(t *testing.T) {
	for name, edit := range referenceEdits() {
		t.Run(name, func(t *testing.T) {
			for _, rw := range []*v1alpha1.RemoteWorkflow{newRemote(), newRemote(claimed)} {
				e := newEnv(t, rw, newCopy(t, edit))
				e.reconcile()
				assert.Empty(t, e.managedWrites)
				if e.workflow() == nil { // it is taken for one of an earlier RemoteWorkflow: another is delivered
					assert.Contains(t, name, contract.AnnotationRemoteWorkflowUID)
					assert.Empty(t, rw.Status.RemoteUID)
					continue
				}
				started := meta.FindStatusCondition(e.remote().Status.Conditions, v1alpha1.ConditionStarted)
				require.NotNil(t, started)
				assert.Equal(t, v1alpha1.ReasonNotOurs, started.Reason)
			}
		})
	}
}

func TestACopyThatRunsWithoutTheAgentBecomesTheRun(t *testing.T) {
	e := newEnv(t, newRemote(), newCopy(t, ungated, inPhase("Running")))
	e.reconcile()
	assert.Equal(t, testUID, e.remote().Status.RemoteUID)
	assert.Contains(t, e.workflow().GetFinalizers(), contract.FinalizerReport)
	e.reconcile()
	e.requireReported()
}

// Between two installations of the agent its finalizer is not there, and nothing is reported.
func TestARunThatWasReleasedIsReportedByTheNextAgent(t *testing.T) {
	e := newEnv(
		t,
		newRemote(claimed, showing("Running")),
		newCopy(t, ungated, withStatus(map[string]any{"phase": "Running", "progress": "1/2"})),
	)
	e.reconcile()
	assert.Contains(t, e.workflow().GetFinalizers(), contract.FinalizerReport)
	e.reconcileInTime()
	e.requireReported()

	e = newEnv(t, newRemote(claimed, showing("Running")), newCopy(t, ungated, inPhase("Succeeded")))
	e.reconcile()
	e.requireReported()
	e.reconcile()
	assert.Empty(t, e.managedWrites, "the copy is not touched any more")
	assert.Zero(t, e.count("gates_opened_total"))
}

func TestARunThatVanishedIsTold(t *testing.T) {
	e := newEnv(t, newRemote(claimed, showing("Running")))
	e.reconcile()
	e.reconcile()
	assert.Len(t, e.hubWrites, 1)
	gone := meta.FindStatusCondition(e.remote().Status.Conditions, v1alpha1.ConditionRemoteDeleted)
	require.NotNil(t, gone)
	assert.Equal(t, v1alpha1.ReasonVanishedUnfinished, gone.Reason)
	assert.Zero(t, e.count("refusals_total"), "there is nothing to refuse")
}

func TestARunIsNotGoneForAnAPIServerThatDoesNotServeWorkflows(t *testing.T) {
	e := newEnv(t, newRemote(claimed, showing("Running")))
	e.liveFails = func() error {
		return apierrors.NewGenericServerResponse(
			http.StatusNotFound,
			"get",
			contract.WorkflowGVR.GroupResource(),
			"demo",
			"404 page not found",
			0,
			true,
		)
	}
	_, err := e.tryReconcile()
	require.ErrorContains(t, err, "get Workflow")
	assert.Empty(t, e.hubWrites)
}

func TestARecreatedCopyNeverStarts(t *testing.T) {
	e := newEnv(t, newRemote(claimedFor("first-copy"), showing("Succeeded")), newCopy(t))
	e.reconcile()
	assert.Nil(t, e.workflow())
	e.reconcile()
	e.reconcile()
	assert.Empty(t, e.managedWrites)
	e.requireGone(v1alpha1.ReasonDeletedFinished)
	assert.Len(t, e.hubWrites, 1)
	assert.Len(t, e.said(), 1)
}

func TestACopyThatWasRolledBackToBeforeItStartedDoesNotStartAgain(t *testing.T) {
	for _, phase := range []string{"Running", "Succeeded"} {
		t.Run(phase, func(t *testing.T) {
			e := newEnv(t, newRemote(claimed, showing(phase)), newCopy(t))
			e.reconcile()
			e.reconcile()
			assert.Empty(t, e.managedWrites)
			assert.Len(t, e.hubWrites, 1)
			gone := meta.FindStatusCondition(e.remote().Status.Conditions, v1alpha1.ConditionRemoteDeleted)
			require.NotNil(t, gone)
			assert.Equal(t, v1alpha1.ReasonRolledBack, gone.Reason)
			assert.Equal(t, "Workflow default/demo was rolled back to before it started: the cluster was restored from a backup", gone.Message)
			assert.Equal(t, phase, e.remote().Status.Phase)
			assert.Len(t, e.said(), 1)
			assert.Zero(t, e.count("gates_opened_total"))
			assert.Equal(t, 1, e.count("refusals_total", v1alpha1.ReasonRolledBack))
		})
	}
}

func TestARunIsNotTakenForRolledBackWhenTheCacheLags(t *testing.T) {
	t.Run("while it has no status", func(t *testing.T) {
		e := newEnv(t, newRemote(claimed, knownStarted), newCopy(t, opened, withVersion("2")))
		e.managedShows = newCopy(t)
		assert.Zero(t, e.reconcile())
		assert.Empty(t, e.hubWrites)
		assert.Empty(t, e.managedWrites)
		assert.Empty(t, e.said())
	})
	t.Run("while it runs", func(t *testing.T) {
		e := newEnv(t, newRemote(claimed, knownStarted), newCopy(t, opened, inPhase("Running"), withVersion("2")))
		e.managedShows = newCopy(t)
		e.reconcile()
		e.requireReported()
		assert.Nil(t, meta.FindStatusCondition(e.remote().Status.Conditions, v1alpha1.ConditionRemoteDeleted))
		assert.Empty(t, e.managedWrites)
	})
	t.Run("nor while this cluster cannot be asked", func(t *testing.T) {
		e := newEnv(t, newRemote(claimed, knownStarted), newCopy(t, opened, withVersion("2")))
		e.managedShows = newCopy(t)
		e.liveFails = func() error { return errors.New("broken") }
		_, err := e.tryReconcile()
		require.ErrorContains(t, err, "get Workflow")
		assert.Empty(t, e.hubWrites)
	})
}

func TestAnEndThatTheHubKnowsIsNotTakenBackWhenTheCacheLags(t *testing.T) {
	e := newEnv(t, newRemote(claimed, knownStarted, showing("Succeeded")))
	e.managedShows = newCopy(t, opened, inPhase("Running"))
	e.reconcile()
	assert.Equal(t, "Succeeded", e.remote().Status.Phase)
	gone := meta.FindStatusCondition(e.remote().Status.Conditions, v1alpha1.ConditionRemoteDeleted)
	require.NotNil(t, gone)
	assert.Equal(t, v1alpha1.ReasonDeletedFinished, gone.Reason)
}

func TestARunIsNotTakenForBackWhenTheCacheLags(t *testing.T) {
	// The agent that was the leader before has told that the run is deleted.
	e := newEnv(t, newRemote(claimed, showing("Running"), knownStarted, knownDeleted),
		newCopy(t, opened, inPhase("Running"), withVersion("2"), deletedAt(testNow)))
	e.managedShows = newCopy(t, opened, inPhase("Running"))
	e.reconcile()
	assert.Contains(t, e.workflow().GetFinalizers(), contract.FinalizerReport, "its end is still to be reported")
	shutdown, _, err := unstructured.NestedString(e.workflow().Object, "spec", "shutdown")
	require.NoError(t, err)
	assert.Equal(t, shutdownTerminate, shutdown)
}

func TestARecordedCopyIsStartedWhenTheAgentStoppedBeforeItsStart(t *testing.T) {
	e := newEnv(t, newRemote(claimed), newCopy(t))
	e.reconcile()
	assert.Empty(t, e.hubWrites)
	assert.Equal(t, 1, e.count("gates_opened_total"))
}

func TestBeforeALateStartTheHubIsAskedWhetherItStillHolds(t *testing.T) {
	tests := map[string]struct {
		live  *v1alpha1.RemoteWorkflow
		fails error
	}{
		"the RemoteWorkflow is gone":           {fails: apierrors.NewNotFound(remoteResource, "demo-0123")},
		"it was made again":                    {live: newRemote(claimed, madeAgain)},
		"it is being deleted":                  {live: newRemote(claimed, remoteDeletedBare)},
		"it has forgotten the claim, restored": {live: newRemote()},
		"it has another copy":                  {live: newRemote(claimedFor("another-uid"))},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, newRemote(claimed), newCopy(t))
			e.hubLiveFails, e.hubLiveShows = func() error { return test.fails }, test.live
			assert.Equal(t, staleRetry, e.reconcile().RequeueAfter)
			assert.Empty(t, e.managedWrites)
			assert.Zero(t, e.count("gates_opened_total"))
		})
	}
	t.Run("it does not answer", func(t *testing.T) {
		e := newEnv(t, newRemote(claimed), newCopy(t))
		e.hubLiveFails = func() error { return errors.New("connection refused") }
		_, err := e.tryReconcile()
		require.ErrorContains(t, err, "ask the hub for the RemoteWorkflow: connection refused")
		assert.Empty(t, e.managedWrites)
	})
}

func TestAStartThatFollowsOnTheClaimAsksNothing(t *testing.T) {
	e := newEnv(t, newRemote(), newCopy(t))
	e.reconcile()
	assert.Zero(t, e.hubAsked)

	e = newEnv(t, newRemote(), newCopy(t))
	e.hubFails = func(patch []byte) error {
		if patch != nil {
			e.clock.SetTime(testNow.Add(time.Minute)) // the process was stopped, or the hub took its time
		}
		return nil
	}
	e.reconcile()
	assert.Equal(t, 1, e.hubAsked)
	assert.Equal(t, 1, e.count("gates_opened_total"))
}

func TestInABurstThatArgoHasNotTakenARunUpIsSaidLater(t *testing.T) {
	e := newEnv(t, newRemote(claimed), newCopy(t, opened))
	e.reconcile()
	e.clock.SetTime(testNow.Add(takeUpGrace))
	for e.Pacer.isSpare(e.clock.Now()) { // the others of the burst
	}
	assert.Equal(t, takeUpGrace, e.reconcile().RequeueAfter)
	assert.Empty(t, e.hubWrites)
	e.clock.SetTime(testNow.Add(2 * takeUpGrace))
	e.reconcile()
	assert.Len(t, e.hubWrites, 1)
}

func TestARunOfALostRemoteWorkflowIsReportedToTheNext(t *testing.T) {
	e := newEnv(t, newRemote(madeAgain), newCopy(t, opened, inPhase("Running")))
	e.reconcile()
	assert.Equal(t, testUID, e.remote().Status.RemoteUID)
	assert.Equal(t, contract.ReferenceTo(e.remote()), contract.ReferenceOf(e.workflow()))
	assert.Zero(t, e.count("gates_opened_total"), "it ran all the time")
	e.reconcile()
	e.requireReportOfTheRun()
}

func TestThatArgoDoesNotTakeARunUpIsSaidAfterASecond(t *testing.T) {
	e := newEnv(t, newRemote(), newCopy(t))
	e.reconcile()
	assert.Equal(t, takeUpGrace, e.reconcile().RequeueAfter)
	e.clock.SetTime(testNow.Add(takeUpGrace))
	assert.Zero(t, e.reconcile())
	e.reconcile()
	assert.Len(t, e.hubWrites, 2, "the claim, and this")
	set := meta.FindStatusCondition(e.remote().Status.Conditions, v1alpha1.ConditionStarted)
	require.NotNil(t, set)
	assert.Equal(t, metav1.ConditionTrue, set.Status)
	assert.Equal(t, v1alpha1.ReasonNotTakenUp, set.Reason)
	assert.Equal(t, "started as default/demo: the cluster's Argo controller has not taken it up yet", set.Message)
	assert.Len(t, e.said(), 1, "only that it was started")

	e.change(inPhase("Running"))
	e.reconcile()
	assert.Len(t, e.hubWrites, 3)
	assert.Equal(t, v1alpha1.ReasonGateOpened, meta.FindStatusCondition(e.remote().Status.Conditions, v1alpha1.ConditionStarted).Reason)
}

func TestARunThatSomebodyGatedAgainIsReopened(t *testing.T) {
	e := newEnv(t, newRemote(claimed, showing("Running")), newCopy(t, guarded, inPhase("Running")))
	e.reconcile()
	assert.Empty(t, e.hubWrites)
	assert.NotContains(t, e.workflow().GetLabels(), contract.LabelInstanceID)
}

func TestARunThatABackupBroughtBackIsLetGoAndDoesNotChangeItsEndOnTheHub(t *testing.T) {
	e := newEnv(t, newRemote(claimed, showing("Succeeded"), knownGone(v1alpha1.ReasonDeletedFinished)),
		newCopy(t, opened, inPhase("Running")))
	e.reconcile()
	assert.NotContains(t, e.workflow().GetFinalizers(), contract.FinalizerReport)
	e.change(inPhase("Failed"))
	e.reconcile()
	assert.Empty(t, e.hubWrites)
	assert.Len(t, e.managedWrites, 1)
}

func TestARunDeletedOnTheClusterIsEndedReportedAndLetGo(t *testing.T) {
	e := newEnv(t, newRemote(claimed, showing("Running")),
		newCopy(t, opened, inPhase("Running"), withFinalizer("example.com/of-another"), deletedAt(testNow)))
	assert.Equal(t, testInterval, e.reconcile().RequeueAfter, "it is reported in its turn")
	shutdown, _, err := unstructured.NestedString(e.workflow().Object, "spec", "shutdown")
	require.NoError(t, err)
	assert.Equal(t, "Terminate", shutdown)
	assert.Equal(t, []map[string]any{{
		"metadata": map[string]any{
			"uid": string(testUID), "resourceVersion": "1",
			"annotations": map[string]any{contract.AnnotationTerminated: "2030-05-01T12:00:00Z"},
		},
		"spec": map[string]any{"shutdown": "Terminate", "suspend": nil},
	}}, e.managedWrites)
	assert.Nil(t, meta.FindStatusCondition(e.remote().Status.Conditions, v1alpha1.ConditionRemoteDeleted), "it may still succeed")
	assert.Len(t, e.said(), 1)

	e.reconcile()
	assert.Len(t, e.managedWrites, 1, "it is terminated once")
	e.change(finishedAt("Failed", testNow))
	e.reconcile()
	e.requireReported()
	gone := meta.FindStatusCondition(e.remote().Status.Conditions, v1alpha1.ConditionRemoteDeleted)
	require.NotNil(t, gone)
	assert.Equal(t, v1alpha1.ReasonDeletedUnfinished, gone.Reason)
	e.reconcile()
	assert.Equal(t, []string{"example.com/of-another"}, e.workflow().GetFinalizers())
	assert.Len(t, e.hubWrites, 1)
}

func TestARunThatSucceedsThoughItIsBeingDeletedHasSucceeded(t *testing.T) {
	e := newEnv(t, newRemote(claimed, showing("Running")), newCopy(t, opened, inPhase("Running"), deletedAt(testNow)))
	e.reconcile()
	e.change(succeededWith("Succeeded"))
	e.reconcile()
	e.requireReported()
	assert.Nil(t, meta.FindStatusCondition(e.remote().Status.Conditions, v1alpha1.ConditionRemoteDeleted))
}

func TestARunThatWasDeletedWhileItWaitedForALockHasNotSucceededWhateverArgoSays(t *testing.T) {
	e := newEnv(t, newRemote(claimed), newCopy(t, opened, inPhase("Pending"), deletedAt(testNow)))
	e.reconcile()
	e.change(succeededWith("Failed"))
	e.reconcile()
	e.requireReported()
	e.requireGone(v1alpha1.ReasonDeletedUnfinished)
}

func TestARunThatDoesNotEndInTimeIsLetGo(t *testing.T) {
	e := newEnv(t, newRemote(claimed, showing("Running")), newCopy(t, opened, inPhase("Running"), deletedAt(testNow)))
	e.reconcile()
	e.clock.SetTime(testNow.Add(terminationGrace))
	e.reconcile()
	assert.True(t, meta.IsStatusConditionTrue(e.remote().Status.Conditions, v1alpha1.ConditionRemoteDeleted))
	e.reconcile()
	assert.Nil(t, e.workflow())
}

func TestARecordedCopyDeletedBeforeItsStartIsToldAndNeverStarts(t *testing.T) {
	e := newEnv(t, newRemote(claimed), newCopy(t, deletedAt(testNow)))
	e.reconcile()
	e.reconcile()
	assert.Empty(t, e.managedWrites)
	assert.Len(t, e.hubWrites, 1)
	assert.Nil(t, e.remote().Status.Report)
	assert.True(t, meta.IsStatusConditionTrue(e.remote().Status.Conditions, v1alpha1.ConditionRemoteDeleted))
	assert.Nil(t, meta.FindStatusCondition(e.remote().Status.Conditions, v1alpha1.ConditionStarted))
}

func TestARunDeletedOnTheClusterIsEndedEvenWhenTheHubIsAway(t *testing.T) {
	e := newEnv(t, newRemote(claimed), newCopy(t, opened, inPhase("Running"), deletedAt(testNow)))
	away := errors.New("connection refused")
	e.hubFails = onPatch(away)
	_, err := e.tryReconcile()
	require.ErrorIs(t, err, away)
	shutdown, _, _ := unstructured.NestedString(e.workflow().Object, "spec", "shutdown")
	assert.Equal(t, "Terminate", shutdown)
	assert.Contains(t, e.workflow().GetFinalizers(), contract.FinalizerReport)
}

func TestARunDeletedOnTheHubEndsAndGoesWithItsPods(t *testing.T) {
	e := newEnv(t, newRemote(claimed, toTerminate, showing("Running")),
		newCopy(t, withFinalizer("example.com/of-another"), opened, unlabeled, inPhase("Running")))
	assert.Equal(t, reconcile.Result{RequeueAfter: terminationGrace}, e.reconcile())
	shutdown, _, err := unstructured.NestedString(e.workflow().Object, "spec", "shutdown")
	require.NoError(t, err)
	assert.Equal(t, shutdownTerminate, shutdown)
	said := e.said()
	require.Len(t, said, 1)
	assert.Contains(t, said[0], "Terminated terminated because it was deleted on the hub")
	e.reconcile()
	assert.Len(t, e.managedWrites, 1, "it is terminated once")
	assert.Empty(t, e.managedDeletes)

	e.change(inPhase("Failed"))
	version := e.workflow().GetResourceVersion()
	e.reconcile()
	uid, foreground := testUID, metav1.DeletePropagationForeground
	assert.Equal(t, []client.DeleteOptions{{
		Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}, PropagationPolicy: &foreground,
	}}, e.managedDeletes)
	assert.Contains(t, e.workflow().GetFinalizers(), contract.FinalizerReport, "until it is seen to wait for its pods")
	e.change(withFinalizer(metav1.FinalizerDeleteDependents))
	e.reconcile()
	assert.Equal(t, []string{"example.com/of-another", metav1.FinalizerDeleteDependents}, e.workflow().GetFinalizers())
	e.reconcile()
	assert.Len(t, e.managedDeletes, 1)
	assert.Len(t, e.managedWrites, 2)
	assert.Empty(t, e.hubWrites)

	e.change(func(wf *unstructured.Unstructured) { wf.SetFinalizers(nil) })
	e.reconcile()
	e.reconcile()
	assert.Len(t, e.hubWrites, 1, "it is confirmed once")
	e.requireGone(v1alpha1.ReasonRemoved)
}

func TestAFinishedRunDeletedOnTheHubGoesAtOnce(t *testing.T) {
	e := newEnv(t, newRemote(claimed, toTerminate, showing("Succeeded")), newCopy(t, ungated, inPhase("Succeeded")))
	e.reconcile()
	require.Len(t, e.managedDeletes, 1)
	assert.Equal(t, metav1.DeletePropagationForeground, *e.managedDeletes[0].PropagationPolicy)
	assert.Nil(t, e.workflow())
	e.reconcile()
	e.requireGone(v1alpha1.ReasonRemoved)
	assert.Empty(t, e.managedWrites)
}

func TestArtifactsOfARunDeletedOnTheHubAreCollectedBeforeItsPodsGo(t *testing.T) {
	e := newEnv(t, newRemote(claimed, toTerminate), newCopy(t, opened, withFinalizer(contract.FinalizerArtifactGC), inPhase("Succeeded")))
	e.reconcile()
	e.reconcile()
	require.Len(t, e.managedDeletes, 1)
	assert.Equal(t, metav1.DeletePropagationBackground, *e.managedDeletes[0].PropagationPolicy)
	assert.True(t, isDeleted(e.workflow()), "Argo collects the artifacts of what is being deleted")
	e.change(func(wf *unstructured.Unstructured) { wf.SetFinalizers([]string{contract.FinalizerReport}) })
	e.reconcile()
	require.Len(t, e.managedDeletes, 2)
	assert.Equal(t, metav1.DeletePropagationForeground, *e.managedDeletes[1].PropagationPolicy)
	e.change(withFinalizer(metav1.FinalizerDeleteDependents))
	e.reconcile()
	assert.Equal(t, []string{metav1.FinalizerDeleteDependents}, e.workflow().GetFinalizers())
}

// As when hub and agent were both away at the wrong moment: the RemoteWorkflow holds what was asked for.
func TestARunThatWasDeletedOnTheHubWhileTheAgentWasAwayEndsWhenItIsBack(t *testing.T) {
	rw := newRemote(claimed, toTerminate, showing("Running"))
	rw.DeletionTimestamp.Time = testNow.Add(-48 * time.Hour)
	e := newEnv(t, rw, newCopy(t, opened, inPhase("Running")))
	assert.Equal(t, terminationGrace, e.reconcile().RequeueAfter, "it has all of its time, whatever the clock of the hub says")
	e.clock.SetTime(testNow.Add(terminationGrace))
	e.reconcile()
	assert.Len(t, e.managedDeletes, 1)
}

func TestTheTimeForTheArchiveIsTheAgents(t *testing.T) {
	for name, hubsClock := range map[string]time.Duration{"fast": 5 * time.Hour, "slow": -5 * time.Hour} {
		t.Run("though the clock of the hub is "+name, func(t *testing.T) {
			rw := newRemote(claimed, toTerminate, showing("Succeeded"))
			rw.DeletionTimestamp.Time = testNow.Add(hubsClock)
			e := newEnv(t, rw, newCopy(t, opened, archiving, inPhase("Succeeded")))
			assert.Equal(t, archiveGrace, e.reconcile().RequeueAfter)
			e.clock.SetTime(testNow.Add(time.Minute))
			assert.Equal(t, archiveGrace-time.Minute, e.reconcile().RequeueAfter)
			assert.Empty(t, e.managedDeletes)
			e.clock.SetTime(testNow.Add(archiveGrace))
			e.reconcile()
			assert.Len(t, e.managedDeletes, 1)
		})
	}
}

func TestARunThatTheClusterDoesNotLetTheAgentTerminateGoesInTime(t *testing.T) {
	denied := apierrors.NewForbidden(contract.WorkflowGVR.GroupResource(), "demo", errors.New("denied by the policy of the house"))
	terminates := func(patch []byte) error {
		if strings.Contains(string(patch), "shutdown") {
			return denied
		}
		return nil
	}
	t.Run("deleted on the hub", func(t *testing.T) {
		e := newEnv(t, newRemote(claimed, toTerminate), newCopy(t, opened, inPhase("Running")))
		e.managedFails = terminates
		_, err := e.tryReconcile()
		require.ErrorIs(t, err, denied)
		assert.Empty(t, e.managedDeletes)
		e.clock.SetTime(testNow.Add(terminationGrace + time.Second))
		e.reconcile()
		assert.Len(t, e.managedDeletes, 1)
	})
	t.Run("deleted on the cluster", func(t *testing.T) {
		e := newEnv(t, newRemote(claimed, showing("Running")), newCopy(t, opened, inPhase("Running"), deletedAt(testNow)))
		e.managedFails = terminates
		_, err := e.tryReconcile()
		require.ErrorIs(t, err, denied)
		e.clock.SetTime(testNow.Add(terminationGrace + time.Second))
		e.reconcile()
		e.requireGone(v1alpha1.ReasonDeletedUnfinished)
		e.reconcile()
		assert.Nil(t, e.workflow())
	})
}

func TestARunDeletedOnTheHubOfWhichNoEventTellsIsLookedAtAgain(t *testing.T) {
	for name, mod := range map[string]workflowMod{
		"it lost its label":                         unlabeled,
		"it lost the name of its RemoteWorkflow":    unannotated(contract.AnnotationRemoteWorkflow),
		"it has the name of another RemoteWorkflow": annotated(contract.AnnotationRemoteWorkflow, "another"),
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, newRemote(claimed, toTerminate), newCopy(t, opened, inPhase("Succeeded"), mod))
			assert.Equal(t, staleRetry, e.reconcile().RequeueAfter)
			assert.Len(t, e.managedDeletes, 1)
			assert.Equal(t, staleRetry, e.reconcile().RequeueAfter)
		})
	}
}

func TestARunThatTheHubLeavesGoesOn(t *testing.T) {
	e := newEnv(t, newRemote(claimed, toLeave, showing("Running")), newCopy(t, opened, inPhase("Running")))
	want := e.workflow()
	e.reconcile()
	e.reconcile()
	e.reconcile()
	left := e.workflow()
	want.SetFinalizers([]string{})
	want.SetResourceVersion(left.GetResourceVersion())
	assert.Equal(t, want, left, "nothing but the finalizer goes")
	assert.Len(t, e.managedWrites, 1)
	assert.Empty(t, e.managedDeletes)
	assert.Len(t, e.hubWrites, 1)
	e.requireGone(v1alpha1.ReasonLeft)
	assert.Empty(t, e.said())
}

func TestWhatTheHubLeavesBeforeItStartedIsDeleted(t *testing.T) {
	e := newEnv(t, newRemote(claimed, toLeave), newCopy(t))
	e.reconcile()
	assert.Nil(t, e.workflow())
	e.reconcile()
	e.requireGone(v1alpha1.ReasonLeft)
}

func TestARunGoesOnAndIsReportedWhenNobodySaysWhyItsRemoteWorkflowGoes(t *testing.T) {
	e := newEnv(t, newRemote(claimed, remoteDeletedBare), newCopy(t, opened, inPhase("Running")))
	e.reconcile()
	e.requireReported()
	e.change(inPhase("Succeeded"))
	e.reconcile()
	e.requireReported()
	e.reconcile()
	assert.Empty(t, e.workflow().GetFinalizers())
	assert.Empty(t, e.managedDeletes)
	assert.Nil(t, meta.FindStatusCondition(e.remote().Status.Conditions, v1alpha1.ConditionRemoteDeleted))
}

func TestAStartThatTheClusterRefusesIsToldAndTriedAgain(t *testing.T) {
	const why = "denied by the policy of the house"
	for name, denied := range map[string]error{
		"by a policy": apierrors.NewForbidden(contract.WorkflowGVR.GroupResource(), "demo", errors.New(why)),
		"by a webhook that gives no code": &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusBadRequest, Message: why,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, newRemote(claimed), newCopy(t))
			e.managedFails = onPatch(denied)
			_, err := e.tryReconcile()
			require.ErrorContains(t, err, "open the gate")
			told := meta.FindStatusCondition(e.remote().Status.Conditions, v1alpha1.ConditionStarted)
			require.NotNil(t, told)
			assert.Equal(t, v1alpha1.ReasonStartDenied, told.Reason)
			assert.Contains(t, told.Message, why)

			e.managedFails = nil
			e.reconcile()
			assert.NotEqual(t, contract.InstanceIDGate, e.workflow().GetLabels()[contract.LabelInstanceID])
		})
	}
}

func TestAStatusThatIsTooLargeLeavesASummary(t *testing.T) {
	answers := map[string]error{
		"for the API server": apierrors.NewRequestEntityTooLargeError("limit is 3145728"),
		"for etcd":           apierrors.NewInternalError(errors.New("etcdserver: request is too large")),
		"on the way to etcd": apierrors.NewInternalError(
			errors.New("rpc error: code = ResourceExhausted desc = trying to send message larger than max (3 vs. 2)"),
		),
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, newRemote(claimed), newCopy(t, opened, inPhase("Running")))
			e.reconcile()
			e.hubFails = func(patch []byte) error {
				if strings.Contains(string(patch), `"data":"H4sI`) {
					return answer
				}
				return nil
			}
			e.change(withStatus(map[string]any{"phase": "Succeeded", "progress": "9/9"}))
			e.reconcile()
			rw := e.remote()
			assert.Equal(t, "Succeeded", rw.Status.Phase)
			assert.Equal(t, "9/9", rw.Status.Progress)
			require.NotNil(t, rw.Status.Report)
			assert.NotNil(t, rw.Status.Report.Data, "the CRD requires the field")
			assert.Empty(t, rw.Status.Report.Data)
			reported := meta.FindStatusCondition(rw.Status.Conditions, v1alpha1.ConditionReported)
			require.NotNil(t, reported)
			assert.Equal(t, metav1.ConditionFalse, reported.Status)
			assert.Equal(t, v1alpha1.ReasonReportTooLarge, reported.Reason)
			assert.Len(t, e.hubWrites, 3, "one report, one refused, one without data")

			e.reconcile()
			assert.Len(t, e.hubWrites, 3, "it is not tried again and again")
			assert.NotContains(t, e.workflow().GetFinalizers(), contract.FinalizerReport)
			assert.Equal(t, 1, e.count("reports_total", "too_large"))
			assert.Len(t, e.said(), 1)
		})
	}
}

func TestAStatusThatFitsAgainIsReportedInFull(t *testing.T) {
	e := newEnv(t, newRemote(claimed), newCopy(t, opened, inPhase("Running")))
	large := withStatus(map[string]any{"phase": "Running", "message": strings.Repeat("large ", 10)})
	e.change(large)
	e.hubFails = func(patch []byte) error {
		if strings.Contains(string(patch), `"data":"H4sI`) {
			return apierrors.NewRequestEntityTooLargeError("limit")
		}
		return nil
	}
	e.reconcile()
	e.hubFails = nil
	e.change(withStatus(map[string]any{"phase": "Failed"}))
	e.reconcile()
	e.requireReported()
	assert.True(t, meta.IsStatusConditionTrue(e.remote().Status.Conditions, v1alpha1.ConditionReported))
}

// invalidWith answers a patch that has the text as the hub's API server does when the RemoteWorkflow's schema forbids it.
func invalidWith(text string) func([]byte) error {
	return func(patch []byte) error {
		if strings.Contains(string(patch), text) {
			return apierrors.NewInvalid(v1alpha1.GroupVersion.WithKind("RemoteWorkflow").GroupKind(), "demo", nil)
		}
		return nil
	}
}

func TestARejectedStatusLeavesItsPhaseAndTimes(t *testing.T) {
	running := map[string]any{
		"phase": "Running", "progress": "1/2", "message": "half", "startedAt": "2030-05-01T11:59:00Z",
		"nodes": map[string]any{"a": map[string]any{"phase": "Running"}},
	}
	e := newEnv(t, newRemote(claimed), newCopy(t, opened, withStatus(running)))
	e.reconcile()
	e.requireReported()
	e.hubFails = invalidWith(`"progress":"`)
	e.change(withStatus(map[string]any{
		"phase": "Succeeded", "progress": "no end of it", "message": "done", "startedAt": "2030-05-01T11:59:00Z", "finishedAt": "2030-05-01T12:00:00Z",
		"nodes": map[string]any{"a": map[string]any{"phase": "Succeeded"}},
	}))
	e.reconcile()
	assert.Len(t, e.hubWrites, 3, "one report, one refused, one without what may be refused")
	rw := e.remote()
	assert.Equal(t, "Succeeded", rw.Status.Phase)
	assert.True(t, testNow.Add(-time.Minute).Equal(rw.Status.StartedAt.Time))
	assert.True(t, testNow.Equal(rw.Status.FinishedAt.Time))
	assert.Empty(t, rw.Status.Progress)
	assert.Empty(t, rw.Status.Message)
	assert.Empty(t, rw.Status.Nodes)
	e.requireReportOfTheRun()
	assert.NotNil(t, rw.Status.Report.Data, "the CRD requires the field")
	assert.Empty(t, rw.Status.Report.Data)
	reported := meta.FindStatusCondition(rw.Status.Conditions, v1alpha1.ConditionReported)
	require.NotNil(t, reported)
	assert.Equal(t, metav1.ConditionFalse, reported.Status)
	assert.Equal(t, v1alpha1.ReasonReportRejected, reported.Reason)
	assert.Contains(t, reported.Message, "the hub rejects the status, only its phase and times are reported: ")
	assert.Contains(t, e.workflow().GetFinalizers(), contract.FinalizerReport, "until the hub is seen to hold it")

	e.reconcile()
	assert.Len(t, e.hubWrites, 3, "it is not tried again and again")
	assert.NotContains(t, e.workflow().GetFinalizers(), contract.FinalizerReport)
	assert.Equal(t, 1, e.count("reports_total", "rejected"))
	assert.Len(t, e.said(), 1)
}

func TestAStatusThatIsTooLargeAndWhoseSummaryIsRejectedLeavesItsPhaseAndTimes(t *testing.T) {
	e := newEnv(t, newRemote(claimed), newCopy(t, opened, withStatus(map[string]any{"phase": "Failed", "message": "long"})))
	e.hubFails = func(patch []byte) error {
		if strings.Contains(string(patch), `"data":"H4sI`) {
			return apierrors.NewRequestEntityTooLargeError("limit")
		}
		return invalidWith(`"message":"long"`)(patch)
	}
	e.reconcile()
	assert.Len(t, e.hubWrites, 3)
	assert.Equal(t, "Failed", e.remote().Status.Phase)
	e.requireReportOfTheRun()
	e.reconcile()
	assert.NotContains(t, e.workflow().GetFinalizers(), contract.FinalizerReport)
	assert.Len(t, e.said(), 2)
}

func TestAStatusThatIsAcceptedAgainIsReportedInFull(t *testing.T) {
	e := newEnv(t, newRemote(claimed), newCopy(t, opened, withStatus(map[string]any{"phase": "Running", "progress": "no end of it"})))
	e.hubFails = invalidWith("no end of it")
	e.reconcile()
	assert.Equal(t, "Running", e.remote().Status.Phase)
	e.change(withStatus(map[string]any{"phase": "Succeeded", "progress": "1/1"}))
	e.reconcile()
	e.requireReported()
	assert.True(t, meta.IsStatusConditionTrue(e.remote().Status.Conditions, v1alpha1.ConditionReported))
}

func TestAStatusWhoseVeryPhaseIsRejectedIsToldAndNotTriedAgain(t *testing.T) {
	e := newEnv(t, newRemote(claimed), newCopy(t, opened, inPhase("Succeeded")))
	e.hubFails = invalidWith(`"phase"`)
	e.reconcile()
	assert.Len(t, e.hubWrites, 3)
	assert.Nil(t, e.remote().Status.Report)
	reported := meta.FindStatusCondition(e.remote().Status.Conditions, v1alpha1.ConditionReported)
	require.NotNil(t, reported)
	assert.Equal(t, v1alpha1.ReasonReportRejected, reported.Reason)
	assert.Contains(t, reported.Message, "the hub rejects the status: ")
	e.reconcile()
	assert.Len(t, e.hubWrites, 3)
	assert.NotContains(t, e.workflow().GetFinalizers(), contract.FinalizerReport)
}

func TestConditionsThatAreRejectedAreAnError(t *testing.T) {
	e := newEnv(t, newRemote(claimed), newCopy(t, opened, inPhase("Succeeded")))
	e.hubFails = invalidWith(`{`)
	_, err := e.tryReconcile()
	require.ErrorContains(t, err, "report")
	assert.Len(t, e.hubWrites, 3)
	assert.Contains(t, e.workflow().GetFinalizers(), contract.FinalizerReport)
}

func TestErrorsOfTheAPIServersAreReturnedWithWhatWasTried(t *testing.T) {
	broken := errors.New("broken")
	always := func([]byte) error { return broken }
	tests := map[string]struct {
		objects func(t *testing.T) []client.Object
		arrange func(*env)
		want    string
	}{
		"reading the RemoteWorkflow": {
			objects: func(*testing.T) []client.Object { return nil },
			arrange: func(e *env) { e.hubFails = always }, want: "get RemoteWorkflow"},
		"reading the cache": {
			objects: func(*testing.T) []client.Object { return []client.Object{newRemote()} },
			arrange: func(e *env) { e.managedFails = always }, want: "get Workflow"},
		"reading from the API server": {
			objects: func(*testing.T) []client.Object { return []client.Object{newRemote()} },
			arrange: func(e *env) { e.liveFails = func() error { return broken } }, want: "get Workflow"},
		"claiming": {
			objects: func(t *testing.T) []client.Object {
				t.Helper()
				return []client.Object{newRemote(), newCopy(t)}
			},
			arrange: func(e *env) { e.hubFails = onPatch(broken) }, want: "record the remote Workflow's UID"},
		"opening the gate": {
			objects: func(t *testing.T) []client.Object {
				t.Helper()
				return []client.Object{newRemote(claimed), newCopy(t)}
			},
			arrange: func(e *env) { e.managedFails = onPatch(broken) }, want: "open the gate"},
		"reporting": {
			objects: func(t *testing.T) []client.Object {
				t.Helper()
				return []client.Object{newRemote(claimed), newCopy(t, opened, inPhase("Running"))}
			},
			arrange: func(e *env) { e.hubFails = onPatch(broken) }, want: "report"},
		"telling": {
			objects: func(*testing.T) []client.Object { return []client.Object{newRemote(claimed)} },
			arrange: func(e *env) { e.hubFails = onPatch(broken) }, want: "write conditions"},
		"terminating": {
			objects: func(t *testing.T) []client.Object {
				t.Helper()
				return []client.Object{newRemote(claimed), newCopy(t, opened, deletedAt(testNow))}
			},
			arrange: func(e *env) { e.managedFails = onPatch(broken) }, want: "terminate"},
		"removing the finalizer": {
			objects: func(t *testing.T) []client.Object {
				t.Helper()
				return []client.Object{newRemote(claimed, toLeave), newCopy(t, opened)}
			},
			arrange: func(e *env) { e.managedFails = onPatch(broken) }, want: "remove the finalizer"},
		"deleting": {
			objects: func(t *testing.T) []client.Object {
				t.Helper()
				return []client.Object{newRemote(claimed, toTerminate), newCopy(t, opened, inPhase("Failed"))}
			},
			arrange: func(e *env) { e.deleteFails = broken }, want: "delete the remote Workflow"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, test.objects(t)...)
			test.arrange(e)
			_, err := e.tryReconcile()
			require.ErrorIs(t, err, broken)
			assert.ErrorContains(t, err, test.want)
		})
	}
}

func TestHintsGoWithTheRemoteWorkflow(t *testing.T) {
	e := newEnv(t, newRemote(), newCopy(t))
	e.reconcile()
	assert.Len(t, e.hints.byName, 1)
	require.NoError(t, e.hub.Delete(t.Context(), e.remote()))
	e.change(func(wf *unstructured.Unstructured) { wf.SetFinalizers(nil) })
	e.reconcile()
	assert.Empty(t, e.hints.byName)
}

func TestMetricsCountOnWhenTheAgentStartsAgain(t *testing.T) {
	e := newEnv(t)
	e.Metrics.gates.Inc()
	again, err := NewMetrics(e.registry)
	require.NoError(t, err)
	again.gates.Inc()
	assert.Equal(t, 2, e.count("gates_opened_total"))
}

// onPatch answers patches, and not reads, with the error.
func onPatch(err error) func([]byte) error {
	return func(patch []byte) error {
		if patch == nil {
			return nil
		}
		return err
	}
}
