package install

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/docs"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

func TestTheLifeOfAnInstallation(t *testing.T) {
	if theLab.Options().Pods != lab.PodsReal {
		t.Skip("the product runs in pods here, and this lab's are simulated: it runs as root on Linux, where they are real; " +
			"elsewhere package e2e installs chart and addons with processes in place of pods")
	}
	runSteps(t,
		step{"a hub that lacks something is told, and an installation that never came up can be uninstalled", brokenInstallation},
		step{"installed by helm and clusteradm, it runs Workflows", installed},
		step{"who looks after it sees what it does", lookedAfter},
		step{"an Argo controller on the hub gets no Workflow for the clusters, nor do these until it is gone", argoOnTheHub},
		step{"a Workflow goes from hub and cluster when its ttlStrategy says so", expired},
		step{"the agents may do on the hub what they need and nothing else", agentRights},
		step{"manager and agents are upgraded while Workflows run", upgraded},
		step{"an invalid configuration is told", invalidConfiguration},
		step{"an agent's image that is not there is told, as soon as its rollout has taken too long", missingImage},
		step{"an addon on a cluster that is not accepted does no harm", notAccepted},
		step{"no request of the agents was denied", agentsRequests},
		step{"an agent that has lost its rights gets them back", rightsLost},
		step{"an agent has the configuration of the example", configured},
		step{"disabled while a Workflow runs", disabledWhileRunning},
		step{"the addon shows the failing Deployment, and recovers", shownAndRecovered},
		step{"disabled while the cluster is away", disabledWhileAway},
		step{"no request of the manager was denied, and no right of it is unused", managerRights},
		step{"after a restore of the hub the manager is stopped, and told when that was", restored},
		step{"a cluster is detached while a Workflow runs there", detached},
		step{"uninstalled while Workflows run, it leaves nothing behind", uninstalled},
	)
}

// installed is the way of a user from nothing to the first Workflow.
func installed(t *testing.T) {
	t.Helper()
	_, err := theLab.PublishProduct(t.Context())
	require.NoError(t, err)
	began := time.Now()
	theHub.documented(t, "README.md", "install")
	script, err := docs.Script("../../../docs/install.md", "install")
	require.NoError(t, err)
	whole, err := docs.Script("../../../README.md", "install")
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(whole, script), "the page has the same")
	waitWorkflow(t, theHub, "dag", "Succeeded", "")
	t.Logf("from helm install to the first Succeeded: %s", time.Since(began).Round(time.Second))
	waitAvailable(t, cluster1, cluster2)
	theHub.run(t, "kubectl", "get", "pods", "-A", "-o", "wide")
	for _, c := range []*cluster{cluster1, cluster2} {
		c.run(t, "kubectl", "get", "pods", "-A", "-o", "wide")
	}
}

// lookedAfter runs what the documentation has for who looks after the product, while all is well.
func lookedAfter(t *testing.T) {
	t.Helper()
	const install, operate, name, namespace = "docs/install.md", "docs/operate.md", "NAME", "NAMESPACE"
	assert.Contains(t, theHub.documented(t, install, "pods"), "Running")
	assert.Contains(t, theHub.documented(t, install, "addons"), contract.AddonName)
	assert.Contains(t, theHub.documented(t, install, "example", " --watch", ""), "Succeeded")
	assert.Contains(t, theHub.documented(t, install, "where it runs"), "dag")

	health := theHub.documented(t, operate, "health")
	for _, want := range []string{"Running", lab.ManagerDeployment + "-", "cluster1", lab.ArgoAddonName} {
		assert.Contains(t, health, want)
	}
	assert.Contains(t, theHub.documented(t, operate, "conditions"), "ManagedClusterAddOnLeaseUpdated")
	of := []string{namespace, "default", name, "dag"}
	assert.Contains(t, theHub.documented(t, operate, "describe", of...), "Scheduled")
	on := theHub.documented(t, operate, "cluster of a Workflow", of...)
	require.Contains(t, []string{cluster1.Name, cluster2.Name}, on)
	for _, c := range []*cluster{cluster1, cluster2} {
		if c.Name == on {
			assert.Contains(t, c.documented(t, operate, "logs of a Workflow", of...), "[pod/dag-")
		}
	}
	assert.Contains(t, theHub.documented(t, operate, "status does not change", append(of, "cluster1", on)...), "remoteUID: ")
	assert.Contains(t, theHub.documented(t, operate, "deletion hangs", of...), "Scheduled")
	theHub.documented(t, operate, "restart")
	theHub.documented(t, operate, "ManifestWorks", name, "addon-"+contract.AddonName+"-deploy-0")
	theHub.documented(t, operate, "metrics")
	theHub.run(t, "kubectl", "delete", "clusterrolebinding", "read-argo-multicluster-metrics")
	assert.Contains(t, theHub.documented(t, operate, "stop sending"), "annotated")
	assert.Contains(t, theHub.documented(t, "docs/placement.md", "score"), "Measured")
}

// brokenInstallation installs on a hub without Argo's CRDs, over a CRD that was applied by hand, and with an image that is not there.
func brokenInstallation(t *testing.T) {
	t.Helper()
	const upgrade = "docs/upgrade.md"
	helm := func(args ...string) (string, error) {
		t.Logf("$ helm %s", strings.Join(args, " "))
		out, err := theHub.Tool(t.Context(), "helm", append(args, "--namespace", lab.ChartRelease)...)
		t.Log(out, err)
		return out, err
	}
	install := []string{"install", lab.ChartRelease, filepath.Join("charts", lab.AddonName), "--create-namespace"}
	theHub.run(t, "kubectl", "delete", "crd", "workflows.argoproj.io", "workflowtemplates.argoproj.io", "clusterworkflowtemplates.argoproj.io")
	_, err := helm(install...)
	require.ErrorContains(t, err, "set crds.argoWorkflows=true")

	theHub.documented(t, upgrade, "CRD")
	install = append(install, "--set=crds.argoWorkflows=true,uninstall.timeout=5s,image.repository=registry.example/nothing")
	_, err = helm(install...)
	require.ErrorContains(t, err, "invalid ownership metadata")
	_, err = helm(append(install, "--take-ownership")...)
	require.NoError(t, err)

	began := time.Now()
	_, err = helm("uninstall", lab.ChartRelease)
	require.ErrorContains(t, err, "DeadlineExceeded", "the hook's pod cannot start either")
	assert.Less(t, time.Since(began), 2*time.Minute, "and not only when Helm has waited for its 5 minutes")
	theHub.documented(t, upgrade, "why the hook fails", "kubectl logs", "! kubectl logs") // which has none
	theHub.documented(t, upgrade, "without hooks")
	theHub.documented(t, upgrade, "delete all")
	noLeftovers(t, theHub)
}

// argoOnTheHub plays the Lease of an Argo controller.
func argoOnTheHub(t *testing.T) {
	t.Helper()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "workflow-controller"}}
	now := metav1.NowMicro()
	lease.Spec.RenewTime = &now
	require.NoError(t, theHub.client.Create(t.Context(), lease))
	labtest.Eventually(t, patience, func() error {
		list, err := theHub.kube.CoreV1().Events("").List(t.Context(), metav1.ListOptions{FieldSelector: "reason=ArgoOnHub"})
		if err == nil && (len(list.Items) == 0 || list.Items[0].InvolvedObject.Name != contract.AddonName) {
			err = fmt.Errorf("no Event on the ClusterManagementAddOn: %+v", list.Items)
		}
		return err
	})
	createWorkflowOn(t, cluster1, "not-twice", "true")
	waitWorkflow(t, theHub, "not-twice", "Pending", "an Argo controller runs on this hub (Lease default/workflow-controller)")
	theHub.run(t, "kubectl", "delete", "workflow", "dag")
	theHub.documented(t, "docs/install.md", "instance id")
	waitWorkflow(t, theHub, "dag", "Succeeded", "") // with it, that controller does not run it
	require.NoError(t, theHub.client.Delete(t.Context(), lease))
	waitWorkflow(t, theHub, "not-twice", "Succeeded", "")
}

// expired runs a Workflow that is not to stay.
func expired(t *testing.T) {
	t.Helper()
	create(t, "expires", "true", contract.AnnotationCluster, cluster1.Name,
		gen.WithTTL("secondsAfterCompletion", 0))
	for _, c := range []*cluster{theHub, cluster1} {
		labtest.Eventually(t, patience, func() error { return gone(t, c, "expires") })
	}
}

// leaderKilled deletes the leading manager pod, without grace, while Workflows are created and run. One in ten has a pod, which tells of
// each run; a hundred pods take two cores several minutes. The others only wait a while, in Argo's controller.
func leaderKilled(t *testing.T) {
	t.Helper()
	const workflows, onePodIn = 100, 10
	name := func(i int) string { return fmt.Sprintf("many-%03d", i) }
	for i := range workflows {
		var mods []gen.Mod
		if i%onePodIn != 0 {
			mods = append(mods, withoutPod)
		}
		create(t, name(i), "sleep 2; echo done", contract.AnnotationPlacement, "workflow-placement", mods...)
		if i == workflows/4 {
			killLeader(t)
		}
	}
	labtest.Eventually(t, 6*time.Minute, func() error {
		for i := range workflows {
			if err := workflow(t.Context(), theHub, name(i), "Succeeded", ""); err != nil {
				return err
			}
		}
		return nil
	})
	pods, copies := map[string]int{}, map[string]int{}
	for _, c := range []*cluster{cluster1, cluster2} {
		list := &corev1.PodList{}
		require.NoError(t, c.client.List(t.Context(), list, client.InNamespace("default")))
		for _, pod := range list.Items {
			pods[pod.Labels["workflows.argoproj.io/workflow"]]++
		}
		running := &unstructured.UnstructuredList{}
		running.SetGroupVersionKind(contract.WorkflowGVK)
		require.NoError(t, c.client.List(t.Context(), running, client.InNamespace("default")))
		for i := range running.Items {
			copies[running.Items[i].GetName()]++
		}
	}
	for i := range workflows {
		assert.Equal(t, 1, copies[name(i)], "copies of %s on all clusters together", name(i))
		if i%onePodIn == 0 {
			assert.Equal(t, 1, pods[name(i)], "pods of %s on all clusters together", name(i))
		}
	}
}

// withoutPod makes a Workflow that waits for two seconds instead of running a container.
func withoutPod(obj client.Object) {
	spec := obj.(*unstructured.Unstructured).Object["spec"].(map[string]any)
	spec["templates"] = []any{map[string]any{"name": "main", "suspend": map[string]any{"duration": "2s"}}}
}

// killLeader kills the pod that holds the manager's Lease, and waits until another one holds it.
func killLeader(t *testing.T) {
	t.Helper()
	holder := func() string {
		lease, err := theHub.kube.CoordinationV1().Leases(lab.ChartRelease).Get(t.Context(), lab.ManagerDeployment, metav1.GetOptions{})
		require.NoError(t, err)
		pod, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_")
		return pod
	}
	leader := holder()
	theHub.run(t, "kubectl", "delete", "pod", "-n", lab.ChartRelease, leader, "--grace-period=0", "--force")
	labtest.Eventually(t, patience, func() error {
		if now := holder(); now == leader || now == "" {
			return fmt.Errorf("%q still leads", now)
		}
		return nil
	})
}

// createWorkflowOn creates a Workflow with one container on the hub, for one cluster.
func createWorkflowOn(t *testing.T, c *cluster, name, command string) {
	t.Helper()
	create(t, name, command, contract.AnnotationCluster, c.Name)
}

func create(t *testing.T, name, command, annotation, value string, mods ...gen.Mod) {
	t.Helper()
	wf := contract.NewWorkflow()
	wf.SetNamespace("default")
	wf.SetName(name)
	wf.SetLabels(map[string]string{contract.LabelEnable: contract.LabelEnableValue})
	wf.SetAnnotations(map[string]string{annotation: value})
	wf.Object["spec"] = map[string]any{
		"entrypoint": "main",
		"templates": []any{map[string]any{
			"name": "main",
			"container": map[string]any{
				"image": "alpine:3.20", "imagePullPolicy": "IfNotPresent", "command": []any{"sh", "-c", command},
			},
		}},
	}
	for _, mod := range mods {
		mod(wf)
	}
	require.NoError(t, theHub.client.Create(t.Context(), wf))
}
