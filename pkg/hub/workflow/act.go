package workflow

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	workv1 "open-cluster-management.io/api/work/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
)

// Reasons of the Events on an assigned Workflow.
const (
	reasonLabelRestored    = "LabelRestored"
	reasonClusterRestored  = "ClusterRestored"
	reasonClusterTaken     = "ClusterTakenBack"
	reasonNotStarted       = "NotStarted"
	reasonAgentUnavailable = "AgentUnavailable"
	reasonApplyFailed      = "ApplyFailed"
	reasonDeliveryWaits    = "DeliveryWaits"
	reasonRemoteDeleted    = "RemoteDeleted"
	reasonLost             = "Lost"
	reasonIncomplete       = "StatusIncomplete"
	reasonDeletionWaits    = "DeletionWaits"
	reasonReleased         = "ReleasedUnconfirmed"
	reasonExpired          = "TTLExpired"
	reasonEditRefused      = "EditRefused"
	reasonEditWaits        = "EditWaits"
	reasonSpecRestored     = "SpecRestored"
)

// act does what has been decided: one write, and then the Event.
func (r *Reconciler) act(ctx context.Context, s *snapshot, next decision) error {
	switch next.action {
	case hold:
		return hubworkflow.Hold(ctx, r.Client, r.Recorder, s.wf, *next.why)
	case create:
		return r.create(ctx, s)
	case restore:
		return r.restore(ctx, s, next)
	case control:
		return r.control(ctx, s.own, next.controls)
	case edit:
		return r.edit(ctx, s)
	case respec:
		return r.respec(ctx, s)
	case ask:
		return r.ask(ctx, s, next)
	case show:
		return r.show(ctx, s, next.shown)
	case expire:
		return r.expire(ctx, s.wf)
	case remove:
		return r.remove(ctx, next.attempt, next.removal)
	case finalize:
		return r.finalize(ctx, s, next.attempt)
	case release:
		return r.release(ctx, s, next)
	case unassign:
		return r.unassign(ctx, s)
	}
	if next.why != nil {
		return r.recordWait(ctx, s, *next.why)
	}
	return nil
}

// create makes the RemoteWorkflow, the root of the attempt. Alone it starts nothing.
func (r *Reconciler) create(ctx context.Context, s *snapshot) error {
	key, wf := s.wf.RemoteWorkflowKey(), s.wf
	rw := &v1alpha1.RemoteWorkflow{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace, Name: key.Name,
			Labels:     map[string]string{contract.LabelWorkflowUID: string(wf.GetUID())},
			Finalizers: []string{contract.FinalizerDispatch},
		},
		Spec: v1alpha1.RemoteWorkflowSpec{
			HubID:       r.HubID,
			WorkflowRef: v1alpha1.WorkflowReference{Namespace: wf.GetNamespace(), Name: wf.GetName(), UID: wf.GetUID()},
			Remote:      v1alpha1.RemoteReference{Namespace: contract.RemoteNamespace(wf), Name: wf.GetName()},
			Attempt:     contract.Attempt(wf),
			Reporting:   s.assigned.Reporting(),
			Controls:    wf.Controls, ArgumentsDigest: wf.ArgumentsDigest,
		},
	}
	if rw.Spec.Reporting == v1alpha1.ReportingAgent {
		rw.Spec.SpecDigest = wf.SpecDigest
	}
	err := r.Client.Create(ctx, rw)
	switch {
	case apierrors.IsAlreadyExists(err):
		// The cache lags behind our own creation: the name is a hash of the Workflow's UID, so it is the same attempt. The
		// watch brings it, as it was recorded, and with it whatever is still to be done.
		return nil
	case err == nil:
		return nil
	}
	err = fmt.Errorf("create RemoteWorkflow: %w", err)
	if contract.IsRefused(err) {
		return r.sayRefused(ctx, s.wf, err)
	}
	return err
}

// sayRefused says on the Workflow that the hub itself does not let it go: an admission policy or a quota. The error is returned,
// so that it is tried again.
func (r *Reconciler) sayRefused(ctx context.Context, wf *hubworkflow.Workflow, err error) error {
	why := hubworkflow.Refusal{Reason: hubworkflow.ReasonCannotTravel, Message: fmt.Sprintf("not dispatched: the hub refuses it: %v", err)}
	if holdErr := hubworkflow.IgnoreStale(hubworkflow.Hold(ctx, r.Client, r.Recorder, wf, why)); holdErr != nil {
		return holdErr
	}
	return err
}

func (r *Reconciler) restore(ctx context.Context, s *snapshot, next decision) error {
	if err := hubworkflow.PatchMetadata(ctx, r.Client, s.wf, next.metadata); err != nil {
		return err
	}
	if next.why != nil {
		hubworkflow.Warn(r.Recorder, s.wf, next.why.Reason, "Restore", next.why.Message)
	}
	return nil
}

// control has the agent carry what the user wants of the run to the remote Workflow.
func (r *Reconciler) control(ctx context.Context, a *attempt, wanted v1alpha1.Controls) error {
	changed := a.DeepCopy()
	changed.Spec.Controls = wanted
	if err := r.Client.Patch(ctx, changed, client.MergeFrom(a.RemoteWorkflow)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("set the controls of RemoteWorkflow: %w", err)
	}
	return nil
}

// remove says what becomes of a claimed attempt, and deletes it. One that is not claimed is deleted in the version in which it was not.
func (r *Reconciler) remove(ctx context.Context, a *attempt, how v1alpha1.Removal) error {
	rw := a.RemoteWorkflow
	preconditions := client.Preconditions{UID: &rw.UID, ResourceVersion: &rw.ResourceVersion}
	if rw.Status.RemoteUID != "" {
		preconditions.ResourceVersion = nil // the agent goes on reporting
		if rw.Spec.Removal == "" {
			changed := rw.DeepCopy()
			changed.Spec.Removal = how
			if err := r.Client.Patch(ctx, changed, client.MergeFrom(rw)); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("set removal of RemoteWorkflow: %w", err)
			}
		}
	}
	if a.isDeleted() {
		return nil
	}
	if err := r.Client.Delete(ctx, rw, preconditions); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete RemoteWorkflow: %w", err)
	}
	return nil
}

// finalize removes the finalizer of a deleted RemoteWorkflow, in the version that was read: of one that was not claimed in that. With
// it, a deleted Workflow has nothing left to wait for.
func (r *Reconciler) finalize(ctx context.Context, s *snapshot, a *attempt) error {
	rw := a.RemoteWorkflow
	if rw.Spec.Reporting == v1alpha1.ReportingFeedback && !a.cluster.IsDetached() {
		// Where there is no agent, the end of the ManifestWork is that of what it carries.
		if err := r.Live.Get(ctx, client.ObjectKeyFromObject(rw), &workv1.ManifestWork{}); !apierrors.IsNotFound(err) {
			return err // it is looked at again
		}
	}
	changed := rw.DeepCopy()
	changed.Finalizers = slices.DeleteFunc(changed.Finalizers, func(f string) bool { return f == contract.FinalizerDispatch })
	err := r.Client.Patch(ctx, changed, client.MergeFromWithOptions(rw, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("remove the finalizer of RemoteWorkflow: %w", err)
	}
	if a != s.own || !s.wf.IsDeleted() {
		return nil
	}
	if a.isClaimed() && !a.isRemoved() && a.isAbandoned() {
		why := leftBehind(a)
		return r.release(ctx, s, decision{why: why, metric: byAbandonment})
	}
	return hubworkflow.RemoveFinalizer(ctx, r.Client, s.wf)
}

func (r *Reconciler) release(ctx context.Context, s *snapshot, next decision) error {
	if err := hubworkflow.RemoveFinalizer(ctx, r.Client, s.wf); err != nil || next.why == nil {
		return err
	}
	releasedUnconfirmed.WithLabelValues(next.metric).Inc()
	hubworkflow.Warn(r.Recorder, s.wf, next.why.Reason, "Delete", next.why.Message)
	ctrl.LoggerFrom(ctx).Info("removed the finalizer of a deleted Workflow before its cluster has removed it", "why", next.why.Message)
	return nil
}

func (r *Reconciler) unassign(ctx context.Context, s *snapshot) error {
	if err := hubworkflow.Unassign(ctx, r.Client, s.wf); err != nil {
		return err
	}
	name := contract.AssignedCluster(s.wf)
	message := fmt.Sprintf("nothing has started on managed cluster %q", name)
	switch {
	case s.endsUnstarted():
		message += fmt.Sprintf(": the Workflow ends on the hub, for spec.shutdown is %s", s.wf.Controls.Shutdown)
	case s.problem != nil:
		message += ": " + s.problem.Message
	}
	hubworkflow.Warn(r.Recorder, s.wf, reasonClusterTaken, "Schedule", message)
	ctrl.LoggerFrom(ctx).Info("gave the Workflow back to the scheduler", "cluster", name)
	return nil
}

// recordWait records once what a deletion, or an edit, waits for. If a deleted Workflow lost its label, that is restored first: without it
// nobody would see what its user sets on it, such as the annotation that ends the wait.
func (r *Reconciler) recordWait(ctx context.Context, s *snapshot, why hubworkflow.Refusal) error {
	if s.wf.IsDeleted() && !s.isWatched() {
		labels := map[string]any{"labels": map[string]string{contract.LabelEnable: contract.LabelEnableValue}}
		if err := hubworkflow.PatchMetadata(ctx, r.Client, s.wf, labels); err != nil {
			return err
		}
		hubworkflow.Warn(r.Recorder, s.wf, reasonLabelRestored, "Delete", fmt.Sprintf(
			"label %s restored: the Workflow waits for cluster %s, and is watched by the label until then", contract.LabelEnable, s.own.Namespace))
	}
	action := "Edit"
	if s.wf.IsDeleted() {
		action = "Delete"
	}
	r.recordOnce(s, action, why)
	return nil
}

// recordOnce records an Event unless it was the last that was recorded so.
func (r *Reconciler) recordOnce(s *snapshot, action string, why hubworkflow.Refusal) {
	said := string(s.wf.GetUID()) + why.Message
	if last, _ := r.recorded.Swap(s.key, said); last != said {
		hubworkflow.Warn(r.Recorder, s.wf, why.Reason, action, why.Message)
	}
}

// expire deletes the Workflow as it was read, and no other version of it: it may have been retried, or given more time.
func (r *Reconciler) expire(ctx context.Context, wf *hubworkflow.Workflow) error {
	uid, version := wf.GetUID(), wf.GetResourceVersion()
	if err := r.Client.Delete(ctx, wf.Unstructured, client.Preconditions{UID: &uid, ResourceVersion: &version},
		client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		return fmt.Errorf("delete Workflow %s: %w", wf.Key(), err)
	}
	expired.Inc()
	r.Recorder.Eventf(wf.Unstructured, nil, corev1.EventTypeNormal, reasonExpired, "Delete",
		"deleted as its ttlStrategy says: it was %s at %s", wf.Phase, wf.FinishedAt)
	return nil
}
