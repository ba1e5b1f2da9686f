package addon

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1alpha1 "open-cluster-management.io/api/cluster/v1alpha1"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// manifestStatus is what a work agent says of a manifest: what it feeds back, and why it could not apply it, if it could not.
func manifestStatus(kind, resource, namespace, name string, values map[string]any, problem string) workv1.ManifestCondition {
	applied := metav1.Condition{Type: workv1.ManifestApplied, Status: metav1.ConditionTrue}
	if problem != "" {
		applied.Status, applied.Message = metav1.ConditionFalse, problem
	}
	return workv1.ManifestCondition{
		ResourceMeta:    workv1.ManifestResourceMeta{Kind: kind, Resource: resource, Namespace: namespace, Name: name},
		StatusFeedbacks: statusFeedback(values),
		Conditions:      []metav1.Condition{applied},
	}
}

func crdStatus(values map[string]any) workv1.ManifestCondition {
	return manifestStatus("CustomResourceDefinition", crdResource, "", argoCRD, values, "")
}

func deploymentStatus(name string, values map[string]any) workv1.ManifestCondition {
	return manifestStatus("Deployment", "deployments", "addons", name, values, "")
}

func TestWhoseArgoIs(t *testing.T) {
	tests := map[string]struct {
		manifests []workv1.ManifestCondition
		status    metav1.ConditionStatus
		reason    string
		message   string
	}{
		"nothing is known":    {nil, "Unknown", ReasonProbing, "the cluster has not said yet"},
		"nothing is fed back": {[]workv1.ManifestCondition{crdStatus(nil)}, "Unknown", ReasonProbing, "the cluster has not said yet"},
		"another CRD of the addon": {[]workv1.ManifestCondition{
			manifestStatus("", crdResource, "", "cronworkflows.argoproj.io", map[string]any{feedbackUID: "1"}, ""),
		}, "Unknown", ReasonProbing, ""},
		"the addon's": {
			[]workv1.ManifestCondition{deploymentStatus("a", nil), crdStatus(map[string]any{feedbackUID: "1", feedbackInstalledBy: testHubID})},
			"True", ReasonInstalled, "this addon has installed Argo Workflows",
		},
		"others'": {
			[]workv1.ManifestCondition{crdStatus(map[string]any{feedbackUID: "1"})}, "False", ReasonExistingInstallation,
			"Argo Workflows was installed on the cluster by others than this addon, and is left alone. To have this addon install it, remove that " +
				"controller, and then the CRDs as well, or keep them and the Workflows: kubectl label --overwrite crd workflows.argoproj.io " +
				"workflow.open-cluster-management.io/installed-by-hub=hub-id",
		},
		"another hub's": {
			[]workv1.ManifestCondition{crdStatus(map[string]any{feedbackUID: "1", feedbackInstalledBy: strings.Repeat("x", 1000)})},
			"False", ReasonExistingInstallation, `by the addon of another hub, "` + strings.Repeat("x", 63) + `…"`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := argoManaged(testHubID, test.manifests)
			assert.Equal(t, ConditionArgoManaged, got.Type)
			assert.Equal(t, test.status, got.Status)
			assert.Equal(t, test.reason, got.Reason)
			assert.Contains(t, got.Message, test.message)
		})
	}
}

func TestArgoStaysTheAddonsWhenItsCRDLosesTheLabel(t *testing.T) {
	installed := []workv1.ManifestCondition{crdStatus(map[string]any{feedbackUID: "uid-1", feedbackInstalledBy: testHubID})}
	for uid, want := range map[string]metav1.ConditionStatus{"uid-1": "True", "uid-2": "False"} {
		addon := gen.ManagedClusterAddOn("cluster1")
		addon.Name = contract.ArgoAddonName
		r := &conditionReconciler{hubID: testHubID}
		for _, manifests := range [][]workv1.ManifestCondition{installed, {crdStatus(map[string]any{feedbackUID: uid})}} {
			for _, condition := range r.conditions(addon, manifests) {
				meta.SetStatusCondition(&addon.Status.Conditions, condition)
			}
		}
		assert.Equal(t, want, meta.FindStatusCondition(addon.Status.Conditions, ConditionArgoManaged).Status, uid)
	}
}

func TestWhichVersionsOfArgoAreSupported(t *testing.T) {
	for installed, want := range map[string]string{
		"":                      ReasonVersionUnknown,
		"latest":                ReasonVersionUnknown,
		"v2.12.13":              ReasonVersionVulnerable,
		"v3.4.2":                ReasonVersionVulnerable,
		"v3.7.14":               ReasonVersionVulnerable,
		"v3.7.15":               ReasonVersionSupported,
		"3.7.18":                ReasonVersionSupported,
		"v3.8.0":                ReasonVersionSupported,
		"v4.0.0":                ReasonVersionVulnerable,
		"v4.0.5-nonroot":        ReasonVersionVulnerable,
		"v4.0.6":                ReasonVersionSupported,
		"v4.1.0":                ReasonVersionSupported,
		"v5.0.0":                ReasonVersionSupported,
		strings.Repeat("9", 30): ReasonVersionUnknown,
	} {
		t.Run(installed, func(t *testing.T) {
			got := argoVersion(installed)
			assert.Equal(t, want, got.Reason)
			if want == ReasonVersionVulnerable {
				assert.Equal(t, metav1.ConditionFalse, got.Status)
				assert.Contains(t, got.Message, ", which has published vulnerabilities")
				assert.Contains(t, got.Message, "upgrade it to 3.7.15 or later, or to 4.0.6 or later")
			}
		})
	}
}

func TestAVulnerableArgoIsNamedInTheConditionsOfTheAgentsAddon(t *testing.T) {
	old, patched := contract.Capacity{ArgoVersion: "v3.6.2"}, contract.Capacity{ArgoVersion: "v3.7.18"}
	score := gen.Score("cluster1", old)
	r, hub, patches := conditionsWith(t, interceptor.Funcs{}, testAddOn(nil), score)
	for range 2 {
		got, err := reconcileConditions(t, r, hub, contract.AddonName)
		require.NoError(t, err)
		assert.True(t, meta.IsStatusConditionFalse(got.Status.Conditions, ConditionArgoVersion))
	}
	assert.Equal(t, 1, *patches)
	require.NoError(t, hub.Get(t.Context(), client.ObjectKeyFromObject(score), score))
	score.Status = gen.Score("cluster1", patched).Status
	require.NoError(t, hub.Update(t.Context(), score))
	got, err := reconcileConditions(t, r, hub, contract.AddonName)
	require.NoError(t, err)
	assert.True(t, meta.IsStatusConditionTrue(got.Status.Conditions, ConditionArgoVersion))

	require.NoError(t, hub.Delete(t.Context(), score))
	got, err = reconcileConditions(t, r, hub, contract.AddonName)
	require.NoError(t, err)
	assert.True(t, meta.IsStatusConditionTrue(got.Status.Conditions, ConditionArgoVersion), "nothing new is known")
}

func TestOfAScoreOnlyAnotherVersionOfArgoIsLookedAt(t *testing.T) {
	changed := func(was, is *clusterv1alpha1.AddOnPlacementScore) bool {
		return newVersion.Update(event.TypedUpdateEvent[*clusterv1alpha1.AddOnPlacementScore]{ObjectOld: was, ObjectNew: is})
	}
	before := gen.Score("cluster1", contract.Capacity{ArgoVersion: "v3.7.18"})
	assert.False(t, changed(before, gen.Score("cluster1", contract.Capacity{ArgoVersion: "v3.7.18", WorkflowPods: 7})))
	assert.True(t, changed(before, gen.Score("cluster1", contract.Capacity{ArgoVersion: "v3.7.14"})))
	assert.True(t, changed(&clusterv1alpha1.AddOnPlacementScore{}, gen.Score("cluster1", contract.Capacity{})))
	assert.False(t, changed(&clusterv1alpha1.AddOnPlacementScore{}, &clusterv1alpha1.AddOnPlacementScore{}))
}

func TestWhatOfAnAddonDoesNotWork(t *testing.T) {
	available := map[string]any{
		feedbackAvailable: "True", feedbackProgressingReason: "NewReplicaSetAvailable", "Replicas": 1, "AvailableReplicas": 1,
	}
	failed := map[string]any{
		feedbackAvailable: "False", feedbackAvailableMessage: "Deployment does not have minimum availability.",
		"Replicas": 2, "AvailableReplicas": 1,
		feedbackProgressingReason: "ProgressDeadlineExceeded", feedbackProgressingMessage: `ReplicaSet "agent-1" has timed out progressing.`,
	}
	stuck := map[string]any{
		feedbackAvailable: "True", "Replicas": 2, "AvailableReplicas": 1, feedbackImage: "registry.example/none:v2",
		feedbackProgressingReason: "ProgressDeadlineExceeded", feedbackProgressingMessage: `ReplicaSet "agent-2" has timed out progressing.`,
	}
	const asExpected = "all manifests are applied, and the Deployments among them are available"
	tests := map[string]struct {
		manifests       []workv1.ManifestCondition
		status          metav1.ConditionStatus
		reason, message string
	}{
		"nothing":           {[]workv1.ManifestCondition{deploymentStatus("agent", available)}, "False", ReasonAsExpected, asExpected},
		"nothing known yet": {[]workv1.ManifestCondition{deploymentStatus("agent", nil)}, "False", ReasonAsExpected, asExpected},
		"an unavailable image": {
			[]workv1.ManifestCondition{deploymentStatus("agent", notAvailable)}, "True", ReasonDeploymentUnavailable,
			notAvailableMessage("addons/agent"),
		},
		"a failed rollout": {
			[]workv1.ManifestCondition{deploymentStatus("agent", failed)}, "True", ReasonDeploymentUnavailable,
			"Deployment addons/agent: 1 of 2 replicas available: Deployment does not have minimum availability. " +
				`ReplicaSet "agent-1" has timed out progressing.`,
		},
		"an update that fails": {
			[]workv1.ManifestCondition{deploymentStatus("agent", stuck)}, "True", ReasonDeploymentUnavailable,
			"Deployment addons/agent: the new replicas do not become available, the old ones go on: " +
				`ReplicaSet "agent-2" has timed out progressing. (image registry.example/none:v2)`,
		},
		"manifests that are refused": {
			[]workv1.ManifestCondition{
				manifestStatus("Role", "roles", "team-a", "argo-workflows-executor", nil, `namespaces "team-a" not found`),
				manifestStatus("ClusterRole", "clusterroles", "", "x", nil, "forbidden"), deploymentStatus("agent", available),
			}, "True", ReasonManifestsNotApplied,
			`Role team-a/argo-workflows-executor: namespaces "team-a" not found; ClusterRole x: forbidden`,
		},
		"both": {
			[]workv1.ManifestCondition{
				manifestStatus("ClusterRole", "clusterroles", "", "x", nil, "forbidden"), deploymentStatus("agent", notAvailable),
			},
			"True", ReasonDeploymentUnavailable, notAvailableMessage("addons/agent") + "; ClusterRole x: forbidden",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := degraded(test.manifests)
			assert.Equal(t, "Degraded", got.Type)
			assert.Equal(t, test.status, got.Status)
			assert.Equal(t, test.reason, got.Reason)
			assert.Equal(t, test.message, got.Message)
		})
	}
	long := degraded([]workv1.ManifestCondition{manifestStatus("Role", "roles", "a", "b", nil, strings.Repeat("x", 10_000))})
	assert.Len(t, []rune(long.Message), maxConditionLength)
}

// conditionsWith is a reconciler on a hub with these objects; patches counts what is written.
func conditionsWith(
	t *testing.T, intercept interceptor.Funcs, objects ...client.Object,
) (r *conditionReconciler, hub client.Client, patches *int) {
	t.Helper()
	scheme := runtime.NewScheme()
	require.NoError(t, workv1.Install(scheme))
	require.NoError(t, addonv1beta1.Install(scheme))
	require.NoError(t, clusterv1alpha1.Install(scheme))
	patches = new(int)
	patch := intercept.SubResourcePatch
	intercept.SubResourcePatch = func(
		ctx context.Context, c client.Client, sub string, obj client.Object, p client.Patch, o ...client.SubResourcePatchOption,
	) error {
		*patches++
		if patch != nil {
			return patch(ctx, c, sub, obj, p, o...)
		}
		return c.SubResource(sub).Patch(ctx, obj, p, o...)
	}
	hub = fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(&addonv1beta1.ManagedClusterAddOn{}).
		WithInterceptorFuncs(intercept).Build()
	return &conditionReconciler{works: hub, scores: hub, live: hub, client: hub, hubID: testHubID}, hub, patches
}

func addonWork(addon, name string, manifests ...workv1.ManifestCondition) *workv1.ManifestWork {
	work := &workv1.ManifestWork{}
	work.Namespace, work.Name, work.Labels = "cluster1", name, map[string]string{addonv1beta1.AddonLabelKey: addon}
	work.Status.ResourceStatus.Manifests = manifests
	return work
}

func reconcileConditions(t *testing.T, r *conditionReconciler, hub client.Client, addon string) (*addonv1beta1.ManagedClusterAddOn, error) {
	t.Helper()
	key := client.ObjectKey{Namespace: "cluster1", Name: addon}
	_, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: key})
	got := &addonv1beta1.ManagedClusterAddOn{}
	require.NoError(t, client.IgnoreNotFound(hub.Get(t.Context(), key, got)))
	return got, err
}

func TestConditionsAreWrittenBesideThoseOfOthersAndOnce(t *testing.T) {
	r, hub, patches := conditionsWith(t, interceptor.Funcs{}, argoAddOn(nil, unmanagedAs("Unknown", ReasonProbing)),
		addonWork(contract.ArgoAddonName, "addon-argo-workflows-deploy-0",
			crdStatus(map[string]any{feedbackUID: "1", feedbackInstalledBy: testHubID})),
		addonWork(contract.ArgoAddonName, "addon-argo-workflows-deploy-1", deploymentStatus(argoDeployment, notAvailable)),
		addonWork("another", "addon-another-deploy-0", deploymentStatus("another", notAvailable)),
	)
	for range 2 {
		got, err := reconcileConditions(t, r, hub, contract.ArgoAddonName)
		require.NoError(t, err)
		assert.True(t, meta.IsStatusConditionTrue(got.Status.Conditions, "Configured"))
		assert.True(t, meta.IsStatusConditionTrue(got.Status.Conditions, ConditionArgoManaged))
		assert.Equal(t, notAvailableMessage("addons/workflow-controller"), meta.FindStatusCondition(got.Status.Conditions, "Degraded").Message)
	}
	assert.Equal(t, 1, *patches)
}

func TestOnlyArgosAddonSaysWhoseArgoIs(t *testing.T) {
	addon := testAddOn(nil)
	r, hub, _ := conditionsWith(t, interceptor.Funcs{}, addon,
		addonWork(contract.AddonName, "addon-argo-workflow-multicluster-deploy-0", deploymentStatus(agentDeployment, notAvailable)))
	got, err := reconcileConditions(t, r, hub, contract.AddonName)
	require.NoError(t, err)
	assert.Nil(t, meta.FindStatusCondition(got.Status.Conditions, ConditionArgoManaged))
	assert.True(t, meta.IsStatusConditionTrue(got.Status.Conditions, "Degraded"))
	assert.Len(t, got.Status.Conditions, len(addon.Status.Conditions)+1)
}

// TestWhatIsKnownStaysUntilTheClusterSaysOtherwise: forgetting it would remove Argo Workflows.
func TestWhatIsKnownStaysUntilTheClusterSaysOtherwise(t *testing.T) {
	for name, works := range map[string][]client.Object{
		"no ManifestWork":          nil,
		"a new ManifestWork":       {addonWork(contract.ArgoAddonName, "addon-argo-workflows-deploy-0")},
		"a CRD that is not read":   {addonWork(contract.ArgoAddonName, "addon-argo-workflows-deploy-0", crdStatus(nil))},
		"no CRD, when it is ended": {addonWork(contract.ArgoAddonName, "addon-argo-workflows-deploy-0", deploymentStatus("x", nil))},
	} {
		t.Run(name, func(t *testing.T) {
			r, hub, _ := conditionsWith(t, interceptor.Funcs{}, append(works, argoAddOn(nil))...)
			got, err := reconcileConditions(t, r, hub, contract.ArgoAddonName)
			require.NoError(t, err)
			assert.True(t, meta.IsStatusConditionTrue(got.Status.Conditions, ConditionArgoManaged))
		})
	}
}

func TestConditionsThatOthersHaveChangedMeanwhileAreReadAgain(t *testing.T) {
	conflicts := 2
	r, hub, patches := conditionsWith(t, interceptor.Funcs{
		SubResourcePatch: func(
			ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption,
		) error {
			if conflicts > 0 {
				conflicts--
				other := &addonv1beta1.ManagedClusterAddOn{}
				if err := c.Get(ctx, client.ObjectKeyFromObject(obj), other); err != nil {
					return err
				}
				meta.SetStatusCondition(&other.Status.Conditions, metav1.Condition{
					Type: "Other" + strings.Repeat("s", conflicts), Status: metav1.ConditionTrue, Reason: "Written",
				})
				if err := c.Status().Update(ctx, other); err != nil {
					return err
				}
			}
			return c.SubResource(sub).Patch(ctx, obj, patch, opts...)
		},
	}, argoAddOn(nil), addonWork(contract.ArgoAddonName, "addon-argo-workflows-deploy-0", deploymentStatus(argoDeployment, notAvailable)))
	got, err := reconcileConditions(t, r, hub, contract.ArgoAddonName)
	require.NoError(t, err)
	for _, condition := range []string{"Other", "Others", "Degraded", "Configured"} {
		assert.True(t, meta.IsStatusConditionTrue(got.Status.Conditions, condition), condition)
	}
	assert.Equal(t, 3, *patches)
}

// onPatch answers the patch of a status with an error.
func onPatch(err error) interceptor.Funcs {
	return interceptor.Funcs{SubResourcePatch: func(
		context.Context, client.Client, string, client.Object, client.Patch, ...client.SubResourcePatchOption,
	) error {
		return err
	}}
}

func TestErrorsOfTheHubAreReturned(t *testing.T) {
	broken := errors.New("broken")
	work := addonWork(contract.ArgoAddonName, "addon-argo-workflows-deploy-0", deploymentStatus(argoDeployment, notAvailable))
	for name, test := range map[string]struct {
		intercept interceptor.Funcs
		want      error
	}{
		"list": {interceptor.Funcs{List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
			return broken
		}}, broken},
		"patch":             {onPatch(broken), broken},
		"the addon is gone": {onPatch(apierrors.NewNotFound(addonv1beta1.Resource("managedclusteraddons"), contract.ArgoAddonName)), nil},
	} {
		t.Run(name, func(t *testing.T) {
			r, hub, _ := conditionsWith(t, test.intercept, argoAddOn(nil), work.DeepCopy())
			_, err := reconcileConditions(t, r, hub, contract.ArgoAddonName)
			require.ErrorIs(t, err, test.want)
		})
	}
	r, hub, patches := conditionsWith(t, interceptor.Funcs{}, work.DeepCopy())
	_, err := reconcileConditions(t, r, hub, contract.ArgoAddonName)
	require.NoError(t, err, "there is no addon")
	assert.Zero(t, *patches)
}

func TestAManifestWorkLeadsToItsAddon(t *testing.T) {
	work := addonWork(contract.ArgoAddonName, "addon-argo-workflows-deploy-0")
	want := client.ObjectKey{Namespace: "cluster1", Name: contract.ArgoAddonName}
	assert.Equal(t, []reconcile.Request{{NamespacedName: want}}, addonOf(t.Context(), work))
	work.Spec.Workload.Manifests = make([]workv1.Manifest, 3)
	kept, err := withoutSpec(work)
	require.NoError(t, err)
	assert.Empty(t, kept.(*workv1.ManifestWork).Spec)
}
