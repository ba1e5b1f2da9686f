package measure

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	userManager = "system:serviceaccount:argo-workflow-multicluster:argo-workflow-multicluster-hub"
	userAgent   = "system:open-cluster-management:cluster:cluster1:addon:argo-workflow-multicluster:agent:agent"
)

func entry(user, userAgent, verb, resource string, code int) string {
	return fmt.Sprintf(`{"verb":%q,"userAgent":%q,"user":{"username":%q},"objectRef":{"resource":%q},"responseStatus":{"code":%d}}`+"\n",
		verb, userAgent, user, resource, code)
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	_, err = file.WriteString(text)
	require.NoError(t, err)
	require.NoError(t, file.Close())
}

func TestAuditCountsWhatIsLoggedAfterItWasOpenedAlsoAcrossFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	appendTo(t, path, entry(userManager, "argo-multicluster/v0", "create", "remoteworkflows", 201))
	audit, err := OpenAudit(path)
	require.NoError(t, err)
	defer func() { assert.NoError(t, audit.Close()) }()

	patched := entry(userManager, "argo-multicluster/v0 (linux)", "patch", "workflows", 200)
	appendTo(t, path, patched+patched[:20])
	counts, err := audit.Read()
	require.NoError(t, err)
	request := Request{Who: "manager", UserAgent: "argo-multicluster", Verb: "patch", Resource: "workflows"}
	assert.Equal(t, Counts{request: {1, 0}}, counts, "half a line is left for later")

	appendTo(t, path, patched[20:])
	require.NoError(t, os.Rename(path, filepath.Join(dir, "audit-2026-01-02T03-04-05.678.log")))
	appendTo(t, path, entry(userManager, "argo-multicluster/v0", "patch", "workflows", 409))
	counts, err = audit.Read()
	require.NoError(t, err)
	assert.Equal(t, Counts{request: {2, 1}}, counts)
}

func TestRequestsAreTheirSendersWhateverTheirUserAgent(t *testing.T) {
	for _, test := range []struct{ user, program, want string }{
		{userManager, "argo-multicluster", "manager"},
		{userAgent, "argo-multicluster", "agent"},
		{"system:open-cluster-management:cluster1:abc", "work-agent", "OCM agent"},
		{"ocm-registration", "registration", "OCM hub"},
		{"system:serviceaccount:kube-system:generic-garbage-collector", "kube-controller-manager", "controller manager"},
		{"admin", "bench-user", "bench-user"},
		{"admin", "helm", "admin"},
	} {
		assert.Equal(t, test.want, who(test.user, test.program))
	}
}

func TestLeasesEventsAndReviewsAreNoWrites(t *testing.T) {
	for _, resource := range []string{"leases", "events", "subjectaccessreviews"} {
		assert.False(t, Request{Verb: "create", Resource: resource}.IsWrite(), resource)
	}
	assert.True(t, Request{Verb: "patch", Resource: "remoteworkflows/status"}.IsWrite())
	assert.False(t, Request{Verb: "watch", Resource: "workflows"}.IsRead())
	assert.False(t, Request{Verb: "get", Resource: ""}.IsRead(), "of a path that is no object's")
	assert.True(t, Request{Verb: "list", Resource: "workflows"}.IsRead())
}

func TestMetricsAreSummedByTheirLabels(t *testing.T) {
	text := []byte(`# HELP requests_total Requests.
requests_total{resource="events",verb="POST"} 3
requests_total{resource="events",verb="PATCH"} 4
requests_total{resource="pods",verb="POST"} 5
requests_total_more{resource="events",verb="POST"} 100
bytes 1.5e+06
`)
	assert.InDelta(t, 12, Sum(text, "requests_total"), 0)
	assert.InDelta(t, 7, Sum(text, "requests_total", `resource="events"`), 0)
	assert.InDelta(t, 3, Sum(text, "requests_total", `resource="events"`, `verb="POST"`), 0)
	assert.InDelta(t, 1.5e6, Sum(text, "bytes"), 0)
	assert.Equal(t, map[string]float64{"POST": 8, "PATCH": 4}, By(text, "requests_total", "verb"))
}

func TestTimelineTellsWhenAllHaveComeToAMoment(t *testing.T) {
	timeline, began := NewTimeline(), time.Unix(1000, 0)
	names := []string{"a", "b"}
	for i, name := range names {
		timeline.NoteAt(name, Created, began)
		timeline.NoteAt(name, Started, began.Add(time.Duration(i+1)*time.Second))
		timeline.NoteAt(name, Started, began.Add(time.Hour))
	}
	timeline.NoteAt("another's", Started, began)
	last, err := timeline.Wait(t.Context(), names, Started)
	require.NoError(t, err)
	assert.Equal(t, began.Add(2*time.Second), last)
	assert.Equal(t, []time.Duration{time.Second, 2 * time.Second}, timeline.Between(names, Created, Started))
	assert.Empty(t, timeline.Times([]string{"another's"}, Started), "its creation was not noted")

	timeline.Note("a", Shown)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	last, err = timeline.Wait(ctx, nil, Shown)
	require.NoError(t, err)
	assert.Zero(t, last, "of none")
	_, err = timeline.Wait(ctx, names, Shown)
	require.ErrorContains(t, err, "1 of 2 Workflows are not shown, such as [b]")
}

func TestPercentileIsOneOfTheValues(t *testing.T) {
	values := make([]time.Duration, 100)
	for i := range values {
		values[i] = time.Duration(i + 1)
	}
	assert.Equal(t, time.Duration(50), Percentile(values, 50))
	assert.Equal(t, time.Duration(99), Percentile(values, 99))
	assert.Equal(t, time.Duration(1), Percentile(values[:1], 99))
	assert.Zero(t, Percentile(nil, 50))
}

func TestAManifestWorkListsEachOfItsWorkflows(t *testing.T) {
	manifest := func(kind, name string) any {
		return map[string]any{"apiVersion": "argoproj.io/v1alpha1", "kind": kind, "metadata": map[string]any{"name": name}}
	}
	work := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"workload": map[string]any{
		"manifests": []any{manifest("Workflow", "a"), manifest("WorkflowTemplate", "b"), manifest("Workflow", "c")},
	}}}}
	assert.Equal(t, []string{"a", "c"}, WorkflowsOf(work))
}
