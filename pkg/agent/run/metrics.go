package run

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// Metrics counts what the agent does.
type Metrics struct {
	reports  *prometheus.CounterVec
	bytes    prometheus.Counter
	gates    prometheus.Counter
	refusals *prometheus.CounterVec
	leftover *prometheus.CounterVec
}

// NewMetrics returns metrics that are registered with the registerer. Called again with the same, as where several agents
// run in one process, it returns metrics that count on.
func NewMetrics(registerer prometheus.Registerer) (*Metrics, error) {
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "argo_multicluster", Subsystem: "agent", Name: name, Help: help}
	}
	reports, reportsErr := register(registerer, prometheus.NewCounterVec(counter("reports_total",
		"Reports sent to the hub, by result: written, conflict, too_large, rejected or failed."), []string{"result"}))
	bytes, bytesErr := register(registerer, prometheus.NewCounter(counter("report_bytes_total",
		"Bytes of compressed status in the reports that were written.")))
	gates, gatesErr := register(registerer, prometheus.NewCounter(counter("gates_opened_total",
		"Remote Workflows that were started.")))
	refusals, refusalsErr := register(registerer, prometheus.NewCounterVec(counter("refusals_total",
		"Workflows that have the name of a remote Workflow and were not started, by the reason on the RemoteWorkflow's condition."),
		[]string{"reason"}))
	leftover, leftoverErr := register(registerer, prometheus.NewCounterVec(counter("leftovers_total",
		"Remote Workflows that the hub does not know or want, by result: never_started and finished were deleted, of unreported the "+
			"finalizer was removed."), []string{"result"}))
	if err := errors.Join(reportsErr, bytesErr, gatesErr, refusalsErr, leftoverErr); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return &Metrics{reports: reports, bytes: bytes, gates: gates, refusals: refusals, leftover: leftover}, nil
}

// register returns the collector, or the one of its kind that is registered already.
func register[C prometheus.Collector](registerer prometheus.Registerer, collector C) (C, error) {
	err := registerer.Register(collector)
	var registered prometheus.AlreadyRegisteredError
	if errors.As(err, &registered) {
		if existing, ok := registered.ExistingCollector.(C); ok {
			return existing, nil
		}
	}
	return collector, err
}

// reported counts a report that was sent, with the hub's answer.
func (m *Metrics) reported(err error, size int) {
	result := "failed"
	switch {
	case err == nil:
		result = "written"
		m.bytes.Add(float64(size))
	case apierrors.IsConflict(err):
		result = "conflict"
	case contract.IsTooLarge(err):
		result = "too_large"
	case apierrors.IsInvalid(err):
		result = "rejected"
	}
	m.reports.WithLabelValues(result).Inc()
}
