package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// local builds a Workflow that a user of a managed cluster has created there, with these owners.
func local(s *space, name string, owners ...metav1.OwnerReference) *unstructured.Unstructured {
	wf := gen.Workflow(name, gen.InNamespace(s.name))
	wf.SetLabels(nil)
	wf.SetOwnerReferences(owners)
	return wf
}

func owner(apiVersion, kind, name string) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: apiVersion, Kind: kind, Name: name, UID: types.UID("uid-of-" + name)}
}

func workOwner(name string) metav1.OwnerReference {
	return owner("work.open-cluster-management.io/v1", "AppliedManifestWork", name)
}

// becomes changes the owners of a Workflow on the cluster, and returns the API server's answer.
func becomes(t *testing.T, wf *unstructured.Unstructured, opts []client.UpdateOption, owners ...metav1.OwnerReference) error {
	t.Helper()
	require.NoError(t, cluster1.client.Get(t.Context(), client.ObjectKeyFromObject(wf), wf))
	wf.SetOwnerReferences(owners)
	return cluster1.client.Update(t.Context(), wf, opts...)
}

// waitForPolicy waits until the API server enforces the policy, which takes it a moment.
func waitForPolicy(t *testing.T, s *space) {
	t.Helper()
	probe := local(s, "probe")
	require.NoError(t, cluster1.client.Create(t.Context(), probe))
	eventually(t, func() error {
		if err := becomes(t, probe, []client.UpdateOption{client.DryRunAll}, workOwner("probe")); !apierrors.IsForbidden(err) {
			return fmt.Errorf("want the policy's refusal, got %w", err)
		}
		return nil
	})
}

func TestPolicyOfTheAgentsManifestsKeepsTheWorkAgentFromAdoptingAWorkflow(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	waitForPolicy(t, s)
	cronWorkflow := owner("argoproj.io/v1alpha1", "CronWorkflow", "nightly")

	foreign := local(s, "foreign", cronWorkflow)
	require.NoError(t, cluster1.client.Create(t.Context(), foreign))
	assertAdoptionDenied(t, becomes(t, foreign, nil, cronWorkflow, workOwner("adopter")), "by an update")
	patch := fmt.Appendf(nil, `{"metadata":{"ownerReferences":[{"apiVersion":"work.open-cluster-management.io/v1",`+
		`"kind":"AppliedManifestWork","name":"adopter","uid":"uid-of-adopter"}]}}`)
	assertAdoptionDenied(t, cluster1.client.Patch(t.Context(), foreign, client.RawPatch(types.MergePatchType, patch)), "by a patch")
	applied := local(s, "foreign", workOwner("adopter"))
	applied.SetUID("")
	assertAdoptionDenied(t, cluster1.client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(applied),
		client.FieldOwner("work-agent"), client.ForceOwnership), "by server-side apply")
	require.NoError(t, becomes(t, foreign, nil, owner("argoproj.io/v1alpha1", "WorkflowEventBinding", "other")), "an owner of another kind")
	require.NoError(t, becomes(t, foreign, nil))

	sent := local(s, "sent", workOwner("sender"))
	require.NoError(t, cluster1.client.Create(t.Context(), sent), "created with it")
	assertAdoptionDenied(t, becomes(t, sent, nil, workOwner("sender"), workOwner("adopter")), "of one that another ManifestWork has sent")
	assertAdoptionDenied(t, becomes(t, sent, nil, workOwner("adopter")), "in place of the one that has sent it")
	require.NoError(t, becomes(t, sent, nil, workOwner("sender"), cronWorkflow))
}

func TestPolicyOfTheAgentsManifestsLetsAWorkflowBeHandedOverWhenTheHubsAddressChanges(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	waitForPolicy(t, s)
	before, after := workOwner("0a1b-hello-abc"), workOwner("2c3d-hello-abc")
	wf := local(s, "hello", before)
	require.NoError(t, cluster1.client.Create(t.Context(), wf))
	assertAdoptionDenied(t, becomes(t, wf, nil, before, workOwner("2c3d-hello-def")), "by another ManifestWork of the same Workflow")
	assertAdoptionDenied(t, becomes(t, wf, nil, before, workOwner("hello-abc")), "by one of another hub with such a name")
	require.NoError(t, becomes(t, wf, nil, before, after))
	require.NoError(t, becomes(t, wf, nil, after))
}

func assertAdoptionDenied(t *testing.T, err error, how string) {
	t.Helper()
	assert.True(t, apierrors.IsForbidden(err), "adopted %s: %v", how, err)
	assert.ErrorContains(t, err, "it is never adopted: delete it there, or create the Workflow on the hub under another name", how)
}

func TestPolicyOfTheAgentsManifestsLetsEverythingElsePass(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	waitForPolicy(t, s)
	for name, owners := range map[string][]metav1.OwnerReference{"local": nil, "sent": {workOwner("sender")}} {
		wf := local(s, name, owners...)
		require.NoError(t, cluster1.client.Create(t.Context(), wf))
		for what, patch := range map[string]string{
			"labels":     `{"metadata":{"labels":{"a":"b"}}}`,
			"spec":       `{"spec":{"suspend":true}}`,
			"status":     `{"status":{"phase":"Running"}}`,
			"finalizers": `{"metadata":{"finalizers":["example.com/mine"]}}`,
			"release":    `{"metadata":{"finalizers":null}}`,
		} {
			require.NoError(t, cluster1.client.Patch(t.Context(), wf, client.RawPatch(types.MergePatchType, []byte(patch))), what)
		}
		require.NoError(t, becomes(t, wf, nil), "the removal of owners")
		assertAdoptionDenied(t, becomes(t, wf, nil, workOwner("sender")), "again")
		require.NoError(t, cluster1.client.Delete(t.Context(), wf))
	}
}

func TestWorkflowThatIsOnTheClusterAlreadyIsLeftAloneAndTheRunWaitsForItsName(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	theirs := local(s, "taken")
	require.NoError(t, cluster1.client.Create(t.Context(), theirs))
	r := s.create("taken", cluster1)
	r.waitFor("Pending", "there is already a Workflow "+r.key.String()+" that is not a copy of this one; it is left alone")
	assert.Equal(t, theirs.GetResourceVersion(), r.must(cluster1).GetResourceVersion())

	require.NoError(t, cluster1.client.Delete(t.Context(), theirs))
	r.runs()
	assert.Len(t, s.seen[cluster1].open("taken"), 2, "theirs and ours")
	assert.Equal(t, "cluster1", contract.AssignedCluster(r.must(theHub)))
	r.isGone()
}
