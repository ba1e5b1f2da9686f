// Package manifestwork is a delivery as the manager knows it: the ManifestWork that carries Workflows to a cluster, without what it
// carries.
package manifestwork

import (
	"context"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// indexRemoteWorkflow finds deliveries by the UID of a RemoteWorkflow that they carry a Workflow for.
const indexRemoteWorkflow = "manifestwork.remoteWorkflow"

// Item is one Workflow in a delivery.
type Item struct {
	// Position is where it is among the manifests of the delivery, and among their configurations.
	Position int
	// Namespace and Name are those on the managed cluster.
	Namespace, Name string
	// RemoteWorkflowUID is the UID of the RemoteWorkflow that it was made for.
	RemoteWorkflowUID types.UID
	// Workflow names the hub Workflow.
	Workflow types.NamespacedName
}

// Trim makes a ManifestWork what the cache keeps of it: of each Workflow in it only what Items reads. It is the transform of the cache.
func Trim(obj any) (any, error) {
	work, ok := obj.(*workv1.ManifestWork)
	if !ok {
		return obj, nil
	}
	work.ManagedFields = nil
	for i := range work.Spec.Workload.Manifests {
		manifest := &work.Spec.Workload.Manifests[i]
		raw, err := json.Marshal(map[string]any{"metadata": metadataOf(manifest)})
		if err != nil {
			return nil, fmt.Errorf("trim ManifestWork: %w", err)
		}
		manifest.Raw, manifest.Object = raw, nil
	}
	return work, nil
}

// metadata is what is kept of that of a Workflow.
type metadata struct {
	Namespace   string            `json:"namespace"`
	Name        string            `json:"name"`
	Annotations map[string]string `json:"annotations"`
}

func metadataOf(manifest *workv1.Manifest) metadata {
	var object struct {
		Metadata metadata `json:"metadata"`
	}
	if err := json.Unmarshal(manifest.Raw, &object); err != nil {
		return metadata{} // none that we have made
	}
	kept := map[string]string{}
	for _, key := range []string{contract.AnnotationRemoteWorkflowUID, contract.AnnotationHubNamespace, contract.AnnotationHubName} {
		kept[key] = object.Metadata.Annotations[key]
	}
	object.Metadata.Annotations = kept
	return object.Metadata
}

// Items returns the Workflows in a delivery, in its order. What else is in it, it leaves out: the namespaces that are created with them.
func Items(work *workv1.ManifestWork) []Item {
	items := make([]Item, 0, len(work.Spec.Workload.Manifests))
	for i := range work.Spec.Workload.Manifests {
		m := metadataOf(&work.Spec.Workload.Manifests[i])
		if m.Annotations[contract.AnnotationRemoteWorkflowUID] == "" {
			continue
		}
		items = append(items, Item{
			Position: i, Namespace: m.Namespace, Name: m.Name,
			RemoteWorkflowUID: types.UID(m.Annotations[contract.AnnotationRemoteWorkflowUID]),
			Workflow: types.NamespacedName{
				Namespace: m.Annotations[contract.AnnotationHubNamespace], Name: m.Annotations[contract.AnnotationHubName],
			},
		})
	}
	return items
}

// Creates reports whether the delivery creates a namespace on the cluster.
func Creates(work *workv1.ManifestWork, namespace string) bool {
	for i := range work.Spec.Workload.Manifests {
		m := metadataOf(&work.Spec.Workload.Manifests[i])
		if m.Namespace == "" && m.Name == namespace {
			return true
		}
	}
	return false
}

// IsUngated reports whether the delivery carries a Workflow to a cluster without agent: it stays, and brings the status back.
func IsUngated(work *workv1.ManifestWork) bool {
	return work.Labels[contract.LabelDelivery] == contract.DeliveryUngated
}

// AddIndex makes Of possible.
func AddIndex(ctx context.Context, indexer client.FieldIndexer) error {
	return indexer.IndexField(ctx, &workv1.ManifestWork{}, indexRemoteWorkflow, func(obj client.Object) []string {
		work, ok := obj.(*workv1.ManifestWork)
		if !ok {
			return nil
		}
		var uids []string
		for _, item := range Items(work) {
			uids = append(uids, string(item.RemoteWorkflowUID))
		}
		return uids
	})
}

// Of returns a delivery that carries the Workflow of rw, nil if the reader has none. A gated one that is being deleted delivers
// nothing any more; an ungated one has its Workflow until it is gone.
func Of(ctx context.Context, reader client.Reader, rw *v1alpha1.RemoteWorkflow) (*workv1.ManifestWork, error) {
	var works workv1.ManifestWorkList
	if err := reader.List(ctx, &works, client.InNamespace(rw.Namespace), client.MatchingFields{indexRemoteWorkflow: string(rw.UID)},
		client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list ManifestWorks: %w", err)
	}
	for i := range works.Items {
		if work := &works.Items[i]; IsUngated(work) || work.DeletionTimestamp.IsZero() {
			return work, nil
		}
	}
	return nil, nil
}

// Problem returns why OCM's work agent could not create the Workflow of rw, or its namespace, by what it says of this generation; "" if it
// could or has not tried.
func Problem(work *workv1.ManifestWork, rw *v1alpha1.RemoteWorkflow) string {
	remote := rw.Spec.Remote
	if itself := appliedIn(work, remote.Namespace, remote.Name); itself != nil {
		namespace := appliedIn(work, "", remote.Namespace)
		switch {
		case itself.Status != metav1.ConditionFalse:
			return ""
		case namespace != nil && namespace.Status == metav1.ConditionFalse:
			return namespace.Message // which is why the other failed
		}
		return itself.Message
	}
	if len(work.Status.ResourceStatus.Manifests) == 0 && IsRefused(work) {
		return meta.FindStatusCondition(work.Status.Conditions, workv1.WorkApplied).Message
	}
	return ""
}

// IsAnswered reports whether OCM's work agent has said anything of this generation, or of the Workflow of rw.
func IsAnswered(work *workv1.ManifestWork, rw *v1alpha1.RemoteWorkflow) bool {
	if appliedIn(work, rw.Spec.Remote.Namespace, rw.Spec.Remote.Name) != nil {
		return true
	}
	applied := meta.FindStatusCondition(work.Status.Conditions, workv1.WorkApplied)
	return applied != nil && applied.ObservedGeneration == work.Generation
}

// appliedIn returns what the work agent says of having created one object of the delivery, nil if it says nothing.
func appliedIn(work *workv1.ManifestWork, namespace, name string) *metav1.Condition {
	for _, manifest := range work.Status.ResourceStatus.Manifests {
		if manifest.ResourceMeta.Namespace == namespace && manifest.ResourceMeta.Name == name {
			return meta.FindStatusCondition(manifest.Conditions, workv1.ManifestApplied)
		}
	}
	return nil
}

// IsRefused reports whether OCM's work agent says of this generation that it could not create all of it.
func IsRefused(work *workv1.ManifestWork) bool {
	applied := meta.FindStatusCondition(work.Status.Conditions, workv1.WorkApplied)
	return applied != nil && applied.Status == metav1.ConditionFalse && applied.ObservedGeneration == work.Generation
}

// Feedback returns the values that the work agent feeds back of an ungated delivery's Workflow, by name.
func Feedback(work *workv1.ManifestWork) map[string]string {
	values := map[string]string{}
	if work == nil {
		return values
	}
	for _, manifest := range work.Status.ResourceStatus.Manifests {
		for _, value := range manifest.StatusFeedbacks.Values {
			if value.Value.String != nil {
				values[value.Name] = *value.Value.String
			}
		}
	}
	return values
}
