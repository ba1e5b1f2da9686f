// Command bench measures what a Workflow costs a hub and how long it takes, beside what it would take at least: the bare writes, the same
// Workflows created on the managed clusters, and OCM alone. See docs/performance.md.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	var quick bool
	var given options
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure the product on a lab of its own",
		Long: `Measure the product on a lab of its own, which is taken down afterwards: a hub with two managed clusters of real OCM and Argo, and
then the same hub with many hollow clusters, which one process plays.

It prints the figures as a table, and writes them with a chart into a folder. docs/performance.md says what each of them means.`,
		Example: `  go run ./test/bench --quick
  go run ./test/bench --quick --only floor,burst
  go run ./test/bench --before _output/bench/bench.json --out _output/bench-after`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd.Context(), given.over(quick))
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&quick, "quick", false, "measure with small numbers: minutes in place of two hours")
	given.addFlags(flags)
	return cmd
}

// run brings up the lab, measures, and takes the lab down.
func run(ctx context.Context, o options) (err error) {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	if err := logTo(filepath.Join(o.out, "bench.log")); err != nil {
		return err
	}
	shape := lab.Options{Name: o.name, Clusters: 2, Pods: lab.PodMode(o.pods), Audit: true, Progress: os.Stderr}
	if o.includes(scenarioSteps) {
		shape.HubArgo = lab.HubArgoPlain
	}
	l, err := lab.Up(ctx, shape)
	if err != nil {
		return err
	}
	defer func() {
		if o.keep {
			fmt.Fprintf(os.Stderr, "the lab stays up in %s\n", l.Dir())
			return
		}
		if downErr := l.Down(context.WithoutCancel(ctx)); err == nil {
			err = downErr
		}
	}()
	if err := l.StartProduct(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := newSuite(ctx, o, l)
	if err != nil {
		return err
	}
	measured := s.all(ctx)
	if err := s.show(); err != nil {
		return err
	}
	return measured
}

// logTo makes what of the product runs in this process log to a file.
func logTo(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	logger := zap.New(zap.WriteTo(file))
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
	return nil
}
