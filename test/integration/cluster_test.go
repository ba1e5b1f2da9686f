package integration

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
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
	name string
	// id is the UID of its kube-system namespace.
	id     string
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
	// clusterUser is the agent on its managed cluster: its service account.
	clusterUser = "system:serviceaccount:" + agentNamespace + ":" + contract.AddonName + "-agent"
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
	if c.client, err = client.NewWithWatch(c.server.Config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	c.id, err = hub.ID(ctx, c.client)
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
	agentAddon, err := agentAddon(ctx)
	if err != nil {
		return err
	}
	if err := agentAddon.GetAgentAddonOptions().Registration.PermissionConfig(ctx, joined, registered); err != nil {
		return fmt.Errorf("the addon's permissions on %s: %w", c.name, err)
	}
	return deploy(ctx, c, agentNamespace)
}

// hubIdentity returns the user and the groups that OCM's registration gives the agent on the hub.
func hubIdentity(c *cluster) (user string, groups []string) {
	return addonagent.DefaultUser(c.name, contract.AddonName, "agent"),
		append(addonagent.DefaultGroups(c.name, contract.AddonName), "system:authenticated")
}

// agentAddon returns the agent's addon as the manager adds it to the addon framework.
func agentAddon(ctx context.Context) (addonagent.AgentAddon, error) {
	hubID, err := hub.ID(ctx, theHub.client)
	if err != nil {
		return nil, err
	}
	catcher := addonCatcher{caught: map[string]addonagent.AgentAddon{}}
	err = addon.AddToManager(catcher, theHub.server.Config, addon.Options{AgentImage: "agent", HubID: hubID})
	return catcher.caught[contract.AddonName], err
}

// addonCatcher stands in for the addon manager, to get at the addons by their names.
type addonCatcher struct {
	addonmanager.AddonManager
	caught map[string]addonagent.AgentAddon
}

// AddAgent keeps the addon.
func (c addonCatcher) AddAgent(caught addonagent.AgentAddon) error {
	c.caught[caught.GetAgentAddonOptions().AddonName] = caught
	return nil
}

// deploy creates on a managed cluster what the addon deploys there, with the agent in this namespace. Its Deployment and the
// hook's Job have no effect: no controller runs.
func deploy(ctx context.Context, c *cluster, namespace string) error {
	agentAddon, err := agentAddon(ctx)
	if err != nil {
		return err
	}
	version, err := discovery.NewDiscoveryClientForConfigOrDie(c.server.Config).ServerVersion()
	if err != nil {
		return err
	}
	managed := gen.ManagedCluster(c.name)
	managed.Status.Version.Kubernetes = version.GitVersion
	manifests, err := agentAddon.Manifests(ctx, managed, gen.ManagedClusterAddOn(c.name,
		gen.WithCondition(addonv1beta1.ManagedClusterAddOnConditionConfigured, metav1.ConditionTrue, "ConfigurationsConfigured", ""),
		gen.WithAnnotations(map[string]string{addonv1beta1.InstallNamespaceAnnotation: namespace})))
	if err != nil {
		return err
	}
	if namespace == agentNamespace { // OCM makes it
		if err := c.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
			return err
		}
	}
	for _, manifest := range manifests {
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(manifest)
		if err != nil {
			return err
		}
		if err := c.client.Create(ctx, &unstructured.Unstructured{Object: object}); err != nil {
			return err
		}
	}
	return nil
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
