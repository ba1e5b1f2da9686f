package scheduler

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"

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

	h.lookForArgo(t.Context())
	h.run()
	assert.Empty(t, contract.AssignedCluster(h.show(plain)))
	assert.Contains(t, contract.StatusString(contract.Status(h.show(plain)), "message"), "Lease argo/workflow-controller")
	assert.Equal(t, cluster1, contract.AssignedCluster(h.show(dormant)), "that controller leaves it alone")

	found, failure = "", errors.New("the API server is away")
	h.lookForArgo(t.Context())
	h.run()
	assert.Empty(t, contract.AssignedCluster(h.show(plain)), "nothing is known: it stays as it was")

	failure = nil
	h.lookForArgo(t.Context())
	h.run()
	assert.Equal(t, cluster1, contract.AssignedCluster(h.show(plain)))
}
