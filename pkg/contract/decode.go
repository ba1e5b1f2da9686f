package contract

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"k8s.io/apimachinery/pkg/util/json"
)

// MaxStatusBytes bounds a decoded status. Argo keeps a Workflow below 1 MiB, status included, so an honest
// status is well below it, and a hostile one cannot fill the hub's memory.
const MaxStatusBytes = 4 << 20

// MaxStatusValues bounds the values in it: decoded, the three bytes of an empty object take thirty times as much, and two
// hundred times as one of Argo's types. In an honest status each takes some twenty bytes.
const MaxStatusValues = 1 << 18

// maxStatusDepth bounds how deep a status is nested, Argo's some twenty levels. No JSON decoder takes more than 10,000, and
// whoever lists Workflows meets the status some levels deeper.
const maxStatusDepth = 256

// What expands to no more than this is ordinary: many such may be decoded at once.
const (
	ordinaryBytes  = 1 << 20
	ordinaryValues = 1 << 14
)

// turn is held while something larger is decoded, by one goroutine of the process at a time.
var turn sync.Mutex

// ErrStatusTooLarge is returned for a status that expands to more than the limit.
var ErrStatusTooLarge = errors.New("status expands beyond the limit")

// DecodeStatus is the inverse of EncodeStatus. It reads at most MaxStatusBytes, whatever the input claims. What checks do
// with the status counts as decoding: that of large ones happens one at a time.
func DecodeStatus(data []byte, checks ...func(status map[string]any)) (map[string]any, error) {
	var status map[string]any
	err := Expand(data, MaxStatusBytes, MaxStatusValues, func(raw []byte) error {
		if err := json.Unmarshal(raw, &status); err != nil {
			return err
		}
		if depth(status) > maxStatusDepth {
			return fmt.Errorf("nested more than %d levels deep", maxStatusDepth)
		}
		for key, value := range status {
			status[key] = canonical(value)
		}
		for _, check := range checks {
			check(status)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("decode status: %w", err)
	}
	return status, nil
}

// Expand hands the JSON that data expand to, of at most maxBytes and maxValues, to use. If it is large, no other in this
// process is expanded until use returns: many hostile reports at once then take no more memory than one. So use must not
// expand anything itself.
func Expand(data []byte, maxBytes int64, maxValues int, use func(raw []byte) error) error {
	raw, err := Decompress(data, min(ordinaryBytes, maxBytes))
	if errors.Is(err, ErrStatusTooLarge) || countValues(raw) > ordinaryValues {
		turn.Lock()
		defer turn.Unlock()
	}
	if errors.Is(err, ErrStatusTooLarge) {
		raw, err = Decompress(data, maxBytes)
	}
	if err != nil {
		return err
	}
	if countValues(raw) > maxValues {
		return ErrStatusTooLarge
	}
	return use(raw)
}

// countValues returns the number of values in a JSON text without decoding it, rather too many than too few.
func countValues(raw []byte) int {
	return bytes.Count(raw, []byte("{")) + bytes.Count(raw, []byte("[")) + bytes.Count(raw, []byte(","))
}

// depth returns how many objects and lists a value has within each other.
func depth(value any) int {
	deepest := 0
	switch typed := value.(type) {
	case map[string]any:
		for _, element := range typed {
			deepest = max(deepest, depth(element))
		}
	case []any:
		for _, element := range typed {
			deepest = max(deepest, depth(element))
		}
	default:
		return 0
	}
	return deepest + 1
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

// Decompress expands gzip'd data to at most limit bytes, and returns ErrStatusTooLarge beyond that.
func Decompress(data []byte, limit int64) ([]byte, error) {
	reader, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(reader, limit+1))
	if err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	if int64(len(raw)) > limit {
		return nil, ErrStatusTooLarge
	}
	return raw, nil
}
