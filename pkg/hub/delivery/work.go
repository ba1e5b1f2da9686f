package delivery

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	workv1 "open-cluster-management.io/api/work/v1"
	workvalidator "open-cluster-management.io/sdk-go/pkg/apis/work/v1/validator"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
)

// Bounds of one delivery. OCM takes 500 KiB, and writes all of it to etcd with each of its own writes to the ManifestWork.
const (
	maxItems = 100
	maxBytes = 256 << 10
)

// namePrefix begins the names of deliveries, but for ungated ones. The rest is generated.
const namePrefix = "workflows-"

// payload is a Workflow that is ready to travel.
type payload struct {
	rw       *v1alpha1.RemoteWorkflow
	raw      []byte
	priority int64
	// executor is the ServiceAccount on the cluster as which it is created; zero for the work agent itself.
	executor types.NamespacedName
	// createNamespace is whether its namespace on the cluster is created with it.
	createNamespace bool
}

// newPayload returns what travels of a Workflow. The error is the user's: one that cannot travel.
func newPayload(live *hubworkflow.Workflow, rw *v1alpha1.RemoteWorkflow) (payload, error) {
	object, err := contract.Payload(live.Unstructured, rw)
	if err != nil {
		return payload{}, err
	}
	raw, err := json.Marshal(object.Object)
	if err != nil {
		return payload{}, fmt.Errorf("encode Workflow: %w", err)
	}
	manifests := []workv1.Manifest{namespaceOf(rw), {RawExtension: runtime.RawExtension{Raw: raw}}}
	if err := workvalidator.ManifestValidator.ValidateManifests(manifests); err != nil {
		return payload{}, fmt.Errorf("the Workflow does not fit a ManifestWork: %w", err)
	}
	return payload{rw: rw, raw: raw, priority: live.Priority}, nil
}

// batches divides what travels into deliveries, by priority and then in the order given; each has one executor. A larger Workflow goes
// alone, and so does each to a cluster without agent. Two of one name do not go together: OCM would refuse both. deliver brings at most
// maxItems at a time, so that priority counts among those.
func batches(payloads []payload) [][]payload {
	slices.SortStableFunc(payloads, func(a, b payload) int { return cmp.Compare(b.priority, a.priority) })
	var out [][]payload
	open := map[types.NamespacedName]*unfilled{}
	for _, p := range payloads {
		u, alone := open[p.executor], p.rw.Spec.Reporting == v1alpha1.ReportingFeedback
		if u == nil || alone || len(out[u.at]) == maxItems || u.size+len(p.raw) > maxBytes || u.names[p.rw.Spec.Remote] {
			u = &unfilled{at: len(out), names: map[v1alpha1.RemoteReference]bool{}}
			out, open[p.executor] = append(out, nil), u
		}
		out[u.at] = append(out[u.at], p)
		u.size += len(p.raw)
		if alone {
			u.size = maxBytes
		}
		u.names[p.rw.Spec.Remote] = true
	}
	return out
}

// unfilled is a delivery in the making: where it is among all, its bytes so far, and the names in it.
type unfilled struct {
	at, size int
	names    map[v1alpha1.RemoteReference]bool
}

// newWork returns the ManifestWork of one delivery.
//
// The strategy is CreateOnly, for each item by name: Update would put the payload over the running Workflow and erase its status (the
// Workflow CRD has no status subresource), after which Argo starts it again. With Orphan, the work agent never owns what it creates,
// and so never deletes it, namespaces included. The label of the addon framework must not be on it: the framework deletes the works that
// it did not build.
func newWork(cluster string, batch []payload) *workv1.ManifestWork {
	work := &workv1.ManifestWork{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: cluster, GenerateName: namePrefix, // unique, and never used again
			Labels: map[string]string{contract.LabelDelivery: contract.DeliveryGated},
		},
		Spec: workv1.ManifestWorkSpec{
			DeleteOption: &workv1.DeleteOption{PropagationPolicy: workv1.DeletePropagationPolicyTypeOrphan},
			Executor:     executorOf(batch[0].executor),
		},
	}
	if rw := batch[0].rw; rw.Spec.Reporting == v1alpha1.ReportingFeedback {
		work.GenerateName, work.Name = "", rw.Name
		work.Labels = map[string]string{
			contract.LabelDelivery: contract.DeliveryUngated, contract.LabelWorkflowUID: string(rw.Spec.WorkflowRef.UID),
		}
		work.Spec.DeleteOption = nil
	}
	addNamespaces(work, batch)
	for _, p := range batch {
		work.Spec.Workload.Manifests = append(work.Spec.Workload.Manifests, workv1.Manifest{RawExtension: runtime.RawExtension{Raw: p.raw}})
		work.Spec.ManifestConfigs = append(work.Spec.ManifestConfigs, configOf(p.rw))
	}
	return work
}

// addNamespaces has the delivery create the namespaces of those of its Workflows whose binding says so, before the Workflows. Where it is
// not to leave behind what it creates, it leaves them.
func addNamespaces(work *workv1.ManifestWork, batch []payload) {
	added := sets.Set[string]{}
	for _, p := range batch {
		name := p.rw.Spec.Remote.Namespace
		if !p.createNamespace || added.Has(name) {
			continue
		}
		added.Insert(name)
		id := workv1.ResourceIdentifier{Resource: "namespaces", Name: name}
		work.Spec.Workload.Manifests = append(work.Spec.Workload.Manifests, namespaceOf(p.rw))
		work.Spec.ManifestConfigs = append(work.Spec.ManifestConfigs, workv1.ManifestConfigOption{
			ResourceIdentifier: id, UpdateStrategy: createOnly(),
		})
		if work.Spec.DeleteOption == nil {
			work.Spec.DeleteOption = &workv1.DeleteOption{
				PropagationPolicy: workv1.DeletePropagationPolicyTypeSelectivelyOrphan,
				SelectivelyOrphan: &workv1.SelectivelyOrphan{OrphaningRules: []workv1.OrphaningRule{{Resource: id.Resource, Name: id.Name}}},
			}
		}
	}
}

func createOnly() *workv1.UpdateStrategy {
	return &workv1.UpdateStrategy{Type: workv1.UpdateStrategyTypeCreateOnly}
}

// namespaceOf returns the namespace of the remote Workflow as it is created.
func namespaceOf(rw *v1alpha1.RemoteWorkflow) workv1.Manifest {
	return workv1.Manifest{RawExtension: runtime.RawExtension{
		Raw: fmt.Appendf(nil, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%q}}`, rw.Spec.Remote.Namespace),
	}}
}

func configOf(rw *v1alpha1.RemoteWorkflow) workv1.ManifestConfigOption {
	config := workv1.ManifestConfigOption{
		ResourceIdentifier: workv1.ResourceIdentifier{
			Group: contract.WorkflowGVR.Group, Resource: contract.WorkflowGVR.Resource,
			Namespace: rw.Spec.Remote.Namespace, Name: rw.Spec.Remote.Name,
		},
		UpdateStrategy: createOnly(),
	}
	if rw.Spec.Reporting == v1alpha1.ReportingFeedback {
		// Without an agent the feedback is all that the hub learns.
		config.FeedbackRules = []workv1.FeedbackRule{{Type: workv1.JSONPathsType, JsonPaths: feedback()}}
		config.FeedbackScrapeType = workv1.FeedbackWatchType
		config.ConditionRules = []workv1.ConditionRule{completeRule(rw)}
	}
	return config
}

// feedback lists what the work agent reports of a Workflow. It speaks of whatever bears the name, hence the uids.
func feedback() []workv1.JsonPath {
	paths := []workv1.JsonPath{
		{Name: contract.FeedbackUID, Path: ".metadata.uid"},
		{Name: contract.FeedbackHubUID, Path: ".metadata.annotations." + strings.ReplaceAll(contract.AnnotationHubUID, ".", `\.`)},
	}
	for _, field := range contract.FeedbackStatusFields {
		paths = append(paths, workv1.JsonPath{Name: field, Path: ".status." + field})
	}
	return paths
}

// completeRule makes the work agent leave a finished Workflow alone. That saves work but guarantees nothing: it is
// evaluated at intervals, and only while the object exists.
func completeRule(rw *v1alpha1.RemoteWorkflow) workv1.ConditionRule {
	ref := contract.ReferenceTo(rw)
	annotation := func(key, value string) string {
		return fmt.Sprintf("has(object.metadata.annotations) && %q in object.metadata.annotations && object.metadata.annotations[%q] == %q",
			key, key, value)
	}
	return workv1.ConditionRule{
		Condition: workv1.WorkComplete,
		Type:      workv1.CelConditionExpressionsType,
		CelExpressions: []string{
			annotation(contract.AnnotationHubUID, string(ref.UID)),
			annotation(contract.AnnotationAttempt, fmt.Sprint(ref.Attempt)),
			`has(object.status) && has(object.status.phase) && object.status.phase in ["Succeeded", "Failed", "Error"]`,
		},
		MessageExpression: `result ? "the Workflow has finished" : "the Workflow has not finished"`,
	}
}
