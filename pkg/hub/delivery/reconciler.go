// Package delivery brings the Workflows that wait for a cluster there. It is the only writer of ManifestWorks while the product
// is installed.
//
// A ManifestWork is not where a Workflow lives but how it gets to its cluster: OCM's work agent creates what it lists, gated, and as soon
// as the agent has claimed all of that, the ManifestWork is deleted. It is told to leave behind what it has created (Orphan), so that
// deleting it ends nothing. A cluster without agent is the exception: there the ManifestWork of a Workflow stays, and owns it.
package delivery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	workv1 "open-cluster-management.io/api/work/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/manifestwork"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/report"
)

const (
	// readers is the number of Workflows that are read at a time for one delivery.
	readers = 16
	// refusedRetry is when to look again at Workflows that are not delivered as they are, or whose delivery the API server refuses.
	refusedRetry = 15 * time.Second
	// expectationTimeout is how long the cache gets to show a delivery that was just created. It bounds the case that it never does.
	expectationTimeout = 10 * time.Second
)

// Reconciler delivers, one cluster at a time. It has no state but hints, which keep it from listing twice what the cache does not show
// yet; listing twice does no harm.
type Reconciler struct {
	Client client.Client
	// Live reads from the API server. What is delivered is decided by what it says.
	Live  client.Reader
	Clock clock.PassiveClock
	// HubID is the UID of the hub's kube-system namespace.
	HubID string
	// Refused takes what the API server has against delivering the Workflow of a RemoteWorkflow; "" withdraws that.
	Refused func(rw *v1alpha1.RemoteWorkflow, message string)

	mu           sync.Mutex
	expectations map[string][]expectation
	// refusals are the RemoteWorkflows whose Workflow could not be delivered lately, by cluster and UID.
	refusals map[string]map[types.UID]refusal
}

// refusal is a Workflow that is not delivered as it is, or whose delivery the API server refuses.
type refusal struct {
	rw *v1alpha1.RemoteWorkflow
	// until is when it is tried again.
	until time.Time
}

// expectation is a delivery that was created, and that the cache does not show yet.
type expectation struct {
	work  types.UID
	carry map[types.UID]bool
	until time.Time
}

// Reconcile brings the deliveries of one cluster up to what waits for it. While a delivery is being created, what arrives waits for the
// next: so deliveries are the larger the busier the hub is, and a single Workflow goes at once. A delivery that cannot be changed holds up
// no other.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	tenants := r.tenantsOf(req.Name)
	s, err := r.snapshot(ctx, req.Name, tenants)
	if err != nil {
		return ctrl.Result{}, err
	}
	p := plan(s)
	var errs []error
	for _, change := range p.changes {
		errs = append(errs, r.change(ctx, change))
	}
	undelivered, err := r.deliver(ctx, tenants, p.missing)
	if err := errors.Join(append(errs, err)...); err != nil {
		return ctrl.Result{}, err
	}
	switch {
	case undelivered:
		return ctrl.Result{RequeueAfter: sooner(p.within, refusedRetry)}, nil
	case len(p.missing) > 0 || len(s.expected) > 0:
		return ctrl.Result{RequeueAfter: sooner(p.within, expectationTimeout)}, nil
	}
	return ctrl.Result{RequeueAfter: p.within}, nil
}

// sooner returns the shorter of two waits, of which zero is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// snapshot reads.
func (r *Reconciler) snapshot(ctx context.Context, cluster string, tenants *tenants) (*snapshot, error) {
	s := &snapshot{
		now: r.Clock.Now(), wanted: map[types.UID]*v1alpha1.RemoteWorkflow{}, rebound: map[types.UID]bool{}, listed: map[types.UID]bool{},
	}
	var waiting v1alpha1.RemoteWorkflowList
	if err := r.Client.List(ctx, &waiting, client.InNamespace(cluster), client.MatchingFields{indexWaiting: ""},
		client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list RemoteWorkflows: %w", err)
	}
	for i := range waiting.Items {
		s.wanted[waiting.Items[i].UID] = &waiting.Items[i]
	}
	var works workv1.ManifestWorkList
	if err := r.Client.List(ctx, &works, client.InNamespace(cluster), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list ManifestWorks: %w", err)
	}
	shown := map[types.UID]bool{}
	for i := range works.Items {
		work := &works.Items[i]
		shown[work.UID] = true
		s.list(work)
		if !work.DeletionTimestamp.IsZero() || manifestwork.IsUngated(work) {
			continue
		}
		isRebound, err := s.isRebound(ctx, tenants, work)
		if err != nil {
			return nil, err
		}
		s.rebound[work.UID] = isRebound
	}
	s.expected, s.refused = r.expected(cluster, shown, s.now), r.refused(cluster, s.wanted, s.listed)
	return s, nil
}

// refused returns when those are tried again that could not be delivered lately. What is not wanted any more is forgotten, and what is
// listed: an API server may take a delivery and fail to say so.
func (r *Reconciler) refused(
	cluster string, wanted map[types.UID]*v1alpha1.RemoteWorkflow, listed map[types.UID]bool,
) map[types.UID]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	until := map[types.UID]time.Time{}
	for uid, refusal := range r.refusals[cluster] {
		if wanted[uid] == nil || listed[uid] {
			delete(r.refusals[cluster], uid)
			r.Refused(refusal.rw, "")
			continue
		}
		until[uid] = refusal.until
	}
	if len(until) == 0 {
		delete(r.refusals, cluster)
	}
	return until
}

// refuse notes that the Workflow of rw could not be delivered, and is to be tried again after a while.
func (r *Reconciler) refuse(rw *v1alpha1.RemoteWorkflow, after time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refusals == nil {
		r.refusals = map[string]map[types.UID]refusal{}
	}
	if r.refusals[rw.Namespace] == nil {
		r.refusals[rw.Namespace] = map[types.UID]refusal{}
	}
	r.refusals[rw.Namespace][rw.UID] = refusal{rw, r.Clock.Now().Add(after)}
}

// accept forgets a refusal.
func (r *Reconciler) accept(rw *v1alpha1.RemoteWorkflow) {
	r.mu.Lock()
	delete(r.refusals[rw.Namespace], rw.UID)
	r.mu.Unlock()
	r.Refused(rw, "")
}

// expected returns what is in deliveries that the cache does not show yet.
func (r *Reconciler) expected(cluster string, shown map[types.UID]bool, now time.Time) map[types.UID]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	carried := map[types.UID]bool{}
	var left []expectation
	for _, e := range r.expectations[cluster] {
		if shown[e.work] || !now.Before(e.until) {
			continue
		}
		left = append(left, e)
		for uid := range e.carry {
			carried[uid] = true
		}
	}
	if r.expectations == nil {
		r.expectations = map[string][]expectation{}
	}
	if r.expectations[cluster] = left; len(left) == 0 {
		delete(r.expectations, cluster)
	}
	return carried
}

func (r *Reconciler) expect(cluster string, work *workv1.ManifestWork, carried []payload) {
	e := expectation{work: work.UID, carry: map[types.UID]bool{}, until: r.Clock.Now().Add(expectationTimeout)}
	for _, p := range carried {
		e.carry[p.rw.UID] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.expectations == nil {
		r.expectations = map[string][]expectation{}
	}
	r.expectations[cluster] = append(r.expectations[cluster], e)
}

// deliver creates one delivery after the other for what waits. It reports whether any of that is not delivered for now.
func (r *Reconciler) deliver(ctx context.Context, tenants *tenants, waiting []*v1alpha1.RemoteWorkflow) (undelivered bool, err error) {
	for len(waiting) > 0 {
		next := waiting[:min(len(waiting), maxItems)]
		waiting = waiting[len(next):]
		payloads, err := r.fence(ctx, next)
		if err != nil {
			return false, err
		}
		payloads, err = r.bind(ctx, tenants, payloads)
		if err != nil {
			return false, err
		}
		undelivered = undelivered || len(payloads) < len(next)
		for _, batch := range batches(payloads) {
			refused, err := r.create(ctx, tenants.name, batch)
			if err != nil {
				return false, err
			}
			undelivered = undelivered || refused
		}
	}
	return undelivered, nil
}

// fence asks the API server, not the cache, which of these Workflows still wait for their RemoteWorkflow, and returns what travels of
// them: a manager that was paused, or whose cache lags, may be about to send what another has run and a user deleted. Whoever lets a
// deleted Workflow go looks for its RemoteWorkflow after the deletion. So either that is found, and nothing starts without it;
// or the deletion came first, and shows here.
func (r *Reconciler) fence(ctx context.Context, waiting []*v1alpha1.RemoteWorkflow) ([]payload, error) {
	found := make([]*payload, len(waiting))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for i, rw := range waiting {
		group.Go(func() error {
			ref := rw.Spec.WorkflowRef
			live, err := hubworkflow.Get(ctx, r.Live, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name})
			if err != nil {
				return client.IgnoreNotFound(err)
			}
			// One that was changed since its attempt was made gets another one.
			if !isWanted(live, rw) || report.IsOtherSpec(live.SpecDigest, rw.Spec.SpecDigest) {
				r.refuse(rw, refusedRetry)
				return nil
			}
			p, err := newPayload(live, rw)
			if err != nil {
				r.refuse(rw, refusedRetry)
				r.Refused(rw, err.Error())
				return nil
			}
			found[i] = &p
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	payloads := make([]payload, 0, len(found))
	for _, p := range found {
		if p != nil {
			payloads = append(payloads, *p)
		}
	}
	return payloads, nil
}

// create creates one delivery. One that the API server refuses as a whole is halved, until it is known which Workflow it is about.
func (r *Reconciler) create(ctx context.Context, cluster string, batch []payload) (refused bool, err error) {
	work := newWork(cluster, batch)
	err = r.Client.Create(ctx, work)
	switch {
	case err == nil:
		r.expect(cluster, work, batch)
		for _, p := range batch {
			r.accept(p.rw)
		}
		return false, nil
	case apierrors.IsAlreadyExists(err):
		return false, nil // an ungated one, which bears the name of its RemoteWorkflow
	case !contract.IsRefused(err):
		if apierrors.IsInternalError(err) { // such as a webhook that cannot be called: it may take long
			for _, p := range batch {
				r.refuse(p.rw, 0)
				r.Refused(p.rw, refusalOf(err))
			}
		}
		return false, fmt.Errorf("create ManifestWork: %w", err)
	case len(batch) == 1:
		r.refuse(batch[0].rw, refusedRetry)
		r.Refused(batch[0].rw, refusalOf(err))
		return true, nil
	}
	half := len(batch) / 2
	for _, part := range [][]payload{batch[:half], batch[half:]} {
		partly, err := r.create(ctx, cluster, part)
		if err != nil {
			return false, err
		}
		refused = refused || partly
	}
	return refused, nil
}

// refusalOf returns what the API server has against a delivery, without the name that it has generated: what is said must not change with
// each try.
func refusalOf(err error) string {
	message := err.Error()
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Details != nil {
		if name := status.Status().Details.Name; strings.HasPrefix(name, namePrefix) {
			message = strings.ReplaceAll(message, name, namePrefix+"*")
		}
	}
	return message
}

// change deletes a delivery, or lists less in it, or asks the work agent to look at it again.
func (r *Reconciler) change(ctx context.Context, c change) error {
	if c.remove {
		if isWanted, err := r.isUngatedAndWanted(ctx, c.work); err != nil || isWanted {
			return err // the watch brings what the cache lacks
		}
		err := r.Client.Delete(ctx, c.work, client.Preconditions{UID: &c.work.UID})
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete ManifestWork: %w", err)
		}
		return nil
	}
	data, err := c.patch(r.Clock.Now())
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	target := &workv1.ManifestWork{}
	target.Namespace, target.Name = c.work.Namespace, c.work.Name
	err = r.Client.Patch(ctx, target, client.RawPatch(types.JSONPatchType, data))
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil // the watch brings what it has become
	}
	if err != nil {
		return fmt.Errorf("patch ManifestWork: %w", err)
	}
	return nil
}

// isUngatedAndWanted reports whether the delivery, which the cache shows no RemoteWorkflow for, carries a Workflow to a cluster without
// agent, and the API server has its RemoteWorkflow: such a delivery takes the remote Workflow with it, and a cache may lag behind another.
func (r *Reconciler) isUngatedAndWanted(ctx context.Context, work *workv1.ManifestWork) (bool, error) {
	if !manifestwork.IsUngated(work) {
		return false, nil
	}
	live := &v1alpha1.RemoteWorkflow{}
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(work), live); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	return live.DeletionTimestamp.IsZero(), nil
}

// isWanted reports whether the Workflow, as the API server has it, still waits for what rw stands for. With rw there, a
// restoration of the hub does not matter.
func isWanted(live *hubworkflow.Workflow, rw *v1alpha1.RemoteWorkflow) bool {
	return live.GetUID() == rw.Spec.WorkflowRef.UID && !live.IsDeleted() && live.HasFinalizer() &&
		contract.AssignedCluster(live) == rw.Namespace && contract.Attempt(live) == rw.Spec.Attempt &&
		contract.IsPending(live.Phase) && live.Refused(time.Time{}) == nil
}
