package score

import (
	"reflect"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

const (
	// leastInterval is the time between two writes at least, however much changes.
	leastInterval = 5 * time.Second
	// minorInterval is the time between two writes where little changes.
	minorInterval = time.Minute
	// renewInterval is the time after which what has not changed is written again, with another validUntil.
	renewInterval = 2 * time.Minute
	// validity is how long what was written counts. A renewal may fail twice.
	validity = 5 * time.Minute
	// significantShare is the part of what the cluster offers by which what is free has to change to be written soon.
	significantShare = 0.05
)

// figures are what the hub is told: a Capacity, or why there is none.
type figures struct {
	capacity contract.Capacity
	// reason and message are empty if the capacity was measured.
	reason, message string
}

// written are the figures that the hub has, and since when.
type written struct {
	figures
	at time.Time
}

// due returns when these figures are to be written, given what the hub has: the zero time if it has nothing.
func due(last written, current figures) time.Time {
	switch {
	case last.at.IsZero():
		return time.Time{}
	case significant(last.figures, current):
		return last.at.Add(leastInterval)
	case !reflect.DeepEqual(last.figures, current):
		return last.at.Add(minorInterval)
	default:
		return last.at.Add(renewInterval)
	}
}

// significant reports whether the hub's scheduler might decide otherwise: other nodes, much more or much less free, from or to full.
func significant(before, after figures) bool {
	b, a := before.capacity, after.capacity
	if before.reason != after.reason || b.Nodes != a.Nodes || b.Allocatable != a.Allocatable ||
		!reflect.DeepEqual(b.LargestAllocatable, a.LargestAllocatable) {
		return true
	}
	for _, amount := range []struct{ before, after, all int64 }{
		{b.Free.MilliCPU, a.Free.MilliCPU, a.Allocatable.MilliCPU},
		{b.Free.Memory, a.Free.Memory, a.Allocatable.Memory},
		{b.Free.Pods, a.Free.Pods, a.Allocatable.Pods},
	} {
		moved := max(float64(amount.before), float64(amount.after)) - min(float64(amount.before), float64(amount.after))
		if moved > 0 && moved >= significantShare*float64(amount.all) || (amount.before > 0) != (amount.after > 0) {
			return true
		}
	}
	return false
}

// condition returns the condition that carries the figures. It has been as it is since that time.
func (f figures) condition(since metav1.Time) (metav1.Condition, error) {
	if f.reason == "" {
		return f.capacity.Condition(since)
	}
	return metav1.Condition{
		Type: contract.ConditionMeasured, Status: metav1.ConditionFalse, Reason: f.reason, Message: f.message, LastTransitionTime: since,
	}, nil
}
