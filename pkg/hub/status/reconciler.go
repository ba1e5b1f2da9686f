// Package status keeps the hub's copy of each Workflow equal to what runs on the managed cluster.
package status

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/events"
	workv1 "open-cluster-management.io/api/work/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
)

// staleDelay is how long the cache gets to catch up with a Workflow that changed under a write.
const staleDelay = 10 * time.Millisecond

// Reconciler mirrors statuses.
type Reconciler struct {
	Client   client.Client
	Recorder events.EventRecorder
}

// Reconcile shows on the hub's copy what its cluster reports, in at most one write.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	wf := contract.NewWorkflow()
	if err := r.Client.Get(ctx, req.NamespacedName, wf); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	rw, work, err := r.run(ctx, wf)
	if err != nil || rw == nil {
		return ctrl.Result{}, err
	}
	out := decide(wf, rw, work)
	if out.status == nil {
		return ctrl.Result{}, nil
	}
	written, err := r.write(ctx, wf, out.status)
	if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || isTooLarge(err) {
		// The API server will never take it: that is the cluster's fault, and trying again would not mend it.
		out = refuse(wf, refusal{RefusedUnreadable, fmt.Sprintf("refused a report from cluster %s: %v", rw.Namespace, err)})
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

// run returns the Workflow's RemoteWorkflow, nil if it has none, and its ManifestWork, nil if it has none.
func (r *Reconciler) run(
	ctx context.Context, wf *unstructured.Unstructured,
) (*v1alpha1.RemoteWorkflow, *workv1.ManifestWork, error) {
	key := client.ObjectKey{
		Namespace: contract.AssignedCluster(wf),
		Name:      contract.RemoteWorkflowName(wf.GetName(), wf.GetUID(), contract.Attempt(wf)),
	}
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

// write writes the status, smaller by as many steps as it takes for the API server to accept it.
func (r *Reconciler) write(ctx context.Context, wf *unstructured.Unstructured, status map[string]any) (bool, error) {
	for steps := 0; ; {
		taken, err := shrink(status, steps)
		if err != nil {
			return false, err
		}
		written, err := hubcopy.Write(ctx, r.Client, wf, status)
		if !isTooLarge(err) || taken == len(shrinkSteps) {
			return written, err
		}
		steps = taken + 1
	}
}

// tell accompanies what was written with an Event, the metrics and, for an end, a log line.
func (r *Reconciler) tell(ctx context.Context, wf *unstructured.Unstructured, out outcome) {
	statusWrites.Inc()
	if out.refused.reason != "" {
		reportsRefused.WithLabelValues(out.refused.reason).Inc()
	}
	if out.reason != "" {
		hubcopy.Tell(r.Recorder, wf, out.reason, "Report", out.message)
	}
	if phase := contract.StatusString(out.status, "phase"); phase != contract.Phase(wf) && contract.IsFinished(phase) {
		ctrl.LoggerFrom(ctx).Info("finished", "phase", phase)
	}
}
