package run

import (
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	// bytesPerSecondOfInterval makes large statuses rarer: the interval grows by one second for each 64 KiB encoded.
	bytesPerSecondOfInterval = 64 << 10
	// assumedSize is what a report is taken to need before the first one of an attempt has been encoded.
	assumedSize = 2 << 10
	// spareReports is how many reports in a second of a new phase need not wait for their turn, and spareBurst how many at once: a
	// Workflow shows at once that it runs, and of a burst of short ones nearly all are reported once, at their end. That Argo has not
	// taken up a Workflow is said with these, too: in a burst it soon will.
	spareReports, spareBurst = 5, 5
	// An interval grows by as many times what the hub takes to answer, up to maxPatience: reports of progress are not to be what a busy hub
	// is busy with. One that takes longer than slowAnswer has no reports to spare.
	answersOfInterval = 10
	maxPatience       = 30 * time.Second
	slowAnswer        = 100 * time.Millisecond
)

// Pacer says when the status of an attempt may be reported: each at most once in its interval, and all together at
// most so many bytes a second. It is not told the time but given it.
type Pacer struct {
	interval time.Duration
	// bucket holds one second's worth of bytes. A report that does not wait may overdraw it, and the others wait the
	// longer.
	bucket *rate.Limiter
	// spare holds the reports that need not wait.
	spare *rate.Limiter
	// answer is how long the hub has taken lately to answer a report, and answeredAt when it did last, in nanoseconds.
	answer, answeredAt atomic.Int64
}

// pace is what a Pacer remembers of one attempt.
type pace struct {
	// last is when the last report went out or, before the first, when that was first asked for; and size is how many bytes it had.
	last time.Time
	size int
	// slot is the time that has been reserved for the next report, with so many bytes paid for.
	slot time.Time
	paid int
}

// NewPacer returns a Pacer for at most one report of an attempt in each interval, and bandwidth bytes a second for all
// of them together; 0 is no limit.
func NewPacer(interval time.Duration, bandwidth int) *Pacer {
	bucket := rate.NewLimiter(rate.Inf, 0)
	if bandwidth > 0 {
		bucket = rate.NewLimiter(rate.Limit(bandwidth), bandwidth)
	}
	return &Pacer{interval: interval, bucket: bucket, spare: rate.NewLimiter(spareReports, spareBurst)}
}

// wait returns how long a report has to wait that is not the last one of its attempt; 0 is not at all. One of a new phase takes one
// of the spare reports, if there is one, instead of waiting.
func (p *Pacer) wait(of *pace, newPhase bool, now time.Time) time.Duration {
	turn := p.turn(of, now)
	if turn > 0 && newPhase && p.isSpare(now) {
		return 0
	}
	return turn
}

// isSpare takes one of the spare reports, if there is one.
func (p *Pacer) isSpare(now time.Time) bool {
	return p.lately(now) <= slowAnswer && p.spare.AllowN(now, 1)
}

// answered records how long the hub has taken to answer a report. Of several at a time one may be lost.
func (p *Pacer) answered(after time.Duration, now time.Time) {
	last := int64(p.lately(now))
	p.answer.Store(last + (int64(after)-last)/4)
	p.answeredAt.Store(now.UnixNano())
}

// lately returns how long the hub takes to answer; 0 if that was last known too long ago to say anything of now.
func (p *Pacer) lately(now time.Time) time.Duration {
	if now.UnixNano()-p.answeredAt.Load() > int64(maxPatience) {
		return 0
	}
	return time.Duration(p.answer.Load())
}

// turn returns how long until it is an attempt's turn. Its interval counts from the last report. Then the bucket assigns a
// slot, once, so that those who wait are served in turn and wake up only then.
func (p *Pacer) turn(of *pace, now time.Time) time.Duration {
	if of.last.IsZero() {
		of.last = now
	}
	if due := of.last.Add(p.intervalFor(of.size, now)); now.Before(due) {
		return due.Sub(now)
	}
	if of.slot.IsZero() {
		of.paid = max(of.size, assumedSize)
		of.slot = now.Add(p.take(of.paid, now))
	}
	return max(0, of.slot.Sub(now))
}

// spend records that a report of so many bytes goes out now, whether it waited for its slot or not.
func (p *Pacer) spend(of *pace, size int, now time.Time) {
	if size > of.paid {
		p.take(size-of.paid, now)
	}
	*of = pace{last: now, size: size}
}

func (p *Pacer) intervalFor(size int, now time.Time) time.Duration {
	return p.interval + time.Duration(size)*time.Second/bytesPerSecondOfInterval +
		min(answersOfInterval*p.lately(now), maxPatience)
}

// take takes bytes from the bucket and returns how long until it holds them. The limiter refuses what exceeds its
// capacity, hence the pieces.
func (p *Pacer) take(bytes int, now time.Time) time.Duration {
	if p.bucket.Limit() == rate.Inf {
		return 0
	}
	var delay time.Duration
	for bytes > 0 {
		piece := min(bytes, p.bucket.Burst())
		delay = p.bucket.ReserveN(now, piece).DelayFrom(now)
		bytes -= piece
	}
	return delay
}
