package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// record identifies a started process beyond the life of the command that started it.
type record struct {
	PID       int    `json:"pid"`
	StartTime uint64 `json:"startTime"`
	// Fingerprint covers the command line and the program's build, so that a second start can tell whether
	// what runs is still what is asked for.
	Fingerprint string `json:"fingerprint"`
	// Process is what was started, Build what its program was then; see buildID.
	Process Process `json:"process"`
	Build   string  `json:"build"`
	// LogOffset is the size of the log when the process was started.
	LogOffset int64 `json:"logOffset"`
}

// alive tells whether the process of the record runs, and not another one that got its pid.
func (r record) alive(root procRoot) bool {
	ticks, ok := root.startTime(r.PID)
	return ok && ticks == r.StartTime
}

// Running tells whether the process runs.
func (c *Cluster) Running(name string) bool {
	_, running := c.running(name)
	return running
}

func (c *Cluster) running(name string) (record, bool) {
	rec, err := c.readRecord(name)
	return rec, err == nil && rec.alive(proc)
}

func (c *Cluster) readRecord(name string) (record, error) {
	raw, err := os.ReadFile(c.recordPath(name))
	if err != nil {
		return record{}, err
	}
	var rec record
	err = json.Unmarshal(raw, &rec)
	return rec, err
}

// Stop asks the process to end, kills it if it does not within a few seconds, and forgets it. A process that
// does not run is no error.
func (c *Cluster) Stop(name string) error {
	if err := c.end(name, syscall.SIGTERM); err != nil {
		return err
	}
	return c.forget(name)
}

// Kill ends the process at once, as a crash would. Status shows it as down.
func (c *Cluster) Kill(name string) error {
	return c.end(name, syscall.SIGKILL)
}

// Revive starts a process again that has died, as it was started, and does not wait until it is ready. One that runs is left
// alone.
func (c *Cluster) Revive(ctx context.Context, name string) error {
	rec, err := c.readRecord(name)
	if err != nil {
		return fmt.Errorf("revive %s on %s: %w", name, c.Name, err)
	}
	if rec.alive(proc) {
		return nil
	}
	if _, err := c.spawn(ctx, rec.Process, rec.Fingerprint); err != nil {
		return fmt.Errorf("revive %s on %s: %w", name, c.Name, err)
	}
	return nil
}

func (c *Cluster) end(name string, sig syscall.Signal) error {
	rec, running := c.running(name)
	if !running {
		return nil
	}
	if err := terminate([]record{rec}, sig); err != nil {
		return fmt.Errorf("end %s on %s: %w", name, c.Name, err)
	}
	return nil
}

// forget removes the record of a process that was ended on purpose.
func (c *Cluster) forget(name string) error {
	if err := os.Remove(c.recordPath(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget %s on %s: %w", name, c.Name, err)
	}
	return nil
}

// Signal sends the signal to the process, for tests that pause one (SIGSTOP, SIGCONT).
func (c *Cluster) Signal(name string, sig syscall.Signal) error {
	rec, running := c.running(name)
	if !running {
		return fmt.Errorf("%s on %s does not run", name, c.Name)
	}
	if err := syscall.Kill(rec.PID, sig); err != nil {
		return fmt.Errorf("signal %s on %s: %w", name, c.Name, err)
	}
	return nil
}

// terminate sends the signal to each process and its session, and kills what is left after a while.
func terminate(records []record, sig syscall.Signal) error {
	for deadline := time.Now().Add(stopTimeout); ; {
		left := aliveOf(records)
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			if sig == syscall.SIGKILL {
				return fmt.Errorf("process %d does not end", left[0].PID)
			}
			return terminate(left, syscall.SIGKILL)
		}
		for _, rec := range left {
			if err := syscall.Kill(rec.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
			// One that a test paused would never see the signal.
			_ = syscall.Kill(rec.PID, syscall.SIGCONT)
		}
		records = left
		waitUntil(deadline, func() bool { return len(aliveOf(records)) == 0 })
	}
}

// terminateAll ends the processes together: one that waits for another to end first is killed in the end.
func terminateAll(records []record) error {
	if len(records) == 0 {
		return nil
	}
	return terminate(records, syscall.SIGTERM)
}

func aliveOf(records []record) []record {
	var alive []record
	for _, rec := range records {
		if rec.alive(proc) {
			alive = append(alive, rec)
		}
	}
	return alive
}

// waitUntil polls the condition, which nothing announces, until it holds or the time is over.
func waitUntil(deadline time.Time, condition func() bool) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for !condition() && time.Now().Before(deadline) {
		<-ticker.C
	}
}

// markedRecords lists the processes that carry the lab's mark.
func markedRecords(dir string) ([]record, error) {
	pids, err := proc.marked(dir)
	if err != nil {
		return nil, err
	}
	var records []record
	for _, pid := range pids {
		if ticks, alive := proc.startTime(pid); alive {
			records = append(records, record{PID: pid, StartTime: ticks})
		}
	}
	return records, nil
}

func (c *Cluster) recordPath(name string) string {
	return filepath.Join(c.runDir(), name+".json")
}

func (c *Cluster) runDir() string { return filepath.Join(c.lab.dir(), "run", c.Name) }
