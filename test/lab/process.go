package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// readyTimeout bounds how long a process may take until it is ready; a cold, busy machine needs most of it.
	readyTimeout = 90 * time.Second
	// stopTimeout is how long a process may take to end by itself before it is killed.
	stopTimeout = 3 * time.Second
	// pollInterval is how often the lab looks again where nothing can tell it: another process' state or readiness.
	pollInterval = 30 * time.Millisecond
	// logTail is the number of log lines shown with a process that failed.
	logTail = 20
)

// Process is a program that runs in a cluster's network until it is stopped or the lab is taken down; it
// outlives the command that starts it.
type Process struct {
	// Name is unique in its cluster; it names the log file too.
	Name string
	// Path is the program, Args what follows it.
	Path string
	Args []string
	// Env is added to the environment that the lab itself runs in.
	Env []string
	// OnHost keeps the process out of the cluster's network.
	OnHost bool
	// Ready is asked again and again until it returns nil; a process without it is ready once it runs.
	Ready func(ctx context.Context) error
}

// record identifies a started process beyond the life of the command that started it.
type record struct {
	PID       int    `json:"pid"`
	StartTime uint64 `json:"startTime"`
	// Fingerprint covers the command line and the program's build, so that a second start can tell whether
	// what runs is still what is asked for.
	Fingerprint string   `json:"fingerprint"`
	Command     []string `json:"command"`
	// LogOffset is the size of the log when the process was started.
	LogOffset int64 `json:"logOffset"`
}

// alive tells whether the process of the record runs, and not another one that got its pid.
func (r record) alive(root procRoot) bool {
	ticks, ok := root.startTime(r.PID)
	return ok && ticks == r.StartTime
}

// Start runs the process and waits until it is ready. One that already runs with the same command line and the
// same build of its program is left alone, any other of that name is stopped first.
func (c *Cluster) Start(ctx context.Context, p Process) error {
	want := fingerprint(p)
	rec, running := c.running(p.Name)
	if running && rec.Fingerprint != want {
		if err := c.Stop(p.Name); err != nil {
			return err
		}
		running = false
	}
	var exited <-chan error
	if !running {
		var err error
		if exited, err = c.spawn(ctx, p, want); err != nil {
			return fmt.Errorf("start %s on %s: %w", p.Name, c.Name, err)
		}
	}
	if err := c.waitReady(ctx, p, exited); err != nil {
		return fmt.Errorf("%s on %s: %w\n%s", p.Name, c.Name, err, withHint(c.tail(p.Name)))
	}
	return nil
}

// spawn starts the process and records it. The channel is closed when the process ends.
func (c *Cluster) spawn(ctx context.Context, p Process, want string) (<-chan error, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	log, err := c.openLog(p.Name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	offset, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.path("tmp"), 0o700); err != nil {
		return nil, err
	}
	cmd := c.command(p)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	exited := make(chan error, 1)
	ticks, _ := proc.startTime(cmd.Process.Pid)
	go func() { // also reaps it, where the caller lives longer than the process
		exited <- cmd.Wait()
		close(exited)
	}()
	c.lab.noteStarted(c, p.Name)
	rec := record{PID: cmd.Process.Pid, StartTime: ticks, Fingerprint: want, Command: cmd.Args, LogOffset: offset}
	return exited, writeJSON(c.recordPath(p.Name), rec)
}

// command is the one place where the command line of a process is built: it enters the cluster's network and
// gets a session of its own, so that it stays when the terminal or the command that started it goes.
func (c *Cluster) command(p Process) *exec.Cmd {
	argv := append([]string{p.Path}, p.Args...)
	env := append(os.Environ(), "TMPDIR="+c.path("tmp"), markerEnv+"="+c.lab.dir())
	if c.real() && !p.OnHost {
		argv = append(c.site().Enter(), argv...)
		env = append(env, "NO_PROXY=*", "no_proxy=*") // a proxy could not be reached from there
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = c.dir()
	cmd.Env = append(env, p.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// waitReady returns when the process is ready, has ended, or takes too long. exited may be nil for a process
// that somebody else started.
func (c *Cluster) waitReady(ctx context.Context, p Process, exited <-chan error) error {
	if p.Ready == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	last := errors.New("it was not asked yet")
	for {
		if last = p.Ready(ctx); last == nil {
			return nil
		}
		select {
		case err := <-exited:
			return fmt.Errorf("ended before it was ready: %w", errors.Join(err, last))
		case <-ctx.Done():
			return fmt.Errorf("%w, not ready: %w", context.Cause(ctx), last)
		case <-time.After(pollInterval):
		}
	}
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
	return rec, json.Unmarshal(raw, &rec)
}

// Stop asks the process to end, kills it if it does not within a few seconds, and forgets it. A process that
// does not run is no error.
func (c *Cluster) Stop(name string) error {
	return c.end(name, syscall.SIGTERM)
}

// Kill ends the process at once, as a crash would, and leaves it to be started again.
func (c *Cluster) Kill(name string) error {
	return c.end(name, syscall.SIGKILL)
}

func (c *Cluster) end(name string, sig syscall.Signal) error {
	rec, running := c.running(name)
	if running {
		if err := terminate([]record{rec}, sig); err != nil {
			return fmt.Errorf("stop %s on %s: %w", name, c.Name, err)
		}
	}
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

// fingerprint identifies what a process is made of: command line, environment, and the build of its program.
func fingerprint(p Process) string {
	sum := sha256.New()
	for _, part := range [][]string{{p.Path}, p.Args, p.Env, {buildID(p.Path)}} {
		fmt.Fprintf(sum, "%q\n", part)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// buildID reads the id that the Go linker stored in the program; empty for other programs. The file's time
// says nothing: `go build` touches a program that it found up to date.
func buildID(path string) string {
	file, err := elf.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }()
	section := file.Section(".note.go.buildid")
	if section == nil {
		return ""
	}
	note, err := section.Data()
	if err != nil {
		return ""
	}
	return string(note)
}

// LogPath returns the file that the process writes its output to.
func (c *Cluster) LogPath(name string) string {
	return filepath.Join(c.lab.dir(), "logs", c.Name, name+".log")
}

func (c *Cluster) openLog(name string) (*os.File, error) {
	path := c.LogPath(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

// tail returns the end of the process' log, with the path in its first line.
func (c *Cluster) tail(name string) string {
	raw, err := os.ReadFile(c.LogPath(name))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(string(bytes.TrimRight(raw, "\n")), "\n")
	lines = lines[max(0, len(lines)-logTail):]
	return fmt.Sprintf("the end of %s:\n  %s", c.LogPath(name), strings.Join(lines, "\n  "))
}

// withHint adds to the end of a log what it does not say: the limit that a few labs reach is not that of open files.
func withHint(tail string) string {
	const limit = "/proc/sys/fs/inotify/max_user_instances"
	if !strings.Contains(tail, "too many open files") {
		return tail
	}
	allowed, err := os.ReadFile(limit)
	if err != nil {
		return tail
	}
	return fmt.Sprintf("%s\n(this machine allows each user %s inotify instances, of which a lab takes some 30: take another "+
		"lab down, or raise %s)", tail, strings.TrimSpace(string(allowed)), limit)
}

func (c *Cluster) recordPath(name string) string {
	return filepath.Join(c.runDir(), name+".json")
}

func (c *Cluster) runDir() string { return filepath.Join(c.lab.dir(), "run", c.Name) }
