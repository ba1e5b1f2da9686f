package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	clusterv1alpha1 "open-cluster-management.io/api/cluster/v1alpha1"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

func TestAgentMayDoNoMoreOnTheHubThanItsRoleSays(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	mine := s.create(s.hello("mine", on(cluster1), lasting(time.Minute)))
	other := s.create(s.hello("other", on(cluster2), lasting(time.Minute)))
	mine.waitForNodes(1)
	other.waitForNodes(1)
	agent := clientOf(t, agentConfig(t, cluster1))

	own, foreign := &v1alpha1.RemoteWorkflow{}, &v1alpha1.RemoteWorkflow{}
	require.NoError(t, agent.Get(t.Context(), mine.on(cluster1), own))
	foreign.Namespace, foreign.Name = other.on(cluster2).Namespace, other.on(cluster2).Name
	invented := &v1alpha1.RemoteWorkflow{Spec: own.Spec}
	invented.Namespace, invented.Name = cluster1.Name, "invented"
	work := &workv1.ManifestWork{}
	work.Namespace, work.Name = cluster1.Name, "invented"
	wf := mine.must(theHub)
	anything := client.RawPatch(mergePatch, []byte(`{"status":{"phase":"Succeeded"},"spec":{"attempt":2}}`))
	for what, err := range map[string]error{
		"get another cluster's RemoteWorkflow":         agent.Get(t.Context(), other.on(cluster2), &v1alpha1.RemoteWorkflow{}),
		"list all RemoteWorkflows":                     agent.List(t.Context(), &v1alpha1.RemoteWorkflowList{}),
		"write another cluster's RemoteWorkflow":       agent.Patch(t.Context(), foreign, anything),
		"report on another cluster's RemoteWorkflow":   agent.Status().Patch(t.Context(), foreign, anything),
		"create a RemoteWorkflow":                      agent.Create(t.Context(), invented),
		"write a RemoteWorkflow other than its status": agent.Patch(t.Context(), own.DeepCopy(), anything),
		"delete a RemoteWorkflow":                      agent.Delete(t.Context(), own),
		"read a Workflow":                              agent.Get(t.Context(), mine.key, contract.NewWorkflow()),
		"write a Workflow":                             agent.Patch(t.Context(), wf.DeepCopy(), anything),
		"delete a Workflow":                            agent.Delete(t.Context(), wf),
		"create a ManifestWork":                        agent.Create(t.Context(), work),
		"read a Secret of its own namespace": agent.Get(
			t.Context(), client.ObjectKey{Namespace: cluster1.Name, Name: "any"}, &corev1.Secret{}),
		"read a Secret of a user's namespace on the hub": agent.Get(
			t.Context(), client.ObjectKey{Namespace: s.name, Name: "any"}, &corev1.Secret{}),
	} {
		assert.True(t, apierrors.IsForbidden(err), "%s: %v", what, err)
	}

	group := []string{v1alpha1.GroupVersion.Group}
	assert.ElementsMatch(t, []authorizationv1.ResourceRule{
		{APIGroups: group, Resources: []string{"remoteworkflows"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: group, Resources: []string{"remoteworkflows/status"}, Verbs: []string{"update", "patch"}},
		{
			APIGroups: []string{"cluster.open-cluster-management.io"}, Resources: []string{"addonplacementscores/status"},
			ResourceNames: []string{contract.ScoreName}, Verbs: []string{"update", "patch"},
		},
	}, rulesOf(t, agent, cluster1.Name))
	for _, elsewhere := range []string{cluster2.Name, s.name, "kube-system"} {
		assert.Empty(t, rulesOf(t, agent, elsewhere), elsewhere)
	}
}

// rulesOf returns what the client may do in a namespace of the hub, beyond what everybody may.
func rulesOf(t *testing.T, c client.Client, namespace string) []authorizationv1.ResourceRule {
	t.Helper()
	ask := func(c client.Client) []authorizationv1.ResourceRule {
		review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}
		require.NoError(t, c.Create(t.Context(), review))
		require.False(t, review.Status.Incomplete, review.Status.EvaluationError)
		return review.Status.ResourceRules
	}
	anybody := rest.CopyConfig(theHub.config)
	anybody.Impersonate = rest.ImpersonationConfig{UserName: "anybody", Groups: []string{"system:authenticated"}}
	common := ask(clientOf(t, anybody))
	return slices.DeleteFunc(ask(c), func(rule authorizationv1.ResourceRule) bool {
		return slices.ContainsFunc(common, func(r authorizationv1.ResourceRule) bool { return fmt.Sprint(r) == fmt.Sprint(rule) })
	})
}

// agentConfig returns access to the hub with the credential of a cluster's agent.
func agentConfig(t *testing.T, c *cluster) *rest.Config {
	t.Helper()
	secret := hubKubeconfig(t, c)
	return &rest.Config{Host: theHub.config.Host, TLSClientConfig: rest.TLSClientConfig{
		CAData: theHub.config.CAData, CertData: secret.Data["tls.crt"], KeyData: secret.Data["tls.key"],
	}}
}

func clientOf(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	scheme, err := hub.Scheme()
	require.NoError(t, err)
	c, err := client.New(config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	return c
}

// Not parallel: somebody has taken the agent's place.
func TestReportsThatAClusterForgesDoNotReachTheHubsCopy(t *testing.T) {
	s := newSpace(t)
	earlier := s.create(s.hello("earlier", on(cluster2)))
	earlier.waitFor("Succeeded")
	reported, err := earlier.remoteWorkflow(cluster2)
	require.NoError(t, err)
	r := s.create(s.hello("forged", on(cluster2), lasting(10*time.Minute)))
	r.waitForNodes(1)
	labtest.Eventually(t, patience, func() error { return r.mirrored(cluster2) })
	stopAgent(t, cluster2)
	f := &forger{run: r, agent: clientOf(t, agentConfig(t, cluster2))}
	truth := contract.Status(r.must(theHub))
	succeeded := map[string]any{"phase": "Succeeded", "finishedAt": "2026-01-02T15:04:05Z"}

	for _, lie := range []struct {
		name            string
		reason, message string
		forge           func(*v1alpha1.RemoteWorkflowStatus)
	}{
		{"of another Workflow", "WrongWorkflow", "somebody-else", func(s *v1alpha1.RemoteWorkflowStatus) {
			s.Report.WorkflowUID = "somebody-else"
		}},
		{"of an earlier Workflow, as it was", "WrongWorkflow", string(earlier.uid), func(s *v1alpha1.RemoteWorkflowStatus) {
			s.Report = reported.Status.Report
		}},
		{"of another attempt", "WrongWorkflow", "attempt 2", func(s *v1alpha1.RemoteWorkflowStatus) { s.Report.Attempt = 2 }},
		{"of another remote Workflow", "WrongRemoteWorkflow", "another-one", func(s *v1alpha1.RemoteWorkflowStatus) { s.Report.RemoteUID = "another-one" }},
		{"without a phase", "EmptyReport", `phase ""`, func(s *v1alpha1.RemoteWorkflowStatus) {
			s.Phase, s.Report.Data = "", encode(t, map[string]any{})
		}},
		{"with nonsense for a phase", "EmptyReport", `phase "no phase!"`, func(s *v1alpha1.RemoteWorkflowStatus) {
			s.Phase, s.Report.Data = "no phase!", encode(t, map[string]any{"phase": "no phase!"})
		}},
	} {
		t.Run(lie.name, func(t *testing.T) {
			r, f := r.in(t), f.in(t)
			before := refusals(t, lie.reason)
			require.NoError(t, f.report(succeeded, lie.forge))
			r.waitForEvent(lie.reason, lie.message)
			message := conditionOf(r.must(theHub), "ReportRefused")
			assert.Contains(t, message, "refused a report from cluster cluster2")
			assert.Contains(t, message, lie.message)
			assert.Greater(t, refusals(t, lie.reason), before)
			require.NoError(t, sameJSON(withoutConditions(contract.Status(r.must(theHub))), withoutConditions(truth)))
		})
	}

	t.Run("the recorded remote Workflow cannot be exchanged", func(t *testing.T) {
		f := f.in(t)
		err := f.report(succeeded, func(s *v1alpha1.RemoteWorkflowStatus) {
			s.RemoteUID, s.Report.RemoteUID = "another-one", "yet-another"
		})
		assert.True(t, apierrors.IsInvalid(err), "%v", err)
	})

	t.Run("what is too large is not taken", func(t *testing.T) {
		f := f.in(t)
		err := f.report(succeeded, func(s *v1alpha1.RemoteWorkflowStatus) { s.Report.Data = make([]byte, 4<<20) })
		assert.True(t, apierrors.IsRequestEntityTooLargeError(err) || apierrors.IsInvalid(err), "%v", err)
	})

	t.Run("of an artifact only the key is taken over", func(t *testing.T) {
		r, f := r.in(t), f.in(t)
		status := runtime.DeepCopyJSON(truth)
		artifact := map[string]any{"name": "stolen", "s3": map[string]any{
			"endpoint": "evil.example.com", "bucket": "b", "key": "path/of/it",
			"accessKeySecret": map[string]any{"name": "hub-secret", "key": "password"},
		}}
		node := map[string]any{"id": "n", "name": "n", "outputs": map[string]any{"artifacts": []any{artifact}}}
		require.NoError(t, unstructured.SetNestedMap(status, node, "nodes", "n"))
		require.NoError(t, f.report(status, nil))
		labtest.Eventually(t, patience, func() error {
			nodes, _, err := unstructured.NestedMap(r.must(theHub).Object, "status", "nodes")
			if err == nil && nodes["n"] == nil {
				err = fmt.Errorf("the report has not arrived: %v", nodes)
			}
			return err
		})
		text, err := r.must(theHub).MarshalJSON()
		require.NoError(t, err)
		assert.Contains(t, string(text), "path/of/it")
		assert.NotContains(t, string(text), "hub-secret")
		assert.NotContains(t, string(text), "evil.example.com")
	})

	for what, data := range map[string][]byte{"gzip": []byte("{}"), "beyond the limit": bomb(t)} {
		t.Run("what cannot be read becomes its summary: "+what, func(t *testing.T) {
			r, f := r.in(t), f.in(t)
			require.NoError(t, f.report(map[string]any{"phase": "Running"}, func(s *v1alpha1.RemoteWorkflowStatus) { s.Report.Data = data }))
			r.waitForEvent("StatusIncomplete", what)
			require.NoError(t, r.wants(theHub, "Running", ""))
			assert.Contains(t, conditionOf(r.must(theHub), "StatusIncomplete"), what)
		})
	}

	t.Run("a finished Workflow does not become empty", func(t *testing.T) {
		r, f := r.in(t), f.in(t)
		require.NoError(t, f.report(succeeded, nil))
		r.waitFor("Succeeded")
		require.NoError(t, f.report(map[string]any{}, nil))
		r.waitForEvent("EmptyReport", "cluster2")
		require.NoError(t, r.wants(theHub, "Succeeded", ""))
	})

	t.Run("the real agent's report is the truth again", func(t *testing.T) {
		r := r.in(t)
		startAgent(t, cluster2)
		r.waitFor("Running")
		labtest.Eventually(t, patience, func() error { return r.mirrored(cluster2) })
	})
	r.delete(theHub)
	r.waitUntilGone(cluster2)
}

// Not parallel: somebody has taken the agent's place.
func TestWhatAClusterForgesOfItsCapacityIsNotBelieved(t *testing.T) {
	stopAgent(t, cluster2)
	agent := clientOf(t, agentConfig(t, cluster2))
	score := &clusterv1alpha1.AddOnPlacementScore{}
	key := client.ObjectKey{Namespace: cluster2.Name, Name: contract.ScoreName}
	require.NoError(t, theHub.client.Get(t.Context(), key, score))
	forge := func(message string) error {
		forged := score.DeepCopy()
		forged.Status.ValidUntil = &metav1.Time{Time: time.Now().AddDate(100, 0, 0)}
		forged.Status.Scores = nil
		for i := range 10_000 {
			forged.Status.Scores = append(forged.Status.Scores, clusterv1alpha1.AddOnPlacementScoreItem{Name: fmt.Sprint(i), Value: 100})
		}
		meta.FindStatusCondition(forged.Status.Conditions, contract.ConditionMeasured).Message = message
		return agent.Status().Patch(t.Context(), forged, client.MergeFrom(score))
	}
	for message, why := range map[string]string{
		`{"nodes":1,"allocatable":{"milliCPU":9223372036854775807}}`:           "no cluster offers 1 nodes",
		`{"nodes":1,"allocatable":{"milliCPU":1000},"free":{"milliCPU":2000}}`: "no cluster has",
		`{"nodes":-1}`:              "no cluster offers -1 nodes",
		`take everything to me`:     "read capacity",
		`{"workflowsRunning":1e99}`: "read capacity",
	} {
		require.NoError(t, forge(message))
		labtest.Eventually(t, patience, func() error { return hasEvent(t.Context(), cluster2.Name, score.UID, "CapacityRefused", why) })
	}

	other := gen.Score(cluster1.Name, gen.Nodes(1, 1))
	for what, err := range map[string]error{
		"write another cluster's":  agent.Status().Patch(t.Context(), other, client.RawPatch(mergePatch, []byte(`{"status":{"scores":[]}}`))),
		"create another":           agent.Create(t.Context(), gen.Score(cluster2.Name, gen.Nodes(1, 1), func(obj client.Object) { obj.SetName("another") })),
		"delete it":                agent.Delete(t.Context(), score.DeepCopy()),
		"write more than a status": agent.Patch(t.Context(), score.DeepCopy(), client.RawPatch(mergePatch, []byte(`{"metadata":{"labels":{"a":"b"}}}`))),
	} {
		assert.True(t, apierrors.IsForbidden(err), "%s: %v", what, err)
	}
	startAgent(t, cluster2)
	labtest.Eventually(t, patience, func() error {
		if err := theHub.client.Get(t.Context(), key, score); err != nil {
			return err
		}
		_, err := contract.ReadCapacity(meta.FindStatusCondition(score.Status.Conditions, contract.ConditionMeasured).Message)
		if err == nil && len(score.Status.Scores) > 10 {
			err = fmt.Errorf("it still has %d scores", len(score.Status.Scores))
		}
		return err
	})
}

// forger writes reports with the agent's credential.
type forger struct {
	run   *run
	agent client.Client
}

func (f *forger) in(t *testing.T) *forger {
	t.Helper()
	return &forger{run: f.run.in(t), agent: f.agent}
}

// report reports a status as the agent would, but for what forge changes.
func (f *forger) report(status map[string]any, forge func(*v1alpha1.RemoteWorkflowStatus)) error {
	rw, err := f.run.remoteWorkflow(cluster2)
	if err != nil {
		return err
	}
	rw.Status.Report = &v1alpha1.Report{
		WorkflowUID: f.run.uid, Attempt: 1, RemoteUID: rw.Status.RemoteUID, Data: encode(f.run.t, status),
	}
	rw.Status.Phase = contract.StatusString(status, "phase")
	if forge != nil {
		forge(&rw.Status)
	}
	return f.agent.Status().Update(f.run.t.Context(), rw)
}

func encode(t *testing.T, status map[string]any) []byte {
	t.Helper()
	data, err := contract.EncodeStatus(status)
	require.NoError(t, err)
	return data
}

// bomb returns a small report that expands to a gigabyte.
func bomb(t *testing.T) []byte {
	t.Helper()
	var data bytes.Buffer
	writer := gzip.NewWriter(&data)
	_, err := io.Copy(writer, io.LimitReader(spaces{}, 1<<30))
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	return data.Bytes()
}

type spaces struct{}

func (spaces) Read(into []byte) (int, error) {
	for i := range into {
		into[i] = ' '
	}
	return len(into), nil
}

// conditionOf returns the message of a condition in the Workflow's status.
func conditionOf(wf *unstructured.Unstructured, conditionType string) string {
	conditions, _, _ := unstructured.NestedSlice(wf.Object, "status", "conditions")
	for _, condition := range conditions {
		if fields, ok := condition.(map[string]any); ok && fields["type"] == conditionType {
			return fmt.Sprint(fields["message"])
		}
	}
	return ""
}

func withoutConditions(status map[string]any) map[string]any {
	status = runtime.DeepCopyJSON(status)
	delete(status, "conditions")
	return status
}

// refusals reads the manager's metric of refused reports.
func refusals(t *testing.T, reason string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+theLab.ManagerMetrics()+"/metrics", nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { assert.NoError(t, response.Body.Close()) }()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	found := regexp.MustCompile(`argo_multicluster_hub_reports_refused_total\{reason="` + reason + `"\} (\d+)`).FindSubmatch(text)
	if found == nil {
		return 0
	}
	count, err := strconv.Atoi(string(found[1]))
	require.NoError(t, err)
	return count
}
