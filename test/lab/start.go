package lab

import (
	"context"
	"path/filepath"

	"golang.org/x/sync/errgroup"
)

// prepare loads the lab or decides on a new one, and writes its state. What is asked for may be left open; options are
// complete.
func prepare(ctx context.Context, repository string, asked, options Options) (l *Lab, fresh bool, err error) {
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
	if err != nil || found == nil || found.Processes != nil {
		return found, err
	}
	running, err := markedRecords(dir)
	if err != nil || len(running) > 0 {
		return found, err
	}
	return nil, Remove(ctx, dir)
}

// layOut gives each cluster its ports.
func layOut(options Options) ([]clusterState, error) {
	finder, err := newPortFinder(options.Dir)
	if err != nil {
		return nil, err
	}
	hubPorts := append([]string{
		portAPIServer, portEtcd, portEtcdPeer, portKubelet, portManagerMetrics, portManagerHealth, portDeputyHealth,
		portOwnLink, portToxiproxy, portArgoServerClient, portArgoServerServer, portS3,
	}, ocmHubPorts...)
	managedPorts := []string{
		portAPIServer, portEtcd, portEtcdPeer, portKubelet, portHubLink, portKlusterlet, portAgentMetrics, portAgentHealth,
		portOwnLink, portToxiproxy,
	}
	var clusters []clusterState
	names := append([]string{hubName}, options.managedNames()...)
	if options.HubJoins {
		names = append(names, LocalCluster)
	}
	for i, name := range names {
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
	if options.HubJoins {
		takePorts(clusters[len(clusters)-1].Ports, clusters[0].Ports)
	}
	return clusters, sharePorts(clusters[1:], options.Shares)
}

// up brings the lab into the state that its options describe, from whatever state it is in.
func (l *Lab) up(ctx context.Context) error {
	if err := l.builder().build(ctx, l.programs()); err != nil {
		return err
	}
	if err := l.endStray(); err != nil {
		return err
	}
	if l.healthy(ctx) {
		l.progress.printf("everything runs already")
		return nil
	}
	if err := l.startClusters(ctx); err != nil {
		return err
	}
	l.state.Processes = map[string][]string{}
	for _, c := range l.clusters {
		for _, p := range c.Processes() {
			l.state.Processes[c.Name] = append(l.state.Processes[c.Name], p.Name)
		}
	}
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
	if l.opts.Chaos {
		programs = append(programs, Toxiproxy)
	}
	if l.opts.S3 {
		programs = append(programs, s3)
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
	group.Go(func() error { return l.startS3(ctx) })
	hubReady := make(chan struct{})
	group.Go(func() error {
		if err := l.startHub(ctx); err != nil {
			return err
		}
		close(hubReady)
		return nil
	})
	for _, c := range l.joining() {
		group.Go(func() error {
			start := c.startWorkloads
			switch {
			case c.isLocal():
				start = func(context.Context) error { return c.share(l.dir(), hubName) }
			case l.opts.Shares != "":
				start = func(context.Context) error { return c.share(l.opts.Shares, c.Name) }
			}
			if err := start(ctx); err != nil {
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
	if err := c.startToxiproxy(ctx); err != nil {
		return err
	}
	if err := c.startArgo(ctx); err != nil {
		return err
	}
	return c.startPods(ctx)
}

// healthy tells whether everything that makes the lab complete runs, as it was built last, and the API servers answer.
func (l *Lab) healthy(ctx context.Context) bool {
	if l.state.Processes == nil {
		return false
	}
	for _, c := range l.clusters {
		for _, name := range l.state.Processes[c.Name] {
			if rec, running := c.running(name); !running || rec.Build != buildID(rec.Process.Path) {
				return false
			}
		}
		if ready, err := c.apiServerReady(); err != nil || ready(ctx) != nil {
			return false
		}
	}
	return true
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

func (l *Lab) noteStarted(c *Cluster, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.started = append(l.started, startedProcess{c, name})
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
