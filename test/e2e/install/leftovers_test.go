package install

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

// argoKept is what the addon argo-workflows leaves on a cluster: what may be users', and what the controller has made.
var argoKept = []string{
	"namespaces /argo", "leases argo/workflow-controller",
	"customresourcedefinitions /clusterworkflowtemplates.argoproj.io", "customresourcedefinitions /cronworkflows.argoproj.io",
	"customresourcedefinitions /workflowartifactgctasks.argoproj.io", "customresourcedefinitions /workfloweventbindings.argoproj.io",
	"customresourcedefinitions /workflows.argoproj.io", "customresourcedefinitions /workflowtaskresults.argoproj.io",
	"customresourcedefinitions /workflowtasksets.argoproj.io", "customresourcedefinitions /workflowtemplates.argoproj.io",
}

// chartKept is what the hub chart leaves on the hub: with a CRD all its objects would go.
var chartKept = []string{
	"customresourcedefinitions /remoteworkflows.workflow.open-cluster-management.io",
	"customresourcedefinitions /workflows.argoproj.io", "customresourcedefinitions /workflowtemplates.argoproj.io",
	"customresourcedefinitions /clusterworkflowtemplates.argoproj.io",
}

// passing are kinds that Kubernetes itself removes: after an hour, or with a CRD.
var passing = []string{"events", "certificatesigningrequests", "apiservices"}

// ours marks what the product makes, by name, label or finalizer.
var ours = []string{contract.AddonName, lab.ArgoAddonName, "workflow.open-cluster-management.io", "workflow-controller"}

// leftovers lists what of the product is on the cluster, and whatever hangs in its deletion. Users' Workflows are not the
// product's, unless something of it is still in them. Kept are, too, what Helm and users make themselves.
func leftovers(t *testing.T, c *cluster, kept ...string) []string {
	t.Helper()
	config := rest.CopyConfig(c.config)
	config.WarningHandler = rest.NoWarnings{} // of old APIs, which are looked through as well
	client, err := metadata.NewForConfig(config)
	require.NoError(t, err)
	lists, err := c.kube.Discovery().ServerPreferredResources()
	require.NoError(t, err)
	var found []string
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		require.NoError(t, err)
		for _, resource := range list.APIResources {
			if !slices.Contains(resource.Verbs, "list") || slices.Contains(passing, resource.Name) {
				continue
			}
			objects, err := client.Resource(gv.WithResource(resource.Name)).List(t.Context(), metav1.ListOptions{})
			if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
				continue // a CRD that goes at this moment
			}
			require.NoError(t, err)
			for _, object := range objects.Items {
				name := fmt.Sprintf("%s %s/%s", resource.Name, object.Namespace, object.Name)
				switch {
				case slices.Contains(kept, name):
				case object.DeletionTimestamp != nil:
					found = append(found, fmt.Sprintf("%s hangs in its deletion: %v", name, object.Finalizers))
				case isOurs(resource.Name, object.ObjectMeta):
					found = append(found, name)
				}
			}
		}
	}
	return found
}

func isOurs(resource string, object metav1.ObjectMeta) bool {
	marks := slices.Clone(object.Finalizers)
	if resource != "workflows" && resource != "pods" { // those are users'
		marks = append(marks, object.Name)
		for label, value := range object.Labels {
			marks = append(marks, label, value)
		}
	}
	return slices.ContainsFunc(marks, func(mark string) bool {
		return slices.ContainsFunc(ours, func(own string) bool { return strings.Contains(mark, own) })
	})
}
