package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/json"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// maxStatusBytes is the largest status that is written as it is. Argo keeps a Workflow below 1 MiB; an API server
// takes objects of up to 1.5 MiB, managedFields counted, which under Argo's full CRD are almost as large again.
const maxStatusBytes = 1 << 20

// MaxSteps is how many steps Shrink can take.
const MaxSteps = len(shrinkSteps)

// shrinkSteps make a status smaller, each at the expense of more, in the documented order.
var shrinkSteps = [...]struct {
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
		delete(status, contract.FieldCompressedNodes)
		return nil
	}},
	{"all but phase, progress, message and times is left out", func(status map[string]any) error {
		maps.DeleteFunc(status, func(field string, _ any) bool { return !slices.Contains(contract.FeedbackStatusFields, field) })
		if message := contract.StatusString(status, "message"); message != "" {
			status["message"] = fmt.Sprintf("%.1024s", message)
		}
		return nil
	}},
}

// Shrink takes at least the given number of steps to make a status smaller, and as many as it needs to fit the limit. It returns the
// number of steps taken, and says in a condition what is missing.
func Shrink(status map[string]any, atLeast int) (steps int, err error) {
	before := incomplete(status)
	var said []string
	for step, s := range shrinkSteps {
		size, err := encodedSize(status)
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
		AddCondition(status, ConditionIncomplete, before+tooLarge+strings.Join(said, ", "))
	}
	return len(said), nil
}

// tooLarge begins what Shrink says.
const tooLarge = "the status is too large for the hub: "

// incomplete returns what the status says already that it lacks, but for what Shrink has said, to go on from.
func incomplete(status map[string]any) string {
	before, shrunk, _ := strings.Cut(Condition(status, ConditionIncomplete), tooLarge)
	if before != "" && shrunk == "" {
		before += "; "
	}
	return fmt.Sprintf("%.4096s", before)
}

func encodedSize(status map[string]any) (int, error) {
	raw, err := json.Marshal(status)
	if err != nil {
		return 0, fmt.Errorf("encode status: %w", err)
	}
	return len(raw), nil
}

// packNodes packs the nodes into compressedNodes, as Argo itself does with large ones; its clients unpack them.
func packNodes(status map[string]any) error {
	nodes, ok := status[contract.FieldNodes].(map[string]any)
	if !ok {
		return nil
	}
	raw, err := json.Marshal(nodes)
	if err != nil {
		return fmt.Errorf("encode nodes: %w", err)
	}
	packed, err := contract.PackNodes(raw)
	if err != nil {
		return err
	}
	delete(status, contract.FieldNodes)
	status[contract.FieldCompressedNodes] = packed
	return nil
}
