package delivery

import (
	"encoding/json"
	"strconv"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// created sets when an object was created.
func created(at time.Time) gen.Mod {
	return func(obj client.Object) { obj.SetCreationTimestamp(metav1.NewTime(at)) }
}

// retried says when the work agent was asked last.
func retried(at string) gen.Mod {
	return gen.WithLabels(map[string]string{contract.LabelApplyRetried: at})
}

// refusedOf has the work agent say that it could not create all of that generation.
func refusedOf(generation int64) gen.Mod {
	return func(obj client.Object) {
		obj.SetGeneration(1)
		obj.(*workv1.ManifestWork).Status.Conditions = []metav1.Condition{
			{Type: workv1.WorkApplied, Status: metav1.ConditionFalse, ObservedGeneration: generation},
		}
	}
}

func all(attempts ...*v1alpha1.RemoteWorkflow) []*v1alpha1.RemoteWorkflow { return attempts }

func TestWhatIsPlanned(t *testing.T) {
	a, b, c := attempt("a"), attempt("b"), attempt("c")
	deleted := attempt("b", gen.Deleting())
	fed, fedDeleted := attempt("fed", withoutAgent()), attempt("fed", withoutAgent(), gen.Deleting())
	claimedOf := func(rws ...*v1alpha1.RemoteWorkflow) []*v1alpha1.RemoteWorkflow { return rws }
	type planned struct {
		remove  bool
		without []int
	}
	tests := map[string]struct {
		// wanted is what the index has: what nothing has claimed.
		wanted   []*v1alpha1.RemoteWorkflow
		works    []*workv1.ManifestWork
		expected []*v1alpha1.RemoteWorkflow
		// after is how long ago the deliveries were created.
		after       time.Duration
		wantChanges []planned
		wantMissing []string
		wantWithin  time.Duration
	}{
		"nothing waits, and nothing is delivered": {},
		"what waits and is in no delivery is delivered": {
			wanted: all(a, b), wantMissing: []string{"a", "b"},
		},
		"what is listed is not delivered again, and looked at when it is due": {
			wanted: all(a, b), works: []*workv1.ManifestWork{gen.Delivery(all(a, b))}, wantWithin: 15 * time.Second,
		},
		"what is expected is not delivered again": {wanted: all(a, b), expected: all(a), wantMissing: []string{"b"}},
		"what is being deleted is not delivered":  {wanted: all(a, deleted), wantMissing: []string{"a"}},
		"what was delivered for an earlier RemoteWorkflow of the name is delivered for this one": {
			wanted: all(a), works: []*workv1.ManifestWork{gen.Delivery(all(attempt("a", gen.WithUID("earlier")), b))}, wantMissing: []string{"a"},
			wantChanges: []planned{{remove: true}},
		},
		"a delivery of which all is claimed is deleted": {
			works: []*workv1.ManifestWork{gen.Delivery(claimedOf(a, b))}, wantChanges: []planned{{remove: true}},
		},
		"a delivery of which all was taken back is deleted": {
			wanted: all(deleted), works: []*workv1.ManifestWork{gen.Delivery(all(deleted))}, wantChanges: []planned{{remove: true}},
		},
		"a delivery of which some is claimed and some taken back is deleted": {
			wanted: all(deleted), works: []*workv1.ManifestWork{gen.Delivery(all(a, deleted))}, wantChanges: []planned{{remove: true}},
		},
		"a delivery of which some is claimed is left as it is: each write has the whole of it applied again": {
			wanted: all(b), works: []*workv1.ManifestWork{gen.Delivery(all(a, b))}, wantWithin: 15 * time.Second,
		},
		"a delivery that is due lists no more what is claimed": {
			wanted: all(b), works: []*workv1.ManifestWork{gen.Delivery(all(a, b, c))}, after: 15 * time.Second,
			wantChanges: []planned{{without: []int{0, 2}}}, wantWithin: 2 * time.Second,
		},
		"a delivery that is due, with nothing claimed, is touched": {
			wanted: all(a, b), works: []*workv1.ManifestWork{gen.Delivery(all(a, b))}, after: 15 * time.Second,
			wantChanges: []planned{{}}, wantWithin: 2 * time.Second,
		},
		"one of which not all could be created is due earlier": {
			wanted: all(a, b), works: []*workv1.ManifestWork{gen.Delivery(all(a, b), refusedOf(1))}, after: 2 * time.Second,
			wantChanges: []planned{{}}, wantWithin: 2 * time.Second,
		},
		"what was taken back leaves its delivery at once, with what is claimed": {
			wanted: all(c, deleted), works: []*workv1.ManifestWork{gen.Delivery(all(a, c, deleted))},
			wantChanges: []planned{{without: []int{0, 2}}}, wantWithin: 2 * time.Second,
		},
		"a delivery that is being deleted delivers nothing": {
			wanted: all(a), works: []*workv1.ManifestWork{gen.Delivery(all(a), gen.Deleting())}, wantMissing: []string{"a"},
		},
		"one that is stuck holds up no other": {
			wanted: all(a, b), works: []*workv1.ManifestWork{gen.Delivery(all(a))}, wantMissing: []string{"b"}, wantWithin: 15 * time.Second,
		},
		"it is looked at when the first is due": {
			wanted:     all(a, b),
			works:      []*workv1.ManifestWork{gen.Delivery(all(a)), gen.Delivery(all(b), created(gen.Time.Add(-time.Second)))},
			wantWithin: 14 * time.Second,
		},
		"one to a cluster without agent stays": {
			wanted: all(fed), works: []*workv1.ManifestWork{gen.Delivery(all(fed))}, after: time.Hour,
		},
		"one to a cluster without agent goes with its RemoteWorkflow": {
			wanted: all(fedDeleted), works: []*workv1.ManifestWork{gen.Delivery(all(fed))}, wantChanges: []planned{{remove: true}},
		},
		"one to a cluster without agent whose RemoteWorkflow is gone goes": {
			works: []*workv1.ManifestWork{gen.Delivery(all(fed))}, wantChanges: []planned{{remove: true}},
		},
		"one to a cluster without agent that is on its way out still has its Workflow": {
			wanted: all(fed), works: []*workv1.ManifestWork{gen.Delivery(all(fed), gen.Deleting())},
		},
		"one that somebody has emptied is deleted": {
			works: []*workv1.ManifestWork{gen.Delivery(all(fed), emptied()), gen.Delivery(all(a), emptied())}, wantChanges: []planned{{remove: true}, {remove: true}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := &snapshot{now: gen.Time.Add(test.after), wanted: byUID(test.wanted), expected: map[types.UID]bool{}, listed: map[types.UID]bool{}}
			for _, work := range test.works {
				s.list(work)
			}
			for _, rw := range test.expected {
				s.expected[rw.UID] = true
			}
			got := plan(s)
			var changes []planned
			for _, change := range got.changes {
				changes = append(changes, planned{change.remove, change.without})
			}
			var missing []string
			for _, rw := range got.missing {
				missing = append(missing, rw.Spec.WorkflowRef.Name)
			}
			assert.Equal(t, test.wantChanges, changes)
			assert.Equal(t, test.wantMissing, missing)
			assert.Equal(t, test.wantWithin, got.within)
		})
	}
}

func byUID(attempts []*v1alpha1.RemoteWorkflow) map[types.UID]*v1alpha1.RemoteWorkflow {
	out := map[types.UID]*v1alpha1.RemoteWorkflow{}
	for _, rw := range attempts {
		out[rw.UID] = rw
	}
	return out
}

func emptied() gen.Mod {
	return func(obj client.Object) {
		work := obj.(*workv1.ManifestWork)
		work.Spec.Workload.Manifests, work.Spec.ManifestConfigs = nil, nil
	}
}

func TestTheOldestIsDeliveredFirstAndOfEqualsTheFirstByName(t *testing.T) {
	at := func(name string, age time.Duration) *v1alpha1.RemoteWorkflow {
		return attempt(name, created(gen.Time.Add(-age)))
	}
	wanted := all(at("new", 0), at("b", time.Minute), at("old", time.Hour), at("a", time.Minute))
	for range 10 { // a map has another order each time
		var names []string
		for _, rw := range plan(&snapshot{now: gen.Time.Time, wanted: byUID(wanted)}).missing {
			names = append(names, rw.Spec.WorkflowRef.Name)
		}
		assert.Equal(t, []string{"old", "a", "b", "new"}, names)
	}
}

func TestWhatIsNotClaimedIsTriedAgainAtGrowingIntervals(t *testing.T) {
	for name, test := range map[string]struct {
		mods []gen.Mod
		want []int
	}{
		"that is not claimed in time":    {nil, []int{15, 30, 60, 120, 240, 360}},
		"that the cluster cannot create": {[]gen.Mod{refusedOf(1)}, []int{2, 5, 15, 30, 60, 120, 240, 360}},
	} {
		t.Run(name, func(t *testing.T) {
			rw := attempt("a")
			s := &snapshot{now: gen.Time.Time, wanted: byUID(all(rw)), listed: map[types.UID]bool{}}
			s.list(gen.Delivery(all(rw), test.mods...))
			var ages []int
			for len(ages) < len(test.want) {
				got := plan(s)
				if len(got.changes) == 0 {
					require.Positive(t, got.within)
					s.now = s.now.Add(got.within)
					continue
				}
				ages = append(ages, int(s.now.Sub(gen.Time.Time).Seconds()))
				retried(strconv.FormatInt(s.now.Unix(), 10))(s.works[0])
			}
			assert.Equal(t, test.want, ages)
		})
	}
}

func TestWhenADeliveryIsDue(t *testing.T) {
	at := func(seconds int) string { return strconv.FormatInt(gen.Time.Unix()+int64(seconds), 10) }
	tests := map[string]struct {
		mods []gen.Mod
		// want is how long after gen.Time, when it was created.
		want time.Duration
	}{
		"at first":                                 {nil, 15 * time.Second},
		"after the first time":                     {[]gen.Mod{retried(at(15))}, 30 * time.Second},
		"refused, at first":                        {[]gen.Mod{refusedOf(1)}, 2 * time.Second},
		"refused, after the first time":            {[]gen.Mod{refusedOf(1), retried(at(2))}, 5 * time.Second},
		"refused, as it was before a change":       {[]gen.Mod{refusedOf(0)}, 15 * time.Second},
		"after a time that was late":               {[]gen.Mod{retried(at(29))}, 30 * time.Second},
		"after a long time":                        {[]gen.Mod{retried(at(1000))}, 1120 * time.Second},
		"a label that is no time is none":          {[]gen.Mod{retried("yesterday")}, 15 * time.Second},
		"a creation that is to come is one of now": {[]gen.Mod{created(gen.Time.Add(time.Hour))}, 1015 * time.Second},
		"a time by a clock that is ahead is now":   {[]gen.Mod{retried(at(3600))}, 1120 * time.Second},
	}
	now := gen.Time.Add(1000 * time.Second)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			due := dueAt(gen.Delivery(all(attempt("a")), test.mods...), now)
			assert.WithinDuration(t, gen.Time.Add(test.want), due, 0)
		})
	}
}

func TestAChangeIsOneJSONPatchOfTheVersionThatWasRead(t *testing.T) {
	attempts := all(attempt("a"), attempt("b"), attempt("c"), attempt("d"))
	for name, test := range map[string]struct {
		without []int
		want    []string
	}{
		"nothing goes": {nil, []string{"a", "b", "c", "d"}},
		"the first":    {[]int{0}, []string{"b", "c", "d"}},
		"the last":     {[]int{3}, []string{"a", "b", "c"}},
		"several":      {[]int{0, 2}, []string{"b", "d"}},
		"all but one":  {[]int{0, 1, 3}, []string{"c"}},
	} {
		t.Run(name, func(t *testing.T) {
			before := gen.Delivery(attempts)
			before.ResourceVersion = "42"
			raw, err := change{work: before, without: test.without}.patch(gen.Time.Time)
			require.NoError(t, err)
			patch, err := jsonpatch.DecodePatch(raw)
			require.NoError(t, err)
			document, err := json.Marshal(before)
			require.NoError(t, err)
			changed, err := patch.Apply(document)
			require.NoError(t, err)
			after := &workv1.ManifestWork{}
			require.NoError(t, json.Unmarshal(changed, after))

			assert.Equal(t, test.want, namesIn(after))
			var configured []string
			for _, config := range after.Spec.ManifestConfigs {
				configured = append(configured, config.ResourceIdentifier.Name)
			}
			assert.Equal(t, test.want, configured, "each item keeps its own strategy")
			assert.Equal(t, strconv.FormatInt(gen.Time.Unix(), 10), after.Labels[contract.LabelApplyRetried])
			assert.Equal(t, contract.DeliveryGated, after.Labels[contract.LabelDelivery], "the other labels stay")
			assert.Equal(t, "42", after.ResourceVersion, "an API server compares it, and answers a conflict")
			assert.Contains(t, string(raw), `{"op":"replace","path":"/metadata/resourceVersion","value":"42"}`)
			assert.NotContains(t, string(raw), `"/spec/deleteOption`)
		})
	}
}
