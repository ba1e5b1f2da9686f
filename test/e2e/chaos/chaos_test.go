package chaos

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	between := 2500 * time.Millisecond
	if realPods() {
		// Two cores run some 0.4 real Workflows a second besides all this, and go on with what is left for half of the patience.
		enough := time.Duration(workflows)*2500*time.Millisecond - wholePatience.toSettle/2
		between = max(between, enough/time.Duration(faults))
	}
	p := newPlan(uint64(seed), workflows, faults, mix{clusters: clusters, between: between, realPods: realPods()})
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
	u, err := newUsers(t)
	require.NoError(t, err)
	require.NoError(t, u.prepare(t.Context()))
	s := &striker{t: t, down: map[string]bool{}}
	defer s.keepInBackground(t.Context())()

	began := time.Now()
	var group sync.WaitGroup
	group.Go(func() {
		s.strike(t.Context(), p.faults)
		// Argo does not repeat a write that a fault took, and passes over some Workflows then until it begins anew.
		var argo []fault
		for cluster := range theLab.Clusters() {
			argo = append(argo, fault{kind: kill, target: lab.ArgoController, cluster: cluster})
		}
		s.strike(t.Context(), argo)
	})
	group.Go(func() { u.work(t.Context(), p.workflows) })
	group.Wait()
	healed := time.Now()
	w := witness{users: u, prefix: p.prefix}
	unrest := untilNone(t, bounds.toSettle, w.unrest)
	settled := time.Now()
	sleep(t.Context(), 2*resync) // what begins again does so at a resync
	require.NoError(t, w.deleteAll(t.Context()))
	leftovers := untilNone(t, bounds.toVanish, w.leftovers)
	evidence, err := w.evidence(t.Context())
	require.NoError(t, err)
	evidence.Unrest, evidence.Leftovers = unrest, leftovers
	findings := verdict.Of(evidence)
	t.Logf("%s\n%d Workflows and %d faults in %.0fs, at rest %.0fs after the last fault: %d states on the hub, %d on the clusters; "+
		"%d findings%s", p, len(p.workflows), len(p.faults), healed.Sub(began).Seconds(), settled.Sub(healed).Seconds(),
		len(evidence.Hub), len(evidence.Managed), len(findings), count(findings))
	return findings
}

// untilNone looks again and again until there is nothing any more, and returns what there is when the time is over.
func untilNone(t *testing.T, within time.Duration, look func(context.Context) ([]string, error)) []string {
	t.Helper()
	var found []string
	err := eventually(t.Context(), within, func() (err error) {
		found, err = look(t.Context())
		if err == nil && len(found) > 0 {
			err = fmt.Errorf("%d are left", len(found))
		}
		return err
	})
	if err != nil && len(found) == 0 {
		found = []string{err.Error()}
	}
	return found
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
