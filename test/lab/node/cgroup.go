package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// hierarchy is one mounted tree of cgroups: the only one with cgroup v2, one of several with v1.
type hierarchy struct {
	path string
	v2   bool
}

// A kubelet does not start without the needed controllers, and looks for the wanted ones where the machine has them.
var (
	needed = []string{"cpu", "cpuset", "memory", "pids"}
	wanted = []string{"hugetlb", "io"}
)

// hierarchies reads the machine's cgroup mounts.
func hierarchies() ([]hierarchy, error) {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return parseHierarchies(f)
}

// parseHierarchies reads cgroup mounts from a table of mounts in the format of fstab.
func parseHierarchies(mounts io.Reader) ([]hierarchy, error) {
	var found []hierarchy
	lines := bufio.NewScanner(mounts)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || (fields[2] != "cgroup" && fields[2] != "cgroup2") {
			continue
		}
		if slices.Contains(strings.Split(fields[3], ","), "rw") {
			found = append(found, hierarchy{path: fields[1], v2: fields[2] == "cgroup2"})
		}
	}
	return found, lines.Err()
}

// unified says whether v2 governs everything; in a hybrid the controllers are in v1 hierarchies.
func unified(all []hierarchy) bool {
	return !slices.ContainsFunc(all, func(h hierarchy) bool { return !h.v2 })
}

// makeCgroup makes the cgroup in every hierarchy, since a kubelet looks for its root in each of them.
func makeCgroup(cgroup string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return errors.New("no cgroup hierarchy is mounted for writing")
	}
	for _, h := range all {
		if err := h.make(cgroup, unified(all)); err != nil {
			return err
		}
	}
	return nil
}

// make makes the cgroup and its parents, with what a new cgroup lacks before anything can run in it: v2
// gives it no controllers, and v1 no processors.
func (h hierarchy) make(cgroup string, unified bool) error {
	at := h.path
	for name := range strings.SplitSeq(strings.Trim(cgroup, "/"), "/") {
		if unified {
			if err := delegate(at); err != nil {
				return err
			}
		}
		parent := at
		at = filepath.Join(at, name)
		if err := os.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if !h.v2 {
				if err := inherit(filepath.Join(parent, file), filepath.Join(at, file)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// delegate makes the v2 cgroup at dir pass on its controllers to its children.
func delegate(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	has := strings.Fields(string(b))
	for _, controller := range needed {
		if !slices.Contains(has, controller) {
			return fmt.Errorf("cgroup %s lacks the controller %q", dir, controller)
		}
	}
	pass := slices.Clone(needed)
	for _, controller := range wanted {
		if slices.Contains(has, controller) {
			pass = append(pass, controller)
		}
	}
	enable := "+" + strings.Join(pass, " +")
	if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(enable), 0); err != nil {
		// EBUSY: in a container whose processes are in the root cgroup that it sees.
		return fmt.Errorf("cgroup %s cannot pass on its controllers: %w", dir, err)
	}
	return nil
}

// inherit copies a setting of the parent cgroup into a new one which does not have it yet.
func inherit(parent, child string) error {
	have, err := os.ReadFile(child)
	if errors.Is(err, fs.ErrNotExist) || strings.TrimSpace(string(have)) != "" {
		return nil
	}
	if err != nil {
		return err
	}
	value, err := os.ReadFile(parent)
	if err != nil {
		return err
	}
	return os.WriteFile(child, value, 0)
}

// killCgroup kills whatever runs in the cgroup and below, and says how many processes it still found.
func killCgroup(cgroup string) (int, error) {
	all, err := hierarchies()
	if err != nil {
		return 0, err
	}
	found := map[int]bool{}
	for _, h := range all {
		err := filepath.WalkDir(filepath.Join(h.path, cgroup), func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return ignoreGone(err)
			}
			switch filepath.Base(path) {
			case "cgroup.procs":
				return ignoreGone(readPIDs(path, found))
			case "freezer.state":
				// A frozen process does not die before it is thawed.
				return ignoreGone(os.WriteFile(path, []byte("THAWED"), 0))
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	for pid := range found {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	return len(found), nil
}

// removeCgroup removes the cgroup and all below it in every hierarchy. The kernel lets go of a cgroup
// somewhat later than of its last process, hence the patience.
func removeCgroup(ctx context.Context, cgroup string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		top := filepath.Join(h.path, cgroup)
		for {
			err := removeTree(top)
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%w: %w", ctx.Err(), err)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}

// removeTree removes the folders below and including top, and not the files in them: those of a cgroup go
// with it.
func removeTree(top string) error {
	entries, err := os.ReadDir(top)
	if err != nil {
		return ignoreGone(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(top, e.Name())); err != nil {
				return err
			}
		}
	}
	return ignoreGone(syscall.Rmdir(top))
}

func readPIDs(path string, into map[int]bool) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for field := range strings.FieldsSeq(string(b)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if pid > 0 {
			into[pid] = true
		}
	}
	return nil
}

// ignoreGone drops the errors of a cgroup, or a process, that vanished while it was looked at.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}
