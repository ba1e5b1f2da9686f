package run

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
)

func TestPacerCountsTheFirstIntervalFromTheFirstQuestion(t *testing.T) {
	pacer, run := NewPacer(time.Second, 1<<20), &pace{}
	assert.Equal(t, time.Second, pacer.wait(run, false, testNow))
	assert.Equal(t, 600*time.Millisecond, pacer.wait(run, false, testNow.Add(400*time.Millisecond)))
	assert.Zero(t, pacer.wait(run, false, testNow.Add(time.Second)))
}

func TestPacerLetsANewPhaseGoAtOnceWhileThereAreReportsToSpare(t *testing.T) {
	pacer := NewPacer(time.Second, 1<<20)
	for range spareBurst {
		assert.Zero(t, pacer.wait(&pace{}, true, testNow))
	}
	late := &pace{}
	assert.Equal(t, time.Second, pacer.wait(late, true, testNow), "of a burst, the others wait")
	assert.Equal(t, 900*time.Millisecond, pacer.wait(late, true, testNow.Add(100*time.Millisecond)))
	assert.Zero(t, pacer.wait(late, true, testNow.Add(time.Second/spareReports)), "there is one to spare again")
	assert.Zero(t, pacer.wait(late, true, testNow.Add(time.Second)))
	assert.InDelta(t, spareReports-1, pacer.spare.TokensAt(testNow.Add(time.Second)), 0.01, "none is taken when it is its turn")
}

func TestPacerCountsTheIntervalFromTheLastReport(t *testing.T) {
	pacer, run := NewPacer(time.Second, 1<<20), &pace{}
	pacer.spend(run, 100, testNow)
	expected := time.Second + 100*time.Second/(64<<10)
	assert.Equal(t, expected, pacer.wait(run, false, testNow))
	assert.Equal(t, expected-400*time.Millisecond, pacer.wait(run, false, testNow.Add(400*time.Millisecond)))
	assert.Zero(t, pacer.wait(run, false, testNow.Add(expected)))
}

func TestPacerMakesLargeStatusesRarer(t *testing.T) {
	pacer := NewPacer(time.Second, 0)
	assert.Equal(t, time.Second, pacer.intervalFor(0, testNow))
	assert.Equal(t, 2*time.Second, pacer.intervalFor(64<<10, testNow))
	assert.Equal(t, 9*time.Second, pacer.intervalFor(512<<10, testNow))
}

func TestPacerMakesReportsRarerTheSlowerTheHubAnswers(t *testing.T) {
	pacer := NewPacer(time.Second, 0)
	for range 50 {
		pacer.answered(20*time.Millisecond, testNow)
	}
	assert.InDelta(t, 1200*time.Millisecond, pacer.intervalFor(0, testNow), float64(time.Millisecond))
	assert.Zero(t, pacer.wait(&pace{}, true, testNow), "a hub that answers soon has reports to spare")
	pacer.answered(time.Second, testNow)
	assert.InDelta(t, 3650*time.Millisecond, pacer.intervalFor(0, testNow), float64(10*time.Millisecond), "one answer is not all")
	assert.Equal(t, pacer.intervalFor(0, testNow), pacer.wait(&pace{}, true, testNow), "a busy hub has none")
	for range 50 {
		pacer.answered(time.Minute, testNow)
	}
	assert.Equal(t, 31*time.Second, pacer.intervalFor(0, testNow))
	assert.Equal(t, time.Second, pacer.intervalFor(0, testNow.Add(maxPatience+1)), "that was long ago")
	for range 50 {
		pacer.answered(0, testNow)
	}
	assert.InDelta(t, time.Second, pacer.intervalFor(0, testNow), float64(time.Millisecond), "it recovers")
	assert.Zero(t, pacer.wait(&pace{}, true, testNow))
}

func TestPacerServesThoseWhoWaitInTurn(t *testing.T) {
	pacer := NewPacer(time.Second, 10*assumedSize)
	pacer.spend(&pace{}, 20*assumedSize, testNow) // an urgent one overdraws the bucket by one second
	first, second := &pace{last: testNow.Add(-time.Second)}, &pace{last: testNow.Add(-time.Second)}
	assert.Equal(t, 1100*time.Millisecond, pacer.wait(first, false, testNow))
	assert.Equal(t, 1200*time.Millisecond, pacer.wait(second, false, testNow))
	// Asking again keeps the slot and does not take another.
	assert.Equal(t, 600*time.Millisecond, pacer.wait(first, false, testNow.Add(500*time.Millisecond)))
	assert.Zero(t, pacer.wait(first, false, testNow.Add(1100*time.Millisecond)))
	assert.Equal(t, 100*time.Millisecond, pacer.wait(second, false, testNow.Add(1100*time.Millisecond)))
}

func TestPacerTakesOnlyWhatIsNotPaidYet(t *testing.T) {
	pacer, run := NewPacer(time.Second, 10*assumedSize), &pace{last: testNow.Add(-time.Second)}
	assert.Zero(t, pacer.wait(run, false, testNow))
	assert.InDelta(t, 9*assumedSize, pacer.bucket.TokensAt(testNow), 0.01)
	pacer.spend(run, 3*assumedSize, testNow)
	assert.InDelta(t, 7*assumedSize, pacer.bucket.TokensAt(testNow), 0.01)
	assert.Equal(t, pace{last: testNow, size: 3 * assumedSize}, *run)
}

func TestPacerWithoutABandwidthLimitsTheIntervalOnly(t *testing.T) {
	pacer, run := NewPacer(time.Second, 0), &pace{}
	pacer.spend(run, 100<<20, testNow)
	assert.Zero(t, pacer.wait(&pace{last: testNow.Add(-time.Second)}, false, testNow))
	assert.Zero(t, pacer.wait(run, false, testNow.Add(pacer.intervalFor(100<<20, testNow))))
}

func TestAnExpectationIsWaitedForUntilTheCacheShowsAnotherVersion(t *testing.T) {
	var e expectation
	assert.Zero(t, e.wait("", testNow), "nothing was written yet")
	e.replaced("7", "8", testNow)
	assert.Equal(t, expectationTimeout, e.wait("7", testNow))
	assert.Zero(t, e.wait("8", testNow))
	assert.Zero(t, e.wait("7", testNow.Add(expectationTimeout)), "a version that came back for good")
	e.replaced("8", "8", testNow)
	assert.Zero(t, e.wait("8", testNow), "a write without an effect is not expected")
}

func TestHintsAreOfOneIncarnation(t *testing.T) {
	var m allHints
	rw := newRemote()
	m.recall(rw).reported = "5"
	assert.Equal(t, "5", m.recall(rw).reported)
	assert.Empty(t, m.recall(newRemote(func(other *v1alpha1.RemoteWorkflow) { other.UID = "second" })).reported)
	m.forget(rw.Name)
	assert.Empty(t, m.byName)
}

func TestAStateBeginsWhenItIsFirstSeen(t *testing.T) {
	later := testNow.Add(time.Minute)
	known := &hints{}
	assert.Equal(t, testNow, known.since("removed", testNow))
	assert.Equal(t, testNow, known.since("removed", later))
	assert.Equal(t, later, known.since("deleted", later), "another state begins anew")
	assert.Equal(t, later.Add(time.Minute), known.since("removed", later.Add(time.Minute)), "and so does one that it comes back to")
}
