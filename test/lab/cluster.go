package lab

import (
	"fmt"
	"path/filepath"
	"sync"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// hubName is the hub's name among the clusters of a lab.
const hubName = "hub"

// LocalCluster is the name of the hub as a managed cluster of its own, which Open Cluster Management's tools give it.
const LocalCluster = "local-cluster"

// The names under which a cluster's ports are recorded.
const (
	portAPIServer  = "kube-apiserver"
	portEtcd       = "etcd"
	portEtcdPeer   = "etcd-peer"
	portKubelet    = "kubelet"
	portHubLink    = "hub-link"
	portOwnLink    = "own-link"
	portToxiproxy  = "toxiproxy"
	portKlusterlet = "klusterlet"

	portManagerMetrics = "manager-metrics"
	portManagerHealth  = "manager-health"
	portDeputyHealth   = "deputy-health"
	portAgentMetrics   = "agent-metrics"
	portAgentHealth    = "agent-health"

	portArgoServerClient = "argo-server-client"
	portArgoServerServer = "argo-server-server"

	portS3 = "s3"
)

// Cluster is the hub or a managed cluster of a lab.
type Cluster struct {
	// Name is "hub", or the name of the ManagedCluster.
	Name string

	lab   *Lab
	index int
	ports map[string]int

	once   sync.Once
	client client.Client
	err    error
}

// Kubeconfig returns the path of the administrator's kubeconfig; its API server is reachable from the host.
func (c *Cluster) Kubeconfig() string {
	return filepath.Join(c.lab.dir(), c.Name+".kubeconfig")
}

// Repository returns the root of the repository, where Tool and Shell run.
func (c *Cluster) Repository() string { return c.lab.repository }

// Config returns the administrator's client configuration, without a limit of requests on the client's side.
func (c *Cluster) Config() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("kubeconfig of %s: %w", c.Name, err)
	}
	config.QPS = -1
	return config, nil
}

// Client returns a client for the administrator that reads and writes untyped objects, and Kubernetes' own kinds.
func (c *Cluster) Client() (client.Client, error) {
	c.once.Do(func() {
		var config *rest.Config
		if config, c.err = c.Config(); c.err == nil {
			c.client, c.err = client.New(config, client.Options{})
		}
	})
	return c.client, c.err
}

// AuditLog returns the file that the API server logs requests to, one JSON document a line.
func (c *Cluster) AuditLog() string { return filepath.Join(c.lab.dir(), "logs", c.Name, "audit.log") }

// IsHub tells the hub from the managed clusters.
func (c *Cluster) IsHub() bool { return c.index == 0 }

// isLocal tells whether it is the hub as a managed cluster of its own: its API server, Argo and pods are the hub's.
func (c *Cluster) isLocal() bool { return c.Name == LocalCluster }

// dir is the folder of what the cluster's processes need and keep.
func (c *Cluster) dir() string { return filepath.Join(c.lab.dir(), "clusters", c.Name) }

func (c *Cluster) path(elements ...string) string {
	return filepath.Join(append([]string{c.dir()}, elements...)...)
}

// server is the URL of the cluster's API server.
func (c *Cluster) server() string { return "https://" + loopback(c.ports[portAPIServer]) }

// authority is the cluster's certificate authority for users, servers and OCM's agents.
func (c *Cluster) authority() (*authority, error) {
	return loadOrCreateAuthority(c.path("pki", "ca"), "lab-"+c.Name)
}
