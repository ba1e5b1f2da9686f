package lab

import "context"

// startPods starts whoever runs the cluster's pods; the hub has any only if an Argo controller runs there, or if the
// product does.
func (c *Cluster) startPods(ctx context.Context) error {
	if c.IsHub() && !c.runsArgo() && !c.lab.RunsInPods() {
		return nil
	}
	if c.real() {
		return c.startNode(ctx)
	}
	kubeconfig, err := c.identity("pod-runner")
	if err != nil {
		return err
	}
	return c.Start(ctx, Process{
		Name: "pod-runner",
		Path: c.lab.binary(labBinary),
		Args: []string{
			"run-pods", "--kubeconfig=" + kubeconfig, "--listen=" + loopback(c.ports[portKubelet]),
			"--cert=" + c.path("pki", "apiserver.crt"), "--key=" + c.path("pki", "apiserver.key"),
			"--client-ca=" + c.path("pki", "ca.crt"), "--journal=" + c.lab.Journal(),
		},
		Ready: accepts(loopback(c.ports[portKubelet])), // it registers its node first
	})
}
