package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the API group and version of this package.
var GroupVersion = schema.GroupVersion{Group: "workflow.open-cluster-management.io", Version: "v1alpha1"}

// CRDName is the name of the CustomResourceDefinition of RemoteWorkflows.
const CRDName = "remoteworkflows.workflow.open-cluster-management.io"

// AnnotationContractRevision is the CustomResourceDefinition's annotation that says which revision of it this is, in decimal.
// ContractRevision is the one of this package, which the marker on RemoteWorkflow puts there. Both grow by one with each change
// that the hub or an agent relies on.
const (
	AnnotationContractRevision = "workflow.open-cluster-management.io/contract-revision"
	ContractRevision           = 5
)

// AddToScheme registers the types of this package with a scheme.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &RemoteWorkflow{}, &RemoteWorkflowList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
