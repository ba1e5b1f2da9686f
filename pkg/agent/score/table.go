package score

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

const (
	// staleAfter is how long the API server may be away before what was watched is not believed any more.
	staleAfter = time.Minute
	// maxWatchDelay bounds the delay before what could not be watched is tried again.
	maxWatchDelay = 30 * time.Second
)

// table holds a row for each object of a kind, and nothing else of it. A reflector keeps it equal to what the API server has: each
// event costs one change of the map.
type table[O metav1.Object, R comparable] struct {
	resource string
	read     func(O) R
	// optional is whether the kind may be missing on the cluster, which is as if there were no objects.
	optional bool
	clock    clock.PassiveClock
	// changed is sent to, unless it is full, when a row or the problem has changed.
	changed chan struct{}

	mu   sync.Mutex
	rows map[types.UID]R
	// listed is whether the rows have ever been complete.
	listed bool
	// problem is why they are not kept up to date, since that time.
	problem error
	since   time.Time
}

// row is an object on its way from the API server to the table. It has the metadata that a reflector needs.
type row[R comparable] struct {
	namespace, name string
	uid             types.UID
	value           R
}

// GetObjectMeta returns namespace and name.
func (r row[R]) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: r.namespace, Name: r.name}
}

// Transformer returns what reduces an object to its row, so that a list of all is not held in memory as a whole.
func (t *table[O, R]) Transformer() cache.TransformFunc {
	return func(object any) (any, error) { return t.rowOf(object) }
}

func (t *table[O, R]) rowOf(object any) (row[R], error) {
	switch o := object.(type) {
	case row[R]:
		return o, nil
	case O:
		return row[R]{o.GetNamespace(), o.GetName(), o.GetUID(), t.read(o)}, nil
	default:
		return row[R]{}, fmt.Errorf("a %T among %s", object, t.resource)
	}
}

// Add sets the row of an object.
func (t *table[O, R]) Add(object any) error {
	r, err := t.rowOf(object)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if before, ok := t.rows[r.uid]; !ok || before != r.value {
		t.rows[r.uid] = r.value
		t.signal()
	}
	return nil
}

// Update sets the row of an object.
func (t *table[O, R]) Update(object any) error { return t.Add(object) }

// Delete removes the row of an object.
func (t *table[O, R]) Delete(object any) error {
	r, err := t.rowOf(object)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.rows, r.uid)
	t.signal()
	return nil
}

// Replace makes the table hold exactly the rows of the objects.
func (t *table[O, R]) Replace(objects []any, _ string) error {
	rows := make(map[types.UID]R, len(objects))
	for _, object := range objects {
		r, err := t.rowOf(object)
		if err != nil {
			return err
		}
		rows[r.uid] = r.value
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.listed || t.problem != nil || !maps.Equal(t.rows, rows) {
		t.signal()
	}
	t.rows, t.listed, t.problem, t.since = rows, true, nil, time.Time{}
	return nil
}

// Resync does nothing: nobody asks for it.
func (t *table[O, R]) Resync() error { return nil }

// signal says that something has changed, to whoever waits or will. The lock is held.
func (t *table[O, R]) signal() {
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// follow keeps the table up to date until the context is done. Whatever goes wrong is tried again, and logged once.
func (t *table[O, R]) follow(ctx context.Context, source cache.ListerWatcher, example O) {
	reflector := cache.NewReflectorWithOptions(source, example, t, cache.ReflectorOptions{Name: "score: " + t.resource})
	delay := wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.5, Steps: 10, Cap: maxWatchDelay}
	_ = delay.DelayWithReset(clock.RealClock{}, 2*time.Minute).Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		if err := reflector.ListAndWatchWithContext(ctx); err != nil && ctx.Err() == nil {
			t.fail(ctx, err)
		}
		return false, nil
	})
}

// fail records that the objects cannot be listed or watched at present.
func (t *table[O, R]) fail(ctx context.Context, err error) {
	if t.optional && apierrors.IsNotFound(err) {
		_ = t.Replace(nil, "") // which fails for no object
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.problem == nil {
		t.since = t.clock.Now()
		log.FromContext(ctx).Error(err, "cannot watch what the cluster has free; tries again", "resource", t.resource)
	}
	t.problem = err
	t.signal()
}

// doubt returns why the rows are not to be believed, errNotListed as long as the first list is under way. The lock is held.
func (t *table[O, R]) doubt() error {
	switch {
	case t.problem != nil && (!t.listed || t.clock.Since(t.since) >= staleAfter):
		return fmt.Errorf("cannot watch %s: %w", t.resource, t.problem)
	case !t.listed:
		return errNotListed
	}
	return nil
}

var errNotListed = errors.New("not yet listed")
