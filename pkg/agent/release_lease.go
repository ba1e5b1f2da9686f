package agent

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// insteadOfAgent calls do while it holds the Lease of the agent's leader, so that no agent works, and removes the agent's
// Leases if that succeeds. It waits for the Lease until the timeout. Where the agent's namespace is gone, or going, there
// is no Lease to be had, and no agent.
func insteadOfAgent(
	ctx context.Context, kubeClient kubernetes.Interface, namespace string, timeout time.Duration, do func(context.Context) error,
) error {
	ns, err := kubeClient.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || (err == nil && ns.DeletionTimestamp != nil) {
		return do(ctx)
	}
	if err != nil {
		return fmt.Errorf("get Namespace: %w", err)
	}
	if err := asLeader(ctx, kubeClient, namespace, timeout, do); err != nil {
		return err
	}
	for _, lease := range []string{contract.AddonName, componentName} {
		err := kubeClient.CoordinationV1().Leases(namespace).Delete(ctx, lease, metav1.DeleteOptions{})
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete Lease %s/%s: %w", namespace, lease, err)
		}
	}
	return nil
}

// asLeader calls do while it holds the Lease of the agent's leader; the context of do ends when that is lost.
func asLeader(
	ctx context.Context, kubeClient kubernetes.Interface, namespace string, timeout time.Duration, do func(context.Context) error,
) error {
	leading := make(chan context.Context, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: componentName},
			Client:     kubeClient.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: "release_" + string(uuid.NewUUID())},
		},
		LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { leading <- ctx },
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("elect a leader: %w", err)
	}
	electing, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		elector.Run(electing)
	}()
	defer func() {
		stop()
		<-ended
	}()
	select {
	case ctx := <-leading:
		return do(ctx)
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(timeout):
		return fmt.Errorf("the agent %q still runs: it holds Lease %s/%s, and would take hold again of what is released. Stop it first: "+
			"disable the addon on the hub or, if the hub is lost, kubectl scale deployment --namespace %s %s --replicas=0",
			elector.GetLeader(), namespace, componentName, namespace, componentName)
	}
}
