package chart

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1beta1 "open-cluster-management.io/api/cluster/v1beta1"
	clusterv1beta2 "open-cluster-management.io/api/cluster/v1beta2"

	"open-cluster-management.io/argo-workflow-multicluster/test/docs"
)

const permissions = "../../docs/permissions.md"

func TestThePermissionsOnTheHubAreDocumented(t *testing.T) {
	t.Parallel()
	objects := objectsOf(t, "hubArgo: {enabled: true}", mutatingAPI("v1"))
	managers := find[rbacv1.ClusterRole](t, objects, "ClusterRole", clusterRole).Rules
	withoutArgo := find[rbacv1.ClusterRole](t, objectsOf(t, ""), "ClusterRole", clusterRole).Rules
	withoutArgo = slices.DeleteFunc(withoutArgo, func(rule rbacv1.PolicyRule) bool {
		return slices.ContainsFunc(managers, func(other rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(rule, other) })
	})
	hooks := find[rbacv1.ClusterRole](t, objects, "ClusterRole", clusterRole+"-uninstall").Rules
	const hooksOwn = 2 // the rules that it has first; the others are the first of the manager's
	for heading, rules := range map[string][]rbacv1.PolicyRule{
		"The manager":                                   hooks[hooksOwn:],
		"The manager alone":                             slices.Concat(managers[len(hooks)-hooksOwn:], withoutArgo),
		"The manager in its own namespace":              find[rbacv1.Role](t, objects, "Role", manager).Rules,
		"The uninstall hook, beside the manager's":      hooks[:hooksOwn],
		"The uninstall hook in the release's namespace": find[rbacv1.Role](t, objects, "Role", hook).Rules,
		"Argo's controller on the hub":                  find[rbacv1.ClusterRole](t, objects, "ClusterRole", clusterRole+"-argo").Rules,
		"Users who may view":                            find[rbacv1.ClusterRole](t, objects, "ClusterRole", aggregateToView).Rules,
		"Users who may edit":                            find[rbacv1.ClusterRole](t, objects, "ClusterRole", aggregateToEdit).Rules,
	} {
		documented, err := docs.Rights(permissions, heading)
		require.NoError(t, err)
		assert.ElementsMatch(t, docs.RightsOf(rules), documented, heading)
	}
}

func TestTheExamplesOfInstallation(t *testing.T) {
	t.Parallel()
	values, err := os.ReadFile("../../example/install/values-by-placement.yaml")
	require.NoError(t, err)
	objects := objectsOf(t, string(values))
	text, err := os.ReadFile(filepath.Join("..", "..", "example", "install", "placement.yaml"))
	require.NoError(t, err)
	selecting, err := decode(string(text))
	require.NoError(t, err)
	placement := find[clusterv1beta1.Placement](t, selecting, "Placement", "runs-workflows")
	binding := find[clusterv1beta2.ManagedClusterSetBinding](t, selecting, "ManagedClusterSetBinding", placement.Spec.ClusterSets[0])
	assert.Equal(t, placement.Namespace, binding.Namespace)
	assert.Equal(t, placement.Spec.ClusterSets[0], binding.Spec.ClusterSet)
	for _, name := range []string{"argo-workflow-multicluster", "argo-workflows"} {
		addon := find[addonv1beta1.ClusterManagementAddOn](t, objects, "ClusterManagementAddOn", name)
		assert.True(t, slices.ContainsFunc(addon.Spec.InstallStrategy.Placements, func(s addonv1beta1.PlacementStrategy) bool {
			return s.Namespace == placement.Namespace && s.Name == placement.Name
		}), name)
		assert.Len(t, addon.Spec.DefaultConfigs, 1)
	}
}
