package node

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
)

// bridge is the interface in the hub's namespace to which the namespaces of all clusters connect.
const bridge = "bridge"

// Connect makes the cluster's network namespace and connects it with the hub's, which has to be made first. In
// it the service "kubernetes" leads to apiServerPort. A namespace that Connect has made before stays as it is.
func Connect(ctx context.Context, s Site, apiServerPort int) error {
	if err := s.validate(); err != nil {
		return err
	}
	if _, err := os.Stat(s.connected()); err == nil {
		return nil
	}
	if _, err := os.Stat(s.NetnsPath()); err == nil { // a Connect that was interrupted
		if err := run(ctx, "ip", "netns", "delete", s.Netns()); err != nil {
			return err
		}
	}
	for _, line := range slices.Concat([]string{"ip netns add " + s.Netns()}, s.links(), s.redirects(apiServerPort)) {
		if err := run(ctx, strings.Fields(line)...); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(s.runDir(), 0o755); err != nil {
		return err
	}
	return os.WriteFile(s.connected(), nil, 0o644)
}

// SetConnected plugs the cluster's cable in or out: without it no packet passes between the cluster and others,
// and connections do not end by that.
func SetConnected(ctx context.Context, s Site, connected bool) error {
	state := "down"
	if connected {
		state = "up"
	}
	return run(ctx, "ip", "-n", s.hub().Netns(), "link", "set", s.uplink(), state)
}

// links are the commands that set up the interfaces of a new namespace.
func (s Site) links() []string {
	ns := s.Netns()
	device, plug := bridge, []string{
		fmt.Sprintf("ip -n %s link add %s type bridge", ns, bridge),
	}
	if s.Index > 0 {
		hub := s.hub().Netns()
		device, plug = "eth0", []string{
			fmt.Sprintf("ip -n %s link add eth0 type veth peer name %s netns %s", ns, s.uplink(), hub),
			fmt.Sprintf("ip -n %s link set %s master %s up", hub, s.uplink(), bridge),
		}
	}
	return append(plug,
		fmt.Sprintf("ip -n %s link set lo up", ns),
		fmt.Sprintf("ip -n %s addr add %s/32 dev lo", ns, s.ServiceIP()),
		fmt.Sprintf("ip -n %s addr add %s/24 dev %s", ns, s.NodeIP(), device),
		fmt.Sprintf("ip -n %s link set %s up", ns, device),
		// It leads nowhere, but programs look for their own address on the interface that it names.
		fmt.Sprintf("ip -n %s route add default dev %s", ns, device),
	)
}

// redirects are the commands that take the place of kube-proxy for the service "kubernetes": one rule for pods,
// one for processes of the node.
func (s Site) redirects(apiServerPort int) []string {
	var commands []string
	for _, chain := range []string{"PREROUTING", "OUTPUT"} {
		commands = append(commands, fmt.Sprintf(
			"%s iptables --wait --table nat --append %s --destination %s --protocol tcp --dport 443 --jump REDIRECT --to-ports %d",
			strings.Join(s.Enter(), " "), chain, s.ServiceIP(), apiServerPort))
	}
	return commands
}

// disconnect removes all network namespaces of the lab, and the interfaces with them.
func disconnect(ctx context.Context, lab string) error {
	names, err := namespaces(lab)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := run(ctx, "ip", "netns", "delete", name); err != nil {
			return err
		}
	}
	if left, err := os.ReadDir(netnsRoot); err == nil && len(left) == 0 {
		// The first `ip netns add` mounts the folder upon itself, and will do so again.
		return unmount(netnsRoot)
	}
	return nil
}

// namespaces names the lab's network namespaces.
func namespaces(lab string) ([]string, error) {
	entries, err := os.ReadDir(netnsRoot)
	if err != nil {
		return nil, ignoreGone(err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), netnsPrefix(lab)) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
