package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/bench/hollow"
	"open-cluster-management.io/argo-workflow-multicluster/test/bench/measure"
	"open-cluster-management.io/argo-workflow-multicluster/test/bench/report"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

// The benchmark's own user agents, which tell its requests apart.
const (
	userAgentUser  = "bench-user"
	userAgentFloor = "bench-floor"
	userAgentWatch = "bench-watch"
	userAgentOCM   = "bench-ocm"
)

// suite is a run of the benchmark.
type suite struct {
	options
	lab *lab.Lab
	// hub is an administrator's access to the hub in the name of a user.
	hub      client.Client
	audit    *measure.Audit
	timeline *measure.Timeline
	result   *report.Run
	before   *report.Run
	began    time.Time
}

// step is a part of the suite that can be left out.
type step struct {
	name string
	run  func(*suite, context.Context) error
}

// steps are all parts in their order. What is deleted and what restarts is what the burst has left.
func steps() []step {
	return []step{
		{"floor", (*suite).floor},
		{"direct", (*suite).direct},
		{"ocm", (*suite).ocmAlone},
		{"burst", (*suite).burstDirect},
		{"placement", (*suite).burstByPlacement},
		{"idle", (*suite).idle},
		{"verbs", (*suite).verbs},
		{"steady", (*suite).steadyLoad},
		{"nodes", (*suite).manyNodes},
		{"fleet", (*suite).fleetEvent},
		{"hollow", (*suite).hollowClustersAll},
		{scenarioSteps, (*suite).stepsElsewhere},
	}
}

func stepNames() []string {
	var names []string
	for _, s := range steps() {
		names = append(names, s.name)
	}
	return names
}

// newSuite watches the lab, on which the product runs.
func newSuite(ctx context.Context, o options, l *lab.Lab) (*suite, error) {
	s := &suite{options: o, lab: l, timeline: measure.NewTimeline(), began: time.Now(), result: &report.Run{About: about(ctx, o, l)}}
	var err error
	if o.before != "" {
		if s.before, err = report.Load(o.before); err != nil {
			return nil, err
		}
	}
	if s.audit, err = measure.OpenAudit(l.Hub().AuditLog()); err != nil {
		return nil, err
	}
	scheme, err := hollow.Scheme()
	if err != nil {
		return nil, err
	}
	config, err := accessTo(l.Hub(), userAgentUser)
	if err != nil {
		return nil, err
	}
	if s.hub, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	for _, file := range []string{"clusterset-binding.yaml", "workflow-placement.yaml"} {
		if err := l.Hub().ApplyFiles(ctx, filepath.Join("example", file)); err != nil {
			return nil, err
		}
	}
	if err := s.watch(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// about says what is measured where.
func about(ctx context.Context, o options, l *lab.Lab) map[string]string {
	revision, _ := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	load, _ := os.ReadFile("/proc/loadavg")
	return map[string]string{
		"revision": strings.TrimSpace(string(revision)), "go": runtime.Version(), "processors": fmt.Sprint(runtime.NumCPU()),
		"load": strings.TrimSpace(string(load)), "pods": string(l.Options().Pods), "time": time.Now().UTC().Format(time.RFC3339),
		"options": fmt.Sprintf("%+v", o),
	}
}

// watch notes what the watches of hub and managed clusters show.
func (s *suite) watch(ctx context.Context) error {
	hub, err := accessTo(s.lab.Hub(), userAgentWatch)
	if err != nil {
		return err
	}
	noted := s.timeline
	errs := []error{
		measure.Watch(ctx, hub, contract.WorkflowGVR, gen.Namespace, noted.OnHub, noted.GoneFromHub),
		measure.Watch(ctx, hub, measure.ManifestWorks, "", noted.OnManifestWork, nil),
	}
	for _, c := range s.lab.Managed() {
		config, err := accessTo(c, userAgentWatch)
		if err != nil {
			return err
		}
		errs = append(errs, measure.Watch(ctx, config, contract.WorkflowGVR, gen.Namespace, noted.OnCluster, noted.GoneFromCluster))
	}
	return errors.Join(errs...)
}

// accessTo returns an administrator's access, under this user agent and without limits.
func accessTo(c *lab.Cluster, userAgent string) (*rest.Config, error) {
	config, err := c.Config()
	if err != nil {
		return nil, err
	}
	config.UserAgent = userAgent
	return config, nil
}

func clientTo(c *lab.Cluster, userAgent string) (dynamic.Interface, error) {
	config, err := accessTo(c, userAgent)
	if err != nil {
		return nil, err
	}
	return dynamic.NewForConfig(config)
}

// all runs the steps that were asked for. One that fails does not keep the others from being run.
func (s *suite) all(ctx context.Context) error {
	var errs []error
	for _, step := range steps() {
		if !s.includes(step.name) {
			continue
		}
		s.say("== %s", step.name)
		err := step.run(s, ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			s.say("%s failed: %v", step.name, err)
			errs = append(errs, fmt.Errorf("%s: %w", step.name, err))
		}
		if err := s.result.Save(filepath.Join(s.out, "bench.json")); err != nil {
			return err
		}
	}
	s.say("took %s in all", time.Since(s.began).Round(time.Second))
	return errors.Join(errs...)
}

// say prints a line of progress.
func (s *suite) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "[%6s] %s\n", time.Since(s.began).Round(100*time.Millisecond), fmt.Sprintf(format, args...))
}

// show prints and saves the figures.
func (s *suite) show() error {
	if len(s.result.Figures) == 0 {
		return nil
	}
	if err := s.result.Print(os.Stdout, s.before); err != nil {
		return err
	}
	err := errors.Join(
		s.result.Save(filepath.Join(s.out, "bench.json")),
		s.result.Chart(filepath.Join(s.out, "bench.svg"), s.before, panels),
	)
	fmt.Printf("\nall figures are in %s, the chart in %s\n", filepath.Join(s.out, "bench.json"), filepath.Join(s.out, "bench.svg"))
	return err
}

var (
	onClusters = []string{"floor", "direct", "ocm-1", "ocm-25", "burst", "placement"}
	onHollow   = []string{"hollow-floor", "hollow-burst"}
	loaded     = []string{"idle", "steady", "hollow-steady"}
)

// panels are the figures that the chart shows.
var panels = []report.Panel{
	{Title: "All finished after", Unit: "s", What: "all_finished_s", Scenarios: onClusters},
	{Title: "Hub API server, CPU per Workflow", Unit: "ms", What: "hub_apiserver_cpu_ms", Scenarios: onClusters},
	{Title: "Hub writes per Workflow", What: "hub_writes", Scenarios: append(onClusters, "deletion", "idle", "nodes")},
	{Title: "Hub etcd WAL per Workflow", Unit: "KB", What: "hub_wal_kb", Scenarios: append(onClusters, "deletion", "idle")},
	{Title: "Hollow: Workflows a second", Unit: "1/s", What: "throughput", Scenarios: onHollow},
	{Title: "Hollow: hub writes per Workflow", What: "hub_writes", Scenarios: append(onHollow, "hollow-steady", "hollow-flap", "hollow-back")},
	{Title: "Create to start, p50", Unit: "ms", What: "create_started_p50_ms", Scenarios: loaded},
	{Title: "Remote end to hub end, p99", Unit: "ms", What: "end_shown_p99_ms", Scenarios: append(loaded, "burst", "placement")},
}
