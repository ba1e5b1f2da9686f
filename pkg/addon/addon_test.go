package addon

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"open-cluster-management.io/addon-framework/pkg/agent"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestPermissionsAreBoundToTheOneAgentAndToNoGroup(t *testing.T) {
	cluster, addon := gen.ManagedCluster("cluster1"), gen.ManagedClusterAddOn("cluster1")
	user := agent.DefaultUser("cluster1", contract.AddonName, "agent")
	registration := addonv1beta1.RegistrationConfig{Type: addonv1beta1.KubeClient, KubeClient: &addonv1beta1.KubeClientConfig{}}
	registration.KubeClient.Subject.User = user
	registration.KubeClient.Subject.Groups = agent.DefaultGroups("cluster1", contract.AddonName)
	addon.Status.Registrations = []addonv1beta1.RegistrationConfig{registration}

	kubeClient := fake.NewClientset()
	require.NoError(t, permissions(kubeClient)(t.Context(), cluster, addon))

	binding, err := kubeClient.RbacV1().RoleBindings("cluster1").Get(t.Context(), roleName, metav1.GetOptions{})
	require.NoError(t, err)
	require.Len(t, binding.Subjects, 1)
	assert.Equal(t, rbacv1.UserKind, binding.Subjects[0].Kind)
	assert.Equal(t, user, binding.Subjects[0].Name)
	assert.Equal(t, roleName, binding.RoleRef.Name)
	role, err := kubeClient.RbacV1().Roles("cluster1").Get(t.Context(), roleName, metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, agentRole().Rules, role.Rules)
}

func TestPermissionsWaitForTheRegistration(t *testing.T) {
	kubeClient := fake.NewClientset()
	err := permissions(kubeClient)(t.Context(), gen.ManagedCluster("cluster1"), gen.ManagedClusterAddOn("cluster1"))
	var notReady *agent.SubjectNotReadyError
	require.ErrorAs(t, err, &notReady)
	assert.Empty(t, kubeClient.Actions())
}
