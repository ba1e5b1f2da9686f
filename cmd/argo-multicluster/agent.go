package main

import (
	"cmp"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/agent"
)

// defaultAgentNamespace is where OCM installs addons on a managed cluster.
const defaultAgentNamespace = "open-cluster-management-agent-addon"

func newAgentCommand() *cobra.Command {
	var cluster access
	options := agent.Options{}
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run the agent on a managed cluster",
		Long: `Run the agent on a managed cluster.

It starts each Workflow that the hub sends to this cluster, once, and reports its status to the hub until it has finished.
All connections are opened from here; on the hub the agent may write nothing but the status of its own cluster's RemoteWorkflows, and
what the cluster has free.

The agent waits for the hub, for its kubeconfig and for Argo's CRDs as long as it takes. It reads client certificate and token anew
when their files change; when the kubeconfig of the hub itself changes, it exits, for its pod to start it again.`,
		Example: `  # in the Deployment that the addon creates
  argo-multicluster agent --hub-kubeconfig /etc/hub/kubeconfig --cluster-name cluster1 --leader-elect

  # from a workstation, for a cluster whose Argo controller has an instance id
  argo-multicluster agent --hub-kubeconfig ~/.kube/hub --kubeconfig ~/.kube/cluster1 --cluster-name cluster1 --argo-instance-id team-a`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := cluster.config()
			if err != nil {
				return err
			}
			return agent.Run(cmd.Context(), config, options)
		},
	}
	cluster.addFlags(cmd.Flags(), "managed cluster")
	addAgentFlags(cmd.Flags(), &options)
	cmd.AddCommand(newReleaseCommand())
	return cmd
}

// addNamespaceFlag adds the flag for the agent's namespace: that of the pod, or else the one that OCM installs addons in.
func addNamespaceFlag(flags *pflag.FlagSet, namespace *string) {
	flags.StringVar(namespace, "agent-namespace", cmp.Or(os.Getenv("POD_NAMESPACE"), defaultAgentNamespace),
		"namespace of the agent's Leases; by default $POD_NAMESPACE")
}

func addAgentFlags(flags *pflag.FlagSet, o *agent.Options) {
	flags.StringVar(&o.HubKubeconfig, "hub-kubeconfig", "", "kubeconfig of the hub (required); it may appear later")
	flags.StringVar(&o.ClusterName, "cluster-name", "", "name of this managed cluster on the hub (required)")
	flags.StringVar(&o.HubID, "hub-id", "", "id of the hub, the UID of its namespace kube-system; without it the agent does not release "+
		"the hub's Workflows when its own namespace is deleted, nor see to remote Workflows that the hub does not know")
	addNamespaceFlag(flags, &o.Namespace)
	flags.StringVar(&o.InstanceID, "argo-instance-id", "", "instance id of this cluster's own Argo controller, if it has one")
	flags.BoolVar(&o.LeaderElection, "leader-elect", false, "elect a leader, so that replicas can stand by")
	flags.StringVar(&o.MetricsBindAddress, "metrics-bind-address", ":8080", "host:port of the metrics; 0 for none")
	flags.BoolVar(&o.MetricsSecure, "metrics-secure", false, "serve the metrics by TLS, and only to who may get the URL /metrics")
	flags.StringVar(&o.HealthProbeBindAddress, "health-probe-bind-address", ":8081", "host:port of /healthz and /readyz; 0 for none")
	// A small Workflow costs three requests to the hub and two or three here. With client-go's defaults, 5 or 20 a second,
	// the agent would be the limit of the whole cluster.
	flags.Float32Var(&o.HubQPS, "hub-qps", 200, "requests per second to the hub's API server, at most")
	flags.IntVar(&o.HubBurst, "hub-burst", 400, "requests to the hub's API server that may come at once")
	flags.Float32Var(&o.QPS, "qps", 300, "requests per second to this cluster's API server, at most")
	flags.IntVar(&o.Burst, "burst", 600, "requests to this cluster's API server that may come at once")
	flags.IntVar(&o.Concurrency, "concurrency", 16, "Workflows worked on at a time")
	flags.DurationVar(&o.ReportInterval, "report-interval", time.Second,
		"time between two reports of a Workflow whose phase stays the same; grows by a second for each 64 KiB of compressed status")
	flags.IntVar(&o.ReportBandwidth, "report-bandwidth", 1<<20,
		"bytes of compressed status per second for all Workflows together, 0 for no limit; changes of phase do not wait")
}
