package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/bench/measure"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// between is how long the system is left alone between two verbs: longer than an agent collects changes.
const between = 1500 * time.Millisecond

// verbs measures what a user does to a Workflow that waits, again and again, through a system that has nothing else to do: from the change
// of the hub Workflow to that of the remote one.
func (s *suite) verbs(ctx context.Context) error {
	const name = "verbs"
	on := s.lab.Managed()[0]
	hub, err := clientTo(s.lab.Hub(), userAgentUser)
	if err != nil {
		return err
	}
	cluster, err := clientTo(on, userAgentWatch)
	if err != nil {
		return err
	}
	if err := s.create(ctx, []string{name}, func(int, string) *unstructured.Unstructured {
		wf := onCluster(small(name), on.Name)
		wf.Object["spec"] = map[string]any{
			"entrypoint": "main", "templates": []any{map[string]any{"name": "main", "suspend": map[string]any{}}},
		}
		return wf
	}); err != nil {
		return err
	}
	if _, err := seen(ctx, hub, name, func(wf *unstructured.Unstructured) bool { return nodeOf(wf, name) != nil }); err != nil {
		return err
	}
	for _, v := range []struct {
		scenario, patch string
		done            func(i int, wf *unstructured.Unstructured) bool
	}{
		{"verb-spec", `{"spec":{"priority":%d}}`, func(i int, wf *unstructured.Unstructured) bool {
			priority, _, _ := unstructured.NestedInt64(wf.Object, "spec", "priority")
			return priority == int64(i)
		}},
		{"verb-status", `{"status":{"nodes":{"` + name + `":{"message":"%d"}}}}`, func(i int, wf *unstructured.Unstructured) bool {
			return nodeOf(wf, name)["message"] == fmt.Sprint(i)
		}},
	} {
		if err := s.verb(ctx, v.scenario, func(ctx context.Context, i int) (time.Duration, error) {
			began := time.Now()
			if _, err := hub.Resource(contract.WorkflowGVR).Namespace(gen.Namespace).Patch(ctx, name, types.MergePatchType,
				fmt.Appendf(nil, v.patch, i), metav1.PatchOptions{}); err != nil {
				return 0, err
			}
			at, err := seen(ctx, cluster, name, func(wf *unstructured.Unstructured) bool { return v.done(i, wf) })
			return at.Sub(began), err
		}); err != nil {
			return err
		}
	}
	return s.cleanUp(ctx, []string{name})
}

// verb measures one, which returns how long it has taken.
func (s *suite) verb(ctx context.Context, scenario string, do func(ctx context.Context, i int) (time.Duration, error)) error {
	var took []time.Duration
	if err := s.measure(ctx, scenario, s.singles, func(ctx context.Context) error {
		for i := 1; i <= s.singles; i++ {
			if err := pause(ctx, between); err != nil {
				return err
			}
			one, err := do(ctx, i)
			if err != nil {
				return err
			}
			took = append(took, one)
		}
		return pause(ctx, between)
	}); err != nil {
		return err
	}
	slices.Sort(took)
	for _, p := range []int{50, 99} {
		s.recordTime(fmt.Sprintf("%s.edit_done_p%d_ms", scenario, p), float64(measure.Percentile(took, p).Microseconds())/1000, "ms")
	}
	return nil
}

func nodeOf(wf *unstructured.Unstructured, id string) map[string]any {
	node, _, _ := unstructured.NestedMap(wf.Object, "status", contract.FieldNodes, id)
	return node
}

// seen returns when the Workflow is as it should be.
func seen(ctx context.Context, in dynamic.Interface, name string, is func(*unstructured.Unstructured) bool) (time.Time, error) {
	shows, err := in.Resource(contract.WorkflowGVR).Namespace(gen.Namespace).Watch(ctx, metav1.ListOptions{
		FieldSelector: "metadata.name=" + name,
	})
	if err != nil {
		return time.Time{}, err
	}
	defer shows.Stop()
	for event := range shows.ResultChan() {
		if wf, ok := event.Object.(*unstructured.Unstructured); ok && is(wf) {
			return time.Now(), nil
		}
	}
	return time.Time{}, fmt.Errorf("the watch of Workflow %s has ended: %w", name, context.Cause(ctx))
}
