package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	clusterv1beta2 "open-cluster-management.io/api/cluster/v1beta2"
	clustersets "open-cluster-management.io/sdk-go/pkg/apis/cluster/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
)

// Target is a managed cluster in the eyes of one Workflow.
type Target struct {
	Cluster
	// HubID is the UID of the hub's kube-system namespace.
	HubID string
	// Bound are the selectors of the ManagedClusterSets that are bound to the Workflow's namespace.
	Bound []labels.Selector
	// NameTakenBy is the UID of another hub Workflow whose attempt has the same name on the cluster; "" if there is none.
	NameTakenBy types.UID
}

// Problem is why a Workflow may not go to a cluster. Kind says so in two or three words that fit every cluster; the refusal is for
// the user who named this one.
type Problem struct {
	Kind string
	hubworkflow.Refusal
}

// filters are the reasons why a Workflow may not go to a cluster, the first that applies counts.
var filters = []func(*hubworkflow.Workflow, Target) *Problem{
	invalidName, notThere, beingDetached, notAccepted, notBound, otherNamespace, hubItself, withoutAgent, agentUnavailable, nameTaken,
}

// Filter returns why a Workflow may not go to a cluster now, nil if it may.
func Filter(wf *hubworkflow.Workflow, t Target) *Problem {
	for _, filter := range filters {
		if problem := filter(wf, t); problem != nil {
			return problem
		}
	}
	return nil
}

func problem(kind, reason, message string, args ...any) *Problem {
	return &Problem{kind, hubworkflow.Refusal{Reason: reason, Message: fmt.Sprintf(message, args...)}}
}

func invalidName(_ *hubworkflow.Workflow, t Target) *Problem {
	if problems := validation.IsDNS1123Label(t.Name); len(problems) > 0 {
		return problem("invalid name", "InvalidClusterName", "annotation %s: %q cannot be the name of a managed cluster: %s",
			contract.AnnotationCluster, t.Name, strings.Join(problems, "; "))
	}
	return nil
}

func notThere(_ *hubworkflow.Workflow, t Target) *Problem {
	if t.Managed == nil {
		return problem("no such ManagedCluster", "ClusterNotFound", "waiting for managed cluster %q: the hub has none of this name", t.Name)
	}
	return nil
}

func beingDetached(_ *hubworkflow.Workflow, t Target) *Problem {
	if t.IsDetached() {
		return problem("being detached", "ClusterNotFound", "managed cluster %q is being detached", t.Name)
	}
	return nil
}

func notAccepted(_ *hubworkflow.Workflow, t Target) *Problem {
	if !t.Managed.Spec.HubAcceptsClient {
		return problem("not accepted by the hub", "ClusterNotAccepted", "waiting for managed cluster %q to be accepted by the hub", t.Name)
	}
	return nil
}

func notBound(wf *hubworkflow.Workflow, t Target) *Problem {
	if slices.ContainsFunc(t.Bound, func(set labels.Selector) bool { return set.Matches(labels.Set(t.Managed.Labels)) }) {
		return nil
	}
	return problem("not bound to the namespace", "ClusterNotBound", "managed cluster %q is not open to namespace %s: bind a "+
		"ManagedClusterSet that holds it with a ManagedClusterSetBinding there", t.Name, wf.GetNamespace())
}

func otherNamespace(wf *hubworkflow.Workflow, _ Target) *Problem {
	if contract.RemoteNamespace(wf) != wf.GetNamespace() {
		return problem("namespace not allowed", "NamespaceNotAllowed",
			"annotation %s: a Workflow runs in the namespace of the same name, %s, not in %s",
			contract.AnnotationClusterNamespace, wf.GetNamespace(), contract.RemoteNamespace(wf))
	}
	return nil
}

func hubItself(wf *hubworkflow.Workflow, t Target) *Problem {
	if t.IsHub(t.HubID) {
		return problem("the hub itself", "ClusterIsHub", "managed cluster %q is the hub itself, where this Workflow has the name %s/%s already",
			t.Name, wf.GetNamespace(), wf.GetName())
	}
	return nil
}

// withoutAgent: a missing addon is a reason to wait, and never to do without the gate. An administrator may say otherwise, and a
// Placement does not choose such a cluster.
func withoutAgent(wf *hubworkflow.Workflow, t Target) *Problem {
	switch {
	case t.HasAgent():
		return nil
	case t.Addon != nil:
		return problem("addon being disabled", "AgentUnavailable", "waiting for managed cluster %q: its addon %s is being disabled",
			t.Name, contract.AddonName)
	case !t.isUsedWithoutAgent():
		return problem("addon not enabled", "AgentUnavailable", "waiting for managed cluster %q: enable its addon %s, or label the "+
			"ManagedCluster %s=true to send Workflows there without the agent: at least once, and with a summary for a status",
			t.Name, contract.AddonName, contract.LabelWithoutAgent)
	case wf.GetAnnotations()[contract.AnnotationPlacement] != "":
		return problem("addon not enabled", "AgentUnavailable",
			"waiting for managed cluster %q: a Placement chooses only clusters whose addon %s is enabled",
			t.Name, contract.AddonName)
	}
	return nil
}

func agentUnavailable(_ *hubworkflow.Workflow, t Target) *Problem {
	if away := t.AgentUnavailable(); t.Addon != nil && away.Why != "" {
		return problem("addon not available", "AgentUnavailable", "waiting for managed cluster %q: %s", t.Name, away.Why)
	}
	return nil
}

func nameTaken(wf *hubworkflow.Workflow, t Target) *Problem {
	if t.NameTakenBy != "" {
		return problem("name taken", "NameTaken",
			"waiting for the name %s/%s on cluster %s: the earlier Workflow that has it (UID %s) is still being removed",
			contract.RemoteNamespace(wf), wf.GetName(), t.Name, t.NameTakenBy)
	}
	return nil
}

// BoundTo returns the selectors of the ManagedClusterSets that are bound to a namespace.
func BoundTo(ctx context.Context, reader client.Reader, namespace string) ([]labels.Selector, error) {
	var bindings clusterv1beta2.ManagedClusterSetBindingList
	if err := reader.List(ctx, &bindings, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list ManagedClusterSetBindings: %w", err)
	}
	var bound []labels.Selector
	for i := range bindings.Items {
		binding := &bindings.Items[i]
		if !meta.IsStatusConditionTrue(binding.Status.Conditions, clusterv1beta2.ClusterSetBindingBoundType) {
			continue
		}
		set := &clusterv1beta2.ManagedClusterSet{}
		err := reader.Get(ctx, client.ObjectKey{Name: binding.Spec.ClusterSet}, set)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("get ManagedClusterSet: %w", err)
		}
		selector, err := clustersets.BuildClusterSelector(set)
		if err != nil {
			// It holds no cluster, and must not keep the Workflows from those of another set.
			log.FromContext(ctx).Error(err, "passed over a ManagedClusterSet with an invalid selector", "set", set.Name)
			continue
		}
		bound = append(bound, selector)
	}
	return bound, nil
}
