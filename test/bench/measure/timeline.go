package measure

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Moment is one in the life of a Workflow.
type Moment int

// The moments, in their order.
const (
	// Created is when the user's request to create it was sent.
	Created Moment = iota
	// Assigned is when the hub's Workflow shows a cluster.
	Assigned
	// Listed is when a ManifestWork lists it.
	Listed
	// Exists is when it is there on the managed cluster.
	Exists
	// Started is when Argo has taken it up there: it has a phase other than Pending.
	Started
	// Ended is when it has finished there.
	Ended
	// Shown is when the hub's Workflow shows that it has finished.
	Shown
	// RemovedRemotely and Removed are when it is gone from the managed cluster and from the hub.
	RemovedRemotely
	Removed
	moments
)

// String names the moment.
func (m Moment) String() string {
	return [...]string{"created", "assigned", "listed", "exists", "started", "ended", "shown", "removed remotely", "removed"}[m]
}

// Timeline notes when Workflows came to which moment, by their names, all on this process' clock.
type Timeline struct {
	mu      sync.Mutex
	lives   map[string]*[moments]time.Time
	phases  map[string]string
	waiting map[*waiter]bool
}

// waiter waits until the Workflows that are left have come to the moment.
type waiter struct {
	moment Moment
	left   map[string]bool
	done   chan struct{}
}

// NewTimeline returns an empty timeline.
func NewTimeline() *Timeline {
	return &Timeline{lives: map[string]*[moments]time.Time{}, phases: map[string]string{}, waiting: map[*waiter]bool{}}
}

// Note notes that the Workflow has come to the moment now, unless it has before. Only those count whose creation was noted.
func (t *Timeline) Note(name string, m Moment) { t.NoteAt(name, m, time.Now()) }

// NoteAt is Note for another time.
func (t *Timeline) NoteAt(name string, m Moment, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	life := t.lives[name]
	if life == nil {
		if m != Created {
			return
		}
		life = &[moments]time.Time{}
		t.lives[name] = life
	}
	if !life[m].IsZero() {
		return
	}
	life[m] = at
	for w := range t.waiting {
		if w.moment != m || !w.left[name] {
			continue
		}
		if delete(w.left, name); len(w.left) == 0 {
			close(w.done)
			delete(t.waiting, w)
		}
	}
}

// NotePhase notes the phase in which the hub shows a finished Workflow.
func (t *Timeline) NotePhase(name, phase string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.phases[name] = phase
}

// Failed returns the Workflows of the names that the hub shows in another phase than Succeeded.
func (t *Timeline) Failed(names []string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return t.phases[name] == "" || t.phases[name] == "Succeeded" })
}

// Times returns when each of the Workflows came to the moment, in the order of time, without those that have not.
func (t *Timeline) Times(names []string, m Moment) []time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	var times []time.Time
	for _, name := range names {
		if life := t.lives[name]; life != nil && !life[m].IsZero() {
			times = append(times, life[m])
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	return times
}

// Between returns how long the Workflows took from one moment to another, sorted, without those that miss either.
func (t *Timeline) Between(names []string, from, to Moment) []time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	var took []time.Duration
	for _, name := range names {
		if life := t.lives[name]; life != nil && !life[from].IsZero() && !life[to].IsZero() {
			took = append(took, life[to].Sub(life[from]))
		}
	}
	slices.Sort(took)
	return took
}

// Wait waits until all the Workflows have come to the moment, and returns when the last one did; the zero time if there are none.
func (t *Timeline) Wait(ctx context.Context, names []string, m Moment) (time.Time, error) {
	if len(names) == 0 {
		return time.Time{}, nil
	}
	w := t.register(names, m)
	select {
	case <-w.done:
	case <-ctx.Done():
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.waiting, w)
		missing := slices.Sorted(maps.Keys(w.left))
		return time.Time{}, fmt.Errorf("%w: %d of %d Workflows are not %s, such as %v",
			context.Cause(ctx), len(missing), len(names), m, missing[:min(len(missing), 1)])
	}
	times := t.Times(names, m)
	return times[len(times)-1], nil
}

// register returns a waiter for those of the Workflows that have not come to the moment.
func (t *Timeline) register(names []string, m Moment) *waiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := &waiter{moment: m, left: map[string]bool{}, done: make(chan struct{})}
	for _, name := range names {
		if life := t.lives[name]; life == nil || life[m].IsZero() {
			w.left[name] = true
		}
	}
	if len(w.left) == 0 {
		close(w.done)
		return w
	}
	t.waiting[w] = true
	return w
}

// Forget drops what is known of the Workflows.
func (t *Timeline) Forget(names []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range names {
		delete(t.lives, name)
		delete(t.phases, name)
	}
}

// Percentile returns the smallest of the sorted durations that p percent of them do not exceed; 0 of none.
func Percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, max(0, (len(sorted)*p+99)/100-1))]
}
