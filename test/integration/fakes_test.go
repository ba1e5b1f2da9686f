package integration

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/retry"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// fakeWorkAgent plays OCM's work agent on a managed cluster. It does nothing by itself.
type fakeWorkAgent struct{ cluster *cluster }

// workAgentFinalizer keeps a ManifestWork until the work agent has seen its deletion.
const workAgentFinalizer = "cluster.open-cluster-management.io/manifest-work-cleanup"

// apply waits for a delivery of the Workflow, creates the copy, as the work agent does when it sees the delivery or, at a resync, finds the
// copy missing, and says so. It returns the copy.
func (a fakeWorkAgent) apply(r *run) *unstructured.Unstructured {
	r.t.Helper()
	work := r.waitForManifestWork()
	wf := a.create(r)
	applied := metav1.Condition{
		Type: workv1.WorkApplied, Status: metav1.ConditionTrue, Reason: "AppliedManifestComplete", LastTransitionTime: metav1.Now(),
	}
	require.NoError(r.t, retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if err := theHub.client.Get(r.t.Context(), client.ObjectKeyFromObject(work), work); err != nil {
			return client.IgnoreNotFound(err) // it was claimed at once
		}
		applied.ObservedGeneration = work.Generation
		meta.SetStatusCondition(&work.Status.Conditions, applied)
		work.Status.ResourceStatus.Manifests = append(work.Status.ResourceStatus.Manifests, workv1.ManifestCondition{
			ResourceMeta: workv1.ManifestResourceMeta{
				Ordinal: int32(len(work.Status.ResourceStatus.Manifests)), Group: contract.WorkflowGVR.Group, Version: contract.WorkflowGVR.Version,
				Kind: contract.WorkflowGVK.Kind, Resource: contract.WorkflowGVR.Resource, Namespace: wf.GetNamespace(), Name: wf.GetName(),
			},
			Conditions: []metav1.Condition{applied},
		})
		return client.IgnoreNotFound(theHub.client.Status().Update(r.t.Context(), work))
	}))
	return wf
}

// takes waits for a delivery of the Workflow and marks it as one that the work agent is to clean up after.
func (a fakeWorkAgent) takes(r *run) {
	r.t.Helper()
	work := r.waitForManifestWork()
	require.NoError(r.t, retry.RetryOnConflict(retry.DefaultRetry, func() error {
		if err := theHub.client.Get(r.t.Context(), client.ObjectKeyFromObject(work), work); err != nil {
			return err
		}
		controllerutil.AddFinalizer(work, workAgentFinalizer)
		return theHub.client.Update(r.t.Context(), work)
	}))
}

// create creates the copy that was seen last in a delivery, whatever became of that since: the work agent decides from a cache.
func (a fakeWorkAgent) create(r *run) *unstructured.Unstructured {
	r.t.Helper()
	wf := r.sent.DeepCopy()
	if !isGated(wf) {
		wf.SetOwnerReferences([]metav1.OwnerReference{appliedBy(r)})
	}
	require.NoError(r.t, a.cluster.client.Create(r.t.Context(), wf))
	return wf
}

// appliedBy is the reference by which the work agent marks what it owns: what a delivery does not tell it to orphan.
func appliedBy(r *run) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: workv1.GroupVersion.String(), Kind: "AppliedManifestWork", Name: "hash-" + r.name().Name, UID: r.uid,
	}
}

// feedBack says on the delivery what has become of the copy.
func (a fakeWorkAgent) feedBack(r *run) {
	r.t.Helper()
	wf := r.must(a.cluster)
	values := map[string]string{
		contract.FeedbackUID: string(wf.GetUID()), contract.FeedbackHubUID: wf.GetAnnotations()[contract.AnnotationHubUID],
	}
	for _, field := range contract.FeedbackStatusFields {
		values[field] = contract.StatusString(contract.Status(wf), field)
	}
	require.NoError(r.t, retry.RetryOnConflict(retry.DefaultRetry, func() error {
		work, err := r.manifestWork()
		if err != nil {
			return err
		}
		gen.WithFeedback(values)(work)
		return theHub.client.Status().Update(r.t.Context(), work)
	}))
}

// collectGarbage plays the garbage collector with the copy as it was read: it finds no pods, for which a deletion in the foreground waits.
func (c *cluster) collectGarbage(ctx context.Context, wf *unstructured.Unstructured) error {
	if wf.GetDeletionTimestamp().IsZero() || !controllerutil.RemoveFinalizer(wf, metav1.FinalizerDeleteDependents) {
		return nil
	}
	if err := c.client.Update(ctx, wf); !apierrors.IsConflict(err) {
		return client.IgnoreNotFound(err)
	}
	return nil
}

// fakeArgo plays Argo's controller on a managed cluster, one without an instance id. It does nothing by itself.
type fakeArgo struct{ cluster *cluster }

// sees reports whether the controller would run this Workflow.
func (fakeArgo) sees(wf *unstructured.Unstructured) bool {
	_, foreign := wf.GetLabels()[contract.LabelInstanceID]
	return !foreign && wf.GetLabels()[contract.LabelCompleted] != "true"
}

// write brings the run to a status, as the controller does: on the main resource, with its labels. It returns what
// has been written.
func (a fakeArgo) write(r *run, status map[string]any) *unstructured.Unstructured {
	r.t.Helper()
	var wf *unstructured.Unstructured
	require.NoError(r.t, retry.RetryOnConflict(retry.DefaultBackoff, func() (err error) {
		if wf, err = r.get(a.cluster); err != nil {
			return err
		}
		if !a.sees(wf) {
			return fmt.Errorf("Argo does not run a Workflow with the labels %v", wf.GetLabels())
		}
		wf.Object["status"] = status
		phase := contract.StatusString(status, "phase")
		labels := wf.GetLabels()
		labels[contract.LabelPhase] = phase
		labels[contract.LabelCompleted] = strconv.FormatBool(contract.IsFinished(phase))
		wf.SetLabels(labels)
		return a.cluster.client.Update(r.t.Context(), wf)
	}))
	return wf
}

// obeysShutdown waits until the run is told to terminate, and ends it.
func (a fakeArgo) obeysShutdown(r *run) {
	r.t.Helper()
	eventually(r.t, func() error {
		wf, err := r.get(a.cluster)
		if err == nil && !isTerminated(wf) {
			err = errors.New("the run is not told to terminate")
		}
		return err
	})
	a.terminates(r)
}

// terminates ends the run as one that was told to terminate.
func (a fakeArgo) terminates(r *run) {
	r.t.Helper()
	status := runningStatus()
	status["phase"], status["message"] = "Failed", "Stopped with strategy 'Terminate'"
	status["finishedAt"] = time.Now().UTC().Format(time.RFC3339)
	a.write(r, status)
}

func isTerminated(wf *unstructured.Unstructured) bool {
	shutdown, _, _ := unstructured.NestedString(wf.Object, "spec", "shutdown")
	return shutdown == "Terminate"
}
