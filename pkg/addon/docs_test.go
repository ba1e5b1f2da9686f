package addon

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	"sigs.k8s.io/yaml"

	"open-cluster-management.io/argo-workflow-multicluster/manifests"
	"open-cluster-management.io/argo-workflow-multicluster/test/docs"
)

var (
	installGuide     = filepath.Join("..", "..", "docs", "install.md")
	permissionsGuide = filepath.Join("..", "..", "docs", "permissions.md")
)

func TestThePermissionsOnAManagedClusterAreDocumented(t *testing.T) {
	agentObjects, argoObjects := render(t, nil), renderArgo(t, variables("argoServer", "true"))
	for heading, rules := range map[string][]rbacv1.PolicyRule{
		"The agent on the hub":                   agentRole().Rules,
		"The agent on its cluster":               only[*rbacv1.ClusterRole](t, agentObjects, ":agent").Rules,
		"The agent in its own namespace":         only[*rbacv1.Role](t, agentObjects, "").Rules,
		"OCM's work agent":                       only[*rbacv1.ClusterRole](t, agentObjects, ":work").Rules,
		"Argo's controller":                      named[*rbacv1.ClusterRole](t, argoObjects, "argo-workflows-controller").Rules,
		"Argo's controller in its own namespace": named[*rbacv1.Role](t, argoObjects, "argo-workflows-controller").Rules,
		"Users of Argo Workflows who may view":   named[*rbacv1.ClusterRole](t, argoObjects, "argo-workflows-aggregate-to-view").Rules,
		"Users of Argo Workflows who may edit":   named[*rbacv1.ClusterRole](t, argoObjects, "argo-workflows-aggregate-to-edit").Rules,
		"Argo's executor":                        named[*rbacv1.ClusterRole](t, argoObjects, "argo-workflows-executor").Rules,
		"The argo-server":                        named[*rbacv1.ClusterRole](t, argoObjects, "argo-workflows-server").Rules,
		"The argo-server in its own namespace":   named[*rbacv1.Role](t, argoObjects, "argo-workflows-server").Rules,
	} {
		documented, err := docs.Rights(permissionsGuide, heading)
		require.NoError(t, err)
		assert.ElementsMatch(t, docs.RightsOf(rules), documented, heading)
	}
}

func TestTheVariablesAreDocumented(t *testing.T) {
	for heading, chart := range map[string]struct {
		values func() ([]byte, error)
		// notVariables are those that come from other fields of an AddOnDeploymentConfig, or from the hub.
		notVariables []string
	}{
		"Variables of argo-workflow-multicluster": {
			func() ([]byte, error) { return manifests.Agent.ReadFile("agent/values.yaml") },
			[]string{"tolerations", "global", "clusterName", "hubID", "hubKubeConfigSecret"},
		},
		"Variables of argo-workflows": {
			func() ([]byte, error) { return manifests.ArgoWorkflows.ReadFile("argo-workflows/values.yaml") },
			[]string{"tolerations", "global", "hubID", "managed"},
		},
	} {
		text, err := chart.values()
		require.NoError(t, err)
		values, want := map[string]json.RawMessage{}, map[string]string{}
		require.NoError(t, yaml.Unmarshal(text, &values))
		for name, value := range values {
			if !slices.Contains(chart.notVariables, name) {
				want[name] = strings.Trim(string(value), `"`)
			}
		}
		rows, err := docs.Table(installGuide, heading)
		require.NoError(t, err)
		documented := map[string]string{}
		for _, row := range rows {
			documented[strings.Trim(row[0], "`")] = strings.Trim(row[1], "`")
		}
		assert.Equal(t, want, documented, heading)
	}
}

func TestTheExampleConfigurationsAreRendered(t *testing.T) {
	for file, render := range map[string]func(*addonv1beta1.AddOnDeploymentConfigSpec) rendered{
		"agent-config.yaml": func(spec *addonv1beta1.AddOnDeploymentConfigSpec) rendered { return render(t, spec) },
		"argo-config.yaml":  func(spec *addonv1beta1.AddOnDeploymentConfigSpec) rendered { return renderArgo(t, spec) },
	} {
		text, err := os.ReadFile(filepath.Join("..", "..", "example", "install", file))
		require.NoError(t, err)
		config := &addonv1beta1.AddOnDeploymentConfig{}
		require.NoError(t, yaml.UnmarshalStrict(text, config), file)
		assert.Equal(t, "AddOnDeploymentConfig", config.Kind)
		assert.Equal(t, addonv1beta1.GroupVersion.String(), config.APIVersion)
		rendered := render(&config.Spec)
		assert.NotEmpty(t, rendered, file)
		objects, err := yaml.Marshal(rendered)
		require.NoError(t, err)
		for _, mirror := range config.Spec.Registries {
			assert.Contains(t, string(objects), "image: "+mirror.Mirror, file)
		}
	}
}
