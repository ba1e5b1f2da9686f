package status

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestTheEchoOfOurOwnWritesIsDropped(t *testing.T) {
	wf := assigned(gen.WithHubStatus("Pending"))
	rw := gen.RemoteWorkflow(wf, cluster, gen.WithReport(running()))
	r, hub := newReconciler(t, wf, rw, gen.ManifestWork(rw))
	passes := func(before, after *unstructured.Unstructured) bool {
		return r.notOurWrites().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after})
	}
	mustRun(t, r, wf)
	echo := wf.DeepCopy()
	require.True(t, hub.Show(echo))
	require.Equal(t, "Running", contract.Phase(echo))
	assert.False(t, passes(wf, echo))
	assert.True(t, passes(wf, wf), "a resync")

	// Somebody replaces the Workflow with an export of it, in which hash and status agree.
	replaced := wf.DeepCopy()
	replaced.SetResourceVersion(echo.GetResourceVersion() + "1")
	assert.True(t, passes(echo, replaced))

	assert.True(t, r.notOurWrites().Create(event.CreateEvent{Object: wf}), "the start of the manager")
	assert.False(t, r.notOurWrites().Delete(event.DeleteEvent{Object: wf}), "there is nothing left to write")
	assert.True(t, passes(wf, echo), "of what is gone nothing is remembered")
}

func TestAnAddonThatComesOrGoesWakesWhatHasNotFinishedThere(t *testing.T) {
	waiting, started, finished := gen.Workflow("waiting"), gen.Workflow("started"), gen.Workflow("finished")
	r, hub := newReconciler(t, gen.RemoteWorkflow(waiting, cluster), gen.RemoteWorkflow(started, cluster, gen.WithRemoteUID("remote")),
		gen.RemoteWorkflow(finished, cluster, gen.WithReport(map[string]any{"phase": "Succeeded"})),
		gen.RemoteWorkflow(gen.Workflow("fed-back"), cluster, gen.WithReporting(v1alpha1.ReportingFeedback)),
		gen.RemoteWorkflow(gen.Workflow("elsewhere"), "cluster2"))
	before := gen.ManagedClusterAddOn(cluster)
	assert.ElementsMatch(t, []reconcile.Request{
		{NamespacedName: client.ObjectKeyFromObject(waiting)}, {NamespacedName: client.ObjectKeyFromObject(started)},
	}, r.unfinished(t.Context(), before))
	hub.Fail("list RemoteWorkflow", errors.New("down"))
	assert.Empty(t, r.unfinished(t.Context(), before))

	after := before.DeepCopy()
	after.Annotations = map[string]string{"any": "thing"}
	assert.False(t, availability.Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after}))
	gen.Deleting()(after)
	assert.True(t, availability.Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after}))
	after = before.DeepCopy()
	after.Status.Conditions = nil
	assert.True(t, availability.Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after}))
	assert.True(t, availability.Delete(event.DeleteEvent{Object: before}))
}

func TestOfAManifestWorkOnlyNewsMatters(t *testing.T) {
	wf := gen.Workflow("hello")
	passes := func(reporting v1alpha1.Reporting, mods ...gen.Mod) bool {
		before := gen.ManifestWork(gen.RemoteWorkflow(wf, cluster, gen.WithReporting(reporting)))
		if reporting == v1alpha1.ReportingFeedback {
			before.Spec.ManifestConfigs = []workv1.ManifestConfigOption{{FeedbackScrapeType: workv1.FeedbackWatchType}}
		}
		after := before.DeepCopy()
		for _, mod := range mods {
			mod(after)
		}
		return news.Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after})
	}
	notApplied := gen.WithManifestCondition(workv1.ManifestApplied, metav1.ConditionFalse, "no matches for kind Workflow")

	assert.False(t, passes(v1alpha1.ReportingAgent), "what is fed back the agent has reported")
	assert.True(t, passes(v1alpha1.ReportingAgent, notApplied), "it cannot be applied")
	assert.True(t, passes(v1alpha1.ReportingFeedback), "nothing else is reported")
}
