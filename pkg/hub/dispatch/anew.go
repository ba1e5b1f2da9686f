package dispatch

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
)

// mayMove reports whether a Workflow that is held back was given a cluster by a Placement, and the cluster is gone or going. What
// has a status, or may have run before the hub was restored, is held back for that, and does not move.
func mayMove(wf *unstructured.Unstructured, held hold) bool {
	return held.reason == ReasonClusterNotFound && contract.AssignedCluster(wf) != "" &&
		wf.GetAnnotations()[contract.AnnotationPlacement] != ""
}

// chooseAnew takes back the cluster of a Workflow that has not started, for its Placement to choose another.
//
// Nothing of the first dispatch may start later. A RemoteWorkflow goes when its ManifestWork is gone, and a copy without it never
// starts. But a manager that was paused may be about to send the Workflow: so the finalizer goes first, without which none is
// sent (isWanted), and only then the absence of a RemoteWorkflow counts. Either it is found, or the other finds the finalizer gone.
func (r *Reconciler) chooseAnew(ctx context.Context, wf *unstructured.Unstructured) error {
	if live, err := r.liveRun(ctx, wf); err != nil || live != nil {
		return err // the watch shows it, or the cache would not bring us here
	}
	if slices.Contains(wf.GetFinalizers(), contract.FinalizerDispatch) {
		return hubcopy.Release(ctx, r.Client, wf)
	}
	if err := hubcopy.Unassign(ctx, r.Client, wf); err != nil {
		return err
	}
	cluster := contract.AssignedCluster(wf)
	hubcopy.Tell(
		r.Recorder,
		wf,
		reasonClusterTaken,
		"Dispatch",
		fmt.Sprintf("managed cluster %q is detached from the hub, and nothing has started there: "+
			"Placement %q chooses anew", cluster, wf.GetAnnotations()[contract.AnnotationPlacement]),
	)
	ctrl.LoggerFrom(ctx).Info("took back a cluster that is detached", "cluster", cluster)
	return nil
}

// theRun returns, of the Workflow's own RemoteWorkflows, the one on the cluster that it was given. There is another if a manager
// that was paused has made it for a cluster that was taken back since: it cannot have been sent, and is removed. One alone on
// another cluster is the run, and somebody changed the Workflow. If the Workflow is not what the cache shows, that is outdated.
func (r *Reconciler) theRun(ctx context.Context, wf *unstructured.Unstructured, own []*v1alpha1.RemoteWorkflow) (
	current *v1alpha1.RemoteWorkflow, outdated bool, err error,
) {
	switch {
	case len(own) == 0:
		return nil, false, nil
	case len(own) == 1 && own[0].Namespace == contract.AssignedCluster(wf):
		return own[0], false, nil
	}
	live := contract.NewWorkflow()
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(wf), live); client.IgnoreNotFound(err) != nil {
		return nil, false, fmt.Errorf("get Workflow: %w", err)
	}
	if live.GetUID() != wf.GetUID() {
		return nil, true, nil
	}
	if current, err = r.liveRun(ctx, live); err != nil || current == nil {
		return own[0], false, err
	}
	for _, rw := range own {
		if rw.UID == current.UID {
			continue
		}
		if _, err := r.remove(ctx, rw); err != nil {
			return nil, false, err
		}
	}
	return current, false, nil
}
