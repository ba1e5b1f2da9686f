package report

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math"
	"sync"

	"golang.org/x/sync/semaphore"
	"k8s.io/apimachinery/pkg/util/json"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// bounds are how much a kind of data may expand to, so that hostile data cannot fill the hub's memory: decoded, the three bytes of an
// empty object take thirty times as much, and two hundred times as one of Argo's types. What takes more than an ordinary share of them has
// to wait until that is free: many hostile reports at once then take no more memory than one.
type bounds struct {
	bytes, values int64
	shares        *semaphore.Weighted
}

// The bounds of a status and of the nodes packed in it. Argo keeps a Workflow below 1 MiB, packed nodes included, which some ten times
// as much fits into. In honest data a value takes some twenty bytes. Whoever waits for a share of packedNodes may hold one of
// statuses, and never the other way round.
var (
	statuses    = newBounds(4<<20, 1<<18)
	packedNodes = newBounds(32<<20, 1<<19)
	// specs are those of Workflows that were sent, which fit a ManifestWork. Whoever waits for a share holds none of the others.
	specs = newBounds(4<<20, 1<<16)
)

// ordinaryShare, in values, is what everybody may take at any time. The bytes of a text count as so many values that the most of both
// are the same share.
const ordinaryShare = 1 << 14

func newBounds(bytes, values int64) *bounds {
	return &bounds{bytes: bytes, values: values, shares: semaphore.NewWeighted(values)}
}

// decode returns the status that data, gzip'd JSON, hold. release gives back what it takes of the hub's memory; it is never nil.
func decode(data []byte) (status map[string]any, release func(), err error) {
	raw, release, err := statuses.expand(data)
	if err != nil {
		return nil, release, err
	}
	if err := json.Unmarshal(raw, &status); err != nil {
		return nil, release, err
	}
	for key, value := range status {
		status[key] = canonical(value)
	}
	return status, release, nil
}

// expand returns the text that gzip'd data hold, and what gives back its share; that is never nil.
func (b *bounds) expand(data []byte) (raw []byte, release func(), err error) {
	release = func() {}
	reader, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, release, fmt.Errorf("gzip: %w", err)
	}
	size, err := contract.MeasureJSON(reader, b.bytes, b.values)
	if err != nil {
		return nil, release, err
	}
	if share := max(size.Values, size.Bytes/(b.bytes/b.values)); share > ordinaryShare {
		if err := b.shares.Acquire(context.Background(), share); err != nil {
			return nil, release, err
		}
		release = sync.OnceFunc(func() { b.shares.Release(share) })
	}
	raw = make([]byte, size.Bytes)
	if err := reader.Reset(bytes.NewReader(data)); err != nil {
		return nil, release, fmt.Errorf("gzip: %w", err)
	}
	if _, err := io.ReadFull(reader, raw); err != nil {
		return nil, release, fmt.Errorf("gzip: %w", err)
	}
	return raw, release, nil
}

// canonical makes whole numbers int64, as they come back from an API server: it stores 1.0 as 1 and -0.0 as 0. So a
// status that has been stored is equal to the one that was reported, whoever wrote that.
func canonical(value any) any {
	switch typed := value.(type) {
	case map[string]any:
		for key, element := range typed {
			typed[key] = canonical(element)
		}
	case []any:
		for i, element := range typed {
			typed[i] = canonical(element)
		}
	case float64:
		if math.Abs(typed) < 1<<63 && math.Trunc(typed) == typed {
			return int64(typed)
		}
	}
	return value
}
