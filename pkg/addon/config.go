package addon

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"open-cluster-management.io/addon-framework/pkg/addonfactory"
	"open-cluster-management.io/addon-framework/pkg/agent"
	"open-cluster-management.io/addon-framework/pkg/utils"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

// Names of the values that the work agent feeds back of a Deployment, beside the well-known ReadyReplicas, Replicas and
// AvailableReplicas.
const (
	// feedbackImage is the image of the first container.
	feedbackImage = "image"
	// feedbackAvailable and feedbackAvailableMessage are status and message of the condition Available.
	feedbackAvailable        = "available"
	feedbackAvailableMessage = "availableMessage"
	// feedbackProgressingReason and feedbackProgressingMessage are reason and message of the condition Progressing: a
	// rollout that does not come to an end is ProgressDeadlineExceeded.
	feedbackProgressingReason  = "progressingReason"
	feedbackProgressingMessage = "progressingMessage"
)

// configValues returns the values that a chart takes from the AddOnDeploymentConfig of the addon: the customized
// variables, as strings, under their own names; tolerations, global.nodeSelector, global.proxyConfig and
// global.resourceRequirements.
func configValues(getter utils.AddOnDeploymentConfigGetter) addonfactory.GetValuesFunc {
	return addonfactory.GetAddOnDeploymentConfigValues(getter,
		addonfactory.ToAddOnCustomizedVariableValues,
		addonfactory.ToAddOnNodePlacementValues,
		addonfactory.ToAddOnProxyConfigValues,
		addonfactory.ToAddOnResourceRequirementsValues,
	)
}

// build returns the addon that the factory makes with these values. getter reads AddOnDeploymentConfigs.
func build(
	factory *addonfactory.AgentAddonFactory, getter utils.AddOnDeploymentConfigGetter,
	manifestConfigs []workv1.ManifestConfigOption, values ...addonfactory.GetValuesFunc,
) (agent.AgentAddon, error) {
	built, err := factory.
		WithConfigGVRs(utils.AddOnDeploymentConfigGVR).
		WithAgentInstallNamespace(utils.AgentInstallNamespaceFromDeploymentConfigFunc(getter)).
		WithAgentDeployTriggerClusterFilter(rendersDifferently).
		WithGetValuesFuncs(values...).
		WithHelmEngineStrict().
		BuildHelmAgentAddon()
	if err != nil {
		return nil, fmt.Errorf("load the addon's chart: %w", err)
	}
	return &configuredAddon{AgentAddon: built, manifestConfigs: manifestConfigs}, nil
}

// configuredAddon is an addon built by the addon framework, with what its factory has no option for.
type configuredAddon struct {
	agent.AgentAddon
	manifestConfigs []workv1.ManifestConfigOption
}

// Manifests returns what the addon deploys, and nothing before OCM has said which configuration that is made with: an
// agent would else be installed with the defaults, and moved. An addon that is being deleted is not kept waiting: its
// pre-delete hook must run. (The framework's own check, ConfigCheckEnabled, drops the hook then.) One that waits for its turn
// in a rollout stays as it is deployed, and keeps its hook: the framework takes an addon without one for one that needs none.
func (a *configuredAddon) Manifests(
	ctx context.Context, cluster *clusterv1.ManagedCluster, addon *addonv1beta1.ManagedClusterAddOn,
) ([]runtime.Object, error) {
	configured := meta.IsStatusConditionTrue(addon.Status.Conditions, addonv1beta1.ManagedClusterAddOnConditionConfigured)
	waiting := !configured && addon.DeletionTimestamp.IsZero()
	if waiting && !controllerutil.ContainsFinalizer(addon, addonv1beta1.AddonPreDeleteHookFinalizer) {
		return nil, nil
	}
	objects, err := a.AgentAddon.Manifests(ctx, cluster, addon)
	if err != nil && !addon.DeletionTimestamp.IsZero() {
		objects, err = a.AgentAddon.Manifests(ctx, cluster, withoutConfig(addon))
	}
	if err != nil {
		return nil, fmt.Errorf("render with the addon's AddOnDeploymentConfig, whose customizedVariables are values of this chart: %w", err)
	}
	if waiting {
		objects = slices.DeleteFunc(objects, func(object runtime.Object) bool { return !isHook(object) })
	}
	return objects, nil
}

// withoutConfig returns an addon that is being deleted as if nothing configured it, but where it is installed. It must not wait
// for a configuration that was deleted before it, or never was valid.
func withoutConfig(addon *addonv1beta1.ManagedClusterAddOn) *addonv1beta1.ManagedClusterAddOn {
	bare := addon.DeepCopy()
	bare.Status.ConfigReferences = nil
	if namespace := addon.Status.Namespace; namespace != "" {
		metav1.SetMetaDataAnnotation(&bare.ObjectMeta, addonv1beta1.InstallNamespaceAnnotation, namespace)
	}
	return bare
}

// isHook reports whether an object is run before an addon is removed, and not deployed before.
func isHook(object runtime.Object) bool {
	annotations, _ := meta.NewAccessor().Annotations(object) // none, if it is no object
	_, hook := annotations[addonv1beta1.AddonPreDeleteHookAnnotationKey]
	return hook
}

// GetAgentAddonOptions returns the options of the addon.
func (a *configuredAddon) GetAgentAddonOptions() agent.AgentAddonOptions {
	options := a.AgentAddon.GetAgentAddonOptions()
	options.ManifestConfigs = a.manifestConfigs
	return options
}

// watchDeployment makes the work agent feed back how a Deployment of this name is, in any namespace, as it changes.
func watchDeployment(name string) workv1.ManifestConfigOption {
	return workv1.ManifestConfigOption{
		ResourceIdentifier: workv1.ResourceIdentifier{Group: "apps", Resource: "deployments", Namespace: "*", Name: name},
		FeedbackRules: []workv1.FeedbackRule{
			{Type: workv1.WellKnownStatusType},
			{Type: workv1.JSONPathsType, JsonPaths: []workv1.JsonPath{
				{Name: feedbackImage, Path: ".spec.template.spec.containers[0].image"},
				{Name: feedbackAvailable, Path: `.status.conditions[?(@.type=="Available")].status`},
				{Name: feedbackAvailableMessage, Path: `.status.conditions[?(@.type=="Available")].message`},
				{Name: feedbackProgressingReason, Path: `.status.conditions[?(@.type=="Progressing")].reason`},
				{Name: feedbackProgressingMessage, Path: `.status.conditions[?(@.type=="Progressing")].message`},
			}},
		},
		FeedbackScrapeType: workv1.FeedbackWatchType,
	}
}

// rendersDifferently reports whether something of the managed cluster has changed that the charts depend on: the mirrors that its
// annotation names.
func rendersDifferently(before, after *clusterv1.ManagedCluster) bool {
	const mirrors = clusterv1.ClusterImageRegistriesAnnotationKey
	return before.Annotations[mirrors] != after.Annotations[mirrors]
}
