package hollow

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/agent/run"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// What of the real agent is used here is in this file, and nowhere else.

// The agent's own defaults, see its flags.
const (
	reportInterval  = time.Second
	reportBandwidth = 1 << 20
	agentRetryDelay = 10 * time.Second
)

// agents makes the agents of a fleet, which share what counts them.
type agents struct {
	hub     client.Client
	hubLive client.Reader
	hubID   string
	metrics *run.Metrics
}

func newAgents(hub client.Client, hubLive client.Reader, hubID string) (*agents, error) {
	metrics, err := run.NewMetrics(prometheus.NewRegistry())
	return &agents{hub: hub, hubLive: hubLive, hubID: hubID, metrics: metrics}, err
}

// on returns the real agent's reconciler for a cluster, which is asked by the name of a RemoteWorkflow.
func (a *agents) on(store *Store) reconcile.Reconciler {
	return &run.Reconciler{
		Hub: a.hub, HubLive: a.hubLive, Managed: store, Live: store, HubID: a.hubID,
		Recorder: &events.FakeRecorder{}, Clock: clock.RealClock{}, Metrics: a.metrics,
		Pacer: run.NewPacer(reportInterval, reportBandwidth),
	}
}

// remoteWorkflowOf returns the name of the RemoteWorkflow that a Workflow's events lead the agent to, "" for none.
func remoteWorkflowOf(wf *unstructured.Unstructured) string {
	if wf == nil {
		return ""
	}
	return wf.GetAnnotations()[contract.AnnotationRemoteWorkflow]
}

// indexed returns the value that a Workflow has in an index of the agent's cache. There is one: by RemoteWorkflow.
func indexed(wf *unstructured.Unstructured, _ string) string { return remoteWorkflowOf(wf) }

func labelsOf(wf *unstructured.Unstructured) labels.Set { return wf.GetLabels() }
