package report

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

const cluster = "cluster1"

// assigned builds a Workflow that was sent to the cluster.
func assigned(mods ...gen.Mod) *unstructured.Unstructured {
	return gen.Workflow("hello", append([]gen.Mod{gen.WithAssignment(cluster)}, mods...)...)
}

// runOf is what the hub knows of the run of a Workflow that was sent to the cluster.
func runOf(wf *unstructured.Unstructured) Run {
	spec, _ := wf.Object["spec"].(map[string]any)
	return Run{WorkflowUID: wf.GetUID(), Namespace: wf.GetNamespace(), Cluster: cluster, Spec: ViewOf(spec)}
}

func take(wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow) (Taken, *Refusal) {
	return Take(rw, nil, runOf(wf))
}

func running() map[string]any {
	return map[string]any{
		"phase": "Running", "progress": "0/1", "startedAt": "2026-01-02T15:04:05Z",
		"nodes":     map[string]any{"hello": map[string]any{"phase": "Running", "ofTheFuture": int64(1)}},
		"resources": map[string]any{"estimated": 1.5},
	}
}

func TestAReportOfThisVeryRunIsTakenAsItIs(t *testing.T) {
	wf := assigned()
	taken, refusal := take(wf, gen.RemoteWorkflow(wf, cluster, gen.WithReport(running())))
	defer taken.Release()
	assert.Nil(t, refusal)
	assert.Equal(t, running(), taken.Status)
	assert.Empty(t, taken.Incomplete)
	assert.Empty(t, taken.Labels)
}

func TestAReportOfAnythingElseIsRefused(t *testing.T) {
	long := strings.Repeat("x", 10_000)
	tests := map[string]struct {
		change     func(*v1alpha1.RemoteWorkflow)
		wantReason string
		wantPart   string
	}{
		"from another cluster": {func(rw *v1alpha1.RemoteWorkflow) { rw.Namespace = "cluster2" }, RefusedWrongCluster, "runs on cluster1"},
		"of another Workflow": {
			func(rw *v1alpha1.RemoteWorkflow) { rw.Status.Report.WorkflowUID = "another" },
			RefusedWrongWorkflow,
			`UID "another"`,
		},
		"of no Workflow":     {func(rw *v1alpha1.RemoteWorkflow) { rw.Status.Report.WorkflowUID = "" }, RefusedWrongWorkflow, `UID ""`},
		"of another attempt": {func(rw *v1alpha1.RemoteWorkflow) { rw.Status.Report.Attempt = 2 }, RefusedWrongWorkflow, "attempt 2"},
		"of another copy": {
			func(rw *v1alpha1.RemoteWorkflow) { rw.Status.Report.RemoteUID = "another" },
			RefusedWrongRemoteWorkflow,
			`UID "another"`,
		},
		"of a copy not recorded": {
			func(rw *v1alpha1.RemoteWorkflow) { rw.Status.RemoteUID, rw.Status.Report.RemoteUID = "", "" },
			RefusedWrongRemoteWorkflow,
			`UID ""`,
		},
		"a name without end": {func(rw *v1alpha1.RemoteWorkflow) { rw.Status.Report.RemoteUID = types.UID(long) }, RefusedWrongRemoteWorkflow, "xxx"},
		"a Workflow without end": {
			func(rw *v1alpha1.RemoteWorkflow) { rw.Status.Report.WorkflowUID = types.UID(long) },
			RefusedWrongWorkflow,
			"xxx",
		},
		"no report at all": {func(rw *v1alpha1.RemoteWorkflow) { rw.Status.Report = nil }, RefusedEmpty, "there is none"},
		"nothing in it, and no phase": {func(rw *v1alpha1.RemoteWorkflow) {
			rw.Status.Report.Data, rw.Status.Phase = compressed(t, "{}"), ""
		}, RefusedEmpty, `phase ""`},
		"unreadable, and a phase that is none": {func(rw *v1alpha1.RemoteWorkflow) {
			rw.Status.Report.Data, rw.Status.Phase = []byte("{}"), "no label!"
		}, RefusedEmpty, `phase "no label!"`},
		"unreadable, and a phase without end": {func(rw *v1alpha1.RemoteWorkflow) {
			rw.Status.Report.Data, rw.Status.Phase = []byte("{}"), long
		}, RefusedEmpty, "xxx"},
		"too large, without phase": {
			func(rw *v1alpha1.RemoteWorkflow) { rw.Status.Report.Data, rw.Status.Phase = nil, "" },
			RefusedEmpty,
			`phase ""`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wf := assigned()
			rw := gen.RemoteWorkflow(wf, cluster, gen.WithReport(running()))
			test.change(rw)
			taken, refusal := take(wf, rw)
			assert.Zero(t, taken)
			require.NotNil(t, refusal)
			assert.Equal(t, test.wantReason, refusal.Reason)
			assert.Contains(t, refusal.Message, "refused a report from cluster "+rw.Namespace)
			assert.Contains(t, refusal.Message, test.wantPart)
			assert.Less(t, len(refusal.Message), 512, "what the cluster sends must not fill the message")
		})
	}
}

// requireSummary checks that no more is shown of a report than the summary of it, and that this is said, once.
func requireSummary(t *testing.T, taken Taken, summary map[string]any) {
	t.Helper()
	assert.Contains(t, taken.Incomplete, ": only a summary is shown; the rest is on cluster cluster1")
	want := runtime.DeepCopyJSON(summary)
	want["conditions"] = []any{map[string]any{"type": ConditionIncomplete, "status": "True", "message": taken.Incomplete}}
	assert.Equal(t, want, taken.Status)
}

func TestARunEndsOnTheHubWhateverItsReportIs(t *testing.T) {
	finished := `{"phase":"Failed","progress":"1/2"`
	tests := map[string]struct {
		data []byte
		says string
	}{
		"not gzip":                 {[]byte("{}"), "gzip"},
		"gzip that is cut":         {compressed(t, finished+"}")[:20], "gzip"},
		"not JSON":                 {compressed(t, "hello"), "cannot read"},
		"not an object":            {compressed(t, "[]"), "cannot read"},
		"a number without end":     {compressed(t, finished+`,"a":1`+strings.Repeat("0", 10_000)+`}`), "cannot read"},
		"a bomb of objects":        {compressed(t, finished+`,"a":[`+strings.Repeat("{},", int(statuses.values)/2)+`{}]}`), "beyond the limit"},
		"a bomb":                   {compressed(t, strings.Repeat(" ", int(statuses.bytes)+1)), "beyond the limit"},
		"an abyss":                 {compressed(t, strings.Repeat("[", contract.MaxJSONDepth+1)), "levels deep"},
		"without content":          {compressed(t, "{}"), `phase ""`},
		"null":                     {compressed(t, "null"), `phase ""`},
		"without a phase":          {compressed(t, `{"progress":"1/1"}`), `phase ""`},
		"a phase that is no label": {compressed(t, `{"phase":"no label!"}`), `phase "no label!"`},
		"a phase without end":      {compressed(t, `{"phase":"`+strings.Repeat("x", 10_000)+`"}`), "xxx"},
		"an older one":             {compressed(t, `{"phase":"Running"}`), "older than the end"},
		"none, it was too large":   {nil, "too large for the hub's API server"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wf := assigned()
			rw := gen.RemoteWorkflow(wf, cluster, gen.WithReport(map[string]any{"phase": "Failed", "progress": "1/2"}))
			rw.Status.Report.Data = test.data
			taken, refusal := take(wf, rw)
			taken.Release()
			require.Nil(t, refusal)
			assert.Contains(t, taken.Incomplete, test.says)
			assert.Less(t, len(taken.Incomplete), 512, "what the cluster sends must not fill the message")
			requireSummary(t, taken, map[string]any{"phase": "Failed", "progress": "1/2"})
		})
	}
}

func TestALongListOfShortValuesIsShownAsItIs(t *testing.T) {
	mask := strings.Repeat("0,", 50_000)
	nodes := map[string]any{}
	for i := range 12 {
		id := fmt.Sprintf("hello-%d", i)
		nodes[id] = map[string]any{"id": id, "phase": "Succeeded", "inputs": map[string]any{"parameters": []any{
			map[string]any{"name": "mask", "value": mask},
		}}}
	}
	for name, status := range map[string]map[string]any{
		"in nodes":        {"phase": "Succeeded", "nodes": nodes},
		"in packed nodes": {"phase": "Succeeded", "compressedNodes": packed(t, nodes)},
	} {
		t.Run(name, func(t *testing.T) {
			wf := assigned()
			taken, refusal := take(wf, gen.RemoteWorkflow(wf, cluster, gen.WithReport(status)))
			defer taken.Release()
			require.Nil(t, refusal)
			assert.Empty(t, taken.Incomplete)
			assert.Equal(t, status, taken.Status)
		})
	}
}

func compressed(t *testing.T, raw string) []byte {
	t.Helper()
	data, err := contract.Compress([]byte(raw))
	require.NoError(t, err)
	require.False(t, bytes.Equal([]byte(raw), data))
	return data
}

func TestAReportThatWasTooLargeIsASummaryAndSaysSo(t *testing.T) {
	wf := assigned()
	rw := gen.RemoteWorkflow(wf, cluster, gen.WithReport(map[string]any{"phase": "Failed", "progress": "1/2", "message": "one failed"}))
	rw.Status.Report.Data = nil
	rw.Status.StartedAt = &gen.Time
	finished := metav1.NewTime(gen.Time.Add(60e9).In(gen.Time.Location()))
	rw.Status.FinishedAt = &finished

	taken, refusal := take(wf, rw)
	assert.Nil(t, refusal)
	assert.Equal(
		t,
		"the whole status is too large for the hub's API server: only a summary is shown; the rest is on cluster cluster1",
		taken.Incomplete,
	)
	requireSummary(t, taken, map[string]any{
		"phase": "Failed", "progress": "1/2", "message": "one failed",
		"startedAt": "2026-01-02T15:04:05Z", "finishedAt": "2026-01-02T15:05:05Z",
	})
}

func notReported(message string) gen.Mod {
	return gen.WithCondition(v1alpha1.ConditionReported, metav1.ConditionFalse, v1alpha1.ReasonReportRejected, message)
}

func TestASummarySaysInTheAgentsWordsWhyItIsAll(t *testing.T) {
	for message, want := range map[string]string{
		"rejected: too long":       "rejected: too long",
		"":                         "the whole status is too large for the hub's API server",
		strings.Repeat("x", 5_000): strings.Repeat("x", 1024),
	} {
		wf := assigned()
		rw := gen.RemoteWorkflow(wf, cluster, gen.WithReport(map[string]any{"phase": "Failed"}), notReported(message))
		rw.Status.Report.Data = []byte{}
		taken, refusal := take(wf, rw)
		assert.Nil(t, refusal)
		assert.Equal(t, want+": only a summary is shown; the rest is on cluster cluster1", taken.Incomplete)
		requireSummary(t, taken, map[string]any{"phase": "Failed"})
	}
}

func TestAReportThatIsOlderThanWhatTheHubRejectedSaysSo(t *testing.T) {
	wf := assigned()
	taken, refusal := take(wf, gen.RemoteWorkflow(wf, cluster, gen.WithReport(running()), notReported("rejected: too long")))
	assert.Nil(t, refusal)
	assert.Equal(t, "rejected: too long: an older status is shown; the newer one is on cluster cluster1", taken.Incomplete)
	want := running()
	want["conditions"] = []any{map[string]any{"type": ConditionIncomplete, "status": "True", "message": taken.Incomplete}}
	assert.Equal(t, want, taken.Status)
}

func TestAllThatIsMissingIsSaidInOneCondition(t *testing.T) {
	status := running()
	status["offloadNodeStatusVersion"], status["compressedNodes"] = "fnv:1", "!"
	wf := assigned()
	taken, refusal := take(wf, gen.RemoteWorkflow(wf, cluster, gen.WithReport(status), notReported("rejected")))
	assert.Nil(t, refusal)
	assert.Contains(t, taken.Incomplete, "rejected: an older status is shown")
	assert.Contains(t, taken.Incomplete, "; the nodes are in the managed cluster's database")
	assert.Contains(t, taken.Incomplete, "; the nodes are packed in a way that the hub cannot check")
	want := running()
	want["conditions"] = []any{map[string]any{"type": ConditionIncomplete, "status": "True", "message": taken.Incomplete}}
	assert.Equal(t, want, taken.Status)
}

func TestAStatusThatWouldBreakArgosClientsIsASummaryAndSaysSo(t *testing.T) {
	for name, broken := range map[string]map[string]any{
		"nodes are text":            {"nodes": "all"},
		"a node is a number":        {"nodes": map[string]any{"a": int64(1)}},
		"a time is none":            {"startedAt": "yesterday"},
		"a time that fills a page":  {"startedAt": strings.Repeat("x", 10_000)},
		"a time beyond all times":   {"startedAt": "9999-12-31T23:59:59-14:00"}, // in UTC, the year has five digits
		"a number is too large":     {"resourcesDuration": map[string]any{"cpu": 1e21}},
		"a number is a fraction":    {"resourcesDuration": map[string]any{"cpu": 0.5}},
		"a limit is too large":      {"storedTemplates": map[string]any{"t": map[string]any{"retryStrategy": map[string]any{"limit": int64(1) << 40}}}},
		"a quantity is absurd":      requesting("1e-100000"),
		"conditions are an object":  {"conditions": map[string]any{}},
		"an artifact's key is none": {"outputs": map[string]any{"artifacts": []any{map[string]any{"s3": map[string]any{"key": int64(1)}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			broken["phase"], broken["progress"] = "Failed", "1/2"
			wf := assigned()
			taken, refusal := take(wf, gen.RemoteWorkflow(wf, cluster, gen.WithReport(broken)))
			assert.Nil(t, refusal)
			assert.Contains(t, taken.Incomplete, "could not read the whole status")
			assert.Less(t, len(taken.Incomplete), 512)
			requireSummary(t, taken, map[string]any{"phase": "Failed", "progress": "1/2"})
		})
	}
}

func TestTheMostExpensiveReportIsBounded(t *testing.T) {
	many := func(element string, values int) string {
		return `[` + strings.Repeat(element+",", values/2-8) + element + `]`
	}
	t.Run("in Argo's types", func(t *testing.T) {
		wf := assigned()
		rw := gen.RemoteWorkflow(wf, cluster, gen.WithReport(running()))
		rw.Status.Report.Data = compressed(
			t,
			`{"phase":"Running","storedWorkflowTemplateSpec":{"templates":`+many("{}", int(statuses.values))+`}}`,
		)
		var taken Taken
		assert.Less(t, allocatedBy(func() { taken, _ = take(wf, rw) }), uint64(memoryFactor*512<<20))
		defer taken.Release()
		assert.Contains(t, taken.Status, "storedWorkflowTemplateSpec")
	})
	for name, nodes := range map[string]string{
		"in packed nodes":         `{"a":{"outputs":{"artifacts":` + many("{}", int(packedNodes.values)) + `}}}`,
		"in a long text of them":  `{"a":{"message":"` + strings.Repeat("<", int(packedNodes.bytes)-100) + `"}}`,
		"in one that is repacked": `{"a":{"archiveLocation":{"s3":{"bucket":"b"}},"message":"` + strings.Repeat("<", int(packedNodes.bytes)-200) + `"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			nodes := packed(t, nodes)
			assert.Less(t, allocatedBy(func() {
				_, err := restrictPacked(nodes, SpecView{})
				assert.NoError(t, err)
			}), uint64(memoryFactor*512<<20))
		})
	}
}

func requesting(quantity string) map[string]any {
	return map[string]any{"storedTemplates": map[string]any{"t": map[string]any{"container": map[string]any{
		"resources": map[string]any{"requests": map[string]any{"cpu": quantity}},
	}}}}
}

func TestQuantitiesThatKeepTheirReadersBusyAreAbsurd(t *testing.T) {
	stored := func(template map[string]any) map[string]any {
		return map[string]any{"storedTemplates": map[string]any{"limits": template}}
	}
	fields := map[string]func(quantity any) map[string]any{
		"by name": func(quantity any) map[string]any {
			return stored(map[string]any{"container": map[string]any{"Resources": map[string]any{"limits": map[string]any{"cpu": quantity}}}})
		},
		"alone": func(quantity any) map[string]any {
			return stored(map[string]any{"volumes": []any{map[string]any{"emptyDir": map[string]any{"SizeLimit": quantity}}}})
		},
		"in a field of the future": func(quantity any) map[string]any {
			return stored(map[string]any{"limitRanges": []any{map[string]any{"limits": quantity, "requests": map[string]any{"cpu": quantity}}}})
		},
	}
	check := func(value any) error { return checkQuantities(value, schemaOf().status) }
	for _, quantity := range []any{
		"1e-2000000000", "1.12345678901234567890E1000000", "+e9999", "\u00a0-1.5e+1000 ", strings.Repeat("9", 100), "." + strings.Repeat("0", 100) + "1Gi",
	} {
		for name, in := range fields {
			require.ErrorContains(t, check(in(quantity)), "absurd", "%s: %v", name, quantity)
			require.ErrorContains(t, check([]any{in(quantity)}), "absurd", "%s: %v", name, quantity)
		}
		require.NoError(t, check(map[string]any{"message": quantity}), "only quantities are")
		require.NoError(
			t,
			check(stored(map[string]any{"metadata": map[string]any{"labels": map[string]any{"limits": quantity}}})),
			"only quantities are",
		)
	}
	for _, quantity := range []any{"1", "500m", "1.5Gi", "1e3", "-1E-9", "9223372036854775807", "", "many", "more than 1e1000", int64(1) << 60, 1e300, nil, []any{}} {
		for name, in := range fields {
			require.NoError(t, check(in(quantity)), "%s: %v", name, quantity)
		}
	}
}

func TestATimeThatNobodyCouldReadAgainIsLeftOutOfASummary(t *testing.T) {
	wf := assigned()
	rw := gen.RemoteWorkflow(wf, cluster, gen.WithReport(map[string]any{"phase": "Failed"}))
	rw.Status.Report.Data = nil
	beyond, err := time.Parse(time.RFC3339, "9999-12-31T23:59:59-14:00")
	require.NoError(t, err)
	rw.Status.StartedAt, rw.Status.FinishedAt = ptr.To(metav1.NewTime(beyond)), ptr.To(metav1.NewTime(beyond))
	taken, _ := take(wf, rw)
	requireSummary(t, taken, map[string]any{"phase": "Failed"})
}

func TestASummaryHasNoEmptyFields(t *testing.T) {
	wf := assigned()
	rw := gen.RemoteWorkflow(wf, cluster, gen.WithReport(map[string]any{"phase": "Pending"}))
	rw.Status.Report.Data = nil
	taken, _ := take(wf, rw)
	requireSummary(t, taken, map[string]any{"phase": "Pending"})
}
