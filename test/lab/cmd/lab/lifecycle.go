package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

// location is how every command names its lab.
type location struct{ name, dir string }

func (l *location) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&l.name, "name", "default", "name of the lab")
	flags.StringVar(&l.dir, "dir", "", "folder of the lab (default <repository>/.lab/<name>)")
}

func (l *location) resolve() (string, error) {
	if l.dir != "" {
		return l.dir, nil
	}
	return lab.DefaultDir(l.name)
}

func newUp() *cobra.Command {
	var options lab.Options
	where := location{}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a lab, or what is missing of it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options.Name, options.Dir, options.Progress = where.name, where.dir, cmd.ErrOrStderr()
			running, err := lab.Up(cmd.Context(), options)
			if err != nil {
				return err
			}
			return printLab(cmd.OutOrStdout(), running)
		},
	}
	flags := cmd.Flags()
	where.addFlags(flags)
	flags.IntVar(&options.Clusters, "clusters", 0, "number of managed clusters (default 2)")
	flags.StringVar((*string)(&options.Pods), "pods", "auto", "who runs pods: auto, real or simulated")
	flags.StringVar(&options.HubArgo, "hub-argo", "", `Argo controller on the hub: "plain", or an instance id (default none)`)
	flags.StringSliceVar(&options.WithoutArgo, "without-argo", nil, "managed clusters that get no Argo at all")
	flags.BoolVar(&options.NoArgoController, "no-argo-controller", false, "install Argo's CRDs, but no controller, on managed clusters")
	flags.BoolVar(&options.ProductPods, "product-pods", false, "with real pods, leave Argo and the product to chart and addons")
	flags.DurationVar(&options.StatusSyncInterval, "status-sync-interval", 0, "how often OCM's work agent polls for feedback (default 10s)")
	flags.DurationVar(&options.WorkResync, "work-resync", 0, "how often OCM's work agent applies again (default 4m to 6m)")
	flags.BoolVar(&options.HubJoins, "hub-joins", false, "have the hub join itself, as the managed cluster local-cluster")
	flags.BoolVar(&options.S3, "s3", false, "start an object store on the hub, for artifacts")
	flags.BoolVar(&options.Audit, "audit", false, "make the API servers write audit logs")
	return cmd
}

func newStatus() *cobra.Command {
	where := location{}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show a lab's processes, kubeconfigs and clusters",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := where.resolve()
			if err != nil {
				return err
			}
			found, err := lab.Open(dir)
			if err != nil {
				return err
			}
			if err := printProcesses(cmd.OutOrStdout(), found); err != nil {
				return err
			}
			return printLab(cmd.OutOrStdout(), found)
		},
	}
	where.addFlags(cmd.Flags())
	return cmd
}

func newDown() *cobra.Command {
	where := location{}
	cmd := &cobra.Command{
		Use:   "down",
		Short: "End a lab and remove every trace of it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := where.resolve()
			if err != nil {
				return err
			}
			return lab.Remove(cmd.Context(), dir)
		},
	}
	where.addFlags(cmd.Flags())
	return cmd
}

func newBuild() *cobra.Command {
	return &cobra.Command{
		Use:   "build [program...]",
		Short: "Build the programs that labs run (all without arguments) into bin/lab",
		RunE: func(cmd *cobra.Command, names []string) error {
			return lab.Build(cmd.Context(), lab.Options{Progress: cmd.ErrOrStderr()}, names...)
		},
	}
}

func printProcesses(out io.Writer, l *lab.Lab) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "CLUSTER\tPROCESS\tPID\tSTATE\tMEMORY\tLOG")
	total := 0
	for _, c := range l.Clusters() {
		for _, p := range c.Processes() {
			state := "down"
			if p.Running {
				state = "up"
			}
			total += p.MemoryKiB
			_, _ = fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%d MiB\t%s\n", c.Name, p.Name, p.PID, state, p.MemoryKiB/1024, p.Log)
		}
	}
	_, _ = fmt.Fprintf(table, "\t\t\t\t%d MiB\t\n", total/1024)
	return table.Flush()
}

func printLab(out io.Writer, l *lab.Lab) error {
	_, _ = fmt.Fprintf(out, "\nPods are %s.\n", l.Options().Pods)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "CLUSTER\tSTATE\tKUBECONFIG")
	for _, c := range l.Clusters() {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", c.Name, c.Condition(), c.Kubeconfig())
	}
	if err := table.Flush(); err != nil || !l.Options().S3 {
		return err
	}
	store := l.S3()
	_, err := fmt.Fprintf(out, "\nS3: bucket %s at %s, for this machine at %s; access key %s, secret key %s.\n",
		store.Bucket, store.Endpoint, store.HostEndpoint, store.AccessKey, store.SecretKey)
	return err
}
