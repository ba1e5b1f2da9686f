// Package e2e tests the whole product on a lab: a hub and four managed clusters of real components.
//
//	go test ./test/e2e/...                     # as `make test-e2e`; E2E_PODS=auto|real|simulated
//	E2E_KEEP=1 go test -run Examples ./test/e2e/...   # leaves the lab "e2e" up; the next run takes it over
//
// cluster1 and cluster2 have Argo and the agent, cluster3 has Argo and no agent, cluster4 has an agent and no Argo. The work
// agents poll for feedback once an hour, so whatever status the hub shows in time did not come that way, and apply
// everything again every few seconds, so that a Workflow that is missing is re-created while a test looks on.
//
// A test has a namespace of its own and is parallel, unless it stops, cuts off or measures something that others use: those
// are run first, one by one.
package e2e

import (
	"context"
	"os"
	"testing"
	"time"

	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

const (
	// resync is how often the work agents apply everything again. They add up to half of it.
	resync = 4 * time.Second
	// quiet is for how long a test looks on where nothing is to happen: at least three resyncs.
	quiet = 3 * resync * 3 / 2
	// patience is how long what must happen may take on a busy machine.
	patience = 5 * time.Minute
)

func TestMain(m *testing.M) {
	os.Exit(labtest.Main(m, labtest.Suite{
		Lab: lab.Options{
			Name: "e2e", Clusters: 4, WithoutArgo: []string{"cluster4"},
			StatusSyncInterval: time.Hour, WorkResync: resync, Audit: true, S3: true,
		},
		Start: func(ctx context.Context, l *lab.Lab) error { return l.StartProduct(ctx, "cluster3") },
		Open:  openLab,
	}))
}
