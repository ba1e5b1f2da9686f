package addon

import (
	"context"
	"errors"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"open-cluster-management.io/addon-framework/pkg/addonfactory"
	"open-cluster-management.io/addon-framework/pkg/agent"
	"open-cluster-management.io/addon-framework/pkg/utils"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterclient "open-cluster-management.io/api/client/cluster/clientset/versioned"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	clusterv1alpha1 "open-cluster-management.io/api/cluster/v1alpha1"
	workv1 "open-cluster-management.io/api/work/v1"

	"open-cluster-management.io/argo-workflow-multicluster/manifests"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

const (
	// roleName is the agent's Role and RoleBinding in the namespace of its cluster on the hub.
	roleName = "open-cluster-management:" + contract.AddonName + ":agent"
	// agentName is the last part of the agent's user name on the hub.
	agentName = "agent"
	// agentDeployment is the agent's Deployment on the managed cluster.
	agentDeployment = contract.AddonName + "-agent"
)

// newAgentAddon returns the addon that runs the agent on a managed cluster. kubeClient and clusterClient reach the hub.
func newAgentAddon(
	kubeClient kubernetes.Interface, clusterClient clusterclient.Interface, getter utils.AddOnDeploymentConfigGetter, options Options,
) (agent.AgentAddon, error) {
	factory := addonfactory.NewAgentAddonFactory(contract.AddonName, manifests.Agent, "agent").
		WithScheme(agentScheme()).
		WithAgentRegistrationOption(&agent.RegistrationOption{
			Configurations:   agent.KubeClientSignerConfigurations(contract.AddonName, agentName),
			CSRApproveCheck:  approve,
			PermissionConfig: permissions(kubeClient, clusterClient),
		}).
		WithAgentHealthProber(&agent.HealthProber{Type: agent.HealthProberTypeLease})
	return build(factory, getter, []workv1.ManifestConfigOption{watchDeployment(agentDeployment)},
		addonfactory.GetAgentImageValues(getter, "image", options.AgentImage), configValues(getter), agentValues(options.HubID))
}

// agentScheme returns the kinds of the agent's chart that are not Kubernetes' own.
func agentScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypeWithName(schema.GroupVersionKind{Group: "monitoring.coreos.com", Version: "v1", Kind: "ServiceMonitor"},
		&unstructured.Unstructured{})
	return scheme
}

// agentValues returns the values that nobody else has a say in. An addon that is being deleted has no agent any more, so
// that nothing takes hold again of what its pre-delete hook releases.
func agentValues(hubID string) addonfactory.GetValuesFunc {
	return func(_ *clusterv1.ManagedCluster, addon *addonv1beta1.ManagedClusterAddOn) (addonfactory.Values, error) {
		values := addonfactory.Values{"hubID": hubID}
		if !addon.DeletionTimestamp.IsZero() {
			values["replicas"] = 0
		}
		return values, nil
	}
}

// permissions returns what binds the agent's Role to the user that the agent's registration reports, whatever driver it has
// used. Not to the groups that it reports, too: the agents of all clusters are in the addon's group, and each could write
// what is another's. The Role is a new one for each call: the framework sets the namespace and the owner in it. With the right to write
// its score, the agent gets the score: it may create none.
func permissions(kubeClient kubernetes.Interface, clusterClient clusterclient.Interface) agent.PermissionConfigFunc {
	return func(ctx context.Context, cluster *clusterv1.ManagedCluster, addon *addonv1beta1.ManagedClusterAddOn) error {
		user := registeredUser(addon)
		if user == "" {
			return &agent.SubjectNotReadyError{}
		}
		err := utils.NewRBACPermissionConfigBuilder(kubeClient).
			BindRoleToUser(agentRole(), user).
			Build()(ctx, cluster, addon)
		return errors.Join(err, makeScore(ctx, clusterClient, addon))
	}
}

// makeScore creates the AddOnPlacementScore whose status the agent writes, unless it is there. It goes with the addon.
func makeScore(ctx context.Context, clusterClient clusterclient.Interface, addon *addonv1beta1.ManagedClusterAddOn) error {
	scores := clusterClient.ClusterV1alpha1().AddOnPlacementScores(addon.Namespace)
	_, err := scores.Get(ctx, contract.ScoreName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && addon.DeletionTimestamp.IsZero() {
		_, err = scores.Create(ctx, &clusterv1alpha1.AddOnPlacementScore{ObjectMeta: metav1.ObjectMeta{
			Name: contract.ScoreName,
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: addonv1beta1.GroupVersion.String(), Kind: "ManagedClusterAddOn", Name: addon.Name, UID: addon.UID,
			}},
		}}, metav1.CreateOptions{})
	}
	if err != nil && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
		return fmt.Errorf("make the score: %w", err)
	}
	return nil
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

// agentRole lets an agent read what is dispatched to its cluster and report on it, and write the scores of its cluster. It can create
// nothing, so it can neither invent a Workflow nor redirect a report.
func agentRole() *rbacv1.Role {
	group := []string{v1alpha1.GroupVersion.Group}
	return &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: roleName},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: group, Resources: []string{"remoteworkflows"}, Verbs: []string{"get", "list", "watch"}},
			{APIGroups: group, Resources: []string{"remoteworkflows/status"}, Verbs: []string{"update", "patch"}},
			{
				APIGroups: []string{clusterv1alpha1.GroupName}, Resources: []string{"addonplacementscores/status"},
				ResourceNames: []string{contract.ScoreName}, Verbs: []string{"update", "patch"},
			},
		},
	}
}
