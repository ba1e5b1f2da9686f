package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/test/lab/node"
)

// resolvePods decides who runs pods, and says why where that was left open. Where the answer is real pods, the machine
// then has the packages that they need.
func resolvePods(ctx context.Context, asked PodMode, out io.Writer) (mode PodMode, reason string, err error) {
	if asked == PodsSimulated {
		return asked, "", nil
	}
	if ok, why := node.Supported(); !ok {
		err = errors.New(why)
	} else {
		err = node.InstallPackages(ctx, out)
	}
	switch {
	case err == nil:
		return PodsReal, "", nil
	case asked == PodsReal:
		return asked, "", fmt.Errorf("real pods: %w", err)
	}
	return PodsSimulated, fmt.Sprintf(", nothing in them is executed (real ones: %v)", err), nil
}

// real tells whether the cluster's pods are real. Then its processes run in a network namespace of their own, with the
// same addresses on 127.0.0.1 as without.
func (c *Cluster) real() bool { return c.lab.opts.Pods == PodsReal }

// site is the cluster's place on the network of a lab with real pods.
func (c *Cluster) site() node.Site {
	if c.isLocal() {
		return c.lab.Hub().site()
	}
	return node.Site{Lab: nodeLab(c.lab.dir()), Cluster: c.Name, Index: c.index}
}

// nodeLab is the name under which the machine knows the lab in the folder: the folder's, for people, and its path, for
// labs in different repositories may have the same name.
func nodeLab(dir string) string {
	letters := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(filepath.Base(dir)))
	sum := sha256.Sum256([]byte(dir))
	return fmt.Sprintf("%.20s-%s", letters, hex.EncodeToString(sum[:3]))
}

// dial opens a connection to an address in the network that the cluster's processes run in.
func (c *Cluster) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if c.real() {
		return c.site().DialContext(ctx, network, address)
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// startNetwork makes the network of a lab with real pods, and lets the host reach what it is used to reach.
func (l *Lab) startNetwork(ctx context.Context) error {
	if err := node.PrepareMachine(nodeLab(l.dir())); err != nil {
		return fmt.Errorf("prepare the machine: %w", err)
	}
	clusters := append([]*Cluster{l.Hub()}, l.Managed()...)
	for _, c := range clusters { // one after the other: all others plug into the hub, which is the first
		if err := node.Connect(ctx, c.site(), c.ports[portAPIServer]); err != nil {
			return fmt.Errorf("network of %s: %w", c.Name, err)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, c := range clusters {
		group.Go(func() error { return c.expose(ctx, portAPIServer) })
	}
	group.Go(func() error { return l.Hub().expose(ctx, portManagerMetrics) })
	group.Go(func() error { return l.buildImages(ctx) })
	return group.Wait()
}

// expose carries connections to a port of the host's 127.0.0.1 to the same port in the cluster's network.
func (c *Cluster) expose(ctx context.Context, port string) error {
	address := loopback(c.ports[port])
	return c.Start(ctx, Process{
		Name: exposed(port),
		Path: c.lab.binary(labBinary),
		Args: []string{
			"forward", "--listen=" + address, "--to=" + address,
			"--node-lab=" + c.site().Lab, "--node-cluster=" + c.site().Cluster,
		},
		OnHost: true,
		Ready:  accepts(address),
	})
}

// exposed is the name of the process that exposes a port.
func exposed(port string) string { return "expose-" + port }

// imagesDir holds the images that the lab's nodes pull.
func (l *Lab) imagesDir() string { return filepath.Join(l.dir(), "images") }

// buildImages makes the images once for the life of the lab: its nodes read them as long as they run.
func (l *Lab) buildImages(ctx context.Context) error {
	if exists(l.imagesDir()) {
		return nil
	}
	return l.makeImages(ctx)
}

// makeImages makes the images, those of the extra programs among them. Nodes that run take the new ones from then on.
func (l *Lab) makeImages(ctx context.Context, extra ...string) error {
	args := append([]string{
		"build", "--out=" + l.imagesDir(), "--busybox=" + node.BusyboxPath, "--standin=" + l.binary("standin"),
		"--argoexec=" + l.binary("argoexec"), "--workflow-controller=" + l.binary("workflow-controller"),
	}, extra...)
	if out, err := exec.CommandContext(ctx, l.binary("images"), args...).CombinedOutput(); err != nil {
		return fmt.Errorf("build images: %w: %s", err, out)
	}
	return nil
}

// startNode starts a scheduler and a node, and waits until pods can run on it.
func (c *Cluster) startNode(ctx context.Context) error {
	scheduler, err := c.identity("kube-scheduler")
	if err != nil {
		return err
	}
	kubelet, err := c.nodeIdentity()
	if err != nil {
		return err
	}
	n := node.Node{
		Site:        c.site(),
		KubeletPath: c.lab.binary("kubelet"),
		ImagesPath:  c.lab.binary("images"),
		Images:      c.lab.imagesDir(),
		Kubeconfig:  kubelet,
		ClientCA:    c.path("pki", "ca.crt"),
	}
	if err := n.Prepare(); err != nil {
		return fmt.Errorf("node of %s: %w", c.Name, err)
	}
	processes := []Process{{
		Name: "kube-scheduler",
		Path: c.lab.binary("kube-scheduler"),
		Args: []string{"--kubeconfig=" + scheduler, "--leader-elect=false", "--secure-port=0", "--profiling=false"},
	}}
	for _, p := range n.Processes() {
		processes = append(processes, Process{Name: p.Name, Path: p.Path, Args: p.Args, Ready: p.Ready})
	}
	for _, p := range processes {
		if err := c.Start(ctx, p); err != nil {
			return err
		}
	}
	if err := poll(ctx, c.nodeReady); err != nil {
		return fmt.Errorf("node of %s: %w", c.Name, err)
	}
	c.lab.progress.printf("%s: node is ready", c.Name)
	return nil
}

func (c *Cluster) nodeReady(ctx context.Context) error {
	kubeClient, err := c.Client()
	if err != nil {
		return err
	}
	found := newObject(schema.GroupVersionKind{Version: "v1", Kind: "Node"}, "", c.Name, nil)
	if err := kubeClient.Get(ctx, client.ObjectKeyFromObject(found), found); err != nil {
		return err
	}
	return wantCondition(found, "Ready")
}
