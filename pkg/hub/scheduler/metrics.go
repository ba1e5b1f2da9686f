package scheduler

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	pending = promauto.With(metrics.Registry).NewGaugeVec(prometheus.GaugeOpts{
		Name: "argo_multicluster_scheduler_pending_workflows",
		Help: "Workflows without a cluster, by queue: active, backoff (tried again after a while), unschedulable (until something on the hub " +
			"changes) or held (until the Workflow itself changes).",
	}, []string{"queue"})
	tries = promauto.With(metrics.Registry).NewCounterVec(prometheus.CounterOpts{
		Name: "argo_multicluster_scheduler_attempts_total",
		Help: "Attempts to schedule a Workflow, by result: assigned, ended, unschedulable, stale, refused or error.",
	}, []string{"result"})
	refusedCapacities = promauto.With(metrics.Registry).NewCounter(prometheus.CounterOpts{
		Name: "argo_multicluster_scheduler_capacities_refused_total",
		Help: "Reports of what a cluster has free that could not be used.",
	})
	duration = promauto.With(metrics.Registry).NewHistogram(prometheus.HistogramOpts{
		Name:    "argo_multicluster_scheduler_attempt_duration_seconds",
		Help:    "Duration of an attempt to schedule a Workflow, from the decision until it is written.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
	})
)
