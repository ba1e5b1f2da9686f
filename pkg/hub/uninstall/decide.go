package uninstall

import (
	"fmt"
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
)

// run is what the hub has of an attempt to run a Workflow on a cluster. Both objects bear its name; either may be nil.
type run struct {
	key  client.ObjectKey
	rw   *v1alpha1.RemoteWorkflow
	work *workv1.ManifestWork
	fate fate
}

// fate is what becomes of a run's copy on its cluster; the zero value is not decided yet.
type fate string

const (
	// keep leaves a copy that may have started where it is, finished or not: it is the user's.
	keep fate = "keep"
	// remove takes away a copy that never started, which nobody would ever start, or one that was on its way out.
	remove fate = "remove"
)

// decide returns the fate of the run of a Workflow, which is nil if it is gone from the hub.
func decide(wf *unstructured.Unstructured, r *run) fate {
	switch {
	case isOrphaned(r.work):
		return keep // as was decided by an uninstallation before
	case wf == nil || isDeleted(wf) || (r.rw != nil && isDeleted(r.rw)) || isCopyGone(r) || !hasStarted(wf, r):
		return remove
	}
	return keep
}

func isDeleted(obj client.Object) bool { return obj.GetDeletionTimestamp() != nil }

// isOrphaned reports whether the ManifestWork is told to leave its copy behind.
func isOrphaned(work *workv1.ManifestWork) bool {
	return work != nil && work.Spec.DeleteOption != nil &&
		work.Spec.DeleteOption.PropagationPolicy == workv1.DeletePropagationPolicyTypeOrphan
}

// isCopyGone reports whether there is no copy any more: the agent or the work agent says so.
func isCopyGone(r *run) bool {
	return (r.rw != nil && meta.IsStatusConditionTrue(r.rw.Status.Conditions, v1alpha1.ConditionRemoteDeleted)) ||
		(r.work != nil && meta.IsStatusConditionFalse(r.work.Status.Conditions, workv1.WorkAvailable))
}

// hasStarted reports whether the copy may have started. Where there is no agent, it has as soon as it exists.
func hasStarted(wf *unstructured.Unstructured, r *run) bool {
	rw := r.rw
	if rw == nil {
		rw = &v1alpha1.RemoteWorkflow{}
	}
	if hubcopy.HasStarted(wf, rw) || !contract.IsPending(contract.Phase(wf)) { // whoever wrote the phase: a copy is rather kept
		return true
	}
	if r.work == nil {
		return false
	}
	fedBack := false
	for _, config := range r.work.Spec.ManifestConfigs {
		fedBack = fedBack || config.FeedbackScrapeType == workv1.FeedbackWatchType
	}
	if fedBack && meta.IsStatusConditionTrue(r.work.Status.Conditions, workv1.WorkApplied) {
		return true
	}
	for _, manifest := range r.work.Status.ResourceStatus.Manifests {
		for _, value := range manifest.StatusFeedbacks.Values {
			if value.Name == "phase" && value.Value.String != nil && *value.Value.String != "" {
				return true
			}
		}
	}
	return false
}

// orphan makes the work agent let go of the copy, and leave it behind when the ManifestWork is deleted. The condition rules go,
// too: what is complete by them, a finished run, the work agent does not touch any more, and would delete. So does the
// owner, with which the ManifestWork would be collected before its time.
func orphan(work *workv1.ManifestWork) {
	work.Spec.DeleteOption = &workv1.DeleteOption{PropagationPolicy: workv1.DeletePropagationPolicyTypeOrphan}
	for i := range work.Spec.ManifestConfigs {
		work.Spec.ManifestConfigs[i].ConditionRules = nil
	}
	work.OwnerReferences = nil
}

// isComplete reports whether the work agent does not touch the copy any more.
func isComplete(work *workv1.ManifestWork) bool {
	return meta.IsStatusConditionTrue(work.Status.Conditions, workv1.WorkComplete)
}

// isLetGo reports whether the work agent has let go of the copy: it has applied the ManifestWork as it is now.
func isLetGo(work *workv1.ManifestWork) bool {
	applied := meta.FindStatusCondition(work.Status.Conditions, workv1.WorkApplied)
	return isOrphaned(work) && meta.IsStatusConditionTrue(work.Status.Conditions, workv1.WorkApplied) &&
		applied.ObservedGeneration >= work.Generation
}

// end is how the uninstallation leaves a Workflow.
type end string

const (
	// unstarted waits for another manager.
	unstarted end = "unstarted"
	// goesOn runs, or has run, on its cluster.
	goesOn end = "goesOn"
	// gone may have started, and there is no copy any more.
	gone end = "gone"
)

// endOf returns how a Workflow with these runs is left. Without any, its phase alone tells: what has run is not run again.
func endOf(wf *unstructured.Unstructured, runs []*run) end {
	left := unstarted
	if len(runs) == 0 && !contract.IsPending(contract.Phase(wf)) {
		left = goesOn
	}
	for _, r := range runs {
		switch {
		case r.fate == keep:
			return goesOn
		case hasStarted(wf, r):
			left = gone
		}
	}
	return left
}

// messageStart begins what is said on a Workflow that is left.
const messageStart = "the manager was uninstalled: "

// statusOf returns the status that the hub's copy is left with; nil leaves it as it is. withoutArgo is whether the addon that
// runs Argo on the Workflow's cluster goes, too.
func statusOf(wf *unstructured.Unstructured, left end, withoutArgo bool) map[string]any {
	phase := contract.Phase(wf)
	var message string
	switch {
	case !contract.IsOurs(wf) || contract.IsFinished(phase) || hubcopy.IsForeign(wf),
		strings.HasPrefix(contract.StatusString(contract.Status(wf), "message"), messageStart):
		return nil
	case left == unstarted:
		phase, message = contract.PhasePending, "the Workflow has not started, and waits until there is a manager again"
	case left == gone:
		phase, message = contract.PhaseError, fmt.Sprintf(
			"the run is gone from cluster %s, and its end was not reported",
			contract.AssignedCluster(wf),
		)
	default:
		if contract.IsPending(phase) {
			phase = contract.PhaseRunning // another manager must not take it for one that has not run
		}
		message = fmt.Sprintf("the run goes on as %s/%s on cluster %s, and is not reported any more",
			contract.RemoteNamespace(wf), wf.GetName(), contract.AssignedCluster(wf))
		if withoutArgo {
			message += "; Argo is uninstalled there, too, and an unfinished run waits for another Argo controller"
		}
	}
	status := maps.Clone(contract.Status(wf))
	if status == nil {
		status = map[string]any{}
	}
	status["phase"], status["message"] = phase, messageStart+message
	return status
}
