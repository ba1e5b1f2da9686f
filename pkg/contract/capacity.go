package contract

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Names in the AddOnPlacementScore by which an agent tells how much its cluster has free.
const (
	// ScoreName is the name of the AddOnPlacementScore in the cluster's namespace on the hub.
	ScoreName = "argo-workflows"
	// ScoreCPU, ScoreMemory and ScorePods rise with the share of the cluster's allocatable resources that no pod has requested.
	ScoreCPU    = "cpuFree"
	ScoreMemory = "memoryFree"
	ScorePods   = "podsFree"
	// ScoreRunning and ScorePending fall with the number of Workflows that run there, and of those that Argo has not started.
	ScoreRunning = "workflowsRunning"
	ScorePending = "workflowsPending"
	// ConditionMeasured is the condition whose message is the Capacity from which the scores were made: a score is a small number, and
	// the hub's scheduler needs the quantities.
	ConditionMeasured = "CapacityMeasured"
	// ReasonMeasured is the reason of that condition.
	ReasonMeasured = "Measured"
)

// Resources are amounts of what pods request: thousandths of a core, bytes, and pods.
type Resources struct {
	MilliCPU int64 `json:"milliCPU"`
	Memory   int64 `json:"memory"`
	Pods     int64 `json:"pods"`
}

// String returns the amounts as Kubernetes writes them.
func (r Resources) String() string {
	return fmt.Sprintf("%s CPU, %s memory", resource.NewMilliQuantity(r.MilliCPU, resource.DecimalSI),
		resource.NewQuantity(r.Memory, resource.BinarySI))
}

// Plus returns the sum, which stays at the smallest or largest number where it would overflow.
func (r Resources) Plus(other Resources) Resources {
	return Resources{saturated(r.MilliCPU, other.MilliCPU), saturated(r.Memory, other.Memory), saturated(r.Pods, other.Pods)}
}

// Minus returns the difference, which may be negative. It stays at the smallest or largest number where it would overflow.
func (r Resources) Minus(other Resources) Resources {
	return r.Plus(Resources{negated(other.MilliCPU), negated(other.Memory), negated(other.Pods)})
}

// Fits reports whether r is no more than other in any of the three.
func (r Resources) Fits(other Resources) bool {
	return r.MilliCPU <= other.MilliCPU && r.Memory <= other.Memory && r.Pods <= other.Pods
}

// within returns r with each amount no less than least's and no more than most's.
func (r Resources) within(least, most Resources) Resources {
	return Resources{
		min(max(r.MilliCPU, least.MilliCPU), most.MilliCPU),
		min(max(r.Memory, least.Memory), most.Memory),
		min(max(r.Pods, least.Pods), most.Pods),
	}
}

func saturated(a, b int64) int64 {
	switch {
	case a > 0 && b > math.MaxInt64-a:
		return math.MaxInt64
	case a < 0 && b < math.MinInt64-a:
		return math.MinInt64
	}
	return a + b
}

// negated returns -a, or the largest number where there is no -a.
func negated(a int64) int64 {
	if a == math.MinInt64 {
		return math.MaxInt64
	}
	return -a
}

// Capacity is what a managed cluster has for Workflows, as its agent has measured it. Only nodes count that take new pods without a
// toleration: ready, not cordoned, without a taint of effect NoSchedule or NoExecute.
type Capacity struct {
	// Nodes is the number of those nodes.
	Nodes int64 `json:"nodes"`
	// Allocatable is the sum of what they offer to pods.
	Allocatable Resources `json:"allocatable"`
	// Free is what of that no pod has requested. It is negative where pods wait that do not fit.
	Free Resources `json:"free"`
	// LargestAllocatable and LargestFree are the nodes that offer most, and that have most free: each that no other node exceeds or
	// equals in CPU, memory and pods at once. A pod fits the cluster if it fits one of them.
	LargestAllocatable []Resources `json:"largestAllocatable,omitempty"`
	LargestFree        []Resources `json:"largestFree,omitempty"`
	// WorkflowsRunning and WorkflowsPending count the unfinished Workflows of the cluster that Argo has started, and has not; whoever
	// made them. WorkflowPods counts their pods that have not finished.
	WorkflowsRunning int64 `json:"workflowsRunning"`
	WorkflowsPending int64 `json:"workflowsPending"`
	WorkflowPods     int64 `json:"workflowPods"`
	// ArgoVersion is the oldest version of Argo Workflows whose controller runs there, by the tags of images; "" where none is a version.
	ArgoVersion string `json:"argoVersion,omitempty"`
}

const (
	// MaxVersionLength bounds ArgoVersion: no tag of an image is longer.
	MaxVersionLength = 128
	// MaxLargest bounds the nodes in each list of a Capacity.
	MaxLargest = 16
	// maxCapacityBytes bounds the message of the condition that is read.
	maxCapacityBytes = 8 << 10
	// maxMilliCPU, maxMemory and maxCount bound what is believed: far more than any cluster has, and small enough to calculate with.
	maxMilliCPU = 1e12
	maxMemory   = 1 << 60
	maxCount    = 1e9
)

// mostBelieved and leastBelieved bound the amounts that are believed.
var (
	mostBelieved  = Resources{MilliCPU: maxMilliCPU, Memory: maxMemory, Pods: maxCount}
	leastBelieved = Resources{}.Minus(mostBelieved)
)

// Condition returns the condition that carries c. The nodes that are too many for it are left out, and what exceeds the bounds of
// ReadCapacity is brought within them.
func (c Capacity) Condition(now metav1.Time) (metav1.Condition, error) {
	message, err := json.Marshal(c.bounded())
	if err != nil {
		return metav1.Condition{}, fmt.Errorf("encode capacity: %w", err)
	}
	return metav1.Condition{
		Type: ConditionMeasured, Status: metav1.ConditionTrue, Reason: ReasonMeasured, Message: string(message), LastTransitionTime: now,
	}, nil
}

// bounded returns the Capacity that ReadCapacity takes and that is nearest to c.
func (c Capacity) bounded() Capacity {
	c.Allocatable = c.Allocatable.within(Resources{}, mostBelieved)
	c.Free = c.Free.within(leastBelieved, c.Allocatable)
	for _, list := range []*[]Resources{&c.LargestAllocatable, &c.LargestFree} {
		*list = slices.Clone((*list)[:min(len(*list), MaxLargest)])
		for i := range *list {
			(*list)[i] = (*list)[i].within(leastBelieved, c.Allocatable)
		}
	}
	for _, count := range []*int64{&c.Nodes, &c.WorkflowsRunning, &c.WorkflowsPending, &c.WorkflowPods} {
		*count = min(max(*count, 0), maxCount)
	}
	return c
}

// ReadCapacity returns what an agent has written into the message of the condition. It returns an error if that is not a Capacity, or one
// that no cluster can have.
func ReadCapacity(message string) (Capacity, error) {
	if len(message) > maxCapacityBytes {
		return Capacity{}, fmt.Errorf("the capacity has %d bytes, more than the %d that are read", len(message), maxCapacityBytes)
	}
	var c Capacity
	if err := json.Unmarshal([]byte(message), &c); err != nil {
		return Capacity{}, fmt.Errorf("read capacity: %w", err)
	}
	if len(c.LargestAllocatable) > MaxLargest || len(c.LargestFree) > MaxLargest {
		return Capacity{}, fmt.Errorf("the capacity names more than %d nodes", MaxLargest)
	}
	if err := c.believable(); err != nil {
		return Capacity{}, err
	}
	return c, nil
}

// believable returns an error if no cluster can have c.
func (c Capacity) believable() error {
	switch {
	case c.Nodes < 0 || c.Nodes > maxCount || !(Resources{}).Fits(c.Allocatable) || !c.Allocatable.Fits(mostBelieved):
		return fmt.Errorf("no cluster offers %d nodes with %+v", c.Nodes, c.Allocatable)
	case len(c.ArgoVersion) > MaxVersionLength:
		return fmt.Errorf("no version is %d bytes long", len(c.ArgoVersion))
	case !leastBelieved.Fits(c.Free) || !c.Free.Fits(c.Allocatable):
		return fmt.Errorf("no cluster has %+v free that offers %+v", c.Free, c.Allocatable)
	}
	for _, node := range append(c.LargestAllocatable, c.LargestFree...) {
		if !leastBelieved.Fits(node) || !node.Fits(c.Allocatable) {
			return fmt.Errorf("no node has %+v in a cluster that offers %+v", node, c.Allocatable)
		}
	}
	for _, count := range []int64{c.WorkflowsRunning, c.WorkflowsPending, c.WorkflowPods} {
		if count < 0 || count > maxCount {
			return fmt.Errorf("no cluster has %d Workflows or pods", count)
		}
	}
	return nil
}
