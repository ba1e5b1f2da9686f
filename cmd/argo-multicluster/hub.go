package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"open-cluster-management.io/addon-framework/pkg/addonmanager"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/addon"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/workflow"
)

func newHubCommand() *cobra.Command {
	var cluster access
	var agentImage string
	options := hub.Options{}
	cmd := &cobra.Command{
		Use:   "hub",
		Short: "Run the manager on the hub",
		Long: `Run the manager on the hub.

It gives each Workflow with the label workflows.argoproj.io/enable-ocm-multicluster=true a managed cluster, sends it there in a
ManifestWork, mirrors the status that the cluster's agent reports, and registers the agents with OCM's addon framework.

The hub needs OCM, Argo's minimal CRDs and the RemoteWorkflow CRD; it needs no Argo controller, unless
single steps of a Workflow are to run in other clusters (--steps).`,
		Example: `  # in a Deployment on the hub
  argo-multicluster hub --leader-elect

  # from a workstation
  argo-multicluster hub --kubeconfig ~/.kube/hub --log-format text`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := cluster.config()
			if err != nil {
				return err
			}
			return runHub(cmd.Context(), config, agentImage, options)
		},
	}
	flags := cmd.Flags()
	cluster.addFlags(flags, "hub")
	flags.StringVar(&options.MetricsBindAddress, "metrics-bind-address", ":8080", "host:port of the metrics; 0 for none")
	flags.BoolVar(&options.MetricsSecure, "metrics-secure", false, "serve the metrics by TLS, and only to who may get the URL /metrics")
	flags.StringVar(&options.HealthProbeBindAddress, "health-probe-bind-address", ":8081", "host:port of /healthz and /readyz; 0 for none")
	flags.BoolVar(&options.LeaderElection, "leader-elect", false, "elect a leader, so that replicas can stand by")
	flags.StringVar(&options.LeaderElectionNamespace, "leader-election-namespace", "",
		"namespace of the leader's Lease; by default that of the pod")
	// One small Workflow costs the manager some six requests; client-go's default of 20 a second would be the limit of the whole hub.
	flags.Float32Var(&options.QPS, "kube-api-qps", 300, "requests per second to the hub's API server, at most")
	flags.IntVar(&options.Burst, "kube-api-burst", 600, "requests to the hub's API server that may come at once")
	flags.IntVar(&options.Concurrency, "concurrency", 16, "Workflows that each reconciler works on at a time")
	flags.DurationVar(&options.DeletionTimeout, "deletion-timeout", workflow.DefaultDeletionTimeout,
		"how long a deleted Workflow waits for a cluster that cannot be reached; 0 for ever")
	flags.BoolVar(&options.Steps, "steps", false, "run steps of Workflows of an Argo controller on the hub in other clusters")
	flags.TimeVar(&options.RestoredAt, "restored-at", time.Time{}, []string{time.RFC3339}, "when the hub was restored from a backup, such as "+
		"2026-01-02T15:04:05Z: what waits since before, and may have run since the backup was made, stays Pending")
	flags.StringVar(&agentImage, "agent-image", defaultAgentImage(), "image that the addon runs as agent on the managed clusters")
	cmd.AddCommand(newUninstallCommand())
	return cmd
}

// defaultAgentImage is the image of this very build.
func defaultAgentImage() string {
	return "quay.io/open-cluster-management/argo-multicluster:" + cmp.Or(version, "latest")
}

func runHub(ctx context.Context, config *rest.Config, agentImage string, options hub.Options) error {
	mgr, err := hub.NewManager(ctx, config, options)
	if err != nil {
		return err
	}
	if err := addAddons(ctx, mgr, agentImage); err != nil {
		return err
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("run manager: %w", err)
	}
	return nil
}

// addAddons runs the addon manager within the manager, so that the leader election governs it, too.
func addAddons(ctx context.Context, mgr manager.Manager, agentImage string) error {
	hubID, err := hub.ID(ctx, mgr.GetAPIReader())
	if err != nil {
		return err
	}
	run, err := newAddonManager(mgr.GetConfig(), addon.Options{AgentImage: agentImage, HubID: hubID})
	if err != nil {
		return err
	}
	return errors.Join(mgr.Add(run), addon.SetupConditions(mgr, hubID), addon.SetupDetach(mgr, hubID))
}

// newAddonManager returns what runs the addon manager, with our addons, until its context ends.
func newAddonManager(config *rest.Config, options addon.Options) (manager.RunnableFunc, error) {
	addonManager, err := addonmanager.New(config)
	if err != nil {
		return nil, fmt.Errorf("create addon manager: %w", err)
	}
	if err := addon.AddToManager(addonManager, config, options); err != nil {
		return nil, fmt.Errorf("add addons: %w", err)
	}
	return func(ctx context.Context) error {
		if err := addonManager.Start(ctx); err != nil {
			return fmt.Errorf("run addon manager: %w", err)
		}
		<-ctx.Done()
		return nil
	}, nil
}
