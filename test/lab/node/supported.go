package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// Supported says whether this machine can run real nodes, and if not, why. It leaves nothing behind. What can
// only be known by doing it, InstallPackages or Connect report as an error.
func Supported() (ok bool, reason string) {
	if err := unsupported(); err != nil {
		return false, err.Error()
	}
	return true, ""
}

func unsupported() error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("containers need Linux, this is %s", runtime.GOOS)
	}
	if os.Geteuid() != 0 {
		return errors.New("containers need root")
	}
	if missing := MissingPackages(); len(missing) > 0 {
		if _, err := exec.LookPath("apt-get"); err != nil {
			return fmt.Errorf("%s missing, and there is no apt-get to install it", strings.Join(missing, ", "))
		}
	}
	if _, err := exec.LookPath("nsenter"); err != nil {
		return errors.New("nsenter is missing")
	}
	return probeCgroups()
}

// probeCgroups makes a cgroup as a node would, and removes it: the files may be there and yet be read-only,
// or belong to a container that may not divide what it has.
func probeCgroups() error {
	probe := filepath.Join("/", prefix, fmt.Sprintf(".probe-%d", os.Getpid()))
	if err := makeCgroup(probe); err != nil {
		return fmt.Errorf("cgroups cannot be used: %w", err)
	}
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		if err := removeTree(filepath.Join(h.path, probe)); err != nil {
			return err
		}
		// Labs share the parent; the last to leave removes it.
		if err := syscall.Rmdir(filepath.Join(h.path, prefix)); err != nil && !isBusy(err) {
			return err
		}
	}
	return nil
}

// isBusy says that a folder still has something in it.
func isBusy(err error) bool {
	return errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST)
}
