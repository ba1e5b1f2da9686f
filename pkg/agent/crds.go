package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/argoproj/argo-workflows/v3/pkg/apis/workflow"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// removePoll is how often it is looked whether something is gone.
const removePoll = time.Second

// RemoveCRDsOptions say what of an installation of Argo Workflows to remove.
type RemoveCRDsOptions struct {
	// HubID is the id of the hub whose addon has installed it: the UID of its kube-system namespace.
	HubID string
	// ArgoNamespace is the namespace of its controller.
	ArgoNamespace string
	// InstanceID is the controller's instance id, if it has one.
	InstanceID string
	// Timeout is for how long to wait for the controller to end, and for the CRDs to be gone.
	Timeout time.Duration
}

// Validate returns an error that names the flags to correct.
func (o RemoveCRDsOptions) Validate() error {
	switch {
	case o.HubID == "":
		return errors.New("--hub-id is required: the UID of the hub's namespace kube-system, which the CRDs have in label " + contract.LabelInstalledBy)
	case o.ArgoNamespace == "":
		return errors.New("--argo-namespace is required")
	case o.Timeout <= 0:
		return errors.New("--timeout must be positive")
	}
	return nil
}

// RemoveCRDs removes from the managed cluster what the addon argo-workflows does not take with it, since users may have something
// in it: Argo's CRDs and the controller's namespace, as far as the hub's addon has made them. If a user has any object of one
// of these kinds, both stay; the namespace also stays if there is anything in it that is not the addon's. What stays, and
// why, is written to out, and is no error. The Lease that the controller has made goes in any case.
//
// It first waits for the Deployments of the addon to go: the work agent takes them away together with the order to create the
// CRDs, and would create them again before.
func RemoveCRDs(ctx context.Context, managed *rest.Config, options RemoveCRDsOptions, out io.Writer) error {
	if err := options.Validate(); err != nil {
		return err
	}
	client, err := metadata.NewForConfig(managed)
	if err != nil {
		return fmt.Errorf("create client: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, options.Timeout)
	defer cancel()
	r := &remover{client: client, options: options, out: out}
	if err := r.waitUntilNone(ctx, deploymentsResource, options.ArgoNamespace); err != nil {
		return fmt.Errorf("wait for Argo's controller in namespace %s to end: %w", options.ArgoNamespace, err)
	}
	if err := r.removeLease(ctx); err != nil {
		return err
	}
	crds, err := r.list(ctx, crdsResource, "", r.byHub())
	if err != nil {
		return err
	}
	if kept, err := r.inUse(ctx, crds); err != nil || kept != "" {
		if err == nil {
			fmt.Fprintf(out, "Argo's CRDs and the namespace %s stay: %s. Before you install Argo Workflows here yourself, so that the addon "+
				"does not take it for its own: kubectl label crd %s.%s %s-\n",
				options.ArgoNamespace, kept, contract.WorkflowGVR.Resource, contract.WorkflowGVR.Group, contract.LabelInstalledBy)
		}
		return err
	}
	if err := r.removeCRDs(ctx, crds); err != nil {
		return err
	}
	return r.removeNamespace(ctx)
}

var (
	crdsResource        = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	deploymentsResource = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	leasesResource      = schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}
	namespacesResource  = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
)

// byProducts are the kinds that Argo itself keeps for a Workflow, by the names of their CRDs.
var byProducts = []string{
	"workflowtasksets." + workflow.Group, "workflowtaskresults." + workflow.Group, "workflowartifactgctasks." + workflow.Group,
}

// remover removes the rest of an installation of Argo Workflows. It reads metadata only.
type remover struct {
	client  metadata.Interface
	options RemoveCRDsOptions
	out     io.Writer
}

// byHub selects what the hub's addon has made.
func (r *remover) byHub() metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: contract.LabelInstalledBy + "=" + r.options.HubID}
}

// list returns the metadata of objects; none if the kind is not served any more.
func (r *remover) list(
	ctx context.Context, resource schema.GroupVersionResource, namespace string, options metav1.ListOptions,
) ([]metav1.PartialObjectMetadata, error) {
	list, err := r.client.Resource(resource).Namespace(namespace).List(ctx, options)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", resource.Resource, err)
	}
	return list.Items, nil
}

// inUse returns what users have of the kinds that these CRDs define, "" if that is nothing.
func (r *remover) inUse(ctx context.Context, crds []metav1.PartialObjectMetadata) (string, error) {
	for i := range crds {
		resource, group, _ := strings.Cut(crds[i].Name, ".")
		if slices.Contains(byProducts, crds[i].Name) {
			continue
		}
		kind := schema.GroupVersionResource{Group: group, Version: workflow.Version, Resource: resource}
		objects, err := r.list(ctx, kind, "", metav1.ListOptions{Limit: 1})
		if err != nil {
			return "", err
		}
		if len(objects) > 0 {
			return fmt.Sprintf("there are %s, such as %s", resource, nameOf(&objects[0])), nil
		}
	}
	return "", nil
}

// removeLease removes the Lease by which the controllers have elected a leader.
func (r *remover) removeLease(ctx context.Context) error {
	name := "workflow-controller"
	if r.options.InstanceID != "" {
		name += "-" + r.options.InstanceID
	}
	err := r.client.Resource(leasesResource).Namespace(r.options.ArgoNamespace).Delete(ctx, name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete Lease %s: %w", name, err)
	}
	return nil
}

// removeCRDs removes CRDs, and waits until they are gone.
func (r *remover) removeCRDs(ctx context.Context, crds []metav1.PartialObjectMetadata) error {
	for i := range crds {
		if err := r.remove(ctx, crdsResource, &crds[i]); err != nil {
			return err
		}
	}
	if err := r.waitUntilNone(ctx, crdsResource, ""); err != nil {
		return fmt.Errorf("wait for Argo's CRDs to go: %w", err)
	}
	return nil
}

// removeNamespace removes the namespace of Argo's controller if the addon has made it, and there is nothing else in it.
func (r *remover) removeNamespace(ctx context.Context) error {
	name := r.options.ArgoNamespace
	namespace, err := r.client.Resource(namespacesResource).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read namespace %s: %w", name, err)
	}
	if namespace.Labels[contract.LabelInstalledBy] != r.options.HubID {
		fmt.Fprintf(r.out, "the namespace %s stays: the addon has not made it\n", name)
		return nil
	}
	for group, resources := range namespaceContent {
		for _, resource := range resources {
			objects, err := r.list(ctx, schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource}, name, metav1.ListOptions{})
			if err != nil {
				return err
			}
			if i := slices.IndexFunc(objects, isUsers); i >= 0 {
				fmt.Fprintf(r.out, "the namespace %s stays: there are %s in it that are not the addon's, such as %s\n",
					name, resource, objects[i].Name)
				return nil
			}
		}
	}
	return r.remove(ctx, namespacesResource, namespace)
}

// namespaceContent are the kinds, by group, by which users show that they use a namespace.
var namespaceContent = map[string][]string{
	"":                          {"configmaps", "persistentvolumeclaims", "pods", "secrets", "serviceaccounts", "services"},
	"apps":                      {"daemonsets", "deployments", "statefulsets"},
	"batch":                     {"cronjobs", "jobs"},
	"networking.k8s.io":         {"ingresses"},
	"rbac.authorization.k8s.io": {"rolebindings", "roles"},
}

// isUsers reports whether an object in the namespace is a user's, and not the addon's, OCM's or the cluster's own.
func isUsers(object metav1.PartialObjectMetadata) bool {
	_, ours := object.Labels[contract.LabelInstalledBy]
	_, token := object.Annotations["kubernetes.io/service-account.name"]
	clusters := []string{
		"kube-root-ca.crt", "openshift-service-ca.crt", "open-cluster-management-image-pull-credentials",
		"default", "builder", "deployer", // ServiceAccounts, the last two OpenShift's
	}
	return !ours && !token && !slices.Contains(clusters, object.Name) && !strings.HasPrefix(object.Name, "system:")
}

// remove deletes an object, provided that it is the one that was read.
func (r *remover) remove(ctx context.Context, resource schema.GroupVersionResource, object *metav1.PartialObjectMetadata) error {
	err := r.client.Resource(resource).Delete(ctx, object.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: ptr.To(object.UID)},
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s %s: %w", resource.Resource, object.Name, err)
	}
	fmt.Fprintf(r.out, "removed %s %s\n", resource.Resource, object.Name)
	return nil
}

// waitUntilNone waits until there is none of the addon's objects of a kind.
func (r *remover) waitUntilNone(ctx context.Context, resource schema.GroupVersionResource, namespace string) error {
	left := ""
	err := wait.PollUntilContextCancel(ctx, removePoll, true, func(ctx context.Context) (bool, error) {
		objects, err := r.list(ctx, resource, namespace, r.byHub())
		if err != nil || len(objects) == 0 {
			return err == nil, err
		}
		left = nameOf(&objects[0])
		return false, nil
	})
	if err != nil && left != "" {
		return fmt.Errorf("%s %s is still there: %w", resource.Resource, left, err)
	}
	return err
}

func nameOf(object *metav1.PartialObjectMetadata) string {
	return strings.TrimPrefix(object.Namespace+"/"+object.Name, "/")
}
