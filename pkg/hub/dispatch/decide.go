package dispatch

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
)

// Reasons of the Events on a Workflow that is held or refused.
const (
	ReasonInvalidCluster   hubcopy.Reason = "InvalidClusterName"
	ReasonClusterNotFound  hubcopy.Reason = "ClusterNotFound"
	ReasonClusterNotJoined hubcopy.Reason = "ClusterNotAccepted"
	ReasonClusterNotBound  hubcopy.Reason = "ClusterNotBound"
	ReasonNamespace        hubcopy.Reason = "NamespaceNotAllowed"
	ReasonHubItself        hubcopy.Reason = "ClusterIsHub"
	ReasonAgentLeaving     hubcopy.Reason = "AgentLeaving"
	ReasonNameTaken        hubcopy.Reason = "NameTaken"
	ReasonCannotTravel     hubcopy.Reason = "CannotTravel"
)

// hold is why a Workflow is not dispatched for now; the zero value lets it go.
type hold struct {
	reason  hubcopy.Reason
	message string
}

// isWithdrawn reports whether the Workflow is not, or no more, handed to this project.
func isWithdrawn(wf *unstructured.Unstructured) bool {
	value := wf.GetLabels()[contract.LabelEnable]
	return value == "" || value == "false"
}

// checkWorkflow holds back a Workflow that may go to no cluster.
func checkWorkflow(wf *unstructured.Unstructured, restoredAt time.Time) hold {
	reason, message := hubcopy.HeldAnywhere(wf, restoredAt)
	return hold{reason, message}
}

// isWanted reports whether the Workflow, as the API server has it, still waits for the run that rw stands for. With rw there, a
// restoration of the hub does not matter.
func isWanted(live *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow) bool {
	return live.GetUID() == rw.Spec.WorkflowRef.UID && live.GetDeletionTimestamp().IsZero() &&
		contract.AssignedCluster(live) == rw.Namespace && contract.Attempt(live) == rw.Spec.Attempt &&
		slices.Contains(live.GetFinalizers(), contract.FinalizerDispatch) &&
		contract.IsPending(contract.Phase(live)) && checkWorkflow(live, time.Time{}) == (hold{})
}

// checkClusterName holds back a Workflow whose chosen cluster cannot exist.
func checkClusterName(cluster string) hold {
	if problems := validation.IsDNS1123Label(cluster); len(problems) > 0 {
		return hold{ReasonInvalidCluster, fmt.Sprintf("annotation %s: %q cannot be the name of a managed cluster: %s",
			contract.AnnotationCluster, cluster, strings.Join(problems, "; "))}
	}
	return hold{}
}

// target is what decides whether a Workflow may go to a cluster.
type target struct {
	name string
	// cluster is nil if the hub has none of this name.
	cluster *clusterv1.ManagedCluster
	// bound is whether a set that holds the cluster is bound to the Workflow's namespace.
	bound bool
	// addon is nil if the agent is not enabled there.
	addon *addonv1beta1.ManagedClusterAddOn
	// hubID is the UID of the hub's kube-system namespace.
	hubID string
}

// reporting returns how the status will come back: through the agent wherever the addon is enabled.
func (t target) reporting() v1alpha1.Reporting {
	if t.addon == nil {
		return v1alpha1.ReportingFeedback
	}
	return v1alpha1.ReportingAgent
}

// checkTarget holds back a Workflow that may not go to its cluster, or not yet.
func checkTarget(wf *unstructured.Unstructured, t target) hold {
	switch {
	case t.cluster == nil:
		return hold{ReasonClusterNotFound, fmt.Sprintf("waiting for managed cluster %q: the hub has none of this name", t.name)}
	case !t.cluster.DeletionTimestamp.IsZero():
		return hold{ReasonClusterNotFound, fmt.Sprintf("managed cluster %q is being detached", t.name)}
	case !t.cluster.Spec.HubAcceptsClient:
		return hold{ReasonClusterNotJoined, fmt.Sprintf("waiting for managed cluster %q to be accepted by the hub", t.name)}
	case !t.bound:
		return hold{ReasonClusterNotBound, fmt.Sprintf("managed cluster %q is not open to namespace %s: bind a ManagedClusterSet "+
			"that holds it with a ManagedClusterSetBinding there", t.name, wf.GetNamespace())}
	case contract.RemoteNamespace(wf) != wf.GetNamespace():
		return hold{ReasonNamespace, fmt.Sprintf("annotation %s: a Workflow runs in the namespace of the same name, %s, not in %s",
			contract.AnnotationClusterNamespace, wf.GetNamespace(), contract.RemoteNamespace(wf))}
	case t.addon != nil && !t.addon.DeletionTimestamp.IsZero():
		return hold{ReasonAgentLeaving, fmt.Sprintf("waiting for managed cluster %q: its addon %s is being removed", t.name, contract.AddonName)}
	case t.addon == nil && wf.GetAnnotations()[contract.AnnotationPlacement] != "" && contract.AssignedCluster(wf) != "":
		return hold{
			ReasonAgentLeaving,
			fmt.Sprintf("waiting for managed cluster %q: a Placement chose it for its addon %s, which is not enabled any more",
				t.name, contract.AddonName),
		}
	case hubcopy.IsHub(t.cluster, t.hubID):
		return hold{ReasonHubItself, fmt.Sprintf("managed cluster %q is the hub itself, where this Workflow has the name %s/%s already",
			t.name, wf.GetNamespace(), wf.GetName())}
	}
	return hold{}
}
