package lab

import (
	"fmt"
	"os"
	"path/filepath"
)

// sharePorts gives managed clusters the API servers of those of the same name in the lab in the folder, if there is one.
func sharePorts(clusters []clusterState, folder string) error {
	if folder == "" {
		return nil
	}
	other, err := Open(folder)
	if err != nil {
		return fmt.Errorf("share clusters: %w", err)
	}
	theirs := map[string]map[string]int{}
	for _, c := range other.Managed() {
		theirs[c.Name] = c.ports
	}
	for _, c := range clusters {
		if theirs[c.Name] == nil || other.opts.Pods != PodsSimulated {
			return fmt.Errorf("share clusters: the lab in %s has no %s with simulated pods", folder, c.Name)
		}
		takePorts(c.Ports, theirs[c.Name])
	}
	return nil
}

// takePorts gives a cluster the API server, and what runs beside it, of another.
func takePorts(ports, theirs map[string]int) {
	for _, port := range []string{portAPIServer, portEtcd, portEtcdPeer, portKubelet, portOwnLink} {
		ports[port] = theirs[port]
	}
}

// share takes over the access to a cluster of the lab in the folder, with its authority and its administrator.
func (c *Cluster) share(folder, name string) error {
	if err := os.MkdirAll(c.dir(), 0o700); err != nil {
		return err
	}
	for at, theirs := range map[string]string{
		c.path("pki"): filepath.Join(folder, "clusters", name, "pki"), c.Kubeconfig(): filepath.Join(folder, name+".kubeconfig"),
	} {
		if err := os.Symlink(theirs, at); err != nil && !os.IsExist(err) {
			return err
		}
	}
	return nil
}

// own returns the name of something on the cluster that is there once for each hub.
func (c *Cluster) own(name string) string {
	if c.lab.opts.Shares != "" {
		return name + "-2"
	}
	return name
}
