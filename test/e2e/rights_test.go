package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"open-cluster-management.io/argo-workflow-multicluster/test/docs"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// rightsFor returns what docs/verbs.md says that a user needs for a command of argo, one verb on one resource each.
func rightsFor(t *testing.T, words []string) []rbacv1.PolicyRule {
	t.Helper()
	command := "argo " + words[1]
	switch {
	case words[1] == "node":
		command += " " + words[2]
	case words[1] == "stop" && slices.Contains(words, "--node-field-selector"):
		command += " --node-field-selector"
	case words[1] == "delete" && slices.Contains(words, "--force"):
		command += " --force"
	}
	rows, err := docs.Table("../../docs/verbs.md", "Rights")
	require.NoError(t, err)
	at := slices.IndexFunc(rows, func(row []string) bool { return strings.Contains(row[0], "`"+command+"`") })
	require.GreaterOrEqual(t, at, 0, "docs/verbs.md has no rights for %q", command)
	var rights []rbacv1.PolicyRule
	for part := range strings.SplitSeq(strings.ReplaceAll(rows[at][1], "`", ""), "; ") {
		resource, allowed, _ := strings.Cut(part, ": ")
		resource, group, _ := strings.Cut(resource, ".")
		for verb := range strings.SplitSeq(allowed, ", ") {
			rights = append(rights, rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: []string{verb}})
		}
	}
	return rights
}

// user is a ServiceAccount on the hub.
type user struct {
	s     *space
	token string
}

// user makes somebody who has nothing but these rights in the namespace.
func (s *space) user(rights []rbacv1.PolicyRule) user {
	s.t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: s.name, Name: "user-" + rand.String(5)}}
	require.NoError(s.t, theHub.client.Create(s.t.Context(), account))
	s.grant(rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: s.name, Name: account.Name}, rights)
	request, err := theHub.kube.CoreV1().ServiceAccounts(s.name).CreateToken(
		s.t.Context(), account.Name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	require.NoError(s.t, err)
	return user{s: s, token: request.Status.Token}
}

// grant gives a ServiceAccount rights in the namespace on the hub, and returns when the API server knows of them.
func (s *space) grant(to rbacv1.Subject, rights []rbacv1.PolicyRule) {
	s.t.Helper()
	meta := metav1.ObjectMeta{Namespace: s.name, Name: "rights-" + rand.String(5)}
	require.NoError(s.t, theHub.client.Create(s.t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: rights}))
	require.NoError(s.t, theHub.client.Create(s.t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta, Subjects: []rbacv1.Subject{to},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
	}))
	for _, right := range rights {
		labtest.Eventually(s.t, patience, func() error {
			review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User: "system:serviceaccount:" + to.Namespace + ":" + to.Name,
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: s.name, Group: right.APIGroups[0], Resource: right.Resources[0], Verb: right.Verbs[0],
				},
			}}
			if err := theHub.client.Create(s.t.Context(), review); err != nil {
				return err
			}
			if !review.Status.Allowed {
				return fmt.Errorf("%v has no right yet to %v", to, right)
			}
			return nil
		})
	}
}

// argo runs the argo CLI as the user, in the namespace.
func (u user) argo(t *testing.T, words []string, options ...string) (string, error) {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["hub"] = &clientcmdapi.Cluster{Server: theHub.config.Host, CertificateAuthorityData: theHub.config.CAData}
	config.AuthInfos["user"] = &clientcmdapi.AuthInfo{Token: u.token}
	config.Contexts["hub"] = &clientcmdapi.Context{Cluster: "hub", AuthInfo: "user", Namespace: u.s.name}
	config.CurrentContext = "hub"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(*config, path))
	return theHub.Tool(t.Context(), words[0], slices.Concat(words[1:], []string{"--kubeconfig=" + path}, options)...)
}
