package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"os"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// rotationInterval is how often the kubeconfig of the hub is looked at. OCM renews a certificate long before the old
// one expires, so there is no hurry.
const rotationInterval = 5 * time.Second

// rotation runs something with the hub's kubeconfig, and anew with each new content of it.
type rotation struct {
	kubeconfig string
	// tick says when to look at the files.
	tick <-chan time.Time
}

// run calls start with the access to the hub until the context is done or start returns by itself. It waits for a
// kubeconfig that is not there yet. When the content changes, the context of start is canceled, and start is called
// again once it has returned. Content that is of no use, such as a half-written pair of files, changes nothing.
func (r rotation) run(ctx context.Context, start func(context.Context, *rest.Config) error) error {
	for {
		hub, found := r.await(ctx)
		if !found {
			return nil
		}
		if changed, err := r.runWith(ctx, hub, start); err != nil || !changed {
			return err
		}
	}
}

// await returns the access to the hub as soon as there is one; false when the context is done first.
func (r rotation) await(ctx context.Context) (hubAccess, bool) {
	for told := false; ; told = true {
		hub, err := readHubAccess(r.kubeconfig)
		if err == nil {
			return hub, true
		}
		if !told {
			log.FromContext(ctx).Info("waiting for the kubeconfig of the hub", "file", r.kubeconfig, "problem", err.Error())
		}
		select {
		case <-ctx.Done():
			return hubAccess{}, false
		case <-r.tick:
		}
	}
}

// runWith calls start and returns when it has returned: by itself, or because it was stopped after a change.
func (r rotation) runWith(
	ctx context.Context, hub hubAccess, start func(context.Context, *rest.Config) error,
) (changed bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- start(ctx, hub.config) }()
	for {
		select {
		case err := <-stopped:
			return false, err
		case <-r.tick:
			if now, err := readHubAccess(r.kubeconfig); err != nil || now.digest == hub.digest {
				continue
			}
			log.FromContext(ctx).Info("the kubeconfig of the hub has changed: starting anew")
			cancel()
			return true, <-stopped
		}
	}
}

// hubAccess is a kubeconfig with all files that it refers to read into it: later changes of the files do not change it.
type hubAccess struct {
	config *rest.Config
	digest [sha256.Size]byte
}

func readHubAccess(path string) (hubAccess, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return hubAccess{}, fmt.Errorf("read kubeconfig: %w", err)
	}
	kubeconfig, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return hubAccess{}, fmt.Errorf("load kubeconfig: %w", err)
	}
	if err := clientcmd.ResolveLocalPaths(kubeconfig); err != nil {
		return hubAccess{}, fmt.Errorf("resolve paths in kubeconfig: %w", err)
	}
	config, err := clientcmd.NewDefaultClientConfig(*kubeconfig, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return hubAccess{}, fmt.Errorf("use kubeconfig: %w", err)
	}
	if err := rest.LoadTLSFiles(config); err != nil {
		return hubAccess{}, fmt.Errorf("read files of kubeconfig: %w", err)
	}
	config.BearerToken = strings.TrimSpace(config.BearerToken)
	config.CAFile, config.CertFile, config.KeyFile, config.BearerTokenFile = "", "", "", ""
	if len(config.CertData) > 0 {
		if _, err := tls.X509KeyPair(config.CertData, config.KeyData); err != nil {
			return hubAccess{}, fmt.Errorf("client certificate: %w", err)
		}
	}
	content := bytes.Join([][]byte{raw, config.CAData, config.CertData, config.KeyData, []byte(config.BearerToken)}, []byte{0})
	return hubAccess{config: config, digest: sha256.Sum256(content)}, nil
}
