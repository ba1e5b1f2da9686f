package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/docs"
	"open-cluster-management.io/argo-workflow-multicluster/test/e2e/verbs"
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
	account := s.account()
	s.grant(account, rights)
	return s.userOf(account)
}

// account makes a ServiceAccount on the hub.
func (s *space) account() rbacv1.Subject {
	s.t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: s.name, Name: "user-" + rand.String(5)}}
	require.NoError(s.t, theHub.client.Create(s.t.Context(), account))
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: s.name, Name: account.Name}
}

// userOf returns who acts as the ServiceAccount.
func (s *space) userOf(account rbacv1.Subject) user {
	s.t.Helper()
	request, err := theHub.kube.CoreV1().ServiceAccounts(s.name).CreateToken(
		s.t.Context(), account.Name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	require.NoError(s.t, err)
	return user{s: s, token: request.Status.Token}
}

// grant gives a ServiceAccount rights in the namespace on the hub, and returns when the API server knows of them.
func (s *space) grant(to rbacv1.Subject, rights []rbacv1.PolicyRule) {
	s.t.Helper()
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: s.name, Name: "rights-" + rand.String(5)}, Rules: rights}
	require.NoError(s.t, theHub.client.Create(s.t.Context(), role))
	s.bindRole(to, rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name})
	for _, right := range rights {
		labtest.Eventually(s.t, patience, func() error { return s.may(to, right) })
	}
}

// bindRole gives a ServiceAccount in the namespace on the hub what a role has.
func (s *space) bindRole(to rbacv1.Subject, role rbacv1.RoleRef) {
	s.t.Helper()
	require.NoError(s.t, theHub.client.Create(s.t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.name, Name: "rights-" + rand.String(5)}, Subjects: []rbacv1.Subject{to}, RoleRef: role,
	}))
}

// may returns an error unless the ServiceAccount has a right in the namespace on the hub: one verb on one resource.
func (s *space) may(who rbacv1.Subject, right rbacv1.PolicyRule) error {
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: "system:serviceaccount:" + who.Namespace + ":" + who.Name,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: s.name, Group: right.APIGroups[0], Resource: right.Resources[0], Verb: right.Verbs[0],
		},
	}}
	err := theHub.client.Create(s.t.Context(), review)
	if err == nil && !review.Status.Allowed {
		err = fmt.Errorf("%s has no right to %v", who.Name, right)
	}
	return err
}

// ordinary makes somebody who has one of Kubernetes' own roles in the namespace, with what the hub chart adds to it.
func (s *space) ordinary(role string) (rbacv1.Subject, user) {
	s.t.Helper()
	account := s.account()
	s.bindRole(account, rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role})
	labtest.Eventually(s.t, patience, func() error { return s.may(account, rightsFor(s.t, []string{"argo", "get"})[0]) })
	return account, s.userOf(account)
}

// TestWhoMayEditANamespaceDoesEachVerbThereAndWhoMayViewItLooksOn does them with Kubernetes' own roles on the hub.
func TestWhoMayEditANamespaceDoesEachVerbThereAndWhoMayViewItLooksOn(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	subjects := s.toEachNeed()
	_, editor := s.ordinary("edit")
	_, viewer := s.ordinary("view")
	for _, need := range needs {
		to := subjects[need.of]
		labtest.Eventually(t, patience, func() error { return to.reached(need.When) })
		labtest.Eventually(t, patience, func() error { return to.mirrored(cluster1) })
		words := verbs.Words(need.Do, to.key.Name)
		_, err := viewer.argo(t, words, "--instanceid="+contract.InstanceIDHub)
		if slices.Contains([]string{"get", "list", "watch"}, words[1]) {
			require.NoError(t, err, "%v by who may view", words)
		} else {
			require.ErrorContains(t, err, "forbidden", "%v by who may view", words)
		}
		out, err := editor.argo(t, words, "--instanceid="+contract.InstanceIDHub)
		require.NoError(t, err, "%v by who may edit: %s", words, out)
	}
	assert.Equal(t, 1, s.deleteRepeated("another"))
	subjects["waiting"].waitUntilGone(cluster1)
	subjects["failing"].waitUntilGone(cluster1)
}

func TestOrdinaryUsersReadWhatTheyChooseFromAndNobodyWritesRemoteWorkflows(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	const placements, workflows = "cluster.open-cluster-management.io", "workflow.open-cluster-management.io"
	right := func(verb, group, resource string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{Verbs: []string{verb}, APIGroups: []string{group}, Resources: []string{resource}}
	}
	for role, mayWrite := range map[string]bool{"view": false, "edit": true, "admin": true} {
		who, _ := s.ordinary(role)
		for _, verb := range []string{"get", "list", "watch"} {
			for resource, group := range map[string]string{
				"workflows": "argoproj.io", "workflowtemplates": "argoproj.io", "workflowtasksets": "argoproj.io",
				"placements": placements, "placementdecisions": placements, "managedclustersetbindings": placements,
				"remoteworkflows": workflows,
			} {
				require.NoError(t, s.may(who, right(verb, group, resource)), role)
			}
		}
		for _, verb := range []string{"create", "update", "patch", "delete", "deletecollection"} {
			for resource, group := range map[string]string{
				"workflowtasksets": "argoproj.io", "placements": placements, "managedclustersetbindings": placements,
				"remoteworkflows": workflows, "remoteworkflows/status": workflows,
			} {
				require.ErrorContains(t, s.may(who, right(verb, group, resource)), "has no right", "%s may %s %s", role, verb, resource)
			}
			for _, resource := range []string{"workflows", "workflowtemplates", "cronworkflows", "workfloweventbindings"} {
				assert.Equal(t, mayWrite, s.may(who, right(verb, "argoproj.io", resource)) == nil, "%s may %s %s", role, verb, resource)
			}
		}
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
