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
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
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

// deleteAll deletes what is left of the Workflows on the hub, but for those of steps: they have to go with their parents.
func (w witness) deleteAll(ctx context.Context) error {
	ofNoStep, err := labels.NewRequirement(contract.LabelParent, selection.DoesNotExist, nil)
	if err != nil {
		return err
	}
	selector := client.MatchingLabelsSelector{Selector: labels.NewSelector().Add(*ofNoStep)}
	return eventually(ctx, userPatience, func() error {
		return w.users.hub.DeleteAllOf(ctx, contract.NewWorkflow(), client.InNamespace(namespace), selector)
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
	errs := []error{
		look("hub", w.users.hub, contract.NewWorkflowList(), client.InNamespace(namespace)),
		look("hub", w.users.hub, &v1alpha1.RemoteWorkflowList{}),
		look("hub", w.users.hub, &workv1.ManifestWorkList{}, client.HasLabels{contract.LabelDelivery}),
		look("hub", w.users.hub, listOf(contract.WorkflowTaskSetGVK.Kind), client.InNamespace(namespace)),
		look("hub", w.users.hub, &corev1.PodList{}, client.InNamespace(namespace)),
	}
	for name, c := range w.users.managed {
		errs = append(errs,
			look(name, c, contract.NewWorkflowList(), client.InNamespace(namespace)),
			look(name, c, &corev1.PodList{}, client.InNamespace(namespace)),
			look(name, c, listOf("WorkflowTaskResult"), client.InNamespace(namespace)),
			look(name, c, listOf(contract.WorkflowTaskSetGVK.Kind), client.InNamespace(namespace)),
			w.leftoverApplied(ctx, name, c, &left),
		)
	}
	return left, errors.Join(errs...)
}

// listOf returns a list of objects of one of Argo's kinds.
func listOf(kind string) client.ObjectList {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(contract.WorkflowGVK.GroupVersion().WithKind(kind + "List"))
	return list
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
	var errs [4]error
	errs[0] = readJournal(theLab.Journal(), &e)
	e.TaskSets, errs[3] = history(ctx, theLab.Hub(), schema.GroupResource{Group: contract.WorkflowGVK.Group, Resource: "workflowtasksets"})
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

// readJournal adds to the evidence what the pods have written down: each UID of a run once, and how many pods have written.
func readJournal(path string, e *verdict.Evidence) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("nothing has run: %w", err)
	}
	e.Journal, e.Pods = map[string][]types.UID{}, map[string]int{}
	seen := map[string]bool{}
	for _, line := range strings.Split(strings.TrimSpace(string(raw)), "\n") {
		fields := strings.Fields(line)
		switch len(fields) {
		case 2:
			run, uid := fields[0], types.UID(fields[1])
			e.Pods[run]++
			if !seen[line] {
				e.Journal[run] = append(e.Journal[run], uid)
			}
		case 4:
			e.StepPods = append(e.StepPods, verdict.StepPod{Run: fields[0], Try: fields[1], Child: fields[2], Pod: types.UID(fields[3])})
		default:
			return fmt.Errorf("a pod has written %q", line)
		}
		seen[line] = true
	}
	return nil
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
