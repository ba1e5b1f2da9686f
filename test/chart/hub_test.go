package chart

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	plugin "github.com/argoproj/argo-workflows/v3/workflow/util/plugins"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	admissionv1beta1 "k8s.io/api/admissionregistration/v1beta1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1alpha1 "open-cluster-management.io/api/cluster/v1alpha1"
	"sigs.k8s.io/yaml"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/executorplugin"
)

const (
	hubChart = "../../charts/argo-workflow-multicluster"
	manager  = "argo-workflow-multicluster-hub"
	hook     = manager + "-uninstall"
)

// everything switches on what is off by default.
const everything = `
hubArgo: {enabled: true}
metrics: {serviceMonitor: {enabled: true, labels: {prometheus: main}}}
networkPolicy: {enabled: true, metricsFrom: [{namespaceSelector: {}}]}
addons:
  agent:
    deploymentConfig: {spec: {agentInstallNamespace: agents}}
    install: {placements: [{namespace: default, name: all, rolloutStrategy: {type: All}}]}
`

// mutatingAPI is what an API server serves that has MutatingAdmissionPolicies.
func mutatingAPI(version string) string {
	return "admissionregistration.k8s.io/" + version + "/MutatingAdmissionPolicy"
}

// objectsOf renders the hub chart with values as YAML.
func objectsOf(t *testing.T, values string, apis ...string) []*unstructured.Unstructured {
	t.Helper()
	objects, _, err := Hub(hubChart, parse(t, values), apis...)
	require.NoError(t, err)
	return objects
}

func parse(t *testing.T, values string) map[string]any {
	t.Helper()
	parsed := map[string]any{}
	require.NoError(t, yaml.Unmarshal([]byte(values), &parsed))
	return parsed
}

// find returns the object of the kind and name, as a T that has each of its fields; nil if it is not among the objects.
func find[T any](t *testing.T, objects []*unstructured.Unstructured, kind, name string) *T {
	t.Helper()
	i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == kind && o.GetName() == name })
	if i < 0 {
		return nil
	}
	typed := new(T)
	decodeStrictly(t, objects[i], typed)
	return typed
}

func decodeStrictly(t *testing.T, object *unstructured.Unstructured, into any) {
	t.Helper()
	raw, err := json.Marshal(object.Object)
	require.NoError(t, err)
	require.NoError(t, yaml.UnmarshalStrict(raw, into), "%s %s", object.GetKind(), object.GetName())
}

// kinds are the Go types of all that the chart may render, but for ServiceMonitors.
func kinds() map[string]any {
	return map[string]any{
		"v1/ConfigMap":                                                        &corev1.ConfigMap{},
		"v1/Service":                                                          &corev1.Service{},
		"v1/ServiceAccount":                                                   &corev1.ServiceAccount{},
		"apps/v1/Deployment":                                                  &appsv1.Deployment{},
		"batch/v1/Job":                                                        &batchv1.Job{},
		"policy/v1/PodDisruptionBudget":                                       &policyv1.PodDisruptionBudget{},
		"networking.k8s.io/v1/NetworkPolicy":                                  &networkingv1.NetworkPolicy{},
		"rbac.authorization.k8s.io/v1/ClusterRole":                            &rbacv1.ClusterRole{},
		"rbac.authorization.k8s.io/v1/ClusterRoleBinding":                     &rbacv1.ClusterRoleBinding{},
		"rbac.authorization.k8s.io/v1/Role":                                   &rbacv1.Role{},
		"rbac.authorization.k8s.io/v1/RoleBinding":                            &rbacv1.RoleBinding{},
		"admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy":           &admissionv1.ValidatingAdmissionPolicy{},
		"admissionregistration.k8s.io/v1/ValidatingAdmissionPolicyBinding":    &admissionv1.ValidatingAdmissionPolicyBinding{},
		"apiextensions.k8s.io/v1/CustomResourceDefinition":                    &apiextensionsv1.CustomResourceDefinition{},
		"admissionregistration.k8s.io/v1beta1/MutatingAdmissionPolicy":        &admissionv1beta1.MutatingAdmissionPolicy{},
		"admissionregistration.k8s.io/v1beta1/MutatingAdmissionPolicyBinding": &admissionv1beta1.MutatingAdmissionPolicyBinding{},
		"addon.open-cluster-management.io/v1beta1/ClusterManagementAddOn":     &addonv1beta1.ClusterManagementAddOn{},
		"addon.open-cluster-management.io/v1beta1/AddOnDeploymentConfig":      &addonv1beta1.AddOnDeploymentConfig{},
	}
}

func TestEveryObjectHasOnlyFieldsOfItsKind(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		values string
		apis   []string
	}{
		"defaults":                               {"", nil},
		"everything":                             {everything, nil},
		"everything, with mutating policies too": {everything, []string{mutatingAPI("v1beta1")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := objectsOf(t, test.values, test.apis...)
			assert.Greater(t, len(objects), 10)
			for _, object := range objects {
				if object.GetKind() == "ServiceMonitor" {
					continue
				}
				into := kinds()[object.GetAPIVersion()+"/"+object.GetKind()]
				require.NotNil(t, into, "%s %s", object.GetAPIVersion(), object.GetKind())
				decodeStrictly(t, object, into)
				assert.Equal(t, Release, object.GetLabels()["app.kubernetes.io/instance"], "%s %s", object.GetKind(), object.GetName())
			}
		})
	}
}

func TestValuesThatTheChartDoesNotHaveAreRefused(t *testing.T) {
	t.Parallel()
	for values, want := range map[string]string{
		`replica: 3`:                     "additional properties 'replica' not allowed",
		`addons: {agent: {instal: {}}}`:  "at '/addons/agent': additional properties 'instal' not allowed",
		`replicas: "2"`:                  "at '/replicas': got string, want integer",
		`image: {pullPolicy: Sometimes}`: "at '/image/pullPolicy': value must be one of",
		`image: {digest: abc}`:           "at '/image/digest': 'abc' does not match pattern",
		`log: {format: xml}`:             "at '/log/format': value must be one of 'json', 'text'",
		`hubArgo: {enabled: "yes"}`:      "at '/hubArgo/enabled': got string, want boolean",
		`restoredAt: yesterday`:          "at '/restoredAt': 'yesterday' does not match pattern",
		`deletionTimeout: 15`:            "at '/deletionTimeout': maximum: got 15, want 0",
		`deletionTimeout: -1`:            "at '/deletionTimeout': minimum: got -1, want 0",
		`deletionTimeout: 0.5`:           "at '/deletionTimeout': got number, want",
		`deletionTimeout: "15"`:          "at '/deletionTimeout': '15' does not match pattern",
		`deletionTimeout: never`:         "at '/deletionTimeout': 'never' does not match pattern",
		`uninstall: {timeout: 4}`:        "at '/uninstall/timeout': got number, want string",
		`uninstall: {timeout: soon}`:     "at '/uninstall/timeout': 'soon' does not match pattern",
		`uninstall: {timeout: 0s}`:       "at '/uninstall/timeout': '0s' does not match pattern",
		`uninstall: {timeout: 0h00m}`:    "at '/uninstall/timeout': '0h00m' does not match pattern",
		`uninstall: {timeout: 500ms}`:    "at '/uninstall/timeout': '500ms' does not match pattern",
		`addons: {argoWorkflows: {install: {placements: [{name: all}]}}}`: "missing property 'namespace'",
	} {
		_, _, err := Hub(hubChart, parse(t, values))
		require.ErrorContains(t, err, want, values)
	}
	_, _, err := Hub(hubChart, parse(t, `global: {of: a parent chart}`))
	require.NoError(t, err)
}

// TestSchemaHasEveryValue fails when a value is added to values.yaml that the schema would refuse, or the other way round.
func TestSchemaHasEveryValue(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(hubChart + "/values.yaml")
	require.NoError(t, err)
	values := parse(t, string(raw))
	raw, err = os.ReadFile(hubChart + "/values.schema.json")
	require.NoError(t, err)
	schema := parse(t, string(raw))
	properties := schema["properties"].(map[string]any)
	delete(properties, "global") // Helm's own
	compareWithSchema(t, "", values, schema)
}

// TestNullIsRenderedOrRefused nulls each value that is no scalar: some want to take a default away so.
func TestNullIsRenderedOrRefused(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(hubChart + "/values.yaml")
	require.NoError(t, err)
	defaults := parse(t, string(raw))
	raw, err = os.ReadFile(hubChart + "/values.schema.json")
	require.NoError(t, err)
	assert.Equal(t, 19, nulled(t, nil, defaults, parse(t, string(raw))), "values that are refused")
}

// nulled renders the chart with each of the values below the path as null, and returns how many of them have others below them.
func nulled(t *testing.T, path []string, values, schema map[string]any) int {
	t.Helper()
	sections := 0
	for name, value := range values {
		_, isMap := value.(map[string]any)
		if _, isList := value.([]any); !isMap && !isList {
			continue
		}
		path, property := append(slices.Clone(path), name), schema["properties"].(map[string]any)[name].(map[string]any)
		set := parse(t, everything)
		require.NoError(t, unstructured.SetNestedField(set, nil, path...))
		_, _, err := Hub(hubChart, set)
		if _, isSection := property["properties"]; !isSection {
			require.NoError(t, err, path)
			continue
		}
		require.ErrorContains(t, err, "the value "+strings.Join(path, ".")+" is null")
		sections += 1 + nulled(t, path, value.(map[string]any), property)
	}
	return sections
}

func compareWithSchema(t *testing.T, path string, values, schema map[string]any) {
	t.Helper()
	properties, ok := schema["properties"].(map[string]any)
	if !ok {
		return // of any form
	}
	assert.Equal(t, false, schema["additionalProperties"], "schema of %q", path)
	for name := range properties {
		assert.Contains(t, values, name, "in values.yaml, below %q", path)
	}
	for name, value := range values {
		if nested, ok := value.(map[string]any); ok {
			compareWithSchema(t, path+"."+name, nested, properties[name].(map[string]any))
		}
	}
}

func TestManagerIsDeployed(t *testing.T) {
	t.Parallel()
	deployment := find[appsv1.Deployment](t, objectsOf(t, ""), "Deployment", manager)
	require.NotNil(t, deployment)
	assert.Equal(t, Release, deployment.Namespace)
	assert.Equal(t, ptr.To[int32](2), deployment.Spec.Replicas)
	pod := deployment.Spec.Template.Spec
	assert.Equal(t, manager, pod.ServiceAccountName)
	require.Len(t, pod.Containers, 1)
	container := pod.Containers[0]
	assert.Equal(t, "hub", container.Name)
	const image = "quay.io/open-cluster-management/argo-multicluster:0.1.0"
	assert.Equal(t, image, container.Image)
	assert.Equal(t, []string{"hub", "--leader-elect"}, container.Args[:2])
	assert.Contains(t, container.Args, "--agent-image="+image)
	assert.Contains(t, container.Args, "--deletion-timeout=15m")
	assert.NotContains(t, strings.Join(container.Args, " "), "--restored-at")
	assert.Equal(t, "/healthz", container.LivenessProbe.HTTPGet.Path)
	assert.Equal(t, "/readyz", container.ReadinessProbe.HTTPGet.Path)
	require.Len(t, pod.TopologySpreadConstraints, 2)
	for _, spread := range pod.TopologySpreadConstraints {
		assert.Equal(t, deployment.Spec.Selector, spread.LabelSelector)
	}
	for key, value := range deployment.Spec.Selector.MatchLabels {
		assert.Equal(t, value, deployment.Spec.Template.Labels[key], key)
	}
}

func TestDeletionTimeoutIsWhatTheFlagTakes(t *testing.T) {
	t.Parallel()
	for values, want := range map[string]string{
		`deletionTimeout: 0`:     "0",
		`deletionTimeout: "0"`:   "0",
		`deletionTimeout: 0s`:    "0s",
		`deletionTimeout: 1h30m`: "1h30m",
	} {
		deployment := find[appsv1.Deployment](t, objectsOf(t, values), "Deployment", manager)
		require.NotNil(t, deployment)
		assert.Contains(t, deployment.Spec.Template.Spec.Containers[0].Args, "--deletion-timeout="+want, values)
	}
}

func TestValuesOfTheManagersPods(t *testing.T) {
	t.Parallel()
	deployment := find[appsv1.Deployment](t, objectsOf(t, `
fullnameOverride: manager
image: {repository: mirror.local/argo-multicluster, tag: "1.2", digest: "sha256:`+strings.Repeat("a", 64)+`"}
agentImage: mirror.local/agent:1
imagePullSecrets: [{name: registry}]
deletionTimeout: 1h30m
restoredAt: 2026-01-02T15:04:05Z
log: {level: 4, format: text}
extraArgs: [--concurrency=4]
resources: {limits: {cpu: "1"}}
priorityClassName: system-cluster-critical
nodeSelector: {node-role.kubernetes.io/infra: ""}
tolerations: [{key: infra, operator: Exists}]
affinity: {podAntiAffinity: {}}
topologySpreadConstraints: [{topologyKey: rack, maxSkew: 2, whenUnsatisfiable: DoNotSchedule}]
podAnnotations: {note: "1"}
podLabels: {team: a}
terminationGracePeriodSeconds: 5
revisionHistoryLimit: 1
extraEnv: [{name: HTTPS_PROXY, value: proxy}]
extraVolumes: [{name: ca, configMap: {name: ca}}]
extraVolumeMounts: [{name: ca, mountPath: /ca}]
podSecurityContext: {fsGroup: 7}
securityContext: {runAsUser: 8}
`), "Deployment", "manager")
	require.NotNil(t, deployment)
	pod, container := deployment.Spec.Template.Spec, deployment.Spec.Template.Spec.Containers[0]
	assert.Equal(t, "manager", pod.ServiceAccountName)
	assert.Equal(t, "mirror.local/argo-multicluster@sha256:"+strings.Repeat("a", 64), container.Image)
	for _, arg := range []string{"--agent-image=mirror.local/agent:1", "--deletion-timeout=1h30m", "--restored-at=2026-01-02T15:04:05Z",
		"--log-level=4", "--log-format=text", "--concurrency=4"} {
		assert.Contains(t, container.Args, arg)
	}
	assert.Equal(t, []corev1.LocalObjectReference{{Name: "registry"}}, pod.ImagePullSecrets)
	assert.Equal(t, "1", container.Resources.Limits.Cpu().String())
	assert.Equal(t, "system-cluster-critical", pod.PriorityClassName)
	assert.Equal(t, map[string]string{"node-role.kubernetes.io/infra": ""}, pod.NodeSelector)
	assert.Equal(t, []corev1.Toleration{{Key: "infra", Operator: corev1.TolerationOpExists}}, pod.Tolerations)
	assert.NotNil(t, pod.Affinity.PodAntiAffinity)
	assert.Equal(t, []corev1.TopologySpreadConstraint{{TopologyKey: "rack", MaxSkew: 2, WhenUnsatisfiable: corev1.DoNotSchedule}},
		pod.TopologySpreadConstraints)
	assert.Equal(t, "1", deployment.Spec.Template.Annotations["note"])
	assert.Equal(t, "a", deployment.Spec.Template.Labels["team"])
	assert.Equal(t, ptr.To[int64](5), pod.TerminationGracePeriodSeconds)
	assert.Equal(t, ptr.To[int32](1), deployment.Spec.RevisionHistoryLimit)
	assert.Contains(t, container.Env, corev1.EnvVar{Name: "HTTPS_PROXY", Value: "proxy"})
	assert.Equal(t, "ca", pod.Volumes[0].ConfigMap.Name)
	assert.Equal(t, []corev1.VolumeMount{{Name: "ca", MountPath: "/ca"}}, container.VolumeMounts)
	assert.Equal(t, ptr.To[int64](7), pod.SecurityContext.FSGroup)
	assert.Equal(t, ptr.To(true), pod.SecurityContext.RunAsNonRoot, "Helm merges what is set with the defaults")
	assert.Equal(t, ptr.To[int64](8), container.SecurityContext.RunAsUser)
}

func TestPodsHaveNoRightsOnTheirNode(t *testing.T) {
	t.Parallel()
	objects := objectsOf(t, everything)
	for name, pod := range map[string]corev1.PodSpec{
		"manager":   find[appsv1.Deployment](t, objects, "Deployment", manager).Spec.Template.Spec,
		"uninstall": find[batchv1.Job](t, objects, "Job", hook).Spec.Template.Spec,
	} {
		assert.Equal(t, &corev1.PodSecurityContext{
			RunAsNonRoot:   ptr.To(true), // and no user: OpenShift gives each namespace its own
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		}, pod.SecurityContext, name)
		for _, container := range pod.Containers {
			assert.Equal(t, &corev1.SecurityContext{
				AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true),
				Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			}, container.SecurityContext, name)
			assert.NotEmpty(t, container.Resources.Requests, name)
		}
	}
}

func TestBudgetOnlyWithSeveralReplicas(t *testing.T) {
	t.Parallel()
	for values, want := range map[string]bool{"": true, "replicas: 3": true, "replicas: 1": false, "replicas: 0": false} {
		budget := find[policyv1.PodDisruptionBudget](t, objectsOf(t, values), "PodDisruptionBudget", manager)
		assert.Equal(t, want, budget != nil, values)
	}
}

func TestWhatIsOffByDefault(t *testing.T) {
	t.Parallel()
	for _, object := range objectsOf(t, "") {
		assert.NotContains(t, []string{"Service", "ServiceMonitor", "NetworkPolicy", "AddOnDeploymentConfig", "MutatingAdmissionPolicy"},
			object.GetKind())
		assert.NotEqual(t, "argo-workflow-multicluster-dormant", object.GetName())
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	objects := objectsOf(t, everything)
	service := find[corev1.Service](t, objects, "Service", manager+"-metrics")
	require.NotNil(t, service)
	deployment := find[appsv1.Deployment](t, objects, "Deployment", manager)
	assert.Equal(t, deployment.Spec.Selector.MatchLabels, service.Spec.Selector)
	monitor := find[unstructured.Unstructured](t, objects, "ServiceMonitor", manager)
	require.NotNil(t, monitor)
	assert.Equal(t, "main", monitor.GetLabels()["prometheus"])

	objects = objectsOf(t, "metrics: {service: true}")
	assert.NotNil(t, find[corev1.Service](t, objects, "Service", manager+"-metrics"))
	assert.Nil(t, find[unstructured.Unstructured](t, objects, "ServiceMonitor", manager))
}

func TestMetricsAreForWhoMayReadThem(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		values, scheme string
		port           int32
		isSecure       bool
	}{
		{"metrics: {serviceMonitor: {enabled: true}}", "https", 8443, true},
		{"metrics: {secure: false, serviceMonitor: {enabled: true}}", "", 8080, false},
	} {
		objects := objectsOf(t, test.values)
		container := find[appsv1.Deployment](t, objects, "Deployment", manager).Spec.Template.Spec.Containers[0]
		assert.Contains(t, container.Args, fmt.Sprintf("--metrics-secure=%t", test.isSecure))
		assert.Contains(t, container.Args, fmt.Sprintf("--metrics-bind-address=:%d", test.port))
		assert.Equal(t, test.port, container.Ports[0].ContainerPort)
		assert.Equal(t, test.port, find[corev1.Service](t, objects, "Service", manager+"-metrics").Spec.Ports[0].Port)
		endpoints, _, err := unstructured.NestedSlice(find[unstructured.Unstructured](t, objects, "ServiceMonitor", manager).Object,
			"spec", "endpoints")
		require.NoError(t, err)
		scheme, _, _ := unstructured.NestedString(endpoints[0].(map[string]any), "scheme")
		assert.Equal(t, test.scheme, scheme)
		reader := find[rbacv1.ClusterRole](t, objects, "ClusterRole", clusterRole+"-metrics-reader")
		mayAsk := slices.ContainsFunc(find[rbacv1.ClusterRole](t, objects, "ClusterRole", clusterRole).Rules, func(rule rbacv1.PolicyRule) bool {
			return slices.Contains(rule.Resources, "tokenreviews")
		})
		assert.Equal(t, test.isSecure, reader != nil && reader.Rules[0].NonResourceURLs[0] == "/metrics", test.values)
		assert.Equal(t, test.isSecure, mayAsk, test.values)
	}
}

func TestLabels(t *testing.T) {
	t.Parallel()
	objects := objectsOf(t, everything+"commonLabels: {team: a}\nnameOverride: other\n", mutatingAPI("v1"))
	for _, object := range objects {
		name := object.GetKind() + " " + object.GetName()
		labels := object.GetLabels()
		assert.Equal(t, "argo-workflow-multicluster", labels["app.kubernetes.io/part-of"], name)
		assert.Equal(t, "other", labels["app.kubernetes.io/name"], name)
		assert.NotEmpty(t, labels["app.kubernetes.io/component"], name)
		assert.NotEmpty(t, labels["helm.sh/chart"], name)
		assert.Equal(t, "a", labels["team"], name)
	}
	for name, pod := range map[string]corev1.PodTemplateSpec{
		"manager":   find[appsv1.Deployment](t, objects, "Deployment", manager).Spec.Template,
		"uninstall": find[batchv1.Job](t, objects, "Job", hook).Spec.Template,
	} {
		assert.NotContains(t, pod.Labels, "helm.sh/chart", "%s: a new version of the chart alone replaces no pod", name)
		assert.Equal(t, "argo-workflow-multicluster", pod.Labels["app.kubernetes.io/part-of"], name)
		assert.Equal(t, name == "manager", pod.Labels["app.kubernetes.io/component"] == "hub", name)
	}
}

func TestLabelsOfTheUsersReplaceOnlyWhatNothingIsSelectedBy(t *testing.T) {
	t.Parallel()
	const labels = `{app.kubernetes.io/part-of: platform, app.kubernetes.io/name: x, app.kubernetes.io/instance: x,
  app.kubernetes.io/component: x, app.kubernetes.io/managed-by: x, helm.sh/chart: x, example.com/empty: "",
  rbac.authorization.k8s.io/aggregate-to-view: "false", workflows.argoproj.io/configmap-type: x}`
	for _, value := range []string{"commonLabels: ", "podLabels: ", "metrics: {serviceMonitor: {enabled: true, labels: "} {
		closing := strings.Repeat("}", strings.Count(value, "{"))
		values := "hubArgo: {enabled: true}\npodAnnotations: {kubectl.kubernetes.io/default-container: other}\n" + value + labels + closing
		objects := objectsOf(t, values, mutatingAPI("v1")) // which refuses keys that are there twice
		for _, object := range objects {
			name, found := value+object.GetKind()+" "+object.GetName(), object.GetLabels()
			assert.Equal(t, "argo-workflow-multicluster", found["app.kubernetes.io/name"], name)
			assert.Equal(t, Release, found["app.kubernetes.io/instance"], name)
			assert.NotEqual(t, "x", found["app.kubernetes.io/component"], name)
			assert.Equal(t, "Helm", found["app.kubernetes.io/managed-by"], name)
			isTheirs := value == "commonLabels: " || (value != "podLabels: " && object.GetKind() == "ServiceMonitor")
			assert.Equal(t, isTheirs, found["app.kubernetes.io/part-of"] == "platform", name)
			assert.Equal(t, isTheirs, found["helm.sh/chart"] == "x", name)
			_, hasEmpty := found["example.com/empty"]
			assert.Equal(t, isTheirs, hasEmpty, name)
		}
		assert.Equal(t, "true", find[rbacv1.ClusterRole](t, objects, "ClusterRole", aggregateToView).
			Labels["rbac.authorization.k8s.io/aggregate-to-view"], value)
		plugin := find[corev1.ConfigMap](t, objects, "ConfigMap", "argo-workflow-multicluster-executor-plugin")
		assert.Equal(t, "ExecutorPlugin", plugin.Labels["workflows.argoproj.io/configmap-type"], value)

		deployment := find[appsv1.Deployment](t, objects, "Deployment", manager)
		assert.Subset(t, deployment.Spec.Template.Labels, deployment.Spec.Selector.MatchLabels, value)
		assert.Equal(t, "hub", deployment.Spec.Template.Labels["app.kubernetes.io/component"], value)
		assert.Equal(t, strings.HasPrefix(value, "metrics"), deployment.Spec.Template.Labels["app.kubernetes.io/part-of"] != "platform", value)
		assert.Equal(t, "other", deployment.Spec.Template.Annotations["kubectl.kubernetes.io/default-container"])
		pod := find[batchv1.Job](t, objects, "Job", hook).Spec.Template
		assert.Equal(t, "uninstall", pod.Labels["app.kubernetes.io/component"], value)
	}
}

func TestServiceAccountOfTheUsers(t *testing.T) {
	t.Parallel()
	objects := objectsOf(t, "serviceAccount: {create: false, name: theirs}")
	assert.Nil(t, find[corev1.ServiceAccount](t, objects, "ServiceAccount", "theirs"))
	assert.Equal(t, "theirs", find[appsv1.Deployment](t, objects, "Deployment", manager).Spec.Template.Spec.ServiceAccountName)
	assert.Equal(t, "theirs", find[rbacv1.ClusterRoleBinding](t, objects, "ClusterRoleBinding", clusterRole).Subjects[0].Name)
	assert.Equal(t, "theirs", find[rbacv1.RoleBinding](t, objects, "RoleBinding", manager).Subjects[0].Name)
	objects = objectsOf(t, "serviceAccount: {annotations: {note: a}}")
	assert.Equal(t, "a", find[corev1.ServiceAccount](t, objects, "ServiceAccount", manager).Annotations["note"])
}

func TestNetworkPolicy(t *testing.T) {
	t.Parallel()
	policy := find[networkingv1.NetworkPolicy](t, objectsOf(t, everything), "NetworkPolicy", manager)
	require.NotNil(t, policy)
	require.Len(t, policy.Spec.Ingress, 2)
	assert.Len(t, policy.Spec.Ingress[0].From, 1, "metrics")
	assert.Empty(t, policy.Spec.Ingress[1].From, "probes")
	require.Len(t, policy.Spec.Egress, 1)
	assert.Len(t, policy.Spec.Egress[0].Ports, 4)

	for _, none := range []string{"[]", "null"} {
		policy = find[networkingv1.NetworkPolicy](t, objectsOf(t, "networkPolicy: {enabled: true, egress: "+none+"}"), "NetworkPolicy", manager)
		require.NotNil(t, policy)
		assert.Empty(t, policy.Spec.Egress)
		assert.Contains(t, policy.Spec.PolicyTypes, networkingv1.PolicyTypeEgress, "nothing is let out")
	}
}

func TestAddonsAndTheirConfiguration(t *testing.T) {
	t.Parallel()
	const values = `
addons:
  agent:
    deploymentConfig: {name: agents, namespace: configs}
  argoWorkflows:
    deploymentConfig: {spec: {customizedVariables: [{name: parallelism, value: "10"}]}}
    install:
      placements:
      - namespace: default
        name: all
        rolloutStrategy: {type: Progressive, progressive: {maxConcurrency: 25%}}
`
	configs := addonv1beta1.ConfigGroupResource{Group: "addon.open-cluster-management.io", Resource: "addondeploymentconfigs"}

	objects := objectsOf(t, values)
	agent := find[addonv1beta1.ClusterManagementAddOn](t, objects, "ClusterManagementAddOn", contract.AddonName)
	require.NotNil(t, agent)
	assert.Equal(t, []addonv1beta1.AddOnConfig{{
		ConfigGroupResource: configs, ConfigReferent: addonv1beta1.ConfigReferent{Namespace: "configs", Name: "agents"},
	}}, agent.Spec.DefaultConfigs)
	assert.Equal(t, addonv1beta1.InstallStrategy{Type: addonv1beta1.AddonInstallStrategyManual}, agent.Spec.InstallStrategy)
	assert.Nil(t, find[addonv1beta1.AddOnDeploymentConfig](t, objects, "AddOnDeploymentConfig", "agents"), "it is the user's")
	argo := find[addonv1beta1.ClusterManagementAddOn](t, objects, "ClusterManagementAddOn", "argo-workflows")
	require.NotNil(t, argo)
	assert.Equal(t, addonv1beta1.ConfigReferent{Namespace: Release, Name: "argo-workflows"}, argo.Spec.DefaultConfigs[0].ConfigReferent)
	assert.Equal(t, addonv1beta1.AddonInstallStrategyPlacements, argo.Spec.InstallStrategy.Type)
	require.Len(t, argo.Spec.InstallStrategy.Placements, 1)
	placement := argo.Spec.InstallStrategy.Placements[0]
	assert.Equal(t, addonv1beta1.PlacementRef{Namespace: "default", Name: "all"}, placement.PlacementRef)
	assert.Equal(t, clusterv1alpha1.Progressive, placement.RolloutStrategy.Type)
	assert.Equal(t, "25%", placement.RolloutStrategy.Progressive.MaxConcurrency.StrVal)
	config := find[addonv1beta1.AddOnDeploymentConfig](t, objects, "AddOnDeploymentConfig", "argo-workflows")
	require.NotNil(t, config)
	assert.Equal(t, Release, config.Namespace)
	assert.Equal(t, []addonv1beta1.CustomizedVariable{{Name: "parallelism", Value: "10"}}, config.Spec.CustomizedVariables)
}

func TestANamespaceOfNoConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	for _, addon := range []string{"agent", "argoWorkflows"} {
		_, _, err := Hub(hubChart, parse(t, "addons: {"+addon+": {deploymentConfig: {namespace: configs}}}"))
		require.ErrorContains(t, err, "addons."+addon+".deploymentConfig.namespace is set without name and spec")
		for _, with := range []string{"name: mine", "spec: {agentInstallNamespace: agents}"} {
			_, _, err = Hub(hubChart, parse(t, "addons: {"+addon+": {deploymentConfig: {namespace: configs, "+with+"}}}"))
			require.NoError(t, err)
		}
	}
}

func TestHubWithoutTheArgoAddon(t *testing.T) {
	t.Parallel()
	objects, notes, err := Hub(hubChart, parse(t, "addons: {argoWorkflows: {enabled: false}}"))
	require.NoError(t, err)
	assert.Nil(t, find[addonv1beta1.ClusterManagementAddOn](t, objects, "ClusterManagementAddOn", "argo-workflows"))
	assert.NotContains(t, notes, "--names argo-workflows")
	assert.Contains(t, notes, "clusteradm addon enable --names argo-workflow-multicluster --clusters <cluster>")
}

func TestNotesSayWhatComesNext(t *testing.T) {
	t.Parallel()
	_, notes, err := Hub(hubChart, nil)
	require.NoError(t, err)
	assert.Contains(t, notes, "clusteradm addon enable --names argo-workflows --clusters <cluster>")
	assert.NotContains(t, notes, "ARGO_INSTANCEID")
	_, notes, err = Hub(hubChart, parse(t, everything))
	require.NoError(t, err)
	assert.Contains(t, notes, "ARGO_INSTANCEID=ocm-multicluster")
}

func TestDormancyIsEnforcedWithWhatTheAPIServerHas(t *testing.T) {
	t.Parallel()
	const name = "argo-workflow-multicluster-dormant"
	for _, test := range []struct {
		apis []string
		want string
	}{
		{nil, ""},
		{[]string{"admissionregistration.k8s.io/v1beta1"}, ""},
		{[]string{mutatingAPI("v1beta1")}, "admissionregistration.k8s.io/v1beta1"},
		{[]string{mutatingAPI("v1beta1"), mutatingAPI("v1")}, "admissionregistration.k8s.io/v1"},
	} {
		objects := objectsOf(t, "hubArgo: {enabled: true}", test.apis...)
		mutating := find[admissionv1beta1.MutatingAdmissionPolicy](t, objects, "MutatingAdmissionPolicy", name)
		binding := find[admissionv1beta1.MutatingAdmissionPolicyBinding](t, objects, "MutatingAdmissionPolicyBinding", name)
		if test.want == "" {
			assert.Nil(t, mutating, test.apis)
			assert.Nil(t, binding, test.apis)
		} else {
			assert.Equal(t, test.want, mutating.APIVersion)
			assert.Equal(t, test.want, binding.APIVersion)
			assert.Contains(t, mutating.Spec.Mutations[0].JSONPatch.Expression, contract.InstanceIDHub)
		}
		validating := find[admissionv1.ValidatingAdmissionPolicy](t, objects, "ValidatingAdmissionPolicy", name)
		require.NotNil(t, validating, test.apis)
		assert.Contains(t, validating.Spec.Validations[0].Message, contract.LabelInstanceID+": "+contract.InstanceIDHub)
		assert.NotNil(t, find[admissionv1.ValidatingAdmissionPolicyBinding](t, objects, "ValidatingAdmissionPolicyBinding", name))
	}
}

func TestArgosAgentIsKeptQuietWhetherItsPodIsGatedOrNot(t *testing.T) {
	t.Parallel()
	const name = "argo-workflow-multicluster-executor-plugin"
	for _, test := range []struct {
		values string
		apis   []string
		want   bool
	}{
		{"hubArgo: {enabled: true}", nil, true},
		{"hubArgo: {enabled: true}", []string{mutatingAPI("v1")}, true}, // for a pod whose gate is removed
		{"hubArgo: {enabled: true, serviceAccount: {namespace: \"\"}}", nil, false},
		{"", nil, false},
	} {
		found := find[corev1.ConfigMap](t, objectsOf(t, test.values, test.apis...), "ConfigMap", name)
		if !test.want {
			assert.Nil(t, found, "%+v", test)
			continue
		}
		require.NotNil(t, found, "%+v", test)
		assert.Equal(t, "argo", found.Namespace)
		assert.Equal(t, "ExecutorPlugin", found.Labels["workflows.argoproj.io/configmap-type"])
		read, err := plugin.FromConfigMap(found) // as Argo's controller reads it
		require.NoError(t, err)
		assert.False(t, read.Spec.Sidecar.AutomountServiceAccountToken)
		container := read.Spec.Sidecar.Container
		assert.Equal(t, []string{"executor-plugin"}, container.Args)
		assert.EqualValues(t, executorplugin.Port, container.Ports[0].ContainerPort)
	}
}

// TestPoliciesNameTheKeysOfTheContract fails when a key is renamed in the code only.
func TestPoliciesNameTheKeysOfTheContract(t *testing.T) {
	t.Parallel()
	objects := objectsOf(t, everything, mutatingAPI("v1"))
	text := map[string]string{}
	for _, object := range objects {
		raw, err := yaml.Marshal(object.Object)
		require.NoError(t, err)
		text[object.GetKind()+" "+object.GetName()] = string(raw)
	}
	for _, policy := range []string{
		"MutatingAdmissionPolicy argo-workflow-multicluster-dormant", "ValidatingAdmissionPolicy argo-workflow-multicluster-dormant",
	} {
		for _, key := range []string{contract.LabelEnable, contract.LabelInstanceID, contract.InstanceIDHub} {
			assert.Contains(t, text[policy], `"`+key+`"`, policy)
		}
	}
	const validating = "ValidatingAdmissionPolicy argo-workflow-multicluster-"
	for policy, keys := range map[string][]string{
		"dispatched": {
			contract.AnnotationAssigned, contract.FinalizerDispatch, contract.LabelEnable, contract.AnnotationCluster,
			contract.AnnotationClusterNamespace, contract.AnnotationPlacement,
		},
		"workflow-values": {
			contract.LabelEnable, contract.LabelEnableValue, contract.AnnotationCluster, contract.AnnotationClusterNamespace,
			contract.AnnotationPlacement,
		},
		"cluster-values":   {contract.AnnotationMaxWorkflows},
		"binding-values":   {contract.AnnotationMaxWorkflows, contract.AnnotationNamespaces, contract.AnnotationExecutor, contract.AnnotationCreateNamespace},
		"bindings":         {contract.AnnotationMaxWorkflows, contract.AnnotationNamespaces, contract.AnnotationExecutor, contract.AnnotationCreateNamespace},
		"placement-values": {contract.AnnotationStrategy, contract.AnnotationWeights, contract.StrategySpread, contract.StrategyPack},
	} {
		for _, key := range keys {
			assert.Contains(t, text[validating+policy], `"`+key+`"`, policy)
		}
	}
	assert.Contains(t, text[validating+"pods"], "system:serviceaccount:"+Release+":"+manager)
	prefix, _, _ := strings.Cut(contract.AnnotationStatusHash, "/")
	assert.Contains(t, text[validating+"internal-keys"], `"`+prefix+`/"`)
}

func TestEachPolicyHasItsSwitch(t *testing.T) {
	t.Parallel()
	for value, policies := range map[string][]string{
		"protectInternalKeys": {"internal-keys"},
		"protectDispatched":   {"dispatched"},
		"protectBindings":     {"bindings"},
		"refuseInvalidValues": {"workflow-values", "cluster-values", "binding-values", "placement-values"},
	} {
		with, without := objectsOf(t, ""), objectsOf(t, "admission: {"+value+": false}")
		for _, policy := range policies {
			name := "argo-workflow-multicluster-" + policy
			assert.NotNil(t, find[admissionv1.ValidatingAdmissionPolicy](t, with, "ValidatingAdmissionPolicy", name), name)
			assert.Nil(t, find[admissionv1.ValidatingAdmissionPolicy](t, without, "ValidatingAdmissionPolicy", name), name)
			assert.Nil(t, find[admissionv1.ValidatingAdmissionPolicyBinding](t, without, "ValidatingAdmissionPolicyBinding", name), name)
		}
		assert.Len(t, without, len(with)-2*len(policies), "and nothing else")
	}
}

func TestUninstallHook(t *testing.T) {
	t.Parallel()
	objects := objectsOf(t, "uninstall: {timeout: 90s}")
	job := find[batchv1.Job](t, objects, "Job", hook)
	require.NotNil(t, job)
	pod := job.Spec.Template.Spec
	assert.Equal(t, []string{
		"hub", "uninstall", "--deployment=" + Release + "/" + manager,
		"--agent-image=quay.io/open-cluster-management/argo-multicluster:0.1.0", "--timeout=90s",
	}, pod.Containers[0].Args)
	assert.Equal(t, ptr.To[int64](90+30), job.Spec.ActiveDeadlineSeconds, "so that it ends if its pod cannot start")
	for _, timeout := range []string{"1h30m0s", "0h90m", "05400s"} {
		job := find[batchv1.Job](t, objectsOf(t, "uninstall: {timeout: "+timeout+"}"), "Job", hook)
		assert.Equal(t, ptr.To[int64](90*60+30), job.Spec.ActiveDeadlineSeconds, timeout)
	}
	assert.Equal(t, hook, pod.ServiceAccountName)
	for _, object := range objects {
		if !strings.HasSuffix(object.GetName(), "-uninstall") {
			assert.NotContains(t, object.GetAnnotations(), "helm.sh/hook", object.GetName())
			continue
		}
		assert.Equal(t, "pre-delete", object.GetAnnotations()["helm.sh/hook"], object.GetKind())
		assert.Equal(t, "before-hook-creation,hook-succeeded", object.GetAnnotations()["helm.sh/hook-delete-policy"])
		weight := "-1"
		if object.GetKind() == "Job" {
			weight = "0"
		}
		assert.Equal(t, weight, object.GetAnnotations()["helm.sh/hook-weight"], object.GetKind())
	}
	for _, object := range objectsOf(t, "uninstall: {enabled: false}") {
		assert.NotContains(t, object.GetAnnotations(), "helm.sh/hook")
	}
}
