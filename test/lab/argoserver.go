package lab

import (
	"context"
	"fmt"
	"path/filepath"
)

// ArgoServer is the name and the namespace of the ServiceAccount with which an argo-server runs on the hub.
const ArgoServer = "argo-server"

// argoServerPorts are the hub's ports for an argo-server by its auth mode.
var argoServerPorts = map[string]string{"client": portArgoServerClient, "server": portArgoServerServer}

// StartArgoServer runs an argo-server on the hub, as example/hub makes it, with one of the auth modes "client" (whoever asks acts
// with a token of his own) and "server" (all act with the server's ServiceAccount, which has no right but to start). It returns
// the address on 127.0.0.1 at which it answers plain HTTP. With simulated pods it listens on the machine's other addresses too:
// argo-server cannot be told not to.
func (l *Lab) StartArgoServer(ctx context.Context, mode string) (address string, err error) {
	hub := l.Hub()
	if err := hub.ApplyFiles(ctx, filepath.Join("example", "hub", "argo-server.yaml")); err != nil {
		return "", err
	}
	kubeconfig, err := hub.serviceAccountIdentity(ctx, ArgoServer, ArgoServer)
	if err != nil {
		return "", err
	}
	name := argoServerPorts[mode]
	address = loopback(hub.ports[name])
	if err := hub.Start(ctx, Process{
		Name: name,
		Path: l.binary("argo"),
		Args: []string{
			"server", "--auth-mode=" + mode, "--secure=false", fmt.Sprintf("--port=%d", hub.ports[name]),
		},
		// Not by a flag: with a client's token it reads its kubeconfig anew, from where the environment says.
		Env: []string{"KUBECONFIG=" + kubeconfig},
		// Its page is there as soon as it listens, and that is when its caches are read.
		Ready: hub.httpOK("http://" + address + "/"),
	}); err != nil || !hub.real() {
		return address, err
	}
	return address, hub.expose(ctx, name)
}

// StopArgoServer stops the argo-server of that auth mode.
func (l *Lab) StopArgoServer(mode string) error {
	hub := l.Hub()
	if hub.real() {
		if err := hub.Stop(exposed(argoServerPorts[mode])); err != nil {
			return err
		}
	}
	return hub.Stop(argoServerPorts[mode])
}
