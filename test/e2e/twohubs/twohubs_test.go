package twohubs

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/podrunner"
)

const (
	// patience is how long what must happen may take on a busy machine.
	patience = 3 * time.Minute
	cluster1 = "cluster1"
)

// namespace is that of the Workflows, on both hubs and on the cluster.
var namespace = "shared-" + rand.String(4)

// access returns an administrator's access to a cluster.
func access(t *testing.T, c *lab.Cluster) client.Client {
	t.Helper()
	config, err := c.Config()
	require.NoError(t, err)
	scheme, err := hub.Scheme()
	require.NoError(t, err)
	built, err := client.New(config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	return built
}

// sides are the two hubs and the cluster that both manage.
type sides struct {
	t            *testing.T
	hubs         []client.Client
	onTheCluster client.Client
}

// newSides makes the namespace everywhere, and opens the cluster to it on both hubs.
func newSides(t *testing.T) sides {
	t.Helper()
	s := sides{t: t, hubs: []client.Client{access(t, first.Hub()), access(t, second.Hub())}, onTheCluster: access(t, first.Managed()[0])}
	for _, c := range append(s.hubs, s.onTheCluster) {
		require.NoError(t, c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}))
	}
	for _, c := range s.hubs {
		require.NoError(t, c.Create(t.Context(), gen.ManagedClusterSetBinding(gen.GlobalSet, gen.InNamespace(namespace))))
	}
	return s
}

// create creates a Workflow of one pod, which takes that long, on a hub.
func (s sides) create(hub int, name string, lasting time.Duration) *unstructured.Unstructured {
	s.t.Helper()
	wf := gen.Workflow(name, gen.InNamespace(namespace), gen.WithCluster(cluster1), gen.WithSpecField([]any{map[string]any{
		"name": "main", "metadata": map[string]any{"annotations": map[string]any{podrunner.AnnotationDuration: lasting.String()}},
		"container": map[string]any{"image": "busybox", "command": []any{"sleep"}},
	}}, "templates"), gen.WithSpecField("main", "entrypoint"))
	require.NoError(s.t, s.hubs[hub].Create(s.t.Context(), wf))
	return wf
}

// on returns the Workflow of that name by one who has it.
func (s sides) on(c client.Client, name string) (*unstructured.Unstructured, error) {
	wf := contract.NewWorkflow()
	return wf, c.Get(s.t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, wf)
}

// wants returns an error unless the Workflow is in the phase on the hub, with the text in its message.
func (s sides) wants(hub int, name, phase, message string) error {
	wf, err := s.on(s.hubs[hub], name)
	if err != nil {
		return err
	}
	got := contract.StatusString(contract.Status(wf), "message")
	if contract.Phase(wf) != phase || !strings.Contains(got, message) {
		return fmt.Errorf("hub %d: %s is %q, message %q; want %q with %q", hub, name, contract.Phase(wf), got, phase, message)
	}
	return nil
}

// remoteOf returns an error unless the cluster's Workflow of that name was made for the hub Workflow with this UID.
func (s sides) remoteOf(name string, uid types.UID) error {
	remote, err := s.on(s.onTheCluster, name)
	if err != nil {
		return err
	}
	if of := remote.GetAnnotations()[contract.AnnotationHubUID]; of != string(uid) || !remote.GetDeletionTimestamp().IsZero() {
		return fmt.Errorf("%s on the cluster is of hub Workflow %s, not %s, deleted at %v", name, of, uid, remote.GetDeletionTimestamp())
	}
	return nil
}

func (s sides) gone(c client.Client, name string) error {
	_, err := s.on(c, name)
	if err == nil {
		return fmt.Errorf("%s is still there", name)
	}
	return client.IgnoreNotFound(err)
}

// TestTwoHubsShareAClusterAndEachHasOnlyItsOwn gives equal names in equal namespaces to both.
func TestTwoHubsShareAClusterAndEachHasOnlyItsOwn(t *testing.T) {
	s := newSides(t)

	t.Run("other names run side by side", func(t *testing.T) {
		s := s.in(t)
		for hub := range s.hubs {
			for i := range 3 {
				s.create(hub, fmt.Sprintf("of-%d-%d", hub, i), time.Second)
			}
		}
		for hub := range s.hubs {
			for i := range 3 {
				name := fmt.Sprintf("of-%d-%d", hub, i)
				labtest.Eventually(t, patience, func() error { return s.wants(hub, name, "Succeeded", "") })
				assert.NoError(t, s.gone(s.hubs[1-hub], name), "the other hub has nothing of it")
			}
		}
	})

	t.Run("of one name, the second waits for the first", func(t *testing.T) {
		s := s.in(t)
		ours := s.create(0, "same", 10*time.Minute)
		labtest.Eventually(t, patience, func() error { return s.wants(0, "same", "Running", "") })
		theirs := s.create(1, "same", time.Second)
		labtest.Eventually(t, patience, func() error { return s.wants(1, "same", "Pending", "already") })
		restart(t)
		labtest.Holds(t, 10*time.Second, func() error {
			return errors.Join(s.remoteOf("same", ours.GetUID()), s.wants(1, "same", "Pending", "already"))
		})
		require.NoError(t, s.wants(0, "same", "Running", ""))

		require.NoError(t, s.hubs[0].Delete(t.Context(), ours))
		labtest.Eventually(t, patience, func() error { return errors.Join(s.gone(s.hubs[0], "same"), s.wants(1, "same", "Succeeded", "")) })
		require.NoError(t, s.remoteOf("same", theirs.GetUID()))

		again := s.create(0, "same", time.Second)
		labtest.Eventually(t, patience, func() error { return s.wants(0, "same", "Pending", "already") })
		require.NoError(t, s.wants(1, "same", "Succeeded", ""))
		require.NoError(t, s.hubs[0].Delete(t.Context(), again))
		labtest.Eventually(t, patience, func() error { return s.gone(s.hubs[0], "same") })
		require.NoError(t, s.remoteOf("same", theirs.GetUID()), "what never started took nothing with it")
		require.NoError(t, s.hubs[1].Delete(t.Context(), theirs))
		labtest.Eventually(t, patience, func() error { return errors.Join(s.gone(s.hubs[1], "same"), s.gone(s.onTheCluster, "same")) })
	})

	t.Run("created at once, both run, one after the other", func(t *testing.T) {
		s := s.in(t)
		both := []*unstructured.Unstructured{s.create(0, "race", time.Second), s.create(1, "race", time.Second)}
		winner := 0
		labtest.Eventually(t, patience, func() error {
			if s.wants(1, "race", "Succeeded", "") == nil {
				winner = 1
				return nil
			}
			return s.wants(0, "race", "Succeeded", "")
		})
		labtest.Eventually(t, patience, func() error { return s.wants(1-winner, "race", "Pending", "already") })
		require.NoError(t, s.remoteOf("race", both[winner].GetUID()))
		require.NoError(t, s.hubs[winner].Delete(t.Context(), both[winner]))
		labtest.Eventually(t, patience, func() error { return s.wants(1-winner, "race", "Succeeded", "") })
		require.NoError(t, s.remoteOf("race", both[1-winner].GetUID()))
	})

	t.Run("an agent may not speak to the other hub", func(t *testing.T) {
		secret := &corev1.Secret{}
		key := client.ObjectKey{Namespace: lab.AddonNamespace, Name: contract.AddonName + "-hub-kubeconfig"}
		require.NoError(t, s.onTheCluster.Get(t.Context(), key, secret))
		require.NotEmpty(t, secret.Data["tls.crt"])
		config, err := second.Hub().Config()
		require.NoError(t, err)
		config.CertData, config.KeyData = secret.Data["tls.crt"], secret.Data["tls.key"]
		stranger, err := client.New(config, client.Options{})
		if err == nil {
			err = stranger.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "race"}, contract.NewWorkflow())
		}
		assert.True(t, apierrors.IsUnauthorized(err), "%v", err)
	})
}

// in returns the same for a subtest.
func (s sides) in(t *testing.T) sides {
	t.Helper()
	s.t = t
	return s
}

// restart restarts both agents and both managers.
func restart(t *testing.T) {
	t.Helper()
	for _, l := range []*lab.Lab{first, second} {
		require.NoError(t, l.Managed()[0].StopAgent())
		require.NoError(t, l.StopManager())
	}
	for _, l := range []*lab.Lab{first, second} {
		require.NoError(t, l.StartManager(t.Context()))
		require.NoError(t, l.Managed()[0].StartAgent(t.Context()))
	}
}
