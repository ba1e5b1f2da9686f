// Package argoaddon tests the addons on a real API server: that it takes what argo-workflows deploys, that this addon learns whose
// Argo Workflows is, and that a detached cluster does not keep its addon.
package argoaddon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	clusterv1alpha1 "open-cluster-management.io/api/cluster/v1alpha1"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/test/env"
)

// patience is how long what must happen may take.
const patience = time.Minute

var (
	// server is hub and managed cluster: it has OCM's CRDs, and those of Argo that the addon makes.
	server *env.Server
	// admin is an administrator's access.
	admin  client.Client
	scheme = runtime.NewScheme()
)

func TestMain(m *testing.M) {
	os.Exit(env.Main(m, filepath.Join("..", "..", "..", "_output", "argoaddon-logs"), setUp, tearDown))
}

func tearDown() error {
	if server == nil {
		return nil
	}
	return server.Stop()
}

func setUp(ctx context.Context, dir string) error {
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), apiextensionsv1.AddToScheme(scheme),
		addonv1beta1.Install(scheme), clusterv1.Install(scheme), clusterv1alpha1.Install(scheme), workv1.Install(scheme)); err != nil {
		return err
	}
	crds, err := env.HubCRDs(ctx)
	if err != nil {
		return err
	}
	crds = slices.DeleteFunc(crds, func(crd *apiextensionsv1.CustomResourceDefinition) bool { return crd.Spec.Group == "argoproj.io" })
	if server, err = env.Start(ctx, dir, "argoaddon", crds); err != nil {
		return err
	}
	admin, err = client.New(server.Config, client.Options{Scheme: scheme})
	return err
}

// eventually asks until there is no error, within patience.
func eventually(ctx context.Context, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return env.Retry(ctx, ask)
}
