package hub

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestARefusalIsKnownUntilItIsWithdrawnAndEachChangeIsToldOnce(t *testing.T) {
	r := newUndeliverable()
	a, b := gen.RemoteWorkflow(gen.Workflow("a"), "cluster1"), gen.RemoteWorkflow(gen.Workflow("b"), "cluster1")
	changes := func() (names []string) {
		for len(r.changes) > 0 {
			change := <-r.changes
			names = append(names, change.Object.Spec.WorkflowRef.Name)
		}
		return names
	}
	r.set(a, "")
	assert.Empty(t, changes(), "what was never refused is no news")

	r.set(a, "exceeded quota")
	assert.Equal(t, "exceeded quota", r.of(a.UID))
	assert.Empty(t, r.of(b.UID))
	assert.Equal(t, []string{"a"}, changes())
	r.set(a, "exceeded quota")
	assert.Empty(t, changes())

	r.set(a, "by a policy")
	assert.Equal(t, "by a policy", r.of(a.UID))
	assert.Equal(t, []string{"a"}, changes())
	r.set(a, "")
	assert.Empty(t, r.of(a.UID))
	assert.Equal(t, []string{"a"}, changes())
}
