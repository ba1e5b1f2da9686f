package argoaddon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"open-cluster-management.io/addon-framework/pkg/addonmanager"
	addonagent "open-cluster-management.io/addon-framework/pkg/agent"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	clusterv1alpha1 "open-cluster-management.io/api/cluster/v1alpha1"
	workv1 "open-cluster-management.io/api/work/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/addon"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

const (
	argoAddon = "argo-workflows"
	hubID     = "hub-id"
)

// catcher stands in for the addon manager, to get at the addon.
type catcher struct {
	addonmanager.AddonManager
	caught map[string]addonagent.AgentAddon
}

func (c catcher) AddAgent(caught addonagent.AgentAddon) error {
	c.caught[caught.GetAgentAddonOptions().AddonName] = caught
	return nil
}

// render returns what the addon deploys with these customized variables, if Argo Workflows is its own.
func render(t *testing.T, variables map[string]string) []client.Object {
	t.Helper()
	c := catcher{caught: map[string]addonagent.AgentAddon{}}
	require.NoError(t, addon.AddToManager(c, server.Config, addon.Options{AgentImage: "agent", HubID: hubID}))
	config := &addonv1beta1.AddOnDeploymentConfig{}
	config.Namespace, config.GenerateName = "default", "config-"
	for name, value := range variables {
		config.Spec.CustomizedVariables = append(config.Spec.CustomizedVariables, addonv1beta1.CustomizedVariable{Name: name, Value: value})
	}
	require.NoError(t, admin.Create(t.Context(), config))
	managed := gen.ManagedClusterAddOn("cluster1", gen.WithCondition("Configured", metav1.ConditionTrue, "Configured", ""),
		gen.WithCondition(addon.ConditionArgoManaged, metav1.ConditionTrue, addon.ReasonInstalled, ""))
	managed.Name = argoAddon
	reference := addonv1beta1.ConfigReference{DesiredConfig: &addonv1beta1.ConfigSpecHash{SpecHash: "hash"}}
	reference.Group, reference.Resource = addonv1beta1.GroupName, "addondeploymentconfigs"
	reference.DesiredConfig.Namespace, reference.DesiredConfig.Name = config.Namespace, config.Name
	managed.Status.ConfigReferences = []addonv1beta1.ConfigReference{reference}
	cluster := gen.ManagedCluster("cluster1")
	cluster.Status.Version.Kubernetes = "v1.35.4"
	rendered, err := c.caught[argoAddon].Manifests(t.Context(), cluster, managed)
	require.NoError(t, err)
	var objects []client.Object
	for _, obj := range rendered {
		objects = append(objects, obj.(client.Object))
	}
	return objects
}

// deploy creates what is rendered, or updates it as far as it is there; a field that the server does not know is an error.
func deploy(t *testing.T, objects []client.Object) {
	t.Helper()
	strict := client.WithFieldValidation(admin, metav1.FieldValidationStrict)
	for _, object := range objects {
		err := strict.Create(t.Context(), object)
		if apierrors.IsAlreadyExists(err) {
			present := object.DeepCopyObject().(client.Object)
			require.NoError(t, admin.Get(t.Context(), client.ObjectKeyFromObject(object), present))
			object.SetResourceVersion(present.GetResourceVersion())
			err = strict.Update(t.Context(), object)
		}
		require.NoError(t, err, "%T %s", object, object.GetName())
	}
}

func ensureNamespace(t *testing.T, name string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	require.NoError(t, client.IgnoreAlreadyExists(admin.Create(t.Context(), namespace)))
}

func TestTheAPIServerTakesWhatTheAddonDeploys(t *testing.T) {
	ensureNamespace(t, "team-a")
	for name, variables := range map[string]map[string]string{
		"by default": {"argoNamespace": "accepted"},
		"with all variables": {
			"argoNamespace": "accepted-server", "argoServer": "true", "metrics": "false", "replicas": "2", "instanceID": "mine",
			"parallelism": "10", "workflowDefaults": "spec: {serviceAccountName: runner}", "artifactRepositoryRef": "{key: default}",
			"controllerArgs": "--executor-plugins", "workflowNamespaces": "default,team-a", "executorServiceAccounts": "default,runner",
		},
		"for one namespace": {"argoNamespace": "accepted-managed", "argoServer": "true", "managedNamespace": "team-a"},
	} {
		t.Run(name, func(t *testing.T) { deploy(t, render(t, variables)) })
	}
}

// TestTheAddonLearnsWhoseArgoIs plays the work agent: what it says of the ManifestWork becomes conditions of the addon.
func TestTheAddonLearnsWhoseArgoIs(t *testing.T) {
	startManager(t, addon.SetupConditions)
	ensureNamespace(t, "cluster9")
	installed := &addonv1beta1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: "cluster9", Name: argoAddon}}
	require.NoError(t, admin.Create(t.Context(), installed))
	work := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{
		Namespace: "cluster9", Name: "addon-argo-workflows-deploy-0", Labels: map[string]string{addonv1beta1.AddonLabelKey: argoAddon},
	}}
	require.NoError(t, admin.Create(t.Context(), work))

	requireReason(t, installed, addon.ConditionArgoManaged, addon.ReasonProbing)
	feedBack(t, work, map[string]string{"uid": "1"})
	requireReason(t, installed, addon.ConditionArgoManaged, addon.ReasonExistingInstallation)
	feedBack(t, work, map[string]string{"uid": "2", "installedBy": hubID})
	requireReason(t, installed, addon.ConditionArgoManaged, addon.ReasonInstalled)
}

// TestTheAgentsAddonSaysWhetherArgoIsTooOld plays the agent: what it measures becomes a condition of its addon.
func TestTheAgentsAddonSaysWhetherArgoIsTooOld(t *testing.T) {
	startManager(t, addon.SetupConditions)
	ensureNamespace(t, "cluster8")
	agents := &addonv1beta1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: "cluster8", Name: contract.AddonName}}
	require.NoError(t, admin.Create(t.Context(), agents))
	score := &clusterv1alpha1.AddOnPlacementScore{ObjectMeta: metav1.ObjectMeta{Namespace: "cluster8", Name: contract.ScoreName}}
	require.NoError(t, admin.Create(t.Context(), score))
	for _, test := range []struct{ version, want string }{
		{"", addon.ReasonVersionUnknown}, {"v3.4.2", addon.ReasonVersionVulnerable}, {"v3.7.18", addon.ReasonVersionSupported},
	} {
		score.Status = gen.Score("cluster8", contract.Capacity{ArgoVersion: test.version}).Status
		require.NoError(t, admin.Status().Update(t.Context(), score))
		requireReason(t, agents, addon.ConditionArgoVersion, test.want)
	}
}

// requireReason waits for the reason of the addon's condition.
func requireReason(t *testing.T, key client.Object, conditionType, reason string) {
	t.Helper()
	require.NoError(t, eventually(t.Context(), func() error {
		installed := &addonv1beta1.ManagedClusterAddOn{}
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(key), installed); err != nil {
			return err
		}
		condition := meta.FindStatusCondition(installed.Status.Conditions, conditionType)
		if condition == nil || condition.Reason != reason {
			return fmt.Errorf("%v is not %s", condition, reason)
		}
		return nil
	}))
}

// feedBack writes what a work agent says of Argo's CRD.
func feedBack(t *testing.T, work *workv1.ManifestWork, values map[string]string) {
	t.Helper()
	manifest := workv1.ManifestCondition{
		ResourceMeta: workv1.ManifestResourceMeta{
			Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition", Resource: "customresourcedefinitions",
			Name: "workflows.argoproj.io",
		},
		Conditions: []metav1.Condition{},
	}
	for name, value := range values {
		manifest.StatusFeedbacks.Values = append(manifest.StatusFeedbacks.Values,
			workv1.FeedbackValue{Name: name, Value: workv1.FieldValue{Type: workv1.String, String: ptr.To(value)}})
	}
	work.Status.ResourceStatus.Manifests = []workv1.ManifestCondition{manifest}
	require.NoError(t, admin.Status().Update(t.Context(), work))
}

// startManager runs a manager with what setUp adds to it until the test ends.
func startManager(t *testing.T, setUp func(ctrl.Manager, string) error) {
	t.Helper()
	mgr, err := ctrl.NewManager(server.Config, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: ptr.To(true)}, // the tests may run more than once
	})
	require.NoError(t, err)
	require.NoError(t, setUp(mgr, hubID))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
}

// TestADetachedClusterThatIsAwayIsNotKept, whichever of cluster and addon is deleted first.
func TestADetachedClusterThatIsAwayIsNotKept(t *testing.T) {
	startManager(t, addon.SetupDetach)
	for name, addonFirst := range map[string]bool{"addon-first": true, "cluster-first": false} {
		t.Run(name, func(t *testing.T) {
			ensureNamespace(t, name)
			cluster := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{"example.com/of-another"}}}
			agents := &addonv1beta1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{
				Namespace: name, Name: contract.AddonName, Finalizers: []string{addonv1beta1.AddonPreDeleteHookFinalizer},
			}}
			deleted := []client.Object{cluster, agents}
			if addonFirst {
				slices.Reverse(deleted)
			}
			for _, object := range deleted {
				require.NoError(t, admin.Create(t.Context(), object))
			}
			for _, object := range deleted {
				require.NoError(t, admin.Delete(t.Context(), object))
			}
			require.NoError(t, eventually(t.Context(), func() error {
				err := admin.Get(t.Context(), client.ObjectKeyFromObject(agents), agents)
				if err == nil {
					return errors.New("the addon is still there")
				}
				return client.IgnoreNotFound(err)
			}))
			require.NoError(t, admin.Get(t.Context(), client.ObjectKeyFromObject(cluster), cluster))
			cluster.Finalizers = nil
			require.NoError(t, admin.Update(t.Context(), cluster))
		})
	}
}
