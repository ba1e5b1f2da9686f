package run

import (
	"time"

	"golang.org/x/time/rate"
)

const (
	// bytesPerSecondOfInterval makes large statuses rarer: the interval grows by one second for each 64 KiB encoded.
	bytesPerSecondOfInterval = 64 << 10
	// assumedSize is what a report is taken to need before the first one of a run has been encoded.
	assumedSize = 2 << 10
)

// Pacer says when the status of a run may be reported: each run at most once in its interval, and all together at
// most so many bytes a second. It is not told the time but given it.
type Pacer struct {
	interval time.Duration
	// bucket holds one second's worth of bytes. A report that does not wait may overdraw it, and the others wait the
	// longer.
	bucket *rate.Limiter
}

// pace is what a Pacer remembers of one run.
type pace struct {
	// wrote is when the last report went out, and size how many bytes it had.
	wrote time.Time
	size  int
	// slot is the time that has been reserved for the next report, with so many bytes paid for.
	slot time.Time
	paid int
}

// NewPacer returns a Pacer for at most one report of a run in each interval, and bandwidth bytes a second for all
// runs together; 0 is no limit.
func NewPacer(interval time.Duration, bandwidth int) *Pacer {
	if bandwidth <= 0 {
		return &Pacer{interval: interval, bucket: rate.NewLimiter(rate.Inf, 0)}
	}
	return &Pacer{interval: interval, bucket: rate.NewLimiter(rate.Limit(bandwidth), bandwidth)}
}

// wait returns how long a report that is not urgent has to wait; 0 lets it go. The interval counts from the last
// report. Then the bucket assigns a slot, once, so that those who wait are served in turn and wake up only then.
func (p *Pacer) wait(run *pace, now time.Time) time.Duration {
	if due := run.wrote.Add(p.intervalFor(run.size)); !run.wrote.IsZero() && now.Before(due) {
		return due.Sub(now)
	}
	if run.slot.IsZero() {
		run.paid = max(run.size, assumedSize)
		run.slot = now.Add(p.take(run.paid, now))
	}
	return max(0, run.slot.Sub(now))
}

// spend records that a report of so many bytes goes out now, whether it waited for its slot or not.
func (p *Pacer) spend(run *pace, size int, now time.Time) {
	if size > run.paid {
		p.take(size-run.paid, now)
	}
	*run = pace{wrote: now, size: size}
}

func (p *Pacer) intervalFor(size int) time.Duration {
	return p.interval + time.Duration(size)*time.Second/bytesPerSecondOfInterval
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
