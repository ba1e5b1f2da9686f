package scheduler

import (
	"cmp"
	"slices"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/cluster"
)

// pick returns the candidate with the fewest unfinished Workflows for its CPU capacity among those that have no problem, and of
// equals the first by name. Where one of them reports no capacity, all count as equally large. Without one it returns nil, and the
// kinds of the problems, each once and sorted. It orders the candidates.
//
// Neither a problem nor an order is asked for more often than it must: there may be a thousand candidates.
func pick(candidates []*node, problemOf func(*node) *cluster.Problem) (best *node, problems []string) {
	weigh := !slices.ContainsFunc(candidates, func(n *node) bool { return n.milliCPU == 0 && problemOf(n) == nil })
	byLoad := func(a, b *node) int { return compareLoad(a, b, weigh) }
	if best = slices.MinFunc(candidates, byLoad); problemOf(best) == nil {
		return best, nil
	}
	slices.SortFunc(candidates, byLoad)
	for _, n := range candidates {
		problem := problemOf(n)
		if problem == nil {
			return n, nil
		}
		problems = append(problems, problem.Kind)
	}
	slices.Sort(problems)
	return nil, slices.Compact(problems)
}

// compareLoad orders clusters by what each would have to do with one Workflow more, for its CPU capacity if that is to be weighed.
// So of idle clusters the larger one comes first.
func compareLoad(a, b *node, weigh bool) int {
	loadA, loadB := a.unfinished+1, b.unfinished+1
	if weigh { // a/x < b/y as a*y < b*x
		loadA, loadB = loadA*b.milliCPU, loadB*a.milliCPU
	}
	if loadA != loadB {
		return cmp.Compare(loadA, loadB)
	}
	return cmp.Compare(a.Name, b.Name)
}
