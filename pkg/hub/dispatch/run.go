package dispatch

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
)

// Bounds of the delay after which a copy that could not be created is tried again.
const (
	minApplyRetry = 15 * time.Second
	maxApplyRetry = 2 * time.Minute
)

// mayStillStart reports whether the run's ManifestWork is missing because it has not been created yet, and not
// because somebody removed it: once a copy has been recorded or has shown a phase, there is no other.
func mayStillStart(wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow) bool {
	return !isRemoteDeleted(rw) && !hubcopy.HasStarted(wf, rw)
}

func isRemoteDeleted(rw *v1alpha1.RemoteWorkflow) bool {
	return meta.IsStatusConditionTrue(rw.Status.Conditions, v1alpha1.ConditionRemoteDeleted)
}

// create makes the RemoteWorkflow, the root of the run, and reports whether it did. Alone it starts nothing.
func (r *Reconciler) create(ctx context.Context, rw *v1alpha1.RemoteWorkflow) (bool, error) {
	err := r.Client.Create(ctx, rw)
	if apierrors.IsAlreadyExists(err) {
		// The cache lags behind our own creation: the name is a hash of the Workflow's UID, so it is the same run. The
		// watch brings it, as it was recorded, and with it whatever is still to be done.
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("create RemoteWorkflow: %w", err)
	}
	return true, nil
}

// send creates the ManifestWork of rw, which is on the API server, and reports whether the Workflow is on its way.
//
// Only now the API server is asked whether the Workflow still waits for this run: a manager that was paused, or whose cache
// lags, may be about to send what another has run and a user deleted. Whoever lets a deleted Workflow go looks for rw after
// the deletion. So either it is found there, and a copy without it never starts; or the deletion came first, and shows here.
func (r *Reconciler) send(ctx context.Context, rw *v1alpha1.RemoteWorkflow, work *workv1.ManifestWork) (bool, error) {
	ref, live := rw.Spec.WorkflowRef, contract.NewWorkflow()
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, live)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("get Workflow: %w", err)
	}
	if err != nil || !isWanted(live, rw) {
		return false, r.takeBack(ctx, rw)
	}
	work.OwnerReferences[0].UID = rw.UID
	if err := r.Client.Create(ctx, work); err != nil && !apierrors.IsAlreadyExists(err) {
		return false, fmt.Errorf("create ManifestWork: %w", err)
	}
	return true, nil
}

// takeBack deletes a RemoteWorkflow that came too late; its end is remove's. If it has changed since it was read, or has a
// ManifestWork, another manager has gone on with it.
func (r *Reconciler) takeBack(ctx context.Context, rw *v1alpha1.RemoteWorkflow) error {
	err := r.Live.Get(ctx, client.ObjectKeyFromObject(rw), &workv1.ManifestWork{})
	if err == nil {
		return nil
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("get ManifestWork: %w", err)
	}
	err = r.Client.Delete(ctx, rw, client.Preconditions{UID: &rw.UID, ResourceVersion: &rw.ResourceVersion})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete RemoteWorkflow: %w", err)
	}
	return nil
}

// createManifestWork makes good for a crash between the two creations.
func (r *Reconciler) createManifestWork(ctx context.Context, wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow) error {
	work, err := newManifestWork(wf, rw)
	if err != nil {
		return fmt.Errorf("build ManifestWork: %w", err)
	}
	_, err = r.send(ctx, rw, work)
	return err
}

// retryApply sees to it that the work agent tries again to create a copy that it could not, and returns when to look at it
// next. Left alone, OCM's agent doubles its delay with each failure, up to a quarter of an hour after the cause is gone.
func (r *Reconciler) retryApply(ctx context.Context, work *workv1.ManifestWork) (time.Duration, error) {
	problem := hubcopy.ApplyProblem(work)
	if problem == nil {
		return 0, nil
	}
	now := r.Clock.Now()
	if wait := nextRetry(work, problem.LastTransitionTime.Time, now).Sub(now); wait > 0 {
		return wait, nil
	}
	retried := work.DeepCopy()
	metav1.SetMetaDataLabel(&retried.ObjectMeta, contract.LabelApplyRetried, strconv.FormatInt(now.Unix(), 10))
	if err := r.Client.Patch(ctx, retried, client.MergeFrom(work)); client.IgnoreNotFound(err) != nil {
		return 0, fmt.Errorf("label ManifestWork: %w", err)
	}
	return nextRetry(retried, problem.LastTransitionTime.Time, now).Sub(now), nil
}

// nextRetry returns when a copy that could not be created is to be tried again: after the time for which it has failed by
// now, within bounds, so that a cause that stays costs little.
func nextRetry(work *workv1.ManifestWork, failedSince, now time.Time) time.Time {
	if failedSince.After(now) {
		failedSince = now.Add(-minApplyRetry) // the cluster's clock is ahead
	}
	last := failedSince
	if seconds, err := strconv.ParseInt(work.Labels[contract.LabelApplyRetried], 10, 64); err == nil && seconds > last.Unix() {
		last = time.Unix(seconds, 0)
	}
	return last.Add(min(max(last.Sub(failedSince), minApplyRetry), maxApplyRetry))
}

// remove takes a run back, step by step, and reports whether it is gone. Each step is taken when the watch shows that
// the one before is done: the work agent deletes the copy, the agent ends the run, has the copy wait for its pods and confirms that
// it is gone, the work agent lets the ManifestWork go, and with that gone the RemoteWorkflow may go.
func (r *Reconciler) remove(ctx context.Context, rw *v1alpha1.RemoteWorkflow) (gone bool, err error) {
	deleted := !rw.DeletionTimestamp.IsZero()
	if !deleted {
		if err := r.Client.Delete(ctx, rw, client.Preconditions{UID: &rw.UID}); client.IgnoreNotFound(err) != nil {
			return false, fmt.Errorf("delete RemoteWorkflow: %w", err)
		}
	}
	work := &workv1.ManifestWork{}
	switch err := r.Live.Get(ctx, client.ObjectKeyFromObject(rw), work); {
	case err == nil && work.DeletionTimestamp.IsZero():
		return false, r.deleteManifestWork(ctx, work)
	case err == nil || (apierrors.IsNotFound(err) && !deleted):
		return false, nil
	case !apierrors.IsNotFound(err):
		return false, fmt.Errorf("get ManifestWork: %w", err)
	}
	if !slices.Contains(rw.Finalizers, contract.FinalizerDispatch) {
		return true, nil
	}
	if awaited, err := r.awaitsAgent(ctx, rw); err != nil || awaited {
		return false, err
	}
	released := rw.DeepCopy()
	released.Finalizers = slices.DeleteFunc(released.Finalizers, func(f string) bool { return f == contract.FinalizerDispatch })
	err = r.Client.Patch(ctx, released, client.MergeFromWithOptions(rw, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("release RemoteWorkflow: %w", err)
	}
	return true, nil
}

// confirmationTimeout is for how long after its deletion a run whose ManifestWork is gone waits for its agent's word: an agent of an
// earlier version gives none.
const confirmationTimeout = 5 * time.Minute

// awaitsAgent reports whether the agent has still to confirm that the copy is gone. The ManifestWork may go before: a work agent that
// has not noted yet that it has created the copy leaves it to the garbage collector. An agent that is being disabled has let go of
// everything.
func (r *Reconciler) awaitsAgent(ctx context.Context, rw *v1alpha1.RemoteWorkflow) (bool, error) {
	left := rw.DeletionTimestamp.Add(confirmationTimeout).Sub(r.Clock.Now())
	if rw.Spec.Reporting != v1alpha1.ReportingAgent || rw.Status.RemoteUID == "" || isRemoteDeleted(rw) || left <= 0 {
		return false, nil
	}
	cluster, addon, err := r.surroundings(ctx, rw.Namespace)
	if err != nil || addon == nil || !addon.DeletionTimestamp.IsZero() || hubcopy.IsDetached(cluster) {
		return false, err
	}
	ref := rw.Spec.WorkflowRef
	r.unconfirmed.Store(types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}, left)
	return true, nil
}

func (r *Reconciler) deleteManifestWork(ctx context.Context, work *workv1.ManifestWork) error {
	err := r.Client.Delete(ctx, work, client.Preconditions{UID: &work.UID})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete ManifestWork: %w", err)
	}
	return nil
}
