// Package cluster is a managed cluster as the manager knows it, and the one ordered list of reasons why a Workflow may not go there.
package cluster

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// clusterClaimID is the well-known ClusterClaim that holds the UID of a cluster's kube-system namespace, and
// localCluster the name, and the label, that the hub has by convention when it is its own managed cluster.
const (
	clusterClaimID = "id.k8s.io"
	localCluster   = "local-cluster"
)

// Cluster is what the hub has of a managed cluster.
type Cluster struct {
	Name string
	// Managed is nil if the hub has no managed cluster of this name, and Addon if the agent's addon is not enabled there.
	Managed *clusterv1.ManagedCluster
	Addon   *addonv1beta1.ManagedClusterAddOn
}

// Read returns what the hub has of a managed cluster. Name and reader are required; that there is none is no error.
func Read(ctx context.Context, reader client.Reader, name string) (Cluster, error) {
	managed, addon := &clusterv1.ManagedCluster{}, &addonv1beta1.ManagedClusterAddOn{}
	found, err := isThere(reader.Get(ctx, client.ObjectKey{Name: name}, managed))
	if err != nil {
		return Cluster{}, fmt.Errorf("get ManagedCluster: %w", err)
	}
	enabled, err := isThere(reader.Get(ctx, client.ObjectKey{Namespace: name, Name: contract.AddonName}, addon))
	if err != nil {
		return Cluster{}, fmt.Errorf("get ManagedClusterAddOn: %w", err)
	}
	c := Cluster{Name: name}
	if found {
		c.Managed = managed
	}
	if enabled {
		c.Addon = addon
	}
	return c, nil
}

func isThere(err error) (bool, error) {
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// IsHub reports whether it is the hub itself, whose id is the UID of its kube-system namespace. Without the id, name and label count.
func (c Cluster) IsHub(hubID string) bool {
	if c.Managed == nil {
		return false
	}
	if c.Name == localCluster || c.Managed.Labels[localCluster] == "true" {
		return true
	}
	for _, claim := range c.Managed.Status.ClusterClaims {
		if claim.Name == clusterClaimID && claim.Value == hubID && hubID != "" {
			return true
		}
	}
	return false
}

// IsDetached reports whether it is not, or is about to be no more, one of the hub's.
func (c Cluster) IsDetached() bool { return c.Managed == nil || !c.Managed.DeletionTimestamp.IsZero() }

// HasAgent reports whether the agent's addon is enabled there, and is not being disabled.
func (c Cluster) HasAgent() bool { return c.Addon != nil && c.Addon.DeletionTimestamp.IsZero() }

// Reporting returns how the status of what is sent there now comes back: through the agent, unless an administrator has said that
// the cluster is used without one.
func (c Cluster) Reporting() v1alpha1.Reporting {
	if c.Addon == nil && c.isUsedWithoutAgent() {
		return v1alpha1.ReportingFeedback
	}
	return v1alpha1.ReportingAgent
}

func (c Cluster) isUsedWithoutAgent() bool {
	return c.Managed != nil && c.Managed.Labels[contract.LabelWithoutAgent] == "true"
}

// maxMilliCPU bounds what is believed of a cluster's size, so that one can calculate with it.
const maxMilliCPU = 1e12

// MilliCPU returns the cluster's CPU capacity in thousandths of a core; 0 if it does not report any.
func (c Cluster) MilliCPU() int64 {
	for _, list := range []clusterv1.ResourceList{c.Managed.Status.Allocatable, c.Managed.Status.Capacity} {
		if cpu, ok := list[clusterv1.ResourceName(corev1.ResourceCPU)]; ok {
			return max(0, min(maxMilliCPU, cpu.MilliValue()))
		}
	}
	return 0
}

// Unavailable is why nothing can be asked of a cluster, or of the agent there; Why is "" if something can.
type Unavailable struct {
	Why string
	// Since is when that began, by the hub's clock; zero if it is not known by that.
	Since time.Time
}

// Unavailable returns why OCM does not hold the cluster for available.
func (c Cluster) Unavailable() Unavailable {
	switch {
	case c.Managed == nil:
		return Unavailable{Why: "the hub has no managed cluster of this name"}
	case c.IsDetached():
		return Unavailable{"the cluster is being detached", c.Managed.DeletionTimestamp.Time}
	}
	available := meta.FindStatusCondition(c.Managed.Status.Conditions, clusterv1.ManagedClusterConditionAvailable)
	return unavailable(available, "the cluster has not been available yet", "the cluster is not available")
}

// AgentUnavailable returns why OCM does not hold the agent for available.
func (c Cluster) AgentUnavailable() Unavailable {
	const name = "the addon " + contract.AddonName
	switch {
	case c.Addon == nil:
		return Unavailable{Why: name + " is not enabled there"}
	case !c.Addon.DeletionTimestamp.IsZero():
		return Unavailable{name + " is being disabled", c.Addon.DeletionTimestamp.Time}
	}
	available := meta.FindStatusCondition(c.Addon.Status.Conditions, addonv1beta1.ManagedClusterAddOnConditionAvailable)
	return unavailable(available, name+" has not been available yet", name+" is not available")
}

func unavailable(available *metav1.Condition, never, notNow string) Unavailable {
	switch {
	case available == nil:
		return Unavailable{Why: never}
	case available.Status == metav1.ConditionTrue:
		return Unavailable{}
	case available.Message != "":
		notNow += ": " + available.Message
	}
	if available.Status != metav1.ConditionUnknown {
		return Unavailable{Why: notNow} // the cluster's own word, by its own clock
	}
	return Unavailable{notNow, available.LastTransitionTime.Time}
}
