package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"open-cluster-management.io/argo-workflow-multicluster/test/env"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

// striker strikes with the faults of a plan, and is what the kubelet is to processes that end by themselves.
type striker struct {
	t *testing.T

	mu sync.Mutex // also so that nothing is started twice
	// down are the processes that a fault keeps down, by cluster and name.
	down map[string]bool
}

// strike carries the faults out, each at its time, and returns when the last one is over.
func (s *striker) strike(ctx context.Context, faults []fault) {
	began := time.Now()
	var group sync.WaitGroup
	for _, f := range faults {
		group.Go(func() {
			if !sleep(ctx, f.at-time.Since(began)) {
				return
			}
			s.t.Log(f)
			if err := s.begin(ctx, f); err != nil {
				s.t.Errorf("%s: %v", f, err)
			}
			sleep(ctx, f.during)
			if err := s.end(context.WithoutCancel(ctx), f); err != nil {
				s.t.Errorf("after %s: %v", f, err)
			}
		})
	}
	group.Wait()
}

func (s *striker) begin(ctx context.Context, f fault) error {
	c := theLab.Clusters()[f.cluster]
	switch f.kind {
	case kill:
		return s.kill(c, f.target)
	case pause:
		if !c.Running(f.target) {
			return nil // it has ended by itself, and will be started again
		}
		return c.Signal(f.target, syscall.SIGSTOP)
	case cut:
		return c.Disconnect()
	}
	return s.released(c, c.Disturb(ctx, f.link, f.how))
}

func (s *striker) end(ctx context.Context, f fault) error {
	c := theLab.Clusters()[f.cluster]
	switch f.kind {
	case kill:
		return s.start(ctx, c, f.target)
	case pause:
		if !c.Running(f.target) {
			return nil
		}
		return c.Signal(f.target, syscall.SIGCONT)
	case cut:
		return c.Reconnect()
	}
	return s.released(c, c.Mend(ctx, f.link))
}

// released returns the error of a call of toxiproxy. One that locks itself up, as it does once in a thousand calls, is killed instead: it
// is started again, and disturbs nothing then.
func (s *striker) released(c *lab.Cluster, err error) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	s.t.Logf("toxiproxy of %s is killed: %v", c.Name, err)
	return c.Kill(lab.Toxiproxy)
}

func (s *striker) kill(c *lab.Cluster, process string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down[c.Name+"/"+process] = true
	return c.Kill(process)
}

func (s *striker) start(ctx context.Context, c *lab.Cluster, process string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down[c.Name+"/"+process] = false
	return c.Revive(ctx, process)
}

// keepInBackground keeps, until it is told to stop.
func (s *striker) keepInBackground(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { s.keep(ctx) })
	return func() {
		cancel()
		group.Wait()
	}
}

// keep starts processes again that have ended by themselves, as OCM's agent does when it has a new certificate.
func (s *striker) keep(ctx context.Context) {
	for sleep(ctx, time.Second) {
		s.revive(ctx)
	}
}

func (s *striker) revive(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range theLab.Clusters() {
		for _, p := range c.Processes() {
			if p.Running || s.down[c.Name+"/"+p.Name] {
				continue
			}
			if err := c.Revive(ctx, p.Name); err != nil && ctx.Err() == nil {
				s.t.Errorf("%s on %s had ended: %v", p.Name, c.Name, err)
			}
		}
	}
}

// sleep waits, unless the context ends first; then it returns false.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(max(0, d)):
		return true
	}
}

// eventually asks until there is no error, for as long as API servers may be away.
func eventually(ctx context.Context, within time.Duration, ask func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("not within %s", within))
	defer cancel()
	return env.Retry(ctx, ask)
}
