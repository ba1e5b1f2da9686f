package main

import (
	"net"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/tools/clientcmd"

	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/node"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/podrunner"
)

func newRunPods() *cobra.Command {
	var kubeconfig, journal string
	var at podrunner.NodeServer
	cmd := &cobra.Command{
		Use: "run-pods", Short: "Simulate the pods of Workflows", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return err
			}
			config.QPS = -1
			runner, err := podrunner.New(config, journal)
			if err != nil {
				return err
			}
			_, text, err := net.SplitHostPort(at.Address)
			if err != nil {
				return err
			}
			port, err := strconv.ParseInt(text, 10, 32)
			if err != nil {
				return err
			}
			group, ctx := errgroup.WithContext(cmd.Context())
			if err := runner.Register(ctx, int32(port)); err != nil {
				return err
			}
			group.Go(func() error { return runner.Serve(ctx, at) })
			group.Go(func() error { return runner.Run(ctx) })
			return group.Wait()
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig of the cluster")
	flags.StringVar(&journal, "journal", "", "file that pods append to")
	flags.StringVar(&at.Address, "listen", "", "address at which the API server reaches the node")
	flags.StringVar(&at.CertFile, "cert", "", "server certificate")
	flags.StringVar(&at.KeyFile, "key", "", "server key")
	flags.StringVar(&at.ClientCAFile, "client-ca", "", "authority of the API server's client certificate")
	return cmd
}

func newForward() *cobra.Command {
	var listen, to string
	var site node.Site
	cmd := &cobra.Command{
		Use: "forward", Short: "Carry TCP connections from one address to another", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dial := (&net.Dialer{}).DialContext
			if site.Lab != "" {
				dial = site.DialContext
			}
			return lab.Forward(cmd.Context(), listen, dial, to)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "", "address to accept connections at")
	cmd.Flags().StringVar(&to, "to", "", "address to connect to")
	cmd.Flags().StringVar(&site.Lab, "node-lab", "", "connect inside the network namespaces of this lab")
	cmd.Flags().StringVar(&site.Cluster, "node-cluster", "", "and there of this cluster")
	return cmd
}

func newMirrorSecret() *cobra.Command {
	var kubeconfig, namespace, name, folder string
	cmd := &cobra.Command{
		Use: "mirror-secret", Short: "Keep a folder equal to a Secret, as a volume would", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return err
			}
			return lab.MirrorSecret(cmd.Context(), config, namespace, name, folder)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig of the cluster")
	flags.StringVar(&namespace, "namespace", "", "namespace of the Secret")
	flags.StringVar(&name, "secret", "", "name of the Secret")
	flags.StringVar(&folder, "folder", "", "folder to write")
	return cmd
}
