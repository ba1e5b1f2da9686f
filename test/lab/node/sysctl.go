package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const sysctlRoot = "/proc/sys"

// sysctlFile remembers the machine's settings from before its first lab with real nodes.
const sysctlFile = runRoot + "/sysctl.json"

// Kubernetes' programs watch their files by many inotify instances, and a kubelet does not live without. The
// usual limit of 128 for all of root's programs is reached by three clusters.
const (
	inotifyInstances    = "fs/inotify/max_user_instances"
	minInotifyInstances = 8192
)

// sysctls are the settings of the whole machine, and not of a namespace, that PrepareMachine sets, or a kubelet
// for itself when it starts.
var sysctls = []string{
	inotifyInstances,
	"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
	"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
}

// PrepareMachine sets what a lab needs of the machine as a whole, and remembers for Clean what it, and later
// kubelets, change. It comes before everything else.
func PrepareMachine(lab string) error {
	// With its folder the lab is there for others: whoever is cleaned up meanwhile leaves the settings to it.
	if err := os.MkdirAll(filepath.Join(runRoot, lab), 0o755); err != nil {
		return err
	}
	if err := saveSysctls(sysctlRoot, sysctlFile); err != nil {
		return fmt.Errorf("remembering sysctls: %w", err)
	}
	if err := raiseSysctl(sysctlRoot, inotifyInstances, minInotifyInstances); err != nil {
		return fmt.Errorf("raising a sysctl: %w", err)
	}
	return nil
}

// saveSysctls remembers the machine's settings, unless another lab has done so: what that lab's kubelets
// have set since is not what the machine should go back to.
func saveSysctls(root, file string) error {
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	former := map[string]string{}
	for _, name := range sysctls {
		b, err := os.ReadFile(filepath.Join(root, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil {
			former[name] = strings.TrimSpace(string(b))
		}
	}
	b, err := json.Marshal(former)
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}

// raiseSysctl sets a limit that is lower than it should be.
func raiseSysctl(root, name string, atLeast int) error {
	path := filepath.Join(root, name)
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	value, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if value >= atLeast {
		return nil
	}
	return os.WriteFile(path, []byte(strconv.Itoa(atLeast)), 0o644)
}

// restoreSysctls puts back what saveSysctls remembered, and forgets it.
func restoreSysctls(root, file string) error {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	former := map[string]string{}
	if err := json.Unmarshal(b, &former); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for name, value := range former {
		if err := os.WriteFile(filepath.Join(root, name), []byte(value), 0o644); err != nil {
			return err
		}
	}
	return os.Remove(file)
}
