package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/util/retry"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/bench/measure"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

// small returns a Workflow of one short pod, as its user would write it for the cluster itself.
func small(name string) *unstructured.Unstructured {
	wf := contract.NewWorkflow()
	wf.SetNamespace(gen.Namespace)
	wf.SetName(name)
	wf.Object["spec"] = map[string]any{
		"entrypoint": "main",
		"templates": []any{map[string]any{
			"name":      "main",
			"container": map[string]any{"image": "busybox", "command": []any{"true"}},
		}},
	}
	return wf
}

// onCluster returns the same for the hub, with a cluster as the user's choice.
func onCluster(wf *unstructured.Unstructured, cluster string) *unstructured.Unstructured {
	wf.SetLabels(map[string]string{contract.LabelEnable: contract.LabelEnableValue})
	wf.SetAnnotations(map[string]string{contract.AnnotationCluster: cluster})
	return wf
}

// byPlacement returns the same for the hub, with the name of a Placement.
func byPlacement(wf *unstructured.Unstructured, placement string) *unstructured.Unstructured {
	wf.SetLabels(map[string]string{contract.LabelEnable: contract.LabelEnableValue})
	wf.SetAnnotations(map[string]string{contract.AnnotationPlacement: placement})
	return wf
}

// namesOf returns n names that no other scenario has.
func namesOf(scenario string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%05d", scenario, i)
	}
	return names
}

// each does something for each name, as many at a time as users do. What an API server has no time for is tried again.
func (s *suite) each(ctx context.Context, names []string, do func(ctx context.Context, i int, name string) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(s.concurrency)
	for i, name := range names {
		group.Go(func() error {
			return retry.OnError(retry.DefaultBackoff, isOverloaded, func() error { return do(ctx, i, name) })
		})
	}
	return group.Wait()
}

// isOverloaded reports whether an API server has answered that it did nothing, since it took too long or has too much to do.
func isOverloaded(err error) bool {
	return apierrors.IsInternalError(err) || apierrors.IsServerTimeout(err) || apierrors.IsTooManyRequests(err)
}

// create creates Workflows on the hub, and notes when.
func (s *suite) create(ctx context.Context, names []string, build func(i int, name string) *unstructured.Unstructured) error {
	hub, err := clientTo(s.lab.Hub(), userAgentUser)
	if err != nil {
		return err
	}
	return s.each(ctx, names, func(ctx context.Context, i int, name string) error {
		wf := build(i, name)
		s.timeline.Note(name, measure.Created)
		_, err := hub.Resource(contract.WorkflowGVR).Namespace(gen.Namespace).Create(ctx, wf, metav1.CreateOptions{})
		return err
	})
}

// finished waits until the hub shows that all have succeeded, and returns how long that took since the moment.
func (s *suite) finished(ctx context.Context, names []string, since time.Time, as measure.Moment) (time.Duration, error) {
	stop := s.tell(names, as)
	defer stop()
	last, err := s.timeline.Wait(ctx, names, as)
	if err != nil {
		return 0, err
	}
	if failed := s.timeline.Failed(names); len(failed) > 0 {
		return 0, fmt.Errorf("%d of %d Workflows have not succeeded, such as %s", len(failed), len(names), failed[0])
	}
	return last.Sub(since), nil
}

// tell prints now and then how many of the Workflows have come to a moment.
func (s *suite) tell(names []string, m measure.Moment) (stop func()) {
	done := make(chan struct{})
	go func() {
		ticker := time.NewTicker(5 * time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				s.say("  %d of %d Workflows are %s", len(s.timeline.Times(names, m)), len(names), m)
			}
		}
	}()
	return func() { close(done) }
}

// remove deletes Workflows from the hub, and waits until they are gone, from their clusters as well.
func (s *suite) remove(ctx context.Context, names []string) error {
	hub, err := clientTo(s.lab.Hub(), userAgentUser)
	if err != nil {
		return err
	}
	err = s.each(ctx, names, func(ctx context.Context, _ int, name string) error {
		return ignoreNotFound(hub.Resource(contract.WorkflowGVR).Namespace(gen.Namespace).Delete(ctx, name, metav1.DeleteOptions{}))
	})
	if err != nil {
		return err
	}
	stop := s.tell(names, measure.Removed)
	defer stop()
	if _, err := s.timeline.Wait(ctx, names, measure.Removed); err != nil {
		return err
	}
	_, err = s.timeline.Wait(ctx, s.existing(names), measure.RemovedRemotely)
	return err
}

// cleanUp removes Workflows outside of what is measured.
func (s *suite) cleanUp(ctx context.Context, names []string) error {
	within, cancel := context.WithTimeoutCause(ctx, s.patience, fmt.Errorf("not within %s", s.patience))
	defer cancel()
	if err := s.remove(within, names); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	s.timeline.Forget(names)
	_, err := s.settle(ctx, settling)
	return err
}

// existing returns those of the names that are, or were, on a managed cluster.
func (s *suite) existing(names []string) []string {
	var there []string
	for _, name := range names {
		if len(s.timeline.Times([]string{name}, measure.Exists)) > 0 {
			there = append(there, name)
		}
	}
	return there
}

// removeFrom deletes Workflows from the managed clusters themselves, and waits until they are gone.
func (s *suite) removeFrom(ctx context.Context, clusters []*lab.Cluster, names []string) error {
	for _, c := range clusters {
		target, err := clientTo(c, userAgentUser)
		if err != nil {
			return err
		}
		if err := s.each(ctx, names, func(ctx context.Context, _ int, name string) error {
			return ignoreNotFound(target.Resource(contract.WorkflowGVR).Namespace(gen.Namespace).Delete(ctx, name, metav1.DeleteOptions{}))
		}); err != nil {
			return err
		}
	}
	return s.goneRemotely(ctx, names)
}

// goneRemotely waits, outside of what is measured, until Workflows are gone from the managed clusters, and whoever removed them is done.
func (s *suite) goneRemotely(ctx context.Context, names []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.patience, fmt.Errorf("not within %s", s.patience))
	defer cancel()
	stop := s.tell(names, measure.RemovedRemotely)
	defer stop()
	if _, err := s.timeline.Wait(ctx, names, measure.RemovedRemotely); err != nil {
		return err
	}
	s.timeline.Forget(names)
	_, err := s.settle(ctx, settling)
	return err
}

// managedClients returns the users' access to the managed clusters.
func (s *suite) managedClients() ([]dynamic.Interface, error) {
	var clients []dynamic.Interface
	var errs []error
	for _, c := range s.lab.Managed() {
		target, err := clientTo(c, userAgentUser)
		clients, errs = append(clients, target), append(errs, err)
	}
	return clients, errors.Join(errs...)
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
