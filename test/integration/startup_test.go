package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub"
)

func TestManagerOnAHubWithoutOurCRDSaysWhatToDo(t *testing.T) {
	t.Parallel()
	// A managed cluster serves Workflows, and nothing else of what a hub needs.
	_, err := hub.NewManager(t.Context(), cluster1.server.Config, managerOptions)
	require.EqualError(t, err, "the hub does not serve workflow.open-cluster-management.io/v1alpha1 RemoteWorkflow: "+
		"apply the CRD in charts/argo-workflow-multicluster/crds")
}
