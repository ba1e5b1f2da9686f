package podrunner

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// newPod is a pod of a Workflow, changed by the functions.
func newPod(changes ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "hello-1", UID: "pod-uid",
			Labels:      map[string]string{labelWorkflow: "hello"},
			Annotations: map[string]string{annotationNodeID: "hello-node"},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "argoproj.io/v1alpha1", Kind: "Workflow", Name: "hello", UID: "workflow-uid",
			}},
		},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: "init"}},
			Containers:     []corev1.Container{{Name: "wait"}, {Name: "main"}},
		},
	}
	for _, change := range changes {
		change(pod)
	}
	return pod
}

func annotated(key, value string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Annotations[key] = value }
}

func bound(pod *corev1.Pod) { pod.Spec.NodeName = NodeName }

func deleted(pod *corev1.Pod) { pod.DeletionTimestamp = &metav1.Time{Time: now} }

func withTemplate(text string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Spec.InitContainers[0].Env = []corev1.EnvVar{{Name: envTemplate, Value: text}}
	}
}

func withDeadline(seconds int64) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Spec.ActiveDeadlineSeconds = &seconds }
}

func TestDecideActions(t *testing.T) {
	began := now.Add(-time.Second)
	for name, tc := range map[string]struct {
		pod  *corev1.Pod
		run  Run
		want Action
	}{
		"a pod of no Workflow":  {newPod(func(p *corev1.Pod) { p.Labels = nil }), Run{}, Ignore},
		"a pod on another node": {newPod(func(p *corev1.Pod) { p.Spec.NodeName = "real" }), Run{}, Ignore},
		"a pod that is held back": {newPod(func(p *corev1.Pod) {
			p.Spec.SchedulingGates = make([]corev1.PodSchedulingGate, 1)
		}), Run{}, Ignore},
		"a new pod":                    {newPod(), Run{}, Start},
		"a pod bound by a dead runner": {newPod(bound), Run{}, Start},
		"a pod started a moment ago":   {newPod(), Run{Began: now}, Wait},
		"a pod whose time is over":     {newPod(bound), Run{Began: began}, Finish},
		"a pod finished a moment ago":  {newPod(bound), Run{Began: began, Ended: true}, Ignore},
		"a finished pod":               {newPod(bound, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), Run{Began: began}, Ignore},
		"a deleted pod without node":   {newPod(deleted), Run{}, Ignore},
		"a deleted pod":                {newPod(bound, deleted), Run{Began: began}, Remove},
		"a daemon":                     {newPod(bound, withTemplate(`{"daemon":true}`)), Run{Began: began}, Ignore},
		"a daemon that is stopped":     {newPod(bound, withTemplate(`{"daemon":true}`)), Run{Began: began, Signal: 15}, Finish},
		"Argo's agent":                 {newPod(bound, func(p *corev1.Pod) { p.Annotations = nil }), Run{Began: began}, Ignore},
		"a daemon with a deadline":     {newPod(bound, withTemplate(`{"daemon":true}`), withDeadline(3)), Run{Began: began}, Wait},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, Decide(tc.pod, tc.run, now).Action)
		})
	}
}

func TestDecideHowAPodEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		pod    *corev1.Pod
		signal int
		code   int32
		reason string
	}{
		"by itself":               {newPod(bound), 0, 0, "SimulatedPod"},
		"failed":                  {newPod(bound, annotated(AnnotationExitCode, " 3 ")), 0, 3, "SimulatedPodFailed"},
		"by a signal":             {newPod(bound, annotated(AnnotationDuration, "1h")), 15, 143, "SimulatedPodSignaled"},
		"by its deadline":         {newPod(bound, annotated(AnnotationDuration, "1h"), withDeadline(2)), 0, 137, "DeadlineExceeded"},
		"before its deadline":     {newPod(bound, annotated(AnnotationDuration, "1s"), withDeadline(2)), 0, 0, "SimulatedPod"},
		"with a strange duration": {newPod(bound, annotated(AnnotationDuration, "soon")), 0, 64, "SimulatedPodInvalid"},
		"with a strange code":     {newPod(bound, annotated(AnnotationExitCode, "bad")), 0, 64, "SimulatedPodInvalid"},
		"with a strange template": {newPod(bound, withTemplate("{")), 0, 64, "SimulatedPodInvalid"},
	} {
		t.Run(name, func(t *testing.T) {
			decision := Decide(tc.pod, Run{Began: now.Add(-10 * time.Second), Signal: tc.signal}, now)
			assert.Equal(t, Finish, decision.Action)
			assert.Equal(t, tc.code, decision.Outcome.ExitCode)
			assert.Equal(t, tc.reason, decision.Outcome.Reason)
			assert.Contains(t, decision.Outcome.Message, "simulated pod", "whoever sees the pod is to know")
		})
	}
}

func TestDecideWaitsForTheRestOfTheDuration(t *testing.T) {
	pod := newPod(bound, annotated(AnnotationDuration, "5s"))
	assert.Equal(t, 3*time.Second, Decide(pod, Run{Began: now.Add(-2 * time.Second)}, now).Delay)
	pod = newPod(bound, annotated(AnnotationDuration, "5s"), withDeadline(4))
	assert.Equal(t, 2*time.Second, Decide(pod, Run{Began: now.Add(-2 * time.Second)}, now).Delay)
}

func TestFinishedStatusFailsMainContainersButNotArgosOwn(t *testing.T) {
	began, end := metav1.NewTime(now.Add(-time.Second)), metav1.NewTime(now)
	status := finishedStatus(newPod(bound), Outcome{ExitCode: 2, Reason: "SimulatedPodFailed"}, began, end)
	assert.Equal(t, corev1.PodFailed, status.Phase)
	codes := map[string]int32{}
	for _, container := range append(status.ContainerStatuses, status.InitContainerStatuses...) {
		codes[container.Name] = container.State.Terminated.ExitCode
	}
	assert.Equal(t, map[string]int32{"wait": 0, "main": 2, "init": 0}, codes)
}

func TestSignalsAreReadFromCommands(t *testing.T) {
	for command, want := range map[string]int{
		"/var/run/argo/argoexec kill 15 1": 15,
		"/bin/sh -c kill -9 1":             9,
		"ls":                               0,
		"echo skill 9":                     0,
	} {
		assert.Equal(t, want, signalIn([]string{command}), command)
	}
}

func TestJournalLineNamesThePodAndItsWorkflow(t *testing.T) {
	assert.Equal(t, "run hello/pod-uid", journalLine("run "+JournalWorkflow+"/"+JournalPod, newPod()))
	assert.Equal(t, "run uid", journalLine("run uid", newPod()))
}
