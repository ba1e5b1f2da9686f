package uninstall

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
)

// leave ends the hub's part in all attempts, and then leaves the Workflows. Clusters that do not answer are waited for only so long.
func (u *uninstaller) leave(ctx context.Context) error {
	addons, err := u.addons(ctx)
	if err != nil {
		return err
	}
	u.enabled = map[client.ObjectKey]bool{}
	for _, addon := range addons {
		u.enabled[client.ObjectKeyFromObject(addon)] = true
	}
	if u.poll(ctx, u.attemptsShare, func(ctx context.Context) (bool, error) { return u.pass(ctx, false) }) != nil {
		err = u.poll(ctx, lateShare, func(ctx context.Context) (bool, error) { return u.pass(ctx, true) })
	}
	if err == nil {
		err = u.keepUngated(ctx)
	}
	if err != nil || u.options.DryRun {
		return err
	}
	return u.poll(ctx, lateShare, u.leaveWorkflows)
}

// keepUngated keeps the ManifestWorks that own what they have brought to clusters without agent, and would end it. They lose the label of
// deliveries: another manager would delete those whose RemoteWorkflow is gone.
func (u *uninstaller) keepUngated(ctx context.Context) error {
	works, err := u.works(ctx, client.MatchingLabels{contract.LabelDelivery: contract.DeliveryUngated})
	for _, work := range works {
		if work.DeletionTimestamp != nil {
			continue
		}
		u.say("ManifestWork %s/%s: stays, and with it its Workflow on the cluster. To delete both: kubectl delete manifestwork -n %[1]s %[2]s",
			work.Namespace, work.Name)
		kept := work.DeepCopy()
		delete(kept.Labels, contract.LabelDelivery)
		if err := u.client.Patch(ctx, kept, client.MergeFrom(work)); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("change ManifestWork: %w", err)
		}
	}
	return err
}

// pass takes each attempt one step further, and reports whether none is left. When it is late, no cluster is waited for.
func (u *uninstaller) pass(ctx context.Context, late bool) (done bool, err error) {
	attempts, err := list[*v1alpha1.RemoteWorkflow](ctx, u.client, &v1alpha1.RemoteWorkflowList{})
	if err != nil {
		return false, err
	}
	attempts = slices.DeleteFunc(attempts, func(rw *v1alpha1.RemoteWorkflow) bool {
		return rw.DeletionTimestamp != nil && !slices.ContainsFunc(rw.Finalizers, isOurs)
	})
	// These first: the finalizer of an attempt that has not started goes only when nothing delivers it. They are waited for, since the
	// work agent's rights on Workflows, which it needs to finish with them, go with the addon.
	deliveries, err := u.works(ctx, client.MatchingLabels{contract.LabelDelivery: contract.DeliveryGated})
	if err != nil {
		return false, err
	}
	for _, work := range deliveries {
		if err := u.delete(ctx, work, client.Preconditions{UID: &work.UID}); err != nil {
			return false, err
		}
	}
	err = forEach(ctx, attempts, func(rw *v1alpha1.RemoteWorkflow) error { return u.leaveAttempt(ctx, rw, late) })
	if err != nil || u.options.DryRun || !late || len(attempts) > 0 {
		return u.options.DryRun || len(attempts)+len(deliveries) == 0, err
	}
	for _, work := range deliveries {
		u.complain("cluster %s has not answered in time: ManifestWorks that deliver Workflows there are still being deleted. They go when it "+
			"is back. If it is gone for good, remove their finalizers: kubectl get manifestwork -n %[1]s", work.Namespace)
	}
	return true, nil
}

// leaveAttempt takes an attempt one step further.
func (u *uninstaller) leaveAttempt(ctx context.Context, rw *v1alpha1.RemoteWorkflow, late bool) error {
	withAgent, isDeleted := rw.Spec.Reporting == v1alpha1.ReportingAgent, rw.DeletionTimestamp != nil
	// Where there is no agent, it may have started as soon as it was sent. Where there is one, it starts when it is claimed.
	mayHaveStarted := !withAgent || rw.Status.RemoteUID != ""
	answered := !withAgent || !u.enabled[client.ObjectKey{Namespace: rw.Namespace, Name: contract.AddonName}] ||
		meta.IsStatusConditionTrue(rw.Status.Conditions, v1alpha1.ConditionRemoteDeleted)
	switch {
	// If it is claimed meanwhile, either of these fails with a conflict, and the next pass finds that it has started.
	case !mayHaveStarted && isDeleted:
		return u.removeFinalizers(ctx, "RemoteWorkflow", rw, isOurs)
	case !mayHaveStarted:
		u.say("Workflow %s: has not started on cluster %s, and is taken back", workflowOf(rw), rw.Namespace)
		return u.delete(ctx, rw, client.Preconditions{UID: &rw.UID, ResourceVersion: &rw.ResourceVersion})
	case !isDeleted || rw.Spec.Removal == "":
		return u.ask(ctx, rw)
	case answered:
	case !late:
		return nil
	case rw.Spec.Removal == v1alpha1.RemovalTerminate:
		u.complain("cluster %s has not answered in time: runs of Workflows that were deleted may go on there until it is back", rw.Namespace)
	default:
		u.complain(finalizersMayBeLeft, rw.Namespace, u.options.HubID)
	}
	wf, err := u.get(ctx, workflowOf(rw), rw.Spec.WorkflowRef.UID)
	if err != nil {
		return err
	}
	// The RemoteWorkflow goes last: a Workflow that has none, and still has the finalizer, has not started.
	if err := u.settle(ctx, wf, u.statusAfter(wf, rw), hubworkflow.RemoveFinalizers); err != nil {
		return err
	}
	return u.removeFinalizers(ctx, "RemoteWorkflow", rw, isOurs)
}

// ask asks the agent to leave the run, or to terminate that of a Workflow that was deleted. The Workflow says so first: from then on
// nobody takes it for one that has not started.
func (u *uninstaller) ask(ctx context.Context, rw *v1alpha1.RemoteWorkflow) error {
	wf, err := u.get(ctx, workflowOf(rw), rw.Spec.WorkflowRef.UID)
	if err != nil {
		return err
	}
	asked := rw.DeepCopy()
	switch {
	case rw.Spec.Removal != "":
	case rw.Spec.Reporting == v1alpha1.ReportingAgent && (wf == nil || wf.IsDeleted()):
		asked.Spec.Removal = v1alpha1.RemovalTerminate
	default:
		asked.Spec.Removal = v1alpha1.RemovalLeave
	}
	u.say("Workflow %s: has started on cluster %s, removal: %s", workflowOf(rw), rw.Namespace, asked.Spec.Removal)
	if err := u.settle(ctx, wf, u.statusAfter(wf, asked), nil); err != nil {
		return err
	}
	if err := u.client.Patch(ctx, asked, client.MergeFrom(rw)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("change RemoteWorkflow: %w", err)
	}
	return u.delete(ctx, rw, client.Preconditions{UID: &rw.UID})
}

// removeFinalizers removes finalizers from an object that is being deleted, unless it has changed since it was read.
func (u *uninstaller) removeFinalizers(ctx context.Context, kind string, obj client.Object, which func(string) bool) error {
	without, _ := obj.DeepCopyObject().(client.Object)
	without.SetFinalizers(slices.DeleteFunc(without.GetFinalizers(), which))
	if others := without.GetFinalizers(); len(others) > 0 {
		u.complain("%s %s/%s: kept by finalizers of others: %v", kind, obj.GetNamespace(), obj.GetName(), others)
	}
	err := u.client.Patch(ctx, without, client.MergeFromWithOptions(obj, client.MergeFromWithOptimisticLock{}))
	return client.IgnoreNotFound(err)
}

// delete deletes an object, unless it is being deleted already, or is not what the preconditions say.
func (u *uninstaller) delete(ctx context.Context, obj client.Object, only client.Preconditions) error {
	if obj.GetDeletionTimestamp() != nil {
		return nil
	}
	return client.IgnoreNotFound(u.client.Delete(ctx, obj, only))
}

// works returns the metadata of ManifestWorks.
func (u *uninstaller) works(ctx context.Context, opts ...client.ListOption) ([]*metav1.PartialObjectMetadata, error) {
	return u.metadata(ctx, workv1.GroupVersion.String(), "ManifestWork", opts...)
}

func isOurs(finalizer string) bool { return finalizer == contract.FinalizerDispatch }

func workflowOf(rw *v1alpha1.RemoteWorkflow) client.ObjectKey {
	return client.ObjectKey{Namespace: rw.Spec.WorkflowRef.Namespace, Name: rw.Spec.WorkflowRef.Name}
}
