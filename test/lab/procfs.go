package lab

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// markerEnv is in the environment of every process of a lab, with the lab's folder as its value. It is what
// `down` looks for, so that a process is found even if the command that started it died before it wrote it down.
const markerEnv = "ARGO_MULTICLUSTER_LAB"

// procRoot is where the kernel shows processes; tests put a folder of their own in its place.
type procRoot string

const proc procRoot = "/proc"

// startTime returns when the process started, in clock ticks since boot. With the pid it identifies a process:
// a pid alone is used again by the kernel. ok is false if there is no such process, or only its zombie.
func (r procRoot) startTime(pid int) (ticks uint64, ok bool) {
	raw, err := os.ReadFile(filepath.Join(string(r), strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, false
	}
	// The second field, the command in parentheses, may itself contain spaces and parentheses.
	_, rest, found := strings.Cut(string(raw[bytes.LastIndexByte(raw, ')')+1:]), " ")
	fields := strings.Fields(rest)
	if !found || len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return 0, false
	}
	ticks, err = strconv.ParseUint(fields[19], 10, 64)
	return ticks, err == nil
}

// marked lists the processes that belong to the lab in dir, but for the caller.
func (r procRoot) marked(dir string) ([]int, error) {
	entries, err := os.ReadDir(string(r))
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() || !r.isMarked(pid, dir) {
			continue
		}
		if _, alive := r.startTime(pid); alive {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func (r procRoot) isMarked(pid int, dir string) bool {
	environ, err := os.ReadFile(filepath.Join(string(r), strconv.Itoa(pid), "environ"))
	if err != nil {
		return false // gone, or another user's: not ours either way
	}
	return slices.Contains(strings.Split(string(environ), "\x00"), markerEnv+"="+dir)
}

// residentKiB returns the resident memory of the process in KiB, 0 if it is gone.
func (r procRoot) residentKiB(pid int) int { return r.kib(strconv.Itoa(pid), "VmRSS:") }
