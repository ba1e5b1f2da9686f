package integration

import (
	"encoding/json"
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
)

// fakeWorkAgent plays OCM's work agent on a managed cluster. It does nothing by itself.
type fakeWorkAgent struct{ cluster *cluster }

// workAgentFinalizer keeps a ManifestWork until the work agent has removed what it brought.
const workAgentFinalizer = "cluster.open-cluster-management.io/manifest-work-cleanup"

// apply waits for the ManifestWork and creates the copy of its manifest, as the work agent does when it sees the
// ManifestWork or, at a resync, finds the copy missing. It returns the copy.
func (a fakeWorkAgent) apply(r *run) *unstructured.Unstructured {
	r.t.Helper()
	work := a.takes(r)
	wf := a.create(r, work)
	meta.SetStatusCondition(&work.Status.Conditions, metav1.Condition{
		Type: workv1.WorkApplied, Status: metav1.ConditionTrue, Reason: "AppliedManifestWorkComplete", ObservedGeneration: work.Generation,
	})
	require.NoError(r.t, theHub.client.Status().Update(r.t.Context(), work))
	return wf
}

// takes waits for the ManifestWork and marks it as one that the work agent is to clean up after. With a copy that is there
// already, as when the ManifestWork was lost and is made again, this is all that it does.
func (a fakeWorkAgent) takes(r *run) *workv1.ManifestWork {
	r.t.Helper()
	work := r.waitForManifestWork()
	require.NoError(r.t, retry.RetryOnConflict(retry.DefaultRetry, func() error {
		if err := theHub.client.Get(r.t.Context(), r.name(), work); err != nil {
			return err
		}
		if !controllerutil.AddFinalizer(work, workAgentFinalizer) {
			return nil
		}
		return theHub.client.Update(r.t.Context(), work)
	}))
	return work
}

// create creates the copy that the ManifestWork carries, whatever became of the ManifestWork since it was read: the work
// agent decides from a cache.
func (a fakeWorkAgent) create(r *run, work *workv1.ManifestWork) *unstructured.Unstructured {
	r.t.Helper()
	wf := a.manifest(r, work)
	wf.SetOwnerReferences([]metav1.OwnerReference{appliedBy(work)})
	require.NoError(r.t, a.cluster.client.Create(r.t.Context(), wf))
	return wf
}

// manifest returns the one manifest that the ManifestWork carries.
func (a fakeWorkAgent) manifest(r *run, work *workv1.ManifestWork) *unstructured.Unstructured {
	r.t.Helper()
	require.Len(r.t, work.Spec.Workload.Manifests, 1)
	wf := &unstructured.Unstructured{}
	require.NoError(r.t, json.Unmarshal(work.Spec.Workload.Manifests[0].Raw, wf))
	return wf
}

// appliedBy is the reference by which the work agent marks what it owns.
func appliedBy(work *workv1.ManifestWork) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: workv1.GroupVersion.String(), Kind: "AppliedManifestWork", Name: "hash-" + work.Name, UID: work.UID,
	}
}

// remove waits until the ManifestWork is deleted, deletes the copy, waits until it is gone, and lets the ManifestWork go.
func (a fakeWorkAgent) remove(r *run) {
	r.t.Helper()
	var work *workv1.ManifestWork
	eventually(r.t, func() (err error) {
		work, err = r.manifestWork()
		if err == nil && work.DeletionTimestamp.IsZero() {
			return errors.New("the ManifestWork is not deleted")
		}
		return client.IgnoreNotFound(err)
	})
	if work.Name == "" {
		return // it had not been applied yet, or is gone already
	}
	a.collect(r)
	a.letGo(r)
}

// collect deletes the copy, and waits until it is gone. Meanwhile it plays the rest of the cluster, too: Argo ends the run, and the
// garbage collector, which finds no pods, deletes in the background.
func (a fakeWorkAgent) collect(r *run) {
	r.t.Helper()
	eventually(r.t, func() error {
		err := a.cluster.client.Delete(r.t.Context(), r.object(), client.PropagationPolicy(metav1.DeletePropagationBackground))
		if apierrors.IsNotFound(err) {
			return nil
		}
		if wf, err := r.get(a.cluster); err == nil && isTerminated(wf) && contract.Phase(wf) == "Running" {
			fakeArgo(a).terminates(r)
		}
		return errors.Join(err, errors.New("the copy is not gone"))
	})
}

// letGo lets a deleted ManifestWork go, whatever became of the copy.
func (a fakeWorkAgent) letGo(r *run) {
	r.t.Helper()
	require.NoError(r.t, retry.RetryOnConflict(retry.DefaultRetry, func() error {
		work, err := r.manifestWork()
		if err != nil {
			return client.IgnoreNotFound(err)
		}
		controllerutil.RemoveFinalizer(work, workAgentFinalizer)
		return client.IgnoreNotFound(theHub.client.Update(r.t.Context(), work))
	}))
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
