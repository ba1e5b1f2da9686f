package gen

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	workv1 "open-cluster-management.io/api/work/v1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// ManifestWork builds the ManifestWork of rw as the hub knows it, before the work agent has seen it. It carries no manifest.
func ManifestWork(rw *v1alpha1.RemoteWorkflow, mods ...Mod) *workv1.ManifestWork {
	work := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{
		Namespace: rw.Namespace,
		Name:      rw.Name,
		UID:       UIDOf("work of " + rw.Name),
		Labels:    map[string]string{contract.LabelWorkflowUID: string(rw.Spec.WorkflowRef.UID)},
		Annotations: map[string]string{
			contract.AnnotationHubNamespace: rw.Spec.WorkflowRef.Namespace,
			contract.AnnotationHubName:      rw.Spec.WorkflowRef.Name,
		},
	}}
	work.Spec.ManifestConfigs = []workv1.ManifestConfigOption{{ResourceIdentifier: workv1.ResourceIdentifier{
		Group:     contract.WorkflowGVR.Group,
		Resource:  contract.WorkflowGVR.Resource,
		Namespace: rw.Spec.Remote.Namespace,
		Name:      rw.Spec.Remote.Name,
	}}}
	return build(work, mods)
}

// WithFeedback feeds back these values of the copy.
func WithFeedback(values map[string]string) Mod {
	return on(func(work *workv1.ManifestWork) {
		manifest := manifestOf(work)
		for name, value := range values {
			manifest.StatusFeedbacks.Values = append(manifest.StatusFeedbacks.Values, workv1.FeedbackValue{
				Name: name, Value: workv1.FieldValue{Type: workv1.String, String: &value},
			})
		}
	})
}

// WithManifestCondition sets a condition of the copy.
func WithManifestCondition(conditionType string, status metav1.ConditionStatus, message string) Mod {
	return on(func(work *workv1.ManifestWork) {
		manifest := manifestOf(work)
		manifest.Conditions = append(manifest.Conditions, metav1.Condition{
			Type: conditionType, Status: status, Reason: "Test", Message: message, LastTransitionTime: Time,
		})
	})
}

func manifestOf(work *workv1.ManifestWork) *workv1.ManifestCondition {
	manifests := &work.Status.ResourceStatus.Manifests
	if len(*manifests) == 0 {
		*manifests = append(*manifests, workv1.ManifestCondition{})
	}
	return &(*manifests)[0]
}
