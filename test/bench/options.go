package main

import (
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

// options say what is measured, and with how much.
type options struct {
	name, pods  string
	out, before string
	keep        bool
	only        []string

	// concurrency is how many requests users, and the floor, have on the way at a time.
	concurrency int
	// patience is how long whatever is waited for may take.
	patience time.Duration

	// On two managed clusters: Workflows at once, of which so many by Placement, one after the other, nodes of the one large Workflow, and
	// Workflows that wait while addons change; a steady load for so long.
	burst, byPlacement, singles, nodes, waiting int
	steady                                      time.Duration

	// With hollow clusters: how many, Workflows at once, Workflows that wait while addons change; a steady load for so long; how long a
	// Workflow runs.
	hollowClusters, hollowBurst, hollowWaiting int
	hollowSteady, hollowRun                    time.Duration
}

var fullRun = options{
	burst: 300, byPlacement: 300, singles: 20, nodes: 5000, waiting: 300, steady: time.Minute,
	hollowClusters: 1000, hollowBurst: 10000, hollowWaiting: 1000, hollowSteady: time.Minute,
	patience: 30 * time.Minute,
}

var quickRun = options{
	burst: 300, byPlacement: 100, singles: 10, nodes: 5000, waiting: 100, steady: 10 * time.Second,
	hollowClusters: 100, hollowBurst: 1000, hollowWaiting: 200, hollowSteady: 10 * time.Second,
	patience: 10 * time.Minute,
}

func (o *options) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.name, "name", "bench", "name of the lab")
	flags.StringVar(&o.pods, "pods", string(lab.PodsSimulated), "who runs the pods: simulated, real or auto")
	flags.StringVar(&o.out, "out", "_output/bench", "folder for bench.json, bench.svg and the log")
	flags.StringVar(&o.before, "before", "", "bench.json of an earlier run, to show beside this one")
	flags.BoolVar(&o.keep, "keep", false, "leave the lab up")
	flags.StringSliceVar(&o.only, "only", nil, "what to measure: "+strings.Join(stepNames(), ", ")+" (default all but "+scenarioSteps+")")
	flags.IntVar(&o.concurrency, "concurrency", 16, "requests that users, and the floor, have on the way at a time")
	flags.DurationVar(&o.hollowRun, "hollow-run", time.Second, "how long a Workflow runs on a hollow cluster")
	const otherwise = "; 0 is what --quick or its absence means"
	flags.DurationVar(&o.patience, "patience", 0, "how long whatever is waited for may take"+otherwise)
	flags.IntVar(&o.burst, "burst", 0, "Workflows at once"+otherwise)
	flags.IntVar(&o.byPlacement, "by-placement", 0, "Workflows at once by Placement"+otherwise)
	flags.IntVar(&o.singles, "singles", 0, "Workflows one after the other"+otherwise)
	flags.IntVar(&o.nodes, "nodes", 0, "nodes of the one large Workflow"+otherwise)
	flags.IntVar(&o.waiting, "waiting", 0, "Workflows that wait while addons change"+otherwise)
	flags.DurationVar(&o.steady, "steady", 0, "how long to keep up a steady load"+otherwise)
	flags.IntVar(&o.hollowClusters, "hollow-clusters", 0, "hollow clusters"+otherwise)
	flags.IntVar(&o.hollowBurst, "hollow-burst", 0, "Workflows at once over the hollow clusters"+otherwise)
	flags.IntVar(&o.hollowWaiting, "hollow-waiting", 0, "Workflows that wait while the hollow clusters' addons change"+otherwise)
	flags.DurationVar(&o.hollowSteady, "hollow-steady", 0, "how long to keep up a steady load with hollow clusters"+otherwise)
}

// includes reports whether a step is to be run.
func (o options) includes(step string) bool {
	return slices.Contains(o.only, step) || len(o.only) == 0 && step != scenarioSteps
}

// over returns the options with what was not given taken from the full or the small measurement.
func (o options) over(quick bool) options {
	preset := fullRun
	if quick {
		preset = quickRun
	}
	for _, number := range []struct{ given, otherwise *int }{
		{&o.burst, &preset.burst}, {&o.byPlacement, &preset.byPlacement}, {&o.singles, &preset.singles}, {&o.nodes, &preset.nodes},
		{&o.waiting, &preset.waiting}, {&o.hollowClusters, &preset.hollowClusters}, {&o.hollowBurst, &preset.hollowBurst},
		{&o.hollowWaiting, &preset.hollowWaiting},
	} {
		if *number.given == 0 {
			*number.given = *number.otherwise
		}
	}
	for _, duration := range []struct{ given, otherwise *time.Duration }{
		{&o.patience, &preset.patience}, {&o.steady, &preset.steady}, {&o.hollowSteady, &preset.hollowSteady},
	} {
		if *duration.given == 0 {
			*duration.given = *duration.otherwise
		}
	}
	return o
}
