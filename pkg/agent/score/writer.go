// Package score measures what the managed cluster has free for Workflows, and writes it into the AddOnPlacementScore of the cluster on
// the hub.
package score

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/clock"
	clusterv1alpha1 "open-cluster-management.io/api/cluster/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

const (
	// measureInterval is the time between two measurements at least: each looks at every pod that is kept.
	measureInterval = time.Second
	// writeTimeout ends a write that the hub does not answer.
	writeTimeout = 30 * time.Second
	// firstRetryDelay and maxRetryDelay bound the delay before a write that failed is tried again.
	firstRetryDelay = time.Second
	maxRetryDelay   = 30 * time.Second
	// maxMessage bounds the message that says why nothing was measured.
	maxMessage = 1024
	// unknownReason is the condition's reason where an error has none of its own.
	unknownReason = "Unavailable"
)

// Writer keeps the AddOnPlacementScore of a managed cluster. It works as long as it is the leader; what it cannot read or write stops
// nothing else.
type Writer struct {
	// Hub writes the status of the score, which is in the namespace ClusterName.
	Hub         client.StatusClient
	ClusterName string
	// Managed is what is measured.
	Managed *Cluster
	Clock   clock.Clock
	Metrics *Metrics

	last written
	// since is when the condition of last became True or False.
	since time.Time
	// retryAt is when a failed write may be tried again, after the delay that follows from how many have failed.
	retryAt time.Time
	delay   wait.Backoff
	failed  string
}

// Start measures and writes until the context is done.
func (w *Writer) Start(ctx context.Context) error {
	var group wait.Group
	group.StartWithContext(ctx, w.Managed.follow)
	defer group.Wait()
	for {
		next := w.step(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-w.Clock.After(measureInterval):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.Managed.changed:
		case <-w.Clock.After(next - measureInterval):
		}
	}
}

// step measures, writes if it is time, and returns after how long to look again if nothing changes.
func (w *Writer) step(ctx context.Context) time.Duration {
	capacity, err := w.Managed.measure()
	if errors.Is(err, errNotListed) {
		return renewInterval
	}
	current := figuresOf(capacity, err)
	if current.reason == "" {
		w.Metrics.measured(capacity)
	}
	at, now := due(w.last, current), w.Clock.Now()
	if at.Before(w.retryAt) {
		at = w.retryAt
	}
	if at.After(now) {
		return at.Sub(now)
	}
	if err := w.write(ctx, current, now); err != nil {
		w.retryLater(ctx, err)
		return w.retryAt.Sub(now)
	}
	return renewInterval
}

// figuresOf returns what to tell of a measurement, which may have failed.
func figuresOf(capacity contract.Capacity, err error) figures {
	if err == nil {
		return figures{capacity: capacity}
	}
	reason := string(apierrors.ReasonForError(err))
	if reason == "" {
		reason = unknownReason
	}
	message := err.Error()
	return figures{reason: reason, message: message[:min(len(message), maxMessage)]}
}

// write tells the hub these figures, in one request that reads nothing.
func (w *Writer) write(ctx context.Context, current figures, now time.Time) error {
	since := w.since
	if w.last.at.IsZero() || (w.last.reason == "") != (current.reason == "") {
		since = now
	}
	status, err := statusOf(current, now, since)
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return fmt.Errorf("encode score: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	score := &clusterv1alpha1.AddOnPlacementScore{ObjectMeta: metav1.ObjectMeta{Namespace: w.ClusterName, Name: contract.ScoreName}}
	err = w.Hub.Status().Patch(ctx, score, client.RawPatch(types.MergePatchType, patch))
	w.Metrics.wrote(err)
	if err != nil {
		return fmt.Errorf("write AddOnPlacementScore %s/%s: %w", w.ClusterName, contract.ScoreName, err)
	}
	w.last, w.since = written{figures: current, at: now}, since
	w.retryAt, w.delay, w.failed = time.Time{}, wait.Backoff{}, ""
	return nil
}

// statusOf returns the status of the score: without scores where nothing was measured.
func statusOf(current figures, now, since time.Time) (clusterv1alpha1.AddOnPlacementScoreStatus, error) {
	condition, err := current.condition(metav1.NewTime(since))
	if err != nil {
		return clusterv1alpha1.AddOnPlacementScoreStatus{}, err
	}
	validUntil := metav1.NewTime(now.Add(validity))
	status := clusterv1alpha1.AddOnPlacementScoreStatus{
		Conditions: []metav1.Condition{condition}, Scores: []clusterv1alpha1.AddOnPlacementScoreItem{}, ValidUntil: &validUntil,
	}
	if current.reason == "" {
		status.Scores = scores(current.capacity)
	}
	return status, nil
}

// retryLater has the write tried again, and logs why it failed if that is new.
func (w *Writer) retryLater(ctx context.Context, err error) {
	if w.failed == "" {
		w.delay = wait.Backoff{Duration: firstRetryDelay, Factor: 2, Steps: 10, Cap: maxRetryDelay}
	}
	w.retryAt = w.Clock.Now().Add(w.delay.Step())
	if reason := figuresOf(contract.Capacity{}, err).reason; reason != w.failed {
		w.failed = reason
		log.FromContext(ctx).Error(err, "cannot tell the hub what the cluster has free; tries again")
	}
}
