package cluster

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
)

// Target is a managed cluster in the eyes of one Workflow.
type Target struct {
	Cluster
	// OnHub is whether it is the hub itself.
	OnHub bool
	// Bindings are those of the Workflow's namespace.
	Bindings []Binding
	// NameTakenBy is the UID of another hub Workflow whose attempt has the same name on the cluster; "" if there is none.
	NameTakenBy types.UID
	// Load is what the caps are compared with; nil if they do not matter: the Workflow counts there already.
	Load *Load
	// Capacity is what the cluster's agent has measured lately; nil if it has not.
	Capacity *contract.Capacity
}

// Load counts unfinished Workflows: Cluster those on the cluster, Bindings those of the namespace on the clusters of each binding.
type Load struct {
	Cluster  int64
	Bindings []int64
}

// Problem is why a Workflow may not go to a cluster. Kind says so in two or three words that fit every cluster; the refusal is for
// the user who named this one.
type Problem struct {
	Kind string
	hubworkflow.Refusal
}

// KindAtCap and ReasonAtCap are those of a problem that ends when a Workflow finishes.
const (
	KindAtCap   = "at their cap of unfinished Workflows"
	ReasonAtCap = "AtCap"
)

// KindNameTaken and ReasonNameTaken are those of a problem that ends when another Workflow of the name is gone from the cluster.
const (
	KindNameTaken   = "name taken"
	ReasonNameTaken = "NameTaken"
)

type filter = func(*hubworkflow.Workflow, Target) *Problem

// permissions are the reasons that only who may change the hub's inventory and bindings, or where the Workflow is to go, can end.
var permissions = []filter{invalidName, notThere, beingDetached, notAccepted, notBound, invalidBinding, otherNamespace, hubItself}

// filters are the reasons why a Workflow may not go to a cluster, the first that applies counts. One that has not started is taken back
// from its cluster for them.
var filters = slices.Concat(permissions, []filter{
	withoutAgent, agentUnavailable, tooSmall, nameTaken, clusterAtCap, namespaceAtCap,
})

// Filter returns why a Workflow may not go to a cluster now, nil if it may.
func Filter(wf *hubworkflow.Workflow, t Target) *Problem {
	return first(filters, wf, t)
}

// Permitted returns why a Workflow may not go to a cluster whatever state that is in, nil if it may. It reads the target's bindings and
// ManagedCluster, whether it is the hub, and nothing else of it.
func Permitted(wf *hubworkflow.Workflow, t Target) *Problem {
	return first(permissions, wf, t)
}

func first(filters []filter, wf *hubworkflow.Workflow, t Target) *Problem {
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
	if t.isBoundBy(func(Binding) bool { return true }) {
		return nil
	}
	return problem("not bound to the namespace", "ClusterNotBound", "managed cluster %q is not open to namespace %s: bind a "+
		"ManagedClusterSet that holds it with a ManagedClusterSetBinding there", t.Name, wf.GetNamespace())
}

// isBoundBy reports whether one of the bindings whose set holds the cluster is such.
func (t Target) isBoundBy(such func(Binding) bool) bool {
	return slices.ContainsFunc(t.Bindings, func(b Binding) bool { return b.Holds(t.Managed) && such(b) })
}

func invalidBinding(_ *hubworkflow.Workflow, t Target) *Problem {
	if t.isBoundBy(func(b Binding) bool { return b.Invalid == "" }) {
		return nil
	}
	i := slices.IndexFunc(t.Bindings, func(b Binding) bool { return b.Holds(t.Managed) })
	return problem("invalid binding", "InvalidBinding", "managed cluster %q is open to namespace %s by ManagedClusterSetBinding %s alone, "+
		"which cannot be used: %s", t.Name, t.Bindings[i].Namespace, t.Bindings[i].Name, t.Bindings[i].Invalid)
}

func otherNamespace(wf *hubworkflow.Workflow, t Target) *Problem {
	remote := contract.RemoteNamespace(wf)
	switch {
	case remote == wf.GetNamespace():
		return nil
	case isReserved(remote):
		return problem("namespace not allowed", "NamespaceNotAllowed", "annotation %s: no Workflow is sent to namespace %s, which is of "+
			"Kubernetes or of OCM", contract.AnnotationClusterNamespace, remote)
	}
	if _, isOpen := t.Governing(remote); isOpen {
		return nil
	}
	by := "ManagedClusterSetBinding"
	if !t.opens(remote) {
		by = "ManagedCluster, which is the hub itself"
	}
	return problem("namespace not allowed", "NamespaceNotAllowed", "annotation %s: the Workflows of namespace %s may not run in namespace "+
		"%s of managed cluster %q: allow it by annotation %s on the %s",
		contract.AnnotationClusterNamespace, wf.GetNamespace(), remote, t.Name, contract.AnnotationNamespaces, by)
}

// hubItself: on the hub, the hub Workflow has its name in its namespace already.
func hubItself(wf *hubworkflow.Workflow, t Target) *Problem {
	if t.OnHub && contract.RemoteNamespace(wf) == wf.GetNamespace() {
		return problem("the hub itself", "ClusterIsHub", "managed cluster %q is the hub itself, where this Workflow has the name %s/%s already: "+
			"it can run in another namespace", t.Name, wf.GetNamespace(), wf.GetName())
	}
	return nil
}

// withoutAgent: a missing addon is a reason to wait, and never to do without the gate. An administrator may say otherwise, and a
// Placement does not choose such a cluster. On the hub nobody may: without agent, OCM owns what has the name, be it a hub Workflow.
func withoutAgent(wf *hubworkflow.Workflow, t Target) *Problem {
	switch {
	case t.HasAgent():
		return nil
	case t.Addon == nil && t.OnHub && t.isUsedWithoutAgent():
		return problem("addon not enabled", "AgentUnavailable", "waiting for managed cluster %q: it is the hub itself, and label %s does not "+
			"count there: enable its addon %s", t.Name, contract.LabelWithoutAgent, contract.AddonName)
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
		return problem(KindNameTaken, ReasonNameTaken,
			"waiting for the name %s/%s on cluster %s: the earlier Workflow that has it (UID %s) is still being removed",
			contract.RemoteNamespace(wf), wf.GetName(), t.Name, t.NameTakenBy)
	}
	return nil
}

// tooSmall: no node that the agent counts offers what the largest pod requests, however free it is. Where none counts, nothing is known:
// they may be added when there is something to run.
func tooSmall(wf *hubworkflow.Workflow, t Target) *Problem {
	if t.Capacity == nil || t.Capacity.Nodes == 0 || wf.Pods.IsPlaced ||
		IsUnchecked(wf.GetAnnotations()) || IsUnchecked(t.Managed.Annotations) {
		return nil
	}
	if slices.ContainsFunc(t.Capacity.LargestAllocatable, wf.Pods.Largest.Fits) {
		return nil
	}
	return problem("too small for the largest pod", "ClusterTooSmall", "waiting for managed cluster %q: the largest pod requests %s, and "+
		"no node there offers that; annotation %s: \"false\" on the Workflow or on the ManagedCluster sends it all the same",
		t.Name, wf.Pods.Largest, contract.AnnotationCheckResources)
}

// IsUnchecked reports whether the annotations of a Workflow or of a ManagedCluster say that it does not matter whether a pod fits.
func IsUnchecked(annotations map[string]string) bool {
	return annotations[contract.AnnotationCheckResources] == "false"
}

func clusterAtCap(_ *hubworkflow.Workflow, t Target) *Problem {
	if t.Load == nil {
		return nil
	}
	limit, invalid := maxWorkflows(t.Managed.Annotations)
	switch {
	case invalid != "":
		return problem("invalid cap", "InvalidCap", "waiting for managed cluster %q: its ManagedCluster cannot be used: %s", t.Name, invalid)
	case t.Load.Cluster >= limit:
		return problem(KindAtCap, ReasonAtCap, "waiting for managed cluster %q: it is at its cap of %d unfinished Workflows", t.Name, limit)
	}
	return nil
}

func namespaceAtCap(wf *hubworkflow.Workflow, t Target) *Problem {
	if t.Load == nil {
		return nil
	}
	var full *Binding
	for i := range t.Bindings {
		switch b := &t.Bindings[i]; {
		case !t.isOpenedBy(b, contract.RemoteNamespace(wf)):
		case t.Load.Bindings[i] < b.MaxWorkflows:
			return nil
		default:
			full = b
		}
	}
	return problem(KindAtCap, ReasonAtCap, "waiting for managed cluster %q: namespace %s is at its cap of %d unfinished Workflows by "+
		"ManagedClusterSetBinding %s", t.Name, wf.GetNamespace(), full.MaxWorkflows, full.Name)
}
