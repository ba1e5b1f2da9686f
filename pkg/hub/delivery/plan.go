package delivery

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	workv1 "open-cluster-management.io/api/work/v1"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/manifestwork"
)

// retries are the ages at which a delivery that is not claimed is touched, so that OCM's work agent looks at it again: left alone, it does
// so after 4 to 6 minutes, and doubles its delay with each failure. After the last, it is as long again each time. The early ones are only
// for one of which the work agent says that it could not create all: on a busy cluster another look only takes more time.
var (
	earlyRetries = []time.Duration{2 * time.Second, 5 * time.Second}
	retries      = []time.Duration{15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute}
)

// snapshot is all that the deliveries of a cluster depend on.
type snapshot struct {
	now time.Time
	// wanted are the RemoteWorkflows that nothing has claimed and that are not deleted, by UID.
	wanted map[types.UID]*v1alpha1.RemoteWorkflow
	// works are the deliveries, and listed the UIDs of the RemoteWorkflows whose Workflow they deliver.
	works  []*workv1.ManifestWork
	listed map[types.UID]bool
	// rebound are the UIDs of those that do not carry a Workflow as its binding says by now.
	rebound map[types.UID]bool
	// expected are the UIDs in deliveries that the cache does not show yet.
	expected map[types.UID]bool
	// refused are when those are tried again, by UID, that could not be delivered lately.
	refused map[types.UID]time.Time
}

// list adds a delivery.
func (s *snapshot) list(work *workv1.ManifestWork) {
	s.works = append(s.works, work)
	if !work.DeletionTimestamp.IsZero() && !manifestwork.IsUngated(work) {
		return // it delivers nothing any more
	}
	for _, item := range manifestwork.Items(work) {
		s.listed[item.RemoteWorkflowUID] = true
	}
}

// todo is what is to be done.
type todo struct {
	changes []change
	// missing are wanted and in no delivery.
	missing []*v1alpha1.RemoteWorkflow
	// within is when to look again if nothing changes; zero is never.
	within time.Duration
}

// change is one write to a delivery.
type change struct {
	work *workv1.ManifestWork
	// remove deletes it.
	remove bool
	// without are the positions of what it is to list no more. Each write makes the work agent apply and read the whole list.
	without []int
}

// plan returns what is to be done about the deliveries of a cluster.
func plan(s *snapshot) todo {
	var out todo
	for _, work := range s.works {
		if !work.DeletionTimestamp.IsZero() {
			continue
		}
		change, within := planWork(s, work, manifestwork.Items(work))
		if change != nil {
			out.changes = append(out.changes, *change)
		}
		out.within = sooner(out.within, within)
	}
	for uid, rw := range s.wanted {
		if !isWaiting(rw) || s.listed[uid] || s.expected[uid] {
			continue
		}
		if within := s.refused[uid].Sub(s.now); within > 0 {
			out.within = sooner(out.within, within)
			continue
		}
		out.missing = append(out.missing, rw)
	}
	// What could not be delivered comes last: it is not to hold up what can.
	slices.SortFunc(out.missing, func(a, b *v1alpha1.RemoteWorkflow) int {
		return cmp.Or(s.refused[a.UID].Compare(s.refused[b.UID]), a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			strings.Compare(a.Name, b.Name))
	})
	return out
}

// isWaiting reports whether the Workflow of rw is to be brought to its cluster.
func isWaiting(rw *v1alpha1.RemoteWorkflow) bool {
	return rw.DeletionTimestamp.IsZero() && rw.Status.RemoteUID == ""
}

// planWork returns what to do about one delivery. One without anything that is wanted is deleted, and one whose bindings have changed: what
// it lists is delivered anew. One that lists what was taken back before it was claimed lists it no more, or the work agent would create
// that again and again. What is not claimed in time is tried again.
func planWork(s *snapshot, work *workv1.ManifestWork, items []manifestwork.Item) (next *change, within time.Duration) {
	if manifestwork.IsUngated(work) {
		return removeIf(work, !slices.ContainsFunc(items, func(item manifestwork.Item) bool {
			rw := s.wanted[item.RemoteWorkflowUID]
			return rw != nil && rw.DeletionTimestamp.IsZero()
		})), 0
	}
	var claimed, takenBack []int
	for _, item := range items {
		switch rw, found := s.wanted[item.RemoteWorkflowUID]; {
		case found && isWaiting(rw):
		case found:
			takenBack = append(takenBack, item.Position)
		default:
			claimed = append(claimed, item.Position) // or gone
		}
	}
	if len(claimed)+len(takenBack) == len(items) || s.rebound[work.UID] {
		return removeIf(work, true), 0
	}
	due := dueAt(work, s.now)
	if len(takenBack) == 0 && s.now.Before(due) {
		return nil, due.Sub(s.now)
	}
	without := slices.Concat(claimed, takenBack)
	slices.Sort(without)
	return &change{work: work, without: without}, earlyRetries[0]
}

func removeIf(work *workv1.ManifestWork, condition bool) *change {
	if !condition {
		return nil
	}
	return &change{work: work, remove: true}
}

// dueAt returns when a delivery that is not claimed is to be touched next, by the hub's clock.
func dueAt(work *workv1.ManifestWork, now time.Time) time.Time {
	created, last := work.CreationTimestamp.Time, time.Time{}
	if seconds, err := strconv.ParseInt(work.Labels[contract.LabelApplyRetried], 10, 64); err == nil {
		last = time.Unix(seconds, 0)
	}
	if created.After(now) {
		created = now
	}
	if last.After(now) { // by the clock of another replica
		last = now
	}
	ages := retries
	if manifestwork.IsRefused(work) {
		ages = slices.Concat(earlyRetries, retries)
	}
	for _, age := range ages {
		if at := created.Add(age); at.After(last) {
			return at
		}
	}
	return last.Add(retries[len(retries)-1])
}

// patch returns the JSON patch of the change, for the version that was read.
func (c change) patch(now time.Time) ([]byte, error) {
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value,omitempty"`
	}
	var ops []operation
	for _, i := range slices.Backward(c.without) {
		ops = append(ops, operation{Op: "remove", Path: fmt.Sprintf("/spec/workload/manifests/%d", i)},
			operation{Op: "remove", Path: fmt.Sprintf("/spec/manifestConfigs/%d", i)})
	}
	ops = append(ops,
		// Of a changed label the work agent takes notice, of an annotation it does not.
		operation{
			Op: "add", Path: "/metadata/labels/" + strings.ReplaceAll(contract.LabelApplyRetried, "/", "~1"),
			Value: strconv.FormatInt(now.Unix(), 10),
		},
		operation{Op: "replace", Path: "/metadata/resourceVersion", Value: c.work.ResourceVersion})
	return json.Marshal(ops)
}
