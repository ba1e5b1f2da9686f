package run

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// failedStatus is the status of a Workflow of which one pod has failed.
func failedStatus() map[string]any {
	return map[string]any{
		"phase": "Failed", "message": "b failed", "startedAt": "2030-05-01T11:00:00Z", "finishedAt": "2030-05-01T11:30:00Z",
		"nodes": map[string]any{
			"demo": map[string]any{"id": "demo", "type": "DAG", "phase": "Failed", "children": []any{"a", "b"}},
			"a":    map[string]any{"id": "a", "type": "Pod", "phase": "Succeeded"},
			"b":    map[string]any{"id": "b", "type": "Pod", "phase": "Failed"},
		},
	}
}

// retrying has the hub ask for a retry of the status.
func retrying(t *testing.T, status map[string]any) remoteMod {
	t.Helper()
	data, err := contract.EncodeStatus(status)
	require.NoError(t, err)
	return func(rw *v1alpha1.RemoteWorkflow) {
		rw.Spec.Edits = append(rw.Spec.Edits, v1alpha1.Edit{ID: "retry", StatusHash: "hash", Retry: &v1alpha1.Retry{
			ReportDigest: digestOf(data), RemovedNodes: []string{"b"}, ResetNodes: []string{"demo"},
		}})
	}
}

// podOf is a pod of the node that somebody keeps, with its owner's UID.
func podOf(name, node string, owner types.UID) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: name, UID: types.UID(name + "-uid"), Finalizers: []string{"example.com/kept"},
		Labels: map[string]string{labelPodWorkflow: "demo"}, Annotations: map[string]string{annotationPodNode: node},
		OwnerReferences: []metav1.OwnerReference{
			{APIVersion: contract.WorkflowGVK.GroupVersion().String(), Kind: contract.WorkflowGVK.Kind, Name: "demo", UID: owner, Controller: ptr.To(true)},
		},
	}}
}

func (e *env) answer() v1alpha1.EditAnswer {
	e.t.Helper()
	answers := e.remote().Status.Edits
	require.Len(e.t, answers, 1)
	return answers[0]
}

func TestARetryDeletesThePodsOfItsNodesAndWaitsForThemButNotForEver(t *testing.T) {
	finished := newCopy(t, opened, withStatus(failedStatus()))
	e := newEnv(t, newRemote(claimed, retrying(t, failedStatus())), finished,
		podOf("of-b", "b", testUID), podOf("of-a", "a", testUID), podOf("of-another", "b", "another"))
	assert.Equal(t, podsPoll, e.reconcile().RequeueAfter)
	require.Len(t, e.managedDeletes, 1)
	assert.EqualValues(t, "of-b-uid", *e.managedDeletes[0].Preconditions.UID)
	assert.Equal(t, podsPoll, e.reconcile().RequeueAfter)
	assert.Len(t, e.managedDeletes, 1, "it is deleted once")
	assert.Empty(t, e.managedWrites)

	e.clock.SetTime(e.clock.Now().Add(podsGrace - time.Second))
	assert.Equal(t, podsPoll, e.reconcile().RequeueAfter)
	e.clock.SetTime(e.clock.Now().Add(time.Second))
	e.reconcile()
	assert.Equal(t, v1alpha1.EditRefused, e.answer().Outcome)
	assert.Contains(t, e.answer().Message, "1 pods")
	assert.Empty(t, e.managedWrites)
	e.reconcileInTime()
	e.requireReported()
}

func TestARetryOfAWorkflowThatIsNotAsItWasReadDeletesNoPod(t *testing.T) {
	finished := newCopy(t, opened, withStatus(failedStatus()))
	e := newEnv(t, newRemote(claimed, retrying(t, failedStatus())), finished, podOf("of-b", "b", testUID))
	e.managedShows = e.workflow() // the cache lags from here on
	e.change(inPhase("Running"))
	assert.Equal(t, staleRetry, e.reconcile().RequeueAfter)
	assert.Empty(t, e.managedDeletes)
	assert.Empty(t, e.managedWrites)
}

func TestARetryIsOnePatchThatAlsoSaysSoAndHasTheAgentSeeToTheWorkflowAgain(t *testing.T) {
	finished := newCopy(t, opened, withStatus(failedStatus()), func(wf *unstructured.Unstructured) { wf.SetFinalizers(nil) })
	e := newEnv(t, newRemote(claimed, showing("Failed"), retrying(t, failedStatus())), finished)
	version := e.workflow().GetResourceVersion()
	e.reconcile()
	require.Len(t, e.managedWrites, 1)
	metadata := e.managedWrites[0]["metadata"].(map[string]any)
	assert.Equal(t, version, metadata["resourceVersion"])
	assert.EqualValues(t, testUID, metadata["uid"])
	assert.Equal(t, []string{"retry"}, contract.AppliedEdits(e.workflow()))
	assert.Equal(t, []string{contract.FinalizerReport}, e.workflow().GetFinalizers())
	assert.Equal(t, "Running", contract.Phase(e.workflow()))

	e.hints.forget(newRemote().Name) // the agent starts anew
	e.reconcileInTime()
	assert.Len(t, e.managedWrites, 1, "it is done once")
	assert.Equal(t, v1alpha1.EditAnswer{ID: "retry", Outcome: v1alpha1.EditApplied}, e.answer())
	e.requireReported()
}

func TestAnEditIsRefusedAsAWholeWhereTheWorkflowIsNotAsItMustBe(t *testing.T) {
	waiting := func(phase string) map[string]any {
		return map[string]any{"phase": "Running", "nodes": map[string]any{
			"a": map[string]any{"id": "a", "type": "Suspend", "phase": "Running"},
			"b": map[string]any{"id": "b", "type": "Suspend", "phase": phase},
		}}
	}
	resume := func(rw *v1alpha1.RemoteWorkflow) {
		rw.Spec.Edits = []v1alpha1.Edit{{ID: "resume", Nodes: []v1alpha1.NodeEdit{
			{ID: "a", Phase: "Succeeded"}, {ID: "b", Phase: "Succeeded"},
		}}}
	}
	other := failedStatus()
	other["message"] = "c failed"
	offloaded := failedStatus()
	offloaded[contract.FieldOffloadedNodes] = "fnv:1"
	bomb := failedStatus()
	bomb[contract.FieldCompressedNodes] = "no base64"
	for name, test := range map[string]struct {
		remote remoteMod
		status map[string]any
		fails  error
		want   string
	}{
		"a node has ended otherwise":  {resume, waiting("Failed"), nil, "node b"},
		"it has changed since":        {retrying(t, failedStatus()), other, nil, "has changed there meanwhile"},
		"it runs":                     {retrying(t, failedStatus()), waiting("Running"), nil, "only one that has finished"},
		"its nodes are in a database": {retrying(t, offloaded), offloaded, nil, "offloaded"},
		"its nodes cannot be read":    {retrying(t, bomb), bomb, nil, "base64"},
		"a policy is against it": {
			resume, waiting("Running"), apierrors.NewForbidden(contract.WorkflowGVR.GroupResource(), "demo", nil), "the cluster refuses it",
		},
		"a webhook is against it": {resume, waiting("Running"), apierrors.NewBadRequest("denied"), "the cluster refuses it"},
		"it is too large for etcd": {
			resume, waiting("Running"), apierrors.NewInternalError(errors.New("etcdserver: request is too large")), "the cluster refuses it",
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, newRemote(claimed, test.remote), newCopy(t, opened, withStatus(test.status)))
			e.managedFails = func(patch []byte) error {
				if patch == nil {
					return nil
				}
				return test.fails
			}
			e.reconcile()
			assert.Equal(t, v1alpha1.EditRefused, e.answer().Outcome)
			assert.Contains(t, e.answer().Message, test.want)
			assert.Equal(t, test.status, contract.Status(e.workflow()))
		})
	}
}
