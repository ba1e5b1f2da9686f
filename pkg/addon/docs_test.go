package addon

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
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
	configureGuide   = filepath.Join("..", "..", "docs", "configure.md")
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
		rows, err := docs.Table(configureGuide, heading)
		require.NoError(t, err)
		documented := map[string]string{}
		for _, row := range rows {
			documented[strings.Trim(row[0], "`")] = strings.Trim(row[1], "`")
		}
		assert.Equal(t, want, documented, heading)
	}
}

func TestTheContainersAreDocumented(t *testing.T) {
	id := regexp.MustCompile(`"((?:deployments|jobs):[a-z:-]+)"`)
	var want []string
	for _, chart := range []fs.FS{manifests.Agent, manifests.ArgoWorkflows} {
		require.NoError(t, fs.WalkDir(chart, ".", func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			text, err := fs.ReadFile(chart, path)
			for _, found := range id.FindAllSubmatch(text, -1) {
				want = append(want, string(found[1]))
			}
			return err
		}))
	}
	rows, err := docs.Table(configureGuide, "Containers")
	require.NoError(t, err)
	var documented []string
	for _, row := range rows {
		if name, is := strings.CutPrefix(row[0], "`"); is {
			name, _, _ = strings.Cut(name, "`")
			documented = append(documented, name)
		}
	}
	assert.ElementsMatch(t, want, documented)
}

func TestTheExampleConfigurationsAreRendered(t *testing.T) {
	agent := func(spec *addonv1beta1.AddOnDeploymentConfigSpec) rendered { return render(t, spec) }
	argo := func(spec *addonv1beta1.AddOnDeploymentConfigSpec) rendered { return renderArgo(t, spec) }
	for file, render := range map[string]func(*addonv1beta1.AddOnDeploymentConfigSpec) rendered{
		"agent-config.yaml": agent, "agent-config-site.yaml": agent, "argo-config.yaml": argo, "argo-config-site.yaml": argo,
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
		if strings.HasSuffix(file, "-site.yaml") {
			continue
		}
		// What works on any cluster names nothing of a site.
		assert.Empty(t, config.Spec.Registries, file)
		assert.Empty(t, config.Spec.ProxyConfig, file)
		assert.Nil(t, config.Spec.NodePlacement, file)
		for _, variable := range config.Spec.CustomizedVariables {
			assert.NotContains(t, []string{
				"argoInstanceID", "instanceID", "workflowNamespaces", "executorServiceAccounts", "artifactRepositoryRef",
			}, variable.Name, file)
		}
	}
}
