package uninstall

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
)

// messageStart begins what is said on a Workflow that is left.
const messageStart = "the manager was uninstalled: "

// leaveWorkflows leaves the Workflows that are ours by label or finalizer, once no attempt is left of them.
func (u *uninstaller) leaveWorkflows(ctx context.Context) (bool, error) {
	ours, err := u.metadata(ctx, contract.WorkflowGVK.GroupVersion().String(), contract.WorkflowGVK.Kind)
	if err != nil {
		return false, err
	}
	ours = slices.DeleteFunc(ours, func(wf *metav1.PartialObjectMetadata) bool {
		_, labelled := wf.Labels[contract.LabelEnable]
		return !slices.ContainsFunc(wf.Finalizers, contract.IsFinalizer) && (!labelled || wf.Labels[contract.LabelCompleted] == "true")
	})
	return true, forEach(ctx, ours, func(metadata *metav1.PartialObjectMetadata) error {
		wf, err := u.get(ctx, client.ObjectKeyFromObject(metadata), metadata.UID)
		if err != nil || wf == nil {
			return err
		}
		status, change := afterwards(wf)
		return u.settle(ctx, wf, status, change)
	})
}

// change is a change of a Workflow's metadata.
type change func(context.Context, client.Client, *hubworkflow.Workflow) error

// afterwards returns how a Workflow is left of which there is no attempt. By its finalizer is told that it had none that has started.
func afterwards(wf *hubworkflow.Workflow) (status map[string]any, _ change) {
	waits := hubworkflow.PendingStatus(hubworkflow.Refusal{
		Reason: "ManagerUninstalled", Message: messageStart + "the Workflow has not started, and waits until there is a manager again",
	})
	switch {
	case wf.IsDeleted(), !contract.IsPending(wf.LastPhase()):
		return nil, hubworkflow.RemoveFinalizers
	case contract.AssignedCluster(wf) == "":
		return waits, hubworkflow.RemoveFinalizers
	case wf.HasFinalizer():
		return waits, hubworkflow.Unassign
	}
	return nil, hubworkflow.RemoveFinalizers
}

// get returns a Workflow, nil if it is gone.
func (u *uninstaller) get(ctx context.Context, key client.ObjectKey, uid types.UID) (*hubworkflow.Workflow, error) {
	wf, err := hubworkflow.Get(ctx, u.client, key)
	if isNotServed(err) || (err == nil && wf.GetUID() != uid) {
		return nil, nil
	}
	return wf, err
}

// settle writes the status with which a Workflow is left, and then changes its metadata; nil is for neither. What is finished, or
// not ours, or has a status of somebody else's, keeps the status that it has.
func (u *uninstaller) settle(ctx context.Context, wf *hubworkflow.Workflow, status map[string]any, then change) (err error) {
	if wf == nil {
		return nil
	}
	if status != nil && contract.IsOurs(wf) && !contract.IsFinished(wf.Phase) && !wf.IsForeign() {
		written, err := hubworkflow.Write(ctx, u.client, wf, hubworkflow.Update{Status: status})
		if err != nil {
			return client.IgnoreNotFound(err)
		}
		if written && then != nil { // it has changed since it was read
			if wf, err = u.get(ctx, wf.Key(), wf.GetUID()); err != nil || wf == nil {
				return err
			}
		}
	}
	if then == nil {
		return nil
	}
	return client.IgnoreNotFound(then(ctx, u.client, wf))
}

// statusAfter returns the status with which a Workflow is left whose attempt may have started.
func (u *uninstaller) statusAfter(wf *hubworkflow.Workflow, rw *v1alpha1.RemoteWorkflow) map[string]any {
	if wf == nil {
		return nil
	}
	phase, cluster := wf.Phase, rw.Namespace
	if contract.IsPending(phase) {
		phase = contract.PhaseRunning // another manager must not take it for one that has not run
	}
	gone := meta.FindStatusCondition(rw.Status.Conditions, v1alpha1.ConditionRemoteDeleted)
	remote := rw.Spec.Remote
	message := fmt.Sprintf("the run goes on as %s/%s on cluster %s, and is not reported any more", remote.Namespace, remote.Name, cluster)
	switch {
	case rw.Spec.Removal == v1alpha1.RemovalTerminate:
		message = fmt.Sprintf("the run is terminated on cluster %s, and its end is not reported", cluster)
	case gone != nil && gone.Status == metav1.ConditionTrue && gone.Reason != v1alpha1.ReasonLeft:
		phase, message = contract.PhaseError, fmt.Sprintf("the run is gone from cluster %s, and its end was not reported", cluster)
	case u.enabled[client.ObjectKey{Namespace: cluster, Name: contract.ArgoAddonName}]:
		message += "; Argo is uninstalled there, too, and an unfinished run waits for another Argo controller"
	}
	status := maps.Clone(contract.Status(wf.Unstructured))
	if status == nil {
		status = map[string]any{}
	}
	status["phase"], status["message"] = phase, messageStart+message
	return status
}
