package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The names of the product's addons: the agent, and Argo Workflows.
const (
	AddonName     = "argo-workflow-multicluster"
	ArgoAddonName = "argo-workflows"
)

// The product's processes.
const (
	ManagerProcess = "argo-multicluster-hub"
	AgentProcess   = "argo-multicluster-agent"
	DeputyProcess  = "argo-multicluster-hub-deputy"
	mirrorProcess  = "secret-mirror"
)

// productBinary is where BuildProduct puts the product, or the variant of it that is used.
func (l *Lab) productBinary() string {
	if l.variant != "" {
		return l.variant
	}
	return filepath.Join(l.repository, "bin", "argo-multicluster")
}

// StartProduct builds the product and starts the manager and an agent on each cluster that joins the hub but those named. It
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
	for _, c := range l.joining() {
		if slices.Contains(without, c.Name) {
			continue
		}
		group.Go(func() error {
			if err := c.StartAgent(ctx); err != nil || slices.Contains(l.opts.WithoutArgo, c.Name) {
				return err
			}
			return c.awaitAddon(ctx, AddonName)
		})
	}
	return group.Wait()
}

// awaitAddon waits until OCM says that the addon works. No Placement leads to the cluster before it does of the agent's.
func (c *Cluster) awaitAddon(ctx context.Context, name string) error {
	hub, err := c.lab.Hub().Client()
	if err != nil {
		return err
	}
	addon := newObject(addonGVK("ManagedClusterAddOn"), c.Name, name, nil)
	if err := poll(ctx, func(ctx context.Context) error {
		if err := hub.Get(ctx, client.ObjectKeyFromObject(addon), addon); err != nil {
			return err
		}
		return wantCondition(addon, "Available")
	}); err != nil {
		return fmt.Errorf("addon %s on %s: %w", name, c.Name, err)
	}
	c.lab.progress.printf("%s: the addon %s is available", c.Name, name)
	return nil
}

// BuildProduct builds the product's binary, bin/argo-multicluster, from the repository as it is now. A variant that is used is there
// already.
func (l *Lab) BuildProduct(ctx context.Context) error {
	if l.variant != "" {
		return nil
	}
	args := append(slices.Clone(goBuild), "-o", l.productBinary(), "./cmd/argo-multicluster")
	return l.builder().goRun(ctx, l.repository, args...)
}

// StartManager installs the hub chart, and runs its manager as a process with the arguments and as the service account of
// the chart's Deployment, which gets no replicas. One that runs is started again if its arguments or the binary changed.
func (l *Lab) StartManager(ctx context.Context, extraArgs ...string) error {
	if err := l.InstallChart(ctx, "replicas=0"); err != nil {
		return err
	}
	return l.startManager(ctx, ManagerProcess, portManagerHealth, append([]string{
		"--leader-elect=false", "--metrics-bind-address=" + l.ManagerMetrics(), "--metrics-secure=false",
	}, extraArgs...))
}

// StartManagers installs the hub chart and runs two managers as processes, of which one leads and the other stands by.
func (l *Lab) StartManagers(ctx context.Context) error {
	electing := []string{"--leader-elect=true", "--leader-election-namespace=" + ChartRelease}
	if err := l.StartManager(ctx, electing...); err != nil {
		return err
	}
	return l.startManager(ctx, DeputyProcess, portDeputyHealth, append(electing, "--metrics-bind-address=0"))
}

// startManager runs the manager as the process of that name.
func (l *Lab) startManager(ctx context.Context, name, healthPort string, extraArgs []string) error {
	hub := l.Hub()
	args, err := hub.containerArgs(ctx, ChartRelease, ManagerDeployment)
	if err != nil {
		return err
	}
	kubeconfig, err := hub.serviceAccountIdentity(ctx, ChartRelease, ManagerDeployment)
	if err != nil {
		return err
	}
	health := loopback(hub.ports[healthPort])
	return hub.Start(ctx, Process{
		Name:  name,
		Path:  l.productBinary(),
		Args:  slices.Concat(args, []string{"--kubeconfig=" + kubeconfig, "--health-probe-bind-address=" + health}, extraArgs),
		Ready: hub.httpOK("http://" + health + "/readyz"),
	})
}

// ManagerMetrics is the address of the manager's metrics.
func (l *Lab) ManagerMetrics() string { return loopback(l.Hub().ports[portManagerMetrics]) }

// StopManager stops the hub manager.
func (l *Lab) StopManager() error { return l.Hub().Stop(ManagerProcess) }

// StartAgent enables the agent addon for the cluster and runs the agent as a process, with the arguments and as the
// service account of the Deployment that the addon brings, which gets no replicas. The agent has the hub credential that
// OCM gives the addon. It needs a manager that runs, since that deploys the addon and approves its certificate.
func (c *Cluster) StartAgent(ctx context.Context, extraArgs ...string) error {
	if err := c.enableWithoutPods(ctx); err != nil {
		return err
	}
	args, err := c.containerArgs(ctx, c.own(AddonNamespace), AgentDeployment)
	if err != nil {
		return err
	}
	folder, err := c.mirrorHubKubeconfig(ctx)
	if err != nil {
		return err
	}
	kubeconfig, err := c.serviceAccountIdentity(ctx, c.own(AddonNamespace), AgentDeployment)
	if err != nil {
		return err
	}
	health := loopback(c.ports[portAgentHealth])
	return c.Start(ctx, Process{
		Name: AgentProcess,
		Path: c.lab.productBinary(),
		Args: slices.Concat(args, []string{
			"--hub-kubeconfig=" + filepath.Join(folder, "kubeconfig"), "--kubeconfig=" + kubeconfig,
			"--agent-namespace=" + c.own(AddonNamespace), "--leader-elect=false",
			"--metrics-bind-address=" + c.AgentMetrics(), "--metrics-secure=false", "--health-probe-bind-address=" + health,
		}, extraArgs),
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

// enableWithoutPods creates the cluster's ManagedClusterAddOn with a configuration that gives its Deployment no replicas.
func (c *Cluster) enableWithoutPods(ctx context.Context) error {
	config := newObject(addonGVK("AddOnDeploymentConfig"), c.Name, "processes", map[string]any{"spec": map[string]any{
		"agentInstallNamespace": c.own(AddonNamespace),
		"customizedVariables":   []any{map[string]any{"name": "replicas", "value": "0"}},
	}})
	addon := newObject(addonGVK("ManagedClusterAddOn"), c.Name, AddonName, map[string]any{"spec": map[string]any{
		"configs": []any{map[string]any{
			"group": config.GroupVersionKind().Group, "resource": "addondeploymentconfigs",
			"namespace": config.GetNamespace(), "name": config.GetName(),
		}},
	}})
	return c.lab.Hub().Apply(ctx, c.Name, config, addon)
}

// mirrorHubKubeconfig waits for the addon's credential, which OCM's registration agent writes to a Secret, and keeps it
// in a folder, where the agent finds it as it would in its pod.
func (c *Cluster) mirrorHubKubeconfig(ctx context.Context) (string, error) {
	const secret = AddonName + "-hub-kubeconfig"
	kubeClient, err := c.Client()
	if err != nil {
		return "", err
	}
	key := client.ObjectKey{Namespace: c.own(AddonNamespace), Name: secret}
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
			"--namespace=" + c.own(AddonNamespace), "--secret=" + secret, "--folder=" + folder,
		},
		Ready: func(context.Context) error {
			_, err := os.Stat(filepath.Join(folder, "kubeconfig"))
			return err
		},
	})
}
