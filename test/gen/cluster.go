package gen

import (
	"strconv"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	clusterv1alpha1 "open-cluster-management.io/api/cluster/v1alpha1"
	clusterv1beta1 "open-cluster-management.io/api/cluster/v1beta1"
	clusterv1beta2 "open-cluster-management.io/api/cluster/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// GlobalSet is the ManagedClusterSet of every cluster, which OCM makes by itself.
const GlobalSet = "global"

// ManagedCluster builds a cluster that has joined and is available.
func ManagedCluster(name string, mods ...Mod) *clusterv1.ManagedCluster {
	cluster := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: name, UID: UIDOf(name)}}
	cluster.Spec.HubAcceptsClient = true
	healthy := []Mod{
		WithCondition(clusterv1.ManagedClusterConditionHubAccepted, metav1.ConditionTrue, "HubClusterAdminAccepted", ""),
		WithCondition(clusterv1.ManagedClusterConditionJoined, metav1.ConditionTrue, "ManagedClusterJoined", ""),
		WithCondition(clusterv1.ManagedClusterConditionAvailable, metav1.ConditionTrue, "ManagedClusterAvailable", ""),
	}
	return build(build(cluster, healthy), mods)
}

// InClusterSet makes a cluster a member of this ManagedClusterSet, besides the global one.
func InClusterSet(set string) Mod {
	return WithLabels(map[string]string{clusterv1beta2.ClusterSetLabel: set})
}

// WithAllocatableCPU says how much CPU pods can have on a cluster.
func WithAllocatableCPU(cpu string) Mod {
	return on(func(cluster *clusterv1.ManagedCluster) {
		cluster.Status.Allocatable = clusterv1.ResourceList{clusterv1.ResourceCPU: resource.MustParse(cpu)}
	})
}

// ManagedClusterAddOn builds the agent's addon on a cluster, available.
func ManagedClusterAddOn(cluster string, mods ...Mod) *addonv1beta1.ManagedClusterAddOn {
	addon := &addonv1beta1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{
		Namespace: cluster, Name: contract.AddonName, UID: UIDOf(cluster + contract.AddonName),
	}}
	WithCondition(addonv1beta1.ManagedClusterAddOnConditionAvailable, metav1.ConditionTrue, "ManagedClusterAddOnLeaseUpdated", "")(addon)
	return build(addon, mods)
}

// Score builds what the agent of a cluster reports to be free.
func Score(cluster string, capacity contract.Capacity, mods ...Mod) *clusterv1alpha1.AddOnPlacementScore {
	score := &clusterv1alpha1.AddOnPlacementScore{ObjectMeta: metav1.ObjectMeta{
		Namespace: cluster, Name: contract.ScoreName, UID: UIDOf(cluster + contract.ScoreName),
	}}
	condition, err := capacity.Condition(Time)
	if err != nil {
		panic(err)
	}
	score.Status.Conditions = []metav1.Condition{condition}
	return build(score, mods)
}

// Nodes builds the capacity of a cluster of so many equal nodes with nothing on them, each with so many cores, four times as many
// gibibytes, and a hundred pods.
func Nodes(count, cores int64) contract.Capacity {
	node := contract.Resources{MilliCPU: 1000 * cores, Memory: 4 * cores << 30, Pods: 100}
	all := contract.Resources{MilliCPU: count * node.MilliCPU, Memory: count * node.Memory, Pods: count * node.Pods}
	return contract.Capacity{
		Nodes: count, Allocatable: all, Free: all, LargestAllocatable: []contract.Resources{node}, LargestFree: []contract.Resources{node},
	}
}

// ManagedClusterSet builds a set of the clusters that are InClusterSet; the one named GlobalSet has every cluster.
func ManagedClusterSet(name string, mods ...Mod) *clusterv1beta2.ManagedClusterSet {
	set := &clusterv1beta2.ManagedClusterSet{ObjectMeta: metav1.ObjectMeta{Name: name, UID: UIDOf(name)}}
	set.Spec.ClusterSelector.SelectorType = clusterv1beta2.ExclusiveClusterSetLabel
	if name == GlobalSet {
		set.Spec.ClusterSelector.SelectorType = clusterv1beta2.LabelSelector
		set.Spec.ClusterSelector.LabelSelector = &metav1.LabelSelector{}
	}
	return build(set, mods)
}

// ManagedClusterSetBinding builds the binding of a set to Namespace, or the one that InNamespace gives.
func ManagedClusterSetBinding(set string, mods ...Mod) *clusterv1beta2.ManagedClusterSetBinding {
	binding := &clusterv1beta2.ManagedClusterSetBinding{ObjectMeta: metav1.ObjectMeta{
		Namespace: Namespace, Name: set, UID: UIDOf("binding of " + set),
	}}
	binding.Spec.ClusterSet = set
	WithCondition(clusterv1beta2.ClusterSetBindingBoundType, metav1.ConditionTrue, "ClusterSetBound", "")(binding)
	return build(binding, mods)
}

// Placement builds a Placement in Namespace that chooses among all clusters of the bound sets.
func Placement(name string, mods ...Mod) *clusterv1beta1.Placement {
	placement := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{
		Namespace: Namespace, Name: name, UID: UIDOf(name),
	}}
	return build(placement, mods)
}

// PlacementDecision builds one page, counted from 1, of the clusters that a Placement in Namespace has chosen.
func PlacementDecision(placement string, page int, clusters []string, mods ...Mod) *clusterv1beta1.PlacementDecision {
	decision := &clusterv1beta1.PlacementDecision{ObjectMeta: metav1.ObjectMeta{
		Namespace: Namespace,
		Name:      placement + "-decision-" + strconv.Itoa(page),
		Labels:    map[string]string{clusterv1beta1.PlacementLabel: placement},
	}}
	decision.UID = UIDOf(decision.Name)
	for _, cluster := range clusters {
		decision.Status.Decisions = append(decision.Status.Decisions, clusterv1beta1.ClusterDecision{ClusterName: cluster})
	}
	return build(decision, mods)
}

// ExecutorRights returns what gives the default service account of a namespace the rights that Argo's executor needs in real pods, as
// the file in example/managed does for the namespace default.
func ExecutorRights(namespace string) []client.Object {
	object := metav1.ObjectMeta{Namespace: namespace, Name: "argo-workflows-executor"}
	return []client.Object{
		&rbacv1.Role{ObjectMeta: object, Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{"argoproj.io"}, Resources: []string{"workflowtaskresults"}, Verbs: []string{"create", "patch"},
		}}},
		&rbacv1.RoleBinding{
			ObjectMeta: object,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: object.Name},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "default"}},
		},
	}
}
