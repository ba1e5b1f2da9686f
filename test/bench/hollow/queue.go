package hollow

import (
	"context"
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// minRetryDelay is the delay after a first failure, as that of the agent.
const minRetryDelay = 5 * time.Millisecond

// queue hands requests to a reconciler as a controller does, one at a time for each name.
type queue struct {
	workqueue.TypedRateLimitingInterface[reconcile.Request]
	name string
}

func newQueue(name string, maxRetryDelay time.Duration) *queue {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](minRetryDelay, maxRetryDelay)
	return &queue{workqueue.NewTypedRateLimitingQueue(limiter), name}
}

// work lets so many workers work on the queue until the context ends.
func (q *queue) work(ctx context.Context, workers int, reconciler reconcile.Reconciler) {
	ctx = log.IntoContext(ctx, log.Log.WithName(q.name).V(1))
	for range workers {
		go func() {
			for q.next(ctx, reconciler) {
			}
		}()
	}
	go func() {
		<-ctx.Done()
		q.ShutDown()
	}()
}

func (q *queue) next(ctx context.Context, reconciler reconcile.Reconciler) bool {
	request, down := q.Get()
	if down {
		return false
	}
	defer q.Done(request)
	result, err := reconciler.Reconcile(ctx, request)
	switch {
	case err != nil && ctx.Err() == nil:
		log.FromContext(ctx).Error(err, "tried again", "request", request.NamespacedName)
		q.AddRateLimited(request)
	case result.RequeueAfter > 0:
		q.Forget(request)
		q.AddAfter(request, result.RequeueAfter)
	default:
		q.Forget(request)
	}
	return true
}
