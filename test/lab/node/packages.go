package node

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// requirement is a thing on the machine that a node needs, and the Debian package that brings it.
type requirement struct {
	pkg     string
	present func() bool
}

// BusyboxPath is where the package busybox-static puts what the stand-in images are made of.
const BusyboxPath = "/bin/busybox"

// cniDirs are where distributions put the CNI plugins: Debian, then the plugins' own convention.
var cniDirs = []string{"/usr/lib/cni", "/opt/cni/bin"}

func requirements() []requirement {
	return []requirement{
		{"containerd", hasCommands("containerd", "containerd-shim-runc-v2")},
		{"runc", hasCommands("runc")},
		{"containernetworking-plugins", func() bool { return cniDir() != "" }},
		{"iptables", hasCommands("iptables")},
		{"iproute2", hasCommands("ip")},
		{"busybox-static", func() bool { return isStatic(BusyboxPath) }},
	}
}

// MissingPackages names the Debian packages that a node needs and the machine lacks.
func MissingPackages() []string {
	var missing []string
	for _, r := range requirements() {
		if !r.present() {
			missing = append(missing, r.pkg)
		}
	}
	return missing
}

// InstallPackages installs what MissingPackages names, after saying so on out, and starts no service:
// neither containerd's, nor anything else that a package would want to have running.
func InstallPackages(ctx context.Context, out io.Writer) (err error) {
	missing := MissingPackages()
	if len(missing) == 0 {
		return nil
	}
	fmt.Fprintf(out, "real pods need these packages, which are now installed, without starting a service: %s\n",
		strings.Join(missing, " "))

	restore, err := denyServices("/usr/sbin/policy-rc.d")
	if err != nil {
		return fmt.Errorf("keeping services from starting: %w", err)
	}
	defer func() { err = errors.Join(err, restore()) }()

	// An installation that is killed half-way leaves the machine to be repaired by hand.
	ctx = context.WithoutCancel(ctx)
	install := append([]string{"env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install",
		"--yes", "--quiet", "--no-install-recommends", "--no-upgrade", "--no-remove"}, missing...)
	if first := run(ctx, install...); first != nil {
		// The usual reason is a package list that is missing or older than the archive.
		if err := run(ctx, "apt-get", "update", "--quiet"); err != nil {
			return errors.Join(first, err)
		}
		if err := run(ctx, install...); err != nil {
			return err
		}
	}
	if left := MissingPackages(); len(left) > 0 {
		return fmt.Errorf("installed, but not as expected: %s", strings.Join(left, " "))
	}
	return nil
}

// denyServices puts a policy at path by which Debian's maintainer scripts start, stop and restart
// nothing, and returns what puts the former policy back.
func denyServices(path string) (restore func() error, err error) {
	restore = func() error { return os.Remove(path) }
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		former, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		restore = func() error { return os.WriteFile(path, former, info.Mode().Perm()) }
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil {
		return nil, err
	}
	return restore, os.Chmod(path, 0o755)
}

// cniDir is the folder with the CNI plugins, or empty if the machine has none.
func cniDir() string {
	for _, dir := range cniDirs {
		if info, err := os.Stat(filepath.Join(dir, "bridge")); err == nil && info.Mode().IsRegular() {
			return dir
		}
	}
	return ""
}

func hasCommands(names ...string) func() bool {
	return func() bool {
		for _, name := range names {
			if _, err := exec.LookPath(name); err != nil {
				return false
			}
		}
		return true
	}
}

// isStatic says whether path is a program that runs in an image which holds nothing else.
func isStatic(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return false
		}
	}
	return true
}
