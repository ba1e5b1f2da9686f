package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"open-cluster-management.io/argo-workflow-multicluster/test/bench/hollow"
	"open-cluster-management.io/argo-workflow-multicluster/test/bench/measure"
	"open-cluster-management.io/argo-workflow-multicluster/test/bench/report"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

// hollowPlacement is the Placement that has chosen all hollow clusters.
const hollowPlacement = "hollow"

// hollowWorkers is how many requests the agents, and the work agents, of all hollow clusters have on the way at a time.
const hollowWorkers = 64

// statusSync is OCM's default.
const statusSync = 10 * time.Second

// hollowClustersAll measures the hub with many clusters, which this process plays. It comes last: the clusters stay on the hub, and its
// part of OCM is stopped, since all that OCM would do with them is done.
func (s *suite) hollowClustersAll(ctx context.Context) error {
	if err := s.floorOf(ctx, "hollow-floor", s.hollowBurst); err != nil {
		return err
	}
	clusters, err := s.startFleet(ctx)
	if err != nil {
		return err
	}
	if err := s.restart(ctx, "hollow-restart-empty", 0, false); err != nil {
		return err
	}
	names := namesOf("hollow-burst", s.hollowBurst)
	if err := s.burstOf(ctx, "hollow-burst", names, func(_ int, name string) *unstructured.Unstructured {
		return byPlacement(small(name), hollowPlacement)
	}); err != nil {
		return err
	}
	s.recordDecisions("hollow-burst", names)
	if err := s.restart(ctx, "hollow-restart", len(names), false); err != nil {
		return err
	}
	s.recordMemory(len(names))
	if err := s.steadyAt(ctx, "hollow-steady", s.rateOf("hollow-burst"), s.hollowSteady, hollowPlacement); err != nil {
		return err
	}
	waiting := namesOf("hollow-fleet", s.hollowWaiting)
	if err := s.wait(ctx, waiting, clusters, hollowPlacement); err != nil {
		return err
	}
	if err := s.flap(ctx, "hollow-flap", len(waiting), clusters); err != nil {
		return err
	}
	if err := s.back(ctx, "hollow-back", waiting, clusters); err != nil {
		return err
	}
	return s.deletion(ctx, "hollow-deletion", names)
}

// startFleet stops the hub's part of OCM and brings hollow clusters to the hub.
func (s *suite) startFleet(ctx context.Context) ([]string, error) {
	for _, p := range s.lab.Hub().Processes() {
		if strings.HasPrefix(p.Name, "ocm-") && p.Name != "ocm-addon-webhook" {
			if err := s.lab.Hub().Stop(p.Name); err != nil {
				return nil, err
			}
		}
	}
	config, err := accessTo(s.lab.Hub(), userAgentUser)
	if err != nil {
		return nil, err
	}
	clusters := hollow.Names(s.hollowClusters)
	if _, err := hollow.Start(ctx, hollow.Options{
		Hub: config, Clusters: clusters, RunTime: s.hollowRun, StatusSync: statusSync, Workers: hollowWorkers,
		Listed: func(name string) { s.timeline.Note(name, measure.Listed) },
		Changed: func(before, after *unstructured.Unstructured) {
			if after == nil {
				s.timeline.GoneFromCluster(before)
				return
			}
			s.timeline.OnCluster(after)
		},
	}); err != nil {
		return nil, err
	}
	s.say("registering %d hollow clusters", len(clusters))
	if err := hollow.Register(ctx, s.hub, clusters, hollowPlacement); err != nil {
		return nil, err
	}
	s.say("registered; waiting until the manager has deployed the addon everywhere")
	_, err = s.settle(ctx, 5*time.Minute)
	return clusters, err
}

// recordDecisions adds how many Workflows were assigned a cluster in each second, and whether that slows down: the rate of the last third
// of the decisions, as a part of that of the first.
func (s *suite) recordDecisions(scenario string, names []string) {
	times := s.timeline.Times(names, measure.Assigned)
	if len(times) < 3 {
		return
	}
	first, last := times[0], times[len(times)-1]
	seconds := make([]float64, int(last.Sub(first).Seconds())+1)
	for _, at := range times {
		seconds[int(at.Sub(first).Seconds())]++
	}
	s.result.Series = append(s.result.Series, report.Series{Name: scenario + ".decisions", Unit: "1/s", Values: seconds})
	third := len(times) / 3
	rate := func(from, to int) float64 { return float64(to-from) / max(times[to].Sub(times[from]).Seconds(), 0.001) }
	s.recordTime(scenario+".decisions", float64(len(times))/max(last.Sub(first).Seconds(), 0.001), "1/s")
	s.recordTime(scenario+".decisions_last_to_first_third", rate(len(times)-1-third, len(times)-1)/rate(0, third), "")
	s.say("%s: %.0f decisions a second", scenario, float64(len(times))/max(last.Sub(first).Seconds(), 0.001))
}

// recordMemory adds what the manager needs for each finished Workflow: the difference between two restarts.
func (s *suite) recordMemory(workflows int) {
	for _, what := range []string{"rss", "heap"} {
		empty, _ := s.result.Value(fmt.Sprintf("hollow-restart-empty.manager_%s_mib", what))
		with, _ := s.result.Value(fmt.Sprintf("hollow-restart.manager_%s_mib", what))
		each := (with - empty) * 1024 / float64(workflows)
		name := "hollow-restart.manager_" + what
		s.result.Add(report.Figure{Name: name + "_kib_per_workflow", Value: each, Unit: "KiB per Workflow", Kind: report.Number})
		s.result.Add(report.Figure{Name: name + "_mib_for_100000", Value: empty + each*100000/1024, Unit: "MiB", Kind: report.Number})
	}
	s.say("the manager has %.0f MiB with the Workflows", float64(s.lab.Hub().Usage()[lab.ManagerProcess].ResidentKiB)/1024)
}
