package report

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestTheDigestOfASourceTellsWhatDecidesAndNothingElse(t *testing.T) {
	wf := assigned()
	digest := func(change func(rw *v1alpha1.RemoteWorkflow, labels map[string]string, run *Run)) string {
		rw := gen.RemoteWorkflow(wf, cluster, gen.WithReport(running()), notReported("too large"))
		labels, run := map[string]string{"team": "a"}, runOf(wf)
		change(rw, labels, &run)
		return SourceDigest(rw, labels, run)
	}
	same := digest(func(*v1alpha1.RemoteWorkflow, map[string]string, *Run) {})
	assert.Len(t, same, 32)
	for name, change := range map[string]func(rw *v1alpha1.RemoteWorkflow, labels map[string]string, run *Run){
		"another Workflow":       func(_ *v1alpha1.RemoteWorkflow, _ map[string]string, run *Run) { run.WorkflowUID = "another" },
		"another namespace":      func(_ *v1alpha1.RemoteWorkflow, _ map[string]string, run *Run) { run.Namespace = "another" },
		"another cluster":        func(_ *v1alpha1.RemoteWorkflow, _ map[string]string, run *Run) { run.Cluster = "another" },
		"another spec":           func(_ *v1alpha1.RemoteWorkflow, _ map[string]string, run *Run) { run.Spec = ViewOf(richSpec()) },
		"another label":          func(_ *v1alpha1.RemoteWorkflow, labels map[string]string, _ *Run) { labels["team"] = "b" },
		"another RemoteWorkflow": func(rw *v1alpha1.RemoteWorkflow, _ map[string]string, _ *Run) { rw.UID = "another" },
		"another's namespace":    func(rw *v1alpha1.RemoteWorkflow, _ map[string]string, _ *Run) { rw.Namespace = "another" },
		"another attempt":        func(rw *v1alpha1.RemoteWorkflow, _ map[string]string, _ *Run) { rw.Spec.Attempt = 2 },
		"another recorded UID":   func(rw *v1alpha1.RemoteWorkflow, _ map[string]string, _ *Run) { rw.Status.RemoteUID = "another" },
		"another phase":          func(rw *v1alpha1.RemoteWorkflow, _ map[string]string, _ *Run) { rw.Status.Phase = "Failed" },
		"another progress":       func(rw *v1alpha1.RemoteWorkflow, _ map[string]string, _ *Run) { rw.Status.Progress = "1/1" },
		"another message":        func(rw *v1alpha1.RemoteWorkflow, _ map[string]string, _ *Run) { rw.Status.Message = "another" },
		"another start":          func(rw *v1alpha1.RemoteWorkflow, _ map[string]string, _ *Run) { rw.Status.StartedAt = &gen.Time },
		"another end":            func(rw *v1alpha1.RemoteWorkflow, _ map[string]string, _ *Run) { rw.Status.FinishedAt = &gen.Time },
		"no report":              func(rw *v1alpha1.RemoteWorkflow, _ map[string]string, _ *Run) { rw.Status.Report = nil },
		"other data":             func(rw *v1alpha1.RemoteWorkflow, _ map[string]string, _ *Run) { rw.Status.Report.Data = []byte("x") },
		"a report of another": func(rw *v1alpha1.RemoteWorkflow, _ map[string]string, _ *Run) {
			rw.Status.Report.WorkflowUID = "another"
		},
		"of another attempt": func(rw *v1alpha1.RemoteWorkflow, _ map[string]string, _ *Run) { rw.Status.Report.Attempt = 2 },
		"of another UID":     func(rw *v1alpha1.RemoteWorkflow, _ map[string]string, _ *Run) { rw.Status.Report.RemoteUID = "another" },
		"reported again": func(rw *v1alpha1.RemoteWorkflow, _ map[string]string, _ *Run) {
			rw.Status.Conditions[0].Status = metav1.ConditionTrue
		},
		"another reason of that": func(rw *v1alpha1.RemoteWorkflow, _ map[string]string, _ *Run) {
			rw.Status.Conditions[0].Message = "rejected"
		},
		"no such condition": func(rw *v1alpha1.RemoteWorkflow, _ map[string]string, _ *Run) { rw.Status.Conditions = nil },
	} {
		assert.NotEqual(t, same, digest(change), name)
		again := digest(change)
		assert.Equal(t, again, digest(change), name)
	}
	for name, change := range map[string]func(rw *v1alpha1.RemoteWorkflow){
		"what the API server counts": func(rw *v1alpha1.RemoteWorkflow) { rw.ResourceVersion, rw.Generation = "7", 2 },
		"other conditions":           gen2(gen.WithCondition(v1alpha1.ConditionStarted, metav1.ConditionTrue, "x", "x")),
		"nodes by phase":             func(rw *v1alpha1.RemoteWorkflow) { rw.Status.Nodes = map[string]int32{"Running": 1} },
		"when it was reported":       func(rw *v1alpha1.RemoteWorkflow) { rw.Status.Conditions[0].LastTransitionTime = metav1.Now() },
	} {
		assert.Equal(t, same, digest(func(rw *v1alpha1.RemoteWorkflow, _ map[string]string, _ *Run) { change(rw) }), name)
	}
}

func gen2(mod gen.Mod) func(*v1alpha1.RemoteWorkflow) {
	return func(rw *v1alpha1.RemoteWorkflow) { mod(rw) }
}

func TestTheCacheKeepsTheDigestOfALargeReportInPlaceOfItsData(t *testing.T) {
	large := bytes.Repeat([]byte("x"), maxCachedData+1)
	for name, test := range map[string]struct {
		report *v1alpha1.Report
		keeps  bool
	}{
		"a large one":                {&v1alpha1.Report{Data: large, Digest: "of it"}, false},
		"a small one":                {&v1alpha1.Report{Data: large[1:], Digest: "of it"}, true},
		"a large one without digest": {&v1alpha1.Report{Data: large}, false},
		"none":                       {nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			rw := gen.RemoteWorkflow(assigned(), cluster)
			rw.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "agent"}}
			rw.Status.Report = test.report.DeepCopy()
			before := SourceDigest(rw, nil, runOf(assigned()))
			trimmed, err := Trim(rw)
			require.NoError(t, err)
			assert.Same(t, rw, trimmed)
			assert.Empty(t, rw.ManagedFields)
			if test.keeps {
				assert.Equal(t, test.report, rw.Status.Report)
			} else {
				assert.Equal(t, &v1alpha1.Report{Digest: digestOf(test.report)}, rw.Status.Report)
			}
			assert.Equal(t, before, SourceDigest(rw, nil, runOf(assigned())), "it identifies the same")
		})
	}
	other := &corev1.Namespace{}
	untouched, err := Trim(other)
	require.NoError(t, err)
	assert.Same(t, other, untouched, "a tombstone, too, passes")
}

// If this fails, see to it that what was added is in SourceDigest, if Take goes by it.
func TestASourceHasWhatARemoteWorkflowHas(t *testing.T) {
	assert.Equal(t, 14, reflect.TypeFor[v1alpha1.RemoteWorkflowStatus]().NumField())
	assert.Equal(t, 5, reflect.TypeFor[v1alpha1.Report]().NumField())
}
