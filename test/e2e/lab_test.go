package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub"
	"open-cluster-management.io/argo-workflow-multicluster/test/env"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

// labelName on the ManagedClusters is for Placements to select by.
const labelName = "e2e-name"

// cluster is one of the lab, with an administrator's access to it.
type cluster struct {
	*lab.Cluster
	config  *rest.Config
	client  client.Client
	dynamic dynamic.Interface
	kube    kubernetes.Interface
}

// The lab and its clusters, for all tests.
var (
	theLab                                 *lab.Lab
	theHub                                 *cluster
	cluster1, cluster2, cluster3, cluster4 *cluster
)

// openLab finds the lab that the supervising process has brought up, and waits until Placements may choose the clusters
// that have all they need.
func openLab(dir string) error {
	var err error
	if theLab, err = lab.Open(dir); err != nil {
		return err
	}
	managed := theLab.Managed()
	for into, c := range map[**cluster]*lab.Cluster{
		&theHub: theLab.Hub(), &cluster1: managed[0], &cluster2: managed[1], &cluster3: managed[2], &cluster4: managed[3],
	} {
		if *into, err = access(c); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, c := range []*cluster{cluster1, cluster2, cluster3, cluster4} {
		labels := fmt.Sprintf("%q:%q", labelName, c.Name)
		if c == cluster3 {
			labels += fmt.Sprintf(",%q:%q", contract.LabelWithoutAgent, "true")
		}
		patch := client.RawPatch(mergePatch, fmt.Appendf(nil, `{"metadata":{"labels":{%s}}}`, labels))
		if err := theHub.client.Patch(ctx, gen.ManagedCluster(c.Name), patch); err != nil {
			return err
		}
	}
	return errors.Join(
		env.Retry(ctx, func() error { return addonAvailable(ctx, cluster1) }),
		env.Retry(ctx, func() error { return addonAvailable(ctx, cluster2) }),
	)
}

func access(c *lab.Cluster) (*cluster, error) {
	config, err := c.Config()
	if err != nil {
		return nil, err
	}
	scheme, err := hub.Scheme()
	if err != nil {
		return nil, err
	}
	a := &cluster{Cluster: c, config: config}
	var errs [3]error
	a.client, errs[0] = client.New(config, client.Options{Scheme: scheme})
	a.dynamic, errs[1] = dynamic.NewForConfig(config)
	a.kube, errs[2] = kubernetes.NewForConfig(config)
	return a, errors.Join(errs[:]...)
}

func addonAvailable(ctx context.Context, c *cluster) error {
	addon := &addonv1beta1.ManagedClusterAddOn{}
	if err := theHub.client.Get(ctx, client.ObjectKey{Namespace: c.Name, Name: contract.AddonName}, addon); err != nil {
		return err
	}
	if !meta.IsStatusConditionTrue(addon.Status.Conditions, addonv1beta1.ManagedClusterAddOnConditionAvailable) {
		return fmt.Errorf("the addon is not available on %s: %v", c.Name, addon.Status.Conditions)
	}
	return nil
}

// startAgent starts the agent of a cluster again.
func startAgent(t *testing.T, c *cluster) {
	t.Helper()
	require.NoError(t, c.StartAgent(context.Background()))
}

// stopAgent stops the agent of a cluster until the test ends or starts it.
func stopAgent(t *testing.T, c *cluster) {
	t.Helper()
	t.Cleanup(func() { startAgent(t, c) })
	require.NoError(t, c.Stop(lab.AgentProcess))
}

// realPods tells whether something is executed in the lab's pods.
func realPods() bool { return theLab.Options().Pods == lab.PodsReal }
