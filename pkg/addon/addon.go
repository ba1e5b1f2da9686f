// Package addon registers the agent with OCM's addon framework: its identity and its rights on the hub.
package addon

import (
	"context"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"open-cluster-management.io/addon-framework/pkg/addonmanager"
	"open-cluster-management.io/addon-framework/pkg/agent"
	"open-cluster-management.io/addon-framework/pkg/utils"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// roleName is the agent's Role and RoleBinding in the namespace of its cluster on the hub.
const roleName = "open-cluster-management:" + contract.AddonName + ":agent"

// agentName is the last part of the agent's user name on the hub.
const agentName = "agent"

// AddToManager adds the agent's addon to the addon manager. kubeClient reaches the hub.
func AddToManager(manager addonmanager.AddonManager, kubeClient kubernetes.Interface) error {
	return manager.AddAgent(&agentAddon{kubeClient: kubeClient})
}

type agentAddon struct {
	kubeClient kubernetes.Interface
}

// Manifests returns what the addon deploys to the managed cluster.
func (a *agentAddon) Manifests(
	context.Context, *clusterv1.ManagedCluster, *addonv1beta1.ManagedClusterAddOn,
) ([]runtime.Object, error) {
	return nil, nil
}

// GetAgentAddonOptions declares how the agent registers with the hub, what it may do there, and that its Lease on
// the managed cluster says whether it works.
func (a *agentAddon) GetAgentAddonOptions() agent.AgentAddonOptions {
	return agent.AgentAddonOptions{
		AddonName: contract.AddonName,
		Registration: &agent.RegistrationOption{
			Configurations:   agent.KubeClientSignerConfigurations(contract.AddonName, agentName),
			CSRApproveCheck:  approve,
			PermissionConfig: a.permissions,
		},
		HealthProber: &agent.HealthProber{Type: agent.HealthProberTypeLease},
	}
}

// permissions binds the agent's Role to the user that the agent's registration reports, whatever driver it has used.
// Not to the groups that it reports, too: the agents of all clusters are in the addon's group, and each could write what
// is another's. The Role is a new one for each call: the framework sets the namespace and the owner in it.
func (a *agentAddon) permissions(
	ctx context.Context, cluster *clusterv1.ManagedCluster, addon *addonv1beta1.ManagedClusterAddOn,
) error {
	user := registeredUser(addon)
	if user == "" {
		return &agent.SubjectNotReadyError{}
	}
	return utils.NewRBACPermissionConfigBuilder(a.kubeClient).
		BindRoleToUser(agentRole(), user).
		Build()(ctx, cluster, addon)
}

// registeredUser returns the user that the agent is on the hub, "" as long as it has not registered.
func registeredUser(addon *addonv1beta1.ManagedClusterAddOn) string {
	for _, registration := range addon.Status.Registrations {
		if registration.Type == addonv1beta1.KubeClient && registration.KubeClient != nil {
			return registration.KubeClient.Subject.User
		}
	}
	return ""
}

// agentRole lets an agent read what is dispatched to its cluster and report on it. It can create nothing, so it can
// neither invent a Workflow nor redirect a report.
func agentRole() *rbacv1.Role {
	group := []string{v1alpha1.GroupVersion.Group}
	return &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: roleName},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: group, Resources: []string{"remoteworkflows"}, Verbs: []string{"get", "list", "watch"}},
			{APIGroups: group, Resources: []string{"remoteworkflows/status"}, Verbs: []string{"update", "patch"}},
		},
	}
}
