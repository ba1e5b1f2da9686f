package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// run is a Workflow that a test has created on the hub.
type run struct {
	t   *testing.T
	key client.ObjectKey
	uid types.UID
}

// in returns the same run for a subtest to look at.
func (r *run) in(t *testing.T) *run {
	t.Helper()
	return &run{t: t, key: r.key, uid: r.uid}
}

// get returns the Workflow as it is on a cluster.
func (r *run) get(c *cluster) (*unstructured.Unstructured, error) {
	wf := contract.NewWorkflow()
	return wf, c.client.Get(r.t.Context(), r.key, wf)
}

// must returns the Workflow as it is on a cluster, where it has to be.
func (r *run) must(c *cluster) *unstructured.Unstructured {
	r.t.Helper()
	wf, err := r.get(c)
	require.NoError(r.t, err)
	return wf
}

// wants returns an error unless the Workflow has that phase on the cluster, and a message that contains the text.
func (r *run) wants(c *cluster, phase, message string) error {
	wf, err := r.get(c)
	if err != nil {
		return err
	}
	got := contract.StatusString(contract.Status(wf), "message")
	if contract.Phase(wf) != phase || !strings.Contains(got, message) {
		return fmt.Errorf("%s: phase is %q, message %q; want %q with %q", c.Name, contract.Phase(wf), got, phase, message)
	}
	return nil
}

// waitFor waits until the Workflow has that phase on the hub.
func (r *run) waitFor(phase string) {
	r.t.Helper()
	r.waitForMessage(phase, "")
}

// waitForMessage waits until the Workflow has that phase on the hub, and a message that contains the text.
func (r *run) waitForMessage(phase, message string) {
	r.t.Helper()
	labtest.Eventually(r.t, patience, func() error { return r.wants(theHub, phase, message) })
}

// waitForEvent waits for an Event about the hub's copy, with that reason and the text in its message.
func (r *run) waitForEvent(reason, message string) {
	r.t.Helper()
	labtest.Eventually(r.t, patience, func() error { return hasEvent(r.t.Context(), r.key.Namespace, r.uid, reason, message) })
}

// hasEvent returns an error unless there is an Event about the object on the hub, with that reason and the text in its message.
func hasEvent(ctx context.Context, namespace string, uid types.UID, reason, message string) error {
	var events corev1.EventList
	if err := theHub.client.List(ctx, &events, client.InNamespace(namespace)); err != nil {
		return err
	}
	var seen []string
	for _, event := range events.Items {
		if event.InvolvedObject.UID != uid {
			continue
		}
		if event.Reason == reason && strings.Contains(event.Message, message) {
			return nil
		}
		seen = append(seen, event.Reason+": "+event.Message)
	}
	return fmt.Errorf("no Event %s with %q, but %q", reason, message, seen)
}

// edit merges a patch into the Workflow on a cluster.
func (r *run) edit(c *cluster, patch string) {
	r.t.Helper()
	require.NoError(r.t, r.patch(c, mergePatch, patch))
}

func (r *run) patch(c *cluster, kind types.PatchType, patch string) error {
	wf := contract.NewWorkflow()
	wf.SetNamespace(r.key.Namespace)
	wf.SetName(r.key.Name)
	return c.client.Patch(r.t.Context(), wf, client.RawPatch(kind, []byte(patch)))
}

// delete deletes the Workflow on a cluster.
func (r *run) delete(c *cluster) {
	r.t.Helper()
	wf := contract.NewWorkflow()
	wf.SetNamespace(r.key.Namespace)
	wf.SetName(r.key.Name)
	require.NoError(r.t, c.client.Delete(r.t.Context(), wf))
}

// forceDelete deletes the Workflow on a cluster and strips whatever finalizer holds it, until it is gone.
func (r *run) forceDelete(c *cluster) {
	r.t.Helper()
	uid := r.must(c).GetUID()
	r.delete(c)
	labtest.Eventually(r.t, patience, func() error {
		wf, err := r.get(c)
		if apierrors.IsNotFound(err) || (err == nil && wf.GetUID() != uid) {
			return nil
		}
		strip := fmt.Sprintf(`{"metadata":{"uid":%q,"finalizers":null}}`, uid)
		return errors.Join(err, errors.New("still there"), client.IgnoreNotFound(r.patch(c, mergePatch, strip)))
	})
}

// on returns the name by which hub and cluster speak of the run.
func (r *run) on(c *cluster) client.ObjectKey {
	return client.ObjectKey{Namespace: c.Name, Name: contract.RemoteWorkflowName(r.key.Name, r.uid, 1)}
}

// remoteWorkflow returns the RemoteWorkflow of the run on a cluster.
func (r *run) remoteWorkflow(c *cluster) (*v1alpha1.RemoteWorkflow, error) {
	rw := &v1alpha1.RemoteWorkflow{}
	return rw, theHub.client.Get(r.t.Context(), r.on(c), rw)
}

// delivery returns the ManifestWork that carries the Workflow to a cluster, nil if there is none.
func (r *run) delivery() (*workv1.ManifestWork, error) {
	var works workv1.ManifestWorkList
	if err := theHub.client.List(r.t.Context(), &works, client.HasLabels{contract.LabelDelivery}); err != nil {
		return nil, err
	}
	for i := range works.Items {
		for _, manifest := range works.Items[i].Spec.Workload.Manifests {
			if strings.Contains(string(manifest.Raw), string(r.uid)) {
				return &works.Items[i], nil
			}
		}
	}
	return nil, nil
}

// traces returns an error that lists what is left of the Workflow on the hub, but for itself.
func (r *run) traces() error {
	var rws v1alpha1.RemoteWorkflowList
	if err := theHub.client.List(r.t.Context(), &rws, client.MatchingLabels{contract.LabelWorkflowUID: string(r.uid)}); err != nil {
		return err
	}
	var left []string
	for _, rw := range rws.Items {
		left = append(left, "RemoteWorkflow "+client.ObjectKeyFromObject(&rw).String())
	}
	work, err := r.delivery()
	if err != nil {
		return err
	}
	if work != nil {
		left = append(left, "ManifestWork "+client.ObjectKeyFromObject(work).String())
	}
	if len(left) > 0 {
		return fmt.Errorf("left on the hub: %s", strings.Join(left, ", "))
	}
	return nil
}

// gone returns an error unless the Workflow is gone from the cluster.
func (r *run) gone(c *cluster) error {
	wf, err := r.get(c)
	if err == nil {
		return fmt.Errorf("%s: Workflow is there, deleted at %v with finalizers %v", c.Name, wf.GetDeletionTimestamp(), wf.GetFinalizers())
	}
	return client.IgnoreNotFound(err)
}

// waitUntilGone waits until nothing is left of the run, neither on the hub nor on the cluster.
func (r *run) waitUntilGone(c *cluster) {
	r.t.Helper()
	labtest.Eventually(r.t, patience, func() error { return errors.Join(r.gone(theHub), r.traces(), r.gone(c), noPods(r.t, c, r.key)) })
}

// noPods returns an error while a Workflow of that name has pods on the cluster.
func noPods(t *testing.T, c *cluster, key client.ObjectKey) error {
	t.Helper()
	pods, err := podsOf(t, c, key)
	if err == nil && len(pods) > 0 {
		err = fmt.Errorf("%s: Workflow %s still has %d pods", c.Name, key, len(pods))
	}
	return err
}

// podsOf returns the pods that a Workflow of that name has on the cluster.
func podsOf(t *testing.T, c *cluster, key client.ObjectKey) ([]corev1.Pod, error) {
	t.Helper()
	var pods corev1.PodList
	err := c.client.List(t.Context(), &pods, client.InNamespace(key.Namespace), client.MatchingLabels{labelWorkflow: key.Name})
	return pods.Items, err
}

// labelWorkflow is by what Argo's pods bear the name of their Workflow.
const labelWorkflow = "workflows.argoproj.io/workflow"

// mirrored returns an error unless the hub's status and the cluster's are the same, as canonical JSON.
func (r *run) mirrored(c *cluster) error {
	hubs, err := r.get(theHub)
	if err != nil {
		return err
	}
	clusters, err := r.get(c)
	if err != nil {
		return err
	}
	return sameJSON(withoutRefusal(contract.Status(hubs)), contract.Status(clusters))
}

// withoutRefusal returns a status without what it says of an edit that has no effect, which is the hub's own.
func withoutRefusal(status map[string]any) map[string]any {
	conditions, _ := status["conditions"].([]any)
	rest := slices.DeleteFunc(slices.Clone(conditions), func(c any) bool {
		condition, _ := c.(map[string]any)
		return condition["type"] == "EditRefused"
	})
	if len(rest) == len(conditions) {
		return status
	}
	out := maps.Clone(status)
	if out["conditions"] = rest; len(rest) == 0 {
		delete(out, "conditions")
	}
	return out
}

func sameJSON(got, want map[string]any) error {
	gotJSON, err := json.Marshal(got)
	if err != nil {
		return err
	}
	wantJSON, err := json.Marshal(want)
	if err != nil {
		return err
	}
	if string(gotJSON) != string(wantJSON) {
		return fmt.Errorf("the hub's status is\n%s\nand the cluster's\n%s", gotJSON, wantJSON)
	}
	return nil
}

// dump logs what there is of the run everywhere.
func (r *run) dump() {
	ctx := context.Background()
	show := func(where string, object client.Object, key client.ObjectKey, c *cluster) {
		if err := c.client.Get(ctx, key, object); err != nil {
			r.t.Logf("%s: %v", where, err)
			return
		}
		object.SetManagedFields(nil)
		text, err := yaml.Marshal(object)
		r.t.Logf("%s:\n%.6000s\n%v", where, text, err)
	}
	show("hub's copy", contract.NewWorkflow(), r.key, theHub)
	for _, c := range []*cluster{cluster1, cluster2, cluster3, cluster4} {
		rw := &v1alpha1.RemoteWorkflow{}
		if err := theHub.client.Get(ctx, r.on(c), rw); apierrors.IsNotFound(err) {
			continue
		}
		show("RemoteWorkflow", rw, r.on(c), theHub)
		if work, err := r.delivery(); err == nil && work != nil {
			show("ManifestWork", &workv1.ManifestWork{}, client.ObjectKeyFromObject(work), theHub)
		}
		show("on "+c.Name, contract.NewWorkflow(), r.key, c)
	}
}
