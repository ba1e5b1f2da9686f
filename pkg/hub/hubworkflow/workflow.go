// Package hubworkflow is the hub Workflow as the manager knows it: what the cache keeps of one, the questions that are asked of it,
// and the patches that change it. Each of the manager's rooms writes it through this package; which room may, and when, is settled
// by AssignedCluster (see docs/decisions/0008-one-room.md).
package hubworkflow

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/podrequests"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/report"
)

// Workflow is a hub Workflow with what decisions need of it. Its spec and status are there only if it was read from the API
// server: the cache has neither.
type Workflow struct {
	*unstructured.Unstructured

	// Phase, Message and FinishedAt are those of the status.
	Phase, Message, FinishedAt string
	// StatusHash identifies the status together with the Workflow's UID; "" stands for a status without content.
	StatusHash string
	// Priority is spec.priority.
	Priority int64
	// Controls are what its user wants of the run.
	Controls v1alpha1.Controls
	// ArgumentsDigest identifies the parameters of its spec.arguments, as long as it has not started.
	ArgumentsDigest string
	// SpecDigest identifies its spec, but for what may change, from its assignment on.
	SpecDigest string
	// Pods is what is known of its pods; what it refers to counts once that is resolved.
	Pods podrequests.Pods
	// TTLStrategy is the one that counts, as it was written: the spec's own, or else that of the stored template.
	TTLStrategy any
	// Spec is what of the spec decides what a report may say.
	Spec report.SpecView
	// PayloadBytes is the size of what would travel, apart from our own additions, and PayloadProblem why it cannot.
	PayloadBytes   int64
	PayloadProblem string
}

// knownKey is where a trimmed object has what Workflow needs. The key is none of a Workflow's.
const knownKey = "known"

// keptMetadata are the fields of the metadata that a trimmed object keeps; of the annotations only those that we read.
var keptMetadata = []string{
	"name", "namespace", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "finalizers", "labels",
}

// Trim makes a Workflow what the cache keeps of it. It is the transform of the cache; equal input gives equal output.
func Trim(obj any) (any, error) {
	wf, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return obj, nil
	}
	if _, trimmed := wf.Object[knownKey]; trimmed {
		return obj, nil // client-go may hand over again what it was given
	}
	from, _ := wf.Object["metadata"].(map[string]any)
	metadata := only(from, keptMetadata)
	if slices.Contains(wf.GetFinalizers(), contract.FinalizerStep) {
		maps.Copy(metadata, only(from, []string{"ownerReferences"}))
	}
	if all, ok := from["annotations"].(map[string]any); ok {
		annotations := map[string]any{}
		for key, value := range all {
			if contract.IsOurKey(key) {
				annotations[key] = value
			}
		}
		metadata["annotations"] = annotations // though none be ours: a patch has to know whether there are any
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": wf.Object["apiVersion"], "kind": wf.Object["kind"], "metadata": metadata, knownKey: known(wf),
	}}, nil
}

func only(from map[string]any, fields []string) map[string]any {
	out := map[string]any{}
	for _, field := range fields {
		if value, ok := from[field]; ok {
			out[field] = value
		}
	}
	return out
}

// known returns what Of needs of a whole Workflow, as JSON values: an object with others could not be copied.
func known(wf *unstructured.Unstructured) map[string]any {
	spec, _ := wf.Object["spec"].(map[string]any)
	status := contract.Status(wf)
	k := map[string]any{
		"phase": contract.StatusString(status, "phase"), "message": contract.StatusString(status, "message"),
		"finishedAt": contract.StatusString(status, "finishedAt"), "hash": hashOf(wf), "ttlStrategy": ttlStrategyOf(spec, status),
		"view": report.ViewOf(spec).Value(), "controls": contract.EncodeControls(contract.ControlsOf(spec)),
	}
	if !contract.IsFinished(contract.Phase(wf)) {
		k["pods"] = podrequests.Of(spec).Value()
	}
	if contract.IsPending(contract.Phase(wf)) {
		k["argumentsDigest"] = contract.ArgumentsDigest(spec)
	}
	if contract.AssignedCluster(wf) == "" { // it costs, and is of no use later
		k["payloadBytes"], k["payloadProblem"] = payloadOf(wf)
	} else { // it costs, and is of no use before
		k["specDigest"] = report.SpecDigest(spec)
	}
	return k
}

// payloadOf returns the size of what would travel of a Workflow, and why it cannot.
func payloadOf(wf *unstructured.Unstructured) (bytes int64, problem string) {
	payload, err := contract.Payload(wf, &v1alpha1.RemoteWorkflow{})
	if err != nil {
		return 0, err.Error()
	}
	raw, err := json.Marshal(payload.Object)
	if err != nil {
		return 0, err.Error()
	}
	return int64(len(raw)), ""
}

// hashOf returns the hash of the Workflow's status, "" for one without content, which typed clients send.
func hashOf(wf *unstructured.Unstructured) string {
	status := contract.Status(wf)
	if isBlank(status) {
		return ""
	}
	hash, err := contract.StatusHash(wf.GetUID(), status)
	if err != nil {
		return "unreadable"
	}
	return hash
}

func isBlank(status map[string]any) bool {
	for _, value := range status {
		if v := reflect.ValueOf(value); v.IsValid() && !v.IsZero() &&
			((v.Kind() != reflect.Map && v.Kind() != reflect.Slice) || v.Len() > 0) {
			return false
		}
	}
	return true
}

// ttlStrategyOf returns the ttlStrategy that counts, as a whole: the Workflow's own, even an empty one, or else that of the
// template that it refers to, as it was when the run started.
func ttlStrategyOf(spec, status map[string]any) any {
	if own := spec["ttlStrategy"]; own != nil {
		return own
	}
	// What the template says comes from the cluster. Argo stores it where there is a reference, and nowhere else; a cluster
	// that is not honest does not get the hub to delete anything else.
	if spec["workflowTemplateRef"] == nil {
		return nil
	}
	stored, _ := status["storedWorkflowTemplateSpec"].(map[string]any)
	return stored["ttlStrategy"]
}

// Of returns what is known of a Workflow, which may be a whole one or what Trim has left.
func Of(wf *unstructured.Unstructured) *Workflow {
	k, trimmed := wf.Object[knownKey].(map[string]any)
	if !trimmed {
		k = known(wf)
	}
	text := func(field string) string { return contract.StatusString(k, field) }
	out := &Workflow{
		Unstructured: wf, Phase: text("phase"), Message: text("message"), FinishedAt: text("finishedAt"), StatusHash: text("hash"),
		TTLStrategy: k["ttlStrategy"], Spec: report.ReadView(k["view"]), PayloadProblem: text("payloadProblem"),
		Pods: podrequests.Read(k["pods"]), ArgumentsDigest: text("argumentsDigest"),
		SpecDigest: text("specDigest"),
	}
	out.Controls, _ = contract.DecodeControls(text("controls"))
	out.Priority = int64(ptr.Deref(out.Controls.Priority, 0))
	out.PayloadBytes, _ = k["payloadBytes"].(int64)
	return out
}

// Get reads a Workflow, from the cache or live, as the reader does. The error of one that is not there is NotFound.
func Get(ctx context.Context, reader client.Reader, key client.ObjectKey) (*Workflow, error) {
	wf := contract.NewWorkflow()
	if err := reader.Get(ctx, key, wf); err != nil {
		return nil, fmt.Errorf("get Workflow: %w", err)
	}
	return Of(wf), nil
}

// Key names the Workflow.
func (wf *Workflow) Key() client.ObjectKey { return client.ObjectKeyFromObject(wf.Unstructured) }

// RemoteWorkflowKey names the RemoteWorkflow of the attempt that the Workflow was assigned; without namespace if it was not.
func (wf *Workflow) RemoteWorkflowKey() client.ObjectKey {
	return client.ObjectKey{
		Namespace: contract.AssignedCluster(wf),
		Name:      contract.RemoteWorkflowName(wf.GetName(), wf.GetUID(), contract.Attempt(wf)),
	}
}

// IsDeleted reports whether the Workflow is being deleted.
func (wf *Workflow) IsDeleted() bool { return wf.GetDeletionTimestamp() != nil }

// IsWithdrawn reports whether the Workflow is not, or no more, handed to this project.
func (wf *Workflow) IsWithdrawn() bool {
	value := wf.GetLabels()[contract.LabelEnable]
	return value == "" || value == "false"
}

// IsForeign reports whether the Workflow has a status that the hub did not write for it: a controller on the hub
// runs it, it was restored from a backup, or a client prefilled it. A status without content is nobody's; unless the labels that go
// with a status are there.
func (wf *Workflow) IsForeign() bool {
	return wf.HasLostStatus() || (wf.StatusHash != "" && wf.StatusHash != wf.GetAnnotations()[contract.AnnotationStatusHash])
}

// HasLostStatus reports whether the Workflow has run, by the labels that Argo's clients filter by, although its status does not
// say so. That is how a backup tool restores one: with its labels, under a new UID, without its status.
func (wf *Workflow) HasLostStatus() bool {
	labels := wf.GetLabels()
	return contract.IsPending(wf.Phase) &&
		(labels[contract.LabelCompleted] == "true" || !contract.IsPending(labels[contract.LabelPhase]))
}

// LastPhase returns the phase that the hub has written last: that of its own status or, where somebody has changed that or
// erased it, of the label beside it.
func (wf *Workflow) LastPhase() string {
	if wf.IsForeign() {
		return wf.GetLabels()[contract.LabelPhase]
	}
	return wf.Phase
}

// HasStarted reports whether the attempt of rw may have begun: a remote Workflow has been recorded, or has shown a phase. From
// then on there is no other. Where there is an agent, a phase that somebody else wrote is no sign of it: nothing runs before it
// is recorded.
func (wf *Workflow) HasStarted(rw *v1alpha1.RemoteWorkflow) bool {
	if rw.Status.RemoteUID != "" {
		return true
	}
	return !contract.IsPending(wf.LastPhase()) && (rw.Spec.Reporting == v1alpha1.ReportingFeedback || !wf.IsForeign())
}

// Refusal is why a Workflow waits, or is refused: Reason is that of its Event and of its condition, Message for its user.
type Refusal struct{ Reason, Message string }

// Reasons of a Workflow that may go to no cluster.
const (
	ReasonInvalidLabel  = "InvalidLabel"
	ReasonInvalidName   = "InvalidName"
	ReasonForeignStatus = "ForeignStatus"
	ReasonStatusLost    = "StatusLost"
	ReasonRestoredHub   = "RestoredHub"
	ReasonCannotTravel  = "CannotTravel"
)

// MaxPayloadBytes is the largest Workflow that travels: OCM takes 500 KiB in a ManifestWork, and we add some 2 KiB.
const MaxPayloadBytes = 498 << 10

// Refused returns why a Workflow that was assigned to no cluster may go to none, nil if it may. restoredAt is when the hub was restored
// from a backup; zero if it was not, or if that does not matter.
func (wf *Workflow) Refused(restoredAt time.Time) *Refusal {
	label, name := wf.GetLabels()[contract.LabelEnable], wf.GetName()
	switch {
	case label != contract.LabelEnableValue:
		return &Refusal{ReasonInvalidLabel, fmt.Sprintf("label %s: the value must be %q, not %q: set it to run the Workflow on a managed "+
			"cluster, or remove the label to run it here", contract.LabelEnable, contract.LabelEnableValue, label)}
	case wf.HasLostStatus():
		return &Refusal{ReasonStatusLost, fmt.Sprintf("not dispatched: by its labels %s and %s the Workflow has run, and it has no status that "+
			"says how: it was restored from a backup, or its status was erased. To run it again, create it anew without these labels, "+
			"for example with argo resubmit", contract.LabelPhase, contract.LabelCompleted)}
	case wf.IsForeign():
		return &Refusal{ReasonForeignStatus, "not dispatched: the Workflow already has a status that this hub did not write. A controller on " +
			"the hub runs it, or it was restored from a backup or prefilled by a client; create it anew without a status"}
	case len(name) > contract.MaxWorkflowNameLength:
		return &Refusal{ReasonInvalidName, fmt.Sprintf("not dispatched: the name has %d characters, and Argo runs Workflows with at most %d",
			len(name), contract.MaxWorkflowNameLength)}
	case wf.PayloadProblem != "":
		return &Refusal{ReasonCannotTravel, "not dispatched: " + wf.PayloadProblem}
	case wf.PayloadBytes > MaxPayloadBytes:
		return &Refusal{ReasonCannotTravel, fmt.Sprintf("not dispatched: the Workflow has %d bytes, and a ManifestWork holds at most %d: "+
			"use WorkflowTemplates on the cluster, or artifacts", wf.PayloadBytes, MaxPayloadBytes)}
	case contract.IsPending(wf.Phase) && wf.GetCreationTimestamp().Time.Before(restoredAt):
		return &Refusal{ReasonRestoredHub, fmt.Sprintf("not dispatched: the Workflow was created before the hub was restored from a backup, "+
			"at %s, and may have run since the backup was made. If it has not, argo resubmit it, or delete it and create it anew",
			restoredAt.UTC().Format(time.RFC3339))}
	}
	return nil
}

// Condition returns a condition of a Workflow's status, in Argo's form.
func Condition(conditionType string, status metav1.ConditionStatus, message string) map[string]any {
	return map[string]any{"type": conditionType, "status": string(status), "message": strings.ToValidUTF8(message, "")}
}
