// Package agent runs on a managed cluster: it starts the Workflows that the hub sends there, and reports their status.
package agent

import (
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// Options configure the agent.
type Options struct {
	// HubKubeconfig is the file with the agent's access to the hub. The agent ends when it changes. Client certificates and
	// tokens in files that it refers to may change.
	HubKubeconfig string
	// ClusterName is the name of this managed cluster: the agent's namespace on the hub.
	ClusterName string
	// HubID is the id of the hub: the UID of its kube-system namespace. Without it the agent does not release the Workflows of
	// that hub when its own namespace is being deleted, nor see to remote Workflows that the hub does not know.
	HubID string
	// Namespace is the agent's namespace on the managed cluster. Its Leases are there.
	Namespace string
	// InstanceID is the instance id of this cluster's own Argo controller, "" if it has none.
	InstanceID string

	// LeaderElection makes replicas take turns.
	LeaderElection bool
	// MetricsBindAddress and HealthProbeBindAddress are host:port; "0" switches either off.
	MetricsBindAddress     string
	HealthProbeBindAddress string
	// MetricsSecure serves the metrics by TLS, and only to who may get the URL /metrics.
	MetricsSecure bool

	// HubQPS and HubBurst bound the requests to the hub's API server, per second; QPS and Burst those to this
	// cluster's.
	HubQPS   float32
	HubBurst int
	QPS      float32
	Burst    int
	// Concurrency is the number of Workflows worked on at a time.
	Concurrency int

	// ReportInterval is the time between two reports of a Workflow whose phase stays the same. It grows by a second
	// for each 64 KiB of its compressed status.
	ReportInterval time.Duration
	// ReportBandwidth bounds the reports of all Workflows together, in bytes of compressed status per second; 0 does
	// not. Changes of phase do not wait.
	ReportBandwidth int
}

// Validate returns an error that names the flags to correct.
func (o Options) Validate() error {
	var errs []error
	for _, check := range []struct {
		fails   bool
		problem string
	}{
		{o.HubKubeconfig == "", "--hub-kubeconfig is required"},
		{len(validation.IsDNS1123Label(o.ClusterName)) > 0, "--cluster-name must be the name of a managed cluster"},
		{o.Namespace == "", "--agent-namespace is required"},
		{len(validation.IsValidLabelValue(o.InstanceID)) > 0, "--argo-instance-id must be a label value"},
		{o.InstanceID == contract.InstanceIDGate, "--argo-instance-id must not be " + o.InstanceID + ": that keeps Workflows from starting"},
		{o.Concurrency < 1, "--concurrency must be at least 1"},
		{o.ReportInterval <= 0, "--report-interval must be positive"},
		{o.ReportBandwidth < 0, "--report-bandwidth must not be negative"},
	} {
		if check.fails {
			errs = append(errs, errors.New(check.problem))
		}
	}
	return errors.Join(errs...)
}
