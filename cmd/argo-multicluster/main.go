// Command argo-multicluster runs Argo Workflows created on an Open Cluster Management hub on its managed clusters.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	ctrl "sigs.k8s.io/controller-runtime"
)

func main() {
	if err := newCommand().ExecuteContext(ctrl.SetupSignalHandler()); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "argo-multicluster",
		Short: "Run Argo Workflows created on an OCM hub on its managed clusters",
		Long: `argo-multicluster runs Argo Workflows that are created on an Open Cluster Management (OCM) hub on the hub's
managed clusters, and keeps the hub Workflow equal to what happens there.

It is one program for both sides: "hub" is the manager on the hub, "agent" runs on each managed cluster.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.AddCommand(newHubCommand(), newAgentCommand(), newConvertCommand(), newLintCommand(), newExecutorPluginCommand(), newVersionCommand())
	return cmd
}
