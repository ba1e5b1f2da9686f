// Package status keeps the hub's copy of each Workflow equal to what runs on the managed cluster.
package status

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/events"
	workv1 "open-cluster-management.io/api/work/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/report"
)

// staleDelay is how long the cache gets to catch up with a Workflow that changed under a write.
const staleDelay = 10 * time.Millisecond

// Reconciler mirrors statuses.
type Reconciler struct {
	Client client.Client
	// Live reads from the API server: that a run is lost is not concluded from a cache.
	Live     client.Reader
	Recorder events.EventRecorder

	// written holds, by Workflow, the resourceVersion of the last write, whose echo needs no look.
	written sync.Map
}

// Reconcile shows on the hub's copy what its cluster reports, in at most one write.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	wf := contract.NewWorkflow()
	if err := r.Client.Get(ctx, req.NamespacedName, wf); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	rw, work, err := r.run(ctx, wf)
	if err != nil {
		return ctrl.Result{}, err
	}
	if rw == nil {
		return ctrl.Result{}, client.IgnoreNotFound(r.lost(ctx, wf))
	}
	out, away, err := r.outcome(ctx, wf, rw, work)
	if err != nil || out.status == nil {
		return ctrl.Result{}, err
	}
	if out.release != nil {
		defer out.release()
	}
	written, err := r.write(ctx, wf, out.status)
	if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || report.IsTooLarge(err) {
		// The API server will never take it: that is the cluster's fault, and trying again would not mend it. The end must be seen.
		status := report.Summary(rw, fmt.Sprintf("the hub's API server refuses the whole status: %.256s", err))
		if status == nil {
			return ctrl.Result{}, err
		}
		out = shown(status, rw, remoteDeleted(wf, rw, away), away)
		if out.reason == "" {
			out.reason, out.message = ReasonIncomplete, fmt.Sprintf(
				"only a summary is shown: the hub's API server refuses the whole status: %v",
				err,
			)
		}
		written, err = r.write(ctx, wf, out.status)
	}
	if apierrors.IsConflict(err) {
		// Not left to the watch: it does not come back with the echo of our own writes.
		return ctrl.Result{RequeueAfter: staleDelay}, nil
	}
	if err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if written {
		r.tell(ctx, wf, out)
	}
	return ctrl.Result{}, nil
}

// outcome returns what the hub's copy is to show, and why nothing is to be heard from its cluster. A cache may lag behind, or
// disagree with another after a restoration of the hub: what has ended goes on only by what the API server says, as a run does that
// was retried on its cluster. rw becomes what it says.
func (r *Reconciler) outcome(
	ctx context.Context, wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow, work *workv1.ManifestWork,
) (out outcome, away string, err error) {
	away, err = r.away(ctx, wf, rw)
	if err != nil {
		return outcome{}, "", err
	}
	if out = decide(wf, rw, work, away); !reopens(wf, out) {
		return out, away, nil
	}
	if out.release != nil {
		out.release()
	}
	key := client.ObjectKeyFromObject(rw)
	*rw = v1alpha1.RemoteWorkflow{}
	if err := r.Live.Get(ctx, key, rw); err != nil {
		return outcome{}, "", client.IgnoreNotFound(err)
	}
	if away, err = r.away(ctx, wf, rw); err != nil {
		return outcome{}, "", err
	}
	return decide(wf, rw, work, away), away, nil
}

// lost ends a Workflow that was seen to run and whose RemoteWorkflow is gone, though it holds a finalizer of ours: somebody
// removed it by force. Nothing will ever be reported of that run, and it is not made again.
func (r *Reconciler) lost(ctx context.Context, wf *unstructured.Unstructured) error {
	key, phase := hubcopy.RunKey(wf), contract.Phase(wf)
	if key.Namespace == "" || contract.IsPending(phase) || contract.IsFinished(phase) || !wf.GetDeletionTimestamp().IsZero() ||
		hubcopy.IsForeign(wf) {
		return nil
	}
	if err := r.Live.Get(ctx, key, &v1alpha1.RemoteWorkflow{}); !apierrors.IsNotFound(err) {
		return err
	}
	status := copyOf(contract.Status(wf))
	out := markDeleted(status, key.Namespace, &metav1.Condition{
		Reason: v1alpha1.ReasonVanishedUnfinished,
		Message: fmt.Sprintf(
			"RemoteWorkflow %s is gone from the hub, so that no end can be reported any more; if the run is still there, it is %s/%s",
			key.Name,
			contract.RemoteNamespace(wf),
			wf.GetName(),
		),
		LastTransitionTime: metav1.Now(),
	})
	written, err := r.write(ctx, wf, out.status)
	if err == nil && written {
		r.tell(ctx, wf, out)
	}
	return hubcopy.IgnoreStale(err)
}

// run returns the Workflow's RemoteWorkflow, nil if it has none, and its ManifestWork, nil if it has none.
func (r *Reconciler) run(
	ctx context.Context, wf *unstructured.Unstructured,
) (*v1alpha1.RemoteWorkflow, *workv1.ManifestWork, error) {
	key := hubcopy.RunKey(wf)
	if key.Namespace == "" {
		return nil, nil, nil
	}
	rw := &v1alpha1.RemoteWorkflow{}
	if err := r.Client.Get(ctx, key, rw); err != nil {
		return nil, nil, client.IgnoreNotFound(err)
	}
	work := &workv1.ManifestWork{}
	err := r.Client.Get(ctx, key, work)
	if apierrors.IsNotFound(err) {
		return rw, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("get ManifestWork: %w", err)
	}
	return rw, work, nil
}

// away returns why nothing is to be heard from the cluster, "" if something is: a run that was withdrawn may have been so with
// its cluster, and an agent that is needed may not be there. An agent that is only out of reach is needed to start a run,
// not to go on with it.
func (r *Reconciler) away(ctx context.Context, wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow) (string, error) {
	if isWithdrawn(wf, rw) {
		return r.detached(ctx, rw)
	}
	if !needsAgent(rw) {
		return "", nil
	}
	addon, err := hubcopy.Addon(ctx, r.Client, rw.Namespace)
	switch {
	case err != nil:
		return "", err
	case addon != nil && addon.DeletionTimestamp.IsZero() && rw.Status.RemoteUID != "":
		return "", nil
	}
	return hubcopy.AbsenceOfAgent(addon).Why, nil
}

// detached returns that the run's cluster was detached from the hub, "" if it was not.
func (r *Reconciler) detached(ctx context.Context, rw *v1alpha1.RemoteWorkflow) (string, error) {
	cluster, err := hubcopy.Cluster(ctx, r.Client, rw.Namespace)
	if err != nil || !hubcopy.IsDetached(cluster) {
		return "", err
	}
	return "the cluster was detached from the hub", nil
}

// needsAgent reports whether an agent is to start the run, or to report more of it.
func needsAgent(rw *v1alpha1.RemoteWorkflow) bool {
	return rw.Spec.Reporting == v1alpha1.ReportingAgent && !contract.IsFinished(rw.Status.Phase)
}

// write writes the status, smaller by as many steps as it takes for the API server to accept it.
func (r *Reconciler) write(ctx context.Context, wf *unstructured.Unstructured, status map[string]any) (bool, error) {
	for steps := 0; ; {
		taken, err := report.Shrink(status, steps)
		if err != nil {
			return false, err
		}
		written, err := hubcopy.Write(ctx, r.Client, wf, status)
		if written != "" {
			r.written.Store(client.ObjectKeyFromObject(wf), written)
		}
		if !report.IsTooLarge(err) || taken == report.MaxSteps {
			return written != "", err
		}
		steps = taken + 1
	}
}

// tell accompanies what was written with an Event, the metrics and, for an end, a log line.
func (r *Reconciler) tell(ctx context.Context, wf *unstructured.Unstructured, out outcome) {
	statusWrites.Inc()
	if out.refused != "" {
		reportsRefused.WithLabelValues(out.refused).Inc()
	}
	if out.reason != "" {
		hubcopy.Tell(r.Recorder, wf, out.reason, "Report", out.message)
	}
	if phase := contract.StatusString(out.status, "phase"); phase != contract.Phase(wf) && contract.IsFinished(phase) {
		ctrl.LoggerFrom(ctx).Info("finished", "phase", phase)
	}
}
