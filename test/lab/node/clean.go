package node

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Clean removes whatever the lab's networks and nodes left on the machine: processes, mounts, cgroups,
// network namespaces, files and, with the last lab, changed sysctls. What is not there is not missed, so
// it may be called at any time and as often as one likes. ctx bounds its patience with what does not go.
func Clean(ctx context.Context, lab string) error {
	if lab == "" || strings.ContainsAny(lab, "./") {
		return fmt.Errorf("%q is no lab's name", lab)
	}
	if runtime.GOOS != "linux" {
		return nil
	}
	runDir, dataDir := filepath.Join(runRoot, lab), filepath.Join(dataRoot, lab)
	cgroup := filepath.Join("/", prefix, lab)
	steps := []func() error{
		func() error { return killAll(ctx, lab, cgroup) },
		func() error { return removeShimSockets(runDir) },
		func() error { return unmountBelow(runDir, dataDir) },
		func() error { return removeCgroup(ctx, cgroup) },
		func() error { return disconnect(ctx, lab) },
		func() error { return removeLeftovers(runDir, dataDir) },
		func() error { return errors.Join(os.RemoveAll(runDir), os.RemoveAll(dataDir)) },
		cleanShared,
	}
	// Each step needs the ones before it: nothing is unmounted that is in use, or removed that is mounted.
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("cleaning up after lab %q: %w", lab, err)
		}
	}
	return nil
}

// killAll kills the processes in the lab's network namespaces, which are those of its nodes, and in its
// cgroups, which are those of its containers. They are killed in rounds because they start one another.
func killAll(ctx context.Context, lab, cgroup string) error {
	for {
		inNetns, err := killNetns(lab)
		if err != nil {
			return err
		}
		inCgroup, err := killCgroup(cgroup)
		if err != nil {
			return err
		}
		if inNetns+inCgroup == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d processes do not end: %w", inNetns+inCgroup, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// killNetns kills the processes in the lab's network namespaces, and says how many it still found.
func killNetns(lab string) (int, error) {
	names, err := namespaces(lab)
	if err != nil {
		return 0, err
	}
	var ours []os.FileInfo
	for _, name := range names {
		info, err := os.Stat(filepath.Join(netnsRoot, name))
		if err != nil {
			return 0, err
		}
		ours = append(ours, info)
	}
	files, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil || len(ours) == 0 {
		return 0, err
	}
	found := 0
	for _, file := range files {
		theirs, err := os.Stat(file)
		if err != nil {
			continue // It ended, or is a zombie, which has no namespace any more.
		}
		pid, err := strconv.Atoi(strings.Split(file, "/")[2])
		if err != nil || pid == os.Getpid() {
			continue
		}
		if slices.ContainsFunc(ours, func(o os.FileInfo) bool { return os.SameFile(o, theirs) }) {
			found++
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	return found, nil
}

// removeShimSockets removes the sockets of containers' shims, which a killed one leaves in a folder that
// all containerds of the machine share. The path of each is written down in its container's folder.
func removeShimSockets(runDir string) error {
	files, err := filepath.Glob(filepath.Join(runDir, "*/containerd/io.containerd.runtime.v2.task/*/*/address"))
	if err != nil {
		return err
	}
	for _, file := range files {
		address, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		socket, ok := strings.CutPrefix(strings.TrimSpace(string(address)), "unix://")
		if ok && filepath.IsAbs(socket) {
			if err := ignoreGone(os.Remove(socket)); err != nil {
				return err
			}
		}
	}
	return nil
}

// unmountBelow unmounts everything in the folders, the innermost first.
func unmountBelow(dirs ...string) error {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	var points []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 1 && slices.ContainsFunc(dirs, func(dir string) bool { return strings.HasPrefix(fields[1], dir+"/") }) {
			points = append(points, fields[1])
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	for _, point := range slices.Backward(points) {
		if err := unmount(point); err != nil {
			return fmt.Errorf("unmounting %s: %w", point, err)
		}
	}
	return nil
}

// removeLeftovers removes what CNI and kubelet keep in folders that cannot be chosen: CNI's results, which name
// a network namespace in runDir, and links to containers' logs, which are in dataDir.
func removeLeftovers(runDir, dataDir string) error {
	ofRun := func(file string) bool {
		result, err := os.ReadFile(file)
		return err == nil && bytes.Contains(result, []byte(`"`+runDir+"/"))
	}
	ofData := func(link string) bool {
		target, err := os.Readlink(link)
		return err == nil && strings.HasPrefix(target, dataDir+"/")
	}
	return errors.Join(
		removeFiles("/var/lib/cni/results/*", ofRun),
		removeFiles("/var/log/containers/*.log", ofData),
	)
}

func removeFiles(pattern string, ours func(file string) bool) error {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	for _, file := range files {
		if ours(file) {
			if err := ignoreGone(os.Remove(file)); err != nil {
				return err
			}
		}
	}
	return nil
}

// cleanShared removes what the labs of the machine have in common, if this was the last one.
func cleanShared() error {
	entries, err := os.ReadDir(runRoot)
	if err != nil {
		return ignoreGone(err)
	}
	if slices.ContainsFunc(entries, os.DirEntry.IsDir) {
		return nil
	}
	if err := restoreSysctls(sysctlRoot, sysctlFile); err != nil {
		return fmt.Errorf("restoring sysctls: %w", err)
	}
	all, err := hierarchies()
	if err != nil {
		return err
	}
	shared := []string{runRoot, dataRoot}
	for _, h := range all {
		shared = append(shared, filepath.Join(h.path, prefix))
	}
	for _, dir := range shared {
		// One may be in use: by a lab that starts right now, or by data of a lab from before a reboot.
		if err := ignoreGone(syscall.Rmdir(dir)); err != nil && !isBusy(err) {
			return err
		}
	}
	return nil
}
