// Package steps tests steps of one Workflow in different clusters: an Argo controller runs the Workflow on the hub.
package steps

import (
	"context"
	"os"
	"testing"
	"time"

	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// patience is how long what must happen may take on a busy machine.
const patience = 4 * time.Minute

// theLab is the hub with its two managed clusters, and with itself as a third.
var theLab *lab.Lab

func TestMain(m *testing.M) {
	os.Exit(labtest.Main(m, labtest.Suite{
		Lab:   lab.Options{Name: "steps", Clusters: 2, HubArgo: lab.HubArgoPlain, HubJoins: true, S3: true},
		Start: func(ctx context.Context, l *lab.Lab) error { return l.StartProduct(ctx) },
		Open: func(dir string) (err error) {
			theLab, err = lab.Open(dir)
			return err
		},
	}))
}
