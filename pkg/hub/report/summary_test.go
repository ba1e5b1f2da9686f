package report

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestWhatIsFedBackIsASummaryThatArgosClientsCanRead(t *testing.T) {
	tests := map[string]struct {
		values map[string]string
		want   map[string]any
		ok     bool
	}{
		"it runs": {
			map[string]string{"phase": "Running", "progress": "0/1", "startedAt": "2026-01-02T15:04:05Z"},
			map[string]any{"phase": "Running", "progress": "0/1", "startedAt": "2026-01-02T15:04:05Z"}, true,
		},
		"it has ended": {
			map[string]string{"phase": "Failed", "message": "child failed", "finishedAt": "2026-01-02T15:04:05Z"},
			map[string]any{"phase": "Failed", "message": "child failed", "finishedAt": "2026-01-02T15:04:05Z"}, true,
		},
		"what is no field of a status": {
			map[string]string{"phase": "Running", "nodes": "all", "uid": "remote", "hubUID": "x"}, map[string]any{"phase": "Running"}, true,
		},
		"a time that is none": {
			map[string]string{"phase": "Running", "startedAt": "yesterday", "finishedAt": "2026-01-02T15:04:05Z"},
			map[string]any{"phase": "Running", "finishedAt": "2026-01-02T15:04:05Z"}, true,
		},
		"a time beyond all times": {
			map[string]string{"phase": "Running", "startedAt": "9999-12-31T23:59:59-14:00"}, map[string]any{"phase": "Running"}, true,
		},
		"no phase":              {map[string]string{"progress": "0/1"}, map[string]any{"progress": "0/1"}, false},
		"a phase that is none":  {map[string]string{"phase": "no label!"}, map[string]any{"phase": "no label!"}, false},
		"nothing":               {nil, map[string]any{}, false},
		"a field without value": {map[string]string{"phase": "Running", "message": ""}, map[string]any{"phase": "Running"}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			status, ok := FromFeedback(test.values)
			assert.Equal(t, test.want, status)
			assert.Equal(t, test.ok, ok)
		})
	}
}

func TestASummaryWithoutAPhaseIsNone(t *testing.T) {
	wf := assigned()
	assert.Nil(t, Summary(gen.RemoteWorkflow(wf, cluster), "for no reason"))
	rw := gen.RemoteWorkflow(wf, cluster, gen.WithReport(map[string]any{"phase": "Succeeded"}))
	assert.Equal(t, map[string]any{"phase": "Succeeded", "conditions": []any{map[string]any{
		"type": ConditionIncomplete, "status": "True", "message": "the hub rejects it: only a summary is shown; the rest is on cluster cluster1",
	}}}, Summary(rw, "the hub rejects it"))
}

func TestAConditionIsSetOnceAndTheListBeforeStaysAsItWas(t *testing.T) {
	before := []any{map[string]any{"type": "PodRunning", "status": "False"}, "odd"}
	status := map[string]any{"conditions": before}
	AddCondition(status, ConditionRefused, "first")
	AddCondition(status, ConditionRefused, "second")
	want := map[string]any{"type": ConditionRefused, "status": "True", "message": "second"}
	assert.Equal(t, append(before[:2:2], want), status["conditions"])
	assert.Len(t, before, 2)
}
