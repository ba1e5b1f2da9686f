// Package workflow sees to each hub Workflow from the moment that it is assigned to a cluster until it is gone: it creates the
// RemoteWorkflow of the attempt, shows what the cluster reports, deletes what has expired, and removes what was deleted. From the
// assignment on, nothing else on the hub writes the Workflow.
package workflow

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
)

// DefaultDeletionTimeout is how long a deleted Workflow waits if nobody says otherwise. Where it waits without limit, this is
// when it says so.
const DefaultDeletionTimeout = 15 * time.Minute

// Reconciler sees to assigned Workflows. It has no state but hints: without them it records an Event twice.
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
	// DeliveryRefused returns what the hub's API server has against delivering the RemoteWorkflow with this UID; "" for nothing.
	DeliveryRefused func(types.UID) string

	// recorded holds, by Workflow, what an Event has been recorded for that goes with no write.
	recorded sync.Map
}

// Reconcile does the next thing about the Workflow of this name, and about the attempts to run it or earlier ones of its name.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	s, err := r.snapshot(ctx, req.NamespacedName)
	if err != nil {
		return ctrl.Result{}, err
	}
	defer s.release()
	next := decide(s)
	if next.action == wait && next.why == nil {
		r.recorded.Delete(req.NamespacedName) // it is gone, or there is nothing to say any more
	}
	err = r.act(ctx, s, next)
	if s.isWatched() {
		err = hubworkflow.IgnoreStale(err) // without the label no watch would bring the next try
	}
	return ctrl.Result{RequeueAfter: lookAgain(s, next)}, err
}

// unseenRetry is when it is looked again for what no event may tell.
const unseenRetry = 5 * time.Second

// lookAgain returns when to decide anew if no event comes first; 0 for never. None comes of what the API server has and the cache has never
// shown: it may be gone before the hub can be watched again.
func lookAgain(s *snapshot, done decision) time.Duration {
	endsWithDelivery := done.action == finalize && done.attempt.Spec.Reporting == v1alpha1.ReportingFeedback
	if done.within == 0 && (s.isUnseen || s.isOutdated || endsWithDelivery) {
		return unseenRetry
	}
	return done.within
}
