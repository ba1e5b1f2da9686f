package podrunner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// workers is how many pods are worked on at once; each waits for the API server most of the time.
const workers = 32

var taskResults = wfv1.SchemeGroupVersion.WithResource("workflowtaskresults")

// Runner plays the pods of one cluster.
type Runner struct {
	client  kubernetes.Interface
	dynamic dynamic.Interface
	pods    corelisters.PodLister
	synced  cache.InformerSynced
	start   func(stop <-chan struct{})
	queue   workqueue.TypedRateLimitingInterface[types.NamespacedName]
	// journal is the file that pods append to.
	journal string

	mu   sync.Mutex
	runs map[types.UID]Run
}

// New makes a runner for the cluster of the configuration, whose pods append to the journal.
func New(config *rest.Config, journal string) (*Runner, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	dynamicClient, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.LabelSelector = labelWorkflow
	}))
	pods := factory.Core().V1().Pods()
	r := &Runner{
		client: client, dynamic: dynamicClient, pods: pods.Lister(), synced: pods.Informer().HasSynced, start: factory.Start,
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](
			20*time.Millisecond, 5*time.Second)),
		journal: journal,
		runs:    map[types.UID]Run{},
	}
	_, err = pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    r.enqueue,
		UpdateFunc: func(_, pod any) { r.enqueue(pod) },
		DeleteFunc: r.forget,
	})
	return r, err
}

// Run plays pods until the context ends.
func (r *Runner) Run(ctx context.Context) error {
	r.start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), r.synced) {
		return fmt.Errorf("list pods: %w", context.Cause(ctx))
	}
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for r.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	r.queue.ShutDown()
	group.Wait()
	return nil
}

func (r *Runner) enqueue(object any) {
	if pod, ok := object.(*corev1.Pod); ok {
		r.queue.Add(types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name})
	}
}

func (r *Runner) forget(object any) {
	if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = unknown.Obj
	}
	if pod, ok := object.(*corev1.Pod); ok {
		r.update(pod.UID, func(*Run) bool { return false })
	}
}

// Signal tells the runner that a signal was sent to the pod's containers.
func (r *Runner) Signal(namespace, name string, signal int) error {
	pod, err := r.pods.Pods(namespace).Get(name)
	if err != nil {
		return err
	}
	r.update(pod.UID, func(run *Run) bool { run.Signal = signal; return true })
	r.enqueue(pod)
	return nil
}

// update changes what is known of a pod; change returns false to forget it.
func (r *Runner) update(uid types.UID, change func(*Run) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	run := r.runs[uid]
	if change(&run) {
		r.runs[uid] = run
	} else {
		delete(r.runs, uid)
	}
}

// run returns what is known of the pod. After a restart that is what its status says, to the second.
func (r *Runner) run(pod *corev1.Pod) Run {
	r.mu.Lock()
	defer r.mu.Unlock()
	run := r.runs[pod.UID]
	if run.Began.IsZero() && pod.Status.Phase == corev1.PodRunning && pod.Status.StartTime != nil {
		run.Began = pod.Status.StartTime.Time
	}
	return run
}

func (r *Runner) next(ctx context.Context) bool {
	key, shutdown := r.queue.Get()
	if shutdown {
		return false
	}
	defer r.queue.Done(key)
	again, err := r.reconcile(ctx, key)
	if err != nil && ctx.Err() == nil {
		slog.Warn("simulated pod: will try again", "pod", key, "error", err)
		r.queue.AddRateLimited(key)
		return true
	}
	r.queue.Forget(key)
	if again > 0 {
		r.queue.AddAfter(key, again)
	}
	return true
}

// reconcile does the next thing in a pod's life and returns when to look at it again, 0 for at the next event.
func (r *Runner) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	pod, err := r.pods.Pods(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	run := r.run(pod)
	decision := Decide(pod, run, time.Now())
	switch decision.Action {
	case Start:
		err = r.startPod(ctx, pod)
	case Finish:
		err = r.finishPod(ctx, pod, run, decision.Outcome)
	case Remove:
		err = r.removePod(ctx, pod)
	}
	return decision.Delay, gone(err)
}

// startPod binds the pod and shows it as running. That it is bound already is no error: the runner died in between, or
// its cache is behind.
func (r *Runner) startPod(ctx context.Context, pod *corev1.Pod) error {
	if pod.Spec.NodeName == "" {
		binding := &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
			Target:     corev1.ObjectReference{Kind: "Node", Name: NodeName},
		}
		if err := r.client.CoreV1().Pods(pod.Namespace).Bind(ctx, binding, metav1.CreateOptions{}); err != nil && !apierrors.IsConflict(err) {
			return fmt.Errorf("bind: %w", err)
		}
	}
	if line, found := pod.Annotations[AnnotationJournal]; found {
		if err := r.note(journalLine(line, pod)); err != nil {
			return fmt.Errorf("journal: %w", err)
		}
	}
	began := time.Now()
	if err := r.writeStatus(ctx, pod, runningStatus(pod, metav1.NewTime(began))); err != nil {
		return err
	}
	r.update(pod.UID, func(run *Run) bool { run.Began = began; return true })
	r.enqueue(pod)
	return nil
}

// journalLine returns what a pod with this annotation writes.
func journalLine(annotation string, pod *corev1.Pod) string {
	return strings.NewReplacer(JournalPod, string(pod.UID), JournalWorkflow, pod.Labels[labelWorkflow]).Replace(annotation)
}

// note appends a line to the journal: in one write, for the runners of other clusters append to it, too.
func (r *Runner) note(line string) error {
	if err := os.MkdirAll(filepath.Dir(r.journal), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(r.journal, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(line + "\n")
	return errors.Join(err, file.Close())
}

// finishPod writes the result that Argo waits for, and ends the pod.
func (r *Runner) finishPod(ctx context.Context, pod *corev1.Pod, run Run, outcome Outcome) error {
	if pod.Annotations[annotationNodeID] != "" {
		if err := r.writeResult(ctx, pod); err != nil {
			return fmt.Errorf("task result: %w", err)
		}
	}
	status := finishedStatus(pod, outcome, metav1.NewTime(run.Began), metav1.Now())
	if err := r.writeStatus(ctx, pod, status); err != nil {
		return err
	}
	r.update(pod.UID, func(run *Run) bool { run.Ended = true; return true })
	return nil
}

func (r *Runner) writeStatus(ctx context.Context, pod *corev1.Pod, status corev1.PodStatus) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": status})
	if err != nil {
		return err
	}
	_, err = r.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	return nil
}

// writeResult creates the pod's WorkflowTaskResult, as Argo's executor does. One that is there is of the same node's
// earlier pod, which a user retried.
func (r *Runner) writeResult(ctx context.Context, pod *corev1.Pod) error {
	template, err := r.template(ctx, pod)
	if err != nil {
		return err
	}
	result := &wfv1.WorkflowTaskResult{
		TypeMeta: metav1.TypeMeta{APIVersion: wfv1.SchemeGroupVersion.String(), Kind: "WorkflowTaskResult"},
		ObjectMeta: metav1.ObjectMeta{
			Name:            pod.Annotations[annotationNodeID],
			Labels:          map[string]string{labelWorkflow: pod.Labels[labelWorkflow], labelReportedDone: "true"},
			OwnerReferences: workflowOwner(pod),
		},
		NodeResult: wfv1.NodeResult{Outputs: outputs(pod, template)},
	}
	if id, found := pod.Labels[labelInstanceID]; found {
		result.Labels[labelInstanceID] = id
	}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(result)
	if err != nil {
		return err
	}
	client := r.dynamic.Resource(taskResults).Namespace(pod.Namespace)
	_, err = client.Create(ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	patch, err := json.Marshal(result)
	if err != nil {
		return err
	}
	_, err = client.Patch(ctx, result.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// template returns the pod's template; Argo moves one that is too large for the environment to a ConfigMap.
func (r *Runner) template(ctx context.Context, pod *corev1.Pod) (*wfv1.Template, error) {
	text := environment(pod, envTemplate)
	if text == templateOffloaded {
		config, err := r.client.CoreV1().ConfigMaps(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		text = config.Data[envTemplate]
	}
	return readTemplate(text)
}

// workflowOwner returns the pod's reference to its Workflow, which owns the result as well.
func workflowOwner(pod *corev1.Pod) []metav1.OwnerReference {
	for _, owner := range pod.OwnerReferences {
		if owner.Kind == "Workflow" {
			owner.Controller, owner.BlockOwnerDeletion = nil, nil
			return []metav1.OwnerReference{owner}
		}
	}
	return nil
}

// removePod completes a deletion, which the API server leaves to the node.
func (r *Runner) removePod(ctx context.Context, pod *corev1.Pod) error {
	now := int64(0)
	return r.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(pod.UID)),
	})
}

// gone drops errors that say that the pod is not there any more, or is another one: the informer tells what is next.
func gone(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
