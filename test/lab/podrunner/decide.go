// Package podrunner plays the pods of Workflows where nothing can run containers: it binds a pod to a node of its own,
// shows it as running for a while, writes the result that Argo waits for, and ends it. Nothing is executed, and node name,
// status and logs say so. Annotations on a pod, which a template's metadata brings, say how it goes.
package podrunner

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// NodeName is the name of the node that simulated pods are bound to.
const NodeName = "simulated"

// Annotations that steer a pod. Argo replaces expressions in them, so that `"{{inputs.parameters.seconds}}s"` or
// `"{{=asInt(retries) == 0 ? 1 : 0}}"` work.
const (
	// AnnotationDuration is how long the pod runs, as Go writes durations; DefaultDuration without it.
	AnnotationDuration = "simulated-pod/duration"
	// AnnotationExitCode is the exit code of the main containers; 0 without it.
	AnnotationExitCode = "simulated-pod/exit-code"
	// AnnotationResult is what a script wrote to its standard output; DefaultOutput without it.
	AnnotationResult = "simulated-pod/result"
	// AnnotationJournal is a line that the pod appends to the runner's journal when it starts. JournalPod and JournalWorkflow in it are
	// replaced.
	AnnotationJournal = "simulated-pod/journal"
	// AnnotationOutput and the name of an output parameter are the key of that parameter's value; DefaultOutput
	// without it.
	AnnotationOutput = "simulated-pod/output."
)

// What stands in a line of the journal for the UID of the pod, and for the name of the Workflow that it belongs to.
const (
	JournalPod      = "$(POD_UID)"
	JournalWorkflow = "$(WORKFLOW)"
)

const (
	// DefaultDuration is short, since most tests only want pods to end.
	DefaultDuration = 10 * time.Millisecond
	// DefaultOutput is the value of an output that no annotation gives.
	DefaultOutput = "simulated"
)

// Labels and annotations that Argo puts on the pods of a Workflow.
const (
	labelWorkflow     = "workflows.argoproj.io/workflow"
	labelInstanceID   = "workflows.argoproj.io/controller-instanceid"
	annotationNodeID  = "workflows.argoproj.io/node-id"
	labelReportedDone = "workflows.argoproj.io/report-outputs-completed"
)

// Action is what is to be done with a pod.
type Action string

// The actions in the order of a pod's life.
const (
	Ignore Action = "Ignore"
	Start  Action = "Start"
	Wait   Action = "Wait"
	Finish Action = "Finish"
	Remove Action = "Remove"
)

// Run is what the runner knows of a pod besides what the API server shows, which may be older.
type Run struct {
	// Began is when the pod was started; zero if it was not.
	Began time.Time
	// Signal was sent to the pod's containers; 0 for none.
	Signal int
	// Ended tells that the pod was finished already.
	Ended bool
}

// Decision says what to do with a pod.
type Decision struct {
	Action Action
	// Delay is how long to wait before deciding again; set with Wait.
	Delay time.Duration
	// Outcome is how the pod ends; set with Finish.
	Outcome Outcome
}

// Outcome is how a pod ends.
type Outcome struct {
	ExitCode int32
	// Reason is the pod's status.reason, Message its status.message.
	Reason, Message string
}

// Decide says what is to be done with a pod now.
func Decide(pod *corev1.Pod, run Run, now time.Time) Decision {
	ours := pod.Labels[labelWorkflow] != "" && (pod.Spec.NodeName == "" || pod.Spec.NodeName == NodeName)
	switch {
	case !ours:
		return Decision{Action: Ignore}
	case pod.DeletionTimestamp != nil && pod.Spec.NodeName == NodeName:
		return Decision{Action: Remove} // the API server waits for the node to agree
	case pod.DeletionTimestamp != nil, run.Ended, ended(pod):
		return Decision{Action: Ignore}
	case len(pod.Spec.SchedulingGates) > 0:
		return Decision{Action: Ignore}
	case run.Began.IsZero():
		return Decision{Action: Start}
	}
	return decideRunning(pod, run, now.Sub(run.Began))
}

func decideRunning(pod *corev1.Pod, run Run, elapsed time.Duration) Decision {
	script, err := readScript(pod)
	switch {
	case err != nil:
		return finish(64, "SimulatedPodInvalid", err.Error())
	case run.Signal != 0:
		return finish(int32(128+run.Signal), "SimulatedPodSignaled", "simulated pod: ended by a signal")
	case script.deadline > 0 && elapsed >= script.deadline && script.deadline < script.duration:
		return finish(137, "DeadlineExceeded", "simulated pod: was active longer than the specified deadline")
	case script.endless:
		return waitFor(script.deadline, elapsed)
	case elapsed < script.duration && script.deadline > 0:
		return waitFor(min(script.duration, script.deadline), elapsed)
	case elapsed < script.duration:
		return waitFor(script.duration, elapsed)
	case script.exitCode != 0:
		return finish(script.exitCode, "SimulatedPodFailed", "simulated pod: failed as its annotation "+AnnotationExitCode+" says")
	}
	return finish(0, "SimulatedPod", "simulated pod: nothing was executed")
}

// waitFor waits until the pod has run so long; for ever if that is zero.
func waitFor(total, elapsed time.Duration) Decision {
	if total == 0 {
		return Decision{Action: Ignore}
	}
	return Decision{Action: Wait, Delay: total - elapsed}
}

func finish(exitCode int32, reason, message string) Decision {
	return Decision{Action: Finish, Outcome: Outcome{ExitCode: exitCode, Reason: reason, Message: message}}
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}
