package uninstall

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// scaleToZero is the patch of a Deployment's scale that stops all its pods.
var scaleToZero = client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":0}}`))

// stopManager scales the manager's Deployment to nothing, waits until its last pod is gone, and removes its Lease.
func (u *uninstaller) stopManager(ctx context.Context) error {
	key := u.options.Deployment
	if key.Name == "" {
		u.say("nobody is stopped, without --deployment: a manager that still runs would undo what follows")
		return nil
	}
	deployment := &appsv1.Deployment{}
	err := u.client.Get(ctx, key, deployment)
	if apierrors.IsNotFound(err) {
		u.say("Deployment %s: there is none", key)
		return nil
	}
	if err != nil {
		return fmt.Errorf("get Deployment: %w", err)
	}
	u.say("Deployment %s: scaled to 0", key)
	if u.options.DryRun {
		return nil
	}
	scale := client.WithSubResourceBody(&autoscalingv1.Scale{})
	if err := u.client.SubResource("scale").Patch(ctx, deployment, scaleToZero, scale); err != nil {
		return fmt.Errorf("scale Deployment %s: %w", key, err)
	}
	if err := u.waitForPods(ctx, deployment); err != nil {
		return err
	}
	u.say("Deployment %s: no pod is left", key)
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: u.options.Lease}}
	if err := u.client.Delete(ctx, lease); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete Lease: %w", err)
	}
	return nil
}

// waitForPods waits until no pod of the Deployment is left that may still be doing something.
func (u *uninstaller) waitForPods(ctx context.Context, deployment *appsv1.Deployment) error {
	selector, err := metav1.LabelSelectorAsSelector(deployment.Spec.Selector)
	if err != nil {
		return fmt.Errorf("read the selector of Deployment %s: %w", client.ObjectKeyFromObject(deployment), err)
	}
	return u.poll(ctx, 1, func(ctx context.Context) (bool, error) {
		pods, err := list[*corev1.Pod](ctx, u.client, &corev1.PodList{},
			client.InNamespace(deployment.Namespace), client.MatchingLabelsSelector{Selector: selector})
		for _, pod := range pods {
			if pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
				return false, fmt.Errorf("pod %s/%s is still there", pod.Namespace, pod.Name)
			}
		}
		return true, err
	})
}
