package contract_test

import (
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/workflow/common"
	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/util/validation"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

func TestArgosKeysAndPhasesAreThoseOfArgo(t *testing.T) {
	assert.Equal(t, common.LabelKeyControllerInstanceID, contract.LabelInstanceID)
	assert.Equal(t, common.LabelKeyPhase, contract.LabelPhase)
	assert.Equal(t, common.LabelKeyCompleted, contract.LabelCompleted)
	assert.Equal(t, wfv1.SchemeGroupVersion.WithKind("Workflow"), contract.WorkflowGVK)
	assert.Equal(t, wfv1.SchemeGroupVersion.WithResource("workflows"), contract.WorkflowGVR)
	assert.EqualValues(t, wfv1.WorkflowPending, contract.PhasePending)
	assert.EqualValues(t, wfv1.WorkflowRunning, contract.PhaseRunning)
	assert.EqualValues(t, wfv1.WorkflowError, contract.PhaseError)
}

func TestPublishedKeysNeverChange(t *testing.T) {
	for want, got := range map[string]string{
		"workflows.argoproj.io/enable-ocm-multicluster":       contract.LabelEnable,
		"workflows.argoproj.io/ocm-placement":                 contract.AnnotationPlacement,
		"workflows.argoproj.io/ocm-managed-cluster":           contract.AnnotationCluster,
		"workflows.argoproj.io/ocm-managed-cluster-namespace": contract.AnnotationClusterNamespace,
		"workflows.argoproj.io/ocm-release":                   contract.AnnotationRelease,
		"workflows.argoproj.io/without-agent":                 contract.LabelWithoutAgent,
		"workflows.argoproj.io/max-workflows":                 contract.AnnotationMaxWorkflows,
		"workflows.argoproj.io/strategy":                      contract.AnnotationStrategy,
		"workflows.argoproj.io/weights":                       contract.AnnotationWeights,
		"workflows.argoproj.io/namespace":                     contract.AnnotationNamespaces,
		"workflows.argoproj.io/executor":                      contract.AnnotationExecutor,
		"workflows.argoproj.io/create-namespace":              contract.AnnotationCreateNamespace,
		"workflows.argoproj.io/ocm-hub-workflow-namespace":    contract.AnnotationHubNamespace,
		"workflows.argoproj.io/ocm-hub-workflow-name":         contract.AnnotationHubName,
		"workflows.argoproj.io/ocm-hub-workflow-uid":          contract.AnnotationHubUID,
		"workflows.argoproj.io/cluster":                       contract.LabelCluster,
		"workflows.argoproj.io/workflow-namespace":            contract.LabelWorkflowNamespace,
	} {
		assert.Equal(t, want, got)
	}
}

func TestEveryKeyIsAQualifiedName(t *testing.T) {
	keys := []string{
		contract.LabelEnable, contract.AnnotationPlacement, contract.AnnotationCluster, contract.AnnotationClusterNamespace,
		contract.LabelCluster, contract.LabelWorkflowNamespace, contract.AnnotationHubNamespace, contract.AnnotationHubName,
		contract.AnnotationHubUID, contract.AnnotationHubID, contract.AnnotationAttempt, contract.AnnotationRemoteWorkflow,
		contract.AnnotationRemoteWorkflowUID, contract.AnnotationTerminated, contract.AnnotationControls, contract.AnnotationReportHash, contract.LabelDelivery, contract.LabelWithoutAgent,
		contract.LabelApplyRetried,
		contract.FinalizerReport, contract.LabelInstalledBy, contract.AnnotationAssigned, contract.AnnotationStatusHash, contract.LabelWorkflowUID,
		contract.FinalizerDispatch, contract.AnnotationRelease, contract.LabelInstanceID, contract.LabelPhase, contract.LabelCompleted,
		contract.AnnotationMaxWorkflows, contract.AnnotationStrategy, contract.AnnotationWeights, contract.AnnotationNamespaces,
		contract.AnnotationExecutor, contract.AnnotationCreateNamespace,
	}
	seen := map[string]bool{}
	for _, key := range keys {
		assert.Empty(t, validation.IsQualifiedName(key), key)
		assert.False(t, seen[key], "%s stands for two things", key)
		seen[key] = true
	}
}

func TestOurInstanceIDsAreLabelValuesThatDiffer(t *testing.T) {
	for _, id := range []string{contract.InstanceIDHub, contract.InstanceIDGate} {
		assert.Empty(t, validation.IsValidLabelValue(id), id)
		assert.True(t, strings.HasPrefix(id, "ocm-multicluster"), id)
	}
	assert.NotEqual(t, contract.InstanceIDHub, contract.InstanceIDGate)
}

func TestADeliveryIsOfOneKindOrTheOther(t *testing.T) {
	for _, kind := range []string{contract.DeliveryGated, contract.DeliveryUngated} {
		assert.Empty(t, validation.IsValidLabelValue(kind), kind)
	}
	assert.NotEqual(t, contract.DeliveryGated, contract.DeliveryUngated)
}

func TestOurKeysAreThoseOfBothPrefixes(t *testing.T) {
	for key, want := range map[string]bool{
		contract.LabelEnable: true, contract.AnnotationAssigned: true, contract.LabelPhase: true,
		"team": false, "argocd.argoproj.io/instance": false, "example.com/workflows.argoproj.io/phase": false,
	} {
		assert.Equal(t, want, contract.IsOurKey(key), key)
	}
}
