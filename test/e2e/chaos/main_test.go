// Package chaos runs Workflows through a lab whose processes are killed and paused, and whose connections are refused, reset,
// cut and held up, and then asks package verdict whether each ran once and its end is on the hub.
//
//	make test-chaos SEED=7 WORKFLOWS=300 FAULTS=100
//	make test-chaos-checker    # the same with the product broken on purpose: the verdict must say so
//
// A seed makes a plan: which Workflows are created when, what becomes of them, and what strikes when. What comes of it also
// depends on how fast the machine is.
package chaos

import (
	"context"
	"os"
	"testing"
	"time"

	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

const (
	// clusters is the number of managed clusters.
	clusters = 2
	// resync is how often the work agents apply everything again. They add up to half of it.
	resync = 3 * time.Second
)

// theLab is the lab, for all tests.
var theLab *lab.Lab

func TestMain(m *testing.M) {
	os.Exit(labtest.Main(m, labtest.Suite{
		Lab: lab.Options{Name: "chaos", Clusters: clusters, WorkResync: resync, Chaos: true, HubArgo: lab.HubArgoPlain},
		Start: func(ctx context.Context, l *lab.Lab) error {
			if err := l.BuildProduct(ctx); err != nil {
				return err
			}
			return startProduct(ctx, l)
		},
		Open: func(dir string) (err error) {
			theLab, err = lab.Open(dir)
			return err
		},
	}))
}

// startProduct starts two managers, and an agent on each managed cluster.
func startProduct(ctx context.Context, l *lab.Lab) error {
	if err := l.StartManagers(ctx); err != nil {
		return err
	}
	for _, c := range l.Managed() {
		if err := c.StartAgent(ctx); err != nil {
			return err
		}
	}
	return nil
}
