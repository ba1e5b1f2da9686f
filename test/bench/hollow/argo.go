package hollow

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// collectionDelay is how long a garbage collector takes to find that a Workflow has no pods.
const collectionDelay = 50 * time.Millisecond

// labelInstanceID keeps an Argo controller without an instance id from a Workflow: the gate is one value of it.
const labelInstanceID = "workflows.argoproj.io/controller-instanceid"

// Argo plays Argo's controller on one cluster, one without an instance id: it runs what is not gated, for a fixed time, with one node
// that succeeds. It plays the garbage collector as well.
type argo struct {
	store   *Store
	runTime time.Duration
}

// look does what is to be done about a Workflow, now or later. It is told of each change.
func (a argo) look(wf *unstructured.Unstructured) {
	if wf == nil {
		return
	}
	key, uid := client.ObjectKeyFromObject(wf), wf.GetUID()
	if slices.Contains(wf.GetFinalizers(), metav1.FinalizerDeleteDependents) {
		time.AfterFunc(collectionDelay, func() { a.collect(key, uid) })
	}
	_, foreign := wf.GetLabels()[labelInstanceID]
	phase := contract.Phase(wf)
	if foreign || contract.IsFinished(phase) {
		return
	}
	shutdown, _, _ := unstructured.NestedString(wf.Object, "spec", "shutdown")
	switch {
	case shutdown != "":
		go a.write(key, uid, "Failed", "Stopped with strategy '"+shutdown+"'")
	case phase == "":
		go a.write(key, uid, "Running", "")
		time.AfterFunc(a.runTime, func() { a.write(key, uid, "Succeeded", "") })
	}
}

// write brings the Workflow to a phase, unless it has finished or is another one by now.
func (a argo) write(key types.NamespacedName, uid types.UID, phase, message string) {
	// The Workflow may be gone: then there is nothing to do.
	_, _ = a.store.change(key, uid, "", func(wf *unstructured.Unstructured) *unstructured.Unstructured {
		if contract.IsFinished(contract.Phase(wf)) {
			return nil
		}
		out := withMetadata(wf)
		labels := out.GetLabels()
		labels["workflows.argoproj.io/phase"] = phase
		labels["workflows.argoproj.io/completed"] = strconv.FormatBool(contract.IsFinished(phase))
		out.SetLabels(labels)
		out.Object["status"] = Status(wf, phase, message, time.Now())
		return out
	})
}

// collect removes the finalizer by which a deletion in the foreground waits for pods.
func (a argo) collect(key types.NamespacedName, uid types.UID) {
	_, _ = a.store.change(key, uid, "", func(wf *unstructured.Unstructured) *unstructured.Unstructured {
		out := withMetadata(wf)
		out.SetFinalizers(slices.DeleteFunc(slices.Clone(out.GetFinalizers()), func(finalizer string) bool {
			return finalizer == metav1.FinalizerDeleteDependents
		}))
		return out
	})
}

// Status returns the status that Argo's controller gives to a Workflow of one container in this phase: the fields, and about as many
// bytes.
func Status(wf *unstructured.Unstructured, phase, message string, now time.Time) map[string]any {
	started := contract.StatusString(contract.Status(wf), "startedAt")
	if started == "" {
		started = now.UTC().Format(time.RFC3339)
	}
	finished, progress := any(nil), "0/1"
	if contract.IsFinished(phase) {
		finished, progress = now.UTC().Format(time.RFC3339), "1/1"
	}
	name := wf.GetName()
	node := map[string]any{
		"id": name, "name": name, "displayName": name, "type": "Pod", "templateName": "main", "templateScope": "local/" + name,
		"phase": phase, "startedAt": started, "finishedAt": finished, "estimatedDuration": int64(1), "progress": progress,
		"hostNodeName": "hollow", "resourcesDuration": map[string]any{"cpu": int64(0), "memory": int64(1)},
		"outputs": map[string]any{"exitCode": "0"},
	}
	status := map[string]any{
		"phase": phase, "startedAt": started, "finishedAt": finished, "estimatedDuration": int64(1), "progress": progress,
		"nodes":             map[string]any{name: node},
		"resourcesDuration": map[string]any{"cpu": int64(0), "memory": int64(1)},
		"conditions": []any{
			map[string]any{"type": "PodRunning", "status": strconv.FormatBool(phase == "Running")},
			map[string]any{"type": "Completed", "status": strconv.FormatBool(contract.IsFinished(phase))},
		},
		"artifactRepositoryRef":       map[string]any{"default": true, "artifactRepository": map[string]any{}},
		"artifactGCStatus":            map[string]any{"notSpecified": true},
		"taskResultsCompletionStatus": map[string]any{name: contract.IsFinished(phase)},
	}
	if message != "" {
		status["message"], node["message"] = message, fmt.Sprintf("workflow shutdown: %s", message)
	}
	return status
}
