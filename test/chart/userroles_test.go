package chart

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"

	"open-cluster-management.io/argo-workflow-multicluster/test/docs"
)

// The ClusterRoles that Kubernetes adds to its own.
const (
	aggregateToView = clusterRole + "-aggregate-to-view"
	aggregateToEdit = clusterRole + "-aggregate-to-edit"
)

func TestUsersWhoMayViewReadAndUsersWhoMayEditWriteWhatIsTheirs(t *testing.T) {
	t.Parallel()
	objects := objectsOf(t, "")
	view := find[rbacv1.ClusterRole](t, objects, "ClusterRole", aggregateToView)
	require.NotNil(t, view)
	assert.Equal(t, map[string]string{"rbac.authorization.k8s.io/aggregate-to-view": "true"}, aggregation(view))
	assert.ElementsMatch(t, []string{
		"argoproj.io/workflows: get list watch", "argoproj.io/workflowtemplates: get list watch",
		"argoproj.io/clusterworkflowtemplates: get list watch", "argoproj.io/cronworkflows: get list watch",
		"argoproj.io/workfloweventbindings: get list watch",
		"argoproj.io/workflowtasksets: get list watch", "argoproj.io/workflowtaskresults: get list watch",
		"cluster.open-cluster-management.io/placements: get list watch",
		"cluster.open-cluster-management.io/placementdecisions: get list watch",
		"cluster.open-cluster-management.io/managedclustersetbindings: get list watch",
		"workflow.open-cluster-management.io/remoteworkflows: get list watch",
	}, rights(view.Rules))
	edit := find[rbacv1.ClusterRole](t, objects, "ClusterRole", aggregateToEdit)
	require.NotNil(t, edit)
	assert.Equal(t, map[string]string{"rbac.authorization.k8s.io/aggregate-to-edit": "true"}, aggregation(edit))
	const write = ": create update patch delete deletecollection"
	assert.ElementsMatch(t, []string{
		"argoproj.io/workflows" + write, "argoproj.io/workflowtemplates" + write, "argoproj.io/clusterworkflowtemplates" + write,
		"argoproj.io/cronworkflows" + write, "argoproj.io/workfloweventbindings" + write,
		"argoproj.io/workflows/finalizers: update", "argoproj.io/cronworkflows/finalizers: update",
	}, rights(edit.Rules))
}

// aggregation returns the labels of a ClusterRole by which others take its rights over.
func aggregation(role *rbacv1.ClusterRole) map[string]string {
	labels := map[string]string{}
	for key, value := range role.Labels {
		if filepath.Dir(key) == rbacv1.GroupName {
			labels[key] = value
		}
	}
	return labels
}

// TestUserRolesAddToArgosOwnOnlyWhatIsRead: a hub with an Argo installation has that one's roles as well.
func TestUserRolesAddToArgosOwnOnlyWhatIsRead(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(
		argosManifests(t), "cluster-install-no-crds", "workflow-controller-rbac", "workflow-aggregate-roles.yaml"))
	require.NoError(t, err)
	theirs, err := decode(string(text))
	require.NoError(t, err)
	objects := objectsOf(t, "")
	for ours, argos := range map[string]string{aggregateToView: "argo-aggregate-to-view", aggregateToEdit: "argo-aggregate-to-edit"} {
		given := single(find[rbacv1.ClusterRole](t, theirs, "ClusterRole", argos).Rules)
		for _, right := range single(find[rbacv1.ClusterRole](t, objects, "ClusterRole", ours).Rules) {
			if !slices.Contains(given, right) {
				assert.Regexp(t, `^(workflowtasksets\.argoproj\.io|\w+\.(cluster|workflow)\.open-cluster-management\.io) \[\]: (get|list|watch)$`, right)
			}
		}
	}
}

// single returns what rules allow, one verb on one resource each.
func single(rules []rbacv1.PolicyRule) []string {
	var list []string
	for _, rule := range rules {
		for _, verb := range rule.Verbs {
			list = append(list, docs.RightsOf([]rbacv1.PolicyRule{
				{APIGroups: rule.APIGroups, Resources: rule.Resources, ResourceNames: rule.ResourceNames, Verbs: []string{verb}},
			})...)
		}
	}
	return list
}

func TestUserRolesHaveNamesOfTheReleaseAndASwitch(t *testing.T) {
	t.Parallel()
	with, without := objectsOf(t, ""), objectsOf(t, "userRoles: {enabled: false}")
	assert.Len(t, without, len(with)-2, "both roles and nothing else")
	for _, name := range []string{aggregateToView, aggregateToEdit} {
		assert.Nil(t, find[rbacv1.ClusterRole](t, without, "ClusterRole", name), name)
	}
	another := objectsOf(t, "fullnameOverride: another")
	assert.NotNil(t, find[rbacv1.ClusterRole](t, another, "ClusterRole", "open-cluster-management:another-aggregate-to-view"))
}
