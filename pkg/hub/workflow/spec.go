package workflow

import (
	"context"
	"fmt"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/report"
)

// sent is what the cluster has answered when the hub asked it for the spec that was sent.
type sent struct {
	// spec is that one, by its digest; nil if the answer is another one, or none that can be read.
	spec map[string]any
	// isShown is whether the answer, though another one, is what the hub Workflow has: Argo has taken the same from both.
	isShown bool
}

// isOtherSpec reports whether the spec of the Workflow is not the one that its attempt was made for, but for what may change.
func (s *snapshot) isOtherSpec() bool {
	return s.own != nil && !s.own.isDeleted() && s.own.Spec.Reporting == v1alpha1.ReportingAgent &&
		report.IsOtherSpec(s.wf.SpecDigest, s.own.Spec.SpecDigest)
}

// keepsSpec reports whether the Workflow keeps a spec that is not the one that was sent: the cluster has answered, and did not have that.
// What the Workflow shows has a mark of it.
func (s *snapshot) keepsSpec() bool {
	shown := s.wf.GetAnnotations()[contract.AnnotationReportHash]
	return s.isOtherSpec() && (strings.Contains(shown, s.specMark(true)) || strings.Contains(shown, s.specMark(false)))
}

// specMark is the mark on what is shown once the cluster's answer about this spec is known, be it of the same spec or of another.
func (s *snapshot) specMark(isShown bool) string {
	return digest(fmt.Sprintf("spec %s, which the cluster has: %t", s.wf.SpecDigest, isShown))
}

// readSent reads the spec that the cluster reports, if it was asked for and is still of use. The cache does not have it.
func (r *Reconciler) readSent(ctx context.Context, s *snapshot) error {
	if !s.isOtherSpec() || s.own.Status.Spec == nil || s.keepsSpec() {
		return nil
	}
	if err := r.reread(ctx, s); err != nil || s.own.Status.Spec == nil {
		return err
	}
	s.sent = &sent{}
	spec, release, err := report.ReadSpec(s.own.Status.Spec.Data, s.own.Spec.SpecDigest)
	s.release = release
	if err == nil {
		s.sent.spec = spec
	} else if spec != nil {
		s.sent.isShown = report.SpecDigest(spec) == s.wf.SpecDigest
	}
	return nil
}

// saySpec returns the mark and the message with which is said that the spec stays edited; no mark if it does not, or if that is not known.
func (s *snapshot) saySpec(isGone bool) (mark, message string) {
	const noEffect = "what was changed in the spec has no effect on a Workflow that was sent, and stays"
	shown := s.wf.GetAnnotations()[contract.AnnotationReportHash]
	answered, is := s.sent != nil && s.sent.spec == nil, func(isShown bool) bool { return strings.Contains(shown, s.specMark(isShown)) }
	switch {
	case !s.isOtherSpec():
		return "", ""
	case answered && s.sent.isShown, !answered && is(true):
		return s.specMark(true), ""
	case answered, is(false):
		return s.specMark(false), fmt.Sprintf("cluster %s: %s: the cluster does not have the spec any more as it was sent",
			s.own.Namespace, noEffect)
	case isGone && s.sent == nil:
		return digest("spec " + s.wf.SpecDigest), fmt.Sprintf("cluster %s: %s: the remote Workflow is gone", s.own.Namespace, noEffect)
	}
	return "", ""
}

// restoreSpec has the Workflow get back the spec that was sent. Its cluster has that, and is asked for it only where it differs.
func restoreSpec(s *snapshot) *decision {
	if s.own == nil || s.own.isDeleted() || !s.hasStarted() {
		return nil
	}
	isWanted := s.isOtherSpec() && !s.keepsSpec()
	switch {
	case isWanted && s.sent != nil && s.sent.spec != nil:
		return &decision{action: respec}
	case isWanted && !s.own.Spec.WantSpec && goneOf(s) == nil:
		return &decision{action: ask, wantSpec: true, why: specWaits(s)}
	case !isWanted && s.own.Spec.WantSpec:
		return &decision{action: ask}
	}
	return nil
}

// specWaits returns what a spec waits for that is to be restored, and that may last; nil if it is only on its way.
func specWaits(s *snapshot) *hubworkflow.Refusal {
	why := s.own.agentWaits("be asked for the spec")
	if why == "" {
		return nil
	}
	return &hubworkflow.Refusal{Reason: reasonEditWaits, Message: fmt.Sprintf("cluster %s: what was changed in the spec has no effect on a "+
		"Workflow that was sent; that it is undone waits for the agent: %s", s.own.Namespace, why)}
}

// ask has the agent report the spec of the remote Workflow, or no more.
func (r *Reconciler) ask(ctx context.Context, s *snapshot, next decision) error {
	changed := s.own.DeepCopy()
	changed.Spec.WantSpec = next.wantSpec
	if err := r.Client.Patch(ctx, changed, client.MergeFrom(s.own.RemoteWorkflow)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("set wantSpec of RemoteWorkflow: %w", err)
	}
	if next.why != nil {
		hubworkflow.Warn(r.Recorder, s.wf, next.why.Reason, "Edit", next.why.Message)
	}
	return nil
}

// respec gives the Workflow back the spec that was sent. Where a client has only left out what it does not know, nobody is told.
func (r *Reconciler) respec(ctx context.Context, s *snapshot) error {
	live, err := hubworkflow.Get(ctx, r.Live, s.key)
	if err != nil {
		return err
	}
	if live.GetUID() != s.wf.GetUID() || live.SpecDigest != s.wf.SpecDigest {
		return nil // the watch brings it
	}
	current, _ := live.Object["spec"].(map[string]any)
	if err := hubworkflow.SetSpec(ctx, r.Client, live, report.RestoredSpec(s.sent.spec, current)); err != nil {
		return err
	}
	if !report.IsSameToArgo(s.sent.spec, current) {
		r.recordOnce(s, "Restore", hubworkflow.Refusal{Reason: reasonSpecRestored, Message: fmt.Sprintf(
			"spec restored: the Workflow was sent to cluster %s, so that what was changed in it has no effect; create it anew to run it otherwise",
			s.own.Namespace)})
	}
	return nil
}
