package manifestwork_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/manifestwork"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

const cluster = "cluster1"

func attempt(name string, mods ...gen.Mod) *v1alpha1.RemoteWorkflow {
	return gen.RemoteWorkflow(gen.Workflow(name, gen.InNamespace("team-a")), cluster, mods...)
}

func TestItemsAreReadFromTheWholeAndFromWhatTheCacheKeeps(t *testing.T) {
	a, b := attempt("a"), attempt("b")
	work := gen.Delivery([]*v1alpha1.RemoteWorkflow{a, b})
	work.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "work"}}
	want := []manifestwork.Item{
		{Namespace: "team-a", Name: "a", RemoteWorkflowUID: a.UID, Workflow: client.ObjectKey{Namespace: "team-a", Name: "a"}},
		{Position: 1, Namespace: "team-a", Name: "b", RemoteWorkflowUID: b.UID, Workflow: client.ObjectKey{Namespace: "team-a", Name: "b"}},
	}
	assert.Equal(t, want, manifestwork.Items(work))
	for range 2 { // a resync trims what is trimmed
		trimmed, err := manifestwork.Trim(work)
		require.NoError(t, err)
		work = trimmed.(*workv1.ManifestWork)
		assert.Equal(t, want, manifestwork.Items(work))
		assert.NotContains(t, string(work.Spec.Workload.Manifests[0].Raw), "hub-id")
		assert.Empty(t, work.ManagedFields)
		assert.Len(t, work.Spec.ManifestConfigs, 2, "a patch goes by positions")
	}
}

func TestNamespacesAndWhatSomebodyElsePutThereAreNoItems(t *testing.T) {
	work := gen.ManifestWork(attempt("a"))
	for i, raw := range []string{
		`{"kind":"Namespace","metadata":{"name":"team-a"}}`, `{"kind":"ConfigMap","metadata":{"name":"x","namespace":"y"}}`, `no JSON`, ``,
	} {
		manifest := workv1.Manifest{RawExtension: runtime.RawExtension{Raw: []byte(raw)}}
		work.Spec.Workload.Manifests = slices.Insert(work.Spec.Workload.Manifests, i, manifest)
	}
	check := func() {
		items := manifestwork.Items(work)
		require.Len(t, items, 1)
		assert.Equal(t, 4, items[0].Position)
		assert.True(t, manifestwork.Creates(work, "team-a"))
		assert.False(t, manifestwork.Creates(work, "x"))
		assert.False(t, manifestwork.Creates(work, "team-b"))
	}
	check()
	_, err := manifestwork.Trim(work)
	require.NoError(t, err)
	check()

	other := gen.ManagedCluster(cluster)
	kept, err := manifestwork.Trim(other)
	require.NoError(t, err)
	assert.Same(t, other, kept)
}

func TestTheDeliveryOfAnAttempt(t *testing.T) {
	a, b := attempt("a"), attempt("b")
	fed := attempt("fed", gen.WithReporting(v1alpha1.ReportingFeedback))
	both := []*v1alpha1.RemoteWorkflow{a, b}
	deleting := []gen.Mod{gen.WithFinalizers("work agent"), gen.Deleting()}
	for name, test := range map[string]struct {
		of    *v1alpha1.RemoteWorkflow
		works []client.Object
		want  bool
	}{
		"none":                            {a, nil, false},
		"one that carries it with others": {b, []client.Object{gen.Delivery(both)}, true},
		"one that carries others":         {attempt("c"), []client.Object{gen.Delivery(both)}, false},
		"one for an earlier attempt":      {attempt("a", gen.WithUID("later")), []client.Object{gen.Delivery(both)}, false},
		"one on another cluster":          {a, []client.Object{gen.Delivery(both, gen.InNamespace("cluster2"))}, false},
		"one that is being deleted":       {a, []client.Object{gen.Delivery(both, deleting...)}, false},
		"one that is being deleted, and another": {
			a, []client.Object{gen.Delivery(both, deleting...), gen.Delivery([]*v1alpha1.RemoteWorkflow{b, a})}, true,
		},
		"without an agent, one that is being deleted still has it": {fed, []client.Object{gen.ManifestWork(fed, deleting...)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			hub := fakehub.New(t, manifestwork.AddIndex, test.works...)
			work, err := manifestwork.Of(t.Context(), hub, test.of)
			require.NoError(t, err)
			assert.Equal(t, test.want, work != nil)
			hub.Fail("list ManifestWork", assert.AnError)
			_, err = manifestwork.Of(t.Context(), hub, test.of)
			require.ErrorIs(t, err, assert.AnError)
		})
	}
}

func TestWhyAWorkflowCouldNotBeCreated(t *testing.T) {
	a, b := attempt("a"), attempt("b")
	both := []*v1alpha1.RemoteWorkflow{a, b}
	namespaceOf := func(name, problem string) gen.Mod {
		return func(obj client.Object) {
			manifests := &obj.(*workv1.ManifestWork).Status.ResourceStatus.Manifests
			*manifests = append(*manifests, workv1.ManifestCondition{
				ResourceMeta: workv1.ManifestResourceMeta{Kind: "Namespace", Name: name},
				Conditions:   []metav1.Condition{{Type: workv1.ManifestApplied, Status: metav1.ConditionFalse, Message: problem}},
			})
		}
	}
	notApplied := gen.WithConditionOfItem(0, workv1.ManifestApplied, metav1.ConditionFalse, "no such namespace")
	whole := func(generation int64) gen.Mod {
		return func(obj client.Object) {
			work := obj.(*workv1.ManifestWork)
			work.Generation = 2
			work.Status.Conditions = []metav1.Condition{{
				Type: workv1.WorkApplied, Status: metav1.ConditionFalse, Message: "forbidden", ObservedGeneration: generation,
			}}
		}
	}
	for name, test := range map[string]struct {
		mods         []gen.Mod
		wantA, wantB string
	}{
		"it was not tried yet": {nil, "", ""},
		"one could not be, the other could": {
			[]gen.Mod{notApplied, gen.WithConditionOfItem(1, workv1.ManifestApplied, metav1.ConditionTrue, "")}, "no such namespace", "",
		},
		"its namespace could not be": {[]gen.Mod{notApplied, namespaceOf("team-a", "may not create it")}, "may not create it", ""},
		"it could be, though the work agent may not create the namespace": {
			[]gen.Mod{gen.WithConditionOfItem(0, workv1.ManifestApplied, metav1.ConditionTrue, ""), namespaceOf("team-a", "may not create it")}, "", "",
		},
		"another's namespace could not be":          {[]gen.Mod{notApplied, namespaceOf("a", "may not create it")}, "no such namespace", ""},
		"one could not be, the other was not tried": {[]gen.Mod{notApplied}, "no such namespace", ""},
		"the whole could not be":                    {[]gen.Mod{whole(2)}, "forbidden", "forbidden"},
		"the whole could not be as it was before":   {[]gen.Mod{whole(1)}, "", ""},
		"the whole could not be, because of one":    {[]gen.Mod{whole(2), notApplied}, "no such namespace", ""},
		"something else is said":                    {[]gen.Mod{gen.WithConditionOfItem(0, workv1.ManifestAvailable, metav1.ConditionFalse, "x")}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			work := gen.Delivery(both, test.mods...)
			assert.Equal(t, test.wantA, manifestwork.Problem(work, a))
			assert.Equal(t, test.wantB, manifestwork.Problem(work, b))
		})
	}
}

func TestFeedbackOfOtherTypesIsPassedOver(t *testing.T) {
	number := int64(1)
	work := gen.ManifestWork(attempt("a", gen.WithReporting(v1alpha1.ReportingFeedback)), gen.WithFeedback(map[string]string{"phase": "Running"}))
	values := &work.Status.ResourceStatus.Manifests[0].StatusFeedbacks.Values
	*values = append(*values, workv1.FeedbackValue{Name: "progress", Value: workv1.FieldValue{Type: workv1.Integer, Integer: &number}})
	assert.Equal(t, map[string]string{"phase": "Running"}, manifestwork.Feedback(work))
	assert.Empty(t, manifestwork.Feedback(nil))
	assert.True(t, manifestwork.IsUngated(work))
	assert.False(t, manifestwork.IsUngated(gen.ManifestWork(attempt("a"))))
}
