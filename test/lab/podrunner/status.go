package podrunner

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// runningStatus is the status of a pod that was started now.
func runningStatus(pod *corev1.Pod, now metav1.Time) corev1.PodStatus {
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}
	return corev1.PodStatus{
		Phase:                 corev1.PodRunning,
		Reason:                "SimulatedPod",
		Message:               "simulated pod: nothing is executed",
		StartTime:             &now,
		HostIP:                "127.0.0.1",
		Conditions:            conditions(corev1.ConditionTrue, now),
		InitContainerStatuses: containerStatuses(pod.Spec.InitContainers, terminated(0, now, now)),
		ContainerStatuses:     containerStatuses(pod.Spec.Containers, running),
	}
}

// finishedStatus is the status of a pod that ends now. Argo's own wait container always does its work.
func finishedStatus(pod *corev1.Pod, outcome Outcome, began, now metav1.Time) corev1.PodStatus {
	status := corev1.PodStatus{
		Phase:                 corev1.PodSucceeded,
		Reason:                outcome.Reason,
		Message:               outcome.Message,
		StartTime:             &began,
		HostIP:                "127.0.0.1",
		Conditions:            conditions(corev1.ConditionFalse, now),
		InitContainerStatuses: containerStatuses(pod.Spec.InitContainers, terminated(0, began, began)),
		ContainerStatuses:     containerStatuses(pod.Spec.Containers, terminated(outcome.ExitCode, began, now)),
	}
	if outcome.ExitCode != 0 {
		status.Phase = corev1.PodFailed
	}
	for i := range status.ContainerStatuses {
		if status.ContainerStatuses[i].Name == "wait" {
			status.ContainerStatuses[i].State = terminated(0, began, now)
		}
	}
	return status
}

func terminated(exitCode int32, began, now metav1.Time) corev1.ContainerState {
	reason := "Completed"
	if exitCode != 0 {
		reason = "Error"
	}
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: exitCode, Reason: reason, StartedAt: began, FinishedAt: now,
	}}
}

func containerStatuses(containers []corev1.Container, state corev1.ContainerState) []corev1.ContainerStatus {
	started := state.Running != nil
	var statuses []corev1.ContainerStatus
	for _, container := range containers {
		statuses = append(statuses, corev1.ContainerStatus{
			Name: container.Name, Image: container.Image, ImageID: NodeName, State: state, Ready: started, Started: &started,
		})
	}
	return statuses
}

func conditions(ready corev1.ConditionStatus, now metav1.Time) []corev1.PodCondition {
	var list []corev1.PodCondition
	for _, condition := range []struct {
		kind   corev1.PodConditionType
		status corev1.ConditionStatus
	}{
		{corev1.PodScheduled, corev1.ConditionTrue},
		{corev1.PodInitialized, corev1.ConditionTrue},
		{corev1.ContainersReady, ready},
		{corev1.PodReady, ready},
	} {
		list = append(list, corev1.PodCondition{Type: condition.kind, Status: condition.status, LastTransitionTime: now})
	}
	return list
}
