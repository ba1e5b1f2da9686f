package integration

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/util/retry"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/env"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// addCluster joins a managed cluster without addon to the hub. What is created there is on cluster2, whose agent does not see to it.
func addCluster(t *testing.T, name string, mods ...gen.Mod) *cluster {
	t.Helper()
	require.NoError(t, theHub.client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	require.NoError(t, createWithStatus(t.Context(), gen.ManagedCluster(name, mods...)))
	return &cluster{name: name, client: cluster2.client}
}

// agentBecomes makes the agent on a cluster available on the hub, or not, as OCM would.
func (c *cluster) agentBecomes(t *testing.T, available metav1.ConditionStatus) {
	t.Helper()
	require.NoError(t, retry.RetryOnConflict(retry.DefaultRetry, func() error {
		enabled := &addonv1beta1.ManagedClusterAddOn{}
		if err := theHub.client.Get(t.Context(), client.ObjectKey{Namespace: c.name, Name: contract.AddonName}, enabled); err != nil {
			return err
		}
		meta.SetStatusCondition(&enabled.Status.Conditions, metav1.Condition{
			Type: addonv1beta1.ManagedClusterAddOnConditionAvailable, Status: available, Reason: "Test",
		})
		return theHub.client.Status().Update(t.Context(), enabled)
	}))
}

func TestNothingIsMadeOfAWorkflowWhileTheAgentOfItsClusterIsAway(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	away := addCluster(t, "away")
	r := s.create("waits", away)
	assertWaits := func(message string) {
		t.Helper()
		r.waitFor("Pending", message)
		_, err := r.remoteWorkflow()
		assert.True(t, apierrors.IsNotFound(err), "got %v", err)
		assert.Empty(t, contract.AssignedCluster(r.must(theHub)))
		assert.Empty(t, r.must(theHub).GetFinalizers())
	}
	assertWaits(`waiting for managed cluster "away": enable its addon`)
	require.NoError(t, createWithStatus(t.Context(), gen.ManagedClusterAddOn(away.name)))
	r.waitForManifestWork()
	r.waitForEvent("Scheduled", "assigned to cluster away")

	// Nothing has been claimed yet.
	away.agentBecomes(t, metav1.ConditionUnknown)
	r.waitForEvent("ClusterTakenBack", `nothing has started on managed cluster "away"`)
	assertWaits("away")
	require.NoError(t, r.isNotSent())
	away.agentBecomes(t, metav1.ConditionTrue)
	r.waitForManifestWork()
	r.isGone()
}

func TestWorkflowOnAClusterThatIsUsedWithoutAgentIsSummarized(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	bare := addCluster(t, "bare", gen.WithLabels(map[string]string{contract.LabelWithoutAgent: "true"}))
	require.NoError(t, theHub.client.Create(t.Context(), gen.Placement("anywhere", gen.InNamespace(s.name))))
	require.NoError(t, createWithStatus(t.Context(), gen.PlacementDecision("anywhere", 1, []string{bare.name}, gen.InNamespace(s.name))))
	placed := s.createOnHub(bare, gen.Workflow("placed", gen.InNamespace(s.name), gen.WithPlacement("anywhere")))
	placed.waitFor("Pending", `the only one that Placement "anywhere" selects, cannot run Workflows`)

	r := s.create("named", bare)
	created := r.workAgent.apply(r)
	assert.False(t, isGated(created))
	assert.Len(t, created.GetOwnerReferences(), 1)
	r.waitFor("Pending", "summary only: cluster bare runs no agent")
	r.argo.write(r, succeededStatus())
	r.workAgent.feedBack(r)
	r.waitFor("Succeeded", "summary only: cluster bare runs no agent")
	work, err := r.manifestWork()
	require.NoError(t, err, "it stays: it owns the copy")
	assert.Equal(t, r.name(), client.ObjectKeyFromObject(work))

	r.delete(theHub)
	eventually(t, r.isNotSent)
	r.delete(bare) // the work agent's part
	r.vanishes()
	placed.isGone()
}

// taking lets a Workflow take its spec from a WorkflowTemplate.
func taking(name string) gen.Mod {
	return gen.WithSpecField(map[string]any{"workflowTemplateRef": map[string]any{"name": name}})
}

func TestAWorkflowWaitsForAClusterThatIsLargeEnoughForWhatItRefersTo(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	tiny := addCluster(t, "tiny", gen.WithAnnotations(map[string]string{contract.AnnotationMaxWorkflows: "0"}))
	require.NoError(t, createWithStatus(t.Context(), gen.ManagedClusterAddOn(tiny.name)))
	require.NoError(t, createWithStatus(t.Context(), gen.Score(tiny.name, gen.Nodes(1, 2))))
	r := s.create("refers", tiny, taking("pipeline"))
	r.waitFor("Pending", "it is at its cap of 0")

	shared := gen.WorkflowTemplate(s.name, []any{map[string]any{"name": "main", "container": map[string]any{
		"resources": map[string]any{"requests": map[string]any{"cpu": "3"}},
	}}}, gen.OfCluster())
	require.NoError(t, theHub.client.Create(t.Context(), shared))
	t.Cleanup(func() { _ = theHub.client.Delete(context.WithoutCancel(t.Context()), shared) })
	require.NoError(t, theHub.client.Create(t.Context(), gen.WorkflowTemplate("pipeline", []any{map[string]any{
		"name": "main", "steps": []any{[]any{map[string]any{
			"name": "a", "templateRef": map[string]any{"name": s.name, "template": "main", "clusterScope": true},
		}}},
	}}, gen.InNamespace(s.name))))
	r.waitFor("Pending", "the largest pod requests 3 CPU")

	require.NoError(t, theHub.client.Patch(t.Context(), shared, client.RawPatch(types.JSONPatchType,
		[]byte(`[{"op":"replace","path":"/spec/templates/0/container/resources/requests/cpu","value":"1"}]`))))
	r.waitFor("Pending", "it is at its cap of 0")
	require.NoError(t, theHub.client.Patch(t.Context(), gen.ManagedCluster(tiny.name), client.RawPatch(types.MergePatchType,
		fmt.Appendf(nil, `{"metadata":{"annotations":{%q:"1"}}}`, contract.AnnotationMaxWorkflows))))
	r.waitForManifestWork()
	r.isGone()
}

// Not parallel: what others refer to is not known meanwhile.
func TestAHubWithoutArgosTemplatesSendsWorkflowsThatReferToThem(t *testing.T) {
	s := newSpace(t)
	stopManager(t)
	for _, kind := range []schema.GroupVersionKind{contract.WorkflowTemplateGVK, contract.ClusterWorkflowTemplateGVK} {
		withoutKind(t, kind)
	}
	require.NoError(t, theManager.start())
	t.Cleanup(func() { assert.NoError(t, theManager.stop()) }) // the next one is to see them again

	r := s.create("refers", cluster1, taking("pipeline"))
	r.runs()
	r.isGone()
}

// withoutKind takes a kind of Argo's away from the hub until the test ends.
func withoutKind(t *testing.T, kind schema.GroupVersionKind) {
	t.Helper()
	mapping, err := theHub.client.RESTMapper().RESTMapping(kind.GroupKind(), kind.Version)
	require.NoError(t, err)
	crd := &apiextensionsv1.CustomResourceDefinition{}
	require.NoError(t, theHub.client.Get(t.Context(), client.ObjectKey{Name: mapping.Resource.GroupResource().String()}, crd))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		crd.ObjectMeta = metav1.ObjectMeta{Name: crd.Name}
		require.NoError(t, theHub.client.Create(ctx, crd))
		require.NoError(t, env.Retry(ctx, func() error { return isServed(kind, true) }))
	})
	require.NoError(t, theHub.client.Delete(t.Context(), crd.DeepCopy()))
	eventually(t, func() error { return isServed(kind, false) })
}

// isServed returns an error unless the hub says that it serves the kind, or that it does not.
func isServed(kind schema.GroupVersionKind, want bool) error {
	discovered, err := discovery.NewDiscoveryClientForConfig(theHub.server.Config)
	if err != nil {
		return err
	}
	served, err := discovered.ServerResourcesForGroupVersion(kind.GroupVersion().String())
	if err != nil {
		return err
	}
	is := slices.ContainsFunc(served.APIResources, func(r metav1.APIResource) bool { return r.Kind == kind.Kind })
	if is != want {
		return fmt.Errorf("%s is served: %t", kind.Kind, is)
	}
	return nil
}
