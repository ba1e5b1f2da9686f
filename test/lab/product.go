package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// AddonName is the name of the product's agent addon.
const AddonName = "argo-workflow-multicluster"

// The product's processes.
const (
	ManagerProcess = "argo-multicluster-hub"
	AgentProcess   = "argo-multicluster-agent"
	mirrorProcess  = "secret-mirror"
)

// agentServiceAccount is who the agent is on its cluster, with the rights that manifests/agent gives it.
const agentServiceAccount = AddonName + "-agent"

// productBinary is where BuildProduct puts the product.
func (l *Lab) productBinary() string { return filepath.Join(l.repository, "bin", "argo-multicluster") }

// StartProduct builds the product and starts the manager and an agent on each managed cluster but those named. It
// returns when OCM says that the agents work, where there is Argo for them.
func (l *Lab) StartProduct(ctx context.Context, without ...string) error {
	if err := l.BuildProduct(ctx); err != nil {
		return err
	}
	if err := l.StartManager(ctx); err != nil {
		return err
	}
	l.progress.printf("hub: the manager runs")
	group, ctx := errgroup.WithContext(ctx)
	for _, c := range l.Managed() {
		if slices.Contains(without, c.Name) {
			continue
		}
		group.Go(func() error {
			if err := c.StartAgent(ctx); err != nil || slices.Contains(l.opts.WithoutArgo, c.Name) {
				return err
			}
			return c.awaitAddon(ctx)
		})
	}
	return group.Wait()
}

// awaitAddon waits until OCM has seen the Lease that the agent renews: no Placement leads to the cluster before that.
func (c *Cluster) awaitAddon(ctx context.Context) error {
	hub, err := c.lab.Hub().Client()
	if err != nil {
		return err
	}
	addon := newObject(addonGVK("ManagedClusterAddOn"), c.Name, AddonName, nil)
	if err := poll(ctx, func(ctx context.Context) error {
		if err := hub.Get(ctx, client.ObjectKeyFromObject(addon), addon); err != nil {
			return err
		}
		return wantCondition(addon, "Available")
	}); err != nil {
		return fmt.Errorf("addon on %s: %w\n%s", c.Name, err, c.tail(AgentProcess))
	}
	c.lab.progress.printf("%s: the agent runs, and the addon is available", c.Name)
	return nil
}

// BuildProduct builds the product's binary, bin/argo-multicluster, from the repository as it is now.
func (l *Lab) BuildProduct(ctx context.Context) error {
	args := append(slices.Clone(goBuild), "-o", l.productBinary(), "./cmd/argo-multicluster")
	return l.builder().goRun(ctx, l.repository, args...)
}

// StartManager installs the product's CRDs on the hub and runs its hub manager there, with a user of its own so that the
// audit log shows its requests apart. One that runs is started again if its arguments or the binary changed.
func (l *Lab) StartManager(ctx context.Context, extraArgs ...string) error {
	hub := l.Hub()
	crds, err := readManifests(filepath.Join(l.repository, "charts", AddonName, "crds", "*.yaml"))
	if err != nil {
		return err
	}
	if err := hub.Apply(ctx, "", crds...); err != nil {
		return err
	}
	kubeconfig, err := hub.identity(ManagerProcess)
	if err != nil {
		return err
	}
	health := loopback(hub.ports[portManagerHealth])
	return hub.Start(ctx, Process{
		Name: ManagerProcess,
		Path: l.productBinary(),
		Args: append([]string{
			"hub", "--kubeconfig=" + kubeconfig,
			"--metrics-bind-address=" + l.ManagerMetrics(), "--health-probe-bind-address=" + health,
		}, extraArgs...),
		Ready: hub.httpOK("http://" + health + "/readyz"),
	})
}

// ManagerMetrics is the address of the manager's metrics.
func (l *Lab) ManagerMetrics() string { return loopback(l.Hub().ports[portManagerMetrics]) }

// StopManager stops the hub manager.
func (l *Lab) StopManager() error { return l.Hub().Stop(ManagerProcess) }

// StartAgent enables the agent addon for the cluster and runs the agent as a process, in place of the Deployment that the
// addon would bring: nothing in this lab pulls images. The agent has the hub credential that OCM gives the addon.
// It needs a manager that runs, since that approves the addon's certificate.
func (c *Cluster) StartAgent(ctx context.Context, extraArgs ...string) error {
	if err := c.applyAgentManifests(ctx); err != nil {
		return err
	}
	if err := c.EnableAddon(ctx); err != nil {
		return err
	}
	folder, err := c.mirrorHubKubeconfig(ctx)
	if err != nil {
		return err
	}
	kubeconfig, err := c.serviceAccountIdentity(ctx, AddonNamespace, agentServiceAccount)
	if err != nil {
		return err
	}
	health := loopback(c.ports[portAgentHealth])
	return c.Start(ctx, Process{
		Name: AgentProcess,
		Path: c.lab.productBinary(),
		Args: append([]string{
			"agent", "--hub-kubeconfig=" + filepath.Join(folder, "kubeconfig"),
			"--cluster-name=" + c.Name, "--kubeconfig=" + kubeconfig,
			"--metrics-bind-address=" + c.AgentMetrics(), "--health-probe-bind-address=" + health,
		}, extraArgs...),
		// Not /readyz: an agent waits for the hub and for Argo's CRDs as long as it takes.
		Ready: c.httpOK("http://" + health + "/healthz"),
	})
}

// AgentMetrics is the address of the agent's metrics, in the cluster's network.
func (c *Cluster) AgentMetrics() string { return loopback(c.ports[portAgentMetrics]) }

// StopAgent stops the agent; the addon stays enabled.
func (c *Cluster) StopAgent() error {
	return errors.Join(c.Stop(AgentProcess), c.Stop(mirrorProcess))
}

// EnableAddon creates the ManagedClusterAddOn of the product's agent in the cluster's namespace on the hub, and the
// ClusterManagementAddOn that OCM wants for it.
func (c *Cluster) EnableAddon(ctx context.Context) error {
	management := newObject(addonGVK("ClusterManagementAddOn"), "", AddonName, map[string]any{"spec": map[string]any{
		"addOnMeta":       map[string]any{"displayName": "Argo Workflows across clusters"},
		"installStrategy": map[string]any{"type": "Manual"},
	}})
	if err := c.lab.Hub().Apply(ctx, "", management); err != nil {
		return err
	}
	addon := newObject(addonGVK("ManagedClusterAddOn"), c.Name, AddonName, map[string]any{"spec": map[string]any{}})
	return c.lab.Hub().Apply(ctx, c.Name, addon)
}

// applyAgentManifests applies what is plain YAML in the agent's chart: RBAC and policies, but no Deployment.
func (c *Cluster) applyAgentManifests(ctx context.Context) error {
	paths, err := filepath.Glob(filepath.Join(c.lab.repository, "manifests", "agent", "templates", "*.yaml"))
	if err != nil {
		return err
	}
	var objects []*unstructured.Unstructured
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.Contains(string(raw), "{{") {
			continue // a template of the chart's
		}
		read, err := decodeManifest(raw)
		if err != nil {
			return fmt.Errorf("manifest %s: %w", path, err)
		}
		for _, object := range read {
			if object.GetKind() != "Deployment" {
				objects = append(objects, object)
			}
		}
	}
	return c.Apply(ctx, AddonNamespace, objects...)
}

// mirrorHubKubeconfig waits for the addon's credential, which OCM's registration agent writes to a Secret, and keeps it
// in a folder, where the agent finds it as it would in its pod.
func (c *Cluster) mirrorHubKubeconfig(ctx context.Context) (string, error) {
	const secret = AddonName + "-hub-kubeconfig"
	kubeClient, err := c.Client()
	if err != nil {
		return "", err
	}
	key := client.ObjectKey{Namespace: AddonNamespace, Name: secret}
	if err := poll(ctx, func(ctx context.Context) error {
		return kubeClient.Get(ctx, key, &corev1.Secret{})
	}); err != nil {
		return "", fmt.Errorf("hub credential of the addon on %s: %w", c.Name, err)
	}
	kubeconfig, err := c.identity("kubelet")
	if err != nil {
		return "", err
	}
	folder := c.path("addon-hub-kubeconfig")
	return folder, c.Start(ctx, Process{
		Name: mirrorProcess,
		Path: c.lab.binary(labBinary),
		Args: []string{
			"mirror-secret", "--kubeconfig=" + kubeconfig,
			"--namespace=" + AddonNamespace, "--secret=" + secret, "--folder=" + folder,
		},
		Ready: func(context.Context) error {
			_, err := os.Stat(filepath.Join(folder, "kubeconfig"))
			return err
		},
	})
}
