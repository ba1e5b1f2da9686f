package addon

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"open-cluster-management.io/addon-framework/pkg/agent"
	"open-cluster-management.io/addon-framework/pkg/utils"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	operatorv1 "open-cluster-management.io/api/operator/v1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// allAuthenticated is the group of everybody; registration agents of earlier versions of OCM ask for it, too.
const allAuthenticated = "system:authenticated"

// approve reports whether a certificate may be issued to the agent. The framework's own check is not enough: it lets one
// group of any name pass beside the agent's (on some hubs there is one with all rights), and takes a request that comes
// from cluster10 for one of cluster1.
func approve(
	ctx context.Context, cluster *clusterv1.ManagedCluster, addon *addonv1beta1.ManagedClusterAddOn,
	csr *certificatesv1.CertificateSigningRequest,
) bool {
	return csr.Spec.SignerName == certificatesv1.KubeAPIServerClientSignerName &&
		utils.DefaultCSRApprover(agentName)(ctx, cluster, addon, csr) &&
		isRequestedFrom(cluster.Name, csr) && asksForNoOtherGroup(cluster.Name, csr)
}

// isRequestedFrom reports whether the registration agent of this cluster has made the request. Where that goes through
// OCM's gRPC server, as the framework has made sure, an annotation says who has.
func isRequestedFrom(cluster string, csr *certificatesv1.CertificateSigningRequest) bool {
	prefix := "system:open-cluster-management:" + cluster + ":"
	return strings.HasPrefix(csr.Spec.Username, prefix) ||
		(strings.HasPrefix(csr.Spec.Username, "system:serviceaccount:open-cluster-management-hub:") &&
			strings.HasPrefix(csr.Annotations[operatorv1.CSRUsernameAnnotation], prefix))
}

func asksForNoOtherGroup(cluster string, csr *certificatesv1.CertificateSigningRequest) bool {
	block, _ := pem.Decode(csr.Spec.Request)
	if block == nil {
		return false
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return false
	}
	allowed := append(agent.DefaultGroups(cluster, contract.AddonName), allAuthenticated)
	return !slices.ContainsFunc(request.Subject.Organization, func(group string) bool { return !slices.Contains(allowed, group) })
}
