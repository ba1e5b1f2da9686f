// Command ocm serves every Open Cluster Management command that the lab needs from one binary:
// linked separately, they are five times the size for the same code.
package main

import (
	goflag "flag"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	utilflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/logs"
	ocmfeature "open-cluster-management.io/api/feature"
	"open-cluster-management.io/ocm/pkg/cmd/hub"
	"open-cluster-management.io/ocm/pkg/cmd/spoke"
	"open-cluster-management.io/ocm/pkg/features"
	registrationspoke "open-cluster-management.io/ocm/pkg/registration/spoke"
	"open-cluster-management.io/ocm/pkg/work/spoke/controllers/manifestcontroller"
)

func main() {
	pflag.CommandLine.SetNormalizeFunc(utilflag.WordSepNormalizeFunc)
	pflag.CommandLine.AddGoFlagSet(goflag.CommandLine)
	logs.AddFlags(pflag.CommandLine)
	logs.InitLogs()

	// OCM's own mains each add the defaults of their component before they parse flags.
	utilruntime.Must(features.HubMutableFeatureGate.Add(ocmfeature.DefaultHubRegistrationFeatureGates))
	utilruntime.Must(features.HubMutableFeatureGate.Add(ocmfeature.DefaultHubWorkFeatureGates))

	root := &cobra.Command{Use: "ocm", Short: "Open Cluster Management's controllers, agents and webhooks", SilenceUsage: true}
	root.AddCommand(
		gated(named("registration", hub.NewRegistrationController())),
		named("placement", hub.NewPlacementController()),
		named("addon", hub.NewAddonManager()),
		gated(named("work", hub.NewWorkController())),
		klusterletAgent(),
		newAddonWebhook(),
	)
	err := root.Execute()
	logs.FlushLogs()
	if err != nil {
		os.Exit(1)
	}
}

// klusterletAgent is OCM's agent with one more flag: a test of what happens at the work agent's resync cannot wait
// for the 4 to 6 minutes that are compiled in. It looks at the Leases of addons each 5 seconds instead of each 30: all that waits until
// an addon is available is sooner done.
func klusterletAgent() *cobra.Command {
	registrationspoke.AddOnLeaseControllerSyncInterval = 5 * time.Second
	cmd := named("klusterlet-agent", spoke.NewKlusterletAgentCmd())
	cmd.Flags().DurationVar(&manifestcontroller.ResyncInterval, "work-resync-interval", manifestcontroller.ResyncInterval,
		"How often a ManifestWork is applied again without a cause, plus up to half as much.")
	return cmd
}

// gated adds the flag for the hub's feature gates.
func gated(cmd *cobra.Command) *cobra.Command {
	features.HubMutableFeatureGate.AddFlag(cmd.Flags())
	return cmd
}

func named(use string, cmd *cobra.Command) *cobra.Command {
	cmd.Use = use
	return cmd
}
