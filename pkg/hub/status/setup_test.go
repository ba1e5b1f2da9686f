package status

import (
	"testing"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestTheEchoOfOurOwnWritesIsDropped(t *testing.T) {
	before := gen.Workflow("hello", gen.WithHubStatus("Running"))
	edited := before.DeepCopy()
	edited.SetLabels(map[string]string{"edited": "by the user"})
	ours := gen.Workflow("hello", gen.WithHubStatus("Succeeded"))
	bare := gen.Workflow("hello")

	update := func(from, to *unstructured.Unstructured) bool {
		return notOurWrites.Update(event.UpdateEvent{ObjectOld: from, ObjectNew: to})
	}
	assert.False(t, update(before, ours), "our write")
	assert.False(t, update(bare, before), "our first write")
	assert.True(t, update(before, edited), "a user's edit")
	assert.True(t, update(bare, bare), "a resync")
	assert.True(t, notOurWrites.Create(event.CreateEvent{Object: before}), "the start of the manager")
	assert.False(t, notOurWrites.Delete(event.DeleteEvent{Object: before}), "there is nothing left to write")
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
