package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/e2e/verbs"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// labelResubmittedFrom is by what a Workflow bears the name of the one that it repeats.
const labelResubmittedFrom = "workflows.argoproj.io/resubmitted-from-workflow"

// argoServer is an argo-server on the hub, of an auth mode of its own.
type argoServer struct{ mode, address string }

// TestThroughAnArgoServerOnTheHub does what the Argo UI does, by the same calls, and what the argo CLI does with a server.
func TestThroughAnArgoServerOnTheHub(t *testing.T) {
	t.Parallel()
	byToken, open := startArgoServer(t, "client"), startArgoServer(t, "server")
	for _, v := range verbs.All {
		if v.ByArgo() {
			t.Run(v.Name(), func(t *testing.T) {
				t.Parallel()
				doesThrough(t, v, byToken, open)
			})
		}
	}
	t.Run("each verb needs its rights and no others", func(t *testing.T) {
		t.Parallel()
		testRights(t, byToken)
	})
	for _, server := range []*argoServer{byToken, open} {
		t.Run("Workflows are created, listed, submitted again and deleted, by "+server.mode, func(t *testing.T) {
			t.Parallel()
			testLifeOfWorkflows(t, server)
		})
	}
	t.Run("a Workflow is not submitted again with results", func(t *testing.T) {
		t.Parallel()
		testMemoized(t, byToken)
	})
	t.Run("the CLI", func(t *testing.T) {
		t.Parallel()
		testCLIWithServer(t, byToken)
	})
}

func startArgoServer(t *testing.T, mode string) *argoServer {
	t.Helper()
	address, err := theLab.StartArgoServer(t.Context(), mode)
	t.Cleanup(func() { require.NoError(t, theLab.StopArgoServer(mode)) })
	require.NoError(t, err)
	return &argoServer{mode: mode, address: address}
}

// doesThrough does it through each server to a Workflow of the hub, with nothing but the rights that the verb needs, and with the
// CLI to one of the cluster.
func doesThrough(t *testing.T, v verbs.Verb, servers ...*argoServer) {
	t.Helper()
	s := newSpace(t)
	h := s.record(cluster1)
	local := s.hello("local", withSpec(t, v.On.Spec))
	local.SetLabels(nil)
	require.NoError(t, cluster1.client.Create(t.Context(), local))
	theirs := subject{&run{t: t, key: client.ObjectKeyFromObject(local), uid: local.GetUID()}, cluster1, h}
	does(t, v, s, theirs)
	for _, server := range servers {
		ours := subject{s.create(s.hello("through-"+server.mode, on(cluster1), ofTheServers(), withSpec(t, v.On.Spec))), theHub, h}
		isDone(t, v, ours, func(words []string) (string, error) { return server.carryOut(t, s, words) })
		labtest.Eventually(t, patience, func() error { return same(theirs.outcome(), ours.outcome()) })
		labtest.Eventually(t, patience, func() error { return ours.mirrored(cluster1) })
		assert.Equal(t, v.Pods, h.podsOf(ours.key.Name), "pods of the one of the hub")
	}
	assert.Equal(t, v.Pods, h.podsOf("local"), "pods of the other one")
	assert.Equal(t, 1+len(servers), h.incarnations(), "each Workflow was created once")
}

// ofTheServers makes it a Workflow that the argo-servers show.
func ofTheServers() gen.Mod {
	return gen.WithLabels(map[string]string{contract.LabelInstanceID: contract.InstanceIDHub})
}

// needs are the verbs, in an order in which they can be done to Workflows of these names.
var needs = []struct {
	of string
	verbs.Step
}{
	{"waiting", verbs.Step{When: verbs.Waits, Do: "argo get {}"}},
	{"waiting", verbs.Step{When: verbs.Waits, Do: "argo list"}},
	{"waiting", verbs.Step{When: verbs.Waits, Do: "argo suspend {}"}},
	{"waiting", verbs.Step{When: verbs.IsSuspended, Do: "argo node set {} --node-field-selector displayName=ticket --output-parameter id=T1"}},
	{"waiting", verbs.Step{When: verbs.Moment{Set: "ticket", Value: "T1"}, Do: "argo stop {} --node-field-selector displayName=plain"}},
	{"waiting", verbs.Step{When: verbs.Moment{Over: "plain"}, Do: "argo resume {}"}},
	{"waiting", verbs.Step{When: verbs.Failed, Do: "argo delete {}"}},
	{"another", verbs.Step{When: verbs.Waits, Do: "argo stop {}"}},
	{"another", verbs.Step{When: verbs.Failed, Do: "argo watch {}"}},
	{"another", verbs.Step{When: verbs.Failed, Do: "argo resubmit {}"}},
	{"third", verbs.Step{When: verbs.Waits, Do: "argo terminate {}"}},
	{"failing", verbs.Step{When: verbs.Moment{Phase: "Failed", Ran: 3}, Do: "argo retry {}"}},
	{"failing", verbs.Step{When: verbs.Moment{Phase: "Failed", Ran: 4}, Do: "argo delete {} --force"}},
}

// toEachNeed creates the Workflows to which they are done, and returns them by name.
func (s *space) toEachNeed() map[string]subject {
	s.t.Helper()
	h := s.record(cluster1)
	subjects := map[string]subject{}
	for name, of := range map[string]verbs.Workflow{
		"waiting": verbs.Gates, "another": verbs.Gates, "third": verbs.Gates, "failing": verbs.Flaky,
	} {
		subjects[name] = subject{s.create(s.hello(name, on(cluster1), ofTheServers(), withSpec(s.t, of.Spec))), theHub, h}
	}
	return subjects
}

// testRights does each verb without one of the rights that docs/verbs.md names, and then with them alone.
func testRights(t *testing.T, server *argoServer) {
	t.Helper()
	s := newSpace(t)
	subjects := s.toEachNeed()
	for _, need := range needs {
		to := subjects[need.of]
		labtest.Eventually(t, patience, func() error { return to.reached(need.When) })
		labtest.Eventually(t, patience, func() error { return to.mirrored(cluster1) })
		words := verbs.Words(need.Do, to.key.Name)
		rights := rightsFor(t, words)
		for i, right := range rights {
			to.denied(s.user(slices.Delete(slices.Clone(rights), i, i+1)), server, words, fmt.Sprintf("%v without %v", words, right))
		}
		out, err := s.user(rights).argo(t, words, "--instanceid="+contract.InstanceIDHub)
		require.NoError(t, err, out)
	}
	assert.Equal(t, 1, s.deleteRepeated("another"), "only who may create a Workflow has submitted one again")
	subjects["waiting"].waitUntilGone(cluster1)
	subjects["failing"].waitUntilGone(cluster1)
}

// deleteRepeated deletes what repeats the Workflow of that name, and returns how many there were.
func (s *space) deleteRepeated(name string) int {
	s.t.Helper()
	var again unstructured.UnstructuredList
	again.SetGroupVersionKind(contract.WorkflowGVK)
	of := client.MatchingLabels{labelResubmittedFrom: name}
	require.NoError(s.t, theHub.client.List(s.t.Context(), &again, client.InNamespace(s.name), of))
	for i := range again.Items {
		existing(s.t, s.name, again.Items[i].GetName()).delete(theHub)
	}
	return len(again.Items)
}

// denied fails the test unless the user is refused, by the server and by the CLI without one, and nothing has changed.
func (s subject) denied(by user, server *argoServer, words []string, what string) {
	s.t.Helper()
	const why = "forbidden|[Pp]ermission denied"
	before := s.must(theHub)
	code, answer := server.ask(s.t, by.token, s.key.Namespace, words)
	assert.Regexp(s.t, why, string(answer), what)
	if words[1] != "resume" { // Argo tries that several times, and answers 500 in the end
		assert.Equal(s.t, http.StatusForbidden, code, "%s: %s", what, answer)
	}
	_, err := by.argo(s.t, words, "--instanceid="+contract.InstanceIDHub)
	require.Error(s.t, err, what)
	assert.Regexp(s.t, why, err.Error(), what)
	now := s.must(theHub)
	assert.Equal(s.t, before.Object["spec"], now.Object["spec"], what)
	assert.Equal(s.t, before.Object["status"], now.Object["status"], what)
	assert.Nil(s.t, now.GetDeletionTimestamp(), what)
}

// testLifeOfWorkflows does to Workflows what the pages of the UI offer besides verbs.
func testLifeOfWorkflows(t *testing.T, server *argoServer) {
	t.Helper()
	s := newSpace(t)
	token := server.user(t, s, "argo get", "argo list", "argo submit", "argo resubmit", "argo delete")
	if server.mode == "client" {
		code, _ := server.call(t, "", http.MethodGet, "/api/v1/workflows/"+s.name, nil)
		assert.Equal(t, http.StatusUnauthorized, code)
	}
	succeeding := strings.Replace(verbs.Flaky.Spec, `{name: code, value: "1"}`, `{name: code, value: "0"}`, 1)
	for team, spec := range map[string]string{"a": verbs.Gates.Spec, "b": succeeding} {
		wf := s.hello("of-"+team, on(cluster1), gen.WithLabels(map[string]string{"team": team}), withSpec(t, spec))
		code, answer := server.call(t, token, http.MethodPost, "/api/v1/workflows/"+s.name, map[string]any{"workflow": wf.Object})
		require.Equal(t, http.StatusOK, code, "%s", answer)
	}
	waiting, done := existing(t, s.name, "of-a"), existing(t, s.name, "of-b")
	assert.Equal(t, contract.InstanceIDHub, waiting.must(theHub).GetLabels()[contract.LabelInstanceID])
	waiting.waitFor("Running")
	done.waitFor("Succeeded")
	foreign := s.create(s.hello("foreign", on(cluster1)))

	for query, want := range map[string][]string{
		"":                                    {"of-a", "of-b"},
		"listOptions.labelSelector=team=a":    {"of-a"},
		"listOptions.labelSelector=team!=a":   {"of-b"},
		phaseQuery("Succeeded"):               {"of-b"},
		phaseQuery("Running", "Pending"):      {"of-a"},
		phaseQuery("Succeeded", "Running"):    {"of-a", "of-b"},
		phaseQuery("Failed"):                  nil,
		"nameFilter=Contains&" + named("f-b"): {"of-b"},
		completedQuery("true"):                {"of-b"},
	} {
		labtest.Eventually(t, patience, func() error { return same(want, server.list(t, token, s.name, query)) })
	}
	code, answer := server.ask(t, token, s.name, []string{"argo", "get", foreign.key.Name})
	assert.Equal(t, http.StatusBadRequest, code, "%s", answer)
	code, answer = server.ask(t, token, s.name, []string{"argo", "get", "of-b"})
	assert.Equal(t, http.StatusOK, code)
	assert.Contains(t, string(answer), `"phase":"Succeeded"`)

	code, answer = server.ask(t, token, s.name, []string{"argo", "resubmit", "of-b", "-p", "other=again"})
	require.Equal(t, http.StatusOK, code, "%s", answer)
	again := contract.NewWorkflow()
	require.NoError(t, json.Unmarshal(answer, &again.Object))
	r := existing(t, s.name, again.GetName())
	r.waitFor("Succeeded")
	labtest.Eventually(t, patience, func() error { return r.mirrored(cluster1) })
	assert.NotEqual(t, done.uid, r.uid)
	assert.Equal(t, "of-b", r.must(theHub).GetLabels()[labelResubmittedFrom])

	for _, r := range []*run{waiting, done, r} {
		code, answer := server.ask(t, token, s.name, []string{"argo", "delete", r.key.Name})
		assert.Equal(t, http.StatusOK, code, "%s", answer)
		r.waitUntilGone(cluster1)
	}
	labtest.Eventually(t, patience, func() error { return same(nil, server.list(t, token, s.name, "")) })
}

func phaseQuery(phases ...string) string {
	return "listOptions.labelSelector=" + url.QueryEscape(contract.LabelPhase+" in ("+strings.Join(phases, ",")+")")
}

func completedQuery(value string) string {
	return "listOptions.labelSelector=" + url.QueryEscape(contract.LabelCompleted+"="+value)
}

func named(name string) string {
	return "listOptions.fieldSelector=" + url.QueryEscape("metadata.name="+name)
}

// testMemoized submits a Workflow again with the results of what has succeeded in it: docs/decisions/0010-memoized.md.
func testMemoized(t *testing.T, server *argoServer) {
	t.Helper()
	s := newSpace(t)
	r := s.create(s.hello("flaky", on(cluster1), ofTheServers(), withSpec(t, verbs.Flaky.Spec)))
	r.waitFor("Failed")
	answer, err := server.carryOut(t, s, strings.Fields("argo resubmit flaky --memoized"))
	require.NoError(t, err)
	again := contract.NewWorkflow()
	require.NoError(t, json.Unmarshal([]byte(answer), &again.Object))
	refused := existing(t, s.name, again.GetName())
	refused.waitForEvent("ForeignStatus", "create it anew without a status")
	refused.waitForMessage("", "already has a status that this hub did not write")
	labtest.Holds(t, time.Second, refused.traces)
	refused.delete(theHub)
	labtest.Eventually(t, patience, func() error { return refused.gone(theHub) })
}

// testCLIWithServer lets argo speak to the server, as with the variable ARGO_SERVER.
func testCLIWithServer(t *testing.T, server *argoServer) {
	t.Helper()
	s := newSpace(t)
	to := subject{s.create(s.hello("gates", on(cluster1), ofTheServers(), withSpec(t, verbs.Gates.Spec))), theHub, nil}
	labtest.Eventually(t, patience, func() error { return to.reached(verbs.Waits) })
	for _, do := range []string{"argo get {}", "argo list", "argo stop {}"} {
		words := verbs.Words(do, "gates")
		out, err := s.user(rightsFor(t, words)).argo(t, words, "--argo-server="+server.address, "--secure=false")
		require.NoError(t, err)
		assert.Contains(t, out, "gates")
	}
	to.waitFor("Failed")
	labtest.Eventually(t, patience, func() error { return to.mirrored(cluster1) })
}

// user returns the token of somebody who may do these commands in the namespace: of a user, or none where the server acts itself.
func (a *argoServer) user(t *testing.T, s *space, commands ...string) string {
	t.Helper()
	var rights []rbacv1.PolicyRule
	for _, command := range commands {
		rights = append(rights, rightsFor(t, strings.Fields(command))...)
	}
	if a.mode == "client" {
		return s.user(rights).token
	}
	s.grant(rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: lab.ArgoServer, Name: lab.ArgoServer}, rights)
	return ""
}

// carryOut does with a REST call what a command of argo does, as somebody who has the rights for it.
func (a *argoServer) carryOut(t *testing.T, s *space, words []string) (string, error) {
	t.Helper()
	code, answer := a.ask(t, a.user(t, s, strings.Join(words, " ")), s.name, words)
	if code != http.StatusOK {
		return string(answer), fmt.Errorf("it answers %d: %s", code, answer)
	}
	return string(answer), nil
}

// ask does with a REST call what a command of argo does, and returns the answer's code and body.
func (a *argoServer) ask(t *testing.T, token, namespace string, words []string) (int, []byte) {
	t.Helper()
	method, path, body := restOf(namespace, words)
	return a.call(t, token, method, path, body)
}

// restOf returns the REST call that does what the words of a command of argo say.
func restOf(namespace string, words []string) (method, path string, body map[string]any) {
	path = "/api/v1/workflows/" + namespace
	verb, rest := words[1], words[2:]
	switch verb {
	case "list":
		return http.MethodGet, path, nil
	case "node":
		verb, rest = rest[0], rest[1:]
	}
	name, flags := rest[0], rest[1:]
	switch path += "/" + name; verb {
	case "get":
		return http.MethodGet, path, nil
	case "watch":
		return http.MethodGet, "/api/v1/workflow-events/" + namespace + "?" + named(name), nil
	case "delete":
		return http.MethodDelete, fmt.Sprintf("%s?force=%t", path, slices.Contains(flags, "--force")), nil
	}
	body = map[string]any{"namespace": namespace, "name": name}
	for i := 0; i < len(flags); i++ {
		if field := map[string]string{"--restart-successful": "restartSuccessful", "--memoized": "memoized"}[flags[i]]; field != "" {
			body[field] = true
			continue
		}
		flag, value := flags[i], flags[i+1]
		switch i++; flag {
		case "--output-parameter":
			parameter, value, _ := strings.Cut(value, "=")
			body["outputParameters"] = fmt.Sprintf("{%q:%q}", parameter, value)
		case "-p":
			body["parameters"] = []string{value}
		case "--node-field-selector":
			body["nodeFieldSelector"] = value
		default:
			body[strings.TrimPrefix(flag, "--")] = value
		}
	}
	return http.MethodPut, path + "/" + verb, body
}

// call does a REST call, and returns the answer's code and body.
func (a *argoServer) call(t *testing.T, token, method, path string, body map[string]any) (int, []byte) {
	t.Helper()
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		require.NoError(t, err)
		content = bytes.NewReader(text)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://"+a.address+path, content)
	require.NoError(t, err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, answer
}

// list returns the names of the Workflows that a query finds in the namespace.
func (a *argoServer) list(t *testing.T, token, namespace, query string) []string {
	t.Helper()
	code, answer := a.call(t, token, http.MethodGet, "/api/v1/workflows/"+namespace+"?fields=items.metadata.name&"+query, nil)
	require.Equal(t, http.StatusOK, code, "%s", answer)
	var found struct {
		Items []metav1.PartialObjectMetadata
	}
	require.NoError(t, json.Unmarshal(answer, &found))
	var names []string
	for _, item := range found.Items {
		names = append(names, item.Name)
	}
	slices.Sort(names)
	return names
}
