package dispatch

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	clusterv1beta2 "open-cluster-management.io/api/cluster/v1beta2"
	workv1 "open-cluster-management.io/api/work/v1"
	clustersets "open-cluster-management.io/sdk-go/pkg/apis/cluster/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
)

// plan reads all that the dispatch depends on, and returns what to create, or why to wait. Both are zero for a
// Workflow that is not to be dispatched (yet).
func (r *Reconciler) plan(ctx context.Context, wf *unstructured.Unstructured, cluster string) (
	rw *v1alpha1.RemoteWorkflow, work *workv1.ManifestWork, held hold, err error,
) {
	// What has run is not run again, whatever became of its RemoteWorkflow.
	if held := checkWorkflow(wf, r.RestoredAt); held != (hold{}) || !contract.IsPending(contract.Phase(wf)) || cluster == "" {
		return nil, nil, held, nil
	}
	if held := checkClusterName(cluster); held != (hold{}) {
		return nil, nil, held, nil
	}
	t, err := r.target(ctx, wf.GetNamespace(), cluster)
	if err != nil {
		return nil, nil, hold{}, err
	}
	if held := checkTarget(wf, t); held != (hold{}) {
		return nil, nil, held, nil
	}
	rw = newRemoteWorkflow(wf, r.HubID, cluster, t.reporting())
	if held, err := r.nameTaken(ctx, rw); err != nil || held != (hold{}) {
		return nil, nil, held, err
	}
	work, err = newManifestWork(wf, rw)
	if err != nil {
		return nil, nil, hold{ReasonCannotTravel, fmt.Sprintf("not dispatched: the Workflow does not fit a ManifestWork: %v", err)}, nil
	}
	return rw, work, hold{}, nil
}

// target reads what decides whether a Workflow of the namespace may go to the cluster.
func (r *Reconciler) target(ctx context.Context, namespace, name string) (target, error) {
	cluster, addon, err := r.surroundings(ctx, name)
	t := target{name: name, hubID: r.HubID, cluster: cluster, addon: addon}
	if err != nil || cluster == nil {
		return t, err
	}
	t.bound, err = r.isBound(ctx, namespace, cluster)
	return t, err
}

// surroundings returns the managed cluster and the agent's addon there, each nil if the hub has none.
func (r *Reconciler) surroundings(ctx context.Context, name string) (*clusterv1.ManagedCluster, *addonv1beta1.ManagedClusterAddOn, error) {
	cluster, err := hubcopy.Cluster(ctx, r.Client, name)
	if err != nil {
		return nil, nil, err
	}
	addon, err := hubcopy.Addon(ctx, r.Client, name)
	return cluster, addon, err
}

// isBound reports whether a ManagedClusterSet that holds the cluster is bound to the namespace.
func (r *Reconciler) isBound(ctx context.Context, namespace string, cluster *clusterv1.ManagedCluster) (bool, error) {
	var bindings clusterv1beta2.ManagedClusterSetBindingList
	if err := r.Client.List(ctx, &bindings, client.InNamespace(namespace)); err != nil {
		return false, fmt.Errorf("list ManagedClusterSetBindings: %w", err)
	}
	for _, binding := range bindings.Items {
		if !meta.IsStatusConditionTrue(binding.Status.Conditions, clusterv1beta2.ClusterSetBindingBoundType) {
			continue
		}
		set := &clusterv1beta2.ManagedClusterSet{}
		err := r.Client.Get(ctx, client.ObjectKey{Name: binding.Spec.ClusterSet}, set)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("get ManagedClusterSet: %w", err)
		}
		selector, err := clustersets.BuildClusterSelector(set)
		if err != nil {
			// It holds no cluster, and must not keep the Workflows from those of another set.
			log.FromContext(ctx).Error(err, "passed over a ManagedClusterSet with an invalid selector", "set", set.Name)
			continue
		}
		if selector.Matches(labels.Set(cluster.Labels)) {
			return true, nil
		}
	}
	return false, nil
}

// nameTaken holds back a Workflow while another run of ours has its name on the cluster: a copy that is only
// created, never updated, would take the other's place under the eyes of the work agent.
func (r *Reconciler) nameTaken(ctx context.Context, rw *v1alpha1.RemoteWorkflow) (hold, error) {
	var runs v1alpha1.RemoteWorkflowList
	if err := r.Client.List(ctx, &runs, client.InNamespace(rw.Namespace),
		client.MatchingFields{indexRemote: remoteKey(rw.Spec.Remote)}); err != nil {
		return hold{}, fmt.Errorf("list RemoteWorkflows: %w", err)
	}
	for _, other := range runs.Items {
		if other.Name != rw.Name {
			return hold{
				ReasonNameTaken,
				fmt.Sprintf("waiting for the name %s on cluster %s: the earlier Workflow that has it (UID %s) is still being removed",
					remoteKey(rw.Spec.Remote), rw.Namespace, other.Spec.WorkflowRef.UID),
			}, nil
		}
	}
	var works workv1.ManifestWorkList
	if err := r.Client.List(ctx, &works, client.InNamespace(rw.Namespace),
		client.MatchingFields{indexRemote: remoteKey(rw.Spec.Remote)}); err != nil {
		return hold{}, fmt.Errorf("list ManifestWorks: %w", err)
	}
	for _, other := range works.Items {
		if other.Name != rw.Name {
			return hold{ReasonNameTaken, fmt.Sprintf("waiting for the name %s on cluster %s: ManifestWork %s still creates it there",
				remoteKey(rw.Spec.Remote), rw.Namespace, other.Name)}, nil
		}
	}
	return hold{}, nil
}
