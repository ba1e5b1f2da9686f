package chart

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/test/docs"
)

const (
	addonAPI    = "addon.open-cluster-management.io/v1beta1"
	keepPolicy  = "helm.sh/resource-policy"
	workflowCRD = "workflows.argoproj.io"
)

// hubWith is what a hub has that can be asked, and these CRDs of Argo's.
func hubWith(crds ...string) []*unstructured.Unstructured {
	has := []*unstructured.Unstructured{object("v1", "Namespace", "", "kube-system")}
	for _, name := range crds {
		has = append(has, object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", name))
	}
	return has
}

func object(apiVersion, kind, namespace, name string) *unstructured.Unstructured {
	made := &unstructured.Unstructured{}
	made.SetAPIVersion(apiVersion)
	made.SetKind(kind)
	made.SetNamespace(namespace)
	made.SetName(name)
	return made
}

func TestOurCRDIsTheCharts(t *testing.T) {
	t.Parallel()
	crd := find[apiextensionsv1.CustomResourceDefinition](t, objectsOf(t, "crds: {annotations: {note: a}}"), "CustomResourceDefinition", v1alpha1.CRDName)
	require.NotNil(t, crd)
	assert.Equal(t, "keep", crd.Annotations[keepPolicy], "with the CRD every RemoteWorkflow would be deleted")
	assert.Equal(t, "a", crd.Annotations["note"])
	assert.NotEmpty(t, crd.Annotations[v1alpha1.AnnotationContractRevision])
	assert.Equal(t, Release, crd.Labels["app.kubernetes.io/instance"])
	crd = find[apiextensionsv1.CustomResourceDefinition](t, objectsOf(t, "crds: {keep: false}"), "CustomResourceDefinition", v1alpha1.CRDName)
	assert.NotContains(t, crd.Annotations, keepPolicy)
	assert.Nil(t, find[apiextensionsv1.CustomResourceDefinition](t, objectsOf(t, "crds: {install: false}"), "CustomResourceDefinition", v1alpha1.CRDName))
}

func TestArgosCRDsOnlyWhereTheyAreWantedAndMissing(t *testing.T) {
	t.Parallel()
	ours := object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", workflowCRD)
	ours.SetAnnotations(map[string]string{"meta.helm.sh/release-name": Release, "meta.helm.sh/release-namespace": Release})
	for name, test := range map[string]struct {
		values string
		has    []*unstructured.Unstructured
		want   []string
	}{
		"not by default":           {"", hubWith(workflowCRD), nil},
		"all, on a hub without":    {"crds: {argoWorkflows: true}", hubWith(), []string{"clusterworkflowtemplates", "workflows", "workflowtemplates"}},
		"not somebody else's":      {"crds: {argoWorkflows: true}", hubWith(workflowCRD), []string{"clusterworkflowtemplates", "workflowtemplates"}},
		"this release's, again":    {"crds: {argoWorkflows: true}", append(hubWith(), ours), []string{"clusterworkflowtemplates", "workflows", "workflowtemplates"}},
		"all, without asking":      {"crds: {argoWorkflows: true}", nil, []string{"clusterworkflowtemplates", "workflows", "workflowtemplates"}},
		"none, and nobody's asked": {"", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects, _, err := OnHub(hubChart, parse(t, test.values), test.has, addonAPI)
			require.NoError(t, err)
			var found []string
			for _, crd := range objects {
				if crd.GetKind() == "CustomResourceDefinition" && crd.GetName() != v1alpha1.CRDName {
					assert.Equal(t, "keep", crd.GetAnnotations()[keepPolicy], crd.GetName())
					plural, _, err := unstructured.NestedString(crd.Object, "spec", "names", "plural")
					require.NoError(t, err)
					found = append(found, plural)
				}
			}
			assert.Equal(t, test.want, found)
		})
	}
}

func TestAHubThatLacksSomethingIsToldBeforeAnythingIsInstalled(t *testing.T) {
	t.Parallel()
	_, _, err := OnHub(hubChart, nil, hubWith(workflowCRD))
	require.ErrorContains(t, err, "install Open Cluster Management 1.2.1 or newer first")
	_, _, err = OnHub(hubChart, nil, hubWith(), addonAPI)
	require.ErrorContains(t, err, "set crds.argoWorkflows=true")
	_, _, err = OnHub(hubChart, nil, hubWith(workflowCRD), addonAPI)
	require.NoError(t, err)
	_, _, err = OnHub(hubChart, parse(t, "hubArgo: {enabled: true}"), hubWith(workflowCRD), addonAPI)
	require.ErrorContains(t, err, "this hub has no namespace argo: set hubArgo.serviceAccount.namespace")
	argo := append(hubWith(workflowCRD), object("v1", "Namespace", "", "argo"))
	_, _, err = OnHub(hubChart, parse(t, "hubArgo: {enabled: true}"), argo, addonAPI)
	require.NoError(t, err)
}

// TestWhoInstallsNeedsNoMoreThanIsDocumented lists what the chart looks up. Helm renders nothing where it may not look.
func TestWhoInstallsNeedsNoMoreThanIsDocumented(t *testing.T) {
	t.Parallel()
	for values, want := range map[string][]string{
		"":                         {"CustomResourceDefinition", "Lease", "Namespace"},
		"hubArgo: {enabled: true}": {"CustomResourceDefinition", "Namespace"},
		"hubArgo: {enabled: true}\ncrds: {argoWorkflows: true}": {"CustomResourceDefinition", "Namespace"},
		"crds: {argoWorkflows: true}":                           {"CustomResourceDefinition", "Lease", "Namespace"},
	} {
		hub := &fakeHub{objects: append(hubWith(workflowCRD), object("v1", "Namespace", "", "argo"))}
		_, _, err := onHub(hubChart, parse(t, values), hub, addonAPI)
		require.NoError(t, err)
		slices.Sort(hub.asked)
		assert.Equal(t, want, slices.Compact(hub.asked), values)
	}
	documented, err := docs.Rights(permissions, "Who installs")
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{
		"namespaces []: get", "customresourcedefinitions.apiextensions.k8s.io []: get", "leases.coordination.k8s.io []: list",
	}, documented)
}

func TestNotesWarnOfAnArgoControllerOnTheHub(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		values, lease string
		age           time.Duration
		want          bool
	}{
		"one that works":       {"", "workflow-controller", time.Second, true},
		"one that is gone":     {"", "workflow-controller", time.Hour, false},
		"with an instance id":  {"", "workflow-controller-team-a", time.Second, false},
		"that is provided for": {"hubArgo: {enabled: true}", "workflow-controller", time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lease := object("coordination.k8s.io/v1", "Lease", "argo", test.lease)
			lease.Object["spec"] = map[string]any{"renewTime": time.Now().Add(-test.age).UTC().Format("2006-01-02T15:04:05.000000Z07:00")}
			has := append(hubWith(workflowCRD), object("v1", "Namespace", "", "argo"), lease)
			_, notes, err := OnHub(hubChart, parse(t, test.values), has, addonAPI)
			require.NoError(t, err)
			if test.want {
				assert.Contains(t, notes, "WARNING: an Argo controller seems to run on this hub, in namespace argo.")
			} else {
				assert.NotContains(t, notes, "WARNING")
			}
		})
	}
}
