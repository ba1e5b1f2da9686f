package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/addon"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/uninstall"
)

func newUninstallCommand() *cobra.Command {
	var cluster access
	var deployment, agentImage string
	options := uninstall.Options{Lease: hub.ComponentName}
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Take the manager and its addons from the hub, and leave users their Workflows",
		Long: `Take the manager and its addons from the hub, and leave users their Workflows.

The chart's pre-delete hook runs it, so that "helm uninstall" leaves nothing that is stuck. In this order it
  1. scales the manager's Deployment to 0, and waits for its last pod;
  2. leaves the Workflows: what has started, finished or not, stays on its managed cluster and goes on there, as long as an Argo
     controller runs there; the hub's Workflow keeps its last status and says where the run is. What has not started is taken back
     from its cluster, and waits on the hub for another manager. A run whose Workflow is being deleted is terminated. RemoteWorkflows
     are deleted, and ManifestWorks, but for those of clusters without agent: a Workflow there would end with its ManifestWork. The
     output names the command that deletes both;
  3. disables the addons argo-workflow-multicluster and argo-workflows on all clusters, with the agent's pre-delete hook. A Placement no
     longer installs them.
No Workflow is deleted on the hub, nor any CRD.

Clusters that do not answer are waited for until a share of the timeout has passed. Then the hub is tidied without them, and the command
fails with what is left and what to do about it. It may be run again at any time, and takes up where it has stopped.
"helm uninstall --no-hooks" leaves it at that.`,
		Example: `  # what would be done
  argo-multicluster hub uninstall --deployment=argo-workflow-multicluster/argo-workflow-multicluster-hub --dry-run

  # from a workstation, without Helm
  argo-multicluster hub uninstall --deployment=argo-workflow-multicluster/argo-workflow-multicluster-hub --kubeconfig ~/.kube/hub`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if deployment != "" {
				options.Deployment.Namespace, options.Deployment.Name, _ = strings.Cut(deployment, "/")
			}
			if err := options.Validate(); err != nil {
				return err
			}
			config, err := cluster.config()
			if err != nil {
				return err
			}
			options.Out = cmd.OutOrStdout()
			return runUninstall(cmd.Context(), config, agentImage, options)
		},
	}
	flags := cmd.Flags()
	cluster.addFlags(flags, "hub")
	flags.StringVar(&deployment, "deployment", "",
		"<namespace>/<name> of the manager's Deployment; without it, make sure yourself that no manager runs")
	flags.DurationVar(&options.Timeout, "timeout", 5*time.Minute, "time for all of it")
	flags.BoolVar(&options.DryRun, "dry-run", false, "only say what would be done")
	flags.StringVar(&agentImage, "agent-image", defaultAgentImage(), "image that the agent's pre-delete hook runs on the managed clusters")
	return cmd
}

func runUninstall(ctx context.Context, config *rest.Config, agentImage string, options uninstall.Options) error {
	config.QPS, config.Burst = 300, 600
	scheme, err := hub.Scheme()
	if err != nil {
		return err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("create client: %w", err)
	}
	if options.HubID, err = hub.ID(ctx, c); err != nil {
		return err
	}
	if options.RunAddons, err = newAddonManager(config, addon.Options{AgentImage: agentImage, HubID: options.HubID}); err != nil {
		return err
	}
	return uninstall.Run(ctx, c, options)
}
