package integration

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/report"
	"open-cluster-management.io/argo-workflow-multicluster/test/env"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// claims matches the request by which an agent records the UID of a run's copy on the hub.
func (r *run) claims(request env.Request) bool {
	var patch struct {
		Status struct {
			RemoteUID types.UID
		}
	}
	return request.Verb == "patch" && request.Resource == "remoteworkflows/status" && request.Name == r.name().Name &&
		json.Unmarshal(request.Body, &patch) == nil && patch.Status.RemoteUID != ""
}

// opens matches the request by which an agent opens the gate of a run's copy.
func (r *run) opens(request env.Request) bool {
	var patch struct {
		Metadata struct {
			Labels map[string]*string
		}
	}
	if !r.isAbout(request) || request.Verb != "patch" || json.Unmarshal(request.Body, &patch) != nil {
		return false
	}
	_, opens := patch.Metadata.Labels[contract.LabelInstanceID]
	return opens
}

// isAbout matches the requests for the Workflow itself, on the hub or a managed cluster.
func (r *run) isAbout(request env.Request) bool {
	return request.Resource == "workflows" && request.Namespace == r.key.Namespace && request.Name == r.key.Name
}

func TestWorkflowRunsOnTheClusterThatItsPlacementHasChosenAndItsStatusComesBack(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	require.NoError(t, theHub.client.Create(t.Context(), gen.Placement("anywhere", gen.InNamespace(s.name))))
	require.NoError(t, createWithStatus(t.Context(), gen.PlacementDecision("anywhere", 1, []string{"cluster2"}, gen.InNamespace(s.name))))
	wf := gen.Workflow("hello", gen.InNamespace(s.name), gen.WithPlacement("anywhere"),
		gen.WithLabels(map[string]string{"team": "a", contract.LabelInstanceID: contract.InstanceIDHub}),
		gen.WithAnnotations(map[string]string{"note": "mine"}),
		gen.WithSpecField(map[string]any{"ofANewerArgo": true}, "unknown"))
	r := s.createOnHub(cluster2, wf)

	work := r.waitForManifestWork()
	assertAssigned(t, r)
	assertDispatched(t, r, work)
	claim := agent2.hub.Hold(t, r.claims)
	start := agent2.managed.Hold(t, r.opens)

	created := r.workAgent.apply(r)
	assert.True(t, isGated(created))
	claim.Await(t)
	assert.Empty(t, r.mustRemoteWorkflow().Status.RemoteUID)
	s.create("beside-it", cluster2).runs()
	assert.Equal(t, created.GetResourceVersion(), r.must(cluster2).GetResourceVersion(), "written to before its UID is recorded")

	claim.Release()
	start.Await(t)
	eventually(t, r.isNotSent)
	assert.Equal(t, created.GetUID(), r.mustRemoteWorkflow().Status.RemoteUID, "to be opened before its UID is recorded")
	assert.Equal(t, created.GetResourceVersion(), r.must(cluster2).GetResourceVersion())

	start.Release()
	open := r.waitUntilOpen()
	assert.Equal(t, created.GetUID(), open.GetUID())
	assert.Equal(t, []string{contract.FinalizerReport}, open.GetFinalizers())
	assert.NotContains(t, open.GetLabels(), contract.LabelInstanceID)
	r.runsOn()
	assert.Contains(t, r.must(cluster2).GetFinalizers(), contract.FinalizerReport)
	r.succeeds()
	assertFinished(t, r)
	r.isGone()
	assert.Equal(t, []types.UID{created.GetUID()}, s.seen[cluster2].open("hello"))
	assert.Empty(t, s.seen[cluster1].latest)
}

// assertAssigned makes sure of what a dispatch leaves on the hub's copy.
func assertAssigned(t *testing.T, r *run) {
	t.Helper()
	wf := r.must(theHub)
	assert.Equal(t, "cluster2", wf.GetAnnotations()[contract.AnnotationCluster])
	assert.Equal(t, string(r.uid)+"/1/cluster2", wf.GetAnnotations()[contract.AnnotationAssigned])
	assert.Equal(t, []string{contract.FinalizerDispatch}, wf.GetFinalizers())
	assert.Empty(t, contract.Status(wf))
}

// assertDispatched makes sure of the RemoteWorkflow and the delivery, and of what travels in it.
func assertDispatched(t *testing.T, r *run, work *workv1.ManifestWork) {
	t.Helper()
	system := &corev1.Namespace{}
	require.NoError(t, theHub.client.Get(t.Context(), client.ObjectKey{Name: "kube-system"}, system))
	rw := r.mustRemoteWorkflow()
	assert.Equal(t, v1alpha1.RemoteWorkflowSpec{
		HubID:       string(system.UID),
		WorkflowRef: v1alpha1.WorkflowReference{Namespace: r.key.Namespace, Name: "hello", UID: r.uid},
		Remote:      v1alpha1.RemoteReference{Namespace: r.key.Namespace, Name: "hello"},
		Attempt:     1,
		Reporting:   v1alpha1.ReportingAgent, ArgumentsDigest: contract.ArgumentsDigest(nil),
		SpecDigest: report.SpecDigest(specOf(r)),
	}, rw.Spec)
	assert.Equal(t, []string{contract.FinalizerDispatch}, rw.Finalizers)

	assert.Empty(t, work.OwnerReferences)
	assert.Equal(t, contract.DeliveryGated, work.Labels[contract.LabelDelivery])
	assert.NotContains(t, work.Labels, "open-cluster-management.io/addon-name", "the addon framework would delete it")
	assert.Equal(t, workv1.DeletePropagationPolicyTypeOrphan, work.Spec.DeleteOption.PropagationPolicy)
	assert.Contains(t, work.Spec.ManifestConfigs, workv1.ManifestConfigOption{
		ResourceIdentifier: workv1.ResourceIdentifier{
			Group: contract.WorkflowGVR.Group, Resource: contract.WorkflowGVR.Resource, Namespace: r.key.Namespace, Name: "hello",
		},
		UpdateStrategy:     &workv1.UpdateStrategy{Type: workv1.UpdateStrategyTypeCreateOnly},
		FeedbackScrapeType: workv1.FeedbackPollType, // the default, and nothing to scrape
	})

	payload := r.carried(work)
	spec, _, err := unstructured.NestedMap(r.must(theHub).Object, "spec")
	require.NoError(t, err)
	podLabels := map[string]any{contract.LabelCluster: "cluster2", contract.LabelWorkflowNamespace: r.key.Namespace}
	require.NoError(t, unstructured.SetNestedMap(spec, podLabels, "podMetadata", "labels"))
	assert.Equal(t, map[string]any{
		"apiVersion": "argoproj.io/v1alpha1",
		"kind":       "Workflow",
		"metadata": map[string]any{
			"namespace": r.key.Namespace,
			"name":      "hello",
			"labels": map[string]any{
				"team":                          "a",
				contract.LabelCluster:           "cluster2",
				contract.LabelWorkflowNamespace: r.key.Namespace,
				contract.LabelInstanceID:        contract.InstanceIDGate,
			},
			"annotations": map[string]any{
				"note":                               "mine",
				contract.AnnotationHubNamespace:      r.key.Namespace,
				contract.AnnotationHubName:           "hello",
				contract.AnnotationHubUID:            string(r.uid),
				contract.AnnotationHubID:             string(system.UID),
				contract.AnnotationAttempt:           "1",
				contract.AnnotationControls:          "{}",
				contract.AnnotationRemoteWorkflow:    rw.Name,
				contract.AnnotationRemoteWorkflowUID: string(rw.UID),
			},
		},
		"spec": spec,
	}, payload.Object)
}

// assertFinished makes sure of what a run leaves behind everywhere when it has succeeded.
func assertFinished(t *testing.T, r *run) {
	t.Helper()
	wf := r.must(theHub)
	assert.Equal(t, "Succeeded", wf.GetLabels()[contract.LabelPhase])
	assert.Equal(t, "true", wf.GetLabels()[contract.LabelCompleted])
	assert.Equal(t, contract.InstanceIDHub, wf.GetLabels()[contract.LabelInstanceID])
	assert.Equal(t, "anywhere", wf.GetAnnotations()[contract.AnnotationPlacement])
	rw := r.mustRemoteWorkflow()
	assert.Equal(t, "Succeeded", rw.Status.Phase)
	assert.Equal(t, "1/1", rw.Status.Progress)
	assert.Equal(t, map[string]int32{"Succeeded": 1}, rw.Status.Nodes)
	assert.True(t, meta.IsStatusConditionTrue(rw.Status.Conditions, v1alpha1.ConditionStarted))
	assert.True(t, meta.IsStatusConditionTrue(rw.Status.Conditions, v1alpha1.ConditionReported))
	assert.Nil(t, meta.FindStatusCondition(rw.Status.Conditions, v1alpha1.ConditionRemoteDeleted))
}
