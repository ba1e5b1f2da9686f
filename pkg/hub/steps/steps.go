// Package steps runs single steps of a Workflow in other clusters. The Workflow itself runs in an Argo controller on the hub. A step whose
// template has the plugin "multicluster" waits there for a result: this package makes a Workflow of it, the child, which is scheduled and
// sent like any other, and gives Argo the result.
//
// Argo lists the nodes that wait in a WorkflowTaskSet with the Workflow's name, and reads the results from its status. It takes a result
// away once it has read it; the last one that it reads counts.
package steps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
)

// Reasons of the Events on a Workflow with steps in other clusters.
const (
	reasonStepCreated      = "StepCreated"
	reasonStepRefused      = "StepRefused"
	reasonStepWaits        = "StepWaits"
	reasonTaskMissing      = "TaskMissing"
	reasonResultNotRemoved = "ResultNotRemoved"
	reasonNoDecision       = "NoClusterSelected"
	reasonAgentPodGated    = "AgentPodGated"
)

// Reconciler runs the steps of Workflows in other clusters. A request names such a Workflow.
type Reconciler struct {
	Client client.Client
	// Live reads from the API server.
	Live     client.Reader
	Recorder events.EventRecorder
	Clock    clock.PassiveClock

	// parents has the view of each Workflow that may have such steps.
	parents client.Reader
}

// Reconcile brings the steps of one Workflow forward.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	s, err := r.read(ctx, request.NamespacedName)
	if err != nil {
		return ctrl.Result{}, err
	}
	next := decide(s)
	read := next.read
	if len(read) > 0 {
		if err := r.readWhole(ctx, read); err != nil {
			return ctrl.Result{}, err
		}
		next = decide(s)
	}
	if next.err != nil {
		return ctrl.Result{}, next.err
	}
	if s.isAhead || slices.ContainsFunc(read, func(c *child) bool { return !c.isFinished() }) {
		next.lookWithin(taskWithin) // what changes back before the watch shows it brings no event
	}
	err = r.act(ctx, s, next)
	return ctrl.Result{RequeueAfter: next.within}, err
}

// read returns what is to be decided upon. Where no step is open, and nothing is left of one, that is next to nothing.
func (r *Reconciler) read(ctx context.Context, key types.NamespacedName) (*snapshot, error) {
	s := &snapshot{now: r.Clock.Now(), children: map[string]*child{}}
	set := newTaskSet()
	switch err := r.Client.Get(ctx, key, set); {
	case err == nil:
		s.set = taskSetOf(set)
	case !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("get WorkflowTaskSet: %w", err)
	}
	if err := r.readChildren(ctx, s, key); err != nil {
		return nil, err
	}
	if s.set != nil && s.set.hasOthers {
		var err error
		if s.gated, err = r.gated(ctx, key); err != nil {
			return nil, err
		}
	}
	if err := r.readOpen(ctx, s, key); err != nil {
		return nil, err
	}
	if !s.concernsUs() {
		return s, nil
	}
	wf := contract.NewWorkflow()
	switch err := r.Live.Get(ctx, key, wf); {
	case apierrors.IsNotFound(err):
	case err != nil:
		return nil, fmt.Errorf("get Workflow: %w", err)
	case s.set == nil || s.set.parentUID() == wf.GetUID():
		s.parent, s.isAhead = parentOf(wf), wf.GetResourceVersion() != s.seen
	}
	s.decided = func(placement string) ([]string, error) { return decided(ctx, r.Client, key.Namespace, placement) }
	return s, nil
}

// concernsUs reports whether something may have to be done.
func (s *snapshot) concernsUs() bool {
	return len(s.gated) > 0 || s.set != nil && len(s.set.tasks) > 0 || len(s.set.left()) > 0 || len(s.overdue()) > 0 ||
		slices.ContainsFunc(slices.Collect(maps.Values(s.children)), needsCare)
}

// readOpen reads which nodes wait, of a Workflow that goes on. One that has a Workflow has had its task, which Argo takes away before the
// cache shows that the node has ended: it counts only if there is no task set at all.
func (r *Reconciler) readOpen(ctx context.Context, s *snapshot, key types.NamespacedName) error {
	wf := contract.NewWorkflow()
	if err := r.parents.Get(ctx, key, wf); err != nil {
		return client.IgnoreNotFound(err)
	}
	s.seen = wf.GetResourceVersion()
	v := readView(wf)
	if v.Suspended || v.Finished {
		return nil
	}
	s.open = map[string]string{}
	for id, startedAt := range v.Open {
		of := contract.StepID{Parent: v.UID, Node: id, StartedAt: startedAt}
		if s.set == nil || s.children[of.WorkflowName(key.Name)] == nil {
			s.open[id] = startedAt
		}
	}
	return nil
}

// needsCare reports whether something may have to be done about a child without task.
func needsCare(c *child) bool { return c.IsDeleted() || !c.isFinished() }

// readChildren reads the Workflows of the steps of a Workflow of this name.
func (r *Reconciler) readChildren(ctx context.Context, s *snapshot, parent types.NamespacedName) error {
	found := contract.NewWorkflowList()
	opts := []client.ListOption{
		client.InNamespace(parent.Namespace), client.MatchingFields{indexParent: parent.Name}, client.UnsafeDisableDeepCopy,
	}
	if err := r.Client.List(ctx, found, opts...); err != nil {
		return fmt.Errorf("list the Workflows of steps: %w", err)
	}
	for i := range found.Items {
		s.children[found.Items[i].GetName()] = &child{Workflow: hubworkflow.Of(&found.Items[i])}
	}
	return nil
}

// readWhole reads the status of Workflows that have finished.
func (r *Reconciler) readWhole(ctx context.Context, finished []*child) error {
	for _, c := range finished {
		live, err := hubworkflow.Get(ctx, r.Live, c.Key())
		if err != nil {
			return client.IgnoreNotFound(err) // the watch brings it
		}
		c.Workflow, c.whole = live, trimWhole(live.Unstructured)
	}
	return nil
}

// act does what was decided. Each write can be repeated, and one that fails keeps no other step from going on. The results come last, for
// they end the step.
func (r *Reconciler) act(ctx context.Context, s *snapshot, next *plan) error {
	r.tell(s, next)
	var errs []error
	for i := range s.gated {
		if s.mayStart(&s.gated[i]) {
			errs = append(errs, r.lift(ctx, &s.gated[i]))
		}
	}
	for _, wf := range next.create {
		errs = append(errs, r.create(ctx, s, next, wf))
	}
	if next.asks {
		errs = append(errs, r.askForTasks(ctx, s))
	}
	errs = append(errs, r.terminate(ctx, s, next))
	for _, c := range next.suspend {
		errs = append(errs, r.patch(ctx, c, suspension(true)))
	}
	for _, c := range next.resume {
		errs = append(errs, r.patch(ctx, c, suspension(nil)))
	}
	for _, c := range next.release {
		errs = append(errs, r.release(ctx, next, c))
	}
	return errors.Join(append(errs, r.answer(ctx, s, next))...)
}

// terminate ends Workflows that no step waits for. The cache may lag behind: of a step that is open, the API server is asked whether Argo
// has taken its task away.
func (r *Reconciler) terminate(ctx context.Context, s *snapshot, next *plan) error {
	var asked *taskAsked
	var errs []error
	for _, c := range next.terminate {
		id := contract.StepNode(c)
		if s.isOfOpenNode(c) && next.results[id] == nil {
			if asked == nil {
				var err error
				if asked, err = r.readTasks(ctx, s); err != nil {
					errs = append(errs, err)
					continue
				}
			}
			if asked.lost {
				continue // until Argo writes it anew
			}
			if asked.set.has(id) {
				next.lookWithin(again)
				continue
			}
		}
		change := suspension(nil)
		change["spec"].(map[string]any)["shutdown"] = "Terminate"
		errs = append(errs, r.patch(ctx, c, change))
	}
	return errors.Join(errs...)
}

// askForTasks changes an annotation of the Workflow, so that Argo's controller looks at it: it does not see that its WorkflowTaskSet has
// been deleted, be it by somebody, or with an earlier Workflow of this name into whose it has written the tasks.
func (r *Reconciler) askForTasks(ctx context.Context, s *snapshot) error {
	now := s.now.UTC().Format(time.RFC3339)
	return r.patch(ctx, &child{Workflow: hubworkflow.Of(s.parent.Unstructured)}, map[string]any{"metadata": map[string]any{
		"uid": s.parent.GetUID(), "annotations": map[string]any{contract.AnnotationTasksAskedFor: now},
	}})
}

// taskAsked is what the API server has of a Workflow's tasks.
type taskAsked struct {
	set *taskSet
	// lost is whether somebody has deleted the task set of a Workflow that goes on: Argo does not, and writes all tasks anew when it looks at
	// the Workflow the next time.
	lost bool
}

func (r *Reconciler) readTasks(ctx context.Context, s *snapshot) (*taskAsked, error) {
	live := newTaskSet()
	err := r.Live.Get(ctx, client.ObjectKeyFromObject(s.parent), live)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("get WorkflowTaskSet: %w", err)
	}
	return &taskAsked{taskSetOf(live), err != nil && s.parent.GetDeletionTimestamp() == nil}, nil
}

// withoutStep returns finalizers without ours, and whether it was among them.
func withoutStep(finalizers []string) ([]string, bool) {
	left := slices.DeleteFunc(slices.Clone(finalizers), func(f string) bool { return f == contract.FinalizerStep })
	return left, len(left) < len(finalizers)
}

// release removes our finalizer from a deleted Workflow. While something else of its metadata changes, the event of that may be the last.
func (r *Reconciler) release(ctx context.Context, next *plan, c *child) error {
	finalizers, isOurs := withoutStep(c.GetFinalizers())
	if !isOurs {
		return nil
	}
	err := hubworkflow.PatchMetadata(ctx, r.Client, c.Workflow, map[string]any{"finalizers": finalizers})
	if err != nil && hubworkflow.IgnoreStale(err) == nil {
		next.lookWithin(again)
		return nil
	}
	return err
}

// tell says on the Workflow what hinders its steps.
func (r *Reconciler) tell(s *snapshot, next *plan) {
	switch {
	case len(next.overdue) > 0 && s.isTaskSetLost():
		r.Recorder.Eventf(s.parent.Unstructured, nil, corev1.EventTypeWarning, reasonTaskMissing, "HandOutStep",
			"somebody has deleted the WorkflowTaskSet %s, through which %d waiting steps get their results: the hub has Argo's controller write it "+
				"anew", s.parent.GetName(), len(next.overdue))
	case len(next.overdue) > 0:
		r.Recorder.Eventf(s.parent.Unstructured, nil, corev1.EventTypeWarning, reasonTaskMissing, "HandOutStep",
			"Argo's controller has not written the tasks of %d waiting steps into the WorkflowTaskSet %s, and its log says why: if all waiting "+
				"tasks are more than etcd takes in one object, limit them with a semaphore; if it lacks the right to write WorkflowTaskSets, grant it",
			len(next.overdue), s.parent.GetName())
	}
	if len(next.waits) > 0 {
		r.Recorder.Eventf(s.parent.Unstructured, nil, corev1.EventTypeNormal, reasonStepWaits, "RunStep",
			"%d steps wait to run in other clusters: %.900s", len(next.waits), strings.Join(next.waits, "; "))
	}
	if len(next.undecided) > 0 {
		r.Recorder.Eventf(s.parent.Unstructured, nil, corev1.EventTypeWarning, reasonNoDecision, "CreateStep",
			"%d steps that run on all clusters of a Placement wait until it has decided for as many as its status says, at least one: %.700s",
			len(next.undecided), strings.Join(next.undecided, ", "))
	}
	for _, pod := range s.gated {
		if !s.mayStart(&pod) {
			next.lookWithin(tellAgain)
			r.Recorder.Eventf(s.parent.Unstructured, nil, corev1.EventTypeWarning, reasonAgentPodGated, "LiftGate",
				"pod %s, which runs HTTP and other plugin templates, stays gated: without the container %s it would fail the steps in other "+
					"clusters. Set ARGO_EXECUTOR_PLUGINS=true for Argo's controller, then delete the pod: Argo makes it again",
				pod.Name, pluginContainer)
		}
	}
	if next.healed {
		r.Recorder.Eventf(s.parent.Unstructured, nil, corev1.EventTypeWarning, reasonResultNotRemoved, "RemoveResult",
			"Argo's controller has left the result of a step in the WorkflowTaskSet, and the hub removes it: grant its ServiceAccount to patch "+
				"workflowtasksets/status (values hubArgo.enabled and hubArgo.serviceAccount of the hub chart)")
	}
}

// mayStart reports whether a pod of Argo's agent does no harm: it would fail steps in other clusters, if there are any, without the
// container that keeps Argo from that.
func (s *snapshot) mayStart(pod *agentPod) bool {
	return pod.hasPlugin || s.parent == nil || !s.parent.hasSteps()
}

// suspension is the patch that has a Workflow follow its parent.
func suspension(suspend any) map[string]any {
	mark := any(nil)
	if suspend != nil {
		mark = "true"
	}
	return map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{contract.AnnotationStepSuspended: mark}},
		"spec":     map[string]any{"suspend": suspend},
	}
}

// create makes the Workflow of a step. Where one cannot be made, neither are those that follow for the same step: the first of them has the
// list of all.
func (r *Reconciler) create(ctx context.Context, s *snapshot, next *plan, wf *unstructured.Unstructured) error {
	id := contract.StepNode(wf)
	if next.lags[id] || next.results[id] != nil {
		return nil
	}
	err := r.Client.Create(ctx, wf)
	switch {
	case apierrors.IsAlreadyExists(err):
		return r.meet(ctx, next, wf)
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota"): // as Argo does with a pod, it waits
		r.Recorder.Eventf(s.parent.Unstructured, wf, corev1.EventTypeWarning, reasonStepRefused, "CreateStep",
			"the Workflow of a step waits for quota: %.900s", err.Error())
		next.lags[id] = true
		return fmt.Errorf("create the Workflow of a step: %w", err)
	case contract.IsRefused(err):
		r.Recorder.Eventf(s.parent.Unstructured, wf, corev1.EventTypeWarning, reasonStepRefused, "CreateStep",
			"the hub refuses the Workflow of a step: %.900s", err.Error())
		next.results[id] = errorResult(fmt.Sprintf("the hub refuses the Workflow of this step: %v", err))
		return nil
	case err != nil:
		next.lags[id] = true
		return fmt.Errorf("create the Workflow of a step: %w", err)
	}
	created.Inc()
	r.Recorder.Eventf(s.parent.Unstructured, wf, corev1.EventTypeNormal, reasonStepCreated, "CreateStep",
		"step %s runs as Workflow %s", s.parent.node(id).text("displayName"), wf.GetName())
	return nil
}

// meet looks at what has the name of a step's Workflow. It is that of this step, which the cache does not show yet: then its clusters,
// which may have been decided differently, are not known. Or it is none that would ever run the step.
func (r *Reconciler) meet(ctx context.Context, next *plan, wf *unstructured.Unstructured) error {
	found := contract.NewWorkflow()
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(wf), found); err != nil {
		next.lookWithin(again)
		return client.IgnoreNotFound(err)
	}
	if contract.IsOurs(found) && contract.StepParent(found) == contract.StepParent(wf) && contract.StepNode(found) == contract.StepNode(wf) {
		next.lags[contract.StepNode(wf)] = true
		next.lookWithin(again)
		return nil
	}
	next.results[contract.StepNode(wf)] = errorResult(fmt.Sprintf("there is a Workflow %s which is not, or not any more, that of this step: "+
		"delete it, and retry", wf.GetName()))
	return nil
}

// patch changes a child, as a user could.
func (r *Reconciler) patch(ctx context.Context, c *child, change map[string]any) error {
	data, err := json.Marshal(change)
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	if err := r.Client.Patch(ctx, hubworkflow.MetadataOf(c.Workflow), client.RawPatch(types.MergePatchType, data)); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("patch Workflow %s: %w", c.Key(), err))
	}
	return nil
}
