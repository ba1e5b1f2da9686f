package scheduler

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/dynamicinformer"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache/informertest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/cluster"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/podrequests"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func tooLong() error {
	return apierrors.NewInvalid(contract.WorkflowGVK.GroupKind(), "hello", nil)
}

func TestABindIsOnePatchThatFailsIfTheWorkflowHasChanged(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithPlacement("anywhere"), gen.WithFinalizers("a/b"))
	h := newHarness(t, append(surroundings(), wf)...)
	h.run()
	assert.Equal(t, map[string]any{"metadata": map[string]any{
		"annotations": map[string]any{
			contract.AnnotationCluster: cluster1, contract.AnnotationAssigned: contract.Assignment(wf, 1, cluster1),
		},
		"finalizers": []any{"a/b", contract.FinalizerDispatch}, "resourceVersion": wf.GetResourceVersion(),
	}}, h.hub.PatchOf("Workflow"))
}

func TestWorkflowsThatArriveTogetherSpreadBeforeTheirAssignmentsAreSeen(t *testing.T) {
	wfs := workflows(20, gen.WithPlacement("anywhere"))
	h := newHarness(t, objects(surroundings(), wfs)...)
	for range wfs {
		next, _ := h.next(t.Context())
		require.Equal(t, assigned, h.write(t.Context(), next))
		h.finish(next, assigned)
	}
	assert.EqualValues(t, 10, h.cache.node(cluster1).unfinished)
	assert.EqualValues(t, 10, h.cache.node("cluster2").unfinished)
	for _, wf := range wfs {
		h.show(wf)
	}
	assert.EqualValues(t, 10, h.cache.node(cluster1).unfinished, "nothing counts twice")
	for _, at := range h.cache.places {
		assert.False(t, at.assumed)
	}
}

func TestABindOfWhatHasChangedIsNotTriedUntilTheChangeIsSeen(t *testing.T) {
	for name, err := range map[string]error{
		"it has changed": fakehub.Conflict(),
		"it is gone":     apierrors.NewNotFound(contract.WorkflowGVR.GroupResource(), "hello"),
	} {
		t.Run(name, func(t *testing.T) {
			wf := gen.Workflow("hello", gen.WithPlacement("anywhere"))
			h := newHarness(t, append(surroundings(), wf)...)
			h.hub.Fail("patch Workflow", err)
			assert.Equal(t, 1, h.run())
			h.later(time.Hour)
			assert.Zero(t, h.run())
			assert.Empty(t, h.hub.Events())

			h.hub.Fail("patch Workflow", nil)
			h.told(wf, wf)
			assert.Equal(t, 1, h.run())
			assert.Equal(t, cluster1, h.clusterOf(wf))
			assert.Len(t, h.cache.places, 1)
			h.told(h.show(wf), nil)
			assert.Empty(t, h.cache.places)
		})
	}
}

func TestAnErrorIsTriedAgainAfterAWhile(t *testing.T) {
	tests := map[string]struct {
		wf   func() client.Object
		call string
		err  error
	}{
		"the assignment cannot be written": {
			func() client.Object { return gen.Workflow("hello", gen.WithPlacement("anywhere")) }, "patch Workflow", errors.New("down"),
		},
		"something else is gone": {
			func() client.Object { return gen.Workflow("hello", gen.WithPlacement("anywhere")) }, "patch Workflow",
			apierrors.NewNotFound(clusterv1.Resource("managedclusters"), "a"),
		},
		"the message cannot be written": {func() client.Object { return gen.Workflow("hello") }, "patch Workflow", errors.New("down")},
		"the bindings cannot be read": {
			func() client.Object { return gen.Workflow("hello", gen.WithPlacement("anywhere")) }, "list ManagedClusterSetBinding",
			errors.New("down"),
		},
		"the ManagedClusterSet is not read": {
			func() client.Object { return gen.Workflow("hello", gen.WithPlacement("anywhere")) }, "get ManagedClusterSet", errors.New("down"),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wf := test.wf()
			h := newHarness(t, append(surroundings(), wf)...)
			h.hub.Fail(test.call, test.err)
			assert.Equal(t, 1, h.run())
			assert.Empty(t, h.hub.Events())
			assert.Zero(t, h.run(), "not at once")
			h.hub.Fail(test.call, nil)
			h.later(firstRetry)
			assert.Equal(t, 1, h.run())
			assert.Len(t, h.hub.Events(), 1)
			h.later(time.Hour)
			assert.Zero(t, h.run())
		})
	}
}

func TestWhatTheAPIServerRefusesIsToldAndTriedAgainSeldom(t *testing.T) {
	const want = `not dispatched: the hub refuses it: Workflow.argoproj.io "hello" is invalid`
	wf := gen.Workflow("hello", gen.WithPlacement("anywhere"))
	h := newHarness(t, append(surroundings(), wf)...)
	patches := 0
	h.hub.On("patch Workflow", func() error {
		if patches++; patches%2 == 1 { // the assignment, not the message
			return tooLong()
		}
		return nil
	})
	assert.Equal(t, 1, h.run())
	assert.Equal(t, want, h.messageOf(wf))
	assert.Equal(t, []string{"Warning CannotTravel " + want}, h.hub.Events())
	assert.Empty(t, h.cache.places)
	h.later(firstRefusedRetry - 1)
	assert.Zero(t, h.run())
	h.later(1)
	assert.Equal(t, 1, h.run())
	assert.Equal(t, 3, patches, "the same message is not written again")
	assert.Empty(t, h.hub.Events())
}

func TestWhatTheAPIServerRefusesEvenToSayIsToldInAnEvent(t *testing.T) {
	h := newHarness(t, append(surroundings(), gen.Workflow("hello", gen.WithPlacement("anywhere")))...)
	h.hub.Fail("patch Workflow", tooLong())
	assert.Equal(t, 1, h.run())
	assert.Len(t, h.hub.Events(), 1)
	h.later(maxRefusedRetry)
	h.hub.Fail("patch Workflow", nil)
	assert.Equal(t, 1, h.run())
	assert.Empty(t, h.queue.items)
}

func TestADeletionWhileTheAssignmentIsWrittenLeavesNothingBehind(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithPlacement("anywhere"))
	h := newHarness(t, append(surroundings(), wf)...)
	next, _ := h.next(t.Context())
	h.told(wf, nil)
	h.finish(next, stale)
	assert.Empty(t, h.queue.items)
	assert.Empty(t, h.cache.places)
	assert.Zero(t, h.run())
}

func TestAWorkflowThatWasGivenBackIsAssignedAnew(t *testing.T) {
	wf := gen.Workflow("hello", gen.WithPlacement("anywhere"))
	h := newHarness(t, append(surroundings(), wf)...)
	h.run()
	require.Equal(t, cluster1, h.clusterOf(wf))
	given := wf.DeepCopy()
	given.SetAnnotations(map[string]string{contract.AnnotationPlacement: "anywhere"})
	given.SetFinalizers(nil)
	h.told(gen.ManagedClusterAddOn(cluster1), nil)
	h.told(wf, given)
	next, _ := h.next(t.Context())
	require.NotNil(t, next)
	assert.Equal(t, "cluster2", next.cluster)
	assert.EqualValues(t, 0, h.cache.node(cluster1).unfinished)
}

func TestTheLoopAssignsAllInTheEndAndEndsWithItsContext(t *testing.T) {
	wfs := workflows(100, gen.WithPlacement("anywhere"))
	h := newHarness(t, surroundings()...)
	h.Clock, h.Concurrency = clock.RealClock{}, 4
	h.Recorder = discard{}
	tellWorkflow := handlerOf(&h.mu, h.workflowChanged)
	var failedOnce sync.Once
	h.hub.On("patch Workflow", func() (err error) {
		failedOnce.Do(func() { err = errors.New("down") })
		return err
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- h.Start(ctx) }()
	for _, wf := range wfs {
		require.NoError(t, h.hub.Create(ctx, wf))
		tellWorkflow.OnAdd(trimmed(t, wf.DeepCopy()), false)
	}
	require.Eventually(t, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.queue.items) == 0
	}, time.Minute, time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
	count := map[string]int{}
	for _, wf := range wfs {
		count[h.clusterOf(wf)]++
	}
	assert.Equal(t, map[string]int{cluster1: 50, "cluster2": 50}, count)
}

// discard is a recorder for many Events.
type discard struct{}

// Eventf implements events.EventRecorder.
func (discard) Eventf(runtime.Object, runtime.Object, string, string, string, string, ...any) {}

func TestTheLoopDoesNotBeginBeforeTheCachesAreFull(t *testing.T) {
	h := newHarness(t, append(surroundings(), gen.Workflow("hello", gen.WithPlacement("anywhere")))...)
	h.synced = []toolscache.InformerSynced{func() bool { return false }}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.NoError(t, h.Start(ctx))
	assert.Empty(t, h.hub.Writes())
}

func TestWorkflowsAreToldOfAfterTheTemplatesOrAfterAWhile(t *testing.T) {
	for name, test := range map[string]struct{ comeAfter, wantFedAfter time.Duration }{
		"the templates come":               {0, 0},
		"the templates come late":          {time.Second, time.Second},
		"the templates cannot be read yet": {3 * patience, patience},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t)
				h.init()
				informers, begun := &informertest.FakeInformers{Scheme: h.hub.Scheme()}, time.Now()
				h.Templates = []toolscache.SharedIndexInformer{informerOf(t, template("t", 9), func() error {
					if time.Since(begun) < test.comeAfter {
						return apierrors.NewForbidden(schema.GroupResource{}, "", nil)
					}
					return nil
				})}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- (&feeder{h.Scheduler, informers}).Start(ctx) }()
				<-h.fed
				assert.GreaterOrEqual(t, time.Since(begun), test.wantFedAfter)
				assert.LessOrEqual(t, time.Since(begun), patience+time.Second)
				assert.Len(t, h.synced, 1)

				workflows, err := informers.FakeInformerFor(t.Context(), contract.NewWorkflow())
				require.NoError(t, err)
				wf := gen.Workflow("hello", taking("t"))
				workflows.Add(wf)
				requests := func() int64 {
					h.mu.Lock()
					defer h.mu.Unlock()
					return h.queue.items[client.ObjectKeyFromObject(wf)].requests.MilliCPU
				}
				if test.comeAfter < patience {
					assert.EqualValues(t, 9000, requests())
				} else {
					assert.Zero(t, requests())
					<-time.After(2 * test.comeAfter)
					assert.EqualValues(t, 9000, requests(), "what comes later counts as well")
				}
				cancel()
				require.NoError(t, <-ended)
			})
		})
	}
}

// informerOf returns an informer of the WorkflowTemplates of a hub that has one, and answers a list with the error of answer if there is one.
func informerOf(t *testing.T, template *unstructured.Unstructured, answer func() error) toolscache.SharedIndexInformer {
	t.Helper()
	resource, _ := meta.UnsafeGuessKindToResource(contract.WorkflowTemplateGVK)
	hub := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
		map[schema.GroupVersionResource]string{resource: "WorkflowTemplateList"}, template)
	hub.PrependReactor("list", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		err := answer()
		return err != nil, nil, err
	})
	informer := dynamicinformer.NewFilteredDynamicInformer(hub, resource, metav1.NamespaceAll, 0, toolscache.Indexers{}, nil).Informer()
	require.NoError(t, informer.SetTransform(podrequests.Trim))
	// That of client-go waits after an error, by a time that is not the test's.
	require.NoError(t, informer.SetWatchErrorHandler(func(*toolscache.Reflector, error) {}))
	return informer
}

func TestTheInformersOfTwoManagersFeedTwoSchedulers(t *testing.T) {
	for i := range 2 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			hub := fakehub.New(t, nil)
			informers := &informertest.FakeInformers{Scheme: hub.Scheme()}
			mgr, err := ctrl.NewManager(&rest.Config{}, ctrl.Options{
				Scheme: hub.Scheme(), Metrics: metricsserver.Options{BindAddress: "0"},
				NewCache:       func(*rest.Config, ctrlcache.Options) (ctrlcache.Cache, error) { return informers, nil },
				MapperProvider: func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return meta.NewDefaultRESTMapper(nil), nil },
			})
			require.NoError(t, err)
			s := &Scheduler{
				Client: hub, Recorder: hub.Recorder, HubID: gen.HubID, Clock: clock.RealClock{}, Concurrency: 1,
			}
			require.NoError(t, s.SetupWithManager(t.Context(), mgr))
			assert.Len(t, s.synced, 8)

			managed := gen.ManagedCluster(cluster1)
			informer, err := informers.FakeInformerFor(t.Context(), managed)
			require.NoError(t, err)
			informer.Add(managed)
			assert.Same(t, managed, s.cache.node(cluster1).Managed)
			informer.Update(managed, detached)
			assert.Same(t, detached, s.cache.node(cluster1).Managed)
			informer.Delete(detached)
			assert.Empty(t, s.cache.nodes)

			informers.Error = errors.New("down")
			require.ErrorContains(t, (&Scheduler{}).SetupWithManager(t.Context(), mgr), "down")
		})
	}
}

func TestADeletionThatTheWatchHasMissedIsOneAllTheSame(t *testing.T) {
	h := newHarness(t, gen.ManagedCluster(cluster1))
	handlerOf(&h.mu, h.managedClusterChanged).OnDelete(toolscache.DeletedFinalStateUnknown{Key: cluster1, Obj: gen.ManagedCluster(cluster1)})
	assert.Equal(t, &node{Cluster: cluster.Cluster{Name: cluster1}}, h.cache.node(cluster1))
}

func TestTriesAreCounted(t *testing.T) {
	before := fakehub.Counted(t, "argo_multicluster_scheduler_attempts_total", "assigned")
	h := newHarness(t, append(surroundings(), gen.Workflow("hello", gen.WithPlacement("anywhere")))...)
	h.run()
	assert.InDelta(t, before+1, fakehub.Counted(t, "argo_multicluster_scheduler_attempts_total", "assigned"), 0)
}
