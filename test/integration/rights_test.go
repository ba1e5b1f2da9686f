package integration

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	clusterv1alpha1 "open-cluster-management.io/api/cluster/v1alpha1"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// clientOf returns a client with the given access.
func clientOf(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	scheme, err := hub.Scheme()
	require.NoError(t, err)
	require.NoError(t, clusterv1alpha1.Install(scheme))
	c, err := client.New(config, client.Options{Scheme: scheme, Mapper: theHub.client.RESTMapper()})
	require.NoError(t, err)
	return c
}

func TestAgentMayWriteTheStatusOfItsOwnRunsAndNothingElseOnTheHub(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	own, others := s.create("own", cluster1), s.create("others", cluster2)
	for _, r := range []*run{own, others} {
		r.starts()
		r.runsOn()
	}
	config, _, err := agent1.access()
	require.NoError(t, err)
	agent1s := clientOf(t, config)

	for what, try := range map[string]func() error{
		"list what is cluster2's": func() error {
			return agent1s.List(t.Context(), &v1alpha1.RemoteWorkflowList{}, client.InNamespace("cluster2"))
		},
		"list what is everybody's": func() error { return agent1s.List(t.Context(), &v1alpha1.RemoteWorkflowList{}) },
		"read what is cluster2's": func() error {
			return agent1s.Get(t.Context(), others.name(), &v1alpha1.RemoteWorkflow{})
		},
		"report for cluster2":         func() error { return agent1s.Status().Patch(t.Context(), others.mustRemoteWorkflow(), emptyPatch) },
		"update a status of cluster2": func() error { return agent1s.Status().Update(t.Context(), others.mustRemoteWorkflow()) },
		"delete what is cluster2's":   func() error { return agent1s.Delete(t.Context(), others.mustRemoteWorkflow()) },
		"create for cluster2": func() error {
			return agent1s.Create(t.Context(), gen.RemoteWorkflow(gen.Workflow("forged"), "cluster2"))
		},
		"create a RemoteWorkflow": func() error {
			return agent1s.Create(t.Context(), gen.RemoteWorkflow(gen.Workflow("forged"), "cluster1"))
		},
		"change the spec of its own": func() error { return agent1s.Patch(t.Context(), own.mustRemoteWorkflow(), emptyPatch) },
		"update its own":             func() error { return agent1s.Update(t.Context(), own.mustRemoteWorkflow()) },
		"delete its own":             func() error { return agent1s.Delete(t.Context(), own.mustRemoteWorkflow()) },
		"delete all of its own": func() error {
			return agent1s.DeleteAllOf(t.Context(), &v1alpha1.RemoteWorkflow{}, client.InNamespace("cluster1"))
		},
		"create a ManifestWork": func() error {
			return agent1s.Create(t.Context(), gen.ManifestWork(gen.RemoteWorkflow(gen.Workflow("forged"), "cluster1")))
		},
		"read a ManifestWork":      func() error { return agent1s.Get(t.Context(), own.name(), &workv1.ManifestWork{}) },
		"read the hub's Workflow":  func() error { return agent1s.Get(t.Context(), own.key, contract.NewWorkflow()) },
		"write the hub's Workflow": func() error { return agent1s.Patch(t.Context(), own.object(), emptyPatch) },
		"create a Workflow":        func() error { return agent1s.Create(t.Context(), local(s, "forged")) },
		"read a Secret": func() error {
			return agent1s.Get(t.Context(), client.ObjectKey{Namespace: "cluster1", Name: "any"}, &corev1.Secret{})
		},
		"create a ConfigMap": func() error {
			return agent1s.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "cluster1", Name: "any"}})
		},
		"write the scores of cluster2": func() error {
			return agent1s.Status().Patch(t.Context(), score("cluster2", contract.ScoreName), emptyPatch)
		},
		"write another score": func() error { return agent1s.Status().Patch(t.Context(), score("cluster1", "another"), emptyPatch) },
		"make a score":        func() error { return agent1s.Create(t.Context(), score("cluster1", "another")) },
		"delete its scores":   func() error { return agent1s.Delete(t.Context(), score("cluster1", contract.ScoreName)) },
		"read its scores": func() error {
			return agent1s.Get(t.Context(), client.ObjectKeyFromObject(score("cluster1", contract.ScoreName)), score("", ""))
		},
		"give its scores another owner": func() error {
			return agent1s.Patch(t.Context(), score("cluster1", contract.ScoreName), emptyPatch)
		},
		"list the clusters": func() error { return agent1s.List(t.Context(), &clusterv1.ManagedClusterList{}) },
		"see its own addon": func() error {
			return agent1s.List(t.Context(), &addonv1beta1.ManagedClusterAddOnList{}, client.InNamespace("cluster1"))
		},
		"widen its own Role": func() error { return agent1s.List(t.Context(), &rbacv1.RoleList{}, client.InNamespace("cluster1")) },
	} {
		err := try()
		assert.True(t, apierrors.IsForbidden(err), "may %s: %v", what, err)
	}
	require.NoError(t, agent1s.Get(t.Context(), own.name(), &v1alpha1.RemoteWorkflow{}), "the same client, where it may")
	require.NoError(t, agent1s.Status().Patch(t.Context(), own.mustRemoteWorkflow(), emptyPatch))
	require.NoError(t, agent1s.Status().Patch(t.Context(), score("cluster1", contract.ScoreName), emptyPatch))
	for _, r := range []*run{own, others} {
		r.succeeds()
		r.isGone()
	}
}

// score names a score of a cluster.
func score(cluster, name string) *clusterv1alpha1.AddOnPlacementScore {
	return &clusterv1alpha1.AddOnPlacementScore{ObjectMeta: metav1.ObjectMeta{Namespace: cluster, Name: name}}
}

// emptyPatch changes nothing, and yet needs the right to.
var emptyPatch = client.RawPatch(types.MergePatchType, []byte(`{}`))

func TestAgentHasNoRightsButThoseOfTheAddonAndItsManifests(t *testing.T) {
	t.Parallel()
	config, managedConfig, err := agent1.access()
	require.NoError(t, err)
	hubs, managed := clientOf(t, config), clientOf(t, managedConfig)
	const workflows = "argoproj.io/workflows: delete,get,list,patch,watch"
	const events, newEvents = "/events: create,patch", "events.k8s.io/events: create,patch"
	const nodes, pods = "/nodes: list,watch", "/pods: list,watch"
	const ofRetries = "/pods: delete"
	const namespaces = "/namespaces: get,list,watch of " + agentNamespace
	for _, test := range []struct {
		what      string
		client    client.Client
		namespace string
		want      []string
	}{
		{"on the hub, for its own cluster", hubs, "cluster1", []string{
			"workflow.open-cluster-management.io/remoteworkflows: get,list,watch",
			"workflow.open-cluster-management.io/remoteworkflows/status: patch,update",
			"cluster.open-cluster-management.io/addonplacementscores/status: patch,update of argo-workflows",
		}},
		{"on the hub, for another cluster", hubs, "cluster2", nil},
		{"on the hub, elsewhere", hubs, "default", nil},
		{"on its cluster", managed, "default", []string{events, nodes, pods, ofRetries, workflows, newEvents, namespaces}},
		{"on its cluster, in its own namespace", managed, agentNamespace, []string{
			events, nodes, pods, ofRetries, workflows, newEvents, namespaces, "coordination.k8s.io/leases: create",
			"coordination.k8s.io/leases: delete,get,update of argo-workflow-multicluster,argo-workflow-multicluster-agent",
		}},
	} {
		review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: test.namespace}}
		require.NoError(t, test.client.Create(t.Context(), review), test.what)
		assert.ElementsMatch(t, test.want, rights(review.Status.ResourceRules), test.what)
	}
}

// rights lists rules, without those that every user has to ask for its own rights.
func rights(rules []authorizationv1.ResourceRule) []string {
	var list []string
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			if strings.HasSuffix(group, "authentication.k8s.io") || strings.HasSuffix(group, "authorization.k8s.io") {
				continue
			}
			for _, resource := range rule.Resources {
				verbs := slices.Sorted(slices.Values(rule.Verbs))
				right := fmt.Sprintf("%s/%s: %s", group, resource, strings.Join(verbs, ","))
				if len(rule.ResourceNames) > 0 {
					right += " of " + strings.Join(rule.ResourceNames, ",")
				}
				list = append(list, right)
			}
		}
	}
	return list
}

func TestAPIServerKeepsTheSpecAndTheRecordedUIDOfARemoteWorkflow(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	r := s.create("recorded", cluster1)
	r.starts()
	recorded := r.mustRemoteWorkflow()
	config, _, err := agent1.access()
	require.NoError(t, err)
	agent1s := clientOf(t, config)

	merge := func(patch string) client.Patch { return client.RawPatch(types.MergePatchType, []byte(patch)) }
	for what, err := range map[string]error{
		"another UID, from the agent": agent1s.Status().Patch(t.Context(), r.mustRemoteWorkflow(), merge(`{"status":{"remoteUID":"another"}}`)),
		"no UID, from the agent":      agent1s.Status().Patch(t.Context(), r.mustRemoteWorkflow(), merge(`{"status":{"remoteUID":null}}`)),
		"no status, from the agent":   agent1s.Status().Patch(t.Context(), r.mustRemoteWorkflow(), merge(`{"status":null}`)),
		"another UID": theHub.client.Status().Patch(
			t.Context(), r.mustRemoteWorkflow(), merge(`{"status":{"remoteUID":"another"}}`)),
		"another attempt": theHub.client.Patch(t.Context(), r.mustRemoteWorkflow(), merge(`{"spec":{"attempt":2}}`)),
		"another Workflow": theHub.client.Patch(
			t.Context(), r.mustRemoteWorkflow(), merge(`{"spec":{"workflowRef":{"name":"another"}}}`)),
		"another place": theHub.client.Patch(
			t.Context(), r.mustRemoteWorkflow(), merge(`{"spec":{"remote":{"namespace":"kube-system"}}}`)),
		"another hub":           theHub.client.Patch(t.Context(), r.mustRemoteWorkflow(), merge(`{"spec":{"hubID":"another"}}`)),
		"another way to report": theHub.client.Patch(t.Context(), r.mustRemoteWorkflow(), merge(`{"spec":{"reporting":"Feedback"}}`)),
	} {
		var status apierrors.APIStatus
		if assert.ErrorAs(t, err, &status, what) {
			assert.EqualValues(t, http.StatusUnprocessableEntity, status.Status().Code, "%s: %v", what, err)
		}
	}
	r.runsOn()
	assert.Equal(t, recorded.Spec, r.mustRemoteWorkflow().Spec)
	assert.Equal(t, recorded.Status.RemoteUID, r.mustRemoteWorkflow().Status.RemoteUID)
	r.isGone()
}
