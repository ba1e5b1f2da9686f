// Command demo shows the whole product at work on one machine: it starts a lab with the hub manager and the agents,
// applies the examples, follows their Workflows, and shows where each piece of them is. It leaves the lab up.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

func main() {
	log.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has run
	}
}

func newCommand() *cobra.Command {
	var down bool
	options := lab.Options{Progress: os.Stdout, ProductPods: true}
	cmd := &cobra.Command{
		Use:           "demo",
		Short:         "Run the examples on a lab with the whole product, and show what happens where",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := lab.DefaultDir(options.Name)
			if err != nil {
				return err
			}
			if down {
				return lab.Remove(cmd.Context(), dir)
			}
			return run(cmd.Context(), options)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&options.Name, "name", "demo", "name of the lab")
	flags.IntVar(&options.Clusters, "clusters", 2, "number of managed clusters")
	flags.StringVar((*string)(&options.Pods), "pods", string(lab.PodsAuto), "who runs the pods: auto, real or simulated")
	flags.BoolVar(&down, "down", false, "stop the lab, and leave nothing of it behind")
	return cmd
}

// workflows are the examples that the demo follows.
var workflows = []string{"hello-world", "dag"}

// patience is how long the examples get to finish.
const patience = 3 * time.Minute

func run(ctx context.Context, options lab.Options) error {
	if err := lab.Build(ctx, options, "kubectl"); err != nil {
		return err
	}
	l, err := lab.Up(ctx, options)
	if err != nil {
		return err
	}
	say("The product: a manager on the hub, an agent on each managed cluster")
	if err := start(ctx, l); err != nil {
		return err
	}
	say("The examples: a binding, a Placement and two Workflows, created on the hub")
	if l.Options().Pods == lab.PodsSimulated {
		fmt.Println("pods are simulated: no container runs, and each output parameter reads \"simulated\"")
	}
	if err := removeEarlier(ctx, l); err != nil {
		return err
	}
	if err := applyExamples(ctx, l); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := follow(ctx, l, workflows...); err != nil {
		return err
	}
	return show(ctx, l)
}

// start installs the product with helm and clusteradm, or starts its processes where the lab's pods are simulated.
func start(ctx context.Context, l *lab.Lab) error {
	if l.RunsInPods() {
		return l.InstallProduct(ctx)
	}
	return l.StartProduct(ctx)
}

func applyExamples(ctx context.Context, l *lab.Lab) error {
	for _, file := range append([]string{"clusterset-binding", "workflow-placement"}, workflows...) {
		if err := l.Hub().ApplyFiles(ctx, filepath.Join("example", file+".yaml")); err != nil {
			return err
		}
	}
	return nil
}

// removeEarlier removes the Workflows of an earlier demo on the same lab, so that this one runs them again.
func removeEarlier(ctx context.Context, l *lab.Lab) error {
	return kubectl(ctx, l.Hub(), append([]string{"delete", "workflow", "--ignore-not-found"}, workflows...)...)
}

func say(what string) { fmt.Printf("\n== %s ==\n", what) }
