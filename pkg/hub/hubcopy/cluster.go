package hubcopy

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
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

// IsDetached reports whether the managed cluster is not, or is about to be no more, one of the hub's.
func IsDetached(ctx context.Context, c client.Reader, name string) (bool, error) {
	cluster := &clusterv1.ManagedCluster{}
	err := c.Get(ctx, client.ObjectKey{Name: name}, cluster)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("get ManagedCluster: %w", err)
	}
	return !cluster.DeletionTimestamp.IsZero(), nil
}
