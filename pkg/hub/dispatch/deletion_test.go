package dispatch

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func clusterAvailable(status metav1.ConditionStatus) gen.Mod {
	return gen.WithCondition(clusterv1.ManagedClusterConditionAvailable, status, "Test", "")
}

func addonAvailable(status metav1.ConditionStatus) gen.Mod {
	return gen.WithCondition(addonv1beta1.ManagedClusterAddOnConditionAvailable, status, "Test", "")
}

// changedAt sets when the conditions changed last.
func changedAt(at time.Time) gen.Mod {
	return func(obj client.Object) {
		var conditions []metav1.Condition
		switch obj := obj.(type) {
		case *clusterv1.ManagedCluster:
			conditions = obj.Status.Conditions
		case *addonv1beta1.ManagedClusterAddOn:
			conditions = obj.Status.Conditions
		}
		for i := range conditions {
			conditions[i].LastTransitionTime = metav1.NewTime(at)
		}
	}
}

func TestAClusterThatCannotRemoveARun(t *testing.T) {
	since := gen.Time.Time
	earlier, longAgo := since.Add(-time.Hour), since.Add(-2*time.Hour)
	withoutConditions := gen.ManagedCluster(cluster)
	withoutConditions.Status.Conditions = nil
	for name, test := range map[string]struct {
		cluster   *clusterv1.ManagedCluster
		addon     *addonv1beta1.ManagedClusterAddOn
		reporting v1alpha1.Reporting
		want      hubcopy.Absence
	}{
		"both are available": {
			gen.ManagedCluster(cluster, changedAt(longAgo)), gen.ManagedClusterAddOn(cluster, changedAt(earlier)), v1alpha1.ReportingAgent, hubcopy.Absence{Since: earlier},
		},
		"both are available, the cluster as the last": {
			gen.ManagedCluster(cluster, changedAt(earlier)), gen.ManagedClusterAddOn(cluster, changedAt(longAgo)), v1alpha1.ReportingAgent, hubcopy.Absence{Since: earlier},
		},
		"the agent is away for longer than the cluster is back": {
			gen.ManagedCluster(cluster, changedAt(earlier)), gen.ManagedClusterAddOn(cluster, addonAvailable(metav1.ConditionUnknown), changedAt(longAgo)),
			v1alpha1.ReportingAgent, hubcopy.Absence{Why: "the addon argo-workflow-multicluster is not available", Since: longAgo},
		},
		"the cluster is gone":        {nil, gen.ManagedClusterAddOn(cluster), v1alpha1.ReportingAgent, hubcopy.Absence{Why: "the hub has no managed cluster of this name"}},
		"the cluster is leaving":     {gen.ManagedCluster(cluster, gen.Deleting()), nil, v1alpha1.ReportingFeedback, hubcopy.Absence{Why: "the cluster is being detached", Since: since}},
		"the cluster is unknown":     {gen.ManagedCluster(cluster, clusterAvailable(metav1.ConditionUnknown)), nil, v1alpha1.ReportingFeedback, hubcopy.Absence{Why: "the cluster is not available", Since: since}},
		"the cluster is unhealthy":   {gen.ManagedCluster(cluster, clusterAvailable(metav1.ConditionFalse)), nil, v1alpha1.ReportingFeedback, hubcopy.Absence{Why: "the cluster is not available", Since: since}},
		"the cluster has not come":   {withoutConditions, nil, v1alpha1.ReportingFeedback, hubcopy.Absence{Why: "the cluster has not been available yet"}},
		"the agent is gone":          {gen.ManagedCluster(cluster), nil, v1alpha1.ReportingAgent, hubcopy.Absence{Why: "the addon argo-workflow-multicluster is not enabled there"}},
		"the agent is away":          {gen.ManagedCluster(cluster), gen.ManagedClusterAddOn(cluster, addonAvailable(metav1.ConditionUnknown)), v1alpha1.ReportingAgent, hubcopy.Absence{Why: "the addon argo-workflow-multicluster is not available", Since: since}},
		"the run never had an agent": {gen.ManagedCluster(cluster), nil, v1alpha1.ReportingFeedback, hubcopy.Absence{Since: since}},
	} {
		t.Run(name, func(t *testing.T) {
			rw := gen.RemoteWorkflow(gen.Workflow("hello"), cluster, gen.WithReporting(test.reporting))
			got := absenceOf(rw, test.cluster, test.addon)
			assert.Equal(t, test.want.Why, got.Why)
			assert.True(t, test.want.Since.Equal(got.Since), "since %s", got.Since)
		})
	}
}

func TestHowLongADeletedWorkflowWaits(t *testing.T) {
	const timeout = 15 * time.Minute
	deleted := gen.Time.Time
	release := func(value string) gen.Mod {
		return gen.WithAnnotations(map[string]string{contract.AnnotationRelease: value})
	}
	for name, test := range map[string]struct {
		mods      []gen.Mod
		away      hubcopy.Absence
		timeout   time.Duration
		now       time.Time
		wantNow   bool
		wantUntil time.Time
		wantParts []string
	}{
		"for a cluster that can be reached: without a word at first": {now: deleted.Add(timeout - 1), timeout: timeout, wantUntil: deleted.Add(timeout)},
		"then without limit, and says so": {
			now: deleted.Add(timeout), timeout: timeout, wantParts: []string{
				"waiting for cluster cluster1 to remove the run default/hello: the cluster is available, and has not done so since 2026-01-02T15:04:05Z",
				"goes when that is done; the annotation", `workflows.argoproj.io/ocm-release: "true" lets it go at once`,
			},
		},
		"for one that has come back: from its return on": {
			away: hubcopy.Absence{Since: deleted.Add(time.Hour)}, timeout: timeout, now: deleted.Add(time.Hour), wantUntil: deleted.Add(time.Hour + timeout),
		},
		"and has not removed it since": {
			away: hubcopy.Absence{Since: deleted.Add(time.Hour)}, timeout: timeout, now: deleted.Add(1000 * time.Hour), wantParts: []string{"since 2026-01-02T16:04:05Z"},
		},
		"without a timeout, for one that can be reached: without a word at first": {now: deleted, wantUntil: deleted.Add(DefaultDeletionTimeout)},
		"without a timeout, then says so":                                         {now: deleted.Add(DefaultDeletionTimeout), wantParts: []string{"the cluster is available"}},
		"for one that was lost before: from its deletion on": {
			away: hubcopy.Absence{Why: "it is away", Since: deleted.Add(-time.Hour)}, timeout: timeout, now: deleted, wantUntil: deleted.Add(timeout),
			wantParts: []string{
				"waiting for cluster cluster1 to remove the run default/hello: it is away", "at 2026-01-02T15:19:05Z", `workflows.argoproj.io/ocm-release: "true" lets it go at once`,
			},
		},
		"for one that was lost later: from its loss on": {
			away: hubcopy.Absence{Why: "it is away", Since: deleted.Add(time.Hour)}, timeout: timeout, now: deleted.Add(time.Hour), wantUntil: deleted.Add(time.Hour + timeout),
			wantParts: []string{"at 2026-01-02T16:19:05Z"},
		},
		"for one that is gone: from its deletion on": {away: hubcopy.Absence{Why: "it is gone"}, timeout: timeout, now: deleted, wantUntil: deleted.Add(timeout), wantParts: []string{"it is gone"}},
		"not up to the timeout":                      {away: hubcopy.Absence{Why: "it is gone"}, timeout: timeout, now: deleted.Add(timeout - 1), wantUntil: deleted.Add(timeout), wantParts: []string{"it is gone"}},
		"at the timeout no more":                     {away: hubcopy.Absence{Why: "it is gone"}, timeout: timeout, now: deleted.Add(timeout), wantNow: true},
		"without a timeout: for ever": {
			away: hubcopy.Absence{Why: "it is gone"}, now: deleted.Add(1000 * time.Hour), wantParts: []string{"goes when that is done; the annotation"},
		},
		"for no cluster, as the user says":       {mods: []gen.Mod{release("true")}, now: deleted, timeout: timeout, wantNow: true},
		"nor for one that is away":               {mods: []gen.Mod{release("true")}, away: hubcopy.Absence{Why: "it is gone"}, now: deleted, wantNow: true},
		"as ever, if the user says another word": {mods: []gen.Mod{release("yes")}, now: deleted, timeout: timeout, wantUntil: deleted.Add(timeout)},
	} {
		t.Run(name, func(t *testing.T) {
			wf, rw, _ := dispatched(append(test.mods, gen.Deleting())...)
			got := part(wf, rw, test.away, test.timeout, test.now)
			assert.Equal(t, test.wantNow, got.release != "", got.release)
			assert.True(t, test.wantUntil.Equal(got.until), "until %s", got.until)
			assert.Equal(t, len(test.wantParts) > 0, got.waits != "", got.waits)
			for _, part := range test.wantParts {
				assert.Contains(t, got.waits, part)
			}
		})
	}
}

func TestOnlyAChangeOfWhatAClusterCanDoWakesWhatIsBeingRemoved(t *testing.T) {
	for name, test := range map[string]struct {
		before, after client.Object
		want          bool
	}{
		"the same":       {gen.ManagedCluster(cluster), gen.ManagedCluster(cluster, gen.WithLabels(map[string]string{"a": "b"})), false},
		"it is lost":     {gen.ManagedCluster(cluster), gen.ManagedCluster(cluster, clusterAvailable(metav1.ConditionUnknown)), true},
		"it is back":     {gen.ManagedCluster(cluster, clusterAvailable(metav1.ConditionUnknown)), gen.ManagedCluster(cluster), true},
		"it is detached": {gen.ManagedCluster(cluster), gen.ManagedCluster(cluster, gen.Deleting()), true},
		"its agent is lost": {
			gen.ManagedClusterAddOn(cluster), gen.ManagedClusterAddOn(cluster, addonAvailable(metav1.ConditionFalse)), true,
		},
		"its agent is the same": {gen.ManagedClusterAddOn(cluster), gen.ManagedClusterAddOn(cluster, gen.WithLabels(map[string]string{"a": "b"})), false},
	} {
		t.Run(name, func(t *testing.T) {
			changes := changesOf(hubcopy.AbsenceOfCluster)
			if _, isAddon := test.before.(*addonv1beta1.ManagedClusterAddOn); isAddon {
				changes = changesOf(hubcopy.AbsenceOfAgent)
			}
			assert.Equal(t, test.want, changes.Update(updateOf(test.before, test.after)))
		})
	}
}
