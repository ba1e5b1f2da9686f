package chart

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// clusterRole is the manager's.
const clusterRole = "open-cluster-management:" + manager

func TestRightsOfTheManager(t *testing.T) {
	t.Parallel()
	objects := objectsOf(t, everything, mutatingAPI("v1"))
	role := find[rbacv1.ClusterRole](t, objects, "ClusterRole", clusterRole)
	require.NotNil(t, role)
	const addons = " [argo-workflow-multicluster argo-workflows]"
	assert.ElementsMatch(t, []string{
		"argoproj.io/workflows: get list patch", "argoproj.io/workflows: watch delete",
		"argoproj.io/workflowtemplates: list watch", "argoproj.io/clusterworkflowtemplates: list watch",
		"workflow.open-cluster-management.io/remoteworkflows: get list watch create patch delete",
		"workflow.open-cluster-management.io/remoteworkflows/status: patch update",
		"work.open-cluster-management.io/manifestworks: get list watch create patch delete",
		"work.open-cluster-management.io/manifestworks: execute-as",
		"cluster.open-cluster-management.io/managedclusters: list watch",
		"cluster.open-cluster-management.io/managedclustersets: list watch",
		"cluster.open-cluster-management.io/managedclustersetbindings: list watch",
		"cluster.open-cluster-management.io/placements: list watch",
		"cluster.open-cluster-management.io/placementdecisions: list watch",
		"cluster.open-cluster-management.io/addonplacementscores: get list watch create",
		"cluster.open-cluster-management.io/addonplacementscores/status [argo-workflows]: patch update",
		"addon.open-cluster-management.io/clustermanagementaddons: list watch",
		"addon.open-cluster-management.io/managedclusteraddons: list watch",
		"addon.open-cluster-management.io/addondeploymentconfigs: get list watch",
		"addon.open-cluster-management.io/managedclusteraddons" + addons + ": get update",
		"addon.open-cluster-management.io/clustermanagementaddons/status" + addons + ": patch",
		"addon.open-cluster-management.io/managedclusteraddons/status" + addons + ": patch",
		"addon.open-cluster-management.io/managedclusteraddons/finalizers" + addons + ": update",
		"certificates.k8s.io/certificatesigningrequests: list watch",
		"certificates.k8s.io/certificatesigningrequests/approval: update",
		"certificates.k8s.io/signers [kubernetes.io/kube-apiserver-client]: approve",
		"rbac.authorization.k8s.io/roles: create",
		"rbac.authorization.k8s.io/rolebindings: create",
		"rbac.authorization.k8s.io/roles [open-cluster-management:argo-workflow-multicluster:agent]: get update",
		"rbac.authorization.k8s.io/rolebindings [open-cluster-management:argo-workflow-multicluster:agent]: get update",
		"apiextensions.k8s.io/customresourcedefinitions " +
			"[remoteworkflows.workflow.open-cluster-management.io workflows.argoproj.io]: get",
		"/namespaces [kube-system]: get",
		"argoproj.io/workflowtasksets: get list watch", "argoproj.io/workflowtasksets/status: patch",
		"argoproj.io/workflows: create", "/pods: list watch patch",
		"authentication.k8s.io/tokenreviews: create", "authorization.k8s.io/subjectaccessreviews: create",
		"events.k8s.io/events: create patch",
	}, rights(role.Rules))
	assert.ElementsMatch(t, []string{
		"coordination.k8s.io/leases: create",
		"coordination.k8s.io/leases [argo-workflow-multicluster-hub]: get update",
		"/events: create patch",
	}, rights(find[rbacv1.Role](t, objects, "Role", manager).Rules))
	assertBound(t, objects, manager, clusterRole)
}

func TestRightsOfTheUninstallHook(t *testing.T) {
	t.Parallel()
	assert.Contains(t, rights(find[rbacv1.ClusterRole](t, objectsOf(t, ""), "ClusterRole", clusterRole).Rules),
		"coordination.k8s.io/leases [workflow-controller]: list")
	objects := objectsOf(t, everything, mutatingAPI("v1"))
	role := find[rbacv1.ClusterRole](t, objects, "ClusterRole", clusterRole+"-uninstall")
	require.NotNil(t, role)
	managers := rights(find[rbacv1.ClusterRole](t, objects, "ClusterRole", clusterRole).Rules)
	only := []string{ // what the manager needs for Placements, steps, metrics and Events
		"argoproj.io/workflows: watch delete",
		"argoproj.io/workflowtemplates: list watch", "argoproj.io/clusterworkflowtemplates: list watch",
		"cluster.open-cluster-management.io/managedclustersets: list watch",
		"cluster.open-cluster-management.io/managedclustersetbindings: list watch",
		"cluster.open-cluster-management.io/placements: list watch",
		"cluster.open-cluster-management.io/placementdecisions: list watch",
		"apiextensions.k8s.io/customresourcedefinitions " +
			"[remoteworkflows.workflow.open-cluster-management.io workflows.argoproj.io]: get",
		"argoproj.io/workflowtasksets: get list watch", "argoproj.io/workflowtasksets/status: patch",
		"argoproj.io/workflows: create", "/pods: list watch patch",
		"authentication.k8s.io/tokenreviews: create", "authorization.k8s.io/subjectaccessreviews: create",
		"events.k8s.io/events: create patch",
	}
	assert.Subset(t, managers, only)
	const addons = " [argo-workflow-multicluster argo-workflows]"
	assert.ElementsMatch(t, append(slices.DeleteFunc(managers, func(right string) bool { return slices.Contains(only, right) }),
		"addon.open-cluster-management.io/clustermanagementaddons"+addons+": patch",
		"addon.open-cluster-management.io/managedclusteraddons"+addons+": patch delete",
	), rights(role.Rules))
	hooks := find[rbacv1.ClusterRole](t, objectsOf(t, ""), "ClusterRole", clusterRole+"-uninstall")
	assert.Equal(t, role.Rules, hooks.Rules, "no value gives it more")
	assert.ElementsMatch(t, []string{
		"apps/deployments [" + manager + "]: get",
		"apps/deployments/scale [" + manager + "]: patch",
		"/pods: list",
		"coordination.k8s.io/leases [argo-workflow-multicluster-hub]: delete",
	}, rights(find[rbacv1.Role](t, objects, "Role", hook).Rules))
	assertBound(t, objects, hook, clusterRole+"-uninstall")
}

func TestNoWildcardsAndNoSecrets(t *testing.T) {
	t.Parallel()
	for _, values := range []string{"", everything} {
		for _, object := range objectsOf(t, values, mutatingAPI("v1beta1")) {
			if object.GetKind() != "ClusterRole" && object.GetKind() != "Role" {
				continue
			}
			role := &rbacv1.Role{} // a ClusterRole without aggregation has the same fields
			decodeStrictly(t, object, role)
			for _, rule := range role.Rules {
				all := slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs, rule.NonResourceURLs)
				for _, forbidden := range []string{"*", "secrets", "escalate", "bind", "impersonate"} {
					assert.NotContains(t, all, forbidden, object.GetName())
				}
			}
		}
	}
}

// rights lists what rules allow, as "group/resource [names]: verbs".
func rights(rules []rbacv1.PolicyRule) []string {
	var list []string
	for _, rule := range rules {
		names := ""
		if len(rule.ResourceNames) > 0 {
			names = fmt.Sprintf(" %v", rule.ResourceNames)
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				list = append(list, fmt.Sprintf("%s/%s%s: %s", group, resource, names, strings.Join(rule.Verbs, " ")))
			}
		}
	}
	return list
}

// assertBound checks that the service account, and nobody else, has the ClusterRole and the Role of its name.
func assertBound(t *testing.T, objects []*unstructured.Unstructured, account, clusterRole string) {
	t.Helper()
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Name: account, Namespace: Release}}
	cluster := find[rbacv1.ClusterRoleBinding](t, objects, "ClusterRoleBinding", clusterRole)
	require.NotNil(t, cluster)
	assert.Equal(t, subjects, cluster.Subjects)
	assert.Equal(t, rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: clusterRole}, cluster.RoleRef)
	namespaced := find[rbacv1.RoleBinding](t, objects, "RoleBinding", account)
	require.NotNil(t, namespaced)
	assert.Equal(t, Release, namespaced.Namespace)
	assert.Equal(t, subjects, namespaced.Subjects)
	assert.Equal(t, rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: account}, namespaced.RoleRef)
	assert.NotNil(t, find[unstructured.Unstructured](t, objects, "ServiceAccount", account))
}
