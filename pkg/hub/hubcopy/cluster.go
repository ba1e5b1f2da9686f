package hubcopy

import clusterv1 "open-cluster-management.io/api/cluster/v1"

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
