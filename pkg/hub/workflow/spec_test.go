package workflow

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/report"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// sentAs has the attempt know the spec that was sent: that of the Workflow, changed.
func sentAs(mods ...gen.Mod) gen.Mod {
	return func(obj client.Object) {
		wf := assigned(mods...)
		obj.(*v1alpha1.RemoteWorkflow).Spec.SpecDigest = hubworkflow.Of(wf).SpecDigest
	}
}

func asked(obj client.Object) { obj.(*v1alpha1.RemoteWorkflow).Spec.WantSpec = true }

func respecified(obj client.Object) { gen.WithSpecField("edited", "entrypoint")(obj) }

func specOf(wf *unstructured.Unstructured) map[string]any { return wf.Object["spec"].(map[string]any) }

// specBench shows what its cluster reports, and knows what was sent.
func specBench(t *testing.T, status map[string]any, mods ...gen.Mod) *bench {
	t.Helper()
	b := newBench(t, status, append([]gen.Mod{sentAs()}, mods...)...)
	b.writes()
	return b
}

// has has the agent report this spec, nothing if that is nil.
func (b *bench) has(spec map[string]any) {
	b.t.Helper()
	rw := b.remote()
	rw.Status.Spec = nil
	if spec != nil {
		data, err := contract.EncodeStatus(spec)
		require.NoError(b.t, err)
		rw.Status.Spec = &v1alpha1.ReportedSpec{Data: data}
	}
	b.put(rw)
}

// sets has a user set fields of the spec.
func (b *bench) sets(fields map[string]any) {
	b.t.Helper()
	b.edits(func(map[string]any) {}, fields)
}

func (b *bench) spec() map[string]any { return specOf(shows(b.t, b.hub)) }

func TestAnEditedSpecIsAskedForRestoredAndAskedForNoMore(t *testing.T) {
	b := specBench(t, running())
	sent := runtime.DeepCopyJSON(b.spec())
	assert.Empty(t, b.writes(), "nobody has edited anything")

	parameters := []any{map[string]any{"name": "n", "value": "2"}}
	b.sets(map[string]any{"entrypoint": "edited", "arguments": map[string]any{"parameters": parameters}, "suspend": true})
	assert.Equal(t, []string{patchRemote + nameOf(b.wf), patchRemote + nameOf(b.wf)}, b.writes(), "it suspends, and asks")
	assert.True(t, b.remote().Spec.WantSpec)
	assert.Empty(t, b.hub.Events(), "it is on its way")

	b.has(sent)
	assert.Equal(t, []string{patchWorkflow, patchRemote + nameOf(b.wf)}, b.writes())
	assert.False(t, b.remote().Spec.WantSpec)
	want := runtime.DeepCopyJSON(sent)
	want["suspend"], want["arguments"] = true, map[string]any{"parameters": parameters}
	assert.Equal(t, want, b.spec(), "what verbs change stays")
	assert.Len(t, b.hub.Events(), 1)
	b.has(nil)
	assert.Empty(t, b.writes())
	assert.Empty(t, b.refused())
}

func TestASpecOfWhichAClientHasDroppedWhatItDoesNotKnowComesBackWithoutAWord(t *testing.T) {
	future := gen.WithSpecField("kept", "ofTheFuture")
	b := newBench(t, running(), sentAs(future))
	b.writes()
	require.True(t, b.remote().Spec.WantSpec, "it lacks a field")
	sent := runtime.DeepCopyJSON(b.spec())
	sent["ofTheFuture"] = "kept"
	b.has(sent)
	b.writes()
	assert.Equal(t, sent, b.spec())
	assert.Empty(t, b.hub.Events())
}

func TestASpecThatCannotComeBackStaysAndThatIsSaidOnce(t *testing.T) {
	const notAsSent = "cluster cluster1: what was changed in the spec has no effect on a Workflow that was sent, and stays: " +
		"the cluster does not have the spec any more as it was sent"
	other := func(spec map[string]any) map[string]any { spec["templates"] = []any{}; return spec }
	for name, test := range map[string]struct {
		answer func(spec map[string]any) map[string]any
		says   string
	}{
		"the cluster has another one":            {other, notAsSent},
		"a hostile cluster sends another one":    {func(spec map[string]any) map[string]any { spec["podSpecPatch"] = "evil"; return spec }, notAsSent},
		"the cluster has the edited one as well": {func(spec map[string]any) map[string]any { spec["entrypoint"] = "edited"; return spec }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := specBench(t, running())
			sent := runtime.DeepCopyJSON(b.spec())
			b.sets(map[string]any{"entrypoint": "edited"})
			b.writes()
			b.has(test.answer(runtime.DeepCopyJSON(sent)))
			assert.Equal(t, []string{patchWorkflow, patchRemote + nameOf(b.wf)}, b.writes(), "it says so, and asks no more")
			assert.Equal(t, test.says, b.refused())
			assert.Equal(t, "edited", b.spec()["entrypoint"])
			events := b.hub.Events()
			if test.says != "" {
				require.Len(t, events, 1)
				assert.Contains(t, events[0], "EditRefused")
			}
			b.has(nil)
			assert.Empty(t, b.writes())
			rw := b.remote()
			gen.WithReport(changedBy(running(), func(status map[string]any) { status["progress"] = "1/1" }))(rw)
			b.put(rw)
			assert.Equal(t, []string{patchWorkflow}, b.writes(), "a further report")
			assert.Equal(t, test.says, b.refused(), "it still stays edited")

			b.sets(map[string]any{"entrypoint": "edited again"})
			b.writes()
			assert.True(t, b.remote().Spec.WantSpec, "another edit is another question")
			b.sets(map[string]any{"entrypoint": sent["entrypoint"]})
			b.writes()
			assert.False(t, b.remote().Spec.WantSpec)
			assert.Empty(t, b.refused(), "the user has undone it")
			assert.Empty(t, b.writes())
		})
	}
	t.Run("it is too large to be reported", func(t *testing.T) {
		b := specBench(t, running())
		b.sets(map[string]any{"entrypoint": "edited"})
		b.writes()
		rw := b.remote()
		rw.Status.Spec = &v1alpha1.ReportedSpec{}
		b.put(rw)
		b.writes()
		assert.Equal(t, notAsSent, b.refused())
	})
	t.Run("the remote Workflow is gone", func(t *testing.T) {
		b := specBench(t, failed())
		rw := b.remote()
		gone(v1alpha1.ReasonDeletedFinished)(rw)
		b.put(rw)
		b.writes()
		b.sets(map[string]any{"entrypoint": "edited"})
		assert.Equal(t, []string{patchWorkflow}, b.writes())
		assert.Contains(t, b.refused(), "the remote Workflow is gone")
		assert.False(t, b.remote().Spec.WantSpec)
		assert.Len(t, b.hub.Events(), 1)
	})
}

func TestWhatTheRestorationOfASpecWaitsForIsSaidOnce(t *testing.T) {
	b := specBench(t, running(), func(obj client.Object) { obj.(*v1alpha1.RemoteWorkflow).Status.ContractRevision = 4 })
	b.sets(map[string]any{"entrypoint": "edited"})
	assert.Equal(t, []string{patchRemote + nameOf(b.wf)}, b.writes())
	events := b.hub.Events()
	require.Len(t, events, 1)
	assert.Contains(t, events[0], "EditWaits")
	assert.Contains(t, events[0], "older than the hub's manager")
}

func TestWhenASpecIsAskedForAndWhenItIsTakenBack(t *testing.T) {
	shown := []gen.Mod{claimed(), gen.WithReport(running()), known, sentAs()}
	with := func(mods ...gen.Mod) func(*snapshot) { return own(append(shown, mods...)...) }
	mark := func(s *snapshot) { // it shows the newest report
		out := fromReport(s, goneOf(s))
		gen.WithAnnotations(map[string]string{contract.AnnotationReportHash: out.source})(s.wf.Unstructured)
	}
	answer := func(sent sent) func(*snapshot) { return func(s *snapshot) { s.sent = &sent } }
	is := func() *unstructured.Unstructured { return assigned(gen.WithHubStatus("Running")) }
	other := func() *unstructured.Unstructured { return assigned(gen.WithHubStatus("Running"), respecified) }
	assert.False(t, scene(other(), own(withoutAgent(), sentAs())).isOtherSpec(), "nobody could say what was sent")
	for name, test := range map[string]struct {
		s    *snapshot
		want wanted
	}{
		"it is as it was sent":                     {scene(is(), with(), mark), wanted{action: wait}},
		"nobody knows how it was sent":             {scene(other(), own(shown[:3]...), mark), wanted{action: wait}},
		"it was edited":                            {scene(other(), with(), mark), wanted{action: ask}},
		"it was edited, and is asked for":          {scene(other(), with(asked), mark), wanted{action: wait}},
		"it was edited, and the answer is there":   {scene(other(), with(asked), answer(sent{spec: map[string]any{}}), mark), wanted{action: respec}},
		"it was edited, and the answer is another": {scene(other(), with(asked), answer(sent{}), mark), wanted{action: ask}},
		"it was edited, and has been told to stay": {scene(other(), with(), answer(sent{}), mark), wanted{action: wait}},
		"it is as it was sent, and is asked for":   {scene(is(), with(asked), mark), wanted{action: ask}},
		"the agent is away":                        {scene(other(), with(), agentLost, mark), wanted{action: ask, reason: reasonEditWaits}},
		"the remote Workflow is gone":              {scene(other(), with(gone(v1alpha1.ReasonDeletedFinished)), mark), wanted{action: wait}},
		"a report comes first":                     {scene(other(), with()), wanted{action: show}},
		"it was edited before it was claimed":      {scene(assigned(respecified), own(known, sentAs())), wanted{action: remove, attempt: "own", removal: terminate}},
	} {
		t.Run(name, func(t *testing.T) {
			if test.want.action == show {
				assert.Equal(t, show, decide(test.s).action)
				return
			}
			check(t, test.s, test.want)
		})
	}
}

func TestASpecIsNotRestoredOverWhatHasChangedMeanwhile(t *testing.T) {
	b := specBench(t, running())
	sent := runtime.DeepCopyJSON(b.spec())
	b.sets(map[string]any{"entrypoint": "edited"})
	b.writes()
	b.has(sent)
	var once sync.Once
	b.hub.On("patch Workflow", func() error { once.Do(func() { b.sets(map[string]any{"entrypoint": "again"}) }); return nil })
	run(t, b.Reconciler)
	assert.Equal(t, "again", b.spec()["entrypoint"], "a conflict, and no error")
	b.writes()
	assert.Equal(t, sent, b.spec())
}

func TestTheSpecInTheCacheIsOneThatIsNotThere(t *testing.T) {
	rw := attemptOf(assigned())
	rw.Status.Spec = &v1alpha1.ReportedSpec{Data: []byte("x")}
	trimmed, err := report.Trim(rw)
	require.NoError(t, err)
	assert.Equal(t, &v1alpha1.ReportedSpec{}, trimmed.(*v1alpha1.RemoteWorkflow).Status.Spec, "that there is one is known")
}
