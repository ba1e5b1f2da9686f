// Package v1alpha1 is the contract between the hub and the agents: one RemoteWorkflow for each
// attempt to run a hub Workflow on a managed cluster.
//
// +kubebuilder:object:generate=true
// +groupName=workflow.open-cluster-management.io
package v1alpha1
