package scheduler

import (
	"cmp"
	"time"

	"github.com/google/btree"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
)

const (
	// An error is tried again after a while that doubles.
	firstRetry, maxRetry = 5 * time.Millisecond, 30 * time.Second
	// What the API server refuses may depend on a policy or a quota, of which no event tells.
	firstRefusedRetry, maxRefusedRetry = 30 * time.Second, 5 * time.Minute
	// settling is how long what changes only a message may take: clusters often change together.
	settling = time.Second
	// idle is when an empty queue is looked at again; nothing depends on it.
	idle = time.Hour

	treeDegree = 32
)

// item is a Workflow in the queue. It is active, or waits for its time, or for something to change, or has been popped.
type item struct {
	request
	wf      *hubworkflow.Workflow
	key     client.ObjectKey
	created time.Time
	// due is when it is tried again, and failures how often in a row it failed.
	due      time.Time
	failures int
	// isParked says that it is among those that wait for waitsFor, and isAtCap that it is among those of them that the end of another
	// Workflow can free.
	isParked, isAtCap bool
	waitsFor          target
	class             class
	// isHeld says of one that is parked that no cluster can free it: it waits for its own change.
	isHeld bool
	// inFlight says that a decision on it is being written, isDirty that something happened meanwhile, and wasRefused that the API
	// server refused the last one.
	inFlight, isDirty, wasRefused bool
}

// class is what Workflows with a target must have in common so that each goes wherever another goes.
type class struct {
	requests              contract.Resources
	isPlaced, isUnchecked bool
	remoteNamespace       string
	// remoteName is there only if another Workflow has the name somewhere: then it is in a class of its own.
	remoteName string
}

func classOf(it *item, isNameTaken bool) class {
	c := class{requests: it.requests, isPlaced: it.isPlaced, isUnchecked: it.isUnchecked, remoteNamespace: it.remoteName.Namespace}
	if isNameTaken {
		c.remoteName = it.remoteName.Name
	}
	return c
}

// queue has the Workflows that wait for a cluster, each once.
type queue struct {
	items map[client.ObjectKey]*item
	// active are to be tried at once, later when they are due, parked when what they wait for has changed.
	active, later *btree.BTreeG[*item]
	parked        map[target]map[*item]struct{}
	// parkedCount is of all that are parked, heldCount of those among them that wait for their own change.
	parkedCount, heldCount int
	// atCap are those that are parked because of a cap, by urgency. The end of a Workflow makes room for one of them; of those of a class,
	// for the first, if for any.
	atCap map[target]map[class]*btree.BTreeG[*item]
	// named are all by their name on the managed cluster, which another may have.
	named map[client.ObjectKey]map[*item]struct{}
	// changed has a value after pop may have something else to return.
	changed chan struct{}
}

func newQueue() *queue {
	return &queue{
		items: map[client.ObjectKey]*item{}, parked: map[target]map[*item]struct{}{}, changed: make(chan struct{}, 1),
		active: byUrgency(), atCap: map[target]map[class]*btree.BTreeG[*item]{}, named: map[client.ObjectKey]map[*item]struct{}{},
		later: btree.NewG(treeDegree, func(a, b *item) bool { return cmp.Or(a.due.Compare(b.due), compareUrgency(a, b)) < 0 }),
	}
}

func byUrgency() *btree.BTreeG[*item] {
	return btree.NewG(treeDegree, func(a, b *item) bool { return compareUrgency(a, b) < 0 })
}

// compareUrgency orders by priority, then by age. No two are equal.
func compareUrgency(a, b *item) int {
	if c := cmp.Or(cmp.Compare(b.priority, a.priority), a.created.Compare(b.created)); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(a.key.Namespace, b.key.Namespace), cmp.Compare(a.key.Name, b.key.Name))
}

// set adds a Workflow, or takes note of its change. One that changes nothing of what it asks for, such as what we write ourselves,
// is no reason to try again; unless the API server refused what was there before.
func (q *queue) set(wf *hubworkflow.Workflow, asked request) {
	key := wf.Key()
	it := q.items[key]
	if it != nil && it.wf.GetUID() != wf.GetUID() {
		q.remove(key)
		it = nil
	}
	switch {
	case it == nil:
		it = &item{request: asked, wf: wf, key: key, created: wf.GetCreationTimestamp().Time}
		q.items[key] = it
		q.name(it)
	case it.request == asked && (!it.wasRefused || it.wf.StatusHash != wf.StatusHash):
		it.wf = wf
		return
	default:
		q.abandon(it)
		it.wf, it.request, it.failures = wf, asked, 0
		q.name(it)
	}
	q.activate(it)
}

// remove drops a Workflow.
func (q *queue) remove(key client.ObjectKey) {
	if it := q.items[key]; it != nil {
		q.abandon(it)
		delete(q.items, key)
	}
}

// abandon takes an item out of where it is, with what it asks for. If it was to be tried, it may have been so because there was room:
// that is for the next.
func (q *queue) abandon(it *item) {
	wasParked := it.isParked && !it.isDirty
	q.leave(it)
	if delete(q.named[it.remoteName], it); len(q.named[it.remoteName]) == 0 {
		delete(q.named, it.remoteName)
	}
	if !wasParked {
		q.wakeFirst(it.target)
	}
}

func (q *queue) name(it *item) {
	if q.named[it.remoteName] == nil {
		q.named[it.remoteName] = map[*item]struct{}{}
	}
	q.named[it.remoteName][it] = struct{}{}
}

// pop returns the most urgent Workflow that is to be tried now; nil, and after how long there may be one, if there is none.
func (q *queue) pop(now time.Time) (*item, time.Duration) {
	it, ok := q.later.Min()
	for ; ok && !it.due.After(now); it, ok = q.later.Min() {
		q.activate(it)
	}
	if first, ok := q.active.DeleteMin(); ok {
		return first, 0
	}
	if ok {
		return nil, it.due.Sub(now)
	}
	return nil, idle
}

// park makes a popped Workflow wait until move frees those that wait for the target. Those that wait for nothing, the zero
// target, are freed by their own change alone.
func (q *queue) park(it *item, waitsFor target) {
	it.isParked, it.isAtCap, it.waitsFor = true, false, waitsFor
	if q.parked[waitsFor] == nil {
		q.parked[waitsFor] = map[*item]struct{}{}
	}
	q.parked[waitsFor][it] = struct{}{}
	q.parkedCount++
	if it.isHeld = waitsFor == (target{}) && it.refusal.Reason != ReasonArgoOnHub; it.isHeld {
		q.heldCount++
	}
}

// parkAtCap parks one that wakeFirst frees, too, with those of its class.
func (q *queue) parkAtCap(it *item, waitsFor target, of class) {
	wasAtCap, formerly, formerTarget := it.isAtCap, it.class, it.waitsFor
	q.park(it, waitsFor)
	if wasAtCap && formerly != of {
		defer q.wakeFirstOf(formerTarget, formerly) // it may have been tried for the room that another of that class can have
	}
	it.isAtCap, it.class = true, of
	if q.atCap[waitsFor] == nil {
		q.atCap[waitsFor] = map[class]*btree.BTreeG[*item]{}
	}
	if q.atCap[waitsFor][of] == nil {
		q.atCap[waitsFor][of] = byUrgency()
	}
	q.atCap[waitsFor][of].ReplaceOrInsert(it)
}

// settle ends the try of a popped Workflow, which decided on it as it was then.
func (q *queue) settle(it *item, tried *hubworkflow.Workflow, o outcome, now time.Time) {
	wasDirty := it.isDirty
	it.inFlight, it.isDirty, it.wasRefused = false, false, o == refused
	if q.items[it.key] != it {
		return
	}
	switch o {
	case refused:
		q.postpone(it, now.Add(backoff(it.failures, firstRefusedRetry, maxRefusedRetry)))
		it.failures++
	case failed:
		q.postpone(it, now.Add(backoff(it.failures, firstRetry, maxRetry)))
		it.failures++
	case unschedulable:
		if it.failures = 0; wasDirty {
			q.activate(it)
		}
	case assigned, ended, stale:
		if it.wf.GetResourceVersion() == tried.GetResourceVersion() && it.wf.GetUID() == tried.GetUID() {
			// The event that shows why is on its way. Should a template change meanwhile what it requests, that takes nothing back.
			it.isDirty = wasDirty
			q.remove(it.key)
			return
		}
		q.activate(it)
	}
}

func backoff(failures int, first, most time.Duration) time.Duration {
	return min(most, first<<min(failures, 16))
}

// verdict is what an event means for those that wait for a target.
type verdict int

const (
	// stays: nothing.
	stays verdict = iota
	// refreshed: they may have to say something else.
	refreshed
	// freed: they may have a cluster now.
	freed
)

// move tries those again for whose target the event means something: each once, however many events there are until then.
func (q *queue) move(now time.Time, judge func(target) verdict) {
	for on, items := range q.parked {
		if on == (target{}) {
			continue
		}
		v := judge(on)
		for it := range items {
			switch {
			case v == stays:
			case v == freed || it.inFlight:
				q.activate(it)
			default:
				q.postpone(it, now.Add(settling))
			}
		}
	}
}

// wakeFirst tries the most urgent one of each class again of those with this target that are at a cap.
func (q *queue) wakeFirst(on target) {
	for _, waiting := range q.atCap[on] {
		first, _ := waiting.Min()
		q.activate(first)
	}
}

// wakeFirstOf tries the most urgent one again of those of a class that are at a cap.
func (q *queue) wakeFirstOf(on target, of class) {
	if waiting := q.atCap[on][of]; waiting != nil {
		first, _ := waiting.Min()
		q.activate(first)
	}
}

// wake tries those again that have, or want, this name on their cluster.
func (q *queue) wake(name client.ObjectKey) {
	for it := range q.named[name] {
		if it.isParked {
			q.activate(it)
		}
	}
}

// wakeWorkflow tries a Workflow again that is parked.
func (q *queue) wakeWorkflow(key client.ObjectKey) {
	if it := q.items[key]; it != nil && it.isParked {
		q.activate(it)
	}
}

// activate lets a Workflow be tried at once; if it is being written, after that.
func (q *queue) activate(it *item) {
	switch {
	case it.inFlight:
		it.isDirty = true
	case !q.active.Has(it):
		q.leave(it)
		q.active.ReplaceOrInsert(it)
		q.notify()
	}
}

// postpone lets a Workflow be tried when it is due.
func (q *queue) postpone(it *item, due time.Time) {
	q.leave(it)
	it.due = due
	q.later.ReplaceOrInsert(it)
	q.notify()
}

func (q *queue) notify() {
	select {
	case q.changed <- struct{}{}:
	default:
	}
}

// leave takes an item out of where it is.
func (q *queue) leave(it *item) {
	q.active.Delete(it)
	q.later.Delete(it)
	if it.isParked {
		it.isParked = false
		q.parkedCount--
		if it.isHeld {
			q.heldCount--
		}
		if delete(q.parked[it.waitsFor], it); len(q.parked[it.waitsFor]) == 0 {
			delete(q.parked, it.waitsFor)
		}
		if it.isAtCap {
			q.leaveCap(it)
		}
	}
}

func (q *queue) leaveCap(it *item) {
	classes := q.atCap[it.waitsFor]
	if classes[it.class].Delete(it); classes[it.class].Len() == 0 {
		delete(classes, it.class)
	}
	if len(classes) == 0 {
		delete(q.atCap, it.waitsFor)
	}
}

func (q *queue) observe() {
	pending.WithLabelValues("active").Set(float64(q.active.Len()))
	pending.WithLabelValues("backoff").Set(float64(q.later.Len()))
	pending.WithLabelValues("unschedulable").Set(float64(q.parkedCount - q.heldCount))
	pending.WithLabelValues("held").Set(float64(q.heldCount))
}
