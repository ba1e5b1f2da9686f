package node

import (
	"fmt"
	"path/filepath"
)

// HubCluster is the name of the cluster whose namespace carries the lab's bridge.
const HubCluster = "hub"

// prefix marks what belongs to labs of this project among everything else on the machine.
const prefix = "argolab"

// Places on the machine. They are short because the sockets in them may not have paths longer than
// 107 bytes, and outside the lab's folder so that they can be found by the lab's name alone.
const (
	runRoot   = "/run/" + prefix
	dataRoot  = "/var/lib/" + prefix
	netnsRoot = "/run/netns"
)

// MaxIndex is the highest index of a Site: node addresses are 10.77.0.10 + index.
const MaxIndex = 200

// Site is a cluster's place on the network of its lab. Addresses depend on the index alone and so are
// the same in every lab: a lab's network is connected to nothing outside it.
type Site struct {
	// Lab and Cluster are DNS labels; together they name the namespace, the cgroup and the folders.
	Lab, Cluster string
	// Index is 0 for the hub, which carries the bridge, and 1 to MaxIndex for the other clusters.
	Index int
}

// Netns is the name of the cluster's network namespace. Its parts are joined by dots, which a lab's
// name cannot contain: lab "a" never takes the namespaces of a lab "a-b" for its own.
func (s Site) Netns() string { return netnsPrefix(s.Lab) + s.Cluster }

// NetnsPath is the file by which nsenter and setns know the namespace.
func (s Site) NetnsPath() string { return filepath.Join(netnsRoot, s.Netns()) }

// NodeIP is the address of the cluster's node and of its API server, for the lab's other clusters.
func (s Site) NodeIP() string { return fmt.Sprintf("10.77.0.%d", 10+s.Index) }

// PodCIDR is the range of the node's pods. Their traffic leaves the node under the node's address.
func (s Site) PodCIDR() string { return fmt.Sprintf("10.88.%d.0/24", s.Index) }

// ServiceCIDR is the range for services.
func (s Site) ServiceCIDR() string { return fmt.Sprintf("10.96.%d.0/24", s.Index) }

// ServiceIP is the address of the service "kubernetes", the first of ServiceCIDR. It is an address of the
// namespace itself: a pod reaches the API server by it without kube-proxy.
func (s Site) ServiceIP() string { return fmt.Sprintf("10.96.%d.1", s.Index) }

// Enter is what to put before a command for it to run in the cluster's network namespace, and nowhere
// else than where it would have run: `ip netns exec` would also replace /sys, where the cgroups are.
func (s Site) Enter() []string { return []string{"nsenter", "--net=" + s.NetnsPath()} }

// runDir holds the node's sockets, configuration and containerd's state.
func (s Site) runDir() string { return filepath.Join(runRoot, s.Lab, s.Cluster) }

// dataDir holds images, pods' volumes and pods' logs.
func (s Site) dataDir() string { return filepath.Join(dataRoot, s.Lab, s.Cluster) }

// cgroup is the node's cgroup, relative to the root of each hierarchy.
func (s Site) cgroup() string { return filepath.Join("/", prefix, s.Lab, s.Cluster) }

// connected is a file that is there once the network is.
func (s Site) connected() string { return filepath.Join(s.runDir(), "connected") }

// hub is the site with the bridge that this one plugs into.
func (s Site) hub() Site { return Site{Lab: s.Lab, Cluster: HubCluster} }

// uplink is the hub's end of the cluster's cable.
func (s Site) uplink() string { return fmt.Sprintf("v%d", s.Index) }

func (s Site) validate() error {
	if s.Lab == "" || s.Cluster == "" || s.Index < 0 || s.Index > MaxIndex {
		return fmt.Errorf("lab %q, cluster %q, index %d is no place on a lab's network", s.Lab, s.Cluster, s.Index)
	}
	return nil
}

func netnsPrefix(lab string) string { return prefix + "." + lab + "." }
