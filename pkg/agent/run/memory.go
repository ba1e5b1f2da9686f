package run

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
)

// echoTimeout is how long the agent waits for the caches to show what it has written itself. It is a bound for the
// case that a version comes back, as after the restore of a backup; else the watch is there within milliseconds.
const echoTimeout = 5 * time.Second

// memory keeps what the agent knows of its own last steps, by the name of the RemoteWorkflow. All of it is hints that
// save work: without them, as after a restart, the agent does the same with a few more tries, or later.
type memory struct {
	mu   sync.Mutex
	runs map[string]*hints
}

// hints are those of one RemoteWorkflow. Only the one worker that has its key uses them.
type hints struct {
	uid  types.UID
	pace pace
	// remote and workflow are the versions that the agent's own writes have replaced.
	remote, workflow echo
	// reported are the versions of the RemoteWorkflow and of the copy whose status it holds.
	reported string
	// refusal is what the hub did not take.
	refusal *refusal
	// absentSince is when the hub has first said that there is no such RemoteWorkflow, and not said anything else since. Without it,
	// the copy waits anew.
	absentSince time.Time
}

// recall returns the hints for this incarnation of the RemoteWorkflow.
func (m *memory) recall(rw *v1alpha1.RemoteWorkflow) *hints { return m.of(rw.Name, rw.UID) }

// of returns the hints for a RemoteWorkflow with this UID, "" for one that is not there.
func (m *memory) of(name string, uid types.UID) *hints {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.runs[name]
	if known == nil || known.uid != uid {
		known = &hints{uid: uid}
		if m.runs == nil {
			m.runs = map[string]*hints{}
		}
		m.runs[name] = known
	}
	return known
}

// forget drops the hints for a RemoteWorkflow that is gone, as is its copy.
func (m *memory) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.runs, name)
}

// echo is a version of an object that the agent has replaced by a write of its own.
type echo struct {
	version string
	until   time.Time
}

// replaced records that a write has made the version before into the one after.
func (e *echo) replaced(before, after string, now time.Time) {
	if before != after {
		*e = echo{version: before, until: now.Add(echoTimeout)}
	}
}

// wait returns for how long this version, read from a cache, is to be taken for outdated. Acting on it would only end
// in a conflict.
func (e echo) wait(version string, now time.Time) time.Duration {
	if version == "" || version != e.version {
		return 0
	}
	return max(0, e.until.Sub(now))
}
