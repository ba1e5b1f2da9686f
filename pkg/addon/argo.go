package addon

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"open-cluster-management.io/addon-framework/pkg/addonfactory"
	"open-cluster-management.io/addon-framework/pkg/agent"
	"open-cluster-management.io/addon-framework/pkg/utils"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	workv1 "open-cluster-management.io/api/work/v1"

	"open-cluster-management.io/argo-workflow-multicluster/manifests"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

const (
	// argoDeployment is the Deployment of Argo's controller.
	argoDeployment = "workflow-controller"
	// argoCRD is the CRD by which an installation of Argo Workflows is known.
	argoCRD = "workflows.argoproj.io"
	// argoRegistry is where Argo's images come from.
	argoRegistry = "quay.io/argoproj/"

	// crdGroup and crdResource are the API of CRDs.
	crdGroup, crdResource = "apiextensions.k8s.io", "customresourcedefinitions"
)

// Names of the values that the work agent feeds back of argoCRD.
const (
	// feedbackUID is there if the CRD is.
	feedbackUID = "uid"
	// feedbackInstalledBy is the id of the hub whose addon has made the CRD.
	feedbackInstalledBy = "installedBy"
)

// newArgoAddon returns the addon that installs Argo Workflows on a managed cluster which has none.
//
// It first sends the CRD of Workflows alone, to be created if it is missing, with the hub's id in a label. What the work
// agent then feeds back of that CRD says whether there was one already; the reconciler of the addons' conditions puts it into
// the condition ConditionArgoManaged, and the rest follows only if that is true.
func newArgoAddon(getter utils.AddOnDeploymentConfigGetter, hubID string) (agent.AgentAddon, error) {
	factory := addonfactory.NewAgentAddonFactory(contract.ArgoAddonName, manifests.ArgoWorkflows, "argo-workflows").
		WithAgentHealthProber(&agent.HealthProber{
			Type:       agent.HealthProberTypeWork,
			WorkProber: &agent.WorkHealthProber{ProbeFields: argoProbes(), HealthChecker: argoHealth(hubID)},
		})
	return build(factory, getter, argoManifestConfigs(),
		addonfactory.GetAgentImageValues(getter, "controllerImage", argoRegistry+"workflow-controller"),
		addonfactory.GetAgentImageValues(getter, "executorImage", argoRegistry+"argoexec"),
		addonfactory.GetAgentImageValues(getter, "serverImage", argoRegistry+"argocli"),
		configValues(getter), argoValues(hubID))
}

// argoValues returns the values that nobody else has a say in.
func argoValues(hubID string) addonfactory.GetValuesFunc {
	return func(_ *clusterv1.ManagedCluster, addon *addonv1beta1.ManagedClusterAddOn) (addonfactory.Values, error) {
		return addonfactory.Values{
			"hubID":   hubID,
			"managed": meta.IsStatusConditionTrue(addon.Status.Conditions, ConditionArgoManaged),
		}, nil
	}
}

// argoProbes are what the addon's health is told by: the CRD of Workflows, and all Deployments.
func argoProbes() []agent.ProbeField {
	deployments := watchDeployment("*")
	return []agent.ProbeField{
		{
			ResourceIdentifier: workv1.ResourceIdentifier{Group: crdGroup, Resource: crdResource, Name: argoCRD},
			ProbeRules: []workv1.FeedbackRule{{Type: workv1.JSONPathsType, JsonPaths: []workv1.JsonPath{
				{Name: feedbackUID, Path: ".metadata.uid"},
				{Name: feedbackInstalledBy, Path: ".metadata.labels." + strings.ReplaceAll(contract.LabelInstalledBy, ".", `\.`)},
			}}},
		},
		{ResourceIdentifier: deployments.ResourceIdentifier, ProbeRules: deployments.FeedbackRules},
	}
}

// argoManifestConfigs say how the manifests are applied. They are the same for all clusters.
//
// What may be there already, and what may hold something of users', is only created. The Deployment is watched; its
// identifier differs from that of the probe, since the framework would drop the scrape type if it were the same.
func argoManifestConfigs() []workv1.ManifestConfigOption {
	createOnly := &workv1.UpdateStrategy{Type: workv1.UpdateStrategyTypeCreateOnly}
	return []workv1.ManifestConfigOption{
		{ResourceIdentifier: workv1.ResourceIdentifier{Group: crdGroup, Resource: crdResource, Name: "*"}, UpdateStrategy: createOnly},
		{ResourceIdentifier: workv1.ResourceIdentifier{Resource: "namespaces", Name: "*"}, UpdateStrategy: createOnly},
		watchDeployment(argoDeployment),
	}
}

// argoHealth returns what says whether Argo Workflows works: if this addon has installed it, the controller's Deployment must be
// available, and the argo-server's, if there is one. Another installation is not looked at. One that the addon has found to be its own
// stays so, whatever becomes of the label on its CRD.
func argoHealth(hubID string) agent.AddonHealthCheckerFunc {
	return func(results []agent.FieldResult, _ *clusterv1.ManagedCluster, addon *addonv1beta1.ManagedClusterAddOn) error {
		isOurs := meta.IsStatusConditionTrue(addon.Status.Conditions, ConditionArgoManaged)
		var problems []error
		controller := false
		for _, result := range results {
			values := feedbackOf(result.FeedbackResult)
			switch {
			case result.ResourceIdentifier.Resource == crdResource && values.text(feedbackInstalledBy) != hubID && !isOurs:
				return nil
			case result.ResourceIdentifier.Resource == "deployments":
				controller = controller || result.ResourceIdentifier.Name == argoDeployment
				if problem := unavailable(result.ResourceIdentifier.Namespace, result.ResourceIdentifier.Name, values); problem != "" {
					problems = append(problems, errors.New(problem))
				}
			}
		}
		if !controller {
			return fmt.Errorf("the Deployment %s is not there yet", argoDeployment)
		}
		return errors.Join(problems...)
	}
}
