package main

import (
	"time"

	"github.com/spf13/cobra"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/agent"
)

func newReleaseCommand() *cobra.Command {
	var cluster access
	options := agent.ReleaseOptions{}
	cmd := &cobra.Command{
		Use:   "release",
		Short: "Release the Workflows of a hub on a managed cluster, when the agent is gone for good",
		Long: `Release the Workflows of a hub on a managed cluster, when the agent is gone for good.

The agent keeps each Workflow that it has started from vanishing, by a finalizer, until the hub has its final status. This command
removes that finalizer from the Workflows of one hub, and the agent's Leases, and deletes Workflows that have not started, which only
the agent would start. It changes nothing else: Workflows that run go on running, and an agent that is installed later goes on where
the last one has stopped.

The addon's pre-delete hook runs it. Run it by hand where that could not: after a hub or its access was lost, with the kubeconfig
of the managed cluster. It needs no hub. It waits for the agent to stop, which would put the finalizers back; where the addon
cannot be disabled any more, scale the agent's Deployment to 0. It may be run again at any time, and fails as long as a Workflow
could not be released.`,
		Example: `  # what would be released, of all hubs
  argo-multicluster agent release --all-hubs --dry-run

  # what the hub has sent whose namespace kube-system has this UID
  argo-multicluster agent release --hub-id 0c2ee5f0-7c3c-4a0b-8f5e-2f4f2f0f6a11 --kubeconfig ~/.kube/cluster1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := options.Validate(); err != nil {
				return err
			}
			config, err := cluster.config()
			if err != nil {
				return err
			}
			return agent.Release(cmd.Context(), config, options, cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	cluster.addFlags(flags, "managed cluster")
	flags.StringVar(&options.HubID, "hub-id", "", "id of the hub whose Workflows to release: the UID of its namespace kube-system")
	flags.BoolVar(&options.AllHubs, "all-hubs", false, "release the Workflows of every hub; only if no other hub manages this cluster")
	flags.StringVar(&options.ClusterName, "cluster-name", "", "only those sent to this cluster under this name")
	addNamespaceFlag(flags, &options.Namespace)
	flags.DurationVar(&options.Timeout, "timeout", 2*time.Minute, "time to wait for the agent to stop")
	flags.BoolVar(&options.DryRun, "dry-run", false, "only say what would be released")
	return cmd
}
