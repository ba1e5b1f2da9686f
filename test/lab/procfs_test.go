package lab

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakeProc is a /proc of processes with a state, a start time and an environment.
func fakeProc(t *testing.T) (root procRoot, add func(pid int, comm, state, start, environ string)) {
	t.Helper()
	dir := t.TempDir()
	return procRoot(dir), func(pid int, comm, state, start, environ string) {
		t.Helper()
		folder := filepath.Join(dir, strconv.Itoa(pid))
		require.NoError(t, os.Mkdir(folder, 0o700))
		stat := strconv.Itoa(pid) + " (" + comm + ") " + state + " 1 1 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 " + start + " 0 0"
		require.NoError(t, os.WriteFile(filepath.Join(folder, "stat"), []byte(stat), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(folder, "environ"), []byte(environ), 0o600))
	}
}

func TestStartTimeIsReadBehindACommandWithSpacesAndParentheses(t *testing.T) {
	root, add := fakeProc(t)
	add(7, "a (strange) name) R 1", "S", "4711", "")
	ticks, ok := root.startTime(7)
	assert.True(t, ok)
	assert.Equal(t, uint64(4711), ticks)
}

func TestAProcessThatIsGoneOrAZombieHasNoStartTime(t *testing.T) {
	root, add := fakeProc(t)
	add(7, "etcd", "Z", "4711", "")
	_, ok := root.startTime(7)
	assert.False(t, ok, "zombie")
	_, ok = root.startTime(8)
	assert.False(t, ok, "gone")
}

func TestAnotherProcessWithTheSamePIDIsNotTheRecordedOne(t *testing.T) {
	root, add := fakeProc(t)
	add(7, "etcd", "S", "4711", "")
	assert.True(t, record{PID: 7, StartTime: 4711}.alive(root))
	assert.False(t, record{PID: 7, StartTime: 4710}.alive(root))
}

func TestMarkedFindsTheProcessesOfOneLab(t *testing.T) {
	root, add := fakeProc(t)
	add(7, "etcd", "S", "1", "A=b\x00"+markerEnv+"=/x/.lab/one\x00")
	add(8, "etcd", "S", "1", markerEnv+"=/x/.lab/one-and-more\x00")
	add(9, "etcd", "Z", "1", markerEnv+"=/x/.lab/one\x00")
	add(os.Getpid(), "lab", "S", "1", markerEnv+"=/x/.lab/one\x00")
	require.NoError(t, os.Mkdir(filepath.Join(string(root), "sys"), 0o700))
	pids, err := root.marked("/x/.lab/one")
	require.NoError(t, err)
	assert.Equal(t, []int{7}, pids)
}

func TestUsageIsReadFromStatAndStatus(t *testing.T) {
	root := procRoot(t.TempDir())
	folder := filepath.Join(string(root), "7")
	require.NoError(t, os.Mkdir(folder, 0o700))
	stat := "7 (a (b) c) S 1 1 1 0 -1 4194304 0 0 0 0 150 50 0 0 20 0 1 0 4711 0 0"
	require.NoError(t, os.WriteFile(filepath.Join(folder, "stat"), []byte(stat), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "status"), []byte("VmHWM:\t    900 kB\nVmRSS:\t    700 kB\n"), 0o600))
	assert.Equal(t, Usage{CPU: 2 * time.Second, ResidentKiB: 700, PeakKiB: 900}, root.usage("7"))
	assert.Zero(t, root.usage("8"), "gone")
}
