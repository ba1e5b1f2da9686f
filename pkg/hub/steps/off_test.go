package steps

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

func TestWhereStepsAreOffNothingKeepsTheirWorkflows(t *testing.T) {
	child := decide(waiting(t)).create[0]
	child.SetFinalizers([]string{contract.FinalizerDispatch, contract.FinalizerStep})
	other := contract.NewWorkflow()
	other.SetNamespace("ns")
	other.SetName("other")
	other.SetFinalizers([]string{contract.FinalizerDispatch})
	r := actor(interceptor.Funcs{}, child, other)
	require.NoError(t, Off(r.Client)(t.Context()))
	for _, wf := range []client.Object{child, other} {
		require.NoError(t, r.Client.Get(t.Context(), client.ObjectKeyFromObject(wf), wf))
		assert.Equal(t, []string{contract.FinalizerDispatch}, wf.GetFinalizers(), wf.GetName())
	}
}
