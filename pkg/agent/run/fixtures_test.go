package run

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

const (
	testCluster = "cluster1"
	testUID     = types.UID("copy-uid")
)

var testNow = time.Date(2030, time.May, 1, 12, 0, 0, 0, time.UTC)

type remoteMod func(*v1alpha1.RemoteWorkflow)

type workflowMod func(*unstructured.Unstructured)

// newRemote returns a RemoteWorkflow as the hub creates it.
func newRemote(mods ...remoteMod) *v1alpha1.RemoteWorkflow {
	rw := &v1alpha1.RemoteWorkflow{
		ObjectMeta: metav1.ObjectMeta{Namespace: testCluster, Name: "demo-0123", UID: "remote-uid", ResourceVersion: "1", Generation: 1},
		Spec: v1alpha1.RemoteWorkflowSpec{
			HubID:       "hub-id",
			WorkflowRef: v1alpha1.WorkflowReference{Namespace: "default", Name: "demo", UID: "hub-uid"},
			Remote:      v1alpha1.RemoteReference{Namespace: "default", Name: "demo"},
			Attempt:     1,
			Reporting:   v1alpha1.ReportingAgent,
		},
	}
	for _, mod := range mods {
		mod(rw)
	}
	return rw
}

func claimed(rw *v1alpha1.RemoteWorkflow) { rw.Status.RemoteUID = testUID }

func claimedFor(uid types.UID) remoteMod {
	return func(rw *v1alpha1.RemoteWorkflow) { rw.Status.RemoteUID = uid }
}

// wanting has the user of the hub Workflow want this of the run.
func wanting(c v1alpha1.Controls) remoteMod {
	return func(rw *v1alpha1.RemoteWorkflow) { rw.Spec.Controls = c }
}

func inSpec(field string, value any) workflowMod {
	return func(wf *unstructured.Unstructured) { wf.Object["spec"].(map[string]any)[field] = value }
}

// remoteDeletedBare makes a RemoteWorkflow one that is being deleted, by a hub whose clock is hours behind.
func remoteDeletedBare(rw *v1alpha1.RemoteWorkflow) {
	rw.DeletionTimestamp = &metav1.Time{Time: testNow.Add(-3 * time.Hour)}
	rw.Finalizers = []string{contract.FinalizerDispatch}
}

// toTerminate and toLeave make it one that is deleted as the manager does it.
func toTerminate(rw *v1alpha1.RemoteWorkflow) {
	remoteDeletedBare(rw)
	rw.Spec.Removal = v1alpha1.RemovalTerminate
}

func toLeave(rw *v1alpha1.RemoteWorkflow) {
	remoteDeletedBare(rw)
	rw.Spec.Removal = v1alpha1.RemovalLeave
}

// madeAgain is another incarnation of the RemoteWorkflow.
func madeAgain(rw *v1alpha1.RemoteWorkflow) { rw.UID = "second-remote-uid" }

func showing(phase string) remoteMod {
	return func(rw *v1alpha1.RemoteWorkflow) { rw.Status.Phase = phase }
}

func knownStarted(rw *v1alpha1.RemoteWorkflow) {
	wf := contract.NewWorkflow()
	inPhase("Running")(wf)
	meta.SetStatusCondition(&rw.Status.Conditions, started(rw, wf))
}

func knownDeleted(rw *v1alpha1.RemoteWorkflow) { knownGone(v1alpha1.ReasonDeletedUnfinished)(rw) }

func knownGone(reason string) remoteMod {
	return func(rw *v1alpha1.RemoteWorkflow) {
		meta.SetStatusCondition(&rw.Status.Conditions, metav1.Condition{
			Type: v1alpha1.ConditionRemoteDeleted, Status: metav1.ConditionTrue, Reason: reason,
		})
	}
}

// newCopy returns the copy for newRemote as the work agent creates it: gated.
func newCopy(t *testing.T, mods ...workflowMod) *unstructured.Unstructured {
	t.Helper()
	hub := contract.NewWorkflow()
	hub.SetNamespace("default")
	hub.SetName("demo")
	hub.Object["spec"] = map[string]any{"entrypoint": "main"}
	wf, err := contract.Payload(hub, newRemote())
	require.NoError(t, err)
	wf.SetUID(testUID)
	wf.SetResourceVersion("1")
	wf.SetCreationTimestamp(metav1.NewTime(testNow))
	for _, mod := range mods {
		mod(wf)
	}
	return wf
}

// opened is what the agent makes of a copy when it starts it.
func opened(wf *unstructured.Unstructured) {
	ungated(wf)
	guarded(wf)
}

func ungated(wf *unstructured.Unstructured) {
	unstructured.RemoveNestedField(wf.Object, "metadata", "labels", contract.LabelInstanceID)
}

func guarded(wf *unstructured.Unstructured) {
	wf.SetFinalizers(append(wf.GetFinalizers(), contract.FinalizerReport))
}

func withFinalizer(finalizer string) workflowMod {
	return func(wf *unstructured.Unstructured) { wf.SetFinalizers(append(wf.GetFinalizers(), finalizer)) }
}

func terminated(at time.Time) workflowMod {
	return annotated(contract.AnnotationTerminated, at.Format(time.RFC3339))
}

// ofEarlier makes a copy one for an earlier incarnation of its RemoteWorkflow.
func ofEarlier(wf *unstructured.Unstructured) {
	annotated(contract.AnnotationRemoteWorkflowUID, "earlier-remote-uid")(wf)
}

func unlabeled(wf *unstructured.Unstructured) {
	unstructured.RemoveNestedField(wf.Object, "metadata", "labels", contract.LabelCluster)
}

func withVersion(version string) workflowMod {
	return func(wf *unstructured.Unstructured) { wf.SetResourceVersion(version) }
}

func annotated(key, value string) workflowMod {
	return func(wf *unstructured.Unstructured) {
		annotations := wf.GetAnnotations()
		annotations[key] = value
		wf.SetAnnotations(annotations)
	}
}

func unannotated(key string) workflowMod {
	return func(wf *unstructured.Unstructured) {
		unstructured.RemoveNestedField(wf.Object, "metadata", "annotations", key)
	}
}

// referenceEdits are edits of a copy's annotations, each of which breaks its reference.
func referenceEdits() map[string]workflowMod {
	edits := map[string]workflowMod{
		"all are removed": func(wf *unstructured.Unstructured) { wf.SetAnnotations(nil) },
	}
	for key := range contract.AnnotationsTo(newRemote()) {
		edits[key+" is removed"] = unannotated(key)
		edits[key+" is changed"] = annotated(key, "7")
	}
	return edits
}

func deletedAt(at time.Time) workflowMod {
	return func(wf *unstructured.Unstructured) {
		wf.SetDeletionTimestamp(&metav1.Time{Time: at})
		if len(wf.GetFinalizers()) == 0 {
			wf.SetFinalizers([]string{"example.com/of-another"})
		}
	}
}

func inPhase(phase string) workflowMod {
	return withStatus(map[string]any{"phase": phase, "startedAt": "2030-05-01T11:59:00Z"})
}

func finishedAt(phase string, at time.Time) workflowMod {
	return withStatus(map[string]any{"phase": phase, "finishedAt": at.UTC().Format(time.RFC3339)})
}

// succeededWith is a status of Succeeded whose root node has this phase, none if it is "".
func succeededWith(root string) workflowMod {
	status := map[string]any{"phase": "Succeeded"}
	if root != "" {
		status["nodes"] = map[string]any{"demo": map[string]any{"id": "demo", "phase": root}}
	}
	return withStatus(status)
}

func archiving(wf *unstructured.Unstructured) {
	labels := wf.GetLabels()
	labels[contract.LabelArchivingStatus] = contract.ArchivingPending
	wf.SetLabels(labels)
}

func withStatus(status map[string]any) workflowMod {
	return func(wf *unstructured.Unstructured) { wf.Object["status"] = status }
}
