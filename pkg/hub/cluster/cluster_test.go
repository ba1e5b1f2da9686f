package cluster_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/cluster"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

const name1 = "cluster1"

func clusterAvailable(status metav1.ConditionStatus, message string) gen.Mod {
	return gen.WithCondition(clusterv1.ManagedClusterConditionAvailable, status, "Test", message)
}

func agentAvailable(status metav1.ConditionStatus, message string) gen.Mod {
	return gen.WithCondition(addonv1beta1.ManagedClusterAddOnConditionAvailable, status, "Test", message)
}

func TestWhyAClusterIsUnavailable(t *testing.T) {
	withoutConditions := gen.ManagedCluster(name1)
	withoutConditions.Status.Conditions = nil
	for name, test := range map[string]struct {
		managed    *clusterv1.ManagedCluster
		why        string
		isDated    bool
		isDetached bool
	}{
		"it is available":     {gen.ManagedCluster(name1), "", false, false},
		"there is none":       {nil, "the hub has no managed cluster of this name", false, true},
		"it is leaving":       {gen.ManagedCluster(name1, gen.Deleting()), "the cluster is being detached", true, true},
		"it has not come yet": {withoutConditions, "the cluster has not been available yet", false, false},
		"it is lost":          {gen.ManagedCluster(name1, clusterAvailable(metav1.ConditionUnknown, "no lease")), "the cluster is not available: no lease", true, false},
		"it says itself that it is not well, by its own clock": {
			gen.ManagedCluster(name1, clusterAvailable(metav1.ConditionFalse, "")), "the cluster is not available", false, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := cluster.Cluster{Name: name1, Managed: test.managed}
			assertUnavailable(t, test.why, test.isDated, c.Unavailable())
			assert.Equal(t, test.isDetached, c.IsDetached())
		})
	}
}

func TestWhyAnAgentIsUnavailable(t *testing.T) {
	withoutConditions := gen.ManagedClusterAddOn(name1)
	withoutConditions.Status.Conditions = nil
	for name, test := range map[string]struct {
		addon    *addonv1beta1.ManagedClusterAddOn
		why      string
		isDated  bool
		hasAgent bool
	}{
		"it is available":     {gen.ManagedClusterAddOn(name1), "", false, true},
		"there is none":       {nil, "the addon argo-workflow-multicluster is not enabled there", false, false},
		"it has not come yet": {withoutConditions, "the addon argo-workflow-multicluster has not been available yet", false, true},
		"it is lost": {
			gen.ManagedClusterAddOn(name1, agentAvailable(metav1.ConditionUnknown, "no lease")),
			"the addon argo-workflow-multicluster is not available: no lease", true, true,
		},
		"it is being disabled": {gen.ManagedClusterAddOn(name1, gen.Deleting()), "the addon argo-workflow-multicluster is being disabled", true, false},
		"it is not well": {
			gen.ManagedClusterAddOn(name1, agentAvailable(metav1.ConditionFalse, "")), "the addon argo-workflow-multicluster is not available", false, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := cluster.Cluster{Name: name1, Managed: gen.ManagedCluster(name1), Addon: test.addon}
			assertUnavailable(t, test.why, test.isDated, c.AgentUnavailable())
			assert.Equal(t, test.hasAgent, c.HasAgent())
		})
	}
}

// assertUnavailable expects this since gen.Time, if it is dated at all.
func assertUnavailable(t *testing.T, why string, isDated bool, got cluster.Unavailable) {
	t.Helper()
	want := time.Time{}
	if isDated {
		want = gen.Time.Time
	}
	assert.Equal(t, why, got.Why)
	assert.True(t, want.Equal(got.Since), "since %s", got.Since)
}

func TestHowTheStatusComesBack(t *testing.T) {
	open := gen.WithLabels(map[string]string{contract.LabelWithoutAgent: "true"})
	for name, test := range map[string]struct {
		c    cluster.Cluster
		want v1alpha1.Reporting
	}{
		"the agent is there":                             {cluster.Cluster{Managed: gen.ManagedCluster(name1), Addon: gen.ManagedClusterAddOn(name1)}, v1alpha1.ReportingAgent},
		"the agent is missing: no downgrade":             {cluster.Cluster{Managed: gen.ManagedCluster(name1)}, v1alpha1.ReportingAgent},
		"an administrator does without":                  {cluster.Cluster{Managed: gen.ManagedCluster(name1, open)}, v1alpha1.ReportingFeedback},
		"an administrator does without, and it is there": {cluster.Cluster{Managed: gen.ManagedCluster(name1, open), Addon: gen.ManagedClusterAddOn(name1)}, v1alpha1.ReportingAgent},
		"an administrator does without, and it is being disabled": {
			cluster.Cluster{Managed: gen.ManagedCluster(name1, open), Addon: gen.ManagedClusterAddOn(name1, gen.Deleting())}, v1alpha1.ReportingAgent,
		},
		"the label has another value": {
			cluster.Cluster{Managed: gen.ManagedCluster(name1, gen.WithLabels(map[string]string{contract.LabelWithoutAgent: "yes"}))}, v1alpha1.ReportingAgent,
		},
		"there is no such cluster": {cluster.Cluster{}, v1alpha1.ReportingAgent},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, test.want, test.c.Reporting()) })
	}
}

func TestTheCPUOfACluster(t *testing.T) {
	capacity := gen.ManagedCluster(name1)
	capacity.Status.Capacity = gen.ManagedCluster(name1, gen.WithAllocatableCPU("8")).Status.Allocatable
	for name, test := range map[string]struct {
		managed *clusterv1.ManagedCluster
		want    int64
	}{
		"none is reported":      {gen.ManagedCluster(name1), 0},
		"what pods can have":    {gen.ManagedCluster(name1, gen.WithAllocatableCPU("1500m")), 1500},
		"what there is, if not": {capacity, 8000},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, test.want, cluster.Cluster{Managed: test.managed}.MilliCPU()) })
	}
}

func TestAClusterAndItsAddonAreNilOnlyWhereThereIsNone(t *testing.T) {
	hub := fakehub.New(t, nil, gen.ManagedCluster(name1), gen.ManagedClusterAddOn(name1), gen.ManagedCluster("cluster2"))
	for name, want := range map[string]struct{ managed, addon bool }{name1: {true, true}, "cluster2": {true, false}, "cluster3": {}} {
		c, err := cluster.Read(t.Context(), hub, name)
		require.NoError(t, err)
		assert.Equal(t, name, c.Name)
		assert.Equal(t, want.managed, c.Managed != nil, name)
		assert.Equal(t, want.addon, c.Addon != nil, name)
	}
	for _, call := range []string{"get ManagedCluster", "get ManagedClusterAddOn"} {
		hub := fakehub.New(t, nil)
		hub.Fail(call, assert.AnError)
		_, err := cluster.Read(t.Context(), hub, name1)
		require.ErrorIs(t, err, assert.AnError)
	}
}
