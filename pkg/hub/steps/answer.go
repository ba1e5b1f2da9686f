package steps

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/report"
)

// maxResultBytes is how much of results is given to Argo in one patch, and the most that one of them may have: a WorkflowTaskSet holds the
// tasks as well, and etcd takes some 1.5 MB in one object.
const maxResultBytes = 256 << 10

// answer gives Argo the results, as many as one patch takes; the others follow. It fails if the task set has changed: what has been read
// may have been read before Argo took an earlier result away.
func (r *Reconciler) answer(ctx context.Context, s *snapshot, next *plan) error {
	if len(next.results) == 0 {
		return nil
	}
	return r.answerUpTo(ctx, s, next, maxResultBytes)
}

// someResults returns encoded results of so many bytes, or one, by the ID of their node.
func (p *plan) someResults(limit int) (map[string]json.RawMessage, error) {
	nodes, size := map[string]json.RawMessage{}, 0
	for _, id := range slices.Sorted(maps.Keys(p.results)) {
		raw, err := p.results[id].encode()
		if err != nil {
			return nil, fmt.Errorf("encode result: %w", err)
		}
		if size += len(raw); size > limit && len(nodes) > 0 {
			break
		}
		nodes[id] = raw
	}
	return nodes, nil
}

// answerUpTo gives Argo results of so many bytes, or one. Where etcd does not take them beside the tasks, it gives fewer.
func (r *Reconciler) answerUpTo(ctx context.Context, s *snapshot, next *plan, limit int) error {
	nodes, err := next.someResults(limit)
	if err != nil {
		return err
	}
	data, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": s.set.GetUID(), "resourceVersion": s.set.GetResourceVersion()},
		"status":   map[string]any{"nodes": nodes},
	})
	if err != nil {
		return fmt.Errorf("encode results: %w", err)
	}
	err = r.Client.Status().Patch(ctx, s.set.DeepCopy(), client.RawPatch(types.MergePatchType, data))
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil // the watch brings what has changed
	}
	if report.IsTooLarge(err) && len(nodes) > 1 {
		return r.answerUpTo(ctx, s, next, limit/2)
	}
	if report.IsTooLarge(err) && len(s.set.results) > 0 { // Argo has yet to read those, which makes room
		next.lookWithin(healAfter)
		return nil
	}
	if err != nil {
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
