// Package dispatch sends each Workflow that has been given a cluster there, once, and takes it back when it is deleted.
package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	workv1 "open-cluster-management.io/api/work/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
)

// Reasons of the Events on a Workflow that was sent, or whose cluster or label is not left as it was found.
const (
	reasonDispatched                     = "Dispatched"
	reasonLabelRestored   hubcopy.Reason = "LabelRestored"
	reasonClusterRestored hubcopy.Reason = "ClusterRestored"
	reasonClusterTaken    hubcopy.Reason = "ClusterTakenBack"
)

// Reconciler dispatches Workflows.
type Reconciler struct {
	Client client.Client
	// Live reads from the API server: what is concluded from an absence must not come from a cache.
	Live     client.Reader
	Recorder events.EventRecorder
	Clock    clock.PassiveClock
	// HubID is the UID of the hub's kube-system namespace.
	HubID string
	// DeletionTimeout is how long a deleted Workflow waits for a cluster that cannot be reached; 0 for ever.
	DeletionTimeout time.Duration
	// RestoredAt is when the hub was restored from a backup; zero if it was not.
	RestoredAt time.Time

	// told holds, by Workflow, the wait for a cluster that an Event has told of.
	told sync.Map
	// unconfirmed holds, by Workflow, for how long an agent may still confirm a removal; see Reconcile.
	unconfirmed sync.Map
}

// Reconcile keeps one RemoteWorkflow and one ManifestWork for each Workflow that has been given a cluster, and none
// for a Workflow that is gone or going.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	result, err := r.reconcile(ctx, req)
	if left, ok := r.unconfirmed.LoadAndDelete(req.NamespacedName); ok && err == nil {
		if left := left.(time.Duration); result.RequeueAfter == 0 || left < result.RequeueAfter {
			result.RequeueAfter = left
		}
	}
	return result, err
}

func (r *Reconciler) reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	wf, err := r.workflow(ctx, req.NamespacedName)
	if err != nil {
		return ctrl.Result{}, err
	}
	current, outdated, err := r.retireOthers(ctx, req.NamespacedName, wf)
	if err != nil || outdated || wf == nil {
		return ctrl.Result{}, hubcopy.IgnoreStale(err)
	}
	var result ctrl.Result
	switch {
	case !wf.GetDeletionTimestamp().IsZero():
		result.RequeueAfter, err = r.finalize(ctx, wf, current)
	case current != nil && !current.DeletionTimestamp.IsZero():
		err = r.giveUp(ctx, wf, current)
	case current != nil:
		result.RequeueAfter, err = r.keep(ctx, wf, current)
	default:
		err = r.dispatch(ctx, wf)
	}
	if !isWatched(wf) {
		return result, err // no watch would bring the next try after a conflict
	}
	return result, hubcopy.IgnoreStale(err)
}

// isWatched reports whether the cache shows the Workflow: it has our label, with whatever value.
func isWatched(wf *unstructured.Unstructured) bool {
	_, watched := wf.GetLabels()[contract.LabelEnable]
	return watched
}

// workflow returns the Workflow, or nil if there is none. The cache shows only those with our label; the API
// server is asked before one is taken for gone, for its run would be removed.
func (r *Reconciler) workflow(ctx context.Context, key types.NamespacedName) (*unstructured.Unstructured, error) {
	wf := contract.NewWorkflow()
	err := r.Client.Get(ctx, key, wf)
	if apierrors.IsNotFound(err) {
		err = r.Live.Get(ctx, key, wf)
	}
	if apierrors.IsNotFound(err) {
		r.told.Delete(key)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get Workflow: %w", err)
	}
	return wf, nil
}

// retireOthers removes the runs of earlier Workflows of this name, and returns this one's RemoteWorkflow, if any. If it is
// this one that is the earlier, the cache is outdated, and nothing is to be done before it has caught up.
func (r *Reconciler) retireOthers(
	ctx context.Context, key types.NamespacedName, wf *unstructured.Unstructured,
) (current *v1alpha1.RemoteWorkflow, outdated bool, err error) {
	var list v1alpha1.RemoteWorkflowList
	if err := r.Client.List(ctx, &list, client.MatchingFields{indexWorkflow: key.String()}); err != nil {
		return nil, false, fmt.Errorf("list RemoteWorkflows: %w", err)
	}
	var own []*v1alpha1.RemoteWorkflow
	for i := range list.Items {
		rw := &list.Items[i]
		if wf != nil && rw.Spec.WorkflowRef.UID == wf.GetUID() {
			own = append(own, rw)
			continue
		}
		if isLive, err := r.isLive(ctx, rw); err != nil || isLive {
			return nil, isLive, err
		}
		if _, err := r.remove(ctx, rw); err != nil {
			return nil, false, err
		}
	}
	return r.theRun(ctx, wf, own)
}

// isLive reports whether the API server has the Workflow of a RemoteWorkflow that the cache shows none for: a cache
// that lags behind, after a change of leaders, may still show an earlier one of its name.
func (r *Reconciler) isLive(ctx context.Context, rw *v1alpha1.RemoteWorkflow) (bool, error) {
	if !rw.DeletionTimestamp.IsZero() {
		return false, nil
	}
	ref, wf := rw.Spec.WorkflowRef, contract.NewWorkflow()
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, wf)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("get Workflow: %w", err)
	}
	return err == nil && wf.GetUID() == ref.UID, nil
}

// keep sees to a Workflow that has been dispatched, and returns when to look at it again; 0 leaves that to the watches.
func (r *Reconciler) keep(ctx context.Context, wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow) (time.Duration, error) {
	if restored, err := r.restore(ctx, wf, rw); err != nil || restored {
		return 0, err
	}
	work := &workv1.ManifestWork{}
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(rw), work)
	if apierrors.IsNotFound(err) && mayStillStart(wf, rw) {
		// Most likely the cache does not show yet what has just been created.
		err = r.Live.Get(ctx, client.ObjectKeyFromObject(rw), work)
	}
	switch {
	case apierrors.IsNotFound(err):
		return 0, r.withoutManifestWork(ctx, wf, rw)
	case err != nil:
		return 0, fmt.Errorf("get ManifestWork: %w", err)
	case !work.DeletionTimestamp.IsZero():
		return 0, nil
	case isRemoteDeleted(rw):
		// The work agent would re-create the copy at every resync. It could not start, but it is not wanted either.
		return 0, r.deleteManifestWork(ctx, work)
	case !mayStillStart(wf, rw):
		return 0, nil
	}
	return r.retryApply(ctx, work)
}

// withoutManifestWork sees to a dispatched Workflow whose ManifestWork is missing. With a cluster that is being detached OCM removes
// all ManifestWorks, and what they brought: the run is withdrawn, and nothing stays behind or stands in OCM's way.
func (r *Reconciler) withoutManifestWork(ctx context.Context, wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow) error {
	cluster, err := hubcopy.Cluster(ctx, r.Client, rw.Namespace)
	switch {
	case err != nil:
		return err
	case hubcopy.IsDetached(cluster):
		_, err := r.remove(ctx, rw)
		return err
	case mayStillStart(wf, rw) && hubcopy.IsForeign(wf):
		return nil // the status package replaces the status first, which brings us back
	case mayStillStart(wf, rw):
		return r.explain(ctx, wf, r.createManifestWork(ctx, wf, rw))
	}
	return nil
}

// giveUp lets a RemoteWorkflow go that somebody else has deleted, such as the namespace of a detached cluster. A run that may
// have begun does not begin again: the status package first says on the Workflow how it ended, which brings us back.
func (r *Reconciler) giveUp(ctx context.Context, wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow) error {
	if hubcopy.HasStarted(wf, rw) && !contract.IsFinished(contract.Phase(wf)) {
		// Without the label, the status package would not see it.
		_, err := r.restore(ctx, wf, rw)
		return err
	}
	_, err := r.remove(ctx, rw)
	return err
}

// restore undoes edits that would detach a dispatched Workflow from its run.
func (r *Reconciler) restore(ctx context.Context, wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow) (bool, error) {
	metadata, told := map[string]any{}, map[hubcopy.Reason]string{}
	if !contract.IsOurs(wf) {
		metadata["labels"] = map[string]string{contract.LabelEnable: contract.LabelEnableValue}
		told[reasonLabelRestored] = fmt.Sprintf("label %s restored: the Workflow runs on cluster %s; delete it to end the run",
			contract.LabelEnable, rw.Namespace)
	}
	assignment := contract.Assignment(wf, rw.Spec.Attempt, rw.Namespace)
	annotations := wf.GetAnnotations()
	if annotations[contract.AnnotationCluster] != rw.Namespace || annotations[contract.AnnotationAssigned] != assignment {
		metadata["annotations"] = map[string]string{
			contract.AnnotationCluster:  rw.Namespace,
			contract.AnnotationAssigned: assignment,
		}
		told[reasonClusterRestored] = fmt.Sprintf("annotation %s restored: the Workflow runs on cluster %s and cannot move; "+
			"delete and create it anew to run it elsewhere", contract.AnnotationCluster, rw.Namespace)
	}
	if len(metadata) == 0 {
		return false, nil
	}
	if err := hubcopy.PatchMetadata(ctx, r.Client, wf, metadata); err != nil {
		return false, err
	}
	for reason, message := range told {
		hubcopy.Tell(r.Recorder, wf, reason, "Dispatch", message)
	}
	return true, nil
}

// dispatch sends the Workflow to its cluster, or says on it why not.
func (r *Reconciler) dispatch(ctx context.Context, wf *unstructured.Unstructured) error {
	if isWithdrawn(wf) {
		return r.releaseWithdrawn(ctx, wf)
	}
	cluster := contract.AssignedCluster(wf)
	if cluster == "" {
		cluster = contract.ChosenCluster(wf)
	}
	rw, work, held, err := r.plan(ctx, wf, cluster)
	if err != nil {
		return err
	}
	if mayMove(wf, held) {
		return r.chooseAnew(ctx, wf)
	}
	if held != (hold{}) {
		return hubcopy.Hold(ctx, r.Client, r.Recorder, wf, held.reason, held.message)
	}
	if rw == nil {
		return nil
	}
	if contract.AssignedCluster(wf) == "" || !slices.Contains(wf.GetFinalizers(), contract.FinalizerDispatch) {
		// Recorded before anything is created, with the resourceVersion as precondition: whatever the user changes
		// from here on, there is no second cluster.
		if err := hubcopy.Assign(ctx, r.Client, wf, cluster); err != nil {
			return r.explain(ctx, wf, err)
		}
	}
	sent, err := r.create(ctx, rw)
	if err == nil && sent {
		sent, err = r.send(ctx, rw, work)
	}
	if err != nil {
		return r.explain(ctx, wf, err)
	}
	if sent {
		r.Recorder.Eventf(wf, nil, corev1.EventTypeNormal, reasonDispatched, "Dispatch", "sent to cluster %s as %s/%s",
			cluster, rw.Spec.Remote.Namespace, rw.Spec.Remote.Name)
	}
	return nil
}

// releaseWithdrawn lets a Workflow go that is not handed to this project any more. Without the label its deletion goes unseen, and the
// finalizer of an assignment would keep it for ever. The cache may not show yet what has just been created: the watch brings that, and the
// label is restored then.
func (r *Reconciler) releaseWithdrawn(ctx context.Context, wf *unstructured.Unstructured) error {
	if live, err := r.liveRun(ctx, wf); err != nil || live != nil {
		return err
	}
	return hubcopy.Release(ctx, r.Client, wf)
}

// explain says on the Workflow that the hub itself does not let it go: an admission policy or a quota. The error is returned,
// so that it is tried again.
func (r *Reconciler) explain(ctx context.Context, wf *unstructured.Unstructured, err error) error {
	if hubcopy.IsRefused(err) {
		held := hubcopy.Hold(ctx, r.Client, r.Recorder, wf, ReasonCannotTravel, fmt.Sprintf("not dispatched: the hub refuses it: %v", err))
		return errors.Join(err, hubcopy.IgnoreStale(held))
	}
	return err
}
