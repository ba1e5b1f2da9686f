package steps

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
)

// actor returns a Reconciler whose API server has these objects, and answers as intercepted.
func actor(intercepted interceptor.Funcs, has ...client.Object) *Reconciler {
	set := newTaskSet()
	api := fake.NewClientBuilder().WithStatusSubresource(set).WithObjects(has...).WithInterceptorFuncs(intercepted).Build()
	return &Reconciler{Client: api, Live: api, Recorder: events.NewFakeRecorder(100), Clock: clock.RealClock{}}
}

func TestWhatHasTheNameOfAStepsWorkflowIsLookedAt(t *testing.T) {
	for name, tc := range map[string]struct {
		change   func(*unstructured.Unstructured)
		wantLags bool
	}{
		"it is that of the step, which the cache does not show yet": {func(*unstructured.Unstructured) {}, true},
		"it is not for a managed cluster any more": {func(wf *unstructured.Unstructured) {
			wf.SetLabels(map[string]string{contract.LabelParent: "parent"})
		}, false},
		"it is somebody else's": {func(wf *unstructured.Unstructured) { wf.SetLabels(nil); wf.SetAnnotations(nil) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := waiting(t)
			next := decide(s)
			there := next.create[0].DeepCopy()
			tc.change(there)
			require.NoError(t, actor(interceptor.Funcs{}, there).act(t.Context(), s, &plan{
				create: next.create, results: next.results, lags: next.lags,
			}))
			assert.Equal(t, tc.wantLags, next.lags["parent-1"])
			if !tc.wantLags {
				assert.Contains(t, next.results["parent-1"].Message, "is not, or not any more, that of this step")
			}
		})
	}
}

// TestOfAStepInEveryClusterNoneIsBegunWhileTheCacheLags: the others would go where the Placement decides now.
func TestOfAStepInEveryClusterNoneIsBegunWhileTheCacheLags(t *testing.T) {
	s := waiting(t)
	s.set.tasks["parent-1"]["plugin"] = parse(t, "{multicluster: {placement: fleet, all: true, container: {image: busybox}}}")
	first := decide(s).create[0]
	s.decided = func(string) ([]string, error) { return []string{"b", "c"}, nil }
	next := decide(s)
	require.Len(t, next.create, 2)
	r := actor(interceptor.Funcs{}, first)
	require.NoError(t, r.act(t.Context(), s, next))
	assert.Equal(t, again, next.within)
	found := contract.NewWorkflowList()
	require.NoError(t, r.Client.List(t.Context(), found))
	assert.Len(t, found.Items, 1)
}

// TestOfAStepInEveryClusterNoneIsBegunBeforeTheFirst: it has the list of all, without which the others may be taken for those of others.
func TestOfAStepInEveryClusterNoneIsBegunBeforeTheFirst(t *testing.T) {
	quota, away, denied := fmt.Errorf("exceeded quota: workflows"), fmt.Errorf("away"), fmt.Errorf("denied")
	for name, err := range map[string]error{
		"there is no quota":      apierrors.NewForbidden(schema.GroupResource{Resource: "workflows"}, "x", quota),
		"the API server is away": apierrors.NewInternalError(away),
		"it is refused":          apierrors.NewForbidden(schema.GroupResource{Resource: "workflows"}, "x", denied),
	} {
		s := waiting(t)
		s.set.SetNamespace("ns")
		s.set.tasks["parent-1"]["plugin"] = parse(t, "{multicluster: {placement: fleet, all: true, container: {image: busybox}}}")
		tried := 0
		r := actor(interceptor.Funcs{Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
			if tried++; tried == 1 {
				return err
			}
			return nil
		}}, s.set.DeepCopy())
		next := decide(s)
		require.Len(t, next.create, 2)
		_ = r.act(t.Context(), s, next)
		assert.Equal(t, 1, tried, name)
	}
}

func TestAWriteThatFailsKeepsNoOtherStepFromItsResult(t *testing.T) {
	s := waiting(t)
	set := s.set.DeepCopy()
	set.SetNamespace("ns")
	var answered bool
	r := actor(interceptor.Funcs{
		Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
			return apierrors.NewInternalError(fmt.Errorf("away"))
		},
		SubResourcePatch: func(context.Context, client.Client, string, client.Object, client.Patch, ...client.SubResourcePatchOption) error {
			answered = true
			return nil
		},
	}, set)
	next := decide(s)
	next.results["parent-2"] = failed("no")
	require.ErrorContains(t, r.act(t.Context(), s, next), "away")
	assert.True(t, answered)
}

func TestAStepWaitsForQuota(t *testing.T) {
	s := waiting(t)
	r := actor(interceptor.Funcs{Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
		return apierrors.NewForbidden(schema.GroupResource{Resource: "workflows"}, "x", fmt.Errorf("exceeded quota: workflows"))
	}})
	next := decide(s)
	require.ErrorContains(t, r.act(t.Context(), s, next), "exceeded quota")
	assert.Empty(t, next.results, "as Argo waits with a pod")
}

// TestWhatChangedBackBeforeTheCacheShowedItIsSeen: as a Workflow that was suspended and resumed. No event comes of that.
func TestWhatChangedBackBeforeTheCacheShowedItIsSeen(t *testing.T) {
	for name, change := range map[string]func(wf *unstructured.Unstructured){
		"the cache has what the API server has": func(*unstructured.Unstructured) {},
		"the cache lags":                        func(wf *unstructured.Unstructured) { wf.SetResourceVersion("1") },
	} {
		t.Run(name, func(t *testing.T) {
			s := waiting(t)
			c := s.begun(t, "Running")
			s.set.SetNamespace("ns")
			api := fake.NewClientBuilder().WithObjects(s.set.Unstructured, s.parent.Unstructured, c.Unstructured).WithIndex(contract.NewWorkflow(), indexParent,
				func(obj client.Object) []string { return []string{parentNameOf(obj)} }).Build()
			live := contract.NewWorkflow()
			require.NoError(t, api.Get(t.Context(), client.ObjectKeyFromObject(s.parent), live))
			change(live)
			cached, err := trimParent(live)
			require.NoError(t, err)
			parents := interceptor.NewClient(api, interceptor.Funcs{
				Get: func(_ context.Context, _ client.WithWatch, _ client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
					cached.(*unstructured.Unstructured).DeepCopyInto(obj.(*unstructured.Unstructured))
					return nil
				},
			})
			r := &Reconciler{Client: api, Live: api, Recorder: events.NewFakeRecorder(10), Clock: clock.RealClock{}, parents: parents}
			result, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(s.parent)})
			require.NoError(t, err)
			want := time.Duration(0)
			if name == "the cache lags" {
				want = taskWithin
			}
			assert.Equal(t, want, result.RequeueAfter)
		})
	}
}

func TestAStepIsNotEndedBecauseTheCacheLacksItsTask(t *testing.T) {
	s := waiting(t)
	c := s.begun(t, "Running")
	live := s.set.DeepCopy()
	live.SetNamespace("ns")
	s.set = nil
	next := decide(s)
	require.Equal(t, []*child{c}, next.terminate)
	// There is no Workflow to patch: it would be an error.
	r := actor(interceptor.Funcs{Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
		return fmt.Errorf("terminated")
	}}, live)
	require.NoError(t, r.act(t.Context(), s, next))
	assert.Equal(t, again, next.within)
	live.Object["spec"] = map[string]any{}
	require.NoError(t, r.Client.Update(t.Context(), live))
	require.ErrorContains(t, r.act(t.Context(), s, next), "terminated", "the task is gone")
}

// TestAStepGoesOnWhenItsTaskSetIsDeleted: Argo, which does not delete it, writes it anew, and then reads the result.
func TestAStepGoesOnWhenItsTaskSetIsDeleted(t *testing.T) {
	s := waiting(t)
	s.begun(t, "Running")
	s.set, s.open, s.now = nil, map[string]string{"parent-1": now}, s.now.Add(time.Minute)
	s.parent = parentOf(withSteps(t, s.parent.Unstructured))
	recorder := events.NewFakeRecorder(10)
	var asked string
	r := actor(interceptor.Funcs{
		Patch: func(_ context.Context, _ client.WithWatch, obj client.Object, patch client.Patch, _ ...client.PatchOption) error {
			data, err := patch.Data(obj)
			if obj.GetName() == s.parent.GetName() {
				asked = string(data)
				return err
			}
			return fmt.Errorf("terminated")
		},
	})
	r.Recorder = recorder
	require.NoError(t, r.act(t.Context(), s, decide(s)))
	assert.Contains(t, <-recorder.Events, "somebody has deleted the WorkflowTaskSet parent")
	assert.JSONEq(t, `{"metadata": {"uid": "u1", "annotations": {"`+contract.AnnotationTasksAskedFor+`": "2026-01-02T15:05:05Z"}}}`, asked)

	s.parent.SetAnnotations(map[string]string{contract.AnnotationTasksAskedFor: "2026-01-02T15:05:05Z"})
	for after, want := range map[time.Duration]bool{tellAgain - time.Second: false, tellAgain: true} {
		later := *s
		later.now = s.now.Add(after)
		assert.Equal(t, want, decide(&later).asks, "Argo is asked again, after a while: %s", after)
	}
	at := metav1.Now()
	s.parent.SetDeletionTimestamp(&at)
	require.ErrorContains(t, r.act(t.Context(), s, decide(s)), "terminated", "the Workflow is being deleted")
}

func TestThePodOfArgosAgentStartsWhereItDoesNoHarm(t *testing.T) {
	type agent struct{ plugin, steps, parent bool }
	for name, tc := range map[string]struct {
		agent
		starts bool
	}{
		"its Workflow has steps in other clusters":                            {agent{steps: true, parent: true}, false},
		"its Workflow has steps in other clusters, and it has the plugin":     {agent{steps: true, parent: true, plugin: true}, true},
		"its Workflow has none, such as one with nothing but HTTP templates":  {agent{parent: true}, true},
		"its Workflow is gone, or is another one than that of the task set":   {agent{}, true},
		"its Workflow has none, and it has the plugin, which does not matter": {agent{parent: true, plugin: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "agent"}}
			pod.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: contract.GateSteps}, {Name: "somebody-else"}}
			recorder := events.NewFakeRecorder(10)
			r := actor(interceptor.Funcs{}, pod)
			r.Recorder = recorder
			s := waiting(t)
			s.set, s.gated = nil, []agentPod{{pod, tc.plugin}}
			if tc.steps {
				s.parent.spec["templates"] = []any{parse(t, "{name: one, plugin: {multicluster: {cluster: cluster1, container: {image: busybox}}}}")}
			}
			if !tc.parent {
				s.parent = nil
			}
			require.True(t, s.concernsUs())
			require.NoError(t, r.act(t.Context(), s, &plan{}))
			require.NoError(t, r.Client.Get(t.Context(), client.ObjectKeyFromObject(pod), pod))
			assert.Equal(t, !tc.starts, slices.ContainsFunc(pod.Spec.SchedulingGates, isGate))
			if tc.starts {
				assert.Empty(t, recorder.Events)
				return
			}
			require.Len(t, recorder.Events, 1)
			assert.Contains(t, <-recorder.Events, "delete the pod", "Argo retries no Workflow that runs")
		})
	}
}

func TestOneWorkflowThatCannotBeTerminatedKeepsNoOtherRunning(t *testing.T) {
	s := waiting(t)
	first, second := s.begun(t, "Running"), &child{}
	other := first.DeepCopy()
	other.SetName("other")
	second.Workflow = hubworkflow.Of(other)
	untasked := s.set.DeepCopy()
	untasked.SetNamespace("ns")
	untasked.Object["spec"] = map[string]any{}
	s.open, s.set = nil, nil
	var tried []string
	r := actor(interceptor.Funcs{
		Patch: func(_ context.Context, _ client.WithWatch, obj client.Object, _ client.Patch, _ ...client.PatchOption) error {
			tried = append(tried, obj.GetName())
			return fmt.Errorf("%s: refused", obj.GetName())
		},
	}, untasked)
	err := r.act(t.Context(), s, &plan{terminate: []*child{first, second}})
	require.ErrorContains(t, err, first.GetName()+": refused")
	require.ErrorContains(t, err, "other: refused")
	assert.Equal(t, []string{first.GetName(), "other"}, tried)
}

func TestResultsAreGivenInPatchesThatEtcdTakes(t *testing.T) {
	s := waiting(t)
	set := s.set.DeepCopy()
	set.SetNamespace("ns")
	var sizes []int
	r := actor(interceptor.Funcs{
		SubResourcePatch: func(_ context.Context, _ client.Client, _ string, obj client.Object, patch client.Patch, _ ...client.SubResourcePatchOption) error {
			data, err := patch.Data(obj)
			sizes = append(sizes, len(data))
			return err
		},
	}, set)
	next := &plan{results: map[string]*result{}}
	next.results[""] = nil // one that is taken back
	for i := range 10 {
		next.results[fmt.Sprint(i)] = failed(strings.Repeat("x", 100<<10))
	}
	const results = "argo_multicluster_steps_results_total"
	before := fakehub.Counted(t, results, "Failed")
	require.NoError(t, r.answer(t.Context(), s, next))
	assert.InDelta(t, before+2, fakehub.Counted(t, results, "Failed"), 0)
	require.Len(t, sizes, 1)
	assert.Less(t, sizes[0], maxResultBytes+1000)
	assert.Greater(t, sizes[0], maxResultBytes/2)
	assert.Equal(t, again, next.within, "the others follow")
}

// TestALargeResultKeepsNoOtherFromBeingGiven: what makes room for it is that others end.
func TestALargeResultKeepsNoOtherFromBeingGiven(t *testing.T) {
	of := func(phase string, size int) *result {
		text := strings.Repeat("x", size)
		return &result{Phase: phase, Message: "exit code 1", Outputs: &outputs{Result: &text}}
	}
	const large, room = 200 << 10, 1000
	for name, tc := range map[string]struct {
		results  map[string]*result
		room     int
		runs     bool // another step
		hasHTTP  bool
		given    []string
		phase    string
		wantsErr bool
	}{
		"the others are given":                  {results: map[string]*result{"a": of("Succeeded", large), "b": of("Succeeded", 5)}, room: room, given: []string{"b"}},
		"it waits until another step ends":      {results: map[string]*result{"a": of("Succeeded", large)}, room: room, runs: true, wantsErr: true},
		"or an HTTP template does":              {results: map[string]*result{"a": of("Succeeded", large)}, room: room, hasHTTP: true, wantsErr: true},
		"if nothing makes room, it is an error": {results: map[string]*result{"a": of("Succeeded", large)}, room: room, given: []string{"a"}, phase: "Error"},
		"a failure stays one, which is retried": {results: map[string]*result{"a": of("Failed", large)}, room: room, given: []string{"a"}, phase: "Failed"},
		"a large one is given where it fits":    {results: map[string]*result{"a": of("Succeeded", large)}, room: 300 << 10, given: []string{"a"}},
		"a small one is not replaced":           {results: map[string]*result{"a": of("Succeeded", 5)}, room: 10, wantsErr: true},
		"there is no room for an error either":  {results: map[string]*result{"a": of("Succeeded", large)}, room: 10, wantsErr: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := waiting(t)
			s.set.SetNamespace("ns")
			s.set.results = nil
			s.set.hasOthers = tc.hasHTTP
			s.set.tasks = map[string]map[string]any{"a": {}}
			if tc.runs {
				s.set.tasks["b"] = map[string]any{}
			}
			var given []string
			var nodes map[string]result
			r := actor(interceptor.Funcs{
				SubResourcePatch: func(
					_ context.Context, _ client.Client, _ string, obj client.Object, patch client.Patch, _ ...client.SubResourcePatchOption,
				) error {
					data, err := patch.Data(obj)
					require.NoError(t, err)
					if len(data) > tc.room {
						return apierrors.NewInternalError(fmt.Errorf("etcdserver: request is too large"))
					}
					var patched struct {
						Status struct{ Nodes map[string]result }
					}
					require.NoError(t, json.Unmarshal(data, &patched))
					nodes = patched.Status.Nodes
					given = slices.Sorted(maps.Keys(nodes))
					return nil
				},
			}, s.set.DeepCopy())
			err := r.answer(t.Context(), s, &plan{results: tc.results})
			if tc.wantsErr {
				require.ErrorContains(t, err, "too large")
			} else {
				require.NoError(t, err)
			}
			assert.Equal(t, tc.given, given)
			if tc.phase != "" {
				assert.Equal(t, tc.phase, nodes["a"].Phase)
				assert.Nil(t, nodes["a"].Outputs)
				assert.Contains(t, nodes["a"].Message, "do not fit into the WorkflowTaskSet beside the tasks: pass them as an artifact")
				assert.Equal(t, tc.phase == "Failed", strings.HasPrefix(nodes["a"].Message, "exit code 1; "))
			}
		})
	}
}

// TestFewerResultsAreGivenWhereEtcdRefusesMore: it holds the tasks as well, and what Argo has not read yet.
func TestFewerResultsAreGivenWhereEtcdRefusesMore(t *testing.T) {
	for name, tc := range map[string]struct {
		room   int
		unread map[string]any
		given  int
		within time.Duration
		err    string
	}{
		"some fit": {room: 100 << 10, given: 3, within: again},
		"one fits": {room: 30 << 10, given: 1, within: again},
		"none fits until Argo has read the others": {room: 1000, unread: map[string]any{"0": nil}, within: healAfter},
		"none fits": {room: 1000, err: "too large"},
	} {
		s := waiting(t)
		s.set.SetNamespace("ns")
		s.set.results = tc.unread
		given := 0
		r := actor(interceptor.Funcs{
			SubResourcePatch: func(
				_ context.Context, _ client.Client, _ string, obj client.Object, patch client.Patch, _ ...client.SubResourcePatchOption,
			) error {
				data, err := patch.Data(obj)
				if err == nil && len(data) > tc.room {
					return apierrors.NewInternalError(fmt.Errorf("etcdserver: request is too large"))
				}
				given = strings.Count(string(data), `"phase"`)
				return err
			},
		}, s.set.DeepCopy())
		next := &plan{results: map[string]*result{}}
		for i := range 10 {
			next.results[fmt.Sprint(i)] = failed(strings.Repeat("x", 20<<10))
		}
		err := r.answer(t.Context(), s, next)
		if tc.err == "" {
			require.NoError(t, err, name)
		} else {
			require.ErrorContains(t, err, tc.err, name)
		}
		assert.Equal(t, tc.given, given, name)
		if tc.within != 0 {
			assert.Equal(t, tc.within, next.within, name)
		}
	}
}
