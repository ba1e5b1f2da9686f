package ttl

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var expired = promauto.With(metrics.Registry).NewCounter(prometheus.CounterOpts{
	Name: "argo_multicluster_hub_ttl_expired_total",
	Help: "Workflows that were deleted on the hub as their ttlStrategy says.",
})
