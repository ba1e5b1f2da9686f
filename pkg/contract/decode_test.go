package contract_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

func TestAStatusComesBackAsItWas(t *testing.T) {
	tests := map[string]map[string]any{
		"no status":       nil,
		"an empty status": {},
		"nodes, numbers and fields that we do not know": {
			"phase":             "Running",
			"estimatedDuration": int64(90),
			"huge":              int64(9007199254740993), // not representable as a float64
			"ratio":             0.25,
			"ofANewerArgo":      map[string]any{"list": []any{"a", int64(1), true, nil, map[string]any{}}},
			"nodes":             map[string]any{"hello-1": map[string]any{"message": "<&>\u2028 ü \x00"}},
		},
	}
	for name, status := range tests {
		t.Run(name, func(t *testing.T) {
			data, err := contract.EncodeStatus(status)
			require.NoError(t, err)
			again, err := contract.EncodeStatus(status)
			require.NoError(t, err)
			assert.Equal(t, data, again, "equal statuses give equal bytes")
			got, err := contract.DecodeStatus(data)
			require.NoError(t, err)
			assert.Equal(t, status, got)
		})
	}
}

func TestADecodedStatusIsAsAnAPIServerWouldReturnIt(t *testing.T) {
	status, err := contract.DecodeStatus(zip(t, strings.NewReader(
		`{"a":1.0,"b":-0.0,"c":1e3,"d":1e21,"e":[2.0,0.5],"f":9223372036854775807,"g":9223372036854775808}`)))
	require.NoError(t, err)
	assert.Equal(t, map[string]any{
		"a": int64(1), "b": int64(0), "c": int64(1000), "d": 1e21, "e": []any{int64(2), 0.5},
		"f": int64(9223372036854775807), "g": 9223372036854775808.0,
	}, status)
}

func TestDecodeStatusRefuses(t *testing.T) {
	valid := zip(t, strings.NewReader(`{"phase":"Running"}`))
	tests := map[string][]byte{
		"nothing":                    nil,
		"what is not gzip":           []byte(`{"phase":"Running"}`),
		"gzip that is cut":           valid[:len(valid)-4],
		"gzip with a wrong checksum": append(bytes.Clone(valid[:len(valid)-8]), 1, 2, 3, 4, 5, 6, 7, 8),
		"rubbish behind the gzip":    append(bytes.Clone(valid), "rubbish"...),
		"what is not JSON":           zip(t, strings.NewReader("phase: Running")),
		"JSON that is no object":     zip(t, strings.NewReader(`["Running"]`)),
		"JSON nested too deep":       zip(t, strings.NewReader(`{"a":`+strings.Repeat("[", 100_000))),
		"nothing in gzip":            zip(t, strings.NewReader("")),
	}
	for name, data := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := contract.DecodeStatus(data)
			require.Error(t, err)
			assert.NotErrorIs(t, err, contract.ErrStatusTooLarge)
		})
	}
}

func TestAStatusUpToTheLimitIsTakenAndNoneBeyond(t *testing.T) {
	sized := func(size int) []byte {
		return zip(t, strings.NewReader(`{"message":"`+strings.Repeat("x", size-len(`{"message":""}`))+`"}`))
	}
	_, err := contract.DecodeStatus(sized(contract.MaxStatusBytes))
	require.NoError(t, err)
	_, err = contract.DecodeStatus(sized(contract.MaxStatusBytes + 1))
	require.ErrorIs(t, err, contract.ErrStatusTooLarge)
}

func TestAGzipBombIsRefusedBeforeItExpands(t *testing.T) {
	tests := map[string][]byte{
		"one stream of 64 MiB":  zip(t, io.LimitReader(zeros{}, 64<<20)),
		"1024 streams of 1 MiB": bytes.Repeat(zip(t, io.LimitReader(zeros{}, 1<<20)), 1024),
	}
	for name, bomb := range tests {
		t.Run(name, func(t *testing.T) {
			var err error
			allocated := allocatedBy(func() { _, err = contract.DecodeStatus(bomb) })
			require.ErrorIs(t, err, contract.ErrStatusTooLarge)
			assert.Less(t, allocated, uint64(32<<20))
		})
	}
}

// expensive builds what takes the most memory for its size: as many elements as have the given number of values.
func expensive(element string, values int) string {
	count := values/(1+strings.Count(element, "{")) - 2
	return `{"a":[` + strings.Repeat(element+",", count) + element + `]}`
}

var expensiveElements = map[string]string{
	"empty objects":      "{}",
	"numbers":            "0",
	"objects in objects": strings.Repeat(`{"":`, 200) + "0" + strings.Repeat("}", 200),
}

func TestTheMostExpensiveStatusWithinTheLimitIsBounded(t *testing.T) {
	for name, element := range expensiveElements {
		t.Run(name, func(t *testing.T) {
			data := zip(t, strings.NewReader(expensive(element, contract.MaxStatusValues)))
			var err error
			allocated := allocatedBy(func() { _, err = contract.DecodeStatus(data) })
			require.NoError(t, err)
			assert.Less(t, allocated, uint64(128<<20))
		})
		t.Run("too many "+name, func(t *testing.T) {
			data := zip(t, strings.NewReader(expensive(element, contract.MaxStatusValues*5/4)))
			var err error
			allocated := allocatedBy(func() { _, err = contract.DecodeStatus(data) })
			require.ErrorIs(t, err, contract.ErrStatusTooLarge)
			assert.Less(t, allocated, uint64(16<<20))
		})
	}
}

func TestAStatusOfManyNodesIsTaken(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "test", "testdata", "workflow-argo-3.7.18.json"))
	require.NoError(t, err)
	var wf struct{ Status map[string]any }
	require.NoError(t, json.Unmarshal(raw, &wf))
	once, err := json.Marshal(wf.Status["nodes"])
	require.NoError(t, err)
	nodes := map[string]any{}
	for i, size := 0, 0; size+len(once)*5/4 < contract.MaxStatusBytes; i++ {
		more := strings.ReplaceAll(string(once), "everything", fmt.Sprintf("everything-%04d", i))
		require.NoError(t, json.Unmarshal([]byte(more), &nodes))
		size += len(more)
	}
	require.Greater(t, len(nodes), 5000)
	wf.Status["nodes"] = nodes
	raw, err = json.Marshal(wf.Status)
	require.NoError(t, err)
	require.Greater(t, len(raw), contract.MaxStatusBytes*99/100)

	status, err := contract.DecodeStatus(zip(t, bytes.NewReader(raw)))
	require.NoError(t, err)
	got, err := json.Marshal(status)
	require.NoError(t, err)
	assert.JSONEq(t, string(raw), string(got))
}

func TestTheDepthOfAStatusIsBounded(t *testing.T) {
	nested := func(depth int) []byte {
		return zip(t, strings.NewReader(strings.Repeat(`{"a":[`, depth/2)+strings.Repeat("]}", depth/2)))
	}
	_, err := contract.DecodeStatus(nested(256))
	require.NoError(t, err)
	_, err = contract.DecodeStatus(nested(258))
	require.ErrorContains(t, err, "levels deep")
}

func TestOnlyLargeStatusesTakeTurns(t *testing.T) {
	small := zip(t, strings.NewReader(`{"phase":"Running"}`))
	for name, raw := range map[string]string{
		"many bytes":  `{"message":"` + strings.Repeat("x", 1<<20) + `"}`,
		"many values": expensive("0", 1<<15),
	} {
		t.Run(name, func(t *testing.T) {
			large := zip(t, strings.NewReader(raw))
			var second error
			done := make(chan struct{})
			_, err := contract.DecodeStatus(large, func(map[string]any) {
				_, err := contract.DecodeStatus(small)
				require.NoError(t, err, "a small one does not wait")
				go func() {
					_, second = contract.DecodeStatus(large)
					close(done)
				}()
				select {
				case <-done:
					assert.Fail(t, "a large one does")
				case <-time.After(200 * time.Millisecond):
				}
			})
			require.NoError(t, err)
			<-done
			require.NoError(t, second)
		})
	}
}

// FuzzDecodeStatus feeds the decoder bytes as they come from a managed cluster, and what they would be inside
// of proper gzip.
func FuzzDecodeStatus(f *testing.F) {
	f.Add([]byte(`{"phase":"Running","nodes":{"a":{"progress":"1/2","n":1.0,"m":-0.0,"o":1e21}}}`))
	f.Add([]byte(`{"a":"\ud800","b":18446744073709551616,"a":null}`))
	f.Add([]byte("null"))
	f.Add([]byte(strings.Repeat(`{"a":`, 300) + "0" + strings.Repeat("}", 300)))
	f.Add([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if status, err := contract.DecodeStatus(raw); err == nil {
			requireStable(t, status)
		}
		data, err := contract.Compress(raw)
		require.NoError(t, err)
		status, err := contract.DecodeStatus(data)
		var plain map[string]any
		if json.Unmarshal(raw, &plain) != nil {
			return
		}
		if err != nil {
			require.ErrorContains(t, err, "levels deep")
			return
		}
		requireStable(t, status)
	})
}

// requireStable checks that a decoded status survives being sent and stored again.
func requireStable(t *testing.T, status map[string]any) {
	t.Helper()
	data, err := contract.EncodeStatus(status)
	require.NoError(t, err)
	again, err := contract.DecodeStatus(data)
	require.NoError(t, err)
	before, err := contract.StatusHash(uid, status)
	require.NoError(t, err)
	after, err := contract.StatusHash(uid, again)
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.Equal(t, status, again)
}

func zip(t *testing.T, from io.Reader) []byte {
	t.Helper()
	var out bytes.Buffer
	writer := gzip.NewWriter(&out)
	_, err := io.Copy(writer, from)
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	return out.Bytes()
}

func allocatedBy(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
