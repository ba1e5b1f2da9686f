package integration

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"open-cluster-management.io/argo-workflow-multicluster/test/env"
)

// Not parallel: the second manager would see to the Workflows of other tests, too.
func TestManagerThatIsPausedInADispatchUntilTheWorkflowHasRunAndIsGoneStartsNothing(t *testing.T) {
	t.Run("before it creates the RemoteWorkflow", func(t *testing.T) {
		s := newSpace(t)
		p := pauseDispatch(t, s, "remoteworkflows")
		require.NoError(t, p.run.traces(t.Context()))
		p.creation.Release()
		eventually(t, func() error { return p.wrote("delete", "remoteworkflows") })
		eventually(t, func() error { return p.run.traces(t.Context()) })
		require.NoError(t, p.wrote("create", "remoteworkflows"))
		require.Error(t, p.wrote("create", "manifestworks"), "it was sent again")
		assertNeverOpens(t, s, p.run, p.ran.GetUID())
	})
	t.Run("before it creates the ManifestWork", func(t *testing.T) {
		s := newSpace(t)
		p := pauseDispatch(t, s, "manifestworks")
		p.creation.Release()
		eventually(t, func() error { return p.wrote("create", "manifestworks") })
		_, err := p.run.remoteWorkflow()
		require.True(t, apierrors.IsNotFound(err), "got %v", err)
		late := p.run.workAgent.create(p.run)
		eventually(t, func() error { return p.run.copyIsGone(late.GetUID()) })
		eventually(t, func() error { return p.run.traces(t.Context()) })
		assertNeverOpens(t, s, p.run, p.ran.GetUID())
	})
}

// pausedDispatch is a dispatch in which the manager is paused, of a Workflow that another manager has run meanwhile, and that
// is gone.
type pausedDispatch struct {
	creation *env.Hold
	run      *run
	// ran is the copy that has run.
	ran *unstructured.Unstructured
	// before is how much the manager had written before it went on.
	before int
}

// pauseDispatch pauses the manager before it creates one of the resource, lets another one do all the rest, and deletes the
// Workflow.
func pauseDispatch(t *testing.T, s *space, resource string) pausedDispatch {
	t.Helper()
	p := pausedDispatch{}
	p.creation = theManager.tap.Hold(t, func(request env.Request) bool {
		return request.Verb == "create" && request.Resource == resource && bytes.Contains(request.Body, []byte(s.name))
	})
	p.run = s.create("paused", cluster1)
	p.creation.Await(t)
	other := &manager{options: managerOptions}
	t.Cleanup(func() { assert.NoError(t, other.stop()) })
	require.NoError(t, other.start())
	p.run.runs()
	p.ran = p.run.must(cluster1)
	p.run.isGone()
	require.NoError(t, other.stop())
	p.before = len(theManager.tap.Writes())
	return p
}

// wrote returns an error unless the paused manager has written this of the run.
func (p pausedDispatch) wrote(verb, resource string) error {
	for _, write := range theManager.tap.Writes()[p.before:] {
		if write.Verb == verb && write.Resource == resource && write.Status < 300 &&
			(write.Name == p.run.name().Name || p.run.isCarriedIn(write)) {
			return nil
		}
	}
	return fmt.Errorf("the manager has not written: %s %s", verb, resource)
}
