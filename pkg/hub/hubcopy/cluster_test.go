package hubcopy_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestWhyAClusterIsAway(t *testing.T) {
	available := func(status metav1.ConditionStatus, message string) gen.Mod {
		return gen.WithCondition(clusterv1.ManagedClusterConditionAvailable, status, "Test", message)
	}
	withoutConditions := gen.ManagedCluster("cluster1")
	withoutConditions.Status.Conditions = nil
	for name, test := range map[string]struct {
		cluster   *clusterv1.ManagedCluster
		why       string
		isDated   bool
		isDropped bool
	}{
		"it is available":     {cluster: gen.ManagedCluster("cluster1"), isDated: true},
		"there is none":       {nil, "the hub has no managed cluster of this name", false, true},
		"it is leaving":       {gen.ManagedCluster("cluster1", gen.Deleting()), "the cluster is being detached", true, true},
		"it has not come yet": {withoutConditions, "the cluster has not been available yet", false, false},
		"it is lost":          {gen.ManagedCluster("cluster1", available(metav1.ConditionUnknown, "no lease")), "the cluster is not available: no lease", true, false},
		"it is not healthy":   {gen.ManagedCluster("cluster1", available(metav1.ConditionFalse, "")), "the cluster is not available", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			assertAbsence(t, test.why, test.isDated, hubcopy.AbsenceOfCluster(test.cluster))
			assert.Equal(t, test.isDropped, hubcopy.IsDetached(test.cluster))
		})
	}
}

func TestWhyAnAgentIsAway(t *testing.T) {
	available := func(status metav1.ConditionStatus, message string) gen.Mod {
		return gen.WithCondition(addonv1beta1.ManagedClusterAddOnConditionAvailable, status, "Test", message)
	}
	withoutConditions := gen.ManagedClusterAddOn("cluster1")
	withoutConditions.Status.Conditions = nil
	for name, test := range map[string]struct {
		addon   *addonv1beta1.ManagedClusterAddOn
		why     string
		isDated bool
	}{
		"it is available":     {gen.ManagedClusterAddOn("cluster1"), "", true},
		"there is none":       {nil, "the addon argo-workflow-multicluster is not enabled there", false},
		"it has not come yet": {withoutConditions, "the addon argo-workflow-multicluster has not been available yet", false},
		"it is lost": {
			gen.ManagedClusterAddOn("cluster1", available(metav1.ConditionUnknown, "no lease")), "the addon argo-workflow-multicluster is not available: no lease", true,
		},
		"it is being disabled": {gen.ManagedClusterAddOn("cluster1", gen.Deleting()), "the addon argo-workflow-multicluster is being disabled", true},
		"it is not healthy":    {gen.ManagedClusterAddOn("cluster1", available(metav1.ConditionFalse, "")), "the addon argo-workflow-multicluster is not available", true},
	} {
		t.Run(name, func(t *testing.T) { assertAbsence(t, test.why, test.isDated, hubcopy.AbsenceOfAgent(test.addon)) })
	}
}

// assertAbsence expects the absence, dated gen.Time if at all.
func assertAbsence(t *testing.T, why string, isDated bool, got hubcopy.Absence) {
	t.Helper()
	want := time.Time{}
	if isDated {
		want = gen.Time.Time
	}
	assert.Equal(t, why, got.Why)
	assert.True(t, want.Equal(got.Since), "since %s", got.Since)
}

func TestAClusterAndItsAddonAreNilOnlyWhereThereIsNone(t *testing.T) {
	hub := fakehub.New(t, nil, gen.ManagedCluster("cluster1"), gen.ManagedClusterAddOn("cluster1"))
	for name, is := range map[string]bool{"cluster1": true, "cluster2": false} {
		cluster, err := hubcopy.Cluster(t.Context(), hub, name)
		require.NoError(t, err)
		assert.Equal(t, is, cluster != nil, name)
		addon, err := hubcopy.Addon(t.Context(), hub, name)
		require.NoError(t, err)
		assert.Equal(t, is, addon != nil, name)
	}
	hub.Fail("get ManagedCluster", assert.AnError)
	hub.Fail("get ManagedClusterAddOn", assert.AnError)
	_, err := hubcopy.Cluster(t.Context(), hub, "cluster1")
	require.ErrorIs(t, err, assert.AnError)
	_, err = hubcopy.Addon(t.Context(), hub, "cluster1")
	require.ErrorIs(t, err, assert.AnError)
}

func TestARunIsNamedByItsWorkflowAndItsAttempt(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithAssignment("cluster1"))
	assert.Equal(t, client.ObjectKeyFromObject(gen.RemoteWorkflow(wf, "cluster1")), hubcopy.RunKey(wf))
	wf = gen.Workflow("hello", gen.WithAnnotations(map[string]string{contract.AnnotationAssigned: contract.Assignment(wf, 2, "cluster2")}))
	assert.Equal(t, client.ObjectKeyFromObject(gen.RemoteWorkflow(wf, "cluster2", gen.WithAttempt(2))), hubcopy.RunKey(wf))
	assert.Empty(
		t,
		hubcopy.RunKey(gen.Workflow("hello", gen.WithUID("another"), gen.WithAnnotations(wf.GetAnnotations()))).Namespace,
		"of another Workflow",
	)
}
