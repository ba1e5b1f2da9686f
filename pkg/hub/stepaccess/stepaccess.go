// Package stepaccess says before a Workflow is created whether its steps may go to the clusters that they name.
package stepaccess

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	clusterv1beta1 "open-cluster-management.io/api/cluster/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract/step"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/cluster"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
)

// Check returns why a step of a Workflow in a namespace of the hub may not run where it says, "" if it may. What the step has variables for
// is not known, and is no reason. Whether the clusters are available now does not matter.
func Check(ctx context.Context, reader client.Reader, namespace string, s *step.Step) (string, error) {
	for _, name := range []string{s.Cluster, s.Placement, s.Namespace} {
		if strings.Contains(name, "{{") {
			return "", nil
		}
	}
	bindings, err := cluster.Bindings(ctx, reader, namespace)
	if err != nil {
		return "", err
	}
	if s.Placement != "" {
		return placement(ctx, reader, namespace, s, bindings)
	}
	c, err := cluster.Read(ctx, reader, s.Cluster)
	if err != nil {
		return "", err
	}
	wf := contract.NewWorkflow()
	wf.SetNamespace(namespace)
	wf.SetAnnotations(map[string]string{contract.AnnotationCluster: s.Cluster, contract.AnnotationClusterNamespace: s.Namespace})
	// Who asks need not be allowed to read the hub's id.
	problem := cluster.Permitted(hubworkflow.Of(wf), cluster.Target{Cluster: c, OnHub: c.IsHub(""), Bindings: bindings})
	if problem == nil {
		return "", nil
	}
	// In a step, the user has written no annotation.
	message := strings.TrimPrefix(problem.Message, "annotation "+contract.AnnotationClusterNamespace+": ")
	return strings.TrimPrefix(message, "annotation "+contract.AnnotationCluster+": "), nil
}

// placement returns why a step may not run in any cluster that its Placement chooses from.
func placement(ctx context.Context, reader client.Reader, namespace string, s *step.Step, bindings []cluster.Binding) (string, error) {
	p := &clusterv1beta1.Placement{}
	err := reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: s.Placement}, p)
	if apierrors.IsNotFound(err) {
		return fmt.Sprintf("namespace %s has no Placement %q", namespace, s.Placement), nil
	}
	if err != nil {
		return "", fmt.Errorf("get Placement: %w", err)
	}
	// A binding has the name of its set.
	bindings = slices.DeleteFunc(bindings, func(b cluster.Binding) bool {
		return len(p.Spec.ClusterSets) > 0 && !slices.Contains(p.Spec.ClusterSets, b.Name)
	})
	remote := s.Namespace
	if remote == "" {
		remote = namespace
	}
	switch {
	case len(bindings) == 0:
		return fmt.Sprintf("Placement %q has no clusters to choose from: bind a ManagedClusterSet with a ManagedClusterSetBinding in "+
			"namespace %s", s.Placement, namespace), nil
	case !slices.ContainsFunc(bindings, func(b cluster.Binding) bool { return b.Allows(remote) }):
		return fmt.Sprintf("the Workflows of namespace %s may not run in namespace %s of the clusters of Placement %q: allow it by annotation "+
			"%s on the ManagedClusterSetBinding", namespace, remote, s.Placement, contract.AnnotationNamespaces), nil
	}
	return "", nil
}
