package node

import (
	"bytes"
	"text/template"
)

// RegistryAddress is where the registry with the stand-in images listens, in each node's namespace.
const RegistryAddress = "127.0.0.1:5000"

// pauseImage is the image of pods' sandboxes; the registry has a stand-in for it, too.
const pauseImage = "registry.k8s.io/pause:3.10"

// containerdTemplate configures a containerd that shares nothing with another one on the machine: two
// kubelets on one containerd kill each other's pods. AppArmor is off because profiles belong to the
// machine; the OOM score is restricted because root in a container may not lower it.
var containerdTemplate = template.Must(template.New("containerd").Parse(`version = 2
root = "{{.Root}}"
state = "{{.State}}"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = "{{.Socket}}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{{.Opt}}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{{.Pause}}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{{.Snapshotter}}"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = "{{.Runc}}"
        SystemdCgroup = false

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{{.CNIBin}}"
    conf_dir = "{{.CNIConf}}"

  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{{.Registries}}"
`))

// hostsTemplate sends every pull, from whatever registry, to the one with the stand-ins. It is the mirror and the
// server, too: what a mirror lacks is asked of the server, which by default is the registry itself.
var hostsTemplate = template.Must(template.New("hosts").Parse(`server = "http://{{.}}"

[host."http://{{.}}"]
  capabilities = ["pull", "resolve"]
`))

type containerdConfig struct {
	Root, State, Socket, Opt, Runc string
	CNIBin, CNIConf, Registries    string
	Pause, Snapshotter             string
}

func render(t *template.Template, data any) ([]byte, error) {
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
