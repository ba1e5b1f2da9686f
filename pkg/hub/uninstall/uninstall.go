// Package uninstall takes the product from a hub, and leaves users their Workflows. It stops the manager, so that nobody undoes
// what follows; then it ends the hub's part in all attempts, as long as there are agents to answer; and last it removes the
// addons, with their pre-delete hooks. See docs/decisions/0004-uninstall.md.
//
// What it has done it finds done when it runs again: each step is derived from the objects.
package uninstall

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/pager"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
)

const (
	// pollInterval is how often it is looked whether somebody else has done his part.
	pollInterval = time.Second
	// concurrency is the number of Workflows that are worked on at a time.
	concurrency = 16
	// maxErrors is of how many of them an error speaks.
	maxErrors = 10
	// lateShare is the share of the time that is left, for what then remains to be done without the clusters that have not answered.
	lateShare = 0.5
)

// finalizersMayBeLeft is what is said of a cluster whose agent has not answered.
const finalizersMayBeLeft = "cluster %s has not answered in time: Workflows there may keep the agent's finalizer. When it is back, " +
	"run there: argo-multicluster agent release --hub-id %s"

// Options say what is uninstalled, and how.
type Options struct {
	// Deployment is that of the manager. Without a name nobody is stopped.
	Deployment types.NamespacedName
	// Lease is the name of the Lease by which the manager's replicas elect a leader, in the namespace of the Deployment.
	Lease string
	// HubID is the UID of the hub's kube-system namespace.
	HubID string
	// Timeout bounds all of it.
	Timeout time.Duration
	// DryRun says what would be done, and does nothing.
	DryRun bool
	// Out takes the progress: a line for each thing.
	Out io.Writer
	// RunAddons plays the manager's part in the removal of the addons: OCM's addon framework, until the context ends.
	RunAddons func(context.Context) error
}

// Validate returns an error that names the flags to correct.
func (o Options) Validate() error {
	var errs []error
	if (o.Deployment.Name == "") != (o.Deployment.Namespace == "") {
		errs = append(errs, errors.New("--deployment: want <namespace>/<name>"))
	}
	if o.Timeout <= 0 {
		errs = append(errs, errors.New("--timeout must be positive"))
	}
	return errors.Join(errs...)
}

// Run uninstalls. c reads from the hub's API server itself, not from a cache. The error says what could not be done, and what is
// to be done about it; what is done all the same is said on options.Out.
func Run(ctx context.Context, c client.Client, options Options) error {
	if err := options.Validate(); err != nil {
		return err
	}
	if options.DryRun {
		c = readOnly{c}
	}
	return (&uninstaller{client: c, options: options, interval: pollInterval, attemptsShare: 0.45, addonsShare: 0.9}).run(ctx)
}

// readOnly is a client that writes nothing.
type readOnly struct{ client.Client }

// Patch implements client.Writer.
func (readOnly) Patch(context.Context, client.Object, client.Patch, ...client.PatchOption) error {
	return nil
}

// Delete implements client.Writer.
func (readOnly) Delete(context.Context, client.Object, ...client.DeleteOption) error { return nil }

type uninstaller struct {
	client   client.Client
	options  Options
	interval time.Duration
	// attemptsShare and addonsShare are for how much of the time that is then left clusters are waited for.
	attemptsShare, addonsShare float64
	// enabled has the addons, by cluster and name, that were enabled before that was changed.
	enabled map[client.ObjectKey]bool

	mu       sync.Mutex
	problems []string
}

func (u *uninstaller) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, u.options.Timeout, fmt.Errorf("not done within --timeout=%s", u.options.Timeout))
	defer cancel()
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"stop the manager", u.stopManager},
		{"leave the Workflows", u.leave},
		{"remove the addons", u.removeAddons},
	} {
		if err := step.do(ctx); err != nil {
			if ctx.Err() != nil {
				err = errors.Join(context.Cause(ctx), err)
			}
			return fmt.Errorf("%s: %w; nothing is lost by running it again", step.what, errors.Join(err, u.result()))
		}
	}
	return u.result()
}

// say tells of one thing that is done, or would be.
func (u *uninstaller) say(format string, args ...any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.options.DryRun {
		format = "(dry run) " + format
	}
	fmt.Fprintf(u.options.Out, format+"\n", args...)
}

// complain tells of something that could not be done, now and at the end, but not twice.
func (u *uninstaller) complain(format string, args ...any) {
	problem := fmt.Sprintf(format, args...)
	u.mu.Lock()
	known := slices.Contains(u.problems, problem)
	if !known {
		u.problems = append(u.problems, problem)
	}
	u.mu.Unlock()
	if !known {
		u.say("%s", problem)
	}
}

// result returns an error that lists what could not be done.
func (u *uninstaller) result() error {
	if len(u.problems) == 0 {
		return nil
	}
	return errors.New("not all could be done:\n- " + strings.Join(u.problems, "\n- "))
}

// poll calls do until it is done, without an error, or until this share of the time that is left has passed: then it returns the
// last error of do, or one that says that it was not done.
func (u *uninstaller) poll(ctx context.Context, share float64, do func(context.Context) (bool, error)) error {
	deadline, _ := ctx.Deadline()
	patience := time.Duration(share * float64(time.Until(deadline)))
	var last error
	err := wait.PollUntilContextTimeout(ctx, u.interval, patience, true, func(ctx context.Context) (bool, error) {
		done, err := do(ctx)
		if last == nil || ctx.Err() == nil { // that the time is over is not what has kept it from being done
			last = err
		}
		return done && err == nil, nil
	})
	if err != nil && last != nil {
		return last
	}
	return err
}

// list returns all objects of the kind of an empty list, read page by page. A kind that the hub does not serve has none.
func list[T client.Object](ctx context.Context, c client.Reader, empty client.ObjectList, opts ...client.ListOption) ([]T, error) {
	var items []T
	pages := pager.New(func(ctx context.Context, page metav1.ListOptions) (runtime.Object, error) {
		list, _ := empty.DeepCopyObject().(client.ObjectList)
		return list, c.List(ctx, list, append(slices.Clone(opts), client.Limit(page.Limit), client.Continue(page.Continue))...)
	})
	err := pages.EachListItem(ctx, metav1.ListOptions{}, func(obj runtime.Object) error {
		if rw, ok := obj.(*v1alpha1.RemoteWorkflow); ok {
			rw.Status.Report = nil // it can be large, and is not needed
		}
		items = append(items, obj.(T))
		return nil
	})
	if err != nil && !isNotServed(err) {
		return nil, fmt.Errorf("list %T: %w", *new(T), err)
	}
	return items, nil
}

// forEach does something to each, several at a time. The error joins the first of theirs.
func forEach[T any](ctx context.Context, items []T, do func(T) error) error {
	errs := make([]error, len(items))
	workqueue.ParallelizeUntil(ctx, concurrency, len(items), func(i int) { errs[i] = do(items[i]) })
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	return errors.Join(errors.Join(errs[:min(len(errs), maxErrors)]...), ctx.Err())
}

// metadata returns the metadata of all objects of a kind.
func (u *uninstaller) metadata(ctx context.Context, apiVersion, kind string, opts ...client.ListOption) (
	[]*metav1.PartialObjectMetadata, error,
) {
	empty := &metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: apiVersion, Kind: kind + "List"}}
	return list[*metav1.PartialObjectMetadata](ctx, u.client, empty, opts...)
}

// isNotServed reports whether an error says that there is no such object, or not even the kind of it.
func isNotServed(err error) bool {
	return meta.IsNoMatchError(err) || apierrors.IsNotFound(err)
}
