package delivery

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/cluster"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/manifestwork"
)

// tenants are the namespaces of the hub in the eyes of one cluster. They are read from the cache, as the scheduler did that chose the
// cluster, when first asked for and once for one look at the cluster, however many Workflows wait.
type tenants struct {
	reader   client.Reader
	name     string
	managed  *clusterv1.ManagedCluster
	bindings map[string][]cluster.Binding
}

func (r *Reconciler) tenantsOf(name string) *tenants { return &tenants{reader: r.Client, name: name} }

// executor returns the ServiceAccount as which Workflows of a namespace of the hub are created in a namespace of the cluster, zero for
// the work agent itself, and whether they may be there at all.
func (t *tenants) executor(ctx context.Context, namespace, remoteNamespace string) (types.NamespacedName, bool, error) {
	if t.bindings == nil {
		c, err := cluster.Read(ctx, t.reader, t.name)
		if err != nil {
			return types.NamespacedName{}, false, err
		}
		t.managed, t.bindings = c.Managed, map[string][]cluster.Binding{}
	}
	bindings, isRead := t.bindings[namespace]
	if !isRead {
		var err error
		if bindings, err = cluster.Bindings(ctx, t.reader, namespace); err != nil {
			return types.NamespacedName{}, false, err
		}
		t.bindings[namespace] = bindings
	}
	binding, isBound := cluster.Governing(bindings, t.managed, remoteNamespace)
	return binding.Executor, isBound, nil
}

// bind notes as whom each Workflow is created, and returns those that may still go to the cluster. The workflow reconciler takes the others
// back, or says of them why they wait.
func (r *Reconciler) bind(ctx context.Context, tenants *tenants, payloads []payload) ([]payload, error) {
	bound := make([]payload, 0, len(payloads))
	for _, p := range payloads {
		spec := p.rw.Spec
		executor, isBound, err := tenants.executor(ctx, spec.WorkflowRef.Namespace, spec.Remote.Namespace)
		if err != nil {
			return nil, err
		}
		if !isBound {
			r.refuse(p.rw)
			r.Refused(p.rw, fmt.Sprintf("no ManagedClusterSetBinding opens managed cluster %q to namespace %s any more",
				tenants.name, spec.WorkflowRef.Namespace))
			continue
		}
		p.executor = executor
		bound = append(bound, p)
	}
	return bound, nil
}

// isOutdated reports whether one of what waits in a delivery is to be created as somebody else than it was sent with: a ServiceAccount
// that cannot create it would keep it from its cluster for good.
func (s *snapshot) isOutdated(ctx context.Context, tenants *tenants, work *workv1.ManifestWork) (bool, error) {
	sentWith := accountOf(work.Spec.Executor)
	for _, item := range manifestwork.Items(work) {
		if rw := s.wanted[item.RemoteWorkflowUID]; rw == nil || !isWaiting(rw) {
			continue
		}
		executor, isBound, err := tenants.executor(ctx, item.Workflow.Namespace, item.Namespace)
		if err != nil {
			return false, err
		}
		if isBound && executor != sentWith {
			return true, nil
		}
	}
	return false, nil
}

// executorOf returns what has a delivery created as this ServiceAccount; nil, for zero, leaves it to the work agent itself.
func executorOf(account types.NamespacedName) *workv1.ManifestWorkExecutor {
	if account == (types.NamespacedName{}) {
		return nil
	}
	return &workv1.ManifestWorkExecutor{Subject: workv1.ManifestWorkExecutorSubject{
		Type:           workv1.ExecutorSubjectTypeServiceAccount,
		ServiceAccount: &workv1.ManifestWorkSubjectServiceAccount{Namespace: account.Namespace, Name: account.Name},
	}}
}

// accountOf returns the ServiceAccount of an executor, zero if there is none.
func accountOf(executor *workv1.ManifestWorkExecutor) types.NamespacedName {
	if executor == nil || executor.Subject.ServiceAccount == nil {
		return types.NamespacedName{}
	}
	return types.NamespacedName{Namespace: executor.Subject.ServiceAccount.Namespace, Name: executor.Subject.ServiceAccount.Name}
}
