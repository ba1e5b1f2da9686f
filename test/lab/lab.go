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
	"sync"

	"golang.org/x/sync/errgroup"

	"open-cluster-management.io/argo-workflow-multicluster/test/lab/node"
)

// Lab is a hub with its managed clusters.
type Lab struct {
	repository string
	opts       Options
	state      *state
	clusters   []*Cluster
	progress   *progress

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
	l, fresh, err := prepare(ctx, options)
	if err != nil {
		return nil, err
	}
	if err := l.up(ctx); err != nil {
		return nil, errors.Join(err, l.undo(fresh && ctx.Err() != nil))
	}
	return l, nil
}

// prepare loads the lab or decides on a new one, and writes its state.
func prepare(ctx context.Context, options Options) (l *Lab, fresh bool, err error) {
	repository, err := findRepository()
	if err != nil {
		return nil, false, err
	}
	asked := options
	if options, err = options.complete(repository); err != nil {
		return nil, false, err
	}
	found, err := loadUsable(ctx, options.Dir)
	if err != nil {
		return nil, false, err
	}
	if found != nil {
		asked.Dir, asked.Progress = options.Dir, options.Progress
		merged, err := asked.over(found.Options)
		if err != nil {
			return nil, false, err
		}
		found.Options = merged
		return newLab(repository, found), false, nil
	}
	var reason string
	if options.Pods, reason, err = resolvePods(ctx, options.Pods, options.Progress); err != nil {
		return nil, false, err
	}
	fresh = true
	s := &state{Repository: repository, Options: options}
	if s.Clusters, err = layOut(options); err != nil {
		return nil, false, err
	}
	l = newLab(repository, s)
	l.progress.printf("lab %q in %s: a hub and %d managed clusters, pods are %s%s",
		options.Name, options.Dir, options.Clusters, options.Pods, reason)
	return l, fresh, s.save()
}

// loadUsable reads the state of the lab in the folder. One that never came up and of which nothing runs is removed: its
// options bind nobody.
func loadUsable(ctx context.Context, dir string) (*state, error) {
	found, err := loadState(dir)
	if err != nil || found == nil || found.Ready {
		return found, err
	}
	running, err := markedRecords(dir)
	if err != nil || len(running) > 0 {
		return found, err
	}
	return nil, Remove(ctx, dir)
}

func newLab(repository string, s *state) *Lab {
	l := &Lab{repository: repository, opts: s.Options, state: s, progress: newProgress(s.Options.Progress)}
	for _, c := range s.Clusters {
		l.clusters = append(l.clusters, &Cluster{Name: c.Name, lab: l, index: c.Index, ports: c.Ports})
	}
	return l
}

// layOut gives each cluster its ports.
func layOut(options Options) ([]clusterState, error) {
	finder := newPortFinder(options.Dir)
	hubPorts := append([]string{
		portAPIServer, portEtcd, portEtcdPeer, portKubelet, portManagerMetrics, portManagerHealth,
	}, ocmHubPorts...)
	managedPorts := []string{portAPIServer, portEtcd, portEtcdPeer, portKubelet, portHubLink, portKlusterlet}
	var clusters []clusterState
	for i, name := range append([]string{hubName}, options.managedNames()...) {
		wanted := managedPorts
		if i == 0 {
			wanted = hubPorts
		}
		ports := map[string]int{}
		for _, use := range wanted {
			port, err := finder.find()
			if err != nil {
				return nil, err
			}
			ports[use] = port
		}
		clusters = append(clusters, clusterState{Name: name, Index: i, Ports: ports})
	}
	return clusters, nil
}

// up brings the lab into the state that its options describe, from whatever state it is in.
func (l *Lab) up(ctx context.Context) error {
	if err := l.builder().build(ctx, l.programs()); err != nil {
		return err
	}
	if err := l.endStray(); err != nil {
		return err
	}
	if l.state.Ready && l.healthy(ctx) {
		l.progress.printf("everything runs already")
		return nil
	}
	if err := l.startClusters(ctx); err != nil {
		return err
	}
	l.state.Ready = true
	if err := l.state.save(); err != nil {
		return err
	}
	l.progress.printf("the lab is up")
	return nil
}

// programs lists what the lab runs.
func (l *Lab) programs() []string {
	programs := append([]string{}, simulatedTools...)
	if l.opts.Pods == PodsReal {
		programs = append(programs, realTools...)
	}
	return programs
}

// startClusters starts the hub and the managed clusters side by side; a managed cluster joins as soon as the hub's
// part of OCM is ready.
func (l *Lab) startClusters(ctx context.Context) error {
	if l.opts.Pods == PodsReal {
		if err := l.startNetwork(ctx); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	hubReady := make(chan struct{})
	group.Go(func() error {
		if err := l.startHub(ctx); err != nil {
			return err
		}
		close(hubReady)
		return nil
	})
	for _, c := range l.Managed() {
		group.Go(func() error {
			if err := c.startWorkloads(ctx); err != nil {
				return err
			}
			select {
			case <-hubReady:
				return c.join(ctx)
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}
	return group.Wait()
}

func (l *Lab) startHub(ctx context.Context) error {
	hub := l.Hub()
	if err := hub.startWorkloads(ctx); err != nil {
		return err
	}
	return hub.startOCM(ctx)
}

// startWorkloads starts the control plane, Argo and whoever runs the pods.
func (c *Cluster) startWorkloads(ctx context.Context) error {
	if err := c.startControlPlane(ctx); err != nil {
		return err
	}
	if err := c.startArgo(ctx); err != nil {
		return err
	}
	return c.startPods(ctx)
}

// healthy tells whether every process that was started still runs, as it was built last, and the API servers answer.
func (l *Lab) healthy(ctx context.Context) bool {
	for _, c := range l.clusters {
		ready, err := c.apiServerReady()
		if err != nil || ready(ctx) != nil {
			return false
		}
		for _, p := range c.Processes() {
			if !p.Running {
				return false
			}
		}
	}
	return true
}

// undo stops what this call started, and removes a lab that it began and that nobody is going to continue.
func (l *Lab) undo(remove bool) error {
	if remove {
		l.progress.printf("interrupted: removing the lab")
		return l.Down(context.Background())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.progress.printf("not up: stopping the %d processes that were started now; logs stay in %s",
		len(l.started), filepath.Join(l.dir(), "logs"))
	var records []record
	for _, p := range l.started {
		if rec, running := p.cluster.running(p.name); running {
			records = append(records, rec)
		}
	}
	return terminateAll(records)
}

func (l *Lab) noteStarted(c *Cluster, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.started = append(l.started, startedProcess{c, name})
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
	if err := node.Clean(ctx, nodeLab(dir)); err != nil {
		return err
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

// endStray ends processes of the lab that are not on record: the command that started them died in between.
func (l *Lab) endStray() error {
	marked, err := markedRecords(l.dir())
	if err != nil {
		return err
	}
	known := map[int]bool{}
	for _, c := range l.clusters {
		for _, p := range c.Processes() {
			known[p.PID] = known[p.PID] || p.Running
		}
	}
	var stray []record
	for _, rec := range marked {
		if !known[rec.PID] {
			stray = append(stray, rec)
		}
	}
	return terminateAll(stray)
}

// Hub returns the hub.
func (l *Lab) Hub() *Cluster { return l.clusters[0] }

// Managed returns the managed clusters in their order.
func (l *Lab) Managed() []*Cluster { return l.clusters[1:] }

// Options returns what the lab was started with; Pods says which kind of pods was chosen.
func (l *Lab) Options() Options { return l.opts }

// AuditLog returns the file that the hub's API server logs requests to, one JSON document a line.
func (l *Lab) AuditLog() string { return filepath.Join(l.dir(), "logs", hubName, "audit.log") }

func (l *Lab) dir() string { return l.opts.Dir }

func (l *Lab) builder() *builder { return &builder{repository: l.repository, progress: l.progress} }

func (l *Lab) binary(name string) string { return filepath.Join(l.builder().bin(), name) }
