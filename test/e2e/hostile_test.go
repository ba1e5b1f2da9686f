package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	clusterv1beta1 "open-cluster-management.io/api/cluster/v1beta1"
	clusterv1beta2 "open-cluster-management.io/api/cluster/v1beta2"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// tenant returns access to the hub for somebody who may do in the namespace what its administrator may: also write its bindings and
// PlacementDecisions, but bind no set.
func (s *space) tenant() client.Client {
	s.t.Helper()
	object := metav1.ObjectMeta{Namespace: s.name, Name: "tenant"}
	require.NoError(s.t, theHub.client.Create(s.t.Context(), &rbacv1.Role{ObjectMeta: object, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"argoproj.io"}, Resources: []string{"workflows"}, Verbs: []string{"*"}},
		{APIGroups: []string{"cluster.open-cluster-management.io"}, Verbs: []string{"*"}, Resources: []string{
			"managedclustersetbindings", "placements", "placementdecisions", "placementdecisions/status",
		}},
	}}))
	require.NoError(s.t, theHub.client.Create(s.t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: object, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: object.Name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "tenant-of-" + s.name}},
	}))
	config := rest.CopyConfig(theHub.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "tenant-of-" + s.name, Groups: []string{"system:authenticated"}}
	return clientOf(s.t, config)
}

// onlyCluster2 makes a ManagedClusterSet of cluster2 alone.
func onlyCluster2(t *testing.T, name string) *clusterv1beta2.ManagedClusterSet {
	t.Helper()
	set := &clusterv1beta2.ManagedClusterSet{ObjectMeta: metav1.ObjectMeta{Name: name}}
	set.Spec.ClusterSelector.SelectorType = clusterv1beta2.LabelSelector
	set.Spec.ClusterSelector.LabelSelector = &metav1.LabelSelector{MatchLabels: map[string]string{labelName: cluster2.Name}}
	require.NoError(t, theHub.client.Create(t.Context(), set))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		assert.NoError(t, theHub.client.Delete(ctx, set))
	})
	return set
}

// TestATenantReachesOnlyWhatIsBoundToTheNamespace has a tenant try for the Workflow of another, for a cluster that is not bound, and
// for namespaces that are not open: cluster2 is bound, and open besides is the namespace of the other tenant.
func TestATenantReachesOnlyWhatIsBoundToTheNamespace(t *testing.T) {
	t.Parallel()
	others := newSpace(t)
	h := others.record(cluster2)
	victim := others.create(others.hello("wanted", on(cluster2), lasting(10*time.Minute)))
	victim.waitForNodes(1)
	s := newUnboundSpace(t)
	set := onlyCluster2(t, s.name)
	s.bindTo(set.Name, annotate(contract.AnnotationNamespaces, others.name))
	tenant := s.tenant()

	t.Run("permissions", func(t *testing.T) { refusesTheTenant(t, s, others, victim.in(t), tenant) })
	t.Run("policies", func(t *testing.T) { policiesStopTheTenant(t, s, set.Name, tenant) })
	t.Run("scheduler", func(t *testing.T) { neverSchedules(t, s, others, victim.in(t), tenant) })

	require.NoError(t, h.ran(1, 1))
	require.NoError(t, victim.wants(theHub, "Running", ""))
	labtest.Eventually(t, patience, func() error { return victim.mirrored(cluster2) })
}

// refusesTheTenant tries what the tenant has no right to.
func refusesTheTenant(t *testing.T, s, others *space, victim *run, tenant client.Client) {
	t.Helper()
	rw, err := victim.remoteWorkflow(cluster2)
	require.NoError(t, err)
	invented := &v1alpha1.RemoteWorkflow{ObjectMeta: metav1.ObjectMeta{Namespace: cluster2.Name, Name: "invented"}, Spec: rw.Spec}
	work := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Namespace: cluster2.Name, Name: "invented"}}
	anything := client.RawPatch(mergePatch, []byte(`{"metadata":{"labels":{"forged":"true"}}}`))
	for what, err := range map[string]error{
		"create a Workflow in another's namespace": tenant.Create(t.Context(), others.hello("mine", on(cluster2))),
		"read another's Workflow":                  tenant.Get(t.Context(), victim.key, contract.NewWorkflow()),
		"change another's Workflow":                tenant.Patch(t.Context(), victim.must(theHub), anything),
		"delete another's Workflow":                tenant.Delete(t.Context(), victim.must(theHub)),
		"create a RemoteWorkflow":                  tenant.Create(t.Context(), invented),
		"report on a RemoteWorkflow":               tenant.Status().Patch(t.Context(), rw.DeepCopy(), anything),
		"delete a RemoteWorkflow":                  tenant.Delete(t.Context(), rw.DeepCopy()),
		"create a ManifestWork":                    tenant.Create(t.Context(), work),
		"write what a cluster has free":            tenant.Status().Patch(t.Context(), gen.Score(cluster2.Name, gen.Nodes(1, 1)), anything),
		"enable the addon":                         tenant.Create(t.Context(), gen.ManagedClusterAddOn("cluster9")),
		"label a ManagedCluster":                   tenant.Patch(t.Context(), gen.ManagedCluster(cluster1.Name), anything),
		"change a ManagedClusterSet":               tenant.Patch(t.Context(), gen.ManagedClusterSet(s.name), anything),
	} {
		assert.True(t, apierrors.IsForbidden(err), "%s: %v", what, err)
	}
}

// policiesStopTheTenant tries what the tenant has the right to, and admission refuses.
func policiesStopTheTenant(t *testing.T, s *space, set string, tenant client.Client) {
	t.Helper()
	binding := func(set string, mods ...gen.Mod) client.Object {
		return gen.ManagedClusterSetBinding(set, append(mods, gen.InNamespace(s.name))...)
	}
	everywhere := annotate(contract.AnnotationNamespaces, contract.AnyNamespace)
	waits := s.create(s.hello("waits", gen.WithCluster("cluster99")))
	sent := s.create(s.hello("sent", on(cluster2), lasting(time.Minute)))
	sent.waitForNodes(1)
	patch := func(obj client.Object, key, value string) error {
		return tenant.Patch(t.Context(), obj, client.RawPatch(mergePatch, fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, key, value)))
	}
	for message, err := range map[string]error{
		"who may bind ManagedClusterSet " + set:    patch(binding(set), contract.AnnotationNamespaces, contract.AnyNamespace),
		"who may bind ManagedClusterSet global":    tenant.Create(t.Context(), binding(gen.GlobalSet, everywhere)),
		"are internal: leave them as they are":     patch(waits.must(theHub), contract.AnnotationAssigned, string(waits.uid)+"/1/cluster1"),
		"has been dispatched to cluster cluster2.": patch(sent.must(theHub), contract.AnnotationCluster, cluster1.Name),
	} {
		require.ErrorContains(t, err, message)
		assert.True(t, apierrors.IsForbidden(err), "%v", err)
	}
	err := theHub.client.Patch(t.Context(), binding(set), client.RawPatch(mergePatch,
		fmt.Appendf(nil, `{"metadata":{"annotations":{%q:"kube-system"}}}`, contract.AnnotationNamespaces)))
	require.ErrorContains(t, err, "Workflows may not run in kube-system", "not even an administrator opens it")
	sent.delete(theHub)
}

// neverSchedules creates, as the tenant, Workflows that go nowhere and say why.
func neverSchedules(t *testing.T, s, others *space, victim *run, tenant client.Client) {
	t.Helper()
	placement := gen.Placement("forged", gen.InNamespace(s.name), annotate(clusterv1beta1.PlacementDisableAnnotation, "true"))
	require.NoError(t, tenant.Create(t.Context(), placement))
	decision := gen.PlacementDecision(placement.Name, 1, nil, gen.InNamespace(s.name))
	require.NoError(t, tenant.Create(t.Context(), decision))
	decision.Status.Decisions = []clusterv1beta1.ClusterDecision{{ClusterName: cluster1.Name}, {ClusterName: "cluster99"}}
	require.NoError(t, tenant.Status().Update(t.Context(), decision))
	inNamespace := func(name string) gen.Mod { return annotate(contract.AnnotationClusterNamespace, name) }

	for name, test := range map[string]struct {
		mods            []gen.Mod
		reason, message string
	}{
		"unbound": {[]gen.Mod{on(cluster1)}, "ClusterNotBound", `managed cluster "cluster1" is not open to namespace ` + s.name},
		"claims": {
			[]gen.Mod{
				on(cluster1), annotate(contract.AnnotationAssigned, victim.must(theHub).GetAnnotations()[contract.AnnotationAssigned]),
				gen.WithFinalizers(contract.FinalizerDispatch),
			},
			"ClusterNotBound", `managed cluster "cluster1" is not open to namespace ` + s.name,
		},
		"decides": {
			[]gen.Mod{annotate(contract.AnnotationCluster, ""), gen.WithPlacement(placement.Name)}, "NoUsableCluster", "not bound to the namespace",
		},
		"system": {
			[]gen.Mod{on(cluster2), inNamespace("kube-system")}, "NamespaceNotAllowed", "no Workflow is sent to namespace kube-system",
		},
		"agents": {
			[]gen.Mod{on(cluster2), inNamespace("open-cluster-management-agent")}, "NamespaceNotAllowed",
			"no Workflow is sent to namespace open-cluster-management-agent",
		},
		"third": {
			[]gen.Mod{on(cluster2), inNamespace("default")}, "NamespaceNotAllowed", "may not run in namespace default of managed cluster",
		},
		victim.key.Name: {
			[]gen.Mod{on(cluster2), inNamespace(others.name)}, "NameTaken", "waiting for the name " + others.name + "/wanted on cluster cluster2",
		},
	} {
		t.Run(name, func(t *testing.T) {
			wf := s.hello(name, test.mods...)
			require.NoError(t, tenant.Create(t.Context(), wf))
			r := &run{t: t, key: client.ObjectKeyFromObject(wf), uid: wf.GetUID()}
			r.waitForEvent(test.reason, test.message)
			r.waitForMessage(contract.PhasePending, test.message)
			labtest.Holds(t, time.Second, func() error { return errors.Join(r.wants(theHub, contract.PhasePending, test.message), r.traces()) })
			require.NoError(t, tenant.Delete(t.Context(), wf))
			labtest.Eventually(t, patience, func() error { return r.gone(theHub) })
		})
	}
}
