package stepaccess_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract/step"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/stepaccess"
	"open-cluster-management.io/argo-workflow-multicluster/test/fakehub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// inventory is a hub where gen.Namespace has the set "bound", with cluster1, and its Workflows may also run in namespace "allowed".
func inventory() []client.Object {
	ofSets := gen.Placement("other-set")
	ofSets.Spec.ClusterSets = []string{"other"}
	return []client.Object{
		gen.ManagedCluster("cluster1", gen.InClusterSet("bound")), gen.ManagedCluster("cluster2", gen.InClusterSet("other")),
		gen.ManagedClusterSet("bound"), gen.ManagedClusterSet("other"),
		gen.ManagedClusterSetBinding("bound", gen.WithAnnotations(map[string]string{contract.AnnotationNamespaces: "allowed"})),
		gen.Placement("any"), ofSets,
	}
}

func TestWhetherAStepMayRunWhereItSays(t *testing.T) {
	for name, c := range map[string]struct {
		step step.Step
		want string
	}{
		"a cluster of a bound set":       {step.Step{Cluster: "cluster1"}, ""},
		"in a namespace that is named":   {step.Step{Cluster: "cluster1", Namespace: "allowed"}, ""},
		"a variable":                     {step.Step{Cluster: "{{inputs.parameters.c}}"}, ""},
		"no such cluster":                {step.Step{Cluster: "cluster9"}, `waiting for managed cluster "cluster9": the hub has none of this name`},
		"a cluster of another set":       {step.Step{Cluster: "cluster2"}, `managed cluster "cluster2" is not open to namespace default`},
		"a namespace of somebody":        {step.Step{Cluster: "cluster1", Namespace: "theirs"}, "the Workflows of namespace default may not run in namespace theirs of"},
		"a namespace of Kubernetes":      {step.Step{Cluster: "cluster1", Namespace: "kube-system"}, "no Workflow is sent to namespace kube-system"},
		"a Placement":                    {step.Step{Placement: "any", Namespace: "allowed"}, ""},
		"no such Placement":              {step.Step{Placement: "none"}, `namespace default has no Placement "none"`},
		"a Placement of a set elsewhere": {step.Step{Placement: "other-set"}, `Placement "other-set" has no clusters to choose from`},
		"a Placement, and a namespace":   {step.Step{Placement: "any", Namespace: "theirs"}, `may not run in namespace theirs of the clusters of Placement "any"`},
	} {
		t.Run(name, func(t *testing.T) {
			hub := fakehub.New(t, nil, inventory()...)
			got, err := stepaccess.Check(t.Context(), hub.Live, gen.Namespace, &c.step)
			require.NoError(t, err)
			if c.want == "" {
				assert.Empty(t, got)
			}
			assert.Contains(t, got, c.want)
			assert.NotContains(t, got, contract.AnnotationClusterNamespace)
		})
	}
}

func TestWhatTheHubDoesNotAnswerIsAnError(t *testing.T) {
	for call, s := range map[string]step.Step{
		"live list ManagedClusterSetBinding": {Cluster: "cluster1"}, "live get ManagedCluster": {Cluster: "cluster1"},
		"live get Placement": {Placement: "any"},
	} {
		hub := fakehub.New(t, nil, inventory()...)
		hub.Fail(call, errors.New("no answer"))
		_, err := stepaccess.Check(t.Context(), hub.Live, gen.Namespace, &s)
		require.ErrorContains(t, err, "no answer", call)
	}
}
