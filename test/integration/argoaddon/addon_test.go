package argoaddon

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"open-cluster-management.io/addon-framework/pkg/addonmanager"
	addonagent "open-cluster-management.io/addon-framework/pkg/agent"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	workv1 "open-cluster-management.io/api/work/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/addon"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/agent"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

const (
	argoAddon = "argo-workflows"
	hubID     = "hub-id"
	hookUser  = "system:serviceaccount:open-cluster-management-agent-addon:argo-workflows-remove-crds"
)

// catcher stands in for the addon manager, to get at the addon.
type catcher struct {
	addonmanager.AddonManager
	caught map[string]addonagent.AgentAddon
}

func (c catcher) AddAgent(caught addonagent.AgentAddon) error {
	c.caught[caught.GetAgentAddonOptions().AddonName] = caught
	return nil
}

// render returns what the addon deploys with these customized variables, if Argo Workflows is its own.
func render(t *testing.T, variables map[string]string) []client.Object {
	t.Helper()
	c := catcher{caught: map[string]addonagent.AgentAddon{}}
	require.NoError(t, addon.AddToManager(c, server.Config, addon.Options{AgentImage: "agent", HubID: hubID}))
	config := &addonv1beta1.AddOnDeploymentConfig{}
	config.Namespace, config.GenerateName = "default", "config-"
	for name, value := range variables {
		config.Spec.CustomizedVariables = append(config.Spec.CustomizedVariables, addonv1beta1.CustomizedVariable{Name: name, Value: value})
	}
	require.NoError(t, admin.Create(t.Context(), config))
	managed := gen.ManagedClusterAddOn("cluster1", gen.WithCondition("Configured", metav1.ConditionTrue, "Configured", ""),
		gen.WithCondition(addon.ConditionArgoManaged, metav1.ConditionTrue, addon.ReasonInstalled, ""))
	managed.Name = argoAddon
	reference := addonv1beta1.ConfigReference{DesiredConfig: &addonv1beta1.ConfigSpecHash{SpecHash: "hash"}}
	reference.Group, reference.Resource = addonv1beta1.GroupName, "addondeploymentconfigs"
	reference.DesiredConfig.Namespace, reference.DesiredConfig.Name = config.Namespace, config.Name
	managed.Status.ConfigReferences = []addonv1beta1.ConfigReference{reference}
	cluster := gen.ManagedCluster("cluster1")
	cluster.Status.Version.Kubernetes = "v1.35.4"
	rendered, err := c.caught[argoAddon].Manifests(t.Context(), cluster, managed)
	require.NoError(t, err)
	var objects []client.Object
	for _, obj := range rendered {
		objects = append(objects, obj.(client.Object))
	}
	return objects
}

// deploy creates what is rendered, or updates it as far as it is there; a field that the server does not know is an error.
func deploy(t *testing.T, objects []client.Object) {
	t.Helper()
	ensureNamespace(t, "open-cluster-management-agent-addon")
	strict := client.WithFieldValidation(admin, metav1.FieldValidationStrict)
	for _, object := range objects {
		err := strict.Create(t.Context(), object)
		if apierrors.IsAlreadyExists(err) {
			present := object.DeepCopyObject().(client.Object)
			require.NoError(t, admin.Get(t.Context(), client.ObjectKeyFromObject(object), present))
			object.SetResourceVersion(present.GetResourceVersion())
			err = strict.Update(t.Context(), object)
		}
		require.NoError(t, err, "%T %s", object, object.GetName())
	}
}

func ensureNamespace(t *testing.T, name string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	require.NoError(t, client.IgnoreAlreadyExists(admin.Create(t.Context(), namespace)))
}

func TestTheAPIServerTakesWhatTheAddonDeploys(t *testing.T) {
	ensureNamespace(t, "team-a")
	for name, variables := range map[string]map[string]string{
		"by default": {"argoNamespace": "accepted"},
		"with all variables": {
			"argoNamespace": "accepted-server", "argoServer": "true", "metrics": "false", "replicas": "2", "instanceID": "mine",
			"parallelism": "10", "workflowDefaults": "spec: {serviceAccountName: runner}", "artifactRepositoryRef": "{key: default}",
			"controllerArgs": "--executor-plugins", "workflowNamespaces": "default,team-a", "executorServiceAccounts": "default,runner",
		},
		"for one namespace": {"argoNamespace": "accepted-managed", "argoServer": "true", "managedNamespace": "team-a"},
	} {
		t.Run(name, func(t *testing.T) { deploy(t, render(t, variables)) })
	}
}

// installed deploys the addon with its controller in a namespace of its own, and takes the Deployment away, as the work agent
// does when the addon is deleted.
func installed(t *testing.T, argoNamespace string) {
	t.Helper()
	deploy(t, render(t, map[string]string{"argoNamespace": argoNamespace}))
	require.NoError(t, eventually(t.Context(), func() error {
		return admin.List(t.Context(), list("Workflow"))
	}), "the CRDs are served")
	deleteDeployment(t, argoNamespace)
}

func deleteDeployment(t *testing.T, argoNamespace string) {
	t.Helper()
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: argoNamespace, Name: "workflow-controller"}}
	require.NoError(t, admin.Delete(t.Context(), deployment, client.PropagationPolicy(metav1.DeletePropagationBackground)))
}

func list(kind string) *metav1.PartialObjectMetadataList {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(contract.WorkflowGVK.GroupVersion().WithKind(kind + "List"))
	return list
}

// remove runs the pre-delete hook, with its rights, and returns what it says.
func remove(ctx context.Context, argoNamespace string, timeout time.Duration) (string, error) {
	config := rest.CopyConfig(server.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: hookUser, Groups: []string{"system:serviceaccounts", "system:authenticated"}}
	said := &bytes.Buffer{}
	err := agent.RemoveCRDs(ctx, config, agent.RemoveCRDsOptions{HubID: hubID, ArgoNamespace: argoNamespace, Timeout: timeout}, said)
	return said.String(), err
}

// argosCRDs returns the names of Argo's CRDs on the server.
func argosCRDs(t *testing.T) []string {
	t.Helper()
	crds := &apiextensionsv1.CustomResourceDefinitionList{}
	require.NoError(t, admin.List(t.Context(), crds))
	var names []string
	for i := range crds.Items {
		if crds.Items[i].Spec.Group == "argoproj.io" {
			names = append(names, crds.Items[i].Name)
		}
	}
	return names
}

// isEnding reports whether a namespace is gone or going: no controller is there to end it.
func isEnding(t *testing.T, name string) bool {
	t.Helper()
	namespace := &corev1.Namespace{}
	err := admin.Get(t.Context(), client.ObjectKey{Name: name}, namespace)
	if apierrors.IsNotFound(err) {
		return true
	}
	require.NoError(t, err)
	return namespace.DeletionTimestamp != nil
}

func TestTheHookRemovesCRDsAndNamespaceIfNobodyHasAnythingInThem(t *testing.T) {
	installed(t, "unused")
	require.Len(t, argosCRDs(t), 8)
	said, err := remove(t.Context(), "unused", patience)
	require.NoError(t, err)
	assert.Empty(t, argosCRDs(t))
	assert.True(t, isEnding(t, "unused"))
	assert.Equal(t, 9, strings.Count(said, "removed "), said)

	said, err = remove(t.Context(), "unused", patience)
	require.NoError(t, err, "it may be run again")
	assert.NotContains(t, said, "customresourcedefinitions")
}

func TestTheHookLeavesWorkflows(t *testing.T) {
	for kind, makeOne := range map[string]func() client.Object{
		"workflows": func() client.Object { return gen.Workflow("kept", gen.InNamespace("default")) },
		"cronworkflows": func() client.Object {
			cron := gen.Workflow("kept", gen.InNamespace("default"))
			cron.SetKind("CronWorkflow")
			return cron
		},
	} {
		t.Run(kind, func(t *testing.T) {
			installed(t, "used-"+kind)
			lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "used-" + kind, Name: "workflow-controller"}}
			require.NoError(t, admin.Create(t.Context(), lease))
			object := makeOne()
			require.NoError(t, admin.Create(t.Context(), object))
			said, err := remove(t.Context(), "used-"+kind, patience)
			require.NoError(t, err)
			assert.Contains(t, said, "Argo's CRDs and the namespace used-"+kind+" stay: there are "+kind+", such as default/kept. ")
			assert.Contains(t, said, "kubectl label crd workflows.argoproj.io workflow.open-cluster-management.io/installed-by-hub-\n")
			assert.Len(t, argosCRDs(t), 8)
			assert.False(t, isEnding(t, "used-"+kind))
			assert.True(t, apierrors.IsNotFound(admin.Get(t.Context(), client.ObjectKeyFromObject(lease), lease)), "the controller's Lease goes")

			require.NoError(t, admin.Delete(t.Context(), object))
			_, err = remove(t.Context(), "used-"+kind, patience)
			require.NoError(t, err)
			assert.Empty(t, argosCRDs(t))
		})
	}
}

func TestTheHookDoesNotTakeWhatArgoKeepsForAWorkflow(t *testing.T) {
	installed(t, "by-products")
	result := gen.Workflow("left", gen.InNamespace("default"))
	result.SetKind("WorkflowTaskResult")
	require.NoError(t, admin.Create(t.Context(), result))
	_, err := remove(t.Context(), "by-products", patience)
	require.NoError(t, err)
	assert.Empty(t, argosCRDs(t))
}

func TestTheHookLeavesWhatTheAddonHasNotMade(t *testing.T) {
	ensureNamespace(t, "users")
	objects := render(t, map[string]string{"argoNamespace": "users"})
	for i, object := range objects {
		if namespace, ok := object.(*corev1.Namespace); ok && namespace.Name == "users" {
			objects = append(objects[:i], objects[i+1:]...) // the work agent only creates it
			break
		}
	}
	deploy(t, objects)
	crd := &apiextensionsv1.CustomResourceDefinition{}
	require.NoError(t, admin.Get(t.Context(), client.ObjectKey{Name: "cronworkflows.argoproj.io"}, crd))
	crd.Labels[contract.LabelInstalledBy] = "another"
	require.NoError(t, admin.Update(t.Context(), crd))
	deleteDeployment(t, "users")

	said, err := remove(t.Context(), "users", patience)
	require.NoError(t, err)
	assert.Equal(t, []string{"cronworkflows.argoproj.io"}, argosCRDs(t))
	assert.False(t, isEnding(t, "users"))
	assert.Contains(t, said, "the namespace users stays: the addon has not made it")
	require.NoError(t, admin.Delete(t.Context(), crd))
	require.NoError(t, eventually(t.Context(), func() error {
		if left := argosCRDs(t); len(left) > 0 {
			return fmt.Errorf("%v are still there", left)
		}
		return nil
	}))
}

func TestTheHookLeavesANamespaceWithSomethingOfUsers(t *testing.T) {
	installed(t, "shared")
	ours := []client.Object{
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shared", Name: "kube-root-ca.crt"}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shared", Name: "open-cluster-management-image-pull-credentials"}},
	}
	for _, object := range append(ours, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shared", Name: "minio"}}) {
		require.NoError(t, admin.Create(t.Context(), object))
	}
	said, err := remove(t.Context(), "shared", patience)
	require.NoError(t, err)
	assert.Contains(t, said, "the namespace shared stays: there are secrets in it that are not the addon's, such as minio")
	assert.Empty(t, argosCRDs(t))
	assert.False(t, isEnding(t, "shared"))

	require.NoError(t, admin.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shared", Name: "minio"}}))
	_, err = remove(t.Context(), "shared", patience)
	require.NoError(t, err)
	assert.True(t, isEnding(t, "shared"))
}

// TestTheHookWaitsForTheController: as long as the Deployment is there, the work agent would create the CRDs again.
func TestTheHookWaitsForTheController(t *testing.T) {
	deploy(t, render(t, map[string]string{"argoNamespace": "waiting"}))
	_, err := remove(t.Context(), "waiting", 2*time.Second)
	require.ErrorContains(t, err, "wait for Argo's controller in namespace waiting to end: deployments waiting/workflow-controller is still there")
	assert.Len(t, argosCRDs(t), 8)
	deleteDeployment(t, "waiting")
	_, err = remove(t.Context(), "waiting", patience)
	require.NoError(t, err)
}

// TestTheHookFailsWithoutRights, so that it is tried again and nothing is taken for removed.
func TestTheHookFailsWithoutRights(t *testing.T) {
	installed(t, "rights")
	role := &rbacv1.ClusterRole{}
	require.NoError(t, admin.Get(t.Context(), client.ObjectKey{Name: "argo-workflows-remove-crds"}, role))
	rules := role.Rules
	role.Rules = rules[:2]
	require.NoError(t, admin.Update(t.Context(), role))
	require.NoError(t, eventually(t.Context(), func() error {
		if _, err := remove(t.Context(), "rights", patience); !apierrors.IsForbidden(err) {
			return fmt.Errorf("not forbidden: %w", err)
		}
		return nil
	}))
	assert.Len(t, argosCRDs(t), 8)
	role.Rules = rules
	require.NoError(t, admin.Update(t.Context(), role))
	require.NoError(t, eventually(t.Context(), func() error {
		_, err := remove(t.Context(), "rights", patience)
		return err
	}))
}

// TestTheAddonLearnsWhoseArgoIs plays the work agent: what it says of the ManifestWork becomes conditions of the addon.
func TestTheAddonLearnsWhoseArgoIs(t *testing.T) {
	mgr, err := ctrl.NewManager(server.Config, ctrl.Options{Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}})
	require.NoError(t, err)
	require.NoError(t, addon.SetupConditions(mgr, hubID))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	ensureNamespace(t, "cluster9")
	installed := &addonv1beta1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: "cluster9", Name: argoAddon}}
	require.NoError(t, admin.Create(t.Context(), installed))
	work := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{
		Namespace: "cluster9", Name: "addon-argo-workflows-deploy-0", Labels: map[string]string{addonv1beta1.AddonLabelKey: argoAddon},
	}}
	require.NoError(t, admin.Create(t.Context(), work))

	requireReason(t, installed, addon.ReasonProbing)
	feedBack(t, work, map[string]string{"uid": "1"})
	requireReason(t, installed, addon.ReasonExistingInstallation)
	feedBack(t, work, map[string]string{"uid": "2", "installedBy": hubID})
	requireReason(t, installed, addon.ReasonInstalled)
}

// requireReason waits for the reason of the addon's condition, and that no other condition is lost.
func requireReason(t *testing.T, key client.Object, reason string) {
	t.Helper()
	require.NoError(t, eventually(t.Context(), func() error {
		installed := &addonv1beta1.ManagedClusterAddOn{}
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(key), installed); err != nil {
			return err
		}
		condition := meta.FindStatusCondition(installed.Status.Conditions, addon.ConditionArgoManaged)
		if condition == nil || condition.Reason != reason {
			return fmt.Errorf("%v is not %s", condition, reason)
		}
		return nil
	}))
}

// feedBack writes what a work agent says of Argo's CRD.
func feedBack(t *testing.T, work *workv1.ManifestWork, values map[string]string) {
	t.Helper()
	manifest := workv1.ManifestCondition{
		ResourceMeta: workv1.ManifestResourceMeta{
			Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition", Resource: "customresourcedefinitions",
			Name: "workflows.argoproj.io",
		},
		Conditions: []metav1.Condition{},
	}
	for name, value := range values {
		manifest.StatusFeedbacks.Values = append(manifest.StatusFeedbacks.Values,
			workv1.FeedbackValue{Name: name, Value: workv1.FieldValue{Type: workv1.String, String: ptr.To(value)}})
	}
	work.Status.ResourceStatus.Manifests = []workv1.ManifestCondition{manifest}
	require.NoError(t, admin.Status().Update(t.Context(), work))
}
