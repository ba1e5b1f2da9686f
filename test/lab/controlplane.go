package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// auditPolicy records who asked for what, without bodies; Events would be most of it and are left out.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  resources:
  - group: ""
    resources: [events]
  - group: events.k8s.io
    resources: [events]
- level: Metadata
`

// controllers are the parts of the controller manager that OCM, Argo and their users rely on.
var controllers = []string{
	"certificatesigningrequest-signing-controller",
	"certificatesigningrequest-cleaner-controller",
	"certificatesigningrequest-approving-controller",
	"namespace-controller",
	"garbage-collector-controller",
	"serviceaccount-controller",
	"serviceaccount-token-controller",
	"root-ca-certificate-publisher-controller",
	"clusterrole-aggregation-controller",
	"validatingadmissionpolicy-status-controller",
	"deployment-controller",
	"replicaset-controller",
	"job-controller",
	"pod-garbage-collector-controller", // an API server that is killed leaves pods without a node half deleted
}

// nodeControllers are what belongs to nodes with a kubelet, and would take a simulated one for lost.
var nodeControllers = []string{
	"node-lifecycle-controller",
	"taint-eviction-controller",
}

// startControlPlane starts etcd, the API server and the controller manager.
func (c *Cluster) startControlPlane(ctx context.Context) error {
	if err := c.writePKI(); err != nil {
		return fmt.Errorf("certificates of %s: %w", c.Name, err)
	}
	if err := c.writeIdentity(c.Kubeconfig(), "admin", systemMasters); err != nil {
		return err
	}
	apiServer, err := c.apiServer()
	if err != nil {
		return err
	}
	controllerManager, err := c.controllerManager()
	if err != nil {
		return err
	}
	for _, p := range []Process{c.etcd(), apiServer, controllerManager} {
		if err := c.Start(ctx, p); err != nil {
			return err
		}
	}
	c.lab.progress.printf("%s: control plane is ready", c.Name)
	return nil
}

// writePKI makes the certificates that the control plane serves and uses.
func (c *Cluster) writePKI() error {
	ca, err := c.authority()
	if err != nil {
		return err
	}
	if _, err := loadOrCreateAuthority(c.path("pki", "front-proxy-ca"), "lab-front-proxy"); err != nil {
		return err
	}
	return errors.Join(
		ca.issueTo(c.path("pki", "apiserver"), "kube-apiserver", nil, c.serverNames()),
		ca.issueTo(c.path("pki", "apiserver-kubelet-client"), "kube-apiserver", []string{systemMasters}, nil),
		ca.issueTo(c.path("pki", "service-account"), "service-account", nil, nil),
	)
}

// serverNames are the names by which clients reach the API server and other servers of the cluster.
func (c *Cluster) serverNames() []string {
	return []string{
		"127.0.0.1", "localhost", c.site().NodeIP(), strings.TrimSuffix(c.serviceCIDR(), "0/24") + "1",
		"kubernetes", "kubernetes.default", "kubernetes.default.svc",
	}
}

func (c *Cluster) serviceCIDR() string { return fmt.Sprintf("10.96.%d.0/24", c.index) }

func (c *Cluster) etcd() Process {
	listen := "http://" + loopback(c.ports[portEtcd])
	peers := "http://" + loopback(c.ports[portEtcdPeer])
	return Process{
		Name: "etcd",
		Path: c.lab.binary("etcd"),
		Args: []string{
			"--name=" + c.Name, "--data-dir=" + c.path("etcd"),
			"--listen-client-urls=" + listen, "--advertise-client-urls=" + listen,
			"--listen-peer-urls=" + peers, "--initial-advertise-peer-urls=" + peers,
			"--initial-cluster=" + c.Name + "=" + peers,
			// A lab survives the death of its processes, not that of the machine.
			"--unsafe-no-fsync", "--log-level=warn",
		},
		Ready: c.httpOK(listen + "/readyz"),
	}
}

func (c *Cluster) apiServer() (Process, error) {
	pki := func(name string) string { return c.path("pki", name) }
	bind, advertise := "127.0.0.1", "127.0.0.1"
	if c.real() {
		bind, advertise = "0.0.0.0", c.site().NodeIP()
	}
	args := []string{
		"--etcd-servers=http://" + loopback(c.ports[portEtcd]),
		"--bind-address=" + bind, "--advertise-address=" + advertise,
		fmt.Sprintf("--secure-port=%d", c.ports[portAPIServer]),
		"--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=" + c.serviceCIDR(),
		"--tls-cert-file=" + pki("apiserver.crt"), "--tls-private-key-file=" + pki("apiserver.key"),
		"--client-ca-file=" + pki("ca.crt"),
		"--kubelet-client-certificate=" + pki("apiserver-kubelet-client.crt"),
		"--kubelet-client-key=" + pki("apiserver-kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP", // there is no DNS
		"--requestheader-client-ca-file=" + pki("front-proxy-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + pki("service-account.key"),
		"--service-account-signing-key-file=" + pki("service-account.key"),
		"--authorization-mode=Node,RBAC",
		"--enable-bootstrap-token-auth", "--allow-privileged=true", "--profiling=false",
	}
	if c.IsHub() {
		// Beta and off in this version of Kubernetes; the hub chart uses it for the dormancy of hub Workflows.
		args = append(args, "--feature-gates=MutatingAdmissionPolicy=true",
			"--runtime-config=admissionregistration.k8s.io/v1beta1=true")
	}
	if c.lab.opts.Chaos {
		args = append(args, "--etcd-compaction-interval=0")
	}
	if c.lab.opts.Audit {
		policy := c.path("audit-policy.yaml")
		if err := writeFile(policy, []byte(auditPolicy)); err != nil {
			return Process{}, err
		}
		args = append(args, "--audit-policy-file="+policy, "--audit-log-path="+c.AuditLog())
	}
	ready, err := c.apiServerReady()
	return Process{Name: "kube-apiserver", Path: c.lab.binary("kube-apiserver"), Args: args, Ready: ready}, err
}

// apiServerReady asks as the administrator, since anonymous users are told less.
func (c *Cluster) apiServerReady() (func(context.Context) error, error) {
	pair, err := tls.LoadX509KeyPair(c.path("pki", "apiserver-kubelet-client.crt"), c.path("pki", "apiserver-kubelet-client.key"))
	if err != nil {
		return nil, fmt.Errorf("client certificate of %s: %w", c.Name, err)
	}
	return c.httpOK(c.server()+"/readyz", pair), nil
}

func (c *Cluster) controllerManager() (Process, error) {
	kubeconfig, err := c.identity("kube-controller-manager")
	if err != nil {
		return Process{}, err
	}
	chosen := controllers
	if c.real() {
		chosen = slices.Concat(controllers, nodeControllers)
	}
	return Process{
		Name: "kube-controller-manager",
		Path: c.lab.binary("kube-controller-manager"),
		Args: []string{
			"--kubeconfig=" + kubeconfig, "--secure-port=0", "--leader-elect=false", "--profiling=false",
			"--controllers=" + strings.Join(chosen, ","),
			"--service-account-private-key-file=" + c.path("pki", "service-account.key"),
			"--root-ca-file=" + c.path("pki", "ca.crt"),
			// The one signer that OCM asks. Each watches its files, and inotify is scarce with several labs.
			"--cluster-signing-kube-apiserver-client-cert-file=" + c.path("pki", "ca.crt"),
			"--cluster-signing-kube-apiserver-client-key-file=" + c.path("pki", "ca.key"),
			// The default of 20 requests a second would make benchmarks measure the garbage collector.
			"--kube-api-qps=300", "--kube-api-burst=600",
		},
		Ready: c.hasDefaultServiceAccount,
	}, nil
}

// hasDefaultServiceAccount is the first thing that a controller manager does which others wait for: without it no
// pod can be made.
func (c *Cluster) hasDefaultServiceAccount(ctx context.Context) error {
	kubeClient, err := c.Client()
	if err != nil {
		return err
	}
	return kubeClient.Get(ctx, client.ObjectKey{Namespace: "default", Name: "default"}, &corev1.ServiceAccount{})
}
