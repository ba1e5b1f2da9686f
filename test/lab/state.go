package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// state is what a lab remembers of itself between two commands. It is written before the first process
// starts, so that an interrupted start can be continued or taken down. Processes are recorded one file
// each (see process.go): several commands may start and stop them at the same time.
type state struct {
	// Repository is the root of the repository that the lab was started from.
	Repository string `json:"repository"`
	// Options are complete; Pods is what PodsAuto was resolved to.
	Options Options `json:"options"`
	// Clusters are the hub and then the managed clusters, with the ports they listen on.
	Clusters []clusterState `json:"clusters"`
	// Processes are those of a complete lab, by cluster; none as long as no start came to its end.
	Processes map[string][]string `json:"processes,omitempty"`
}

type clusterState struct {
	Name string `json:"name"`
	// Index is 0 for the hub and counts the managed clusters from 1.
	Index int            `json:"index"`
	Ports map[string]int `json:"ports"`
}

func statePath(dir string) string { return filepath.Join(dir, "state.json") }

// loadState reads the state in dir; a nil state means that there is no lab.
func loadState(dir string) (*state, error) {
	raw, err := os.ReadFile(statePath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the lab's state: %w", err)
	}
	s := &state{}
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, fmt.Errorf("read the lab's state in %s: %w", dir, err)
	}
	return s, nil
}

func (s *state) save() error {
	if err := writeJSON(statePath(s.Options.Dir), s); err != nil {
		return fmt.Errorf("write the lab's state: %w", err)
	}
	return nil
}

// lockFolder keeps a second command from starting the same lab at the same time, or another one at the same ports.
func lockFolder(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	folder, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another command is at work on the lab in %s: %w", dir, err), folder.Close())
	}
	return func() { _ = folder.Close() }, nil
}

// writeJSON replaces the file as a whole, so that a reader never sees half of it.
func writeJSON(path string, value any) error {
	raw, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(raw, '\n'))
}

// writeFile writes the file, and the folders above it, for its owner only: most of what a lab writes is
// or contains a credential.
func writeFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary.Name()) }()
	if _, err := temporary.Write(content); err != nil {
		return errors.Join(err, temporary.Close())
	}
	if err := temporary.Close(); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}
