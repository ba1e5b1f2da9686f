package integration

import (
	"errors"
	"fmt"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/env"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// waitingStatus is what Argo writes while a Workflow waits for a user in two nodes.
func waitingStatus() map[string]any {
	suspend := func(id string) map[string]any {
		return map[string]any{"id": id, "name": id, "displayName": id, "type": "Suspend", "phase": "Running", "startedAt": "2026-01-02T15:04:05Z"}
	}
	return map[string]any{
		"phase": "Running", "progress": "0/2", "startedAt": "2026-01-02T15:04:05Z",
		"nodes": map[string]any{"a": suspend("a"), "b": suspend("b")},
	}
}

// failedStatus is what Argo writes at the end of a Workflow whose only pod has failed.
func failedStatus() map[string]any {
	status := succeededStatus()
	status["phase"], status["message"], status["progress"] = "Failed", "main failed", "0/1"
	status["nodes"].(map[string]any)["main"].(map[string]any)["phase"] = "Failed"
	return status
}

// resumes does what argo resume does to a node.
func resumes(id string) func(*wfv1.Workflow) {
	return func(wf *wfv1.Workflow) {
		node := wf.Status.Nodes[id]
		node.Phase, node.FinishedAt, node.Message = wfv1.NodeSucceeded, metav1.Now(), "resumed"
		wf.Status.Nodes[id] = node
	}
}

// retries does what argo retry does, once it has deleted the pods that there are on the hub.
func retries(wf *wfv1.Workflow) {
	delete(wf.Labels, contract.LabelCompleted)
	wf.Labels[contract.LabelPhase] = "Running"
	wf.Status.Phase, wf.Status.Message, wf.Status.StartedAt, wf.Status.FinishedAt = wfv1.WorkflowRunning, "", metav1.Now(), metav1.Time{}
	wf.Status.Nodes = wfv1.Nodes{}
	wf.Spec.Shutdown = ""
}

// nodeIs returns an error unless a node of the remote Workflow has this phase, "" for none.
func (r *run) nodeIs(id, phase string) error {
	wf, err := r.get(r.cluster)
	if err != nil {
		return err
	}
	nodes, _, err := contract.Nodes(contract.Status(wf))
	node, _ := nodes[id].(map[string]any)
	if got := contract.StatusString(node, "phase"); err == nil && got != phase {
		err = fmt.Errorf("node %s is %q, not %q", id, got, phase)
	}
	return err
}

// pod creates the pod of the only node, as Argo does, which somebody else keeps when it is deleted.
func (r *run) pod() *corev1.Pod {
	r.t.Helper()
	wf := r.must(r.cluster)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: r.key.Namespace, Name: r.key.Name + "-pod", Finalizers: []string{"example.com/kept"},
			Labels:      map[string]string{"workflows.argoproj.io/workflow": r.key.Name},
			Annotations: map[string]string{"workflows.argoproj.io/node-id": "main"},
			OwnerReferences: []metav1.OwnerReference{
				*metav1.NewControllerRef(wf, contract.WorkflowGVK),
			},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "busybox"}}},
	}
	require.NoError(r.t, r.cluster.client.Create(r.t.Context(), pod))
	return pod
}

func TestAnEditOfTheStatusReachesTheClusterInAsFewWritesAsThereAreSteps(t *testing.T) {
	s := newSpace(t)
	r := s.create("waits", cluster1)
	r.starts()
	r.argo.write(r, waitingStatus())
	r.waitUntilMirrored()
	before := r.written()
	r.puts(resumes("a"))
	eventually(t, func() error { return r.nodeIs("a", "Succeeded") })
	r.waitUntilMirrored()
	r.puts(func(wf *wfv1.Workflow) { resumes("b")(wf); wf.Spec.Suspend = ptr.To(true) })
	eventually(t, func() error {
		return errors.Join(r.nodeIs("b", "Succeeded"), r.specHas(map[string]any{"suspend": true}))
	})
	r.waitUntilMirrored()
	labtest.Holds(t, time.Second, func() error {
		// On a busy machine, what is edited in two steps is reported once more.
		if after := r.written(); after.hub < before.hub+6 || after.hub > before.hub+7 || after.managed != before.managed+2 {
			return fmt.Errorf("%+v after %+v", after, before)
		}
		return nil
	})
	r.isGone()
}

// written counts the writes of manager and agent to a Workflow, and to what stands for it: on the hub and on its cluster.
type written struct{ hub, managed int }

func (r *run) written() (w written) {
	for _, request := range append(theManager.tap.Writes(), agent1.hub.Writes()...) {
		if r.isAbout(request) || request.Name == r.name().Name {
			w.hub++
		}
	}
	for _, request := range agent1.managed.Writes() {
		if r.isAbout(request) {
			w.managed++
		}
	}
	return w
}

// Not parallel: the agent is stopped.
func TestARetryWaitsForItsPodsAndIsDoneOnceWhoeverStopsMeanwhile(t *testing.T) {
	s := newSpace(t)
	r := s.create("retried", cluster1)
	r.starts()
	r.argo.write(r, failedStatus())
	r.waitUntilMirrored()
	r.waitUntilReleased()
	uid, pod := r.must(cluster1).GetUID(), r.pod()

	r.puts(retries)
	eventually(t, func() error {
		if err := cluster1.client.Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
			return err
		}
		if pod.DeletionTimestamp == nil {
			return errors.New("the pod is not deleted")
		}
		return nil
	})
	t.Cleanup(func() { assert.NoError(t, agent1.start()) })
	require.NoError(t, agent1.stop())
	require.NoError(t, r.nodeIs("main", "Failed"), "changed while the pod is there")
	require.NoError(t, agent1.start())
	require.NoError(t, r.nodeIs("main", "Failed"), "changed while the pod is there")

	patch := agent1.managed.Hold(t, func(request env.Request) bool { return r.isAbout(request) && request.Verb == "patch" })
	pod.Finalizers = nil
	require.NoError(t, client.IgnoreNotFound(cluster1.client.Update(t.Context(), pod)))
	patch.Await(t)
	answer := agent1.hub.Hold(t, func(request env.Request) bool { return request.Name == r.name().Name && request.Verb == "patch" })
	patch.Release()
	answer.Await(t)
	require.NoError(t, r.nodeIs("main", ""))
	r.argo.write(r, runningStatus())
	answer.Drop(errors.New("lost"))
	require.NoError(t, agent1.stop())
	require.NoError(t, agent1.start())
	r.waitUntilMirrored()
	require.NoError(t, r.nodeIs("main", "Pending"), "retried a second time")
	assert.Contains(t, r.must(cluster1).GetFinalizers(), contract.FinalizerReport, "the end of the second run is waited for")
	r.succeeds()
	assert.Equal(t, uid, r.must(cluster1).GetUID())
	assert.Equal(t, "true", r.must(theHub).GetLabels()[contract.LabelCompleted])
	r.isGone()
}

// Not parallel: the manager is stopped.
func TestAnEditThatIsMadeWhileTheManagerIsDownIsDoneWhenItIsBack(t *testing.T) {
	s := newSpace(t)
	r := s.create("meanwhile", cluster1)
	r.starts()
	r.argo.write(r, waitingStatus())
	r.waitUntilMirrored()
	stopManager(t)
	r.puts(resumes("a"))
	further := waitingStatus()
	further["progress"] = "1/2" // the cluster goes on, and reports that
	r.argo.write(r, further)
	eventually(t, func() error {
		if progress := r.mustRemoteWorkflow().Status.Progress; progress != "1/2" {
			return fmt.Errorf("progress is %s", progress)
		}
		return nil
	})
	require.NoError(t, theManager.start())
	eventually(t, func() error { return r.nodeIs("a", "Succeeded") })
	require.NoError(t, r.nodeIs("b", "Running"))
	r.waitUntilMirrored()
	r.isGone()
}

func TestAnEditThatComesTooLateIsRefusedAndTheHubShowsTheTruth(t *testing.T) {
	s := newSpace(t)
	r := s.create("late", cluster1)
	r.starts()
	r.argo.write(r, waitingStatus())
	r.waitUntilMirrored()
	report := agent1.hub.Hold(t, func(request env.Request) bool { return request.Name == r.name().Name && request.Verb == "patch" })
	failed := waitingStatus()
	node := failed["nodes"].(map[string]any)["a"].(map[string]any)
	node["phase"], node["finishedAt"] = "Failed", "2026-01-02T15:05:05Z"
	r.argo.write(r, failed)
	report.Await(t)
	r.puts(resumes("a"))
	report.Release()
	r.waitForEvent("EditRefused", "does not wait for anybody, it is Failed")
	eventually(t, func() error { return r.nodeIs("a", "Failed") })
	eventually(t, func() error {
		nodes, _, err := contract.Nodes(contract.Status(r.must(theHub)))
		if err == nil && nodes["a"].(map[string]any)["phase"] != "Failed" {
			err = errors.New("the hub shows what is not so")
		}
		return err
	})
	r.isGone()
}

func TestWhatAPolicyOfTheClusterRefusesIsSaidOnTheHubAndReportsGoOn(t *testing.T) {
	s := newSpace(t)
	r := s.create("denied", cluster1)
	r.starts()
	r.runsOn()
	denied := agent1.managed.Hold(t, func(request env.Request) bool { return r.isAbout(request) && request.Verb == "patch" })
	r.edit(theHub, `{"spec":{"suspend":true}}`)
	denied.Await(t)
	denied.Drop(apierrors.NewForbidden(contract.WorkflowGVR.GroupResource(), r.key.Name, errors.New("no suspensions here")))
	r.waitForEvent("EditRefused", "no suspensions here")
	status := runningStatus()
	status["progress"] = "1/2"
	r.argo.write(r, status)
	eventually(t, func() error {
		if progress := contract.Status(r.must(theHub))["progress"]; progress != "1/2" {
			return fmt.Errorf("progress is %v", progress)
		}
		return nil
	})
	r.isGone()
}
