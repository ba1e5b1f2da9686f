package lab

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
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
	// maxLogLine bounds each of them: Kubernetes' programs write lines that fill a screen.
	maxLogLine = 300
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
	Ready func(ctx context.Context) error `json:"-"`
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
	if err := c.waitReady(ctx, p, exited); ctx.Err() != nil {
		return context.Cause(ctx) // interrupted, or another process failed: this one has nothing to say
	} else if err != nil {
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
	rec := record{
		PID: cmd.Process.Pid, StartTime: ticks, Fingerprint: want, Process: p, Build: buildID(p.Path), LogOffset: offset,
	}
	return exited, writeJSON(c.recordPath(p.Name), rec)
}

// command is the one place where the command line of a process is built: it enters the cluster's network and
// gets a session of its own, so that it stays when the terminal or the command that started it goes.
func (c *Cluster) command(p Process) *exec.Cmd {
	argv := append([]string{p.Path}, p.Args...)
	env := append(os.Environ(), p.Env...)
	env = append(env, "TMPDIR="+c.path("tmp"), markerEnv+"="+c.lab.dir())
	if c.real() && !p.OnHost {
		argv = append(c.site().Enter(), argv...)
		env = append(env, "NO_PROXY=*", "no_proxy=*") // a proxy could not be reached from there
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = c.dir(), env
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
	for {
		notReady := p.Ready(ctx)
		if notReady == nil {
			return nil
		}
		select {
		case err := <-exited:
			return fmt.Errorf("ended before it was ready: %w", errors.Join(err, notReady))
		case <-ctx.Done():
			return fmt.Errorf("%w, not ready: %w", context.Cause(ctx), notReady)
		case <-time.After(pollInterval):
		}
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
