package hubcopy

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// clusterClaimID is the well-known ClusterClaim that holds the UID of a cluster's kube-system namespace, and
// localClusterLabel the label by which OCM marks the hub that is registered as its own managed cluster.
const (
	clusterClaimID    = "id.k8s.io"
	localClusterLabel = "local-cluster"
)

// IsHub reports whether the managed cluster is the hub itself: there, the hub's copy already has the Workflow's name.
func IsHub(cluster *clusterv1.ManagedCluster, hubID string) bool {
	if cluster.Labels[localClusterLabel] == "true" {
		return true
	}
	for _, claim := range cluster.Status.ClusterClaims {
		if claim.Name == clusterClaimID && claim.Value == hubID {
			return true
		}
	}
	return false
}

// Cluster returns the managed cluster, nil if the hub has none of this name.
func Cluster(ctx context.Context, c client.Reader, name string) (*clusterv1.ManagedCluster, error) {
	cluster := &clusterv1.ManagedCluster{}
	if err := c.Get(ctx, client.ObjectKey{Name: name}, cluster); apierrors.IsNotFound(err) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("get ManagedCluster: %w", err)
	}
	return cluster, nil
}

// Addon returns the agent's addon on the cluster, nil if it is not enabled there.
func Addon(ctx context.Context, c client.Reader, cluster string) (*addonv1beta1.ManagedClusterAddOn, error) {
	addon := &addonv1beta1.ManagedClusterAddOn{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: cluster, Name: contract.AddonName}, addon); apierrors.IsNotFound(err) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("get ManagedClusterAddOn: %w", err)
	}
	return addon, nil
}

// IsDetached reports whether the managed cluster, nil if there is none, is not, or is about to be no more, one of the hub's.
func IsDetached(cluster *clusterv1.ManagedCluster) bool {
	return cluster == nil || !cluster.DeletionTimestamp.IsZero()
}

// Absence is why OCM does not hold a cluster, or the agent there, for available; "" if it does.
type Absence struct {
	Why string
	// Since is when that began, or since when it is available; zero if it is not known.
	Since time.Time
}

// AbsenceOfCluster returns why nothing can be asked of a managed cluster, nil if the hub has none.
func AbsenceOfCluster(cluster *clusterv1.ManagedCluster) Absence {
	switch {
	case cluster == nil:
		return Absence{Why: "the hub has no managed cluster of this name"}
	case IsDetached(cluster):
		return Absence{"the cluster is being detached", cluster.DeletionTimestamp.Time}
	}
	available := meta.FindStatusCondition(cluster.Status.Conditions, clusterv1.ManagedClusterConditionAvailable)
	return absence(available, "the cluster has not been available yet", "the cluster is not available")
}

// AbsenceOfAgent returns why nothing can be asked of the agent, whose addon is nil if it is not enabled.
func AbsenceOfAgent(addon *addonv1beta1.ManagedClusterAddOn) Absence {
	const name = "the addon " + contract.AddonName
	switch {
	case addon == nil:
		return Absence{Why: name + " is not enabled there"}
	case !addon.DeletionTimestamp.IsZero():
		return Absence{name + " is being disabled", addon.DeletionTimestamp.Time}
	}
	available := meta.FindStatusCondition(addon.Status.Conditions, addonv1beta1.ManagedClusterAddOnConditionAvailable)
	return absence(available, name+" has not been available yet", name+" is not available")
}

func absence(available *metav1.Condition, never, notNow string) Absence {
	switch {
	case available == nil:
		return Absence{Why: never}
	case available.Status == metav1.ConditionTrue:
		return Absence{Since: available.LastTransitionTime.Time}
	case available.Message != "":
		notNow += ": " + available.Message
	}
	return Absence{notNow, available.LastTransitionTime.Time}
}
