package podrunner

import (
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	corelisters "k8s.io/client-go/listers/core/v1"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

const outputTemplate = `{"outputs":{"parameters":[{"name":"answer","valueFrom":{"path":"/tmp/a"}},` +
	`{"name":"other","valueFrom":{"path":"/tmp/b"}},{"name":"derived","valueFrom":{"expression":"x"}}]}}`

// newRunner is a runner whose cache and API server hold the pod.
func newRunner(t *testing.T, pod *corev1.Pod) (*Runner, *fake.Clientset) {
	t.Helper()
	indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	require.NoError(t, indexer.Add(pod))
	client := fake.NewClientset(pod)
	kinds := map[schema.GroupVersionResource]string{taskResults: "WorkflowTaskResultList"}
	return &Runner{
		client: client, dynamic: dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds),
		pods: corelisters.NewPodLister(indexer), runs: map[types.UID]Run{},
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[types.NamespacedName]()),
	}, client
}

func key(pod *corev1.Pod) types.NamespacedName {
	return types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
}

func TestAStartedPodIsBoundAndShownAsRunning(t *testing.T) {
	pod := newPod()
	r, client := newRunner(t, pod)
	_, err := r.reconcile(t.Context(), key(pod))
	require.NoError(t, err)
	var binding *corev1.Binding
	for _, action := range client.Actions() {
		if create, ok := action.(clienttesting.CreateAction); ok && action.GetSubresource() == "binding" {
			binding, _ = create.GetObject().(*corev1.Binding)
		}
	}
	require.NotNil(t, binding)
	assert.Equal(t, NodeName, binding.Target.Name)
	got, err := client.CoreV1().Pods("default").Get(t.Context(), pod.Name, metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, corev1.PodRunning, got.Status.Phase)
	assert.Equal(t, "simulated pod: nothing is executed", got.Status.Message)
	assert.False(t, r.run(pod).Began.IsZero())
}

func TestAFinishedPodLeavesTheResultThatArgoWaitsFor(t *testing.T) {
	pod := newPod(bound, withTemplate(outputTemplate), annotated(AnnotationOutput+"answer", "42"))
	pod.Labels[labelInstanceID] = "mine"
	r, client := newRunner(t, pod)
	r.update(pod.UID, func(run *Run) bool { run.Began = time.Now().Add(-time.Minute); return true })
	_, err := r.reconcile(t.Context(), key(pod))
	require.NoError(t, err)

	object, err := r.dynamic.Resource(taskResults).Namespace("default").Get(t.Context(), "hello-node", metav1.GetOptions{})
	require.NoError(t, err)
	result := &wfv1.WorkflowTaskResult{}
	require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, result))
	assert.Equal(t, map[string]string{labelWorkflow: "hello", labelReportedDone: "true", labelInstanceID: "mine"}, result.Labels)
	assert.Equal(t, types.UID("workflow-uid"), result.OwnerReferences[0].UID)
	values := map[string]string{}
	for _, parameter := range result.Outputs.Parameters {
		values[parameter.Name] = parameter.Value.String()
	}
	assert.Equal(t, map[string]string{"answer": "42", "other": DefaultOutput}, values)

	got, err := client.CoreV1().Pods("default").Get(t.Context(), pod.Name, metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, corev1.PodSucceeded, got.Status.Phase)
	assert.True(t, r.run(pod).Ended, "an older cache is not to finish it again")
}

func TestAScriptsOutputIsReportedWhereArgoAsksForIt(t *testing.T) {
	pod := newPod(annotated(AnnotationResult, "hello"))
	pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: envScriptOutput, Value: "true"}}
	assert.Equal(t, "hello", *outputs(pod, &wfv1.Template{}).Result)
	assert.Nil(t, outputs(newPod(), &wfv1.Template{}).Result)
}

func TestATemplateTooLargeForTheEnvironmentIsReadFromItsConfigMap(t *testing.T) {
	pod := newPod(withTemplate(templateOffloaded))
	r, client := newRunner(t, pod)
	_, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name}, Data: map[string]string{envTemplate: outputTemplate},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	template, err := r.template(t.Context(), pod)
	require.NoError(t, err)
	assert.Len(t, template.Outputs.Parameters, 3)
}

func TestARestartedRunnerTakesTheStartFromThePodsStatus(t *testing.T) {
	began := metav1.NewTime(now)
	pod := newPod(bound, func(p *corev1.Pod) { p.Status.Phase, p.Status.StartTime = corev1.PodRunning, &began })
	r, _ := newRunner(t, pod)
	assert.Equal(t, now, r.run(pod).Began)
}

func TestADeletedPodIsRemovedAtOnce(t *testing.T) {
	pod := newPod(bound, deleted)
	r, client := newRunner(t, pod)
	_, err := r.reconcile(t.Context(), key(pod))
	require.NoError(t, err)
	_, err = client.CoreV1().Pods("default").Get(t.Context(), pod.Name, metav1.GetOptions{})
	assert.Error(t, err)
}
