package delivery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/manifestwork"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// Whatever happens, in whatever order, and however far the caches lag behind: nothing is delivered that the API server says is not
// wanted, and in the end nothing that is wanted is undelivered, and nothing that is not wanted is listed.
func TestNothingWantedStaysUndeliveredAndNothingElseIsDelivered(t *testing.T) {
	const sequences, steps = 25, 60
	for seed := range uint64(sequences) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			w := newWorld(t, seed)
			for range steps {
				w.step()
			}
			w.comeToRest()
		})
		if t.Failed() {
			return
		}
	}
}

// world is a hub, the caches of its manager, and a cluster.
type world struct {
	client.Client

	t      *testing.T
	random *rand.Rand
	hub    *fakehub.Hub
	now    *clocktesting.FakePassiveClock
	r      *Reconciler
	// log is what has happened.
	log []string
	// made counts the Workflows.
	made int
	// attempts and works are what the caches show.
	attempts []v1alpha1.RemoteWorkflow
	works    []workv1.ManifestWork
	// copies are what the work agent has created, by the UID of the RemoteWorkflow.
	copies map[types.UID]bool
}

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	w := &world{
		t: t, random: rand.New(rand.NewPCG(seed, 1)), hub: fakehub.New(t, addIndexes, bound()...), now: clocktesting.NewFakePassiveClock(gen.Time.Time),
		copies: map[types.UID]bool{},
	}
	w.Client, w.hub.Now = w.hub, w.now.Now
	w.restart()
	return w
}

// restart begins a manager that knows nothing.
func (w *world) restart() {
	w.r = &Reconciler{Client: w, Live: w.hub.Live, Clock: w.now, Refused: func(*v1alpha1.RemoteWorkflow, string) {}}
}

// List reads from the caches.
func (w *world) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	switch list := list.(type) {
	case *v1alpha1.RemoteWorkflowList:
		for _, rw := range w.attempts {
			if rw.Status.RemoteUID == "" {
				list.Items = append(list.Items, *rw.DeepCopy())
			}
		}
	case *workv1.ManifestWorkList:
		for _, work := range w.works {
			list.Items = append(list.Items, *work.DeepCopy())
		}
	default:
		return w.hub.List(ctx, list, opts...)
	}
	return nil
}

// Create checks that the API server has every Workflow that is delivered as one that waits for it.
func (w *world) Create(ctx context.Context, obj client.Object, opts ...client.CreateOption) error {
	for _, item := range manifestwork.Items(obj.(*workv1.ManifestWork)) {
		require.Contains(w.t, w.wantedWorkflows(), item.Name, "it is not wanted; %v", w.log)
	}
	return w.hub.Create(ctx, obj, opts...)
}

func (w *world) liveAttempts() []v1alpha1.RemoteWorkflow {
	var list v1alpha1.RemoteWorkflowList
	require.NoError(w.t, w.hub.List(w.t.Context(), &list))
	return list.Items
}

// wantedWorkflows returns the names of the Workflows that wait for this cluster, by what the API server has.
func (w *world) wantedWorkflows() []string {
	list := contract.NewWorkflowList()
	require.NoError(w.t, w.hub.List(w.t.Context(), list))
	var names []string
	for i := range list.Items {
		wf := &list.Items[i]
		if wf.GetDeletionTimestamp() == nil && slices.Contains(wf.GetFinalizers(), contract.FinalizerDispatch) &&
			contract.AssignedCluster(wf) == cluster1 && contract.IsOurs(wf) && contract.Phase(wf) == "" {
			names = append(names, wf.GetName())
		}
	}
	return names
}

// step does one thing, by chance.
func (w *world) step() {
	type happening struct {
		name string
		odds int
		do   func() bool
	}
	happenings := []happening{
		{"a Workflow arrives", 6, w.arrive}, {"the manager looks", 12, w.reconcile}, {"the cache shows RemoteWorkflows", 5, w.showAttempts},
		{"the cache shows ManifestWorks", 5, w.showWorks}, {"time passes", 4, w.pass}, {"the work agent creates", 6, w.apply},
		{"the agent claims", 8, w.claim}, {"an attempt is taken back", 2, w.takeBack}, {"an attempt goes", 3, w.finalize},
		{"a user edits a Workflow", 2, w.edit}, {"a user deletes a delivery", 1, w.deleteWork}, {"the work agent cleans up", 3, w.collect},
		{"the manager restarts", 1, func() bool { w.restart(); return true }}, {"the API server fails", 1, w.fail},
	}
	sum := 0
	for _, h := range happenings {
		sum += h.odds
	}
	for at := w.random.IntN(sum); ; {
		h := happenings[0]
		if at -= h.odds; at < 0 {
			if h.do() {
				w.log = append(w.log, h.name)
			}
			return
		}
		happenings = happenings[1:]
	}
}

func (w *world) arrive() bool {
	name := fmt.Sprintf("wf%d", w.made)
	w.made++
	wf := gen.Workflow(name, gen.WithUID(types.UID("uid of "+name)), gen.WithAssignment(cluster1))
	rw := gen.RemoteWorkflow(wf, cluster1, gen.WithFinalizers(contract.FinalizerDispatch))
	require.NoError(w.t, w.hub.Create(w.t.Context(), wf))
	require.NoError(w.t, w.hub.Create(w.t.Context(), rw))
	return true
}

func (w *world) reconcile() bool {
	_, err := try(w.t, w.r)
	require.NoError(w.t, err)
	return true
}

func (w *world) showAttempts() bool { w.attempts = w.liveAttempts(); return true }

func (w *world) showWorks() bool { w.works = works(w.t, w.hub); return true }

func (w *world) pass() bool {
	w.now.SetTime(w.now.Now().Add(time.Duration(w.random.IntN(20)) * time.Second))
	return true
}

// oneOf picks, by chance, one that fits; nil if none does.
func oneOf[T any](w *world, all []T, fits func(*T) bool) *T {
	var fitting []*T
	for i := range all {
		if fits(&all[i]) {
			fitting = append(fitting, &all[i])
		}
	}
	if len(fitting) == 0 {
		return nil
	}
	return fitting[w.random.IntN(len(fitting))]
}

func isUnclaimed(rw *v1alpha1.RemoteWorkflow) bool { return isWaiting(rw) }

// apply has the work agent put its finalizer on a delivery, and create what that lists.
func (w *world) apply() bool {
	work := oneOf(w, works(w.t, w.hub), func(work *workv1.ManifestWork) bool { return work.DeletionTimestamp.IsZero() })
	if work == nil {
		return false
	}
	for _, item := range manifestwork.Items(work) {
		w.copies[item.RemoteWorkflowUID] = true
	}
	w.patch(work, func() { work.Finalizers = []string{"work agent"} })
	return true
}

func (w *world) claim() bool {
	rw := oneOf(w, w.liveAttempts(), func(rw *v1alpha1.RemoteWorkflow) bool { return isUnclaimed(rw) && w.copies[rw.UID] })
	if rw == nil {
		return false
	}
	claim(w.t, w.hub, rw)
	return true
}

func (w *world) takeBack() bool {
	rw := oneOf(w, w.liveAttempts(), isUnclaimed)
	if rw == nil {
		return false
	}
	require.NoError(w.t, w.hub.Delete(w.t.Context(), rw))
	return true
}

// finalize removes the finalizer of an attempt that was taken back, once the cache shows no delivery of it.
func (w *world) finalize() bool {
	rw := oneOf(w, w.liveAttempts(), func(rw *v1alpha1.RemoteWorkflow) bool {
		return !rw.DeletionTimestamp.IsZero() && !slices.ContainsFunc(w.works, func(work workv1.ManifestWork) bool {
			return work.DeletionTimestamp.IsZero() && lists(&work, rw)
		})
	})
	if rw == nil {
		return false
	}
	w.patch(rw, func() { rw.Finalizers = nil })
	return true
}

func lists(work *workv1.ManifestWork, rw *v1alpha1.RemoteWorkflow) bool {
	return slices.ContainsFunc(manifestwork.Items(work), func(item manifestwork.Item) bool { return item.RemoteWorkflowUID == rw.UID })
}

// edit makes a Workflow one that is not wanted any more.
func (w *world) edit() bool {
	list := contract.NewWorkflowList()
	require.NoError(w.t, w.hub.List(w.t.Context(), list))
	wf := oneOf(w, list.Items, func(*unstructured.Unstructured) bool { return true })
	if wf == nil {
		return false
	}
	switch w.random.IntN(4) {
	case 0:
		require.NoError(w.t, w.hub.Delete(w.t.Context(), wf))
	case 1:
		w.patch(wf, func() { wf.SetLabels(map[string]string{contract.LabelEnable: "false"}) })
	case 2:
		w.patch(wf, func() { wf.SetAnnotations(nil) })
	case 3:
		w.patch(wf, func() { wf.Object["status"] = map[string]any{"phase": "Running"} })
	}
	return true
}

func (w *world) deleteWork() bool {
	work := oneOf(w, works(w.t, w.hub), func(work *workv1.ManifestWork) bool { return work.DeletionTimestamp.IsZero() })
	if work == nil {
		return false
	}
	require.NoError(w.t, w.hub.Delete(w.t.Context(), work))
	return true
}

// collect has the work agent let a deleted ManifestWork go.
func (w *world) collect() bool {
	work := oneOf(w, works(w.t, w.hub), func(work *workv1.ManifestWork) bool { return !work.DeletionTimestamp.IsZero() })
	if work == nil {
		return false
	}
	w.patch(work, func() { work.Finalizers = nil })
	return true
}

// fail has a write, made or not, answered with an error; and the manager does not come to remember it.
func (w *world) fail() bool {
	call := []string{"create ManifestWork", "patch ManifestWork", "delete ManifestWork", "live get Workflow"}[w.random.IntN(4)]
	w.hub.Fail(call, apierrors.NewInternalError(errors.New("down")))
	_, _ = try(w.t, w.r) // whether it needed that or not
	w.hub.Fail(call, nil)
	if w.random.IntN(2) == 0 {
		w.restart()
	}
	return true
}

func (w *world) patch(obj client.Object, change func()) {
	before := obj.DeepCopyObject().(client.Object)
	change()
	require.NoError(w.t, w.hub.Patch(w.t.Context(), obj, client.MergeFrom(before)))
}

// comeToRest lets the caches catch up and the manager look whenever something changes, or it wanted to, and nothing else happen. Then all
// is as it has to be.
func (w *world) comeToRest() {
	w.showAttempts()
	w.showWorks()
	for range 15 {
		before := len(w.hub.Writes())
		within, err := try(w.t, w.r)
		require.NoError(w.t, err)
		if len(w.hub.Writes()) == before {
			w.now.SetTime(w.now.Now().Add(within))
		}
		w.showWorks()
	}
	wanted := w.wantedWorkflows()
	for _, rw := range w.liveAttempts() {
		carried := 0
		for _, work := range works(w.t, w.hub) {
			if work.DeletionTimestamp.IsZero() && lists(&work, &rw) {
				carried++
			}
		}
		if isUnclaimed(&rw) && slices.Contains(wanted, rw.Spec.WorkflowRef.Name) {
			assert.Positive(w.t, carried, "%s is not delivered; %v", rw.Spec.WorkflowRef.Name, w.log)
		}
		if !rw.DeletionTimestamp.IsZero() {
			assert.Zero(w.t, carried, "%s was taken back, and would be created again and again; %v", rw.Spec.WorkflowRef.Name, w.log)
		}
	}
	for _, work := range works(w.t, w.hub) {
		assert.True(w.t, !work.DeletionTimestamp.IsZero() || slices.ContainsFunc(w.liveAttempts(), func(rw v1alpha1.RemoteWorkflow) bool {
			return isUnclaimed(&rw) && lists(&work, &rw)
		}), "%s is of no use any more; %v", work.Name, w.log)
	}
}
