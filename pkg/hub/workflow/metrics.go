package workflow

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// Reasons for which the finalizer of a deleted Workflow is removed before its cluster has removed it.
const (
	byAnnotation = "annotation"
	byTimeout    = "timeout"
	// byAbandonment is that of a cluster that was detached, or whose agent was disabled.
	byAbandonment = "abandonment"
)

var (
	statusWrites = promauto.With(metrics.Registry).NewCounter(prometheus.CounterOpts{
		Name: "argo_multicluster_hub_status_writes_total",
		Help: "Statuses written to Workflows on the hub.",
	})
	reportsRefused = promauto.With(metrics.Registry).NewCounterVec(prometheus.CounterOpts{
		Name: "argo_multicluster_hub_reports_refused_total",
		Help: "Reports of managed clusters that the hub did not take, by reason.",
	}, []string{"reason"})
	editsRefused = promauto.With(metrics.Registry).NewCounter(prometheus.CounterOpts{
		Name: "argo_multicluster_hub_edits_refused_total",
		Help: "Changes of a hub Workflow's status by users that are no verb of Argo's, or came too late.",
	})
	releasedUnconfirmed = promauto.With(metrics.Registry).NewCounterVec(prometheus.CounterOpts{
		Name: "argo_multicluster_hub_released_unconfirmed_total",
		Help: "Deleted Workflows that did not wait for their cluster to remove them, by reason.",
	}, []string{"reason"})
	expired = promauto.With(metrics.Registry).NewCounter(prometheus.CounterOpts{
		Name: "argo_multicluster_hub_ttl_expired_total",
		Help: "Workflows deleted on the hub as their ttlStrategy says.",
	})
)
