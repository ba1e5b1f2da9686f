package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// large is a parameter that does not fit into a ManifestWork.
var large = strings.Repeat("x", 600<<10)

// refused is a Workflow that is not dispatched until something is put right.
type refused struct {
	name string
	// mods say in what the Workflow differs from one that runs on cluster1.
	mods []gen.Mod
	// prepare is done before the Workflow is created.
	prepare func(*space)
	unbound bool
	// phase, message and reason are what the Workflow and an Event say.
	phase, message, reason string
	// cure takes the cause away; without one, there is none but another Workflow.
	cure func(*space, *run)
}

func annotate(key, value string) gen.Mod { return gen.WithAnnotations(map[string]string{key: value}) }

// edited is a cure by an edit of the hub's copy.
func edited(patch string) func(*space, *run) {
	return func(_ *space, r *run) { r.edit(theHub, patch) }
}

func chosen(cluster string) string {
	return fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, contract.AnnotationCluster, cluster)
}

var refusedWorkflows = []refused{
	{
		name:    "its Placement does not exist",
		mods:    []gen.Mod{annotate(contract.AnnotationCluster, ""), gen.WithPlacement("later")},
		message: `waiting for Placement "later": there is none of this name`, reason: "PlacementNotFound",
		cure: func(s *space, _ *run) { s.placement("later", "cluster1") },
	},
	{
		name:    "its Placement selects no cluster",
		mods:    []gen.Mod{annotate(contract.AnnotationCluster, ""), gen.WithPlacement("empty")},
		prepare: func(s *space) { s.placement("empty") },
		message: `waiting for Placement "empty" to select a cluster`, reason: "NoClusterSelected",
		cure: func(s *space, _ *run) { s.placement("empty", "cluster1") },
	},
	{
		name:    "its Placement selects only a cluster without the addon",
		mods:    []gen.Mod{annotate(contract.AnnotationCluster, ""), gen.WithPlacement("bare")},
		prepare: func(s *space) { s.placement("bare", "cluster3") },
		message: "addon not enabled", reason: "NoUsableCluster",
		cure: func(s *space, _ *run) { s.placement("bare", "cluster1", "cluster3") },
	},
	{
		name:    "it names neither a Placement nor a cluster",
		mods:    []gen.Mod{annotate(contract.AnnotationCluster, "")},
		message: "no cluster to run on: set the annotation", reason: "NoTarget",
		cure: edited(chosen("cluster1")),
	},
	{
		name:    "its cluster is unknown",
		mods:    []gen.Mod{gen.WithCluster("cluster99")},
		message: `waiting for managed cluster "cluster99"`, reason: "ClusterNotFound",
		cure: edited(chosen("cluster1")),
	},
	{
		name: "its cluster is not bound to the namespace", unbound: true,
		message: `managed cluster "cluster1" is not open to namespace`, reason: "ClusterNotBound",
		cure: func(s *space, _ *run) { s.bind() },
	},
	{
		name:    "its name is longer than 63 characters",
		mods:    []gen.Mod{func(o client.Object) { o.SetName(strings.Repeat("n", 64)) }},
		message: "the name has 64 characters, and Argo runs Workflows with at most 63", reason: "InvalidName",
	},
	{
		name:    "it is to run in another namespace",
		mods:    []gen.Mod{annotate(contract.AnnotationClusterNamespace, "kube-system")},
		message: "no Workflow is sent to namespace kube-system", reason: "NamespaceNotAllowed",
		cure: edited(`{"metadata":{"annotations":{"workflows.argoproj.io/ocm-managed-cluster-namespace":null}}}`),
	},
	{
		name: "it is too large for a ManifestWork",
		mods: []gen.Mod{gen.WithSpecField([]any{
			map[string]any{"name": "large", "value": large},
		}, "arguments", "parameters")},
		message: "and a ManifestWork holds at most", reason: "CannotTravel",
		cure: edited(`{"spec":{"arguments":null}}`),
	},
	{
		name: "a controller on the hub runs it", phase: "Running",
		mods:    []gen.Mod{gen.WithStatus("Running", map[string]any{"startedAt": "2026-01-02T15:04:05Z"})},
		message: "already has a status that this hub did not write", reason: "ForeignStatus",
		cure: edited(`{"status":null}`),
	},
	{
		name: "it was restored from a backup", phase: "Succeeded",
		mods:   []gen.Mod{gen.WithStatus("Succeeded", map[string]any{"finishedAt": "2026-01-02T15:04:05Z"})},
		reason: "ForeignStatus",
		cure:   edited(`{"status":null}`),
	},
}

func TestWorkflowIsHeldWithAReasonAndRunsOnceThatIsGone(t *testing.T) {
	t.Parallel()
	for _, c := range refusedWorkflows {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t)
		})
	}
}

func (c refused) test(t *testing.T) {
	t.Helper()
	s := newUnboundSpace(t)
	if !c.unbound {
		s.bind()
	}
	if c.prepare != nil {
		c.prepare(s)
	}
	if c.phase == "" {
		c.phase = contract.PhasePending
	}
	h := s.record(cluster1)
	r := s.create(s.hello("held", append([]gen.Mod{on(cluster1)}, c.mods...)...))
	r.waitForEvent(c.reason, c.message)
	r.waitForMessage(c.phase, c.message)
	labtest.Holds(t, time.Second, func() error { return errors.Join(r.wants(theHub, c.phase, c.message), r.traces()) })
	if c.cure == nil {
		r.delete(theHub)
		labtest.Eventually(t, patience, func() error { return r.gone(theHub) })
		return
	}
	c.cure(s, r)
	r.waitFor("Succeeded")
	labtest.Eventually(t, patience, func() error { return r.mirrored(cluster1) })
	require.NoError(t, h.ran(1, 1))
}

func TestInvalidValuesAreRefusedByTheAPIServer(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	for message, mod := range map[string]gen.Mod{
		"the name of a managed cluster has at most 63 lower case letters": gen.WithCluster("../Cluster_1"),
		`the value must be "true"`:                                        gen.WithLabels(map[string]string{contract.LabelEnable: "yes"}),
	} {
		err := theHub.client.Create(t.Context(), s.hello("invalid", on(cluster1), mod))
		require.True(t, apierrors.IsInvalid(err), err)
		require.ErrorContains(t, err, message)
	}
}

func TestWorkflowForAClusterThatJoinsLaterIsSentThere(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	r := s.create(s.hello("early", gen.WithCluster("e2e-later")))
	r.waitForEvent("ClusterNotFound", "e2e-later")
	later := gen.ManagedCluster("e2e-later", gen.WithLabels(map[string]string{contract.LabelWithoutAgent: "true"}))
	require.NoError(t, theHub.client.Create(t.Context(), later))
	r.waitForMessage("Pending", "summary only: cluster e2e-later runs no agent")
	r.delete(theHub)
	labtest.Eventually(t, patience, func() error { return errors.Join(r.gone(theHub), r.traces()) })
	require.NoError(t, theHub.client.Delete(t.Context(), later))
}

func TestClusterWithoutTheAgentRunsWhatIsSentDirectlyAndReportsASummary(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	h := s.record(cluster3)
	r := s.create(s.hello("direct", on(cluster3)))
	r.waitForMessage("Succeeded", "summary only: cluster cluster3 runs no agent")
	status := contract.Status(r.must(theHub))
	assert.NotEmpty(t, status["startedAt"])
	assert.NotEmpty(t, status["finishedAt"])
	assert.Equal(t, "1/1", status["progress"])
	require.NoError(t, h.ran(1, 1))
	r.assertPodsLabelled(cluster3, 1)
	r.delete(theHub)
	r.waitUntilGone(cluster3)
}

func TestWorkflowOfTheSameNameWaitsUntilTheEarlierOneIsRemoved(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	h := s.record(cluster1)
	first := s.create(s.hello("again", on(cluster1)))
	first.waitFor("Succeeded")
	first.edit(cluster1, `{"metadata":{"finalizers":["e2e.test/hold"]}}`)
	first.forceDelete(theHub)
	second := s.create(s.hello("again", on(cluster1)))
	second.waitForEvent("NameTaken", "is still being removed")
	second.waitForMessage("Pending", "waiting for the name "+s.name+"/again on cluster cluster1")
	labtest.Holds(t, 2*resync, func() error {
		return errors.Join(second.wants(theHub, "Pending", "waiting for the name"), second.traces(), h.ran(1, 1))
	})
	first.edit(cluster1, `{"metadata":{"finalizers":null}}`)
	second.waitFor("Succeeded")
	require.NoError(t, h.ran(2, 2))
	require.NoError(t, first.traces())
}

func TestWorkflowOfTheSameNameOnTheClusterIsNeitherAdoptedNorRunNorDeleted(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	h := s.record(cluster1)
	users := s.hello("taken")
	users.SetLabels(nil)
	require.NoError(t, cluster1.client.Create(t.Context(), users))
	labtest.Eventually(t, patience, func() error {
		return errors.Join(cluster1.client.Get(t.Context(), client.ObjectKeyFromObject(users), users), wantPhase(users, "Succeeded"))
	})
	untouched := func() error {
		now := contract.NewWorkflow()
		if err := cluster1.client.Get(t.Context(), client.ObjectKeyFromObject(users), now); err != nil {
			return err
		}
		if now.GetUID() != users.GetUID() || !now.GetDeletionTimestamp().IsZero() ||
			len(now.GetOwnerReferences()) > 0 || len(now.GetFinalizers()) > 0 || now.GetLabels()[contract.LabelCluster] != "" ||
			!equality.Semantic.DeepEqual(now.Object["spec"], users.Object["spec"]) {
			return fmt.Errorf("the user's Workflow was changed: %v", now)
		}
		return errors.Join(h.ran(1, 1), wantPhase(now, "Succeeded"))
	}

	first := s.create(s.hello("taken", on(cluster1)))
	first.waitForMessage("Pending", "cluster cluster1: ")
	first.waitForMessage("Pending", "already")
	labtest.Holds(t, resync, func() error { return errors.Join(untouched(), first.wants(theHub, "Pending", "already")) })
	first.delete(theHub)
	labtest.Eventually(t, patience, func() error { return errors.Join(first.gone(theHub), first.traces()) })
	require.NoError(t, untouched())

	second := s.create(s.hello("taken", on(cluster1)))
	second.waitForMessage("Pending", "already")
	require.NoError(t, untouched())
	require.NoError(t, cluster1.client.Delete(t.Context(), users))
	second.waitFor("Succeeded")
	labtest.Eventually(t, patience, func() error { return second.mirrored(cluster1) })
	require.NoError(t, h.ran(2, 2))
}

func wantPhase(wf *unstructured.Unstructured, phase string) error {
	if got := contract.Phase(wf); got != phase {
		return fmt.Errorf("phase is %q, want %q", got, phase)
	}
	return nil
}

func TestWorkflowWhoseNamespaceItsClusterLacksSaysSoAndRunsOnceItIsThere(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	r := s.lacksItsNamespace()
	s.createNamespace(cluster2)
	r.waitFor("Succeeded")
}

func TestWorkflowWhoseNamespaceItsClusterLacksGetsItWhenItsBindingSaysSo(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	r := s.lacksItsNamespace()
	s.annotateBinding(map[string]string{contract.AnnotationCreateNamespace: "true"})
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.name}}
	labtest.Eventually(t, patience, func() error {
		return cluster2.client.Get(t.Context(), client.ObjectKeyFromObject(namespace), namespace)
	})
	for _, right := range gen.ExecutorRights(s.name) {
		require.NoError(t, cluster2.client.Create(t.Context(), right))
	}
	r.waitFor("Succeeded")
	r.delete(theHub)
	r.waitUntilGone(cluster2)
	require.NoError(t, cluster2.client.Get(t.Context(), client.ObjectKeyFromObject(namespace), namespace))
	assert.Nil(t, namespace.DeletionTimestamp, "it stays")
	assert.Empty(t, namespace.OwnerReferences)
}

// lacksItsNamespace creates a Workflow for cluster2, where its namespace is not there, and waits until it says so.
func (s *space) lacksItsNamespace() *run {
	t := s.t
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.name}}
	require.NoError(t, cluster2.client.Delete(t.Context(), namespace))
	labtest.Eventually(t, patience, func() error {
		err := cluster2.client.Get(t.Context(), client.ObjectKeyFromObject(namespace), namespace)
		if err == nil {
			err = errors.New("the namespace is still there")
		}
		return client.IgnoreNotFound(err)
	})
	r := s.create(s.hello("homeless", on(cluster2)))
	r.waitForMessage("Pending", "cluster cluster2: cannot create the Workflow: ")
	r.waitForEvent("ApplyFailed", fmt.Sprintf("namespaces %q not found", s.name))
	return r
}

func TestClusterWithoutArgosCRDSaysSoAndRunsTheWorkflowOnceItIsThere(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	r := s.create(s.hello("no-argo", on(cluster4)))
	r.waitForMessage("Pending", `waiting for managed cluster "cluster4": the addon argo-workflow-multicluster is not available`)
	r.waitForEvent("AgentUnavailable", `waiting for managed cluster "cluster4"`)

	installCRD(t, cluster4)
	labtest.Eventually(t, patience, func() error {
		wf, err := r.get(cluster4)
		if err == nil && wf.GetLabels()[contract.LabelInstanceID] != "" {
			err = errors.New("the gate is closed")
		}
		return err
	})
	r.delete(theHub)
	r.waitUntilGone(cluster4)
}

// installCRD gives a cluster the Workflow CRD that another one has, until the test ends.
func installCRD(t *testing.T, c *cluster) {
	t.Helper()
	crd := &unstructured.Unstructured{}
	crd.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	require.NoError(t, cluster1.client.Get(t.Context(), client.ObjectKey{Name: "workflows.argoproj.io"}, crd))
	crd.Object["metadata"] = map[string]any{"name": crd.GetName()}
	delete(crd.Object, "status")
	require.NoError(t, c.Apply(t.Context(), "", crd))
	t.Cleanup(func() { assert.NoError(t, c.client.Delete(context.Background(), crd)) })
}

// The ServiceAccount that a binding names bounds what OCM's work agent creates for the namespace. One that is not there may nothing.
func TestWorkflowWhoseExecutorMayNotCreateItSaysSoAndRunsWithOneThatMay(t *testing.T) {
	t.Parallel()
	s := newUnboundSpace(t)
	executor := func(name string) map[string]string {
		return map[string]string{contract.AnnotationExecutor: s.name + "/" + name}
	}
	s.bind(gen.WithAnnotations(executor("nobody")))
	r := s.create(s.hello("bounded", on(cluster1)))
	r.waitForMessage("Pending", "cluster cluster1: cannot create the Workflow: ")
	r.waitForEvent("ApplyFailed", "not allowed to apply the resource argoproj.io workflows")

	s.maySendWorkflows(cluster1, "deployer")
	s.annotateBinding(executor("deployer"))
	r.waitFor("Succeeded")
}

func TestWhatRunsGoesOnWhenItsBindingIsRemovedAndNothingElseStarts(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	runs := s.create(s.hello("runs", on(cluster1), lasting(10*time.Second)))
	runs.waitForNodes(1)
	require.NoError(t, theHub.client.Delete(t.Context(), gen.ManagedClusterSetBinding(gen.GlobalSet, gen.InNamespace(s.name))))
	labtest.Holds(t, time.Second, func() error { return runs.wants(theHub, "Running", "") }) // and the manager learns of it
	waits := s.create(s.hello("waits", on(cluster1)))
	waits.waitForEvent("ClusterNotBound", "is not open to namespace")
	runs.waitFor("Succeeded")
	labtest.Eventually(t, patience, func() error { return runs.mirrored(cluster1) })
	require.NoError(t, errors.Join(waits.wants(theHub, "Pending", "is not open to namespace"), waits.traces()))
	s.bind()
	waits.waitFor("Succeeded")
}

// maySendWorkflows gives a ServiceAccount on the cluster the rights that docs/permissions.md names.
func (s *space) maySendWorkflows(c *cluster, account string) {
	s.t.Helper()
	object := metav1.ObjectMeta{Namespace: s.name, Name: account}
	for _, right := range []client.Object{
		&corev1.ServiceAccount{ObjectMeta: object},
		&rbacv1.Role{ObjectMeta: object, Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{"argoproj.io"}, Resources: []string{"workflows"}, Verbs: []string{"get", "create", "update", "patch"},
		}}},
		&rbacv1.RoleBinding{
			ObjectMeta: object, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: account},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: s.name, Name: account}},
		},
	} {
		require.NoError(s.t, c.client.Create(s.t.Context(), right))
	}
}
