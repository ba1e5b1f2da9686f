package status

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
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
)
