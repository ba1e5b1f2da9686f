package lab

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestManifestsAreReadWithoutWhatIsNoObject(t *testing.T) {
	objects, err := decodeManifest([]byte(`# a comment
---
apiVersion: v1
kind: Namespace
metadata: {name: a}
---
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [b.yaml]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: c}
`))
	require.NoError(t, err)
	require.Len(t, objects, 2)
	assert.Equal(t, "a", objects[0].GetName())
	assert.Equal(t, "RoleBinding", objects[1].GetKind())
}

func TestManifestsOfOCMAreTemplates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.yaml")
	text := "kind: ServiceAccount\napiVersion: v1\nmetadata: {name: {{ .Name }}}\n"
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	objects, err := renderManifests(map[string]any{"Name": "agent"}, path)
	require.NoError(t, err)
	assert.Equal(t, "agent", objects[0].GetName())
	_, err = renderManifests(map[string]any{}, path)
	assert.ErrorContains(t, err, "a.yaml", "a value that OCM needs and the lab does not know")
}

func TestAPatternWithoutAManifestIsAnError(t *testing.T) {
	_, err := readManifests(filepath.Join(t.TempDir(), "*.yaml"))
	assert.ErrorContains(t, err, "no manifest matches")
}

func TestSubjectsGetTheNamespaceThatKustomizeWouldAdd(t *testing.T) {
	objects, err := decodeManifest([]byte(`apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: a}
subjects:
- {kind: ServiceAccount, name: argo}
- {kind: ServiceAccount, name: other, namespace: there}
- {kind: User, name: somebody}
`))
	require.NoError(t, err)
	completeSubjects(objects, "argo")
	subjects, _, err := unstructured.NestedSlice(objects[0].Object, "subjects")
	require.NoError(t, err)
	assert.Equal(t, []any{
		map[string]any{"kind": "ServiceAccount", "name": "argo", "namespace": "argo"},
		map[string]any{"kind": "ServiceAccount", "name": "other", "namespace": "there"},
		map[string]any{"kind": "User", "name": "somebody"},
	}, subjects)
}
