package contract

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
)

// Fields of a Workflow's status that hold its nodes, or say where they are.
const (
	FieldNodes           = "nodes"
	FieldCompressedNodes = "compressedNodes"
	FieldOffloadedNodes  = "offloadNodeStatusVersion"
)

// AppliedEdits returns the ids of the edits that a remote Workflow says were applied to it.
func AppliedEdits(wf *unstructured.Unstructured) []string {
	return strings.FieldsFunc(wf.GetAnnotations()[AnnotationEdits], func(r rune) bool { return r == ',' })
}

// AppliedEditsWith returns the value of AnnotationEdits once an edit is applied: with those of the ids that were and are still asked for.
func AppliedEditsWith(wf *unstructured.Unstructured, edits []v1alpha1.Edit, id string) string {
	ids := slices.DeleteFunc(AppliedEdits(wf), func(applied string) bool {
		return applied == id || !slices.ContainsFunc(edits, func(e v1alpha1.Edit) bool { return e.ID == applied })
	})
	return strings.Join(append(ids, id), ",")
}

// EditID returns the id of the edit that a hub Workflow's version shows, with a status of this hash.
func EditID(resourceVersion, statusHash string) string {
	sum := sha256.Sum256([]byte(statusHash + "/" + resourceVersion))
	return hex.EncodeToString(sum[:8])
}

// Arguments returns the parameters of a Workflow's spec.arguments, as Argo reads them.
func Arguments(spec map[string]any) []v1alpha1.Parameter {
	arguments, _ := spec["arguments"].(map[string]any)
	parameters, _ := arguments["parameters"].([]any)
	var out []v1alpha1.Parameter
	for _, p := range parameters {
		parameter, _ := p.(map[string]any)
		out = append(out, v1alpha1.Parameter{Name: StatusString(parameter, "name"), Value: Text(parameter["value"])})
	}
	return out
}

// Text returns the value of a parameter, which Argo takes for a text also if it is a number or a truth value; nil for none.
func Text(value any) *string {
	var out string
	switch v := value.(type) {
	case nil:
		return nil
	case string:
		out = v
	case float64:
		out = strconv.FormatFloat(v, 'f', -1, 64)
	default:
		out = fmt.Sprint(v)
	}
	return &out
}

// ArgumentsDigest identifies Arguments of a spec.
func ArgumentsDigest(spec map[string]any) string {
	raw, err := json.Marshal(Arguments(spec))
	if err != nil {
		return "" // names and values
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8])
}

// PackNodes packs nodes, as JSON, in the way of Argo: gzip'd, in base64.
func PackNodes(nodes []byte) (string, error) {
	compressed, err := Compress(nodes)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(compressed), nil
}

// maxPackedBytes and maxPackedValues are how much packed nodes may hold. Argo packs them to keep a Workflow below 1 MiB.
const maxPackedBytes, maxPackedValues = 32 << 20, 1 << 19

// ErrOffloaded says that the nodes are in the database of Argo's controller.
var ErrOffloaded = errors.New("the nodes of the Workflow are in the database of the cluster's Argo controller (offloaded)")

// Nodes returns the nodes of a remote Workflow's status, and whether they are packed. They are not to be changed.
func Nodes(status map[string]any) (nodes map[string]any, isPacked bool, err error) {
	if StatusString(status, FieldOffloadedNodes) != "" {
		return nil, false, ErrOffloaded
	}
	packed := StatusString(status, FieldCompressedNodes)
	if packed == "" {
		nodes, _ = status[FieldNodes].(map[string]any)
		return nodes, false, nil
	}
	compressed, err := base64.StdEncoding.DecodeString(packed)
	if err != nil {
		return nil, true, fmt.Errorf("unpack nodes: base64: %w", err)
	}
	reader, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return nil, true, fmt.Errorf("unpack nodes: gzip: %w", err)
	}
	size, err := MeasureJSON(reader, maxPackedBytes, maxPackedValues)
	if err != nil {
		return nil, true, fmt.Errorf("unpack nodes: %w", err)
	}
	if err := reader.Reset(bytes.NewReader(compressed)); err != nil {
		return nil, true, fmt.Errorf("unpack nodes: gzip: %w", err)
	}
	raw := make([]byte, size.Bytes)
	if _, err := io.ReadFull(reader, raw); err != nil {
		return nil, true, fmt.Errorf("unpack nodes: gzip: %w", err)
	}
	if err := utiljson.Unmarshal(raw, &nodes); err != nil {
		return nil, true, fmt.Errorf("unpack nodes: JSON: %w", err)
	}
	return nodes, true, nil
}
