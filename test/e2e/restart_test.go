package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// The tests in this file are not parallel: others need what they stop.

func TestManagerThatIsKilledGoesOnWhereItWas(t *testing.T) {
	s := newSpace(t)
	h := s.record(cluster1)
	running := s.create(s.hello("running", on(cluster1), lasting(15*time.Second)))
	running.waitForNodes(1)
	killManager(t)
	created := s.create(s.hello("created-meanwhile", on(cluster1)))
	labtest.Eventually(t, patience, func() error { return running.wants(cluster1, "Succeeded", "") })
	require.NoError(t, running.wants(theHub, "Running", ""))

	startManager(t)
	for _, r := range []*run{running, created} {
		r.waitFor("Succeeded")
		labtest.Eventually(t, patience, func() error { return r.mirrored(cluster1) })
	}
	require.NoError(t, h.ran(2, 2))
}

func TestManagerAndAgentThatAreKilledAgainAndAgainRunEachWorkflowOnce(t *testing.T) {
	s := newSpace(t)
	h := s.record(cluster2)
	t.Cleanup(func() { startManager(t); startAgent(t, cluster2) })
	const count = 12
	var runs []*run
	for i := range count {
		switch i {
		case 3, 9:
			killManager(t)
		case 6:
			require.NoError(t, cluster2.Kill(lab.AgentProcess))
		case 7:
			startManager(t)
		}
		runs = append(runs, s.create(s.hello(fmt.Sprint("many-", i), on(cluster2))))
	}
	startAgent(t, cluster2)
	startManager(t)
	for _, r := range runs {
		r.waitFor("Succeeded")
	}
	require.NoError(t, h.ran(count, count))
	assert.Equal(t, count, h.incarnations())
}

func TestAgentThatIsKilledCatchesUpAndNothingStartsWithoutIt(t *testing.T) {
	s := newSpace(t)
	h := s.record(cluster2)
	running := s.create(s.hello("running", on(cluster2), lasting(15*time.Second)))
	running.waitForNodes(1)
	t.Cleanup(func() { startAgent(t, cluster2) })
	require.NoError(t, cluster2.Kill(lab.AgentProcess))
	created := s.create(s.hello("created-meanwhile", on(cluster2)))
	labtest.Eventually(t, patience, func() error { return running.wants(cluster2, "Succeeded", "") })
	labtest.Eventually(t, patience, func() error { _, err := created.get(cluster2); return err })
	labtest.Holds(t, 2*resync, func() error { return errors.Join(h.ran(1, 1), running.wants(theHub, "Running", "")) })

	startAgent(t, cluster2)
	for _, r := range []*run{running, created} {
		r.waitFor("Succeeded")
		labtest.Eventually(t, patience, func() error { return r.mirrored(cluster2) })
	}
	require.NoError(t, h.ran(2, 2))
}

func TestClusterThatWasCutOffFromTheHubCatchesUp(t *testing.T) {
	s := newSpace(t)
	h := s.record(cluster2)
	running := s.create(s.hello("running", on(cluster2), lasting(15*time.Second)))
	running.waitForNodes(1)
	cutOff(t, cluster2)
	created := s.create(s.hello("created-meanwhile", on(cluster2)))
	labtest.Eventually(t, patience, func() error { return running.wants(cluster2, "Succeeded", "") })
	require.NoError(t, running.wants(theHub, "Running", ""))

	t.Log("the agent is started again while the hub is away")
	require.NoError(t, cluster2.Kill(lab.AgentProcess))
	startAgent(t, cluster2)
	labtest.Holds(t, resync, func() error { return errors.Join(h.ran(1, 1), running.wants(theHub, "Running", "")) })
	require.NoError(t, cluster2.Reconnect())
	for _, r := range []*run{running, created} {
		r.waitFor("Succeeded")
		labtest.Eventually(t, patience, func() error { return r.mirrored(cluster2) })
	}
	require.NoError(t, h.ran(2, 2))
}

func TestAgentGoesOnWithANewCertificateForTheHub(t *testing.T) {
	s := newSpace(t)
	h := s.record(cluster2)
	running := s.create(s.hello("running", on(cluster2), lasting(20*time.Second)))
	running.waitForNodes(1)
	before, pid := hubKubeconfig(t, cluster2), agentPID(t, cluster2)
	require.NoError(t, cluster2.client.Delete(t.Context(), before))
	labtest.Eventually(t, patience, func() error {
		now := &corev1.Secret{}
		if err := cluster2.client.Get(t.Context(), client.ObjectKeyFromObject(before), now); err != nil {
			return err
		}
		if len(now.Data["tls.crt"]) == 0 || bytes.Equal(now.Data["tls.crt"], before.Data["tls.crt"]) {
			return errors.New("OCM has not issued another certificate")
		}
		return nil
	})
	created := s.create(s.hello("with-the-new-one", on(cluster2)))
	created.waitFor("Succeeded")
	running.waitFor("Succeeded")
	assert.Equal(t, pid, agentPID(t, cluster2), "the process was started again")
	require.NoError(t, h.ran(2, 2))
}

func killManager(t *testing.T) {
	t.Helper()
	t.Cleanup(func() { startManager(t) })
	require.NoError(t, theHub.Kill(lab.ManagerProcess))
}

// startManager starts the manager unless it runs.
func startManager(t *testing.T) {
	t.Helper()
	require.NoError(t, theLab.StartManager(context.Background()))
}

// cutOff disconnects a cluster from the hub until the test ends, or reconnects it.
func cutOff(t *testing.T, c *cluster) {
	t.Helper()
	t.Cleanup(func() { assert.NoError(t, c.Reconnect()) })
	require.NoError(t, c.Disconnect())
}

// hubKubeconfig returns the Secret with which the addon's agent reaches the hub.
func hubKubeconfig(t *testing.T, c *cluster) *corev1.Secret {
	t.Helper()
	secret := &corev1.Secret{}
	key := client.ObjectKey{Namespace: lab.AddonNamespace, Name: contract.AddonName + "-hub-kubeconfig"}
	require.NoError(t, c.client.Get(t.Context(), key, secret))
	return secret
}

func agentPID(t *testing.T, c *cluster) int {
	t.Helper()
	processes := c.Processes()
	i := slices.IndexFunc(processes, func(p lab.ProcessStatus) bool { return p.Name == lab.AgentProcess })
	require.GreaterOrEqual(t, i, 0)
	return processes[i].PID
}
