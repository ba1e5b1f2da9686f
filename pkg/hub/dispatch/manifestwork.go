package dispatch

import (
	"encoding/json"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	workv1 "open-cluster-management.io/api/work/v1"
	workvalidator "open-cluster-management.io/sdk-go/pkg/apis/work/v1/validator"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// newRemoteWorkflow returns the RemoteWorkflow of the Workflow's current attempt, on the cluster.
func newRemoteWorkflow(
	wf *unstructured.Unstructured, hubID, cluster string, reporting v1alpha1.Reporting,
) *v1alpha1.RemoteWorkflow {
	attempt := contract.Attempt(wf)
	return &v1alpha1.RemoteWorkflow{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:  cluster,
			Name:       contract.RemoteWorkflowName(wf.GetName(), wf.GetUID(), attempt),
			Labels:     map[string]string{contract.LabelWorkflowUID: string(wf.GetUID())},
			Finalizers: []string{contract.FinalizerDispatch},
		},
		Spec: v1alpha1.RemoteWorkflowSpec{
			HubID:       hubID,
			WorkflowRef: v1alpha1.WorkflowReference{Namespace: wf.GetNamespace(), Name: wf.GetName(), UID: wf.GetUID()},
			Remote:      v1alpha1.RemoteReference{Namespace: contract.RemoteNamespace(wf), Name: wf.GetName()},
			Attempt:     attempt,
			Reporting:   reporting,
		},
	}
}

// newManifestWork returns the ManifestWork that creates the copy for rw on its cluster. The error is the user's:
// a Workflow that cannot travel.
//
// The strategy is CreateOnly: Update would put the payload over the running Workflow and erase its status (the
// Workflow CRD has no status subresource), after which Argo starts it again. The label of the addon framework
// must not be on it: the framework deletes the works that it did not build.
func newManifestWork(wf *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow) (*workv1.ManifestWork, error) {
	payload, err := contract.Payload(wf, rw)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(payload.Object)
	if err != nil {
		return nil, fmt.Errorf("encode Workflow: %w", err)
	}
	manifests := []workv1.Manifest{{RawExtension: runtime.RawExtension{Raw: raw}}}
	if err := workvalidator.ManifestValidator.ValidateManifests(manifests); err != nil {
		return nil, err
	}
	return &workv1.ManifestWork{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: rw.Namespace,
			Name:      rw.Name,
			Labels:    map[string]string{contract.LabelWorkflowUID: string(rw.Spec.WorkflowRef.UID)},
			Annotations: map[string]string{
				contract.AnnotationHubNamespace: rw.Spec.WorkflowRef.Namespace,
				contract.AnnotationHubName:      rw.Spec.WorkflowRef.Name,
			},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion.String(),
				Kind:       "RemoteWorkflow",
				Name:       rw.Name,
				UID:        rw.UID,
			}},
		},
		Spec: workv1.ManifestWorkSpec{
			Workload:        workv1.ManifestsTemplate{Manifests: manifests},
			ManifestConfigs: []workv1.ManifestConfigOption{manifestConfig(rw)},
		},
	}, nil
}

func manifestConfig(rw *v1alpha1.RemoteWorkflow) workv1.ManifestConfigOption {
	scrape := workv1.FeedbackPollType
	if rw.Spec.Reporting == v1alpha1.ReportingFeedback {
		// Without an agent the feedback is all that the hub learns.
		scrape = workv1.FeedbackWatchType
	}
	return workv1.ManifestConfigOption{
		ResourceIdentifier: workv1.ResourceIdentifier{
			Group:     contract.WorkflowGVR.Group,
			Resource:  contract.WorkflowGVR.Resource,
			Namespace: rw.Spec.Remote.Namespace,
			Name:      rw.Spec.Remote.Name,
		},
		UpdateStrategy:     &workv1.UpdateStrategy{Type: workv1.UpdateStrategyTypeCreateOnly},
		FeedbackRules:      []workv1.FeedbackRule{{Type: workv1.JSONPathsType, JsonPaths: feedback()}},
		FeedbackScrapeType: scrape,
		ConditionRules:     []workv1.ConditionRule{completeRule(rw)},
	}
}

// feedback lists what the work agent reports of the copy. It speaks of whatever bears the name, hence the uids.
func feedback() []workv1.JsonPath {
	paths := []workv1.JsonPath{
		{Name: contract.FeedbackUID, Path: ".metadata.uid"},
		{Name: contract.FeedbackHubUID, Path: ".metadata.annotations." + strings.ReplaceAll(contract.AnnotationHubUID, ".", `\.`)},
	}
	for _, field := range contract.FeedbackStatusFields {
		paths = append(paths, workv1.JsonPath{Name: field, Path: ".status." + field})
	}
	return paths
}

// completeRule makes the work agent leave a finished run alone. That saves work but guarantees nothing: it is
// evaluated at intervals, and only while the object exists.
func completeRule(rw *v1alpha1.RemoteWorkflow) workv1.ConditionRule {
	ref := contract.ReferenceTo(rw)
	annotation := func(key, value string) string {
		return fmt.Sprintf("has(object.metadata.annotations) && %q in object.metadata.annotations && object.metadata.annotations[%q] == %q",
			key, key, value)
	}
	return workv1.ConditionRule{
		Condition: workv1.WorkComplete,
		Type:      workv1.CelConditionExpressionsType,
		CelExpressions: []string{
			annotation(contract.AnnotationHubUID, string(ref.UID)),
			annotation(contract.AnnotationAttempt, fmt.Sprint(ref.Attempt)),
			`has(object.status) && has(object.status.phase) && object.status.phase in ["Succeeded", "Failed", "Error"]`,
		},
		MessageExpression: `result ? "the Workflow has finished" : "the Workflow has not finished"`,
	}
}
