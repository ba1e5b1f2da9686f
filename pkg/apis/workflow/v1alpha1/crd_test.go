package v1alpha1_test

import (
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

const crdFile = "../../../../charts/argo-workflow-multicluster/files/crds/workflow.open-cluster-management.io_remoteworkflows.yaml"

func readCRD(t *testing.T) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	raw, err := os.ReadFile(crdFile)
	require.NoError(t, err)
	crd := &apiextensionsv1.CustomResourceDefinition{}
	require.NoError(t, yaml.UnmarshalStrict(raw, crd))
	require.Len(t, crd.Spec.Versions, 1)
	return crd
}

func TestTheCRDServesTheKindOfTheGoType(t *testing.T) {
	crd := readCRD(t)
	assert.Equal(t, v1alpha1.GroupVersion.Group, crd.Spec.Group)
	assert.Equal(t, "RemoteWorkflow", crd.Spec.Names.Kind)
	assert.Equal(t, []string{"rwf"}, crd.Spec.Names.ShortNames)
	assert.Equal(t, apiextensionsv1.NamespaceScoped, crd.Spec.Scope)
	assert.Equal(t, v1alpha1.GroupVersion.Version, crd.Spec.Versions[0].Name)
	assert.NotNil(t, crd.Spec.Versions[0].Subresources.Status, "the agent may write the status and nothing else")

	scheme := runtime.NewScheme()
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	kinds, _, err := scheme.ObjectKinds(&v1alpha1.RemoteWorkflow{})
	require.NoError(t, err)
	assert.Equal(t, v1alpha1.GroupVersion.WithKind(crd.Spec.Names.Kind), kinds[0])
}

func TestTheCRDBearsTheRevisionThatTheManagerWants(t *testing.T) {
	crd := readCRD(t)
	assert.Equal(t, v1alpha1.CRDName, crd.Name)
	assert.Equal(t, strconv.Itoa(v1alpha1.ContractRevision), crd.Annotations[v1alpha1.AnnotationContractRevision])
}

func TestKubectlGetShowsWhichWorkflowIsHowFar(t *testing.T) {
	var always, wide []string
	for _, column := range readCRD(t).Spec.Versions[0].AdditionalPrinterColumns {
		if column.Priority == 0 {
			always = append(always, column.Name+" "+column.JSONPath)
		} else {
			wide = append(wide, column.Name+" "+column.JSONPath)
		}
	}
	assert.Equal(t, []string{
		"Namespace .spec.workflowRef.namespace", "Workflow .spec.workflowRef.name",
		"Phase .status.phase", "Progress .status.progress", "Age .metadata.creationTimestamp",
	}, always)
	assert.Equal(t, []string{"Attempt .spec.attempt", "Remote UID .status.remoteUID", "Message .status.message"}, wide)
}

func TestTheServerKeepsWhatMustNotChange(t *testing.T) {
	schema := readCRD(t).Spec.Versions[0].Schema.OpenAPIV3Schema
	spec := schema.Properties["spec"]
	require.Len(t, spec.XValidations, 3)
	for _, field := range []string{"hubID", "workflowRef", "remote", "attempt", "reporting"} {
		assert.Contains(t, spec.XValidations[0].Rule, "self."+field+" == oldSelf."+field)
	}
	assert.Equal(t, "!has(oldSelf.removal) || (has(self.removal) && self.removal == oldSelf.removal)", spec.XValidations[1].Rule)
	assert.Equal(t, "!has(oldSelf.specDigest) || (has(self.specDigest) && self.specDigest == oldSelf.specDigest)", spec.XValidations[2].Rule)
	edits := spec.Properties["edits"]
	assert.Equal(t, "self == oldSelf", edits.Items.Schema.XValidations[0].Rule)
	assert.Equal(t, []string{"id"}, edits.XListMapKeys, "by which the server knows the old one")
	require.Len(t, schema.XValidations, 1)
	assert.Contains(t, schema.XValidations[0].Rule, "self.status.remoteUID == oldSelf.status.remoteUID")
	assert.ElementsMatch(t, []string{"hubID", "workflowRef", "remote", "attempt", "reporting"}, spec.Required)
	first := 1.0
	assert.Equal(t, &first, spec.Properties["attempt"].Minimum)
	assert.Len(t, spec.Properties["reporting"].Enum, 2)
	assert.Equal(t, "byte", schema.Properties["status"].Properties["report"].Properties["data"].Format)
}

func TestEveryFieldIsDocumented(t *testing.T) {
	schema := readCRD(t).Spec.Versions[0].Schema.OpenAPIV3Schema
	assert.NotEmpty(t, schema.Description)
	requireDocumented(t, "spec", schema.Properties["spec"])
	requireDocumented(t, "status", schema.Properties["status"])
}

func requireDocumented(t *testing.T, path string, schema apiextensionsv1.JSONSchemaProps) {
	t.Helper()
	assert.NotEmpty(t, schema.Description, path)
	for name, property := range schema.Properties {
		requireDocumented(t, path+"."+name, property)
	}
}

func TestARemoteWorkflowHasNoFieldThatTheServerWouldPrune(t *testing.T) {
	rw := gen.RemoteWorkflow(gen.Workflow("hello"), "cluster1",
		gen.WithReport(map[string]any{"phase": "Running", "progress": "0/1", "message": "m"}),
		gen.WithCondition(v1alpha1.ConditionStarted, "True", v1alpha1.ReasonGateOpened, ""))
	rw.Status.StartedAt, rw.Status.FinishedAt = gen.Time.DeepCopy(), gen.Time.DeepCopy()
	rw.Status.Nodes = map[string]int32{"Running": 1}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(rw)
	require.NoError(t, err)

	schema := readCRD(t).Spec.Versions[0].Schema.OpenAPIV3Schema
	for _, part := range []string{"spec", "status"} {
		requireInSchema(t, part, object[part], schema.Properties[part])
	}
}

func requireInSchema(t *testing.T, path string, value any, schema apiextensionsv1.JSONSchemaProps) {
	t.Helper()
	switch typed := value.(type) {
	case map[string]any:
		for name, field := range typed {
			if schema.AdditionalProperties != nil {
				continue
			}
			property, ok := schema.Properties[name]
			require.True(t, ok, "%s.%s is not in the CRD", path, name)
			requireInSchema(t, path+"."+name, field, property)
		}
	case []any:
		for _, element := range typed {
			requireInSchema(t, path+"[]", element, *schema.Items.Schema)
		}
	}
}
