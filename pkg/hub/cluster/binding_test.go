package cluster_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/cluster"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestAsWhomABindingHasWorkflowsCreated(t *testing.T) {
	label := strings.Repeat("a", 63)
	of := func(value string) map[string]string { return map[string]string{contract.AnnotationExecutor: value} }
	for name, test := range map[string]struct {
		annotations map[string]string
		want        types.NamespacedName
		wantInvalid bool
	}{
		"as the work agent itself, without the annotation": {nil, types.NamespacedName{}, false},
		"as the ServiceAccount":                            {of("team/deployer"), types.NamespacedName{Namespace: "team", Name: "deployer"}, false},
		"as one with the longest name of a namespace":      {of(label + "/a.b"), types.NamespacedName{Namespace: label, Name: "a.b"}, false},
		"an empty value is not the work agent":             {of(""), types.NamespacedName{}, true},
		"a namespace is required":                          {of("deployer"), types.NamespacedName{}, true},
		"a namespace must have a name":                     {of("/deployer"), types.NamespacedName{}, true},
		"a ServiceAccount must have a name":                {of("team/"), types.NamespacedName{}, true},
		"a name has no slash":                              {of("team/a/b"), types.NamespacedName{}, true},
		"a name has no blanks":                             {of("team/ deployer"), types.NamespacedName{}, true},
		"a name can be too long":                           {of("team/" + strings.Repeat("a", 254)), types.NamespacedName{}, true},
		"a user's name is none":                            {of("system:serviceaccount:team:deployer"), types.NamespacedName{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			bindings := bindingsWith(t, test.annotations)
			assert.Equal(t, test.want, bindings[0].Executor)
			if test.wantInvalid {
				assert.Contains(t, bindings[0].Invalid, contract.AnnotationExecutor)
			} else {
				assert.Empty(t, bindings[0].Invalid)
			}
		})
	}
}

func TestWhichNamespacesABindingHasCreated(t *testing.T) {
	for _, test := range []struct {
		create, namespaces, remote string
		want, isAllowed            bool
	}{
		{"true", "", gen.Namespace, true, true},
		{"true", "", "other", false, false},
		{"false", "", gen.Namespace, false, true},
		{"", "a", "a", false, true},
		{"true", "a", "a", true, true},
		{"true", "a", "other", false, false},
		{"true", "*", gen.Namespace, true, true},
		{"true", "*", "other", false, true},
		{"true", "a,*", "a", true, true},
		{"true", "a,*", "other", false, true},
	} {
		binding := bindingsWith(t, map[string]string{
			contract.AnnotationCreateNamespace: test.create, contract.AnnotationNamespaces: test.namespaces,
		})[0]
		assert.Empty(t, binding.Invalid, "%+v", test)
		assert.Equal(t, test.want, binding.Creates(test.remote), "%+v", test)
		assert.Equal(t, test.isAllowed, binding.Allows(test.remote), "%+v", test)
	}
	bindings := bindingsWith(t, map[string]string{contract.AnnotationCreateNamespace: "yes"})
	assert.Contains(t, bindings[0].Invalid, `"yes" is neither "true" nor "false"`)
}

// bindingsWith returns the one binding of gen.Namespace, with these annotations.
func bindingsWith(t *testing.T, annotations map[string]string) []cluster.Binding {
	t.Helper()
	hub := fakehub.New(t, nil, gen.ManagedClusterSet(gen.GlobalSet), gen.ManagedClusterSetBinding(gen.GlobalSet, gen.WithAnnotations(annotations)))
	bindings, err := cluster.Bindings(t.Context(), hub, gen.Namespace)
	require.NoError(t, err)
	require.Len(t, bindings, 1)
	return bindings
}

func TestByWhichBindingAWorkflowGoes(t *testing.T) {
	managed := gen.ManagedCluster(name1, gen.InClusterSet("gpu"))
	binding := func(set, name, key, value string) client.Object {
		out := gen.ManagedClusterSetBinding(set, gen.WithAnnotations(map[string]string{key: value}))
		out.Name = name
		return out
	}
	plain := func(name string) client.Object { return binding("gpu", name, "unrelated", "") }
	allowing := func(name, namespaces string) client.Object {
		return binding("gpu", name, contract.AnnotationNamespaces, namespaces)
	}
	for name, test := range map[string]struct {
		bindings []client.Object
		remote   string
		onHub    string
		want     string
	}{
		"by the only one":                       {[]client.Object{plain("a")}, gen.Namespace, "", "a"},
		"by the first by name":                  {[]client.Object{plain("b"), plain("a")}, gen.Namespace, "", "a"},
		"not by one of another set":             {[]client.Object{binding("cpu", "a", "unrelated", ""), plain("b")}, gen.Namespace, "", "b"},
		"not by one that is invalid":            {[]client.Object{binding("gpu", "a", contract.AnnotationExecutor, ""), plain("b")}, gen.Namespace, "", "b"},
		"by the one that allows its namespace":  {[]client.Object{plain("a"), allowing("b", "other")}, "other", "", "b"},
		"by the first that allows it":           {[]client.Object{plain("a"), allowing("c", "*"), allowing("b", "other")}, "other", "", "b"},
		"by none, if none allows it":            {[]client.Object{plain("a"), allowing("b", "*")}, "kube-system", "", ""},
		"by none, if the only one is not valid": {[]client.Object{binding("gpu", "a", contract.AnnotationExecutor, "a")}, gen.Namespace, "", ""},
		"on the hub, if the namespace is open":  {[]client.Object{plain("a"), allowing("b", "*")}, "other", "a,other", "b"},
		"by none on the hub, if it is not":      {[]client.Object{allowing("b", "other")}, "other", "a,*,other2", ""},
		"nor if it is Kubernetes' own":          {[]client.Object{allowing("b", "*")}, "kube-system", "kube-system", ""},
		"by none, if there is none":             {nil, gen.Namespace, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			hub := fakehub.New(t, nil, append(test.bindings, gen.ManagedClusterSet("gpu"), gen.ManagedClusterSet("cpu"))...)
			bindings, err := cluster.Bindings(t.Context(), hub, gen.Namespace)
			require.NoError(t, err)
			managed := managed.DeepCopy()
			managed.Annotations = map[string]string{contract.AnnotationNamespaces: test.onHub}
			to := cluster.Target{Cluster: cluster.Cluster{Managed: managed}, OnHub: test.onHub != "", Bindings: bindings}
			got, found := to.Governing(test.remote)
			assert.Equal(t, test.want, got.Name)
			assert.Equal(t, test.want != "", found)
			_, found = cluster.Target{Bindings: bindings}.Governing(test.remote)
			assert.False(t, found, "a cluster that is gone is bound to nothing")
		})
	}
}
