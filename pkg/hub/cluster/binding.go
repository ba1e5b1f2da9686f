package cluster

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	clusterv1beta2 "open-cluster-management.io/api/cluster/v1beta2"
	clustersets "open-cluster-management.io/sdk-go/pkg/apis/cluster/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// Binding is a ManagedClusterSetBinding: it opens the clusters of a set to the Workflows of its namespace. Where several hold a cluster,
// a Workflow may go there if one of them lets it.
type Binding struct {
	Namespace, Name string
	// Set selects the clusters.
	Set labels.Selector
	// MaxWorkflows is the most unfinished Workflows of the namespace on clusters of the set.
	MaxWorkflows int64
	// Executor is the ServiceAccount on the clusters as which OCM's work agent creates the Workflows that go by this binding; zero for
	// the work agent itself.
	Executor types.NamespacedName
	// createsNamespaces is whether namespaces on the clusters are created with the first Workflow that needs them: see Creates.
	createsNamespaces bool
	// namespaces are those on the clusters that are allowed besides the one of the same name.
	namespaces []string
	// Invalid is why nothing goes by this binding, "" if it does: what cannot be read is not taken for a permission.
	Invalid string
}

// Holds reports whether the binding's set holds the cluster.
func (b Binding) Holds(managed *clusterv1.ManagedCluster) bool {
	return managed != nil && b.Set.Matches(labels.Set(managed.Labels))
}

// Allows reports whether Workflows may run in this namespace of the cluster by this binding.
func (b Binding) Allows(remoteNamespace string) bool {
	if b.Invalid != "" {
		return false
	}
	return remoteNamespace == b.Namespace || slices.Contains(b.namespaces, remoteNamespace) ||
		slices.Contains(b.namespaces, contract.AnyNamespace) && !isReserved(remoteNamespace)
}

// Creates reports whether this namespace of a cluster is created with the first Workflow that goes there by this binding. With "*" users
// could have any created: it must be the one of the same name, or be named.
func (b Binding) Creates(remoteNamespace string) bool {
	return b.createsNamespaces && (remoteNamespace == b.Namespace || slices.Contains(b.namespaces, remoteNamespace))
}

// Governing returns the binding that a Workflow goes by to a namespace of the cluster: of the target's, which are by name, the first that
// opens it. It reports whether there is one, which is whether the Workflow may go there.
func (t Target) Governing(remoteNamespace string) (Binding, bool) {
	for i := range t.Bindings {
		if t.isOpenedBy(&t.Bindings[i], remoteNamespace) {
			return t.Bindings[i], true
		}
	}
	return Binding{}, false
}

// isOpenedBy reports whether a binding is valid, holds the cluster and allows the namespace there.
func (t Target) isOpenedBy(b *Binding, remoteNamespace string) bool {
	return b.Holds(t.Managed) && b.Allows(remoteNamespace) && t.opens(remoteNamespace)
}

// opens reports whether Workflows that are sent may run in a namespace of the cluster at all. On the hub, where the manager, Argo's
// controller and others have theirs, only in those that its ManagedCluster names: a binding is for who may bind a set.
func (t Target) opens(namespace string) bool {
	return !t.OnHub || t.Managed != nil && !isReserved(namespace) &&
		slices.Contains(strings.Split(t.Managed.Annotations[contract.AnnotationNamespaces], ","), namespace)
}

// isReserved reports whether a namespace on a cluster is of Kubernetes or of OCM.
func isReserved(namespace string) bool {
	return strings.HasPrefix(namespace, "kube-") || strings.HasPrefix(namespace, "open-cluster-management")
}

// Bindings returns the bindings of a namespace that OCM has bound, by name. One to a set that cannot be read holds no cluster.
func Bindings(ctx context.Context, reader client.Reader, namespace string) ([]Binding, error) {
	var list clusterv1beta2.ManagedClusterSetBindingList
	if err := reader.List(ctx, &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list ManagedClusterSetBindings: %w", err)
	}
	var bindings []Binding
	for i := range list.Items {
		binding := &list.Items[i]
		if !IsBound(binding) {
			continue
		}
		set := &clusterv1beta2.ManagedClusterSet{}
		err := reader.Get(ctx, client.ObjectKey{Name: binding.Spec.ClusterSet}, set)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("get ManagedClusterSet: %w", err)
		}
		selector, err := clustersets.BuildClusterSelector(set)
		if err != nil {
			// It holds no cluster, and must not keep the Workflows from those of another set.
			log.FromContext(ctx).Error(err, "passed over a ManagedClusterSet with an invalid selector", "set", set.Name)
			continue
		}
		bindings = append(bindings, bindingOf(binding, selector))
	}
	slices.SortFunc(bindings, func(a, b Binding) int { return strings.Compare(a.Name, b.Name) })
	return bindings, nil
}

// IsBound reports whether OCM has bound the set of a binding; nil is bound to none.
func IsBound(binding *clusterv1beta2.ManagedClusterSetBinding) bool {
	return binding != nil && meta.IsStatusConditionTrue(binding.Status.Conditions, clusterv1beta2.ClusterSetBindingBoundType)
}

// IsSameBinding reports whether two versions of a binding, nil for none, open the same.
func IsSameBinding(was, is *clusterv1beta2.ManagedClusterSetBinding) bool {
	if !IsBound(was) || !IsBound(is) {
		return IsBound(was) == IsBound(is)
	}
	return was.Spec.ClusterSet == is.Spec.ClusterSet && reflect.DeepEqual(bindingOf(was, nil), bindingOf(is, nil))
}

func bindingOf(binding *clusterv1beta2.ManagedClusterSetBinding, set labels.Selector) Binding {
	b := Binding{Namespace: binding.Namespace, Name: binding.Name, Set: set}
	if b.MaxWorkflows, b.Invalid = maxWorkflows(binding.Annotations); b.Invalid != "" {
		return b
	}
	if b.Executor, b.Invalid = executor(binding.Annotations); b.Invalid != "" {
		return b
	}
	switch value := binding.Annotations[contract.AnnotationCreateNamespace]; value {
	case "true":
		b.createsNamespaces = true
	case "", "false":
	default:
		b.Invalid = fmt.Sprintf(`annotation %s: %.80q is neither "true" nor "false"`, contract.AnnotationCreateNamespace, value)
		return b
	}
	value := binding.Annotations[contract.AnnotationNamespaces]
	if value == "" {
		return b
	}
	for name := range strings.SplitSeq(value, ",") {
		name = strings.TrimSpace(name)
		switch {
		case name == contract.AnyNamespace:
		case isReserved(name):
			b.Invalid = fmt.Sprintf("annotation %s: namespace %s is of Kubernetes or of OCM", contract.AnnotationNamespaces, name)
		case len(validation.IsDNS1123Label(name)) > 0:
			b.Invalid = fmt.Sprintf("annotation %s: %.80q cannot be the name of a namespace", contract.AnnotationNamespaces, name)
		}
		b.namespaces = append(b.namespaces, name)
	}
	return b
}

// MaxWorkflows returns the most unfinished Workflows that the cluster may have, MaxInt64 if it has no cap, and 0 if its cap cannot be read.
func (c Cluster) MaxWorkflows() int64 {
	if c.Managed == nil {
		return 0
	}
	limit, _ := maxWorkflows(c.Managed.Annotations)
	return limit
}

// maxWorkflows returns the cap in the annotations of a ManagedCluster or of a binding, MaxInt64 if there is none, and what is wrong
// with it.
func maxWorkflows(annotations map[string]string) (limit int64, invalid string) {
	value := annotations[contract.AnnotationMaxWorkflows]
	if value == "" {
		return math.MaxInt64, ""
	}
	limit, err := strconv.ParseInt(value, 10, 64)
	if err != nil || limit < 0 {
		return 0, fmt.Sprintf("annotation %s: %.80q is not a whole number of at least 0", contract.AnnotationMaxWorkflows, value)
	}
	return limit, ""
}

// executor returns the ServiceAccount in the annotations of a binding, zero if there is none, and what is wrong with it. An empty value is
// wrong: it is not taken for leave to create what the work agent may.
func executor(annotations map[string]string) (account types.NamespacedName, invalid string) {
	value, ok := annotations[contract.AnnotationExecutor]
	if !ok {
		return types.NamespacedName{}, ""
	}
	namespace, name, _ := strings.Cut(value, "/")
	if len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
		return types.NamespacedName{}, fmt.Sprintf("annotation %s: %.80q is not the <namespace>/<name> of a ServiceAccount",
			contract.AnnotationExecutor, value)
	}
	return types.NamespacedName{Namespace: namespace, Name: name}, ""
}
