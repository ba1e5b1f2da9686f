package steps

import (
	"context"
	"errors"
	"fmt"
	"time"

	utilwait "k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
)

// Off returns what a manager runs in place of the Reconciler where steps are switched off: once, it removes the finalizer from the
// Workflows of steps, which nobody would remove when they are deleted.
func Off(c client.Client) manager.RunnableFunc {
	return func(ctx context.Context) error {
		err := utilwait.PollUntilContextCancel(ctx, 10*time.Second, true, func(ctx context.Context) (bool, error) {
			err := releaseAll(ctx, c)
			if err != nil && ctx.Err() == nil {
				log.FromContext(ctx).Error(err, "will try again")
			}
			return err == nil, nil
		})
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
}

func releaseAll(ctx context.Context, c client.Client) error {
	children := contract.NewWorkflowList()
	if err := c.List(ctx, children); err != nil {
		return fmt.Errorf("list the Workflows of steps: %w", err)
	}
	var errs []error
	for i := range children.Items {
		wf := hubworkflow.Of(&children.Items[i])
		left, isOurs := withoutStep(wf.GetFinalizers())
		if !isOurs {
			continue
		}
		if err := hubworkflow.PatchMetadata(ctx, c, wf, map[string]any{"finalizers": left}); err != nil {
			errs = append(errs, fmt.Errorf("remove finalizer of Workflow %s: %w", wf.Key(), err))
		}
	}
	return errors.Join(errs...)
}
