package addon

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"open-cluster-management.io/addon-framework/pkg/agent"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	fakeclusters "open-cluster-management.io/api/client/cluster/clientset/versioned/fake"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

const (
	testImage       = "quay.io/open-cluster-management/argo-multicluster:v1.2.3"
	testHubID       = "hub-id"
	agentNamespace  = "open-cluster-management-agent-addon"
	testKubeVersion = "v1.35.4"
)

// oneConfig answers with one AddOnDeploymentConfig, if there is one.
type oneConfig struct {
	spec *addonv1beta1.AddOnDeploymentConfigSpec
}

func (c oneConfig) Get(context.Context, string, string) (*addonv1beta1.AddOnDeploymentConfig, error) {
	if c.spec == nil {
		return nil, apierrors.NewNotFound(addonv1beta1.Resource("addondeploymentconfigs"), "config")
	}
	return &addonv1beta1.AddOnDeploymentConfig{Spec: *c.spec}, nil
}

func newTestAddon(t *testing.T, config *addonv1beta1.AddOnDeploymentConfigSpec) agent.AgentAddon {
	t.Helper()
	built, err := newAgentAddon(
		fake.NewClientset(), newFakeClusters(), oneConfig{config}, Options{AgentImage: testImage, HubID: testHubID})
	require.NoError(t, err)
	return built
}

// newFakeClusters returns a hub's API of clusters.
func newFakeClusters() *fakeclusters.Clientset {
	return fakeclusters.NewSimpleClientset() //nolint:staticcheck // the newer function that it names is not generated for this API
}

// testAddOn is the ManagedClusterAddOn, which OCM has configured with what oneConfig has.
func testAddOn(config *addonv1beta1.AddOnDeploymentConfigSpec, mods ...gen.Mod) *addonv1beta1.ManagedClusterAddOn {
	addon := gen.ManagedClusterAddOn("cluster1", append([]gen.Mod{
		gen.WithCondition(addonv1beta1.ManagedClusterAddOnConditionConfigured, metav1.ConditionTrue, "ConfigurationsConfigured", ""),
	}, mods...)...)
	if config != nil {
		reference := addonv1beta1.ConfigReference{DesiredConfig: &addonv1beta1.ConfigSpecHash{SpecHash: "hash"}}
		reference.Group, reference.Resource = addonv1beta1.GroupName, "addondeploymentconfigs"
		reference.DesiredConfig.Namespace, reference.DesiredConfig.Name = "default", "config"
		addon.Status.ConfigReferences = []addonv1beta1.ConfigReference{reference}
	}
	return addon
}

func testManagedCluster(kubeVersion string) *clusterv1.ManagedCluster {
	cluster := gen.ManagedCluster("cluster1")
	cluster.Status.Version.Kubernetes = kubeVersion
	return cluster
}

// rendered is what the addon deploys.
type rendered []runtime.Object

func render(t *testing.T, config *addonv1beta1.AddOnDeploymentConfigSpec, mods ...gen.Mod) rendered {
	t.Helper()
	objects, err := newTestAddon(t, config).Manifests(t.Context(), testManagedCluster(testKubeVersion), testAddOn(config, mods...))
	require.NoError(t, err)
	return objects
}

// names returns kind and name of each object, and its namespace if it has one.
func (r rendered) names() []string {
	var names []string
	for _, obj := range r {
		object := obj.(client.Object)
		name := object.GetObjectKind().GroupVersionKind().Kind + " " + object.GetName()
		if object.GetNamespace() != "" {
			name += " in " + object.GetNamespace()
		}
		names = append(names, name)
	}
	return names
}

// only returns the one object of a type, whose name ends so.
func only[T client.Object](t *testing.T, r rendered, suffix string) T {
	t.Helper()
	var found []T
	for _, obj := range r {
		if object, ok := obj.(T); ok && strings.HasSuffix(object.GetName(), suffix) {
			found = append(found, object)
		}
	}
	require.Len(t, found, 1)
	return found[0]
}

func deploymentOf(t *testing.T, r rendered) *appsv1.Deployment {
	t.Helper()
	return only[*appsv1.Deployment](t, r, "")
}

func hookOf(t *testing.T, r rendered) *batchv1.Job {
	t.Helper()
	return only[*batchv1.Job](t, r, "")
}

func variables(nameAndValue ...string) *addonv1beta1.AddOnDeploymentConfigSpec {
	config := &addonv1beta1.AddOnDeploymentConfigSpec{}
	for i := 0; i < len(nameAndValue); i += 2 {
		config.CustomizedVariables = append(config.CustomizedVariables,
			addonv1beta1.CustomizedVariable{Name: nameAndValue[i], Value: nameAndValue[i+1]})
	}
	return config
}

func TestWhatIsDeployedByDefault(t *testing.T) {
	objects := render(t, nil)
	hook := hookOf(t, objects)
	const rbac = "open-cluster-management:argo-workflow-multicluster:open-cluster-management-agent-addon"
	assert.ElementsMatch(t, []string{
		"ServiceAccount argo-workflow-multicluster-agent in " + agentNamespace,
		"ClusterRole " + rbac + ":agent",
		"ClusterRole " + rbac + ":work",
		"ClusterRole " + rbac + ":metrics-reader",
		"ClusterRoleBinding " + rbac + ":agent",
		"Role argo-workflow-multicluster-agent in " + agentNamespace,
		"RoleBinding argo-workflow-multicluster-agent in " + agentNamespace,
		"Deployment argo-workflow-multicluster-agent in " + agentNamespace,
		"Job " + hook.Name + " in " + agentNamespace,
	}, objects.names())

	deployment := deploymentOf(t, objects)
	assert.Equal(t, int32(1), *deployment.Spec.Replicas)
	pod := deployment.Spec.Template.Spec
	require.Len(t, pod.Containers, 1)
	container := pod.Containers[0]
	assert.Equal(t, "agent", container.Name)
	assert.Equal(t, testImage, container.Image)
	assert.Equal(t, []string{
		"agent", "--hub-kubeconfig=/etc/hub/kubeconfig", "--cluster-name=cluster1", "--hub-id=hub-id", "--leader-elect",
		"--concurrency=16", "--report-interval=1s", "--report-bandwidth=1048576",
		"--metrics-bind-address=:8443", "--metrics-secure=true", "--log-level=0", "--log-format=json",
	}, container.Args)
	require.Len(t, container.Env, 1, "no proxy")
	assert.Equal(t, "POD_NAMESPACE", container.Env[0].Name)
	assert.Equal(t, "metadata.namespace", container.Env[0].ValueFrom.FieldRef.FieldPath)
	assert.Equal(t, "argo-workflow-multicluster-hub-kubeconfig", pod.Volumes[0].Secret.SecretName)
	assert.Equal(t, "/etc/hub", container.VolumeMounts[0].MountPath)
	assert.Equal(t, "50m", container.Resources.Requests.Cpu().String())
	assert.Empty(t, pod.NodeSelector)
	assert.Empty(t, pod.Tolerations)
	for key, value := range deployment.Spec.Selector.MatchLabels {
		assert.Equal(t, value, deployment.Spec.Template.Labels[key])
	}
	for _, obj := range objects {
		assert.Equal(t, "argo-workflow-multicluster", obj.(client.Object).GetLabels()["app.kubernetes.io/part-of"], obj.(client.Object).GetName())
	}
	assert.Equal(t, "1Gi", container.Resources.Limits.Memory().String())
	assert.Equal(t, deployment.Spec.Selector, pod.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution[0].PodAffinityTerm.LabelSelector)
}

func TestThePodsHaveNoRightsOnTheirNode(t *testing.T) {
	objects := render(t, nil)
	for _, pod := range []corev1.PodSpec{deploymentOf(t, objects).Spec.Template.Spec, hookOf(t, objects).Spec.Template.Spec} {
		assert.Equal(t, "argo-workflow-multicluster-agent", pod.ServiceAccountName)
		assert.True(t, *pod.SecurityContext.RunAsNonRoot)
		assert.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, pod.SecurityContext.SeccompProfile.Type)
		for _, container := range pod.Containers {
			assert.Equal(t, []corev1.Capability{"ALL"}, container.SecurityContext.Capabilities.Drop)
			assert.True(t, *container.SecurityContext.ReadOnlyRootFilesystem)
			assert.False(t, *container.SecurityContext.AllowPrivilegeEscalation)
			assert.False(t, *container.SecurityContext.Privileged)
		}
	}
}

func TestTheAgentMayDoOnTheClusterWhatItNeeds(t *testing.T) {
	objects := render(t, nil)
	role := only[*rbacv1.ClusterRole](t, objects, ":agent")
	assert.Equal(t, []rbacv1.PolicyRule{
		{APIGroups: []string{"argoproj.io"}, Resources: []string{"workflows"}, Verbs: []string{"get", "list", "watch", "patch", "delete"}},
		{APIGroups: []string{"", "events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
		{
			APIGroups: []string{""}, Resources: []string{"namespaces"}, ResourceNames: []string{agentNamespace},
			Verbs: []string{"get", "list", "watch"},
		},
		{APIGroups: []string{""}, Resources: []string{"nodes", "pods"}, Verbs: []string{"list", "watch"}},
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"delete"}},
		{APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"tokenreviews"}, Verbs: []string{"create"}},
		{APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"subjectaccessreviews"}, Verbs: []string{"create"}},
	}, role.Rules)
	leases := []string{"argo-workflow-multicluster", "argo-workflow-multicluster-agent"}
	assert.Equal(t, []rbacv1.PolicyRule{
		{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"create"}},
		{
			APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: leases,
			Verbs: []string{"get", "update", "delete"},
		},
	}, only[*rbacv1.Role](t, objects, "").Rules)
	account := []rbacv1.Subject{{Kind: "ServiceAccount", Name: "argo-workflow-multicluster-agent", Namespace: agentNamespace}}
	clusterBinding, binding := only[*rbacv1.ClusterRoleBinding](t, objects, ""), only[*rbacv1.RoleBinding](t, objects, "")
	assert.Equal(t, account, clusterBinding.Subjects)
	assert.Equal(t, role.Name, clusterBinding.RoleRef.Name)
	assert.Equal(t, account, binding.Subjects)
	assert.Equal(t, only[*rbacv1.Role](t, objects, "").Name, binding.RoleRef.Name)
}

func TestTheWorkAgentMayCreateWorkflowsAndNothingElse(t *testing.T) {
	role := only[*rbacv1.ClusterRole](t, render(t, nil), ":work")
	assert.Equal(t, "true", role.Labels["open-cluster-management.io/aggregate-to-work"])
	assert.Equal(t, []rbacv1.PolicyRule{
		{APIGroups: []string{"argoproj.io"}, Resources: []string{"workflows"}, Verbs: []string{"get", "create"}},
	}, role.Rules)
}

func TestTwoHubsCanHaveTheirAgentsOnOneCluster(t *testing.T) {
	one := render(t, nil)
	other := render(t, &addonv1beta1.AddOnDeploymentConfigSpec{AgentInstallNamespace: "other-hub"})
	for _, name := range one.names() {
		assert.NotContains(t, other.names(), name)
	}
	for _, obj := range other {
		if namespace := obj.(client.Object).GetNamespace(); namespace != "" {
			assert.Equal(t, "other-hub", namespace)
		}
	}
	assert.Equal(t, "other-hub", only[*rbacv1.ClusterRoleBinding](t, other, "").Subjects[0].Namespace)
	assert.Equal(t, []string{"other-hub"}, only[*rbacv1.ClusterRole](t, other, ":agent").Rules[2].ResourceNames)
}

func TestANamespaceThatOCMDoesNotMakeIsBroughtAndLeft(t *testing.T) {
	for name, objects := range map[string]rendered{
		"in the configuration": render(t, &addonv1beta1.AddOnDeploymentConfigSpec{AgentInstallNamespace: "1234"}),
		"in the addon":         render(t, nil, gen.WithAnnotations(map[string]string{addonv1beta1.InstallNamespaceAnnotation: "1234"})),
	} {
		t.Run(name, func(t *testing.T) {
			namespace := only[*corev1.Namespace](t, objects, "")
			assert.Equal(t, "1234", namespace.Name)
			assert.Contains(t, namespace.Annotations, addonv1beta1.DeletionOrphanAnnotationKey)
			assert.Equal(t, "true", namespace.Labels["addon.open-cluster-management.io/namespace"])
		})
	}
}

func TestWhatIsDeployedOfTheAgentOnlyIfItIsWanted(t *testing.T) {
	const name = " argo-workflow-multicluster-agent"
	wanted := render(t, variables("replicas", "2", "networkPolicy", "true", "serviceMonitor", "true"))
	for _, object := range []string{"PodDisruptionBudget" + name, "NetworkPolicy" + name, "Service" + name + "-metrics", "ServiceMonitor" + name} {
		assert.Contains(t, wanted.names(), object+" in "+agentNamespace)
		assert.NotContains(t, render(t, nil).names(), object+" in "+agentNamespace)
	}
}

func TestCustomizedVariables(t *testing.T) {
	deployment := deploymentOf(t, render(t, variables(
		"replicas", "2", "argoInstanceID", "team-a", "logLevel", "4", "logFormat", "text", "concurrency", "8",
		"reportInterval", "1500ms", "reportBandwidth", "0", "image", "registry.local/agent@sha256:abc", "imagePullSecret", "",
		"metricsSecure", "false", "priorityClassName", "important",
	)))
	assert.Equal(t, int32(2), *deployment.Spec.Replicas)
	pod := deployment.Spec.Template.Spec
	assert.Equal(t, []string{
		"agent", "--hub-kubeconfig=/etc/hub/kubeconfig", "--cluster-name=cluster1", "--hub-id=hub-id", "--leader-elect",
		"--argo-instance-id=team-a", "--concurrency=8", "--report-interval=1500ms", "--report-bandwidth=0",
		"--metrics-bind-address=:8080", "--metrics-secure=false", "--log-level=4", "--log-format=text",
	}, pod.Containers[0].Args)
	assert.Equal(t, "registry.local/agent@sha256:abc", pod.Containers[0].Image)
	assert.Equal(t, "important", pod.PriorityClassName)
	assert.Empty(t, pod.ImagePullSecrets)
}

func TestInvalidVariablesAreNamed(t *testing.T) {
	tests := map[string]struct{ name, value, want string }{
		"replicas that are no number":    {"replicas", "many", "/replicas': 'many' does not match"},
		"many replicas":                  {"replicas", "100", "/replicas': '100' does not match"},
		"an instance id that is none":    {"argoInstanceID", "team a", "/argoInstanceID': 'team a' does not match"},
		"the gate's instance id":         {"argoInstanceID", "ocm-multicluster-gated", "argoInstanceID must not be ocm-multicluster-gated"},
		"a log level that is none":       {"logLevel", "debug", "/logLevel': 'debug' does not match"},
		"a log format that is none":      {"logFormat", "xml", "/logFormat': value must be one of 'json', 'text'"},
		"no concurrency":                 {"concurrency", "0", "/concurrency': '0' does not match"},
		"an interval without a unit":     {"reportInterval", "5", "/reportInterval': '5' does not match"},
		"a bandwidth with a unit":        {"reportBandwidth", "1Mi", "/reportBandwidth': '1Mi' does not match"},
		"no image":                       {"image", "", "/image': minLength"},
		"a variable that there is not":   {"replica", "2", "additional properties 'replica' not allowed"},
		"a value that has its own field": {"global", "x", "/global': got string, want object"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			config := variables(test.name, test.value)
			_, err := newTestAddon(t, config).Manifests(t.Context(), testManagedCluster(testKubeVersion), testAddOn(config))
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestWhatTheHubSaysIsNoVariable(t *testing.T) {
	container := deploymentOf(t, render(t, variables("hubID", "forged", "clusterName", "forged"))).Spec.Template.Spec.Containers[0]
	assert.Contains(t, container.Args, "--hub-id="+testHubID)
	assert.Contains(t, container.Args, "--cluster-name=cluster1")
}

func TestImagesComeFromTheMirrors(t *testing.T) {
	mirrors := []addonv1beta1.ImageMirror{{Source: "quay.io/open-cluster-management", Mirror: "registry.local/ocm"}}
	const want = "registry.local/ocm/argo-multicluster:v1.2.3"
	objects := render(t, &addonv1beta1.AddOnDeploymentConfigSpec{Registries: mirrors})
	assert.Equal(t, want, deploymentOf(t, objects).Spec.Template.Spec.Containers[0].Image)
	assert.Equal(t, want, hookOf(t, objects).Spec.Template.Spec.Containers[0].Image)

	cluster := testManagedCluster(testKubeVersion)
	cluster.Annotations = map[string]string{clusterv1.ClusterImageRegistriesAnnotationKey: fmt.Sprintf(
		`{"registries": [{"source": %q, "mirror": %q}]}`, mirrors[0].Source, mirrors[0].Mirror)}
	objects, err := newTestAddon(t, nil).Manifests(t.Context(), cluster, testAddOn(nil))
	require.NoError(t, err)
	assert.Equal(t, want, deploymentOf(t, objects).Spec.Template.Spec.Containers[0].Image)
}

func TestNodePlacement(t *testing.T) {
	tolerations := []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}
	selector := map[string]string{"node-role.kubernetes.io/infra": ""}
	for name, placement := range map[string]addonv1beta1.NodePlacement{
		"both":        {NodeSelector: selector, Tolerations: tolerations},
		"selector":    {NodeSelector: selector},
		"tolerations": {Tolerations: tolerations},
		"neither":     {},
	} {
		t.Run(name, func(t *testing.T) {
			objects := render(t, &addonv1beta1.AddOnDeploymentConfigSpec{NodePlacement: &placement})
			for _, pod := range []corev1.PodSpec{deploymentOf(t, objects).Spec.Template.Spec, hookOf(t, objects).Spec.Template.Spec} {
				assert.Equal(t, placement.NodeSelector, pod.NodeSelector)
				assert.Equal(t, placement.Tolerations, pod.Tolerations)
			}
		})
	}
}

func TestTheProxyIsForAllButTheCluster(t *testing.T) {
	values := func(proxy addonv1beta1.ProxyConfig) map[string]string {
		values := map[string]string{}
		container := deploymentOf(t, render(t, &addonv1beta1.AddOnDeploymentConfigSpec{ProxyConfig: proxy})).Spec.Template.Spec.Containers[0]
		for _, env := range container.Env {
			if env.ValueFrom == nil {
				values[env.Name] = env.Value
			}
		}
		return values
	}
	assert.Equal(t, map[string]string{
		"HTTP_PROXY": "http://proxy:3128", "HTTPS_PROXY": "https://proxy:3129", "NO_PROXY": "example.com,10.0.0.0/8,$(KUBERNETES_SERVICE_HOST)",
	}, values(addonv1beta1.ProxyConfig{
		HTTPProxy: "http://proxy:3128", HTTPSProxy: "https://proxy:3129", NoProxy: "example.com,10.0.0.0/8", CABundle: []byte("pem"),
	}))
	assert.Equal(t, map[string]string{"HTTPS_PROXY": "https://proxy:3129", "NO_PROXY": "$(KUBERNETES_SERVICE_HOST)"},
		values(addonv1beta1.ProxyConfig{HTTPSProxy: "https://proxy:3129"}))
}

func TestTheLastResourceRequirementThatMatchesCounts(t *testing.T) {
	memory := func(quantity string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(quantity)},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(quantity)},
		}
	}
	objects := render(t, &addonv1beta1.AddOnDeploymentConfigSpec{ResourceRequirements: []addonv1beta1.ContainerResourceRequirements{
		{ContainerID: "*:*:*", Resources: memory("128Mi")},
		{ContainerID: "deployments:argo-workflow-multicluster-agent:agent", Resources: memory("1Gi")},
		{ContainerID: "deployments:another:agent", Resources: memory("2Gi")},
	}})
	agentResources := deploymentOf(t, objects).Spec.Template.Spec.Containers[0].Resources
	assert.Equal(t, "1Gi", agentResources.Limits.Memory().String())
	assert.Equal(t, "1Gi", agentResources.Requests.Memory().String())
	assert.Equal(t, "128Mi", hookOf(t, objects).Spec.Template.Spec.Containers[0].Resources.Limits.Memory().String())
}

func TestNothingIsDeployedBeforeItsConfigurationIsKnown(t *testing.T) {
	for _, mods := range [][]gen.Mod{
		nil,
		{gen.WithCondition(addonv1beta1.ManagedClusterAddOnConditionConfigured, metav1.ConditionFalse, "ConfigurationsNotConfigured", "")},
	} {
		objects, err := newTestAddon(t, nil).
			Manifests(t.Context(), testManagedCluster(testKubeVersion), gen.ManagedClusterAddOn("cluster1", mods...))
		require.NoError(t, err)
		assert.Empty(t, objects)
	}
}

func TestAnAddonThatWaitsForItsTurnInARolloutKeepsItsHook(t *testing.T) {
	addon := gen.ManagedClusterAddOn("cluster1",
		gen.WithCondition(addonv1beta1.ManagedClusterAddOnConditionConfigured, metav1.ConditionFalse, "ConfigurationsNotConfigured", ""))
	addon.Finalizers = []string{addonv1beta1.AddonPreDeleteHookFinalizer}
	objects, err := newTestAddon(t, nil).Manifests(t.Context(), testManagedCluster(testKubeVersion), addon)
	require.NoError(t, err)
	require.Len(t, objects, 1, "nothing of what is deployed changes")
	assert.IsType(t, &batchv1.Job{}, objects[0])
}

func TestAnAddonThatIsDeletedHasItsHookAndNoAgent(t *testing.T) {
	addon := gen.ManagedClusterAddOn("cluster1", gen.Deleting()) // whether it is configured or not
	objects, err := newTestAddon(t, nil).Manifests(t.Context(), testManagedCluster(testKubeVersion), addon)
	require.NoError(t, err)
	assert.Equal(t, int32(0), *deploymentOf(t, objects).Spec.Replicas)
	assert.ElementsMatch(t, render(t, nil).names(), rendered(objects).names(), "the hook needs them")

	config := variables("replicas", "2")
	assert.Equal(t, int32(0), *deploymentOf(t, render(t, config, gen.Deleting())).Spec.Replicas)
}

func TestAnAddonThatIsDeletedDoesNotWaitForItsConfiguration(t *testing.T) {
	invalid := variables("logFormat", "rainbow")
	for name, found := range map[string]*addonv1beta1.AddOnDeploymentConfigSpec{"invalid": invalid, "deleted before it": nil} {
		t.Run(name, func(t *testing.T) {
			addon := testAddOn(invalid, gen.Deleting())
			addon.Status.Namespace = "elsewhere"
			objects, err := newTestAddon(t, found).Manifests(t.Context(), testManagedCluster(testKubeVersion), addon)
			require.NoError(t, err)
			hook := hookOf(t, rendered(objects))
			assert.Equal(t, "elsewhere", hook.Namespace, "where the agent is")
			assert.Equal(t, testImage, hook.Spec.Template.Spec.Containers[0].Image)
		})
	}
}

func TestTheHookReleasesWhatThisHubHasSent(t *testing.T) {
	hook := hookOf(t, render(t, nil))
	assert.Contains(t, hook.Annotations, addonv1beta1.AddonPreDeleteHookAnnotationKey)
	assert.Nil(t, hook.Spec.TTLSecondsAfterFinished)
	assert.Nil(t, hook.Spec.ActiveDeadlineSeconds)
	pod := hook.Spec.Template.Spec
	assert.Equal(t, corev1.RestartPolicyOnFailure, pod.RestartPolicy)
	assert.Equal(t, []string{"agent", "release", "--cluster-name=cluster1", "--hub-id=hub-id", "--log-format=json"}, pod.Containers[0].Args)

	same := hookOf(t, render(t, variables("replicas", "2", "logLevel", "4")))
	assert.Equal(t, hook.Name, same.Name, "a Job is made once")
	corrected := hookOf(t, render(t, variables("image", "registry.local/agent:v1")))
	assert.NotEqual(t, hook.Name, corrected.Name, "a Job cannot be changed")
}

func TestAConfigurationThatIsGoneIsAnError(t *testing.T) {
	addon := testAddOn(&addonv1beta1.AddOnDeploymentConfigSpec{})
	_, err := newTestAddon(t, nil).Manifests(t.Context(), testManagedCluster(testKubeVersion), addon)
	require.ErrorContains(t, err, `"config" not found`)
}
