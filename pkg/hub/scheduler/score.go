package scheduler

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	clusterv1beta1 "open-cluster-management.io/api/cluster/v1beta1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/cluster"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
)

// maxCapacityAge is how long what an agent has measured counts. It measures again every two minutes, if nothing changes.
const maxCapacityAge = 5 * time.Minute

// defaultRequests stand for what a pod does not request, as in kube-scheduler: a Workflow without requests takes something all the same.
var defaultRequests = contract.Resources{MilliCPU: 100, Memory: 200 << 20, Pods: 1}

func withDefaults(requests contract.Resources) contract.Resources {
	return contract.Resources{
		MilliCPU: cmp.Or(requests.MilliCPU, defaultRequests.MilliCPU), Memory: cmp.Or(requests.Memory, defaultRequests.Memory), Pods: 1,
	}
}

// preference is how a Placement wants its clusters chosen.
type preference struct {
	isPack  bool
	weights weights
	// invalid is what is wrong with the Placement's annotations, "" if nothing.
	invalid string
}

// weights say how much the free share of each resource counts.
type weights struct{ milliCPU, memory, pods float64 }

// preferenceOf reads the annotations of a Placement, which may be nil.
func preferenceOf(placement *clusterv1beta1.Placement) preference {
	p := preference{weights: weights{1, 1, 1}}
	if placement == nil {
		return p
	}
	switch strategy := cmp.Or(placement.Annotations[contract.AnnotationStrategy], contract.StrategySpread); strategy {
	case contract.StrategyPack:
		p.isPack = true
	case contract.StrategySpread:
	default:
		p.invalid = fmt.Sprintf("annotation %s: %.80q is neither %s nor %s", contract.AnnotationStrategy, strategy, contract.StrategySpread,
			contract.StrategyPack)
	}
	if text, ok := placement.Annotations[contract.AnnotationWeights]; ok && !p.weights.read(text) {
		p.invalid = fmt.Sprintf("annotation %s: %.80q is not like cpu=2,memory=1,pods=0, with whole numbers up to %d that are not all 0",
			contract.AnnotationWeights, text, maxWeight)
	}
	return p
}

const maxWeight = 100

// read takes over the weights that the text names, and reports whether it is valid.
func (w *weights) read(text string) bool {
	fields := map[string]*float64{"cpu": &w.milliCPU, "memory": &w.memory, "pods": &w.pods}
	for entry := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(entry), "=")
		weight, err := strconv.ParseUint(value, 10, 8)
		if fields[name] == nil || err != nil || weight > maxWeight {
			return false
		}
		*fields[name] = float64(weight)
		delete(fields, name)
	}
	return w.milliCPU+w.memory+w.pods > 0
}

// score is how a cluster suits a Workflow.
type score struct {
	*node
	// fits says that the Workflow's largest pod finds room there now.
	fits bool
	// percent is how much of the cluster is free once the Workflow is there.
	percent float64
	// isSized says that the size of all candidates is known, so that what is free was compared.
	isSized bool
	// size is the cluster's CPU in thousandths of a core, 1 if it is not known.
	size int64
}

// capacityAt returns what the agent has measured if that still counts, nil if not.
func (n *node) capacityAt(now time.Time) *contract.Capacity {
	if n.capacity == nil || now.Sub(n.measured) >= maxCapacityAge {
		return nil
	}
	return n.capacity
}

// free returns what the cluster has, and what of it is free: by what its agent has measured, less what was assigned since; or by what
// OCM says of its size, less a Workflow like this one for each unfinished one.
func (n *node) free(asked contract.Resources, now time.Time) (allocatable, free contract.Resources) {
	if measured := n.capacityAt(now); measured != nil {
		return measured.Allocatable, measured.Free.Minus(n.expected)
	}
	allocatable = contract.Resources{MilliCPU: n.milliCPU}
	return allocatable, contract.Resources{MilliCPU: n.milliCPU - n.unfinished*asked.MilliCPU}
}

// scoreOf returns how the cluster suits a Workflow with these requests.
func (n *node) scoreOf(wf *hubworkflow.Workflow, w weights, now time.Time) score {
	asked := withDefaults(wf.Pods.Largest)
	allocatable, free := n.free(asked, now)
	left := free.Minus(asked)
	sum, total := 0.0, 0.0
	add := func(weight float64, left, all int64) {
		if all > 0 {
			sum += weight * float64(left) / float64(all)
			total += weight
		}
	}
	add(w.milliCPU, left.MilliCPU, allocatable.MilliCPU)
	add(w.memory, left.Memory, allocatable.Memory)
	add(w.pods, left.Pods, allocatable.Pods)
	s := score{node: n, size: max(1, allocatable.MilliCPU), fits: left.MilliCPU >= 0}
	if total > 0 {
		// Less than a hundredth is no difference: what pods request changes by that all the time.
		s.percent = math.Floor(100 * sum / total)
	}
	if measured := n.capacityAt(now); measured != nil {
		s.fits = s.fits && left.Memory >= 0 && left.Pods >= 0 &&
			(wf.Pods.IsPlaced || slices.ContainsFunc(measured.LargestFree, wf.Pods.Largest.Fits))
	}
	return s
}

// pick returns the candidate that suits the Workflow best among those that have no problem: first those where it finds room now; of them
// the one with the most free, or with the least if the Placement packs; of equals the one with the fewest unfinished Workflows for its CPU
// capacity, and then the first by name. Where nothing is known of the size of one of them, only the unfinished Workflows count. Without
// one that has no problem it returns nil, and the kinds of the problems, each once and sorted.
//
// Neither a problem nor an order is asked for more often than it must: there may be a thousand candidates.
func pick(candidates []*node, wf *hubworkflow.Workflow, p preference, now time.Time, problemOf func(*node) *cluster.Problem,
) (best *score, problems []string) {
	isSized := !slices.ContainsFunc(candidates, func(n *node) bool {
		return n.milliCPU == 0 && n.capacityAt(now) == nil && problemOf(n) == nil
	})
	scores := make([]score, 0, len(candidates))
	for _, n := range candidates {
		if isSized {
			s := n.scoreOf(wf, p.weights, now)
			s.isSized = true
			scores = append(scores, s)
		} else {
			scores = append(scores, score{node: n, fits: true, size: 1})
		}
	}
	bySuit := func(a, b score) int { return compare(a, b, p.isPack) }
	if first := slices.MinFunc(scores, bySuit); problemOf(first.node) == nil {
		return &first, nil
	}
	slices.SortFunc(scores, bySuit)
	for i := range scores {
		problem := problemOf(scores[i].node)
		if problem == nil {
			return &scores[i], nil
		}
		problems = append(problems, problem.Kind)
	}
	slices.Sort(problems)
	return nil, slices.Compact(problems)
}

// compare orders clusters by how they suit a Workflow. Loads are compared with one Workflow more, so that of idle clusters the larger one
// comes first.
func compare(a, b score, isPack bool) int {
	if a.fits != b.fits {
		if a.fits {
			return -1
		}
		return 1
	}
	order := cmp.Compare(b.percent, a.percent)
	if order == 0 { // a/x < b/y as a*y < b*x
		order = cmp.Compare((a.unfinished+1)*b.size, (b.unfinished+1)*a.size)
	}
	if isPack && a.fits {
		order = -order
	}
	return cmp.Or(order, cmp.Compare(a.Name, b.Name))
}

// explain returns why this cluster was chosen, in numbers, for the Event of the Workflow.
func (s *score) explain(of int, p preference, now time.Time) string {
	choice := fmt.Sprintf("of the %d clusters of its Placement, that with the most free where it may go", of)
	switch {
	case of == 1:
		choice = "the only cluster of its Placement"
	case !s.isSized:
		which := "fewest"
		if p.isPack {
			which = "most"
		}
		return fmt.Sprintf("of the %d clusters of its Placement, that with the %s unfinished Workflows, %d, where it may go: the size of "+
			"one of them is not known", of, which, s.unfinished)
	case !s.fits:
		choice = fmt.Sprintf("none of the %d clusters of its Placement where it may go has room for its largest pod now, and this one has "+
			"the most free", of)
	case p.isPack:
		choice = fmt.Sprintf("of the %d clusters of its Placement, that with the least free where it may go and finds room", of)
	}
	measured := s.capacityAt(now)
	if measured == nil {
		return fmt.Sprintf("%s, by %d unfinished Workflows for %s CPU: its agent has not reported lately what is free",
			choice, s.unfinished, cores(s.milliCPU))
	}
	_, free := s.free(contract.Resources{}, now)
	return fmt.Sprintf("%s: %s of %s CPU, %s of %s memory, %d of %d pods, less what %d Workflows assigned since request", choice,
		cores(free.MilliCPU), cores(measured.Allocatable.MilliCPU), bytes(free.Memory), bytes(measured.Allocatable.Memory),
		free.Pods, measured.Allocatable.Pods, len(s.expectations))
}

func cores(milliCPU int64) string {
	return resource.NewMilliQuantity(milliCPU, resource.DecimalSI).String()
}

// bytes returns an amount of memory, in whole mebibytes.
func bytes(memory int64) string {
	return resource.NewQuantity(memory>>20<<20, resource.BinarySI).String()
}
