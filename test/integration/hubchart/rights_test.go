package hubchart

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"open-cluster-management.io/addon-framework/pkg/addonmanager"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/addon"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/uninstall"
	"open-cluster-management.io/argo-workflow-multicluster/test/chart"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

const (
	cluster = "cluster1"
	// manager is the manager's Deployment and ServiceAccount.
	manager = chart.Release + "-hub"
	// agentRole is the agent's Role in the namespace of its cluster.
	agentRole = "open-cluster-management:argo-workflow-multicluster:agent"
)

// userOf is the user that a ServiceAccount of the chart is.
func userOf(account string) string { return "system:serviceaccount:" + chart.Release + ":" + account }

// refusals records what a client was refused for lack of a right.
type refusals struct {
	mu       sync.Mutex
	requests []string
}

// of returns the access of a user whose refusals are recorded.
func (r *refusals) of(t *testing.T, user string) *rest.Config {
	t.Helper()
	config, err := server.User(user)
	require.NoError(t, err)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(request)
			if err == nil && response.StatusCode == http.StatusForbidden {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.requests = append(r.requests, request.Method+" "+request.URL.String())
			}
			return response, err
		})
	})
	return config
}

func (r *refusals) assertNone(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	assert.Empty(t, r.requests)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// enableAddon enables the agent's addon on the cluster, as OCM does, and lets the agent register.
func enableAddon(t *testing.T, c client.Client) {
	t.Helper()
	ctx := t.Context()
	management := &addonv1beta1.ClusterManagementAddOn{}
	require.NoError(t, c.Get(ctx, client.ObjectKey{Name: contract.AddonName}, management))
	enabled := gen.ManagedClusterAddOn(cluster,
		gen.WithCondition(addonv1beta1.ManagedClusterAddOnConditionConfigured, metav1.ConditionTrue, "Configured", ""))
	kind := schema.GroupVersion(addonv1beta1.GroupVersion).WithKind("ClusterManagementAddOn")
	enabled.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(management, kind)}
	status := enabled.DeepCopy().Status
	status.Registrations = []addonv1beta1.RegistrationConfig{{
		Type: addonv1beta1.KubeClient,
		KubeClient: &addonv1beta1.KubeClientConfig{
			Subject: addonv1beta1.KubeClientSubject{BaseSubject: addonv1beta1.BaseSubject{User: "agent"}},
		},
	}}
	for _, object := range []client.Object{namespace(cluster), gen.ManagedCluster(cluster), enabled} {
		require.NoError(t, c.Create(ctx, object))
	}
	enabled.Status = status
	require.NoError(t, c.Status().Update(ctx, enabled))
}

// TestRightsAreEnough has the manager lead, read all that it watches, send a Workflow, delete one and deploy the addon, and then
// the uninstall hook take all that back.
func TestRightsAreEnough(t *testing.T) {
	c := admin
	enableAddon(t, c)
	refused := &refusals{}
	stop := startManager(t, refused.of(t, userOf(manager)))
	require.NoError(t, eventually(t.Context(), func() error {
		return errors.Join(
			c.Get(t.Context(), client.ObjectKey{Namespace: cluster, Name: agentRole}, &rbacv1.RoleBinding{}),
			c.Get(t.Context(), client.ObjectKey{Namespace: cluster, Name: "addon-argo-workflow-multicluster-deploy-0"}, &workv1.ManifestWork{}),
		)
	}))
	wf := workflow("waiting", gen.WithCluster("nowhere"))
	create(t, wf)
	expired := createExpired(t)
	require.NoError(t, eventually(t.Context(), func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(wf), wf); err != nil {
			return err
		}
		if contract.Phase(wf) != contract.PhasePending {
			return errors.New("the manager has not seen the Workflow")
		}
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(expired), expired); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the Workflow whose time is over is not gone: %w", err)
		}
		return nil
	}))
	stop()
	refused.assertNone(t)

	uninstalls(t, c)
}

// createExpired creates a Workflow whose time to live is over. It is the manager's when it has its status, which belongs to a
// UID, and not before.
func createExpired(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	wf := workflow("expired", gen.WithTTL("secondsAfterCompletion", 0))
	ours := wf.GetLabels()
	wf.SetLabels(nil)
	create(t, wf)
	wf.SetLabels(ours)
	gen.WithHubStatus("Succeeded", map[string]any{"finishedAt": gen.Time.UTC().Format(time.RFC3339)})(wf)
	require.NoError(t, admin.Update(t.Context(), wf))
	return wf
}

// uninstalls runs the hook. No work agent and no agent answers it, so that it has to do without.
func uninstalls(t *testing.T, c client.Client) {
	t.Helper()
	wf := create(t, workflow("started", gen.WithAssignment(cluster)))
	rw := gen.RemoteWorkflow(wf, cluster, gen.WithFinalizers(contract.FinalizerDispatch))
	require.NoError(t, c.Create(t.Context(), rw))
	rw.Status.RemoteUID = "copy"
	require.NoError(t, c.Status().Update(t.Context(), rw))
	delivers := gen.WithLabels(map[string]string{contract.LabelDelivery: contract.DeliveryGated})
	require.NoError(t, c.Create(t.Context(), gen.ManifestWork(rw, delivers)))

	refused := &refusals{}
	config := refused.of(t, userOf(manager+"-uninstall"))
	hook, err := client.New(config, client.Options{Scheme: c.Scheme()})
	require.NoError(t, err)
	out := &bytes.Buffer{}
	err = uninstall.Run(t.Context(), hook, uninstall.Options{
		Deployment: client.ObjectKey{Namespace: chart.Release, Name: manager},
		Lease:      hub.ComponentName, HubID: gen.HubID, Timeout: 30 * time.Second, Out: out, RunAddons: addonManager(t, config),
	})
	require.ErrorContains(t, err, "has not answered in time", out)
	refused.assertNone(t)
	for _, gone := range []client.Object{
		rw, gen.ManagedClusterAddOn(cluster),
		&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: chart.Release, Name: hub.ComponentName}},
	} {
		err := c.Get(t.Context(), client.ObjectKeyFromObject(gone), gone)
		assert.True(t, apierrors.IsNotFound(err), "%T: %v", gone, err)
	}
	require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(wf), wf))
	assert.Empty(t, wf.GetFinalizers())
	management := &addonv1beta1.ClusterManagementAddOn{}
	require.NoError(t, c.Get(t.Context(), client.ObjectKey{Name: contract.AddonName}, management))
	assert.Equal(t, addonv1beta1.AddonInstallStrategyManual, management.Spec.InstallStrategy.Type)
	deployment := &appsv1.Deployment{}
	require.NoError(t, c.Get(t.Context(), client.ObjectKey{Namespace: chart.Release, Name: manager}, deployment))
	assert.Equal(t, ptr.To[int32](0), deployment.Spec.Replicas)
}

// startManager starts the manager with its addons, and returns what stops it.
func startManager(t *testing.T, config *rest.Config) (stop func()) {
	t.Helper()
	mgr, err := hub.NewManager(t.Context(), config, hub.Options{
		MetricsBindAddress: "0", HealthProbeBindAddress: "0", QPS: 100, Burst: 100, Concurrency: 1,
		LeaderElection: true, LeaderElectionNamespace: chart.Release, Steps: true,
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	ended := make(chan error, 2)
	run := addonManager(t, config)
	go func() { ended <- mgr.Start(ctx) }()
	go func() { ended <- run(ctx) }()
	synced, synchronized := context.WithTimeout(ctx, patience)
	defer synchronized()
	require.True(t, mgr.GetCache().WaitForCacheSync(synced), "it may not read all that it watches")
	return func() {
		cancel()
		for range 2 {
			require.NoError(t, <-ended)
		}
	}
}

// addonManager returns what runs the addons until its context ends.
func addonManager(t *testing.T, config *rest.Config) func(context.Context) error {
	t.Helper()
	addons, err := addonmanager.New(config)
	require.NoError(t, err)
	require.NoError(t, addon.AddToManager(addons, config, addon.Options{AgentImage: "agent", HubID: gen.HubID}))
	return func(ctx context.Context) error {
		if err := addons.Start(ctx); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}
}

func TestManagerGrantsNoMoreThanItHas(t *testing.T) {
	c := as(t, userOf(manager))
	role := func(rules ...rbacv1.PolicyRule) *rbacv1.Role {
		return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: agentRole}, Rules: rules}
	}
	secrets := rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}}
	err := c.Create(t.Context(), role(secrets))
	require.True(t, apierrors.IsForbidden(err), err)
	granted := role(rbacv1.PolicyRule{
		APIGroups: []string{"workflow.open-cluster-management.io"}, Resources: []string{"remoteworkflows"}, Verbs: []string{"get"},
	})
	require.NoError(t, c.Create(t.Context(), granted))
	granted.Rules = append(granted.Rules, secrets)
	err = c.Update(t.Context(), granted)
	require.True(t, apierrors.IsForbidden(err), err)
}
