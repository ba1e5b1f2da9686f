package lab

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ProcessStatus is what is known of a process that was started.
type ProcessStatus struct {
	Name    string
	PID     int
	Running bool
	// MemoryKiB is its resident memory.
	MemoryKiB int
	Log       string
}

// Processes lists the cluster's processes, also those that died.
func (c *Cluster) Processes() []ProcessStatus {
	paths, err := filepath.Glob(filepath.Join(c.runDir(), "*.json"))
	if err != nil {
		return nil // the pattern is not one
	}
	var list []ProcessStatus
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		rec, running := c.running(name)
		status := ProcessStatus{Name: name, PID: rec.PID, Running: running, Log: c.LogPath(name)}
		if running {
			status.MemoryKiB = proc.residentKiB(rec.PID)
		}
		list = append(list, status)
	}
	return list
}

// Condition says in a word or two how the cluster is: what its API server says, and for a managed cluster what the hub
// says of it.
func (c *Cluster) Condition() string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	ready, err := c.apiServerReady()
	if err != nil || ready(ctx) != nil {
		return "API server down"
	}
	if c.IsHub() {
		return "ready"
	}
	hub, err := c.lab.Hub().Client()
	if err != nil {
		return "hub unreachable"
	}
	cluster := c.managedCluster()
	if err := hub.Get(ctx, client.ObjectKeyFromObject(cluster), cluster); err != nil {
		return "not registered"
	}
	switch {
	case wantCondition(cluster, clusterv1.ManagedClusterConditionJoined) != nil:
		return "not joined"
	case wantCondition(cluster, clusterv1.ManagedClusterConditionAvailable) != nil:
		return "joined, not available"
	}
	return "joined, available"
}
