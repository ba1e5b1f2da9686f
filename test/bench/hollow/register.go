package hollow

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	addonagent "open-cluster-management.io/addon-framework/pkg/agent"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

const (
	// registrars is how many clusters are registered at a time.
	registrars = 16
	// decisionsPerPage is how many clusters OCM puts into one PlacementDecision.
	decisionsPerPage = 100
	// leaseSeconds is long, since nobody renews the Leases of hollow clusters.
	leaseSeconds = 24 * 3600
	// maxWorkflows is the cap of each cluster, which the manager counts by and nobody reaches; nodes is how many each has, of nodeCores cores.
	maxWorkflows, nodes, nodeCores = "100000", 10, 16
)

// Names returns the names of n hollow clusters.
func Names(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("hollow-%04d", i+1)
	}
	return names
}

// Register makes the clusters ones of the hub, joined and available, with the agent's addon, as OCM would have done, with a cap, and with
// what their agents would report to be free; and a Placement of that name in the namespace gen.Namespace that has chosen all of them. A set
// that holds every cluster is bound to the namespace, if none is yet.
func Register(ctx context.Context, hub client.Client, clusters []string, placement string) error {
	if err := bindAll(ctx, hub); err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(registrars)
	for _, name := range clusters {
		group.Go(func() error { return register(groupCtx, hub, name) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := create(ctx, hub, gen.Placement(placement)); err != nil {
		return err
	}
	for page := 0; page*decisionsPerPage < len(clusters); page++ {
		chosen := clusters[page*decisionsPerPage : min(len(clusters), (page+1)*decisionsPerPage)]
		decision := gen.PlacementDecision(placement, page+1, chosen)
		for i := range decision.Status.Decisions {
			decision.Status.Decisions[i].Reason = "hollow" // the field is required, and may be empty in Go
		}
		if err := createWithStatus(ctx, hub, decision); err != nil {
			return err
		}
	}
	return nil
}

func bindAll(ctx context.Context, hub client.Client) error {
	if err := create(ctx, hub, gen.ManagedClusterSet(gen.GlobalSet)); err != nil {
		return err
	}
	binding := gen.ManagedClusterSetBinding(gen.GlobalSet)
	if err := hub.Get(ctx, client.ObjectKeyFromObject(binding), gen.ManagedClusterSetBinding(gen.GlobalSet)); err == nil {
		return nil
	}
	return createWithStatus(ctx, hub, binding)
}

func register(ctx context.Context, hub client.Client, name string) error {
	if err := create(ctx, hub, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
		return err
	}
	cluster := gen.ManagedCluster(name, gen.WithAnnotations(map[string]string{contract.AnnotationMaxWorkflows: maxWorkflows}))
	cluster.Spec.LeaseDurationSeconds = leaseSeconds
	if err := createWithStatus(ctx, hub, cluster); err != nil {
		return err
	}
	addon := gen.ManagedClusterAddOn(name)
	registration := addonv1beta1.RegistrationConfig{Type: addonv1beta1.KubeClient, KubeClient: &addonv1beta1.KubeClientConfig{}}
	registration.KubeClient.Subject.User = addonagent.DefaultUser(name, contract.AddonName, "agent")
	registration.KubeClient.Subject.Groups = addonagent.DefaultGroups(name, contract.AddonName)
	addon.Status.Registrations = []addonv1beta1.RegistrationConfig{registration}
	if err := createWithStatus(ctx, hub, addon); err != nil {
		return err
	}
	return createWithStatus(ctx, hub, gen.Score(name, gen.Nodes(nodes, nodeCores)))
}

// SetAvailable makes the agents' addons on the clusters available, or not, with this reason and message.
func SetAvailable(ctx context.Context, hub client.Client, clusters []string, is metav1.ConditionStatus, reason, message string) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(registrars)
	for _, cluster := range clusters {
		group.Go(func() error {
			return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
				addon := &addonv1beta1.ManagedClusterAddOn{}
				if err := hub.Get(ctx, client.ObjectKey{Namespace: cluster, Name: contract.AddonName}, addon); err != nil {
					return err
				}
				meta.SetStatusCondition(&addon.Status.Conditions, metav1.Condition{
					Type: addonv1beta1.ManagedClusterAddOnConditionAvailable, Status: is, Reason: reason, Message: message,
					LastTransitionTime: metav1.NewTime(time.Now()),
				})
				return hub.Status().Update(ctx, addon)
			})
		})
	}
	return group.Wait()
}

// create creates what is not there.
func create(ctx context.Context, hub client.Client, object client.Object) error {
	if err := ignoreExists(hub.Create(ctx, object)); err != nil {
		return fmt.Errorf("create %T %s: %w", object, client.ObjectKeyFromObject(object), err)
	}
	return nil
}

// createWithStatus creates an object, and then gives it its status, which a creation does not.
func createWithStatus(ctx context.Context, hub client.Client, object client.Object) error {
	full, ok := object.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("%T is no object", object)
	}
	if err := create(ctx, hub, object); err != nil {
		return err
	}
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if err := hub.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		full.SetResourceVersion(object.GetResourceVersion())
		full.SetUID(object.GetUID())
		return hub.Status().Update(ctx, full)
	})
}
