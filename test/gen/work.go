package gen

import (
	"encoding/json"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	workv1 "open-cluster-management.io/api/work/v1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// ManifestWork builds the delivery that carries the Workflow of rw and no other, before the work agent has seen it.
func ManifestWork(rw *v1alpha1.RemoteWorkflow, mods ...Mod) *workv1.ManifestWork {
	return Delivery([]*v1alpha1.RemoteWorkflow{rw}, mods...)
}

// Delivery builds the delivery that carries the Workflows of these attempts on one cluster, before the work agent has seen it. What
// travels of each is there without its spec.
func Delivery(attempts []*v1alpha1.RemoteWorkflow, mods ...Mod) *workv1.ManifestWork {
	first := attempts[0]
	work := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{
		Namespace: first.Namespace, Name: "workflows-" + first.Name, CreationTimestamp: Time,
		Labels: map[string]string{contract.LabelDelivery: contract.DeliveryGated},
	}}
	work.Spec.DeleteOption = &workv1.DeleteOption{PropagationPolicy: workv1.DeletePropagationPolicyTypeOrphan}
	if first.Spec.Reporting == v1alpha1.ReportingFeedback {
		work.Name, work.Spec.DeleteOption = first.Name, nil
		work.Labels = map[string]string{
			contract.LabelDelivery: contract.DeliveryUngated, contract.LabelWorkflowUID: string(first.Spec.WorkflowRef.UID),
		}
	}
	work.UID = UIDOf("work of " + work.Name)
	for _, rw := range attempts {
		addItem(work, rw)
	}
	return build(work, mods)
}

func addItem(work *workv1.ManifestWork, rw *v1alpha1.RemoteWorkflow) {
	wf := contract.NewWorkflow()
	wf.SetNamespace(rw.Spec.Remote.Namespace)
	wf.SetName(rw.Spec.Remote.Name)
	wf.SetAnnotations(contract.AnnotationsTo(rw))
	raw, err := json.Marshal(wf.Object)
	if err != nil {
		panic(err)
	}
	work.Spec.Workload.Manifests = append(work.Spec.Workload.Manifests, workv1.Manifest{RawExtension: runtime.RawExtension{Raw: raw}})
	work.Spec.ManifestConfigs = append(work.Spec.ManifestConfigs, workv1.ManifestConfigOption{
		ResourceIdentifier: workv1.ResourceIdentifier{
			Group: contract.WorkflowGVR.Group, Resource: contract.WorkflowGVR.Resource,
			Namespace: rw.Spec.Remote.Namespace, Name: rw.Spec.Remote.Name,
		},
		UpdateStrategy: &workv1.UpdateStrategy{Type: workv1.UpdateStrategyTypeCreateOnly},
	})
}

// WithFeedback feeds back these values of the first item.
func WithFeedback(values map[string]string) Mod {
	return on(func(work *workv1.ManifestWork) {
		manifest := manifestOf(work, 0)
		for name, value := range values {
			manifest.StatusFeedbacks.Values = append(manifest.StatusFeedbacks.Values, workv1.FeedbackValue{
				Name: name, Value: workv1.FieldValue{Type: workv1.String, String: &value},
			})
		}
	})
}

// WithManifestCondition sets a condition of the first item.
func WithManifestCondition(conditionType string, status metav1.ConditionStatus, message string) Mod {
	return WithConditionOfItem(0, conditionType, status, message)
}

// WithConditionOfItem sets a condition of the item at this position.
func WithConditionOfItem(item int, conditionType string, status metav1.ConditionStatus, message string) Mod {
	return on(func(work *workv1.ManifestWork) {
		manifest := manifestOf(work, item)
		manifest.Conditions = append(manifest.Conditions, metav1.Condition{
			Type: conditionType, Status: status, Reason: "Test", Message: message, LastTransitionTime: Time,
		})
	})
}

// manifestOf returns what the work agent says of the item at this position.
func manifestOf(work *workv1.ManifestWork, item int) *workv1.ManifestCondition {
	id := work.Spec.ManifestConfigs[item].ResourceIdentifier
	said := &work.Status.ResourceStatus.Manifests
	i := slices.IndexFunc(*said, func(m workv1.ManifestCondition) bool {
		return m.ResourceMeta.Namespace == id.Namespace && m.ResourceMeta.Name == id.Name
	})
	if i < 0 {
		i = len(*said)
		*said = append(*said, workv1.ManifestCondition{ResourceMeta: workv1.ManifestResourceMeta{
			Ordinal: int32(item), Group: id.Group, Resource: id.Resource, Namespace: id.Namespace, Name: id.Name,
		}})
	}
	return &(*said)[i]
}
