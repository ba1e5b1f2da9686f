package lint

import (
	"encoding/json"
	"regexp"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"go.yaml.in/yaml/v3"
	strictjson "sigs.k8s.io/json"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract/step"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/manifest"
)

// template checks one step.
func template(s Step) []manifest.Problem {
	problems := Variables(s.Template)
	problems = append(problems, outputs(s)...)
	problems = append(problems, artifacts(s)...)
	if key, value := manifest.Pair(s.Node, "daemon"); key != nil && value.Value == "true" {
		problems = append(problems, s.Problem(key, step.NoDaemon))
	}
	if s.Kind == "" || s.Kind.IsReference() {
		return problems
	}
	problems = append(problems, body(s)...)
	return append(problems, Volumes(s.Template, manifest.Get(s.Plugin, step.PluginKey, string(s.Kind)))...)
}

var strictError = regexp.MustCompile(`^(unknown|duplicate) field "(.*)"$`)

// body checks what a step runs against Argo's own definition of it.
func body(s Step) []manifest.Problem {
	node := manifest.Get(s.Plugin, step.PluginKey, string(s.Kind))
	key := at(s.Plugin, []string{step.PluginKey, string(s.Kind)})
	encoded, err := json.Marshal(s.Body)
	if err != nil || len(s.Body) == 0 {
		return nil // said by stepOf
	}
	t := &wfv1.Template{}
	unknown, err := strictjson.UnmarshalStrict(encoded, t)
	if err != nil {
		return []manifest.Problem{s.Problem(key, "%s: %s", s.Kind, err)}
	}
	var problems []manifest.Problem
	for _, wrong := range unknown {
		field := strictError.FindStringSubmatch(wrong.Error())
		if field == nil {
			problems = append(problems, s.Problem(key, "%s", wrong))
			continue
		}
		path := strings.Split(strings.ReplaceAll(field[2], "[", ".["), ".")
		problems = append(problems, s.Problem(at(node, path[1:]), "unknown field %q", field[2]))
	}
	if t.Container != nil && t.Container.Image == "" || t.Script != nil && t.Script.Image == "" {
		problems = append(problems, s.Problem(key, "%s must have an image", s.Kind))
	}
	return problems
}

// outputs checks the parameters: Argo and the cluster's Argo have rules of their own.
func outputs(s Step) []manifest.Problem {
	var problems []manifest.Problem
	for name, parameter := range items(s.Node, "outputs", "parameters") {
		from := manifest.Get(parameter, "valueFrom")
		switch {
		case manifest.Set(parameter, "value"):
		case from == nil:
			problems = append(problems, s.Problem(parameter, "output parameter %q needs a valueFrom", name))
		case manifest.Set(from, "parameter") || manifest.Set(from, "expression"):
			problems = append(problems, s.Problem(parameter, "output parameter %q: valueFrom.parameter and valueFrom.expression are for steps and "+
				"dag; of what a templateRef names, write valueFrom: {supplied: {}}", name))
		case (s.Kind == step.Container || s.Kind == step.ContainerSet || s.Kind == step.Script) && !manifest.Set(from, "path"):
			problems = append(problems, s.Problem(parameter, "output parameter %q of a %s needs valueFrom.path", name, s.Kind))
		case s.Kind == step.Resource && !manifest.Set(from, "jsonPath") && !manifest.Set(from, "jqFilter"):
			problems = append(problems, s.Problem(parameter, "output parameter %q of a resource needs valueFrom.jsonPath or jqFilter", name))
		}
	}
	return problems
}

// artifacts checks that all have a path: Argo refuses a plugin template without, also where nothing is at that path.
func artifacts(s Step) []manifest.Problem {
	var problems []manifest.Problem
	for _, way := range []string{"inputs", "outputs"} {
		for name, artifact := range items(s.Node, way, "artifacts") {
			if !manifest.Set(artifact, "path") {
				problems = append(problems, s.Problem(artifact, "artifact %q of the %s needs a path: Argo refuses a plugin template without",
					name, way))
			}
		}
	}
	return problems
}

// Volumes returns a problem for each volume that a template or its body mounts and that will not be there in another cluster.
func Volumes(t *manifest.Template, body *yaml.Node) []manifest.Problem {
	own := items(t.Node, "volumes")
	shared := items(t.Workflow.Spec, "volumes")
	for name, claim := range items(t.Workflow.Spec, "volumeClaimTemplates") {
		delete(shared, name)
		shared[manifest.Text(claim, "metadata", "name")] = claim
	}
	var problems []manifest.Problem
	for _, mount := range mounts(t.Node, body) {
		name := manifest.Text(mount, "name")
		switch {
		case own[name] != nil || strings.Contains(name, "{{"):
		case shared[name] != nil:
			problems = append(problems, t.Problem(mount, "a volume is not shared between clusters: volume %q is of the Workflow; declare it in "+
				"the volumes of the template if each cluster has one of its own, and pass data as artifacts", name))
		case manifest.Set(t.Node, "podSpecPatch"):
		default:
			problems = append(problems, t.Problem(mount, "there is no volume %q in the volumes of the template", name))
		}
	}
	return problems
}

// mounts returns the volume mounts of what runs in the template's pod.
func mounts(template, body *yaml.Node) []*yaml.Node {
	var found []*yaml.Node
	add := func(container *yaml.Node) {
		if list := manifest.Get(container, "volumeMounts"); list != nil {
			found = append(found, list.Content...)
		}
	}
	add(body)
	for _, list := range []*yaml.Node{manifest.Get(body, "containers"), manifest.Get(template, "initContainers"),
		manifest.Get(template, "sidecars")} {
		if list != nil {
			for _, container := range list.Content {
				add(container)
			}
		}
	}
	return found
}
