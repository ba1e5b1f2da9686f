// Package uninstall takes the product from a hub, and leaves users their Workflows. It stops the manager, so that nobody undoes
// what follows; then it parts the Workflows from their runs, as long as OCM's work agents still have the rights that came with
// the addon; and last it removes the addons, with their pre-delete hooks. See docs/decisions/0004-uninstall.md.
//
// What it has done it finds done when it runs again.
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
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

const (
	// pollInterval is how often it is looked whether somebody else has done his part.
	pollInterval = time.Second
	// pageSize is the number of objects that one answer of the API server holds.
	pageSize = 500
	// concurrency is the number of Workflows that are worked on at a time.
	concurrency = 16
)

// Shares of the time that is left when a step begins, after which it no longer waits for managed clusters.
const (
	runsShare   = 0.45
	addonsShare = 0.9
)

// addonNames are the product's addons.
var addonNames = []string{contract.AddonName, contract.ArgoAddonName}

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
	return (&uninstaller{client: c, metadata: c, options: options, interval: pollInterval}).run(ctx)
}

type uninstaller struct {
	client client.Client
	// metadata lists the metadata of Workflows.
	metadata client.Reader
	options  Options
	interval time.Duration

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
		{"part the Workflows from their runs", u.leaveRuns},
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

// complain tells of something that could not be done, now and at the end.
func (u *uninstaller) complain(format string, args ...any) {
	problem := fmt.Sprintf(format, args...)
	u.say("%s", problem)
	u.mu.Lock()
	defer u.mu.Unlock()
	if !slices.Contains(u.problems, problem) {
		u.problems = append(u.problems, problem)
	}
}

// result returns an error that lists what could not be done.
func (u *uninstaller) result() error {
	if len(u.problems) == 0 {
		return nil
	}
	return errors.New("not all could be done:\n- " + strings.Join(u.problems, "\n- "))
}

// wait returns after the interval, or with an error when the context ends.
func (u *uninstaller) wait(ctx context.Context) error {
	timer := time.NewTimer(u.interval)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// after returns the moment when this share of the time that is left has passed.
func after(ctx context.Context, share float64) time.Time {
	deadline, _ := ctx.Deadline()
	left := time.Until(deadline)
	return time.Now().Add(time.Duration(share * float64(left)))
}

// each lists all objects of the kind of an empty list, page by page, and visits each page. A kind that the hub does not serve
// has none.
func each[L client.ObjectList](ctx context.Context, c client.Reader, empty L, visit func(L), opts ...client.ListOption) error {
	for token := ""; ; {
		page, _ := empty.DeepCopyObject().(L)
		err := c.List(ctx, page, append(slices.Clone(opts), client.Limit(pageSize), client.Continue(token))...)
		if isNotServed(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list %T: %w", page, err)
		}
		visit(page)
		if token = page.GetContinue(); token == "" {
			return nil
		}
	}
}

// isNotServed reports whether an error says that there is no such object, or not even the kind of it.
func isNotServed(err error) bool {
	return meta.IsNoMatchError(err) || apierrors.IsNotFound(err)
}
