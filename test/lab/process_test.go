package lab

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// newTestLab is a lab of one cluster without any process, in a folder that is removed with what runs in it.
func newTestLab(t *testing.T) (*Lab, *Cluster) {
	t.Helper()
	options, err := Options{Dir: t.TempDir(), Pods: PodsSimulated}.complete("/nowhere")
	require.NoError(t, err)
	s := &state{Repository: "/nowhere", Options: options, Clusters: []clusterState{{Name: hubName}}}
	require.NoError(t, s.save())
	l := newLab("/nowhere", s)
	require.NoError(t, os.MkdirAll(l.Hub().dir(), 0o700))
	t.Cleanup(func() { assert.NoError(t, Remove(context.Background(), options.Dir)) })
	hub := l.Hub()
	return l, hub
}

func sleep(seconds string) Process {
	return Process{Name: "sleeper", Path: "/bin/sleep", Args: []string{seconds}}
}

func TestStartLeavesTheSameProcessAlone(t *testing.T) {
	_, c := newTestLab(t)
	require.NoError(t, c.Start(t.Context(), sleep("60")))
	first, running := c.running("sleeper")
	require.True(t, running)
	require.NoError(t, c.Start(t.Context(), sleep("60")))
	second, _ := c.running("sleeper")
	assert.Equal(t, first, second)
}

func TestStartReplacesAProcessWithOtherArguments(t *testing.T) {
	_, c := newTestLab(t)
	require.NoError(t, c.Start(t.Context(), sleep("60")))
	first, _ := c.running("sleeper")
	require.NoError(t, c.Start(t.Context(), sleep("61")))
	second, running := c.running("sleeper")
	assert.True(t, running)
	assert.NotEqual(t, first.PID, second.PID)
	assert.False(t, first.alive(proc))
}

func TestStopEndsAProcessThatIgnoresTheRequest(t *testing.T) {
	_, c := newTestLab(t)
	stubborn := Process{
		Name: "stubborn", Path: "/bin/sh", Args: []string{"-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"},
		Ready: c.logSays("stubborn", "deaf"),
	}
	require.NoError(t, c.Start(t.Context(), stubborn))
	require.NoError(t, c.Stop("stubborn"))
	assert.False(t, c.Running("stubborn"))
}

func TestKillEndsAPausedProcess(t *testing.T) {
	_, c := newTestLab(t)
	require.NoError(t, c.Start(t.Context(), sleep("60")))
	require.NoError(t, c.Signal("sleeper", syscall.SIGSTOP))
	require.NoError(t, c.Kill("sleeper"))
	assert.False(t, c.Running("sleeper"))
}

func TestStopDoesNotTouchAProcessThatGotThePIDLater(t *testing.T) {
	_, c := newTestLab(t)
	other := exec.CommandContext(t.Context(), "/bin/sleep", "60")
	require.NoError(t, other.Start())
	t.Cleanup(func() { _ = other.Wait() })
	ticks, alive := proc.startTime(other.Process.Pid)
	require.True(t, alive)
	require.NoError(t, writeJSON(c.recordPath("sleeper"), record{PID: other.Process.Pid, StartTime: ticks - 1}))
	require.NoError(t, c.Stop("sleeper"))
	assert.True(t, record{PID: other.Process.Pid, StartTime: ticks}.alive(proc))
}

func TestAFailedStartNamesTheProcessAndShowsTheEndOfItsLog(t *testing.T) {
	_, c := newTestLab(t)
	err := c.Start(t.Context(), Process{
		Name: "broken", Path: "/bin/sh", Args: []string{"-c", "echo what is wrong; exit 3"},
		Ready: func(context.Context) error { return errors.New("not ready") },
	})
	require.ErrorContains(t, err, "broken on hub: ended before it was ready: exit status 3")
	require.ErrorContains(t, err, "what is wrong")
	assert.ErrorContains(t, err, c.LogPath("broken"))
}

func TestLogSaysLooksOnlyAtWhatTheProcessWroteItself(t *testing.T) {
	_, c := newTestLab(t)
	require.NoError(t, c.Start(t.Context(), Process{
		Name: "p", Path: "/bin/sh", Args: []string{"-c", "echo hello; sleep 60"}, Ready: c.logSays("p", "hello"),
	}))
	require.NoError(t, c.Start(t.Context(), Process{Name: "p", Path: "/bin/sleep", Args: []string{"60"}}))
	assert.Error(t, c.logSays("p", "hello")(t.Context()))
}

func TestRemoveEndsProcessesThatNobodyRecorded(t *testing.T) {
	l, c := newTestLab(t)
	cmd := c.command(sleep("60"))
	require.NoError(t, os.MkdirAll(c.path("tmp"), 0o700))
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	require.NoError(t, l.Down(t.Context()))
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the process still runs")
	}
	assert.NoDirExists(t, l.Dir())
}

func TestRemoveLeavesAFolderThatIsNoLab(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, Remove(t.Context(), dir))
	assert.DirExists(t, dir)
}

func TestUndoStopsOnlyWhatThisCallStarted(t *testing.T) {
	l, c := newTestLab(t)
	require.NoError(t, c.Start(t.Context(), sleep("60")))
	found, err := Open(l.Dir())
	require.NoError(t, err)
	again := found.Hub()
	require.NoError(t, again.Start(t.Context(), sleep("60")))
	require.NoError(t, again.Start(t.Context(), Process{Name: "new", Path: "/bin/sleep", Args: []string{"60"}}))
	require.NoError(t, found.undo(false))
	assert.True(t, c.Running("sleeper"))
	assert.False(t, c.Running("new"))
}

func TestALabIsCompleteOnlyWithEveryProcessOfItsStart(t *testing.T) {
	l, c := newTestLab(t)
	assert.False(t, l.healthy(t.Context()), "it never came up")
	require.NoError(t, c.Start(t.Context(), sleep("60")))
	l.state.Processes = map[string][]string{hubName: {"sleeper"}}
	assert.False(t, l.healthy(t.Context()), "no API server answers")
	require.NoError(t, c.Kill("sleeper"))
	assert.Equal(t, []ProcessStatus{{Name: "sleeper", PID: c.Processes()[0].PID, Log: c.LogPath("sleeper")}}, c.Processes())
}

func TestAnInterruptedStartSaysJustThat(t *testing.T) {
	_, c := newTestLab(t)
	ctx, interrupt := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	err := c.Start(ctx, Process{
		Name: "slow", Path: "/bin/sleep", Args: []string{"60"},
		Ready: func(context.Context) error { interrupt(interrupted); return errors.New("not ready") },
	})
	assert.Equal(t, interrupted, err)
}
