package status

import (
	"bytes"
	"maps"
	"reflect"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
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

func running() map[string]any {
	return map[string]any{
		"phase": "Running", "progress": "0/1", "startedAt": "2026-01-02T15:04:05Z",
		"nodes":     map[string]any{"hello": map[string]any{"phase": "Running", "ofTheFuture": int64(1)}},
		"resources": map[string]any{"estimated": 1.5},
	}
}

func TestAReportOfThisVeryRunIsTakenAsItIs(t *testing.T) {
	wf := assigned()
	status, refused := accept(wf, gen.RemoteWorkflow(wf, cluster, gen.WithReport(running())))
	assert.Zero(t, refused)
	assert.Equal(t, running(), status)
}

func TestAReportOfAnythingElseIsRefused(t *testing.T) {
	long := strings.Repeat("x", 10_000)
	tests := map[string]struct {
		change     func(*v1alpha1.RemoteWorkflow)
		wantReason string
		wantPart   string
	}{
		"from another cluster":   {func(rw *v1alpha1.RemoteWorkflow) { rw.Namespace = "cluster2" }, RefusedWrongCluster, "runs on cluster1"},
		"of another Workflow":    {func(rw *v1alpha1.RemoteWorkflow) { rw.Status.Report.WorkflowUID = "another" }, RefusedWrongWorkflow, `UID "another"`},
		"of no Workflow":         {func(rw *v1alpha1.RemoteWorkflow) { rw.Status.Report.WorkflowUID = "" }, RefusedWrongWorkflow, `UID ""`},
		"of another attempt":     {func(rw *v1alpha1.RemoteWorkflow) { rw.Status.Report.Attempt = 2 }, RefusedWrongWorkflow, "attempt 2"},
		"of another copy":        {func(rw *v1alpha1.RemoteWorkflow) { rw.Status.Report.RemoteUID = "another" }, RefusedWrongCopy, `UID "another"`},
		"of a copy not recorded": {func(rw *v1alpha1.RemoteWorkflow) { rw.Status.RemoteUID, rw.Status.Report.RemoteUID = "", "" }, RefusedWrongCopy, `UID ""`},
		"a name without end":     {func(rw *v1alpha1.RemoteWorkflow) { rw.Status.Report.RemoteUID = types.UID(long) }, RefusedWrongCopy, "xxx"},
		"a Workflow without end": {func(rw *v1alpha1.RemoteWorkflow) { rw.Status.Report.WorkflowUID = types.UID(long) }, RefusedWrongWorkflow, "xxx"},
		"not gzip":               {reporting([]byte("{}")), RefusedUnreadable, "gzip"},
		"not JSON":               {reporting(compressed(t, "hello")), RefusedUnreadable, "decode status"},
		"not an object":          {reporting(compressed(t, "[]")), RefusedUnreadable, "decode status"},
		"a number without end":   {reporting(compressed(t, `{"phase":"Failed","a":1`+strings.Repeat("0", 10_000)+`}`)), RefusedUnreadable, "decode status"},
		"a bomb of objects": {
			reporting(compressed(t, `{"a":[`+strings.Repeat("{},", contract.MaxStatusValues/2)+`{}]}`)), RefusedUnreadable, "beyond the limit",
		},
		"a bomb":                   {reporting(compressed(t, strings.Repeat(" ", contract.MaxStatusBytes+1))), RefusedUnreadable, "beyond the limit"},
		"without content":          {reporting(compressed(t, "{}")), RefusedEmpty, `phase ""`},
		"null":                     {reporting(compressed(t, "null")), RefusedEmpty, `phase ""`},
		"without a phase":          {reporting(compressed(t, `{"progress":"1/1"}`)), RefusedEmpty, `phase ""`},
		"a phase that is no label": {reporting(compressed(t, `{"phase":"no label!"}`)), RefusedEmpty, `phase "no label!"`},
		"a phase without end":      {reporting(compressed(t, `{"phase":"`+long+`"}`)), RefusedEmpty, "xxx"},
		"too large, without phase": {func(rw *v1alpha1.RemoteWorkflow) { rw.Status.Report.Data, rw.Status.Phase = nil, "" }, RefusedEmpty, `phase ""`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wf := assigned()
			rw := gen.RemoteWorkflow(wf, cluster, gen.WithReport(running()))
			test.change(rw)
			status, refused := accept(wf, rw)
			assert.Nil(t, status)
			assert.Equal(t, test.wantReason, refused.reason)
			assert.Contains(t, refused.message, "refused a report from cluster "+rw.Namespace)
			assert.Contains(t, refused.message, test.wantPart)
			assert.Less(t, len(refused.message), 512, "what the cluster sends must not fill the message")
		})
	}
}

func reporting(data []byte) func(*v1alpha1.RemoteWorkflow) {
	return func(rw *v1alpha1.RemoteWorkflow) { rw.Status.Report.Data = data }
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

	status, refused := accept(wf, rw)
	assert.Zero(t, refused)
	conditions := status["conditions"]
	delete(status, "conditions")
	assert.Equal(t, map[string]any{
		"phase": "Failed", "progress": "1/2", "message": "one failed",
		"startedAt": "2026-01-02T15:04:05Z", "finishedAt": "2026-01-02T15:05:05Z",
	}, status)
	assert.Equal(t, []any{map[string]any{"type": ConditionIncomplete, "status": "True",
		"message": "the whole status is too large for the hub's API server: only a summary is shown; the rest is on cluster cluster1"}}, conditions)
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
		status, refused := accept(wf, rw)
		assert.Zero(t, refused)
		assert.Equal(t, map[string]any{"phase": "Failed", "conditions": []any{map[string]any{
			"type": ConditionIncomplete, "status": "True",
			"message": want + ": only a summary is shown; the rest is on cluster cluster1",
		}}}, status)
	}
}

func TestAReportThatIsOlderThanWhatTheHubRejectedSaysSo(t *testing.T) {
	wf := assigned()
	status, refused := accept(wf, gen.RemoteWorkflow(wf, cluster, gen.WithReport(running()), notReported("rejected: too long")))
	assert.Zero(t, refused)
	want := running()
	want["conditions"] = []any{map[string]any{"type": ConditionIncomplete, "status": "True",
		"message": "rejected: too long: an older status is shown; the newer one is on cluster cluster1"}}
	assert.Equal(t, want, status)
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
			status, refused := accept(wf, gen.RemoteWorkflow(wf, cluster, gen.WithReport(broken)))
			assert.Zero(t, refused)
			conditions, _ := status["conditions"].([]any)
			require.Len(t, conditions, 1)
			assert.Contains(t, conditions[0].(map[string]any)["message"], "could not read the whole status")
			assert.Less(t, len(conditions[0].(map[string]any)["message"].(string)), 512)
			delete(status, "conditions")
			assert.Equal(t, map[string]any{"phase": "Failed", "progress": "1/2"}, status)
		})
	}
}

func TestTheMostExpensiveReportIsBounded(t *testing.T) {
	allocatedBy := func(f func()) uint64 {
		var before, after goruntime.MemStats
		goruntime.ReadMemStats(&before)
		f()
		goruntime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	many := func(element string, values int) string {
		return `[` + strings.Repeat(element+",", values/2-8) + element + `]`
	}
	t.Run("in Argo's types", func(t *testing.T) {
		wf := assigned()
		rw := gen.RemoteWorkflow(wf, cluster, gen.WithReport(running()))
		rw.Status.Report.Data = compressed(t, `{"phase":"Running","storedWorkflowTemplateSpec":{"templates":`+many("{}", contract.MaxStatusValues)+`}}`)
		var status map[string]any
		assert.Less(t, allocatedBy(func() { status, _ = accept(wf, rw) }), uint64(memoryFactor*512<<20))
		assert.Contains(t, status, "storedWorkflowTemplateSpec")
	})
	for name, nodes := range map[string]string{
		"in packed nodes":         `{"a":{"outputs":{"artifacts":` + many("{}", maxNodesValues) + `}}}`,
		"in a long text of them":  `{"a":{"message":"` + strings.Repeat("<", maxNodesBytes-100) + `"}}`,
		"in one that is repacked": `{"a":{"archiveLocation":{"s3":{"bucket":"b"}},"message":"` + strings.Repeat("<", maxNodesBytes-200) + `"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			nodes := packed(t, nodes)
			assert.Less(t, allocatedBy(func() {
				_, err := restrictPacked(nodes, locations{})
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
	fields := map[string]func(quantity any) map[string]any{
		"by name": func(quantity any) map[string]any { return map[string]any{"limits": map[string]any{"cpu": quantity}} },
		"alone": func(quantity any) map[string]any {
			return map[string]any{"emptyDir": map[string]any{"SizeLimit": quantity}}
		},
	}
	for _, quantity := range []any{
		"1e-2000000000", "1.12345678901234567890E1000000", "+e9999", "\u00a0-1.5e+1000 ", strings.Repeat("9", 100), "." + strings.Repeat("0", 100) + "1Gi",
	} {
		for name, in := range fields {
			require.ErrorContains(t, checkQuantities(in(quantity)), "absurd", "%s: %v", name, quantity)
			require.ErrorContains(t, checkQuantities([]any{in(quantity)}), "absurd", "%s: %v", name, quantity)
		}
		require.NoError(t, checkQuantities(map[string]any{"value": quantity}), "only quantities are")
	}
	for _, quantity := range []any{"1", "500m", "1.5Gi", "1e3", "-1E-9", "9223372036854775807", "", "many", "more than 1e1000", int64(1) << 60, 1e300, nil, []any{}} {
		for name, in := range fields {
			require.NoError(t, checkQuantities(in(quantity)), "%s: %v", name, quantity)
		}
	}
}

// If this fails after an update of Argo, it has one more field for quantities: quantityFields needs it.
func TestEveryFieldInWhichArgoTakesQuantitiesIsKnown(t *testing.T) {
	found := fieldsOf(reflect.TypeFor[wfv1.WorkflowStatus](), reflect.TypeFor[resource.Quantity]())
	assert.ElementsMatch(t, quantityFields, slices.Collect(maps.Keys(found)))
}

func TestATimeThatNobodyCouldReadAgainIsLeftOutOfASummary(t *testing.T) {
	wf := assigned()
	rw := gen.RemoteWorkflow(wf, cluster, gen.WithReport(map[string]any{"phase": "Failed"}))
	rw.Status.Report.Data = nil
	beyond, err := time.Parse(time.RFC3339, "9999-12-31T23:59:59-14:00")
	require.NoError(t, err)
	rw.Status.StartedAt, rw.Status.FinishedAt = ptr.To(metav1.NewTime(beyond)), ptr.To(metav1.NewTime(beyond))
	status, _ := accept(wf, rw)
	delete(status, "conditions")
	assert.Equal(t, map[string]any{"phase": "Failed"}, status)
}

func TestASummaryHasNoEmptyFields(t *testing.T) {
	wf := assigned()
	rw := gen.RemoteWorkflow(wf, cluster, gen.WithReport(map[string]any{"phase": "Pending"}))
	rw.Status.Report.Data = nil
	status, _ := accept(wf, rw)
	delete(status, "conditions")
	assert.Equal(t, map[string]any{"phase": "Pending"}, status)
}
