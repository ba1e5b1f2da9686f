// Package install tests the product as users install it: the hub chart with helm, the addons with clusteradm, everything in
// pods. The lab is a hub with a node and two managed clusters without Argo, with nothing of the product before the tests.
//
// Its test is one life of an installation, in steps that build upon each other: a step that fails ends it.
package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// patience is how long what must happen may take on a busy machine.
const patience = 3 * time.Minute

// cluster is one of the lab, with an administrator's access to it.
type cluster struct {
	*lab.Cluster
	config *rest.Config
	client client.Client
	kube   kubernetes.Interface
}

// The lab and its clusters.
var (
	theLab             *lab.Lab
	theHub             *cluster
	cluster1, cluster2 *cluster
)

func TestMain(m *testing.M) {
	os.Exit(labtest.Main(m, labtest.Suite{
		Lab: lab.Options{
			Name: "install", ProductPods: true, Audit: true,
		},
		Start: func(context.Context, *lab.Lab) error { return nil },
		Open:  open,
	}))
}

func open(dir string) error {
	var err error
	if theLab, err = lab.Open(dir); err != nil {
		return err
	}
	managed := theLab.Managed()
	for into, c := range map[**cluster]*lab.Cluster{&theHub: theLab.Hub(), &cluster1: managed[0], &cluster2: managed[1]} {
		if *into, err = access(c); err != nil {
			return err
		}
	}
	return nil
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
	var errs [2]error
	a.client, errs[0] = client.New(config, client.Options{Scheme: scheme})
	a.kube, errs[1] = kubernetes.NewForConfig(config)
	return a, errors.Join(errs[:]...)
}

// run runs helm, clusteradm or kubectl, and shows what it does.
func (c *cluster) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	t.Logf("$ %s %s    # %s", name, strings.Join(args, " "), c.Name)
	out, err := c.Tool(t.Context(), name, args...)
	require.NoError(t, err)
	t.Log(out)
	return out
}

// documented runs the commands of that name of a page, as labtest.Documented does.
func (c *cluster) documented(t *testing.T, page, name string, replacements ...string) string {
	t.Helper()
	return labtest.Documented(t, c.Cluster, page, name, replacements...)
}

// enable enables addons as users do.
func enable(t *testing.T, addons, clusters string) {
	t.Helper()
	theHub.run(t, "clusteradm", "addon", "enable", "--names", addons, "--clusters", clusters)
}

// addonCondition returns an error unless the addon has the condition with that status on the cluster, and a message that
// contains the text.
func addonCondition(ctx context.Context, c *cluster, addon, condition, status, message string) error {
	found := &addonv1beta1.ManagedClusterAddOn{}
	if err := theHub.client.Get(ctx, client.ObjectKey{Namespace: c.Name, Name: addon}, found); err != nil {
		return err
	}
	got := meta.FindStatusCondition(found.Status.Conditions, condition)
	if got == nil || string(got.Status) != status || !strings.Contains(got.Message, message) {
		return fmt.Errorf("addon %s on %s: want condition %s %s with %q, got %+v",
			addon, c.Name, condition, status, message, found.Status.Conditions)
	}
	return nil
}

func waitAvailable(t *testing.T, clusters ...*cluster) {
	t.Helper()
	for _, c := range clusters {
		for _, addon := range []string{contract.AddonName, lab.ArgoAddonName} {
			labtest.Eventually(t, patience, func() error { return addonCondition(t.Context(), c, addon, "Available", "True", "") })
		}
	}
}

// workflow returns an error unless the Workflow has that phase on the cluster, and a message that contains the text.
func workflow(ctx context.Context, c *cluster, name, phase, message string) error {
	wf := contract.NewWorkflow()
	if err := c.client.Get(ctx, client.ObjectKey{Namespace: "default", Name: name}, wf); err != nil {
		return err
	}
	got := contract.StatusString(contract.Status(wf), "message")
	if contract.Phase(wf) != phase || !strings.Contains(got, message) {
		return fmt.Errorf("Workflow %s on %s: phase %q, message %q; want %q with %q", name, c.Name, contract.Phase(wf), got, phase, message)
	}
	return nil
}

func waitWorkflow(t *testing.T, c *cluster, name, phase, message string) {
	t.Helper()
	labtest.Eventually(t, patience, func() error { return workflow(t.Context(), c, name, phase, message) })
}

// step is a part of the test that needs those before it.
type step struct {
	name string
	do   func(t *testing.T)
}

func runSteps(t *testing.T, steps ...step) {
	t.Helper()
	for i, s := range steps {
		if !t.Run(s.name, s.do) {
			t.Fatalf("the %d steps after %q build upon it, and are not run", len(steps)-i-1, s.name)
		}
	}
}
