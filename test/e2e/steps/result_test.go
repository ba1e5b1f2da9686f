package steps

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// results returns those that a Workflow's task set has, by the ID of the node.
func (r *room) results(name string) map[string]any {
	r.Helper()
	set := taskSet(r.namespace, name)
	require.NoError(r, r.hub.Get(r.Context(), client.ObjectKeyFromObject(set), set))
	nodes, _, _ := unstructured.NestedMap(set.Object, "status", "nodes")
	return nodes
}

func taskSet(namespace, name string) *unstructured.Unstructured {
	set := &unstructured.Unstructured{}
	set.SetGroupVersionKind(contract.WorkflowTaskSetGVK)
	set.SetNamespace(namespace)
	set.SetName(name)
	return set
}

// give writes results into a task set, as an administrator can.
func (r *room) give(name string, results map[string]any) {
	r.Helper()
	require.NoError(r, patchResults(r, r.hub, name, results))
}

func patchResults(r *room, as client.Client, name string, results map[string]any) error {
	data, err := json.Marshal(map[string]any{"status": map[string]any{"nodes": results}})
	require.NoError(r, err)
	return as.Status().Patch(r.Context(), taskSet(r.namespace, name), client.RawPatch(types.MergePatchType, data))
}

// argoStandsStill has the hub's Argo controller do nothing until the function that it returns is called.
func argoStandsStill(t *testing.T) (goOn func()) {
	t.Helper()
	require.NoError(t, theLab.Hub().Signal(lab.ArgoController, syscall.SIGSTOP))
	goOn = func() { require.NoError(t, theLab.Hub().Signal(lab.ArgoController, syscall.SIGCONT)) }
	t.Cleanup(goOn)
	return goOn
}

// hasResult waits until the one result is there, and returns the ID of its node.
func (r *room) hasResult(name string) (id string) {
	r.Helper()
	labtest.Eventually(r.T, patience, func() error {
		found := slices.Collect(maps.Keys(r.results(name)))
		if len(found) != 1 {
			return fmt.Errorf("%d results", len(found))
		}
		id = found[0]
		return nil
	})
	return id
}

// hasNoResult waits until there are none.
func (r *room) hasNoResult(name string) {
	r.Helper()
	labtest.Eventually(r.T, patience, func() error {
		if found := r.results(name); len(found) > 0 {
			return fmt.Errorf("there are still results: %v", found)
		}
		return nil
	})
}

const onePod = "entrypoint: main\ntemplates:\n- {name: main, steps: [[{name: one, template: pod}]]}\n"

// Not parallel: it stops the Argo controller that others use.
func TestAResultThatIsLostIsGivenAgain(t *testing.T) {
	r := newRoom(t)
	r.create("lost", onePod+templates[1:])
	r.hasChildren("lost", 1)
	goOn := argoStandsStill(t)
	id := r.hasResult("lost")
	r.give("lost", map[string]any{id: nil})
	assert.Equal(t, id, r.hasResult("lost"))
	goOn()
	r.ends("lost", "Succeeded")
	assert.Len(t, r.children("lost"), 1)
	r.hasNoResult("lost")
}

// Argo's controller does not miss a task set that is deleted: if it does not look at the Workflow anyway, the hub has it do so.
func TestAStepEndsThoughItsTaskSetIsDeleted(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	r.create("lost", strings.ReplaceAll(onePod, "template: pod", "template: brief")+`
- name: brief
  metadata: {annotations: {simulated-pod/duration: 15s}}
  plugin: {multicluster: {cluster: cluster1, container: {image: busybox, imagePullPolicy: IfNotPresent, command: [sleep], args: ["15"]}}}
`)
	r.hasChildren("lost", 1)
	require.NoError(t, r.hub.Delete(t.Context(), taskSet(r.namespace, "lost")))
	r.ends("lost", "Succeeded")
	assert.Len(t, r.children("lost"), 1)
}

// Not parallel: it stops the manager that others use.
func TestAResultThatComesTooLateIsNotGiven(t *testing.T) {
	r := newRoom(t)
	r.create("late", "entrypoint: main\ntemplates:\n- {name: main, steps: [[{name: one, template: short}]]}\n"+`
- name: short
  metadata: {annotations: {simulated-pod/duration: 3s}}
  plugin:
    multicluster:
      cluster: cluster1
      container: {image: busybox, imagePullPolicy: IfNotPresent, command: [sleep], args: ["3"]}
`)
	r.startsOn("cluster1", "late", 1)
	require.NoError(t, theLab.Hub().Kill(lab.ManagerProcess))
	r.argo("terminate", "late")
	r.ends("late", "Failed")
	r.startsOn("cluster1", "late", 0) // it has ended there, and the hub does not know
	require.NoError(t, theLab.Hub().Revive(t.Context(), lab.ManagerProcess))
	r.eachChild("late", func(child *unstructured.Unstructured) error {
		if !contract.IsFinished(contract.Phase(child)) {
			return fmt.Errorf("%s is %q", child.GetName(), contract.Phase(child))
		}
		return nil
	})
	wf := r.ends("late", "Failed")
	assert.Equal(t, "Failed", node(t, wf, "one")["phase"])
	assert.Empty(t, r.results("late"))
	r.leavesNothing("late")
}

func TestAResultThatStaysIsNotThatOfTheNextRetry(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	r.create("twice", "entrypoint: main\narguments: {parameters: [{name: code, value: \"1\"}]}\ntemplates:\n"+`
- name: main
  steps: [[{name: one, template: pod, arguments: {parameters: [{name: code, value: "{{workflow.parameters.code}}"}]}}]]
`+templates[1:])
	wf := r.ends("twice", "Failed")
	id, _ := node(t, wf, "one")["id"].(string)
	r.give("twice", map[string]any{id: map[string]any{"phase": "Failed", "message": "given twice"}, "unknown": map[string]any{"phase": "Failed"}})
	r.hasNoResult("twice")
	assert.NotContains(t, fmt.Sprint(contract.Status(r.ends("twice", "Failed"))), "given twice")
	_, err := theLab.Hub().Tool(t.Context(), "argo", "retry", "twice", "-n", r.namespace, "-p", "code=0")
	require.NoError(t, err)
	r.ends("twice", "Succeeded")
	assert.Len(t, r.children("twice"), 2)
}

func TestUsersCannotForgeResults(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	require.NoError(t, r.hub.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "editor"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "editor-" + r.namespace}},
	}))
	r.create("forged", "entrypoint: long\ntemplates:\n"+templates[1:])
	r.startsOn("cluster1", "forged", 1)
	wf := contract.NewWorkflow()
	require.NoError(t, r.hub.Get(t.Context(), client.ObjectKey{Namespace: r.namespace, Name: "forged"}, wf))
	id, _ := node(t, wf, "forged")["id"].(string)
	forged := map[string]any{id: map[string]any{"phase": "Succeeded"}}

	config, err := theLab.Hub().Config()
	require.NoError(t, err)
	config.Impersonate.UserName = "editor-" + r.namespace
	scheme, err := hub.Scheme()
	require.NoError(t, err)
	editor, err := client.New(config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	labtest.Eventually(t, patience, func() error { // until the binding counts
		return editor.Get(t.Context(), client.ObjectKeyFromObject(wf), wf)
	})
	err = patchResults(r, editor, "forged", forged)
	assert.True(t, apierrors.IsForbidden(err), "%v", err)
	data, err := json.Marshal(map[string]any{"status": map[string]any{"nodes": forged}})
	require.NoError(t, err)
	if err := editor.Patch(t.Context(), taskSet(r.namespace, "forged"), client.RawPatch(types.MergePatchType, data)); err != nil {
		require.True(t, apierrors.IsForbidden(err), "%v", err)
	}
	assert.Empty(t, r.results("forged"))
	r.argo("terminate", "forged")
	r.ends("forged", "Failed")
}
