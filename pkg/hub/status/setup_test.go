package status

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestTheEchoOfOurOwnWritesIsDropped(t *testing.T) {
	before := gen.Workflow("hello", gen.WithHubStatus("Running"))
	edited := before.DeepCopy()
	edited.SetLabels(map[string]string{"edited": "by the user"})
	ours := gen.Workflow("hello", gen.WithHubStatus("Succeeded"))
	bare := gen.Workflow("hello")

	update := func(from, to *unstructured.Unstructured) bool {
		return notOurWrites.Update(event.UpdateEvent{ObjectOld: from, ObjectNew: to})
	}
	assert.False(t, update(before, ours), "our write")
	assert.False(t, update(bare, before), "our first write")
	assert.True(t, update(before, edited), "a user's edit")
	assert.True(t, update(bare, bare), "a resync")
	assert.True(t, notOurWrites.Create(event.CreateEvent{Object: before}), "the start of the manager")
	assert.False(t, notOurWrites.Delete(event.DeleteEvent{Object: before}), "there is nothing left to write")
}
