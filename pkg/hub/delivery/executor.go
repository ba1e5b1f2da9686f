package delivery

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/cluster"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/manifestwork"
)

// tenants are the namespaces of the hub in the eyes of one cluster. They are read from the cache, as the scheduler did that chose the
// cluster, when first asked for and once for one look at the cluster, however many Workflows wait.
type tenants struct {
	reader      client.Reader
	name, hubID string
	// cluster is the cluster, without bindings.
	cluster  cluster.Target
	bindings map[string][]cluster.Binding
}

func (r *Reconciler) tenantsOf(name string) *tenants {
	return &tenants{reader: r.Client, name: name, hubID: r.HubID}
}

// binding returns the one by which Workflows of a namespace of the hub go to a namespace of the cluster, and whether there is one.
func (t *tenants) binding(ctx context.Context, namespace, remoteNamespace string) (binding cluster.Binding, isBound bool, err error) {
	if t.bindings == nil {
		c, err := cluster.Read(ctx, t.reader, t.name)
		if err != nil {
			return cluster.Binding{}, false, err
		}
		t.cluster, t.bindings = cluster.Target{Cluster: c, OnHub: c.IsHub(t.hubID)}, map[string][]cluster.Binding{}
	}
	bindings, isRead := t.bindings[namespace]
	if !isRead {
		if bindings, err = cluster.Bindings(ctx, t.reader, namespace); err != nil {
			return cluster.Binding{}, false, err
		}
		t.bindings[namespace] = bindings
	}
	to := t.cluster
	to.Bindings = bindings
	binding, isBound = to.Governing(remoteNamespace)
	return binding, isBound, nil
}

// bind notes how the binding has each Workflow created, and returns those that may still go to the cluster. The workflow reconciler takes
// the others back, or says of them why they wait.
func (r *Reconciler) bind(ctx context.Context, tenants *tenants, payloads []payload) ([]payload, error) {
	bound := make([]payload, 0, len(payloads))
	for _, p := range payloads {
		spec := p.rw.Spec
		binding, isBound, err := tenants.binding(ctx, spec.WorkflowRef.Namespace, spec.Remote.Namespace)
		if err != nil {
			return nil, err
		}
		if !isBound {
			r.refuse(p.rw, refusedRetry)
			r.Refused(p.rw, fmt.Sprintf("no ManagedClusterSetBinding opens managed cluster %q to namespace %s any more",
				tenants.name, spec.WorkflowRef.Namespace))
			continue
		}
		p.executor, p.createNamespace = binding.Executor, binding.Creates(spec.Remote.Namespace)
		bound = append(bound, p)
	}
	return bound, nil
}

// isRebound reports whether one of what waits in a delivery is to be created otherwise than it was sent: as somebody else, or with its
// namespace. A ServiceAccount that cannot create it, or a namespace that is not there, would keep it from its cluster for good.
func (s *snapshot) isRebound(ctx context.Context, tenants *tenants, work *workv1.ManifestWork) (bool, error) {
	sentWith := accountOf(work.Spec.Executor)
	for _, item := range manifestwork.Items(work) {
		if rw := s.wanted[item.RemoteWorkflowUID]; rw == nil || !isWaiting(rw) {
			continue
		}
		binding, isBound, err := tenants.binding(ctx, item.Workflow.Namespace, item.Namespace)
		if err != nil {
			return false, err
		}
		if isBound && (binding.Executor != sentWith || binding.Creates(item.Namespace) && !manifestwork.Creates(work, item.Namespace)) {
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
