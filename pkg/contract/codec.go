package contract

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/json"
)

// MaxStatusBytes bounds a decoded status. Argo keeps a Workflow below 1 MiB, status included, so an honest
// status is well below it, and a hostile one cannot fill the hub's memory.
const MaxStatusBytes = 4 << 20

// ErrStatusTooLarge is returned for a status that expands to more than the limit.
var ErrStatusTooLarge = errors.New("status expands beyond the limit")

// EncodeStatus returns a Workflow's status as gzip'd JSON. Equal statuses give equal bytes.
func EncodeStatus(status map[string]any) ([]byte, error) {
	raw, err := json.Marshal(status)
	if err != nil {
		return nil, fmt.Errorf("encode status: %w", err)
	}
	return Compress(raw)
}

// DecodeStatus is the inverse of EncodeStatus. It reads at most MaxStatusBytes, whatever the input claims.
func DecodeStatus(data []byte) (map[string]any, error) {
	raw, err := Decompress(data, MaxStatusBytes)
	if err != nil {
		return nil, fmt.Errorf("decode status: %w", err)
	}
	var status map[string]any
	if err := json.Unmarshal(raw, &status); err != nil {
		return nil, fmt.Errorf("decode status: %w", err)
	}
	for key, value := range status {
		status[key] = canonical(value)
	}
	return status, nil
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

// Compress returns raw gzip'd, always to the same bytes.
func Compress(raw []byte) ([]byte, error) {
	var out bytes.Buffer
	writer := gzip.NewWriter(&out)
	if _, err := writer.Write(raw); err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	if err := writer.Close(); err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	return out.Bytes(), nil
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

// StatusHash identifies a status together with the Workflow that it belongs to, so that a status copied to
// another Workflow (a restored backup, a resubmission) is not taken for one that the hub wrote.
func StatusHash(uid types.UID, status map[string]any) (string, error) {
	raw, err := json.Marshal(status)
	if err != nil {
		return "", fmt.Errorf("hash status: %w", err)
	}
	hash := sha256.New()
	hash.Write([]byte(uid))
	hash.Write([]byte{0})
	hash.Write(raw)
	return hex.EncodeToString(hash.Sum(nil)[:16]), nil
}
