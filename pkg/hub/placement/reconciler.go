// Package placement gives each Workflow that names a Placement one of the clusters that the Placement selects.
package placement

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	clusterv1beta1 "open-cluster-management.io/api/cluster/v1beta1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
)

// Reasons of the Events on a Workflow that waits for a cluster.
const (
	ReasonNoTarget          hubcopy.Reason = "NoTarget"
	ReasonPlacementNotFound hubcopy.Reason = "PlacementNotFound"
	ReasonNoDecision        hubcopy.Reason = "NoClusterSelected"
	ReasonNoUsableCluster   hubcopy.Reason = "NoUsableCluster"
	ReasonRefused           hubcopy.Reason = "CannotTravel"
)

// Reconciler assigns clusters.
type Reconciler struct {
	Client   client.Client
	Recorder events.EventRecorder
	// HubID is the UID of the hub's kube-system namespace.
	HubID string
	// RestoredAt is when the hub was restored from a backup; zero if it was not.
	RestoredAt time.Time

	// choosing serialises the choice, so that Workflows that arrive together spread; chosen holds the choices that
	// the cache does not show yet.
	choosing sync.Mutex
	chosen   map[types.NamespacedName]string
}

// Reconcile assigns a cluster to a Workflow that has none, or says on the Workflow what it waits for.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	wf := contract.NewWorkflow()
	if err := r.Client.Get(ctx, req.NamespacedName, wf); err != nil {
		r.forget(req.NamespacedName)
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !needsCluster(wf, r.RestoredAt) {
		r.forget(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	candidates, reason, message, err := r.candidates(ctx, wf)
	if err != nil {
		return ctrl.Result{}, err
	}
	if message != "" {
		return ctrl.Result{}, hubcopy.IgnoreStale(hubcopy.Hold(ctx, r.Client, r.Recorder, wf, reason, message))
	}
	cluster, problem, err := r.choose(ctx, req.NamespacedName, candidates)
	if err != nil {
		return ctrl.Result{}, err
	}
	if cluster == "" {
		message := fmt.Sprintf("Placement %q selects no cluster that can run Workflows: %s",
			wf.GetAnnotations()[contract.AnnotationPlacement], problem)
		return ctrl.Result{}, hubcopy.IgnoreStale(hubcopy.Hold(ctx, r.Client, r.Recorder, wf, ReasonNoUsableCluster, message))
	}
	if err := hubcopy.Assign(ctx, r.Client, wf, cluster); err != nil {
		r.forget(req.NamespacedName)
		if hubcopy.IsRefused(err) {
			message := fmt.Sprintf("not dispatched: the hub refuses it: %v", err)
			held := hubcopy.Hold(ctx, r.Client, r.Recorder, wf, ReasonRefused, message)
			return ctrl.Result{}, errors.Join(err, hubcopy.IgnoreStale(held))
		}
		return ctrl.Result{}, hubcopy.IgnoreStale(err)
	}
	ctrl.LoggerFrom(ctx).Info("assigned a cluster", "cluster", cluster)
	return ctrl.Result{}, nil
}

// needsCluster reports whether the Workflow is still to be given a cluster by this package. One that has run is not: its status
// is not made to wait again.
func needsCluster(wf *unstructured.Unstructured, restoredAt time.Time) bool {
	if !wf.GetDeletionTimestamp().IsZero() || !contract.IsPending(contract.Phase(wf)) ||
		contract.AssignedCluster(wf) != "" || contract.ChosenCluster(wf) != "" {
		return false
	}
	reason, _ := hubcopy.HeldAnywhere(wf, restoredAt)
	return reason == ""
}

// candidates returns the clusters that the Workflow's Placement has selected, or why there are none.
func (r *Reconciler) candidates(
	ctx context.Context, wf *unstructured.Unstructured,
) (candidates []candidate, reason hubcopy.Reason, message string, err error) {
	name := wf.GetAnnotations()[contract.AnnotationPlacement]
	if name == "" {
		return nil, ReasonNoTarget, fmt.Sprintf("no cluster to run on: set the annotation %s to the name of a Placement in "+
			"namespace %s, or %s to the name of a managed cluster",
			contract.AnnotationPlacement, wf.GetNamespace(), contract.AnnotationCluster), nil
	}
	placement := &clusterv1beta1.Placement{}
	err = r.Client.Get(ctx, client.ObjectKey{Namespace: wf.GetNamespace(), Name: name}, placement)
	if apierrors.IsNotFound(err) {
		return nil, ReasonPlacementNotFound, fmt.Sprintf("waiting for Placement %q: there is none of this name in namespace %s",
			name, wf.GetNamespace()), nil
	}
	if err != nil {
		return nil, "", "", fmt.Errorf("get Placement: %w", err)
	}
	var decisions clusterv1beta1.PlacementDecisionList
	if err := r.Client.List(ctx, &decisions, client.InNamespace(wf.GetNamespace()),
		client.MatchingLabels{clusterv1beta1.PlacementLabel: name}); err != nil {
		return nil, "", "", fmt.Errorf("list PlacementDecisions: %w", err)
	}
	for _, page := range decisions.Items {
		for _, decision := range page.Status.Decisions {
			c, err := r.candidate(ctx, decision.ClusterName)
			if err != nil {
				return nil, "", "", err
			}
			candidates = append(candidates, c)
		}
	}
	if len(candidates) == 0 {
		return nil, ReasonNoDecision, fmt.Sprintf("waiting for Placement %q to select a cluster%s", name, explain(placement)), nil
	}
	return candidates, "", "", nil
}

// explain returns what the Placement itself says about an empty selection.
func explain(placement *clusterv1beta1.Placement) string {
	satisfied := meta.FindStatusCondition(placement.Status.Conditions, clusterv1beta1.PlacementConditionSatisfied)
	if satisfied == nil || satisfied.Message == "" {
		return ""
	}
	return ": " + satisfied.Message
}

func (r *Reconciler) candidate(ctx context.Context, name string) (candidate, error) {
	cluster, err := hubcopy.Cluster(ctx, r.Client, name)
	if err != nil {
		return candidate{}, err
	}
	addon, err := hubcopy.Addon(ctx, r.Client, name)
	return candidate{name: name, cluster: cluster, addon: addon, isHub: cluster != nil && hubcopy.IsHub(cluster, r.HubID)}, err
}

// choose counts what each candidate already has to do, and picks one.
func (r *Reconciler) choose(
	ctx context.Context, key types.NamespacedName, candidates []candidate,
) (cluster, problem string, err error) {
	r.choosing.Lock()
	defer r.choosing.Unlock()
	for i := range candidates {
		list := contract.NewWorkflowList()
		if err := r.Client.List(ctx, list, client.MatchingFields{indexUnfinished: candidates[i].name}); err != nil {
			return "", "", fmt.Errorf("list Workflows of cluster %s: %w", candidates[i].name, err)
		}
		candidates[i].unfinished = len(list.Items)
		for _, chosen := range r.chosen {
			if chosen == candidates[i].name {
				candidates[i].unfinished++
			}
		}
	}
	if cluster, problem = pick(candidates); cluster != "" {
		if r.chosen == nil {
			r.chosen = map[types.NamespacedName]string{}
		}
		r.chosen[key] = cluster
	}
	return cluster, problem, nil
}

// forget drops a choice that the cache now shows, or that came to nothing.
func (r *Reconciler) forget(key types.NamespacedName) {
	r.choosing.Lock()
	defer r.choosing.Unlock()
	delete(r.chosen, key)
}
