package dispatch

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
)

// actionDelete is the action of the Events on a deleted Workflow.
const actionDelete = "Delete"

// finalize removes the run of a deleted Workflow, and then lets the Workflow go. It returns when to look at it again; 0
// leaves that to the watches.
func (r *Reconciler) finalize(ctx context.Context, wf *unstructured.Unstructured, current *v1alpha1.RemoteWorkflow) (time.Duration, error) {
	if current == nil {
		// The cache may not show yet what has just been created.
		var err error
		if current, err = r.liveRun(ctx, wf); err != nil {
			return 0, err
		}
	}
	if current != nil {
		gone, err := r.remove(ctx, current)
		switch {
		case err != nil || (!gone && current.DeletionTimestamp.IsZero()):
			return 0, err // the watch shows its deletion
		case !gone:
			return r.await(ctx, wf, current)
		}
	}
	return 0, hubcopy.Release(ctx, r.Client, wf)
}

// liveRun returns the RemoteWorkflow that the API server has for the Workflow, nil if none.
func (r *Reconciler) liveRun(ctx context.Context, wf *unstructured.Unstructured) (*v1alpha1.RemoteWorkflow, error) {
	key := hubcopy.RunKey(wf)
	if key.Namespace == "" {
		return nil, nil
	}
	live := &v1alpha1.RemoteWorkflow{}
	err := r.Live.Get(ctx, key, live)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("get RemoteWorkflow: %w", err)
	}
	if err != nil {
		return nil, nil
	}
	return live, nil
}

// await lets a deleted Workflow go whose cluster is not waited for any longer, or says what it waits for. It does not say that in
// the status, which is the status package's.
func (r *Reconciler) await(ctx context.Context, wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow) (time.Duration, error) {
	if !slices.Contains(wf.GetFinalizers(), contract.FinalizerDispatch) {
		return 0, nil // somebody else keeps it
	}
	cluster, addon, err := r.surroundings(ctx, rw.Namespace)
	if err != nil {
		return 0, err
	}
	now := r.Clock.Now()
	p := part(wf, rw, absenceOf(rw, cluster, addon), r.DeletionTimeout, now)
	if p.release != "" {
		return 0, r.letGo(ctx, wf, rw, p)
	}
	if err := r.keepWatched(ctx, wf, rw); err != nil {
		return 0, err
	}
	r.tellOfWait(wf, p.waits)
	if p.until.IsZero() {
		return 0, nil
	}
	return p.until.Sub(now), nil
}

// keepWatched restores the label of a deleted Workflow that waits. Without it nobody would see what its user sets on it, such as the
// annotation that lets it go.
func (r *Reconciler) keepWatched(ctx context.Context, wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow) error {
	if isWatched(wf) {
		return nil
	}
	metadata := map[string]any{"labels": map[string]string{contract.LabelEnable: contract.LabelEnableValue}}
	if err := hubcopy.PatchMetadata(ctx, r.Client, wf, metadata); err != nil {
		return err
	}
	hubcopy.Tell(
		r.Recorder,
		wf,
		reasonLabelRestored,
		actionDelete,
		fmt.Sprintf("label %s restored: the Workflow waits for cluster %s to remove its run, "+
			"and is watched by the label until then", contract.LabelEnable, rw.Namespace),
	)
	return nil
}

// letGo lets a deleted Workflow go without its run. RemoteWorkflow and ManifestWork stay in deletion: so the cluster removes the
// run when it is back, and then they go, as those of any Workflow that is not there any more.
func (r *Reconciler) letGo(ctx context.Context, wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow, p parting) error {
	if err := hubcopy.Release(ctx, r.Client, wf); err != nil {
		return err
	}
	releasedUnconfirmed.WithLabelValues(p.reason).Inc()
	hubcopy.Tell(
		r.Recorder,
		wf,
		reasonReleased,
		actionDelete,
		fmt.Sprintf("let go before cluster %s has removed the run: %s. The run may still "+
			"exist there as %s/%s; it is removed when the cluster is back", rw.Namespace, p.release, rw.Spec.Remote.Namespace, rw.Spec.Remote.Name),
	)
	ctrl.LoggerFrom(ctx).Info("let go of a deleted Workflow before its run was removed", "cluster", rw.Namespace, "why", p.release)
	return nil
}

// tellOfWait says in an Event what a deleted Workflow waits for, once for each wait; "" ends it.
func (r *Reconciler) tellOfWait(wf *unstructured.Unstructured, waits string) {
	key := client.ObjectKeyFromObject(wf)
	if waits == "" {
		r.told.Delete(key)
		return
	}
	wait := string(wf.GetUID()) + waits
	if told, _ := r.told.Swap(key, wait); told != wait {
		hubcopy.Tell(r.Recorder, wf, reasonDeletionWaits, actionDelete, waits)
	}
}
