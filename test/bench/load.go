package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/bench/measure"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// steadyShare is how much of a burst's throughput the steady load is.
const steadyShare = 0.6

// idle measures Workflows one after the other, each through a system that has nothing else to do.
func (s *suite) idle(ctx context.Context) error {
	names, managed := namesOf("idle", s.singles), s.lab.Managed()
	err := s.measure(ctx, "idle", len(names), func(ctx context.Context) error {
		for i, name := range names {
			one := []string{name}
			if err := s.create(ctx, one, func(int, string) *unstructured.Unstructured {
				return onCluster(small(name), managed[i%len(managed)].Name)
			}); err != nil {
				return err
			}
			if _, err := s.finished(ctx, one, time.Now(), measure.Shown); err != nil {
				return err
			}
			if err := pause(ctx, 300*time.Millisecond); err != nil { // the work agent's own reports are done, too
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.recordTimes("idle", names)
	return s.cleanUp(ctx, names)
}

// pause lets time pass: what is measured is an idle system, or one under a load of a fixed rate.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// steadyLoad measures Workflows at a fixed rate: a share of what a burst came to.
func (s *suite) steadyLoad(ctx context.Context) error {
	rate := s.rateOf("placement", "burst")
	return s.steadyAt(ctx, "steady", rate, s.steady, placement)
}

// rateOf returns the rate for a steady load after these bursts, the first that was run.
func (s *suite) rateOf(scenarios ...string) float64 {
	for _, scenario := range scenarios {
		if throughput, ok := s.result.Value(scenario + ".throughput"); ok {
			return steadyShare * throughput
		}
	}
	return 5
}

func (s *suite) steadyAt(ctx context.Context, scenario string, rate float64, during time.Duration, placement string) error {
	names := namesOf(scenario, max(1, int(rate*during.Seconds())))
	s.say("%s: %.1f Workflows a second for %s", scenario, rate, during)
	err := s.measure(ctx, scenario, len(names), func(ctx context.Context) error {
		if err := s.createAt(ctx, rate, names, func(name string) *unstructured.Unstructured {
			return byPlacement(small(name), placement)
		}); err != nil {
			return err
		}
		_, err := s.finished(ctx, names, time.Now(), measure.Shown)
		return err
	})
	if err != nil {
		return err
	}
	s.recordTime(scenario+".rate", rate, "Workflows/s")
	s.recordTimes(scenario, names)
	if scenario == "hollow-steady" {
		return nil
	}
	return s.cleanUp(ctx, names)
}

// createAt creates Workflows at a rate, however long each creation takes.
func (s *suite) createAt(ctx context.Context, rate float64, names []string, build func(name string) *unstructured.Unstructured) error {
	hub, err := clientTo(s.lab.Hub(), userAgentUser)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	for i, name := range names {
		due := began.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		if err := pause(ctx, time.Until(due)); err != nil {
			break // what failed is known to the group
		}
		group.Go(func() error {
			s.timeline.Note(name, measure.Created)
			_, err := hub.Resource(contract.WorkflowGVR).Namespace(gen.Namespace).Create(ctx, build(name), metav1.CreateOptions{})
			return err
		})
	}
	return group.Wait()
}

// manyNodes measures one Workflow of many nodes: steps of nodes that take a second each and need no pod.
func (s *suite) manyNodes(ctx context.Context) error {
	const groups = 5
	names := namesOf("nodes", 1)
	var took time.Duration
	err := s.measure(ctx, "nodes", 1, func(ctx context.Context) error {
		began := time.Now()
		if err := s.create(ctx, names, func(_ int, name string) *unstructured.Unstructured {
			return onCluster(suspended(name, groups, s.nodes/groups), s.lab.Managed()[0].Name)
		}); err != nil {
			return err
		}
		var err error
		took, err = s.finished(ctx, names, began, measure.Shown)
		return err
	})
	if err != nil {
		return err
	}
	s.recordTime("nodes.all_finished_s", took.Seconds(), "s")
	s.recordTimes("nodes", names)
	s.say("nodes: %d nodes in %s", s.nodes, took.Round(10*time.Millisecond))
	return s.cleanUp(ctx, names)
}

// suspended returns a Workflow of groups of suspended nodes, one group after the other.
func suspended(name string, groups, nodes int) *unstructured.Unstructured {
	var steps []any
	for i := range groups {
		steps = append(steps, []any{map[string]any{
			"name": fmt.Sprintf("group%d", i), "template": "wait", "withSequence": map[string]any{"count": fmt.Sprint(nodes)},
		}})
	}
	wf := small(name)
	wf.Object["spec"] = map[string]any{
		"entrypoint": "main",
		"templates": []any{
			map[string]any{"name": "main", "steps": steps},
			map[string]any{"name": "wait", "suspend": map[string]any{"duration": "1"}},
		},
	}
	return wf
}
