package steps

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract/step"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
)

// healAfter is how long Argo has to take a result away that it has read. A controller that lacks the right to do so waits for ever.
const healAfter = 5 * time.Second

const (
	// taskWithin is how long Argo has to write the task of a node that waits. It writes the task first.
	taskWithin = 30 * time.Second
	// tellAgain is how long after that it is told again.
	tellAgain = 5 * time.Minute
	// again is when to look at what the cache does not show yet.
	again = 200 * time.Millisecond
)

// snapshot is all that a decision depends on, each read once.
type snapshot struct {
	now time.Time
	// set is the task set of the Workflow; nil if there is none.
	set *taskSet
	// parent is the Workflow, as the API server has it; nil if it is gone, or if another one has its name. seen is the version that the
	// cache has, and isAhead whether that is another one.
	parent  *parent
	seen    string
	isAhead bool
	// children are the Workflows of its steps, by name.
	children map[string]*child
	// open is when each node that waits for the result of a plugin, and has no Workflow, has started: by its ID, as the cache has it.
	open map[string]string
	// gated are the pods of Argo's agent that wait, although it has something to do.
	gated []agentPod
	// decided returns the clusters of a Placement, sorted; none while they are not as many as it has selected.
	decided func(placement string) ([]string, error)
}

// child is the Workflow of a step.
type child struct {
	*hubworkflow.Workflow
	// whole is the Workflow with what of its status is a result. It is read only when it has finished.
	whole *unstructured.Unstructured
}

func (c *child) isFinished() bool { return contract.IsFinished(c.LastPhase()) }

// plan is what is done about the steps of one Workflow.
type plan struct {
	// create are the Workflows of steps that have none.
	create []*unstructured.Unstructured
	// terminate are Workflows that no step waits for.
	terminate []*child
	// suspend and resume are Workflows that follow their parent.
	suspend, resume []*child
	// release are deleted Workflows that are not needed any more.
	release []*child
	// results are what Argo is told, by the ID of the node; nil takes back what it was told.
	results map[string]*result
	// read are Workflows that have finished, and whose results have to be read before it is decided anew.
	read []*child
	// healed is whether a result is taken back that Argo has left there.
	healed bool
	// overdue are the nodes that wait, and that Argo has written no task for.
	overdue []string
	// asks is whether Argo is to look at the Workflow again: it then writes the tasks that it can write.
	asks bool
	// waits are the Workflows, as "<node>: Workflow <name>: <message>", that have waited for a cluster for too long.
	waits []string
	// undecided are the Placements, as "<node>: <Placement>", that steps have waited for too long.
	undecided []string
	// lags are the nodes of which the cache does not show all Workflows yet, or of which one could not be made.
	lags map[string]bool
	// err is why it could not be decided.
	err error
	// within is when to decide anew, if no event comes first; zero is never.
	within time.Duration
	// wanted are the names of the Workflows that open steps have.
	wanted map[string]bool
}

func (p *plan) lookWithin(d time.Duration) {
	if d = max(d, time.Millisecond); p.within == 0 || d < p.within {
		p.within = d
	}
}

// decide returns what to do about the steps of a Workflow.
func decide(s *snapshot) *plan {
	p := &plan{results: map[string]*result{}, wanted: map[string]bool{}, lags: map[string]bool{}}
	if s.set != nil && s.parent != nil {
		for _, id := range slices.Sorted(maps.Keys(s.set.tasks)) {
			p.decideStep(s, id)
		}
		p.decideLeft(s)
	}
	p.decideTasks(s)
	for _, name := range slices.Sorted(maps.Keys(s.children)) {
		p.decideChild(s, s.children[name])
	}
	return p
}

// decideTasks notes the nodes for which Argo does not get its tasks written. It would try again for ever, and say so in its log only.
func (p *plan) decideTasks(s *snapshot) {
	if s.parent != nil && !s.parent.isFinished() && s.parent.GetDeletionTimestamp() == nil && s.parent.hasSteps() {
		p.overdue = slices.DeleteFunc(s.overdue(), func(id string) bool { // what is read live may be further than the cache
			return s.parent.unreadable == nil && !s.parent.node(id).isOpen()
		})
	}
	if len(p.overdue) > 0 {
		asked, err := time.Parse(time.RFC3339, s.parent.GetAnnotations()[contract.AnnotationTasksAskedFor])
		p.asks = err != nil || s.now.Sub(asked) >= tellAgain
		p.lookWithin(tellAgain)
	}
	for id, startedAt := range s.open {
		if at, err := time.Parse(time.RFC3339, startedAt); err == nil && !s.set.has(id) && s.now.Sub(at) < taskWithin {
			p.lookWithin(taskWithin - s.now.Sub(at))
		}
	}
}

// isTaskSetLost reports whether the task set was there, since a step that waits has a Workflow, and is not any more.
func (s *snapshot) isTaskSetLost() bool {
	return s.set == nil && slices.ContainsFunc(slices.Collect(maps.Values(s.children)), s.isOfOpenNode)
}

// overdue returns the nodes that have waited for their tasks for too long.
func (s *snapshot) overdue() []string {
	var out []string
	for id, startedAt := range s.open {
		if at, err := time.Parse(time.RFC3339, startedAt); err == nil && !s.set.has(id) && s.now.Sub(at) >= taskWithin {
			out = append(out, id)
		}
	}
	return out
}

// decideChild follows the parent, and ends what nobody waits for.
func (p *plan) decideChild(s *snapshot, c *child) {
	isMarked := c.GetAnnotations()[contract.AnnotationStepSuspended] == "true"
	switch {
	case c.IsDeleted() && !p.wanted[c.GetName()] && !s.mayBeWantedAgain(c):
		p.release = append(p.release, c)
	case c.IsDeleted(), c.isFinished():
	case !p.wanted[c.GetName()]:
		if c.Controls.Shutdown == "" || c.Controls.Suspend { // Argo ends no Workflow that is suspended
			p.terminate = append(p.terminate, c)
		}
	case s.parent.isSuspended() && !isMarked:
		p.suspend = append(p.suspend, c)
	case !s.parent.isSuspended() && isMarked:
		p.resume = append(p.resume, c)
	case contract.IsPending(c.LastPhase()):
		p.decideWaiting(s, c)
	}
}

// decideWaiting notes a Workflow that waits. Its own message says why, and who looks at the Workflow with the step does not see that.
func (p *plan) decideWaiting(s *snapshot, c *child) {
	if waited := s.now.Sub(c.GetCreationTimestamp().Time); waited < taskWithin {
		p.lookWithin(taskWithin - waited)
		return
	}
	p.lookWithin(tellAgain)
	if c.Message != "" {
		name := s.parent.node(contract.StepNode(c)).text("displayName")
		p.waits = append(p.waits, fmt.Sprintf("%s: Workflow %s: %s", name, c.GetName(), c.Message))
	}
}

// isOfOpenNode reports whether the node for which a child was made waits for its result.
func (s *snapshot) isOfOpenNode(c *child) bool {
	if s.parent == nil || s.parent.isFinished() {
		return false
	}
	id := contract.StepID{Parent: s.parent.GetUID(), Node: contract.StepNode(c)}
	n := s.parent.node(id.Node)
	id.StartedAt = n.text("startedAt")
	return n.isOpen() && id.IsOf(c)
}

// mayBeWantedAgain reports whether the result of a finished child has not arrived in the parent. Argo takes the task back before it writes
// the result there; if that fails, it hands out the same task again.
func (s *snapshot) mayBeWantedAgain(c *child) bool {
	return c.isFinished() && s.isOfOpenNode(c) && s.parent.GetDeletionTimestamp().IsZero()
}

// decideStep decides about one node that Argo has handed out.
func (p *plan) decideStep(s *snapshot, id string) {
	n, task := s.parent.node(id), s.set.tasks[id]
	_, isAnswered := s.set.results[id]
	switch {
	case s.parent.unreadable != nil:
		if !isAnswered {
			p.results[id] = errorResult(fmt.Sprintf("a step in another cluster needs to know its node: %v", s.parent.unreadable))
		}
		return
	case n == nil: // Argo writes the task first
		return
	case n.text("type") != typePlugin:
		return
	case n.isFulfilled() || s.parent.isFinished():
		if isAnswered {
			p.heal(s, id, n)
		}
		return
	}
	st := &openStep{snapshot: s, id: id, node: n, task: task}
	st.deadline, st.problem = s.parent.deadline(n, task)
	plugin, _ := task["plugin"].(map[string]any)
	switch parsed, problems := step.Parse(plugin); {
	case s.parent.wasSent(): // its author may not have what is open to this namespace
		of := contract.ReferenceOf(s.parent.Unstructured)
		st.problem = fmt.Errorf("this Workflow was sent here for Workflow %q of namespace %q, and cannot have steps in other clusters", of.Name,
			of.Namespace)
	case len(plugin) == 0:
		st.problem = errors.New("the hub's API server drops what is in plugin templates: install the CustomResourceDefinition " +
			"workflowtasksets.argoproj.io of the Argo Workflows that runs on the hub")
	case len(problems) > 0:
		st.problem = problemOf(problems)
	case task["daemon"] == true:
		st.problem = errors.New(step.NoDaemon)
	default:
		st.step = parsed
	}
	clusters, err := st.clusters()
	if err != nil {
		p.err = err
		return
	}
	if isAnswered {
		p.keep(st, clusters) // until Argo has read it
		return
	}
	if r := p.run(st, clusters); r != nil {
		p.results[id] = r
	}
}

func problemOf(problems []step.Problem) error {
	messages := make([]string, len(problems))
	for i, problem := range problems {
		messages[i] = problem.String()
	}
	return fmt.Errorf("%s", strings.Join(messages, "; "))
}

// decideLeft takes back results that nothing waits for. One for a node that the Workflow does not have would keep Argo from reading the
// others.
func (p *plan) decideLeft(s *snapshot) {
	if s.parent.unreadable != nil || !s.parent.hasSteps() {
		return
	}
	healed := p.healed
	for _, id := range s.set.left() {
		switch n := s.parent.node(id); {
		case n == nil:
			p.results[id] = nil
		case n.isFulfilled() || s.parent.isFinished():
			p.heal(s, id, n)
		}
	}
	p.healed = healed // Argo, which takes the result away before the task, may do so: the result was given once more in between
}

// heal takes back a result that Argo has read and has not taken away. It would be the result of the next retry.
func (p *plan) heal(s *snapshot, id string, n node) {
	finished, err := time.Parse(time.RFC3339, n.text("finishedAt"))
	if left := healAfter - s.now.Sub(finished); err == nil && left > 0 {
		p.lookWithin(left)
		return
	}
	p.results[id], p.healed = nil, true
}

// openStep is a step whose node waits for its result.
type openStep struct {
	*snapshot
	id   string
	node node
	task map[string]any
	step *step.Step
	// deadline is when it has to have ended; zero for never. problem is what the user has to correct.
	deadline time.Time
	problem  error
}

// childID identifies the Workflow for one of the clusters of the step.
func (s *openStep) childID(index int) contract.StepID {
	return contract.StepID{Parent: s.parent.GetUID(), Node: s.id, StartedAt: s.node.text("startedAt"), Index: index}
}

func (s *openStep) child(index int) *child {
	return s.children[s.childID(index).WorkflowName(s.parent.GetName())]
}

// clusters returns those of a step that runs in several: those that were decided when it began. One that runs in one cluster has "" for it.
func (s *openStep) clusters() ([]string, error) {
	if s.step == nil || !s.step.All {
		return []string{""}, nil
	}
	if first := s.child(0); first != nil {
		return strings.Split(first.GetAnnotations()[contract.AnnotationStepClusters], ","), nil
	}
	return s.decided(s.step.Placement)
}

// keep has the Workflows of a step kept.
func (p *plan) keep(s *openStep, clusters []string) {
	for i := range clusters {
		p.wanted[s.childID(i).WorkflowName(s.parent.GetName())] = true
	}
}

// run brings a step forward, and returns its result if there is one.
func (p *plan) run(s *openStep, clusters []string) *result {
	if s.problem != nil {
		return errorResult(s.problem.Error())
	}
	switch {
	case s.deadline.IsZero():
	case s.now.Before(s.deadline):
		p.lookWithin(s.deadline.Sub(s.now))
	case len(clusters) == 0 || !s.isDecided(clusters): // what ended while nobody looked has ended
		return failed("Step exceeded its deadline") // its Workflows are not wanted any more
	}
	if len(clusters) == 0 {
		p.decideUndecided(s)
		return nil
	}
	p.keep(s, clusters)
	for i, cluster := range clusters {
		if s.child(i) == nil {
			if err := p.begin(s, i, cluster, clusters); err != nil {
				return errorResult(err.Error())
			}
		}
	}
	if !s.isDecided(clusters) {
		return nil // what has ended is not read before that
	}
	results := make([]*result, len(clusters))
	for i := range clusters {
		if c := s.child(i); c != nil {
			results[i] = p.resultOf(s, c)
		}
	}
	if !s.step.All {
		return results[0]
	}
	return s.together(clusters, results)
}

// isDecided reports whether it is known how a step ends in these clusters: all have ended, or more have failed than may.
func (s *openStep) isDecided(clusters []string) bool {
	ended, failures := 0, 0
	for i := range clusters {
		if c := s.child(i); c != nil && (c.isFinished() || c.IsDeleted()) {
			ended++
			if c.LastPhase() != phaseSucceeded {
				failures++
			}
		}
	}
	return ended == len(clusters) || failures > s.maxFailures(len(clusters))
}

// decideUndecided notes a Placement that selects no cluster: it may not be there, and nothing else would say so.
func (p *plan) decideUndecided(s *openStep) {
	at, err := time.Parse(time.RFC3339, s.node.text("startedAt"))
	if err != nil {
		return
	}
	if waited := s.now.Sub(at); waited < taskWithin {
		p.lookWithin(taskWithin - waited)
		return
	}
	p.undecided = append(p.undecided, fmt.Sprintf("%s: %s", s.node.text("displayName"), s.step.Placement))
	p.lookWithin(tellAgain)
}

// begin makes the Workflow of a step for one of its clusters. The first has the list of all: it is there before the others.
func (p *plan) begin(s *openStep, index int, cluster string, clusters []string) error {
	made := childSpec{
		parent: s.parent, id: s.childID(index), task: s.task, step: s.step, cluster: cluster, usesResult: s.parent.usesResult(s.node),
	}
	if !s.deadline.IsZero() {
		made.within = s.deadline.Sub(s.now)
	}
	if index == 0 && s.step.All {
		made.clusters = clusters
	}
	if made.usesResult && s.step.Reference.Name != "" {
		return errors.New("outputs.result is not known of a step that refers to a template: have the template write an output parameter")
	}
	wf, err := newChild(made)
	if err != nil {
		return err
	}
	if refused := hubworkflow.Of(wf).Refused(time.Time{}); refused != nil { // it would wait for ever
		return errors.New(refused.Message)
	}
	p.create = append(p.create, wf)
	return nil
}

// resultOf returns the result of a Workflow that has ended, nil for another, or if it has to be read first.
func (p *plan) resultOf(s *openStep, c *child) *result {
	switch {
	case !c.isFinished() && c.IsDeleted():
		return errorResult(fmt.Sprintf("Workflow %s, which ran the step, was deleted", c.GetName()))
	case !c.isFinished():
		return nil
	case c.whole == nil:
		p.read = append(p.read, c)
		return nil
	}
	return resultOf(s.task, s.step.Kind, c.whole)
}

// maxFailures returns in how many clusters the step may fail.
func (s *openStep) maxFailures(clusters int) int {
	if s.step.MaxFailures == nil {
		return 0
	}
	most, _ := intstr.GetScaledValueFromIntOrPercent(s.step.MaxFailures, clusters, false)
	return most
}

// together returns the result of a step in several clusters: when all have ended, or more have failed than may.
func (s *openStep) together(clusters []string, results []*result) *result {
	most, ended, failures := s.maxFailures(len(clusters)), 0, 0
	for i, r := range results {
		if r == nil {
			results[i] = &result{Phase: phaseSucceeded}
			continue
		}
		ended++
		if r.Phase != phaseSucceeded {
			failures++
		}
	}
	if ended < len(clusters) && failures <= most {
		return nil
	}
	return aggregate(s.task, s.parent.usesResult(s.node), clusters, results, most)
}
