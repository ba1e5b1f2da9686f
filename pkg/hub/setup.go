// Package hub is the manager on the hub: it schedules Workflows, delivers them to their clusters and shows what becomes of them there.
package hub

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	clusterv1alpha1 "open-cluster-management.io/api/cluster/v1alpha1"
	clusterv1beta1 "open-cluster-management.io/api/cluster/v1beta1"
	clusterv1beta2 "open-cluster-management.io/api/cluster/v1beta2"
	workv1 "open-cluster-management.io/api/work/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/delivery"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/manifestwork"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/report"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/scheduler"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/steps"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/workflow"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/metrics"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/relist"
)

// ComponentName identifies the manager in Events, and its Lease.
const ComponentName = contract.AddonName + "-hub"

// Options configure the manager.
type Options struct {
	// MetricsBindAddress and HealthProbeBindAddress are host:port; "0" switches either off.
	MetricsBindAddress     string
	HealthProbeBindAddress string
	// MetricsSecure serves the metrics by TLS, and only to who may get the URL /metrics.
	MetricsSecure bool
	// LeaderElection makes replicas take turns; the Lease is in LeaderElectionNamespace.
	LeaderElection          bool
	LeaderElectionNamespace string
	// QPS and Burst bound the manager's requests to the hub's API server, per second.
	QPS   float32
	Burst int
	// Concurrency is the number of Workflows that each reconciler works on at a time.
	Concurrency int
	// DeletionTimeout is how long a deleted Workflow waits for a cluster that cannot be reached; 0 for ever.
	DeletionTimeout time.Duration
	// Steps runs steps of Workflows of an Argo controller on the hub in other clusters.
	Steps bool
	// RestoredAt is when the hub was restored from a backup; zero if it was not. A Workflow from before that may have run since
	// the backup was made: without a RemoteWorkflow it is held.
	RestoredAt time.Time
}

// Validate returns an error that names the flags to correct.
func (o Options) Validate(now time.Time) error {
	var errs []error
	if o.Concurrency < 1 {
		errs = append(errs, errors.New("--concurrency must be at least 1"))
	}
	if o.QPS <= 0 || o.Burst < 1 {
		errs = append(errs, errors.New("--kube-api-qps must be positive, and --kube-api-burst at least 1"))
	}
	if o.DeletionTimeout < 0 {
		errs = append(errs, errors.New("--deletion-timeout must not be negative"))
	}
	if o.RestoredAt.After(now) {
		// Until then every new Workflow would be held.
		errs = append(errs, fmt.Errorf("--restored-at must not be in the future: it is %s, and now is %s",
			o.RestoredAt.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)))
	}
	return errors.Join(errs...)
}

// Scheme returns the types that the manager reads and writes. Workflows are not among them: they stay untyped.
func Scheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, v1alpha1.AddToScheme, workv1.Install, addonv1beta1.Install,
		clusterv1.Install, clusterv1alpha1.Install, clusterv1beta1.Install, clusterv1beta2.Install, apiextensionsv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("build scheme: %w", err)
		}
	}
	return scheme, nil
}

// NewManager returns a manager for the hub that config reaches, with all reconcilers. It returns an error that says
// what to do when the hub lacks an API.
func NewManager(ctx context.Context, config *rest.Config, options Options) (manager.Manager, error) {
	if err := options.Validate(time.Now()); err != nil {
		return nil, err
	}
	scheme, err := Scheme()
	if err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = options.QPS, options.Burst
	relist.AfterOutage(config)
	mapper, err := newMapper(config, options.Steps)
	if err != nil {
		return nil, err
	}
	templates, err := templateInformers(config, mapper)
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		MapperProvider:                func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return mapper, nil },
		Cache:                         cacheOptions(options.Steps),
		Client:                        client.Options{Cache: &client.CacheOptions{Unstructured: true}},
		Metrics:                       metrics.Server(options.MetricsBindAddress, options.MetricsSecure),
		HealthProbeBindAddress:        options.HealthProbeBindAddress,
		LeaderElection:                options.LeaderElection,
		LeaderElectionID:              ComponentName,
		LeaderElectionNamespace:       options.LeaderElectionNamespace,
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return nil, fmt.Errorf("create manager: %w", err)
	}
	if err := requireRevision(ctx, mgr.GetAPIReader()); err != nil {
		return nil, err
	}
	if err := errors.Join(
		mgr.AddHealthzCheck("ping", healthz.Ping),
		addReadyz(mgr),
		mgr.Add(warnOfFullCRD(mgr.GetAPIReader(), mgr.GetEventRecorder(ComponentName))),
	); err != nil {
		return nil, fmt.Errorf("set up manager: %w", err)
	}
	return mgr, addReconcilers(ctx, mgr, templates, options)
}

// addReadyz makes the manager ready when its caches are synced and, where it leads, when it has begun to start its reconcilers.
func addReadyz(mgr manager.Manager) error {
	var works atomic.Bool
	return errors.Join(
		mgr.Add(manager.RunnableFunc(func(context.Context) error { // on the leader, after the caches
			works.Store(true)
			return nil
		})),
		mgr.AddReadyzCheck("caches", func(request *http.Request) error {
			ctx, cancel := context.WithTimeout(request.Context(), 100*time.Millisecond)
			defer cancel()
			if !mgr.GetCache().WaitForCacheSync(ctx) {
				return errors.New("the caches are not synced yet")
			}
			return nil
		}),
		mgr.AddReadyzCheck("leader", func(*http.Request) error {
			select {
			case <-mgr.Elected():
				if !works.Load() {
					return errors.New("this replica leads, and its reconcilers have not been started yet")
				}
			default: // it stands by
			}
			return nil
		}),
	)
}

// newMapper returns the manager's view of what the hub serves, once that is all that is needed: a manager without it
// cannot even be made, and would not say what is to be done.
func newMapper(config *rest.Config, hasSteps bool) (meta.RESTMapper, error) {
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("create client: %w", err)
	}
	mapper, err := apiutil.NewDynamicRESTMapper(config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("create mapper: %w", err)
	}
	return mapper, requireAPIs(mapper, hasSteps)
}

// addReconcilers adds the three rooms of a Workflow: the scheduler has it until it is assigned, the workflow reconciler from then on, and
// the delivery brings it to its cluster.
func addReconcilers(ctx context.Context, mgr manager.Manager, templates []toolscache.SharedIndexInformer, options Options) error {
	hubID, err := ID(ctx, mgr.GetAPIReader())
	if err != nil {
		return err
	}
	recorder, blocked := mgr.GetEventRecorder(ComponentName), newUndeliverable()
	argoOnHub, err := addSteps(ctx, mgr, recorder, options)
	if err != nil {
		return err
	}
	return errors.Join(
		(&scheduler.Scheduler{
			Client: mgr.GetClient(), Recorder: recorder, HubID: hubID, RestoredAt: options.RestoredAt, Clock: clock.RealClock{},
			Concurrency: options.Concurrency, Templates: templates, ArgoOnHub: argoOnHub,
		}).SetupWithManager(ctx, mgr),
		(&workflow.Reconciler{
			Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Recorder: recorder, Clock: clock.RealClock{}, HubID: hubID,
			DeletionTimeout: options.DeletionTimeout, RestoredAt: options.RestoredAt, DeliveryRefused: blocked.of,
		}).SetupWithManager(ctx, mgr, blocked.changes, controllerOptions(options)),
		(&delivery.Reconciler{
			Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Clock: clock.RealClock{}, HubID: hubID, Refused: blocked.set,
		}).SetupWithManager(ctx, mgr, controllerOptions(options)),
	)
}

// addSteps adds the reconciler of steps. Where they are off, nothing keeps an Argo controller on the hub from our Workflows, and what it
// returns looks for one.
func addSteps(
	ctx context.Context, mgr manager.Manager, recorder events.EventRecorder, options Options,
) (func(context.Context) (string, error), error) {
	if options.Steps {
		return nil, (&steps.Reconciler{
			Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Recorder: recorder, Clock: clock.RealClock{},
		}).SetupWithManager(ctx, mgr, controllerOptions(options))
	}
	if err := mgr.Add(steps.Off(mgr.GetClient())); err != nil {
		return nil, fmt.Errorf("set up manager: %w", err)
	}
	return (&hubArgo{live: mgr.GetAPIReader(), recorder: recorder, clock: clock.RealClock{}}).find, nil
}

// controllerOptions replaces the default rate limiter: that one also bounds the retries of all Workflows together,
// to ten a second.
func controllerOptions(options Options) controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: options.Concurrency,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](5*time.Millisecond, 30*time.Second),
		// One process may hold more than one manager: a test does, for leader and deputy.
		SkipNameValidation: ptr.To(true),
		// That of controller-runtime 0.23 can block for good while it is shut down, and with it the process for the grace period.
		UsePriorityQueue: ptr.To(false),
	}
}

// cacheOptions restrict the caches to what is ours, and to what of it matters.
func cacheOptions(hasSteps bool) cache.Options {
	options := cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			// Whatever the value of the label: a wrong one must be told. The objects are large and are only read.
			contract.NewWorkflow(): {
				Label: exists(contract.LabelEnable), UnsafeDisableDeepCopy: ptr.To(true), Transform: hubworkflow.Trim,
			},
			&v1alpha1.RemoteWorkflow{}:          {Transform: report.Trim},
			&workv1.ManifestWork{}:              {Label: exists(contract.LabelDelivery), Transform: manifestwork.Trim},
			&addonv1beta1.ManagedClusterAddOn{}: {Field: fields.OneTermEqualSelector("metadata.name", contract.AddonName)},
			&clusterv1alpha1.AddOnPlacementScore{}: {
				Field: fields.OneTermEqualSelector("metadata.name", contract.ScoreName), Transform: scheduler.TrimScore,
			},
		},
	}
	if hasSteps {
		maps.Copy(options.ByObject, steps.Cached())
	}
	return options
}

func exists(label string) labels.Selector {
	requirement, err := labels.NewRequirement(label, selection.Exists, nil)
	utilruntime.Must(err) // without it, all of the hub would be cached
	return labels.NewSelector().Add(*requirement)
}

// ID returns the hub's id: the UID of its kube-system namespace.
func ID(ctx context.Context, reader client.Reader) (string, error) {
	namespace := &corev1.Namespace{}
	if err := reader.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, namespace); err != nil {
		return "", fmt.Errorf("read the hub's identity from namespace %s: %w", metav1.NamespaceSystem, err)
	}
	return string(namespace.UID), nil
}

// requireAPIs returns an error that says what is missing on the hub, and how to get it.
func requireAPIs(mapper meta.RESTMapper, hasSteps bool) error {
	const ocm = "install Open Cluster Management on the hub (clusteradm init)"
	ofOCM := func(version metav1.GroupVersion, kind string) schema.GroupVersionKind {
		return schema.GroupVersion(version).WithKind(kind)
	}
	required := []struct {
		kind   schema.GroupVersionKind
		advice string
	}{
		{contract.WorkflowGVK, "set the chart's value crds.argoWorkflows=true, or install Argo's CRDs on the hub"},
		{v1alpha1.GroupVersion.WithKind("RemoteWorkflow"), "set the chart's value crds.install=true, or apply the CRD in its folder files/crds"},
		{ofOCM(workv1.GroupVersion, "ManifestWork"), ocm},
		{ofOCM(clusterv1.GroupVersion, "ManagedCluster"), ocm},
		{ofOCM(clusterv1alpha1.GroupVersion, "AddOnPlacementScore"), ocm},
		{ofOCM(clusterv1beta1.GroupVersion, "PlacementDecision"), ocm},
		{ofOCM(clusterv1beta2.GroupVersion, "ManagedClusterSetBinding"), ocm},
		{ofOCM(addonv1beta1.GroupVersion, "ManagedClusterAddOn"), "update Open Cluster Management on the hub to a version that serves it"},
	}
	if hasSteps {
		required = append(required, struct {
			kind   schema.GroupVersionKind
			advice string
		}{contract.WorkflowTaskSetGVK, "install Argo's CRDs on the hub, or do not set --steps"})
	}
	for _, r := range required {
		isThere, err := isServed(mapper, r.kind)
		if err != nil {
			return err
		}
		if !isThere {
			return fmt.Errorf("the hub does not serve %s %s: %s", r.kind.GroupVersion(), r.kind.Kind, r.advice)
		}
	}
	return nil
}
