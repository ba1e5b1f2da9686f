package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// ChartRelease is the name under which the lab installs the hub chart, and of the namespace that it goes to.
	ChartRelease = AddonName
	// ManagerDeployment is the Deployment of the hub manager, in the namespace ChartRelease.
	ManagerDeployment = AddonName + "-hub"
	// AgentDeployment is the Deployment of the agent on a managed cluster, in AddonNamespace.
	AgentDeployment = AddonName + "-agent"

	// ProductImage is the product's image without its tag; on the lab's nodes every tag is the build that InstallChart has
	// made last.
	ProductImage = "quay.io/open-cluster-management/argo-multicluster"
)

// cliTools are the programs with which a user installs the product, and uses it.
var cliTools = []string{"helm", "clusteradm", "kubectl", "argo"}

// RunsInPods tells whether product and Argo run in pods, as chart and addons deploy them, and not as processes of the lab.
func (l *Lab) RunsInPods() bool { return l.opts.ProductPods && l.opts.Pods == PodsReal }

// Tool runs one of the programs helm, clusteradm, kubectl and argo as a user would who looks after the cluster, and returns what
// it prints.
func (c *Cluster) Tool(ctx context.Context, name string, args ...string) (string, error) {
	return c.run(ctx, c.lab.binary(name), args...)
}

// Shell runs shell commands as a user would, in the repository's folder, with those programs and argo-multicluster. The first that fails
// ends it. It returns what they print.
func (c *Cluster) Shell(ctx context.Context, script string) (string, error) {
	return c.run(ctx, "sh", "-e", "-c", script)
}

func (c *Cluster) run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	home := c.path("home")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return "", err
	}
	cmd.Dir = c.lab.repository
	path := strings.Join([]string{filepath.Dir(c.lab.productBinary()), filepath.Dir(c.lab.binary("kubectl")), os.Getenv("PATH")}, ":")
	cmd.Env = append(os.Environ(), "PATH="+path, "KUBECONFIG="+c.Kubeconfig(), "HOME="+home,
		"HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// InstallProduct installs the product with helm and clusteradm, on the hub and on all managed clusters. It returns when OCM
// says that both addons work everywhere.
func (l *Lab) InstallProduct(ctx context.Context) error {
	if err := l.InstallChart(ctx); err != nil {
		return err
	}
	l.progress.printf("hub: the chart is installed, and the manager runs")
	out, err := l.Hub().Tool(ctx, "clusteradm", "addon", "enable", "--names", ArgoAddonName+","+AddonName,
		"--clusters", strings.Join(l.opts.managedNames(), ","))
	if err != nil {
		return err
	}
	l.progress.printf("%s", strings.TrimSpace(out))
	group, ctx := errgroup.WithContext(ctx)
	for _, c := range l.Managed() {
		for _, addon := range []string{ArgoAddonName, AddonName} {
			group.Go(func() error { return c.awaitAddon(ctx, addon) })
		}
	}
	return group.Wait()
}

// InstallChart installs the hub chart on the hub, or upgrades it, with values as for helm's --set. Where the product
// runs in pods, it returns when the manager's pods are ready; the image is built from the repository as it is now.
func (l *Lab) InstallChart(ctx context.Context, values ...string) error {
	if err := l.builder().build(ctx, cliTools); err != nil {
		return err
	}
	args := []string{
		"upgrade", "--install", ChartRelease, filepath.Join("charts", AddonName),
		"--namespace", ChartRelease, "--create-namespace",
	}
	if l.opts.HubArgo != "" {
		args = append(args, "--set=hubArgo.enabled=true")
	}
	if l.RunsInPods() {
		tag, err := l.PublishProduct(ctx)
		if err != nil {
			return err
		}
		args = append(args, "--wait", "--timeout=2m", "--set=image.tag="+tag)
	}
	_, err := l.Hub().Tool(ctx, "helm", append(args, setting(values)...)...)
	return err
}

// UpgradeChart changes values of the hub chart, and returns when the manager's pods are ready.
func (l *Lab) UpgradeChart(ctx context.Context, values ...string) error {
	args := []string{
		"upgrade", ChartRelease, filepath.Join("charts", AddonName), "--namespace", ChartRelease,
		"--reuse-values", "--wait", "--timeout=2m",
	}
	_, err := l.Hub().Tool(ctx, "helm", append(args, setting(values)...)...)
	return err
}

func setting(values []string) []string {
	flags := make([]string, len(values))
	for i, value := range values {
		flags[i] = "--set=" + value
	}
	return flags
}

// containerArgs returns the arguments of the one container of a Deployment, as soon as it is there: what the lab runs as a
// process where no node would run it as a pod.
func (c *Cluster) containerArgs(ctx context.Context, namespace, name string) ([]string, error) {
	kubeClient, err := c.Client()
	if err != nil {
		return nil, err
	}
	deployment := &appsv1.Deployment{}
	key := client.ObjectKey{Namespace: namespace, Name: name}
	if err := poll(ctx, func(ctx context.Context) error { return kubeClient.Get(ctx, key, deployment) }); err != nil {
		return nil, fmt.Errorf("Deployment %s on %s: %w", key, c.Name, err)
	}
	containers := deployment.Spec.Template.Spec.Containers
	if len(containers) != 1 || *deployment.Spec.Replicas != 0 {
		return nil, fmt.Errorf("Deployment %s on %s: want one container and no replica, since it runs as a process", key, c.Name)
	}
	return containers[0].Args, nil
}

// PublishProduct builds the product and its image, which all nodes of the lab can pull from then on, and returns its tag: a
// new one for each build, since nodes keep what they have pulled.
func (l *Lab) PublishProduct(ctx context.Context) (tag string, err error) {
	if err := l.BuildProduct(ctx); err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(buildID(l.productBinary())))
	return "build-" + hex.EncodeToString(sum[:6]), l.makeImages(ctx, "--argo-multicluster="+l.productBinary())
}
