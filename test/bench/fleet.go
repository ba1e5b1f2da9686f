package main

import (
	"context"
	"errors"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"open-cluster-management.io/argo-workflow-multicluster/test/bench/hollow"
	"open-cluster-management.io/argo-workflow-multicluster/test/bench/measure"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

// flapSettling is how long a manager may have to do with a fleet event.
const flapSettling = 90 * time.Second

// fleetEvent measures what it costs that the addons of both clusters change while Workflows wait for them. OCM's agents are paused, which
// would put the addons right.
func (s *suite) fleetEvent(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, s.signal(syscall.SIGCONT)) }()
	if err := s.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	var clusters []string
	for _, c := range s.lab.Managed() {
		clusters = append(clusters, c.Name)
	}
	names := namesOf("fleet", s.waiting)
	if err := s.wait(ctx, names, clusters, placement); err != nil {
		return err
	}
	if err := s.flap(ctx, "flap", len(names), clusters); err != nil {
		return err
	}
	if err := s.signal(syscall.SIGCONT); err != nil {
		return err
	}
	if err := s.back(ctx, "back", names, clusters); err != nil {
		return err
	}
	return s.cleanUp(ctx, names)
}

// signal sends OCM's agents of all clusters a signal.
func (s *suite) signal(signal syscall.Signal) error {
	var errs []error
	for _, c := range s.lab.Managed() {
		errs = append(errs, c.Signal(lab.KlusterletProcess, signal))
	}
	return errors.Join(errs...)
}

// wait makes the addons of all clusters unavailable, and creates Workflows that wait for one of them.
func (s *suite) wait(ctx context.Context, names, clusters []string, placement string) error {
	if err := hollow.SetAvailable(ctx, s.hub, clusters, metav1.ConditionFalse, "Bench", "the benchmark says so"); err != nil {
		return err
	}
	if _, err := s.settle(ctx, settling); err != nil {
		return err
	}
	if err := s.create(ctx, names, func(_ int, name string) *unstructured.Unstructured {
		return byPlacement(small(name), placement)
	}); err != nil {
		return err
	}
	_, err := s.settle(ctx, flapSettling)
	return err
}

// flap measures an event that changes nothing for those who wait: the addons of all clusters are unavailable for another reason.
func (s *suite) flap(ctx context.Context, scenario string, waiting int, clusters []string) error {
	var took time.Duration
	err := s.measure(ctx, scenario, waiting, func(ctx context.Context) error {
		began := time.Now()
		if err := hollow.SetAvailable(ctx, s.hub, clusters, metav1.ConditionUnknown, "BenchAgain", "the benchmark does not know"); err != nil {
			return err
		}
		within, cancel := context.WithTimeoutCause(ctx, flapSettling, errors.New("it has too much to do"))
		defer cancel()
		var err error
		if took, err = s.untilIdle(within, began); err != nil && ctx.Err() == nil {
			s.say("%s: %v", scenario, err)
			took = flapSettling
		}
		return ctx.Err()
	})
	s.recordTime(scenario+".idle_after_s", took.Seconds(), "s")
	return err
}

// back measures that the addons of all clusters are available again: those who wait are run.
func (s *suite) back(ctx context.Context, scenario string, names, clusters []string) error {
	var took time.Duration
	err := s.measure(ctx, scenario, len(names), func(ctx context.Context) error {
		began := time.Now()
		if err := hollow.SetAvailable(ctx, s.hub, clusters, metav1.ConditionTrue, "ManagedClusterAddOnLeaseUpdated", "available"); err != nil {
			return err
		}
		var err error
		took, err = s.finished(ctx, names, began, measure.Shown)
		return err
	})
	if err != nil {
		return err
	}
	s.recordThroughput(scenario, len(names), took)
	return nil
}
