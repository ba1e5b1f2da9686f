// Package lab builds and runs a hub and managed clusters on one machine, for the demo, the end-to-end tests and the
// benchmarks. Everything is a real program built from its Go module and run as an ordinary process on 127.0.0.1: etcd,
// Kubernetes' API server and controller manager, Open Cluster Management's controllers and agents, Argo's workflow
// controller. Pods are either real (root, Linux) or played by a pod runner that executes nothing.
//
// [Up] starts a lab and leaves it running when the caller ends; [Open] finds it again; [Lab.Down] removes every trace.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"open-cluster-management.io/argo-workflow-multicluster/test/lab/node"
)

// Lab is a hub with its managed clusters.
type Lab struct {
	repository string
	opts       Options
	state      *state
	clusters   []*Cluster
	progress   *progress
	// variant is the build of the product that is used in place of the repository's, if any.
	variant string

	mu      sync.Mutex
	started []startedProcess
}

type startedProcess struct {
	cluster *Cluster
	name    string
}

// Up starts a lab, or what is missing of one that is there, and returns when every managed cluster is joined and
// available. It builds what it runs when it is first called, which takes minutes. When the context ends early, what this
// call has started is stopped again, and a lab that it began is removed.
func Up(ctx context.Context, options Options) (*Lab, error) {
	repository, err := findRepository()
	if err != nil {
		return nil, err
	}
	complete, err := options.complete(repository)
	if err != nil {
		return nil, err
	}
	unlock, err := lockFolder(complete.Dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	l, fresh, err := prepare(ctx, repository, options, complete)
	if err != nil {
		return nil, err
	}
	if err := l.up(ctx); err != nil {
		return nil, errors.Join(err, l.undo(fresh && ctx.Err() != nil))
	}
	return l, nil
}

func newLab(repository string, s *state) *Lab {
	l := &Lab{repository: repository, opts: s.Options, state: s, progress: newProgress(s.Options.Progress)}
	for _, c := range s.Clusters {
		l.clusters = append(l.clusters, &Cluster{Name: c.Name, lab: l, index: c.Index, ports: c.Ports})
	}
	return l
}

// Open loads the lab in the folder, running or not.
func Open(dir string) (*Lab, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	found, err := loadState(dir)
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoLab)
	}
	found.Options.Progress = io.Discard
	return newLab(found.Repository, found), nil
}

// ErrNoLab is what Open returns for a folder without a lab.
var ErrNoLab = errors.New("there is no lab")

// DefaultDir returns the folder of the lab of that name ("default" if empty) in the repository that the working
// directory is in.
func DefaultDir(name string) (string, error) {
	repository, err := findRepository()
	if err != nil {
		return "", err
	}
	options, err := Options{Name: name}.complete(repository)
	return options.Dir, err
}

// Down ends every process of the lab, known or not, and removes its folder.
func (l *Lab) Down(ctx context.Context) error { return Remove(ctx, l.dir()) }

// Remove takes down the lab in the folder, whatever state it is in: it needs nothing of what the lab wrote.
func Remove(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if os.Geteuid() == 0 { // for anybody else there are no real nodes, and nothing that they could remove
		if err := node.Clean(ctx, nodeLab(dir)); err != nil {
			return err
		}
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		records, err := markedRecords(dir)
		if err != nil {
			return err
		}
		if len(records) == 0 {
			break
		}
		if err := terminateAll(records); err != nil {
			return fmt.Errorf("end the lab in %s: %w", dir, err)
		}
	}
	if !exists(statePath(dir)) {
		return nil // not ours to remove
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the lab: %w", err)
	}
	return nil
}

// Hub returns the hub.
func (l *Lab) Hub() *Cluster { return l.clusters[0] }

// Managed returns the managed clusters in their order, without the hub where that is one.
func (l *Lab) Managed() []*Cluster { return slices.DeleteFunc(l.joining(), (*Cluster).isLocal) }

// joining returns all clusters that join the hub.
func (l *Lab) joining() []*Cluster { return slices.Clone(l.clusters[1:]) }

// Options returns what the lab was started with; Pods says which kind of pods was chosen.
func (l *Lab) Options() Options { return l.opts }

func (l *Lab) dir() string { return l.opts.Dir }

func (l *Lab) builder() *builder { return &builder{repository: l.repository, progress: l.progress} }

func (l *Lab) binary(name string) string { return filepath.Join(l.builder().bin(), name) }

// Clusters lists the hub and all clusters that join it.
func (l *Lab) Clusters() []*Cluster { return slices.Clone(l.clusters) }

// Dir returns the folder of the lab.
func (l *Lab) Dir() string { return l.dir() }
