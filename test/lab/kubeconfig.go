package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// tokenLife is the life of a service account's token in a kubeconfig: longer than any lab.
const tokenLife = 30 * 24 * time.Hour

// systemMasters is the group that Kubernetes lets do everything.
const systemMasters = "system:masters"

// newKubeconfig builds a kubeconfig with everything embedded, so that it works from any folder.
func newKubeconfig(server string, ca []byte, namespace string, user *clientcmdapi.AuthInfo) *clientcmdapi.Config {
	config := clientcmdapi.NewConfig()
	config.Clusters["lab"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca}
	config.AuthInfos["lab"] = user
	config.Contexts["lab"] = &clientcmdapi.Context{Cluster: "lab", AuthInfo: "lab", Namespace: namespace}
	config.CurrentContext = "lab"
	return config
}

func writeKubeconfig(path string, config *clientcmdapi.Config) error {
	raw, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("encode kubeconfig: %w", err)
	}
	return writeFile(path, raw)
}

// identity returns the kubeconfig of a user of its own with full rights, made when it is first asked for. Users
// are told apart so that the audit log shows who does what.
func (c *Cluster) identity(user string) (string, error) {
	path := filepath.Join(c.dir(), "identities", user+".kubeconfig")
	return path, c.writeIdentity(path, user, systemMasters)
}

// nodeIdentity returns the kubeconfig of the cluster's kubelet, which may do what concerns its node.
func (c *Cluster) nodeIdentity() (string, error) {
	path := filepath.Join(c.dir(), "identities", "node.kubeconfig")
	return path, c.writeIdentity(path, "system:node:"+c.Name, "system:nodes")
}

func (c *Cluster) writeIdentity(path, user, group string) error {
	if exists(path) {
		return nil
	}
	ca, err := c.authority()
	if err != nil {
		return err
	}
	pair, err := ca.issue(user, []string{group}, nil)
	if err != nil {
		return fmt.Errorf("identity %s on %s: %w", user, c.Name, err)
	}
	auth := &clientcmdapi.AuthInfo{ClientCertificateData: pair.cert, ClientKeyData: pair.key}
	return writeKubeconfig(path, newKubeconfig(c.server(), ca.certPEM, "default", auth))
}

// serviceAccountIdentity returns the kubeconfig of a service account, with the rights that its manifests gave it, as soon
// as the account is there.
func (c *Cluster) serviceAccountIdentity(ctx context.Context, namespace, name string) (string, error) {
	path := filepath.Join(c.dir(), "identities", namespace+"-"+name+".kubeconfig")
	if exists(path) {
		return path, nil
	}
	config, err := c.Config()
	if err != nil {
		return "", err
	}
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return "", err
	}
	seconds := int64(tokenLife / time.Second)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	var answer *authenticationv1.TokenRequest
	if err := poll(ctx, func(ctx context.Context) error {
		answer, err = clientset.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
		return err
	}); err != nil {
		return "", fmt.Errorf("token of service account %s/%s on %s: %w", namespace, name, c.Name, err)
	}
	ca, err := c.authority()
	if err != nil {
		return "", err
	}
	auth := &clientcmdapi.AuthInfo{Token: answer.Status.Token}
	server := c.linkedServer()
	if namespace == argoSpace {
		server = c.server() // what disturbs Argo says nothing about the product
	}
	return path, writeKubeconfig(path, newKubeconfig(server, ca.certPEM, namespace, auth))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
