package e2e

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	clusterv1beta1 "open-cluster-management.io/api/cluster/v1beta1"
	clusterv1beta2 "open-cluster-management.io/api/cluster/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

const (
	mergePatch = types.MergePatchType
	jsonPatch  = types.JSONPatchType
)

// space is a namespace of a test's own, of the same name on the hub and on the managed clusters.
type space struct {
	t    *testing.T
	name string
}

// newSpace makes a namespace that every cluster is open to.
func newSpace(t *testing.T) *space {
	t.Helper()
	s := newUnboundSpace(t)
	s.bind()
	return s
}

// newUnboundSpace makes a namespace that no cluster is open to.
func newUnboundSpace(t *testing.T) *space {
	t.Helper()
	name := regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(t.Name()), "-")
	s := &space{t: t, name: fmt.Sprintf("%.40s-%s", strings.TrimPrefix(name, "test"), rand.String(4))}
	for _, c := range []*cluster{theHub, cluster1, cluster2, cluster3, cluster4} {
		s.createNamespace(c)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("namespace %s, logs in %s/logs", s.name, theLab.Options().Dir)
		}
	})
	return s
}

// createNamespace creates the namespace on a cluster, and on a managed one what pods need there.
func (s *space) createNamespace(c *cluster) {
	s.t.Helper()
	require.NoError(s.t, c.client.Create(s.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.name}}))
	if c != theHub {
		for _, right := range gen.ExecutorRights(s.name) {
			require.NoError(s.t, c.client.Create(s.t.Context(), right))
		}
	}
}

// bind opens all clusters to the namespace.
func (s *space) bind(mods ...gen.Mod) { s.bindTo(gen.GlobalSet, mods...) }

// bindTo opens the clusters of a set to the namespace.
func (s *space) bindTo(set string, mods ...gen.Mod) {
	s.t.Helper()
	binding := gen.ManagedClusterSetBinding(set, append(mods, gen.InNamespace(s.name))...)
	require.NoError(s.t, theHub.client.Create(s.t.Context(), binding))
	labtest.Eventually(s.t, patience, func() error {
		err := theHub.client.Get(s.t.Context(), client.ObjectKeyFromObject(binding), binding)
		if err == nil && !meta.IsStatusConditionTrue(binding.Status.Conditions, clusterv1beta2.ClusterSetBindingBoundType) {
			err = fmt.Errorf("OCM has not bound the set: %v", binding.Status.Conditions)
		}
		return err
	})
}

// annotateBinding replaces the annotations of the binding that bind has made.
func (s *space) annotateBinding(annotations map[string]string) {
	s.t.Helper()
	binding := gen.ManagedClusterSetBinding(gen.GlobalSet, gen.InNamespace(s.name))
	require.NoError(s.t, theHub.client.Get(s.t.Context(), client.ObjectKeyFromObject(binding), binding))
	before := binding.DeepCopy()
	binding.Annotations = annotations
	require.NoError(s.t, theHub.client.Patch(s.t.Context(), binding, client.MergeFrom(before)))
}

// placement makes a Placement, or changes the one that is there, to select the named clusters.
func (s *space) placement(name string, clusters ...string) {
	s.t.Helper()
	want := selecting(clusters)
	placement := gen.Placement(name, gen.InNamespace(s.name))
	placement.Spec = want
	err := theHub.client.Create(s.t.Context(), placement)
	if apierrors.IsAlreadyExists(err) {
		labtest.Eventually(s.t, patience, func() error {
			if err := theHub.client.Get(s.t.Context(), client.ObjectKeyFromObject(placement), placement); err != nil {
				return err
			}
			placement.Spec = want
			return theHub.client.Update(s.t.Context(), placement)
		})
		return
	}
	require.NoError(s.t, err)
}

func selecting(clusters []string) clusterv1beta1.PlacementSpec {
	return clusterv1beta1.PlacementSpec{Predicates: []clusterv1beta1.ClusterPredicate{{
		RequiredClusterSelector: clusterv1beta1.ClusterSelector{LabelSelector: metav1.LabelSelector{
			MatchExpressions: []metav1.LabelSelectorRequirement{{
				Key: labelName, Operator: metav1.LabelSelectorOpIn, Values: append(clusters, "none"),
			}},
		}},
	}}}
}

// create creates a Workflow on the hub. It is deleted when the test ends.
func (s *space) create(wf *unstructured.Unstructured) *run {
	s.t.Helper()
	require.NoError(s.t, theHub.client.Create(s.t.Context(), wf))
	r := &run{t: s.t, key: client.ObjectKeyFromObject(wf), uid: wf.GetUID()}
	s.t.Cleanup(func() {
		if s.t.Failed() {
			r.dump()
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err := client.IgnoreNotFound(theHub.client.Delete(ctx, wf, client.Preconditions{UID: &r.uid}))
		if err != nil && !apierrors.IsConflict(err) {
			s.t.Error(err)
		}
	})
	return r
}

// hello builds a Workflow of one short pod.
func (s *space) hello(name string, mods ...gen.Mod) *unstructured.Unstructured {
	return gen.Workflow(name, append([]gen.Mod{gen.InNamespace(s.name), steps(0)}, mods...)...)
}

// on chooses a cluster directly.
func on(c *cluster) gen.Mod { return gen.WithCluster(c.Name) }

// lasting makes it a Workflow of one pod that runs so long.
func lasting(d time.Duration) gen.Mod { return steps(d) }

// steps makes it a Workflow of as many pods, one after the other, each of which runs so long.
func steps(durations ...time.Duration) gen.Mod {
	var templates, sequence []any
	for i, d := range durations {
		name := fmt.Sprintf("step%d", i+1)
		sequence = append(sequence, []any{map[string]any{"name": name, "template": name}})
		template := map[string]any{
			"name": name,
			"container": map[string]any{
				"image": "busybox", "imagePullPolicy": "IfNotPresent",
				"command": []any{"sleep"}, "args": []any{fmt.Sprint(d.Seconds())},
			},
		}
		if d > 0 {
			template["metadata"] = map[string]any{"annotations": map[string]any{"simulated-pod/duration": d.String()}}
		}
		templates = append(templates, template)
	}
	spec := map[string]any{"entrypoint": "step1", "templates": templates}
	if len(durations) > 1 {
		spec["entrypoint"] = "main"
		spec["templates"] = append(templates, map[string]any{"name": "main", "steps": sequence})
	}
	return func(wf client.Object) { wf.(*unstructured.Unstructured).Object["spec"] = spec }
}
