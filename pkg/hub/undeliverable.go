package hub

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
)

// undeliverable has the RemoteWorkflows whose Workflow the hub's API server does not let be delivered, by UID, and why. The delivery finds
// that, and the workflow reconciler says so on the Workflow. These are hints: after a restart the delivery finds them again.
type undeliverable struct {
	messages sync.Map
	changes  chan event.TypedGenericEvent[*v1alpha1.RemoteWorkflow]
}

func newUndeliverable() *undeliverable {
	return &undeliverable{changes: make(chan event.TypedGenericEvent[*v1alpha1.RemoteWorkflow], 1024)}
}

// of returns why, "" if nothing is known against it.
func (r *undeliverable) of(uid types.UID) string {
	message, _ := r.messages.Load(uid)
	text, _ := message.(string)
	return text
}

// set notes why; "" withdraws it.
func (r *undeliverable) set(rw *v1alpha1.RemoteWorkflow, message string) {
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
