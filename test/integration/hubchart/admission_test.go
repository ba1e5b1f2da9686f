package hubchart

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1beta1 "k8s.io/api/admissionregistration/v1beta1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// as returns a client of this user.
func as(t *testing.T, user string, groups ...string) client.Client {
	t.Helper()
	config, err := server.User(user, groups...)
	require.NoError(t, err)
	c, err := client.New(config, client.Options{Scheme: admin.Scheme()})
	require.NoError(t, err)
	return c
}

// userWith returns a client of somebody who may do this everywhere.
func userWith(t *testing.T, name string, rules ...rbacv1.PolicyRule) client.Client {
	t.Helper()
	require.NoError(t, admin.Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}))
	require.NoError(t, admin.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}},
	}))
	return as(t, name)
}

// aUser returns a client of somebody who may do everything with Workflows, and change RemoteWorkflows, when the policies of what users
// may not change are followed.
func aUser(t *testing.T, name string) client.Client {
	t.Helper()
	c := userWith(t, name,
		rbacv1.PolicyRule{APIGroups: []string{"argoproj.io"}, Resources: []string{"workflows"}, Verbs: []string{"*"}},
		rbacv1.PolicyRule{
			APIGroups: []string{"workflow.open-cluster-management.io"}, Resources: []string{"remoteworkflows"}, Verbs: []string{"get", "patch"},
		})
	sent := dispatched(t, "probe-of-"+name)
	require.NoError(t, eventually(t.Context(), func() error {
		for policy, patch := range map[string]string{
			"are internal": annotation(contract.AnnotationStatusHash, "forged"), "dispatched": annotation(contract.AnnotationCluster, "cluster2"),
		} {
			err := c.Patch(t.Context(), sent.DeepCopy(), merge(patch), client.DryRunAll)
			if err == nil || !strings.Contains(err.Error(), policy) {
				return fmt.Errorf("not refused because they %s: %w", policy, err)
			}
		}
		return nil
	}))
	return c
}

// theManager returns a client of the manager's own user.
func theManager(t *testing.T) client.Client {
	t.Helper()
	return as(t, userOf(manager))
}

// dispatched returns a Workflow that the manager has given to cluster1, by its Placement.
func dispatched(t *testing.T, name string, mods ...gen.Mod) *unstructured.Unstructured {
	t.Helper()
	wf := create(t, workflow(name, append([]gen.Mod{gen.WithPlacement("all")}, mods...)...))
	gen.WithAnnotations(map[string]string{
		contract.AnnotationCluster: "cluster1", contract.AnnotationAssigned: contract.Assignment(wf, 1, "cluster1"),
	})(wf)
	gen.WithFinalizers(contract.FinalizerDispatch)(wf)
	require.NoError(t, theManager(t).Patch(t.Context(), wf, client.Merge))
	return wf
}

// annotation and label return the merge patch that sets one.
func annotation(key, value string) string {
	return fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, key, value)
}

func label(key, value string) string {
	return fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, key, value)
}

// merge returns a merge patch.
func merge(patch string) client.Patch { return client.RawPatch(types.MergePatchType, []byte(patch)) }

func create(t *testing.T, wf *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	require.NoError(t, admin.Create(t.Context(), wf))
	return wf
}

func TestInstanceIDIsAdded(t *testing.T) {
	wf := create(t, workflow("added", gen.WithSpecField("kept", "unknown")))
	assert.Equal(t, contract.InstanceIDHub, wf.GetLabels()[contract.LabelInstanceID])
	assert.Equal(t, "kept", wf.Object["spec"].(map[string]any)["unknown"])

	enabledLater := workflow("enabled-later")
	enabledLater.SetLabels(nil)
	create(t, enabledLater)
	assert.Empty(t, enabledLater.GetLabels())
	require.NoError(t, admin.Patch(t.Context(), enabledLater, merge(`{"metadata":{"labels":{"`+contract.LabelEnable+`":"true"}}}`)))
	assert.Equal(t, contract.InstanceIDHub, enabledLater.GetLabels()[contract.LabelInstanceID])
}

func TestWorkflowsOfTheHubItselfAreLeftAlone(t *testing.T) {
	for name, labels := range map[string]map[string]string{
		"plain":     nil,
		"instance":  {contract.LabelInstanceID: "other"},
		"disabled":  {contract.LabelEnable: "false"},
		"disabled2": {contract.LabelEnable: "false", contract.LabelInstanceID: "other"},
	} {
		wf := workflow(name)
		wf.SetLabels(labels)
		create(t, wf)
		assert.Equal(t, labels, wf.GetLabels())
	}
}

func TestAnotherInstanceIDIsRefused(t *testing.T) {
	err := admin.Create(t.Context(), workflow("refused", withInstanceID("other")))
	require.True(t, apierrors.IsInvalid(err), err)
	require.ErrorContains(t, err, "ARGO_INSTANCEID=ocm-multicluster")

	wf := create(t, workflow("changed"))
	err = admin.Patch(t.Context(), wf, merge(`{"metadata":{"labels":{"`+contract.LabelInstanceID+`":"other"}}}`))
	require.True(t, apierrors.IsInvalid(err), err)
}

// TestWithoutMutation comes to what a server without MutatingAdmissionPolicies does.
func TestWithoutMutation(t *testing.T) {
	binding := &admissionv1beta1.MutatingAdmissionPolicyBinding{}
	require.NoError(t, admin.Get(t.Context(), client.ObjectKey{Name: "argo-workflow-multicluster-dormant"}, binding))
	require.NoError(t, admin.Delete(t.Context(), binding))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		binding.ResourceVersion = ""
		assert.NoError(t, admin.Create(ctx, binding))
		assert.NoError(t, waitForPolicies(ctx))
	})
	var err error
	require.NoError(t, eventually(t.Context(), func() error {
		if err = admin.Create(t.Context(), workflow("without"), client.DryRunAll); err == nil {
			return assert.AnError
		}
		return nil
	}))
	require.True(t, apierrors.IsInvalid(err), err)
	require.ErrorContains(t, err, "add the label")
	wf := create(t, workflow("with", withInstanceID(contract.InstanceIDHub)))
	err = admin.Patch(t.Context(), wf, merge(`{"metadata":{"labels":{"`+contract.LabelInstanceID+`":null}}}`))
	require.True(t, apierrors.IsInvalid(err), err)

	require.NoError(t, admin.Patch(t.Context(), workflow(older), merge(`{"status":{"phase":"Succeeded"}}`)), "it was there before")
}

func TestOlderWorkflowsCanBeFinished(t *testing.T) {
	wf := workflow(older)
	require.NoError(t, admin.Patch(t.Context(), wf, merge(`{"status":{"phase":"Running"}}`)))
	assert.Equal(t, contract.InstanceIDHub, wf.GetLabels()[contract.LabelInstanceID])
}
