package contract_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/argoproj/argo-workflows/v3/workflow/common"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestPayloadIsExactlyThis(t *testing.T) {
	wf := gen.Workflow("hello", gen.InNamespace("team-a"), gen.WithPlacement("gpu"), gen.WithAssignment("cluster1"),
		gen.WithLabels(map[string]string{"team": "a", contract.LabelInstanceID: contract.InstanceIDHub}),
		gen.WithAnnotations(map[string]string{"note": "mine"}),
		gen.WithStatus("Pending"))
	rw := gen.RemoteWorkflow(wf, "cluster1")

	got, err := contract.Payload(wf, rw)
	require.NoError(t, err)
	assert.Equal(t, map[string]any{
		"apiVersion": "argoproj.io/v1alpha1",
		"kind":       "Workflow",
		"metadata": map[string]any{
			"namespace": "team-a",
			"name":      "hello",
			"labels": map[string]any{
				"team":                          "a",
				"workflows.argoproj.io/cluster": "cluster1",
				"workflows.argoproj.io/workflow-namespace":    "team-a",
				"workflows.argoproj.io/controller-instanceid": "ocm-multicluster-gated",
			},
			"annotations": map[string]any{
				"note": "mine",
				"workflows.argoproj.io/ocm-hub-workflow-namespace":        "team-a",
				"workflows.argoproj.io/ocm-hub-workflow-name":             "hello",
				"workflows.argoproj.io/ocm-hub-workflow-uid":              string(wf.GetUID()),
				"workflow.open-cluster-management.io/hub-id":              gen.HubID,
				"workflow.open-cluster-management.io/attempt":             "1",
				"workflow.open-cluster-management.io/controls":            "{}",
				"workflow.open-cluster-management.io/remote-workflow":     rw.Name,
				"workflow.open-cluster-management.io/remote-workflow-uid": string(rw.UID),
			},
		},
		"spec": map[string]any{
			"entrypoint": "main",
			"templates": []any{map[string]any{
				"name":      "main",
				"container": map[string]any{"image": "busybox", "command": []any{"echo"}, "args": []any{"hello"}},
			}},
			"podMetadata": map[string]any{"labels": map[string]any{
				"workflows.argoproj.io/cluster":            "cluster1",
				"workflows.argoproj.io/workflow-namespace": "team-a",
			}},
		},
	}, got.Object)
}

func TestPayloadHasTheControlsOfItsRemoteWorkflow(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithSpecField(true, "suspend"), gen.WithSpecField(int64(7), "priority"), gen.WithSpecField("Halt", "shutdown"))
	rw := gen.RemoteWorkflow(wf, "cluster1")
	rw.Spec.Controls = v1alpha1.Controls{Priority: ptr.To[int32](5), ActiveDeadlineSeconds: ptr.To[int64](60)}
	got, err := contract.Payload(wf, rw)
	require.NoError(t, err)
	spec := got.Object["spec"].(map[string]any)
	assert.NotContains(t, spec, "suspend")
	assert.EqualValues(t, 5, spec["priority"])
	assert.EqualValues(t, 60, spec["activeDeadlineSeconds"])
	assert.Equal(t, "Halt", spec["shutdown"], "what is no control travels as it is")
	assert.JSONEq(t, `{"priority":5,"activeDeadlineSeconds":60}`, got.GetAnnotations()[contract.AnnotationControls])
	assert.Equal(t, true, wf.Object["spec"].(map[string]any)["suspend"], "the hub's is not changed")

	rw.Spec.Reporting = v1alpha1.ReportingFeedback
	got, err = contract.Payload(wf, rw)
	require.NoError(t, err)
	assert.Equal(t, true, got.Object["spec"].(map[string]any)["suspend"], "nobody would carry a change after it")
	assert.NotContains(t, got.GetAnnotations(), contract.AnnotationControls)
}

func TestPayloadLeavesBehindWhatIsTheHubCopys(t *testing.T) {
	labels := []string{
		contract.LabelEnable, common.LabelKeyPhase, common.LabelKeyCompleted, common.LabelKeyWorkflowArchivingStatus,
		"workflow.open-cluster-management.io/of-the-future",
	}
	annotations := []string{
		contract.AnnotationPlacement, contract.AnnotationCluster, contract.AnnotationClusterNamespace, contract.AnnotationRelease,
		contract.AnnotationAssigned, contract.AnnotationStatusHash, contract.AnnotationReportHash, "workflows.argoproj.io/last-seen-version",
		"kubectl.kubernetes.io/last-applied-configuration", "workflow.open-cluster-management.io/of-the-future",
	}
	wf := gen.Workflow("hello")
	for _, key := range labels {
		gen.WithLabels(map[string]string{key: "true"})(wf)
	}
	for _, key := range annotations {
		gen.WithAnnotations(map[string]string{key: "true"})(wf)
	}

	got, err := contract.Payload(wf, gen.RemoteWorkflow(wf, "cluster1"))
	require.NoError(t, err)
	for _, key := range labels {
		assert.NotContains(t, got.GetLabels(), key)
	}
	for _, key := range annotations {
		assert.NotContains(t, got.GetAnnotations(), key)
	}
}

func TestPayloadKeepsLabelsThatArgosClientsAndUsersSet(t *testing.T) {
	labels := map[string]string{
		common.LabelKeyCreator: "ada", common.LabelKeyCronWorkflow: "nightly", common.LabelKeyPreviousWorkflowName: "older",
		"app.kubernetes.io/part-of": "training", "plain": "",
	}
	wf := gen.Workflow("hello", gen.WithLabels(labels))
	got, err := contract.Payload(wf, gen.RemoteWorkflow(wf, "cluster1"))
	require.NoError(t, err)
	for key, value := range labels {
		assert.Equal(t, value, got.GetLabels()[key], key)
	}
}

func TestPayloadLeavesBehindTheMarksOfWhatManagesTheHubsObject(t *testing.T) {
	const managedBy, instance = "app.kubernetes.io/managed-by", "app.kubernetes.io/instance"
	applied := func(manager string) gen.Mod {
		return func(obj client.Object) { obj.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: manager}}) }
	}
	shared := gen.WithLabels(map[string]string{managedBy: "somebody", instance: "batch-jobs"})
	tests := map[string]struct {
		mods []gen.Mod
		// kept are the labels and annotations that travel, of those given.
		kept []string
	}{
		"Argo CD's labels": {[]gen.Mod{gen.WithLabels(map[string]string{"argocd.argoproj.io/instance": "batch-jobs", "team": "a"})}, []string{"team"}},
		"Argo CD's annotations": {[]gen.Mod{gen.WithAnnotations(map[string]string{
			"argocd.argoproj.io/tracking-id": "batch-jobs:argoproj.io/Workflow:default/hello", "argocd.argoproj.io/sync-options": "Prune=true", "note": "mine",
		})}, []string{"note"}},
		"an ApplySet's": {[]gen.Mod{gen.WithLabels(map[string]string{"applyset.kubernetes.io/part-of": "applyset-0-v1"})}, nil},
		"Flux's": {[]gen.Mod{gen.WithLabels(map[string]string{
			"kustomize.toolkit.fluxcd.io/name": "batch-jobs", "kustomize.toolkit.fluxcd.io/namespace": "flux-system", "helm.toolkit.fluxcd.io/name": "batch-jobs",
		})}, nil},
		"Helm's":                                               {[]gen.Mod{gen.WithAnnotations(map[string]string{"meta.helm.sh/release-name": "a", "meta.helm.sh/release-namespace": "b"})}, nil},
		"kubectl's":                                            {[]gen.Mod{gen.WithAnnotations(map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}"})}, nil},
		"labels that people set, too":                          {[]gen.Mod{shared}, []string{managedBy, instance}},
		"the same beside a label of Argo CD's":                 {[]gen.Mod{shared, gen.WithLabels(map[string]string{"argocd.argoproj.io/instance": "x"})}, nil},
		"the same beside an annotation of Argo CD's":           {[]gen.Mod{shared, gen.WithAnnotations(map[string]string{"argocd.argoproj.io/tracking-id": "x"})}, nil},
		"the same on an object that Argo CD has written":       {[]gen.Mod{shared, applied("argocd-controller")}, nil},
		"the same on an object that somebody else has written": {[]gen.Mod{shared, applied("kubectl")}, []string{managedBy, instance}},
		"what only looks like a mark": {[]gen.Mod{gen.WithLabels(map[string]string{
			"argocd.argoproj.io.example.com/a": "b", "notargocd.argoproj.io/a": "b", "fluxcd.io/a": "b",
		})}, []string{"argocd.argoproj.io.example.com/a", "notargocd.argoproj.io/a", "fluxcd.io/a"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wf := gen.Workflow("hello", test.mods...)
			got, err := contract.Payload(wf, gen.RemoteWorkflow(wf, "cluster1"))
			require.NoError(t, err)
			var kept []string
			for key := range wf.GetLabels() {
				if _, found := got.GetLabels()[key]; found {
					kept = append(kept, key)
				}
			}
			for key := range wf.GetAnnotations() {
				if _, found := got.GetAnnotations()[key]; found {
					kept = append(kept, key)
				}
			}
			assert.ElementsMatch(t, test.kept, kept)
		})
	}
}

func TestPayloadOfAReferenceToATemplateHasNothingThatAStrictArgoRefuses(t *testing.T) {
	reference := map[string]any{"name": "allowed"}
	wf := gen.Workflow("hello")
	wf.Object["spec"] = map[string]any{"workflowTemplateRef": reference}
	got, err := contract.Payload(wf, gen.RemoteWorkflow(wf, "cluster1"))
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"workflowTemplateRef": reference}, got.Object["spec"], "no podMetadata")
	assert.Equal(t, "cluster1", got.GetLabels()[contract.LabelCluster], "the Workflow itself is labelled")

	gen.WithSpecField(map[string]any{"labels": map[string]any{"mine": "kept"}}, "podMetadata")(wf)
	got, err = contract.Payload(wf, gen.RemoteWorkflow(wf, "cluster1"))
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"labels": map[string]any{"mine": "kept"}}, got.Object["spec"].(map[string]any)["podMetadata"], "what its user wrote stays")

	wf.Object["spec"] = map[string]any{"workflowTemplateRef": nil}
	got, err = contract.Payload(wf, gen.RemoteWorkflow(wf, "cluster1"))
	require.NoError(t, err)
	assert.Contains(t, got.Object["spec"], "podMetadata", "a reference of null is none")
}

func TestPayloadIsGatedOnlyWhereAnAgentOpensTheGate(t *testing.T) {
	for reporting, want := range map[v1alpha1.Reporting]string{
		v1alpha1.ReportingAgent:    contract.InstanceIDGate,
		v1alpha1.ReportingFeedback: "",
	} {
		wf := gen.Workflow("hello", gen.WithLabels(map[string]string{contract.LabelInstanceID: contract.InstanceIDHub}))
		got, err := contract.Payload(wf, gen.RemoteWorkflow(wf, "cluster1", gen.WithReporting(reporting)))
		require.NoError(t, err)
		assert.Equal(t, want, got.GetLabels()[contract.LabelInstanceID], reporting)
	}
}

func TestPayloadOverridesAReferenceThatTheUserForged(t *testing.T) {
	forged := map[string]string{
		contract.AnnotationHubNamespace: "kube-system", contract.AnnotationHubName: "other", contract.AnnotationHubUID: "other",
		contract.AnnotationHubID: "other", contract.AnnotationAttempt: "7", contract.AnnotationRemoteWorkflow: "other",
		contract.AnnotationRemoteWorkflowUID: "other",
	}
	labels := map[string]string{contract.LabelCluster: "other", contract.LabelWorkflowNamespace: "kube-system"}
	wf := gen.Workflow("hello", gen.WithAnnotations(forged), gen.WithLabels(labels),
		gen.WithSpecField(map[string]any{contract.LabelCluster: "other", "mine": "kept"}, "podMetadata", "labels"))
	rw := gen.RemoteWorkflow(wf, "cluster1")

	got, err := contract.Payload(wf, rw)
	require.NoError(t, err)
	assert.Equal(t, contract.ReferenceTo(rw), contract.ReferenceOf(got))
	podLabels, _, err := unstructured.NestedStringMap(got.Object, "spec", "podMetadata", "labels")
	require.NoError(t, err)
	assert.Equal(t, map[string]string{
		"mine": "kept", contract.LabelCluster: "cluster1", contract.LabelWorkflowNamespace: gen.Namespace,
	}, podLabels)
}

func TestAWorkflowWithStepsInOtherClustersDoesNotTravel(t *testing.T) {
	template := func(plugin string) gen.Mod {
		return gen.WithSpecField([]any{map[string]any{"name": "train", "plugin": map[string]any{plugin: map[string]any{}}}}, "templates")
	}
	wf := gen.Workflow("hello", template("multicluster"))
	_, err := contract.Payload(wf, gen.RemoteWorkflow(wf, "cluster1"))
	require.ErrorContains(t, err, `template "train" has its steps run in other clusters`)
	require.ErrorContains(t, err, contract.LabelEnable)

	wf = gen.Workflow("hello", template("slack"))
	_, err = contract.Payload(wf, gen.RemoteWorkflow(wf, "cluster1"))
	require.NoError(t, err)
}

func TestAWorkflowThatWouldSetTheKeysOfTheHubDoesNotTravel(t *testing.T) {
	refused := []string{
		contract.AnnotationHubUID, contract.AnnotationHubName, contract.AnnotationHubNamespace, contract.AnnotationHubID,
		contract.AnnotationAttempt, contract.AnnotationRemoteWorkflowUID, contract.AnnotationControls, contract.AnnotationEdits,
		contract.LabelInstanceID, contract.LabelCluster, contract.LabelWorkflowNamespace, contract.LabelPhase, contract.LabelCompleted,
		"{{workflow.parameters.key}}",
	}
	for _, field := range []string{"labels", "annotations", "labelsFrom"} {
		sets := func(key string) error {
			value := any("")
			if field == "labelsFrom" {
				value = map[string]any{"expression": `""`}
			}
			wf := gen.Workflow("hello", gen.WithSpecField(map[string]any{field: map[string]any{key: value, "team": value}}, "workflowMetadata"))
			_, err := contract.Payload(wf, gen.RemoteWorkflow(wf, "cluster1"))
			return err
		}
		for _, key := range refused {
			require.ErrorContains(t, sets(key), "spec.workflowMetadata."+field+" must not set \""+key+"\"", "%s %s", field, key)
		}
		require.NoError(t, sets("workflows.argoproj.io/title"), "%s: what Argo shows to people is theirs", field)
	}
}

func TestPayloadTakesPodMetadataAsArgoDoes(t *testing.T) {
	tests := map[string]struct {
		podMetadata any
		wantErr     string
	}{
		"null":                      {podMetadata: nil},
		"empty":                     {podMetadata: map[string]any{}},
		"labels that are null":      {podMetadata: map[string]any{"labels": nil}},
		"annotations alone":         {podMetadata: map[string]any{"annotations": map[string]any{"a": "b"}}},
		"not an object":             {podMetadata: "labels", wantErr: "spec.podMetadata"},
		"labels that are not a map": {podMetadata: map[string]any{"labels": []any{"a"}}, wantErr: "spec.podMetadata.labels"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wf := gen.Workflow("hello", gen.WithSpecField(test.podMetadata, "podMetadata"))
			got, err := contract.Payload(wf, gen.RemoteWorkflow(wf, "cluster1"))
			if test.wantErr != "" {
				require.ErrorContains(t, err, test.wantErr)
				return
			}
			require.NoError(t, err)
			labels, _, err := unstructured.NestedStringMap(got.Object, "spec", "podMetadata", "labels")
			require.NoError(t, err)
			assert.Equal(t, "cluster1", labels[contract.LabelCluster])
		})
	}
}

func TestPayloadRefusesASpecThatIsNoObject(t *testing.T) {
	for name, spec := range map[string]any{"missing": nil, "a string": "main", "a list": []any{}} {
		t.Run(name, func(t *testing.T) {
			wf := gen.Workflow("hello")
			wf.Object["spec"] = spec
			_, err := contract.Payload(wf, gen.RemoteWorkflow(wf, "cluster1"))
			require.ErrorContains(t, err, "spec: want an object")
		})
	}
}

// FuzzPayload makes hub Workflows of any spec and any metadata that a user, a client or a controller may have
// left on them.
func FuzzPayload(f *testing.F) {
	f.Add([]byte(`{"entrypoint":"main"}`), "team", "a", true)
	f.Add([]byte(`{"podMetadata":{"labels":{"x":"y"}},"status":{},"ofANewerArgo":[1,2.5,null,{"a":{}}]}`), contract.LabelInstanceID, "mine", false)
	f.Add([]byte(`{"podMetadata":null}`), contract.AnnotationAttempt, "9", true)
	f.Add([]byte(`{"workflowTemplateRef":{"name":"a"}}`), "argocd.argoproj.io/instance", "mine", true)
	f.Add([]byte(`{"podMetadata":{"labels":null,"annotations":{}}}`), contract.LabelCompleted, "true", false)
	f.Fuzz(func(t *testing.T, spec []byte, key, value string, agent bool) {
		wf := usedWorkflow(key, value)
		var fields any
		if json.Unmarshal(spec, &fields) != nil {
			fields = string(spec)
		}
		wf.Object["spec"] = fields
		rw := gen.RemoteWorkflow(wf, "cluster1")
		if !agent {
			gen.WithReporting(v1alpha1.ReportingFeedback)(rw)
		}
		before := wf.DeepCopy()

		payload, err := contract.Payload(wf, rw)
		require.Equal(t, before, wf, "the input is not changed")
		if err != nil {
			return
		}
		requireCleanPayload(t, payload, rw)

		// As a hub Workflow it would carry these, too.
		again := payload.DeepCopy()
		again.SetUID(wf.GetUID())
		gen.WithLabels(map[string]string{contract.LabelEnable: contract.LabelEnableValue})(again)
		second, err := contract.Payload(again, rw)
		require.NoError(t, err)
		require.Equal(t, payload, second, "a payload is its own payload")
	})
}

// usedWorkflow is a hub Workflow with all that a life on a hub can leave on it, and one more label and annotation.
func usedWorkflow(key, value string) *unstructured.Unstructured {
	wf := gen.Workflow("hello", gen.WithPlacement("p"), gen.WithAssignment("cluster1"), gen.WithStatus("Running"), gen.Deleting(),
		gen.WithFinalizers(contract.FinalizerDispatch, "someone/else"),
		gen.WithLabels(map[string]string{
			contract.LabelInstanceID: contract.InstanceIDGate, contract.LabelPhase: "Running", contract.LabelCompleted: "true",
			key: value,
		}),
		gen.WithAnnotations(map[string]string{contract.AnnotationStatusHash: "hash", key: value}))
	wf.SetGenerateName("hello-")
	wf.SetResourceVersion("42")
	wf.SetGeneration(3)
	wf.SetCreationTimestamp(gen.Time)
	wf.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "owner", UID: "owner"}})
	wf.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "kubectl"}})
	return wf
}

func requireCleanPayload(t *testing.T, payload *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow) {
	t.Helper()
	require.ElementsMatch(t, []string{"apiVersion", "kind", "metadata", "spec"}, keysOf(payload.Object))
	metadata := payload.Object["metadata"].(map[string]any)
	require.ElementsMatch(t, []string{"namespace", "name", "labels", "annotations"}, keysOf(metadata))
	require.Equal(t, contract.ReferenceTo(rw), contract.ReferenceOf(payload))
	require.False(t, contract.IsOurs(payload))
	want := ""
	if rw.Spec.Reporting == v1alpha1.ReportingAgent {
		want = contract.InstanceIDGate
	}
	require.Equal(t, want, payload.GetLabels()[contract.LabelInstanceID])
	for _, key := range []string{contract.LabelPhase, contract.LabelCompleted} {
		require.NotContains(t, payload.GetLabels(), key)
	}
	for _, key := range []string{contract.AnnotationPlacement, contract.AnnotationAssigned, contract.AnnotationStatusHash} {
		require.NotContains(t, payload.GetAnnotations(), key)
	}
	for _, metadata := range []map[string]string{payload.GetLabels(), payload.GetAnnotations()} {
		for key := range metadata {
			require.False(t, contract.IsOwnershipMark(key), key)
		}
	}
}

func keysOf(object map[string]any) []string {
	return slices.Collect(maps.Keys(object))
}
