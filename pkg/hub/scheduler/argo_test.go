package scheduler

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// TestWhileAnArgoControllerRunsOnTheHubNothingThatItWouldTakeIsAssigned: it would run twice.
func TestWhileAnArgoControllerRunsOnTheHubNothingThatItWouldTakeIsAssigned(t *testing.T) {
	plain := gen.Workflow("plain", gen.WithCluster(cluster1), gen.WithUID("1"))
	dormant := gen.Workflow("dormant", gen.WithCluster(cluster1), gen.WithUID("2"))
	labels := dormant.GetLabels()
	labels[contract.LabelInstanceID] = contract.InstanceIDHub
	dormant.SetLabels(labels)
	h := newHarness(t, append(surroundings(), plain, dormant)...)
	found, failure := "argo/workflow-controller", error(nil)
	h.ArgoOnHub = func(context.Context) (string, error) { return found, failure }

	h.askForArgo()
	h.run()
	assert.Empty(t, contract.AssignedCluster(h.show(plain)))
	assert.Contains(t, contract.StatusString(contract.Status(h.show(plain)), "message"), "Lease argo/workflow-controller")
	assert.Equal(t, cluster1, contract.AssignedCluster(h.show(dormant)), "that controller leaves it alone")

	found, failure = "", errors.New("the API server is away")
	h.askForArgo()
	h.run()
	assert.Empty(t, contract.AssignedCluster(h.show(plain)), "nothing is known: it stays as it was")

	failure = nil
	h.askForArgo()
	h.run()
	assert.Equal(t, cluster1, contract.AssignedCluster(h.show(plain)))
}

func (h *harness) askForArgo() {
	h.t.Helper()
	_, err := h.lookForArgo(h.t.Context())
	require.NoError(h.t, err)
}

func TestNothingIsAssignedUntilItIsKnownWhetherAnArgoControllerRunsOnTheHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wf := gen.Workflow("first", gen.WithCluster(cluster1), gen.WithUID("1"))
		h := newHarness(t, append(surroundings(), wf)...)
		var asked atomic.Int32
		h.ArgoOnHub = func(context.Context) (string, error) {
			if asked.Add(1) < 3 {
				return "", errors.New("the API server is away")
			}
			return "", nil
		}
		assigned := func() string { // without telling the scheduler, which runs
			synctest.Wait()
			require.True(t, h.hub.Show(wf))
			return contract.AssignedCluster(wf)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- h.Start(ctx) }()
		time.Sleep(argoInterval + time.Second) //nolint:forbidigo // it takes no time here
		assert.EqualValues(t, 2, asked.Load())
		assert.Empty(t, assigned())
		time.Sleep(argoInterval) //nolint:forbidigo // it takes no time here
		assert.EqualValues(t, 3, asked.Load(), "and not once more at once")
		assert.Equal(t, cluster1, assigned())
		cancel()
		require.NoError(t, <-ended)
	})
}
