package main

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	contractstep "open-cluster-management.io/argo-workflow-multicluster/pkg/contract/step"
	"open-cluster-management.io/argo-workflow-multicluster/test/bench/measure"
)

// scenarioSteps is left out unless it is asked for: it needs an Argo controller on the hub, which costs the others.
const scenarioSteps = "steps"

// stepsElsewhere measures one Workflow on the hub whose steps run one after the other, on the hub itself and in another cluster, and one
// whose steps are there at once. Figures are for each step.
func (s *suite) stepsElsewhere(ctx context.Context) error {
	container := map[string]any{"container": map[string]any{"image": "busybox", "command": []any{"true"}}}
	elsewhere := map[string]any{"plugin": map[string]any{contractstep.PluginKey: map[string]any{
		contractstep.FieldCluster: s.lab.Managed()[0].Name, "container": container["container"],
	}}}
	for _, measured := range []struct {
		scenario string
		count    int
		spec     map[string]any
	}{
		{"steps-here", s.singles, inTurn(s.singles, container)},
		{"steps-elsewhere", s.singles, inTurn(s.singles, elsewhere)},
		{"steps-at-once-here", s.waiting, atOnce(s.waiting, container)},
		{"steps-at-once-elsewhere", s.waiting, atOnce(s.waiting, elsewhere)},
	} {
		names := []string{measured.scenario}
		var took time.Duration
		if err := s.measure(ctx, measured.scenario, measured.count, func(ctx context.Context) error {
			began := time.Now()
			if err := s.create(ctx, names, func(_ int, name string) *unstructured.Unstructured {
				wf := small(name)
				wf.Object["spec"] = measured.spec
				return wf
			}); err != nil {
				return err
			}
			var err error
			took, err = s.finished(ctx, names, began, measure.Shown)
			return err
		}); err != nil {
			return err
		}
		s.recordTime(measured.scenario+".step_ms", float64(took.Milliseconds())/float64(measured.count), "ms")
		if err := s.cleanUp(ctx, names); err != nil {
			return err
		}
	}
	return nil
}

// inTurn returns the spec of a Workflow whose steps are of that kind, and run one after the other.
func inTurn(count int, kind map[string]any) map[string]any {
	groups := make([]any, count)
	for i := range groups {
		groups[i] = []any{map[string]any{"name": fmt.Sprintf("step-%d", i), "template": "one"}}
	}
	return withSteps(groups, kind)
}

// atOnce is inTurn for steps that do not wait for each other.
func atOnce(count int, kind map[string]any) map[string]any {
	all := map[string]any{"name": "all", "template": "one", "withSequence": map[string]any{"count": fmt.Sprint(count)}}
	return withSteps([]any{[]any{all}}, kind)
}

func withSteps(groups []any, kind map[string]any) map[string]any {
	one := map[string]any{"name": "one"}
	for field, value := range kind {
		one[field] = value
	}
	return map[string]any{"entrypoint": "main", "templates": []any{map[string]any{"name": "main", "steps": groups}, one}}
}
