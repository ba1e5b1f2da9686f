package run

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// report brings the status to the hub: at once when it is the end, or a new phase while there are reports to spare, else when the pace
// allows it. The finalizer is removed, if it may be, once the RemoteWorkflow is seen to hold exactly this.
func (r *Reconciler) report(
	ctx context.Context, rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, next decision,
) (reconcile.Result, error) {
	known, now := r.hints.recall(rw), r.Clock.Now()
	if known.reported == versionsOf(rw, wf) && !next.unguard {
		return reconcile.Result{}, nil
	}
	due := reconcile.Result{}
	if !isEnd(rw, wf, next) {
		due.RequeueAfter = r.Pacer.wait(&known.pace, contract.Phase(wf) != rw.Status.Phase, now)
	}
	if due.RequeueAfter > 0 && !next.unguard {
		return due, nil // encoding costs: not while the report has to wait
	}
	data, err := contract.EncodeStatus(contract.Status(wf))
	if err != nil {
		return reconcile.Result{}, err
	}
	refused := known.refusal.of(len(data), wf.GetResourceVersion())
	status := compose(rw, wf, data, refused)
	setConditions(&status, conditionsWith(next, wf, refused), metav1.NewTime(now))
	if equality.Semantic.DeepEqual(status, rw.Status) {
		known.reported = versionsOf(rw, wf)
		if next.unguard {
			return reconcile.Result{}, r.unguard(ctx, known, wf)
		}
		return reconcile.Result{}, nil
	}
	if due.RequeueAfter > 0 {
		return due, nil
	}
	return r.send(ctx, rw, wf, next, status, len(data))
}

// send writes a report. What the hub refuses is sent once more, without what it may have been refused for.
func (r *Reconciler) send(
	ctx context.Context, rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, next decision,
	status v1alpha1.RemoteWorkflowStatus, encoded int,
) (reconcile.Result, error) {
	known, version := r.hints.recall(rw), wf.GetResourceVersion()
	size := 0
	if status.Report != nil {
		size = len(status.Report.Data)
	}
	began := r.Clock.Now()
	r.Pacer.spend(&known.pace, size, began)
	err := r.writeStatus(ctx, rw, status)
	if err == nil || apierrors.ReasonForError(err) != metav1.StatusReasonUnknown { // a broken connection is no answer
		r.Pacer.answered(r.Clock.Since(began), r.Clock.Now())
	}
	r.Metrics.reported(err, size)
	if err == nil {
		known.reported = versionsOf(rw, wf)
		return reconcile.Result{}, nil
	}
	sent := known.refusal.of(encoded, version).extent()
	if refused := refusalOf(err, sent, encoded, version); refused != nil {
		known.refusal = refused
		log.FromContext(ctx).Info("the hub refuses the report", "reason", refused.reason, "bytes", encoded, "answer", refused.message)
		r.Recorder.Eventf(wf, nil, corev1.EventTypeWarning, "ReportRefused", "Report", "%s", reported(refused).Message)
		return r.report(ctx, rw, wf, next)
	}
	return reconcile.Result{}, fmt.Errorf("report: %w", err)
}

// inform writes conditions alone, unless the RemoteWorkflow has them already. wf is what is not started for the reason that they give,
// nil if they are about something else.
func (r *Reconciler) inform(ctx context.Context, rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, next decision) error {
	status := *rw.Status.DeepCopy()
	if !setConditions(&status, next.conditions, metav1.NewTime(r.Clock.Now())) {
		return nil
	}
	if err := r.writeStatus(ctx, rw, status); err != nil {
		return fmt.Errorf("write conditions: %w", err)
	}
	set := next.conditions[0]
	log.FromContext(ctx).Info("condition set", "condition", set.Type, "reason", set.Reason, "message", set.Message)
	if wf != nil {
		r.Metrics.refusals.WithLabelValues(set.Reason).Inc()
		r.Recorder.Eventf(wf, nil, corev1.EventTypeWarning, "NotStarted", "Start",
			"not started for Workflow %s/%s of the hub: %s", rw.Spec.WorkflowRef.Namespace, rw.Spec.WorkflowRef.Name, set.Message)
	}
	return nil
}

// writeStatus makes this the RemoteWorkflow's status, provided that it is as it was read. Only what has changed is sent, and the answer is
// metadata only, so that a report crosses the wire once; rw becomes what has been written.
func (r *Reconciler) writeStatus(ctx context.Context, rw *v1alpha1.RemoteWorkflow, status v1alpha1.RemoteWorkflowStatus) error {
	status.ObservedGeneration, status.ContractRevision = rw.Generation, v1alpha1.ContractRevision
	changed := *rw
	changed.Status = status
	data, err := client.MergeFromWithOptions(rw, client.MergeFromWithOptimisticLock{}).Data(&changed)
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	answer := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: rw.Namespace, Name: rw.Name}}
	answer.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("RemoteWorkflow"))
	if err := r.Hub.Status().Patch(ctx, answer, client.RawPatch(types.MergePatchType, data)); err != nil {
		return err
	}
	r.hints.recall(rw).remote.replaced(rw.ResourceVersion, answer.ResourceVersion, r.Clock.Now())
	rw.Status, rw.ResourceVersion = status, answer.ResourceVersion
	return nil
}

// conditionsWith returns the conditions of a report: those of the decision, and that of the report itself if there is
// a status to speak of.
func conditionsWith(next decision, wf *unstructured.Unstructured, refused *refusal) []metav1.Condition {
	if len(contract.Status(wf)) == 0 {
		return next.conditions
	}
	return append([]metav1.Condition{reported(refused)}, next.conditions...)
}

// versionsOf identifies what the two sides hold. A hub that was restored from a backup counts its versions anew, so that alone the
// RemoteWorkflow's does not say what it holds.
func versionsOf(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured) string {
	digest := ""
	if rw.Status.Report != nil {
		digest = rw.Status.Report.Digest
	}
	return fmt.Sprintf("%s/%s/%s/%s", rw.ResourceVersion, rw.Status.Phase, digest, wf.GetResourceVersion())
}

// isEnd reports whether the hub does not know yet that the attempt has ended. Whatever else it does not know can wait.
func isEnd(rw *v1alpha1.RemoteWorkflow, wf *unstructured.Unstructured, next decision) bool {
	phase := contract.Phase(wf)
	return contract.IsFinished(phase) && phase != rw.Status.Phase ||
		meta.IsStatusConditionTrue(next.conditions, v1alpha1.ConditionRemoteDeleted) &&
			!meta.IsStatusConditionTrue(rw.Status.Conditions, v1alpha1.ConditionRemoteDeleted)
}
