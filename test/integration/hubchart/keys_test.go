package hubchart

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// assertForbidden checks that a user may not change the object so, and is told why.
func assertForbidden(t *testing.T, user client.Client, object client.Object, patch, why string) {
	t.Helper()
	changed, _ := object.DeepCopyObject().(client.Object)
	err := user.Patch(t.Context(), changed, merge(patch))
	require.True(t, apierrors.IsForbidden(err), "%s: %v", patch, err)
	require.ErrorContains(t, err, why, patch)
}

func TestInternalKeysAreTheManagers(t *testing.T) {
	user, manager := aUser(t, "alice"), theManager(t)
	copied := map[string]string{contract.AnnotationAssigned: "another/1/cluster1", "note": "mine"}
	wf := workflow("internal", gen.WithAnnotations(copied), gen.WithFinalizers(contract.FinalizerDispatch))
	require.NoError(t, user.Create(t.Context(), wf), "a new Workflow may have what a client copied")

	for _, refused := range []string{
		annotation(contract.AnnotationAssigned, "forged"),
		`{"metadata":{"annotations":{"` + contract.AnnotationAssigned + `":null}}}`,
		annotation(contract.AnnotationStatusHash, "forged"),
		`{"metadata":{"annotations":null}}`,
		label(contract.LabelWorkflowUID, "forged"),
	} {
		assertForbidden(t, user, wf, refused, "are internal: leave them as they are")
	}
	for _, allowed := range []string{
		annotation("note", "changed"),
		`{"metadata":{"annotations":{"note":null}}}`,
		label("team", "a"),
		`{"spec":{"shutdown":"Terminate"}}`,
		`{"metadata":{"finalizers":null}}`,
	} {
		require.NoError(t, user.Patch(t.Context(), wf.DeepCopy(), merge(allowed)), allowed)
	}
	for _, client := range []client.Client{manager, admin} {
		for _, patch := range []string{annotation(contract.AnnotationStatusHash, string(wf.GetUID())), label(contract.LabelWorkflowUID, "u")} {
			require.NoError(t, client.Patch(t.Context(), wf.DeepCopy(), merge(patch)), patch)
		}
	}
	require.NoError(t, user.Delete(t.Context(), wf))

	plain := create(t, workflow("without-annotations"))
	require.NoError(t, user.Patch(t.Context(), plain, merge(`{"spec":{"suspend":true}}`)))
}

// Where the hub is a managed cluster of its own, its agent notes on what runs there what it does. Of a Workflow for the managed clusters
// nobody reads that.
func TestTheAgentOfTheHubItselfWritesItsKeys(t *testing.T) {
	agent := aUser(t, "agent")
	wf := create(t, workflow("runs-on-the-hub"))
	for key := range contract.AnnotationsTo(gen.RemoteWorkflow(wf, team)) {
		require.NoError(t, agent.Patch(t.Context(), wf.DeepCopy(), merge(annotation(key, "restored"))), key)
	}
	for _, key := range []string{contract.AnnotationControls, contract.AnnotationEdits, contract.AnnotationTerminated} {
		require.NoError(t, agent.Patch(t.Context(), wf.DeepCopy(), merge(annotation(key, "noted"))), key)
	}
	for _, key := range []string{contract.AnnotationAssigned, contract.AnnotationStatusHash} {
		assertForbidden(t, agent, wf, annotation(key, "forged"), "are internal")
	}
}

func TestWhoMayChangeARemoteWorkflowMayNotMakeItAnothers(t *testing.T) {
	user := aUser(t, "bob")
	rw := gen.RemoteWorkflow(create(t, workflow("of-another")), team)
	require.NoError(t, admin.Create(t.Context(), rw))
	remote := &unstructured.Unstructured{}
	remote.SetAPIVersion("workflow.open-cluster-management.io/v1alpha1")
	remote.SetKind("RemoteWorkflow")
	remote.SetNamespace(rw.Namespace)
	remote.SetName(rw.Name)
	assertForbidden(t, user, remote, label(contract.LabelWorkflowUID, "forged"), "are internal")
	assertForbidden(t, user, remote, `{"metadata":{"labels":null}}`, "are internal")
	require.NoError(t, user.Patch(t.Context(), remote.DeepCopy(), merge(label("team", "a"))))
	require.NoError(t, theManager(t).Patch(t.Context(), remote.DeepCopy(), merge(label(contract.LabelWorkflowUID, "another"))))
	require.NoError(t, admin.Delete(t.Context(), rw))
}

// TestManyKeysKeepTheManagerFromNothing has a user fill the annotations: what a policy may cost is limited, and what costs more is refused.
func TestManyKeysKeepTheManagerFromNothing(t *testing.T) {
	many := map[string]string{}
	for i := range 30_000 {
		many[fmt.Sprintf("k%d", i)] = ""
	}
	user, wf := aUser(t, "mallory"), dispatched(t, "many", gen.WithAnnotations(many))
	manager := theManager(t)
	for _, patch := range []string{
		`{"status":{"phase":"Running"},"metadata":{"annotations":{"` + contract.AnnotationStatusHash + `":"hash"}}}`,
		`{"metadata":{"annotations":{"` + contract.AnnotationAssigned + `":null,"` + contract.AnnotationCluster + `":null}}}`,
	} {
		require.NoError(t, manager.Patch(t.Context(), wf.DeepCopy(), merge(patch)), patch)
	}
	assertForbidden(t, user, wf, annotation(contract.AnnotationStatusHash, "forged"), "are internal")
	require.NoError(t, user.Patch(t.Context(), wf.DeepCopy(), merge(`{"metadata":{"finalizers":null}}`)))
}

func TestADispatchedWorkflowStaysWhereItIs(t *testing.T) {
	user := aUser(t, "carol")
	wf := dispatched(t, "sent")
	const where, enabled = "has been dispatched to cluster cluster1. Delete it and create it again to run it elsewhere, or argo resubmit it",
		"has been dispatched to cluster cluster1. Delete it to end its run"
	for patch, why := range map[string]string{
		annotation(contract.AnnotationCluster, "cluster2"):                         where,
		`{"metadata":{"annotations":{"` + contract.AnnotationCluster + `":null}}}`: where,
		annotation(contract.AnnotationClusterNamespace, "other"):                   where,
		annotation(contract.AnnotationPlacement, "other"):                          where,
		`{"metadata":{"labels":{"` + contract.LabelEnable + `":null}}}`:            enabled,
		label(contract.LabelEnable, "false"):                                       enabled,
	} {
		assertForbidden(t, user, wf, patch, why)
	}
	placement := annotation(contract.AnnotationPlacement, "other")
	assertForbidden(t, user, wf, placement, "annotation "+contract.AnnotationPlacement+" cannot be changed")
	for _, allowed := range []string{
		annotation(contract.AnnotationRelease, "true"), annotation("note", "mine"), label("team", "a"), `{"spec":{"shutdown":"Stop"}}`,
		annotation(contract.AnnotationCluster, "cluster1"),
	} {
		require.NoError(t, user.Patch(t.Context(), wf.DeepCopy(), merge(allowed)), allowed)
	}
	for _, client := range []client.Client{theManager(t), admin} {
		for _, patch := range []string{
			`{"metadata":{"annotations":{"` + contract.AnnotationCluster + `":null}}}`, annotation(contract.AnnotationCluster, "cluster1"),
			`{"metadata":{"labels":{"` + contract.LabelEnable + `":null}}}`, label(contract.LabelEnable, contract.LabelEnableValue),
		} {
			require.NoError(t, client.Patch(t.Context(), wf.DeepCopy(), merge(patch)), patch)
		}
	}
}

func TestAWorkflowThatIsNotDispatchedCanBeChanged(t *testing.T) {
	user := aUser(t, "dave")
	for name, mods := range map[string][]gen.Mod{
		"queued":        {gen.WithPlacement("all")},
		"copied":        {gen.WithPlacement("all"), gen.WithAssignment("cluster1"), gen.WithFinalizers(contract.FinalizerDispatch)},
		"never-started": {gen.WithPlacement("all"), gen.WithAssignment("cluster1")},
	} {
		wf := create(t, workflow(name, mods...))
		for _, patch := range []string{
			annotation(contract.AnnotationCluster, "cluster2"), annotation(contract.AnnotationPlacement, "other"),
			label(contract.LabelEnable, "false"), `{"metadata":{"finalizers":null}}`,
		} {
			require.NoError(t, user.Patch(t.Context(), wf.DeepCopy(), merge(patch)), "%s: %s", name, patch)
		}
	}
}

// TestArgosClientsWorkOnADispatchedWorkflow does what the argo CLI does.
func TestArgosClientsWorkOnADispatchedWorkflow(t *testing.T) {
	user := aUser(t, "erin")
	sent := dispatched(t, "argo")
	key := client.ObjectKeyFromObject(sent)

	// argo retry and argo resume read the whole Workflow, and write it as a whole.
	wf := contract.NewWorkflow()
	require.NoError(t, user.Get(t.Context(), key, wf))
	gen.WithSpecField(true, "suspend")(wf)
	gen.WithStatus("Running")(wf)
	wf.SetLabels(map[string]string{
		contract.LabelEnable: contract.LabelEnableValue, contract.LabelInstanceID: contract.InstanceIDHub, contract.LabelPhase: "Running",
	})
	require.NoError(t, user.Update(t.Context(), wf))
	assert.Equal(t, "Running", contract.Phase(wf))

	// argo resubmit copies all annotations, and labels, into a new Workflow.
	resubmitted := workflow("argo-resubmitted", gen.WithAnnotations(wf.GetAnnotations()), gen.WithLabels(wf.GetLabels()))
	require.NoError(t, user.Create(t.Context(), resubmitted))
	assert.Empty(t, contract.AssignedCluster(resubmitted), "the copied assignment does not count")
	require.NoError(t, user.Patch(t.Context(), resubmitted, merge(annotation(contract.AnnotationCluster, "cluster2"))))

	// argo delete --force removes the finalizers, and then deletes.
	require.NoError(t, user.Patch(t.Context(), wf, merge(`{"metadata":{"finalizers":null}}`)))
	require.NoError(t, user.Delete(t.Context(), wf))
	require.True(t, apierrors.IsNotFound(admin.Get(t.Context(), key, wf)))
}

// TestOnlyThoseWhoMayBindASetOpenMoreOfIt has a tenant who may change bindings, but bind no set, and an administrator of one set.
func TestOnlyThoseWhoMayBindASetOpenMoreOfIt(t *testing.T) {
	bindings := rbacv1.PolicyRule{
		APIGroups: []string{"cluster.open-cluster-management.io"}, Resources: []string{"managedclustersetbindings"}, Verbs: []string{"*"},
	}
	binds := rbacv1.PolicyRule{
		APIGroups: bindings.APIGroups, Resources: []string{"managedclustersets/bind"}, ResourceNames: []string{"gpu"}, Verbs: []string{"create"},
	}
	tenant, owner := userWith(t, "tenant", bindings), userWith(t, "owner", bindings, binds)
	with := func(name string, annotations map[string]string) client.Object {
		return gen.ManagedClusterSetBinding(name, gen.InNamespace(team), gen.WithAnnotations(annotations))
	}
	opening := map[string]string{contract.AnnotationNamespaces: "another", contract.AnnotationExecutor: team + "/deployer"}
	require.NoError(t, eventually(t.Context(), func() error {
		if err := tenant.Create(t.Context(), with("gpu", opening), client.DryRunAll); !apierrors.IsForbidden(err) {
			return fmt.Errorf("the policy does not refuse it: %w", err)
		}
		return nil
	}))
	require.ErrorContains(t, tenant.Create(t.Context(), with("gpu", opening)), "only those may change annotation "+contract.AnnotationNamespaces+
		", "+contract.AnnotationExecutor+" who may bind ManagedClusterSet gpu")
	require.NoError(t, owner.Create(t.Context(), with("gpu", opening)))
	err := owner.Create(t.Context(), with("others", opening))
	require.True(t, apierrors.IsForbidden(err), "%v", err)

	binding := with("gpu", nil)
	for _, patch := range []string{
		annotation(contract.AnnotationNamespaces, "*"),
		annotation(contract.AnnotationExecutor, "a/b"),
		annotation(contract.AnnotationMaxWorkflows, "1000"),
		`{"metadata":{"annotations":{"` + contract.AnnotationExecutor + `":null}}}`,
		`{"metadata":{"annotations":null}}`,
	} {
		assertForbidden(t, tenant, binding, patch, "who may bind ManagedClusterSet gpu")
		require.NoError(t, owner.Patch(t.Context(), with("gpu", nil), merge(patch), client.DryRunAll), patch)
	}
	require.NoError(t, tenant.Patch(t.Context(), with("gpu", nil), merge(annotation("note", "mine"))))
	require.NoError(t, tenant.Create(t.Context(), with("others", nil)), "Open Cluster Management's webhook judges that")
}
