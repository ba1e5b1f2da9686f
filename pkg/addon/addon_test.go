package addon

import (
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"open-cluster-management.io/addon-framework/pkg/agent"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestPermissionsAreBoundToTheOneAgentAndToNoGroup(t *testing.T) {
	cluster, addon := gen.ManagedCluster("cluster1"), gen.ManagedClusterAddOn("cluster1")
	user := agent.DefaultUser("cluster1", contract.AddonName, "agent")
	registration := addonv1beta1.RegistrationConfig{Type: addonv1beta1.KubeClient, KubeClient: &addonv1beta1.KubeClientConfig{}}
	registration.KubeClient.Subject.User = user
	registration.KubeClient.Subject.Groups = agent.DefaultGroups("cluster1", contract.AddonName)
	addon.Status.Registrations = []addonv1beta1.RegistrationConfig{registration}

	kubeClient := fake.NewClientset()
	require.NoError(t, permissions(kubeClient, newFakeClusters())(t.Context(), cluster, addon))

	binding, err := kubeClient.RbacV1().RoleBindings("cluster1").Get(t.Context(), roleName, metav1.GetOptions{})
	require.NoError(t, err)
	require.Len(t, binding.Subjects, 1)
	assert.Equal(t, rbacv1.UserKind, binding.Subjects[0].Kind)
	assert.Equal(t, user, binding.Subjects[0].Name)
	assert.Equal(t, roleName, binding.RoleRef.Name)
	role, err := kubeClient.RbacV1().Roles("cluster1").Get(t.Context(), roleName, metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, agentRole().Rules, role.Rules)
}

func TestPermissionsWaitForTheRegistration(t *testing.T) {
	kubeClient := fake.NewClientset()
	clusterClient := newFakeClusters()
	err := permissions(kubeClient, clusterClient)(t.Context(), gen.ManagedCluster("cluster1"), gen.ManagedClusterAddOn("cluster1"))
	var notReady *agent.SubjectNotReadyError
	require.ErrorAs(t, err, &notReady)
	assert.Empty(t, kubeClient.Actions())
	assert.Empty(t, clusterClient.Actions())
}

func TestEachClusterHasAScoreThatGoesWithTheAddon(t *testing.T) {
	clusterClient, addon := newFakeClusters(), gen.ManagedClusterAddOn("cluster1")
	creations := func() int {
		return len(slices.DeleteFunc(clusterClient.Actions(), func(action clienttesting.Action) bool { return action.GetVerb() != "create" }))
	}
	for range 2 {
		require.NoError(t, makeScore(t.Context(), clusterClient, addon))
	}
	assert.Equal(t, 1, creations(), "what is there is left alone")
	scores := clusterClient.ClusterV1alpha1().AddOnPlacementScores("cluster1")
	score, err := scores.Get(t.Context(), contract.ScoreName, metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, []metav1.OwnerReference{{
		APIVersion: "addon.open-cluster-management.io/v1beta1", Kind: "ManagedClusterAddOn", Name: addon.Name, UID: addon.UID,
	}}, score.OwnerReferences)

	require.NoError(t, scores.Delete(t.Context(), contract.ScoreName, metav1.DeleteOptions{}))
	deleted := metav1.Now()
	addon.DeletionTimestamp = &deleted
	require.NoError(t, makeScore(t.Context(), clusterClient, addon))
	assert.Equal(t, 1, creations(), "none is made for an addon that is being deleted")
}

func TestAScoreThatCannotBeMade(t *testing.T) {
	for name, test := range map[string]struct {
		verb    string
		answer  error
		problem string
	}{
		"is no fault where somebody else has just made it": {"create", apierrors.NewAlreadyExists(schema.GroupResource{}, ""), ""},
		"is no fault where OCM has no scores":              {"create", apierrors.NewNotFound(schema.GroupResource{}, ""), ""},
		"is tried again where it may not be read":          {"get", apierrors.NewForbidden(schema.GroupResource{}, "", nil), "forbidden"},
		"is tried again where the hub refuses it":          {"create", apierrors.NewInternalError(errors.New("away")), "away"},
	} {
		t.Run(name, func(t *testing.T) {
			clusterClient := newFakeClusters()
			clusterClient.PrependReactor(test.verb, "*", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, nil, test.answer
			})
			err := makeScore(t.Context(), clusterClient, gen.ManagedClusterAddOn("cluster1"))
			if test.problem == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.problem)
			}
		})
	}
}
