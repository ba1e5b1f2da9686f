// Package bench measures the product on a lab, against the same Workflows created on the managed clusters directly, in the
// same run, so that the figures hold whatever the machine.
package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

// envPods says who runs the pods: auto, real or simulated.
const envPods = "BENCH_PODS"

// benchLab is the lab that all benchmarks share.
var benchLab *lab.Lab

func TestMain(m *testing.M) {
	log.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		code = 1
	}
	os.Exit(code)
}

// run starts the lab with the product for the benchmarks, and takes it down after them.
func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	benchLab, err = lab.Up(ctx, lab.Options{Name: "bench", Clusters: 2, Pods: lab.PodMode(os.Getenv(envPods)), Progress: os.Stderr})
	if err != nil {
		return 1, err
	}
	defer func() {
		if downErr := benchLab.Down(ctx); err == nil {
			err = downErr
		}
	}()
	if err := startProduct(ctx); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

func startProduct(ctx context.Context) error {
	if err := benchLab.StartProduct(ctx); err != nil {
		return err
	}
	for _, file := range []string{"clusterset-binding.yaml", "workflow-placement.yaml"} {
		if err := benchLab.Hub().ApplyFiles(ctx, filepath.Join("example", file)); err != nil {
			return err
		}
	}
	return nil
}
