// Package verdict says, from evidence that is out of the product's reach, whether every Workflow ran once and whether its end
// was seen on the hub: what the pods of the runs have written down, and every state that etcd has ever held, on the hub and
// on the managed clusters.
package verdict

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// Kind is what is wrong.
type Kind string

const (
	// SecondRun is more than one Workflow on the managed clusters that ran for one on the hub.
	SecondRun Kind = "second run"
	// LostRun is a Workflow that nobody deleted and that never ran.
	LostRun Kind = "lost run"
	// Unrecorded is a run that is not the one that the hub has recorded.
	Unrecorded Kind = "unrecorded run"
	// Unfinished is a Workflow without end on the hub that nobody deleted there.
	Unfinished Kind = "no end on the hub"
	// WrongEnd is another end on the hub than the run must have had.
	WrongEnd Kind = "wrong end"
	// StatusDiffers is a last status on the hub that is not the last one on the managed cluster.
	StatusDiffers Kind = "status differs"
	// StatusLost is a status that was there and then was not: it became empty, or a finished Workflow unfinished.
	StatusLost Kind = "status lost"
	// WrongRetry is a Workflow of one pod that has run more often than it was retried, or was retried and has not run again.
	WrongRetry Kind = "wrong retry"
	// SecondAnswer is a step in another cluster of which Argo was told two results.
	SecondAnswer Kind = "second answer"
	// Leftover is what is there and ought to be gone.
	Leftover Kind = "left over"
	// Unrest is what still goes on, long after there was any reason for it.
	Unrest Kind = "not at rest"
)

// Finding is one thing that is wrong.
type Finding struct {
	Kind Kind
	// Run is the Workflow that it is about; see Subject.
	Run    string
	Detail string
}

func (f Finding) String() string { return fmt.Sprintf("%s: %s: %s", f.Kind, f.Run, f.Detail) }

// Subject is a Workflow that was created on the hub.
type Subject struct {
	// Run names it and no other, whatever its own name. It is the Workflow's parameter "run".
	Run string
	// Want is the phase that it must end in if nobody deletes it.
	Want string
	// DeletedOnHub and DeletedOnCluster tell whether it was deleted before it was seen to end.
	DeletedOnHub, DeletedOnCluster bool
	// Stopped tells whether it was stopped: it may end earlier, or without having run.
	Stopped bool
	// Retried tells whether it was to be retried, and Retries how often that was tried. It has one pod.
	Retried bool
	Retries int
	// Steps is what its steps in other clusters are to be; empty if it has none. It is then a parent, which runs on the hub itself, and is
	// neither stopped nor retried nor deleted on a cluster.
	Steps []Step
	// Words is what the output parameter ParameterWords of a parent has to be.
	Words string
}

// Evidence is what there is to judge by.
type Evidence struct {
	Subjects []Subject
	// Journal holds, by Run, the UIDs of the Workflows whose pods have written it down.
	Journal map[string][]types.UID
	// Pods counts, by Run, the pods that have written it down.
	Pods map[string]int
	// Hub and Managed are all states that Workflows have had on the hub, and on all managed clusters, in their order.
	Hub, Managed []*unstructured.Unstructured
	// StepPods are the pods of steps in other clusters.
	StepPods []StepPod
	// TaskSets are all states that WorkflowTaskSets have had on the hub.
	TaskSets []*unstructured.Unstructured
	// RemoteWorkflows are all states that RemoteWorkflows have had.
	RemoteWorkflows []*unstructured.Unstructured
	// Unrest names what was still going on when everything was to have come to rest.
	Unrest []string
	// Leftovers names what was there when all was to be gone.
	Leftovers []string
}

// ParameterRun is the parameter of a Workflow that holds its Subject's Run.
const ParameterRun = "run"

// Of returns what is wrong, nothing if all is well.
func Of(e Evidence) []Finding {
	hub, managed, recorded := byRun(e.Hub), byRun(e.Managed), recordedUIDs(e.RemoteWorkflows)
	var findings []Finding
	for _, subject := range e.Subjects {
		j := judgement{
			Subject: subject, journal: e.Journal[subject.Run], pods: e.Pods[subject.Run],
			hub: hub[subject.Run], managed: managed[subject.Run], recorded: recorded,
		}
		if len(subject.Steps) > 0 {
			findings = append(findings, j.judgeParent(e)...)
			continue
		}
		findings = append(findings, j.findings()...)
	}
	for _, going := range e.Unrest {
		findings = append(findings, Finding{Unrest, "after the last fault", going})
	}
	for _, left := range e.Leftovers {
		findings = append(findings, Finding{Leftover, "at the end", left})
	}
	return findings
}

// judgement is about one Subject.
type judgement struct {
	Subject
	journal      []types.UID
	pods         int
	hub, managed []*unstructured.Unstructured
	// recorded are the UIDs that the hub has recorded as the runs, by the UID of the Workflow on the hub.
	recorded map[types.UID]types.UID
	found    []Finding
}

func (j *judgement) add(kind Kind, format string, args ...any) {
	j.found = append(j.found, Finding{kind, j.Run, fmt.Sprintf(format, args...)})
}

func (j *judgement) findings() []Finding {
	j.judgeRuns()
	j.judgeHistory("on the hub", j.hub)
	j.judgeHistory("on the cluster", j.managed)
	if len(j.hub) == 0 {
		j.add(Unfinished, "the hub has never had it")
		return j.found
	}
	if !j.DeletedOnHub {
		j.judgeEnd()
	}
	if j.Retried && !j.DeletedOnHub && !j.DeletedOnCluster {
		j.judgeRetry()
	}
	return j.found
}

// judgeRetry counts the pods of a Workflow of one pod. A retry that was refused, as the hub has said then, runs nothing.
func (j *judgement) judgeRetry() {
	isRefused := slices.ContainsFunc(j.hub, func(wf *unstructured.Unstructured) bool {
		conditions, _ := contract.Status(wf)["conditions"].([]any)
		return slices.ContainsFunc(conditions, isOfEdit)
	})
	switch {
	case j.pods > 1+j.Retries:
		j.add(WrongRetry, "%d pods have run, and it was retried %d times", j.pods, j.Retries)
	case j.pods < 2 && !isRefused:
		j.add(WrongRetry, "%d pods have run, and it was retried %d times, which the hub has not refused", j.pods, j.Retries)
	}
}

// judgeRuns looks at what has run. A copy counts that some controller could have run, even if its pods wrote nothing.
func (j *judgement) judgeRuns() {
	ran := map[types.UID]bool{}
	for _, uid := range j.journal {
		ran[uid] = true
	}
	for _, wf := range j.managed {
		gated := wf.GetLabels()[contract.LabelInstanceID] == contract.InstanceIDGate
		if !gated || len(contract.Status(wf)) > 0 {
			ran[wf.GetUID()] = true
		}
	}
	uids := slices.Sorted(maps.Keys(ran))
	if len(uids) > 1 {
		j.add(SecondRun, "%d Workflows ran for it: %v", len(uids), uids)
	}
	if len(j.journal) == 0 && !j.DeletedOnHub && !j.DeletedOnCluster && !j.Stopped {
		j.add(LostRun, "none of its pods has written anything")
	}
	for _, uid := range uids {
		if recorded := j.recordedRun(); recorded != uid {
			j.add(Unrecorded, "%s ran, and the hub has recorded %q", uid, recorded)
		}
	}
}

// recordedRun returns the UID of the copy that the hub has recorded as the run.
func (j *judgement) recordedRun() types.UID {
	if len(j.hub) == 0 {
		return ""
	}
	return j.recorded[j.hub[0].GetUID()]
}

// judgeHistory looks for a status that was lost.
func (j *judgement) judgeHistory(where string, history []*unstructured.Unstructured) {
	last, retries := map[types.UID]string{}, j.Retries
	for _, wf := range history {
		before, now := last[wf.GetUID()], contract.Phase(wf)
		switch {
		case before != "" && now == "":
			j.add(StatusLost, "%s it was %s, and then had no status", where, before)
		case contract.IsFinished(before) && !contract.IsFinished(now) && retries > 0:
			retries--
		case contract.IsFinished(before) && now != before:
			j.add(StatusLost, "%s it had ended as %s, and then was %s", where, before, now)
		}
		last[wf.GetUID()] = now
	}
}

// judgeEnd compares the end on the hub with that of the recorded run.
func (j *judgement) judgeEnd() {
	last, theirs := j.hub[len(j.hub)-1], lastOf(j.managed, j.recordedRun())
	phase := contract.Phase(last)
	switch {
	case !contract.IsFinished(phase):
		j.add(Unfinished, "its last phase is %q, with %q", phase, contract.StatusString(contract.Status(last), "message"))
		return
	case phase != j.Want && !j.DeletedOnCluster && !j.Stopped && !endedByItself(theirs, phase):
		j.add(WrongEnd, "it ended as %s, not as %s, with %q", phase, j.Want, contract.StatusString(contract.Status(last), "message"))
	}
	if theirs == nil {
		return
	}
	// Where the run was deleted, the hub says so in place of what Argo says.
	var replaced []string
	if j.DeletedOnCluster && phase == contract.PhaseError {
		replaced = []string{"phase", "message", "finishedAt"}
		if len(contract.Status(theirs)) == 0 { // it never started, and the hub's status is still the one of a Workflow that waits
			replaced = append(replaced, "startedAt", "conditions")
		}
	}
	got, want := statusOf(last, replaced), statusOf(theirs, replaced)
	if got != want {
		j.add(StatusDiffers, "the hub's last status is\n%s\nand the cluster's\n%s", got, want)
	}
}

// endedByItself reports whether a run ended in the phase and was not made to: Argo gives up where its API server has just been
// started and refuses it a pod.
func endedByItself(wf *unstructured.Unstructured, phase string) bool {
	if wf == nil || contract.Phase(wf) != phase {
		return false
	}
	shutdown, _, _ := unstructured.NestedString(wf.Object, "spec", "shutdown")
	return shutdown == ""
}

// statusOf returns a status as canonical JSON, without the fields that the hub has replaced, and without what it says of an edit.
func statusOf(wf *unstructured.Unstructured, replaced []string) string {
	status := map[string]any{} // also if there is none: one that never started is compared with what the hub says of it
	maps.Copy(status, contract.Status(wf))
	if conditions, ok := status["conditions"].([]any); ok {
		if status["conditions"] = slices.DeleteFunc(slices.Clone(conditions), isOfEdit); len(conditions) == 1 && isOfEdit(conditions[0]) {
			delete(status, "conditions")
		}
	}
	for _, field := range replaced {
		delete(status, field)
	}
	raw, err := json.Marshal(status)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

func isOfEdit(condition any) bool {
	fields, _ := condition.(map[string]any)
	return fields["type"] == "EditRefused"
}

func lastOf(history []*unstructured.Unstructured, uid types.UID) *unstructured.Unstructured {
	var last *unstructured.Unstructured
	for _, wf := range history {
		if wf.GetUID() == uid {
			last = wf
		}
	}
	return last
}

// byRun sorts the states of Workflows by their Subject.
func byRun(history []*unstructured.Unstructured) map[string][]*unstructured.Unstructured {
	sorted := map[string][]*unstructured.Unstructured{}
	for _, wf := range history {
		run := RunOf(wf)
		sorted[run] = append(sorted[run], wf)
	}
	return sorted
}

// RunOf returns the Run of the Subject that a Workflow, or its copy, is.
func RunOf(wf *unstructured.Unstructured) string {
	parameters, _, _ := unstructured.NestedSlice(wf.Object, "spec", "arguments", "parameters")
	for _, parameter := range parameters {
		if fields, ok := parameter.(map[string]any); ok && fields["name"] == ParameterRun {
			value, _ := fields["value"].(string)
			return value
		}
	}
	return ""
}

// recordedUIDs returns, by the UID of the Workflow on the hub, the UID of its run as RemoteWorkflows have recorded it.
func recordedUIDs(history []*unstructured.Unstructured) map[types.UID]types.UID {
	recorded := map[types.UID]types.UID{}
	for _, rw := range history {
		workflow, _, _ := unstructured.NestedString(rw.Object, "spec", "workflowRef", "uid")
		if remote, _, _ := unstructured.NestedString(rw.Object, "status", "remoteUID"); remote != "" {
			recorded[types.UID(workflow)] = types.UID(remote)
		}
	}
	return recorded
}
