package integration

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"open-cluster-management.io/addon-framework/pkg/addonmanager"
	addonagent "open-cluster-management.io/addon-framework/pkg/agent"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/addon"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub"
	"open-cluster-management.io/argo-workflow-multicluster/test/env"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// cluster is the hub or a managed cluster, with an administrator's access to it.
type cluster struct {
	name   string
	server *env.Server
	client client.WithWatch
}

// The servers, for all tests.
var (
	theHub   = &cluster{name: "hub"}
	cluster1 = &cluster{name: "cluster1"}
	cluster2 = &cluster{name: "cluster2"}
)

const (
	// agentNamespace is where the agent runs on a managed cluster.
	agentNamespace = "open-cluster-management-agent-addon"
	// agentManifests are what the addon is to deploy beside the agent.
	agentManifests = "manifests/agent/templates/"
	// clusterUser is the agent on its managed cluster: its service account.
	clusterUser = "system:serviceaccount:" + agentNamespace + ":" + contract.AddonName
)

func (c *cluster) start(ctx context.Context, dir string, crds []*apiextensionsv1.CustomResourceDefinition) error {
	var err error
	if c.server, err = env.Start(ctx, dir, c.name, crds); err != nil {
		return err
	}
	scheme, err := hub.Scheme()
	if err != nil {
		return err
	}
	c.client, err = client.NewWithWatch(c.server.Config, client.Options{Scheme: scheme})
	return err
}

func (c *cluster) stop() error {
	if c.server == nil {
		return nil
	}
	return c.server.Stop()
}

// makeGlobalSet makes the set of all clusters, which OCM makes by itself.
func makeGlobalSet(ctx context.Context) error {
	return theHub.client.Create(ctx, gen.ManagedClusterSet(gen.GlobalSet))
}

// join makes a managed cluster of the hub as OCM would, with the addon's registration done.
func join(ctx context.Context, c *cluster) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.name}}
	if err := theHub.client.Create(ctx, namespace); err != nil {
		return err
	}
	joined := gen.ManagedCluster(c.name)
	if err := createWithStatus(ctx, joined); err != nil {
		return err
	}
	registered := gen.ManagedClusterAddOn(c.name)
	registration := addonv1beta1.RegistrationConfig{Type: addonv1beta1.KubeClient, KubeClient: &addonv1beta1.KubeClientConfig{}}
	registration.KubeClient.Subject.User, registration.KubeClient.Subject.Groups = hubIdentity(c)
	registered.Status.Registrations = []addonv1beta1.RegistrationConfig{registration}
	if err := createWithStatus(ctx, registered); err != nil {
		return err
	}
	options, err := addonOptions()
	if err != nil {
		return err
	}
	if err := options.Registration.PermissionConfig(ctx, joined, registered); err != nil {
		return fmt.Errorf("the addon's permissions on %s: %w", c.name, err)
	}
	return grantRights(ctx, c)
}

// hubIdentity returns the user and the groups that OCM's registration gives the agent on the hub.
func hubIdentity(c *cluster) (user string, groups []string) {
	return addonagent.DefaultUser(c.name, contract.AddonName, "agent"),
		append(addonagent.DefaultGroups(c.name, contract.AddonName), "system:authenticated")
}

// addonOptions returns what the addon declares to the addon framework.
func addonOptions() (addonagent.AgentAddonOptions, error) {
	kubeClient, err := kubernetes.NewForConfig(theHub.server.Config)
	if err != nil {
		return addonagent.AgentAddonOptions{}, err
	}
	catcher := &addonCatcher{}
	if err := addon.AddToManager(catcher, kubeClient); err != nil {
		return addonagent.AgentAddonOptions{}, err
	}
	return catcher.caught.GetAgentAddonOptions(), nil
}

// addonCatcher stands in for the addon manager, to get at the addon.
type addonCatcher struct {
	addonmanager.AddonManager
	caught addonagent.AgentAddon
}

func (c *addonCatcher) AddAgent(caught addonagent.AgentAddon) error {
	c.caught = caught
	return nil
}

// grantRights gives the agent its rights on the managed cluster: those in the manifests, and Leases in its own namespace.
func grantRights(ctx context.Context, c *cluster) error {
	objects := []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: agentNamespace}}}
	for _, file := range []string{"clusterrole.yaml", "deny-adoption.yaml"} {
		manifests, err := env.Manifests(ctx, agentManifests+file)
		if err != nil {
			return err
		}
		for _, manifest := range manifests {
			objects = append(objects, manifest)
		}
	}
	const clusterRole, leases = "open-cluster-management:argo-workflow-multicluster:agent", "leases"
	subjects := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: clusterUser}}
	inNamespace := metav1.ObjectMeta{Namespace: agentNamespace, Name: leases}
	objects = append(objects,
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: clusterRole}, Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: clusterRole},
		},
		&rbacv1.Role{ObjectMeta: inNamespace, Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"get", "create", "update"},
		}}},
		&rbacv1.RoleBinding{
			ObjectMeta: inNamespace, Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: leases},
		},
	)
	var errs []error
	for _, object := range objects {
		errs = append(errs, c.client.Create(ctx, object))
	}
	return errors.Join(errs...)
}

// createWithStatus creates an object on the hub, and then gives it its status, which a creation does not.
func createWithStatus(ctx context.Context, object client.Object) error {
	full := object.DeepCopyObject().(client.Object)
	if err := theHub.client.Create(ctx, object); err != nil {
		return err
	}
	full.SetResourceVersion(object.GetResourceVersion())
	full.SetUID(object.GetUID())
	if err := theHub.client.Status().Update(ctx, full); err != nil {
		return err
	}
	return theHub.client.Get(ctx, client.ObjectKeyFromObject(object), object)
}
