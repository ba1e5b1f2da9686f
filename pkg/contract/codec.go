package contract

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/json"
)

// EncodeStatus returns a Workflow's status, or its spec, as gzip'd JSON. Equal statuses give equal bytes.
func EncodeStatus(status map[string]any) ([]byte, error) {
	raw, err := json.Marshal(status)
	if err != nil {
		return nil, fmt.Errorf("encode status: %w", err)
	}
	return Compress(raw)
}

// writers are kept for the next report: each has buffers of some 800 KB, whatever little it compresses.
var writers = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

// Compress returns raw gzip'd, always to the same bytes.
func Compress(raw []byte) ([]byte, error) {
	var out bytes.Buffer
	writer := writers.Get().(*gzip.Writer)
	defer writers.Put(writer)
	writer.Reset(&out)
	if _, err := writer.Write(raw); err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	if err := writer.Close(); err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	return out.Bytes(), nil
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
