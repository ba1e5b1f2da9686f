package hubchart

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

const (
	// invalidValue is one that no policy takes, of no annotation.
	invalidValue = "Not/valid_"
	before       = "invalid-before"
)

// annotated returns what each of the policies of values is about, with this annotation.
func annotated(name, key, value string) map[string]client.Object {
	with := gen.WithAnnotations(map[string]string{key: value})
	return map[string]client.Object{
		"Workflow":                 workflow(name, with),
		"ManagedCluster":           gen.ManagedCluster(name, with),
		"ManagedClusterSetBinding": gen.ManagedClusterSetBinding(name, gen.InNamespace(team), with),
		"Placement":                gen.Placement(name, gen.InNamespace(team), with),
	}
}

// invalid returns one object for each of these policies, which it does not take.
func invalid(name string) []client.Object {
	var objects []client.Object
	for kind, key := range map[string]string{
		"Workflow": contract.AnnotationCluster, "ManagedCluster": contract.AnnotationMaxWorkflows,
		"ManagedClusterSetBinding": contract.AnnotationNamespaces, "Placement": contract.AnnotationWeights,
	} {
		objects = append(objects, annotated(name, key, invalidValue)[kind])
	}
	return objects
}

// invalidBefore returns what is invalid, and there before the policies.
func invalidBefore() []client.Object {
	return append(invalid(before), workflow(before+"-label", gen.WithLabels(map[string]string{contract.LabelEnable: "yes"})))
}

func TestInvalidAnnotationsAreRefused(t *testing.T) {
	label63, caps := strings.Repeat("a", 63), []string{"ManagedCluster", "ManagedClusterSetBinding"}
	for _, test := range []struct {
		kinds    []string
		key      string
		accepted []string
		refused  []string
		message  string
	}{
		{
			[]string{"Workflow"}, contract.AnnotationCluster, []string{"cluster1", "1-a", label63, ""},
			[]string{"Cluster1", "a.b", "-a", "a-", "a b", "a/b", label63 + "a", "a\n", " "},
			"the name of a managed cluster has at most 63 lower case letters",
		},
		{
			[]string{"Workflow"}, contract.AnnotationClusterNamespace, []string{team, label63, ""},
			[]string{"Team", "a.b", "*", "a,b", label63 + "a"}, "the name of a namespace has at most 63 lower case letters",
		},
		{
			[]string{"Workflow"}, contract.AnnotationPlacement, []string{"all", "a.b-c.d", strings.Repeat("a", 253), ""},
			[]string{"All", "a..b", ".a", "other/all", strings.Repeat("a", 254), "a_b"}, "the name of a Placement has at most 253",
		},
		{
			caps, contract.AnnotationMaxWorkflows, []string{"0", "7", "1000000"},
			[]string{"", "-1", "1.5", "1e3", "1000001", "99999999999999999999", "many", "5 ", "0x10"}, "is a whole number from 0 to 1000000",
		},
		{
			[]string{"ManagedClusterSetBinding"}, contract.AnnotationNamespaces, []string{"*", "a", "a,b-c," + label63, "kubesystems", "my-kube-system"},
			[]string{"", "A", "a, b", "a,", ",a", "a,*", "**", "a;b", "a.b", label63 + "a"}, `must be "*" or the names of namespaces`,
		},
		{
			[]string{"ManagedCluster"}, contract.AnnotationNamespaces, []string{"a", "a,b-c," + label63},
			[]string{"", "*", "A", "a, b", "a,", "a,*"}, "must be the names of namespaces, separated by commas",
		},
		{
			[]string{"ManagedClusterSetBinding"}, contract.AnnotationNamespaces, nil, []string{"a,kube-system", "kube-system"},
			"may not run in kube-system, which belongs to",
		},
		{
			[]string{"ManagedClusterSetBinding"}, contract.AnnotationNamespaces, nil,
			[]string{"kube-public,a,kube-node-lease,open-cluster-management,open-cluster-management-agent"},
			"may not run in kube-public, kube-node-lease, open-cluster-management, open-cluster-management-agent, which belongs to",
		},
		{
			[]string{"ManagedClusterSetBinding"}, contract.AnnotationCreateNamespace, []string{"true", "false"}, []string{"", "yes", "True", "1"},
			`must be "true" or "false"`,
		},
		{
			[]string{"ManagedClusterSetBinding"}, contract.AnnotationExecutor, []string{"team/deployer", label63 + "/a.b"},
			[]string{"", "deployer", "team/", "/a", "team/a/b", "Team/a", "team/A", "team.x/a", "a/" + strings.Repeat("a", 317)},
			`must be "<namespace>/<name>" of a ServiceAccount`,
		},
		{
			[]string{"Placement"}, contract.AnnotationStrategy, []string{contract.StrategySpread, contract.StrategyPack},
			[]string{"", "Spread", "random", "spread,pack"}, `must be "spread" or "pack"`,
		},
		{
			[]string{"Placement"}, contract.AnnotationWeights, []string{"cpu=2,memory=1,pods=0", "pods=100", "memory=0,cpu=99"},
			[]string{
				"", "cpu", "cpu=", "cpu=-1", "cpu=101", "cpu=1.5", "gpu=1", "cpu=1,", "cpu=1, memory=1", "cpu=1,cpu=2",
				"cpu=1,memory=1,pods=1,cpu=1",
			},
			"each at most once, how much it counts",
		},
	} {
		for _, kind := range test.kinds {
			for _, value := range test.accepted {
				object := annotated("accepted", test.key, value)[kind]
				require.NoError(t, admin.Create(t.Context(), object, client.DryRunAll), "%s %s=%q", kind, test.key, value)
			}
			for _, value := range test.refused {
				err := admin.Create(t.Context(), annotated("refused", test.key, value)[kind], client.DryRunAll)
				require.True(t, apierrors.IsInvalid(err), "%s %s=%q: %v", kind, test.key, value, err)
				require.ErrorContains(t, err, test.message, "%s %s=%q", kind, test.key, value)
				require.ErrorContains(t, err, "annotation "+test.key+": ", "%s %s=%q", kind, test.key, value)
			}
			err := admin.Create(t.Context(), annotated("huge", test.key, strings.Repeat("a", 250_000))[kind], client.DryRunAll)
			require.ErrorContains(t, err, "annotation "+test.key+": ", "no size costs more than an API server allows")
		}
	}
}

func TestAnInvalidLabelIsRefused(t *testing.T) {
	for value, refused := range map[string]bool{
		"true": false, "false": false, "": false, "True": true, "yes": true, "1": true,
	} {
		wf := workflow("labelled", gen.WithLabels(map[string]string{contract.LabelEnable: value}))
		err := admin.Create(t.Context(), wf, client.DryRunAll)
		if !refused {
			require.NoError(t, err, value)
			continue
		}
		require.True(t, apierrors.IsInvalid(err), "%s: %v", value, err)
		require.ErrorContains(t, err, `the value must be "true"`, value)
	}
	wf := create(t, workflow("relabelled"))
	err := admin.Patch(t.Context(), wf, merge(label(contract.LabelEnable, "no")))
	require.True(t, apierrors.IsInvalid(err), err)
}

func TestOnlyWorkflowsWithTheLabelAreLookedAt(t *testing.T) {
	for _, labels := range []map[string]string{nil, {contract.LabelEnable: "false"}} {
		wf := workflow("of-the-hub", gen.WithCluster(invalidValue))
		wf.SetLabels(labels)
		require.NoError(t, admin.Create(t.Context(), wf, client.DryRunAll))
	}
	wf := workflow("labelled-later", gen.WithCluster(invalidValue))
	wf.SetLabels(nil)
	create(t, wf)
	err := admin.Patch(t.Context(), wf, merge(label(contract.LabelEnable, contract.LabelEnableValue)))
	require.True(t, apierrors.IsInvalid(err), "from now on the value counts: %v", err)
}

func TestAnInvalidValueIsRefusedInAChange(t *testing.T) {
	for _, kind := range []string{"ManagedCluster", "ManagedClusterSetBinding", "Placement", "Workflow"} {
		object := annotated("changed-"+strings.ToLower(kind), "note", "mine")[kind]
		require.NoError(t, admin.Create(t.Context(), object))
		for policy, key := range map[string]string{
			"ManagedCluster": contract.AnnotationMaxWorkflows, "ManagedClusterSetBinding": contract.AnnotationExecutor,
			"Placement": contract.AnnotationStrategy, "Workflow": contract.AnnotationPlacement,
		} {
			err := admin.Patch(t.Context(), object, merge(annotation(key, invalidValue)), client.DryRunAll)
			assert.Equal(t, kind == policy || kind == "ManagedClusterSetBinding" && key == contract.AnnotationMaxWorkflows,
				apierrors.IsInvalid(err), "%s on a %s: %v", key, kind, err)
		}
		require.NoError(t, admin.Delete(t.Context(), object))
	}
}

func TestAValueThatWasThereBeforeLocksNothing(t *testing.T) {
	for _, object := range invalidBefore() {
		for _, patch := range []string{label("team", "a"), annotation("note", "mine"), `{"metadata":{"finalizers":["example.com/f"]}}`,
			`{"metadata":{"finalizers":null}}`} {
			require.NoError(t, admin.Patch(t.Context(), object, merge(patch)), "%T %s", object, patch)
		}
	}
	wf := workflow(before + "-label")
	require.NoError(t, theManager(t).Patch(t.Context(), wf, merge(`{"status":{"phase":"Pending","message":"the value must be true"}}`)))
	require.NoError(t, admin.Patch(t.Context(), wf, merge(label(contract.LabelEnable, contract.LabelEnableValue))), "it can be mended")
}
