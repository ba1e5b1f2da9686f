package chart

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/releaseutil"
)

// TestTheManifestWithoutHelm makes install.yaml as the Makefile does, of what "helm template --no-hooks" prints.
func TestTheManifestWithoutHelm(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile("../../Makefile")
	require.NoError(t, err)
	_, rule, found := strings.Cut(string(makefile), "$(INSTALL_MANIFEST): $(CHART_ARCHIVE)\n")
	require.True(t, found)
	rule, _, _ = strings.Cut(rule, "\n\n")
	assert.Contains(t, rule, " --no-hooks ")
	assert.Contains(t, rule, "\tsed -f charts/install.sed ")

	files, err := filesOf(hubChart, nil, nil, engine.Render)
	require.NoError(t, err)
	for name := range files {
		if path.Base(name) == "NOTES.txt" {
			delete(files, name)
		}
	}
	hooks, manifests, err := releaseutil.SortManifests(files, nil, releaseutil.InstallOrder)
	require.NoError(t, err)
	assert.NotEmpty(t, hooks)
	printed := &strings.Builder{}
	for _, manifest := range manifests {
		fmt.Fprintf(printed, "---\n# Source: %s\n%s\n", manifest.Name, manifest.Content)
	}
	sed := exec.CommandContext(t.Context(), "sed", "-f", "../../charts/install.sed")
	sed.Stdin = strings.NewReader(printed.String())
	out, err := sed.Output()
	require.NoError(t, err)

	objects, err := decode(string(out))
	require.NoError(t, err)
	require.Len(t, objects, len(manifests)+1)
	namespace := objects[0]
	assert.Equal(t, "Namespace", namespace.GetKind())
	assert.Equal(t, Release, namespace.GetName())
	assert.Empty(t, namespace.GetLabels(), "what deletes the installation by its label leaves the namespace")
	for _, object := range objects[1:] {
		name, labels := object.GetKind()+" "+object.GetName(), object.GetLabels()
		assert.NotEqual(t, "Namespace", object.GetKind(), name)
		assert.NotEqual(t, "Job", object.GetKind(), name)
		assert.Equal(t, Release, labels["app.kubernetes.io/instance"], name)
		assert.NotContains(t, labels, "app.kubernetes.io/managed-by", name)
		assert.NotContains(t, labels, "helm.sh/chart", name)
		for key := range object.GetAnnotations() {
			assert.False(t, strings.HasPrefix(key, "helm.sh/hook"), "%s: %s", name, key)
		}
	}
	assert.NotContains(t, string(out), "managed-by")
}
