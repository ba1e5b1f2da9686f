package hubcopy

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// HasStarted reports whether the run may have begun: a copy has been recorded, or has shown a phase. From then on there is
// no other.
func HasStarted(wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow) bool {
	return rw.Status.RemoteUID != "" || !contract.IsPending(contract.Phase(wf))
}
