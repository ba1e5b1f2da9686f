// Package env gives tests real API servers to work on: etcd and kube-apiserver with the CRDs of OCM, Argo and this project,
// and nothing that acts on them. What OCM and Argo would do is the test's part.
//
// The two programs are those of the lab, built by `make test-integration` or `go run ./test/lab/cmd/lab build etcd
// kube-apiserver`; KUBEBUILDER_ASSETS names another folder to take them from.
package env

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// startTimeout is how long each program, and then each step after it, may take to get ready: a busy machine needs minutes.
const startTimeout = 3 * time.Minute

// Server is an API server with an etcd of its own.
type Server struct {
	Name string
	// Config is an administrator's access.
	Config *rest.Config

	environment *envtest.Environment
	stopped     bool
}

// Start starts a server with these CRDs and, besides its usual ones, flags ("name=value"), and returns when it serves them.
// Its files are in a folder of its name in dir, its log in dir/logs.
func Start(
	ctx context.Context, dir, name string, crds []*apiextensionsv1.CustomResourceDefinition, flags ...string,
) (*Server, error) {
	folders := map[string]string{"etcd": "", "pki": ""}
	for folder := range folders {
		folders[folder] = filepath.Join(dir, name, folder)
		if err := os.MkdirAll(folders[folder], 0o700); err != nil {
			return nil, err
		}
	}
	log, err := openLog(dir, name)
	if err != nil {
		return nil, err
	}
	programs, err := findPrograms(ctx)
	if err != nil {
		return nil, err
	}
	s := &Server{Name: name, environment: &envtest.Environment{
		BinaryAssetsDirectory:    programs,
		ControlPlaneStartTimeout: startTimeout,
		ControlPlaneStopTimeout:  time.Minute,
		CRDInstallOptions:        envtest.CRDInstallOptions{CRDs: copies(crds), MaxTime: startTimeout},
		ControlPlane: envtest.ControlPlane{
			Etcd:      &envtest.Etcd{DataDir: folders["etcd"], Out: log, Err: log},
			APIServer: &envtest.APIServer{CertDir: folders["pki"], Out: log, Err: log},
		},
	}}
	// Without it, the API server waits for a minute for its clients to end their watches.
	s.environment.ControlPlane.APIServer.Configure().Set("shutdown-watch-termination-grace-period", "1s")
	for _, flag := range flags {
		name, value, _ := strings.Cut(flag, "=")
		s.environment.ControlPlane.APIServer.Configure().Append(name, value)
	}
	if s.Config, err = s.environment.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, errors.Join(err, s.Stop()))
	}
	if err := s.waitForSystemNamespace(ctx); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, errors.Join(err, s.Stop()))
	}
	return s, nil
}

// findPrograms returns the folder of the servers' programs.
func findPrograms(ctx context.Context) (string, error) {
	dir := os.Getenv("KUBEBUILDER_ASSETS")
	if dir == "" {
		root, err := moduleDir(ctx, "")
		if err != nil {
			return "", err
		}
		dir = filepath.Join(root, "bin", "lab")
	}
	for _, program := range []string{"etcd", "kube-apiserver"} {
		if _, err := os.Stat(filepath.Join(dir, program)); err != nil {
			return "", fmt.Errorf("%w: `make test-integration` builds it", err)
		}
	}
	return dir, nil
}

func openLog(dir, name string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(dir, "logs", name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

func copies(crds []*apiextensionsv1.CustomResourceDefinition) []*apiextensionsv1.CustomResourceDefinition {
	copied := make([]*apiextensionsv1.CustomResourceDefinition, 0, len(crds))
	for _, crd := range crds {
		copied = append(copied, crd.DeepCopy())
	}
	return copied
}

// waitForSystemNamespace waits for what the API server makes last, and hubs are told apart by.
func (s *Server) waitForSystemNamespace(ctx context.Context) error {
	c, err := client.New(s.Config, client.Options{})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return Retry(ctx, func() error {
		return c.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, &corev1.Namespace{})
	})
}

// Stop stops the server. What it stores stays.
func (s *Server) Stop() error {
	s.stopped = true
	return s.environment.ControlPlane.Stop()
}

// Resume starts the server again if it is stopped, on the same ports and with what it had stored. Identities stay valid.
func (s *Server) Resume() error {
	if !s.stopped {
		return nil
	}
	plane := s.environment.ControlPlane
	if err := plane.Etcd.Start(); err != nil {
		return fmt.Errorf("start etcd of %s again: %w", s.Name, err)
	}
	if err := plane.APIServer.Start(); err != nil {
		return fmt.Errorf("start API server %s again: %w", s.Name, err)
	}
	s.stopped = false
	return nil
}

// Backup copies what the server stores into a new folder. The server is stopped, so that all of it is in its files.
func (s *Server) Backup(dir string) error {
	if !s.stopped {
		return fmt.Errorf("back up %s: it runs", s.Name)
	}
	return os.CopyFS(dir, os.DirFS(s.environment.ControlPlane.Etcd.DataDir))
}

// Restore makes what was backed up into a folder all that the stopped server stores. Its resourceVersions go on from there: what
// it does next bears versions that clients have seen already.
func (s *Server) Restore(dir string) error {
	if !s.stopped {
		return fmt.Errorf("restore %s: it runs", s.Name)
	}
	if err := os.RemoveAll(s.environment.ControlPlane.Etcd.DataDir); err != nil {
		return err
	}
	return os.CopyFS(s.environment.ControlPlane.Etcd.DataDir, os.DirFS(dir))
}

// User issues a client certificate in this name, and returns the access that it gives: what RBAC grants to the user and
// to the groups, and nothing else.
func (s *Server) User(name string, groups ...string) (*rest.Config, error) {
	user, err := s.environment.AddUser(envtest.User{Name: name, Groups: groups}, &rest.Config{})
	if err != nil {
		return nil, fmt.Errorf("add user %s to %s: %w", name, s.Name, err)
	}
	return user.Config(), nil
}

// Kubeconfig returns the access of a new user in the form of a kubeconfig.
func (s *Server) Kubeconfig(name string, groups ...string) ([]byte, error) {
	user, err := s.environment.AddUser(envtest.User{Name: name, Groups: groups}, &rest.Config{})
	if err != nil {
		return nil, fmt.Errorf("add user %s to %s: %w", name, s.Name, err)
	}
	return user.KubeConfig()
}

// Retry asks until there is no error, or the context ends; then it returns the last one.
func Retry(ctx context.Context, ask func() error) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-ticker.C:
		}
	}
}
