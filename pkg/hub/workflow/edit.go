package workflow

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/edits"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/report"
)

const (
	// maxEditBytes is how large those that wait may be: they are stored beside a report, and an API server takes objects of up to 1.5 MiB.
	maxEditBytes = 128 << 10
	// maxEdits is how many may wait for their cluster.
	maxEdits = 16
)

// takeEdit leaves what has shown nothing yet that could be edited, what somebody has erased, and what its cluster removes.
func takeEdit(s *snapshot) *decision {
	if s.own == nil || s.own.isRemovalAsked() || !s.hasStarted() || !s.wf.IsForeign() || s.wf.StatusHash == "" {
		return nil
	}
	if s.own.Spec.Reporting == v1alpha1.ReportingAgent && !s.own.hasReport() {
		return nil
	}
	taken := s.own.editOf(s.wf.StatusHash)
	switch {
	case taken != nil && s.own.answerTo(taken.ID) == nil && goneOf(s) == nil:
		if d := carryControls(s); d != nil {
			return d
		}
		return &decision{action: wait, why: editWaits(s)}
	case taken != nil && s.own.answerTo(taken.ID) != nil && !isShown(s):
		return nil // what has become of it is shown next
	}
	return &decision{action: edit}
}

// editOf returns the edit that has made a status of this hash, nil if none has.
func (a *attempt) editOf(statusHash string) *v1alpha1.Edit {
	i := slices.IndexFunc(a.Spec.Edits, func(e v1alpha1.Edit) bool { return e.StatusHash == statusHash })
	if i < 0 {
		return nil
	}
	return &a.Spec.Edits[i]
}

func (a *attempt) answerTo(id string) *v1alpha1.EditAnswer {
	i := slices.IndexFunc(a.Status.Edits, func(e v1alpha1.EditAnswer) bool { return e.ID == id })
	if i < 0 {
		return nil
	}
	return &a.Status.Edits[i]
}

// isShown reports whether the Workflow showed the newest report, with all answers to edits, before it was edited.
func isShown(s *snapshot) bool {
	d := showReported(s)
	return d != nil && d.shown.source == s.wf.GetAnnotations()[contract.AnnotationReportHash]
}

// editWaits returns what an edit waits for that may last, nil if it is only on its way.
func editWaits(s *snapshot) *hubworkflow.Refusal {
	why := s.own.agentWaits("know of such edits")
	if why == "" {
		return nil
	}
	return &hubworkflow.Refusal{Reason: reasonEditWaits, Message: fmt.Sprintf(
		"cluster %s: what was changed in the status waits for the agent: %s", s.own.Namespace, why)}
}

// agentWaits returns why the agent may not do for long what the hub wants, "" if it will; what is what an older one may not do.
func (a *attempt) agentWaits(what string) string {
	why := a.cluster.AgentUnavailable().Why
	if why == "" && a.Status.ContractRevision < v1alpha1.ContractRevision {
		why = fmt.Sprintf("it is older than the hub's manager, and may not %s: if this lasts, update its addon", what)
	}
	return why
}

// sayAnswers adds what the cluster has refused. Each is recorded once: the source of what is shown already has a mark of it.
func (out *shown) sayAnswers(s *snapshot) {
	shown, isNew := s.wf.GetAnnotations()[contract.AnnotationReportHash], false
	var messages []string
	say := func(mark, refused string) {
		out.source += mark
		if refused != "" {
			messages = append(messages, refused)
			isNew = isNew || !strings.Contains(shown, mark)
		}
	}
	for _, e := range s.own.Spec.Edits {
		switch answer := s.own.answerTo(e.ID); {
		case answer == nil:
		case answer.Outcome == v1alpha1.EditRefused:
			say(digest(e.ID), fmt.Sprintf("cluster %s: %.1024s", s.own.Namespace, answer.Message))
		default:
			say(digest(e.ID), "")
		}
	}
	denied := meta.FindStatusCondition(s.own.Status.Conditions, v1alpha1.ConditionControlled)
	if denied != nil && denied.Status == metav1.ConditionFalse {
		say(digest(denied.Message), fmt.Sprintf("cluster %s: %.1024s", s.own.Namespace, denied.Message))
	}
	if mark, message := s.saySpec(goneOf(s) != nil); mark != "" {
		say(mark, message)
	}
	out.refused = strings.Join(messages, "; ")
	if isNew {
		out.why = &hubworkflow.Refusal{Reason: reasonEditRefused, Message: out.refused}
	}
}

// edit tells what a user has done to the status, and has the agent do that to the remote Workflow. What is none of Argo's verbs, or comes
// too late, is undone, with a condition and an Event that say why.
func (r *Reconciler) edit(ctx context.Context, s *snapshot) error {
	live, err := hubworkflow.Get(ctx, r.Live, s.key)
	if err != nil {
		return err
	}
	if live.GetUID() != s.wf.GetUID() || live.StatusHash != s.wf.StatusHash {
		return nil // the watch brings it
	}
	if report := s.own.Status.Report; report != nil && report.Data == nil && report.Digest != "" {
		if err := r.reread(ctx, s); err != nil {
			return err
		}
	}
	next := showReported(s)
	if next == nil {
		return nil
	}
	out := next.shown
	changed, err := withEdit(s, out, live)
	if err != nil {
		return r.refuseEdit(ctx, s, out, err)
	}
	switch {
	case reflect.DeepEqual(changed.Spec, s.own.Spec) && len(unanswered(s.own)) > 0:
		return nil
	case reflect.DeepEqual(changed.Spec, s.own.Spec):
		return r.show(ctx, s, out)
	}
	return r.addEdit(ctx, s, out, changed)
}

// addEdit writes the RemoteWorkflow with an edit, if it is as it was read.
func (r *Reconciler) addEdit(ctx context.Context, s *snapshot, out shown, changed *v1alpha1.RemoteWorkflow) error {
	err := r.Client.Patch(ctx, changed, client.MergeFromWithOptions(s.own.RemoteWorkflow, client.MergeFromWithOptimisticLock{}))
	switch {
	case contract.IsRefused(err):
		return r.refuseEdit(ctx, s, out, fmt.Errorf("the hub does not carry it to cluster %s: %w", s.own.Namespace, err))
	case err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err): // the watch brings what there is
		return fmt.Errorf("add an edit to RemoteWorkflow: %w", err)
	}
	return nil
}

// withEdit returns the RemoteWorkflow with what a user has done to the Workflow, live, whose cluster's report is shown as out. The error is
// for the user.
func withEdit(s *snapshot, out shown, live *hubworkflow.Workflow) (*v1alpha1.RemoteWorkflow, error) {
	if !out.isReported {
		return nil, fmt.Errorf("cluster %s has no agent, so that only a deletion has an effect there", s.own.Namespace)
	}
	if gone := goneOf(s); gone != nil { // also what waits is not done any more
		return nil, fmt.Errorf("%s: create it anew, for example with argo resubmit", gone.message)
	}
	found, err := findEdit(s, out, contract.Status(live.Unstructured))
	changed := s.own.DeepCopy()
	changed.Spec.Controls = wantedControls(s, found)
	isControl := contract.ControlsPatch(s.own.Spec.Controls, changed.Spec.Controls) != nil
	if isControl && found.IsNothing() && errors.Is(err, edits.ErrOutdated) {
		err = nil // that is what was done
	}
	if err != nil {
		return nil, err
	}
	return changed, appendEdit(changed, live, found)
}

// findEdit returns what a user has done that the cluster has not been told yet. edited is the status now.
func findEdit(s *snapshot, out shown, edited map[string]any) (edits.Found, error) {
	var update hubworkflow.Update
	free := takeReport(s, &out, &update)
	defer free()
	if update.Status == nil {
		return edits.Found{}, fmt.Errorf("the cluster's report is not taken: %s", out.why.Message)
	}
	shown, isExact, err := before(s, out, update.Status, edited)
	if err != nil {
		return edits.Found{}, err
	}
	source := s.wf.GetAnnotations()[contract.AnnotationReportHash]
	earlier := slices.DeleteFunc(slices.Clone(s.own.Spec.Edits), func(e v1alpha1.Edit) bool {
		return s.own.answerTo(e.ID) != nil && strings.Contains(source, digest(e.ID)) // the user has seen what has become of it
	})
	found, err := edits.Of(shown, edited, isExact)
	if found.Retry != nil && err == nil && !hasNodes(shown) && report.Condition(shown, report.ConditionIncomplete) != "" {
		return edits.Found{}, fmt.Errorf("the hub does not know the nodes of the Workflow: retry it on cluster %s", s.own.Namespace)
	}
	isRetried := slices.ContainsFunc(earlier, func(e v1alpha1.Edit) bool { return e.Retry != nil })
	if found.Retry != nil && err != nil && isRetried {
		return edits.Found{}, nil // it is that one
	}
	return withoutEarlier(found, earlier), err
}

func hasNodes(status map[string]any) bool {
	_, plain := status[contract.FieldNodes]
	_, packed := status[contract.FieldCompressedNodes]
	return plain || packed
}

// before returns the status that the user saw, and whether it is that exactly: one of an older report may have been seen.
func before(s *snapshot, out shown, status, edited map[string]any) (map[string]any, bool, error) {
	hash := s.wf.GetAnnotations()[contract.AnnotationStatusHash]
	var newest map[string]any
	for _, refused := range slices.Compact([]string{out.refused, report.Condition(edited, report.ConditionEditRefused)}) {
		for steps := range report.MaxSteps + 1 {
			shown := runtime.DeepCopyJSON(status)
			out.refused = refused
			out.apply(shown)
			if _, err := report.Shrink(shown, steps); err != nil {
				return nil, false, err
			}
			if newest == nil {
				newest = shown
			}
			if found, err := contract.StatusHash(s.wf.GetUID(), shown); err != nil || found == hash {
				return shown, err == nil, err
			}
		}
	}
	return newest, false, nil
}

func unanswered(a *attempt) []v1alpha1.Edit {
	var edits []v1alpha1.Edit
	for _, e := range a.Spec.Edits {
		if a.answerTo(e.ID) == nil {
			edits = append(edits, e)
		}
	}
	return edits
}

// withoutEarlier returns what is found without what earlier edits say already.
func withoutEarlier(found edits.Found, earlier []v1alpha1.Edit) edits.Found {
	for _, e := range earlier {
		found.Nodes = slices.DeleteFunc(found.Nodes, func(n v1alpha1.NodeEdit) bool {
			return slices.ContainsFunc(e.Nodes, func(known v1alpha1.NodeEdit) bool { return reflect.DeepEqual(known, n) })
		})
		if found.Retry != nil && e.Retry != nil && slices.Equal(found.Retry.RemovedNodes, e.Retry.RemovedNodes) &&
			slices.Equal(found.Retry.ResetNodes, e.Retry.ResetNodes) {
			found.Retry = nil
		}
	}
	return found
}

// wantedControls returns what the user wants of the attempt. A shutdown is not taken back, Argo has begun with it: but by a retry.
func wantedControls(s *snapshot, found edits.Found) v1alpha1.Controls {
	wanted := s.wf.Controls
	if found.Retry == nil {
		wanted.Shutdown = cmp.Or(wanted.Shutdown, s.own.Spec.Shutdown)
	}
	return wanted
}

// appendEdit adds what is found to the RemoteWorkflow, in place of edits that are answered.
func appendEdit(to *v1alpha1.RemoteWorkflow, live *hubworkflow.Workflow, found edits.Found) error {
	if found.IsNothing() {
		return nil
	}
	spec, _ := live.Object["spec"].(map[string]any)
	e := v1alpha1.Edit{
		ID: contract.EditID(live.GetResourceVersion(), live.StatusHash), StatusHash: live.StatusHash,
		Nodes: found.Nodes, Outputs: found.Outputs, Retry: found.Retry,
	}
	to.Spec.ArgumentsDigest = argumentsOf(to)
	if e.Retry != nil {
		e.Retry.ReportDigest = to.Status.Report.Digest
		if arguments := contract.ArgumentsDigest(spec); arguments != to.Spec.ArgumentsDigest {
			e.Retry.Parameters, e.Retry.ArgumentsDigest = contract.Arguments(spec), arguments
		}
	}
	waiting := append(unanswered(&attempt{RemoteWorkflow: to}), e)
	raw, err := json.Marshal(waiting)
	switch {
	case err != nil:
		return fmt.Errorf("encode the edit: %w", err)
	case len(waiting) > maxEdits:
		return fmt.Errorf("%d edits wait for cluster %s already: repeat it when they are done", maxEdits, to.Namespace)
	case len(raw) > maxEditBytes:
		return fmt.Errorf("it changes so much that it does not fit into a RemoteWorkflow (%d bytes, and %d do): do it on cluster %s",
			len(raw), maxEditBytes, to.Namespace)
	}
	to.Spec.Edits = waiting
	return nil
}

// argumentsOf identifies the arguments that the remote Workflow has: those of the last retry that was applied.
func argumentsOf(rw *v1alpha1.RemoteWorkflow) string {
	digest, a := rw.Spec.ArgumentsDigest, &attempt{RemoteWorkflow: rw}
	for _, e := range rw.Spec.Edits {
		if answer := a.answerTo(e.ID); e.Retry != nil && answer != nil && answer.Outcome == v1alpha1.EditApplied {
			digest = cmp.Or(e.Retry.ArgumentsDigest, digest)
		}
	}
	return digest
}

// refuseEdit shows again what the cluster reports, and says why the edit has no effect.
func (r *Reconciler) refuseEdit(ctx context.Context, s *snapshot, out shown, why error) error {
	out.why = &hubworkflow.Refusal{Reason: reasonEditRefused, Message: fmt.Sprintf("%.1024s", why.Error())}
	if out.isReported {
		out.refused = out.why.Message
	}
	editsRefused.Inc()
	return r.show(ctx, s, out)
}
