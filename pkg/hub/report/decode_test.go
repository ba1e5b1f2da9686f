package report

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// decoded decodes what nobody holds on to.
func decoded(data []byte) (map[string]any, error) {
	status, release, err := decode(data)
	release()
	return status, err
}

func expanded(t *testing.T, data []byte) []byte {
	t.Helper()
	raw, release, err := packedNodes.expand(data)
	require.NoError(t, err)
	release()
	return raw
}

func zip(t *testing.T, raw io.Reader) []byte {
	t.Helper()
	var out bytes.Buffer
	writer := gzip.NewWriter(&out)
	_, err := io.Copy(writer, raw)
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	return out.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func allocatedBy(f func()) uint64 {
	var before, after goruntime.MemStats
	goruntime.ReadMemStats(&before)
	f()
	goruntime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestAStatusComesBackAsItWas(t *testing.T) {
	for name, status := range map[string]map[string]any{
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
	} {
		t.Run(name, func(t *testing.T) {
			data, err := contract.EncodeStatus(status)
			require.NoError(t, err)
			got, err := decoded(data)
			require.NoError(t, err)
			assert.Equal(t, status, got)
		})
	}
}

func TestADecodedStatusIsAsAnAPIServerWouldReturnIt(t *testing.T) {
	status, err := decoded(zip(t, strings.NewReader(
		`{"a":1.0,"b":-0.0,"c":1e3,"d":1e21,"e":[2.0,0.5],"f":9223372036854775807,"g":9223372036854775808}`)))
	require.NoError(t, err)
	assert.Equal(t, map[string]any{
		"a": int64(1), "b": int64(0), "c": int64(1000), "d": 1e21, "e": []any{int64(2), 0.5},
		"f": int64(9223372036854775807), "g": 9223372036854775808.0,
	}, status)
}

func TestWhatIsNoStatusIsAnError(t *testing.T) {
	valid := zip(t, strings.NewReader(`{"phase":"Running"}`))
	for name, data := range map[string][]byte{
		"nothing":                    nil,
		"what is not gzip":           []byte(`{"phase":"Running"}`),
		"gzip that is cut":           valid[:len(valid)-4],
		"gzip with a wrong checksum": append(bytes.Clone(valid[:len(valid)-8]), 1, 2, 3, 4, 5, 6, 7, 8),
		"rubbish behind the gzip":    append(bytes.Clone(valid), "rubbish"...),
		"what is not JSON":           zip(t, strings.NewReader("phase: Running")),
		"JSON that is no object":     zip(t, strings.NewReader(`["Running"]`)),
		"JSON nested too deep":       zip(t, strings.NewReader(`{"a":`+strings.Repeat("[", 100_000))),
		"nothing in gzip":            zip(t, strings.NewReader("")),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decoded(data)
			require.Error(t, err)
			assert.NotErrorIs(t, err, contract.ErrTooLarge)
		})
	}
}

func TestAStatusUpToTheLimitIsTakenAndNoneBeyond(t *testing.T) {
	sized := func(size int64) []byte {
		return zip(t, strings.NewReader(`{"message":"`+strings.Repeat("x", int(size)-len(`{"message":""}`))+`"}`))
	}
	_, err := decoded(sized(statuses.bytes))
	require.NoError(t, err)
	_, err = decoded(sized(statuses.bytes + 1))
	require.ErrorIs(t, err, contract.ErrTooLarge)
}

func TestOnlyValuesAreCounted(t *testing.T) {
	for text, want := range map[string]int64{
		`{}`:                          1,
		`{"a":1,"b":[1,2,3]}`:         5,
		`[[[]]]`:                      3,
		`{"a":"1,2,3,[4],{5}"}`:       1,
		`{"a,b":"\",","c\\":","}`:     2,
		`["\\",0,"\\\"",0,"\u0022,"]`: 5,
	} {
		measured := contract.JSONSize{MaxBytes: statuses.bytes, MaxValues: statuses.values}
		for i := range len(text) { // whatever the pieces are in which it comes
			_, err := measured.Write([]byte(text[i : i+1]))
			require.NoError(t, err)
		}
		assert.Equal(t, want, measured.Values, text)
		assert.Equal(t, int64(len(text)), measured.Bytes, text)
	}
}

func TestAGzipBombIsRefusedBeforeItExpands(t *testing.T) {
	for name, bomb := range map[string][]byte{
		"one stream of 64 MiB":  zip(t, io.LimitReader(zeros{}, 64<<20)),
		"1024 streams of 1 MiB": bytes.Repeat(zip(t, io.LimitReader(zeros{}, 1<<20)), 1024),
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			allocated := allocatedBy(func() { _, err = decoded(bomb) })
			require.ErrorIs(t, err, contract.ErrTooLarge)
			assert.Less(t, allocated, uint64(1<<20))
		})
	}
}

// expensive builds what takes the most memory for its size: as many elements as have the given number of values.
func expensive(element string, values int64) string {
	count := int(values)/(1+strings.Count(element, "{")) - 2
	return `{"a":[` + strings.Repeat(element+",", count) + element + `]}`
}

func TestTheMostExpensiveStatusWithinTheLimitIsBounded(t *testing.T) {
	for name, element := range map[string]string{
		"empty objects":      "{}",
		"numbers":            "0",
		"objects in objects": strings.Repeat(`{"":`, 200) + "0" + strings.Repeat("}", 200),
	} {
		t.Run(name, func(t *testing.T) {
			data := zip(t, strings.NewReader(expensive(element, statuses.values)))
			var err error
			allocated := allocatedBy(func() { _, err = decoded(data) })
			require.NoError(t, err)
			assert.Less(t, allocated, uint64(128<<20))
		})
		t.Run("too many "+name, func(t *testing.T) {
			data := zip(t, strings.NewReader(expensive(element, statuses.values*5/4)))
			var err error
			allocated := allocatedBy(func() { _, err = decoded(data) })
			require.ErrorIs(t, err, contract.ErrTooLarge)
			assert.Less(t, allocated, uint64(1<<20))
		})
	}
}

func TestAStatusOfManyNodesIsTaken(t *testing.T) {
	status := contract.Status(finishedBy(t, "3.7.18"))
	once, err := json.Marshal(status["nodes"])
	require.NoError(t, err)
	nodes := map[string]any{}
	for i, size := 0, 0; size+len(once)*5/4 < int(statuses.bytes); i++ {
		more := strings.ReplaceAll(string(once), "everything", fmt.Sprintf("everything-%04d", i))
		require.NoError(t, json.Unmarshal([]byte(more), &nodes))
		size += len(more)
	}
	require.Greater(t, len(nodes), 5000)
	status["nodes"] = nodes
	raw, err := json.Marshal(status)
	require.NoError(t, err)
	require.Greater(t, len(raw), int(statuses.bytes)*99/100)

	got, err := decoded(zip(t, bytes.NewReader(raw)))
	require.NoError(t, err)
	again, err := json.Marshal(got)
	require.NoError(t, err)
	assert.JSONEq(t, string(raw), string(again))
}

func TestTheDepthOfAStatusIsBounded(t *testing.T) {
	nested := func(depth int) []byte {
		return zip(t, strings.NewReader(strings.Repeat(`{"a":[`, depth/2)+strings.Repeat("]}", depth/2)))
	}
	_, err := decoded(nested(contract.MaxJSONDepth))
	require.NoError(t, err)
	_, err = decoded(nested(contract.MaxJSONDepth + 2))
	require.ErrorIs(t, err, contract.ErrTooDeep)
}

// largest are reports that take all there is for all reports at once.
func largest(t *testing.T) map[string][]byte {
	t.Helper()
	text := strings.Repeat("x", int(statuses.bytes)-100)
	return map[string][]byte{
		"many bytes":  compressed(t, `{"phase":"Running","message":"`+text+`"}`),
		"many values": compressed(t, `{"phase":"Running","ofTheFuture":[`+strings.Repeat("0,", int(statuses.values)-10)+`0]}`),
	}
}

func TestALargeReportIsHeldUntilItsReleaseAndNoSmallOneWaits(t *testing.T) {
	for name, data := range largest(t) {
		t.Run(name, func(t *testing.T) {
			wf := assigned()
			large := gen.RemoteWorkflow(wf, cluster, gen.WithReport(running()))
			large.Status.Report.Data = data

			held, refusal := take(wf, large)
			require.Nil(t, refusal)
			require.Empty(t, held.Incomplete)
			assert.False(t, statuses.shares.TryAcquire(ordinaryShare+1), "another large one has to wait")
			small, refusal := take(wf, gen.RemoteWorkflow(wf, cluster, gen.WithReport(running())))
			require.Nil(t, refusal)
			small.Release()

			next := make(chan Taken)
			go func() {
				taken, _ := take(wf, large)
				next <- taken
			}()
			for range 3 { // more than once is once
				held.Release()
			}
			(<-next).Release()
			requireAllShares(t)
		})
	}
}

func TestWhatIsNotTakenIsNotHeld(t *testing.T) {
	wf := assigned()
	rw := gen.RemoteWorkflow(wf, cluster, gen.WithReport(running()))
	long := strings.Repeat("x", int(statuses.bytes)-1000)
	blank := packed(t, strings.Repeat(" ", 16<<20))
	for name, raw := range map[string]string{
		"not JSON":                      `{"phase":"Running","message":"` + long + `"`,
		"without a phase":               `{"message":"` + long + `"}`,
		"malformed":                     `{"phase":"Running","nodes":1,"message":"` + long + `"}`,
		"what it has packed is no JSON": `{"phase":"Running","compressedNodes":"` + blank + `","message":"` + long + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			rw.Status.Report.Data = compressed(t, raw)
			taken, refusal := take(wf, rw)
			require.Nil(t, refusal)
			assert.NotEmpty(t, taken.Incomplete)
			taken.Release()
			requireAllShares(t)
		})
	}
}

// requireAllShares checks that nothing is held any more.
func requireAllShares(t *testing.T) {
	t.Helper()
	for _, b := range []*bounds{statuses, packedNodes} {
		require.True(t, b.shares.TryAcquire(b.values))
		b.shares.Release(b.values)
	}
}

func TestManyLargeReportsAtOnceAllGetTheirTurn(t *testing.T) {
	wf := assigned()
	status := running()
	status["compressedNodes"] = packed(t, `{"a":{"message":"`+strings.Repeat("<", 2<<20)+`"}}`)
	status["message"] = strings.Repeat("x", 1<<20)
	rw := gen.RemoteWorkflow(wf, cluster, gen.WithReport(status))
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			taken, refusal := take(wf, rw)
			assert.Nil(t, refusal)
			assert.Empty(t, taken.Incomplete)
			taken.Release()
		})
	}
	all.Wait()
	requireAllShares(t)
}

// FuzzDecode feeds the decoder bytes as they come from a managed cluster, and what they would be inside
// of proper gzip.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"phase":"Running","nodes":{"a":{"progress":"1/2","n":1.0,"m":-0.0,"o":1e21}}}`))
	f.Add([]byte(`{"a":"\ud800","b":18446744073709551616,"a":null}`))
	f.Add([]byte("null"))
	f.Add([]byte(strings.Repeat(`{"a":`, 300) + "0" + strings.Repeat("}", 300)))
	f.Add([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff})
	f.Add([]byte(`{"a":"\\\",[{","b":[[],{},""]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if status, err := decoded(raw); err == nil {
			requireStable(t, status)
		}
		data, err := contract.Compress(raw)
		require.NoError(t, err)
		status, err := decoded(data)
		var plain map[string]any
		if json.Unmarshal(raw, &plain) != nil {
			return
		}
		requireCounted(t, raw)
		if err != nil {
			require.ErrorIs(t, err, contract.ErrTooDeep)
			return
		}
		requireStable(t, status)
	})
}

// requireCounted checks that no value of valid JSON is missed, and that no more are counted than there can be.
func requireCounted(t *testing.T, raw []byte) {
	t.Helper()
	measured := contract.JSONSize{MaxBytes: statuses.bytes, MaxValues: statuses.values}
	if _, err := measured.Write(raw); err != nil {
		return
	}
	decoder, values := json.NewDecoder(bytes.NewReader(raw)), int64(0)
	decoder.UseNumber()
	for {
		token, err := decoder.Token()
		if err != nil {
			break
		}
		if token != json.Delim('}') && token != json.Delim(']') {
			values++ // and keys
		}
	}
	require.LessOrEqual(t, measured.Values, values)
	require.GreaterOrEqual(t, 2*measured.Values+1, values)
}

// requireStable checks that a decoded status survives being sent and stored again.
func requireStable(t *testing.T, status map[string]any) {
	t.Helper()
	data, err := contract.EncodeStatus(status)
	require.NoError(t, err)
	again, err := decoded(data)
	require.NoError(t, err)
	require.Equal(t, status, again)
}
