// Package integration tests the hub manager and the agents on real API servers: a hub and two managed clusters.
//
//	make test-integration
//	go test ./test/integration/... -run UID     # once the servers' programs are built
//
// The manager and the agents are the real ones, each with an access of its own; the agents have exactly the rights that the
// addon and the agent's manifests give them. There is no OCM and no Argo: a test plays OCM's work agent (fakeWorkAgent) and
// Argo's controller (fakeArgo) step by step, and holds back requests of manager and agents, so that it says what happens in
// which order.
//
// A test has a namespace of its own and is parallel, unless it stops something that others use: those are run first, one
// by one.
package integration

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"open-cluster-management.io/argo-workflow-multicluster/test/env"
)

// patience is how long what must happen may take on a busy machine.
const patience = time.Minute

func TestMain(m *testing.M) {
	os.Exit(env.Main(m, filepath.Join("..", "..", "_output", "integration-logs"), setUp, tearDown))
}

// setUp starts the servers side by side, joins the managed clusters to the hub as OCM would, and starts the product.
func setUp(ctx context.Context, dir string) error {
	if err := logTo(filepath.Join(dir, "logs", "product.log")); err != nil {
		return err
	}
	hubCRDs, err := env.HubCRDs(ctx)
	if err != nil {
		return err
	}
	managedCRDs, err := env.ManagedCRDs(ctx)
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.Go(func() error { return theHub.start(ctx, dir, hubCRDs) })
	group.Go(func() error { return cluster1.start(ctx, dir, managedCRDs) })
	group.Go(func() error { return cluster2.start(ctx, dir, managedCRDs) })
	if err := group.Wait(); err != nil {
		return err
	}
	group.Go(func() error { return join(ctx, cluster1) })
	group.Go(func() error { return join(ctx, cluster2) })
	group.Go(func() error { return makeGlobalSet(ctx) })
	if err := group.Wait(); err != nil {
		return err
	}
	return errors.Join(theManager.start(), agent1.start(), agent2.start())
}

func tearDown() error {
	err := errors.Join(theManager.stop(), agent1.stop(), agent2.stop())
	return errors.Join(err, theHub.stop(), cluster1.stop(), cluster2.stop())
}

// logTo makes the product, which runs in this process, log to a file.
func logTo(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	logger := zap.New(zap.WriteTo(file), zap.UseDevMode(true))
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
	return nil
}
