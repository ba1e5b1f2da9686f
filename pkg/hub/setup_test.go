package hub

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1alpha1 "open-cluster-management.io/api/cluster/v1alpha1"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// served are the kinds that the hub must serve.
var served = []schema.GroupVersionKind{
	{Group: "argoproj.io", Version: "v1alpha1", Kind: "Workflow"},
	{Group: "workflow.open-cluster-management.io", Version: "v1alpha1", Kind: "RemoteWorkflow"},
	{Group: "work.open-cluster-management.io", Version: "v1", Kind: "ManifestWork"},
	{Group: "cluster.open-cluster-management.io", Version: "v1", Kind: "ManagedCluster"},
	{Group: "cluster.open-cluster-management.io", Version: "v1alpha1", Kind: "AddOnPlacementScore"},
	{Group: "cluster.open-cluster-management.io", Version: "v1beta1", Kind: "PlacementDecision"},
	{Group: "cluster.open-cluster-management.io", Version: "v1beta2", Kind: "ManagedClusterSetBinding"},
	{Group: "addon.open-cluster-management.io", Version: "v1beta1", Kind: "ManagedClusterAddOn"},
	{Group: "argoproj.io", Version: "v1alpha1", Kind: "WorkflowTaskSet"},
}

// optional are the kinds that the hub may lack.
var optional = []schema.GroupVersionKind{
	{Group: "argoproj.io", Version: "v1alpha1", Kind: "WorkflowTemplate"},
	{Group: "argoproj.io", Version: "v1alpha1", Kind: "ClusterWorkflowTemplate"},
}

// without returns a mapper of a hub that lacks a kind.
func without(kind string) meta.RESTMapper {
	mapper := meta.NewDefaultRESTMapper(nil)
	for _, gvk := range slices.Concat(served, optional) {
		if gvk.Kind != kind {
			mapper.Add(gvk, meta.RESTScopeNamespace)
		}
	}
	return mapper
}

func TestRequireAPIsSaysWhatIsMissingAndHowToGetIt(t *testing.T) {
	require.NoError(t, requireAPIs(without(""), true))
	for kind, want := range map[string]string{
		"Workflow":                 "the hub does not serve argoproj.io/v1alpha1 Workflow: set the chart's value crds.argoWorkflows=true",
		"RemoteWorkflow":           "set the chart's value crds.install=true, or apply the CRD in its folder files/crds",
		"ManifestWork":             "work.open-cluster-management.io/v1 ManifestWork: install Open Cluster Management",
		"ManagedCluster":           "install Open Cluster Management",
		"AddOnPlacementScore":      "install Open Cluster Management",
		"PlacementDecision":        "install Open Cluster Management",
		"ManagedClusterSetBinding": "install Open Cluster Management",
		"WorkflowTaskSet":          "install Argo's CRDs on the hub, or do not set --steps",
		"ManagedClusterAddOn":      "addon.open-cluster-management.io/v1beta1 ManagedClusterAddOn: update Open Cluster Management",
	} {
		require.ErrorContains(t, requireAPIs(without(kind), true), want, kind)
	}
	require.NoError(t, requireAPIs(without("WorkflowTaskSet"), false))
}

func TestAHubMayLackArgosTemplates(t *testing.T) {
	for missing, want := range map[string]int{"": 2, "WorkflowTemplate": 1, "ClusterWorkflowTemplate": 1} {
		require.NoError(t, requireAPIs(without(missing), true), missing)
		templates, err := templateInformers(&rest.Config{}, without(missing))
		require.NoError(t, err)
		assert.Len(t, templates, want)
	}
	none, err := templateInformers(&rest.Config{}, answering{err: apierrors.NewNotFound(schema.GroupResource{}, "")})
	require.NoError(t, err)
	assert.Empty(t, none)
	_, err = templateInformers(&rest.Config{}, answering{err: apierrors.NewServiceUnavailable("starting")})
	assert.True(t, apierrors.IsServiceUnavailable(err), "got %v", err)
}

// answering is a mapper that always answers with an error.
type answering struct {
	meta.RESTMapper
	err error
}

func (a answering) RESTMapping(schema.GroupKind, ...string) (*meta.RESTMapping, error) {
	return nil, a.err
}

func TestRequireAPIsTellsAHubThatDoesNotAnswerFromOneThatLacksAnAPI(t *testing.T) {
	err := requireAPIs(answering{err: apierrors.NewServiceUnavailable("starting")}, true)
	assert.True(t, apierrors.IsServiceUnavailable(err), "got %v", err)
	assert.NotContains(t, err.Error(), "install")

	err = requireAPIs(answering{err: apierrors.NewNotFound(schema.GroupResource{}, "")}, true)
	assert.ErrorContains(t, err, "does not serve")
}

func TestNewManagerOnAHubThatServesNothing(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/api":
			fmt.Fprint(w, `{"kind":"APIVersions","versions":["v1"]}`)
		case "/apis":
			fmt.Fprint(w, `{"kind":"APIGroupList","apiVersion":"v1","groups":[]}`)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	_, err := NewManager(t.Context(), &rest.Config{Host: server.URL},
		Options{MetricsBindAddress: "0", HealthProbeBindAddress: "0", QPS: 1, Burst: 1, Concurrency: 1})
	require.ErrorContains(t, err, "crds.argoWorkflows=true")
}

func TestOptionsThatCannotWorkNameTheFlag(t *testing.T) {
	now := time.Now()
	valid := Options{QPS: 1, Burst: 1, Concurrency: 1, RestoredAt: now}
	require.NoError(t, valid.Validate(now))
	for flag, change := range map[string]func(*Options){
		"--concurrency":      func(o *Options) { o.Concurrency = 0 },
		"--deletion-timeout": func(o *Options) { o.DeletionTimeout = -time.Second },
		"--kube-api-qps":     func(o *Options) { o.QPS = -1 },
		"--kube-api-burst":   func(o *Options) { o.Burst = 0 },
		"--restored-at":      func(o *Options) { o.RestoredAt = now.Add(time.Hour) },
	} {
		options := valid
		change(&options)
		require.ErrorContains(t, options.Validate(now), flag)
		_, err := NewManager(t.Context(), &rest.Config{}, options)
		require.ErrorContains(t, err, flag)
	}
}

func TestTheCachesHoldNothingButWhatIsOurs(t *testing.T) {
	options := cacheOptions(true)
	byKind := map[string]cache.ByObject{}
	for obj, by := range options.ByObject {
		switch obj.(type) {
		case *v1alpha1.RemoteWorkflow:
			byKind["RemoteWorkflow"] = by
		case *workv1.ManifestWork:
			byKind["ManifestWork"] = by
		case *addonv1beta1.ManagedClusterAddOn:
			byKind["ManagedClusterAddOn"] = by
		case *clusterv1alpha1.AddOnPlacementScore:
			byKind["AddOnPlacementScore"] = by
		default:
			byKind[obj.GetObjectKind().GroupVersionKind().Kind] = by
		}
	}
	require.Len(t, byKind, 7)
	for _, kind := range []string{"Workflow", "RemoteWorkflow", "ManifestWork", "AddOnPlacementScore"} {
		assert.NotNil(t, byKind[kind].Transform, "%s is trimmed", kind)
	}
	for _, value := range []string{"true", "yes", ""} {
		assert.True(t, byKind["Workflow"].Label.Matches(labels.Set{contract.LabelEnable: value}), "a wrong value must be told: %q", value)
	}
	assert.False(t, byKind["Workflow"].Label.Matches(labels.Set{"app": "somebody's"}))
	assert.True(t, *byKind["Workflow"].UnsafeDisableDeepCopy)
	assert.True(t, byKind["ManifestWork"].Label.Matches(labels.Set{contract.LabelDelivery: "any"}))
	assert.False(t, byKind["ManifestWork"].Label.Matches(labels.Set{"app": "somebody's"}))
	assert.False(t, byKind["AddOnPlacementScore"].Field.Matches(fields.Set{"metadata.name": "somebody's"}))
	assert.True(t, byKind["ManagedClusterAddOn"].Field.Matches(fields.Set{"metadata.name": "argo-workflow-multicluster"}))
	assert.False(t, byKind["ManagedClusterAddOn"].Field.Matches(fields.Set{"metadata.name": "other"}))

	stripped, err := options.DefaultTransform(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{{}}}})
	require.NoError(t, err)
	assert.Empty(t, stripped.(client.Object).GetManagedFields())
}

func TestTheSchemeHasAllThatTheManagerReadsButWhatIsArgos(t *testing.T) {
	scheme, err := Scheme()
	require.NoError(t, err)
	for _, gvk := range served {
		assert.Equal(t, gvk.Group != "argoproj.io", scheme.Recognizes(gvk), gvk)
	}
}

func TestTheHubsIdentityIsTheUIDOfKubeSystem(t *testing.T) {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system", UID: "the hub"}}
	id, err := ID(t.Context(), fake.NewClientBuilder().WithObjects(namespace).Build())
	require.NoError(t, err)
	assert.Equal(t, "the hub", id)

	_, err = ID(t.Context(), fake.NewClientBuilder().Build())
	require.ErrorContains(t, err, "namespace kube-system")
}

func TestRetriesOfOneWorkflowDoNotDelayAnother(t *testing.T) {
	options := controllerOptions(Options{Concurrency: 7})
	assert.Equal(t, 7, options.MaxConcurrentReconciles)
	request := func(name string) reconcile.Request {
		return reconcile.Request{NamespacedName: client.ObjectKey{Namespace: "default", Name: name}}
	}
	var longest time.Duration
	for range 100 {
		longest = options.RateLimiter.When(request("failing"))
	}
	assert.Equal(t, 30*time.Second, longest)
	for i := range 1000 {
		assert.Equal(t, 5*time.Millisecond, options.RateLimiter.When(request("fine"+time.Duration(i).String())))
	}
}
