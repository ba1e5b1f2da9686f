package lab

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	ocmModule      = "open-cluster-management.io/ocm"
	ocmAPIModule   = "open-cluster-management.io/api"
	ocmHubSpace    = "open-cluster-management-hub"
	bootstrapGroup = "system:bootstrappers:managedcluster"
)

// ocmHubControllers are OCM's controllers on the hub; each serves its health on the port of the same name.
var ocmHubControllers = []string{"registration", "placement", "addon", "work"}

const (
	portAddonWebhook       = "addon-webhook"
	portAddonWebhookHealth = "addon-webhook-health"
)

var ocmHubPorts = append([]string{portAddonWebhook, portAddonWebhookHealth}, ocmHubControllers...)

// startOCM starts the hub's side of Open Cluster Management, without the operator that would deploy it.
func (c *Cluster) startOCM(ctx context.Context) error {
	if err := c.startAddonWebhook(ctx); err != nil {
		return err
	}
	objects, err := c.ocmHubObjects(ctx)
	if err != nil {
		return err
	}
	if err := c.Apply(ctx, ocmHubSpace, objects...); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, name := range ocmHubControllers {
		group.Go(func() error { return c.startOCMController(ctx, name) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	c.lab.progress.printf("%s: Open Cluster Management is ready", c.Name)
	return nil
}

func (c *Cluster) startOCMController(ctx context.Context, name string) error {
	kubeconfig, err := c.identity("ocm-" + name)
	if err != nil {
		return err
	}
	listen := loopback(c.ports[name])
	args := []string{
		name, "--kubeconfig=" + kubeconfig, "--namespace=" + ocmHubSpace, "--listen=" + listen, "--disable-leader-election",
	}
	switch name {
	case "registration":
		user, _, err := c.bootstrapToken()
		if err != nil {
			return err
		}
		args = append(args, "--feature-gates=ManagedClusterAutoApproval=true", "--auto-approved-csr-users=system:bootstrap:"+user)
	case "work":
		args = append(args, "--feature-gates=ManifestWorkReplicaSet=true")
	}
	return c.Start(ctx, Process{
		Name: "ocm-" + name, Path: c.lab.binary("ocm"), Args: args, Ready: c.httpOK("https://" + listen + "/healthz"),
	})
}

// startAddonWebhook serves the conversion between the two versions of the addon API: OCM's controllers speak v1alpha1,
// the addon framework v1beta1.
func (c *Cluster) startAddonWebhook(ctx context.Context) error {
	ca, err := c.authority()
	if err != nil {
		return err
	}
	if err := ca.issueTo(c.path("addon-webhook", "tls"), "addon-webhook", nil, c.serverNames()); err != nil {
		return err
	}
	kubeconfig, err := c.identity("ocm-addon-webhook")
	if err != nil {
		return err
	}
	health := loopback(c.ports[portAddonWebhookHealth])
	return c.Start(ctx, Process{
		Name: "ocm-addon-webhook",
		Path: c.lab.binary("ocm"),
		Args: []string{
			"addon-webhook", fmt.Sprintf("--port=%d", c.ports[portAddonWebhook]),
			"--certdir=" + c.path("addon-webhook"), "--health-probe-bind-address=" + health,
		},
		Env:   []string{"KUBECONFIG=" + kubeconfig},
		Ready: c.httpOK("http://" + health + "/readyz"),
	})
}

// ocmHubObjects are OCM's CRDs and what a managed cluster needs to ask to be let in.
func (c *Cluster) ocmHubObjects(ctx context.Context) ([]*unstructured.Unstructured, error) {
	crds, err := c.ocmHubCRDs(ctx)
	if err != nil {
		return nil, err
	}
	id, secret, err := c.bootstrapToken()
	if err != nil {
		return nil, err
	}
	return append(crds,
		newNamespace(ocmHubSpace),
		newObject(schema.GroupVersionKind{Version: "v1", Kind: "Secret"}, "kube-system", "bootstrap-token-"+id, map[string]any{
			"type": "bootstrap.kubernetes.io/token",
			"stringData": map[string]any{
				"token-id": id, "token-secret": secret,
				"usage-bootstrap-authentication": "true", "auth-extra-groups": bootstrapGroup,
			},
		}),
		newObject(rbac("ClusterRole"), "", "open-cluster-management:bootstrap", map[string]any{"rules": []any{
			rule("certificates.k8s.io", "certificatesigningrequests", "create", "get", "list", "watch"),
			rule("cluster.open-cluster-management.io", "managedclusters", "create", "get", "list", "watch", "update"),
			rule("cluster.open-cluster-management.io", "managedclustersets/join", "create"),
		}}),
		newObject(rbac("ClusterRoleBinding"), "", "open-cluster-management:bootstrap", map[string]any{
			"roleRef":  map[string]any{"apiGroup": rbacGroup, "kind": "ClusterRole", "name": "open-cluster-management:bootstrap"},
			"subjects": []any{map[string]any{"apiGroup": rbacGroup, "kind": "Group", "name": bootstrapGroup}},
		}),
	), nil
}

// ocmHubCRDs are those of the OCM version that runs, but for the addon API: there the newer one, with both versions.
func (c *Cluster) ocmHubCRDs(ctx context.Context) ([]*unstructured.Unstructured, error) {
	build := c.lab.builder()
	api, err := build.moduleDir(ctx, build.repository, ocmAPIModule)
	if err != nil {
		return nil, err
	}
	ocm, err := build.moduleDir(ctx, build.tools(), ocmModule)
	if err != nil {
		return nil, err
	}
	addons, err := readManifests(filepath.Join(api, "addon", "v1beta1", "*.crd.yaml"))
	if err != nil {
		return nil, err
	}
	if err := c.addConversion(addons); err != nil {
		return nil, err
	}
	folder := filepath.Join(ocm, "manifests", "cluster-manager", "hub", "crds")
	rest, err := readManifests(
		filepath.Join(folder, "*_clusters.open-cluster-management.io_*.crd.yaml"),
		filepath.Join(folder, "*_work.open-cluster-management.io_*.crd.yaml"),
		filepath.Join(folder, "*_addontemplates.crd.yaml"),
		filepath.Join(folder, "*_clusterprofiles.crd.yaml"),
	)
	return append(addons, rest...), err
}

// addConversion points the CRDs that OCM converts at the conversion webhook.
func (c *Cluster) addConversion(crds []*unstructured.Unstructured) error {
	ca, err := c.authority()
	if err != nil {
		return err
	}
	for _, crd := range crds {
		if strings.HasPrefix(crd.GetName(), "addondeploymentconfigs.") {
			continue // the same in both versions
		}
		err := unstructured.SetNestedMap(crd.Object, map[string]any{
			"strategy": "Webhook",
			"webhook": map[string]any{
				"conversionReviewVersions": []any{"v1"},
				"clientConfig": map[string]any{
					"url":      "https://" + loopback(c.ports[portAddonWebhook]) + "/convert",
					"caBundle": base64.StdEncoding.EncodeToString(ca.certPEM),
				},
			},
		}, "spec", "conversion")
		if err != nil {
			return err
		}
	}
	return nil
}

// bootstrapToken returns the token with which managed clusters introduce themselves, as id and secret.
func (c *Cluster) bootstrapToken() (id, secret string, err error) {
	path := c.path("bootstrap-token")
	if raw, err := os.ReadFile(path); err == nil {
		id, secret, _ = strings.Cut(string(raw), ".")
		return id, secret, nil
	}
	random := make([]byte, 11)
	if _, err := rand.Read(random); err != nil {
		return "", "", err
	}
	text := hex.EncodeToString(random)
	id, secret = text[:6], text[6:]
	return id, secret, writeFile(path, []byte(id+"."+secret))
}
