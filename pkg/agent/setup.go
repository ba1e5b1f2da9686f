package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"open-cluster-management.io/addon-framework/pkg/lease"
	clusterv1alpha1 "open-cluster-management.io/api/cluster/v1alpha1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/agent/run"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/agent/score"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	productmetrics "open-cluster-management.io/argo-workflow-multicluster/pkg/metrics"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/relist"
)

const (
	// componentName identifies the agent in Events, and the Lease of its leader. The Lease that says to OCM that the
	// addon works has the addon's name.
	componentName = contract.AddonName + "-agent"
	// reconcileTimeout ends a reconciliation whose requests are not answered, so that a hub that swallows packets does
	// not occupy all workers.
	reconcileTimeout = time.Minute
	// maxRetryDelay bounds the delay between retries: after the hub has been away, work goes on within this time.
	maxRetryDelay = 10 * time.Second
)

// Run runs the agent on the managed cluster until the context is done. When the kubeconfig of the hub changes, it returns an
// error that says so. It waits for that kubeconfig, for the hub and for the API of Workflows as long as it takes; the health
// probes are served all the time. When its own namespace is being deleted, it releases the Workflows.
func Run(ctx context.Context, managed *rest.Config, options Options) error {
	if err := options.Validate(); err != nil {
		return err
	}
	work := func(ctx context.Context) error {
		access := hubAccess{kubeconfig: options.HubKubeconfig, interval: kubeconfigInterval}
		return access.run(ctx, func(ctx context.Context, hub *rest.Config) error { return Start(ctx, hub, managed, options) })
	}
	detached, err := newDetachment(managed, options)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return serveProbes(ctx, options.HealthProbeBindAddress) })
	group.Go(func() error {
		if options.HubID == "" {
			return work(ctx)
		}
		return detached.run(ctx, work)
	})
	return group.Wait()
}

// Start runs the agent between the hub and the managed cluster until the context is done. It asks neither of them
// anything before that: each may be away.
func Start(ctx context.Context, hubConfig, managedConfig *rest.Config, options Options) error {
	hub, err := newHub(hubConfig, options)
	if err != nil {
		return err
	}
	mgr, err := newManager(managedConfig, options)
	if err != nil {
		return err
	}
	reconciler, err := newReconciler(mgr, hub, options)
	if err != nil {
		return err
	}
	if err := errors.Join(
		mgr.Add(hub),
		reconciler.SetupWithManager(mgr, hub.GetCache(), options.ClusterName, controllerOptions(options)),
		addScore(mgr, hub, options),
		addLease(mgr, options.Namespace),
	); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("run manager: %w", err)
	}
	return nil
}

// newHub returns the access to the RemoteWorkflows of this cluster, and to nothing else on the hub.
func newHub(config *rest.Config, options Options) (cluster.Cluster, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("build scheme: %w", err)
	}
	hub, err := cluster.New(limited(config, options.HubQPS, options.HubBurst), func(o *cluster.Options) {
		o.Scheme = scheme
		o.MapperProvider = knows(v1alpha1.GroupVersion.WithKind("RemoteWorkflow"))
		o.Cache = cache.Options{
			DefaultNamespaces:           map[string]cache.Config{options.ClusterName: {}},
			DefaultTransform:            run.Trim,
			ReaderFailOnMissingInformer: true,
		}
	})
	if err != nil {
		return nil, fmt.Errorf("access the hub: %w", err)
	}
	return hub, nil
}

// newManager returns the manager, which works on the managed cluster. Its cache shows the remote Workflows that the hub has sent
// here. They are large and are only read, so they are not copied.
func newManager(config *rest.Config, options Options) (manager.Manager, error) {
	mgr, err := ctrl.NewManager(limited(config, options.QPS, options.Burst), ctrl.Options{
		Scheme:         runtime.NewScheme(),
		MapperProvider: knows(contract.WorkflowGVK, corev1.SchemeGroupVersion.WithKind("Pod")),
		Cache: cache.Options{
			DefaultTransform: cache.TransformStripManagedFields(),
			ByObject: map[client.Object]cache.ByObject{contract.NewWorkflow(): {
				Label:                 labels.SelectorFromSet(labels.Set{contract.LabelCluster: options.ClusterName}),
				UnsafeDisableDeepCopy: ptr.To(true),
			}},
			ReaderFailOnMissingInformer: true,
		},
		Client:                        client.Options{Cache: &client.CacheOptions{Unstructured: true}},
		Metrics:                       productmetrics.Server(options.MetricsBindAddress, options.MetricsSecure),
		HealthProbeBindAddress:        "0",
		LeaderElection:                options.LeaderElection,
		LeaderElectionID:              componentName,
		LeaderElectionNamespace:       options.Namespace,
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return nil, fmt.Errorf("create manager: %w", err)
	}
	return mgr, nil
}

func newReconciler(mgr manager.Manager, hub cluster.Cluster, options Options) (*run.Reconciler, error) {
	counters, err := run.NewMetrics(metrics.Registry)
	if err != nil {
		return nil, err
	}
	return &run.Reconciler{
		Hub:        hub.GetClient(),
		HubLive:    hub.GetAPIReader(),
		Managed:    mgr.GetClient(),
		Live:       mgr.GetAPIReader(),
		Recorder:   mgr.GetEventRecorder(componentName),
		Clock:      clock.RealClock{},
		Metrics:    counters,
		Pacer:      run.NewPacer(options.ReportInterval, options.ReportBandwidth),
		HubID:      options.HubID,
		InstanceID: options.InstanceID,
	}, nil
}

func controllerOptions(options Options) controller.Options {
	return controller.Options{
		// The priority queue of controller-runtime 0.23 can block for good while it is shut down, and with it the process for the grace period.
		UsePriorityQueue:        ptr.To(false),
		MaxConcurrentReconciles: options.Concurrency,
		ReconciliationTimeout:   reconcileTimeout,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](5*time.Millisecond, maxRetryDelay),
	}
}

// addScore measures on the leader what this cluster has free, and writes it to the hub. It has clients of its own on both sides, for what
// nothing else of the agent reads or writes.
func addScore(mgr manager.Manager, hub cluster.Cluster, options Options) error {
	counters, err := score.NewMetrics(metrics.Registry)
	if err != nil {
		return err
	}
	measured, err := score.NewCluster(mgr.GetConfig(), mgr.GetHTTPClient(), clock.RealClock{})
	if err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := clusterv1alpha1.Install(scheme); err != nil {
		return fmt.Errorf("build scheme: %w", err)
	}
	writer, err := client.New(hub.GetConfig(), client.Options{
		HTTPClient: hub.GetHTTPClient(), Scheme: scheme,
		Mapper: mapperOf(schema.GroupVersion(clusterv1alpha1.GroupVersion).WithKind("AddOnPlacementScore")),
	})
	if err != nil {
		return fmt.Errorf("create client of the score: %w", err)
	}
	return mgr.Add(&score.Writer{
		Hub: writer, ClusterName: options.ClusterName, Managed: measured, Clock: clock.RealClock{}, Metrics: counters,
	})
}

// addLease renews the Lease by which OCM knows that the addon works: on the leader, from the moment that this cluster
// serves Workflows, and as long as it does. The hub has no part in it, for OCM asks again only when the hub is back.
func addLease(mgr manager.Manager, namespace string) error {
	kubeClient, err := kubernetes.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("create client: %w", err)
	}
	return mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		if _, err := mgr.GetCache().GetInformer(ctx, contract.NewWorkflow()); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("wait for Workflows: %w", err)
		}
		served := func() bool { return servesWorkflows(kubeClient.Discovery()) }
		lease.NewLeaseUpdater(kubeClient, contract.AddonName, namespace, served).Start(ctx)
		return nil
	}))
}

// servesWorkflows reports false if the cluster's API server says that it has no Workflows: somebody has removed Argo's CRD.
func servesWorkflows(server discovery.ServerResourcesInterface) bool {
	list, err := server.ServerResourcesForGroupVersion(contract.WorkflowGVR.GroupVersion().String())
	if err != nil {
		return !apierrors.IsNotFound(err)
	}
	return slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == contract.WorkflowGVR.Resource })
}

// serveProbes answers the kubelet until the context is done. The probes speak of the process alone: it neither helps
// to restart it, nor to hold up its rollout, when the hub is away.
func serveProbes(ctx context.Context, address string) error {
	if address == "" || address == "0" {
		return nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen for health probes: %w", err)
	}
	mux := http.NewServeMux()
	for _, path := range []string{"/healthz", "/readyz"} {
		mux.Handle(path, healthz.CheckHandler{Checker: healthz.Ping})
	}
	server := &manager.Server{
		Name:            "health probes",
		Server:          &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second},
		Listener:        listener,
		ShutdownTimeout: ptr.To(time.Second),
	}
	return server.Start(ctx)
}

// knows provides the mapper of these kinds.
func knows(gvks ...schema.GroupVersionKind) func(*rest.Config, *http.Client) (meta.RESTMapper, error) {
	return func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return mapperOf(gvks...), nil }
}

// mapperOf returns a mapper for these namespaced kinds. It needs no discovery, so neither the API server nor the CRD has to be
// there when the agent starts.
func mapperOf(gvks ...schema.GroupVersionKind) meta.RESTMapper {
	mapper := meta.NewDefaultRESTMapper(nil)
	for _, gvk := range gvks {
		mapper.Add(gvk, meta.RESTScopeNamespace)
	}
	return mapper
}

// limited returns the access for clients that send so many requests per second at most, and take over what a server has after
// it was away.
func limited(config *rest.Config, qps float32, burst int) *rest.Config {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = qps, burst
	relist.AfterOutage(config)
	return config
}
