// Package score tests what the agent's measuring costs the managed cluster, and what becomes of it without rights, on a real API server
// that is hub and managed cluster at once.
package score

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	clusterv1alpha1 "open-cluster-management.io/api/cluster/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/env"
)

// patience is how long what must happen may take on a busy machine.
const patience = time.Minute

// cluster is the name of the managed cluster.
const cluster = "cluster1"

var (
	server *env.Server
	// admin is an administrator's access.
	admin client.Client
	// scheme has the built-in kinds and the score.
	scheme = runtime.NewScheme()
)

func TestMain(m *testing.M) {
	os.Exit(env.Main(m, filepath.Join("..", "..", "..", "_output", "score-logs"), setUp, tearDown))
}

func tearDown() error {
	if server == nil {
		return nil
	}
	return server.Stop()
}

func setUp(ctx context.Context, dir string) error {
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, clusterv1alpha1.Install} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	crds, err := env.HubCRDs(ctx)
	if err != nil {
		return err
	}
	if server, err = env.Start(ctx, dir, cluster, crds); err != nil {
		return err
	}
	config := *server.Config
	config.QPS = -1
	if admin, err = client.New(&config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if err := admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: cluster}}); err != nil {
		return fmt.Errorf("create the cluster's namespace: %w", err)
	}
	return admin.Create(ctx, &clusterv1alpha1.AddOnPlacementScore{
		ObjectMeta: metav1.ObjectMeta{Namespace: cluster, Name: contract.ScoreName},
	})
}
