package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
)

// kubeletPort is where a kubelet serves its API server, unless told otherwise.
const kubeletPort = "10250"

// Node is one kubelet with the containerd and the registry that it alone uses.
type Node struct {
	Site
	// KubeletPath and ImagesPath are the programs kubelet and images (test/lab/tools).
	KubeletPath, ImagesPath string
	// Images is the folder that `images build` filled.
	Images string
	// Kubeconfig is the kubelet's own, of the user system:node:<Cluster>.
	Kubeconfig string
	// ClientCA is the file with the authority of the certificate by which the API server speaks to the
	// kubelet, for logs and exec.
	ClientCA string
}

// Process is a program that a node consists of. It is to run in the node's network namespace until it is killed.
type Process struct {
	Name, Path string
	Args       []string
	// Ready returns nil if the next process can use this one.
	Ready func(ctx context.Context) error
}

// Prepare writes the configuration of the node's processes and makes its cgroup.
func (n Node) Prepare() error {
	if err := n.validate(); err != nil {
		return err
	}
	if err := makeCgroup(n.cgroup()); err != nil {
		return fmt.Errorf("making cgroup %s: %w", n.cgroup(), err)
	}
	files, err := n.files()
	if err != nil {
		return err
	}
	for path, content := range files {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return os.MkdirAll(n.data("volume-plugins"), 0o755)
}

// Processes are the node's programs in the order in which they are to be started, after Prepare. That pods can
// run shows on the Node object, once the last of them is ready.
func (n Node) Processes() []Process {
	return []Process{
		{
			Name:  "registry",
			Path:  n.ImagesPath,
			Args:  []string{"serve", "--dir=" + n.Images, "--listen=" + RegistryAddress},
			Ready: n.registryAccepts,
		},
		{
			Name:  "containerd",
			Path:  "containerd",
			Args:  []string{"--config=" + n.run("containerd.toml")},
			Ready: n.containerdAnswers,
		},
		{
			Name:  "kubelet",
			Path:  n.KubeletPath,
			Ready: n.kubeletAccepts,
			Args: []string{
				"--config=" + n.run("kubelet.json"),
				"--kubeconfig=" + n.Kubeconfig,
				"--root-dir=" + n.data("kubelet"),
				"--cert-dir=" + n.data("kubelet", "pki"),
				"--hostname-override=" + n.Cluster,
				"--node-ip=" + n.NodeIP(),
			},
		},
	}
}

// files renders the node's configuration by path.
func (n Node) files() (map[string][]byte, error) {
	containerd, err := render(containerdTemplate, containerdConfig{
		Root:        n.data("containerd"),
		State:       n.run("containerd"),
		Socket:      n.run("containerd.sock"),
		Opt:         n.data("opt"),
		Runc:        n.run("runc"),
		CNIBin:      cniDir(),
		CNIConf:     n.run("cni"),
		Registries:  n.run("registries"),
		Pause:       pauseImage,
		Snapshotter: snapshotter(dataRoot),
	})
	if err != nil {
		return nil, err
	}
	hosts, err := render(hostsTemplate, RegistryAddress)
	if err != nil {
		return nil, err
	}
	cni, err := json.MarshalIndent(n.cniConfig(), "", "  ")
	if err != nil {
		return nil, err
	}
	kubelet, err := json.MarshalIndent(n.kubeletConfig(), "", "  ")
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		n.run("containerd.toml"):                      containerd,
		n.run("registries", "_default", "hosts.toml"): hosts,
		n.run("cni", "10-pods.conflist"):              cni,
		n.run("kubelet.json"):                         kubelet,
	}, nil
}

// cniConfig puts pods on a bridge of the node. They leave it under the node's address, since the other
// nodes have no route to pods.
func (n Node) cniConfig() map[string]any {
	return map[string]any{
		"cniVersion": "1.0.0",
		"name":       n.Netns(),
		"plugins": []any{
			map[string]any{
				"type":             "bridge",
				"bridge":           "pods",
				"isDefaultGateway": true,
				"hairpinMode":      true,
				"ipMasq":           true,
				"ipam": map[string]any{
					"type":    "host-local",
					"dataDir": n.run("ipam"),
					"ranges":  []any{[]any{map[string]any{"subnet": n.PodCIDR()}}},
				},
			},
		},
	}
}

// kubeletConfig is a KubeletConfiguration. It differs from the defaults where several kubelets are to
// live side by side, and where a kubelet would mind the state of the machine: a developer's disk is fuller,
// and swap more common, than on a server.
func (n Node) kubeletConfig() map[string]any {
	return map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1",
		"kind":       "KubeletConfiguration",
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false},
			"webhook":   map[string]any{"enabled": true},
			"x509":      map[string]any{"clientCAFile": n.ClientCA},
		},
		"authorization": map[string]any{"mode": "Webhook"},
		"cgroupDriver":  "cgroupfs",
		"cgroupRoot":    n.cgroup(),
		// There is no DNS. An address where nothing listens makes look-ups fail at once, and spares each pod
		// a warning that there is none.
		"clusterDNS":                  []any{"127.0.0.1"},
		"clusterDomain":               "cluster.local",
		"containerRuntimeEndpoint":    "unix://" + n.run("containerd.sock"),
		"enforceNodeAllocatable":      []any{"pods"},
		"evictionHard":                map[string]any{"memory.available": "100Mi"},
		"failCgroupV1":                false,
		"failSwapOn":                  false,
		"imageGCHighThresholdPercent": 100,
		"podLogsDir":                  n.data("logs"),
		"registryPullQPS":             0,
		"resolvConf":                  "",
		"serializeImagePulls":         false,
		"volumePluginDir":             n.data("volume-plugins"),
	}
}

func (n Node) registryAccepts(ctx context.Context) error {
	return closed(n.DialContext(ctx, "tcp", RegistryAddress))
}

// containerdAnswers asks containerd for its version by the protocol that a kubelet uses, and ignores the answer.
// containerd listens before it serves that, and a kubelet that finds it so gives up.
func (n Node) containerdAnswers(ctx context.Context) error {
	conn, err := grpc.NewClient("unix://"+n.run("containerd.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	return errors.Join(
		conn.Invoke(ctx, "/runtime.v1.RuntimeService/Version", &emptypb.Empty{}, &emptypb.Empty{}),
		conn.Close(),
	)
}

// kubeletAccepts tells that the kubelet serves the API server. It listens last.
func (n Node) kubeletAccepts(ctx context.Context) error {
	return closed(n.DialContext(ctx, "tcp", net.JoinHostPort(n.NodeIP(), kubeletPort)))
}

// closed closes a connection that was only made to see whether it can be.
func closed(conn net.Conn, err error) error {
	if err != nil {
		return err
	}
	return conn.Close()
}

func (n Node) run(path ...string) string {
	return filepath.Join(append([]string{n.runDir()}, path...)...)
}

func (n Node) data(path ...string) string {
	return filepath.Join(append([]string{n.dataDir()}, path...)...)
}
