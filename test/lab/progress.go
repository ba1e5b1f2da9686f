package lab

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// heartbeat is how often a long step says that it is still at work.
const heartbeat = 15 * time.Second

// progress prints what a command does, with the time since it began.
type progress struct {
	mu    sync.Mutex
	out   io.Writer
	begin time.Time
}

func newProgress(out io.Writer) *progress { return &progress{out: out, begin: time.Now()} }

func (p *progress) printf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	elapsed := time.Since(p.begin).Round(100 * time.Millisecond)
	_, _ = fmt.Fprintf(p.out, "[%6s] %s\n", elapsed, fmt.Sprintf(format, args...))
}

// step runs a step that may take minutes; what comes to its end in time prints one line.
func (p *progress) step(what string, run func() error) error {
	begin, done := time.Now(), make(chan struct{})
	p.printf("%s", what)
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(heartbeat):
				p.printf("%s: still at it, %s", what, time.Since(begin).Round(time.Second))
			}
		}
	}()
	defer close(done)
	return run()
}
