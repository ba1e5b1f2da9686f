package report

import (
	"encoding/base64"
	"fmt"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"golang.org/x/sync/semaphore"
	"k8s.io/apimachinery/pkg/util/json"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// comparedNodes are the bounds of packed nodes of which two are held at a time, by one that compares them.
var comparedNodes = &bounds{bytes: packedNodes.bytes, values: packedNodes.values, shares: semaphore.NewWeighted(2 * packedNodes.values)}

// Nodes returns the nodes of a Workflow's status, also where they are packed. release gives back what they take of the hub's memory; it is
// never nil. Whoever compares nodes holds two, one after the other, and sees to it that nobody else holds any meanwhile.
func Nodes(status map[string]any) (nodes map[string]any, release func(), err error) {
	release = func() {}
	packed := contract.StatusString(status, contract.FieldCompressedNodes)
	if packed == "" {
		nodes, _ = status[contract.FieldNodes].(map[string]any)
		return nodes, release, nil
	}
	compressed, err := base64.StdEncoding.DecodeString(packed)
	if err != nil {
		return nil, release, fmt.Errorf("base64: %w", err)
	}
	raw, release, err := comparedNodes.expand(compressed)
	if err != nil {
		return nil, release, err
	}
	if err := json.Unmarshal(raw, &nodes); err != nil {
		return nil, release, fmt.Errorf("JSON: %w", err)
	}
	return nodes, release, nil
}

// CheckStatus returns an error if Argo's clients would fail to read this as a Workflow's status, or would be busy with it for long.
func CheckStatus(status map[string]any) error {
	return checkForm(status, schemaOf().status, &wfv1.WorkflowStatus{})
}
