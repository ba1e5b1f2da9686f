package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/uninstall"
	"open-cluster-management.io/argo-workflow-multicluster/test/env"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// answersLeave plays the agent with a RemoteWorkflow whose run it is to leave.
func answersLeave(r *run) {
	r.t.Helper()
	eventually(r.t, func() error {
		rw, err := r.remoteWorkflow()
		if err != nil {
			return err
		}
		if rw.DeletionTimestamp.IsZero() || rw.Spec.Removal != v1alpha1.RemovalLeave {
			return fmt.Errorf("the agent is not asked to leave the run: deleted at %v, removal %q", rw.DeletionTimestamp, rw.Spec.Removal)
		}
		meta.SetStatusCondition(&rw.Status.Conditions, metav1.Condition{
			Type: v1alpha1.ConditionRemoteDeleted, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonLeft,
		})
		return theHub.client.Status().Update(r.t.Context(), rw)
	})
}

// finishDeliveries plays the work agents with ManifestWorks that are deleted, until the context ends: what they have brought stays.
func finishDeliveries(ctx context.Context) {
	_ = wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		var works workv1.ManifestWorkList
		if err := theHub.client.List(ctx, &works, client.MatchingLabels{contract.LabelDelivery: contract.DeliveryGated}); err != nil {
			return false, nil
		}
		for i := range works.Items {
			work := &works.Items[i]
			if !work.DeletionTimestamp.IsZero() && controllerutil.RemoveFinalizer(work, workAgentFinalizer) {
				_ = theHub.client.Update(ctx, work) // or the next time
			}
		}
		return false, nil
	})
}

// deployManager makes what stands for the manager's Deployment, and stops the manager once it is scaled to 0.
func deployManager(t *testing.T, namespace string) types.NamespacedName {
	t.Helper()
	labels := map[string]string{"app": "manager"}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "hub", Image: "hub"}}},
	}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "manager"},
		Spec:       appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template},
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "manager-0", Labels: labels}, Spec: template.Spec}
	require.NoError(t, theHub.client.Create(t.Context(), deployment))
	require.NoError(t, theHub.client.Create(t.Context(), pod))
	t.Cleanup(func() { assert.NoError(t, theManager.start()) })
	go func() {
		assert.NoError(t, env.Retry(t.Context(), func() error {
			if err := theHub.client.Get(t.Context(), client.ObjectKeyFromObject(deployment), deployment); err != nil {
				return err
			}
			if *deployment.Spec.Replicas != 0 {
				return errors.New("it is not scaled to 0")
			}
			return errors.Join(theManager.stop(), theHub.client.Delete(t.Context(), pod, client.GracePeriodSeconds(0)))
		}))
	}()
	return client.ObjectKeyFromObject(deployment)
}

// reinstall enables the addons again, and starts the manager.
func reinstall(t *testing.T, addons []addonv1beta1.ManagedClusterAddOn) {
	t.Helper()
	for _, addon := range addons {
		again := &addonv1beta1.ManagedClusterAddOn{
			ObjectMeta: metav1.ObjectMeta{Namespace: addon.Namespace, Name: addon.Name}, Spec: addon.Spec, Status: addon.Status,
		}
		require.NoError(t, createWithStatus(context.WithoutCancel(t.Context()), again))
	}
	require.NoError(t, theManager.start())
}

func TestUninstallLeavesUsersTheirWorkflowsAndNothingElse(t *testing.T) {
	s := newSpace(t)
	require.NoError(t, theHub.client.Create(t.Context(), gen.Placement("nowhere", gen.InNamespace(s.name))))
	waiting := s.createOnHub(cluster1, gen.Workflow("waiting", gen.InNamespace(s.name), gen.WithPlacement("nowhere")))
	running := s.create("running", cluster1)
	running.starts()
	running.runsOn()
	finished := s.create("finished", cluster1)
	finished.runs()
	late := s.create("late", cluster2)
	late.starts()
	late.runsOn()
	stopAgent(t, agent2)
	gated := s.create("gated", cluster2)
	gated.workAgent.takes(gated)
	leftover := gated.workAgent.apply(gated)
	waiting.waitFor("Pending", "waiting for Placement")
	before := running.must(cluster1)

	var addons addonv1beta1.ManagedClusterAddOnList
	require.NoError(t, theHub.client.List(t.Context(), &addons))
	go answersLeave(late)
	workAgents, stop := context.WithCancel(t.Context())
	defer stop()
	go finishDeliveries(workAgents)
	out := &strings.Builder{}
	require.NoError(t, uninstall.Run(t.Context(), theHub.client, uninstall.Options{
		Deployment: deployManager(t, s.name), Lease: "none", HubID: "unused", Timeout: 2 * patience, Out: out,
	}), out)
	t.Log(out)
	uninstalled := t.Run("nothing of the product is left", func(t *testing.T) {
		for _, list := range []client.ObjectList{
			&v1alpha1.RemoteWorkflowList{}, &workv1.ManifestWorkList{}, &addonv1beta1.ManagedClusterAddOnList{},
		} {
			require.NoError(t, theHub.client.List(t.Context(), list))
			assert.Zero(t, meta.LenList(list), "%T", list)
		}
		for _, r := range []*run{waiting, running, finished, late, gated} {
			assert.Empty(t, r.must(theHub).GetFinalizers())
		}
	})
	t.Run("what has run is where it was", func(t *testing.T) {
		require.NoError(t, running.wants("Running", "the run goes on as "+s.name+"/running on cluster cluster1"))
		require.NoError(t, late.wants("Running", "the run goes on as "+s.name+"/late on cluster cluster2"))
		require.NoError(t, finished.wants("Succeeded", ""))
		running.waitUntilReleased()
		after := running.must(cluster1)
		assert.Equal(t, before.GetUID(), after.GetUID())
		assert.Equal(t, contract.Status(before), contract.Status(after))
		assert.Empty(t, after.GetOwnerReferences())
		assert.Nil(t, after.GetDeletionTimestamp())
		finished.must(cluster1)
	})
	t.Run("what has not waits", func(t *testing.T) {
		require.NoError(t, waiting.wants("Pending", "has not started"))
		require.NoError(t, gated.wants("Pending", "has not started"))
		assert.True(t, isGated(gated.must(cluster2)), "its copy is the agent's to remove, and has not started")
	})
	reinstall(t, addons.Items)
	if !uninstalled {
		return
	}
	require.NoError(t, agent2.start())
	eventually(t, func() error { return gated.copyIsGone(leftover.GetUID()) })
	gated.runs()
	waiting.waitFor("Pending", "waiting for Placement")
	running.waitFor("Error", "")
	require.NoError(t, finished.wants("Succeeded", ""))
	s.create("afterwards", cluster1).runs()
	assert.Len(t, s.seen[cluster1].open("running"), 1, "it ran twice")
	assert.Len(t, s.seen[cluster2].open("gated"), 1)
}

func TestUninstallOfAHubWithoutTheProductIsDone(t *testing.T) {
	t.Parallel()
	// A managed cluster serves Workflows, and nothing else of what a hub needs.
	out := &strings.Builder{}
	require.NoError(t, uninstall.Run(t.Context(), cluster2.client, uninstall.Options{
		Deployment: types.NamespacedName{Namespace: "none", Name: "none"}, Timeout: time.Minute, DryRun: true, Out: out,
	}))
	assert.Equal(t, "(dry run) Deployment none/none: there is none\n", firstLine(out.String()))
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line + "\n"
}
