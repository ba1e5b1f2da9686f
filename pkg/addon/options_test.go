package addon

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	"open-cluster-management.io/addon-framework/pkg/agent"
	"open-cluster-management.io/addon-framework/pkg/utils"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	workv1 "open-cluster-management.io/api/work/v1"

	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestTheAgentMayReadItsRunsAndWriteTheirStatusAndNothingElse(t *testing.T) {
	group := []string{"workflow.open-cluster-management.io"}
	assert.Equal(t, []rbacv1.PolicyRule{
		{APIGroups: group, Resources: []string{"remoteworkflows"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: group, Resources: []string{"remoteworkflows/status"}, Verbs: []string{"update", "patch"}},
		{
			APIGroups: []string{"cluster.open-cluster-management.io"}, Resources: []string{"addonplacementscores/status"},
			ResourceNames: []string{"argo-workflows"}, Verbs: []string{"update", "patch"},
		},
	}, agentRole().Rules)
}

func TestOneClustersRoleIsNotAnothers(t *testing.T) {
	kubeClient := fake.NewClientset()
	for _, cluster := range []string{"cluster1", "cluster2"} {
		addon := gen.ManagedClusterAddOn(cluster)
		registration := addonv1beta1.RegistrationConfig{Type: addonv1beta1.KubeClient, KubeClient: &addonv1beta1.KubeClientConfig{}}
		registration.KubeClient.Subject.User = "agent of " + cluster
		addon.Status.Registrations = []addonv1beta1.RegistrationConfig{registration}
		require.NoError(t, permissions(kubeClient, newFakeClusters())(t.Context(), gen.ManagedCluster(cluster), addon))
	}
	for _, cluster := range []string{"cluster1", "cluster2"} {
		role, err := kubeClient.RbacV1().Roles(cluster).Get(t.Context(), roleName, metav1.GetOptions{})
		require.NoError(t, err)
		require.Len(t, role.OwnerReferences, 1)
		assert.Equal(t, gen.ManagedClusterAddOn(cluster).UID, role.OwnerReferences[0].UID)
		binding, err := kubeClient.RbacV1().RoleBindings(cluster).Get(t.Context(), roleName, metav1.GetOptions{})
		require.NoError(t, err)
		require.Len(t, binding.Subjects, 1)
		assert.Equal(t, "agent of "+cluster, binding.Subjects[0].Name)
	}
	one, other := agentRole(), agentRole()
	assert.NotSame(t, one, other, "the framework changes the Role that it is given")
}

func TestTheAddonsOptions(t *testing.T) {
	options := newTestAddon(t, nil).GetAgentAddonOptions()
	assert.Equal(t, "argo-workflow-multicluster", options.AddonName)
	assert.Equal(t, agent.HealthProberTypeLease, options.HealthProber.Type)
	assert.False(t, options.HostedModeEnabled)

	registrations, err := options.Registration.Configurations(t.Context(), gen.ManagedCluster("cluster1"), gen.ManagedClusterAddOn("cluster1"))
	require.NoError(t, err)
	require.Len(t, registrations, 1)
	registration := registrations[0].RegistrationAPI()
	assert.Equal(t, addonv1beta1.KubeClient, registration.Type)
	assert.Equal(t, "system:open-cluster-management:cluster:cluster1:addon:argo-workflow-multicluster:agent:agent",
		registration.KubeClient.Subject.User)

	assert.Equal(t, []schema.GroupVersionResource{utils.AddOnDeploymentConfigGVR}, options.SupportedConfigGVRs)
	require.Len(t, options.ManifestConfigs, 1)
	feedback := options.ManifestConfigs[0]
	assert.Equal(t, workv1.ResourceIdentifier{
		Group: "apps", Resource: "deployments", Namespace: "*", Name: "argo-workflow-multicluster-agent",
	}, feedback.ResourceIdentifier)
	assert.Equal(t, workv1.FeedbackWatchType, feedback.FeedbackScrapeType)
}
