package run

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

func TestSummarize(t *testing.T) {
	at := func(second int) *metav1.Time {
		return ptr.To(metav1.NewTime(time.Date(2030, time.May, 1, 12, 0, second, 0, time.UTC)))
	}
	tests := map[string]struct {
		status map[string]any
		want   v1alpha1.RemoteWorkflowStatus
	}{
		"a running Workflow": {
			status: map[string]any{
				"phase": "Running", "progress": "1/3", "startedAt": "2030-05-01T12:00:01Z", "finishedAt": nil,
				"nodes": map[string]any{
					"a": map[string]any{"phase": "Succeeded"}, "b": map[string]any{"phase": "Running"},
					"c": map[string]any{"phase": "Running"}, "d": map[string]any{},
				},
			},
			want: v1alpha1.RemoteWorkflowStatus{
				Phase: "Running", Progress: "1/3", StartedAt: at(1),
				Nodes: map[string]int32{"Succeeded": 1, "Running": 2, "Pending": 1},
			},
		},
		"a finished Workflow": {
			status: map[string]any{"phase": "Failed", "message": "child failed", "finishedAt": "2030-05-01T14:00:09+02:00"},
			want:   v1alpha1.RemoteWorkflowStatus{Phase: "Failed", Message: "child failed", FinishedAt: at(9)},
		},
		"compressed nodes are not counted": {
			status: map[string]any{"phase": "Running", "compressedNodes": "H4sI"},
			want:   v1alpha1.RemoteWorkflowStatus{Phase: "Running"},
		},
		"what is not as Argo defines it is left out": {
			status: map[string]any{"phase": 3, "startedAt": "yesterday", "finishedAt": "0001-01-01T00:00:00Z", "nodes": map[string]any{"a": "odd"}},
			want:   v1alpha1.RemoteWorkflowStatus{Nodes: map[string]int32{"Pending": 1}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := v1alpha1.RemoteWorkflowStatus{Phase: "Pending", Message: "before", StartedAt: at(30), RemoteUID: testUID}
			summarize(&got, test.status)
			assert.Equal(t, testUID, got.RemoteUID, "not the summary's")
			got.RemoteUID = ""
			for _, pair := range [][2]*metav1.Time{{test.want.StartedAt, got.StartedAt}, {test.want.FinishedAt, got.FinishedAt}} {
				assert.True(t, pair[0].Equal(pair[1]), "%v and %v", pair[0], pair[1])
			}
			test.want.StartedAt, test.want.FinishedAt, got.StartedAt, got.FinishedAt = nil, nil, nil, nil
			assert.Equal(t, test.want, got)
		})
	}
}

func TestCutKeepsWholeCharacters(t *testing.T) {
	assert.Equal(t, "short", cut("short", 5))
	assert.Equal(t, "lon…", cut("longer", 4))
	assert.Equal(t, "日本…", cut("日本語日本語", 3))
	long := cut(strings.Repeat("é", 5000), maxMessageLength)
	assert.True(t, utf8.ValidString(long))
	assert.Equal(t, maxMessageLength, utf8.RuneCountInString(long))
}

func TestLabelsOfWorkflowMetadata(t *testing.T) {
	labels := map[string]any{"team": "a", "computed": "b", "other": "c", "of/template": "d"}
	metadata := map[string]any{
		"labels":     map[string]any{"team": "as written", "missing": "x"},
		"labelsFrom": map[string]any{"computed": map[string]any{"expression": "'b'"}},
	}
	many, want := map[string]any{}, map[string]string{}
	for i := range 100 {
		key := fmt.Sprintf("label-%03d", i)
		if many[key] = "x"; i < maxLabels {
			want[key] = "x"
		}
	}
	tests := map[string]struct {
		labels, spec, status map[string]any
		want                 map[string]string
	}{
		"without workflowMetadata there are none": {labels: labels, spec: map[string]any{"entrypoint": "main"}},
		"those that it names are as Argo has set them": {
			labels: labels, spec: map[string]any{"workflowMetadata": metadata}, want: map[string]string{"team": "a", "computed": "b"}},
		"of a template, those that the merged spec names": {
			labels: labels, spec: map[string]any{"workflowTemplateRef": map[string]any{"name": "t"}, "workflowMetadata": metadata},
			status: map[string]any{"storedWorkflowTemplateSpec": map[string]any{
				"workflowMetadata": map[string]any{"labels": map[string]any{"of/template": "d"}}}},
			want: map[string]string{"of/template": "d"}},
		"of a template that Argo has not resolved yet, none": {
			labels: labels, spec: map[string]any{"workflowTemplateRef": map[string]any{"name": "t"}}},
		"what is not as Argo defines it names none": {labels: labels, spec: map[string]any{"workflowMetadata": []any{"team"}}},
		"of too many, the first": {
			labels: many, spec: map[string]any{"workflowMetadata": map[string]any{"labels": many}}, want: want},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wf := contract.NewWorkflow()
			wf.Object["metadata"] = map[string]any{"labels": test.labels}
			wf.Object["spec"] = test.spec
			if test.status != nil {
				wf.Object["status"] = test.status
			}
			assert.Equal(t, test.want, labelsOf(wf))
		})
	}
}
