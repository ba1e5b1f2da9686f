package steps

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// maxResultBytes is how much of results is given to Argo in one patch, and the most that one of them may have: a WorkflowTaskSet holds the
// tasks as well, and etcd takes some 1.5 MB in one object.
const maxResultBytes = 256 << 10

// maxMessageBytes is more than a result has that only has a message, and says that the outputs are too large.
const maxMessageBytes = 2 << 10

// encodedResult is the result of a node as Argo reads it.
type encodedResult struct {
	id  string
	raw json.RawMessage
}

// answer gives Argo the results, as many as one patch takes; the others follow. It fails if the task set has changed: what has been read
// may have been read before Argo took an earlier result away.
func (r *Reconciler) answer(ctx context.Context, s *snapshot, next *plan) error {
	if len(next.results) == 0 {
		return nil
	}
	results, err := next.encodedResults()
	if err != nil {
		return err
	}
	return r.answerUpTo(ctx, s, next, results, maxResultBytes)
}

// encodedResults returns the results, the smallest first: a large one, for which there is no room yet, keeps no other from being given.
func (p *plan) encodedResults() ([]encodedResult, error) {
	var results []encodedResult
	for _, id := range slices.Sorted(maps.Keys(p.results)) {
		raw, err := p.results[id].encode()
		if err != nil {
			return nil, fmt.Errorf("encode result: %w", err)
		}
		results = append(results, encodedResult{id, raw})
	}
	slices.SortStableFunc(results, func(a, b encodedResult) int { return cmp.Compare(len(a.raw), len(b.raw)) })
	return results, nil
}

// upTo returns those of the results that have so many bytes together, or the first.
func upTo(limit int, results []encodedResult) map[string]json.RawMessage {
	nodes, size := map[string]json.RawMessage{}, 0
	for _, result := range results {
		if size += len(result.raw); size > limit && len(nodes) > 0 {
			break
		}
		nodes[result.id] = result.raw
	}
	return nodes
}

// answerUpTo gives Argo results of so many bytes, or one. Where etcd does not take them beside the tasks, it gives fewer.
func (r *Reconciler) answerUpTo(ctx context.Context, s *snapshot, next *plan, results []encodedResult, limit int) error {
	nodes := upTo(limit, results)
	data, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": s.set.GetUID(), "resourceVersion": s.set.GetResourceVersion()},
		"status":   map[string]any{"nodes": nodes},
	})
	if err != nil {
		return fmt.Errorf("encode results: %w", err)
	}
	err = r.Client.Status().Patch(ctx, s.set.DeepCopy(), client.RawPatch(types.MergePatchType, data))
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return nil // the watch brings what has changed
	case contract.IsTooLarge(err) && len(nodes) > 1:
		return r.answerUpTo(ctx, s, next, results, limit/2)
	case contract.IsTooLarge(err) && len(s.set.results) > 0: // Argo has yet to read those, which makes room
		next.lookWithin(healAfter)
		return nil
	case contract.IsTooLarge(err) && s.neverFits(next, results[0]):
		least := results[0]
		next.results[least.id] = next.results[least.id].tooLarge(len(least.raw), "do not fit into the WorkflowTaskSet beside the tasks")
		return r.answer(ctx, s, next)
	case err != nil:
		return fmt.Errorf("patch status of WorkflowTaskSet %s: %w", client.ObjectKeyFromObject(s.set), err)
	}
	if len(nodes) < len(next.results) {
		next.lookWithin(again)
	}
	for id := range nodes {
		if r := next.results[id]; r != nil { // nil takes one back
			given.WithLabelValues(r.Phase).Inc()
		}
	}
	return nil
}

// neverFits reports whether a result for which there is no room is larger than one that says so, and each task waits for one of the
// results: no other step ends before them, with which its task would go.
func (s *snapshot) neverFits(next *plan, result encodedResult) bool {
	if len(result.raw) <= maxMessageBytes || s.set.hasOthers {
		return false
	}
	for task := range s.set.tasks {
		if _, ok := next.results[task]; !ok {
			return false
		}
	}
	return true
}
