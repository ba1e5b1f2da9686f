package run

import (
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
)

// deniedRetry is when the agent tries again what the cluster did not let it change.
const deniedRetry = time.Minute

// expectationTimeout is how long the agent waits for the caches to show what it has written itself. It is a bound for the
// case that a version comes back, as after the restore of a backup; else the watch is there within milliseconds.
const expectationTimeout = 5 * time.Second

// allHints keeps what the agent knows of its own last steps, by the name of the RemoteWorkflow. All of it is hints that
// save work: without them, as after a restart, the agent does the same with a few more tries, or later.
type allHints struct {
	mu     sync.Mutex
	byName map[string]*hints
}

// hints are those of one RemoteWorkflow. Only the one worker that has its key uses them.
type hints struct {
	uid  types.UID
	pace pace
	// remote and workflow are the versions that the agent's own writes have replaced.
	remote, workflow expectation
	// reported are the versions of the RemoteWorkflow and of the remote Workflow whose status it holds.
	reported string
	// refusal is what the hub did not take, and denied what the cluster did not let the agent change.
	refusal *refusal
	denied  denial
	// retry is the id of a retry whose pods are being deleted, and retryBegan when the agent first saw to it.
	retry      string
	retryBegan time.Time
	// state is what the attempt is in, and entered when the agent first saw it there. Bounds count from then on: they are on
	// the agent's clock alone.
	state   string
	entered time.Time
}

// denial is a change that the cluster does not let the agent make.
type denial struct {
	// generation is that of the RemoteWorkflow that asks for it, until when to try it again, and condition what is said of it.
	generation int64
	until      time.Time
	condition  metav1.Condition
}

// of reports whether what the RemoteWorkflow asks for was denied just now.
func (d denial) of(rw *v1alpha1.RemoteWorkflow, now time.Time) bool {
	return d.generation == rw.Generation && now.Before(d.until)
}

// since returns when the agent first saw the attempt in this state, in which it is now.
func (h *hints) since(state string, now time.Time) time.Time {
	if h.entered.IsZero() || h.state != state {
		h.state, h.entered = state, now
	}
	return h.entered
}

// beganRetry returns when the agent first saw to the retry with this id.
func (h *hints) beganRetry(id string, now time.Time) time.Time {
	if h.retry != id {
		h.retry, h.retryBegan = id, now
	}
	return h.retryBegan
}

// recall returns the hints for this incarnation of the RemoteWorkflow.
func (m *allHints) recall(rw *v1alpha1.RemoteWorkflow) *hints { return m.of(rw.Name, rw.UID) }

// of returns the hints for a RemoteWorkflow with this UID, "" for one that is not there.
func (m *allHints) of(name string, uid types.UID) *hints {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.byName[name]
	if known == nil || known.uid != uid {
		known = &hints{uid: uid}
		if m.byName == nil {
			m.byName = map[string]*hints{}
		}
		m.byName[name] = known
	}
	return known
}

// forget drops the hints for a RemoteWorkflow that is gone, as is its remote Workflow.
func (m *allHints) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.byName, name)
}

// expectation is a version of an object that the agent has replaced by a write of its own.
type expectation struct {
	version string
	until   time.Time
}

// replaced records that a write has made the version before into the one after.
func (e *expectation) replaced(before, after string, now time.Time) {
	if before != after {
		*e = expectation{version: before, until: now.Add(expectationTimeout)}
	}
}

// wait returns for how long this version, read from a cache, is to be taken for outdated. Acting on it would only end
// in a conflict.
func (e expectation) wait(version string, now time.Time) time.Duration {
	if version == "" || version != e.version {
		return 0
	}
	return max(0, e.until.Sub(now))
}
