package status

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/report"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func newReconciler(t *testing.T, objects ...client.Object) (*Reconciler, *fakehub.Hub) {
	t.Helper()
	hub := fakehub.New(t, nil, objects...)
	return &Reconciler{Client: hub, Live: hub.Live, Recorder: hub.Recorder}, hub
}

func run(t *testing.T, r *Reconciler, wf *unstructured.Unstructured) (ctrl.Result, error) {
	t.Helper()
	return r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(wf)})
}

func mustRun(t *testing.T, r *Reconciler, wf *unstructured.Unstructured) {
	t.Helper()
	result, err := run(t, r, wf)
	require.NoError(t, err)
	require.Zero(t, result)
}

func TestAStatusThatAUserErasedIsMendedWhateverTheLabelsSay(t *testing.T) {
	wf := assigned(gen.WithHubStatus("Running"))
	labels := wf.GetLabels()
	wf.Object["status"] = nil
	rw := gen.RemoteWorkflow(wf, cluster, gen.WithReport(running()))
	r, hub := newReconciler(t, wf, rw, gen.ManifestWork(rw), gen.ManagedClusterAddOn(cluster))
	mustRun(t, r, wf)
	require.True(t, hub.Show(wf))
	assert.Equal(t, running(), contract.Status(wf))
	assert.Equal(t, labels, wf.GetLabels())
}

func TestAReportIsWrittenOnceInOneWrite(t *testing.T) {
	wf := assigned(gen.WithHubStatus("Pending", map[string]any{"message": "sent to cluster cluster1"}))
	rw := gen.RemoteWorkflow(wf, cluster, gen.WithReport(running()))
	r, hub := newReconciler(t, wf, rw, gen.ManifestWork(rw), gen.ManagedClusterAddOn(cluster))
	before := fakehub.Counted(t, "argo_multicluster_hub_status_writes_total", "")
	mustRun(t, r, wf)

	assert.Equal(t, []string{"patch Workflow default/hello"}, hub.Writes())
	require.True(t, hub.Show(wf))
	assert.Equal(t, running(), contract.Status(wf))
	assert.Equal(t, "Running", wf.GetLabels()[contract.LabelPhase])
	assert.Equal(t, "false", wf.GetLabels()[contract.LabelCompleted])
	assert.Empty(t, hub.Events())
	assert.InDelta(t, before+1, fakehub.Counted(t, "argo_multicluster_hub_status_writes_total", ""), 0)

	mustRun(t, r, wf)
	assert.Len(t, hub.Writes(), 1, "an equal status is not written again")
	assert.InDelta(t, before+1, fakehub.Counted(t, "argo_multicluster_hub_status_writes_total", ""), 0)
}

func TestTheEndIsMarkedForArgosClients(t *testing.T) {
	wf := assigned(gen.WithHubStatus("Running"))
	r, hub := newReconciler(t, wf, gen.RemoteWorkflow(wf, cluster, gen.WithReport(map[string]any{"phase": "Succeeded"})))
	mustRun(t, r, wf)
	require.True(t, hub.Show(wf))
	assert.Equal(t, "Succeeded", wf.GetLabels()[contract.LabelPhase])
	assert.Equal(t, "true", wf.GetLabels()[contract.LabelCompleted])
}

func TestNothingIsWrittenForAWorkflowWithoutARun(t *testing.T) {
	unassigned := gen.Workflow("hello", gen.WithCluster(cluster))
	copied := gen.Workflow("hello", gen.WithAnnotations(gen.Workflow("other", gen.WithAssignment(cluster)).GetAnnotations()))
	for name, objects := range map[string][]client.Object{
		"it is gone":                  {gen.RemoteWorkflow(assigned(), cluster, gen.WithReport(running()))},
		"it has no cluster":           {unassigned, gen.RemoteWorkflow(unassigned, cluster, gen.WithReport(running()))},
		"its assignment is another's": {copied, gen.RemoteWorkflow(copied, cluster, gen.WithReport(running()))},
		"it has not been sent":        {assigned()},
		"another cluster has it":      {assigned(), gen.RemoteWorkflow(assigned(), "cluster2", gen.WithReport(running()))},
		"an earlier one had it":       {assigned(), gen.RemoteWorkflow(assigned(gen.WithUID("earlier")), cluster, gen.WithReport(running()))},
		"another attempt is it":       {assigned(), gen.RemoteWorkflow(assigned(), cluster, gen.WithAttempt(2), gen.WithReport(running()))},
	} {
		t.Run(name, func(t *testing.T) {
			r, hub := newReconciler(t, objects...)
			mustRun(t, r, gen.Workflow("hello"))
			assert.Empty(t, hub.Writes())
		})
	}
}

func TestARefusalIsWrittenToldAndCountedOnce(t *testing.T) {
	wf := assigned(gen.WithHubStatus("Running"))
	rw := gen.RemoteWorkflow(wf, cluster, gen.WithReport(running()))
	rw.Status.Report.WorkflowUID = "another"
	r, hub := newReconciler(t, wf, rw)
	const refusals = "argo_multicluster_hub_reports_refused_total"
	before := fakehub.Counted(t, refusals, report.RefusedWrongWorkflow)
	mustRun(t, r, wf)
	mustRun(t, r, wf)
	assert.Len(t, hub.Writes(), 1)
	events := hub.Events()
	require.Len(t, events, 1)
	assert.Contains(t, events[0], "Warning WrongWorkflow refused a report from cluster cluster1")
	assert.InDelta(t, before+1, fakehub.Counted(t, refusals, report.RefusedWrongWorkflow), 0)
	require.True(t, hub.Show(wf))
	assert.Equal(t, "Running", contract.Phase(wf))
}

func TestAConflictIsTriedAgainSoon(t *testing.T) {
	wf := assigned()
	r, hub := newReconciler(t, wf, gen.RemoteWorkflow(wf, cluster, gen.WithReport(running())))
	hub.Fail("patch Workflow", fakehub.Conflict())
	result, err := run(t, r, wf)
	require.NoError(t, err)
	assert.Positive(t, result.RequeueAfter, "the watch does not bring the echo of our own writes")
	assert.Empty(t, hub.Events())
}

func TestAStatusThatTheAPIServerWillNeverTakeBecomesItsSummary(t *testing.T) {
	workflow := contract.WorkflowGVK.GroupKind()
	for name, answer := range map[string]error{
		"invalid": apierrors.NewInvalid(workflow, "hello", nil),
		"bad":     apierrors.NewBadRequest("nested too deeply"),
	} {
		t.Run(name, func(t *testing.T) {
			wf := assigned(gen.WithHubStatus("Running"))
			r, hub := newReconciler(t, wf, gen.RemoteWorkflow(wf, cluster, gen.WithReport(map[string]any{
				"phase": "Succeeded", "message": "done", "nodes": map[string]any{"poison": map[string]any{}},
			})))
			hub.On("patch Workflow", func() error {
				if strings.Contains(string(hub.Last("patch Workflow").Body), "poison") {
					return answer
				}
				return nil
			})
			mustRun(t, r, wf)
			require.True(t, hub.Show(wf))
			assert.Equal(t, "Succeeded", contract.Phase(wf), "a run always ends on the hub")
			assert.Equal(t, "done", contract.StatusString(contract.Status(wf), "message"))
			conditions, _, _ := unstructured.NestedSlice(wf.Object, "status", "conditions")
			require.Len(t, conditions, 1)
			assert.Equal(t, report.ConditionIncomplete, conditions[0].(map[string]any)["type"])
			events := hub.Events()
			require.Len(t, events, 1)
			assert.Contains(t, events[0], "Warning StatusIncomplete")

			mustRun(t, r, wf)
			assert.Empty(t, hub.Events(), "told once")
		})
	}
}

func TestARefusalThatTheAPIServerRefusesTooIsAnError(t *testing.T) {
	wf := assigned(gen.WithHubStatus("Running"))
	r, hub := newReconciler(t, wf, gen.RemoteWorkflow(wf, cluster, gen.WithReport(map[string]any{"phase": "Succeeded"})))
	hub.Fail("patch Workflow", apierrors.NewBadRequest("no"))
	_, err := run(t, r, wf)
	assert.True(t, apierrors.IsBadRequest(err), "got %v", err)
	assert.Len(t, hub.Writes(), 2)
	assert.Empty(t, hub.Events())
}

func TestAStatusIsMadeSmallerUntilTheAPIServerTakesIt(t *testing.T) {
	status := map[string]any{
		"phase": "Running", "nodes": map[string]any{"a": map[string]any{"phase": "Running"}}, "storedTemplates": map[string]any{"t": map[string]any{}},
	}
	tooLarge := map[string]error{
		"the API server":  apierrors.NewRequestEntityTooLargeError("limit is 3145728"),
		"etcd":            apierrors.NewInternalError(errors.New("etcdserver: request is too large")),
		"the way to etcd": apierrors.NewInternalError(errors.New("trying to send message larger than max (2097265 vs. 2097152)")),
		"a proxy": apierrors.NewGenericServerResponse(
			http.StatusRequestEntityTooLarge,
			"PATCH",
			contract.WorkflowGVR.GroupResource(),
			"hello",
			"",
			0,
			true,
		),
	}
	for name, answer := range tooLarge {
		t.Run(name, func(t *testing.T) {
			wf := assigned(gen.WithHubStatus("Pending"))
			r, hub := newReconciler(t, wf, gen.RemoteWorkflow(wf, cluster, gen.WithReport(status)))
			hub.On("patch Workflow", func() error {
				if strings.Contains(string(hub.Last("patch Workflow").Body), "storedTemplates") {
					return answer
				}
				return nil
			})
			mustRun(t, r, wf)
			require.Len(t, hub.Writes(), 3, "as it is, packed, without templates")
			require.True(t, hub.Show(wf))
			assert.Equal(t, "Running", contract.Phase(wf))
			assert.NotContains(t, contract.Status(wf), "nodes")
			assert.NotContains(t, contract.Status(wf), "storedTemplates")
			assert.Contains(t, contract.Status(wf), "compressedNodes")
		})
	}
}

func TestAnErrorOfTheAPIIsReturned(t *testing.T) {
	for _, call := range []string{"get Workflow", "get RemoteWorkflow", "get ManifestWork", "patch Workflow"} {
		t.Run(call, func(t *testing.T) {
			wf := assigned()
			r, hub := newReconciler(t, wf, gen.RemoteWorkflow(wf, cluster, gen.WithReport(running())))
			hub.Fail(call, apierrors.NewInternalError(errors.New("down")))
			_, err := run(t, r, wf)
			assert.True(t, apierrors.IsInternalError(err), "the cause must be kept: %v", err)
			assert.Empty(t, hub.Events())
		})
	}
}

func TestAWorkflowThatGoesWhileItIsWrittenIsNoError(t *testing.T) {
	wf := assigned()
	r, hub := newReconciler(t, wf, gen.RemoteWorkflow(wf, cluster, gen.WithReport(running())))
	hub.Fail("patch Workflow", apierrors.NewNotFound(contract.WorkflowGVR.GroupResource(), "hello"))
	mustRun(t, r, wf)
}

func TestARunWhoseRemoteWorkflowWasRemovedByForceEnds(t *testing.T) {
	running := assigned(gen.WithHubStatus("Running", map[string]any{"progress": "1/2"}))
	t.Run("it ran", func(t *testing.T) {
		wf := running.DeepCopy()
		r, hub := newReconciler(t, wf)
		mustRun(t, r, wf)
		require.True(t, hub.Show(wf))
		assert.Equal(t, "Error", contract.Phase(wf))
		assert.Equal(t, "1/2", contract.Status(wf)["progress"])
		assert.Contains(t, contract.Status(wf)["message"], "cluster cluster1: RemoteWorkflow "+hubcopy.RunKey(wf).Name+" is gone from the hub")
		assert.NotEmpty(t, contract.Status(wf)["finishedAt"])
		assert.Len(t, hub.Events(), 1)
	})
	rw := gen.RemoteWorkflow(running, cluster)
	for name, test := range map[string]struct {
		wf   *unstructured.Unstructured
		prep func(*fakehub.Hub)
	}{
		"only the cache does not show it": {running, func(hub *fakehub.Hub) { hub.Lag("get RemoteWorkflow") }},
		"it has not been seen to run":     {assigned(gen.WithHubStatus("Pending")), nil},
		"it has finished":                 {assigned(gen.WithHubStatus("Failed")), nil},
		"it is being deleted":             {assigned(gen.WithHubStatus("Running"), gen.Deleting()), nil},
		"somebody else wrote its status":  {assigned(gen.WithStatus("Running")), nil},
		"it was never given to a cluster": {gen.Workflow("hello", gen.WithHubStatus("Running")), nil},
	} {
		t.Run(name, func(t *testing.T) {
			objects := []client.Object{test.wf}
			if test.prep != nil {
				objects = append(objects, rw)
			}
			r, hub := newReconciler(t, objects...)
			if test.prep != nil {
				test.prep(hub)
			}
			mustRun(t, r, test.wf)
			assert.Empty(t, hub.Writes())
		})
	}
}

func TestAWorkflowWaitsForTheAgentThatStartsIt(t *testing.T) {
	for name, test := range map[string]struct {
		addon []client.Object
		want  string
	}{
		"it is not enabled any more": {nil, "the addon argo-workflow-multicluster is not enabled there"},
		"it has never been there": {[]client.Object{gen.ManagedClusterAddOn(cluster, func(obj client.Object) {
			obj.(*addonv1beta1.ManagedClusterAddOn).Status.Conditions = nil
		})}, "the addon argo-workflow-multicluster has not been available yet"},
		"it is not available": {[]client.Object{gen.ManagedClusterAddOn(cluster,
			gen.WithCondition(addonv1beta1.ManagedClusterAddOnConditionAvailable, metav1.ConditionFalse, "Lost", "no lease"))},
			"the addon argo-workflow-multicluster is not available: no lease"},
		"it is there": {[]client.Object{gen.ManagedClusterAddOn(cluster)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			wf := assigned()
			rw := gen.RemoteWorkflow(wf, cluster)
			r, hub := newReconciler(t, append(test.addon, wf, rw, gen.ManifestWork(rw))...)
			mustRun(t, r, wf)
			require.True(t, hub.Show(wf))
			if test.want == "" {
				assert.Empty(t, hub.Writes())
				return
			}
			message := "cluster cluster1: waiting for the agent that starts the Workflow: " + test.want
			assert.Equal(t, map[string]any{"phase": "Pending", "message": message}, contract.Status(wf))
			assert.Equal(t, []string{"Warning AgentUnavailable " + message}, hub.Events())

		})
	}
}

func TestARunWhoseAgentIsDisabledSaysSoUntilTheAgentIsBack(t *testing.T) {
	enabled := gen.ManagedClusterAddOn(cluster)
	leaving := gen.ManagedClusterAddOn(cluster, gen.WithFinalizers("pre-delete hook"), gen.Deleting())
	lost := gen.ManagedClusterAddOn(cluster,
		gen.WithCondition(addonv1beta1.ManagedClusterAddOnConditionAvailable, metav1.ConditionUnknown, "Lost", "no lease"))
	const notEnabled = "the addon argo-workflow-multicluster is not enabled there"
	for name, test := range map[string]struct {
		addon *addonv1beta1.ManagedClusterAddOn
		rw    gen.Mod
		want  map[string]any
		event string
	}{
		"it runs, and the agent is disabled": {nil, gen.WithReport(running()), with(running(),
			"cluster cluster1: not reported any more: "+notEnabled+"; the run default/hello is not ended by that"), "AgentUnavailable"},
		"it runs, and the agent is being disabled": {leaving, gen.WithReport(running()), with(running(),
			"cluster cluster1: not reported any more: the addon argo-workflow-multicluster is being disabled; the run default/hello is not ended by that"),
			"AgentUnavailable"},
		"it may have started, and the agent is disabled": {nil, gen.WithRemoteUID("remote"), map[string]any{"phase": "Pending",
			"message": "cluster cluster1: waiting for the agent that reports whether the Workflow has started: " + notEnabled}, "AgentUnavailable"},
		"it runs, and the agent is out of reach": {lost, gen.WithReport(running()), running(), ""},
		"it has finished":                        {nil, gen.WithReport(map[string]any{"phase": "Failed"}), map[string]any{"phase": "Failed"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			wf := assigned()
			rw := gen.RemoteWorkflow(wf, cluster, test.rw)
			objects := []client.Object{wf, rw, gen.ManifestWork(rw)}
			if test.addon != nil {
				objects = append(objects, test.addon)
			}
			r, hub := newReconciler(t, objects...)
			mustRun(t, r, wf)
			require.True(t, hub.Show(wf))
			assert.Equal(t, test.want, contract.Status(wf))
			assert.Contains(t, strings.Join(hub.Events(), ""), test.event)
			mustRun(t, r, wf)
			assert.Len(t, hub.Writes(), 1, "it is said once")

			if test.addon == nil && rw.Status.Report != nil {
				require.NoError(t, hub.Create(t.Context(), enabled.DeepCopy()))
				mustRun(t, r, wf)
				require.True(t, hub.Show(wf))
				assert.Equal(t, rw.Status.Phase, contract.Phase(wf))
				assert.Nil(t, contract.Status(wf)["message"], "the status is the run's own again")
			}
		})
	}
}

// with returns the status with this message.
func with(status map[string]any, message string) map[string]any {
	status["message"] = message
	return status
}

func TestARunThatIsWithdrawnWithItsClusterSaysSo(t *testing.T) {
	leaving := gen.ManagedCluster(cluster, gen.WithFinalizers("OCM's"), gen.Deleting())
	for name, test := range map[string]struct {
		clusters []client.Object
		want     string
	}{
		"the cluster is gone":           {nil, "cluster cluster1: the cluster was detached from the hub, and OCM has removed the ManifestWork of the run"},
		"the cluster is being detached": {[]client.Object{leaving}, "cluster cluster1: the cluster was detached from the hub, and OCM has removed the ManifestWork of the run"},
		"the cluster is there": {[]client.Object{gen.ManagedCluster(cluster)},
			"cluster cluster1: RemoteWorkflow " + hubcopy.RunKey(assigned()).Name + " was deleted on the hub, and the run with it"},
	} {
		t.Run(name, func(t *testing.T) {
			wf := assigned(gen.WithHubStatus("Running"))
			rw := gen.RemoteWorkflow(wf, cluster, gen.WithReport(running()), gen.WithFinalizers(contract.FinalizerDispatch), gen.Deleting())
			r, hub := newReconciler(t, append(test.clusters, wf, rw)...)
			mustRun(t, r, wf)
			require.True(t, hub.Show(wf))
			assert.Equal(t, "Error", contract.Phase(wf))
			assert.Equal(t, test.want, contract.Status(wf)["message"])

			hub.Fail("get ManagedCluster", errors.New("down"))
			_, err := run(t, r, wf)
			require.ErrorContains(t, err, "down")
		})
	}
}

func TestARunThatHasEndedGoesOnOnlyIfTheAPIServerSaysSo(t *testing.T) {
	wf := assigned(gen.WithHubStatus("Failed"))
	cached := gen.RemoteWorkflow(wf, cluster, gen.WithReport(running()))
	for name, test := range map[string]struct {
		live []client.Object
		want string
	}{
		"the cache lags behind":         {[]client.Object{gen.RemoteWorkflow(wf, cluster, gen.WithReport(map[string]any{"phase": "Failed"}))}, "Failed"},
		"its report is gone":            {[]client.Object{gen.RemoteWorkflow(wf, cluster, gen.WithRemoteUID("remote"))}, "Failed"},
		"it has no RemoteWorkflow":      {nil, "Failed"},
		"it was retried on its cluster": {[]client.Object{cached}, "Running"},
	} {
		t.Run(name, func(t *testing.T) {
			wf := wf.DeepCopy()
			r, hub := newReconciler(t, wf, cached, gen.ManagedClusterAddOn(cluster))
			r.Live = fakehub.New(t, nil, test.live...).Live
			mustRun(t, r, wf)
			require.True(t, hub.Show(wf))
			assert.Equal(t, test.want, contract.Phase(wf))
		})
	}
	t.Run("the API server does not answer", func(t *testing.T) {
		r, hub := newReconciler(t, assigned(gen.WithHubStatus("Failed")), cached, gen.ManagedClusterAddOn(cluster))
		hub.Fail("live get RemoteWorkflow", apierrors.NewServiceUnavailable("down"))
		_, err := run(t, r, wf)
		assert.True(t, apierrors.IsServiceUnavailable(err), "got %v", err)
		assert.Empty(t, hub.Writes())
	})
}
