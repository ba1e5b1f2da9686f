package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// manifest decodes the documents of one of the agent's manifests, strictly, into the objects.
func manifest(t *testing.T, name string, into ...any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "manifests", "agent", "templates", name))
	require.NoError(t, err)
	assert.NotContains(t, string(raw), "{{", "these are the same for every cluster")
	documents := bytes.Split(raw, []byte("\n---\n"))
	require.Len(t, documents, len(into))
	for i, document := range documents {
		require.NoError(t, yaml.UnmarshalStrict(document, into[i]))
	}
}

func TestTheAgentMayDoOnTheClusterWhatItNeeds(t *testing.T) {
	var agent, work rbacv1.ClusterRole
	manifest(t, "clusterrole.yaml", &agent, &work)
	assert.Equal(t, "open-cluster-management:argo-workflow-multicluster:agent", agent.Name)
	assert.Empty(t, agent.Labels)
	assert.Equal(t, []rbacv1.PolicyRule{
		{APIGroups: []string{"argoproj.io"}, Resources: []string{"workflows"}, Verbs: []string{"get", "list", "watch", "patch"}},
		{APIGroups: []string{"", "events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
	}, agent.Rules)
	assert.Equal(t, map[string]string{"open-cluster-management.io/aggregate-to-work": "true"}, work.Labels)
	all := []string{"get", "list", "watch", "create", "update", "patch", "delete"}
	assert.Equal(t, []rbacv1.PolicyRule{
		{APIGroups: []string{"argoproj.io"}, Resources: []string{"workflows"}, Verbs: all},
		{
			APIGroups: []string{"admissionregistration.k8s.io"},
			Resources: []string{"validatingadmissionpolicies", "validatingadmissionpolicybindings"}, Verbs: all,
		},
	}, work.Rules)
}

func TestAdoptionIsDenied(t *testing.T) {
	var policy admissionregistrationv1.ValidatingAdmissionPolicy
	var binding admissionregistrationv1.ValidatingAdmissionPolicyBinding
	manifest(t, "deny-adoption.yaml", &policy, &binding)
	require.NotNil(t, policy.Spec.FailurePolicy)
	assert.Equal(t, admissionregistrationv1.Fail, *policy.Spec.FailurePolicy)
	require.Len(t, policy.Spec.MatchConstraints.ResourceRules, 1)
	rule := policy.Spec.MatchConstraints.ResourceRules[0]
	assert.Equal(t, []admissionregistrationv1.OperationType{admissionregistrationv1.Update}, rule.Operations)
	assert.Equal(t, []string{"argoproj.io"}, rule.APIGroups)
	assert.Equal(t, []string{"workflows"}, rule.Resources)
	assert.Equal(t, policy.Name, binding.Spec.PolicyName)
	assert.Equal(t, []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny}, binding.Spec.ValidationActions)
}
