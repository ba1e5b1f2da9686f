package steps

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// In Argo's own proposal, a template with a namespace alone runs in that namespace of the same cluster. Here the hub is a managed cluster
// of its own for that.
const elsewhereOnTheHub = `
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: travels}
spec:
  entrypoint: main
  templates:
  - name: main
    steps:
    - - {name: tell, template: tell}
    - - {name: long, template: long, arguments: {parameters: [{name: told, value: "{{steps.tell.outputs.result}}"}]}}
  - name: tell
    namespace: ELSEWHERE
    metadata: {annotations: {simulated-pod/result: hello}}
    container: {image: busybox, imagePullPolicy: IfNotPresent, command: [echo, hello]}
  - name: long
    namespace: ELSEWHERE
    inputs: {parameters: [{name: told}]}
    metadata: {annotations: {simulated-pod/duration: 10m}}
    container: {image: busybox, imagePullPolicy: IfNotPresent, command: [sleep], args: ["600"]}
`

func TestAStepRunsInAnotherNamespaceOfTheHub(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	elsewhere := r.namespace + "-elsewhere"
	require.NoError(t, r.hub.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: elsewhere}}))
	for _, right := range gen.ExecutorRights(elsewhere) {
		require.NoError(t, r.hub.Create(t.Context(), right))
	}
	r.tool("kubectl", "create", "-f", r.converted(strings.ReplaceAll(elsewhereOnTheHub, "ELSEWHERE", elsewhere)))

	// A binding alone opens no namespace of the hub.
	r.allow("*")
	labtest.Eventually(t, patience, func() error {
		for _, child := range r.children("travels") {
			if message, _ := contract.Status(&child)["message"].(string); strings.Contains(message, "on the ManagedCluster, which is the hub itself") {
				return nil
			}
		}
		return fmt.Errorf("no child says that its namespace is not allowed: %v", r.children("travels"))
	})
	hub := gen.ManagedCluster(lab.LocalCluster)
	opened := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:"other,%s"}}}`, contract.AnnotationNamespaces, elsewhere)
	require.NoError(t, r.hub.Patch(t.Context(), hub, client.RawPatch(types.MergePatchType, opened)))

	remote := contract.NewWorkflowList()
	labtest.Eventually(t, patience, func() error {
		if err := r.hub.List(t.Context(), remote, client.InNamespace(elsewhere)); err != nil {
			return err
		}
		if len(remote.Items) != 2 || contract.Phase(&remote.Items[0]) == "" || contract.Phase(&remote.Items[1]) == "" {
			return fmt.Errorf("%d Workflows in namespace %s, of which two are to run", len(remote.Items), elsewhere)
		}
		return nil
	})
	for _, child := range r.children("travels") {
		assert.Equal(t, lab.LocalCluster, contract.AssignedCluster(&child))
	}
	// What the agent notes on a Workflow of the hub itself, the hub's admission policies let pass.
	suspend := []byte(`{"spec":{"suspend":true}}`)
	wf := contract.NewWorkflow()
	wf.SetNamespace(r.namespace)
	wf.SetName("travels")
	require.NoError(t, r.hub.Patch(t.Context(), wf, client.RawPatch(types.MergePatchType, suspend)))
	suspended := func() (n int) {
		require.NoError(t, r.hub.List(t.Context(), remote, client.InNamespace(elsewhere)))
		for i := range remote.Items {
			if spec, _ := remote.Items[i].Object["spec"].(map[string]any); spec["suspend"] == true {
				n++
			}
		}
		return n
	}
	labtest.Eventually(t, patience, func() error {
		if n := suspended(); n != 1 {
			return fmt.Errorf("%d Workflows in namespace %s are suspended", n, elsewhere)
		}
		return nil
	})
	end := []byte(`{"spec":{"suspend":null,"shutdown":"Terminate"}}`)
	require.NoError(t, r.hub.Patch(t.Context(), wf, client.RawPatch(types.MergePatchType, end)))
	ended := r.ends("travels", "Failed")
	result, _ := node(t, ended, "tell")["outputs"].(map[string]any)
	assert.Equal(t, "hello", result["result"])

	require.NoError(t, r.hub.Delete(t.Context(), wf))
	labtest.Eventually(t, patience, func() error {
		if err := r.hub.List(t.Context(), remote, client.InNamespace(elsewhere)); err != nil || len(remote.Items) > 0 {
			return fmt.Errorf("%d Workflows are left in namespace %s: %w", len(remote.Items), elsewhere, err)
		}
		return nil
	})
}

// allow opens namespaces on the clusters to the Workflows of the room.
func (r *room) allow(namespaces string) {
	r.Helper()
	binding := gen.ManagedClusterSetBinding(gen.GlobalSet, gen.InNamespace(r.namespace))
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, contract.AnnotationNamespaces, namespaces)
	require.NoError(r, r.hub.Patch(r.Context(), binding, client.RawPatch(types.MergePatchType, patch)))
}
