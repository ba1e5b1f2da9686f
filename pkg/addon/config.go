package addon

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"open-cluster-management.io/addon-framework/pkg/addonfactory"
	"open-cluster-management.io/addon-framework/pkg/agent"
	"open-cluster-management.io/addon-framework/pkg/utils"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	workv1 "open-cluster-management.io/api/work/v1"
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

// anyNamespace, in an identifier of a resource, stands for the namespace that the addon is installed in.
const anyNamespace = "*"

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

// configuredAddon is an addon built by the addon framework, with what its factory has no option for.
type configuredAddon struct {
	agent.AgentAddon
	manifestConfigs []workv1.ManifestConfigOption
}

// Manifests returns what the addon deploys, and nothing before OCM has said which configuration that is made with: an
// agent would else be installed with the defaults, and moved. An addon that is being deleted is not kept waiting: its
// pre-delete hook must run. (The framework's own check, ConfigCheckEnabled, drops the hook then.)
func (a *configuredAddon) Manifests(
	ctx context.Context, cluster *clusterv1.ManagedCluster, addon *addonv1beta1.ManagedClusterAddOn,
) ([]runtime.Object, error) {
	configured := meta.IsStatusConditionTrue(addon.Status.Conditions, addonv1beta1.ManagedClusterAddOnConditionConfigured)
	if !configured && addon.DeletionTimestamp.IsZero() {
		return nil, nil
	}
	objects, err := a.AgentAddon.Manifests(ctx, cluster, addon)
	if err != nil {
		return nil, fmt.Errorf("render with the addon's AddOnDeploymentConfig, whose customizedVariables are values of this chart: %w", err)
	}
	return objects, nil
}

// GetAgentAddonOptions returns the options of the addon.
func (a *configuredAddon) GetAgentAddonOptions() agent.AgentAddonOptions {
	options := a.AgentAddon.GetAgentAddonOptions()
	options.ManifestConfigs = a.manifestConfigs
	return options
}

// watchDeployment makes the work agent feed back how a Deployment is, as it changes.
func watchDeployment(namespace, name string) workv1.ManifestConfigOption {
	return workv1.ManifestConfigOption{
		ResourceIdentifier: workv1.ResourceIdentifier{Group: "apps", Resource: "deployments", Namespace: namespace, Name: name},
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

// versionChanged reports whether the managed cluster has come to another version of Kubernetes: what the charts contain
// depends on it.
func versionChanged(before, after *clusterv1.ManagedCluster) bool {
	return before.Status.Version.Kubernetes != after.Status.Version.Kubernetes
}
