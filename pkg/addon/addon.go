// Package addon registers the addons of this project with OCM's addon framework: what they deploy to a managed cluster,
// and the agent's identity and rights on the hub.
package addon

import (
	"errors"
	"fmt"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"open-cluster-management.io/addon-framework/pkg/addonmanager"
	"open-cluster-management.io/addon-framework/pkg/utils"
	addonclient "open-cluster-management.io/api/client/addon/clientset/versioned"
	clusterclient "open-cluster-management.io/api/client/cluster/clientset/versioned"
)

// Options configure the addons.
type Options struct {
	// AgentImage is the image of the agent, with its tag or digest. Mirrors of the registry replace its beginning.
	AgentImage string
	// HubID is the UID of the hub's kube-system namespace. What an agent releases is only what this hub has sent.
	HubID string
}

// AddToManager adds the addons to the addon manager. config reaches the hub.
func AddToManager(manager addonmanager.AddonManager, config *rest.Config, options Options) error {
	kubeClient, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("create client: %w", err)
	}
	addonClient, err := addonclient.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("create client of addons: %w", err)
	}
	clusterClient, err := clusterclient.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("create client of clusters: %w", err)
	}
	getter := utils.NewAddOnDeploymentConfigGetter(addonClient)
	agentAddon, err := newAgentAddon(kubeClient, clusterClient, getter, options)
	if err != nil {
		return err
	}
	argoAddon, err := newArgoAddon(getter, options.HubID)
	if err != nil {
		return err
	}
	return errors.Join(manager.AddAgent(agentAddon), manager.AddAgent(argoAddon))
}
