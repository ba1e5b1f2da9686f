// Package twohubs tests a managed cluster that two hubs manage, each with OCM, manager and agent of its own. Its pods are simulated.
package twohubs

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// first is the lab of the one hub, with the cluster; second is that of the other hub.
var first, second *lab.Lab

func TestMain(m *testing.M) {
	os.Exit(labtest.Main(m, labtest.Suite{
		Lab: lab.Options{Name: "twohubs", Clusters: 1, Pods: lab.PodsSimulated},
		Start: func(ctx context.Context, l *lab.Lab) (err error) {
			if err := l.StartProduct(ctx); err != nil {
				return err
			}
			other := lab.Options{Name: "twohubs-second", Dir: secondDir(l.Dir()), Clusters: 1, Shares: l.Dir(), Progress: os.Stdout}
			if second, err = lab.Up(ctx, other); err != nil {
				return err
			}
			return second.StartProduct(ctx)
		},
		Others: func() []*lab.Lab {
			if second == nil {
				return nil
			}
			return []*lab.Lab{second}
		},
		Open: func(dir string) (err error) {
			if first, err = lab.Open(dir); err != nil {
				return err
			}
			second, err = lab.Open(secondDir(dir))
			return err
		},
	}))
}

func secondDir(first string) string { return filepath.Join(filepath.Dir(first), "twohubs-second") }
