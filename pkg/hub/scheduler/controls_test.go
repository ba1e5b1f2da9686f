package scheduler

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

const suspendedMessage = "suspended: argo resume lets it be scheduled"

func shutdown(how string) gen.Mod { return gen.WithSpecField(how, "shutdown") }

func suspended() gen.Mod { return gen.WithSpecField(true, "suspend") }

// edit changes the spec of a Workflow on the hub as its user does, and tells of that.
func (h *harness) edit(wf *unstructured.Unstructured, field string, value any) {
	h.t.Helper()
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{field: value}})
	require.NoError(h.t, err)
	require.True(h.t, h.hub.Show(wf))
	require.NoError(h.t, h.hub.Patch(h.t.Context(), wf.DeepCopy(), client.RawPatch(types.MergePatchType, patch)))
	h.show(wf)
}

// endsOnTheHub makes sure that a Workflow was ended, once and for all, without a cluster.
func (h *harness) endsOnTheHub(wf *unstructured.Unstructured, how string) {
	h.t.Helper()
	assert.Equal(h.t, "Stopped with strategy '"+how+"'", h.messageOf(wf))
	assert.Equal(h.t, "Failed", contract.Phase(wf))
	assert.Equal(h.t, "Failed", wf.GetLabels()[contract.LabelPhase])
	assert.Equal(h.t, "true", wf.GetLabels()[contract.LabelCompleted])
	assert.Equal(h.t, h.clock.Now().UTC().Format(time.RFC3339), contract.StatusString(contract.Status(wf), "finishedAt"))
	assert.Empty(h.t, contract.AssignedCluster(wf))
	assert.Empty(h.t, wf.GetFinalizers())
	assert.Empty(h.t, h.queue.items)
	assert.Empty(h.t, h.cache.places)
	assert.Zero(h.t, h.run())
}

func TestAWorkflowThatIsShutDownBeforeItHasAClusterEndsOnTheHub(t *testing.T) {
	placed, direct := gen.WithPlacement("anywhere"), gen.WithCluster("cluster1")
	tests := map[string]struct {
		mods   []gen.Mod
		around []client.Object
	}{
		"it has no target":           {nil, surroundings()},
		"its cluster is not there":   {[]gen.Mod{direct}, open()},
		"its cluster is at its cap":  {[]gen.Mod{direct}, objects(surroundings(), gen.ManagedCluster(cluster1, limited("0")))},
		"its Placement is not there": {[]gen.Mod{placed}, open()},
		"it is suspended":            {[]gen.Mod{placed, suspended()}, surroundings()},
		"it cannot travel": {[]gen.Mod{placed, gen.WithAnnotations(map[string]string{
			"large": strings.Repeat("a", hubworkflow.MaxPayloadBytes),
		})}, surroundings()},
	}
	for name, test := range tests {
		for _, how := range []string{"Stop", "Terminate"} {
			t.Run(name+": "+how, func(t *testing.T) {
				wf := gen.Workflow("hello", test.mods...)
				h := newHarness(t, objects(test.around, wf)...)
				require.Equal(t, 1, h.run())
				require.Len(t, h.hub.Events(), 1)
				h.later(time.Minute)
				h.edit(wf, "shutdown", how)
				assert.Equal(t, 1, h.run())
				h.endsOnTheHub(wf, how)
				assert.Equal(t, []string{"Normal Stopped Stopped with strategy '" + how + "', before it was sent to a cluster"}, h.hub.Events())
			})
		}
	}
	t.Run("it was created so", func(t *testing.T) {
		wf := gen.Workflow("hello", placed, shutdown("Stop"))
		h := newHarness(t, objects(surroundings(), wf)...)
		assert.Equal(t, 1, h.run())
		h.endsOnTheHub(wf, "Stop")
		h.edit(wf, "shutdown", nil)
		h.endsOnTheHub(wf, "Stop")
	})
}

func TestAWorkflowThatIsShutDownDoesNotEndOnTheHubIfItMayHaveStarted(t *testing.T) {
	stopped := shutdown("Terminate")
	for name, test := range map[string]struct {
		wf         *unstructured.Unstructured
		more       []client.Object
		restoredAt time.Time
	}{
		"its RemoteWorkflow is there": {
			gen.Workflow("hello", stopped), []client.Object{gen.RemoteWorkflow(gen.Workflow("hello"), cluster1)}, time.Time{},
		},
		"somebody else runs it":                          {gen.Workflow("hello", stopped, gen.WithStatus("Running")), nil, time.Time{}},
		"it was created before a restoration of the hub": {gen.Workflow("hello", stopped), nil, gen.Time.Add(time.Hour)},
		"its label has a wrong value": {
			gen.Workflow("hello", stopped, gen.WithLabels(map[string]string{contract.LabelEnable: "1"})), nil, time.Time{},
		},
		"it is assigned":      {gen.Workflow("hello", stopped, gen.WithAssignment(cluster1)), nil, time.Time{}},
		"it is being deleted": {gen.Workflow("hello", stopped, gen.WithFinalizers("x"), gen.Deleting()), nil, time.Time{}},
		"it is withdrawn":     {gen.Workflow("hello", stopped, gen.WithLabels(map[string]string{contract.LabelEnable: "false"})), nil, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, objects(surroundings(), test.more, test.wf)...)
			h.RestoredAt = test.restoredAt
			h.told(test.wf, test.wf)
			h.run()
			for _, event := range h.hub.Events() {
				assert.NotContains(t, event, "Stopped")
			}
			require.True(t, h.hub.Show(test.wf))
			assert.False(t, contract.IsFinished(contract.Phase(test.wf)))
		})
	}
}

func TestAnEndThatCannotBeWrittenIsTriedAgain(t *testing.T) {
	setUp := func(t *testing.T, err error) (*harness, *unstructured.Unstructured) {
		t.Helper()
		wf := gen.Workflow("hello", gen.WithPlacement("anywhere"), shutdown("Stop"))
		h := newHarness(t, objects(surroundings(), wf)...)
		h.hub.Fail("patch Workflow", err)
		assert.Equal(t, 1, h.run())
		h.hub.Fail("patch Workflow", nil)
		return h, wf
	}
	t.Run("after a while, if the API server is down", func(t *testing.T) {
		h, wf := setUp(t, errors.New("down"))
		assert.Empty(t, h.hub.Events())
		h.later(firstRetry)
		assert.Equal(t, 1, h.run())
		h.endsOnTheHub(wf, "Stop")
	})
	t.Run("when its change is seen, if it has changed", func(t *testing.T) {
		h, wf := setUp(t, fakehub.Conflict())
		h.later(time.Hour)
		assert.Zero(t, h.run())
		h.told(wf, wf)
		assert.Equal(t, 1, h.run())
		h.endsOnTheHub(wf, "Stop")
	})
	t.Run("seldom, if the API server refuses it, and it is told", func(t *testing.T) {
		h, wf := setUp(t, tooLong())
		events := h.hub.Events()
		require.Len(t, events, 1)
		assert.Contains(t, events[0], "Warning CannotTravel not ended: the hub refuses it: ")
		h.later(firstRefusedRetry)
		assert.Equal(t, 1, h.run())
		h.endsOnTheHub(wf, "Stop")
	})
}

func TestASuspendedWorkflowIsScheduledAtOnceWhenItIsResumed(t *testing.T) {
	for name, mods := range map[string][]gen.Mod{
		"it was created so":                {suspended()},
		"it was suspended while it waited": nil,
	} {
		t.Run(name, func(t *testing.T) {
			wf := gen.Workflow("hello", append(mods, gen.WithCluster(cluster1))...)
			// Nothing but the cluster's cap keeps it waiting.
			h := newHarness(t, objects(surroundings(), gen.ManagedCluster(cluster1, limited("0")), wf)...)
			assert.Equal(t, 1, h.run())
			if mods == nil {
				h.hub.Events()
				h.edit(wf, "suspend", true)
				assert.Equal(t, 1, h.run())
			}
			assert.Equal(t, suspendedMessage, h.messageOf(wf))
			assert.Equal(t, "Pending", contract.Phase(wf))
			assert.Equal(t, []string{"Warning Suspended " + suspendedMessage}, h.hub.Events())

			h.told(gen.ManagedCluster(cluster1, limited("0")), gen.ManagedCluster(cluster1))
			h.told(gen.ManagedClusterAddOn(cluster1), gen.ManagedClusterAddOn(cluster1, agentDown))
			h.told(gen.ManagedClusterAddOn(cluster1, agentDown), gen.ManagedClusterAddOn(cluster1))
			h.later(time.Hour)
			assert.Zero(t, h.run(), "nothing but its own change matters to it")
			assert.Empty(t, h.clusterOf(wf))
			h.edit(wf, "suspend", nil)
			assert.Equal(t, 1, h.run())
			assert.Equal(t, cluster1, h.clusterOf(wf))
		})
	}
}

func TestASuspendedWorkflowTakesNoRoomAndHoldsUpNobody(t *testing.T) {
	first := gen.Workflow("first", gen.WithCluster(cluster1))
	urgent, next := gen.Workflow("urgent", gen.WithCluster(cluster1), priority(5)), gen.Workflow("next", gen.WithCluster(cluster1))
	h := newHarness(t, objects(surroundings(), gen.ManagedCluster(cluster1, limited("1")), first)...)
	h.run()
	require.Equal(t, cluster1, h.clusterOf(first))
	for _, wf := range []*unstructured.Unstructured{urgent, next} {
		require.NoError(t, h.hub.Create(t.Context(), wf))
		require.True(t, h.hub.Show(wf))
		h.told(nil, wf)
	}
	h.run()
	h.edit(urgent, "suspend", true)
	h.run()
	h.end(first)
	h.run()
	assert.Empty(t, h.clusterOf(urgent))
	assert.Equal(t, cluster1, h.clusterOf(next))
	assert.EqualValues(t, 1, h.cache.node(cluster1).unfinished)

	h.edit(urgent, "suspend", nil)
	h.run()
	assert.Empty(t, h.clusterOf(urgent), "the room is taken")
	h.end(next)
	h.run()
	assert.Equal(t, cluster1, h.clusterOf(urgent))
}

// One that has been woken for the room that another has left, and is shut down or suspended before it is tried, leaves it to the next.
func TestTheRoomOfOneThatIsShutDownOrSuspendedBeforeItIsTriedIsForTheNext(t *testing.T) {
	for name, edit := range map[string][2]any{"shut down": {"shutdown", "Stop"}, "suspended": {"suspend", true}} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, objects(surroundings(), gen.ManagedCluster(cluster1, limited("1")))...)
			first, a, b := gen.Workflow("first", gen.WithCluster(cluster1)), gen.Workflow("a", gen.WithCluster(cluster1)), gen.Workflow("b", gen.WithCluster(cluster1))
			for _, wf := range []*unstructured.Unstructured{first, a, b} {
				require.NoError(t, h.hub.Create(t.Context(), wf))
				require.True(t, h.hub.Show(wf))
				h.told(nil, wf)
				h.run()
			}
			h.end(first)
			h.edit(a, edit[0].(string), edit[1])
			h.run()
			assert.Empty(t, h.clusterOf(a))
			assert.Equal(t, cluster1, h.clusterOf(b))
		})
	}
}

func TestASuspendedOrShutDownWorkflowThatIsDeletedOrLosesItsLabelIsForgotten(t *testing.T) {
	for name, mod := range map[string]gen.Mod{"suspended": suspended(), "shut down": shutdown("Stop")} {
		for how, is := range map[string]func(*unstructured.Unstructured) client.Object{
			"deleted": func(*unstructured.Unstructured) client.Object { return nil },
			"being deleted": func(wf *unstructured.Unstructured) client.Object {
				return with(wf, gen.WithFinalizers("x"), func(obj client.Object) { obj.SetDeletionTimestamp(&metav1.Time{Time: now}) })
			},
			"withdrawn": func(wf *unstructured.Unstructured) client.Object {
				return with(wf, gen.WithLabels(map[string]string{contract.LabelEnable: "false"}))
			},
		} {
			t.Run(name+" and "+how, func(t *testing.T) {
				wf := gen.Workflow("hello", gen.WithPlacement("anywhere"), mod)
				h := newHarness(t, objects(surroundings(), wf)...)
				h.told(wf, is(wf))
				assert.Zero(t, h.run())
				assert.Empty(t, h.queue.items)
				assert.Empty(t, h.hub.Writes())
			})
		}
	}
}

func TestAPriorityThatIsChangedWhileItWaitsCounts(t *testing.T) {
	first := gen.Workflow("first", gen.WithCluster(cluster1))
	h := newHarness(t, objects(surroundings(), gen.ManagedCluster(cluster1, limited("1")), first)...)
	h.run()
	waiting := map[string]*unstructured.Unstructured{}
	for i, name := range []string{"a", "b", "c"} {
		wf := gen.Workflow(name, gen.WithCluster(cluster1), created(time.Duration(i)*time.Hour), priority(1))
		require.NoError(t, h.hub.Create(t.Context(), wf))
		require.True(t, h.hub.Show(wf))
		h.told(nil, wf)
		waiting[name] = wf
	}
	h.run()
	h.edit(waiting["c"], "priority", 2)
	h.edit(waiting["a"], "priority", 0)
	h.run()
	h.end(first)
	h.run()
	var order []string
	for range 3 {
		for name, wf := range waiting {
			if h.clusterOf(wf) == "" {
				continue
			}
			order = append(order, name)
			delete(waiting, name)
			h.end(wf)
			h.run()
			break
		}
	}
	assert.Equal(t, []string{"c", "b", "a"}, order)
}
