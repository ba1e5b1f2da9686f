package hubworkflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// IgnoreStale drops the errors that say no more than that the Workflow has changed, or is gone, since it was read: the
// watch brings the change, and with it the next try. The same of anything else, such as the namespace of a cluster,
// is an error like any other: no watch would bring the next try.
func IgnoreStale(err error) error {
	if (apierrors.IsConflict(err) || contract.IsAbsent(err)) && isOfWorkflow(err) {
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

const (
	// maxNoteBytes is the longest note that an API server takes in an Event; one with a longer note would be lost.
	maxNoteBytes = 1024
	ellipsis     = "…"
)

// Warn records a warning Event of a Workflow, cut to what an Event can hold.
func Warn(recorder events.EventRecorder, wf *Workflow, reason, action, message string) {
	if len(message) > maxNoteBytes {
		message = strings.ToValidUTF8(message[:maxNoteBytes-len(ellipsis)], "") + ellipsis
	}
	recorder.Eventf(wf.Unstructured, nil, corev1.EventTypeWarning, reason, action, "%s", message)
}

// Update is what is written to a Workflow together with its status.
type Update struct {
	// Status is the whole status.
	Status map[string]any
	// Labels are added beside those by which Argo's clients filter.
	Labels map[string]string
	// Source identifies what the status was made from.
	Source string
}

// Write makes the update's status the whole status of the hub Workflow, together with the labels that Argo's clients filter by
// and the hash that marks the status as the hub's, in one patch that fails with a conflict if the Workflow has
// changed since it was read. It reports whether it wrote: what is there already is not written again.
func Write(ctx context.Context, c client.Client, wf *Workflow, update Update) (bool, error) {
	hash, err := contract.StatusHash(wf.GetUID(), update.Status)
	if err != nil {
		return false, err
	}
	phase := contract.StatusString(update.Status, "phase")
	labels := maps.Clone(update.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[contract.LabelPhase] = phase
	labels[contract.LabelCompleted] = strconv.FormatBool(contract.IsFinished(phase))
	annotations := map[string]string{contract.AnnotationStatusHash: hash}
	if update.Source != wf.GetAnnotations()[contract.AnnotationReportHash] {
		annotations[contract.AnnotationReportHash] = update.Source
	}
	if wf.StatusHash == hash && contains(wf.GetLabels(), labels) && contains(wf.GetAnnotations(), annotations) {
		return false, nil
	}
	var ops []operation
	metadata, _ := wf.Object["metadata"].(map[string]any)
	for _, parent := range []string{"labels", "annotations"} {
		if metadata[parent] == nil {
			ops = append(ops, operation{"add", "/metadata/" + parent, map[string]string{}})
		}
	}
	// On the main resource: the Workflow CRD has no status subresource. As a whole: a merge patch would keep
	// nodes that a retry has removed.
	ops = append(ops, operation{"add", "/status", update.Status})
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		ops = append(ops, operation{"add", "/metadata/labels/" + escape(key), labels[key]})
	}
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		ops = append(ops, operation{"add", "/metadata/annotations/" + escape(key), annotations[key]})
	}
	err = patch(ctx, c, wf, ops)
	return err == nil, err
}

func contains(have, want map[string]string) bool {
	for key, value := range want {
		if have[key] != value {
			return false
		}
	}
	return true
}

// operation is one operation of a JSON patch (RFC 6902).
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

func patch(ctx context.Context, c client.Client, wf *Workflow, ops []operation) error {
	// Setting the resourceVersion that was read makes the API server refuse the patch with a conflict when it is stale.
	ops = append(ops, operation{"add", "/metadata/resourceVersion", wf.GetResourceVersion()})
	data, err := json.Marshal(ops)
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	if err := c.Patch(ctx, MetadataOf(wf), client.RawPatch(types.JSONPatchType, data)); err != nil {
		return fmt.Errorf("patch Workflow %s: %w", wf.Key(), err)
	}
	return nil
}

// MetadataOf returns the target of a patch whose answer is metadata only: a Workflow can have a megabyte.
func MetadataOf(wf *Workflow) *metav1.PartialObjectMetadata {
	target := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: wf.GetNamespace(), Name: wf.GetName()}}
	target.SetGroupVersionKind(contract.WorkflowGVK)
	return target
}

// escape makes a key a part of a JSON pointer (RFC 6901).
func escape(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}
