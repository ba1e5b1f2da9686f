package step

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
)

// parser reads the fields of the key, and notes what is wrong with them.
type parser struct {
	fields   map[string]any
	problems []Problem
	// variables is whether a value may hold variables of Argo.
	variables bool
}

// problem notes what is wrong at a path below "plugin".
func (p *parser) problem(message string, path ...string) {
	p.problems = append(p.problems, Problem{Path: path, Message: message})
}

// fieldProblem notes what is wrong with a field of the key.
func (p *parser) fieldProblem(field, message string, args ...any) {
	p.problem(fmt.Sprintf(message, args...), PluginKey, field)
}

func (p *parser) step() *Step {
	s := &Step{}
	p.unknownFields()
	s.Cluster = p.name(FieldCluster, validation.IsDNS1123Label)
	s.Placement = p.name(FieldPlacement, validation.IsDNS1123Subdomain)
	s.Namespace = p.name(FieldNamespace, validation.IsDNS1123Label)
	p.where()
	s.All = p.all()
	s.MaxFailures = p.maxFailures(s.All)
	s.Kind = p.kind()
	if s.Kind.IsReference() {
		s.Reference = p.reference(s.Kind)
	} else if body, ok := p.fields[string(s.Kind)]; ok {
		s.Body = map[string]any{string(s.Kind): body}
	}
	return s
}

func (p *parser) unknownFields() {
	known := []string{FieldCluster, FieldPlacement, FieldNamespace, FieldAll, FieldMaxFailures}
	for _, kind := range Kinds() {
		known = append(known, string(kind))
	}
	for _, field := range slices.Sorted(maps.Keys(p.fields)) {
		switch {
		case slices.Contains(known, field):
		case field == "steps" || field == "dag":
			p.fieldProblem(field, "%q cannot be a step's body: put the template into a WorkflowTemplate, and name it with templateRef", field)
		case slices.Contains(besidePlugin, field):
			p.fieldProblem(field, "field %q belongs to the template: write it beside plugin", field)
		default:
			p.fieldProblem(field, "unknown field %q: it takes %s", field, strings.Join(known, ", "))
		}
	}
}

// besidePlugin are the fields of a template that users may look for in the key.
var besidePlugin = []string{
	"activeDeadlineSeconds", "affinity", "daemon", "initContainers", "inputs", "memoize", "metadata", "metrics", "name", "nodeSelector",
	"outputs", "podSpecPatch", "retryStrategy", "securityContext", "serviceAccountName", "sidecars", "synchronization", "timeout",
	"tolerations", "volumes",
}

// name returns a field that is a name in Kubernetes, "" if it is not there.
func (p *parser) name(field string, validate func(string) []string) string {
	value, ok := p.fields[field]
	if !ok {
		return ""
	}
	name, ok := value.(string)
	switch {
	case !ok || name == "":
		p.fieldProblem(field, "%s must be a name: it is a text that is not empty", field)
	case p.variables && hasVariable(name):
	case len(validate(name)) > 0:
		p.fieldProblem(field, "%q cannot be the name of a %s: %s", name, field, strings.Join(validate(name), "; "))
	}
	return name
}

// where checks that the step says in one way where it runs.
func (p *parser) where() {
	_, cluster := p.fields[FieldCluster]
	_, placement := p.fields[FieldPlacement]
	switch {
	case cluster && placement:
		p.fieldProblem(FieldPlacement, "a step has either a cluster or a placement: remove one of them")
	case !cluster && !placement:
		p.problem("it says nowhere in which cluster the step runs: add cluster: <name of a ManagedCluster> or placement: <name of a Placement>",
			PluginKey)
	}
}

// all returns whether the step runs in every cluster of the Placement. Argo puts values in as texts.
func (p *parser) all() bool {
	value, ok := p.fields[FieldAll]
	if !ok {
		return false
	}
	if p.variables && hasVariable(value) {
		return true
	}
	all := value == true || value == "true"
	if !all && value != false && value != "false" {
		p.fieldProblem(FieldAll, "all must be true or false")
	}
	if _, placement := p.fields[FieldPlacement]; all && !placement {
		p.fieldProblem(FieldAll, "all: true is for the clusters of a Placement: add placement, or remove all")
	}
	return all
}

var number = regexp.MustCompile(`^[0-9]{1,9}$`)

// maxFailures returns how many clusters may fail, nil if it is not said. Argo puts values in as texts.
func (p *parser) maxFailures(all bool) *intstr.IntOrString {
	value, ok := p.fields[FieldMaxFailures]
	if !ok {
		return nil
	}
	if !all {
		p.fieldProblem(FieldMaxFailures, "maxFailures is only for a step that runs in all clusters of a Placement: add all: true, or remove it")
	}
	if p.variables && hasVariable(value) {
		return &intstr.IntOrString{Type: intstr.String, StrVal: value.(string)}
	}
	text := fmt.Sprint(value)
	most := intstr.Parse(text)
	percentage, isPercentage := strings.CutSuffix(text, "%")
	switch {
	case number.MatchString(text):
	case isPercentage && number.MatchString(percentage) && intstr.Parse(percentage).IntVal <= 100:
	default:
		p.fieldProblem(FieldMaxFailures, "maxFailures must be a whole number of at least 0, or a percentage from 0%% to 100%%, and is %q", text)
		return nil
	}
	return &most
}

// kind returns the one body that there is, "" if there is none or several.
func (p *parser) kind() Kind {
	var found []Kind
	for _, kind := range Kinds() {
		value, ok := p.fields[string(kind)]
		if !ok {
			continue
		}
		if body, isObject := value.(map[string]any); !isObject || len(body) == 0 {
			p.fieldProblem(string(kind), "%s must be an object that is not empty", kind)
		}
		found = append(found, kind)
	}
	if len(found) == 1 {
		return found[0]
	}
	if len(found) == 0 {
		p.problem("it has nothing to run: add one of "+join(Kinds()), PluginKey)
		return ""
	}
	for _, kind := range found[1:] {
		p.fieldProblem(string(kind), "a step runs one thing, and this one has %s: keep one of them", join(found))
	}
	return ""
}

func join(kinds []Kind) string {
	names := make([]string, len(kinds))
	for i, kind := range kinds {
		names[i] = string(kind)
	}
	return strings.Join(names, ", ")
}

// reference reads a body that names what is stored.
func (p *parser) reference(kind Kind) Reference {
	fields, _ := p.fields[string(kind)].(map[string]any)
	ref := Reference{Name: p.refField(fields, kind, "name")}
	known := []string{"clusterScope", "name"}
	if kind == TemplateRef {
		ref.Template = p.refField(fields, kind, "template")
		known = append(known, "template")
	}
	if scope, ok := fields["clusterScope"]; ok {
		ref.ClusterScope, ok = scope.(bool)
		if !ok {
			p.problem("clusterScope must be true or false", PluginKey, string(kind), "clusterScope")
		}
	}
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(known, field) {
			p.problem(fmt.Sprintf("unknown field %q: %s takes %s", field, kind, strings.Join(known, ", ")), PluginKey, string(kind), field)
		}
	}
	return ref
}

// refField returns a field of a reference that must be there.
func (p *parser) refField(fields map[string]any, kind Kind, field string) string {
	value, _ := fields[field].(string)
	if value == "" && len(fields) > 0 {
		p.problem(fmt.Sprintf("%s must have a %s", kind, field), PluginKey, string(kind), field)
	}
	return value
}

// hasVariable reports whether a value is a text with a variable of Argo.
func hasVariable(value any) bool {
	text, ok := value.(string)
	return ok && strings.Contains(text, "{{")
}
