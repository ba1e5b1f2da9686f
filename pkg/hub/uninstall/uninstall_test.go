package uninstall

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// onHub returns an uninstaller for a hub with these objects, whose scale of a Deployment the step plays.
func onHub(t *testing.T, funcs interceptor.Funcs, objects ...client.Object) (*uninstaller, client.Client, *strings.Builder) {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, workv1.Install, addonv1beta1.Install} {
		require.NoError(t, add(scheme))
	}
	out := &strings.Builder{}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).
		WithInterceptorFuncs(funcs).Build()
	return &uninstaller{client: c, interval: time.Millisecond, addonsShare: 0.9, options: Options{
		Deployment: types.NamespacedName{Namespace: "product", Name: "hub"}, Lease: "leader", HubID: gen.HubID, Timeout: time.Minute, Out: out,
	}}, c, out
}

// soon is a context with a deadline, as each step gets one.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestTheManagerIsStoppedUntilItsLastPodIsGone(t *testing.T) {
	labels := map[string]string{"app": "hub"}
	inProduct := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "product", Name: name, Labels: labels}
	}
	deployment := &appsv1.Deployment{ObjectMeta: inProduct("hub"), Spec: appsv1.DeploymentSpec{
		Replicas: ptr.To[int32](2), Selector: &metav1.LabelSelector{MatchLabels: labels},
	}}
	pod := &corev1.Pod{ObjectMeta: inProduct("hub-1")}
	evicted := &corev1.Pod{ObjectMeta: inProduct("hub-0"), Status: corev1.PodStatus{Phase: corev1.PodFailed}}
	others := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "product", Name: "job"}}
	lease := &coordinationv1.Lease{ObjectMeta: inProduct("leader")}
	var scaled, listed atomic.Int32
	u, c, out := onHub(t, interceptor.Funcs{
		SubResourcePatch: func(
			_ context.Context, _ client.Client, subresource string, obj client.Object, patch client.Patch, _ ...client.SubResourcePatchOption,
		) error {
			body, err := patch.Data(obj)
			require.NoError(t, err)
			assert.Equal(t, "scale", subresource)
			assert.JSONEq(t, `{"spec":{"replicas":0}}`, string(body))
			scaled.Add(1)
			return nil
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if listed.Add(1) == 3 {
				require.NoError(t, c.Delete(ctx, pod))
			}
			return c.List(ctx, list, opts...)
		},
	}, deployment, pod, evicted, others, lease)
	require.NoError(t, u.stopManager(soon(t)))
	assert.Equal(t, int32(1), scaled.Load())
	assert.GreaterOrEqual(t, listed.Load(), int32(3))
	assert.Equal(t, "Deployment product/hub: scaled to 0\nDeployment product/hub: no pod is left\n", out.String())
	assert.True(t, apierrors.IsNotFound(c.Get(t.Context(), client.ObjectKeyFromObject(lease), lease)))
}

func TestAPodThatDoesNotEndKeepsTheRestFromBeingDone(t *testing.T) {
	labels := map[string]string{"app": "hub"}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "product", Name: "hub"},
		Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "product", Name: "hub-1", Labels: labels}}
	addon := gen.ManagedClusterAddOn(cluster)
	u, c, _ := onHub(t, interceptor.Funcs{
		SubResourcePatch: func(context.Context, client.Client, string, client.Object, client.Patch, ...client.SubResourcePatchOption) error {
			return nil
		},
	}, deployment, pod, addon)
	u.options.Timeout = 20 * time.Millisecond
	err := u.run(t.Context())
	require.ErrorContains(t, err, "stop the manager")
	require.ErrorContains(t, err, "pod product/hub-1 is still there")
	require.ErrorContains(t, err, "not done within --timeout=20ms")
	require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(addon), addon))
}

func TestWithoutADeploymentNobodyIsStopped(t *testing.T) {
	u, _, out := onHub(t, interceptor.Funcs{})
	require.NoError(t, u.stopManager(soon(t)))
	assert.Equal(t, "Deployment product/hub: there is none\n", out.String())
	u.options.Deployment = types.NamespacedName{}
	require.NoError(t, u.stopManager(soon(t)))
	assert.Contains(t, out.String(), "without --deployment")
}

// addonOn returns an addon on a cluster, with finalizers.
func addonOn(cluster, name string, finalizers ...string) *addonv1beta1.ManagedClusterAddOn {
	addon := gen.ManagedClusterAddOn(cluster, gen.WithFinalizers(finalizers...))
	addon.Name = name
	return addon
}

func byPlacement(name string) *addonv1beta1.ClusterManagementAddOn {
	addon := &addonv1beta1.ClusterManagementAddOn{ObjectMeta: metav1.ObjectMeta{Name: name}}
	addon.Spec.InstallStrategy = addonv1beta1.InstallStrategy{
		Type:       addonv1beta1.AddonInstallStrategyPlacements,
		Placements: []addonv1beta1.PlacementStrategy{{PlacementRef: addonv1beta1.PlacementRef{Namespace: "default", Name: "all"}}},
	}
	return addon
}

func TestTheAddonsAreDisabledWithTheirHooks(t *testing.T) {
	const hook = addonv1beta1.AddonPreDeleteHookFinalizer
	agent, argo := addonOn(cluster, "argo-workflow-multicluster", hook), addonOn(cluster, "argo-workflows", hook)
	others := addonOn(cluster, "others")
	work := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: cluster, Name: "addon-argo-workflows-deploy-0",
		Labels: map[string]string{addonv1beta1.AddonLabelKey: "argo-workflows"}}}
	u, c, out := onHub(t, interceptor.Funcs{}, agent, argo, others, work, byPlacement("argo-workflow-multicluster"), byPlacement("others"))
	var ended atomic.Bool
	u.options.RunAddons = func(ctx context.Context) error {
		for _, addon := range []*addonv1beta1.ManagedClusterAddOn{agent, argo} {
			current := addon.DeepCopy()
			require.NoError(t, c.Get(ctx, client.ObjectKeyFromObject(addon), current))
			assert.NotNil(t, current.DeletionTimestamp)
			current.Finalizers = nil
			require.NoError(t, c.Update(ctx, current))
		}
		require.NoError(t, c.Delete(ctx, work))
		<-ctx.Done()
		ended.Store(true)
		return nil
	}
	require.NoError(t, u.removeAddons(soon(t)))
	require.NoError(t, u.result())
	assert.True(t, ended.Load(), "nothing runs on")
	require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(others), others))
	assert.True(t, strings.HasSuffix(out.String(), "the addons are gone from all clusters\n"), out.String())

	for name, want := range map[string]string{"argo-workflow-multicluster": "Manual", "others": "Placements"} {
		addon := byPlacement(name)
		require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(addon), addon))
		assert.Equal(t, want, addon.Spec.InstallStrategy.Type, name)
	}
}

func TestAnAddonWhoseClusterDoesNotAnswerIsReleased(t *testing.T) {
	agent := addonOn(cluster, "argo-workflow-multicluster", addonv1beta1.AddonPreDeleteHookFinalizer)
	argo := addonOn(cluster, "argo-workflows", addonv1beta1.AddonHostingManifestFinalizer, "others")
	work := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: cluster, Name: "addon-argo-workflow-multicluster-deploy-0",
		Labels: map[string]string{addonv1beta1.AddonLabelKey: "argo-workflow-multicluster"}}}
	u, c, _ := onHub(t, interceptor.Funcs{}, agent, argo, work)
	u.options.RunAddons = func(context.Context) error { return errors.New("forbidden") }
	u.addonsShare = impatience
	require.NoError(t, u.removeAddons(soon(t)))
	assert.True(t, apierrors.IsNotFound(c.Get(t.Context(), client.ObjectKeyFromObject(agent), agent)))
	require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(argo), argo))
	assert.Equal(t, []string{"others"}, argo.Finalizers)
	for _, want := range []string{
		"argo-multicluster agent release --hub-id " + gen.HubID,
		"kept by finalizers of others: [others]",
		"has not removed in time what the addons have deployed there",
		"pre-delete hooks cannot be run: forbidden",
	} {
		require.ErrorContains(t, u.result(), want)
	}
}

func TestADryRunDisablesNothing(t *testing.T) {
	addon, install := addonOn(cluster, "argo-workflows"), byPlacement("argo-workflows")
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "product", Name: "hub"}}
	u, c, out := onHub(t, interceptor.Funcs{}, addon, install, deployment)
	u.options.DryRun, u.client = true, readOnly{c}
	require.NoError(t, u.stopManager(soon(t)))
	require.NoError(t, u.removeAddons(soon(t)))
	require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(addon), addon))
	require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(install), install))
	assert.Equal(t, "Placements", install.Spec.InstallStrategy.Type)
	for line := range strings.Lines(out.String()) {
		assert.True(t, strings.HasPrefix(line, "(dry run) "), line)
	}
}
