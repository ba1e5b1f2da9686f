package workflow

import (
	"cmp"
	"fmt"
	"time"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
)

// removal returns the next step to remove an attempt, nil if somebody else has to take it.
//
// What is claimed is removed by its agent, which is told what is to become of it, and confirms that it is done. What is not
// is deleted in the version in which nothing had claimed it, and leaves its delivery; the finalizer goes in such a version, too. If it
// was claimed in between, that shows as a conflict, and it has started.
func removal(a *attempt, how v1alpha1.Removal) *decision {
	switch {
	case !a.isRemovalAsked():
		return &decision{action: remove, attempt: a, removal: how}
	case !a.hasFinalizer():
		return nil
	case a.delivery != nil:
		return nil
	case !a.isClaimed(), a.Spec.Reporting == v1alpha1.ReportingFeedback, a.isRemoved(), a.isAbandoned():
		return &decision{action: finalize, attempt: a}
	}
	return nil
}

// isAbandoned reports whether nobody on the cluster will ever remove what is left of the attempt: it is not one of the hub's any more, or
// an administrator has disabled the agent, which has left its remote Workflows behind.
func (a *attempt) isAbandoned() bool {
	return a.cluster.IsDetached() || a.Spec.Reporting == v1alpha1.ReportingAgent && a.cluster.Addon == nil
}

// awaitRemoval decides how long a deleted Workflow waits for its cluster to remove the attempt: as long as it takes on a cluster that
// can do it, and on another until the timeout has passed since both the deletion and the loss of the cluster; 0 is no timeout. The user
// can end either. The RemoteWorkflow stays in deletion, so that the cluster removes what is left when it is back.
func awaitRemoval(s *snapshot) *decision {
	a := s.own
	away := a.cluster.Unavailable()
	if away.Why == "" && a.Spec.Reporting == v1alpha1.ReportingAgent {
		away = a.cluster.AgentUnavailable()
	}
	since := s.wf.GetDeletionTimestamp().Time
	if away.Since.After(since) {
		since = away.Since
	}
	switch until := since.Add(s.deletionTimeout); {
	case s.wf.GetAnnotations()[contract.AnnotationRelease] == contract.AnnotationReleaseValue:
		return unconfirmed(a, "by the annotation "+contract.AnnotationRelease, byAnnotation)
	case away.Why == "":
		return linger(s, since)
	case s.deletionTimeout == 0:
		return &decision{action: wait, why: waitsFor(a, away.Why, "")}
	case s.now.Before(until):
		return &decision{action: wait, why: waitsFor(a, away.Why, ", or at "+format(until)), within: until.Sub(s.now)}
	}
	return unconfirmed(a, away.Why, byTimeout)
}

// linger lets a deleted Workflow wait without limit for a cluster that is available, for the remote Workflow is still there. When that
// has taken too long, an Event says so: nothing else would show what it waits for.
func linger(s *snapshot, since time.Time) *decision {
	if tooLong := since.Add(cmp.Or(s.deletionTimeout, DefaultDeletionTimeout)); s.now.Before(tooLong) {
		return &decision{action: wait, within: tooLong.Sub(s.now)}
	}
	return &decision{action: wait, why: waitsFor(s.own, fmt.Sprintf("the cluster is available, and has not done so since %s. Look there "+
		"whether the agent runs, and for finalizers and pods of the Workflow", format(since)), "")}
}

// waitsFor says why a deleted Workflow waits, when it goes, and how its user can end the wait.
func waitsFor(a *attempt, why, atTheLatest string) *hubworkflow.Refusal {
	return &hubworkflow.Refusal{Reason: reasonDeletionWaits, Message: fmt.Sprintf("waiting for cluster %s to remove the remote Workflow "+
		"%s/%s: %s. This Workflow goes when that is done%s; the annotation %s: %q removes it at once", a.Namespace, a.Spec.Remote.Namespace,
		a.Spec.Remote.Name, why, atTheLatest, contract.AnnotationRelease, contract.AnnotationReleaseValue)}
}

func unconfirmed(a *attempt, why, metric string) *decision {
	return &decision{action: release, metric: metric, why: &hubworkflow.Refusal{Reason: reasonReleased, Message: fmt.Sprintf(
		"finalizer removed before cluster %s has removed the remote Workflow: %s. It may still exist there as %s/%s; it is removed when the "+
			"cluster is back", a.Namespace, why, a.Spec.Remote.Namespace, a.Spec.Remote.Name)}}
}

// leftBehind says that a remote Workflow may stay on its cluster for good.
func leftBehind(a *attempt) *hubworkflow.Refusal {
	why := a.cluster.Unavailable().Why
	if why == "" {
		why = a.cluster.AgentUnavailable().Why
	}
	return &hubworkflow.Refusal{Reason: reasonReleased, Message: fmt.Sprintf(
		"not waiting for cluster %s to remove the remote Workflow: %s. It may still exist there as %s/%s, and is nobody's but its users'",
		a.Namespace, why, a.Spec.Remote.Namespace, a.Spec.Remote.Name)}
}

func format(t time.Time) string { return t.UTC().Format(time.RFC3339) }
