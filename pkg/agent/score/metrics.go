package score

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// Metrics show what is measured, and count how often the hub is told.
type Metrics struct {
	writes      *prometheus.CounterVec
	cpu, memory prometheus.Gauge
}

// NewMetrics returns metrics that are registered with the registerer. Called again with the same, as where several agents run in one
// process, it returns the same ones.
func NewMetrics(registerer prometheus.Registerer) (*Metrics, error) {
	name := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "argo_multicluster", Subsystem: "agent", Name: name, Help: help}
	}
	writes, writesErr := register(registerer, prometheus.NewCounterVec(prometheus.CounterOpts(name("score_writes_total",
		"Writes of the AddOnPlacementScore on the hub, by result: written, missing (the hub has not made it yet) or failed.")),
		[]string{"result"}))
	cpu, cpuErr := register(registerer, prometheus.NewGauge(prometheus.GaugeOpts(name("free_cpu_cores",
		"CPU of the nodes that take pods and that no pod has requested."))))
	memory, memoryErr := register(registerer, prometheus.NewGauge(prometheus.GaugeOpts(name("free_memory_bytes",
		"Memory of the nodes that take pods and that no pod has requested."))))
	if err := errors.Join(writesErr, cpuErr, memoryErr); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return &Metrics{writes: writes, cpu: cpu, memory: memory}, nil
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

// measured shows what is free.
func (m *Metrics) measured(c contract.Capacity) {
	m.cpu.Set(float64(c.Free.MilliCPU) / 1000)
	m.memory.Set(float64(c.Free.Memory))
}

// wrote counts a write, with the hub's answer.
func (m *Metrics) wrote(err error) {
	result := "written"
	switch {
	case apierrors.IsNotFound(err):
		result = "missing"
	case err != nil:
		result = "failed"
	}
	m.writes.WithLabelValues(result).Inc()
}
