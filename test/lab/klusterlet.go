package lab

import (
	"context"
	"fmt"
	"path/filepath"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	clusterv1beta2 "open-cluster-management.io/api/cluster/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	klusterletSpace   = "open-cluster-management-agent"
	klusterletAccount = "klusterlet-agent-sa"
	// KlusterletProcess is OCM's registration agent and work agent in one.
	KlusterletProcess = "klusterlet-agent"
	// AddonNamespace is where addon agents live on a managed cluster.
	AddonNamespace = "open-cluster-management-agent-addon"
)

// join registers the cluster with the hub as a user would: the agent introduces itself with a bootstrap token, has a
// certificate signed, and from then on has the rights of that one cluster.
func (c *Cluster) join(ctx context.Context) error {
	objects, err := c.klusterletObjects(ctx)
	if err != nil {
		return err
	}
	if err := c.Apply(ctx, c.own(klusterletSpace), objects...); err != nil {
		return err
	}
	if err := c.accept(ctx); err != nil {
		return err
	}
	if err := c.startHubLink(ctx); err != nil {
		return err
	}
	if err := c.startKlusterlet(ctx); err != nil {
		return err
	}
	if err := c.waitJoined(ctx); err != nil {
		return fmt.Errorf("%s does not join: %w\n%s", c.Name, err, c.tail(KlusterletProcess))
	}
	c.lab.progress.printf("%s: joined the hub and is available", c.Name)
	return nil
}

// klusterletObjects are what OCM's operator installs on a managed cluster for the agent that is both registration and
// work agent.
func (c *Cluster) klusterletObjects(ctx context.Context) ([]*unstructured.Unstructured, error) {
	build := c.lab.builder()
	ocm, err := build.moduleDir(ctx, build.tools(), ocmModule)
	if err != nil {
		return nil, err
	}
	name := c.own("klusterlet")
	values := map[string]any{
		"KlusterletName": name, "KlusterletNamespace": c.own(klusterletSpace), "AgentNamespace": c.own(klusterletSpace),
		"RegistrationServiceAccount": klusterletAccount, "WorkServiceAccount": klusterletAccount,
		"Labels": map[string]string{}, "ManagedClusterRoleArn": "",
		"RegistrationDriver": map[string]string{"AuthType": "csr"},
	}
	manifests := filepath.Join(ocm, "manifests", "klusterlet")
	objects, err := renderManifests(values,
		filepath.Join(manifests, "managed", "*.yaml"),
		filepath.Join(manifests, "management", "*role*.yaml"),
	)
	if err != nil {
		return nil, err
	}
	return append(unique(objects),
		newNamespace(c.own(klusterletSpace)), newNamespace(c.own(AddonNamespace)),
		newObject(rbac("ClusterRole"), "", "open-cluster-management:"+name+"-work:aggregate", map[string]any{
			"aggregationRule": map[string]any{"clusterRoleSelectors": []any{map[string]any{
				"matchLabels": map[string]any{"open-cluster-management.io/aggregate-to-work": "true"},
			}}},
		}),
	), nil
}

// unique drops objects that are there twice: with one account for both agents, OCM's two manifests of it are the same.
func unique(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	seen := map[string]bool{}
	var kept []*unstructured.Unstructured
	for _, object := range objects {
		key := object.GroupVersionKind().String() + client.ObjectKeyFromObject(object).String()
		if !seen[key] {
			kept = append(kept, object)
		}
		seen[key] = true
	}
	return kept
}

func (c *Cluster) startKlusterlet(ctx context.Context) error {
	local, err := c.serviceAccountIdentity(ctx, c.own(klusterletSpace), klusterletAccount)
	if err != nil {
		return err
	}
	bootstrap, err := c.bootstrapKubeconfig()
	if err != nil {
		return err
	}
	listen := loopback(c.ports[portKlusterlet])
	args := []string{
		"klusterlet-agent",
		"--kubeconfig=" + local, "--namespace=" + c.own(klusterletSpace), "--listen=" + listen, "--disable-leader-election",
		"--spoke-cluster-name=" + c.Name, "--bootstrap-kubeconfig=" + bootstrap,
		"--hub-kubeconfig-dir=" + c.path("hub-kubeconfig"),
		"--workload-source-driver=kube", "--workload-source-config=" + c.path("hub-kubeconfig", "kubeconfig"),
	}
	if interval := c.lab.opts.StatusSyncInterval; interval > 0 {
		args = append(args, "--status-sync-interval="+interval.String())
	}
	if c.lab.opts.Chaos {
		// When a ManifestWork comes and goes too fast for it, what it made stays for an hour.
		args = append(args, "--appliedmanifestwork-eviction-grace-period=1m")
	}
	if interval := c.lab.opts.WorkResync; interval > 0 {
		args = append(args, "--work-resync-interval="+interval.String())
	}
	return c.Start(ctx, Process{
		Name: KlusterletProcess, Path: c.lab.binary("ocm"), Args: args, Ready: c.httpOK("https://" + listen + "/healthz"),
	})
}

// bootstrapKubeconfig is what a cluster's administrator gets from the hub's to let the cluster join.
func (c *Cluster) bootstrapKubeconfig() (string, error) {
	hub := c.lab.Hub()
	ca, err := hub.authority()
	if err != nil {
		return "", err
	}
	id, secret, err := hub.bootstrapToken()
	if err != nil {
		return "", err
	}
	path := c.path("bootstrap.kubeconfig")
	auth := &clientcmdapi.AuthInfo{Token: id + "." + secret}
	return path, writeKubeconfig(path, newKubeconfig(c.hubServer(), ca.certPEM, "default", auth))
}

// accept lets the cluster in before it asks, and puts it into the default set, which OCM's admission webhook would do.
// Left to itself the agent would create its ManagedCluster, and sometimes never does: on a busy machine its certificate is
// approved first, and the agent then gives the creation up.
func (c *Cluster) accept(ctx context.Context) error {
	cluster := c.managedCluster()
	labels := map[string]string{clusterv1beta2.ClusterSetLabel: "default"}
	if c.isLocal() {
		labels[LocalCluster] = "true"
	}
	cluster.SetLabels(labels)
	if err := unstructured.SetNestedField(cluster.Object, true, "spec", "hubAcceptsClient"); err != nil {
		return err
	}
	return c.lab.Hub().Apply(ctx, "", cluster)
}

// waitJoined waits until OCM says that the cluster is joined and available. An agent that ends is started again, as a kubelet would: it
// does when it reads its credential for the hub half written.
func (c *Cluster) waitJoined(ctx context.Context) error {
	hub, err := c.lab.Hub().Client()
	if err != nil {
		return err
	}
	cluster := c.managedCluster()
	return poll(ctx, func(ctx context.Context) error {
		if _, running := c.running(KlusterletProcess); !running {
			c.lab.progress.printf("%s: OCM's agent has ended, and is started again", c.Name)
			if err := c.startKlusterlet(ctx); err != nil {
				return err
			}
		}
		if err := hub.Get(ctx, client.ObjectKeyFromObject(cluster), cluster); err != nil {
			return err
		}
		for _, condition := range []string{clusterv1.ManagedClusterConditionJoined, clusterv1.ManagedClusterConditionAvailable} {
			if err := wantCondition(cluster, condition); err != nil {
				return err
			}
		}
		return nil
	})
}

// managedCluster is the name under which the hub knows the cluster, to be read into.
func (c *Cluster) managedCluster() *unstructured.Unstructured {
	gvk := schema.GroupVersionKind{Group: clusterv1.GroupName, Version: "v1", Kind: "ManagedCluster"}
	return newObject(gvk, "", c.Name, nil)
}

func addonGVK(kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "addon.open-cluster-management.io", Version: "v1beta1", Kind: kind}
}
