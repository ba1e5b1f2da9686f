package workflow

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/cluster"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/manifestwork"
)

// snapshot is all that a decision depends on, each read once.
type snapshot struct {
	key types.NamespacedName
	// wf is the hub Workflow; nil if the API server has none of this name.
	wf *hubworkflow.Workflow
	// isOutdated is whether the API server has another Workflow of this name than the cache.
	isOutdated bool
	// own is the attempt of the Workflow; nil if the hub has none. Where the lack of one matters, the API server was asked; isUnseen is
	// whether the cache does not show it.
	own      *attempt
	isUnseen bool
	// others are attempts of earlier Workflows of this name, or on clusters that were taken back.
	others []*attempt
	// assigned is the cluster that the Workflow is assigned to, and problem why it may not go there (any more).
	assigned cluster.Cluster
	problem  *cluster.Problem

	// sent is the spec that the cluster was asked for, nil without an answer that is of use; release ends its use.
	sent    *sent
	release func()

	now             time.Time
	deletionTimeout time.Duration
	restoredAt      time.Time
}

// attempt is a RemoteWorkflow and what goes with it.
type attempt struct {
	*v1alpha1.RemoteWorkflow
	// cluster is the one that it is for.
	cluster cluster.Cluster
	// delivery is the ManifestWork that carries it; nil if the cache shows none.
	delivery *workv1.ManifestWork
	// refused is what the hub's API server has against delivering it.
	refused string
}

// isWatched reports whether the cache shows the Workflow: it has our label, with whatever value.
func (s *snapshot) isWatched() bool {
	if s.wf == nil {
		return true
	}
	_, watched := s.wf.GetLabels()[contract.LabelEnable]
	return watched
}

// hasStarted reports whether the Workflow's attempt may have begun.
func (s *snapshot) hasStarted() bool { return s.own != nil && s.wf.HasStarted(s.own.RemoteWorkflow) }

// endsUnstarted reports whether the Workflow ends on the hub, unless its attempt has started. The scheduler ends it, once it has none.
func (s *snapshot) endsUnstarted() bool { return s.wf.EndsUnstarted(s.restoredAt) }

// isClaimed reports whether a remote Workflow is recorded, or may run without having been: where there is no agent.
func (a *attempt) isClaimed() bool {
	return a.Status.RemoteUID != "" || a.Spec.Reporting == v1alpha1.ReportingFeedback
}

// isUnanswered reports whether it is delivered, and its cluster has said nothing of it yet.
func (a *attempt) isUnanswered() bool {
	return a.delivery != nil && !a.isClaimed() && !manifestwork.IsAnswered(a.delivery, a.RemoteWorkflow)
}

func (a *attempt) isDeleted() bool { return !a.DeletionTimestamp.IsZero() }

// isRemovalAsked reports whether the cluster has been told all that it needs to remove the attempt.
func (a *attempt) isRemovalAsked() bool {
	return a.isDeleted() && (a.Status.RemoteUID == "" || a.Spec.Removal != "")
}

// hasReport reports whether the cluster's agent has reported the attempt, or says so. Without an agent there is no such word.
func (a *attempt) hasReport() bool {
	return a.Status.Report != nil && a.Spec.Reporting == v1alpha1.ReportingAgent
}

func (a *attempt) hasFinalizer() bool {
	return slices.Contains(a.Finalizers, contract.FinalizerDispatch)
}

// isRemoved reports whether the agent has answered the removal that was asked for. That it has told of an end before is no answer: the
// remote Workflow may still be there, with its pods.
func (a *attempt) isRemoved() bool {
	gone := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionRemoteDeleted)
	return gone != nil && gone.Status == metav1.ConditionTrue &&
		(gone.Reason == v1alpha1.ReasonRemoved || gone.Reason == v1alpha1.ReasonLeft)
}

// snapshot reads.
func (r *Reconciler) snapshot(ctx context.Context, key types.NamespacedName) (*snapshot, error) {
	s := &snapshot{key: key, now: r.Clock.Now(), deletionTimeout: r.DeletionTimeout, restoredAt: r.RestoredAt, release: func() {}}
	if err := r.readWorkflow(ctx, s); err != nil {
		return nil, err
	}
	if err := r.readAttempts(ctx, s); err != nil || s.wf == nil {
		return s, err
	}
	if name := contract.AssignedCluster(s.wf); name != "" && !contract.IsFinished(s.wf.Phase) {
		if err := r.readAssigned(ctx, s, name); err != nil {
			return nil, err
		}
	}
	if err := r.readSent(ctx, s); err != nil {
		return nil, err
	}
	return s, r.confirmAbsence(ctx, s)
}

// readWorkflow reads the Workflow. The cache shows only those with our label; the API server is asked before one is taken for
// gone, for its attempt would be removed.
func (r *Reconciler) readWorkflow(ctx context.Context, s *snapshot) error {
	wf, err := hubworkflow.Get(ctx, r.Client, s.key)
	if apierrors.IsNotFound(err) {
		wf, err = hubworkflow.Get(ctx, r.Live, s.key)
	}
	if err == nil {
		s.wf = wf
	}
	return client.IgnoreNotFound(err)
}

// readAttempts reads the RemoteWorkflows of this name.
func (r *Reconciler) readAttempts(ctx context.Context, s *snapshot) error {
	var list v1alpha1.RemoteWorkflowList
	if err := r.Client.List(ctx, &list, client.MatchingFields{indexWorkflow: s.key.String()}, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list RemoteWorkflows: %w", err)
	}
	for i := range list.Items {
		a, err := r.attempt(ctx, &list.Items[i])
		if err != nil {
			return err
		}
		if s.wf != nil && a.Spec.WorkflowRef.UID == s.wf.GetUID() && (s.own == nil || a.Namespace == contract.AssignedCluster(s.wf)) {
			if s.own != nil {
				s.others = append(s.others, s.own)
			}
			s.own = a
			continue
		}
		s.others = append(s.others, a)
	}
	return r.confirmOthers(ctx, s)
}

// confirmOthers asks the API server before an attempt is removed as that of an earlier Workflow: a cache that lags behind, after a
// change of leaders, may still show that earlier one.
func (r *Reconciler) confirmOthers(ctx context.Context, s *snapshot) error {
	if !slices.ContainsFunc(s.others, func(a *attempt) bool { return !a.isRemovalAsked() }) {
		return nil
	}
	live, err := hubworkflow.Get(ctx, r.Live, s.key)
	if err != nil {
		s.isOutdated = apierrors.IsNotFound(err) && s.wf != nil
		return client.IgnoreNotFound(err)
	}
	s.isOutdated = s.wf == nil || live.GetUID() != s.wf.GetUID() ||
		contract.AssignedCluster(live) != contract.AssignedCluster(s.wf)
	return nil
}

func (r *Reconciler) attempt(ctx context.Context, rw *v1alpha1.RemoteWorkflow) (*attempt, error) {
	a := &attempt{RemoteWorkflow: rw, refused: r.DeliveryRefused(rw.UID)}
	var err error
	if a.cluster, err = cluster.Read(ctx, r.Client, rw.Namespace); err != nil {
		return nil, err
	}
	if rw.Status.RemoteUID != "" {
		return a, nil // it is delivered
	}
	a.delivery, err = manifestwork.Of(ctx, r.Client, rw)
	return a, err
}

// readAssigned reads what decides whether the Workflow may (still) go to its cluster. Once it has started, that is settled.
func (r *Reconciler) readAssigned(ctx context.Context, s *snapshot, name string) error {
	if s.own != nil && s.own.Namespace == name {
		s.assigned = s.own.cluster
	} else {
		var err error
		if s.assigned, err = cluster.Read(ctx, r.Client, name); err != nil {
			return err
		}
	}
	if s.hasStarted() || !contract.IsPending(s.wf.LastPhase()) {
		return nil
	}
	bindings, err := cluster.Bindings(ctx, r.Client, s.wf.GetNamespace())
	if err != nil {
		return err
	}
	s.problem = cluster.Filter(s.wf, cluster.Target{
		Cluster: s.assigned, OnHub: s.assigned.IsHub(r.HubID), Bindings: bindings,
	})
	return nil
}

// confirmAbsence asks the API server for the RemoteWorkflow of an assigned Workflow where anything but its creation would follow
// from the lack of one: the cache may not show yet what has just been created.
func (r *Reconciler) confirmAbsence(ctx context.Context, s *snapshot) error {
	key := s.wf.RemoteWorkflowKey()
	if s.own != nil || key.Namespace == "" || contract.IsFinished(s.wf.Phase) && !s.wf.IsDeleted() && s.isWatched() {
		return nil
	}
	if decide(s).action == create {
		return nil // the API server would say that it has one
	}
	live := &v1alpha1.RemoteWorkflow{}
	if err := r.Live.Get(ctx, key, live); err != nil {
		return client.IgnoreNotFound(err)
	}
	var err error
	s.own, err = r.attempt(ctx, live)
	s.isUnseen = true
	return err
}
