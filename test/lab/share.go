package lab

import (
	"context"
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
		for _, port := range []string{portAPIServer, portEtcd, portEtcdPeer, portKubelet, portOwnLink} {
			c.Ports[port] = theirs[c.Name][port]
		}
	}
	return nil
}

// share takes over the access to a cluster that another lab runs, with its authority and its administrator.
func (c *Cluster) share(context.Context) error {
	if err := os.MkdirAll(c.dir(), 0o700); err != nil {
		return err
	}
	folder := c.lab.opts.Shares
	for at, theirs := range map[string]string{
		c.path("pki"): filepath.Join(folder, "clusters", c.Name, "pki"), c.Kubeconfig(): filepath.Join(folder, c.Name+".kubeconfig"),
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
