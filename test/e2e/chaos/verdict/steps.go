package verdict

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// Step is a template of a parent: a Workflow that runs on the hub, and whose steps run in other clusters.
type Step struct {
	Template string
	// Succeed is how many of its nodes have to succeed, Fail how many may fail.
	Succeed, Fail int
}

// StepPod is what a pod of a step has written down.
type StepPod struct {
	// Run is the parent's, see Subject.
	Run string
	// Try names the step, and which of its tries it is: no other node of the parent has it.
	Try string
	// Child is the name of the Workflow that the pod belongs to, Pod its own UID.
	Child string
	Pod   types.UID
}

// ParameterWords is the output parameter of a parent that is compared with Subject.Words.
const ParameterWords = "words"

// node is what is read of a node of the parent.
type node struct {
	ID, Type, DisplayName, TemplateName, Phase, Message string
	Outputs                                             struct {
		Parameters []struct{ Name, Value string }
	}
}

// judgeParent judges a parent: each try of a step is one Workflow on the managed clusters, of which one pod ran.
func (j *judgement) judgeParent(e Evidence) []Finding {
	j.judgeHistory("on the hub", j.hub)
	if len(j.hub) == 0 {
		j.add(Unfinished, "the hub has never had it")
		return j.found
	}
	j.judgeTries(e.StepPods)
	j.judgeAnswers(e.TaskSets)
	children := childrenOf(e.Hub, j.hub[0].GetUID())
	j.judgeChildren(children, e)
	if !j.DeletedOnHub {
		j.judgeEndOfParent(children, e)
	}
	return j.found
}

// judgeTries looks for a second pod of a try, by what the pods say of which one they are: the product has no hand in that.
func (j *judgement) judgeTries(pods []StepPod) {
	byTry := map[string]map[StepPod]bool{}
	for _, pod := range pods {
		if pod.Run != j.Run {
			continue
		}
		if byTry[pod.Try] == nil {
			byTry[pod.Try] = map[StepPod]bool{}
		}
		byTry[pod.Try][pod] = true
	}
	for _, try := range slices.Sorted(maps.Keys(byTry)) {
		if ran := byTry[try]; len(ran) > 1 {
			j.add(SecondRun, "%d pods ran for step %s: %v", len(ran), try, slices.Collect(maps.Keys(ran)))
		}
	}
}

// judgeAnswers looks for a node that Argo was told two results of. The same one may be told again, if it was lost.
func (j *judgement) judgeAnswers(taskSets []*unstructured.Unstructured) {
	for id, told := range answers(taskSets, j.hub[0].GetUID()) {
		if len(told) > 1 {
			j.add(SecondAnswer, "node %s was told to be %s", id, strings.Join(told, ", and then "))
		}
	}
}

// answers returns what Argo was told of the nodes of a parent, by their ID, each result once.
func answers(taskSets []*unstructured.Unstructured, parent types.UID) map[string][]string {
	told := map[string][]string{}
	for _, set := range taskSets {
		if !isOwnedBy(set, parent) {
			continue
		}
		results, _, _ := unstructured.NestedMap(set.Object, "status", "nodes")
		for id, result := range results {
			raw, err := json.Marshal(result)
			if text := string(raw); err == nil && !slices.Contains(told[id], text) {
				told[id] = append(told[id], text)
			}
		}
	}
	return told
}

func isOwnedBy(object metav1.Object, uid types.UID) bool {
	return slices.ContainsFunc(object.GetOwnerReferences(), func(o metav1.OwnerReference) bool { return o.UID == uid })
}

// childrenOf returns the states of the Workflows on the hub that are owned by a parent, by their UID.
func childrenOf(hub []*unstructured.Unstructured, parent types.UID) map[types.UID][]*unstructured.Unstructured {
	children := map[types.UID][]*unstructured.Unstructured{}
	for _, wf := range hub {
		if isOwnedBy(wf, parent) {
			children[wf.GetUID()] = append(children[wf.GetUID()], wf)
		}
	}
	return children
}

// judgeChildren judges the children as any Workflow, and that there is one for each node. The parent is not retried.
func (j *judgement) judgeChildren(children map[types.UID][]*unstructured.Unstructured, e Evidence) {
	made := map[string][]string{}
	for _, uid := range slices.Sorted(maps.Keys(children)) {
		name, id := children[uid][0].GetName(), contract.StepNode(children[uid][0])
		made[id] = append(made[id], name)
		child := judgement{
			// Its own end is judged by that of its node.
			Subject: Subject{Run: j.Run + "/" + name, DeletedOnHub: j.DeletedOnHub, Stopped: true},
			hub:     children[uid], managed: named(e.Managed, name), recorded: j.recorded,
		}
		j.found = append(j.found, child.findings()...)
	}
	for _, id := range slices.Sorted(maps.Keys(made)) {
		if len(made[id]) > 1 {
			j.add(SecondRun, "%d Workflows were made for node %s: %v", len(made[id]), id, made[id])
		}
	}
}

func named(history []*unstructured.Unstructured, name string) []*unstructured.Unstructured {
	var found []*unstructured.Unstructured
	for _, wf := range history {
		if wf.GetName() == name {
			found = append(found, wf)
		}
	}
	return found
}

// judgeEndOfParent compares the last state of a parent with what ran.
func (j *judgement) judgeEndOfParent(children map[types.UID][]*unstructured.Unstructured, e Evidence) {
	last := j.hub[len(j.hub)-1]
	if phase := contract.Phase(last); !contract.IsFinished(phase) {
		j.add(Unfinished, "its last phase is %q, with %q", phase, contract.StatusString(contract.Status(last), "message"))
		return
	} else if phase != j.Want {
		j.add(WrongEnd, "it ended as %s, not as %s, with %q", phase, j.Want, contract.StatusString(contract.Status(last), "message"))
	}
	nodes, err := nodesOf(last)
	if err != nil {
		j.add(WrongEnd, "its nodes cannot be read: %v", err)
		return
	}
	if got := output(nodes[last.GetName()], ParameterWords); got != j.Words && contract.Phase(last) == j.Want {
		j.add(WrongEnd, "its output is %q, not %q", got, j.Words)
	}
	told := answers(e.TaskSets, last.GetUID())
	counts := map[string]map[string]int{}
	for _, id := range slices.Sorted(maps.Keys(nodes)) {
		n := nodes[id]
		if n.Type != "Plugin" {
			continue
		}
		if counts[n.TemplateName] == nil {
			counts[n.TemplateName] = map[string]int{}
		}
		counts[n.TemplateName][n.Phase]++
		if ofNode := childrenOfNode(children, id); len(ofNode) < 2 { // several have been found already
			j.judgeNode(n, slices.Concat(ofNode...), told[id], e)
		}
	}
	for _, step := range j.Steps {
		count := counts[step.Template]
		if contract.Phase(last) == j.Want && count["Succeeded"] != step.Succeed || count["Failed"] > step.Fail {
			j.add(WrongEnd, "of template %s, %d nodes were to succeed, and %d might fail: there are %v",
				step.Template, step.Succeed, step.Fail, count)
		}
	}
}

// judgeNode compares the end of a node with that of its child, and counts the pods that ran. A node has an Error without child where Argo
// could not make the pod of its agent, and with one whose run Argo has given up.
func (j *judgement) judgeNode(n node, child []*unstructured.Unstructured, told []string, e Evidence) {
	if len(child) == 0 {
		if n.Phase != contract.PhaseError || len(told) > 0 {
			j.add(LostRun, "step %s is %s with %q, and nothing was made for it: Argo was told %v", n.DisplayName, n.Phase, n.Message, told)
		}
		return
	}
	last := child[len(child)-1]
	switch pods := j.podsOf(last.GetName(), e.StepPods); {
	case pods > 1:
		j.add(SecondRun, "%d pods ran for step %s", pods, n.DisplayName)
	case pods == 0 && n.Phase != contract.PhaseError:
		j.add(LostRun, "no pod ran for step %s, which is %s", n.DisplayName, n.Phase)
	}
	if phase := contract.Phase(last); len(told) > 0 && n.Phase != phase {
		j.add(WrongEnd, "step %s is %s with %q, and its Workflow %s is %q", n.DisplayName, n.Phase, n.Message, last.GetName(), phase)
	}
	run := lastOf(named(e.Managed, last.GetName()), j.recorded[last.GetUID()])
	if n.Phase == contract.PhaseError && len(told) > 0 && !endedByItself(run, n.Phase) {
		j.add(WrongEnd, "step %s has the Error %q, and its run had not", n.DisplayName, n.Message)
	}
}

// podsOf counts the pods that a child of the parent had.
func (j *judgement) podsOf(child string, all []StepPod) int {
	pods := map[types.UID]bool{}
	for _, pod := range all {
		if pod.Run == j.Run && pod.Child == child {
			pods[pod.Pod] = true
		}
	}
	return len(pods)
}

func childrenOfNode(children map[types.UID][]*unstructured.Unstructured, id string) [][]*unstructured.Unstructured {
	var found [][]*unstructured.Unstructured
	for _, states := range children {
		if contract.StepNode(states[0]) == id {
			found = append(found, states)
		}
	}
	return found
}

// nodesOf returns the nodes of a Workflow, by their ID.
func nodesOf(wf *unstructured.Unstructured) (map[string]node, error) {
	fields, _, err := contract.Nodes(contract.Status(wf))
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("encode nodes: %w", err)
	}
	nodes := map[string]node{}
	err = json.Unmarshal(raw, &nodes)
	return nodes, err
}

func output(n node, name string) string {
	for _, parameter := range n.Outputs.Parameters {
		if parameter.Name == name {
			return parameter.Value
		}
	}
	return ""
}
