// Package scheduler gives each hub Workflow that has no cluster one of those that it may go to, or says on it why it waits. It is
// the only writer of such a Workflow's message, condition and assignment. It is built like kube-scheduler: informers keep a cache of
// the clusters and a queue of the Workflows, one goroutine decides on these alone, and what it decides is written beside it.
package scheduler

import (
	"context"
	"errors"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilwait "k8s.io/apimachinery/pkg/util/wait"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/cluster"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
)

// Scheduler assigns clusters.
type Scheduler struct {
	Client   client.Client
	Recorder events.EventRecorder
	// HubID is the UID of the hub's kube-system namespace.
	HubID string
	// RestoredAt is when the hub was restored from a backup; zero if it was not.
	RestoredAt time.Time
	// ArgoOnHub returns the Leases of Argo controllers on the hub that take Workflows without an instance id: these then get no cluster, or
	// they would run twice. It is nil where the installation keeps such a controller from them.
	ArgoOnHub func(context.Context) (string, error)
	Clock     clock.PassiveClock
	// Templates are the informers of the kinds of templates that the hub serves.
	Templates []toolscache.SharedIndexInformer
	// Concurrency is the number of Workflows that are written at a time.
	Concurrency int

	// fed is closed once synced has all informers, which report whether they have told all that was there when they started.
	fed    chan struct{}
	synced []toolscache.InformerSynced

	// mu guards what follows. A decision and what it does to the queue are one step under it: no event falls in between.
	mu    sync.Mutex
	cache *cache
	queue *queue
	// argo is what ArgoOnHub has returned last.
	argo string
}

// outcome is how a try to schedule a Workflow has ended.
type outcome string

const (
	assigned outcome = "assigned"
	// ended: it was shut down before it had a cluster.
	ended         outcome = "ended"
	unschedulable outcome = "unschedulable"
	// stale: the Workflow has changed, or is gone, since it was read.
	stale outcome = "stale"
	// refused: the API server does not take the assignment, however often it is tried.
	refused outcome = "refused"
	failed  outcome = "error"
)

// try is one try to schedule a Workflow, as it was when that was decided.
type try struct {
	decision
	item  *item
	wf    *hubworkflow.Workflow
	begun time.Time
	// err is why nothing could be decided.
	err error
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: a deputy keeps cache and queue, and decides nothing.
func (s *Scheduler) NeedLeaderElection() bool { return true }

// Start schedules Workflows until the context ends.
func (s *Scheduler) Start(ctx context.Context) error {
	select {
	case <-s.fed:
	case <-ctx.Done():
		return nil
	}
	if !toolscache.WaitForCacheSync(ctx.Done(), s.synced...) {
		return nil
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	if s.ArgoOnHub != nil {
		// As long as it is not known, what that controller would take could run twice.
		if utilwait.PollUntilContextCancel(ctx, argoInterval, true, s.lookForArgo) != nil {
			return nil
		}
		watching.Go(func() {
			_ = utilwait.PollUntilContextCancel(ctx, argoInterval, false, func(ctx context.Context) (bool, error) {
				_, err := s.lookForArgo(ctx)
				return false, err
			})
		})
	}
	slots := make(chan struct{}, s.Concurrency)
	var writing sync.WaitGroup
	defer writing.Wait()
	for {
		// First the slot, then the decision: it is written while it is fresh.
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		t := s.wait(ctx)
		if t == nil {
			return nil
		}
		writing.Go(func() {
			s.finish(t, s.write(ctx, t))
			<-slots
		})
	}
}

// argoInterval is how often the hub is asked for Argo controllers.
const argoInterval = 15 * time.Second

// lookForArgo asks whether an Argo controller runs on the hub, and judges the waiting Workflows anew when that has changed. It reports
// whether there was an answer, and never an error.
func (s *Scheduler) lookForArgo(ctx context.Context) (bool, error) {
	found, err := s.ArgoOnHub(ctx)
	if err != nil {
		if ctx.Err() == nil {
			ctrl.LoggerFrom(ctx).Error(err, "will try again")
		}
		return false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if found == s.argo {
		return true, nil
	}
	s.argo = found
	for _, it := range s.queue.items {
		s.queue.set(it.wf, s.requestOf(it.wf))
	}
	return true, nil
}

// wait returns the next decision that is to be written, nil once the context has ended.
func (s *Scheduler) wait(ctx context.Context) *try {
	for ctx.Err() == nil {
		t, due := s.next(ctx)
		if t != nil {
			return t
		}
		timer := time.NewTimer(due)
		select {
		case <-s.queue.changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return nil
}

// next decides on the first Workflow of the queue for which there is something to write. If there is none, it returns after how
// long there may be one.
func (s *Scheduler) next(ctx context.Context) (*try, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.queue.observe()
	for {
		now := s.Clock.Now()
		it, due := s.queue.pop(now)
		if it == nil {
			return nil, due
		}
		t := &try{item: it, wf: it.wf, begun: now}
		var bound *bindings
		if bound, t.err = s.bindingsOf(ctx, it.namespace); t.err == nil {
			t.decision = s.decide(it, bound, now)
		}
		switch {
		case t.cluster != "":
			s.cache.assume(it.wf, t.cluster)
		case t.isAtCap:
			s.queue.parkAtCap(it, t.waitsFor, classOf(it, t.isNameTaken))
		case t.err == nil:
			s.queue.park(it, t.waitsFor)
		}
		if !t.isAtCap && t.err == nil {
			s.queue.wakeFirst(it.target) // there may be room for more than one
		}
		if t.cluster != "" || t.why != nil || t.err != nil {
			it.inFlight = true
			return t, 0
		}
	}
}

// decide returns where a Workflow goes. One whose assignment could not be written, as far as is known, is where it was assumed until
// something else is seen: the API server may have written it all the same, and nobody else is to have its room.
func (s *Scheduler) decide(it *item, bound *bindings, now time.Time) decision {
	at := s.cache.places[it.wf.GetUID()]
	if !at.assumed || s.cache.attempts[it.wf.GetUID()] > 0 {
		return s.cache.decide(it.wf, it.request, bound, now)
	}
	s.cache.forget(it.wf.GetUID())
	again := it.request
	if again.cluster == at.cluster || again.cluster == "" && s.cache.selects(again.target, at.cluster) {
		again.cluster = at.cluster
		if d := s.cache.decide(it.wf, again, bound, now); d.cluster != "" {
			d.note = "as it was tried before"
			if at.remoteName != it.remoteName {
				s.queue.wake(at.remoteName)
			}
			return d
		}
	}
	defer s.left(at)
	return s.cache.decide(it.wf, it.request, bound, now)
}

// maxNamespaces bounds how many namespaces are remembered: those that are gone would add up.
const maxNamespaces = 10_000

// bindingsOf returns the bindings of a namespace.
func (s *Scheduler) bindingsOf(ctx context.Context, namespace string) (*bindings, error) {
	if known := s.cache.bindings[namespace]; known != nil {
		return known, nil
	}
	all, err := cluster.Bindings(ctx, s.Client, namespace)
	if err != nil {
		return nil, err
	}
	if len(s.cache.bindings) >= maxNamespaces {
		clear(s.cache.bindings)
	}
	return s.cache.setBindings(namespace, all), nil
}

// write writes what was decided: the assignment, the end, or why the Workflow waits.
func (s *Scheduler) write(ctx context.Context, t *try) outcome {
	switch {
	case t.err != nil:
		return outcomeOf(ctx, t, failed, t.err)
	case t.ends:
		return s.settled(ctx, t, ended, "not ended", hubworkflow.End(ctx, s.Client, s.Recorder, t.wf, s.Clock.Now()))
	case t.why != nil:
		return outcomeOf(ctx, t, unschedulable, hubworkflow.Hold(ctx, s.Client, s.Recorder, t.wf, *t.why))
	}
	err := hubworkflow.Assign(ctx, s.Client, t.wf, t.cluster)
	if err == nil {
		ctrl.LoggerFrom(ctx).Info("assigned a cluster", "workflow", t.wf.Key(), "cluster", t.cluster)
		s.Recorder.Eventf(t.wf.Unstructured, nil, corev1.EventTypeNormal, ReasonScheduled, "Schedule", "assigned to cluster %s: %s",
			t.cluster, t.note)
	}
	return s.settled(ctx, t, assigned, "not dispatched", err)
}

// settled returns the outcome of a write that ends the Workflow's stay in the queue. If the API server refuses it, the Workflow says what
// it is not.
func (s *Scheduler) settled(ctx context.Context, t *try, written outcome, isNot string, err error) outcome {
	var status apierrors.APIStatus
	if contract.IsRefused(err) && errors.As(err, &status) {
		why := hubworkflow.Refusal{
			Reason: hubworkflow.ReasonCannotTravel, Message: isNot + ": the hub refuses it: " + status.Status().Message,
		}
		return outcomeOf(ctx, t, refused, hubworkflow.Hold(ctx, s.Client, s.Recorder, t.wf, why))
	}
	return outcomeOf(ctx, t, written, err)
}

func outcomeOf(ctx context.Context, t *try, written outcome, err error) outcome {
	switch {
	case err == nil:
		return written
	case hubworkflow.IgnoreStale(err) == nil:
		return stale
	case ctx.Err() == nil:
		ctrl.LoggerFrom(ctx).Error(err, "cannot schedule a Workflow, and will try again", "workflow", t.wf.Key())
	}
	return failed
}

// finish puts the Workflow where the outcome of the try belongs.
func (s *Scheduler) finish(t *try, o outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Clock.Now()
	tries.WithLabelValues(string(o)).Inc()
	duration.Observe(now.Sub(t.begun).Seconds())
	if at := s.cache.places[t.wf.GetUID()]; o == refused && at.assumed {
		s.cache.forget(t.wf.GetUID())
		s.left(at)
	}
	s.queue.settle(t.item, t.wf, o, now)
	s.queue.observe()
}
