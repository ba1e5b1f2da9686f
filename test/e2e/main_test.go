// Package e2e tests the whole product on a lab: a hub and four managed clusters of real components.
//
//	go test ./test/e2e/...                     # as `make test-e2e`; E2E_PODS=auto|real|simulated
//	E2E_KEEP=1 go test -run Examples ./test/e2e/...   # leaves the lab "e2e" up; the next run takes it over
//
// cluster1 and cluster2 have Argo and the agent, cluster3 has Argo and no agent, cluster4 has an agent and no Argo. The work
// agents poll for feedback once an hour, so whatever status the hub shows in time did not come that way, and apply
// everything again every few seconds, so that a Workflow that is missing is re-created while a test looks on.
//
// A test has a namespace of its own and is parallel, unless it stops, cuts off or measures something that others use: those
// are run first, one by one.
package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

const (
	// resync is how often the work agents apply everything again. They add up to half of it.
	resync = 4 * time.Second
	// quiet is for how long a test looks on where nothing is to happen: at least three resyncs.
	quiet = 3 * resync * 3 / 2
	// patience is how long what must happen may take on a busy machine.
	patience = 2 * time.Minute

	// parallel is the number of tests at a time: they wait more than they work.
	parallel = "8"

	envPods = "E2E_PODS"
	envKeep = "E2E_KEEP"
	// envLab tells the process that runs the tests where its lab is.
	envLab = "E2E_LAB"
)

// TestMain runs the tests in a process of their own, so that the lab is taken down whatever becomes of them: a panic, a
// timeout, Ctrl-C.
func TestMain(m *testing.M) {
	flag.Parse()
	log.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	listing := flag.Lookup("test.list").Value.String() != ""
	var err error
	switch dir := os.Getenv(envLab); {
	case listing:
	case dir != "":
		err = openLab(dir)
	default:
		os.Exit(supervise())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	m.Run()
}

// supervise brings up the lab with the product, runs this program again to run the tests there, and takes the lab down.
func supervise() int {
	// The go command quits what takes too long.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	defer stop()
	began := time.Now()
	l, err := lab.Up(ctx, lab.Options{
		Name: "e2e", Clusters: 4, WithoutArgo: []string{"cluster4"}, Pods: lab.PodMode(os.Getenv(envPods)),
		StatusSyncInterval: time.Hour, WorkResync: resync, AuditHub: true,
		Progress: os.Stdout,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "bring up the lab:", err)
		return 1
	}
	code := 1
	if err := l.StartProduct(ctx, "cluster3"); err != nil {
		fmt.Fprintln(os.Stderr, "start the product:", err)
	} else {
		code = runTests(ctx, l, time.Since(began))
	}
	return finish(l, code)
}

// runTests runs this program again, with the lab at hand, in the time that bringing it up has left.
func runTests(ctx context.Context, l *lab.Lab, elapsed time.Duration) int {
	args := append([]string{"-test.parallel=" + parallel}, os.Args[1:]...)
	if timeout, err := time.ParseDuration(flag.Lookup("test.timeout").Value.String()); err == nil && timeout > 0 {
		args = append(args, "-test.timeout="+max(timeout-elapsed, time.Second).String())
	}
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), envLab+"="+l.Options().Dir)
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

// finish takes the lab down, and keeps its logs if something has failed.
func finish(l *lab.Lab, code int) int {
	dir := l.Options().Dir
	logs := filepath.Join(dir, "logs")
	if os.Getenv(envKeep) != "" {
		fmt.Printf("%s is set: the lab stays up in %s, its logs are in %s\n", envKeep, dir, logs)
		return code
	}
	if code != 0 {
		kept := filepath.Join(dir, "..", "..", "_output", "e2e-logs")
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
