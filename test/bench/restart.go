package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"open-cluster-management.io/argo-workflow-multicluster/test/bench/measure"
	"open-cluster-management.io/argo-workflow-multicluster/test/bench/report"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

// restart measures what manager and agents do when they are killed and started again with so many Workflows on the hub: requests, and how
// long until they are idle. It adds the manager's memory then.
func (s *suite) restart(ctx context.Context, scenario string, workflows int, agents bool) error {
	var idle time.Duration
	err := s.measure(ctx, scenario, workflows, func(ctx context.Context) error {
		began := time.Now()
		if err := s.restartProduct(ctx, agents); err != nil {
			return err
		}
		var err error
		idle, err = s.untilIdle(ctx, began)
		return err
	})
	if err != nil {
		return err
	}
	s.recordTime(scenario+".idle_after_s", idle.Seconds(), "s")
	resident := float64(s.lab.Hub().Usage()[lab.ManagerProcess].ResidentKiB) / 1024
	s.result.Add(report.Figure{Name: scenario + ".manager_rss_mib", Value: resident, Unit: "MiB", Kind: report.Number})
	if text, err := s.lab.ReadManagerMetrics(ctx); err == nil {
		heap := measure.Sum(text, "go_memstats_heap_inuse_bytes") / (1 << 20)
		s.result.Add(report.Figure{Name: scenario + ".manager_heap_mib", Value: heap, Unit: "MiB", Kind: report.Number})
	}
	s.say("%s: idle after %s, the manager has %.0f MiB", scenario, idle.Round(10*time.Millisecond), resident)
	return nil
}

// restartProduct kills manager and agents, and starts them again as they were.
func (s *suite) restartProduct(ctx context.Context, agents bool) error {
	errs := []error{s.lab.Hub().Kill(lab.ManagerProcess), s.lab.Hub().Revive(ctx, lab.ManagerProcess)}
	for _, c := range s.lab.Managed() {
		if agents {
			errs = append(errs, c.Kill(lab.AgentProcess), c.Revive(ctx, lab.AgentProcess))
		}
	}
	return errors.Join(errs...)
}

// untilIdle waits until the manager serves its metrics, has nothing in its queues and uses no processor, and returns how long after the
// beginning that state began.
func (s *suite) untilIdle(ctx context.Context, began time.Time) (time.Duration, error) {
	ticker := time.NewTicker(quietPoll)
	defer ticker.Stop()
	idleSince, cpu, last := time.Time{}, s.managerCPU(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("the manager is not idle: %w", context.Cause(ctx))
		case <-ticker.C:
		}
		now, nowCPU := time.Now(), s.managerCPU()
		text, err := s.lab.ReadManagerMetrics(ctx)
		isBusy := err != nil || measure.Sum(text, "workqueue_depth") > 0 || (nowCPU-cpu).Seconds() > busy*now.Sub(last).Seconds()
		switch {
		case isBusy:
			idleSince = time.Time{}
		case idleSince.IsZero():
			idleSince = now
		case now.Sub(idleSince) >= quiet:
			return idleSince.Sub(began), nil
		}
		last, cpu = now, nowCPU
	}
}
