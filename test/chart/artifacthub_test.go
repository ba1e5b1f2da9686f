package chart

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chart/loader"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"open-cluster-management.io/argo-workflow-multicluster/manifests"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// annotation reads an annotation of the chart for Artifact Hub, which is YAML.
func annotation(t *testing.T, name string, into any) {
	t.Helper()
	loaded, err := loader.Load(hubChart)
	require.NoError(t, err)
	text := loaded.Metadata.Annotations["artifacthub.io/"+name]
	require.NotEmpty(t, text, name)
	require.NoError(t, yaml.UnmarshalStrict([]byte(text), into), name)
}

func TestTheChartNamesTheImagesThatItAndItsAddonsUse(t *testing.T) {
	t.Parallel()
	var images []struct{ Name, Image string }
	annotation(t, "images", &images)
	named := map[string]string{}
	for _, image := range images {
		named[image.Name] = image.Image
	}
	text, err := manifests.ArgoWorkflows.ReadFile("argo-workflows/values.yaml")
	require.NoError(t, err)
	argo := parse(t, string(text))
	version := ":" + argo["argoVersion"].(string)
	loaded, err := loader.Load(hubChart)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{
		"argo-multicluster":   loaded.Values["image"].(map[string]any)["repository"].(string) + ":" + loaded.Metadata.AppVersion,
		"workflow-controller": argo["controllerImage"].(string) + version,
		"argoexec":            argo["executorImage"].(string) + version,
		"argocli":             argo["serverImage"].(string) + version,
	}, named)
}

func TestTheChartShowsItsCRDWithAnExample(t *testing.T) {
	t.Parallel()
	var crds []struct{ Kind, Version, Name, DisplayName, Description string }
	annotation(t, "crds", &crds)
	require.Len(t, crds, 1)
	text, err := os.ReadFile(hubChart + "/files/crds/workflow.open-cluster-management.io_remoteworkflows.yaml")
	require.NoError(t, err)
	crd := &apiextensionsv1.CustomResourceDefinition{}
	require.NoError(t, yaml.UnmarshalStrict(text, crd))
	assert.Equal(t, crd.Name, crds[0].Name)
	assert.Equal(t, crd.Spec.Names.Kind, crds[0].Kind)
	assert.Equal(t, crd.Spec.Versions[0].Name, crds[0].Version)
	assert.NotEmpty(t, crds[0].Description)

	var examples []v1alpha1.RemoteWorkflow
	annotation(t, "crdsExamples", &examples)
	require.Len(t, examples, 1)
	assert.Equal(t, v1alpha1.GroupVersion.String(), examples[0].APIVersion)
	assert.Equal(t, crds[0].Kind, examples[0].Kind)
	spec := examples[0].Spec
	assert.Equal(t, v1alpha1.ReportingAgent, spec.Reporting)
	assert.Equal(t, contract.RemoteWorkflowName(spec.WorkflowRef.Name, spec.WorkflowRef.UID, spec.Attempt), examples[0].Name)
}
