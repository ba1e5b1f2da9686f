package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"

	"open-cluster-management.io/argo-workflow-multicluster/test/lab/node"
)

// hubLink is the process through which everything of a managed cluster with simulated pods reaches the hub's API server,
// so that a test can cut the cluster off. With real pods there is a network in its place.
const hubLink = "hub-link"

// hubServer is the URL of the hub's API server as the managed cluster sees it.
func (c *Cluster) hubServer() string {
	if hub := c.lab.Hub(); c.real() && !c.lab.opts.Chaos && !c.isLocal() {
		return fmt.Sprintf("https://%s:%d", hub.site().NodeIP(), hub.ports[portAPIServer])
	}
	if c.isLocal() {
		return c.server()
	}
	return "https://" + loopback(c.ports[portHubLink])
}

func (c *Cluster) startHubLink(ctx context.Context) error {
	if c.real() || c.lab.opts.Chaos || c.isLocal() {
		return nil
	}
	listen := loopback(c.ports[portHubLink])
	return c.Start(ctx, Process{
		Name:  hubLink,
		Path:  c.lab.binary(labBinary),
		Args:  []string{"forward", "--listen=" + listen, "--to=" + loopback(c.lab.Hub().ports[portAPIServer])},
		Ready: accepts(listen),
	})
}

// Disconnect cuts the managed cluster off from the hub: connections stay open, and nothing comes through, as with a
// network that drops packets.
func (c *Cluster) Disconnect() error { return c.setConnected(false) }

// Reconnect undoes Disconnect.
func (c *Cluster) Reconnect() error { return c.setConnected(true) }

func (c *Cluster) setConnected(connected bool) error {
	switch {
	case c.real():
		return node.SetConnected(context.Background(), c.site(), connected)
	case connected:
		return c.Signal(hubLink, syscall.SIGCONT)
	}
	return c.Signal(hubLink, syscall.SIGSTOP)
}

// Dialer opens connections as net.Dialer does.
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// Forward accepts TCP connections and carries each to the target, which it dials, until the context ends. The CLI runs
// it as a process of its own.
func Forward(ctx context.Context, listen string, dial Dialer, target string) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("forward: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("forward: %w", err)
		}
		go carry(ctx, conn, dial, target)
	}
}

// carry copies both ways until either side ends; an error ends the connection, which is all that a client can be told.
func carry(ctx context.Context, near net.Conn, dial Dialer, target string) {
	defer func() { _ = near.Close() }()
	far, err := dial(ctx, "tcp", target)
	if err != nil {
		return
	}
	defer func() { _ = far.Close() }()
	var once sync.Once
	done := make(chan struct{})
	pipe := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		once.Do(func() { close(done) })
	}
	go pipe(far, near)
	go pipe(near, far)
	select {
	case <-done:
	case <-ctx.Done():
	}
}
