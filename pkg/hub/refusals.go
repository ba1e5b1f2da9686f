package hub

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
)

// refusals are what the hub's API server has against delivering Workflows, by the UID of their RemoteWorkflow. The delivery finds them, and
// the workflow reconciler says so on the Workflow. They are hints: after a restart the delivery finds them again.
type refusals struct {
	messages sync.Map
	changes  chan event.TypedGenericEvent[*v1alpha1.RemoteWorkflow]
}

func newRefusals() *refusals {
	return &refusals{changes: make(chan event.TypedGenericEvent[*v1alpha1.RemoteWorkflow], 1024)}
}

// of returns the refusal, "" if there is none.
func (r *refusals) of(uid types.UID) string {
	message, _ := r.messages.Load(uid)
	text, _ := message.(string)
	return text
}

// set notes a refusal; "" withdraws it.
func (r *refusals) set(rw *v1alpha1.RemoteWorkflow, message string) {
	if r.of(rw.UID) == message {
		return
	}
	if message == "" {
		r.messages.Delete(rw.UID)
	} else {
		r.messages.Store(rw.UID, message)
	}
	r.changes <- event.TypedGenericEvent[*v1alpha1.RemoteWorkflow]{Object: rw}
}
