package uninstall

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

const (
	cluster = "cluster1"
	// impatience is a share of the time in which no cluster answers.
	impatience = 0.002
	// workAgentFinalizer keeps a ManifestWork until the work agent is done with it.
	workAgentFinalizer = "cluster.open-cluster-management.io/manifest-work-cleanup"
	othersFinalizer    = "example.com/others"
)

// clusters plays the agents and the work agents.
type clusters struct {
	// mute do not answer. deaf is how many lists of RemoteWorkflows pass before the agents answer.
	mute bool
	deaf int
}

func newUninstaller(t *testing.T, objects ...client.Object) (*uninstaller, *fakehub.Hub, *clusters) {
	t.Helper()
	hub, c := fakehub.New(t, nil, append(objects, gen.ManagedClusterAddOn(cluster))...), &clusters{}
	hub.On("list RemoteWorkflow", func() error { c.deaf--; return c.answer(t, hub) })
	hub.On("list ManifestWork", func() error { return c.finish(t, hub) })
	return &uninstaller{client: withMetadata(hub), interval: time.Millisecond, attemptsShare: 0.45,
		options: Options{HubID: gen.HubID, Timeout: time.Minute, Out: &strings.Builder{}}}, hub, c
}

// withMetadata returns the client of a hub that lists the metadata of Workflows, which the fake server does not reduce by itself.
func withMetadata(hub *fakehub.Hub) client.WithWatch {
	return interceptor.NewClient(hub, interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if list.GetObjectKind().GroupVersionKind().Group == contract.WorkflowGVK.Group {
				return hub.Live.List(ctx, list, opts...)
			}
			return c.List(ctx, list, opts...)
		},
	})
}

// answer plays the agents: each does what it is asked for, and says so.
func (c *clusters) answer(t *testing.T, hub *fakehub.Hub) error {
	t.Helper()
	var attempts v1alpha1.RemoteWorkflowList
	require.NoError(t, hub.Live.List(t.Context(), &attempts))
	for i := range attempts.Items {
		rw := &attempts.Items[i]
		answered := meta.FindStatusCondition(rw.Status.Conditions, v1alpha1.ConditionRemoteDeleted) != nil
		if c.mute || c.deaf > 0 || answered || rw.DeletionTimestamp == nil || rw.Spec.Removal == "" {
			continue
		}
		reason := v1alpha1.ReasonLeft
		if rw.Spec.Removal == v1alpha1.RemovalTerminate {
			reason = v1alpha1.ReasonRemoved
		}
		gen.WithCondition(v1alpha1.ConditionRemoteDeleted, metav1.ConditionTrue, reason, "")(rw)
		require.NoError(t, hub.Status().Update(t.Context(), rw))
	}
	return nil
}

// finish plays the work agents: each is done at once with a ManifestWork that is being deleted.
func (c *clusters) finish(t *testing.T, hub *fakehub.Hub) error {
	t.Helper()
	var works workv1.ManifestWorkList
	require.NoError(t, hub.Live.List(t.Context(), &works))
	for i := range works.Items {
		if done := works.Items[i].DeepCopy(); !c.mute && done.DeletionTimestamp != nil {
			done.Finalizers = nil
			require.NoError(t, hub.Patch(t.Context(), done, client.MergeFrom(&works.Items[i])))
		}
	}
	return nil
}

// leaves runs the step.
func leaves(t *testing.T, u *uninstaller) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), u.options.Timeout)
	defer cancel()
	return u.leave(ctx)
}

// attempt is what the hub has of a Workflow that was sent to the cluster.
func attempt(name string, ofWorkflow []gen.Mod, ofAttempt ...gen.Mod) (*unstructured.Unstructured, *v1alpha1.RemoteWorkflow) {
	wf := gen.Workflow(name, append(ofWorkflow, gen.WithAssignment(cluster))...)
	return wf, gen.RemoteWorkflow(wf, cluster, append(ofAttempt, gen.WithFinalizers(contract.FinalizerDispatch))...)
}

func work(name, delivery string) *workv1.ManifestWork {
	return &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{
		Namespace: cluster, Name: name, UID: gen.UIDOf(name),
		Labels: map[string]string{contract.LabelDelivery: delivery}, Finalizers: []string{workAgentFinalizer},
	}}
}

func claimed() gen.Mod { return gen.WithRemoteUID("remote") }

func removal(removal v1alpha1.Removal) gen.Mod {
	return func(obj client.Object) { obj.(*v1alpha1.RemoteWorkflow).Spec.Removal = removal }
}

func assertGone(t *testing.T, hub *fakehub.Hub, objects ...client.Object) {
	t.Helper()
	for _, object := range objects {
		assert.False(t, hub.Show(object), "%T %s is still there", object, object.GetName())
	}
}

func assertLeft(t *testing.T, hub *fakehub.Hub, wf *unstructured.Unstructured, phase, message string) {
	t.Helper()
	require.True(t, hub.Show(wf), "a user's Workflow stays")
	assert.NotContains(t, wf.GetFinalizers(), contract.FinalizerDispatch)
	assert.Equal(t, phase, contract.Phase(wf), wf.GetName())
	assert.Contains(t, contract.StatusString(contract.Status(wf), "message"), message, wf.GetName())
}

// scene is a hub with one of everything.
type scene struct {
	waiting, bound, gated, running, unreported, finished, deleted, withdrawn, others *unstructured.Unstructured
	attempts                                                                         []client.Object
	delivery                                                                         *workv1.ManifestWork
}

func newScene() (s scene, objects []client.Object) {
	var gated, running, unreported, finished, deleted *v1alpha1.RemoteWorkflow
	s.waiting = gen.Workflow("waiting", gen.WithPlacement("anywhere"))
	s.bound = gen.Workflow("bound", gen.WithPlacement("anywhere"), gen.WithAssignment(cluster))
	s.gated, gated = attempt("gated", []gen.Mod{gen.WithPlacement("anywhere")})
	s.running, running = attempt("running", []gen.Mod{gen.WithHubStatus("Running")}, claimed())
	s.unreported, unreported = attempt("unreported", nil, claimed())
	s.finished, finished = attempt("finished", []gen.Mod{gen.WithHubStatus("Succeeded")}, claimed())
	s.deleted, deleted = attempt("deleted", []gen.Mod{gen.WithHubStatus("Running"), gen.Deleting()},
		claimed(), gen.Deleting(), removal(v1alpha1.RemovalTerminate))
	s.withdrawn = gen.Workflow("withdrawn", gen.WithFinalizers(contract.FinalizerDispatch))
	s.others = gen.Workflow("others")
	s.withdrawn.SetLabels(nil)
	s.others.SetLabels(nil)
	s.delivery = work("delivery", contract.DeliveryGated)
	s.attempts = []client.Object{gated, running, unreported, finished, deleted}
	return s, append(s.attempts, s.delivery,
		s.waiting, s.bound, s.gated, s.running, s.unreported, s.finished, s.deleted, s.withdrawn, s.others)
}

func (s scene) assertLeft(t *testing.T, hub *fakehub.Hub) {
	t.Helper()
	assertGone(t, hub, append(s.attempts, s.delivery, s.deleted)...)
	for _, wf := range []*unstructured.Unstructured{s.waiting, s.bound, s.gated} {
		assertLeft(t, hub, wf, "Pending", "has not started, and waits")
		assert.Empty(t, contract.AssignedCluster(wf))
		assert.Empty(t, contract.ChosenCluster(wf), "its Placement chooses anew")
	}
	assertLeft(t, hub, s.running, "Running", "goes on as default/running on cluster cluster1")
	assertLeft(t, hub, s.unreported, "Running", "goes on as default/unreported on cluster cluster1")
	assert.Equal(t, cluster, contract.AssignedCluster(s.unreported), "what has run must not run again")
	assertLeft(t, hub, s.finished, "Succeeded", "")
	assertLeft(t, hub, s.withdrawn, "", "")
	assertLeft(t, hub, s.others, "", "")
}

func TestWorkflowsAreLeftToTheirUsers(t *testing.T) {
	s, objects := newScene()
	u, hub, _ := newUninstaller(t, objects...)
	untouched := s.others.DeepCopy()
	require.True(t, hub.Show(untouched))
	require.NoError(t, leaves(t, u))
	require.NoError(t, u.result())
	s.assertLeft(t, hub)
	assert.Equal(t, untouched, s.others)
	for _, line := range []string{
		"Workflow default/gated: has not started on cluster cluster1, and is taken back\n",
		"Workflow default/running: has started on cluster cluster1, removal: Leave\n",
	} {
		assert.Contains(t, u.options.Out.(*strings.Builder).String(), line)
	}

	done := len(hub.Writes())
	require.NoError(t, leaves(t, u))
	assert.Len(t, hub.Writes(), done, "nothing is done twice")
}

func TestItTakesUpWhereItWasInterrupted(t *testing.T) {
	for after, interrupted := int32(0), true; interrupted; after++ {
		t.Run(fmt.Sprintf("after %d writes", after), func(t *testing.T) {
			s, objects := newScene()
			u, hub, _ := newUninstaller(t, objects...)
			ctx, interrupt := context.WithTimeout(t.Context(), time.Minute)
			defer interrupt()
			var writes atomic.Int32
			calls := []string{"patch Workflow", "patch RemoteWorkflow", "delete RemoteWorkflow", "delete ManifestWork"}
			for _, call := range calls {
				hub.On(call, func() error {
					if writes.Add(1) > after {
						interrupt()
						return context.Canceled
					}
					return nil
				})
			}
			interrupted = u.leave(ctx) != nil
			for _, call := range calls {
				hub.Fail(call, nil)
			}
			require.NoError(t, leaves(t, u))
			s.assertLeft(t, hub)
		})
	}
}

func TestWhatMayHaveStartedIsSaidFirstAndForgottenLast(t *testing.T) {
	wf, rw := attempt("hello", nil, claimed())
	u, hub, _ := newUninstaller(t, wf, rw)
	require.NoError(t, leaves(t, u))
	assert.Equal(t, []string{
		"patch Workflow default/hello", "patch RemoteWorkflow cluster1/" + rw.Name, "delete RemoteWorkflow cluster1/" + rw.Name,
		"patch Workflow default/hello", "patch RemoteWorkflow cluster1/" + rw.Name,
	}, hub.Writes())
	assert.Equal(t, rw.UID, hub.Last("delete RemoteWorkflow").UID)
}

func TestWhatHasNotStartedIsTakenBackBeforeItIsUnassigned(t *testing.T) {
	wf, rw := attempt("hello", nil)
	delivery := work("delivery", contract.DeliveryGated)
	u, hub, _ := newUninstaller(t, wf, rw, delivery)
	require.NoError(t, leaves(t, u))
	var writes []string
	for _, write := range hub.Writes() {
		if write != "patch ManifestWork cluster1/delivery" { // the work agent's
			writes = append(writes, write)
		}
	}
	assert.Equal(t, []string{
		"delete ManifestWork cluster1/delivery", "delete RemoteWorkflow cluster1/" + rw.Name, "patch RemoteWorkflow cluster1/" + rw.Name,
		"patch Workflow default/hello", "patch Workflow default/hello",
	}, writes)
	assert.Equal(t, delivery.UID, hub.Last("delete ManifestWork").UID)
	deleted := hub.Last("delete RemoteWorkflow")
	assert.Equal(t, rw.UID, deleted.UID)
	assert.NotEmpty(t, deleted.ResourceVersion)
	assert.NotEmpty(t, hub.PatchOf("RemoteWorkflow").(map[string]any)["metadata"].(map[string]any)["resourceVersion"])
}

func TestAClaimMeanwhileWins(t *testing.T) {
	for _, call := range []string{"delete RemoteWorkflow", "patch RemoteWorkflow"} {
		t.Run("before the "+call, func(t *testing.T) {
			wf, rw := attempt("hello", nil)
			u, hub, _ := newUninstaller(t, wf, rw)
			hub.On(call, func() error {
				hub.Fail(call, nil)
				current := rw.DeepCopy()
				require.True(t, hub.Show(current))
				current.Status.RemoteUID = "remote"
				return hub.Status().Update(t.Context(), current)
			})
			require.NoError(t, leaves(t, u))
			assertLeft(t, hub, wf, "Running", "goes on")
			assert.Equal(t, cluster, contract.AssignedCluster(wf))
			assertGone(t, hub, rw)
			assert.Contains(t, u.options.Out.(*strings.Builder).String(), "removal: Leave")
		})
	}
}

func TestNothingIsForgottenBeforeTheAgentAnswers(t *testing.T) {
	wf, rw := attempt("hello", nil, claimed())
	u, hub, clusters := newUninstaller(t, wf, rw)
	clusters.deaf = 5
	hub.On("patch RemoteWorkflow", func() error {
		current := rw.DeepCopy()
		require.True(t, hub.Show(current))
		if current.DeletionTimestamp != nil {
			assert.True(t, meta.IsStatusConditionTrue(current.Status.Conditions, v1alpha1.ConditionRemoteDeleted))
		}
		return nil
	})
	require.NoError(t, leaves(t, u))
	assert.GreaterOrEqual(t, hub.Calls("list RemoteWorkflow"), 5)
	assertGone(t, hub, rw)
}

func TestAClusterThatDoesNotAnswerKeepsNothingOnTheHub(t *testing.T) {
	running, runningRun := attempt("running", []gen.Mod{gen.WithHubStatus("Running")}, claimed())
	gated, gatedRun := attempt("gated", nil)
	deleted, deletedRun := attempt("deleted", []gen.Mod{gen.WithHubStatus("Running"), gen.Deleting(), gen.WithFinalizers(othersFinalizer)},
		claimed(), gen.Deleting(), removal(v1alpha1.RemovalTerminate))
	delivery := work("delivery", contract.DeliveryGated)
	u, hub, clusters := newUninstaller(t, running, runningRun, gated, gatedRun, deleted, deletedRun, delivery)
	clusters.mute, u.attemptsShare = true, impatience
	require.NoError(t, leaves(t, u))
	assert.Len(t, u.problems, 3, "once for each cluster and trouble: %v", u.problems)
	for _, want := range []string{
		"argo-multicluster agent release --hub-id " + gen.HubID,
		"runs of Workflows that were deleted may go on",
		"ManifestWorks that deliver Workflows there are still being deleted",
	} {
		require.ErrorContains(t, u.result(), want)
	}
	assertGone(t, hub, runningRun, gatedRun, deletedRun)
	assertLeft(t, hub, running, "Running", "goes on")
	assertLeft(t, hub, gated, "Pending", "has not started")
	assertLeft(t, hub, deleted, "Running", "the run is terminated on cluster cluster1")
	require.True(t, hub.Show(delivery))
	assert.NotNil(t, delivery.DeletionTimestamp)

	t.Run("until it answers", func(t *testing.T) {
		u.problems, clusters.mute, u.attemptsShare = nil, false, 0.45
		require.NoError(t, leaves(t, u))
		require.NoError(t, u.result())
		assertGone(t, hub, delivery)
	})
}

func TestAClusterWithoutTheAddonIsNotWaitedFor(t *testing.T) {
	wf, rw := attempt("hello", nil, claimed())
	u, hub, clusters := newUninstaller(t, wf, rw)
	require.NoError(t, hub.Delete(t.Context(), gen.ManagedClusterAddOn(cluster)))
	clusters.mute = true
	require.NoError(t, leaves(t, u))
	require.NoError(t, u.result())
	assertGone(t, hub, rw)
	assertLeft(t, hub, wf, "Running", "goes on")
}

func TestTheRunOfADeletedWorkflowIsTerminated(t *testing.T) {
	for name, mods := range map[string][]gen.Mod{
		"before the manager asked for it":      {claimed()},
		"after the manager asked for it":       {claimed(), removal(v1alpha1.RemovalTerminate)},
		"after its RemoteWorkflow was deleted": {claimed(), gen.Deleting()},
	} {
		t.Run(name, func(t *testing.T) {
			wf, rw := attempt("hello", []gen.Mod{gen.WithHubStatus("Running"), gen.Deleting()}, mods...)
			u, hub, _ := newUninstaller(t, wf, rw)
			hub.On("delete RemoteWorkflow", func() error {
				current := rw.DeepCopy()
				require.True(t, hub.Show(current))
				assert.Equal(t, v1alpha1.RemovalTerminate, current.Spec.Removal)
				return nil
			})
			require.NoError(t, leaves(t, u))
			require.NoError(t, u.result())
			assertGone(t, hub, wf, rw)
			assert.Contains(t, u.options.Out.(*strings.Builder).String(), "removal: Terminate")
		})
	}
}

func TestATerminationUnderWayStaysOne(t *testing.T) {
	wf, rw := attempt("hello", []gen.Mod{gen.WithHubStatus("Running")}, claimed(), removal(v1alpha1.RemovalTerminate))
	u, hub, _ := newUninstaller(t, wf, rw)
	require.NoError(t, leaves(t, u))
	assertGone(t, hub, rw)
	assertLeft(t, hub, wf, "Running", "the run is terminated on cluster cluster1")
}

func TestTheAttemptOfAWorkflowThatIsGoneIsTerminated(t *testing.T) {
	_, rw := attempt("hello", nil, claimed())
	namesake := gen.Workflow("hello", gen.WithUID("another"))
	u, hub, _ := newUninstaller(t, rw, namesake)
	require.NoError(t, leaves(t, u))
	assertGone(t, hub, rw)
	assertLeft(t, hub, namesake, "Pending", "has not started")
	assert.Contains(t, u.options.Out.(*strings.Builder).String(), "removal: Terminate")
}

func TestAnUngatedManifestWorkStays(t *testing.T) {
	wf, rw := attempt("hello", nil, gen.WithReporting(v1alpha1.ReportingFeedback))
	ungated := work(rw.Name, contract.DeliveryUngated)
	u, hub, clusters := newUninstaller(t, wf, rw, ungated)
	clusters.mute = true
	require.NoError(t, leaves(t, u))
	require.NoError(t, u.result(), "it is no failure")
	assertGone(t, hub, rw)
	assertLeft(t, hub, wf, "Running", "goes on as default/hello on cluster cluster1")
	require.True(t, hub.Show(ungated))
	assert.Nil(t, ungated.DeletionTimestamp)
	assert.Empty(t, ungated.Labels, "another manager would take it for a delivery of its own, and delete it")
	assert.Contains(t, u.options.Out.(*strings.Builder).String(), "kubectl delete manifestwork -n cluster1 "+rw.Name)
}

func TestAFinalizerOfOthersIsNamedAndLeft(t *testing.T) {
	wf, rw := attempt("hello", nil, claimed(), gen.WithFinalizers(othersFinalizer))
	u, hub, _ := newUninstaller(t, wf, rw)
	require.NoError(t, leaves(t, u))
	require.ErrorContains(t, u.result(), "kept by finalizers of others: ["+othersFinalizer+"]")
	require.True(t, hub.Show(rw))
	assert.Equal(t, []string{othersFinalizer}, rw.Finalizers)
}

func TestALeavingDryRunChangesNothing(t *testing.T) {
	_, objects := newScene()
	u, hub, _ := newUninstaller(t, objects...)
	u.options.DryRun, u.client = true, readOnly{u.client}
	require.NoError(t, leaves(t, u))
	assert.Empty(t, hub.Writes())
	out := u.options.Out.(*strings.Builder).String()
	assert.Contains(t, out, "(dry run) Workflow default/running: has started on cluster cluster1, removal: Leave\n")
	assert.Contains(t, out, "(dry run) Workflow default/gated: has not started on cluster cluster1, and is taken back\n")
}

func TestAHubWithoutCRDsHasNothingToLeave(t *testing.T) {
	u, hub, _ := newUninstaller(t)
	for _, kind := range []string{"list RemoteWorkflow", "list ManifestWork", "live list Workflow", "list ManagedClusterAddOn"} {
		hub.Fail(kind, &meta.NoKindMatchError{})
	}
	require.NoError(t, leaves(t, u))
	assert.Empty(t, hub.Writes())
}

func TestAnErrorOfTheAPIIsTriedAgainAndThenReturned(t *testing.T) {
	for _, call := range []string{
		"patch Workflow", "get Workflow", "live list Workflow", "delete ManifestWork", "list ManifestWork",
		"delete RemoteWorkflow", "patch RemoteWorkflow",
	} {
		t.Run(call, func(t *testing.T) {
			wf, rw := attempt("hello", nil, claimed())
			u, hub, clusters := newUninstaller(t, wf, rw, work("delivery", contract.DeliveryGated))
			hub.Fail(call, errors.New("down"))
			u.options.Timeout = time.Second
			require.ErrorContains(t, leaves(t, u), "down")
			u.options.Timeout = time.Minute

			hub.Fail(call, nil)
			hub.On("list ManifestWork", func() error { return clusters.finish(t, hub) })
			require.NoError(t, leaves(t, u))
			assertGone(t, hub, rw)
			assertLeft(t, hub, wf, "Running", "goes on")
		})
	}
}

func TestAllPagesAreRead(t *testing.T) {
	first, second := gen.Workflow("first"), gen.Workflow("second")
	u, hub, _ := newUninstaller(t, first, second)
	u.client = interceptor.NewClient(withMetadata(hub), interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			options := (&client.ListOptions{}).ApplyOptions(opts)
			assert.Equal(t, int64(500), options.Limit)
			err := c.List(ctx, list, opts...)
			if all, ok := list.(*metav1.PartialObjectMetadataList); ok && len(all.Items) == 2 {
				if options.Continue == "" {
					all.Items, all.Continue = all.Items[:1], "more"
				} else {
					all.Items = all.Items[1:]
				}
			}
			return err
		},
	})
	require.NoError(t, leaves(t, u))
	assertLeft(t, hub, first, "Pending", "has not started")
	assertLeft(t, hub, second, "Pending", "has not started")
}
