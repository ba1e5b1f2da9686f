package chart

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// TestArgoCRDsBehaveAsArgosMinimalOnes compares all that a client can tell apart. Of schemas that is whether fields that
// are not named there are kept.
func TestArgoCRDsBehaveAsArgosMinimalOnes(t *testing.T) {
	t.Parallel()
	theirs := readCRDs(t, filepath.Join(argosManifests(t), "base", "crds", "minimal"))
	ours := readCRDs(t, hubChart+"/files/argo-crds")
	require.Len(t, ours, 3, "what the manager reads")
	for name, got := range ours {
		require.Contains(t, theirs, name)
		want := theirs[name]
		assert.Equal(t, want.Spec.Names, got.Spec.Names, name)
		assert.Equal(t, want.Spec.Scope, got.Spec.Scope, name)
		require.Len(t, got.Spec.Versions, len(want.Spec.Versions), name)
		for i, version := range want.Spec.Versions {
			gotVersion := got.Spec.Versions[i]
			assert.Equal(t, columns(version), columns(gotVersion), name)
			assert.Equal(t, hasStatus(version), hasStatus(gotVersion), name)
			assertKeepsFields(t, name, version, gotVersion)
			for _, v := range []*apiextensionsv1.CustomResourceDefinitionVersion{&version, &gotVersion} {
				v.Schema, v.Subresources, v.AdditionalPrinterColumns = nil, nil, nil
			}
			assert.Equal(t, version, gotVersion, name)
		}
	}
}

// argosManifests is the folder of the manifests that Argo's module has.
func argosManifests(t *testing.T) string {
	t.Helper()
	module, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/argoproj/argo-workflows/v3").Output()
	require.NoError(t, err)
	return filepath.Join(strings.TrimSpace(string(module)), "manifests")
}

// readCRDs returns Argo's CRDs in the folder by their names.
func readCRDs(t *testing.T, folder string) map[string]*apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(folder, "argoproj.io_*.yaml"))
	require.NoError(t, err)
	crds := map[string]*apiextensionsv1.CustomResourceDefinition{}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		crd := &apiextensionsv1.CustomResourceDefinition{}
		require.NoError(t, yaml.UnmarshalStrict(raw, crd), path)
		crds[crd.Name] = crd
	}
	return crds
}

// columns lists the columns of kubectl get, without what they are explained with.
func columns(version apiextensionsv1.CustomResourceDefinitionVersion) []apiextensionsv1.CustomResourceColumnDefinition {
	var list []apiextensionsv1.CustomResourceColumnDefinition
	for _, column := range version.AdditionalPrinterColumns {
		column.Description = ""
		list = append(list, column)
	}
	return list
}

func hasStatus(version apiextensionsv1.CustomResourceDefinitionVersion) bool {
	return version.Subresources != nil && version.Subresources.Status != nil
}

// assertKeepsFields checks that got requires what want requires, and keeps whatever is in any field of want.
func assertKeepsFields(t *testing.T, name string, want, got apiextensionsv1.CustomResourceDefinitionVersion) {
	t.Helper()
	theirs, ours := want.Schema.OpenAPIV3Schema, got.Schema.OpenAPIV3Schema
	assert.ElementsMatch(t, theirs.Required, ours.Required, name)
	keepsAll := ours.XPreserveUnknownFields != nil && *ours.XPreserveUnknownFields
	for field := range theirs.Properties {
		switch field {
		case "apiVersion", "kind", "metadata":
			assert.Contains(t, ours.Properties, field, name)
		default:
			property := ours.Properties[field]
			assert.True(t, keepsAll || (property.XPreserveUnknownFields != nil && *property.XPreserveUnknownFields), "%s: %s", name, field)
		}
	}
}
