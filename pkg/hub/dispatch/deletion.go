package dispatch

import (
	"cmp"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
)

// Reasons of the Events on a deleted Workflow whose run is not known to be gone.
const (
	reasonDeletionWaits hubcopy.Reason = "DeletionWaits"
	reasonReleased      hubcopy.Reason = "ReleasedUnconfirmed"
)

// DefaultDeletionTimeout is how long a deleted Workflow waits if nobody says otherwise. Where it waits without limit, this is
// when it says so.
const DefaultDeletionTimeout = 15 * time.Minute

// absenceOf returns why the run of rw cannot be removed from its cluster for now. cluster and addon are nil if the hub has none.
func absenceOf(rw *v1alpha1.RemoteWorkflow, cluster *clusterv1.ManagedCluster, addon *addonv1beta1.ManagedClusterAddOn) hubcopy.Absence {
	away := hubcopy.AbsenceOfCluster(cluster)
	if away.Why != "" || rw.Spec.Reporting != v1alpha1.ReportingAgent {
		return away
	}
	agent := hubcopy.AbsenceOfAgent(addon) // it keeps the copy until it has let go of it
	if agent.Why == "" {
		agent.Since = later(agent.Since, away.Since)
	}
	return agent
}

// parting is what becomes of a deleted Workflow whose run is still to be removed.
type parting struct {
	// release is why it is let go now, and reason the same in a word; "" if it waits.
	release, reason string
	// waits is what the user is to know of the wait; "" if there is nothing to say.
	waits string
	// until is when to look at it again if nothing changes; zero for never.
	until time.Time
}

// part decides how long a deleted Workflow waits for the removal of its run: as long as it takes on a cluster that can do
// it, and on another until the timeout has passed since both the deletion and the absence began; 0 is no timeout. The user
// can end either.
func part(wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow, away hubcopy.Absence, timeout time.Duration, now time.Time) parting {
	since := later(wf.GetDeletionTimestamp().Time, away.Since)
	switch until := since.Add(timeout); {
	case wf.GetAnnotations()[contract.AnnotationRelease] == contract.AnnotationReleaseValue:
		return parting{release: "by the annotation " + contract.AnnotationRelease, reason: byAnnotation}
	case away.Why == "":
		return linger(rw, since, cmp.Or(timeout, DefaultDeletionTimeout), now)
	case timeout == 0:
		return parting{waits: waitFor(rw, away.Why, "")}
	case now.Before(until):
		return parting{until: until, waits: waitFor(rw, away.Why, ", or at "+format(until))}
	}
	return parting{release: away.Why, reason: byTimeout}
}

// linger lets a deleted Workflow wait without limit for a cluster that could have removed the run since then, for the run is still
// there. When that has taken too long, it is said: nothing else would tell the user what the Workflow waits for.
func linger(rw *v1alpha1.RemoteWorkflow, since time.Time, patience time.Duration, now time.Time) parting {
	if tooLong := since.Add(patience); now.Before(tooLong) {
		return parting{until: tooLong}
	}
	return parting{
		waits: waitFor(rw, fmt.Sprintf("the cluster is available, and has not done so since %s. Look there whether OCM's work agent runs, "+
			"and for finalizers and pods of the copy", format(since)), ""),
	}
}

// waitFor says why a deleted Workflow waits, when it goes, and how its user can end the wait.
func waitFor(rw *v1alpha1.RemoteWorkflow, why, atTheLatest string) string {
	return fmt.Sprintf(
		"waiting for cluster %s to remove the run %s/%s: %s. The Workflow goes when that is done%s; the annotation %s: %q lets it go at once",
		rw.Namespace,
		rw.Spec.Remote.Namespace,
		rw.Spec.Remote.Name,
		why,
		atTheLatest,
		contract.AnnotationRelease,
		contract.AnnotationReleaseValue,
	)
}

func format(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
