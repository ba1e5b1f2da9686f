// Package hollow plays managed clusters for the benchmark, any number of them in one process: OCM's work agent and Argo's controller
// as far as a hub meets them, and the real agent's code, which claims and reports. The hub, with its API server and etcd, is a real one.
//
// What is left out costs the hub nothing: the clusters' API servers, pods, the agents' own caches and limits. All clusters share one watch
// of each kind in place of one each; an API server encodes and sends as much either way.
package hollow

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	clusterv1alpha1 "open-cluster-management.io/api/cluster/v1alpha1"
	clusterv1beta1 "open-cluster-management.io/api/cluster/v1beta1"
	clusterv1beta2 "open-cluster-management.io/api/cluster/v1beta2"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
)

// The user agents under which the fleet's requests are seen on the hub.
const (
	AgentUserAgent     = "hollow-agent"
	WorkAgentUserAgent = "hollow-work-agent"
)

// Options say what a fleet is like.
type Options struct {
	// Hub is an administrator's access to the hub.
	Hub *rest.Config
	// Clusters are the names of the clusters.
	Clusters []string
	// RunTime is how long a Workflow runs.
	RunTime time.Duration
	// StatusSync is how often a work agent looks at what it has created: OCM's default is 10 s.
	StatusSync time.Duration
	// Workers is how many requests the agents, and the work agents, of all clusters have on the way at a time.
	Workers int
	// Listed is told of each Workflow that a ManifestWork carries, Changed of each change of a Workflow on a cluster: before is nil for a
	// new one, after for one that is gone.
	Listed  func(name string)
	Changed func(before, after *unstructured.Unstructured)
}

// Fleet is a number of hollow clusters at work.
type Fleet struct {
	options Options
	stores  map[string]*Store
	agents  map[string]reconcile.Reconciler
}

// Start starts the fleet, which works until the context ends. Its clusters are to be registered, see Register.
func Start(ctx context.Context, options Options) (*Fleet, error) {
	f := &Fleet{options: options, stores: map[string]*Store{}, agents: map[string]reconcile.Reconciler{}}
	hub, caches, live, err := access(options.Hub, AgentUserAgent)
	if err != nil {
		return nil, err
	}
	system := &corev1.Namespace{}
	if err := live.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, system); err != nil {
		return nil, fmt.Errorf("read the hub's id: %w", err)
	}
	agents, err := newAgents(hub, live, string(system.UID))
	if err != nil {
		return nil, err
	}
	claims := newQueue("agents", agentRetryDelay)
	for _, name := range options.Clusters {
		f.stores[name] = f.newStore(name, claims)
		f.agents[name] = agents.on(f.stores[name])
	}
	if err := watch(ctx, caches, &v1alpha1.RemoteWorkflow{}, claims); err != nil {
		return nil, err
	}
	claims.work(ctx, options.Workers, reconcile.Func(f.reconcileRun))
	if err := f.startWorkAgents(ctx); err != nil {
		return nil, err
	}
	return f, nil
}

// newStore returns the store of a cluster, whose changes reach Argo, the agent and the one who measures.
func (f *Fleet) newStore(cluster string, claims *queue) *Store {
	controller := argo{runTime: f.options.RunTime}
	store := NewStore(func(before, after *unstructured.Unstructured) {
		f.options.Changed(before, after)
		for _, wf := range []*unstructured.Unstructured{before, after} {
			if name := remoteWorkflowOf(wf); name != "" {
				claims.Add(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: cluster, Name: name}})
			}
		}
		controller.look(after)
	})
	controller.store = store
	return store
}

// reconcileRun hands a RemoteWorkflow to the agent of its cluster.
func (f *Fleet) reconcileRun(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	agent := f.agents[request.Namespace]
	if agent == nil {
		return reconcile.Result{}, nil // of a real cluster
	}
	return agent.Reconcile(ctx, request)
}

func (f *Fleet) startWorkAgents(ctx context.Context) error {
	hub, caches, _, err := access(f.options.Hub, WorkAgentUserAgent)
	if err != nil {
		return err
	}
	works := newQueue("work agents", time.Minute)
	if err := watch(ctx, caches, &workv1.ManifestWork{}, works); err != nil {
		return err
	}
	works.work(ctx, f.options.Workers, &workAgents{
		hub: hub, stores: func(cluster string) *Store { return f.stores[cluster] }, listed: f.options.Listed, poll: f.options.StatusSync,
		applied: map[types.UID]string{},
	})
	return nil
}

// Workflows returns how many Workflows there are on all clusters.
func (f *Fleet) Workflows() int {
	count := 0
	for _, store := range f.stores {
		store.mu.Lock()
		count += len(store.objects)
		store.mu.Unlock()
	}
	return count
}

// access returns a client that reads from caches and one that does not.
func access(config *rest.Config, userAgent string) (client.Client, cache.Cache, client.Client, error) {
	config = rest.CopyConfig(config)
	config.UserAgent, config.QPS = userAgent, -1
	scheme, err := Scheme()
	if err != nil {
		return nil, nil, nil, err
	}
	caches, err := cache.New(config, cache.Options{Scheme: scheme, DefaultTransform: cache.TransformStripManagedFields()})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("create caches: %w", err)
	}
	cached, err := client.New(config, client.Options{Scheme: scheme, Cache: &client.CacheOptions{Reader: caches}})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("create client: %w", err)
	}
	live, err := client.New(config, client.Options{Scheme: scheme})
	return cached, caches, live, err
}

// Scheme returns the types that the fleet and those who register it read and write.
func Scheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, v1alpha1.AddToScheme, workv1.Install, addonv1beta1.Install,
		clusterv1.Install, clusterv1alpha1.Install, clusterv1beta1.Install, clusterv1beta2.Install,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("build scheme: %w", err)
		}
	}
	return scheme, nil
}

// watch starts the caches with one kind, whose changes are put into the queue by name, and returns when all that is there is.
func watch(ctx context.Context, caches cache.Cache, kind client.Object, into *queue) error {
	informer, err := caches.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch %T: %w", kind, err)
	}
	add := func(obj any) {
		if last, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
			obj = last.Obj
		}
		if object, ok := obj.(client.Object); ok {
			into.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(object)})
		}
	}
	if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: add, UpdateFunc: func(_, obj any) { add(obj) }, DeleteFunc: add,
	}); err != nil {
		return fmt.Errorf("watch %T: %w", kind, err)
	}
	go func() { _ = caches.Start(ctx) }() // it ends with the context only
	if !caches.WaitForCacheSync(ctx) {
		return fmt.Errorf("watch %T: not in sync: %w", kind, context.Cause(ctx))
	}
	return nil
}
