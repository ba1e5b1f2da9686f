// Package labtest runs a package of tests on a lab of its own.
package labtest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"open-cluster-management.io/argo-workflow-multicluster/test/env"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

const (
	// envPods says who runs the pods, envKeep that the lab is to stay up.
	envPods = "E2E_PODS"
	envKeep = "E2E_KEEP"
	// envLab tells the process that runs the tests where its lab is.
	envLab = "E2E_LAB"
	// parallel is the number of tests at a time: they wait more than they work.
	parallel = "8"
)

// Suite is what the tests of a package have in common.
type Suite struct {
	// Lab is the lab that they need; $E2E_PODS says who runs its pods, unless it does.
	Lab lab.Options
	// Start brings what the tests need to the lab that is up.
	Start func(ctx context.Context, l *lab.Lab) error
	// Others are labs that Start has brought up beside it; nil for none.
	Others func() []*lab.Lab
	// Open finds the lab in the process that runs the tests.
	Open func(dir string) error
}

// Main is what TestMain is to call, and returns the exit code. It runs the tests in a process of their own, so that the lab is
// taken down whatever becomes of them: a panic, a timeout, Ctrl-C. With $E2E_KEEP the lab stays up, and the next run takes it over.
func Main(m *testing.M, s Suite) int {
	flag.Parse()
	log.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	listing := flag.Lookup("test.list").Value.String() != ""
	var err error
	switch dir := os.Getenv(envLab); {
	case listing:
	case dir != "":
		err = s.Open(dir)
	default:
		return s.supervise()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// supervise brings up the lab, runs this program again to run the tests there, and takes the lab down.
func (s Suite) supervise() int {
	// The go command quits what takes too long.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	defer stop()
	began := time.Now()
	s.Lab.Progress = os.Stdout
	if s.Lab.Pods == "" {
		s.Lab.Pods = lab.PodMode(os.Getenv(envPods))
	}
	l, err := lab.Up(ctx, s.Lab)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bring up the lab:", err)
		return 1
	}
	code := 1
	if err := s.Start(ctx, l); err != nil {
		fmt.Fprintln(os.Stderr, "start the product:", err)
	} else {
		code = runTests(ctx, l, time.Since(began))
	}
	if s.Others != nil {
		for _, other := range s.Others() {
			code = finish(other, code)
		}
	}
	return finish(l, code)
}

// runTests runs this program again, with the lab at hand, in the time that bringing it up has left.
func runTests(ctx context.Context, l *lab.Lab, elapsed time.Duration) int {
	args := append([]string{"-test.parallel=" + parallel}, os.Args[1:]...)
	if timeout, err := time.ParseDuration(flag.Lookup("test.timeout").Value.String()); err == nil && timeout > 0 {
		args = append(args, "-test.timeout="+max(timeout-elapsed, time.Second).String())
	}
	return env.RunAgain(ctx, args, envLab+"="+l.Options().Dir)
}

// finish takes the lab down, and keeps its logs if something has failed.
func finish(l *lab.Lab, code int) int {
	dir := l.Options().Dir
	logs := filepath.Join(dir, "logs")
	if os.Getenv(envKeep) != "" {
		fmt.Printf("%s is set: the lab stays up in %s, its logs are in %s\n", envKeep, dir, logs)
		return code
	}
	if code != 0 {
		kept := filepath.Join(dir, "..", "..", "_output", l.Options().Name+"-logs")
		err := errors.Join(os.RemoveAll(kept), os.MkdirAll(filepath.Dir(kept), 0o755), os.Rename(logs, kept))
		fmt.Printf("the logs of the lab are in %s\n", kept)
		if err != nil {
			fmt.Fprintln(os.Stderr, "keep the logs:", err)
		}
	}
	if err := l.Down(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "take down the lab:", err)
		return max(code, 1)
	}
	return code
}
