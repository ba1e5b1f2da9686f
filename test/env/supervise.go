package env

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const envDir = "TEST_ENV_DIR"

// Dir returns the folder for the servers' files in the process that Supervise has started, "" in any other.
func Dir() string { return os.Getenv(envDir) }

// Main is what TestMain is to call, and returns the exit code. It runs setUp, with a folder for the servers' files, the tests
// and tearDown in a process of their own, so that the servers end whatever becomes of the tests; see Supervise.
func Main(m *testing.M, keepLogs string, setUp func(ctx context.Context, dir string) error, tearDown func() error) int {
	flag.Parse()
	if flag.Lookup("test.list").Value.String() != "" {
		return m.Run()
	}
	if Dir() == "" {
		return Supervise(keepLogs)
	}
	code := 1
	if err := setUp(context.Background(), Dir()); err != nil {
		fmt.Fprintln(os.Stderr, "set up:", err)
	} else {
		code = m.Run()
	}
	if err := tearDown(); err != nil {
		fmt.Fprintln(os.Stderr, "tear down:", err)
		code = 1
	}
	return code
}

// Supervise runs this program again, to run the tests there, and returns the exit code. When that process has ended,
// by whatever means, a panic, a timeout or Ctrl-C among them, nothing is left of the servers that it has started. The
// logs are kept, in the folder keepLogs, if a test has failed.
func Supervise(keepLogs string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Whoever reads the output may be gone. There still is something to clean up, so this process goes on then.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	dir, err := os.MkdirTemp("", "test-env-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := RunAgain(ctx, os.Args[1:], envDir+"="+dir)
	err = killServers(dir)
	if code != 0 {
		fmt.Fprintln(os.Stderr, "the servers' logs are in", keepLogs)
		err = errors.Join(err, os.RemoveAll(keepLogs), os.CopyFS(keepLogs, os.DirFS(filepath.Join(dir, "logs"))))
	}
	if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
		fmt.Fprintln(os.Stderr, "clean up:", err)
		code = 1
	}
	return code
}

// RunAgain runs this program again with the arguments and, beside its own, the given environment, and returns the exit
// code. When the context ends, it is told to, and killed 10 s later.
func RunAgain(ctx context.Context, args []string, environment ...string) int {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), environment...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	var failed *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &failed) && failed.Exited():
		return failed.ExitCode()
	}
	fmt.Fprintln(os.Stderr, "the tests ended early:", err)
	return 1
}

// killServers kills the processes that were started with files in dir, if any are left.
func killServers(dir string) error {
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range processes {
		cmdline, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(cmdline), "="+dir+"/") {
			continue // it has ended meanwhile, or is none of ours
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return err
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("kill %d: %w", pid, err))
		}
	}
	return errors.Join(errs...)
}
