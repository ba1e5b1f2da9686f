package hub

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/yaml"
)

// hubWith returns a hub that has these CRDs.
func hubWith(t *testing.T, crds ...client.Object) client.Client {
	t.Helper()
	scheme, err := Scheme()
	require.NoError(t, err)
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(crds...).Build()
}

func TestTheManagerWantsARemoteWorkflowCRDThatIsNotOlder(t *testing.T) {
	for name, test := range map[string]struct {
		annotations map[string]string
		want        string
	}{
		"of before there were revisions": {nil, `has revision "", and this manager needs 5 or later`},
		"older":                          {map[string]string{"workflow.open-cluster-management.io/contract-revision": "2"}, `has revision "2"`},
		"unreadable": {
			map[string]string{"workflow.open-cluster-management.io/contract-revision": "new"}, `has revision "new"`,
		},
		"of this version": {map[string]string{"workflow.open-cluster-management.io/contract-revision": "5"}, ""},
		"newer":           {map[string]string{"workflow.open-cluster-management.io/contract-revision": "12"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{
				Name: "remoteworkflows.workflow.open-cluster-management.io", Annotations: test.annotations,
			}}
			err := requireRevision(t.Context(), hubWith(t, crd))
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.want)
			require.ErrorContains(t, err, "kubectl apply --server-side")
		})
	}
	require.ErrorContains(t, requireRevision(t.Context(), hubWith(t)), "is missing")
}

func TestTheAdviceNamesFilesOfTheChart(t *testing.T) {
	assert.FileExists(t, filepath.Join("..", "..", crdFolder, "workflow.open-cluster-management.io_remoteworkflows.yaml"))
	assert.FileExists(t, filepath.Join("..", "..", argoCRDFolder, "argoproj.io_workflows.yaml"))
	assert.LessOrEqual(t, len(fullCRDAdvice), 1024, "an Event holds no more")
}

// argoCRD reads one of the Workflow CRDs that Argo publishes.
func argoCRD(t *testing.T, kind string) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/argoproj/argo-workflows/v3").Output()
	require.NoError(t, err)
	raw, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "manifests", "base", "crds", kind, "argoproj.io_workflows.yaml"))
	require.NoError(t, err)
	crd := &apiextensionsv1.CustomResourceDefinition{}
	require.NoError(t, yaml.Unmarshal(raw, crd))
	return crd
}

func TestTheFullWorkflowCRDIsToldInAnEventAndTheMinimalOneIsNot(t *testing.T) {
	for kind, want := range map[string]int{"full": 1, "minimal": 0} {
		t.Run(kind, func(t *testing.T) {
			recorder := events.NewFakeRecorder(2)
			require.NoError(t, warnOfFullCRD(hubWith(t, argoCRD(t, kind)), recorder)(t.Context()))
			require.Len(t, recorder.Events, want)
			if want > 0 {
				assert.Contains(t, <-recorder.Events, "Warning FullWorkflowCRD the hub has Argo's full Workflow CRD")
			}
		})
	}
	require.NoError(t, warnOfFullCRD(hubWith(t), nil)(t.Context()), "a manager that cannot look works all the same")
}
