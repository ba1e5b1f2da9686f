package addon

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/jsonpath"
	"open-cluster-management.io/addon-framework/pkg/agent"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"open-cluster-management.io/argo-workflow-multicluster/manifests"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

const argoModule = "github.com/argoproj/argo-workflows/v3"

func newTestArgoAddon(t *testing.T, config *addonv1beta1.AddOnDeploymentConfigSpec) agent.AgentAddon {
	t.Helper()
	built, err := newArgoAddon(oneConfig{config}, testHubID)
	require.NoError(t, err)
	return built
}

// argoAddOn is the ManagedClusterAddOn of Argo Workflows, which is the addon's unless a mod says otherwise.
func argoAddOn(config *addonv1beta1.AddOnDeploymentConfigSpec, mods ...gen.Mod) *addonv1beta1.ManagedClusterAddOn {
	managed := gen.WithCondition(ConditionArgoManaged, metav1.ConditionTrue, ReasonInstalled, "")
	addon := testAddOn(config, append([]gen.Mod{managed}, mods...)...)
	addon.Name = contract.ArgoAddonName
	return addon
}

func renderArgo(t *testing.T, config *addonv1beta1.AddOnDeploymentConfigSpec, mods ...gen.Mod) rendered {
	t.Helper()
	objects, err := newTestArgoAddon(t, config).
		Manifests(t.Context(), testManagedCluster(testKubeVersion), argoAddOn(config, mods...))
	require.NoError(t, err)
	return objects
}

// named returns the one object of a type with a name.
func named[T client.Object](t *testing.T, r rendered, name string) T {
	t.Helper()
	var found []T
	for _, obj := range r {
		if object, ok := obj.(T); ok && object.GetName() == name {
			found = append(found, object)
		}
	}
	require.Len(t, found, 1, name)
	return found[0]
}

func moduleOf(t *testing.T, format string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", format, argoModule).Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

var executorObjects = []string{
	"ClusterRole argo-workflows-executor", "RoleBinding argo-workflows-executor-default in default",
}

// unmanagedAs makes the addon's Argo Workflows one that is not, or not known to be, its own.
func unmanagedAs(status metav1.ConditionStatus, reason string) gen.Mod {
	return gen.WithCondition(ConditionArgoManaged, status, reason, "")
}

func TestWhatIsInstalledOfArgoDependsOnWhoseItIs(t *testing.T) {
	all := []string{
		"Namespace argo", "PriorityClass argo-workflows-controller", "ServiceAccount argo in argo",
		"ConfigMap workflow-controller-configmap in argo", "Deployment workflow-controller in argo",
		"ClusterRole argo-workflows-controller", "ClusterRoleBinding argo-workflows-controller",
		"Role argo-workflows-controller in argo", "RoleBinding argo-workflows-controller in argo",
		"ClusterRole argo-workflows-aggregate-to-view", "ClusterRole argo-workflows-aggregate-to-edit",
	}
	for _, kind := range []string{
		"workflows", "workflowtemplates", "clusterworkflowtemplates", "cronworkflows", "workfloweventbindings", "workflowtasksets",
		"workflowtaskresults", "workflowartifactgctasks",
	} {
		all = append(all, "CustomResourceDefinition "+kind+".argoproj.io")
	}
	probe := []string{"CustomResourceDefinition workflows.argoproj.io"}
	for name, test := range map[string]struct {
		mods []gen.Mod
		want []string
	}{
		"not known":   {[]gen.Mod{unmanagedAs(metav1.ConditionUnknown, ReasonProbing)}, probe},
		"another's":   {[]gen.Mod{unmanagedAs(metav1.ConditionFalse, ReasonExistingInstallation)}, probe},
		"the addon's": {nil, all},
	} {
		t.Run(name, func(t *testing.T) {
			assert.ElementsMatch(t, slices.Concat(test.want, executorObjects), renderArgo(t, nil, test.mods...).names())
		})
	}
}

func TestArgosCRDsBehaveLikeArgosMinimalOnes(t *testing.T) {
	objects := renderArgo(t, nil)
	files, err := filepath.Glob(filepath.Join(moduleOf(t, "{{.Dir}}"), "manifests", "base", "crds", "minimal", "argoproj.io_*.yaml"))
	require.NoError(t, err)
	require.Len(t, files, 8)
	for _, file := range files {
		want := &apiextensionsv1.CustomResourceDefinition{}
		decodeFile(t, file, want)
		t.Run(want.Name, func(t *testing.T) {
			got := named[*apiextensionsv1.CustomResourceDefinition](t, objects, want.Name)
			assert.Equal(t, want.Spec.Group, got.Spec.Group)
			assert.Equal(t, want.Spec.Names, got.Spec.Names)
			assert.Equal(t, want.Spec.Scope, got.Spec.Scope)
			require.Len(t, got.Spec.Versions, len(want.Spec.Versions))
			theirs, ours := want.Spec.Versions[0], got.Spec.Versions[0]
			assert.Equal(t, theirs.Name, ours.Name)
			assert.Equal(t, theirs.Served, ours.Served)
			assert.Equal(t, theirs.Storage, ours.Storage)
			assert.Equal(t, theirs.Subresources, ours.Subresources)
			assert.Equal(t, columns(theirs), columns(ours))
			assert.ElementsMatch(t, theirs.Schema.OpenAPIV3Schema.Required, ours.Schema.OpenAPIV3Schema.Required)
			root := ours.Schema.OpenAPIV3Schema
			for field, their := range theirs.Schema.OpenAPIV3Schema.Properties {
				our, ok := root.Properties[field]
				switch {
				case !ok:
					assert.NotNil(t, root.XPreserveUnknownFields, "%s would be lost", field)
				case field == "spec" || field == "status":
					assert.NotNil(t, our.XPreserveUnknownFields, "what is in %s would be lost", field)
				default:
					assert.Equal(t, their.Type, our.Type, field)
				}
				if their.XMapType != nil {
					assert.Equal(t, their.XMapType, our.XMapType, field)
				}
			}
		})
	}
}

// columns are the printer columns, but for their descriptions.
func columns(version apiextensionsv1.CustomResourceDefinitionVersion) []apiextensionsv1.CustomResourceColumnDefinition {
	columns := slices.Clone(version.AdditionalPrinterColumns)
	for i := range columns {
		columns[i].Description = ""
	}
	return columns
}

func decodeFile(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, into))
}

func TestArgosVersionIsThatOfTheModule(t *testing.T) {
	text, err := manifests.ArgoWorkflows.ReadFile("argo-workflows/values.yaml")
	require.NoError(t, err)
	values := map[string]any{}
	require.NoError(t, yaml.Unmarshal(text, &values))
	version := moduleOf(t, "{{.Version}}")
	assert.Equal(t, version, values["argoVersion"])

	pod := named[*appsv1.Deployment](t, renderArgo(t, variables("argoServer", "true")), "workflow-controller").Spec.Template.Spec
	assert.Equal(t, values["controllerImage"].(string)+":"+version, pod.Containers[0].Image)
	assert.Contains(t, pod.Containers[0].Args, "--executor-image="+values["executorImage"].(string)+":"+version)
	pod = named[*appsv1.Deployment](t, renderArgo(t, variables("argoServer", "true")), "argo-server").Spec.Template.Spec
	assert.Equal(t, values["serverImage"].(string)+":"+version, pod.Containers[0].Image)
}

func TestArgosController(t *testing.T) {
	deployment := named[*appsv1.Deployment](t, renderArgo(t, nil), "workflow-controller")
	pod := deployment.Spec.Template.Spec
	assert.Equal(t, "argo", pod.ServiceAccountName)
	assert.Equal(t, "argo-workflows-controller", pod.PriorityClassName)
	assert.True(t, *pod.SecurityContext.RunAsNonRoot)
	container := pod.Containers[0]
	assert.True(t, *container.SecurityContext.ReadOnlyRootFilesystem)
	assert.False(t, *container.SecurityContext.AllowPrivilegeEscalation)
	assert.Equal(t, []corev1.Capability{"ALL"}, container.SecurityContext.Capabilities.Drop)
	assert.NotContains(t, container.Args, "--namespaced")
	assert.Equal(t, "metadata.name", container.Env[0].ValueFrom.FieldRef.FieldPath)
	assert.Equal(t, "LEADER_ELECTION_IDENTITY", container.Env[0].Name)
	assert.Equal(t, "/healthz", container.LivenessProbe.HTTPGet.Path)
}

func TestArgosVariables(t *testing.T) {
	config := variables(
		"argoVersion", "v3.7.19", "argoNamespace", "argo-system", "controllerImage", "registry.example/controller@sha256:0123",
		"imagePullPolicy", "Always", "imagePullSecret", "mine", "replicas", "2", "logLevel", "debug", "logFormat", "json",
		"controllerQPS", "200", "controllerBurst", "400", "requeueTime", "500ms",
		"controllerArgs", " --workflow-workers=64  --executor-plugins\n", "managedNamespace", "team-a",
	)
	config.Registries = []addonv1beta1.ImageMirror{{Source: "quay.io/argoproj", Mirror: "mirror.example/argo"}}
	config.NodePlacement = &addonv1beta1.NodePlacement{
		NodeSelector: map[string]string{"pool": "infra"}, Tolerations: []corev1.Toleration{{Key: "infra", Operator: "Exists"}},
	}
	config.ProxyConfig = addonv1beta1.ProxyConfig{HTTPSProxy: "https://proxy.example", NoProxy: "10.0.0.0/8"}
	config.ResourceRequirements = []addonv1beta1.ContainerResourceRequirements{{
		ContainerID: "deployments:workflow-controller:*",
		Resources:   corev1.ResourceRequirements{Limits: corev1.ResourceList{"memory": resource.MustParse("2Gi")}},
	}}
	deployment := named[*appsv1.Deployment](t, renderArgo(t, config), "workflow-controller")
	assert.Equal(t, "argo-system", deployment.Namespace)
	assert.EqualValues(t, 2, *deployment.Spec.Replicas)
	pod := deployment.Spec.Template.Spec
	assert.Equal(t, map[string]string{"pool": "infra", "kubernetes.io/os": "linux"}, pod.NodeSelector)
	assert.Equal(t, config.NodePlacement.Tolerations, pod.Tolerations)
	assert.Equal(t, []corev1.LocalObjectReference{{Name: "mine"}}, pod.ImagePullSecrets)
	container := pod.Containers[0]
	assert.Equal(t, "registry.example/controller@sha256:0123", container.Image)
	assert.Equal(t, corev1.PullAlways, container.ImagePullPolicy)
	assert.Equal(t, []string{
		"--executor-image=mirror.example/argo/argoexec:v3.7.19", "--executor-image-pull-policy=Always", "--loglevel=debug",
		"--log-format=json", "--qps=200", "--burst=400", "--namespaced", "--managed-namespace=team-a",
		"--workflow-workers=64", "--executor-plugins",
	}, container.Args)
	assert.Equal(t, "2Gi", container.Resources.Limits.Memory().String())
	env := map[string]string{}
	for _, variable := range container.Env {
		env[variable.Name] = variable.Value
	}
	assert.Equal(t, "500ms", env["DEFAULT_REQUEUE_TIME"])
	assert.Equal(t, "https://proxy.example", env["HTTPS_PROXY"])
	assert.Equal(t, "10.0.0.0/8,$(KUBERNETES_SERVICE_HOST)", env["NO_PROXY"])
}

// argoConfig are the fields of Argo's configuration that variables set; Argo takes no others than its own, either.
type argoConfig struct {
	InstanceID           string                         `json:"instanceID"`
	Parallelism          int                            `json:"parallelism"`
	NamespaceParallelism int                            `json:"namespaceParallelism"`
	MetricsConfig        map[string]any                 `json:"metricsConfig"`
	WorkflowDefaults     *wfv1.Workflow                 `json:"workflowDefaults"`
	ArtifactRepository   wfv1.ArtifactRepository        `json:"artifactRepository"`
	Images               map[string]map[string][]string `json:"images"`
}

func TestArgosConfiguration(t *testing.T) {
	const (
		defaults   = "spec:\n  serviceAccountName: runner\n  artifactRepositoryRef: {key: other}\n"
		repository = `{"s3": {"bucket": "results", "endpoint": "s3.example"}}`
		reference  = "configMap: repositories\nkey: default\n"
	)
	tests := map[string]struct {
		config *addonv1beta1.AddOnDeploymentConfigSpec
		check  func(*testing.T, *argoConfig)
	}{
		"by default": {nil, func(t *testing.T, c *argoConfig) {
			t.Helper()
			assert.Equal(t, &argoConfig{}, c)
		}},
		"instance, limits and metrics": {
			variables("instanceID", "mine", "parallelism", "1000000", "namespaceParallelism", "10", "metrics", "false"),
			func(t *testing.T, c *argoConfig) {
				t.Helper()
				assert.Equal(t, "mine", c.InstanceID)
				assert.Equal(t, 1000000, c.Parallelism)
				assert.Equal(t, 10, c.NamespaceParallelism)
				assert.Equal(t, map[string]any{"enabled": false}, c.MetricsConfig)
			},
		},
		"defaults and artifacts": {
			variables("workflowDefaults", defaults, "artifactRepository", repository, "artifactRepositoryRef", reference),
			func(t *testing.T, c *argoConfig) {
				t.Helper()
				assert.Equal(t, "runner", c.WorkflowDefaults.Spec.ServiceAccountName)
				assert.Equal(t, "repositories", c.WorkflowDefaults.Spec.ArtifactRepositoryRef.ConfigMap)
				assert.Equal(t, "default", c.WorkflowDefaults.Spec.ArtifactRepositoryRef.Key)
				assert.Equal(t, "results", c.ArtifactRepository.S3.Bucket)
			},
		},
		"anything else": {
			variables("parallelism", "5", "controllerConfig", "parallelism: 6\nimages:\n  argoproj/argosay:v2:\n    entrypoint: [/argosay]\n"),
			func(t *testing.T, c *argoConfig) {
				t.Helper()
				assert.Equal(t, 6, c.Parallelism)
				assert.Equal(t, []string{"/argosay"}, c.Images["argoproj/argosay:v2"]["entrypoint"])
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			config := &argoConfig{}
			text := named[*corev1.ConfigMap](t, renderArgo(t, test.config), "workflow-controller-configmap").Data["config"]
			require.NoError(t, yaml.UnmarshalStrict([]byte(text), config), text)
			test.check(t, config)
		})
	}
}

func TestAChangedConfigurationRestartsArgosController(t *testing.T) {
	hash := func(config *addonv1beta1.AddOnDeploymentConfigSpec) map[string]string {
		return named[*appsv1.Deployment](t, renderArgo(t, config), "workflow-controller").Spec.Template.Annotations
	}
	assert.NotEqual(t, hash(nil), hash(variables("instanceID", "mine")))
}

func TestInOneNamespaceArgoHasNoRightsInOthers(t *testing.T) {
	objects := renderArgo(t, variables("managedNamespace", "team-a", "argoServer", "true"))
	for _, name := range objects.names() {
		if strings.HasPrefix(name, "ClusterRole") {
			assert.Contains(t, []string{
				"ClusterRole argo-workflows-executor",
				"ClusterRole argo-workflows-aggregate-to-view", "ClusterRole argo-workflows-aggregate-to-edit", // users'
			}, name)
		}
	}
	role := named[*rbacv1.Role](t, objects, "argo-workflows-managed")
	assert.Equal(t, "team-a", role.Namespace)
	for _, rule := range role.Rules {
		assert.NotContains(t, rule.Resources, "clusterworkflowtemplates")
		assert.NotContains(t, rule.Resources, "namespaces")
	}
	assert.Equal(t, "Role", named[*rbacv1.RoleBinding](t, objects, "argo-workflows-managed").RoleRef.Kind)
}

// TestArgosRightsAreThoseOfItsOwnManifests compares the controller's rights with those that Argo's manifests give it: nothing
// more, and all but what is known not to be needed.
func TestArgosRightsAreThoseOfItsOwnManifests(t *testing.T) {
	rbac := filepath.Join(moduleOf(t, "{{.Dir}}"), "manifests", "cluster-install-no-crds", "workflow-controller-rbac")
	theirs := &rbacv1.ClusterRole{}
	decodeFile(t, filepath.Join(rbac, "workflow-controller-clusterrole.yaml"), theirs)
	objects := renderArgo(t, nil)
	missing := difference(grants(theirs.Rules), grants(named[*rbacv1.ClusterRole](t, objects, "argo-workflows-controller").Rules))
	assert.Empty(t, difference(grants(named[*rbacv1.ClusterRole](t, objects, "argo-workflows-controller").Rules), grants(theirs.Rules)))
	for _, grant := range missing {
		// Finalizers of what owns something are a subresource that is only asked for update, and containers are entered.
		assert.Regexp(t, `^(\S+/finalizers (create|get|list|watch|patch|delete)|/pods/exec (list|watch|update|patch|delete)|`+
			`argoproj.io/(cluster)?workflowtemplates/finalizers .*) $`, grant)
	}
}

func grants(rules []rbacv1.PolicyRule) []string {
	var grants []string
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					grants = append(grants, group+"/"+resource+" "+verb+" "+strings.Join(rule.ResourceNames, ","))
				}
			}
		}
	}
	return grants
}

func difference(all, without []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(one string) bool { return slices.Contains(without, one) })
}

func TestTheExecutorsRights(t *testing.T) {
	objects := renderArgo(t, variables("workflowNamespaces", "default, team-a,team-a ", "executorServiceAccounts", "default,runner"))
	var got []string
	for _, name := range objects.names() {
		if strings.Contains(name, "executor") {
			got = append(got, name)
		}
	}
	assert.ElementsMatch(t, []string{
		"ClusterRole argo-workflows-executor",
		"RoleBinding argo-workflows-executor-default in default", "RoleBinding argo-workflows-executor-runner in default",
		"RoleBinding argo-workflows-executor-default in team-a", "RoleBinding argo-workflows-executor-runner in team-a",
	}, got)
	assert.Equal(t, []rbacv1.PolicyRule{
		{APIGroups: []string{"argoproj.io"}, Resources: []string{"workflowtaskresults"}, Verbs: []string{"create", "patch"}},
	}, named[*rbacv1.ClusterRole](t, objects, "argo-workflows-executor").Rules)
	for _, obj := range objects {
		if binding, ok := obj.(*rbacv1.RoleBinding); ok && binding.RoleRef.Name == "argo-workflows-executor" {
			assert.Equal(t, binding.Namespace, binding.Subjects[0].Namespace)
			assert.Equal(t, "argo-workflows-executor-"+binding.Subjects[0].Name, binding.Name)
		}
	}
	for _, name := range renderArgo(t, variables("workflowNamespaces", "")).names() {
		assert.NotContains(t, name, "RoleBinding argo-workflows-executor")
	}
}

func TestInvalidVariablesOfArgoAreNamed(t *testing.T) {
	tests := map[string]string{
		"argoVersion": "v3 7", "argoNamespace": "Argo", "controllerImage": "", "imagePullPolicy": "Sometimes", "replicas": "many",
		"controllerQPS": "0", "requeueTime": "10", "controllerArgs": "rm -rf", "instanceID": "a b", "managedNamespace": "a,b",
		"parallelism": "-1", "workflowDefaults": "- not\n- a map", "artifactRepository": "{", "artifactRepositoryRef": "text",
		"controllerConfig": "a: b: c", "metrics": "yes", "argoServer": "1", "workflowNamespaces": "a b", "executorServiceAccounts": "A",
		"workflowNamespace": "unknown",
	}
	for name, value := range tests {
		t.Run(name, func(t *testing.T) {
			config := variables(name, value)
			_, err := newTestArgoAddon(t, config).Manifests(t.Context(), testManagedCluster(testKubeVersion), argoAddOn(config))
			require.ErrorContains(t, err, name)
		})
	}
}

func TestNoVariableDecidesWhoseArgoIs(t *testing.T) {
	objects := renderArgo(t, variables("managed", "true", "hubID", "another"),
		unmanagedAs(metav1.ConditionFalse, ReasonExistingInstallation))
	crd := named[*apiextensionsv1.CustomResourceDefinition](t, objects, argoCRD)
	assert.Equal(t, testHubID, crd.Labels[contract.LabelInstalledBy])
	assert.Len(t, objects, 3)
}

// TestWhatMayHoldSomethingOfUsersStaysAndIsNotOverwritten is about CRDs, which hold Workflows, and the namespace.
func TestWhatMayHoldSomethingOfUsersStaysAndIsNotOverwritten(t *testing.T) {
	configs := newTestArgoAddon(t, nil).GetAgentAddonOptions().ManifestConfigs
	strategies := map[string]workv1.UpdateStrategyType{}
	for _, config := range configs {
		if config.UpdateStrategy != nil {
			require.Equal(t, "*", config.ResourceIdentifier.Name)
			strategies[config.ResourceIdentifier.Group+"/"+config.ResourceIdentifier.Resource] = config.UpdateStrategy.Type
		}
	}
	assert.Equal(t, map[string]workv1.UpdateStrategyType{
		"apiextensions.k8s.io/customresourcedefinitions": workv1.UpdateStrategyTypeCreateOnly, "/namespaces": workv1.UpdateStrategyTypeCreateOnly,
	}, strategies)
	for _, obj := range renderArgo(t, nil) {
		object := obj.(client.Object)
		switch kind := object.GetObjectKind().GroupVersionKind().Kind; kind {
		case "CustomResourceDefinition", "Namespace":
			assert.Contains(t, object.GetAnnotations(), addonv1beta1.DeletionOrphanAnnotationKey, object.GetName())
			assert.Equal(t, testHubID, object.GetLabels()[contract.LabelInstalledBy], object.GetName())
		default:
			assert.NotContains(t, object.GetAnnotations(), addonv1beta1.DeletionOrphanAnnotationKey, object.GetName())
		}
	}
}

func TestArgoFitsIntoOneManifestWork(t *testing.T) {
	total := 0
	for _, obj := range renderArgo(t, variables("argoServer", "true")) {
		data, err := json.Marshal(obj)
		require.NoError(t, err)
		total += len(data)
	}
	assert.Less(t, total, 50*1024, "far from the 500 KiB that a ManifestWork may have")
}

// TestTheProbeReadsTheCRD evaluates the probe's paths as the work agent does.
func TestTheProbeReadsTheCRD(t *testing.T) {
	crd := named[*apiextensionsv1.CustomResourceDefinition](t, renderArgo(t, nil), argoCRD)
	crd.UID = "uid-1"
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(crd)
	require.NoError(t, err)
	got := map[string]any{}
	for _, path := range argoProbes()[0].ProbeRules[0].JsonPaths {
		parser := jsonpath.New(path.Name).AllowMissingKeys(true)
		require.NoError(t, parser.Parse("{"+path.Path+"}"))
		results, err := parser.FindResults(object)
		require.NoError(t, err)
		got[path.Name] = results[0][0].Interface()
	}
	assert.Equal(t, map[string]any{feedbackUID: "uid-1", feedbackInstalledBy: testHubID}, got)
}

// TestTheDeploymentIsWatched pins that the framework, which merges the two by their identifiers, keeps the scrape type.
func TestTheDeploymentIsWatched(t *testing.T) {
	options := newTestArgoAddon(t, nil).GetAgentAddonOptions()
	last := options.ManifestConfigs[len(options.ManifestConfigs)-1]
	assert.Equal(t, workv1.FeedbackWatchType, last.FeedbackScrapeType)
	assert.Equal(t, argoDeployment, last.ResourceIdentifier.Name)
	for _, probe := range options.HealthProber.WorkProber.ProbeFields {
		assert.NotEqual(t, last.ResourceIdentifier, probe.ResourceIdentifier)
	}
}

func TestArgosHealth(t *testing.T) {
	crd := func(by string) agent.FieldResult {
		return fieldResult(crdResource, argoCRD, map[string]any{feedbackUID: "uid", feedbackInstalledBy: by})
	}
	controller := func(values map[string]any) agent.FieldResult {
		return fieldResult("deployments", argoDeployment, values)
	}
	available := map[string]any{feedbackAvailable: "True", "Replicas": 1, "AvailableReplicas": 1}
	ours := &addonv1beta1.ManagedClusterAddOn{}
	ours.Status.Conditions = []metav1.Condition{{Type: ConditionArgoManaged, Status: metav1.ConditionTrue}}
	require.Error(t, argoHealth(testHubID)([]agent.FieldResult{crd(""), controller(notAvailable)}, nil, ours), "its CRD has lost the label")
	tests := map[string]struct {
		results []agent.FieldResult
		want    string
	}{
		"another installation":    {[]agent.FieldResult{crd("")}, ""},
		"another hub's":           {[]agent.FieldResult{crd("another")}, ""},
		"only the CRD":            {[]agent.FieldResult{crd(testHubID)}, "the Deployment workflow-controller is not there yet"},
		"available":               {[]agent.FieldResult{crd(testHubID), controller(available)}, ""},
		"available, and no probe": {[]agent.FieldResult{controller(available)}, ""},
		"not available": {
			[]agent.FieldResult{crd(testHubID), controller(notAvailable)}, notAvailableMessage("argo/workflow-controller"),
		},
		"the server not available": {
			[]agent.FieldResult{controller(available), fieldResult("deployments", "argo-server", notAvailable)},
			notAvailableMessage("argo/argo-server"),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := argoHealth(testHubID)(test.results, nil, &addonv1beta1.ManagedClusterAddOn{})
			if test.want == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, test.want)
			}
		})
	}
}

var notAvailable = map[string]any{
	feedbackAvailable: "False", feedbackAvailableMessage: "Deployment does not have minimum availability.", "Replicas": 1,
	feedbackImage: "registry.example/none:v1", feedbackProgressingReason: "ReplicaSetUpdated", feedbackProgressingMessage: "is progressing",
}

func notAvailableMessage(name string) string {
	return "Deployment " + name + ": 0 of 1 replicas available: Deployment does not have minimum availability. " +
		"(image registry.example/none:v1)"
}

func fieldResult(resource, name string, values map[string]any) agent.FieldResult {
	result := agent.FieldResult{FeedbackResult: statusFeedback(values)}
	result.ResourceIdentifier.Resource, result.ResourceIdentifier.Name = resource, name
	if resource == "deployments" {
		result.ResourceIdentifier.Namespace = "argo"
	}
	return result
}

// statusFeedback is what a work agent feeds back: texts and numbers.
func statusFeedback(values map[string]any) workv1.StatusFeedbackResult {
	result := workv1.StatusFeedbackResult{}
	for name, value := range values {
		field := workv1.FieldValue{Type: workv1.String}
		switch value := value.(type) {
		case string:
			field.String = &value
		case int:
			number := int64(value)
			field.Type, field.Integer = workv1.Integer, &number
		}
		if field.String == nil || *field.String != "" {
			result.Values = append(result.Values, workv1.FeedbackValue{Name: name, Value: field})
		}
	}
	return result
}
