package workflow

// What a hub Workflow shows of its attempt is written here alone. These keep an earlier status from taking the place of a later one, or of
// an end:
//
//   - show.go: what has ended stays ended (fromReport, fromFeedback), and why the status is not that of a report (goneOf);
//   - reopens: what has ended goes on only by what the API server says, not a cache;
//   - report.Take: of another run, or older than the end that it speaks of;
//   - hubworkflow.Write: the version of the Workflow that was read is the precondition, and what is shown already is not written;
//   - edit.go: a status that somebody else has written is taken for a user's edit first (takeEdit).

import (
	"cmp"
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/report"
)

// show writes what the Workflow is to show, smaller by as many steps as it takes for the API server to accept it.
func (r *Reconciler) show(ctx context.Context, s *snapshot, out shown) error {
	update, why, free, err := r.compose(ctx, s, &out)
	defer free()
	if err != nil || update.Status == nil {
		return err
	}
	written, err := r.write(ctx, s.wf, update)
	if contract.IsRefused(err) && out.isReported {
		// The end must arrive all the same.
		summary := report.Summary(s.own.RemoteWorkflow, fmt.Sprintf("the hub's API server refuses the whole status: %.256s", err))
		if summary != nil {
			update.Status = summary
			out.apply(update.Status)
			written, err = r.write(ctx, s.wf, update)
		}
	}
	if contract.IsRefused(err) {
		r.recordOnce(s, "Report", hubworkflow.Refusal{
			Reason: reasonIncomplete, Message: fmt.Sprintf("the hub's API server refuses the status, which is not shown: %v", err),
		})
	}
	if err != nil || !written {
		return err
	}
	statusWrites.Inc()
	if why != nil {
		hubworkflow.Warn(r.Recorder, s.wf, why.Reason, "Report", why.Message)
	}
	if phase := contract.StatusString(update.Status, "phase"); phase != s.wf.Phase && contract.IsFinished(phase) {
		ctrl.LoggerFrom(ctx).V(1).Info("finished", "phase", phase)
	}
	return nil
}

// compose returns what is written, and the Event that goes with it. It is nothing, without a status, if the Workflow or what is reported
// of it has changed. free ends the use of the status.
func (r *Reconciler) compose(
	ctx context.Context, s *snapshot, out *shown,
) (update hubworkflow.Update, why *hubworkflow.Refusal, free func(), err error) {
	free = func() {}
	if out.isReported && (s.own.Status.Report.Data == nil && s.own.Status.Report.Digest != "" || reopens(s, out)) {
		if err := r.reread(ctx, s); err != nil {
			return update, nil, free, err
		}
		again := showReported(s)
		if again == nil {
			return update, nil, free, nil
		}
		again.shown.refused, again.shown.why = cmp.Or(out.refused, again.shown.refused), cmp.Or(out.why, again.shown.why)
		*out = again.shown
	}
	update = hubworkflow.Update{Status: out.status, Source: out.source}
	if out.isReported {
		free = takeReport(s, out, &update)
	}
	if update.Status == nil {
		if update.Status, err = r.current(ctx, s, out.why); err != nil || update.Status == nil {
			return update, nil, free, err
		}
		if out.isReported {
			report.AddCondition(update.Status, report.ConditionRefused, out.why.Message)
			reportsRefused.WithLabelValues(out.why.Reason).Inc()
		}
	}
	out.apply(update.Status)
	return update, out.why, free, nil
}

// takeReport makes the update what the hub shows of the report; without a status if it is refused. What is gone ends even then, whatever
// its cluster says. free ends the use of the status.
func takeReport(s *snapshot, out *shown, update *hubworkflow.Update) (free func()) {
	taken, refusal := report.Take(s.own.RemoteWorkflow, s.own.Status.Labels, runOf(s))
	update.Status, update.Labels = taken.Status, taken.Labels
	switch {
	case refusal != nil:
		out.why = &hubworkflow.Refusal{Reason: refusal.Reason, Message: refusal.Message}
		if out.end == nil {
			out.end = goneOf(s)
		}
	case taken.Incomplete != "" && out.why == nil:
		out.why = &hubworkflow.Refusal{Reason: reasonIncomplete, Message: taken.Incomplete}
	}
	return taken.Release
}

// reopens reports whether a Workflow that shows its end would go on. A cache may lag behind, or disagree with another after a restoration
// of the hub: what has ended goes on only by what the API server says, as it does when it was retried on its cluster.
func reopens(s *snapshot, out *shown) bool {
	return out.end == nil && contract.IsFinished(s.wf.LastPhase()) && !contract.IsFinished(s.own.Status.Phase)
}

// reread reads the attempt from the API server: the cache does not have large reports.
func (r *Reconciler) reread(ctx context.Context, s *snapshot) error {
	live := &v1alpha1.RemoteWorkflow{}
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(s.own.RemoteWorkflow), live); err != nil {
		return fmt.Errorf("get RemoteWorkflow: %w", err)
	}
	if live.UID != s.own.UID {
		return apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("remoteworkflows").GroupResource(), live.Name, nil)
	}
	s.own.RemoteWorkflow = live
	return nil
}

// current returns the status that the Workflow has, to be changed, or, if it has none of the hub's, that it waits because of why; nil if
// it is another Workflow by now.
func (r *Reconciler) current(ctx context.Context, s *snapshot, why *hubworkflow.Refusal) (map[string]any, error) {
	live, err := hubworkflow.Get(ctx, r.Live, s.key)
	if err != nil {
		return nil, err
	}
	if live.GetUID() != s.wf.GetUID() {
		return nil, nil
	}
	s.wf = live
	status := runtime.DeepCopyJSON(contract.Status(live.Unstructured))
	wasShown := live.GetAnnotations()[contract.AnnotationReportHash] != "" // what is left of that is more than nothing
	if live.IsForeign() && !wasShown || contract.StatusString(status, "phase") == "" {
		status = hubworkflow.PendingStatus(*why)
		if last := live.LastPhase(); last != "" {
			status["phase"] = last
		}
	}
	return status, nil
}

// apply changes a status as what is shown says.
func (out *shown) apply(status map[string]any) {
	if out.refused != "" {
		report.AddCondition(status, report.ConditionEditRefused, out.refused)
	}
	if out.message != "" {
		status["message"] = out.message
	}
	if out.end == nil || contract.IsFinished(contract.StatusString(status, "phase")) && !out.end.isCutShort {
		return
	}
	status["phase"], status["message"] = contract.PhaseError, out.end.message
	if contract.StatusString(status, "finishedAt") == "" {
		status["finishedAt"] = format(out.end.at)
	}
}

func (r *Reconciler) write(ctx context.Context, wf *hubworkflow.Workflow, update hubworkflow.Update) (bool, error) {
	for steps := 0; ; {
		taken, err := report.Shrink(update.Status, steps)
		if err != nil {
			return false, err
		}
		written, err := hubworkflow.Write(ctx, r.Client, wf, update)
		if !contract.IsTooLarge(err) || taken == report.MaxSteps {
			return written, err
		}
		steps = taken + 1
	}
}
