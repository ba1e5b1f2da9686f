package run

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
)

func TestPacerLetsTheFirstReportGo(t *testing.T) {
	pacer, run := NewPacer(time.Second, 1<<20), &pace{}
	assert.Zero(t, pacer.wait(run, testNow))
}

func TestPacerCountsTheIntervalFromTheLastReport(t *testing.T) {
	pacer, run := NewPacer(time.Second, 1<<20), &pace{}
	pacer.spend(run, 100, testNow)
	expected := time.Second + 100*time.Second/(64<<10)
	assert.Equal(t, expected, pacer.wait(run, testNow))
	assert.Equal(t, expected-400*time.Millisecond, pacer.wait(run, testNow.Add(400*time.Millisecond)))
	assert.Zero(t, pacer.wait(run, testNow.Add(expected)))
}

func TestPacerMakesLargeStatusesRarer(t *testing.T) {
	pacer := NewPacer(time.Second, 0)
	assert.Equal(t, time.Second, pacer.intervalFor(0))
	assert.Equal(t, 2*time.Second, pacer.intervalFor(64<<10))
	assert.Equal(t, 9*time.Second, pacer.intervalFor(512<<10))
}

func TestPacerServesThoseWhoWaitInTurn(t *testing.T) {
	pacer := NewPacer(time.Second, 10*assumedSize)
	pacer.spend(&pace{}, 20*assumedSize, testNow) // an urgent one overdraws the bucket by one second
	first, second := &pace{}, &pace{}
	assert.Equal(t, 1100*time.Millisecond, pacer.wait(first, testNow))
	assert.Equal(t, 1200*time.Millisecond, pacer.wait(second, testNow))
	// Asking again keeps the slot and does not take another.
	assert.Equal(t, 600*time.Millisecond, pacer.wait(first, testNow.Add(500*time.Millisecond)))
	assert.Zero(t, pacer.wait(first, testNow.Add(1100*time.Millisecond)))
	assert.Equal(t, 100*time.Millisecond, pacer.wait(second, testNow.Add(1100*time.Millisecond)))
}

func TestPacerTakesOnlyWhatIsNotPaidYet(t *testing.T) {
	pacer, run := NewPacer(time.Second, 10*assumedSize), &pace{}
	assert.Zero(t, pacer.wait(run, testNow))
	assert.InDelta(t, 9*assumedSize, pacer.bucket.TokensAt(testNow), 0.01)
	pacer.spend(run, 3*assumedSize, testNow)
	assert.InDelta(t, 7*assumedSize, pacer.bucket.TokensAt(testNow), 0.01)
	assert.Equal(t, pace{wrote: testNow, size: 3 * assumedSize}, *run)
}

func TestPacerWithoutABandwidthLimitsTheIntervalOnly(t *testing.T) {
	pacer, run := NewPacer(time.Second, 0), &pace{}
	pacer.spend(run, 100<<20, testNow)
	assert.Zero(t, pacer.wait(&pace{}, testNow))
	assert.Zero(t, pacer.wait(run, testNow.Add(pacer.intervalFor(100<<20))))
}

func TestEchoIsWaitedForUntilTheCacheShowsAnotherVersion(t *testing.T) {
	var e echo
	assert.Zero(t, e.wait("", testNow), "nothing was written yet")
	e.replaced("7", "8", testNow)
	assert.Equal(t, echoTimeout, e.wait("7", testNow))
	assert.Zero(t, e.wait("8", testNow))
	assert.Zero(t, e.wait("7", testNow.Add(echoTimeout)), "a version that came back for good")
	e.replaced("8", "8", testNow)
	assert.Zero(t, e.wait("8", testNow), "a write without an effect has no echo")
}

func TestMemoryIsOfOneIncarnation(t *testing.T) {
	var m memory
	rw := newRemote()
	m.recall(rw).reported = "5"
	assert.Equal(t, "5", m.recall(rw).reported)
	assert.Empty(t, m.recall(newRemote(func(other *v1alpha1.RemoteWorkflow) { other.UID = "second" })).reported)
	m.forget(rw.Name)
	assert.Empty(t, m.runs)
}
