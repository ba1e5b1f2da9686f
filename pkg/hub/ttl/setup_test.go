package ttl

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestOnlyWorkflowsThatExpireWake(t *testing.T) {
	running, expires, stays := ended(gen.WithHubStatus("Running")), ended(), ended(withTTL(nil))

	assert.True(t, expiring.Create(event.CreateEvent{Object: expires}), "the start of the manager")
	assert.False(t, expiring.Create(event.CreateEvent{Object: running}))
	assert.False(t, expiring.Create(event.CreateEvent{Object: stays}))

	assert.True(t, expiring.Update(event.UpdateEvent{ObjectOld: running, ObjectNew: expires}), "it has ended")
	assert.True(t, expiring.Update(event.UpdateEvent{ObjectOld: stays, ObjectNew: expires}), "it was given a strategy")
	assert.True(t, expiring.Update(event.UpdateEvent{ObjectOld: expires, ObjectNew: expires}), "its deletion may have been refused")
	assert.False(t, expiring.Update(event.UpdateEvent{ObjectOld: expires, ObjectNew: running}), "it was retried")
	assert.False(t, expiring.Update(event.UpdateEvent{ObjectOld: expires, ObjectNew: ended(gen.Deleting())}))

	assert.False(t, expiring.Delete(event.DeleteEvent{Object: expires}), "there is nothing left to do")
	assert.False(t, expiring.Generic(event.GenericEvent{Object: expires}))
}
