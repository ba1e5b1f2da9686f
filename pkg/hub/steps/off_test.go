package steps

import (
	"context"
	"errors"
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
	robbed := child.DeepCopy()
	robbed.SetName("robbed")
	robbed.SetLabels(map[string]string{contract.LabelEnable: contract.LabelEnableValue})
	other := contract.NewWorkflow()
	other.SetNamespace("ns")
	other.SetName("other")
	other.SetFinalizers([]string{contract.FinalizerDispatch})
	r := actor(interceptor.Funcs{}, child, robbed, other)
	require.NoError(t, Off(r.Client)(t.Context()))
	for _, wf := range []client.Object{child, robbed, other} {
		require.NoError(t, r.Client.Get(t.Context(), client.ObjectKeyFromObject(wf), wf))
		assert.Equal(t, []string{contract.FinalizerDispatch}, wf.GetFinalizers(), wf.GetName())
	}
}

func TestOneThatCannotBeReleasedNowKeepsNoOther(t *testing.T) {
	var children []client.Object
	for _, name := range []string{"a", "b", "c"} {
		child := decide(waiting(t)).create[0]
		child.SetName(name)
		child.SetFinalizers([]string{contract.FinalizerStep})
		children = append(children, child)
	}
	r := actor(interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			if obj.GetName() == "a" {
				return errors.New("a conflict")
			}
			return c.Patch(ctx, obj, patch, opts...)
		},
	}, children...)
	require.ErrorContains(t, releaseAll(t.Context(), r.Client), "ns/a: a conflict")
	for _, child := range children {
		require.NoError(t, r.Client.Get(t.Context(), client.ObjectKeyFromObject(child), child))
		assert.Equal(t, child.GetName() == "a", len(child.GetFinalizers()) > 0, child.GetName())
	}
}
