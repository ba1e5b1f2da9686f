package scheduler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	toolscache "k8s.io/client-go/tools/cache"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	clusterv1alpha1 "open-cluster-management.io/api/cluster/v1alpha1"
	clusterv1beta1 "open-cluster-management.io/api/cluster/v1beta1"
	clusterv1beta2 "open-cluster-management.io/api/cluster/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/cluster"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/podrequests"
)

// SetupWithManager adds the scheduler to the manager. All that can free a Workflow is watched.
func (s *Scheduler) SetupWithManager(ctx context.Context, mgr manager.Manager) error {
	s.init()
	informers := mgr.GetCache()
	return errors.Join(
		watch(ctx, s, informers, &v1alpha1.RemoteWorkflow{}, s.remoteWorkflowChanged),
		watch(ctx, s, informers, &clusterv1.ManagedCluster{}, s.managedClusterChanged),
		watch(ctx, s, informers, &addonv1beta1.ManagedClusterAddOn{}, s.addonChanged),
		watch(ctx, s, informers, &clusterv1alpha1.AddOnPlacementScore{}, s.scoreChanged),
		watch(ctx, s, informers, &clusterv1beta1.Placement{}, s.placementChanged),
		watch(ctx, s, informers, &clusterv1beta1.PlacementDecision{}, s.decisionsChanged),
		watch(ctx, s, informers, &clusterv1beta2.ManagedClusterSetBinding{}, s.bindingChanged),
		watch(ctx, s, informers, &clusterv1beta2.ManagedClusterSet{}, s.clusterSetChanged),
		mgr.Add(&feeder{s, informers}),
		mgr.Add(s),
	)
}

func (s *Scheduler) init() {
	s.cache, s.queue, s.fed = newCache(s.HubID), newQueue(), make(chan struct{})
}

// patience is how long Workflows wait for the templates. Those may never come: the manager may lack the right to list them.
const patience = 10 * time.Second

// feeder tells a scheduler of templates and then, so that it knows at once what they request, of Workflows.
type feeder struct {
	*Scheduler
	informers ctrlcache.Informers
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: a deputy is fed as well.
func (f *feeder) NeedLeaderElection() bool { return false }

// Start feeds the scheduler until the context ends.
func (f *feeder) Start(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	var synced []toolscache.InformerSynced
	for _, informer := range f.Templates {
		registration, err := informer.AddEventHandler(handlerOf(&f.mu, f.templateChanged))
		if err != nil {
			return fmt.Errorf("watch templates: %w", err)
		}
		synced = append(synced, registration.HasSynced)
		running.Go(func() { informer.RunWithContext(ctx) })
	}
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if !toolscache.WaitForCacheSync(waiting.Done(), synced...) && ctx.Err() == nil {
		ctrl.LoggerFrom(ctx).Info("templates cannot be read yet: until then nothing is known of what Workflows refer to")
	}
	if err := watch(ctx, f.Scheduler, f.informers, contract.NewWorkflow(), f.workflowChanged); err != nil {
		return err
	}
	close(f.fed)
	<-ctx.Done()
	return nil
}

// watch calls changed, under the lock, with what an object was and is; either is nil where there was, or is, none.
func watch[T client.Object](ctx context.Context, s *Scheduler, informers ctrlcache.Informers, kind T, changed func(was, is T)) error {
	informer, err := informers.GetInformer(ctx, kind)
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
		at := s.cache.places[was.GetUID()]
		s.cache.put(was.GetUID(), place{})
		s.left(at)
		s.queue.remove(client.ObjectKeyFromObject(was))
	}
	if is == nil {
		return
	}
	wf := s.cache.workflow(is)
	isOurs, at := owns(wf), s.cache.places[is.GetUID()]
	s.cache.setWorkflow(wf, isOurs)
	s.moved(at, s.cache.places[is.GetUID()])
	if isOurs {
		s.queue.set(wf, s.requestOf(wf))
	} else {
		s.queue.remove(wf.Key())
	}
}

// requestOf returns what decides where the Workflow may go, on this hub.
func (s *Scheduler) requestOf(wf *hubworkflow.Workflow) request {
	asked := requestOf(wf, s.RestoredAt)
	if s.argo != "" && wf.GetLabels()[contract.LabelInstanceID] == "" && asked.refusal == (hubworkflow.Refusal{}) {
		asked.refusal = *refusal(ReasonArgoOnHub, "%s", ArgoOnHubMessage(s.argo))
	}
	return asked
}

// templateChanged tries those again of which it changes what they request.
func (s *Scheduler) templateChanged(was, is *unstructured.Unstructured) {
	key := client.ObjectKeyFromObject(cmp.Or(is, was))
	if !s.cache.setTemplate(key, podrequests.TemplateOf(is)) {
		return
	}
	for _, it := range s.queue.items {
		isIt := func(ref podrequests.Reference) bool { return ref.Key(it.key.Namespace) == key }
		if slices.ContainsFunc(it.wf.Pods.RefersTo, isIt) {
			wf := s.cache.workflow(it.wf.Unstructured)
			s.queue.set(wf, s.requestOf(wf))
		}
	}
}

// hasRoom frees the most urgent ones of those that are at a cap after a Workflow of the namespace has left the cluster.
func (s *Scheduler) hasRoom(name, namespace string) {
	if name == "" {
		return
	}
	for on := range s.queue.atCap {
		if on.cluster == name || on.namespace == namespace || s.cache.selects(on, name) {
			s.queue.wakeFirst(on)
		}
	}
}

// moved frees those who wait for a Workflow to leave where it was, if it has.
func (s *Scheduler) moved(from, to place) {
	switch {
	case from.cluster != to.cluster:
		s.left(from)
	case from.remoteName != to.remoteName:
		s.queue.wake(from.remoteName)
	}
}

// left frees those who wait for a Workflow to leave where it was: for its room, or for its name.
func (s *Scheduler) left(at place) {
	s.hasRoom(at.cluster, at.namespace)
	if at.cluster != "" {
		s.queue.wake(at.remoteName)
	}
}

// scoreChanged takes note of what an agent has measured. Nodes of another size free those for whom there was none.
func (s *Scheduler) scoreChanged(was, is *clusterv1alpha1.AddOnPlacementScore) {
	either := cmp.Or(is, was)
	if either.Name != contract.ScoreName || was != nil && is != nil && was.ResourceVersion == is.ResourceVersion {
		return
	}
	name := either.Namespace
	before := s.cache.node(name).capacity
	after, now := s.capacityIn(is), s.Clock.Now()
	if was == nil && is != nil && is.Status.ValidUntil != nil && is.Status.ValidUntil.Time.Before(now) {
		now = time.Time{} // nobody knows when it was written
	}
	s.cache.setCapacity(name, after, now)
	if before != nil && (after == nil || !slices.Equal(before.LargestAllocatable, after.LargestAllocatable)) {
		s.move(func(on target) verdict {
			isConcerned := on.cluster == name || s.cache.selects(on, name)
			return when(isConcerned, isConcerned)
		})
	}
}

// capacityIn returns what a score says, nil if it says nothing that can be used.
func (s *Scheduler) capacityIn(score *clusterv1alpha1.AddOnPlacementScore) *contract.Capacity {
	if score == nil {
		return nil
	}
	measured := meta.FindStatusCondition(score.Status.Conditions, contract.ConditionMeasured)
	if measured == nil || measured.Status != metav1.ConditionTrue {
		return nil
	}
	capacity, err := contract.ReadCapacity(measured.Message)
	if err != nil {
		refusedCapacities.Inc()
		s.Recorder.Eventf(score, nil, corev1.EventTypeWarning, ReasonCapacityRefused, "Schedule",
			"what the agent of cluster %s reports to be free is not used: %.500s", score.Namespace, err.Error())
		return nil
	}
	return &capacity
}

// TrimScore makes an AddOnPlacementScore what the cache keeps of it: what the agent has measured. It is the transform of the cache.
func TrimScore(obj any) (any, error) {
	score, ok := obj.(*clusterv1alpha1.AddOnPlacementScore)
	if !ok {
		return obj, nil
	}
	score.ManagedFields, score.Annotations, score.Status.Scores = nil, nil, nil
	score.Status.Conditions = slices.DeleteFunc(score.Status.Conditions, func(c metav1.Condition) bool {
		return c.Type != contract.ConditionMeasured
	})
	return score, nil
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
		s.queue.wakeWorkflow(client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name})
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
	if annotationsOf(was) != annotationsOf(is) {
		s.move(func(on target) verdict {
			isConcerned := on.cluster == name || s.cache.selects(on, name)
			return when(isConcerned, isConcerned)
		})
	}
	isRelabelled := (was.Managed == nil) != (is.Managed == nil) || !maps.Equal(labelsOf(was), labelsOf(is))
	isOther := was.IsHub(s.HubID) != is.IsHub(s.HubID)
	if !isRelabelled && !isOther && kindOf(was.problem) == kindOf(is.problem) {
		return
	}
	if isRelabelled {
		for namespace := range is.unfinishedOf {
			s.hasRoom(name, namespace) // they may not count for a binding any more
		}
	}
	s.move(func(on target) verdict {
		if on.cluster != name && !s.cache.selects(on, name) {
			return stays
		}
		before, after := kindOf(s.cache.obstacle(on, was.Cluster)), kindOf(s.cache.obstacle(on, is.Cluster))
		isOpenedOtherwise := isRelabelled && s.cache.isHeldOtherwise(on.namespace, was, is) || isOther
		return when(before != "" && before != after || isOpenedOtherwise, after == "")
	})
}

func labelsOf(n node) map[string]string {
	if n.Managed == nil {
		return nil
	}
	return n.Managed.Labels
}

// annotationsOf returns those of a ManagedCluster that decide whether a Workflow may go there.
func annotationsOf(n node) [3]string {
	if n.Managed == nil {
		return [3]string{}
	}
	a := n.Managed.Annotations
	return [3]string{a[contract.AnnotationMaxWorkflows], a[contract.AnnotationCheckResources], a[contract.AnnotationNamespaces]}
}

func (s *Scheduler) placementChanged(was, is *clusterv1beta1.Placement) {
	key := client.ObjectKeyFromObject(cmp.Or(is, was))
	s.cache.setPlacement(key, is)
	if was != nil && is != nil && explanationOf(was) == explanationOf(is) && preferenceOf(was) == preferenceOf(is) {
		return
	}
	isFreed := is != nil && (was == nil || preferenceOf(was) != preferenceOf(is))
	s.move(func(on target) verdict { return when(on.isPlacement(key), isFreed) })
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
	if cluster.IsSameBinding(was, is) {
		return
	}
	namespace := cmp.Or(is, was).Namespace
	delete(s.cache.bindings, namespace)
	s.move(func(on target) verdict { return when(on.namespace == namespace, cluster.IsBound(is)) })
}

func (s *Scheduler) clusterSetChanged(was, is *clusterv1beta2.ManagedClusterSet) {
	if was == nil || is == nil || !apiequality.Semantic.DeepEqual(was.Spec, is.Spec) {
		clear(s.cache.bindings)
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
