package hub

import (
	"context"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/podrequests"
)

const (
	// crdFolder and argoCRDFolder are where our CRD and Argo's minimal ones are.
	crdFolder     = "charts/argo-workflow-multicluster/files/crds/"
	argoCRDFolder = "charts/argo-workflow-multicluster/files/argo-crds/"

	// reasonFullCRD is the reason of the Event on Argo's CRD.
	reasonFullCRD = "FullWorkflowCRD"
)

// fullCRDAdvice says what is wrong with a hub that has Argo's full Workflow CRD, and how to change it.
const fullCRDAdvice = "the hub has Argo's full Workflow CRD. Its API server drops whatever field this CRD does not know, such as one of " +
	"a newer Argo on a managed cluster; a status that has lost one is not recognized as the hub's own, and the ttlStrategy of such a " +
	"Workflow has no effect. It also records the owner of each field, which nearly doubles a large Workflow. The minimal CRD does neither: " +
	"kubectl apply --server-side --force-conflicts -f " + argoCRDFolder + "argoproj.io_workflows.yaml (Workflows stay)"

// workflowCRDName is the name of Argo's CRD.
var workflowCRDName = contract.WorkflowGVR.Resource + "." + contract.WorkflowGVR.Group

// requireRevision returns an error that says what to do if the hub's RemoteWorkflow CRD is older than this manager: its API
// server would silently drop the fields that it does not know. A newer one has them all.
func requireRevision(ctx context.Context, reader client.Reader) error {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := reader.Get(ctx, client.ObjectKey{Name: v1alpha1.CRDName}, crd); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get CRD %s: %w", v1alpha1.CRDName, err)
	}
	found := crd.Annotations[v1alpha1.AnnotationContractRevision]
	if revision, err := strconv.Atoi(found); err == nil && revision >= v1alpha1.ContractRevision {
		return nil
	}
	return fmt.Errorf("the CRD %s on the hub is missing or has revision %q, and this manager needs %d or later (annotation %s). "+
		"The chart updates it, unless its value crds.install is false. To do it by hand: kubectl apply --server-side --force-conflicts -f "+
		"%sworkflow.open-cluster-management.io_remoteworkflows.yaml, of this version of the chart",
		v1alpha1.CRDName, found, v1alpha1.ContractRevision, v1alpha1.AnnotationContractRevision, crdFolder)
}

// warnOfFullCRD says once the manager leads, in the log and in an Event on the CRD, that the hub has Argo's full Workflow CRD.
func warnOfFullCRD(reader client.Reader, recorder events.EventRecorder) manager.RunnableFunc {
	return func(ctx context.Context) error {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := reader.Get(ctx, client.ObjectKey{Name: workflowCRDName}, crd); err != nil {
			log.FromContext(ctx).Error(err, "cannot tell whether the hub has Argo's minimal Workflow CRD")
			return nil // all works without the answer
		}
		if isFull(crd) {
			log.FromContext(ctx).Info("warning: " + fullCRDAdvice)
			recorder.Eventf(crd, nil, corev1.EventTypeWarning, reasonFullCRD, "Start", "%s", fullCRDAdvice)
		}
		return nil
	}
}

// isFull reports whether the CRD lists the fields of a Workflow, where the minimal one takes whatever comes.
func isFull(crd *apiextensionsv1.CustomResourceDefinition) bool {
	for _, version := range crd.Spec.Versions {
		if version.Name != contract.WorkflowGVK.Version || version.Schema == nil || version.Schema.OpenAPIV3Schema == nil {
			continue
		}
		for _, part := range []string{"spec", "status"} {
			schema := version.Schema.OpenAPIV3Schema.Properties[part]
			if len(schema.Properties) > 0 || schema.XPreserveUnknownFields == nil || !*schema.XPreserveUnknownFields {
				return true
			}
		}
	}
	return false
}

// templateInformers returns an informer of each kind of template that the hub serves. It may lack them: then nothing is known of what a
// Workflow refers to. They are apart from the manager's cache: nothing that needs that one waits for them.
func templateInformers(config *rest.Config, mapper meta.RESTMapper) ([]toolscache.SharedIndexInformer, error) {
	reader, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("create client for templates: %w", err)
	}
	var informers []toolscache.SharedIndexInformer
	for _, kind := range []schema.GroupVersionKind{contract.WorkflowTemplateGVK, contract.ClusterWorkflowTemplateGVK} {
		isThere, err := isServed(mapper, kind)
		if err != nil {
			return nil, err
		}
		if !isThere {
			continue
		}
		resource, _ := meta.UnsafeGuessKindToResource(kind)
		informer := dynamicinformer.NewFilteredDynamicInformer(reader, resource, metav1.NamespaceAll, 0, toolscache.Indexers{}, nil).Informer()
		if err := informer.SetTransform(podrequests.Trim); err != nil {
			return nil, fmt.Errorf("watch templates: %w", err)
		}
		informers = append(informers, informer)
	}
	return informers, nil
}

func isServed(mapper meta.RESTMapper, kind schema.GroupVersionKind) (bool, error) {
	_, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
	switch {
	case meta.IsNoMatchError(err) || apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look up %s: %w", kind, err)
	}
	return true, nil
}
