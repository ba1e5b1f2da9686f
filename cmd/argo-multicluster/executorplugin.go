package main

import (
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/executorplugin"
)

func newExecutorPluginCommand() *cobra.Command {
	address := fmt.Sprintf("localhost:%d", executorplugin.Port)
	cmd := &cobra.Command{
		Use:   "executor-plugin",
		Short: "Keep Argo's agent on the hub from failing steps that run in other clusters",
		Long: `Keep Argo's agent on the hub from failing steps that run in other clusters.

It is the container of an Argo executor plugin, in the pod that Argo makes on the hub for each Workflow with plugin templates: it tells
Argo's agent there that templates with the key "multicluster" are run by somebody. It needs no rights, and connects to nothing.

The hub chart sets it up with hubArgo.enabled and hubArgo.serviceAccount. Argo's controller adds it to the pod if it runs with
ARGO_EXECUTOR_PLUGINS=true. It runs where the pod does: if the API server has no MutatingAdmissionPolicy, or if the Workflow has HTTP
templates or other plugins.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var config net.ListenConfig
			listener, err := config.Listen(cmd.Context(), "tcp", address)
			if err != nil {
				return fmt.Errorf("listen at --listen-address %q: %w", address, err)
			}
			return executorplugin.Serve(cmd.Context(), listener)
		},
	}
	cmd.Flags().StringVar(&address, "listen-address", address, "host and port to listen at; Argo's agent is in the same pod")
	return cmd
}
