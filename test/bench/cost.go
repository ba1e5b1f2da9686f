package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/client-go/kubernetes"

	"open-cluster-management.io/argo-workflow-multicluster/test/bench/measure"
	"open-cluster-management.io/argo-workflow-multicluster/test/bench/report"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

const (
	// quiet is for how long nothing may have been written for a scenario to be over.
	quiet = 1500 * time.Millisecond
	// quietPoll is how often that is looked at.
	quietPoll = 250 * time.Millisecond
	// settling is how long that may take: OCM looks at what it has created each 10 to 19 seconds, and reports it.
	settling = 25 * time.Second
	// busy is how much of a processor a manager uses that has something to do.
	busy = 0.2
	// own is what this process is called among the processes: users, watches, and hollow clusters are in it.
	own = "bench"
)

// usage is what everything has used so far.
type usage struct {
	walBytes   float64
	events     float64
	reconciles float64
	// processes are by "<cluster>/<process>".
	processes map[string]lab.Usage
}

// used reads what everything has used so far. What cannot be read, as of a manager that does not run, is zero.
func (s *suite) used(ctx context.Context) usage {
	u := usage{processes: map[string]lab.Usage{own: lab.OwnUsage()}}
	if text, err := s.lab.Hub().EtcdMetrics(ctx); err == nil {
		u.walBytes = measure.Sum(text, "etcd_disk_wal_write_bytes_total")
	}
	if text, err := s.apiServerMetrics(ctx); err == nil {
		for _, verb := range []string{"POST", "PATCH", "PUT", "APPLY", "DELETE"} {
			u.events += measure.Sum(text, "apiserver_request_total", `resource="events"`, `verb="`+verb+`"`)
		}
	}
	if text, err := s.lab.ReadManagerMetrics(ctx); err == nil {
		u.reconciles = measure.Sum(text, "controller_runtime_reconcile_total")
	}
	for _, c := range s.lab.Clusters() {
		for name, process := range c.Usage() {
			u.processes[c.Name+"/"+name] = process
		}
	}
	return u
}

func (s *suite) apiServerMetrics(ctx context.Context) ([]byte, error) {
	config, err := accessTo(s.lab.Hub(), userAgentWatch)
	if err != nil {
		return nil, err
	}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return kube.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
}

// measure runs a scenario of so many Workflows, waits until nothing is written for it any more, and adds what it has cost to the result.
func (s *suite) measure(ctx context.Context, scenario string, workflows int, do func(context.Context) error) error {
	for _, c := range s.lab.Clusters() {
		c.ResetPeaks()
	}
	lab.ResetOwnPeak()
	if _, err := s.audit.Read(); err != nil {
		return err
	}
	before := s.used(ctx)
	within, cancel := context.WithTimeoutCause(ctx, s.patience, fmt.Errorf("not within %s", s.patience))
	defer cancel()
	if err := do(within); err != nil {
		return err
	}
	counts, err := s.settle(ctx, settling)
	if err != nil {
		return err
	}
	s.record(scenario, workflows, before, s.used(ctx), counts)
	return nil
}

// settle waits until nothing is written to the hub any more and the manager is idle, and returns the requests since the audit log was
// read last.
func (s *suite) settle(ctx context.Context, atMost time.Duration) (measure.Counts, error) {
	all := measure.Counts{}
	end, quietSince, cpu := time.Now().Add(atMost), time.Now(), s.managerCPU()
	ticker := time.NewTicker(quietPoll)
	defer ticker.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-ticker.C:
		}
		counts, err := s.audit.Read()
		if err != nil {
			return nil, err
		}
		all.Add(counts)
		now, nowCPU := time.Now(), s.managerCPU()
		if counts.Sum(measure.Request.IsWrite).Total > 0 || (nowCPU-cpu).Seconds() > busy*now.Sub(last).Seconds() {
			quietSince = now
		}
		last, cpu = now, nowCPU
		if now.Sub(quietSince) >= quiet || now.After(end) {
			return all, nil
		}
	}
}

func (s *suite) managerCPU() time.Duration { return s.lab.Hub().Usage()[lab.ManagerProcess].CPU }

// record adds what a scenario has cost: for each Workflow, and for each process.
func (s *suite) record(scenario string, workflows int, before, after usage, counts measure.Counts) {
	n := float64(max(workflows, 1))
	add := func(what string, value float64, unit string) {
		s.result.Add(report.Figure{Name: scenario + "." + what, Value: value, Unit: unit, Kind: report.Number})
	}
	add("workflows", float64(workflows), "")
	writes := counts.Sum(measure.Request.IsWrite)
	add("hub_writes", float64(writes.Total)/n, "per Workflow")
	add("hub_writes_failed", float64(writes.Failed)/n, "per Workflow")
	add("hub_reads", float64(counts.Sum(measure.Request.IsRead).Total)/n, "per Workflow")
	add("hub_events", (after.events-before.events)/n, "per Workflow")
	if after.walBytes > 0 {
		add("hub_wal_kb", (after.walBytes-before.walBytes)/n/1000, "KB per Workflow")
	}
	if after.reconciles >= before.reconciles && before.reconciles > 0 {
		add("reconciles", (after.reconciles-before.reconciles)/n, "per Workflow")
	}
	for _, request := range counts.Sorted() {
		if request.IsWrite() || request.IsRead() {
			s.recordRequest(scenario, request, float64(counts[request].Total)/n)
		}
	}
	s.recordProcesses(scenario, n, before, after)
	s.say("%s: %.1f writes, %.1f reads, %.1f KB of WAL for each Workflow", scenario, float64(writes.Total)/n,
		float64(counts.Sum(measure.Request.IsRead).Total)/n, (after.walBytes-before.walBytes)/n/1000)
}

// recordRequest adds up what is the same but for the user agent, unless the sender is several programs.
func (s *suite) recordRequest(scenario string, request measure.Request, perWorkflow float64) {
	name := fmt.Sprintf("%s.request %s (%s) %s %s", scenario, request.Who, request.UserAgent, request.Verb, request.Resource)
	if request.Who == request.UserAgent {
		name = fmt.Sprintf("%s.request %s %s %s", scenario, request.Who, request.Verb, request.Resource)
	}
	s.result.Add(report.Figure{Name: name, Value: perWorkflow, Unit: "per Workflow", Kind: report.Request})
}

// recordProcesses adds what each process used, and for each Workflow what those did that matter most. The process that is gone, or was
// started again, counts from zero.
func (s *suite) recordProcesses(scenario string, n float64, before, after usage) {
	sums := map[string]time.Duration{}
	for _, name := range slices.Sorted(maps.Keys(after.processes)) {
		now, earlier := after.processes[name], before.processes[name]
		spent := now.CPU - earlier.CPU
		if spent < 0 {
			spent = now.CPU
		}
		for _, process := range accounted {
			if process.is(name) {
				sums[process.figure] += spent
			}
		}
		figure := scenario + ".process " + name
		s.result.Add(report.Figure{Name: figure + ".cpu", Value: spent.Seconds(), Unit: "s", Kind: report.Process})
		s.result.Add(report.Figure{Name: figure + ".peak", Value: float64(now.PeakKiB) / 1024, Unit: "MiB", Kind: report.Process})
	}
	for _, process := range accounted {
		s.result.Add(report.Figure{
			Name: scenario + "." + process.figure, Value: sums[process.figure].Seconds() * 1000 / n, Unit: "ms per Workflow", Kind: report.Time,
		})
	}
}

// accounted are the processes whose CPU time is told for each Workflow.
var accounted = []struct {
	figure string
	is     func(name string) bool
}{
	{"hub_apiserver_cpu_ms", func(name string) bool { return name == "hub/kube-apiserver" }},
	{"hub_etcd_cpu_ms", func(name string) bool { return name == "hub/etcd" }},
	{"manager_cpu_ms", func(name string) bool { return name == "hub/"+lab.ManagerProcess }},
	{"agents_cpu_ms", func(name string) bool {
		return name == "cluster1/"+lab.AgentProcess || name == "cluster2/"+lab.AgentProcess
	}},
}

// recordTimes adds how long the Workflows took from one moment to another: medians and 99th percentiles.
func (s *suite) recordTimes(scenario string, names []string) {
	for _, way := range []struct {
		what     string
		from, to measure.Moment
	}{
		{"create_assigned", measure.Created, measure.Assigned},
		{"create_listed", measure.Created, measure.Listed},
		{"create_exists", measure.Created, measure.Exists},
		{"create_started", measure.Created, measure.Started},
		{"end_shown", measure.Ended, measure.Shown},
	} {
		took := s.timeline.Between(names, way.from, way.to)
		if len(took) == 0 {
			continue
		}
		for _, p := range []int{50, 99} {
			s.recordTime(fmt.Sprintf("%s.%s_p%d_ms", scenario, way.what, p), float64(measure.Percentile(took, p).Microseconds())/1000, "ms")
		}
	}
}

func (s *suite) recordTime(name string, value float64, unit string) {
	s.result.Add(report.Figure{Name: name, Value: value, Unit: unit, Kind: report.Time})
}
