// Package capacity tests on a lab with three managed clusters of different size that Workflows go where there is room. Its pods are
// simulated, and so are the sizes: those of the Node that the lab registers are replaced.
//
//	make test-capacity WORKFLOWS=300
package capacity

import (
	"context"
	"os"
	"testing"

	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// theLab is the lab, for all tests.
var theLab *lab.Lab

func TestMain(m *testing.M) {
	os.Exit(labtest.Main(m, labtest.Suite{
		Lab:   lab.Options{Name: "capacity", Clusters: 3, Pods: lab.PodsSimulated, Chaos: true}, // as the whole history is looked at
		Start: func(ctx context.Context, l *lab.Lab) error { return l.StartProduct(ctx) },
		Open: func(dir string) (err error) {
			theLab, err = lab.Open(dir)
			return err
		},
	}))
}
