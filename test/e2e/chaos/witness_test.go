package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/e2e/chaos/verdict"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

// witness gathers the evidence about a plan: what another has left behind is not taken for it.
type witness struct {
	users  *users
	prefix string
}

// unrest names what is still going on.
func (w witness) unrest(ctx context.Context) ([]string, error) {
	list := contract.NewWorkflowList()
	var rws v1alpha1.RemoteWorkflowList
	var works workv1.ManifestWorkList
	if err := errors.Join(
		w.users.hub.List(ctx, list, client.InNamespace(namespace)),
		w.users.hub.List(ctx, &rws),
		w.users.hub.List(ctx, &works, client.HasLabels{contract.LabelDelivery}),
	); err != nil {
		return nil, err
	}
	var going []string
	for i := range list.Items {
		wf := &list.Items[i]
		if !strings.HasPrefix(wf.GetName(), w.prefix) {
			continue
		}
		if phase := contract.Phase(wf); !contract.IsFinished(phase) || wf.GetDeletionTimestamp() != nil || expires(wf, phase) {
			going = append(going, fmt.Sprintf("Workflow %s is %q with %q, deleted %v", wf.GetName(), phase,
				contract.StatusString(contract.Status(wf), "message"), wf.GetDeletionTimestamp()))
		}
	}
	for i := range rws.Items {
		if strings.HasPrefix(rws.Items[i].Name, w.prefix) && rws.Items[i].DeletionTimestamp != nil {
			going = append(going, "RemoteWorkflow "+rws.Items[i].Name+" is being deleted")
		}
	}
	for i := range works.Items {
		going = append(going, fmt.Sprintf("ManifestWork %s is there, deleted %v", works.Items[i].Name, works.Items[i].DeletionTimestamp))
	}
	return going, nil
}

// expires reports whether the ttlStrategy of a Workflow that has ended so is to delete it; all strategies are of seconds.
func expires(wf *unstructured.Unstructured, phase string) bool {
	strategy, _, _ := unstructured.NestedMap(wf.Object, "spec", "ttlStrategy")
	return strategy["secondsAfterCompletion"] != nil ||
		strategy["secondsAfterSuccess"] != nil && phase == "Succeeded" || strategy["secondsAfterFailure"] != nil && phase == "Failed"
}

// deleteAll deletes what is left of the Workflows on the hub.
func (w witness) deleteAll(ctx context.Context) error {
	return eventually(ctx, userPatience, func() error {
		return w.users.hub.DeleteAllOf(ctx, contract.NewWorkflow(), client.InNamespace(namespace))
	})
}

// leftovers names what there still is of any Workflow, anywhere.
func (w witness) leftovers(ctx context.Context) ([]string, error) {
	var left []string
	look := func(where string, c client.Client, list client.ObjectList, opts ...client.ListOption) error {
		if err := c.List(ctx, list, opts...); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("%s: %w", where, err)
		}
		raw, err := json.Marshal(list)
		if err != nil {
			return err
		}
		var found struct {
			Items []struct {
				Metadata struct {
					Name, Namespace, DeletionTimestamp string
					Finalizers                         []string
				}
			}
		}
		if err := json.Unmarshal(raw, &found); err != nil {
			return err
		}
		for _, item := range found.Items {
			m := item.Metadata
			if _, delivery := list.(*workv1.ManifestWorkList); !delivery && !strings.HasPrefix(m.Name, w.prefix) {
				continue
			}
			left = append(left, fmt.Sprintf("%s: %T %s/%s, deleted %q, finalizers %v",
				where, list, m.Namespace, m.Name, m.DeletionTimestamp, m.Finalizers))
		}
		return nil
	}
	tasks := &unstructured.UnstructuredList{}
	tasks.SetGroupVersionKind(contract.WorkflowTaskSetGVK.GroupVersion().WithKind("WorkflowTaskSetList"))
	errs := []error{
		look("hub", w.users.hub, tasks, client.InNamespace(namespace)),
		look("hub", w.users.hub, &corev1.PodList{}, client.InNamespace(namespace)),
		look("hub", w.users.hub, contract.NewWorkflowList(), client.InNamespace(namespace)),
		look("hub", w.users.hub, &v1alpha1.RemoteWorkflowList{}),
		look("hub", w.users.hub, &workv1.ManifestWorkList{}, client.HasLabels{contract.LabelDelivery}),
	}
	for name, c := range w.users.managed {
		results := &unstructured.UnstructuredList{}
		results.SetGroupVersionKind(contract.WorkflowGVK.GroupVersion().WithKind("WorkflowTaskResultList"))
		errs = append(errs,
			look(name, c, contract.NewWorkflowList(), client.InNamespace(namespace)),
			look(name, c, &corev1.PodList{}, client.InNamespace(namespace)),
			look(name, c, results, client.InNamespace(namespace)),
			w.leftoverApplied(ctx, name, c, &left),
		)
	}
	return left, errors.Join(errs...)
}

// deliveryPrefix begins the names of the ManifestWorks that carry Workflows.
const deliveryPrefix = "workflows-"

// leftoverApplied looks for what OCM's work agent remembers of our ManifestWorks.
func (w witness) leftoverApplied(ctx context.Context, name string, c client.Client, left *[]string) error {
	applied := &unstructured.UnstructuredList{}
	applied.SetGroupVersionKind(schema.GroupVersionKind{Group: workv1.GroupName, Version: "v1", Kind: "AppliedManifestWorkList"})
	if err := c.List(ctx, applied); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for i := range applied.Items {
		work, _, _ := unstructured.NestedString(applied.Items[i].Object, "spec", "manifestWorkName")
		if strings.HasPrefix(work, deliveryPrefix) {
			*left = append(*left, fmt.Sprintf("%s: AppliedManifestWork of %s, deleted %v", name, work, applied.Items[i].GetDeletionTimestamp()))
		}
	}
	return nil
}

// evidence reads what the pods have written down, and what etcd has ever held.
func (w witness) evidence(ctx context.Context) (verdict.Evidence, error) {
	e := verdict.Evidence{Subjects: w.users.subjects}
	var errs [3]error
	e.Journal, e.Pods, errs[0] = readJournal(theLab.Journal())
	e.Hub, errs[1] = history(ctx, theLab.Hub(), contract.WorkflowGVR.GroupResource())
	e.RemoteWorkflows, errs[2] = history(ctx, theLab.Hub(),
		schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "remoteworkflows"})
	for _, c := range theLab.Managed() {
		managed, err := history(ctx, c, contract.WorkflowGVR.GroupResource())
		if err != nil {
			return e, err
		}
		e.Managed = append(e.Managed, managed...)
	}
	return e, errors.Join(errs[:]...)
}

// readJournal returns the UIDs that each run has written down, each once, and how many pods have written.
func readJournal(path string) (journal map[string][]types.UID, pods map[string]int, err error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("nothing has run: %w", err)
	}
	journal, pods = map[string][]types.UID{}, map[string]int{}
	seen := map[string]bool{}
	for _, line := range strings.Split(strings.TrimSpace(string(raw)), "\n") {
		run, uid, ok := strings.Cut(line, " ")
		if !ok {
			return nil, nil, fmt.Errorf("a pod has written %q", line)
		}
		pods[run]++
		if !seen[line] {
			journal[run] = append(journal[run], types.UID(uid))
		}
		seen[line] = true
	}
	return journal, pods, nil
}

// history returns all states that objects of a resource have had.
func history(ctx context.Context, c *lab.Cluster, resource schema.GroupResource) ([]*unstructured.Unstructured, error) {
	versions, err := c.History(ctx, resource.Group+"/"+resource.Resource)
	if err != nil {
		return nil, err
	}
	var states []*unstructured.Unstructured
	for _, version := range versions {
		if version.Value == nil {
			continue
		}
		state := &unstructured.Unstructured{}
		if err := state.UnmarshalJSON(version.Value); err != nil {
			return nil, fmt.Errorf("%s at revision %d: %w", version.Key, version.Revision, err)
		}
		states = append(states, state)
	}
	return states, nil
}
