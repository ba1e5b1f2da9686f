package hubcopy

import (
	"context"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// RunKey names the RemoteWorkflow and the ManifestWork of the Workflow's run; without namespace if it has none.
func RunKey(wf *unstructured.Unstructured) client.ObjectKey {
	return client.ObjectKey{
		Namespace: contract.AssignedCluster(wf),
		Name:      contract.RemoteWorkflowName(wf.GetName(), wf.GetUID(), contract.Attempt(wf)),
	}
}

// OfRemoteWorkflow maps a RemoteWorkflow to the Workflow that it runs.
func OfRemoteWorkflow(_ context.Context, obj client.Object) []reconcile.Request {
	rw, ok := obj.(*v1alpha1.RemoteWorkflow)
	if !ok {
		return nil
	}
	return request(rw.Spec.WorkflowRef.Namespace, rw.Spec.WorkflowRef.Name)
}

// OfManifestWork maps a ManifestWork of ours to the Workflow that it carries.
func OfManifestWork(_ context.Context, obj client.Object) []reconcile.Request {
	annotations := obj.GetAnnotations()
	return request(annotations[contract.AnnotationHubNamespace], annotations[contract.AnnotationHubName])
}

func request(namespace, name string) []reconcile.Request {
	if namespace == "" || name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: namespace, Name: name}}}
}

// Listed maps a list of Workflows to themselves.
func Listed(ctx context.Context, c client.Reader, opts ...client.ListOption) ([]reconcile.Request, error) {
	list := contract.NewWorkflowList()
	if err := c.List(ctx, list, opts...); err != nil {
		return nil, err
	}
	requests := make([]reconcile.Request, 0, len(list.Items))
	for i := range list.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
	return requests, nil
}
