package integration

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub"
)

func TestManagerOnAHubWithoutOurCRDSaysWhatToDo(t *testing.T) {
	t.Parallel()
	// A managed cluster serves Workflows, and nothing else of what a hub needs.
	_, err := hub.NewManager(t.Context(), cluster1.server.Config, managerOptions)
	require.EqualError(t, err, "the hub does not serve workflow.open-cluster-management.io/v1alpha1 RemoteWorkflow: "+
		"set the chart's value crds.install=true, or apply the CRD in its folder files/crds")
}

func TestManagerOnAHubWithAnOlderCRDSaysWhatToDo(t *testing.T) {
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.CRDName}}
	annotate := func(revision string) {
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%s}}}`, v1alpha1.AnnotationContractRevision, revision)
		require.NoError(t, theHub.client.Patch(context.WithoutCancel(t.Context()), crd, client.RawPatch(types.MergePatchType, patch)))
	}
	require.NoError(t, theHub.client.Get(t.Context(), client.ObjectKeyFromObject(crd), crd))
	revision := strconv.Quote(crd.Annotations[v1alpha1.AnnotationContractRevision])
	t.Cleanup(func() { annotate(revision) })
	annotate("null")
	_, err := hub.NewManager(t.Context(), theHub.server.Config, managerOptions)
	require.ErrorContains(t, err, "kubectl apply --server-side")
	annotate(revision)
	_, err = hub.NewManager(t.Context(), theHub.server.Config, managerOptions)
	require.NoError(t, err)
}
