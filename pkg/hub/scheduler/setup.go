package scheduler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	toolscache "k8s.io/client-go/tools/cache"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	clusterv1beta1 "open-cluster-management.io/api/cluster/v1beta1"
	clusterv1beta2 "open-cluster-management.io/api/cluster/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/cluster"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
)

// SetupWithManager adds the scheduler to the manager. All that can free a Workflow is watched.
func (s *Scheduler) SetupWithManager(ctx context.Context, mgr manager.Manager) error {
	s.init()
	return errors.Join(
		watch(ctx, s, mgr, contract.NewWorkflow(), s.workflowChanged),
		watch(ctx, s, mgr, &v1alpha1.RemoteWorkflow{}, s.remoteWorkflowChanged),
		watch(ctx, s, mgr, &clusterv1.ManagedCluster{}, s.managedClusterChanged),
		watch(ctx, s, mgr, &addonv1beta1.ManagedClusterAddOn{}, s.addonChanged),
		watch(ctx, s, mgr, &clusterv1beta1.Placement{}, s.placementChanged),
		watch(ctx, s, mgr, &clusterv1beta1.PlacementDecision{}, s.decisionsChanged),
		watch(ctx, s, mgr, &clusterv1beta2.ManagedClusterSetBinding{}, s.bindingChanged),
		watch(ctx, s, mgr, &clusterv1beta2.ManagedClusterSet{}, s.clusterSetChanged),
		mgr.Add(s),
	)
}

func (s *Scheduler) init() { s.cache, s.queue = newCache(s.HubID), newQueue() }

// watch calls changed, under the lock, with what an object was and is; either is nil where there was, or is, none.
func watch[T client.Object](ctx context.Context, s *Scheduler, mgr manager.Manager, kind T, changed func(was, is T)) error {
	informer, err := mgr.GetCache().GetInformer(ctx, kind)
	if err != nil {
		return fmt.Errorf("watch %T: %w", kind, err)
	}
	registration, err := informer.AddEventHandler(handlerOf(&s.mu, changed))
	if err != nil {
		return fmt.Errorf("watch %T: %w", kind, err)
	}
	s.synced = append(s.synced, registration.HasSynced)
	return nil
}

func handlerOf[T client.Object](mu sync.Locker, changed func(was, is T)) toolscache.ResourceEventHandler {
	locked := func(was, is any) {
		if gone, ok := was.(toolscache.DeletedFinalStateUnknown); ok {
			was = gone.Obj
		}
		before, _ := was.(T)
		after, _ := is.(T)
		mu.Lock()
		defer mu.Unlock()
		changed(before, after)
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { locked(nil, obj) },
		UpdateFunc: locked,
		DeleteFunc: func(obj any) { locked(obj, nil) },
	}
}

// workflowChanged queues the Workflow if it is ours, and counts it where it is.
func (s *Scheduler) workflowChanged(was, is *unstructured.Unstructured) {
	if was != nil && (is == nil || is.GetUID() != was.GetUID()) {
		s.cache.put(was.GetUID(), place{})
		s.queue.remove(client.ObjectKeyFromObject(was))
	}
	if is == nil {
		return
	}
	wf := hubworkflow.Of(is)
	isOurs := owns(wf)
	s.cache.setWorkflow(wf, isOurs)
	if isOurs {
		s.queue.set(wf, requestOf(wf, s.RestoredAt))
	} else {
		s.queue.remove(wf.Key())
	}
}

// remoteWorkflowChanged takes note of who has which name. The end of a RemoteWorkflow frees its own Workflow, and the one that waits
// for its name, which has that name on the hub, too.
func (s *Scheduler) remoteWorkflowChanged(was, is *v1alpha1.RemoteWorkflow) {
	holderOf := func(rw *v1alpha1.RemoteWorkflow) holder {
		return holder{client.ObjectKeyFromObject(rw), rw.Spec.WorkflowRef.UID}
	}
	if was != nil && (is == nil || is.UID != was.UID) {
		name, ref := client.ObjectKey(was.Spec.Remote), was.Spec.WorkflowRef
		s.cache.release(name, holderOf(was))
		s.queue.wake(name)
		s.queue.wake(client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name})
	}
	if is != nil {
		s.cache.hold(client.ObjectKey(is.Spec.Remote), holderOf(is))
	}
}

func (s *Scheduler) managedClusterChanged(was, is *clusterv1.ManagedCluster) {
	s.clusterChanged(cmp.Or(is, was).Name, func(c *cluster.Cluster) { c.Managed = is })
}

func (s *Scheduler) addonChanged(was, is *addonv1beta1.ManagedClusterAddOn) {
	if either := cmp.Or(is, was); either.Name == contract.AddonName {
		s.clusterChanged(either.Namespace, func(c *cluster.Cluster) { c.Addon = is })
	}
}

// clusterChanged frees those whom the cluster kept waiting and keeps no more. Most events, such as a new message of the addon or
// the cluster's resources, are none of that; and if the cluster gets another problem, those that wait for it say so.
func (s *Scheduler) clusterChanged(name string, change func(*cluster.Cluster)) {
	was, is := s.cache.setCluster(name, change)
	if maps.Equal(labelsOf(was), labelsOf(is)) && kindOf(was.problem) == kindOf(is.problem) {
		return
	}
	s.move(func(on target) verdict {
		if on.cluster != name && !s.cache.selects(on, name) {
			return stays
		}
		before, after := kindOf(s.cache.obstacle(on, was.Cluster)), kindOf(s.cache.obstacle(on, is.Cluster))
		return when(before != "" && before != after, after == "")
	})
}

func labelsOf(n node) map[string]string {
	if n.Managed == nil {
		return nil
	}
	return n.Managed.Labels
}

func (s *Scheduler) placementChanged(was, is *clusterv1beta1.Placement) {
	key := client.ObjectKeyFromObject(cmp.Or(is, was))
	s.cache.setPlacement(key, is)
	if was != nil && is != nil && explanationOf(was) == explanationOf(is) {
		return
	}
	s.move(func(on target) verdict { return when(on.isPlacement(key), is != nil && was == nil) })
}

// decisionsChanged takes note of one page of a Placement's decisions. A cluster that is new in it frees those whom it has no problem with.
func (s *Scheduler) decisionsChanged(was, is *clusterv1beta1.PlacementDecision) {
	if was != nil && (is == nil || placementOf(was) != placementOf(is)) {
		s.pageChanged(placementOf(was), was.Name, nil)
	}
	if is != nil {
		clusters := make([]string, 0, len(is.Status.Decisions))
		for _, decision := range is.Status.Decisions {
			clusters = append(clusters, decision.ClusterName)
		}
		s.pageChanged(placementOf(is), is.Name, clusters)
	}
}

func placementOf(page *clusterv1beta1.PlacementDecision) client.ObjectKey {
	return client.ObjectKey{Namespace: page.Namespace, Name: page.Labels[clusterv1beta1.PlacementLabel]}
}

func (s *Scheduler) pageChanged(placement client.ObjectKey, page string, clusters []string) {
	was, is := s.cache.setPage(placement, page, clusters)
	if slices.Equal(was, is) {
		return
	}
	s.move(func(on target) verdict {
		isConcerned := on.isPlacement(placement)
		return when(isConcerned, isConcerned && slices.ContainsFunc(is, func(name string) bool {
			_, isOld := slices.BinarySearch(was, name)
			return !isOld && s.cache.obstacle(on, s.cache.node(name).Cluster) == nil
		}))
	})
}

func (s *Scheduler) bindingChanged(was, is *clusterv1beta2.ManagedClusterSetBinding) {
	if boundSet(was) != boundSet(is) {
		namespace := cmp.Or(is, was).Namespace
		delete(s.cache.bound, namespace)
		s.move(func(on target) verdict { return when(on.namespace == namespace, boundSet(is) != "") })
	}
}

// boundSet returns the name of the set that is bound; "" if it is not.
func boundSet(binding *clusterv1beta2.ManagedClusterSetBinding) string {
	if binding == nil || !meta.IsStatusConditionTrue(binding.Status.Conditions, clusterv1beta2.ClusterSetBindingBoundType) {
		return ""
	}
	return binding.Spec.ClusterSet
}

func (s *Scheduler) clusterSetChanged(was, is *clusterv1beta2.ManagedClusterSet) {
	if was == nil || is == nil || !apiequality.Semantic.DeepEqual(was.Spec, is.Spec) {
		clear(s.cache.bound)
		s.move(func(target) verdict { return when(true, is != nil) })
	}
}

func (s *Scheduler) move(judge func(target) verdict) { s.queue.move(s.Clock.Now(), judge) }

func when(isConcerned, isFreed bool) verdict {
	switch {
	case !isConcerned:
		return stays
	case isFreed:
		return freed
	}
	return refreshed
}
