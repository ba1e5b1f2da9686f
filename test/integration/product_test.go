package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/agent"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub"
	"open-cluster-management.io/argo-workflow-multicluster/test/env"
)

// The product, for all tests. A test that stops one of them is not parallel.
var (
	theManager = &manager{options: managerOptions}
	agent1     = &agentOn{cluster: cluster1}
	agent2     = &agentOn{cluster: cluster2}
)

// managerOptions are the manager's flags by default, but for addresses.
var managerOptions = hub.Options{
	MetricsBindAddress: "0", HealthProbeBindAddress: "0", QPS: 300, Burst: 600, Concurrency: 16,
}

// background runs something until it is stopped.
type background struct {
	cancel context.CancelFunc
	result chan error
}

func inBackground(run func(context.Context) error) *background {
	ctx, cancel := context.WithCancel(context.Background())
	b := &background{cancel: cancel, result: make(chan error, 1)}
	go func() { b.result <- run(ctx) }()
	return b
}

// stop stops it, waits for its end, and returns the error with which it ended.
func (b *background) stop() error {
	b.cancel()
	select {
	case err := <-b.result:
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	case <-time.After(patience):
		return errors.New("it does not end")
	}
}

// manager is the hub manager, and what it writes.
type manager struct {
	options hub.Options
	tap     env.Tap
	running *background
}

// start starts the manager, unless it runs. It returns when the manager works, or is another one's deputy.
func (m *manager) start() error {
	if m.running != nil {
		return nil
	}
	config, err := theHub.server.User("manager", "system:masters")
	if err != nil {
		return err
	}
	ready := make(chan error, 1)
	m.running = inBackground(func(ctx context.Context) error {
		mgr, err := hub.NewManager(ctx, m.tap.Into(config), m.options)
		ready <- err
		if err != nil {
			return err
		}
		return mgr.Start(ctx)
	})
	return <-ready
}

func (m *manager) stop() error {
	if m.running == nil {
		return nil
	}
	err := m.running.stop()
	m.running = nil
	if err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	return nil
}

// stopManager stops the manager until the test ends, or starts it.
func stopManager(t *testing.T) {
	t.Helper()
	t.Cleanup(func() { assert.NoError(t, theManager.start()) })
	require.NoError(t, theManager.stop())
}

// agentOn is the agent on a managed cluster, and what it writes on both sides.
type agentOn struct {
	cluster      *cluster
	hub, managed env.Tap
	running      *background
}

// start starts the agent, unless it runs.
func (a *agentOn) start() error {
	if a.running != nil {
		return nil
	}
	hubConfig, managedConfig, err := a.access()
	if err != nil {
		return err
	}
	a.running = inBackground(func(ctx context.Context) error {
		return agent.Start(ctx, a.hub.Into(hubConfig), a.managed.Into(managedConfig), a.options())
	})
	return nil
}

// startFromFile starts the agent with a kubeconfig of the hub, as in its pod.
func (a *agentOn) startFromFile(t *testing.T) {
	t.Helper()
	user, groups := hubIdentity(a.cluster)
	kubeconfig, err := theHub.server.Kubeconfig(user, groups...)
	require.NoError(t, err)
	options := a.options()
	options.HubKubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(options.HubKubeconfig, kubeconfig, 0o600))
	_, managedConfig, err := a.access()
	require.NoError(t, err)
	a.running = inBackground(func(ctx context.Context) error {
		return agent.Run(ctx, a.managed.Into(managedConfig), options)
	})
}

// access returns the agent's access to the hub and to its cluster.
func (a *agentOn) access() (hubConfig, managedConfig *rest.Config, err error) {
	user, groups := hubIdentity(a.cluster)
	if hubConfig, err = theHub.server.User(user, groups...); err != nil {
		return nil, nil, err
	}
	managedConfig, err = a.cluster.server.User(clusterUser)
	return hubConfig, managedConfig, err
}

// options are the agent's flags by default, but for addresses.
func (a *agentOn) options() agent.Options {
	return agent.Options{
		HubKubeconfig: "unused", ClusterName: a.cluster.name, HubID: theHub.id, Namespace: agentNamespace,
		MetricsBindAddress: "0", HealthProbeBindAddress: "0",
		HubQPS: 200, HubBurst: 400, QPS: 300, Burst: 600, Concurrency: 16,
		ReportInterval: time.Second, ReportBandwidth: 1 << 20,
	}
}

func (a *agentOn) stop() error {
	if a.running == nil {
		return nil
	}
	err := a.running.stop()
	a.running = nil
	if err != nil {
		return fmt.Errorf("agent on %s: %w", a.cluster.name, err)
	}
	return nil
}

// stopAgent stops an agent until the test ends, or starts it.
func stopAgent(t *testing.T, a *agentOn) {
	t.Helper()
	t.Cleanup(func() { assert.NoError(t, a.start()) })
	require.NoError(t, a.stop())
}
