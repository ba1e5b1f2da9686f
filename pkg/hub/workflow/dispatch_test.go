package workflow

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestTheRemoteWorkflowSaysWhatRunsWhere(t *testing.T) {
	open := gen.WithLabels(map[string]string{contract.LabelWithoutAgent: "true"})
	for name, test := range map[string]struct {
		around []client.Object
		want   v1alpha1.Reporting
	}{
		"on a cluster with the agent": {surroundings(), v1alpha1.ReportingAgent},
		"on a cluster that is used without one": {
			append(binding(), gen.ManagedCluster(cluster1, open)), v1alpha1.ReportingFeedback,
		},
		"on a cluster that is used without one, and has one": {
			append(binding(), gen.ManagedCluster(cluster1, open), gen.ManagedClusterAddOn(cluster1)), v1alpha1.ReportingAgent,
		},
	} {
		t.Run(name, func(t *testing.T) {
			wf := assigned()
			r, hub, _ := newReconciler(t, append(test.around, wf)...)
			run(t, r)
			require.Equal(t, []string{"create RemoteWorkflow cluster1/" + nameOf(wf)}, hub.Writes())
			rw := attemptOf(wf)
			require.True(t, hub.Show(rw))
			assert.Equal(t, map[string]string{contract.LabelWorkflowUID: string(wf.GetUID())}, rw.Labels)
			assert.Equal(t, []string{contract.FinalizerDispatch}, rw.Finalizers)
			digest := ""
			if test.want == v1alpha1.ReportingAgent { // without an agent nobody could say what was sent
				digest = hubworkflow.Of(wf).SpecDigest
				require.NotEmpty(t, digest)
			}
			assert.Equal(t, v1alpha1.RemoteWorkflowSpec{
				HubID:       gen.HubID,
				WorkflowRef: v1alpha1.WorkflowReference{Namespace: gen.Namespace, Name: "hello", UID: wf.GetUID()},
				Remote:      v1alpha1.RemoteReference{Namespace: gen.Namespace, Name: "hello"},
				Attempt:     1,
				Reporting:   test.want, ArgumentsDigest: contract.ArgumentsDigest(nil), SpecDigest: digest,
			}, rw.Spec)
			assert.Empty(t, hub.Events())
			run(t, r)
			assert.Len(t, hub.Writes(), 1, "it is created once")
		})
	}
}

func TestWhatTheUserWantsOfTheRunIsOneWrite(t *testing.T) {
	wf := assigned(gen.WithHubStatus("Running"))
	rw := attemptOf(wf, claimed())
	gen.WithSpecField("Terminate", "shutdown")(wf)
	r, hub, _ := newReconciler(t, append(surroundings(), wf, rw)...)
	run(t, r)
	require.Equal(t, []string{"patch RemoteWorkflow cluster1/" + rw.Name}, hub.Writes())
	require.True(t, hub.Show(rw))
	assert.Equal(t, v1alpha1.ShutdownTerminate, rw.Spec.Shutdown)
	run(t, r)
	assert.Len(t, hub.Writes(), 1, "it is carried once")
}

func TestADispatchedWorkflowIsLeftAlone(t *testing.T) {
	for name, test := range map[string]struct {
		wf, rw []gen.Mod
		within time.Duration
	}{
		"it waits for its delivery": {within: answersWithin},
		"it waits and has said so":  {wf: []gen.Mod{gen.WithHubStatus("Pending")}, within: answersWithin},
		"it was claimed":            {rw: []gen.Mod{claimed()}},
	} {
		t.Run(name, func(t *testing.T) {
			wf := assigned(test.wf...)
			rw := attemptOf(wf, test.rw...)
			r, hub, _ := newReconciler(t, append(surroundings(), wf, rw, gen.ManifestWork(rw))...)
			assert.Equal(t, test.within, run(t, r), "nothing is polled")
			assert.Empty(t, hub.Writes())
			assert.Empty(t, hub.Events())
			assert.Zero(t, hub.Calls("live get Workflow")+hub.Calls("live get RemoteWorkflow")+hub.Calls("live get ManifestWork"),
				"in the ordinary case the API server is not asked")
		})
	}
}

func TestACacheThatLagsCreatesNothingTwice(t *testing.T) {
	wf := assigned()
	r, hub, _ := newReconciler(t, append(surroundings(), wf)...)
	run(t, r)
	rw := attemptOf(wf)
	require.True(t, hub.Show(rw))
	hub.Lag("list RemoteWorkflow")
	run(t, r)
	again := attemptOf(wf)
	require.True(t, hub.Show(again))
	assert.Equal(t, rw, again)
	assert.Empty(t, hub.Events())
}

func TestAClusterWithoutItsNamespaceIsTriedAgain(t *testing.T) {
	r, hub, _ := newReconciler(t, append(surroundings(), assigned())...)
	hub.Fail("create RemoteWorkflow", apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, cluster1))
	_, err := try(t, r)
	assert.True(t, apierrors.IsNotFound(err), "no watch would bring the next try")
}

func TestWhatTheHubRefusesOfAnAttemptIsSaidOnTheWorkflow(t *testing.T) {
	resource := schema.GroupResource{Resource: "anything"}
	for name, refusal := range map[string]error{
		"forbidden": apierrors.NewForbidden(resource, "hello", errors.New("by a policy")),
		"invalid":   apierrors.NewInvalid(schema.GroupKind{Kind: "Anything"}, "hello", nil),
		"too large": apierrors.NewRequestEntityTooLargeError("no"),
	} {
		t.Run(name, func(t *testing.T) {
			r, hub, _ := newReconciler(t, append(surroundings(), assigned())...)
			hub.Fail("create RemoteWorkflow", refusal)
			_, err := try(t, r)
			require.ErrorIs(t, err, refusal, "it is tried again")
			wf := shows(t, hub)
			assert.Equal(t, "Pending", contract.Phase(wf))
			assert.Contains(t, contract.Status(wf)["message"], "not dispatched: the hub refuses it: create RemoteWorkflow")
			assert.Len(t, hub.Events(), 1)
			_, err = try(t, r)
			require.ErrorIs(t, err, refusal)
			assert.Empty(t, hub.Events(), "it is said once")

			hub.Fail("create RemoteWorkflow", nil)
			run(t, r)
			assert.True(t, hub.Show(attemptOf(wf)))
		})
	}
}

func TestAWorkflowFromBeforeTheHubWasRestoredIsHeldUnlessItHasARemoteWorkflow(t *testing.T) {
	wf := assigned(gen.WithHubStatus("Pending"))
	wf.SetCreationTimestamp(metav1.NewTime(gen.Time.Add(-1)))
	t.Run("it has none", func(t *testing.T) {
		r, hub, _ := newReconciler(t, append(surroundings(), wf)...)
		r.RestoredAt = gen.Time.Time
		run(t, r)
		assert.Equal(t, []string{"patch Workflow default/hello"}, hub.Writes())
		events := hub.Events()
		require.Len(t, events, 1)
		assert.Contains(t, events[0], "Warning RestoredHub not dispatched")
		run(t, r)
		assert.Len(t, hub.Writes(), 1)
	})
	t.Run("only the cache shows none", func(t *testing.T) {
		r, hub, _ := newReconciler(t, append(surroundings(), wf, attemptOf(wf))...)
		r.RestoredAt = gen.Time.Time
		hub.Lag("list RemoteWorkflow")
		run(t, r)
		assert.Empty(t, hub.Writes())
	})
}

func TestAHoldThatCannotBeWritten(t *testing.T) {
	for name, test := range map[string]struct{ answer, want error }{
		"the Workflow has changed": {fakehub.Conflict(), nil},
		"the hub is down":          {errors.New("down"), errors.New("down")},
	} {
		t.Run(name, func(t *testing.T) {
			r, hub, _ := newReconciler(t, append(surroundings(), assigned(label("1")))...)
			hub.Fail("patch Workflow", test.answer)
			_, err := try(t, r)
			if test.want == nil {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.want.Error())
			}
			assert.Empty(t, hub.Events())
		})
	}
}

func TestAWorkflowIsGivenBackOnlyAfterTheAPIServerHasNoRemoteWorkflow(t *testing.T) {
	direct, placed := assigned(), assigned(gen.WithPlacement("anywhere"))
	for name, wf := range map[string]*unstructured.Unstructured{"its user chose the cluster": direct, "a Placement chose the cluster": placed} {
		t.Run(name, func(t *testing.T) {
			r, hub, _ := newReconciler(t, append(binding(), wf)...) // the cluster is gone
			run(t, r)
			assert.Equal(t, map[string]any{"metadata": map[string]any{
				"finalizers": []any{}, "resourceVersion": hub.PatchOf("Workflow").(map[string]any)["metadata"].(map[string]any)["resourceVersion"],
			}}, hub.PatchOf("Workflow"), "first what lets it be delivered")
			assert.Equal(t, 1, hub.Calls("live get RemoteWorkflow"))
			assert.Equal(t, cluster1, contract.AssignedCluster(shows(t, hub)))
			assert.Empty(t, hub.Events())

			run(t, r)
			assert.Equal(t, 2, hub.Calls("live get RemoteWorkflow"), "once more, now that nobody can make one unseen")
			got := shows(t, hub)
			assert.Empty(t, contract.AssignedCluster(got))
			assert.Equal(t, map[bool]string{true: cluster1}[name == "its user chose the cluster"], contract.ChosenCluster(got))
			events := hub.Events()
			require.Len(t, events, 1)
			assert.Contains(t, events[0], `Warning ClusterTakenBack nothing has started on managed cluster "cluster1": waiting for managed cluster "cluster1"`)

			run(t, r)
			assert.Len(t, hub.Writes(), 2, "it is the scheduler's")
		})
	}
}

func TestAWorkflowWhoseRemoteWorkflowSomebodyCreatesMeanwhileIsNotGivenBack(t *testing.T) {
	wf := assigned(withoutFinalizers())
	rw := attemptOf(wf, claimed())
	r, hub, _ := newReconciler(t, append(binding(), wf, rw)...)
	hub.Lag("list RemoteWorkflow") // a manager that was paused has made it, and the agent has claimed it
	run(t, r)
	assert.Equal(t, []string{"patch Workflow default/hello"}, hub.Writes())
	assert.Equal(t, []string{contract.FinalizerDispatch}, shows(t, hub).GetFinalizers(), "it keeps it again")
	assert.Equal(t, cluster1, contract.AssignedCluster(shows(t, hub)))
}

func TestTheFinalizerDoesNotGoWithTheLabelWhileTheCacheDoesNotShowTheRemoteWorkflow(t *testing.T) {
	for name, mod := range map[string]gen.Mod{"it says no": label("false"), "it is gone": withoutLabels()} {
		t.Run(name, func(t *testing.T) {
			wf := assigned(mod)
			r, hub, _ := newReconciler(t, append(surroundings(), wf, attemptOf(wf))...)
			hub.Lag("list RemoteWorkflow")
			run(t, r)
			got := shows(t, hub)
			assert.Contains(t, got.GetFinalizers(), contract.FinalizerDispatch)
			assert.True(t, contract.IsOurs(got))
			assert.Len(t, hub.Events(), 1)
		})
	}
}

func TestAWorkflowThatIsWithdrawnBeforeItWasSentIsLetGo(t *testing.T) {
	r, hub, _ := newReconciler(t, append(surroundings(), assigned(withoutLabels()))...)
	hub.Lag("get Workflow")
	run(t, r)
	assert.Empty(t, shows(t, hub).GetFinalizers(), "nothing would see its deletion, and it could never go")
	run(t, r)
	assert.Empty(t, contract.AssignedCluster(shows(t, hub)))
	run(t, r)
	assert.Len(t, hub.Writes(), 2)
}

func TestWhatHasNotStartedIsTakenBackFromAClusterThatLosesAgentBindingOrAcceptance(t *testing.T) {
	refusing := gen.ManagedCluster(cluster1)
	refusing.Spec.HubAcceptsClient = false
	addon := gen.ManagedClusterAddOn(cluster1)
	for name, around := range map[string][]client.Object{
		"the addon is disabled":       append(binding(), gen.ManagedCluster(cluster1)),
		"the addon is being disabled": append(binding(), gen.ManagedCluster(cluster1), gen.ManagedClusterAddOn(cluster1, gen.WithFinalizers("x"), gen.Deleting())),
		"the agent is away":           append(binding(), gen.ManagedCluster(cluster1), gen.ManagedClusterAddOn(cluster1, agentAvailable(metav1.ConditionUnknown))),
		"it is not bound any more":    {gen.ManagedCluster(cluster1), addon},
		"it is not accepted any more": append(binding(), refusing, addon),
		"it is detached":              append(binding(), addon),
	} {
		t.Run(name, func(t *testing.T) {
			wf := assigned(gen.WithPlacement("anywhere"), gen.WithHubStatus("Pending"))
			rw := attemptOf(wf)
			r, hub, _ := newReconciler(t, append(around, wf, rw)...)
			for range 4 {
				run(t, r)
			}
			assert.Equal(t, []string{
				"delete RemoteWorkflow cluster1/" + rw.Name, "patch RemoteWorkflow cluster1/" + rw.Name,
				"patch Workflow default/hello", "patch Workflow default/hello",
			}, hub.Writes())
			assert.NotEmpty(t, hub.Last("delete RemoteWorkflow").ResourceVersion)
			assert.False(t, hub.Show(rw))
			assert.Empty(t, contract.AssignedCluster(shows(t, hub)), "another can be chosen")

			claimedRW := attemptOf(wf, claimed())
			r, hub, _ = newReconciler(t, append(around, wf, claimedRW)...)
			run(t, r)
			require.True(t, hub.Show(claimedRW), "what was claimed stays")
			assert.Nil(t, claimedRW.DeletionTimestamp)
		})
	}
}

func TestARemoteWorkflowThatSomebodyDeletedBeforeTheStartIsMadeAgain(t *testing.T) {
	wf := assigned()
	rw := attemptOf(wf, gen.Deleting())
	r, hub, _ := newReconciler(t, append(surroundings(), wf, rw)...)
	run(t, r)
	require.False(t, hub.Show(rw))
	run(t, r)
	assert.Equal(t, []string{"patch RemoteWorkflow cluster1/" + rw.Name, "create RemoteWorkflow cluster1/" + rw.Name}, hub.Writes())
	require.True(t, hub.Show(rw))
	assert.Nil(t, rw.DeletionTimestamp)
}

func TestWhatWasEditedIsRestoredInOnePatchOfTheVersionThatWasRead(t *testing.T) {
	wf := assigned(gen.WithCluster("cluster2"), gen.WithAnnotations(map[string]string{"mine": "kept"}))
	rw := attemptOf(wf, claimed())
	r, hub, _ := newReconciler(t, append(surroundings(), wf, rw)...)
	version := shows(t, hub).GetResourceVersion()
	run(t, r)
	assert.Equal(t, types.MergePatchType, hub.Last("patch Workflow").PatchType)
	assert.Equal(t, map[string]any{"metadata": map[string]any{
		"annotations": map[string]any{
			contract.AnnotationCluster: cluster1, contract.AnnotationAssigned: contract.Assignment(wf, 1, cluster1),
		},
		"resourceVersion": version,
	}}, hub.PatchOf("Workflow"))
	events := hub.Events()
	require.Len(t, events, 1)
	assert.Contains(t, events[0], "Warning ClusterRestored")
	assert.Contains(t, events[0], "cannot move")
	assert.Equal(t, "kept", shows(t, hub).GetAnnotations()["mine"])
	run(t, r)
	assert.Len(t, hub.Writes(), 1)
}

func TestAConflictIsLeftToTheWatchUnlessTheWorkflowIsNotWatched(t *testing.T) {
	for name, test := range map[string]struct {
		labels  map[string]string
		watched bool
	}{
		"with the label, changed":   {map[string]string{contract.LabelEnable: "false"}, true},
		"with the label removed":    {nil, false},
		"with other labels instead": {map[string]string{"team": "a"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			wf := assigned()
			wf.SetLabels(test.labels)
			r, hub, _ := newReconciler(t, append(surroundings(), wf, attemptOf(wf, claimed()))...)
			hub.Fail("patch Workflow", fakehub.Conflict())
			if !test.watched {
				hub.Lag("get Workflow") // the cache has only those with the label
			}
			_, err := try(t, r)
			assert.Equal(t, []string{"patch Workflow default/hello"}, hub.Writes())
			assert.Equal(t, !test.watched, apierrors.IsConflict(err), "nothing else brings the next try: %v", err)
			assert.Empty(t, hub.Events(), "what could not be written is not said")
		})
	}
}

func TestAnErrorOfTheAPIBeforeTheStartIsReturnedAndNothingIsWritten(t *testing.T) {
	for _, call := range []string{
		"get Workflow", "list RemoteWorkflow", "get ManagedCluster", "list ManagedClusterSetBinding", "get ManagedClusterSet", "get ManagedClusterAddOn",
	} {
		t.Run(call, func(t *testing.T) {
			r, hub, _ := newReconciler(t, append(surroundings(), assigned())...)
			hub.Fail(call, apierrors.NewInternalError(errors.New("down")))
			_, err := try(t, r)
			assert.True(t, apierrors.IsInternalError(err), "the cause must be kept: %v", err)
			assert.Empty(t, hub.Writes())
		})
	}
}

func TestOnceItHasStartedNobodyAsksWhetherItMay(t *testing.T) {
	wf := assigned(gen.WithHubStatus("Running"))
	r, hub, _ := newReconciler(t, append(surroundings(), wf, attemptOf(wf, claimed()))...)
	run(t, r)
	assert.Zero(t, hub.Calls("list ManagedClusterSetBinding"))
}
