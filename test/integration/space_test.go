package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/env"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// space is a namespace of a test's own, of the same name on the hub and on the managed clusters.
type space struct {
	t    *testing.T
	name string
	// seen is what has become of Workflows on the managed clusters.
	seen map[*cluster]*history
}

// newSpace makes a namespace that both clusters are open to.
func newSpace(t *testing.T) *space {
	t.Helper()
	name := regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(strings.TrimPrefix(t.Name(), "Test")), "-")
	s := &space{t: t, name: fmt.Sprintf("%.40s-%s", name, rand.String(4)), seen: map[*cluster]*history{}}
	for _, c := range []*cluster{theHub, cluster1, cluster2} {
		require.NoError(t, c.client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.name}}))
	}
	for _, c := range []*cluster{cluster1, cluster2} {
		s.seen[c] = watchHistory(t, c, s.name)
	}
	require.NoError(t, createWithStatus(t.Context(), gen.ManagedClusterSetBinding(gen.GlobalSet, gen.InNamespace(s.name))))
	return s
}

// create creates a Workflow on the hub that is to run on the cluster. When the test ends, it is removed everywhere.
func (s *space) create(name string, on *cluster, mods ...gen.Mod) *run {
	s.t.Helper()
	return s.createOnHub(on, gen.Workflow(name, append([]gen.Mod{gen.InNamespace(s.name), gen.WithCluster(on.name)}, mods...)...))
}

func (s *space) createOnHub(on *cluster, wf *unstructured.Unstructured) *run {
	s.t.Helper()
	require.NoError(s.t, theHub.client.Create(s.t.Context(), wf))
	r := &run{t: s.t, key: client.ObjectKeyFromObject(wf), uid: wf.GetUID(), cluster: on, workAgent: fakeWorkAgent{on}, argo: fakeArgo{on}}
	s.t.Cleanup(func() {
		if s.t.Failed() {
			r.dump()
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		r.sweep(ctx)
	})
	return r
}

// run is a Workflow that a test has created on the hub, and the cluster that it is to run on.
type run struct {
	t       *testing.T
	key     client.ObjectKey
	uid     types.UID
	cluster *cluster

	workAgent fakeWorkAgent
	argo      fakeArgo
	// sent is what a delivery carries of it, as it was seen last.
	sent *unstructured.Unstructured
}

// object returns an empty object of the Workflow's name.
func (r *run) object() *unstructured.Unstructured {
	wf := contract.NewWorkflow()
	wf.SetNamespace(r.key.Namespace)
	wf.SetName(r.key.Name)
	return wf
}

// get returns the Workflow as it is on the hub or a managed cluster.
func (r *run) get(c *cluster) (*unstructured.Unstructured, error) {
	wf := contract.NewWorkflow()
	return wf, c.client.Get(r.t.Context(), r.key, wf)
}

// must returns the Workflow as it is on the hub or a managed cluster, where it has to be.
func (r *run) must(c *cluster) *unstructured.Unstructured {
	r.t.Helper()
	wf, err := r.get(c)
	require.NoError(r.t, err)
	return wf
}

// name is that of the RemoteWorkflow.
func (r *run) name() client.ObjectKey {
	return client.ObjectKey{Namespace: r.cluster.name, Name: contract.RemoteWorkflowName(r.key.Name, r.uid, 1)}
}

func (r *run) remoteWorkflow() (*v1alpha1.RemoteWorkflow, error) {
	rw := &v1alpha1.RemoteWorkflow{}
	return rw, theHub.client.Get(r.t.Context(), r.name(), rw)
}

func (r *run) mustRemoteWorkflow() *v1alpha1.RemoteWorkflow {
	r.t.Helper()
	rw, err := r.remoteWorkflow()
	require.NoError(r.t, err)
	return rw
}

// manifestWork returns the delivery of the Workflow that is not being deleted. The error is NotFound if there is none.
func (r *run) manifestWork() (*workv1.ManifestWork, error) {
	works, err := r.deliveries(r.t.Context())
	if err != nil {
		return nil, err
	}
	for _, work := range works {
		if work.DeletionTimestamp.IsZero() {
			r.sent = r.carried(work)
			return work, nil
		}
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "manifestworks"}, "of "+r.key.String())
}

// deliveries returns all deliveries that list the Workflow, perhaps among others.
func (r *run) deliveries(ctx context.Context) ([]*workv1.ManifestWork, error) {
	var list workv1.ManifestWorkList
	if err := theHub.client.List(ctx, &list, client.InNamespace(r.cluster.name), client.HasLabels{contract.LabelDelivery}); err != nil {
		return nil, err
	}
	var works []*workv1.ManifestWork
	for i := range list.Items {
		if r.carried(&list.Items[i]) != nil {
			works = append(works, &list.Items[i])
		}
	}
	return works, nil
}

// carried returns what a delivery carries of the Workflow, nil if nothing.
func (r *run) carried(work *workv1.ManifestWork) *unstructured.Unstructured {
	for _, manifest := range work.Spec.Workload.Manifests {
		wf := &unstructured.Unstructured{}
		if json.Unmarshal(manifest.Raw, wf) == nil && wf.GetAnnotations()[contract.AnnotationHubUID] == string(r.uid) {
			return wf
		}
	}
	return nil
}

// isNotSent returns an error if a delivery lists the Workflow: what is missing of that is created again and again.
func (r *run) isNotSent() error {
	_, err := r.manifestWork()
	if err == nil {
		return errors.New("it is still delivered")
	}
	return client.IgnoreNotFound(err)
}

// waitForManifestWork waits until the Workflow has been sent.
func (r *run) waitForManifestWork() *workv1.ManifestWork {
	r.t.Helper()
	var work *workv1.ManifestWork
	eventually(r.t, func() (err error) { work, err = r.manifestWork(); return err })
	return work
}

// waitUntilOpen waits until the agent has started the copy, and returns it.
func (r *run) waitUntilOpen() *unstructured.Unstructured {
	r.t.Helper()
	var wf *unstructured.Unstructured
	eventually(r.t, func() (err error) {
		if wf, err = r.get(r.cluster); err == nil && isGated(wf) {
			err = errors.New("the gate is closed")
		}
		return err
	})
	return wf
}

// waitFor waits until the Workflow has that phase on the hub, and a message that contains the text.
func (r *run) waitFor(phase, message string) {
	r.t.Helper()
	eventually(r.t, func() error { return r.wants(phase, message) })
}

// wants returns an error unless the Workflow has that phase on the hub, and a message that contains the text.
func (r *run) wants(phase, message string) error {
	wf, err := r.get(theHub)
	if err != nil {
		return err
	}
	got := contract.StatusString(contract.Status(wf), "message")
	if contract.Phase(wf) != phase || !strings.Contains(got, message) {
		return fmt.Errorf("phase is %q, message %q; want %q with %q", contract.Phase(wf), got, phase, message)
	}
	return nil
}

// waitUntilMirrored waits until the hub shows the status that the cluster has, and all of it.
func (r *run) waitUntilMirrored() {
	r.t.Helper()
	want := canonical(r.t, contract.Status(r.must(r.cluster)))
	eventually(r.t, func() error {
		wf, err := r.get(theHub)
		if err != nil {
			return err
		}
		if got := canonical(r.t, contract.Status(wf)); got != want {
			return fmt.Errorf("the hub's status is\n%s\nand the cluster's\n%s", got, want)
		}
		return nil
	})
}

// canonical returns a status as JSON in the one form that equal values have.
func canonical(t *testing.T, status map[string]any) string {
	t.Helper()
	raw, err := json.Marshal(status)
	require.NoError(t, err)
	return string(raw)
}

// waitUntilReleased waits until the final status is on the hub and the copy is let go.
func (r *run) waitUntilReleased() {
	r.t.Helper()
	eventually(r.t, func() error {
		wf, err := r.get(r.cluster)
		if err == nil && len(wf.GetFinalizers()) > 0 {
			err = fmt.Errorf("the copy has the finalizers %v", wf.GetFinalizers())
		}
		return err
	})
}

// starts is the first part of a run: it is sent, created and started.
func (r *run) starts() {
	r.t.Helper()
	r.workAgent.apply(r)
	r.waitUntilOpen()
}

// runsOn is the next part: Argo runs it, and the hub shows that.
func (r *run) runsOn() {
	r.t.Helper()
	r.argo.write(r, runningStatus())
	r.waitUntilMirrored()
}

// succeeds is the end of a run: it succeeds, the hub shows that, and the copy is let go.
func (r *run) succeeds() {
	r.t.Helper()
	r.argo.write(r, succeededStatus())
	r.waitUntilMirrored()
	r.waitUntilReleased()
}

// runs is a whole run. It also is a marker: what is created after something else, and runs, shows that the manager and
// the agent have seen that, too.
func (r *run) runs() {
	r.t.Helper()
	r.starts()
	r.runsOn()
	r.succeeds()
}

// delete deletes the Workflow on the hub or a managed cluster.
func (r *run) delete(c *cluster) {
	r.t.Helper()
	require.NoError(r.t, c.client.Delete(r.t.Context(), r.object()))
}

// forceDelete deletes the Workflow on the hub or a managed cluster, and takes all finalizers from it.
func (r *run) forceDelete(c *cluster) {
	r.t.Helper()
	uid := r.must(c).GetUID()
	r.delete(c)
	eventually(r.t, func() error {
		strip := fmt.Appendf(nil, `{"metadata":{"uid":%q,"finalizers":null}}`, uid)
		err := c.client.Patch(r.t.Context(), r.object(), client.RawPatch(types.MergePatchType, strip))
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return nil
		}
		return errors.Join(err, errors.New("still there"))
	})
}

// edit merges a patch into the Workflow on the hub or a managed cluster.
func (r *run) edit(c *cluster, patch string) {
	r.t.Helper()
	require.NoError(r.t, c.client.Patch(r.t.Context(), r.object(), client.RawPatch(types.MergePatchType, []byte(patch))))
}

// isGone removes the Workflow from the hub, if it has not been deleted yet, and makes sure that nothing is left of it.
func (r *run) isGone() {
	r.t.Helper()
	require.NoError(r.t, client.IgnoreNotFound(theHub.client.Delete(r.t.Context(), r.object())))
	r.vanishes()
}

// vanishes plays the rest of the cluster until nothing is left of the run.
func (r *run) vanishes() {
	r.t.Helper()
	eventually(r.t, func() error {
		if err := r.goesOn(); err != nil {
			return err
		}
		return r.traces(r.t.Context())
	})
}

// goesOn plays the rest of the cluster while the agent removes the copy: Argo ends what is terminated, and the garbage collector finds no
// pods.
func (r *run) goesOn() error {
	wf, err := r.get(r.cluster)
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	if isTerminated(wf) && r.argo.sees(wf) && !contract.IsFinished(contract.Phase(wf)) {
		r.argo.terminates(r)
		return nil
	}
	return r.cluster.collectGarbage(r.t.Context(), wf)
}

// copyIsGone returns an error while the copy with this UID is on the cluster.
func (r *run) copyIsGone(uid types.UID) error {
	wf, err := r.get(r.cluster)
	if err == nil && wf.GetUID() == uid {
		return fmt.Errorf("the copy is there, with the finalizers %v", wf.GetFinalizers())
	}
	return client.IgnoreNotFound(err)
}

// traces returns an error that lists what is left of the run.
func (r *run) traces(ctx context.Context) error {
	var left []string
	check := func(what string, c *cluster, key client.ObjectKey, object client.Object) error {
		err := c.client.Get(ctx, key, object)
		if err == nil {
			left = append(left, fmt.Sprintf("%s (deleted at %v, finalizers %v)", what, object.GetDeletionTimestamp(), object.GetFinalizers()))
		}
		return client.IgnoreNotFound(err)
	}
	err := errors.Join(
		check("the hub's copy", theHub, r.key, r.object()),
		check("the RemoteWorkflow", theHub, r.name(), &v1alpha1.RemoteWorkflow{}),
		check("the cluster's copy", r.cluster, r.key, r.object()),
	)
	works, listErr := r.deliveries(ctx)
	for _, work := range works {
		if len(work.Spec.Workload.Manifests) == 1 { // that of others, too, goes with them
			left = append(left, "the ManifestWork "+work.Name)
		}
	}
	err = errors.Join(err, listErr)
	if len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("there still is %s", strings.Join(left, ", ")))
	}
	return err
}

// sweep takes away whatever a test, perhaps a failed one, has left.
func (r *run) sweep(ctx context.Context) {
	r.t.Helper()
	if err := env.Retry(ctx, func() error {
		var errs []error
		for _, left := range []struct {
			cluster *cluster
			object  client.Object
		}{
			{theHub, r.object()},
			{r.cluster, r.object()},
			{theHub, &v1alpha1.RemoteWorkflow{ObjectMeta: metav1.ObjectMeta{Namespace: r.name().Namespace, Name: r.name().Name}}},
		} {
			errs = append(errs, client.IgnoreNotFound(left.cluster.client.Delete(ctx, left.object)))
			errs = append(errs, client.IgnoreNotFound(left.cluster.client.Patch(ctx, left.object,
				client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`)))))
		}
		return errors.Join(append(errs, r.traces(ctx))...)
	}); err != nil {
		r.t.Errorf("sweep: %v", err)
	}
}

// dump logs what there is of the run.
func (r *run) dump() {
	ctx := context.Background()
	show := func(what string, c *cluster, key client.ObjectKey, object client.Object) {
		if err := c.client.Get(ctx, key, object); err != nil {
			r.t.Logf("%s: %v", what, err)
			return
		}
		object.SetManagedFields(nil)
		text, err := yaml.Marshal(object)
		r.t.Logf("%s:\n%.4000s\n%v", what, text, err)
	}
	show("the hub's copy", theHub, r.key, r.object())
	show("the RemoteWorkflow", theHub, r.name(), &v1alpha1.RemoteWorkflow{})
	works, err := r.deliveries(ctx)
	r.t.Logf("%d deliveries list it (%v)", len(works), err)
	for _, work := range works {
		show("a delivery", theHub, client.ObjectKeyFromObject(work), &workv1.ManifestWork{})
	}
	show("the cluster's copy", r.cluster, r.key, r.object())
}

// eventually fails the test unless ask returns no error in time.
func eventually(t *testing.T, ask func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, fmt.Errorf("not within %s", patience))
	defer cancel()
	require.NoError(t, env.Retry(ctx, ask))
}

// isAssignedTo returns an error unless the hub's copy is ours and says that it runs on this cluster.
func (r *run) isAssignedTo(cluster string) error {
	wf, err := r.get(theHub)
	if err != nil {
		return err
	}
	if !contract.IsOurs(wf) || contract.AssignedCluster(wf) != cluster || wf.GetAnnotations()[contract.AnnotationCluster] != cluster {
		return fmt.Errorf("labels %v, annotations %v", wf.GetLabels(), wf.GetAnnotations())
	}
	return nil
}
