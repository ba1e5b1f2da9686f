package integration

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/env"
)

// late is a Workflow that was deleted on the hub as soon as it was sent. It returns the copy that the work agent, whose cache
// lags, would create now, under the given name.
func late(s *space, name string, mods ...func(*unstructured.Unstructured)) (*run, *unstructured.Unstructured) {
	s.t.Helper()
	r := s.create(name, cluster1)
	work := r.waitForManifestWork()
	r.isGone()
	wf := r.workAgent.manifest(r, work)
	for _, mod := range mods {
		mod(wf)
	}
	return r, wf
}

// Not parallel: it has an agent of its own.
func TestGatedCopyThatTheHubDoesNotKnowIsRemovedAndItsNameIsFree(t *testing.T) {
	s := newSpace(t)
	knowing := startKnowing(t)
	known := s.create("known", cluster1)
	claim := knowing.hub.Hold(t, known.claims)
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
	removal := knowing.managed.Hold(t, func(r env.Request) bool { return r.Verb == "delete" && r.Name == "late" })
	require.NoError(t, cluster1.client.Create(t.Context(), wf))
	removal.Await(t)
	again := s.create("late", cluster1)
	again.waitFor("Pending", "there is already a Workflow "+again.key.String()+" that is not a copy of this one")
	removal.Release()
	eventually(t, func() error {
		if _, err := first.get(cluster1); !apierrors.IsNotFound(err) {
			return errors.Join(err, errors.New("the copy is not gone"))
		}
		return first.hasEvent("Removed")
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
