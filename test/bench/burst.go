package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	workv1 "open-cluster-management.io/api/work/v1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/bench/measure"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// placement is the Placement of the examples, which chooses all clusters.
const placement = "workflow-placement"

// burstDirect measures Workflows that are created at once and name their cluster, then a restart of everything with them, then their
// deletion.
func (s *suite) burstDirect(ctx context.Context) error {
	managed := s.lab.Managed()
	names := namesOf("burst", s.burst)
	if err := s.burstOf(ctx, "burst", names, func(i int, name string) *unstructured.Unstructured {
		return onCluster(small(name), managed[i%len(managed)].Name)
	}); err != nil {
		return err
	}
	if err := s.restart(ctx, "restart", len(names), true); err != nil {
		return err
	}
	return s.deletion(ctx, "deletion", names)
}

// burstByPlacement measures the same with Workflows that name a Placement.
func (s *suite) burstByPlacement(ctx context.Context) error {
	names := namesOf("placement", s.byPlacement)
	if err := s.burstOf(ctx, "placement", names, func(_ int, name string) *unstructured.Unstructured {
		return byPlacement(small(name), placement)
	}); err != nil {
		return err
	}
	return s.cleanUp(ctx, names)
}

// burstOf measures Workflows that are created on the hub at once.
func (s *suite) burstOf(
	ctx context.Context, scenario string, names []string, build func(i int, name string) *unstructured.Unstructured,
) error {
	var took time.Duration
	err := s.measure(ctx, scenario, len(names), func(ctx context.Context) error {
		began := time.Now()
		if err := s.create(ctx, names, build); err != nil {
			return err
		}
		s.recordTime(scenario+".created_s", time.Since(began).Seconds(), "s")
		var err error
		took, err = s.finished(ctx, names, began, measure.Shown)
		return err
	})
	if err != nil {
		return err
	}
	s.recordThroughput(scenario, len(names), took)
	s.recordTimes(scenario, names)
	return nil
}

func (s *suite) recordThroughput(scenario string, n int, took time.Duration) {
	s.recordTime(scenario+".all_finished_s", took.Seconds(), "s")
	s.recordTime(scenario+".throughput", float64(n)/took.Seconds(), "Workflows/s")
	s.say("%s: %d Workflows in %s", scenario, n, took.Round(10*time.Millisecond))
}

// deletion measures the deletion of finished Workflows at once, until nothing of them is left anywhere.
func (s *suite) deletion(ctx context.Context, scenario string, names []string) error {
	var took time.Duration
	err := s.measure(ctx, scenario, len(names), func(ctx context.Context) error {
		began := time.Now()
		err := s.remove(ctx, names)
		took = time.Since(began)
		return err
	})
	if err != nil {
		return err
	}
	s.timeline.Forget(names)
	s.recordTime(scenario+".all_gone_s", took.Seconds(), "s")
	s.say("%s: %d Workflows gone after %s", scenario, len(names), took.Round(10*time.Millisecond))
	return s.nothingLeft(ctx, names)
}

// nothingLeft makes sure that none of the Workflows has left a RemoteWorkflow on the hub, or is listed by a ManifestWork.
func (s *suite) nothingLeft(ctx context.Context, names []string) error {
	hub, err := clientTo(s.lab.Hub(), userAgentUser)
	if err != nil {
		return err
	}
	left := map[string]int{}
	for _, resource := range []schema.GroupVersionResource{remoteWorkflows, measure.ManifestWorks} {
		list, err := hub.Resource(resource).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range list.Items {
			for _, name := range measure.WorkflowsOf(&list.Items[i]) {
				left[name]++
			}
		}
	}
	for _, name := range names {
		if left[name] > 0 {
			return fmt.Errorf("Workflow %s is deleted, and has a RemoteWorkflow or a ManifestWork", name)
		}
	}
	return nil
}

// direct measures the same Workflows created on the managed clusters themselves.
func (s *suite) direct(ctx context.Context) error {
	targets, err := s.managedClients()
	if err != nil {
		return err
	}
	names := namesOf("direct", s.burst)
	var took time.Duration
	err = s.measure(ctx, "direct", len(names), func(ctx context.Context) error {
		began := time.Now()
		err := s.each(ctx, names, func(ctx context.Context, i int, name string) error {
			s.timeline.Note(name, measure.Created)
			target := targets[i%len(targets)].Resource(contract.WorkflowGVR).Namespace(gen.Namespace)
			_, err := target.Create(ctx, small(name), metav1.CreateOptions{})
			return err
		})
		if err != nil {
			return err
		}
		took, err = s.finished(ctx, names, began, measure.Ended)
		return err
	})
	if err != nil {
		return err
	}
	s.recordThroughput("direct", len(names), took)
	s.recordTimes("direct", names)
	return s.removeFrom(ctx, s.lab.Managed(), names)
}

// ocmAlone measures the same Workflows sent by OCM alone, of whose status nothing comes back: in a ManifestWork each, and in few.
func (s *suite) ocmAlone(ctx context.Context) error {
	for _, size := range []int{1, batch} {
		if err := s.ocm(ctx, fmt.Sprintf("ocm-%d", size), size); err != nil {
			return err
		}
	}
	return nil
}

// batch is how many Workflows are in one ManifestWork where they are together.
const batch = 25

func (s *suite) ocm(ctx context.Context, scenario string, size int) error {
	hub, err := clientTo(s.lab.Hub(), userAgentOCM)
	if err != nil {
		return err
	}
	managed := s.lab.Managed()
	names := namesOf(scenario, s.burst)
	var works []string
	for i := 0; i < len(names); i += size {
		works = append(works, names[i])
	}
	space := func(i int) string { return managed[i%len(managed)].Name }
	var took time.Duration
	err = s.measure(ctx, scenario, len(names), func(ctx context.Context) error {
		began := time.Now()
		err := s.each(ctx, works, func(ctx context.Context, i int, name string) error {
			carried := names[i*size : min(len(names), (i+1)*size)]
			for _, each := range carried {
				s.timeline.Note(each, measure.Created)
			}
			_, err := hub.Resource(measure.ManifestWorks).Namespace(space(i)).Create(ctx, manifestWork(name, carried), metav1.CreateOptions{})
			return err
		})
		if err != nil {
			return err
		}
		took, err = s.finished(ctx, names, began, measure.Ended)
		return err
	})
	if err != nil {
		return err
	}
	s.recordThroughput(scenario, len(names), took)
	s.recordTimes(scenario, names)
	if err := s.each(ctx, works, func(ctx context.Context, i int, name string) error {
		return hub.Resource(measure.ManifestWorks).Namespace(space(i)).Delete(ctx, name, metav1.DeleteOptions{})
	}); err != nil {
		return err
	}
	return s.goneRemotely(ctx, names)
}

// manifestWork returns what creates Workflows on a managed cluster, once.
func manifestWork(name string, workflows []string) *unstructured.Unstructured {
	var manifests, configs []any
	for _, wf := range workflows {
		manifests = append(manifests, small(wf).Object)
		configs = append(configs, map[string]any{
			"resourceIdentifier": map[string]any{
				"group": contract.WorkflowGVR.Group, "resource": contract.WorkflowGVR.Resource, "namespace": gen.Namespace, "name": wf,
			},
			"updateStrategy": map[string]any{"type": string(workv1.UpdateStrategyTypeCreateOnly)},
		})
	}
	work := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"workload": map[string]any{"manifests": manifests}, "manifestConfigs": configs,
	}}}
	work.SetGroupVersionKind(schema.GroupVersion(workv1.GroupVersion).WithKind("ManifestWork"))
	work.SetName(name)
	return work
}
