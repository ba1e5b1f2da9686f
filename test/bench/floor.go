package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/util/retry"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/bench/hollow"
	"open-cluster-management.io/argo-workflow-multicluster/test/bench/measure"
)

var (
	remoteWorkflows = v1alpha1.GroupVersion.WithResource("remoteworkflows")
	namespaces      = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
)

// floor measures what nobody can do without: a bare client makes the writes of which the life of a Workflow consists on the hub, with
// nothing that watches, decides or runs. The manager is stopped meanwhile.
func (s *suite) floor(ctx context.Context) error { return s.floorOf(ctx, "floor", s.burst) }

func (s *suite) floorOf(ctx context.Context, scenario string, n int) error {
	if err := s.lab.StopManager(); err != nil {
		return err
	}
	if err := errors.Join(s.bareLives(ctx, scenario, n), s.lab.StartManager(ctx)); err != nil {
		return err
	}
	_, err := s.settle(ctx, settling)
	return err
}

// bareLives measures so many bare lives, and removes what they leave.
func (s *suite) bareLives(ctx context.Context, scenario string, n int) error {
	hub, err := clientTo(s.lab.Hub(), userAgentFloor)
	if err != nil {
		return err
	}
	space := "bench-" + scenario // no cluster's, so that no agent takes what is there for its own
	if _, err := hub.Resource(namespaces).Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": space},
	}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	names := namesOf(scenario, n)
	var took time.Duration
	err = s.measure(ctx, scenario, n, func(ctx context.Context) error {
		began := time.Now()
		err := s.each(ctx, names, func(ctx context.Context, i int, name string) error {
			carried := names[i:min(len(names), i+batch)]
			if i%batch != 0 {
				carried = nil
			}
			return bareLife(ctx, hub, space, name, carried)
		})
		took = time.Since(began)
		return err
	})
	if err != nil {
		return err
	}
	s.recordThroughput(scenario, n, took)
	for _, resource := range []schema.GroupVersionResource{contract.WorkflowGVR, remoteWorkflows, measure.ManifestWorks} {
		err := hub.Resource(resource).Namespace(space).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
		if err != nil {
			return err
		}
	}
	return hub.Resource(namespaces).Delete(ctx, space, metav1.DeleteOptions{})
}

// bareLife writes what is written of one Workflow, and the ManifestWork that carries it and others, if it is the first of them: creation,
// assignment, root, claim, final report, final status.
func bareLife(ctx context.Context, hub dynamic.Interface, space, name string, carried []string) error {
	workflows, remotes := hub.Resource(contract.WorkflowGVR).Namespace(space), hub.Resource(remoteWorkflows).Namespace(space)
	wf := small(name)
	wf.SetNamespace(space)
	created, err := create(ctx, workflows, wf)
	if err != nil {
		return err
	}
	assignment := map[string]any{"metadata": map[string]any{
		"resourceVersion": created.GetResourceVersion(),
		"annotations": map[string]string{
			"bench.example.com/assigned": string(created.GetUID()) + "/1/" + space, "bench.example.com/cluster": space,
		},
	}}
	if created, err = patch(ctx, workflows, name, types.MergePatchType, assignment); err != nil {
		return err
	}
	root, err := create(ctx, remotes, remoteWorkflow(created))
	if err != nil {
		return err
	}
	if len(carried) > 0 {
		if _, err := create(ctx, hub.Resource(measure.ManifestWorks).Namespace(space), manifestWork(name, carried)); err != nil {
			return err
		}
	}
	claim := map[string]any{
		"metadata": map[string]any{"resourceVersion": root.GetResourceVersion()}, "status": map[string]any{"remoteUID": created.GetUID()},
	}
	if root, err = patch(ctx, remotes, name, types.MergePatchType, claim, "status"); err != nil {
		return err
	}
	status := hollow.Status(wf, "Succeeded", "", time.Now())
	if err := writeReport(ctx, remotes, root, created, status); err != nil {
		return err
	}
	_, err = patch(ctx, workflows, name, types.JSONPatchType, []map[string]any{
		{"op": "add", "path": "/status", "value": status},
		{"op": "add", "path": "/metadata/labels", "value": map[string]string{
			"workflows.argoproj.io/phase": "Succeeded", "workflows.argoproj.io/completed": "true",
		}},
		{"op": "add", "path": "/metadata/annotations/bench.example.com~1digest", "value": string(created.GetUID())},
		{"op": "add", "path": "/metadata/resourceVersion", "value": created.GetResourceVersion()},
	})
	return err
}

// remoteWorkflow returns the root of a Workflow's life.
func remoteWorkflow(wf *unstructured.Unstructured) *unstructured.Unstructured {
	name := wf.GetName()
	rw := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"hubID": "bench", "attempt": int64(1), "reporting": string(v1alpha1.ReportingAgent),
		"workflowRef": map[string]any{"namespace": wf.GetNamespace(), "name": name, "uid": string(wf.GetUID())},
		"remote":      map[string]any{"namespace": wf.GetNamespace(), "name": name},
	}}}
	rw.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("RemoteWorkflow"))
	rw.SetName(name)
	return rw
}

// writeReport writes a final report to the root.
func writeReport(ctx context.Context, remotes dynamic.ResourceInterface, root, wf *unstructured.Unstructured, status map[string]any) error {
	data, err := compress(status)
	if err != nil {
		return err
	}
	now := time.Now().UTC().Format(time.RFC3339)
	_, err = patch(ctx, remotes, root.GetName(), types.MergePatchType, map[string]any{
		"metadata": map[string]any{"resourceVersion": root.GetResourceVersion()},
		"status": map[string]any{
			"phase": "Succeeded", "progress": "1/1", "startedAt": now, "finishedAt": now, "nodes": map[string]int{"Succeeded": 1},
			"report": map[string]any{"workflowUID": wf.GetUID(), "attempt": 1, "remoteUID": wf.GetUID(), "data": data},
			"conditions": []metav1.Condition{{
				Type: v1alpha1.ConditionStarted, Status: metav1.ConditionTrue, Reason: "Started", LastTransitionTime: metav1.Now(),
			}, {
				Type: v1alpha1.ConditionReported, Status: metav1.ConditionTrue, Reason: "Complete", LastTransitionTime: metav1.Now(),
			}},
		},
	}, "status")
	return err
}

// compress returns a status as it travels in a report.
func compress(status map[string]any) ([]byte, error) {
	raw, err := json.Marshal(status)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	writer := gzip.NewWriter(&out)
	if _, err := writer.Write(raw); err != nil {
		return nil, err
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// create creates an object. What the API server has no time for is tried again, and so it is in a patch.
func create(
	ctx context.Context, resource dynamic.ResourceInterface, object *unstructured.Unstructured,
) (*unstructured.Unstructured, error) {
	var created *unstructured.Unstructured
	err := retry.OnError(retry.DefaultBackoff, isOverloaded, func() (err error) {
		created, err = resource.Create(ctx, object, metav1.CreateOptions{})
		return err
	})
	return created, err
}

func patch(
	ctx context.Context, resource dynamic.ResourceInterface, name string, kind types.PatchType, change any, subresources ...string,
) (*unstructured.Unstructured, error) {
	data, err := json.Marshal(change)
	if err != nil {
		return nil, err
	}
	var patched *unstructured.Unstructured
	err = retry.OnError(retry.DefaultBackoff, isOverloaded, func() (err error) {
		patched, err = resource.Patch(ctx, name, kind, data, metav1.PatchOptions{}, subresources...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("patch %s: %w", name, err)
	}
	return patched, nil
}
