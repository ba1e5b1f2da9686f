// Package gen builds the objects that tests start from. Each builder returns an object that is as plain and as
// healthy as can be; modifiers say in what a test's object differs:
//
//	wf := gen.Workflow("train", gen.InNamespace("team-a"), gen.WithPlacement("gpu"))
//	rw := gen.RemoteWorkflow(wf, "cluster1", gen.WithReport(status))
//
// Modifiers are applied in order. One that does not fit the object panics.
package gen

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	clusterv1alpha1 "open-cluster-management.io/api/cluster/v1alpha1"
	clusterv1beta1 "open-cluster-management.io/api/cluster/v1beta1"
	clusterv1beta2 "open-cluster-management.io/api/cluster/v1beta2"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
)

// Namespace is where namespaced objects of users are, unless InNamespace says otherwise.
const Namespace = "default"

// Time is the moment at which everything that has a time happened.
var Time = metav1.NewTime(time.Date(2026, time.January, 2, 15, 4, 5, 0, time.UTC))

// Mod changes an object that is being built.
type Mod func(client.Object)

// on makes a modifier for objects of one kind.
func on[T client.Object](change func(T)) Mod {
	return func(obj client.Object) {
		typed, ok := obj.(T)
		if !ok {
			panic(fmt.Sprintf("this modifier is for %T, not for %T", typed, obj))
		}
		change(typed)
	}
}

func build[T client.Object](obj T, mods []Mod) T {
	for _, mod := range mods {
		mod(obj)
	}
	return obj
}

// InNamespace puts the object into a namespace.
func InNamespace(namespace string) Mod {
	return func(obj client.Object) { obj.SetNamespace(namespace) }
}

// WithUID gives the object a UID other than UIDOf its name.
func WithUID(uid types.UID) Mod {
	return func(obj client.Object) { obj.SetUID(uid) }
}

// WithLabels adds labels.
func WithLabels(labels map[string]string) Mod {
	return func(obj client.Object) { obj.SetLabels(merge(obj.GetLabels(), labels)) }
}

// WithAnnotations adds annotations.
func WithAnnotations(annotations map[string]string) Mod {
	return func(obj client.Object) { obj.SetAnnotations(merge(obj.GetAnnotations(), annotations)) }
}

// WithFinalizers adds finalizers.
func WithFinalizers(finalizers ...string) Mod {
	return func(obj client.Object) { obj.SetFinalizers(append(obj.GetFinalizers(), finalizers...)) }
}

// Deleting makes an object that was deleted at Time and waits for its finalizers. A fake client refuses one
// that has none.
func Deleting() Mod {
	return func(obj client.Object) { obj.SetDeletionTimestamp(Time.DeepCopy()) }
}

// WithCondition sets a condition.
func WithCondition(conditionType string, status metav1.ConditionStatus, reason, message string) Mod {
	condition := metav1.Condition{
		Type: conditionType, Status: status, Reason: reason, Message: message, LastTransitionTime: Time,
	}
	return func(obj client.Object) { meta.SetStatusCondition(conditionsOf(obj), condition) }
}

func conditionsOf(obj client.Object) *[]metav1.Condition {
	switch typed := obj.(type) {
	case *v1alpha1.RemoteWorkflow:
		return &typed.Status.Conditions
	case *clusterv1.ManagedCluster:
		return &typed.Status.Conditions
	case *addonv1beta1.ManagedClusterAddOn:
		return &typed.Status.Conditions
	case *clusterv1beta2.ManagedClusterSetBinding:
		return &typed.Status.Conditions
	case *clusterv1beta1.Placement:
		return &typed.Status.Conditions
	case *clusterv1alpha1.AddOnPlacementScore:
		return &typed.Status.Conditions
	case *workv1.ManifestWork:
		return &typed.Status.Conditions
	}
	panic(fmt.Sprintf("%T has no conditions that a test would set", obj))
}

// UIDOf returns the UID that a built object of this name has: one that looks like a UID and is always the same.
func UIDOf(name string) types.UID {
	sum := sha256.Sum256([]byte(name))
	return types.UID(fmt.Sprintf("%x-%x-4000-8000-%x", sum[:4], sum[4:6], sum[6:12]))
}

func merge(into, more map[string]string) map[string]string {
	if into == nil {
		into = map[string]string{}
	}
	maps.Copy(into, more)
	return into
}
