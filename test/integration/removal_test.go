package integration

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/env"
)

// waitUntilWithdrawn waits until the agent can see that the run is to go, or there is nothing left to see.
func (r *run) waitUntilWithdrawn() {
	r.t.Helper()
	eventually(r.t, func() error {
		rw, err := r.remoteWorkflow()
		if err == nil && rw.DeletionTimestamp.IsZero() {
			err = errors.New("the RemoteWorkflow is not deleted")
		}
		return client.IgnoreNotFound(err)
	})
}

func TestWorkflowThatIsDeletedOnTheHubLeavesNothing(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		// reach brings the run to where it is deleted; what it returns is held back until that has happened.
		reach  func(*testing.T, *run) *env.Hold
		opened int
	}{
		"before it is created on the cluster": {
			reach: func(_ *testing.T, r *run) *env.Hold { r.waitForManifestWork(); return nil },
		},
		"while it is gated, before its UID is recorded": {
			reach: func(t *testing.T, r *run) *env.Hold {
				t.Helper()
				claim := agent2.hub.Hold(t, r.claims)
				r.workAgent.apply(r)
				claim.Await(t)
				return claim
			},
		},
		"while it is gated, and about to start": {
			reach: func(t *testing.T, r *run) *env.Hold {
				t.Helper()
				start := agent2.managed.Hold(t, r.opens)
				r.workAgent.apply(r)
				start.Await(t)
				return start
			},
			opened: 1, // the request that the agent has sent cannot be called back
		},
		"while it runs": {
			reach:  func(_ *testing.T, r *run) *env.Hold { r.starts(); r.runsOn(); return nil },
			opened: 1,
		},
		"when it is finished": {
			reach:  func(_ *testing.T, r *run) *env.Hold { r.runs(); return nil },
			opened: 1,
		},
	}
	for when, test := range tests {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			for how, remove := range map[string]func(*run, *cluster){"deleted": (*run).delete, "deleted by force": (*run).forceDelete} {
				t.Run(how, func(t *testing.T) {
					t.Parallel()
					s := newSpace(t)
					r := s.create("unwanted", cluster2)
					held := test.reach(t, r)
					remove(r, theHub)
					if held != nil {
						r.waitUntilWithdrawn()
						held.Release()
					}
					if test.opened > 0 {
						eventually(t, func() error {
							if len(s.seen[cluster2].open("unwanted")) == 0 {
								return errors.New("the request to open the gate has not arrived")
							}
							return nil
						})
					}
					r.isGone()
					assert.Len(t, s.seen[cluster2].open("unwanted"), test.opened)
				})
			}
		})
	}
}

func TestWorkflowThatIsDeletedOnTheHubStaysUntilItsRunIsGoneFromTheCluster(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	r := s.create("unwanted", cluster2)
	r.starts()
	r.runsOn()
	r.delete(theHub)
	eventually(t, func() error {
		if !isTerminated(r.must(cluster2)) {
			return errors.New("the run is not told to terminate")
		}
		return nil
	})
	assert.Equal(t, v1alpha1.RemovalTerminate, r.mustRemoteWorkflow().Spec.Removal)
	s.create("afterwards", cluster2).runs()
	assert.Equal(t, []string{contract.FinalizerDispatch}, r.mustRemoteWorkflow().Finalizers)
	assert.Equal(t, []string{contract.FinalizerDispatch}, r.must(theHub).GetFinalizers())
	assert.Nil(t, r.must(cluster2).GetDeletionTimestamp(), "Argo goes on with what is being deleted: it ends first")

	r.argo.terminates(r)
	eventually(t, func() error {
		if finalizers := r.must(cluster2).GetFinalizers(); !slices.Equal(finalizers, []string{metav1.FinalizerDeleteDependents}) {
			return fmt.Errorf("the copy has the finalizers %v, and does not wait for its pods alone", finalizers)
		}
		return nil
	})
	assert.Equal(t, []string{contract.FinalizerDispatch}, r.must(theHub).GetFinalizers())
	r.isGone()
}

func TestWorkflowThatIsDeletedOnItsClusterIsNotRunAgain(t *testing.T) {
	t.Parallel()
	const othersFinalizer = "example.com/others"
	tests := map[string]struct {
		remove      func(*testing.T, *run)
		phase, says string
		reason      string
		opened      int
		wholeReport bool
	}{
		"while it is gated, before its UID is recorded": {
			remove: func(t *testing.T, r *run) {
				t.Helper()
				claim := agent1.hub.Hold(t, r.claims)
				r.workAgent.apply(r)
				claim.Await(t)
				r.delete(cluster1)
				claim.Release()
			},
			phase: "Error", says: "is gone, and was not finished when last seen", reason: v1alpha1.ReasonVanishedUnfinished,
		},
		"while it is gated, and about to start": {
			remove: func(t *testing.T, r *run) {
				t.Helper()
				start := agent1.managed.Hold(t, r.opens)
				r.workAgent.apply(r)
				start.Await(t)
				r.delete(cluster1)
				start.Release()
			},
			phase: "Error", says: "is gone, and was not finished when last seen", reason: v1alpha1.ReasonVanishedUnfinished,
		},
		"while it is gated, about to start, and held by another's finalizer": {
			remove: func(t *testing.T, r *run) {
				t.Helper()
				start := agent1.managed.Hold(t, r.opens)
				r.workAgent.apply(r)
				start.Await(t)
				r.edit(cluster1, `{"metadata":{"finalizers":["`+othersFinalizer+`"]}}`)
				r.delete(cluster1)
				start.Release()
				r.waitFor("Error", "")
				assert.Equal(t, []string{othersFinalizer}, r.must(cluster1).GetFinalizers())
				r.edit(cluster1, `{"metadata":{"finalizers":null}}`)
			},
			phase: "Error", says: "was deleted there before it started", reason: v1alpha1.ReasonDeletedUnfinished,
		},
		"while it runs": {
			remove: func(t *testing.T, r *run) {
				t.Helper()
				r.starts()
				r.runsOn()
				r.delete(cluster1)
				r.argo.obeysShutdown(r)
			},
			phase: "Error", says: "was deleted there before it finished", reason: v1alpha1.ReasonDeletedUnfinished, opened: 1,
		},
		"by force, while it runs": {
			remove: func(t *testing.T, r *run) {
				t.Helper()
				r.starts()
				r.runsOn()
				r.forceDelete(cluster1)
			},
			phase: "Error", says: "Workflow ", opened: 1,
		},
		"when it is finished, before that is reported": {
			remove: func(t *testing.T, r *run) {
				t.Helper()
				r.starts()
				r.runsOn()
				end := agent1.hub.Hold(t, func(request env.Request) bool {
					return request.Resource == "remoteworkflows/status" && request.Name == r.name().Name
				})
				r.argo.write(r, succeededStatus())
				end.Await(t)
				r.delete(cluster1)
				assert.Equal(t, []string{contract.FinalizerReport}, r.must(cluster1).GetFinalizers())
				end.Release()
			},
			phase: "Succeeded", reason: v1alpha1.ReasonDeletedFinished, opened: 1, wholeReport: true,
		},
		"when it is finished": {
			remove: func(t *testing.T, r *run) { t.Helper(); r.runs(); r.delete(cluster1) },
			phase:  "Succeeded", reason: v1alpha1.ReasonDeletedFinished, opened: 1, wholeReport: true,
		},
		"by force, when it is finished": {
			remove: func(t *testing.T, r *run) { t.Helper(); r.runs(); r.forceDelete(cluster1) },
			phase:  "Succeeded", reason: v1alpha1.ReasonDeletedFinished, opened: 1, wholeReport: true,
		},
	}
	for when, test := range tests {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			s := newSpace(t)
			r := s.create("deleted", cluster1)
			test.remove(t, r)
			r.waitFor(test.phase, test.says)
			eventually(t, func() error {
				if got := r.remoteDeleted(); got == "" || test.reason != "" && got != test.reason {
					return fmt.Errorf("the agent says of the copy that it is gone: %q", got)
				}
				return nil
			})
			if test.wholeReport {
				assert.Equal(t, canonical(t, succeededStatus()), canonical(t, contract.Status(r.must(theHub))))
			} else {
				assert.NotEmpty(t, contract.Status(r.must(theHub))["finishedAt"])
			}
			s.create("afterwards", cluster1).runs()
			require.NoError(t, r.wants(test.phase, test.says))
			assert.Len(t, s.seen[cluster1].open("deleted"), test.opened)
			r.isGone()
		})
	}
}

func TestRunWhoseRemoteWorkflowSomebodyDeletesGoesOnToItsEndAndIsNotRunAgain(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	r := s.create("cut-off", cluster1)
	r.starts()
	r.runsOn()
	require.NoError(t, theHub.client.Delete(t.Context(), r.mustRemoteWorkflow()))
	s.create("meanwhile", cluster1).runs()
	assert.False(t, isTerminated(r.must(cluster1)), "that it is deleted does not say what is to become of the run")
	r.argo.write(r, succeededStatus())
	r.waitUntilMirrored()
	eventually(t, func() error {
		_, err := r.remoteWorkflow()
		if err == nil {
			return errors.New("the RemoteWorkflow is kept")
		}
		return client.IgnoreNotFound(err)
	})
	r.waitUntilReleased()
	s.create("afterwards", cluster1).runs()
	require.NoError(t, r.wants("Succeeded", ""))
	require.NoError(t, r.isNotSent())
	assert.Len(t, s.seen[cluster1].open("cut-off"), 1)
	r.delete(cluster1) // it is nobody's but its users'
	r.isGone()
}
