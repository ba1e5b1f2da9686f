package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/pager"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

const (
	// releaseQPS and releaseBurst bound the requests of a release, per second.
	releaseQPS, releaseBurst = 300, 600
	// releasedAtATime is how many Workflows are released at the same time.
	releasedAtATime = 16
)

// releaseRetries is for how long to try again when Argo writes a Workflow at the same time.
var releaseRetries = wait.Backoff{Steps: 10, Duration: 10 * time.Millisecond, Factor: 2, Jitter: 0.1}

// ReleaseOptions say which Workflows to release.
type ReleaseOptions struct {
	// HubID is the id of the hub that has sent them: the UID of its kube-system namespace. AllHubs is for those of every
	// hub, and needs no HubID.
	HubID   string
	AllHubs bool
	// ClusterName is the name of this managed cluster on the hub; "" is for all names.
	ClusterName string
	// Namespace is the agent's namespace on the managed cluster. Its Leases are there.
	Namespace string
	// Timeout is for how long to wait for the agent to stop.
	Timeout time.Duration
	// DryRun changes nothing.
	DryRun bool
}

// Validate returns an error that names the flags to correct.
func (o ReleaseOptions) Validate() error {
	switch {
	case o.AllHubs && o.HubID != "":
		return errors.New("--all-hubs and --hub-id exclude each other")
	case !o.AllHubs && o.HubID == "":
		return errors.New("--hub-id is required: the UID of the hub's namespace kube-system, which the Workflows have in annotation " +
			contract.AnnotationHubID + ". If the hub is lost, or this cluster has left all hubs, --all-hubs does without")
	case o.Namespace == "":
		return errors.New("--agent-namespace is required")
	case o.Timeout <= 0:
		return errors.New("--timeout must be positive")
	}
	return nil
}

// Release removes the agent's finalizer from the Workflows of a hub on the managed cluster, and the agent's Leases; what has never
// started it deletes, for only the agent would start it. It needs no hub, and changes nothing else: what runs goes on running. An
// agent that comes later goes on where the last one has stopped.
//
// The agent must not run meanwhile, or it would put the finalizers back: Release waits until it holds the Lease of the
// agent's leader. It writes a line for each Workflow, and a summary, to out, and returns an error if any is left.
func Release(ctx context.Context, managed *rest.Config, options ReleaseOptions, out io.Writer) error {
	if err := options.Validate(); err != nil {
		return err
	}
	r, kubeClient, err := newReleaser(managed, options, out)
	if err != nil {
		return err
	}
	if options.DryRun {
		return r.run(ctx)
	}
	return insteadOfAgent(ctx, kubeClient, options.Namespace, options.Timeout, r.run)
}

// releaser releases Workflows.
type releaser struct {
	client  client.Client
	options ReleaseOptions
	out     io.Writer
	// mutex guards out and left, the number of Workflows that could not be released.
	mutex sync.Mutex
	left  int
}

// newReleaser returns what releases Workflows, and a client for all else on the managed cluster.
func newReleaser(managed *rest.Config, options ReleaseOptions, out io.Writer) (*releaser, kubernetes.Interface, error) {
	managed = limited(managed, releaseQPS, releaseBurst)
	kubeClient, kubeErr := kubernetes.NewForConfig(managed)
	c, err := client.New(managed, client.Options{Mapper: mapperOf(contract.WorkflowGVK)})
	if err := errors.Join(kubeErr, err); err != nil {
		return nil, nil, fmt.Errorf("create clients: %w", err)
	}
	return &releaser{client: c, options: options, out: out}, kubeClient, nil
}

// run releases all Workflows that the options select.
func (r *releaser) run(ctx context.Context) error {
	selected, others, err := r.find(ctx)
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(releasedAtATime)
	for _, wf := range selected {
		group.Go(func() error {
			neverStarted := isLeftover(wf)
			r.tell(wf, neverStarted, r.release(ctx, wf))
			return nil
		})
	}
	_ = group.Wait() // nobody returns an error
	verb := "released"
	if r.options.DryRun {
		verb = "would release"
	}
	fmt.Fprintf(r.out, "%s %d Workflows; %d of other hubs or clusters are left alone\n", verb, len(selected)-r.left, others)
	if r.left > 0 {
		return fmt.Errorf("%d of %d Workflows could not be released: see the lines above, and run this again", r.left, len(selected))
	}
	return nil
}

// find returns the metadata of the Workflows to release, and how many others bear the finalizer.
func (r *releaser) find(ctx context.Context) (selected []*metav1.PartialObjectMetadata, others int, err error) {
	page := func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(contract.NewWorkflowList().GroupVersionKind())
		return list, r.client.List(ctx, list, client.Limit(options.Limit), client.Continue(options.Continue))
	}
	err = pager.New(page).EachListItem(ctx, metav1.ListOptions{}, func(obj runtime.Object) error {
		wf := obj.(*metav1.PartialObjectMetadata)
		wf.SetGroupVersionKind(contract.WorkflowGVK) // the API server calls it PartialObjectMetadata
		if r.selects(wf) {
			selected = append(selected, wf)
		} else if controllerutil.ContainsFinalizer(wf, contract.FinalizerReport) {
			others++
		}
		return nil
	})
	if apierrors.IsNotFound(err) {
		fmt.Fprintln(r.out, "this cluster has no Argo Workflows")
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("list Workflows: %w", err)
	}
	return selected, others, nil
}

// selects reports whether a Workflow is to be released. One that was robbed of its label is still its hub's.
func (r *releaser) selects(wf *metav1.PartialObjectMetadata) bool {
	cluster := wf.Labels[contract.LabelCluster]
	return (controllerutil.ContainsFinalizer(wf, contract.FinalizerReport) || isLeftover(wf)) &&
		(r.options.AllHubs || wf.Annotations[contract.AnnotationHubID] == r.options.HubID) &&
		(r.options.ClusterName == "" || cluster == "" || cluster == r.options.ClusterName)
}

// release removes the finalizer from one Workflow, provided that it is as it was read; if it is not, it is read again.
func (r *releaser) release(ctx context.Context, wf *metav1.PartialObjectMetadata) error {
	if r.options.DryRun {
		return nil
	}
	uid := wf.UID
	err := retry.RetryOnConflict(releaseRetries, func() error {
		if wf.UID != uid || !r.selects(wf) {
			return nil
		}
		err := r.removeOrPatch(ctx, wf)
		if apierrors.IsConflict(err) {
			if err := r.client.Get(ctx, client.ObjectKeyFromObject(wf), wf); err != nil {
				return err
			}
		}
		return err
	})
	return client.IgnoreNotFound(err)
}

// removeOrPatch removes the finalizer from a Workflow, or deletes one that has never started.
func (r *releaser) removeOrPatch(ctx context.Context, wf *metav1.PartialObjectMetadata) error {
	before := wf.DeepCopy()
	if controllerutil.RemoveFinalizer(wf, contract.FinalizerReport) {
		return r.client.Patch(ctx, wf, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	}
	whole := contract.NewWorkflow()
	if err := r.client.Get(ctx, client.ObjectKeyFromObject(wf), whole); err != nil {
		return err
	}
	if len(contract.Status(whole)) > 0 {
		return errors.New("it has a status, though neither a finalizer nor a label with its phase")
	}
	return r.client.Delete(ctx, wf, client.Preconditions{UID: &wf.UID, ResourceVersion: &wf.ResourceVersion})
}

// tell writes the line of one Workflow.
func (r *releaser) tell(wf *metav1.PartialObjectMetadata, neverStarted bool, err error) {
	what := "released"
	if neverStarted {
		what = "removed: it has never started"
	}
	switch {
	case err != nil:
		what = "not released: " + err.Error()
	case r.options.DryRun:
		what = "would be " + what
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if err != nil {
		r.left++
	}
	fmt.Fprintf(r.out, "%s/%s: %s\n", wf.Namespace, wf.Name, what)
}

// isLeftover reports whether a Workflow is as a hub has sent it, so far as its metadata show: Argo labels with the phase what has run.
func isLeftover(wf *metav1.PartialObjectMetadata) bool {
	return wf.Labels[contract.LabelInstanceID] == contract.InstanceIDGate && wf.Labels[contract.LabelPhase] == "" &&
		wf.Annotations[contract.AnnotationHubID] != "" && wf.DeletionTimestamp == nil &&
		!controllerutil.ContainsFinalizer(wf, contract.FinalizerReport)
}
