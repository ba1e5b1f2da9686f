package contract_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

func TestAnEncodedStatusIsGzippedJSONAndAlwaysTheSame(t *testing.T) {
	status := map[string]any{"phase": "Running", "huge": int64(9007199254740993), "nodes": map[string]any{"hello-1": map[string]any{"message": "<&>\u2028 ü \x00"}}}
	data, err := contract.EncodeStatus(status)
	require.NoError(t, err)
	_, err = contract.EncodeStatus(map[string]any{"message": strings.Repeat("another ", 10_000)})
	require.NoError(t, err)
	again, err := contract.EncodeStatus(status)
	require.NoError(t, err)
	assert.Equal(t, data, again)

	reader, err := gzip.NewReader(bytes.NewReader(data))
	require.NoError(t, err)
	var got map[string]any
	decoder := json.NewDecoder(reader)
	decoder.UseNumber()
	require.NoError(t, decoder.Decode(&got))
	status["huge"] = json.Number("9007199254740993")
	assert.Equal(t, status, got)
}

// BenchmarkEncodeStatus encodes what a Workflow of one pod reports.
func BenchmarkEncodeStatus(b *testing.B) {
	status := map[string]any{"phase": "Succeeded", "progress": "1/1", "nodes": map[string]any{"hello": map[string]any{
		"id": "hello", "displayName": "hello", "type": "Pod", "phase": "Succeeded", "templateScope": "local/hello", "hostNodeName": "node",
		"outputs": map[string]any{"exitCode": "0"}, "resourcesDuration": map[string]any{"cpu": int64(1), "memory": int64(2)},
	}}}
	b.ReportAllocs()
	for b.Loop() {
		_, err := contract.EncodeStatus(status)
		require.NoError(b, err)
	}
}

func TestAStatusThatCannotBeJSONIsAnError(t *testing.T) {
	_, err := contract.EncodeStatus(map[string]any{"phase": func() {}})
	require.Error(t, err)
	_, err = contract.StatusHash(uid, map[string]any{"phase": func() {}})
	require.Error(t, err)
}

func TestStatusHashTellsWorkflowsAndStatusesApart(t *testing.T) {
	hash := func(id types.UID, status map[string]any) string {
		t.Helper()
		got, err := contract.StatusHash(id, status)
		require.NoError(t, err)
		return got
	}
	running := map[string]any{"phase": "Running", "progress": "0/1"}
	assert.Equal(t, hash("a", running), hash("a", map[string]any{"progress": "0/1", "phase": "Running"}))
	assert.NotEqual(t, hash("a", running), hash("b", running), "a copied status is not the hub's")
	assert.NotEqual(t, hash("a", running), hash("a", map[string]any{"phase": "Running", "progress": "1/1"}))
	assert.NotEqual(t, hash("a", nil), hash("a", map[string]any{}))
	assert.Len(t, hash("a", nil), 32)
}
