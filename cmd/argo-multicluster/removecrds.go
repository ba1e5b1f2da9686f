package main

import (
	"time"

	"github.com/spf13/cobra"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/agent"
)

func newRemoveCRDsCommand() *cobra.Command {
	var kubeconfig string
	var logs logOptions
	options := agent.RemoveCRDsOptions{}
	cmd := &cobra.Command{
		Use:   "remove-crds",
		Short: "Remove Argo's CRDs and namespace from a managed cluster, unless users have something in them",
		Long: `Remove Argo's CRDs and namespace from a managed cluster, unless users have something in them.

The addon argo-workflows makes both where they are missing, and leaves both when it is removed. Only those that this hub's addon has
made are removed, and only if there is no Workflow, WorkflowTemplate, CronWorkflow or the like on the cluster, and nothing in the
namespace but what the addon has put there. What stays is said, and is no error.

The addon's pre-delete hook runs it. Run it by hand, with the kubeconfig of the managed cluster, when the last Workflow is gone.`,
		Example: `  argo-multicluster agent remove-crds --hub-id 0c2ee5f0-7c3c-4a0b-8f5e-2f4f2f0f6a11 --kubeconfig ~/.kube/cluster1`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := logs.setup(); err != nil {
				return err
			}
			if err := options.Validate(); err != nil {
				return err
			}
			config, err := loadConfig(kubeconfig)
			if err != nil {
				return err
			}
			return agent.RemoveCRDs(cmd.Context(), config, options, cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig of the managed cluster; by default $KUBECONFIG, and in a pod its service account")
	flags.StringVar(&options.HubID, "hub-id", "", "id of the hub whose addon has installed Argo Workflows: the UID of its namespace kube-system (required)")
	flags.StringVar(&options.ArgoNamespace, "argo-namespace", "argo", "namespace of Argo's controller")
	flags.StringVar(&options.InstanceID, "argo-instance-id", "", "instance id of Argo's controller, if it has one")
	flags.DurationVar(&options.Timeout, "timeout", 10*time.Minute, "time to wait for the controller to end, and for the CRDs to be gone")
	logs.addFlags(flags)
	return cmd
}
