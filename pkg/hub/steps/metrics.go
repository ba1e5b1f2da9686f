package steps

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	created = promauto.With(metrics.Registry).NewCounter(prometheus.CounterOpts{
		Name: "argo_multicluster_steps_workflows_created_total",
		Help: "Workflows created on the hub for steps in other clusters.",
	})
	given = promauto.With(metrics.Registry).NewCounterVec(prometheus.CounterOpts{
		Name: "argo_multicluster_steps_results_total",
		Help: "Results of steps in other clusters that were given to Argo, by phase.",
	}, []string{"phase"})
)
