package dispatch

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// Reasons for which a deleted Workflow is let go without its run.
const (
	byAnnotation = "annotation"
	byTimeout    = "timeout"
)

var releasedUnconfirmed = promauto.With(metrics.Registry).NewCounterVec(prometheus.CounterOpts{
	Name: "argo_multicluster_hub_released_unconfirmed_total",
	Help: "Deleted Workflows that were let go before their cluster had removed the run, by reason.",
}, []string{"reason"})
