package steps

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// multicluster is the container of the chart's executor plugin.
const multicluster = "multicluster"

// One step in another cluster waits for its result when the agent's pod is made anew, and the agent finds another one when it runs: both
// are those that it would fail. Not parallel: it restarts the hub's Argo controller.
func TestHTTPTemplatesAndStepsInOtherClustersRunTogether(t *testing.T) {
	if !realPods() {
		t.Skip("simulated pods run neither Argo's agent nor the plugin beside it: it runs with real ones, as in make test-e2e as root on Linux")
	}
	r, hub := newRoom(t), theLab.Hub()
	tag, err := theLab.PublishProduct(t.Context())
	require.NoError(t, err)
	require.NoError(t, theLab.UpgradeChart(t.Context(), "image.tag="+tag))
	apiServer := &corev1.Service{}
	require.NoError(t, r.hub.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "kubernetes"}, apiServer))
	r.create("mixed", fmt.Sprintf(`
entrypoint: main
templates:
- name: main
  dag:
    tasks:
    - {name: before, template: elsewhere, arguments: {parameters: [{name: seconds, value: "20"}]}}
    - {name: here, template: here}
    - {name: while, template: elsewhere, depends: here, arguments: {parameters: [{name: seconds, value: "5"}]}}
- name: here
  http: {url: "https://%s/version", insecureSkipVerify: true}
- name: elsewhere
  inputs: {parameters: [{name: seconds}]}
  outputs: {parameters: [{name: word, valueFrom: {path: /tmp/word}}]}
  plugin:
    multicluster:
      cluster: cluster1
      script:
        image: busybox
        imagePullPolicy: IfNotPresent
        command: [sh]
        source: sleep {{inputs.parameters.seconds}}; printf hello > /tmp/word
`, apiServer.Spec.ClusterIP))

	r.isTold("mixed", "AgentPodGated")
	r.hubRunsNoPods()
	assert.Equal(t, []string{"main"}, containerNames(r.agent()))

	t.Cleanup(func() { require.NoError(t, hub.RestartArgo(context.WithoutCancel(t.Context()))) })
	require.NoError(t, hub.RestartArgo(t.Context(), "ARGO_EXECUTOR_PLUGINS=true"))
	team := []string{"team-a", r.namespace}
	labtest.Documented(t, hub, "docs/steps.md", "Argo's agent", team...)
	labtest.Documented(t, hub, "docs/steps.md", "gated pods", team...)

	var ran *corev1.Pod
	labtest.Eventually(t, patience, func() error {
		ran = r.agent()
		if slices.ContainsFunc(ran.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.Name == multicluster && s.Ready }) {
			return nil
		}
		return fmt.Errorf("the pod of Argo's agent: gates %v, %+v", ran.Spec.SchedulingGates, ran.Status)
	})
	r.isThePlugin(ran, lab.ProductImage+":"+tag)

	wf := r.ends("mixed", "Succeeded")
	r.logs("argo", "get", "mixed")
	assert.Equal(t, "HTTP", node(t, wf, "here")["type"])
	assert.Equal(t, "Succeeded", node(t, wf, "here")["phase"])
	for _, name := range []string{"before", "while"} {
		elsewhere := node(t, wf, name)
		assert.Equal(t, "Succeeded", elsewhere["phase"], name)
		assert.Equal(t, "hello", output(elsewhere, "word"), name)
	}
	assert.Len(t, r.children("mixed"), 2)
	r.ranPods(map[string]int{"cluster1": 2, "cluster2": 0})
	r.leavesNothing("mixed")
}

// agent returns the pod of Argo's agent that is not being deleted, or one without fields if there is none.
func (r *room) agent() *corev1.Pod {
	r.Helper()
	var pods corev1.PodList
	agents := client.MatchingLabels{"workflows.argoproj.io/component": "agent"}
	require.NoError(r, r.hub.List(r.Context(), &pods, client.InNamespace(r.namespace), agents))
	pods.Items = slices.DeleteFunc(pods.Items, func(pod corev1.Pod) bool { return pod.DeletionTimestamp != nil })
	if len(pods.Items) == 0 {
		return &corev1.Pod{}
	}
	require.Len(r, pods.Items, 1)
	return &pods.Items[0]
}

func containerNames(pod *corev1.Pod) (names []string) {
	for _, c := range pod.Spec.Containers {
		names = append(names, c.Name)
	}
	return names
}

// isThePlugin checks that the container beside Argo's agent runs the product, and can do little.
func (r *room) isThePlugin(pod *corev1.Pod, image string) {
	r.Helper()
	assert.Empty(r, pod.Spec.SchedulingGates)
	require.ElementsMatch(r, []string{multicluster, "main"}, containerNames(pod))
	at := slices.IndexFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == multicluster })
	plugin := pod.Spec.Containers[at]
	assert.Equal(r, image, plugin.Image)
	assert.Equal(r, []string{"executor-plugin"}, plugin.Args)
	token := func(m corev1.VolumeMount) bool { return m.MountPath == "/var/run/secrets/kubernetes.io/serviceaccount" }
	assert.False(r, slices.ContainsFunc(plugin.VolumeMounts, token), "%+v", plugin.VolumeMounts)
	security := plugin.SecurityContext
	require.NotNil(r, security)
	assert.Equal(r, &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}, security.Capabilities)
	assert.Equal(r, &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}, security.SeccompProfile)
	assert.False(r, *security.AllowPrivilegeEscalation)
	assert.True(r, *security.RunAsNonRoot)
	assert.True(r, *security.ReadOnlyRootFilesystem)
}
