package hubworkflow

import (
	"context"
	"fmt"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// ReasonStopped is that of a Workflow that was shut down before it started.
const ReasonStopped = "Stopped"

// EndsUnstarted reports whether a Workflow that no RemoteWorkflow shows to have started is to end on the hub, because its user has shut it
// down. That is not for the hub to say of one that is not ours, that another controller runs, or that may have run before the hub was
// restored from a backup; restoredAt is when that was.
func (wf *Workflow) EndsUnstarted(restoredAt time.Time) bool {
	if wf.Controls.Shutdown == "" || !contract.IsOurs(wf) || wf.IsForeign() || !contract.IsPending(wf.Phase) {
		return false
	}
	refusal := wf.Refused(restoredAt)
	return refusal == nil || refusal.Reason != ReasonRestoredHub
}

// EndMessage is what Argo says of a Workflow that it ends so.
func EndMessage(shutdown v1alpha1.Shutdown) string {
	return fmt.Sprintf("Stopped with strategy '%s'", shutdown)
}

// End ends a Workflow of which nothing has started, as Argo ends one that is shut down before its first pod, and records that in an Event.
// One patch, which fails with a conflict if the Workflow has changed since it was read: it may have been assigned.
func End(ctx context.Context, c client.Client, recorder events.EventRecorder, wf *Workflow, now time.Time) error {
	message, at := EndMessage(wf.Controls.Shutdown), now.UTC().Format(time.RFC3339)
	written, err := Write(ctx, c, wf, Update{Status: map[string]any{
		"phase": string(wfv1.WorkflowFailed), "message": message, "startedAt": at, "finishedAt": at,
		"conditions": []any{map[string]any{"type": string(wfv1.ConditionTypeCompleted), "status": string(metav1.ConditionTrue)}},
	}})
	if written && err == nil {
		recorder.Eventf(wf.Unstructured, nil, corev1.EventTypeNormal, ReasonStopped, "Stop", "%s, before it was sent to a cluster", message)
	}
	return err
}
