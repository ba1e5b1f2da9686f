package install

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// invalidConfiguration gives the agent of cluster2 a variable that cannot be: the addon says so, and the agent that runs
// goes on.
func invalidConfiguration(t *testing.T) {
	t.Helper()
	configure(t, cluster2, addonv1beta1.AddOnDeploymentConfigSpec{
		CustomizedVariables: []addonv1beta1.CustomizedVariable{{Name: "replicas", Value: "many"}},
	})
	labtest.Eventually(t, patience, func() error {
		return addonCondition(t.Context(), cluster2, contract.AddonName, "ManifestApplied", "False", "'many' does not match")
	})
}

// missingImage gives the agent of cluster2 a mirror without its image.
func missingImage(t *testing.T) {
	t.Helper()
	configure(t, cluster2, addonv1beta1.AddOnDeploymentConfigSpec{
		Registries: []addonv1beta1.ImageMirror{{Source: "quay.io/open-cluster-management", Mirror: "registry.example/nothing"}},
	})
	labtest.Eventually(t, patience, func() error {
		return errors.Join(
			addonCondition(t.Context(), cluster2, contract.AddonName, "ManifestApplied", "True", ""),
			addonCondition(t.Context(), cluster2, contract.AddonName, "Available", "True", ""), // by the agent that runs
		)
	})
}

// shownAndRecovered waits until the addon says what is wrong with the image, and mends it.
func shownAndRecovered(t *testing.T) {
	t.Helper()
	labtest.Eventually(t, patience, func() error {
		return addonCondition(t.Context(), cluster2, contract.AddonName, "Degraded", "True", lab.AgentDeployment)
	})
	theHub.run(t, "kubectl", "get", "managedclusteraddon", "-A")
	configure(t, cluster2, addonv1beta1.AddOnDeploymentConfigSpec{})
	labtest.Eventually(t, patience, func() error {
		return errors.Join(
			addonCondition(t.Context(), cluster2, contract.AddonName, "Degraded", "False", ""),
			addonCondition(t.Context(), cluster2, contract.AddonName, "Available", "True", ""),
		)
	})
}

// notAccepted enables the addons for a cluster that the hub has not accepted: nothing is deployed, and a Workflow for it
// says what it waits for.
func notAccepted(t *testing.T) {
	t.Helper()
	const stranger = "stranger"
	cluster := &clusterv1.ManagedCluster{}
	cluster.Name = stranger
	// This lab's OCM accepts clusters by itself, once each.
	cluster.Annotations = map[string]string{"open-cluster-management.io/automatically-accepted-on": time.Now().Format(time.RFC3339)}
	require.NoError(t, theHub.client.Create(t.Context(), cluster))
	namespace := &corev1.Namespace{}
	namespace.Name = stranger
	require.NoError(t, client.IgnoreAlreadyExists(theHub.client.Create(t.Context(), namespace)))
	enable(t, lab.ArgoAddonName+","+contract.AddonName, stranger)
	create(t, "for-a-stranger", "true", contract.AnnotationCluster, stranger)
	waitWorkflow(t, theHub, "for-a-stranger", "Pending", stranger)
	wf := contract.NewWorkflow()
	require.NoError(t, theHub.client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "for-a-stranger"}, wf))
	t.Logf("for-a-stranger: %s", contract.StatusString(contract.Status(wf), "message"))
	secrets := &corev1.SecretList{}
	require.NoError(t, theHub.client.List(t.Context(), secrets, client.InNamespace(stranger)))
	assert.Empty(t, secrets.Items)
	theHub.run(t, "kubectl", "delete", "workflow", "for-a-stranger", "--timeout=60s")
	theHub.run(t, "clusteradm", "addon", "disable", "--names", lab.ArgoAddonName+","+contract.AddonName, "--clusters", stranger)
	theHub.run(t, "kubectl", "delete", "managedcluster", stranger, "--timeout=60s")
}

// rightsLost empties Role and RoleBinding of cluster1's agent on the hub. A Workflow does not start there then, and does when the
// manager has seen to the Role again, as it does every ten minutes and whenever the addon changes.
func rightsLost(t *testing.T) {
	t.Helper()
	role := &rbacv1.Role{}
	key := client.ObjectKey{Namespace: cluster1.Name, Name: "open-cluster-management:" + contract.AddonName + ":agent"}
	require.NoError(t, theHub.client.Get(t.Context(), key, role))
	role.Rules = nil
	require.NoError(t, theHub.client.Update(t.Context(), role))
	binding := &rbacv1.RoleBinding{}
	require.NoError(t, theHub.client.Get(t.Context(), key, binding))
	binding.Subjects = nil
	require.NoError(t, theHub.client.Update(t.Context(), binding))
	createWorkflowOn(t, cluster1, "without-rights", "true")
	labtest.Eventually(t, patience, func() error {
		if _, denied := requests(t, theHub, agentSubject(t, cluster1).UserName); len(denied) == 0 {
			return errors.New("the agent has not been denied anything yet")
		}
		return nil
	})
	require.NoError(t, client.IgnoreNotFound(workflow(t.Context(), cluster1, "without-rights", "", "")))
	theHub.run(t, "kubectl", "annotate", "managedclusteraddon", "-n", cluster1.Name, contract.AddonName, "touched=now")
	waitWorkflow(t, theHub, "without-rights", "Succeeded", "")
	theHub.run(t, "kubectl", "delete", "workflow", "without-rights", "--timeout=60s")
	labtest.Eventually(t, patience, func() error { return gone(t, cluster1, "without-rights") })
}

// gone returns an error as long as the Workflow is on the cluster.
func gone(t *testing.T, c *cluster, name string) error {
	t.Helper()
	err := c.client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: name}, contract.NewWorkflow())
	if err == nil {
		return fmt.Errorf("Workflow %s is still on %s", name, c.Name)
	}
	return client.IgnoreNotFound(err)
}

// configure gives the agent's addon on a cluster a configuration of its own.
func configure(t *testing.T, c *cluster, spec addonv1beta1.AddOnDeploymentConfigSpec) {
	t.Helper()
	config := &addonv1beta1.AddOnDeploymentConfig{}
	config.Namespace, config.Name = c.Name, "own"
	key := client.ObjectKeyFromObject(config)
	if err := theHub.client.Get(t.Context(), key, config); err == nil {
		config.Spec = spec
		require.NoError(t, theHub.client.Update(t.Context(), config))
		return
	}
	config.Spec = spec
	require.NoError(t, theHub.client.Create(t.Context(), config))
	addon := &addonv1beta1.ManagedClusterAddOn{}
	addon.Namespace, addon.Name = c.Name, contract.AddonName
	patch := fmt.Sprintf(`{"spec":{"configs":[{"group":%q,"resource":"addondeploymentconfigs","namespace":%q,"name":%q}]}}`,
		addonv1beta1.GroupName, key.Namespace, key.Name)
	require.NoError(t, theHub.client.Patch(t.Context(), addon, client.RawPatch("application/merge-patch+json", []byte(patch))))
}

// upgraded changes the manager's image and then the agents', and the other way round, while Workflows run.
func upgraded(t *testing.T) {
	t.Helper()
	for i, names := range [][]string{{"hub-first-1", "hub-first-2"}, {"agent-first-1", "agent-first-2"}} {
		for n, c := range []*cluster{cluster1, cluster2} {
			createWorkflowOn(t, c, names[n], "sleep 20; echo done")
			waitWorkflow(t, theHub, names[n], "Running", "")
		}
		before := recorded(t)
		const variable = "addons.agent.deploymentConfig.spec.customizedVariables[0]"
		changes := [][]string{
			{"image.tag=" + names[0]},
			{"agentImage=" + lab.ProductImage + ":" + names[1], variable + ".name=logFormat", variable + ".value=text"},
		}
		for _, change := range [][]string{changes[i], changes[1-i]} {
			require.NoError(t, theLab.UpgradeChart(t.Context(), change...))
		}
		for _, c := range []*cluster{cluster1, cluster2} {
			labtest.Eventually(t, patience, func() error { return agentRuns(t, c, lab.ProductImage+":"+names[1]) })
			args := c.run(t, "kubectl", "get", "deployment", "-n", lab.AddonNamespace, lab.AgentDeployment,
				"-o", "jsonpath={.spec.template.spec.containers[0].args}")
			assert.Contains(t, args, `"--log-format=text"`, "as the chart's configuration of all agents says")
		}
		for _, name := range names {
			waitWorkflow(t, theHub, name, "Succeeded", "")
		}
		after := recorded(t)
		for name, uid := range before {
			assert.Equal(t, uid, after[name], "UID that RemoteWorkflow %s records", name)
		}
	}
	theHub.documented(t, "docs/upgrade.md", "upgrade")
	theHub.documented(t, "docs/upgrade.md", "addons")
}

// agentRuns returns an error unless the agent of the cluster runs with the image, and no other.
func agentRuns(t *testing.T, c *cluster, image string) error {
	t.Helper()
	deployment := &appsv1.Deployment{}
	key := client.ObjectKey{Namespace: lab.AddonNamespace, Name: lab.AgentDeployment}
	if err := c.client.Get(t.Context(), key, deployment); err != nil {
		return err
	}
	got, status := deployment.Spec.Template.Spec.Containers[0].Image, deployment.Status
	if got != image || status.ObservedGeneration != deployment.Generation || status.UpdatedReplicas != 1 || status.Replicas != 1 ||
		status.AvailableReplicas != 1 {
		return fmt.Errorf("the agent of %s has image %s, status %+v", c.Name, got, status)
	}
	return nil
}

// recorded are the UIDs of the remote Workflows that the RemoteWorkflows record.
func recorded(t *testing.T) map[string]types.UID {
	t.Helper()
	rws := &v1alpha1.RemoteWorkflowList{}
	require.NoError(t, theHub.client.List(t.Context(), rws))
	found := map[string]types.UID{}
	for _, rw := range rws.Items {
		found[rw.Namespace+"/"+rw.Name] = rw.Status.RemoteUID
	}
	require.NotEmpty(t, found)
	return found
}

// configured gives the agent of cluster1 the example's configuration, which has two replicas.
func configured(t *testing.T) {
	t.Helper()
	theHub.documented(t, "docs/configure.md", "agent-config")
	labtest.Eventually(t, patience, func() error {
		agent := &appsv1.Deployment{}
		err := cluster1.client.Get(t.Context(), client.ObjectKey{Namespace: lab.AddonNamespace, Name: lab.AgentDeployment}, agent)
		if err == nil && agent.Status.AvailableReplicas != 2 {
			err = fmt.Errorf("%d replicas are available", agent.Status.AvailableReplicas)
		}
		return err
	})
}

// restored does what has to be done when etcd of the hub was restored, but for that.
func restored(t *testing.T) {
	t.Helper()
	const page = "docs/recovery.md"
	theHub.documented(t, page, "stop the manager")
	theHub.documented(t, page, "take rights away")
	labtest.Eventually(t, patience, func() error {
		if pods := theHub.documented(t, page, "no pod is left"); !strings.Contains(pods, "No resources found") {
			return errors.New(pods)
		}
		return nil
	})
	theHub.documented(t, page, "say when", "2026-01-02T15:04:05Z", time.Now().UTC().Format(time.RFC3339))
	createWorkflowOn(t, cluster1, "after-the-restore", "true")
	waitWorkflow(t, theHub, "after-the-restore", "Succeeded", "")
	theHub.documented(t, page, "held")
	assert.Contains(t, cluster1.documented(t, page, "has it run"), "after-the-restore")
}

// disabledWhileRunning disables the agent's addon on cluster1 while a Workflow runs there. That goes on, nothing of the
// agent stays, one that has ended can be deleted, and when the addon is enabled again the hub learns how it has ended.
func disabledWhileRunning(t *testing.T) {
	t.Helper()
	createWorkflowOn(t, cluster1, "outlives-the-agent", "sleep 45; echo done")
	waitWorkflow(t, theHub, "outlives-the-agent", "Running", "")
	disable(t, contract.AddonName, cluster1)
	require.NoError(t, workflow(t.Context(), cluster1, "outlives-the-agent", "Running", ""))
	wf := contract.NewWorkflow()
	require.NoError(t, cluster1.client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "outlives-the-agent"}, wf))
	assert.Empty(t, wf.GetFinalizers())
	labtest.Eventually(t, patience, func() error {
		list := &appsv1.DeploymentList{}
		if err := cluster1.client.List(t.Context(), list, client.InNamespace(lab.AddonNamespace)); err != nil || len(list.Items) > 0 {
			return fmt.Errorf("%d Deployments in %s: %w", len(list.Items), lab.AddonNamespace, err)
		}
		return nil
	})
	theHub.run(t, "kubectl", "delete", "workflow", "hub-first-1", "--timeout=60s")
	require.NoError(t, workflow(t.Context(), cluster1, "hub-first-1", "Succeeded", ""), "nobody is there who would delete it")
	enable(t, contract.AddonName, cluster1.Name)
	waitWorkflow(t, theHub, "outlives-the-agent", "Succeeded", "")
	waitAvailable(t, cluster1)
}

// disabledWhileAway disables the addon on a cluster that is cut off: it goes when the cluster is back.
func disabledWhileAway(t *testing.T) {
	t.Helper()
	createWorkflowOn(t, cluster2, "runs-while-away", "sleep 30; echo done")
	waitWorkflow(t, theHub, "runs-while-away", "Running", "")
	require.NoError(t, cluster2.Disconnect())
	t.Cleanup(func() { assert.NoError(t, cluster2.Reconnect()) })
	theHub.run(t, "clusteradm", "addon", "disable", "--names", contract.AddonName, "--clusters", cluster2.Name)
	labtest.Holds(t, 5*time.Second, func() error {
		addon := &addonv1beta1.ManagedClusterAddOn{}
		return theHub.client.Get(t.Context(), client.ObjectKey{Namespace: cluster2.Name, Name: contract.AddonName}, addon)
	})
	require.NoError(t, cluster2.Reconnect())
	waitGone(t, contract.AddonName, cluster2)
	enable(t, contract.AddonName, cluster2.Name)
	waitWorkflow(t, theHub, "runs-while-away", "Succeeded", "")
	waitAvailable(t, cluster2)
}

// disable disables an addon on a cluster, and waits until it is gone.
func disable(t *testing.T, addon string, c *cluster) {
	t.Helper()
	theHub.run(t, "clusteradm", "addon", "disable", "--names", addon, "--clusters", c.Name)
	waitGone(t, addon, c)
}

func waitGone(t *testing.T, name string, c *cluster) {
	t.Helper()
	labtest.Eventually(t, patience, func() error {
		addon := &addonv1beta1.ManagedClusterAddOn{}
		err := theHub.client.Get(t.Context(), client.ObjectKey{Namespace: c.Name, Name: name}, addon)
		if err == nil {
			return fmt.Errorf("addon %s on %s is still there: %v", name, c.Name, conditions(addon.Status.Conditions))
		}
		return client.IgnoreNotFound(err)
	})
}

func conditions(list []metav1.Condition) (texts []string) {
	for _, condition := range list {
		texts = append(texts, fmt.Sprintf("%s=%s: %s", condition.Type, condition.Status, condition.Message))
	}
	return texts
}

// detached deletes cluster2 from the hub while a Workflow runs there: the hub says what became of it, and nothing hangs.
func detached(t *testing.T) {
	t.Helper()
	createWorkflowOn(t, cluster2, "detached-while-running", "sleep 60; echo done")
	waitWorkflow(t, theHub, "detached-while-running", "Running", "")
	theHub.run(t, "kubectl", "delete", "managedcluster", cluster2.Name, "--timeout=120s")
	waitWorkflow(t, theHub, "detached-while-running", "Error", "detached")
	// OCM's registration agent deletes the Secret when it sees that the addon is gone. If its watch ends at that moment, it does not: it
	// has no rights any more to watch again.
	noLeftovers(t, cluster2, append([]string{"secrets open-cluster-management-agent-addon/" + contract.AddonName + "-hub-kubeconfig"}, argoKept...)...)
	labtest.Eventually(t, patience, func() error {
		runs := &v1alpha1.RemoteWorkflowList{}
		if err := theHub.client.List(t.Context(), runs, client.InNamespace(cluster2.Name)); err != nil || len(runs.Items) > 0 {
			return fmt.Errorf("%d RemoteWorkflows of %s: %w", len(runs.Items), cluster2.Name, err)
		}
		return nil
	})
}

// uninstalled uninstalls the chart while a Workflow runs and another waits. Nothing is left but users' Workflows; the one
// that runs goes on.
func uninstalled(t *testing.T) {
	t.Helper()
	createWorkflowOn(t, cluster1, "outlives-the-hub", "sleep 120; echo done")
	waitWorkflow(t, theHub, "outlives-the-hub", "Running", "")
	assert.Contains(t, theHub.documented(t, "docs/upgrade.md", "dry run"), "outlives-the-hub")
	theHub.documented(t, "docs/upgrade.md", "uninstall")
	assert.NoError(t, workflow(t.Context(), theHub, "outlives-the-hub", "Running", "uninstalled"))
	assert.NoError(t, workflow(t.Context(), cluster1, "outlives-the-hub", "Running", ""))
	noLeftovers(t, theHub, append([]string{
		"namespaces /" + lab.ChartRelease, "configmaps " + lab.ChartRelease + "/kube-root-ca.crt",
		"serviceaccounts " + lab.ChartRelease + "/default",
	}, chartKept...)...)
	noLeftovers(t, cluster1, argoKept...)
	assert.Contains(t, cluster1.documented(t, "docs/recovery.md", "release"), "released 0 Workflows")
}

// noLeftovers waits until nothing of the product is on the cluster, but what is kept.
func noLeftovers(t *testing.T, c *cluster, kept ...string) {
	t.Helper()
	labtest.Eventually(t, patience, func() error {
		if left := leftovers(t, c, kept...); len(left) > 0 {
			return fmt.Errorf("left on %s: %q", c.Name, left)
		}
		return nil
	})
}
