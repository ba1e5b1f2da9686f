package chaos

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/test/e2e/chaos/verdict"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

// patience is how long everything may take to come to rest once the last fault is over, and how long until nothing is left
// when all Workflows have been deleted.
type patience struct{ toSettle, toVanish time.Duration }

var wholePatience = patience{toSettle: 4 * time.Minute, toVanish: 3 * time.Minute}

func TestEveryWorkflowRunsOnceAndItsEndIsSeen(t *testing.T) {
	seed, workflows, faults := number(t, "CHAOS_SEED", 1), number(t, "CHAOS_WORKFLOWS", 60), number(t, "CHAOS_FAULTS", 10)
	p := newPlan(uint64(seed), workflows, faults, mix{clusters: clusters, between: 2500 * time.Millisecond, realPods: realPods()})
	findings := run(t, p, wholePatience)
	for _, finding := range findings {
		t.Error(finding)
	}
}

func number(t *testing.T, variable string, byDefault int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return byDefault
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, variable)
	require.Positive(t, n, variable)
	return n
}

// realPods tells whether something is executed in the lab's pods.
func realPods() bool { return theLab.Options().Pods == lab.PodsReal }

// run carries out a plan, and returns what is wrong when everything has come to rest. Then nothing is left of it.
func run(t *testing.T, p plan, bounds patience) []verdict.Finding {
	t.Helper()
	ctx := t.Context()
	u, err := newUsers(t)
	require.NoError(t, err)
	require.NoError(t, u.prepare(ctx))
	w := witness{users: u}

	began := time.Now()
	struck := make(chan struct{})
	s := &striker{t: t, down: map[string]bool{}}
	keeping, stop := context.WithCancel(ctx)
	defer stop()
	go s.keep(keeping)
	go func() {
		defer close(struck)
		s.strike(ctx, p.faults)
	}()
	u.work(ctx, p.workflows)
	<-struck
	healed := time.Now()
	if err := eventually(ctx, bounds.toSettle, func() error { return w.settled(ctx) }); err != nil {
		t.Logf("it has not come to rest: %v", err)
	}
	settled := time.Now()
	sleep(ctx, 2*resync) // what begins again does so at a resync
	require.NoError(t, w.deleteAll(ctx))
	var leftovers []string
	if err := eventually(ctx, bounds.toVanish, func() error {
		leftovers, err = w.leftovers(ctx)
		if err == nil && len(leftovers) > 0 {
			err = fmt.Errorf("%d objects", len(leftovers))
		}
		return err
	}); err != nil {
		t.Logf("something is left: %v", err)
	}
	evidence, err := w.evidence(ctx)
	require.NoError(t, err)
	evidence.Leftovers = leftovers
	findings := verdict.Of(evidence)
	t.Logf("%s\n%d Workflows and %d faults in %.0fs, at rest %.0fs after the last fault: %d runs, %d states on the hub, %d on the clusters; "+
		"%d findings%s", p, len(p.workflows), len(p.faults), healed.Sub(began).Seconds(), settled.Sub(healed).Seconds(),
		len(evidence.Journal), len(evidence.Hub), len(evidence.Managed), len(findings), count(findings))
	return findings
}

// String says of what the plan consists.
func (p plan) String() string {
	of := map[string]int{}
	for _, wf := range p.workflows {
		of[string(wf.shape)]++
		if wf.ttlField != "" {
			of["with ttlStrategy"]++
		}
		if wf.deletedOnHub > 0 {
			of["deleted on the hub"]++
		}
		if wf.deletedOnCluster > 0 {
			of["deleted on their cluster"]++
		}
	}
	for _, f := range p.faults {
		of[fmt.Sprintf("%s %s%s%s", f.kind, f.target, f.link, map[bool]string{true: " " + string(f.how)}[f.how != ""])]++
	}
	var lines []string
	for _, what := range slices.Sorted(maps.Keys(of)) {
		lines = append(lines, fmt.Sprintf("%4d %s", of[what], what))
	}
	return strings.Join(lines, "\n")
}

func count(findings []verdict.Finding) string {
	of := map[verdict.Kind]int{}
	for _, finding := range findings {
		of[finding.Kind]++
	}
	var text string
	for _, kind := range slices.Sorted(maps.Keys(of)) {
		text += fmt.Sprintf(", %d %s", of[kind], kind)
	}
	return text
}
