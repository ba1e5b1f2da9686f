package integration

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/edits"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/report"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/recorded"
)

// Not parallel: all that is written at the end counts. EDITS_SEED repeats the edits of another time, but not how they meet what the
// manager and the agent do meanwhile; EDITS_SECONDS is for how long there are edits.
func TestRandomEditsOfTheHubsCopyAreVerbsOrAreUndone(t *testing.T) {
	seed, seconds := number(t, "EDITS_SEED", int(time.Now().Unix())), number(t, "EDITS_SECONDS", 10)
	t.Logf("EDITS_SEED=%d EDITS_SECONDS=%d", seed, seconds)
	s := newSpace(t)
	panics, failures := total(t, "controller_runtime_reconcile_panics_total"), total(t, "controller_runtime_reconcile_errors_total")
	var editors []*editor
	recorded := subjects(t)
	for i := range 2 * len(recorded) {
		rec := recorded[i%len(recorded)]
		e := &editor{r: s.starting(rec, i), rec: rec, random: random{rand.New(rand.NewPCG(uint64(seed), uint64(i)))}}
		e.seen, e.sent = watchVersions(t, e.r), e.r.must(e.r.cluster).Object["spec"].(map[string]any)
		e.argo(statusOf(rec.Before))
		editors = append(editors, e)
	}
	until := time.Now().Add(time.Duration(seconds) * time.Second)
	var group sync.WaitGroup
	for _, e := range editors {
		// All at once, however many tests may be parallel.
		group.Go(func() { t.Run(e.r.key.Name, func(t *testing.T) { e.within(t).goesOn(until) }) })
	}
	group.Wait()
	t.Logf("%v reconciles failed", total(t, "controller_runtime_reconcile_errors_total")-failures)
	if t.Failed() {
		t.Logf("again with EDITS_SEED=%d EDITS_SECONDS=%d", seed, seconds)
		return
	}
	becomesQuiet(t)
	assert.InDelta(t, panics, total(t, "controller_runtime_reconcile_panics_total"), 0, "the product has panicked")
	for _, e := range editors {
		e.r.edit(theHub, fmt.Sprintf(`{"metadata":{"finalizers":[%q]}}`, contract.FinalizerDispatch)) // without those of the edits
		e.r.isGone()
	}
}

// becomesQuiet waits until nothing was written, and no reconcile failed, for a second: what begins again and again would not rest.
func becomesQuiet(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		written, failed := writesFromNowOn(), total(t, "controller_runtime_reconcile_errors_total")
		<-time.After(time.Second)
		if failed != total(t, "controller_runtime_reconcile_errors_total") || len(written()) > 0 {
			return fmt.Errorf("within a second of quiet: %v, and reconciles failed %v times before", written(), failed)
		}
		return nil
	})
}

// total returns the sum of a counter of the product.
func total(t *testing.T, name string) (sum float64) {
	t.Helper()
	families, err := metrics.Registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() == name {
			for _, metric := range family.GetMetric() {
				sum += metric.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func number(t *testing.T, variable string, byDefault int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return byDefault
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, variable)
	return n
}

// subject is a write of a real client of Argo, and what it was made on.
type subject struct {
	recorded.Write
	name string
}

func statusOf(wf recorded.Workflow) map[string]any { return runtime.DeepCopyJSON(wf.Status) }

// subjects are of the recorded Workflows some that wait, with DAGs and pods, also one whose nodes are packed, and some that have failed.
func subjects(t *testing.T) []*subject {
	t.Helper()
	wanted := map[string]*subject{"waits": nil, "waits and is packed": nil, "has failed": nil, "was stopped": nil}
	for _, write := range recorded.Writes(t) {
		s := &subject{Write: write}
		switch packed := contract.StatusString(s.Before.Status, contract.FieldCompressedNodes) != ""; {
		case strings.HasPrefix(s.Class[0], "node:") && packed:
			s.name = "waits and is packed"
		case strings.HasPrefix(s.Class[0], "node:approve:"):
			s.name = "waits"
		case s.Class[0] == "retry(-6)":
			s.name = "has failed"
		case s.Class[0] == "retry(-0)" && len(s.Before.Status) > 5:
			s.name = "was stopped"
		}
		if known, isWanted := wanted[s.name]; isWanted && known == nil {
			wanted[s.name] = s
		}
	}
	out := []*subject{wanted["waits"], wanted["waits and is packed"], wanted["has failed"], wanted["was stopped"]}
	require.NotContains(t, out, (*subject)(nil))
	return out
}

func (s *subject) isFinished() bool {
	return contract.IsFinished(contract.StatusString(s.Before.Status, "phase"))
}

// starting returns a Workflow like the recorded one that has started on a cluster.
func (s *space) starting(rec *subject, number int) *run {
	s.t.Helper()
	wf := gen.Workflow(fmt.Sprintf("%s-%d", strings.ReplaceAll(rec.name, " ", "-"), number), gen.InNamespace(s.name), gen.WithCluster("cluster1"))
	wf.Object["spec"] = runtime.DeepCopyJSON(rec.Before.Spec)
	for _, field := range []string{"suspend", "shutdown"} { // it would not start
		unstructured.RemoveNestedField(wf.Object, "spec", field)
	}
	r := s.createOnHub(cluster1, wf)
	r.starts()
	return r
}

// editor edits a hub Workflow, and plays Argo on its cluster.
type editor struct {
	t      *testing.T
	r      *run
	rec    *subject
	random random
	seen   *versions
	// sent is the spec that was sent.
	sent map[string]any
	// edits are the last ones, for whoever looks at a failure.
	edits []string
	count map[string]int
}

// argo has Argo's controller write a status.
func (e *editor) argo(status map[string]any) {
	e.seen.byArgo(e.r.argo.write(e.r, status).GetResourceVersion())
}

// within returns the editor as one that fails this test.
func (e *editor) within(t *testing.T) *editor {
	t.Helper()
	inTest, ofTest := *e, *e.r
	ofTest.t = t
	inTest.t, inTest.r, inTest.count = t, &ofTest, map[string]int{}
	return &inTest
}

// goesOn edits until the time is over.
func (e *editor) goesOn(until time.Time) {
	defer func() {
		e.t.Logf("edits by what has become of them: %v", e.count)
		if e.t.Failed() {
			e.t.Logf("the last edits:\n%s", strings.Join(e.edits, "\n"))
		}
	}()
	e.settles("before any edit")
	for time.Now().Before(until) {
		switch e.random.IntN(10) {
		case 0, 1:
			e.several()
		case 2:
			e.argoGoesOn()
		default:
			e.one()
		}
		if !e.hasWork() {
			e.argoGoesOn()
		}
	}
}

// hasWork reports whether there is something that a verb could change.
func (e *editor) hasWork() bool {
	wf := e.r.must(theHub)
	if e.rec.isFinished() {
		return contract.IsFinished(contract.Phase(wf)) || e.random.IntN(3) > 0
	}
	return len(waiting(contract.Status(wf))) > 0
}

// argoGoesOn has Argo come back to where it was recorded, if it still looks at the Workflow.
func (e *editor) argoGoesOn() {
	wf := e.r.must(e.r.cluster)
	if !e.r.argo.sees(wf) {
		return
	}
	status := statusOf(e.rec.Before)
	status["message"] = fmt.Sprintf("again, %d", e.random.IntN(1000))
	e.note("argo writes the status of the recording")
	e.argo(status)
	e.settles("Argo has written")
}

func (e *editor) note(what string) {
	e.edits = append(e.edits, fmt.Sprintf("%s %.1500s", time.Now().Format("15:04:05.000"), what))
	if len(e.edits) > 6 {
		e.edits = e.edits[1:]
	}
}

// several makes edits one after the other without waiting for what becomes of them, and Argo may go on meanwhile.
func (e *editor) several() {
	for range 2 + e.random.IntN(3) {
		if _, _, err := e.edit(); err != nil {
			e.count["not accepted"]++
		}
		if e.random.IntN(4) == 0 && !e.rec.isFinished() {
			e.argo(statusOf(e.rec.Before))
		}
	}
	e.count["several"]++
	e.settles("several edits")
}

// one makes an edit, and checks what becomes of it.
func (e *editor) one() {
	before, after, err := e.edit()
	if err != nil {
		e.count["not accepted"]++
		return
	}
	changes := e.settles("an edit")
	said := report.Condition(contract.Status(e.r.must(theHub)), report.ConditionEditRefused)
	status := contract.Status(after)
	if reflect.DeepEqual(contract.Status(before), status) || isErased(status) {
		assert.Zero(e.t, changes, "the cluster's status changes though the hub's was not edited")
		e.count["no status"]++
		return
	}
	found, err := edits.Of(contract.Status(before), status, true)
	switch {
	case changes == 0 && losesTrack(before, after):
		e.count["without marks"]++
	case err != nil:
		e.count["refused"]++
		assert.Zero(e.t, changes, "the cluster's status has changed for an edit that is no verb")
		assert.Equal(e.t, fmt.Sprintf("%.1024s", err.Error()), said, "an edit that is no verb was undone, and nothing says so")
	case found.IsNothing():
		e.count["nothing"]++
		assert.Zero(e.t, changes, "the cluster's status has changed for an edit that says nothing")
	case changes == 1:
		e.count["applied"]++
		require.NoError(e.t, isAsFound(found, contract.Status(e.r.must(e.r.cluster))))
	default:
		e.count["verb refused"]++
		assert.Zero(e.t, changes, "a verb was done more than once: %+v", found)
		assert.NotEmpty(e.t, said, "a verb was not done, and nothing says so: %+v", found)
		e.note("verb refused: " + said)
	}
	if e.t.Failed() {
		e.t.FailNow()
	}
}

// edit makes a random edit of the hub Workflow, and returns this before and after it. The error is that the API server does not take it.
func (e *editor) edit() (before, after *unstructured.Unstructured, err error) {
	before = e.r.must(theHub)
	edited := before.DeepCopy()
	what := e.random.change(edited, e.rec)
	how, send := e.random.way(before, edited)
	e.note(fmt.Sprintf("%s, %s: %s", what, how, difference(e.t, before, edited)))
	after, err = send(e.t.Context(), theHub.client)
	switch {
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsConflict(err), apierrors.IsRequestEntityTooLargeError(err):
		return nil, nil, err
	}
	require.NoError(e.t, err)
	return before, after, nil
}

// settles waits until all that was edited on the hub is undone or done, checks what has become of the cluster's Workflow since, and returns
// how often its status was changed by the agent.
func (e *editor) settles(after string) (changes int) {
	e.t.Helper()
	began := time.Now()
	var last error
	for time.Since(began) < 20*time.Second {
		if last = e.isSettled(); last == nil {
			break
		}
		<-time.After(20 * time.Millisecond)
	}
	require.NoError(e.t, last, "not settled after %s", after)
	e.seen.catchUp(e.t, e.r.must(e.r.cluster))
	changes, err := e.seen.check()
	require.NoError(e.t, err, "after %s", after)
	return changes
}

func (e *editor) isSettled() error {
	hub, errHub := e.r.get(theHub)
	remote, errRemote := e.r.get(e.r.cluster)
	rw, errRW := e.r.remoteWorkflow()
	if err := errors.Join(errHub, errRemote, errRW); err != nil {
		return err
	}
	return cmp.Or(e.isShown(hub, remote), e.isDone(hub, remote, rw), e.r.specIs(e.sent))
}

// isShown returns an error unless the hub Workflow is marked and labelled as ours, and shows what the cluster has.
func (e *editor) isShown(hub, remote *unstructured.Unstructured) error {
	shown, actual := canonical(e.t, withoutRefusal(contract.Status(hub))), canonical(e.t, contract.Status(remote))
	if shown != actual {
		return fmt.Errorf("the hub's status is\n%.3000s\nand the cluster's\n%.3000s", shown, actual)
	}
	hash, err := contract.StatusHash(hub.GetUID(), contract.Status(hub))
	require.NoError(e.t, err)
	labels, phase := hub.GetLabels(), contract.Phase(hub)
	switch {
	case hub.GetAnnotations()[contract.AnnotationStatusHash] != hash:
		return fmt.Errorf("the hub's status is not marked as the hub's: %v", hub.GetAnnotations())
	case labels[contract.LabelPhase] != phase, (labels[contract.LabelCompleted] == "true") != contract.IsFinished(phase):
		return fmt.Errorf("the hub Workflow is %s, and has the labels %v", phase, labels)
	case !slices.Contains(hub.GetFinalizers(), contract.FinalizerDispatch):
		return fmt.Errorf("the hub Workflow has the finalizers %v", hub.GetFinalizers())
	}
	return e.r.isAssignedTo(e.r.cluster.name)
}

// isDone returns an error unless all that was asked of the cluster is done or refused.
func (e *editor) isDone(hub, remote *unstructured.Unstructured, rw *v1alpha1.RemoteWorkflow) error {
	for _, edit := range rw.Spec.Edits {
		if !slices.ContainsFunc(rw.Status.Edits, func(a v1alpha1.EditAnswer) bool { return a.ID == edit.ID }) {
			return fmt.Errorf("edit %s is not answered", edit.ID)
		}
	}
	if contract.IsFinished(contract.Phase(remote)) {
		if slices.Contains(remote.GetFinalizers(), contract.FinalizerReport) {
			return errors.New("the remote Workflow has finished, and has our finalizer")
		}
		return nil
	}
	wanted := controlsOf(hub)
	wanted.Shutdown = cmp.Or(wanted.Shutdown, rw.Spec.Shutdown)
	asked, actual := contract.EncodeControls(rw.Spec.Controls), contract.EncodeControls(controlsOf(remote))
	if wanted := contract.EncodeControls(wanted); wanted != asked || asked != actual {
		return fmt.Errorf("the user wants %s, the RemoteWorkflow says %s, and the remote Workflow %s", wanted, asked, actual)
	}
	return nil
}

// losesTrack reports whether an edit also took away that by which the hub knows what was shown: what is said of it is not certain.
func losesTrack(before, after *unstructured.Unstructured) bool {
	said := func(wf *unstructured.Unstructured) string {
		return report.Condition(contract.Status(wf), report.ConditionEditRefused)
	}
	was, is := before.GetAnnotations(), after.GetAnnotations()
	return said(before) != said(after) || was[contract.AnnotationStatusHash] != is[contract.AnnotationStatusHash] ||
		was[contract.AnnotationReportHash] != is[contract.AnnotationReportHash]
}

// isErased reports whether nothing is left of a status.
func isErased(status map[string]any) bool {
	for _, value := range status {
		if value != nil {
			return false
		}
	}
	return true
}

func controlsOf(wf *unstructured.Unstructured) v1alpha1.Controls {
	spec, _ := wf.Object["spec"].(map[string]any)
	return contract.ControlsOf(spec)
}

// withoutRefusal returns a status of the hub without the condition by which it says that an edit was refused.
func withoutRefusal(status map[string]any) map[string]any {
	if report.Condition(status, report.ConditionEditRefused) == "" {
		return status
	}
	status = runtime.DeepCopyJSON(status)
	conditions := slices.DeleteFunc(status["conditions"].([]any), func(c any) bool {
		condition, _ := c.(map[string]any)
		return condition["type"] == report.ConditionEditRefused
	})
	status["conditions"] = conditions
	if len(conditions) == 0 {
		delete(status, "conditions")
	}
	return status
}
