package workflow

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// finished is a status that has ended in the phase at gen.Time.
func finished(phase string, more ...map[string]any) gen.Mod {
	return gen.WithHubStatus(phase, append([]map[string]any{{"finishedAt": gen.Time.UTC().Format(time.RFC3339)}}, more...)...)
}

// withTTL gives the Workflow a strategy, of whatever form.
func withTTL(strategy any) gen.Mod {
	return func(obj client.Object) {
		obj.(*unstructured.Unstructured).Object["spec"].(map[string]any)["ttlStrategy"] = strategy
	}
}

// withField sets a field of the object to whatever.
func withField(field string, value any) gen.Mod {
	return func(obj client.Object) { obj.(*unstructured.Unstructured).Object[field] = value }
}

// fromTemplate makes it a Workflow of a template.
func fromTemplate() gen.Mod {
	return gen.WithSpecField(map[string]any{"name": "shared"}, "workflowTemplateRef")
}

// ofTemplate is what Argo stores of a template with this strategy.
func ofTemplate(strategy any) map[string]any {
	return map[string]any{"storedWorkflowTemplateSpec": map[string]any{"ttlStrategy": strategy}}
}

const (
	never       = time.Duration(-1)
	completion  = "secondsAfterCompletion"
	success     = "secondsAfterSuccess"
	failure     = "secondsAfterFailure"
	aMinute     = int64(60)
	afterMinute = time.Minute + time.Second
)

// expiryOf returns when a Workflow expires, as the manager's cache has it.
func expiryOf(t *testing.T, wf *unstructured.Unstructured) (time.Time, bool) {
	t.Helper()
	whole, wholly := expiry(hubworkflow.Of(wf))
	trimmed, err := hubworkflow.Trim(wf)
	require.NoError(t, err)
	at, expires := expiry(hubworkflow.Of(trimmed.(*unstructured.Unstructured)))
	assert.Equal(t, whole, at)
	assert.Equal(t, wholly, expires)
	return at, expires
}

func TestExpiryIsThatOfArgo(t *testing.T) {
	all := map[string]any{completion: int64(10), success: int64(20), failure: int64(30)}
	minute := map[string]any{completion: aMinute}
	tests := map[string]struct {
		mods []gen.Mod
		// want is how long after gen.Time it is deleted.
		want time.Duration
	}{
		"no strategy":                          {[]gen.Mod{finished("Succeeded")}, never},
		"an empty strategy":                    {[]gen.Mod{finished("Succeeded"), withTTL(map[string]any{})}, never},
		"a strategy of null":                   {[]gen.Mod{finished("Succeeded"), withTTL(nil)}, never},
		"all fields, and it succeeded":         {[]gen.Mod{finished("Succeeded"), withTTL(all)}, 21 * time.Second},
		"all fields, and it failed":            {[]gen.Mod{finished("Failed"), withTTL(all)}, 31 * time.Second},
		"all fields, and it ended in an error": {[]gen.Mod{finished("Error"), withTTL(all)}, 11 * time.Second},
		"after completion, and it succeeded":   {[]gen.Mod{finished("Succeeded"), withTTL(minute)}, afterMinute},
		"after completion, and it failed":      {[]gen.Mod{finished("Failed"), withTTL(minute)}, afterMinute},
		"after success, and it failed":         {[]gen.Mod{finished("Failed"), withTTL(map[string]any{success: aMinute})}, never},
		"after success, and it ended in an error": {
			[]gen.Mod{finished("Error"), withTTL(map[string]any{success: aMinute})}, never,
		},
		"after failure, and it succeeded": {[]gen.Mod{finished("Succeeded"), withTTL(map[string]any{failure: aMinute})}, never},
		"after failure, and it ended in an error, which is no failure": {
			[]gen.Mod{finished("Error"), withTTL(map[string]any{failure: aMinute})}, never,
		},
		"after success or completion, and it failed": {
			[]gen.Mod{finished("Failed"), withTTL(map[string]any{success: int64(0), completion: aMinute})}, afterMinute,
		},
		"a field of null is as good as none": {
			[]gen.Mod{finished("Succeeded"), withTTL(map[string]any{success: nil, completion: aMinute})}, afterMinute,
		},
		"at once":          {[]gen.Mod{finished("Succeeded"), withTTL(map[string]any{completion: int64(0)})}, time.Second},
		"before its end":   {[]gen.Mod{finished("Succeeded"), withTTL(map[string]any{completion: int64(-60)})}, -59 * time.Second},
		"as a float":       {[]gen.Mod{finished("Succeeded"), withTTL(map[string]any{completion: 60.0})}, afterMinute},
		"the largest time": {[]gen.Mod{finished("Succeeded"), withTTL(map[string]any{completion: int64(1<<31 - 1)})}, 1 << 31 * time.Second},
		"that of its template": {
			[]gen.Mod{finished("Succeeded", ofTemplate(minute)), fromTemplate()}, afterMinute,
		},
		"its own before that of its template": {
			[]gen.Mod{finished("Succeeded", ofTemplate(all)), fromTemplate(), withTTL(minute)}, afterMinute,
		},
		"its own as a whole, without the fields of its template's": {
			[]gen.Mod{finished("Succeeded", ofTemplate(all)), fromTemplate(), withTTL(map[string]any{failure: aMinute})}, never,
		},
		"its own, though empty, before that of its template": {
			[]gen.Mod{finished("Succeeded", ofTemplate(all)), fromTemplate(), withTTL(map[string]any{})}, never,
		},
		"that of its template where its own is null": {
			[]gen.Mod{finished("Succeeded", ofTemplate(minute)), fromTemplate(), withTTL(nil)}, afterMinute,
		},
		"that of a template which it does not refer to": {[]gen.Mod{finished("Succeeded", ofTemplate(all))}, never},
		"a template without one":                        {[]gen.Mod{finished("Succeeded", ofTemplate(nil)), fromTemplate()}, never},
		"a template that is left out of the status":     {[]gen.Mod{finished("Succeeded"), fromTemplate()}, never},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			at, expires := expiryOf(t, gen.Workflow("hello", test.mods...))
			assert.Equal(t, test.want != never, expires)
			if expires {
				assert.WithinDuration(t, gen.Time.Add(test.want), at, 0)
			}
		})
	}
}

func TestWhatIsMalformedDoesNotExpire(t *testing.T) {
	minute := map[string]any{completion: aMinute}
	tests := map[string][]gen.Mod{
		"the strategy is a string":          {finished("Succeeded"), withTTL("60")},
		"the strategy is a list":            {finished("Succeeded"), withTTL([]any{minute})},
		"the time is a string":              {finished("Succeeded"), withTTL(map[string]any{completion: "60"})},
		"the time is a broken number":       {finished("Succeeded"), withTTL(map[string]any{completion: 0.5})},
		"the time is beyond Argo's type":    {finished("Succeeded"), withTTL(map[string]any{completion: int64(1<<32 + 1)})},
		"the time is huge":                  {finished("Succeeded"), withTTL(map[string]any{completion: 1e300})},
		"a field that does not count":       {finished("Succeeded"), withTTL(map[string]any{completion: aMinute, failure: "60"})},
		"a field in another case":           {finished("Succeeded"), withTTL(map[string]any{"SecondsAfterCompletion": aMinute})},
		"the template's is a string":        {finished("Succeeded", ofTemplate("60")), fromTemplate()},
		"the stored template is a string":   {finished("Succeeded", map[string]any{"storedWorkflowTemplateSpec": "60"}), fromTemplate()},
		"there is no end":                   {gen.WithHubStatus("Succeeded"), withTTL(minute)},
		"the end is empty":                  {finished("Succeeded", map[string]any{"finishedAt": ""}), withTTL(minute)},
		"the end is null":                   {finished("Succeeded", map[string]any{"finishedAt": nil}), withTTL(minute)},
		"the end is a number":               {finished("Succeeded", map[string]any{"finishedAt": int64(0)}), withTTL(minute)},
		"the end is not a time":             {finished("Succeeded", map[string]any{"finishedAt": "yesterday"}), withTTL(minute)},
		"the spec is a string":              {finished("Succeeded"), withField("spec", "hello")},
		"the status is a string":            {withTTL(minute), withField("status", "Succeeded")},
		"the phase is none that Argo knows": {finished("Done"), withTTL(minute)},
	}
	for name, mods := range tests {
		t.Run(name, func(t *testing.T) {
			_, expires := expiryOf(t, gen.Workflow("hello", mods...))
			assert.False(t, expires)
		})
	}
}

func TestOnlyFinishedWorkflowsOfOursExpire(t *testing.T) {
	ttl := withTTL(map[string]any{completion: aMinute})
	for name, test := range map[string]struct {
		mods []gen.Mod
		want bool
	}{
		"finished":            {[]gen.Mod{finished("Succeeded"), ttl}, true},
		"not started":         {[]gen.Mod{ttl}, false},
		"waiting":             {[]gen.Mod{finished("Pending"), ttl}, false},
		"running, once again": {[]gen.Mod{finished("Running"), ttl}, false},
		"being deleted":       {[]gen.Mod{finished("Succeeded"), ttl, gen.Deleting()}, false},
		"not ours":            {[]gen.Mod{finished("Succeeded"), ttl, label("false")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, expires := expiryOf(t, gen.Workflow("hello", test.mods...))
			assert.Equal(t, test.want, expires)
		})
	}
}

// outlived is a Workflow that has ended at gen.Time, and was to stay a minute.
func outlived(mods ...gen.Mod) *unstructured.Unstructured {
	return assigned(append([]gen.Mod{withTTL(map[string]any{completion: aMinute}), finished("Succeeded")}, mods...)...)
}

func TestAWorkflowIsDeletedWhenItsTimeIsOver(t *testing.T) {
	wf := outlived()
	rw := attemptOf(wf, gen.WithReport(contract.Status(wf)))
	shownAs(wf, rw, contract.Status(wf))
	r, hub, now := newReconciler(t, append(surroundings(), wf, rw)...)
	assert.Equal(t, afterMinute, run(t, r))
	assert.Empty(t, hub.Writes())

	now.SetTime(now.Now().Add(afterMinute))
	version, before := shows(t, hub).GetResourceVersion(), counted(t, "ttl_expired_total", "")
	assert.Zero(t, run(t, r))
	assert.InDelta(t, before+1, counted(t, "ttl_expired_total", ""), 0)
	assert.Equal(t, []string{"delete Workflow default/hello"}, hub.Writes())
	write := hub.Last("delete Workflow")
	assert.Equal(t, wf.GetUID(), write.UID)
	assert.Equal(t, version, write.ResourceVersion)
	assert.Equal(t, metav1.DeletePropagationBackground, write.Propagation)
	assert.Equal(t, []string{"Normal TTLExpired deleted as its ttlStrategy says: it was Succeeded at 2026-01-02T15:04:05Z"}, hub.Events())

	assert.Equal(t, []string{contract.FinalizerDispatch}, shows(t, hub).GetFinalizers(), "its attempt goes first")
	run(t, r)
	require.True(t, hub.Show(rw))
	assert.Equal(t, terminate, rw.Spec.Removal)
}

func TestAWorkflowIsLookedAtAgainWhenItsTimeIsOver(t *testing.T) {
	for name, test := range map[string]struct{ after, wait time.Duration }{
		"it has just ended":           {0, afterMinute},
		"its strategy's time is over": {time.Minute, time.Second},
		"almost":                      {afterMinute - time.Nanosecond, time.Nanosecond},
		"its cluster's clock is fast": {-time.Hour, time.Hour + afterMinute},
	} {
		t.Run(name, func(t *testing.T) {
			r, hub, now := newReconciler(t, append(surroundings(), outlived())...)
			now.SetTime(now.Now().Add(test.after))
			assert.Equal(t, test.wait, run(t, r))
			assert.Empty(t, hub.Writes())
			assert.Empty(t, hub.Events())
		})
	}
}

func TestAWorkflowThatIsNotToExpireIsLeftAlone(t *testing.T) {
	lostField := func(obj client.Object) { delete(contract.Status(obj.(*unstructured.Unstructured)), "ofANewerArgo") }
	for name, wf := range map[string]*unstructured.Unstructured{
		"it has no strategy":          outlived(withTTL(nil)),
		"it is not ours":              outlived(label("false")),
		"somebody wrote its status":   outlived(gen.WithStatus("Failed", map[string]any{"finishedAt": "2026-01-02T15:04:05Z"})),
		"its status is another's":     outlived(gen.WithUID("another"), gen.WithAssignment(cluster1)),
		"its status lost a field":     outlived(finished("Succeeded", map[string]any{"ofANewerArgo": true}), lostField),
		"its end cannot be read":      outlived(finished("Succeeded", map[string]any{"finishedAt": "yesterday"})),
		"its strategy cannot be read": outlived(withTTL(map[string]any{completion: "soon"})),
	} {
		t.Run(name, func(t *testing.T) {
			r, hub, now := newReconciler(t, append(surroundings(), wf)...)
			now.SetTime(now.Now().Add(time.Hour))
			assert.Zero(t, run(t, r))
			assert.Zero(t, hub.Calls("delete Workflow"))
		})
	}
}

func TestAWorkflowThatHasChangedMeanwhileDoesNotExpire(t *testing.T) {
	wf := outlived()
	r, hub, now := newReconciler(t, append(surroundings(), wf)...)
	now.SetTime(now.Now().Add(time.Hour))
	hub.On("delete Workflow", func() error {
		return hub.Patch(t.Context(), wf.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"ttlStrategy":null}}`)))
	})
	run(t, r) // the watch brings the change
	assert.Nil(t, shows(t, hub).GetDeletionTimestamp())
	assert.Empty(t, hub.Events())
}

func TestWhatADeletionIsAnsweredWith(t *testing.T) {
	down := errors.New("down")
	for name, test := range map[string]struct{ answer, want error }{
		"a conflict is left to the watch": {fakehub.Conflict(), nil},
		"it is gone already":              {apierrors.NewNotFound(contract.WorkflowGVR.GroupResource(), "hello"), nil},
		"anything else is tried again":    {down, down},
	} {
		t.Run(name, func(t *testing.T) {
			r, hub, now := newReconciler(t, append(surroundings(), outlived())...)
			now.SetTime(now.Now().Add(time.Hour))
			hub.Fail("delete Workflow", test.answer)
			before := counted(t, "ttl_expired_total", "")
			_, err := try(t, r)
			require.ErrorIs(t, err, test.want)
			assert.InDelta(t, before, counted(t, "ttl_expired_total", ""), 0, "it is not deleted by us")
			assert.Empty(t, hub.Events())
		})
	}
}
