package integration

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// late is a Workflow that was deleted on the hub as soon as it was sent. It returns the copy that the work agent, whose cache
// lags, would create now, under the given name.
func late(s *space, name string, mods ...func(*unstructured.Unstructured)) (*run, *unstructured.Unstructured) {
	s.t.Helper()
	r := s.create(name, cluster1)
	r.waitForManifestWork()
	r.isGone()
	wf := r.sent.DeepCopy()
	for _, mod := range mods {
		mod(wf)
	}
	return r, wf
}

func TestGatedCopyThatTheHubDoesNotKnowIsRemovedAndItsNameIsFree(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	known := s.create("known", cluster1)
	claim := agent1.hub.Hold(t, known.claims)
	kept := map[*run]*unstructured.Unstructured{}
	for name, mod := range map[string]func(*unstructured.Unstructured){
		"of-another-hub": func(wf *unstructured.Unstructured) {
			annotations := wf.GetAnnotations()
			annotations[contract.AnnotationHubID] = "another-hub"
			wf.SetAnnotations(annotations)
		},
		"with-status": func(wf *unstructured.Unstructured) { wf.Object["status"] = runningStatus() },
	} {
		r, wf := late(s, name, mod)
		require.NoError(t, cluster1.client.Create(t.Context(), wf))
		kept[r] = wf
	}
	kept[known] = known.workAgent.apply(known)
	claim.Await(t)

	first, wf := late(s, "late")
	removal := agent1.managed.Hold(t, first.deletes)
	require.NoError(t, cluster1.client.Create(t.Context(), wf))
	removal.Await(t)
	again := s.create("late", cluster1)
	again.waitFor("Pending", "there is already a Workflow "+again.key.String()+" that does not belong to this one")
	removal.Release()
	eventually(t, func() error {
		return errors.Join(first.copyIsGone(wf.GetUID()), first.hasEvent("Removed"))
	})
	again.runs()
	again.isGone()

	for r, wf := range kept {
		assert.Equal(t, wf.GetResourceVersion(), r.must(cluster1).GetResourceVersion(), "nobody writes to %s", r.key.Name)
	}
	claim.Release()
	known.waitUntilOpen()
	known.runsOn()
	known.succeeds()
	known.isGone()
}
