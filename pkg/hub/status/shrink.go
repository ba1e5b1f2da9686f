package status

import (
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/json"
)

// maxStatusBytes is the largest status that is written as it is. Argo keeps a Workflow below 1 MiB; an API server
// takes objects of up to 1.5 MiB, managedFields counted, which under Argo's full CRD are almost as large again.
const maxStatusBytes = 1 << 20

// shrinkSteps make a status smaller, each at the expense of more, in the documented order.
var shrinkSteps = []struct {
	says  string
	apply func(status map[string]any) error
}{
	{"the nodes are packed", packNodes},
	{"the stored templates are left out", func(status map[string]any) error {
		delete(status, "storedTemplates")
		delete(status, "storedWorkflowTemplateSpec")
		return nil
	}},
	{"the nodes are left out", func(status map[string]any) error {
		delete(status, "compressedNodes")
		return nil
	}},
}

// shrink takes at least the given number of steps, and as many as it needs to fit the limit. It returns the number
// of steps taken, and says in a condition what is missing.
func shrink(status map[string]any, atLeast int) (int, error) {
	var said []string
	for step, s := range shrinkSteps {
		size, err := size(status)
		if err != nil {
			return step, err
		}
		if step >= atLeast && size <= maxStatusBytes {
			break
		}
		if err := s.apply(status); err != nil {
			return step, err
		}
		said = append(said, s.says)
	}
	if len(said) > 0 {
		addCondition(status, ConditionIncomplete, "the status is too large for the hub: "+strings.Join(said, ", "))
	}
	return len(said), nil
}

func size(status map[string]any) (int, error) {
	raw, err := json.Marshal(status)
	if err != nil {
		return 0, fmt.Errorf("encode status: %w", err)
	}
	return len(raw), nil
}

// packNodes packs the nodes into compressedNodes, as Argo itself does with large ones; its clients unpack them.
func packNodes(status map[string]any) error {
	nodes, ok := status["nodes"].(map[string]any)
	if !ok {
		return nil
	}
	raw, err := json.Marshal(nodes)
	if err != nil {
		return fmt.Errorf("encode nodes: %w", err)
	}
	packed, err := pack(raw)
	if err != nil {
		return err
	}
	delete(status, "nodes")
	status["compressedNodes"] = packed
	return nil
}

// isTooLarge reports whether the API server, or etcd behind it, or the way there, refused an object for its size.
func isTooLarge(err error) bool {
	return err != nil && (apierrors.IsRequestEntityTooLargeError(err) ||
		strings.Contains(err.Error(), "request is too large") ||
		strings.Contains(err.Error(), "message larger than max"))
}
