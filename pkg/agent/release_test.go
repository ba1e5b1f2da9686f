package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kubefake "k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

const otherFinalizer = "example.com/of-another"

type copyMod func(*unstructured.Unstructured)

// newCopy returns a Workflow that hub-1 has sent to cluster1 and the agent has started.
func newCopy(name string, mods ...copyMod) *unstructured.Unstructured {
	wf := contract.NewWorkflow()
	wf.SetNamespace("default")
	wf.SetName(name)
	wf.SetUID("copy-uid")
	wf.SetLabels(map[string]string{contract.LabelCluster: "cluster1", contract.LabelPhase: "Running"})
	wf.SetAnnotations(map[string]string{contract.AnnotationHubID: "hub-1"})
	wf.SetFinalizers([]string{otherFinalizer, contract.FinalizerReport})
	wf.Object["spec"] = map[string]any{"entrypoint": "main"}
	wf.Object["status"] = map[string]any{"phase": "Running"}
	for _, mod := range mods {
		mod(wf)
	}
	return wf
}

func ofHub(id string) copyMod {
	return func(wf *unstructured.Unstructured) {
		wf.SetAnnotations(map[string]string{contract.AnnotationHubID: id})
	}
}

func ofCluster(name string) copyMod {
	return func(wf *unstructured.Unstructured) { wf.SetLabels(map[string]string{contract.LabelCluster: name}) }
}

func withoutReference(wf *unstructured.Unstructured) {
	wf.SetLabels(nil)
	wf.SetAnnotations(nil)
}

func unlabeled(wf *unstructured.Unstructured) { wf.SetLabels(nil) }

// gatedAgain makes a Workflow that has run one with the gate, and without our finalizer.
func gatedAgain(wf *unstructured.Unstructured) {
	wf.SetLabels(map[string]string{
		contract.LabelCluster: "cluster1", contract.LabelInstanceID: contract.InstanceIDGate, contract.LabelPhase: "Running",
	})
	wf.SetFinalizers(nil)
}

// neverStarted makes it as the hub has sent it.
func neverStarted(wf *unstructured.Unstructured) {
	wf.SetLabels(map[string]string{contract.LabelCluster: "cluster1", contract.LabelInstanceID: contract.InstanceIDGate})
	wf.SetFinalizers(nil)
	delete(wf.Object, "status")
}

func going(wf *unstructured.Unstructured) { wf.SetDeletionTimestamp(&metav1.Time{Time: time.Now()}) }

// releaseEnv is a releaser on a fake API server.
type releaseEnv struct {
	*releaser
	t      *testing.T
	server client.WithWatch
	out    *bytes.Buffer
	// patchFails answers a patch instead of the fake, unless it returns nil.
	patchFails func(name string) error
	patches    atomic.Int32
}

func newReleaseEnv(t *testing.T, options ReleaseOptions, copies ...client.Object) *releaseEnv {
	t.Helper()
	e := &releaseEnv{t: t, out: &bytes.Buffer{}, patchFails: func(string) error { return nil }}
	scheme := runtime.NewScheme()
	scheme.AddKnownTypeWithName(contract.WorkflowGVK, contract.NewWorkflow())
	scheme.AddKnownTypeWithName(contract.NewWorkflowList().GroupVersionKind(), contract.NewWorkflowList())
	e.server = fake.NewClientBuilder().WithScheme(scheme).WithObjects(copies...).Build()
	e.releaser = &releaser{options: options, out: e.out, client: interceptor.NewClient(e.server, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			e.patches.Add(1)
			if err := e.patchFails(obj.GetName()); err != nil {
				return err
			}
			return c.Patch(ctx, obj, patch, opts...)
		},
	})}
	return e
}

func (e *releaseEnv) get(name string) *unstructured.Unstructured {
	e.t.Helper()
	wf := contract.NewWorkflow()
	require.NoError(e.t, e.server.Get(e.t.Context(), client.ObjectKey{Namespace: "default", Name: name}, wf))
	return wf
}

func (e *releaseEnv) isReleased(name string) bool {
	e.t.Helper()
	return !slices.Contains(e.get(name).GetFinalizers(), contract.FinalizerReport)
}

// lines returns what was written, sorted but for the summary.
func (e *releaseEnv) lines() []string {
	lines := strings.Split(strings.TrimSuffix(e.out.String(), "\n"), "\n")
	slices.Sort(lines[:len(lines)-1])
	return lines
}

func TestOnlyTheHubsOwnWorkflowsAreReleased(t *testing.T) {
	copies := func() []client.Object {
		return []client.Object{
			newCopy("ours"), newCopy("without-label", unlabeled), newCopy("other-hub", ofHub("hub-2")),
			newCopy("other-cluster", ofCluster("cluster2")), newCopy("unknown", withoutReference),
		}
	}
	tests := map[string]struct {
		options ReleaseOptions
		want    []string
		summary string
	}{
		"of a hub under a cluster's name": {
			ReleaseOptions{HubID: "hub-1", ClusterName: "cluster1"}, []string{"ours", "without-label"},
			"released 2 Workflows; 3 of other hubs or clusters are left alone"},
		"of a hub": {
			ReleaseOptions{HubID: "hub-1"}, []string{"other-cluster", "ours", "without-label"},
			"released 3 Workflows; 2 of other hubs or clusters are left alone"},
		"of all hubs under a cluster's name": {
			ReleaseOptions{AllHubs: true, ClusterName: "cluster1"}, []string{"other-hub", "ours", "unknown", "without-label"},
			"released 4 Workflows; 1 of other hubs or clusters are left alone"},
		"of all hubs": {
			ReleaseOptions{AllHubs: true}, []string{"other-cluster", "other-hub", "ours", "unknown", "without-label"},
			"released 5 Workflows; 0 of other hubs or clusters are left alone"},
		"of a hub that is unknown": {
			ReleaseOptions{HubID: "hub-3"}, nil, "released 0 Workflows; 5 of other hubs or clusters are left alone"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := newReleaseEnv(t, test.options, copies()...)
			require.NoError(t, e.run(t.Context()))
			var lines []string
			for _, name := range test.want {
				lines = append(lines, "default/"+name+": released")
			}
			assert.Equal(t, append(lines, test.summary), e.lines())
			for _, wf := range copies() {
				assert.Equal(t, slices.Contains(test.want, wf.GetName()), e.isReleased(wf.GetName()), wf.GetName())
			}
		})
	}
}

func TestNothingButTheFinalizerChanges(t *testing.T) {
	e := newReleaseEnv(t, ReleaseOptions{HubID: "hub-1"}, newCopy("ours"), newCopy("gated", gatedAgain))
	want, gatedBefore := e.get("ours"), e.get("gated")
	require.NoError(t, e.run(t.Context()))
	want.SetFinalizers([]string{otherFinalizer})
	released := e.get("ours")
	want.SetResourceVersion(released.GetResourceVersion())
	assert.Equal(t, want, released)
	assert.Equal(t, gatedBefore, e.get("gated"))
}

func TestWhatHasNeverStartedIsRemoved(t *testing.T) {
	copies := func() []client.Object {
		withoutLabel := func(wf *unstructured.Unstructured) {
			wf.SetLabels(map[string]string{contract.LabelInstanceID: contract.InstanceIDGate})
		}
		running := func(wf *unstructured.Unstructured) { wf.Object["status"] = map[string]any{"phase": "Running"} }
		return []client.Object{
			newCopy("ours", neverStarted), newCopy("without-label", neverStarted, withoutLabel), newCopy("other-hub", neverStarted, ofHub("hub-2")),
			newCopy("gated-again", gatedAgain), newCopy("opened", neverStarted, unlabeled), newCopy("not-of-a-hub", neverStarted, ofHub("")),
			newCopy("with-status", neverStarted, running),
		}
	}
	for name, test := range map[string]struct {
		options ReleaseOptions
		removed []string
	}{
		"of a hub":    {ReleaseOptions{HubID: "hub-1"}, []string{"ours", "without-label"}},
		"of all hubs": {ReleaseOptions{AllHubs: true}, []string{"other-hub", "ours", "without-label"}},
		"by a dry run, which only says so": {
			ReleaseOptions{HubID: "hub-1", DryRun: true}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			e := newReleaseEnv(t, test.options, copies()...)
			err := e.run(t.Context())
			if test.options.DryRun {
				require.NoError(t, err)
				assert.Contains(t, e.lines(), "default/ours: would be removed: it has never started")
			} else {
				require.EqualError(t, err, fmt.Sprintf("1 of %d Workflows could not be released: see the lines above, and run this again", len(test.removed)+1))
				assert.Contains(t, e.lines(), "default/ours: removed: it has never started")
				assert.Contains(t, e.lines(), "default/with-status: not released: it has a status, though neither a finalizer nor a label with its phase")
			}
			for _, wf := range copies() {
				err := e.server.Get(t.Context(), client.ObjectKeyFromObject(wf), contract.NewWorkflow())
				assert.Equal(t, slices.Contains(test.removed, wf.GetName()), apierrors.IsNotFound(err), wf.GetName())
			}
			assert.Zero(t, e.patches.Load())
		})
	}
}

func TestAWorkflowThatIsBeingDeletedGoes(t *testing.T) {
	e := newReleaseEnv(t, ReleaseOptions{HubID: "hub-1"}, newCopy("going", going,
		func(wf *unstructured.Unstructured) { wf.SetFinalizers([]string{contract.FinalizerReport}) }))
	require.NoError(t, e.run(t.Context()))
	err := e.server.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "going"}, contract.NewWorkflow())
	assert.True(t, apierrors.IsNotFound(err))
}

func TestReleasingAgainDoesNothing(t *testing.T) {
	e := newReleaseEnv(t, ReleaseOptions{HubID: "hub-1"}, newCopy("ours"))
	require.NoError(t, e.run(t.Context()))
	e.out.Reset()
	require.NoError(t, e.run(t.Context()))
	assert.Equal(t, int32(1), e.patches.Load())
	assert.Equal(t, []string{"released 0 Workflows; 0 of other hubs or clusters are left alone"}, e.lines())
}

func TestADryRunOnlyTells(t *testing.T) {
	e := newReleaseEnv(t, ReleaseOptions{HubID: "hub-1", DryRun: true}, newCopy("ours"), newCopy("other-hub", ofHub("hub-2")))
	require.NoError(t, e.run(t.Context()))
	assert.Zero(t, e.patches.Load())
	assert.Equal(t, []string{
		"default/ours: would be released", "would release 1 Workflows; 1 of other hubs or clusters are left alone",
	}, e.lines())
}

func TestAWorkflowThatChangesMeanwhileIsReadAgain(t *testing.T) {
	e := newReleaseEnv(t, ReleaseOptions{HubID: "hub-1"}, newCopy("ours"))
	var once atomic.Bool
	e.patchFails = func(string) error { // Argo is faster
		if once.CompareAndSwap(false, true) {
			wf := e.get("ours")
			wf.SetFinalizers(append(wf.GetFinalizers(), "example.com/new"))
			return e.server.Update(t.Context(), wf)
		}
		return nil
	}
	require.NoError(t, e.run(t.Context()))
	assert.Equal(t, []string{otherFinalizer, "example.com/new"}, e.get("ours").GetFinalizers())
	assert.Equal(t, int32(2), e.patches.Load())
}

func TestAWorkflowThatHasBecomeAnothersIsLeft(t *testing.T) {
	e := newReleaseEnv(t, ReleaseOptions{HubID: "hub-1"}, newCopy("ours"))
	var once atomic.Bool
	e.patchFails = func(string) error {
		if once.CompareAndSwap(false, true) {
			wf := e.get("ours")
			ofHub("hub-2")(wf)
			return e.server.Update(t.Context(), wf)
		}
		return nil
	}
	require.NoError(t, e.run(t.Context()))
	assert.False(t, e.isReleased("ours"))
}

func TestWhatCannotBeReleasedIsToldAndTheRestIsReleased(t *testing.T) {
	e := newReleaseEnv(t, ReleaseOptions{HubID: "hub-1"}, newCopy("ours"), newCopy("stuck"), newCopy("vanished"))
	e.patchFails = func(name string) error {
		switch name {
		case "stuck":
			return errors.New("a webhook says no")
		case "vanished":
			return apierrors.NewNotFound(contract.WorkflowGVR.GroupResource(), name)
		}
		return nil
	}
	require.EqualError(t, e.run(t.Context()), "1 of 3 Workflows could not be released: see the lines above, and run this again")
	assert.Equal(t, []string{
		"default/ours: released", "default/stuck: not released: a webhook says no", "default/vanished: released",
		"released 2 Workflows; 0 of other hubs or clusters are left alone",
	}, e.lines())
}

func TestAllPagesAreRead(t *testing.T) {
	e := newReleaseEnv(t, ReleaseOptions{HubID: "hub-1"})
	pages := map[string]string{"": "second", "second": ""}
	e.client = interceptor.NewClient(e.server, interceptor.Funcs{
		List: func(_ context.Context, _ client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			options := (&client.ListOptions{}).ApplyOptions(opts)
			assert.Positive(t, options.Limit)
			next, known := pages[options.Continue]
			require.True(t, known)
			page := list.(*metav1.PartialObjectMetadataList)
			page.Continue = next
			page.Items = []metav1.PartialObjectMetadata{{ObjectMeta: metav1.ObjectMeta{
				Namespace: "default", Name: "on-page-" + options.Continue, Finalizers: []string{contract.FinalizerReport},
				Annotations: map[string]string{contract.AnnotationHubID: "hub-1"},
			}}}
			return nil
		},
		Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
			return nil
		},
	})
	require.NoError(t, e.run(t.Context()))
	assert.Equal(t, []string{
		"default/on-page-: released", "default/on-page-second: released", "released 2 Workflows; 0 of other hubs or clusters are left alone",
	}, e.lines())
}

func TestAClusterWithoutArgoHasNothingToRelease(t *testing.T) {
	for name, test := range map[string]struct {
		answer error
		want   string
	}{
		"no CRD":   {apierrors.NewNotFound(contract.WorkflowGVR.GroupResource(), ""), ""},
		"no right": {apierrors.NewForbidden(contract.WorkflowGVR.GroupResource(), "", errors.New("no")), "list Workflows: "},
	} {
		t.Run(name, func(t *testing.T) {
			e := newReleaseEnv(t, ReleaseOptions{HubID: "hub-1"})
			e.client = interceptor.NewClient(e.server, interceptor.Funcs{
				List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
					return test.answer
				},
			})
			err := e.run(t.Context())
			if test.want != "" {
				require.ErrorContains(t, err, test.want)
				return
			}
			require.NoError(t, err)
			assert.Contains(t, e.out.String(), "this cluster has no Argo Workflows")
		})
	}
}

func TestReleaseOptionsNameTheFlagsToCorrect(t *testing.T) {
	valid := ReleaseOptions{HubID: "hub-1", Namespace: "agents", Timeout: time.Second}
	require.NoError(t, valid.Validate())
	for flag, change := range map[string]func(*ReleaseOptions){
		"--hub-id is required":          func(o *ReleaseOptions) { o.HubID = "" },
		"--all-hubs and --hub-id":       func(o *ReleaseOptions) { o.AllHubs = true },
		"--agent-namespace is required": func(o *ReleaseOptions) { o.Namespace = "" },
		"--timeout must be positive":    func(o *ReleaseOptions) { o.Timeout = 0 },
	} {
		options := valid
		change(&options)
		require.ErrorContains(t, options.Validate(), flag)
	}
	require.ErrorContains(t, Release(t.Context(), nil, ReleaseOptions{}, nil), "--all-hubs")
}

func agentNamespace() *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "agents"}}
}

func leaseOf(name, holder string) *coordinationv1.Lease {
	now := metav1.NowMicro()
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: name},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: &holder, LeaseDurationSeconds: ptr.To[int32](3600), AcquireTime: &now, RenewTime: &now,
		},
	}
}

func TestWhileItReleasesItIsTheLeaderAndThenTheLeasesGo(t *testing.T) {
	for name, kubeClient := range map[string]*kubefake.Clientset{
		"an agent has been there":    kubefake.NewClientset(agentNamespace(), leaseOf(componentName, ""), leaseOf(contract.AddonName, "agent")),
		"no agent has been a leader": kubefake.NewClientset(agentNamespace()),
	} {
		t.Run(name, func(t *testing.T) {
			leases := kubeClient.CoordinationV1().Leases("agents")
			require.NoError(t, insteadOfAgent(t.Context(), kubeClient, "agents", time.Minute, func(ctx context.Context) error {
				lease, err := leases.Get(ctx, componentName, metav1.GetOptions{})
				require.NoError(t, err)
				assert.Contains(t, *lease.Spec.HolderIdentity, "release_")
				return nil
			}))
			left, err := leases.List(t.Context(), metav1.ListOptions{})
			require.NoError(t, err)
			assert.Empty(t, left.Items)
		})
	}
}

func TestItDoesNotReleaseWhileTheAgentRuns(t *testing.T) {
	kubeClient := kubefake.NewClientset(agentNamespace(), leaseOf(componentName, "the-agent"))
	err := insteadOfAgent(t.Context(), kubeClient, "agents", time.Millisecond, func(context.Context) error {
		assert.Fail(t, "released")
		return nil
	})
	require.ErrorContains(t, err, "Lease agents/"+componentName)
	require.ErrorContains(t, err, "--replicas=0")
	_, err = kubeClient.CoordinationV1().Leases("agents").Get(t.Context(), componentName, metav1.GetOptions{})
	require.NoError(t, err)
}

func TestTheLeasesStayForTheNextTry(t *testing.T) {
	kubeClient := kubefake.NewClientset(agentNamespace())
	failure := errors.New("1 of 3 could not be released")
	err := insteadOfAgent(t.Context(), kubeClient, "agents", time.Minute, func(context.Context) error { return failure })
	require.ErrorIs(t, err, failure)
	lease, err := kubeClient.CoordinationV1().Leases("agents").Get(t.Context(), componentName, metav1.GetOptions{})
	require.NoError(t, err)
	assert.Empty(t, ptr.Deref(lease.Spec.HolderIdentity, ""), "the next need not wait")
}

func TestWithoutANamespaceThereIsNoAgentToWaitFor(t *testing.T) {
	terminating := agentNamespace()
	terminating.DeletionTimestamp = ptr.To(metav1.Now())
	for name, kubeClient := range map[string]*kubefake.Clientset{
		"gone":  kubefake.NewClientset(),
		"going": kubefake.NewClientset(terminating, leaseOf(componentName, "the-agent")),
	} {
		t.Run(name, func(t *testing.T) {
			called := false
			require.NoError(t, insteadOfAgent(t.Context(), kubeClient, "agents", time.Millisecond, func(context.Context) error {
				called = true
				return nil
			}))
			assert.True(t, called)
		})
	}
}

// detachEnv is a detachment from a fake API server, and what has happened in it.
type detachEnv struct {
	detachment
	kubeClient *kubefake.Clientset
	working    chan struct{}
	stopped    chan struct{}
	released   chan struct{}
	done       chan error
	cancel     context.CancelFunc
}

func startDetachment(t *testing.T, namespace *corev1.Namespace, release error) *detachEnv {
	t.Helper()
	e := &detachEnv{
		kubeClient: kubefake.NewClientset(namespace), working: make(chan struct{}), stopped: make(chan struct{}),
		released: make(chan struct{}, 1), done: make(chan error, 1),
	}
	e.detachment = detachment{kubeClient: e.kubeClient, namespace: "agents", release: func(ctx context.Context) error {
		select {
		case <-e.stopped:
		default:
			assert.Fail(t, "what is released would be taken hold of again")
		}
		assert.NoError(t, ctx.Err())
		e.released <- struct{}{}
		return release
	}}
	var ctx context.Context
	ctx, e.cancel = context.WithCancel(t.Context())
	t.Cleanup(e.cancel)
	go func() {
		e.done <- e.run(ctx, func(ctx context.Context) error {
			close(e.working)
			<-ctx.Done()
			close(e.stopped)
			return nil
		})
	}()
	<-e.working
	return e
}

// end makes the namespace one that is being deleted, and says so until the agent's work is stopped: a fake API server forgets what
// happens between a list and the watch that follows it.
func (e *detachEnv) end(t *testing.T) {
	t.Helper()
	namespace := agentNamespace()
	namespace.DeletionTimestamp = ptr.To(metav1.Now())
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		_, err := e.kubeClient.CoreV1().Namespaces().Update(t.Context(), namespace, metav1.UpdateOptions{})
		require.NoError(t, err)
		select {
		case <-e.stopped:
			return
		case <-ticker.C:
		}
	}
}

func TestWhenItsNamespaceIsDeletedTheAgentStopsAndReleases(t *testing.T) {
	for name, first := range map[string]bool{"while it runs": false, "before it started": true} {
		t.Run(name, func(t *testing.T) {
			namespace := agentNamespace()
			if first {
				namespace.DeletionTimestamp = ptr.To(metav1.Now())
			}
			e := startDetachment(t, namespace, nil)
			if !first {
				e.end(t)
			}
			<-e.released
			assert.Empty(t, e.done, "it waits to be stopped, so that it is not started again")
			e.cancel()
			require.NoError(t, <-e.done)
		})
	}
}

func TestWhatCannotBeReleasedIsTriedAgainByTheNextProcess(t *testing.T) {
	e := startDetachment(t, agentNamespace(), errors.New("forbidden"))
	e.end(t)
	require.ErrorContains(t, <-e.done, "release the Workflows: forbidden")
}

func TestAnAgentThatIsStoppedReleasesNothing(t *testing.T) {
	e := startDetachment(t, agentNamespace(), nil)
	e.cancel()
	require.NoError(t, <-e.done)
	assert.Empty(t, e.released)
}

func TestAnAgentThatFailsReleasesNothing(t *testing.T) {
	failure := errors.New("leader election lost")
	d := detachment{kubeClient: kubefake.NewClientset(agentNamespace()), namespace: "agents", release: func(context.Context) error {
		assert.Fail(t, "released")
		return nil
	}}
	require.ErrorIs(t, d.run(t.Context(), func(context.Context) error { return failure }), failure)
}

func TestANamespaceThatIsDeletedShowsAtTheEndAtTheLatest(t *testing.T) {
	namespace := agentNamespace()
	namespace.DeletionTimestamp = ptr.To(metav1.Now())
	ctx, cancel := context.WithCancel(t.Context())
	released := 0
	d := detachment{kubeClient: kubefake.NewClientset(namespace), namespace: "agents", release: func(ctx context.Context) error {
		released++
		return ctx.Err()
	}}
	require.NoError(t, d.run(ctx, func(context.Context) error {
		cancel() // SIGTERM, before the watch has shown anything
		return nil
	}))
	assert.Equal(t, 1, released)
}
