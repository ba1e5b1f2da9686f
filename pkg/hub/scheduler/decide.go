package scheduler

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	clusterv1beta1 "open-cluster-management.io/api/cluster/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/cluster"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
)

// Reasons of Events on a Workflow that has no cluster, or has been given one; those of a cluster are in package cluster.
const (
	ReasonScheduled         = "Scheduled"
	ReasonNoTarget          = "NoTarget"
	ReasonPlacementNotFound = "PlacementNotFound"
	ReasonNoDecision        = "NoClusterSelected"
	ReasonNoUsableCluster   = "NoUsableCluster"
	ReasonInvalidPlacement  = "InvalidPlacement"
	ReasonCapacityRefused   = "CapacityRefused"
	ReasonSuspended         = "Suspended"
	ReasonArgoOnHub         = "ArgoOnHub"
)

// ArgoOnHubMessage says what is wrong with a hub where an Argo controller has these Leases, and how to change it.
func ArgoOnHubMessage(leases string) string {
	return "an Argo controller runs on this hub (Lease " + leases + ") and would run Workflows for the managed clusters itself: set the " +
		"chart's value hubArgo.enabled=true, or stop that controller"
}

// target is where a Workflow of the namespace wants to go: to the cluster that it names, or to one of its Placement. The zero
// target is none.
type target struct{ namespace, cluster, placement string }

func (t target) isPlacement(key client.ObjectKey) bool {
	return t.placement != "" && t.placement == key.Name && t.namespace == key.Namespace
}

// request is what of a Workflow decides where it may go. Two that are equal have the same answer.
type request struct {
	target
	// remoteName is its name on the managed cluster.
	remoteName client.ObjectKey
	priority   int64
	// requests, isPlaced and isUnchecked decide where its largest pod fits.
	requests              contract.Resources
	isPlaced, isUnchecked bool
	// refusal is why it may go nowhere; zero if it may.
	refusal hubworkflow.Refusal
	// shutdown ends it, unless that is ""; isSuspended keeps it from going anywhere.
	shutdown    v1alpha1.Shutdown
	isSuspended bool
}

// owns reports whether a Workflow is the scheduler's: it waits for a cluster, and nothing of it is anywhere. One that somebody else
// has given another phase is told why it gets none.
func owns(wf *hubworkflow.Workflow) bool {
	return !wf.IsWithdrawn() && !wf.IsDeleted() && contract.AssignedCluster(wf) == "" && !wf.HasFinalizer() &&
		(contract.IsPending(wf.Phase) || wf.IsForeign())
}

func requestOf(wf *hubworkflow.Workflow, restoredAt time.Time) request {
	asked := request{
		target:     target{namespace: wf.GetNamespace(), cluster: contract.ChosenCluster(wf)},
		remoteName: client.ObjectKey{Namespace: contract.RemoteNamespace(wf), Name: wf.GetName()},
		priority:   wf.Priority, requests: wf.Pods.Largest, isPlaced: wf.Pods.IsPlaced, isUnchecked: cluster.IsUnchecked(wf.GetAnnotations()),
		isSuspended: wf.Controls.Suspend,
	}
	if asked.cluster == "" {
		asked.placement = wf.GetAnnotations()[contract.AnnotationPlacement]
	}
	if refusal := wf.Refused(restoredAt); refusal != nil {
		asked.refusal = *refusal
	}
	if wf.EndsUnstarted(restoredAt) {
		asked.shutdown = wf.Controls.Shutdown
	}
	return asked
}

// decision is a cluster, or why there is none, or neither where the Workflow is not to be touched.
type decision struct {
	cluster string
	why     *hubworkflow.Refusal
	// ends says that it ends on the hub, because of why.
	ends bool
	// note is why this cluster, in numbers.
	note string
	// waitsFor is the target whose change can change the decision; zero if only the Workflow's own can. isAtCap says that the end of
	// another Workflow can.
	waitsFor target
	isAtCap  bool
	// isNameTaken says that another Workflow has its name on one of the clusters.
	isNameTaken bool
}

// decide returns where a Workflow goes whose namespace has these bindings.
func (c *cache) decide(wf *hubworkflow.Workflow, asked request, bound *bindings, now time.Time) decision {
	switch {
	case c.attempts[wf.GetUID()] > 0:
		return decision{} // it has lost its assignment, not its RemoteWorkflow: that is not for us to mend
	case asked.shutdown != "":
		return decision{ends: true, why: refusal(hubworkflow.ReasonStopped, "%s", hubworkflow.EndMessage(asked.shutdown))}
	case asked.refusal != (hubworkflow.Refusal{}):
		return decision{why: &asked.refusal}
	case asked.isSuspended:
		return decision{why: refusal(ReasonSuspended, "suspended: argo resume lets it be scheduled")}
	}
	problemOf := func(n *node) *cluster.Problem {
		// However old a measurement is, nodes are as large as they were.
		return cluster.Filter(wf, cluster.Target{
			Cluster: n.Cluster, OnHub: n.IsHub(c.hubID), Bindings: bound.all, NameTakenBy: c.takenBy(wf, n.Name),
			Load: &cluster.Load{Cluster: n.unfinished, Bindings: bound.unfinished}, Capacity: n.capacity,
		})
	}
	switch {
	case asked.cluster != "":
		if problem := problemOf(c.node(asked.cluster)); problem != nil {
			return decision{why: &problem.Refusal, waitsFor: asked.target, isAtCap: problem.Kind == cluster.KindAtCap,
				isNameTaken: problem.Kind == cluster.KindNameTaken}
		}
		return decision{cluster: asked.cluster, note: "the Workflow names it"}
	case asked.placement == "":
		return decision{why: refusal(ReasonNoTarget, "no cluster to run on: set the annotation %s to the name of a Placement in "+
			"namespace %s, or %s to the name of a managed cluster", contract.AnnotationPlacement, asked.namespace, contract.AnnotationCluster)}
	}
	return c.decideByPlacement(wf, asked.target, now, func(n *node) *cluster.Problem {
		switch {
		case n.problem != nil:
			return n.problem
		case n.unfinished >= n.limit && n.limit > 0: // a thousand clusters may be full: no message is made for each
			return atCap
		}
		return problemOf(n)
	})
}

// atCap is the problem of every cluster that is at its cap, where nobody sees its message.
var atCap = &cluster.Problem{Kind: cluster.KindAtCap}

func (c *cache) decideByPlacement(wf *hubworkflow.Workflow, to target, now time.Time, problemOf func(*node) *cluster.Problem) decision {
	p := c.placement(client.ObjectKey{Namespace: to.namespace, Name: to.placement})
	switch {
	case p.object == nil:
		return decision{waitsFor: to, why: refusal(ReasonPlacementNotFound,
			"waiting for Placement %q: there is none of this name in namespace %s", to.placement, to.namespace)}
	case p.invalid != "":
		return decision{waitsFor: to, why: refusal(ReasonInvalidPlacement, "waiting for Placement %q: %s", to.placement, p.invalid)}
	case len(p.clusters) == 0:
		return decision{waitsFor: to, why: refusal(ReasonNoDecision,
			"waiting for Placement %q to select a cluster%s", to.placement, explanationOf(p.object))}
	}
	candidates := make([]*node, 0, len(p.clusters))
	for _, name := range p.clusters {
		candidates = append(candidates, c.node(name))
	}
	best, problems := pick(candidates, wf, p.preference, now, problemOf)
	if best != nil {
		return decision{cluster: best.Name, note: best.explain(len(candidates), p.preference, now)}
	}
	isNameTaken := slices.Contains(problems, cluster.KindNameTaken)
	if slices.Equal(problems, []string{cluster.KindAtCap}) {
		return decision{waitsFor: to, isAtCap: true, why: refusal(cluster.ReasonAtCap,
			"waiting: all %d clusters that Placement %q selects are %s", len(candidates), to.placement, cluster.KindAtCap)}
	}
	none := fmt.Sprintf("none of the %d clusters that Placement %q selects can run Workflows", len(candidates), to.placement)
	if len(candidates) == 1 {
		none = fmt.Sprintf("cluster %s, the only one that Placement %q selects, cannot run Workflows", candidates[0].Name, to.placement)
	}
	return decision{
		waitsFor: to, isAtCap: slices.Contains(problems, cluster.KindAtCap), isNameTaken: isNameTaken,
		why: refusal(ReasonNoUsableCluster, "%s: %s", none, strings.Join(problems, "; ")),
	}
}

// explanationOf returns what a Placement says itself about an empty selection.
func explanationOf(placement *clusterv1beta1.Placement) string {
	satisfied := meta.FindStatusCondition(placement.Status.Conditions, clusterv1beta1.PlacementConditionSatisfied)
	if satisfied == nil || satisfied.Message == "" {
		return ""
	}
	return ": " + satisfied.Message
}

func refusal(reason, message string, args ...any) *hubworkflow.Refusal {
	return &hubworkflow.Refusal{Reason: reason, Message: fmt.Sprintf(message, args...)}
}

// anyPlacement stands for all Placements in namespaces that the cluster is bound to.
var anyPlacement = target{placement: "any"}

// obstacle returns what keeps every Workflow with this target from the cluster, however it is named; nil if nothing does. Where the
// bound sets are not known, the cluster is taken for bound. What it means that it is the hub depends on the Workflow.
func (c *cache) obstacle(on target, to cluster.Cluster) *cluster.Problem {
	all := []cluster.Binding{{Namespace: on.namespace, Set: labels.Everything(), MaxWorkflows: math.MaxInt64}}
	if known := c.bindings[on.namespace]; known != nil {
		all = known.all
	}
	anyOne := &hubworkflow.Workflow{Unstructured: contract.NewWorkflow()}
	anyOne.SetNamespace(on.namespace)
	if on.placement != "" {
		anyOne.SetAnnotations(map[string]string{contract.AnnotationPlacement: on.placement})
	}
	return cluster.Filter(anyOne, cluster.Target{Cluster: to, Bindings: all})
}

// kindOf returns the kind of a problem, "" for none.
func kindOf(problem *cluster.Problem) string {
	if problem == nil {
		return ""
	}
	return problem.Kind
}
