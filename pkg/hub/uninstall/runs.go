package uninstall

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
)

const (
	// applyRetry is after how long a work agent that has not let go of a copy is asked again: a run that becomes complete at
	// the wrong moment makes it overlook the change.
	applyRetry = 15 * time.Second
	// maxLatePasses is how often what an API error has kept from being done is tried again once nobody is waited for any more.
	maxLatePasses = 5
)

// parting is a Workflow on its way to be left without its runs.
type parting struct {
	workflow v1alpha1.WorkflowReference
	runs     []*progress
	decided  bool
	done     bool
	err      error
}

// progress is how far a run has come.
type progress struct {
	run
	// asked is when the work agent was last asked to let go of the copy; refused is whether it then held it for complete.
	asked   time.Time
	refused bool
	// configs are those of the ManifestWork before it was changed.
	configs []workv1.ManifestConfigOption
}

// leaveRuns parts all Workflows from their runs. Work agents that do not answer are waited for only so long: what they have yet
// to do stays on the hub, in a form that ends no run.
func (u *uninstaller) leaveRuns(ctx context.Context) error {
	until := after(ctx, runsShare)
	partings, err := u.partings(ctx)
	if err != nil {
		return err
	}
	withoutArgo, err := u.clustersOf(ctx, contract.ArgoAddonName)
	if err != nil {
		return err
	}
	for latePasses := 0; ; {
		late := !time.Now().Before(until)
		if late {
			latePasses++
		}
		u.pass(ctx, partings, withoutArgo, late)
		partings = slices.DeleteFunc(partings, func(p *parting) bool { return p.done })
		if len(partings) == 0 {
			return nil
		}
		if latePasses == maxLatePasses {
			return errorsOf(partings)
		}
		if err := u.wait(ctx); err != nil {
			return errors.Join(err, errorsOf(partings))
		}
		if err := u.refresh(ctx, partings); err != nil {
			return errors.Join(err, errorsOf(partings))
		}
	}
}

// errorsOf returns what has kept Workflows from being parted from their runs.
func errorsOf(partings []*parting) error {
	var errs []error
	for _, p := range partings {
		if p.err != nil {
			errs = append(errs, fmt.Errorf("Workflow %s/%s: %w", p.workflow.Namespace, p.workflow.Name, p.err))
		}
	}
	return errors.Join(errs...)
}

// pass does for each Workflow what can be done now.
func (u *uninstaller) pass(ctx context.Context, partings []*parting, withoutArgo map[string]bool, late bool) {
	group := errgroup.Group{}
	group.SetLimit(concurrency)
	for _, p := range partings {
		group.Go(func() error {
			p.done, p.err = u.part(ctx, p, withoutArgo, late)
			return nil
		})
	}
	_ = group.Wait() // each has its own error
}

// partings finds the Workflows that are ours, or were, and their runs, which may have outlived them.
func (u *uninstaller) partings(ctx context.Context) ([]*parting, error) {
	byUID, runs := map[types.UID]*parting{}, map[client.ObjectKey]*progress{}
	of := func(ref v1alpha1.WorkflowReference) *parting {
		if byUID[ref.UID] == nil {
			byUID[ref.UID] = &parting{workflow: ref}
		}
		return byUID[ref.UID]
	}
	runOf := func(key client.ObjectKey, ref v1alpha1.WorkflowReference) *progress {
		if runs[key] == nil {
			runs[key] = &progress{run: run{key: key}}
			p := of(ref)
			p.runs = append(p.runs, runs[key])
		}
		return runs[key]
	}
	err := errors.Join(
		each(ctx, u.client, &v1alpha1.RemoteWorkflowList{}, func(list *v1alpha1.RemoteWorkflowList) {
			for i := range list.Items {
				rw := &list.Items[i]
				rw.Status.Report = nil // it can be large, and is not needed
				runOf(client.ObjectKeyFromObject(rw), rw.Spec.WorkflowRef).rw = rw
			}
		}),
		each(ctx, u.client, &workv1.ManifestWorkList{}, func(list *workv1.ManifestWorkList) {
			for i := range list.Items {
				work := &list.Items[i]
				work.Spec.Workload = workv1.ManifestsTemplate{} // nor is this
				runOf(client.ObjectKeyFromObject(work), v1alpha1.WorkflowReference{
					Namespace: work.Annotations[contract.AnnotationHubNamespace],
					Name:      work.Annotations[contract.AnnotationHubName],
					UID:       types.UID(work.Labels[contract.LabelWorkflowUID]),
				}).work = work
			}
		}, client.HasLabels{contract.LabelWorkflowUID}),
		each(ctx, u.metadata, workflowMetadata(), func(list *metav1.PartialObjectMetadataList) {
			for _, wf := range list.Items {
				_, labelled := wf.Labels[contract.LabelEnable]
				if labelled || slices.Contains(wf.Finalizers, contract.FinalizerDispatch) {
					of(v1alpha1.WorkflowReference{Namespace: wf.Namespace, Name: wf.Name, UID: wf.UID})
				}
			}
		}),
	)
	partings := make([]*parting, 0, len(byUID))
	for _, p := range byUID {
		partings = append(partings, p)
	}
	return partings, err
}

func workflowMetadata() *metav1.PartialObjectMetadataList {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(contract.WorkflowGVK.GroupVersion().WithKind(contract.WorkflowGVK.Kind + "List"))
	return list
}

// refresh reads again what the work agents may have changed.
func (u *uninstaller) refresh(ctx context.Context, partings []*parting) error {
	works := map[client.ObjectKey]*workv1.ManifestWork{}
	err := each(ctx, u.client, &workv1.ManifestWorkList{}, func(list *workv1.ManifestWorkList) {
		for i := range list.Items {
			list.Items[i].Spec.Workload = workv1.ManifestsTemplate{}
			works[client.ObjectKeyFromObject(&list.Items[i])] = &list.Items[i]
		}
	}, client.HasLabels{contract.LabelWorkflowUID})
	if err != nil {
		return err
	}
	for _, p := range partings {
		for _, r := range p.runs {
			r.work = works[r.key]
		}
	}
	return nil
}

// clustersOf returns on which clusters an addon is enabled.
func (u *uninstaller) clustersOf(ctx context.Context, addon string) (map[string]bool, error) {
	clusters := map[string]bool{}
	return clusters, each(ctx, u.client, &addonv1beta1.ManagedClusterAddOnList{}, func(list *addonv1beta1.ManagedClusterAddOnList) {
		for _, found := range list.Items {
			clusters[found.Namespace] = true
		}
	}, named(addon))
}

// part does the next steps with a Workflow, and reports whether there are none any more. late is whether nobody is waited for.
func (u *uninstaller) part(ctx context.Context, p *parting, withoutArgo map[string]bool, late bool) (bool, error) {
	if !p.decided {
		if err := u.decide(ctx, p, withoutArgo); err != nil || u.options.DryRun {
			return err == nil, err
		}
	}
	for _, r := range p.runs {
		if ready, err := u.await(ctx, r); err != nil || (!ready && !late) {
			return false, err
		}
	}
	for _, r := range p.runs {
		if err := u.clear(ctx, p, r); err != nil {
			return false, err
		}
	}
	return true, u.free(ctx, p)
}

// decide settles the fate of each run, and begins with it. What may have started is said on the Workflow first: from then on
// nobody takes it for one that has not, whatever becomes of its runs.
func (u *uninstaller) decide(ctx context.Context, p *parting, withoutArgo map[string]bool) error {
	wf, err := u.get(ctx, p)
	if err != nil {
		return err
	}
	for _, r := range p.runs {
		r.fate = decide(wf, &r.run)
		u.announce(p, r)
	}
	if u.options.DryRun {
		return nil
	}
	if left := endOf(wf, runsOf(p)); wf != nil && left != unstarted {
		if err := u.write(ctx, wf, left, withoutArgo); err != nil {
			return err
		}
	}
	for _, r := range p.runs {
		if r.fate == keep {
			err = u.letGo(ctx, r)
		} else {
			err = u.remove(ctx, r)
		}
		if err != nil {
			return err
		}
	}
	p.decided = true
	return nil
}

func (u *uninstaller) announce(p *parting, r *progress) {
	what := "is removed from cluster %s: it has not started, or is gone already"
	if r.fate == keep {
		what = "stays on cluster %s"
	}
	u.say("Workflow %s/%s: its copy "+what, p.workflow.Namespace, p.workflow.Name, r.key.Namespace)
}

func runsOf(p *parting) []*run {
	runs := make([]*run, 0, len(p.runs))
	for _, r := range p.runs {
		runs = append(runs, &r.run)
	}
	return runs
}

// get returns the Workflow, nil if it is gone.
func (u *uninstaller) get(ctx context.Context, p *parting) (*unstructured.Unstructured, error) {
	wf := contract.NewWorkflow()
	err := u.client.Get(ctx, client.ObjectKey{Namespace: p.workflow.Namespace, Name: p.workflow.Name}, wf)
	if isNotServed(err) || (err == nil && wf.GetUID() != p.workflow.UID) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get Workflow: %w", err)
	}
	return wf, nil
}

// write says on the Workflow how it is left.
func (u *uninstaller) write(ctx context.Context, wf *unstructured.Unstructured, left end, withoutArgo map[string]bool) error {
	status := statusOf(wf, left, withoutArgo[contract.AssignedCluster(wf)])
	if status == nil || isDeleted(wf) {
		return nil
	}
	written, err := hubcopy.Write(ctx, u.client, wf, status)
	if err != nil {
		return err
	}
	if written != "" {
		wf.SetResourceVersion(written)
	}
	return nil
}

// letGo tells the work agent to leave the copy behind.
func (u *uninstaller) letGo(ctx context.Context, r *progress) error {
	if r.work == nil || isDeleted(r.work) {
		return nil
	}
	changed := r.work.DeepCopy()
	r.configs = r.work.DeepCopy().Spec.ManifestConfigs
	orphan(changed)
	r.asked, r.refused = time.Now(), isComplete(r.work)
	if err := u.client.Patch(ctx, changed, client.MergeFrom(r.work)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("change ManifestWork %s: %w", r.key, err)
	}
	r.work = changed
	return nil
}

// remove begins to remove a copy. The RemoteWorkflow's deletion is the agent's sign not to start it, and comes first: it fails,
// and the fate is to be decided anew, if the agent was faster.
func (u *uninstaller) remove(ctx context.Context, r *progress) error {
	if r.rw != nil && !isDeleted(r.rw) {
		err := u.client.Delete(ctx, r.rw, client.Preconditions{UID: &r.rw.UID, ResourceVersion: &r.rw.ResourceVersion})
		if apierrors.IsConflict(err) {
			return errors.Join(err, u.reread(ctx, r))
		}
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete RemoteWorkflow %s: %w", r.key, err)
		}
	}
	return u.deleteWork(ctx, r)
}

// reread reads a RemoteWorkflow again.
func (u *uninstaller) reread(ctx context.Context, r *progress) error {
	rw := &v1alpha1.RemoteWorkflow{}
	switch err := u.client.Get(ctx, r.key, rw); {
	case apierrors.IsNotFound(err):
		r.rw = nil
	case err != nil:
		return fmt.Errorf("get RemoteWorkflow %s: %w", r.key, err)
	default:
		r.rw = rw
	}
	return nil
}

func (u *uninstaller) deleteWork(ctx context.Context, r *progress) error {
	if r.work == nil || isDeleted(r.work) {
		return nil
	}
	err := u.client.Delete(ctx, r.work, client.Preconditions{UID: &r.work.UID})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete ManifestWork %s: %w", r.key, err)
	}
	return nil
}

// await reports whether the work agent has done its part: the ManifestWork is gone, and before that the copy was let go. It
// reminds the work agent.
func (u *uninstaller) await(ctx context.Context, r *progress) (bool, error) {
	switch {
	case r.work == nil:
		return true, nil
	case isDeleted(r.work) || r.fate == remove:
		return false, nil
	case isLetGo(r.work):
		return false, u.deleteWork(ctx, r)
	case isComplete(r.work):
		r.refused = true
		return false, nil
	case !r.refused && time.Since(r.asked) < applyRetry:
		return false, nil
	}
	// A change of a label makes the work agent look again at once.
	changed := r.work.DeepCopy()
	metav1.SetMetaDataLabel(&changed.ObjectMeta, contract.LabelApplyRetried, strconv.FormatInt(time.Now().Unix(), 10))
	r.asked, r.refused = time.Now(), false
	if err := u.client.Patch(ctx, changed, client.MergeFrom(r.work)); client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("label ManifestWork %s: %w", r.key, err)
	}
	return false, nil
}

// clear removes what the hub has of a run. A ManifestWork that nobody has answered for stays: with it, its copy would end.
func (u *uninstaller) clear(ctx context.Context, p *parting, r *progress) error {
	switch {
	case r.work == nil:
	case r.fate == remove || isDeleted(r.work) || isLetGo(r.work):
		u.complain(
			"cluster %s does not answer: ManifestWorks whose Workflows have not started there, or have been let go, are still being deleted; "+
				"they go when the cluster is back, or with it when it is detached",
			r.key.Namespace,
		)
	default:
		u.complain(
			"cluster %s does not answer: ManifestWorks of Workflows that may run there are left, for to delete them now would end the runs. "+
				"Uninstall again when the cluster is back (argo-multicluster hub uninstall); they also go when it is detached. "+
				"They are: kubectl get manifestworks -n %[1]s -l %s",
			r.key.Namespace,
			contract.LabelWorkflowUID,
		)
		if err := u.restoreRules(ctx, r); err != nil {
			return err
		}
	}
	if err := u.releaseRemoteWorkflow(ctx, r); err != nil {
		return err
	}
	u.say("Workflow %s/%s: parted from its run on cluster %s", p.workflow.Namespace, p.workflow.Name, r.key.Namespace)
	return nil
}

// restoreRules lets a ManifestWork that stays be complete again when its run has finished: the work agent would else create the
// copy again whenever it is removed, and where no agent starts it, it would run again.
func (u *uninstaller) restoreRules(ctx context.Context, r *progress) error {
	changed := r.work.DeepCopy()
	changed.Spec.ManifestConfigs = r.configs
	if err := u.client.Patch(ctx, changed, client.MergeFrom(r.work)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("change ManifestWork %s: %w", r.key, err)
	}
	return nil
}

// releaseRemoteWorkflow deletes the RemoteWorkflow, and does not keep it any longer.
func (u *uninstaller) releaseRemoteWorkflow(ctx context.Context, r *progress) error {
	if r.rw == nil {
		return nil
	}
	if !isDeleted(r.rw) {
		if err := u.client.Delete(ctx, r.rw, client.Preconditions{UID: &r.rw.UID}); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete RemoteWorkflow %s: %w", r.key, err)
		}
	}
	if err := u.reread(ctx, r); err != nil || r.rw == nil {
		return err
	}
	released := r.rw.DeepCopy()
	released.Finalizers = slices.DeleteFunc(released.Finalizers, func(f string) bool { return f == contract.FinalizerDispatch })
	err := u.client.Patch(ctx, released, client.MergeFromWithOptions(r.rw, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("release RemoteWorkflow %s: %w", r.key, err)
	}
	return nil
}

// free lets the Workflow go from our finalizer. One that has not started is ready to be given a cluster anew.
func (u *uninstaller) free(ctx context.Context, p *parting) error {
	wf, err := u.get(ctx, p)
	if err != nil || wf == nil {
		return err
	}
	left := endOf(wf, runsOf(p))
	if err := u.write(ctx, wf, left, nil); err != nil {
		return err
	}
	if left == unstarted && !isDeleted(wf) && contract.AssignedCluster(wf) != "" {
		return hubcopy.Unassign(ctx, u.client, wf)
	}
	return hubcopy.Release(ctx, u.client, wf)
}
