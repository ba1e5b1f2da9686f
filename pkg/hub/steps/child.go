package steps

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract/step"
)

const (
	// stepTask is the one task of a child's DAG. Only what a task of a DAG writes to its standard output is kept.
	stepTask = "step"
	// entrypoint is the template with that DAG.
	entrypoint = "main"
)

// ofArgo are the fields of a template that the controller of the parent acts on. The others belong to the pod.
var ofArgo = []string{"plugin", "retryStrategy", "memoize", "synchronization", "metrics", "timeout", "daemon"}

// inherited are the fields of a Workflow's spec that hold for the pods of all its steps, wherever they run.
var inherited = []string{
	"affinity", "archiveLogs", "artifactRepositoryRef", "automountServiceAccountToken", "dnsConfig", "dnsPolicy", "executor", "hostAliases",
	"hostNetwork", "imagePullSecrets", "nodeSelector", "podDisruptionBudget", "podGC", "podMetadata", "podPriorityClassName",
	"podSpecPatch", "priority", "schedulerName", "securityContext", "serviceAccountName", "tolerations",
}

// childSpec is what a child is made of.
type childSpec struct {
	parent *parent
	id     contract.StepID
	task   map[string]any
	step   *step.Step
	// cluster is the one of a step that runs in several, "" for that, or the Placement, of the step.
	cluster string
	// clusters are all of them, on the first child.
	clusters []string
	// usesResult is whether what it writes to its standard output is to be kept.
	usesResult bool
	// within is when the step has to have ended; zero for never.
	within time.Duration
}

// newChild returns the Workflow that runs a step. The error is the user's.
func newChild(c childSpec) (*unstructured.Unstructured, error) {
	child := contract.NewWorkflow()
	child.SetNamespace(c.parent.GetNamespace())
	child.SetName(c.id.WorkflowName(c.parent.GetName()))
	child.SetLabels(map[string]string{
		contract.LabelEnable:     contract.LabelEnableValue,
		contract.LabelInstanceID: contract.InstanceIDHub,
		contract.LabelParent:     c.parent.GetName(),
	})
	child.SetFinalizers([]string{contract.FinalizerStep})
	child.SetOwnerReferences([]metav1.OwnerReference{{
		APIVersion: c.parent.GetAPIVersion(), Kind: c.parent.GetKind(), Name: c.parent.GetName(), UID: c.parent.GetUID(),
		Controller: ptr.To(true),
	}})
	annotations := map[string]string{contract.AnnotationStep: c.id.String()}
	set := func(key, value string) {
		if value != "" {
			annotations[key] = value
		}
	}
	set(contract.AnnotationClusterNamespace, c.step.Namespace)
	set(contract.AnnotationStepClusters, strings.Join(c.clusters, ","))
	if c.cluster == "" {
		set(contract.AnnotationPlacement, c.step.Placement)
		set(contract.AnnotationCluster, c.step.Cluster)
	}
	set(contract.AnnotationCluster, c.cluster)

	spec, err := specOf(c)
	if err != nil {
		return nil, err
	}
	if c.parent.isSuspended() {
		spec["suspend"] = true
		annotations[contract.AnnotationStepSuspended] = "true"
	}
	if c.within > 0 {
		spec["activeDeadlineSeconds"] = max(1, int64(c.within.Seconds()))
	}
	child.SetAnnotations(annotations)
	child.Object["spec"] = spec
	return child, nil
}

func specOf(c childSpec) (map[string]any, error) {
	inputs, _ := c.task["inputs"].(map[string]any)
	ref := map[string]any{"name": c.step.Reference.Name}
	if c.step.Reference.ClusterScope {
		ref["clusterScope"] = true
	}
	switch c.step.Kind {
	case step.WorkflowTemplateRef:
		// No more than that: an Argo controller that takes Workflows by reference only refuses other fields.
		return map[string]any{"workflowTemplateRef": ref, "arguments": arguments(inputs)}, nil
	case step.TemplateRef:
		ref["template"] = c.step.Reference.Template
		return withInherited(c, dag(map[string]any{"templateRef": ref, "arguments": arguments(inputs)})), nil
	}
	template := runtime.DeepCopyJSON(c.task)
	for _, field := range ofArgo {
		delete(template, field)
	}
	for kind, body := range c.step.Body {
		template[kind] = runtime.DeepCopyJSONValue(body)
	}
	name := contract.StatusString(template, "name")
	if name == "" || name == entrypoint {
		name = stepTask
	}
	template["name"] = name
	inputs, _ = template["inputs"].(map[string]any)
	for _, p := range list(inputs, "parameters") {
		if p["value"] != nil {
			delete(p, "valueFrom") // the hub has read it from there, which may be something else on the cluster
		}
	}
	volumes, err := volumesOf(c.parent.spec, template)
	if err != nil {
		return nil, err
	}
	main := dag(map[string]any{"template": name})
	if c.usesResult && hasResult(c.step.Kind, template) {
		// Argo keeps a pod's standard output only where something refers to it.
		main["outputs"] = map[string]any{"parameters": []any{map[string]any{
			"name": "result", "valueFrom": map[string]any{"parameter": "{{tasks." + stepTask + ".outputs.result}}", "default": ""},
		}}}
	}
	spec := withInherited(c, main, template)
	if len(volumes) > 0 {
		spec["volumes"] = volumes
	}
	return spec, nil
}

// hasResult reports whether what a pod of the template writes to its standard output can be a result.
func hasResult(kind step.Kind, template map[string]any) bool {
	switch kind {
	case step.Container, step.Script, step.Data:
		return true
	case step.ContainerSet:
		set, _ := template["containerSet"].(map[string]any)
		return slices.ContainsFunc(list(set, "containers"), func(c map[string]any) bool { return c["name"] == "main" })
	}
	return false
}

// dag returns the template that runs one task.
func dag(task map[string]any) map[string]any {
	task["name"] = stepTask
	return map[string]any{"name": entrypoint, "dag": map[string]any{"tasks": []any{task}}}
}

// withInherited returns the spec with these templates, and what of the Workflow's holds for its pods.
func withInherited(c childSpec, templates ...any) map[string]any {
	spec := map[string]any{"entrypoint": entrypoint, "templates": templates}
	for _, field := range inherited {
		if value, ok := c.parent.spec[field]; ok && value != nil {
			spec[field] = runtime.DeepCopyJSONValue(value)
		}
	}
	return spec
}

// arguments returns the inputs that a template was given, as arguments for another.
func arguments(inputs map[string]any) map[string]any {
	out := map[string]any{}
	if parameters := list(inputs, "parameters"); len(parameters) > 0 {
		var given []any
		for _, p := range parameters {
			given = append(given, map[string]any{"name": p["name"], "value": p["value"]})
		}
		out["parameters"] = given
	}
	if artifacts := list(inputs, "artifacts"); len(artifacts) > 0 {
		var given []any
		for _, a := range artifacts {
			a = runtime.DeepCopyJSON(a)
			for _, field := range []string{"path", "mode", "recurseMode", "archive"} {
				delete(a, field) // how it is unpacked is said by the template
			}
			given = append(given, a)
		}
		out["artifacts"] = given
	}
	return out
}

// list returns the objects in a list of an object.
func list(object map[string]any, field string) []map[string]any {
	items, _ := object[field].([]any)
	var out []map[string]any
	for _, item := range items {
		if fields, ok := item.(map[string]any); ok {
			out = append(out, fields)
		}
	}
	return out
}

// volumesOf returns the volumes of a Workflow's spec that the template's containers mount. The error names one that is in one cluster only.
func volumesOf(spec, template map[string]any) ([]any, error) {
	mounted := mountsOf(template)
	for _, own := range list(template, "volumes") {
		mounted = slices.DeleteFunc(mounted, func(name string) bool { return name == own["name"] })
	}
	var out []any
	for _, claim := range list(spec, "volumeClaimTemplates") {
		if name, _ := nested(claim, "metadata", "name").(string); slices.Contains(mounted, name) {
			return nil, notShared(name)
		}
	}
	for _, volume := range list(spec, "volumes") {
		name := contract.StatusString(volume, "name")
		if !slices.Contains(mounted, name) {
			continue
		}
		if volume["persistentVolumeClaim"] != nil {
			return nil, notShared(name)
		}
		out = append(out, runtime.DeepCopyJSONValue(volume))
	}
	return out, nil
}

func notShared(name string) error {
	return fmt.Errorf("volume %q is a PersistentVolumeClaim of the Workflow, which no other cluster has: pass files as artifacts, or name "+
		"a claim of that cluster in the template's own volumes", name)
}

// mountsOf returns the names of the volumes that the containers of a template mount.
func mountsOf(template map[string]any) []string {
	set, _ := template["containerSet"].(map[string]any)
	containers := slices.Concat(list(template, "initContainers"), list(template, "sidecars"), list(set, "containers"))
	for _, field := range []string{"container", "script"} {
		if container, ok := template[field].(map[string]any); ok {
			containers = append(containers, container)
		}
	}
	var names []string
	for _, container := range append(containers, set) {
		for _, mount := range list(container, "volumeMounts") {
			names = append(names, contract.StatusString(mount, "name"))
		}
	}
	return names
}
