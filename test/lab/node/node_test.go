package node

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSitesOfALabDoNotOverlap(t *testing.T) {
	seen := map[string]bool{}
	for index := range 4 {
		s := Site{Lab: "one", Cluster: "c" + string(rune('0'+index)), Index: index}
		require.NoError(t, s.validate())
		for _, taken := range []string{
			s.Netns(), s.NodeIP(), s.PodCIDR(), s.ServiceCIDR(), s.ServiceIP(), s.uplink(), s.cgroup(), s.runDir(), s.dataDir(),
		} {
			require.False(t, seen[taken], taken)
			seen[taken] = true
		}
		_, services, err := net.ParseCIDR(s.ServiceCIDR())
		require.NoError(t, err)
		require.True(t, services.Contains(net.ParseIP(s.ServiceIP())))
	}
	last := Site{Lab: "one", Cluster: "last", Index: MaxIndex}
	require.NotNil(t, net.ParseIP(last.NodeIP()))
	require.NotNil(t, net.ParseIP(last.ServiceIP()))
}

func TestANamespaceBelongsToOneLab(t *testing.T) {
	other := Site{Lab: "a-b", Cluster: "hub"}
	require.False(t, strings.HasPrefix(other.Netns(), netnsPrefix("a")))
	require.True(t, strings.HasPrefix(other.Netns(), netnsPrefix("a-b")))
}

func TestSocketsFitIntoASocketAddress(t *testing.T) {
	s := Site{Lab: strings.Repeat("l", 30), Cluster: "cluster200", Index: 200}
	require.Less(t, len(s.runDir()+"/containerd.sock.ttrpc"), 108)
	require.Less(t, len(s.dataDir()+"/kubelet/device-plugins/kubelet.sock"), 108)
}

func TestOnlyAClusterPlugsIntoTheHub(t *testing.T) {
	hub := strings.Join(Site{Lab: "one", Cluster: HubCluster}.links(), "\n")
	require.Contains(t, hub, "type bridge")
	require.NotContains(t, hub, "veth")

	cluster := strings.Join(Site{Lab: "one", Cluster: "cluster1", Index: 1}.links(), "\n")
	require.Contains(t, cluster, "ip -n argolab.one.cluster1 link add eth0 type veth peer name v1 netns argolab.one.hub")
	require.Contains(t, cluster, "addr add 10.77.0.11/24 dev eth0")
	require.Contains(t, cluster, "addr add 10.96.1.1/32 dev lo")
}

func TestNodeConfiguration(t *testing.T) {
	n := Node{
		Site:        Site{Lab: "one", Cluster: "cluster1", Index: 1},
		KubeletPath: "/bin/kubelet", ImagesPath: "/bin/images", Images: "/images",
		Kubeconfig: "/kubelet.kubeconfig", ClientCA: "/ca.crt",
	}
	files, err := n.files()
	require.NoError(t, err)

	t.Run("containerd keeps to folders of the node", func(t *testing.T) {
		config := string(files["/run/argolab/one/cluster1/containerd.toml"])
		require.Contains(t, config, `root = "/var/lib/argolab/one/cluster1/containerd"`)
		require.Contains(t, config, `address = "/run/argolab/one/cluster1/containerd.sock"`)
		require.Contains(t, config, `Root = "/run/argolab/one/cluster1/runc"`)
		require.NotContains(t, config, `""`, "an empty setting is a default of the whole machine")
	})
	t.Run("every pull goes to the stand-ins and nowhere else", func(t *testing.T) {
		hosts := string(files["/run/argolab/one/cluster1/registries/_default/hosts.toml"])
		require.Contains(t, hosts, `server = "http://127.0.0.1:5000"`)
		require.Contains(t, hosts, `[host."http://127.0.0.1:5000"]`)
	})
	t.Run("kubelet is told of its cgroup, containerd and authority", func(t *testing.T) {
		var config struct {
			CgroupRoot, ContainerRuntimeEndpoint string
			FailCgroupV1                         *bool
			Authentication                       struct {
				X509 struct{ ClientCAFile string }
			}
		}
		require.NoError(t, json.Unmarshal(files["/run/argolab/one/cluster1/kubelet.json"], &config))
		require.Equal(t, "/argolab/one/cluster1", config.CgroupRoot)
		require.Equal(t, "unix:///run/argolab/one/cluster1/containerd.sock", config.ContainerRuntimeEndpoint)
		require.Equal(t, "/ca.crt", config.Authentication.X509.ClientCAFile)
		require.NotNil(t, config.FailCgroupV1)
		require.False(t, *config.FailCgroupV1)
	})
	t.Run("pods get addresses of the node's range", func(t *testing.T) {
		require.Contains(t, string(files["/run/argolab/one/cluster1/cni/10-pods.conflist"]), `"subnet": "10.88.1.0/24"`)
	})
}

func TestTheServiceOfTheAPIServerLeadsToItsPort(t *testing.T) {
	s := Site{Lab: "one", Cluster: "cluster1", Index: 1}
	require.Equal(t, []string{"nsenter", "--net=/run/netns/argolab.one.cluster1"}, s.Enter())
	rules := s.redirects(6443)
	require.Len(t, rules, 2)
	for i, chain := range []string{"PREROUTING", "OUTPUT"} {
		require.Contains(t, rules[i], strings.Join(s.Enter(), " ")+" iptables")
		require.Contains(t, rules[i], "--append "+chain+" --destination 10.96.1.1 ")
		require.Contains(t, rules[i], "--to-ports 6443")
	}
}

func TestPrepareRefusesANodeWithoutAPlace(t *testing.T) {
	for _, s := range []Site{{}, {Lab: "one"}, {Lab: "one", Cluster: "c", Index: MaxIndex + 1}} {
		require.Error(t, Node{Site: s}.Prepare())
	}
}

func TestCleanRefusesWhatIsNoLabsName(t *testing.T) {
	for _, lab := range []string{"", ".", "..", "a/b", "a.b"} {
		require.ErrorContains(t, Clean(t.Context(), lab), "no lab's name")
	}
}

func TestCgroupMounts(t *testing.T) {
	v1 := "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,relatime,cpu,cpuacct 0 0\n" +
		"cgroup /sys/fs/cgroup/systemd cgroup rw,relatime,name=systemd 0 0\n"
	v2 := "cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n"
	cases := map[string]struct {
		mounts  string
		want    []hierarchy
		unified bool
	}{
		"hybrid": {
			"proc /proc proc rw 0 0\n" + v1 + v2,
			[]hierarchy{{"/sys/fs/cgroup/cpu,cpuacct", false}, {"/sys/fs/cgroup/systemd", false}, {"/sys/fs/cgroup/unified", true}},
			false,
		},
		"v2":        {"cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n", []hierarchy{{"/sys/fs/cgroup", true}}, true},
		"read-only": {strings.ReplaceAll(v1+v2, " rw,", " ro,"), nil, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := parseHierarchies(strings.NewReader(c.mounts))
			require.NoError(t, err)
			require.Equal(t, c.want, got)
			require.Equal(t, c.unified, unified(got))
		})
	}
}

func TestUnifiedCgroupPassesOnItsControllers(t *testing.T) {
	root := t.TempDir()
	write := func(path, content string) {
		require.NoError(t, os.WriteFile(filepath.Join(root, path), []byte(content), 0o600))
	}
	h := hierarchy{path: root, v2: true}

	write("cgroup.subtree_control", "")
	write("cgroup.controllers", "cpu cpuset io memory pids rdma\n")
	require.NoError(t, h.make("/top", true))
	control, err := os.ReadFile(filepath.Join(root, "cgroup.subtree_control"))
	require.NoError(t, err)
	require.Equal(t, "+cpu +cpuset +memory +pids +io", string(control))
	require.DirExists(t, filepath.Join(root, "top"))

	write("cgroup.controllers", "memory pids\n")
	require.ErrorContains(t, h.make("/top", true), `lacks the controller "cpu"`)
}

func TestNewV1CgroupGetsItsParentsProcessors(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, "top"), 0o700))
	for path, content := range map[string]string{
		"cpuset.cpus": "0-1\n", "cpuset.mems": "0\n", "top/cpuset.cpus": "\n", "top/cpuset.mems": "1\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(root, path), []byte(content), 0o600))
	}
	require.NoError(t, hierarchy{path: root}.make("/top", false))
	for path, want := range map[string]string{"top/cpuset.cpus": "0-1\n", "top/cpuset.mems": "1\n"} {
		content, err := os.ReadFile(filepath.Join(root, path))
		require.NoError(t, err)
		require.Equal(t, want, string(content), path)
	}
}

func TestSysctlsGoBackToWhatTheFirstLabFound(t *testing.T) {
	root, file := t.TempDir(), filepath.Join(t.TempDir(), "sysctl.json")
	set := func(value string) {
		require.NoError(t, os.MkdirAll(filepath.Join(root, "kernel"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(root, "kernel/panic"), []byte(value+"\n"), 0o600))
	}
	set("1")
	require.NoError(t, saveSysctls(root, file))
	set("10")
	require.NoError(t, saveSysctls(root, file), "a second lab")
	require.NoError(t, restoreSysctls(root, file))
	got, err := os.ReadFile(filepath.Join(root, "kernel/panic"))
	require.NoError(t, err)
	require.Equal(t, "1", strings.TrimSpace(string(got)))
	require.NoFileExists(t, file)
	require.NoError(t, restoreSysctls(root, file), "there is nothing left to restore")
}

func TestALimitIsOnlyRaised(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "limit")
	for have, want := range map[string]string{"128\n": "500", "500\n": "500\n", "1000\n": "1000\n"} {
		require.NoError(t, os.WriteFile(path, []byte(have), 0o600))
		require.NoError(t, raiseSysctl(root, "limit", 500))
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
}

func TestServicesDoNotStartDuringAnInstallation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy-rc.d")
	restore, err := denyServices(path)
	require.NoError(t, err)
	require.FileExists(t, path)
	require.NoError(t, restore())
	require.NoFileExists(t, path)

	require.NoError(t, os.WriteFile(path, []byte("the machine's own"), 0o700))
	restore, err = denyServices(path)
	require.NoError(t, err)
	require.NoError(t, restore())
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "the machine's own", string(content))
}
