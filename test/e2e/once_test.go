package e2e

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

func TestEditingTheHubsCopyNeitherErasesTheRunNorStartsItAgain(t *testing.T) {
	t.Parallel()
	edits := map[string][]string{
		"metadata": {
			`{"metadata":{"annotations":{"edited":"yes"}}}`,
			`{"metadata":{"labels":{"edited":"yes"}}}`,
		},
		"spec": {
			`{"spec":{"priority":7}}`,
			`{"spec":{"activeDeadlineSeconds":600}}`,
			`{"spec":{"arguments":{"parameters":[{"name":"late","value":"1"}]}}}`,
		},
		"assignment": {
			`{"metadata":{"labels":{"workflows.argoproj.io/enable-ocm-multicluster":null}}}`,
			`{"metadata":{"annotations":{"workflows.argoproj.io/ocm-managed-cluster":"cluster2"}}}`,
			`{"metadata":{"annotations":null}}`,
		},
		"status": {
			`{"status":{"phase":"Failed"}}`,
			`{"status":null}`,
			`{"metadata":{"labels":{"workflows.argoproj.io/completed":null,"workflows.argoproj.io/phase":null}}}`,
		},
	}
	for what, patches := range edits {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := newSpace(t)
			h, elsewhere := s.record(cluster1), s.record(cluster2)
			r := s.create(s.hello("edited", on(cluster1), steps(10*time.Second, 10*time.Second)))
			for step := 1; step <= 2; step++ {
				r.waitForNodes(step)
				before := r.must(cluster1)
				for _, patch := range patches {
					r.edit(theHub, patch)
					labtest.Eventually(t, patience, func() error { return r.mirrored(cluster1) })
				}
				assertSameRun(t, before, r.must(cluster1))
			}
			r.waitFor("Succeeded")
			labtest.Eventually(t, patience, func() error { return r.mirrored(cluster1) })
			require.NoError(t, h.ran(1, 2))
			require.NoError(t, elsewhere.ran(0, 0))
			assert.Equal(t, 1, h.incarnations())
			assert.True(t, contract.IsOurs(r.must(theHub)))
			assert.Equal(t, "cluster1", contract.AssignedCluster(r.must(theHub)))
			assert.Equal(t, "cluster1", contract.ChosenCluster(r.must(theHub)))
		})
	}
}

// waitForNodes waits until the Workflow runs on the cluster and the hub shows so many nodes of pods.
func (r *run) waitForNodes(count int) {
	r.t.Helper()
	labtest.Eventually(r.t, patience, func() error {
		wf, err := r.get(theHub)
		if err != nil {
			return err
		}
		if found := podNodes(wf); contract.Phase(wf) != contract.PhaseRunning || len(found) < count {
			return fmt.Errorf("phase %q with pods' nodes %v, want Running with %d", contract.Phase(wf), found, count)
		}
		return nil
	})
}

// podNodes returns the ids and start times of the nodes that are pods.
func podNodes(wf *unstructured.Unstructured) map[string]any {
	found := map[string]any{}
	nodes, _, _ := unstructured.NestedMap(wf.Object, "status", "nodes")
	for id, value := range nodes {
		if node, ok := value.(map[string]any); ok && node["type"] == "Pod" {
			found[id] = node["startedAt"]
		}
	}
	return found
}

// assertSameRun makes sure that the later object goes on with what the earlier one began.
func assertSameRun(t *testing.T, earlier, later *unstructured.Unstructured) {
	t.Helper()
	assert.Equal(t, earlier.GetUID(), later.GetUID())
	assert.Equal(t, contract.StatusString(contract.Status(earlier), "startedAt"), contract.StatusString(contract.Status(later), "startedAt"))
	assert.Subset(t, podNodes(later), podNodes(earlier))
}

func TestWorkflowThatATTLDeletesOnTheClusterStaysFinishedOnTheHubAndDoesNotRunAgain(t *testing.T) {
	t.Parallel()
	for _, ttl := range []int64{0, 1, 5} {
		t.Run(fmt.Sprintf("%ds", ttl), func(t *testing.T) {
			t.Parallel()
			s := newSpace(t)
			h := s.record(cluster1)
			r := s.create(s.hello("ttl", on(cluster1), lasting(10*time.Second)))
			r.waitForNodes(1)
			// Only on the cluster: the hub would follow a strategy of its own copy.
			r.edit(cluster1, fmt.Sprintf(`{"spec":{"ttlStrategy":{"secondsAfterCompletion":%d}}}`, ttl))
			r.waitFor("Succeeded")
			labtest.Eventually(t, patience, func() error { return r.gone(cluster1) })
			h.staysSo(t, 1, 1)
			require.NoError(t, r.wants(theHub, "Succeeded", ""))
			assert.Len(t, podNodes(r.must(theHub)), 1)
			r.waitUntilNothingIsSent()
			r.delete(theHub)
			r.waitUntilGone(cluster1)
		})
	}
}

// waitUntilNothingIsSent waits until no ManifestWork makes the work agent create the Workflow again, and none is left.
func (r *run) waitUntilNothingIsSent() {
	r.t.Helper()
	labtest.Eventually(r.t, patience, func() error {
		work, err := r.delivery()
		if err == nil && work != nil {
			err = errors.New("the ManifestWork is there")
		}
		return errors.Join(err, r.gone(cluster1))
	})
}

func TestWorkflowDeletedOnTheClusterAfterItFinishedStaysFinishedAndDoesNotRunAgain(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	h := s.record(cluster1)
	r := s.create(s.hello("done", on(cluster1)))
	r.waitFor("Succeeded")
	r.delete(cluster1)
	h.staysSo(t, 1, 1)
	require.NoError(t, r.wants(theHub, "Succeeded", ""))
	r.waitUntilNothingIsSent()
}

func TestWorkflowDeletedOnTheClusterWhileItRunsEndsInErrorAndDoesNotRunAgain(t *testing.T) {
	t.Parallel()
	remove := map[string]func(*run){
		"deleted":       func(r *run) { r.delete(cluster1) },
		"force-deleted": func(r *run) { r.forceDelete(cluster1) },
	}
	for how, remove := range remove {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := newSpace(t)
			h := s.record(cluster1)
			r := s.create(s.hello("cut-short", on(cluster1), lasting(10*time.Minute)))
			r.waitForNodes(1)
			remove(r)
			r.waitForMessage("Error", "cluster cluster1: ")
			r.waitForEvent("RemoteDeleted", "cluster cluster1: ")
			labtest.Eventually(t, patience, func() error { return noPods(t, cluster1, r.key) })
			r.waitUntilNothingIsSent()
			h.staysSo(t, 1, 1)
			require.NoError(t, r.wants(theHub, "Error", "cluster cluster1: "))
			assert.NotEmpty(t, contract.StatusString(contract.Status(r.must(theHub)), "finishedAt"))
			r.delete(theHub)
			r.waitUntilGone(cluster1)
		})
	}
}

// Not parallel: the manager, which ends a delivery once it is claimed, is paused, and so is the agent until then.
func TestWorkflowThatTheWorkAgentCreatesAgainNeverStartsAndIsRemoved(t *testing.T) {
	s := newSpace(t)
	h := s.record(cluster2)
	resumeAgent := pause(t, cluster2, lab.AgentProcess)
	finished := s.create(s.hello("finished", on(cluster2)))
	running := s.create(s.hello("running", on(cluster2), lasting(10*time.Minute)))
	for _, r := range []*run{finished, running} {
		labtest.Eventually(t, patience, func() error {
			_, err := r.get(cluster2)
			return err
		})
	}
	resumeManager := pause(t, theHub, lab.ManagerProcess)
	resumeAgent()
	labtest.Eventually(t, patience, func() error {
		return errors.Join(finished.wants(cluster2, "Succeeded", ""), running.wants(cluster2, "Running", ""))
	})
	first := map[*run]types.UID{finished: finished.must(cluster2).GetUID(), running: running.must(cluster2).GetUID()}
	finished.delete(cluster2)
	running.forceDelete(cluster2)
	labtest.Eventually(t, patience, func() error {
		if h.incarnations() < 4 {
			return errors.New("not both were created again")
		}
		return nil
	})
	labtest.Holds(t, resync, func() error { return h.ran(2, 2) })
	for r, uid := range first {
		labtest.Eventually(t, patience, func() error {
			wf, err := r.get(cluster2)
			if err == nil && wf.GetUID() == uid {
				err = errors.New("the first incarnation is still there")
			}
			return client.IgnoreNotFound(err)
		})
	}
	resumeManager()

	running.waitForMessage("Error", "cluster cluster2: ")
	finished.waitFor("Succeeded")
	labtest.Eventually(t, patience, func() error { return errors.Join(finished.gone(cluster2), running.gone(cluster2)) })
	labtest.Holds(t, quiet, func() error {
		return errors.Join(h.ran(2, 2), finished.wants(theHub, "Succeeded", ""), running.wants(theHub, "Error", ""))
	})
	for _, r := range []*run{finished, running} {
		r.delete(theHub)
		r.waitUntilGone(cluster2)
	}
}

// pause stops a process in its tracks until the test ends, or resumes it.
func pause(t *testing.T, c *cluster, process string) (resume func()) {
	t.Helper()
	require.NoError(t, c.Signal(process, syscall.SIGSTOP))
	resume = func() { assert.NoError(t, c.Signal(process, syscall.SIGCONT)) }
	t.Cleanup(resume)
	return resume
}

func TestDeletingTheHubsCopyWhileItRunsEndsTheRunAndLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	h := s.record(cluster1)
	r := s.create(s.hello("given-up", on(cluster1), lasting(10*time.Minute)))
	r.waitForNodes(1)
	r.delete(theHub)
	labtest.Eventually(t, patience, func() error { return r.gone(theHub) })
	require.NoError(t, errors.Join(r.traces(), r.gone(cluster1), noPods(t, cluster1, r.key)), "as soon as the hub's copy is gone")
	h.staysSo(t, 1, 1)
}

func TestNameOfADeletedWorkflowIsFreeAtOnce(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	first := s.create(s.hello("once-more", on(cluster1), lasting(10*time.Minute)))
	first.waitForNodes(1)
	first.delete(theHub)
	labtest.Eventually(t, patience, func() error { return first.gone(theHub) })
	s.create(s.hello("once-more", on(cluster1))).waitFor("Succeeded")
}
