package lab

import (
	"context"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// ArgoController is the name of the process that is a cluster's Argo controller.
const ArgoController = "workflow-controller"

const (
	argoSpace   = "argo"
	argoAccount = "argo"
)

// startArgo installs Argo's CRDs, and its controller where the options want one.
func (c *Cluster) startArgo(ctx context.Context) error {
	if slices.Contains(c.lab.opts.WithoutArgo, c.Name) || c.lab.RunsInPods() && !c.IsHub() {
		return nil
	}
	build := c.lab.builder()
	module, err := build.moduleDir(ctx, build.tools(), argoModule)
	if err != nil {
		return err
	}
	manifests := filepath.Join(module, "manifests")
	// The minimal CRDs: the full ones prune what they do not know, and are too large for many purposes.
	crds, err := readManifests(filepath.Join(manifests, "base", "crds", "minimal", "argoproj.io_*.yaml"))
	if err != nil {
		return err
	}
	if err := c.Apply(ctx, "", crds...); err != nil || !c.runsArgo() {
		return err
	}
	rest, err := readManifests(
		filepath.Join(manifests, "cluster-install-no-crds", "workflow-controller-rbac", "*.yaml"),
		filepath.Join(manifests, "base", "workflow-controller", "workflow-controller-sa.yaml"),
	)
	if err != nil {
		return err
	}
	completeSubjects(rest, argoSpace)
	executor, err := readManifests(filepath.Join(build.repository, "example", "managed", "executor-rbac.yaml"))
	if err != nil {
		return err
	}
	rest = append(rest, executor...)
	rest = append(rest, newNamespace(argoSpace), newObject(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"},
		argoSpace, "workflow-controller-configmap", map[string]any{"data": c.argoConfig()}))
	if err := c.Apply(ctx, argoSpace, rest...); err != nil {
		return err
	}
	return c.startArgoController(ctx)
}

// runsArgo tells whether an Argo controller runs on the cluster.
func (c *Cluster) runsArgo() bool {
	if c.IsHub() {
		return c.lab.opts.HubArgo != ""
	}
	return !c.lab.opts.NoArgoController && !slices.Contains(c.lab.opts.WithoutArgo, c.Name)
}

// argoConfig is the controller's ConfigMap. Metrics are off since their port is fixed, and labs share this machine.
func (c *Cluster) argoConfig() map[string]any {
	config := map[string]any{"metricsConfig": "enabled: false\n", "images": imageCommands}
	if id := c.lab.opts.HubArgo; c.IsHub() && id != HubArgoPlain {
		config["instanceID"] = id
	}
	return config
}

// RestartArgo starts the cluster's Argo controller again, with variables beside those that the lab gives it.
func (c *Cluster) RestartArgo(ctx context.Context, env ...string) error {
	return c.startArgoController(ctx, env...)
}

func (c *Cluster) startArgoController(ctx context.Context, env ...string) error {
	kubeconfig, err := c.serviceAccountIdentity(ctx, argoSpace, argoAccount)
	if err != nil {
		return err
	}
	version, err := c.lab.builder().moduleVersion(ctx, argoModule)
	if err != nil {
		return err
	}
	err = c.Start(ctx, Process{
		Name: ArgoController,
		Path: c.lab.binary("workflow-controller"),
		Args: []string{
			"--kubeconfig=" + kubeconfig,
			"--executor-image=" + executorImage + version, "--executor-image-pull-policy=IfNotPresent",
			// Benchmarks compare with Workflows created on the cluster itself; with the default of 20 requests a
			// second they would compare Argo with Argo.
			"--qps=200", "--burst=400",
		},
		Env: append([]string{"LEADER_ELECTION_DISABLE=true", "DEFAULT_REQUEUE_TIME=500ms"}, env...),
		// Its health check has a fixed port, which one controller on this machine gets.
		Ready: c.logSays(ArgoController, "Manager initialized successfully"),
	})
	if err == nil {
		c.lab.progress.printf("%s: Argo Workflows is ready", c.Name)
	}
	return err
}

// executorImage is Argo's executor image, but for its tag; real pods get one that the lab has built.
const executorImage = "quay.io/argoproj/argoexec:"

// imageCommands tells the controller what it would ask a registry for where a template has no command. It cannot reach
// any; of the images in Argo's examples this is the one that has a command of its own.
const imageCommands = "argoproj/argosay:v2:\n  entrypoint: [/argosay]\n"

// completeSubjects adds the namespace to service accounts in bindings, as kustomize does for Argo's manifests.
func completeSubjects(objects []*unstructured.Unstructured, namespace string) {
	for _, object := range objects {
		subjects, _, _ := unstructured.NestedSlice(object.Object, "subjects")
		for _, subject := range subjects {
			if fields, ok := subject.(map[string]any); ok && fields["kind"] == "ServiceAccount" && fields["namespace"] == nil {
				fields["namespace"] = namespace
			}
		}
		if len(subjects) > 0 {
			object.Object["subjects"] = subjects
		}
	}
}
