package addon

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	certificatesv1 "k8s.io/api/certificates/v1"
	"open-cluster-management.io/addon-framework/pkg/agent"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// csr is a request for the certificate of the agent of cluster1.
type csr struct {
	user, requester, annotated, signer string
	groups                             []string
}

func TestOnlyTheAgentsOwnCertificateIsApproved(t *testing.T) {
	const server = "system:serviceaccount:open-cluster-management-hub:grpc-server-sa"
	groups := agent.DefaultGroups("cluster1", contract.AddonName)
	tests := map[string]struct {
		change func(*csr)
		want   bool
	}{
		"its own":                      {func(*csr) {}, true},
		"asked for by an earlier OCM":  {func(c *csr) { c.groups = append(c.groups, "system:authenticated") }, true},
		"passed on by the gRPC server": {func(c *csr) { c.requester, c.annotated = server, c.requester }, true},
		"passed on for another cluster": {func(c *csr) {
			c.requester, c.annotated = server, "system:open-cluster-management:cluster10:x"
		}, false},
		"passed on by somebody":          {func(c *csr) { c.requester, c.annotated = "somebody", c.requester }, false},
		"requested from another cluster": {func(c *csr) { c.requester = "system:open-cluster-management:cluster2:x" }, false},
		"requested from a longer name":   {func(c *csr) { c.requester = "system:open-cluster-management:cluster10:x" }, false},
		"in another cluster's name":      {func(c *csr) { c.user = agent.DefaultUser("cluster2", contract.AddonName, "agent") }, false},
		"in another name":                {func(c *csr) { c.user = agent.DefaultUser("cluster1", contract.AddonName, "admin") }, false},
		"with a group of great rights":   {func(c *csr) { c.groups = append(c.groups, "kubeadm:cluster-admins") }, false},
		"with another cluster's group": {func(c *csr) {
			c.groups = append(c.groups, agent.DefaultGroups("cluster2", contract.AddonName)[0])
		}, false},
		"without the addon's group":        {func(c *csr) { c.groups = c.groups[:1] }, false},
		"for a certificate of another use": {func(c *csr) { c.signer = certificatesv1.KubeletServingSignerName }, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := csr{
				user:      agent.DefaultUser("cluster1", contract.AddonName, "agent"),
				requester: "system:open-cluster-management:cluster1:x",
				signer:    certificatesv1.KubeAPIServerClientSignerName,
				groups:    groups[:len(groups):len(groups)],
			}
			test.change(&c)
			check := newTestAddon(t, nil).GetAgentAddonOptions().Registration.CSRApproveCheck
			assert.Equal(t, test.want, check(t.Context(), gen.ManagedCluster("cluster1"), gen.ManagedClusterAddOn("cluster1"), c.build(t)))
		})
	}
}

func TestWhatIsNoCertificateRequestIsNotApproved(t *testing.T) {
	for _, text := range []string{"", "hello", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte("hello")}))} {
		request := &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: []byte(text), SignerName: certificatesv1.KubeAPIServerClientSignerName, Username: "system:open-cluster-management:cluster1:x",
		}}
		assert.False(t, approve(t.Context(), gen.ManagedCluster("cluster1"), gen.ManagedClusterAddOn("cluster1"), request))
		assert.False(t, asksForNoOtherGroup("cluster1", request))
	}
}

func (c csr) build(t *testing.T) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: c.user, Organization: c.groups},
	}, key)
	require.NoError(t, err)
	request := &certificatesv1.CertificateSigningRequest{}
	request.Annotations = map[string]string{"open-cluster-management.io/csr-user": c.annotated}
	request.Spec.Request = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	request.Spec.SignerName, request.Spec.Username = c.signer, c.requester
	return request
}
