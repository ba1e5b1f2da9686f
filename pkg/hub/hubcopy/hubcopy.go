// Package hubcopy writes the hub's copy of a Workflow: nothing else on the hub writes its status. It is what the hub's
// reconcilers share, and so also holds the few questions that more than one of them asks.
package hubcopy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// Reason is why a Workflow waits or is refused. It is the reason of the Event that tells the user.
type Reason string

// IgnoreStale drops the errors that say no more than that the Workflow has changed, or is gone, since it was read: the
// watch brings the change, and with it the next try. The same of anything else, such as the namespace of a cluster,
// is an error like any other: no watch would bring the next try.
func IgnoreStale(err error) error {
	if (apierrors.IsConflict(err) || apierrors.IsNotFound(err)) && isOfWorkflow(err) {
		return nil
	}
	return err
}

func isOfWorkflow(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	details := status.Status().Details
	return details.Group == contract.WorkflowGVR.Group && details.Kind == contract.WorkflowGVR.Resource
}

// IsRefused reports whether an API server will not take a write however often it is tried: an admission policy, a quota, a limit of size.
func IsRefused(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsRequestEntityTooLargeError(err)
}

const (
	// maxNoteBytes is the longest note that an API server takes in an Event; one with a longer note would be lost.
	maxNoteBytes = 1024
	ellipsis     = "…"

	actionDispatch = "Dispatch"
)

// Tell warns of a Workflow in an Event, cut to what an Event can hold.
func Tell(recorder events.EventRecorder, wf *unstructured.Unstructured, reason Reason, action, message string) {
	if len(message) > maxNoteBytes {
		message = strings.ToValidUTF8(message[:maxNoteBytes-len(ellipsis)], "") + ellipsis
	}
	recorder.Eventf(wf, nil, corev1.EventTypeWarning, string(reason), action, "%s", message)
}

// IsForeign reports whether the Workflow has a status that the hub did not write for it: a controller on the hub
// runs it, it was restored from a backup, or a client prefilled it. A status without content, which typed
// clients send, is nobody's; unless the labels that go with a status are there.
func IsForeign(wf *unstructured.Unstructured) bool {
	if HasLostStatus(wf) {
		return true
	}
	status := contract.Status(wf)
	if isBlank(status) {
		return false
	}
	hash, err := contract.StatusHash(wf.GetUID(), status)
	return err != nil || hash != wf.GetAnnotations()[contract.AnnotationStatusHash]
}

// HasLostStatus reports whether the Workflow has run, by the labels that Argo's clients filter by, although its status does not
// say so. That is how a backup tool restores one: with its labels, under a new UID, without its status.
func HasLostStatus(wf *unstructured.Unstructured) bool {
	labels := wf.GetLabels()
	return contract.IsPending(contract.Phase(wf)) &&
		(labels[contract.LabelCompleted] == "true" || !contract.IsPending(labels[contract.LabelPhase]))
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

// Hold keeps a Workflow Pending with the message, and says the same in an Event; if the API server refuses even that, as it does where
// annotations leave no room, the Event is all there is. It writes nothing, and says nothing, when the Workflow already says so. Of a status
// that is not ours only the message is replaced, and not even that of a finished one; its labels stay.
func Hold(
	ctx context.Context, c client.Client, recorder events.EventRecorder,
	wf *unstructured.Unstructured, reason Reason, message string,
) error {
	status := map[string]any{"phase": contract.PhasePending, "message": message}
	foreign := IsForeign(wf)
	switch {
	case foreign && contract.IsFinished(contract.Phase(wf)):
		Tell(recorder, wf, reason, actionDispatch, message)
		return nil
	case foreign && contract.StatusString(contract.Status(wf), "message") == message:
		return nil
	case foreign:
		op := operation{"add", "/status/message", message}
		if contract.Status(wf) == nil {
			op = operation{"add", "/status", map[string]any{"message": message}}
		}
		if _, err := patch(ctx, c, wf, []operation{op}); err != nil {
			return err
		}
	default:
		if written, err := Write(ctx, c, wf, status); !IsRefused(err) && (err != nil || written == "") {
			return err
		}
	}
	Tell(recorder, wf, reason, actionDispatch, message)
	return nil
}

// Write makes status the whole status of the hub's copy, together with the labels that Argo's clients filter by
// and the hash that marks the status as the hub's, in one patch that fails with a conflict if the Workflow has
// changed since it was read. It returns the resourceVersion of what it wrote, "" if it did not: an equal status, with its labels,
// is not written again.
func Write(ctx context.Context, c client.Client, wf *unstructured.Unstructured, status map[string]any) (string, error) {
	hash, err := contract.StatusHash(wf.GetUID(), status)
	if err != nil {
		return "", err
	}
	phase := contract.StatusString(status, "phase")
	completed := strconv.FormatBool(contract.IsFinished(phase))
	labels := wf.GetLabels()
	if wf.GetAnnotations()[contract.AnnotationStatusHash] == hash &&
		labels[contract.LabelPhase] == phase && labels[contract.LabelCompleted] == completed &&
		equality.Semantic.DeepEqual(contract.Status(wf), status) {
		return "", nil
	}
	var ops []operation
	if wf.GetAnnotations() == nil {
		ops = append(ops, operation{"add", "/metadata/annotations", map[string]string{}})
	}
	ops = append(ops,
		// On the main resource: the Workflow CRD has no status subresource. As a whole: a merge patch would keep
		// nodes that a retry has removed.
		operation{"add", "/status", status},
		operation{"add", "/metadata/labels/" + escape(contract.LabelPhase), phase},
		operation{"add", "/metadata/labels/" + escape(contract.LabelCompleted), completed},
		operation{"add", "/metadata/annotations/" + escape(contract.AnnotationStatusHash), hash},
	)
	return patch(ctx, c, wf, ops)
}

// operation is one operation of a JSON patch (RFC 6902).
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// patch returns the resourceVersion of the result.
func patch(ctx context.Context, c client.Client, wf *unstructured.Unstructured, ops []operation) (string, error) {
	// Setting the resourceVersion that was read makes the API server refuse the patch with a conflict when it is stale.
	ops = append(ops, operation{"add", "/metadata/resourceVersion", wf.GetResourceVersion()})
	data, err := json.Marshal(ops)
	if err != nil {
		return "", fmt.Errorf("encode patch: %w", err)
	}
	target := metadataOf(wf)
	if err := c.Patch(ctx, target, client.RawPatch(types.JSONPatchType, data)); err != nil {
		return "", fmt.Errorf("patch status of Workflow %s: %w", client.ObjectKeyFromObject(wf), err)
	}
	return target.ResourceVersion, nil
}

// metadataOf returns the target of a patch whose answer is metadata only: a Workflow can have a megabyte.
func metadataOf(wf *unstructured.Unstructured) *metav1.PartialObjectMetadata {
	target := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: wf.GetNamespace(), Name: wf.GetName()}}
	target.SetGroupVersionKind(contract.WorkflowGVK)
	return target
}

// escape makes a key a part of a JSON pointer (RFC 6901).
func escape(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}
