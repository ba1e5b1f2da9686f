package scheduler

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

var (
	now       = gen.Time.Time
	withdrawn = map[string]string{contract.LabelEnable: "false"}
	gpu       = target{gen.Namespace, "", "gpu"}
)

func priority(value int64) gen.Mod { return gen.WithSpecField(value, "priority") }

func created(after time.Duration) gen.Mod {
	return func(obj client.Object) { obj.SetCreationTimestamp(metav1.NewTime(now.Add(after))) }
}

func put(q *queue, wf *unstructured.Unstructured) *item {
	known := hubworkflow.Of(wf)
	q.set(known, requestOf(known, time.Time{}))
	return q.items[known.Key()]
}

// popped returns the names of all that are to be tried, in order.
func popped(q *queue, at time.Time) []string {
	names := []string{}
	for it, _ := q.pop(at); it != nil; it, _ = q.pop(at) {
		names = append(names, it.wf.GetName())
	}
	return names
}

func TestTheMostUrgentIsTriedFirst(t *testing.T) {
	q := newQueue()
	for _, wf := range []*unstructured.Unstructured{
		gen.Workflow("c"), gen.Workflow("a"), gen.Workflow("b", gen.InNamespace("another")),
		gen.Workflow("young", created(time.Hour)), gen.Workflow("old", created(-time.Hour)), gen.Workflow("older", created(-2*time.Hour)),
		gen.Workflow("urgent", priority(2), created(2*time.Hour)), gen.Workflow("can wait", priority(-1)),
	} {
		put(q, wf)
	}
	want := []string{"urgent", "b", "a", "c", "older", "old", "young", "can wait"}
	assert.Equal(t, want, popped(q, now))
}

func TestAWorkflowIsQueuedOnce(t *testing.T) {
	q := newQueue()
	put(q, gen.Workflow("hello"))
	put(q, gen.Workflow("hello", gen.WithPlacement("gpu")))
	put(q, gen.Workflow("other", priority(1)))
	put(q, gen.Workflow("hello", gen.WithPlacement("gpu"), priority(2)))
	assert.Equal(t, []string{"hello", "other"}, popped(q, now))
}

func TestOneThatIsCreatedAgainTakesThePlaceOfTheEarlier(t *testing.T) {
	q := newQueue()
	earlier := put(q, gen.Workflow("hello", gen.WithPlacement("gpu")))
	popped(q, now)
	q.park(earlier, gpu)
	put(q, gen.Workflow("hello", gen.WithPlacement("gpu"), gen.WithUID("later")))
	assert.Empty(t, q.parked)
	it, _ := q.pop(now)
	require.NotNil(t, it)
	assert.Equal(t, types.UID("later"), it.wf.GetUID())
	q.settle(earlier, earlier.wf, stale, now)
	assert.Same(t, it, q.items[it.wf.Key()], "what comes of the earlier one does not matter")
}

func TestAChangeIsAReasonToTryAgainOnlyIfItChangesTheRequest(t *testing.T) {
	gpus := gen.WithPlacement("gpu")
	tests := map[string]struct {
		is        *unstructured.Unstructured
		wantTried bool
	}{
		"nothing":             {gen.Workflow("hello", gpus), false},
		"our message":         {gen.Workflow("hello", gpus, gen.WithHubStatus("Pending", map[string]any{"message": "waiting"})), false},
		"a label of the user": {gen.Workflow("hello", gpus, gen.WithLabels(map[string]string{"team": "a"})), false},
		"another Placement":   {gen.Workflow("hello", gen.WithPlacement("cpu")), true},
		"a cluster":           {gen.Workflow("hello", gpus, gen.WithCluster("cluster1")), true},
		"a namespace": {
			gen.Workflow("hello", gpus, gen.WithAnnotations(map[string]string{contract.AnnotationClusterNamespace: "b"})), true,
		},
		"the priority":           {gen.Workflow("hello", gpus, priority(1)), true},
		"a status of another":    {gen.Workflow("hello", gpus, gen.WithStatus("Running")), true},
		"the value of the label": {gen.Workflow("hello", gpus, gen.WithLabels(map[string]string{contract.LabelEnable: "yes"})), true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			q := newQueue()
			it := put(q, gen.Workflow("hello", gpus))
			popped(q, now)
			q.park(it, gpu)
			put(q, test.is)
			assert.Same(t, test.is, it.wf.Unstructured, "the next write needs the newest")
			assert.Equal(t, test.wantTried, len(popped(q, now)) == 1)
		})
	}
}

func TestAnEventFreesThoseThatWaitForItAndOnce(t *testing.T) {
	q := newQueue()
	for _, name := range []string{"a", "b", "c", "refused"} {
		it := put(q, gen.Workflow(name))
		popped(q, now)
		q.park(it, map[string]target{"a": gpu, "b": gpu, "c": {gen.Namespace, "cluster1", ""}}[name])
	}
	for range 3 {
		q.move(now, func(on target) verdict { return when(on == gpu, true) })
	}
	assert.Equal(t, []string{"a", "b"}, popped(q, now))
	q.move(now, func(target) verdict { return freed })
	assert.Equal(t, []string{"c"}, popped(q, now), "what waits for nothing is not freed by anything")
}

func TestWhatMayOnlyChangeAMessageIsTriedWhenThingsHaveSettled(t *testing.T) {
	q := newQueue()
	it := put(q, gen.Workflow("hello"))
	popped(q, now)
	q.park(it, gpu)
	for i := range 3 {
		q.move(now.Add(time.Duration(i)), func(target) verdict { return refreshed })
	}
	assert.Empty(t, popped(q, now))
	_, due := q.pop(now)
	assert.Equal(t, settling, due)
	assert.Equal(t, []string{"hello"}, popped(q, now.Add(settling)))
	assert.Empty(t, popped(q, now.Add(time.Hour)))
}

func TestWhatHappensWhileADecisionIsWrittenIsNotLost(t *testing.T) {
	tests := map[string]struct {
		event func(*queue)
		want  []string
	}{
		"nothing":                   {func(*queue) {}, []string{}},
		"our own message":           {func(q *queue) { put(q, gen.Workflow("hello", gen.WithHubStatus("Pending"))) }, []string{}},
		"an event that frees it":    {func(q *queue) { q.move(now, func(target) verdict { return freed }) }, []string{"hello"}},
		"another message":           {func(q *queue) { q.move(now, func(target) verdict { return refreshed }) }, []string{"hello"}},
		"its name has become free":  {func(q *queue) { q.wake(client.ObjectKey{Namespace: gen.Namespace, Name: "hello"}) }, []string{"hello"}},
		"the user has changed it":   {func(q *queue) { put(q, gen.Workflow("hello", gen.WithPlacement("cpu"))) }, []string{"hello"}},
		"it has been deleted":       {func(q *queue) { q.remove(client.ObjectKey{Namespace: gen.Namespace, Name: "hello"}) }, []string{}},
		"it has been created again": {func(q *queue) { put(q, gen.Workflow("hello", gen.WithUID("later"))) }, []string{"hello"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			q := newQueue()
			it := put(q, gen.Workflow("hello"))
			popped(q, now)
			tried := it.wf
			q.park(it, gpu)
			it.inFlight = true
			test.event(q)
			q.settle(it, tried, unschedulable, now)
			assert.Equal(t, test.want, popped(q, now))
		})
	}
}

func TestWhatBecomesOfAWorkflowThatWasTried(t *testing.T) {
	changed := func(q *queue) {
		wf := gen.Workflow("hello", gen.WithLabels(map[string]string{"team": "a"}))
		wf.SetResourceVersion("2")
		put(q, wf)
	}
	tests := map[string]struct {
		outcome   outcome
		meanwhile func(*queue)
		wantIn    time.Duration
		wantGone  bool
	}{
		"assigned: it is no more in the queue":            {outcome: assigned, wantGone: true},
		"assigned, and given back already: at once":       {outcome: assigned, meanwhile: changed},
		"stale: the event that shows it brings it back":   {outcome: stale, wantGone: true},
		"stale, and the event has come already: at once":  {outcome: stale, meanwhile: changed},
		"an error: after a while":                         {outcome: failed, wantIn: firstRetry},
		"refused: after a longer while":                   {outcome: refused, wantIn: firstRefusedRetry},
		"an error, and it has changed: after a while too": {outcome: failed, meanwhile: changed, wantIn: firstRetry},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			q := newQueue()
			it := put(q, gen.Workflow("hello"))
			popped(q, now)
			tried := it.wf
			it.inFlight = true
			if test.meanwhile != nil {
				test.meanwhile(q)
			}
			q.settle(it, tried, test.outcome, now)
			if test.wantGone {
				assert.Empty(t, q.items)
				return
			}
			if test.wantIn > 0 {
				assert.Empty(t, popped(q, now.Add(test.wantIn-1)))
			}
			assert.Equal(t, []string{"hello"}, popped(q, now.Add(test.wantIn)))
		})
	}
}

func TestErrorsBackOffUntilOneTryIsNone(t *testing.T) {
	q := newQueue()
	it := put(q, gen.Workflow("hello"))
	var waits []time.Duration
	for range 15 {
		popped(q, now.Add(24*time.Hour))
		q.settle(it, it.wf, failed, now)
		waits = append(waits, it.due.Sub(now))
	}
	assert.Equal(t, []time.Duration{5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond}, waits[:3])
	assert.Equal(t, 30*time.Second, waits[14])
	popped(q, now.Add(24*time.Hour))
	q.park(it, gpu)
	q.settle(it, it.wf, unschedulable, now)
	assert.Zero(t, it.failures)
	assert.Equal(t, 5*time.Minute, backoff(100, firstRefusedRetry, maxRefusedRetry))
}

func TestOneThatTheAPIServerRefusedIsTriedAgainWhenItsUserHasChangedIt(t *testing.T) {
	said := gen.WithHubStatus("Pending", map[string]any{"message": "not dispatched"})
	q := newQueue()
	it := put(q, gen.Workflow("hello"))
	popped(q, now)
	q.settle(it, it.wf, refused, now)
	put(q, gen.Workflow("hello", said))
	assert.Empty(t, popped(q, now), "this is our message")
	put(q, gen.Workflow("hello", said, gen.WithLabels(map[string]string{"team": "a"})))
	assert.Equal(t, []string{"hello"}, popped(q, now), "the user may have mended what was refused")
}

func TestWhatWaitsForItsOwnChangeIsCountedApart(t *testing.T) {
	waits := gen.Workflow("waits", gen.WithPlacement("nowhere"), gen.WithUID("1"))
	untargeted := gen.Workflow("untargeted", gen.WithUID("2"))
	invalid := gen.Workflow("invalid", gen.WithCluster(cluster1), gen.WithUID("3"),
		gen.WithLabels(map[string]string{contract.LabelEnable: "yes"}))
	held := gen.Workflow("held", gen.WithCluster("nowhere"), gen.WithUID("4"), suspended())
	h := newHarness(t, append(surroundings(), waits, untargeted, invalid, held)...)
	assertCounted := func(unschedulable, held int) {
		t.Helper()
		const metric = "argo_multicluster_scheduler_pending_workflows"
		assert.InDelta(t, unschedulable, fakehub.Counted(t, metric, "unschedulable"), 0, "unschedulable")
		assert.InDelta(t, held, fakehub.Counted(t, metric, "held"), 0, "held")
	}
	h.run()
	assertCounted(1, 3)
	h.edit(held, "suspend", false)
	h.run()
	assertCounted(2, 2)

	found := "argo/workflow-controller"
	h.ArgoOnHub = func(context.Context) (string, error) { return found, nil }
	h.askForArgo()
	h.run()
	assertCounted(3, 1) // an administrator has to do something for all, but for the invalid one
	found = ""
	h.askForArgo()
	h.run()
	assertCounted(2, 2)
	for _, wf := range []*unstructured.Unstructured{waits, untargeted, invalid, held} {
		h.queue.remove(client.ObjectKeyFromObject(wf))
	}
	h.run()
	assertCounted(0, 0)
}
